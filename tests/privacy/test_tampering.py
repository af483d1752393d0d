"""Forgeries of a valid release, each refused by the check that is there for it.

A name says what was forged, and by whom where it takes a key: `__by_coordinator` (the coordinator's key is in the
wrong hands and signed the certificate anew), `__by_site` (a site's and the coordinator's), `__by_everyone` (all parties
of the group). Without one, the forger has no key.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from privacy.verify import verify_release
from tests.privacy.forgeries import (
    absences,
    accounts,
    audits,
    certificates,
    keys,
    ledgers,
    models,
    plans,
    receipts,
)
from tests.privacy.forgeries.directories import SPOILINGS, Spoiling
from tests.privacy.forgeries.scene import CERTIFICATE, FORGERIES, Scene, made
from tests.privacy.forging import (
    Shown,
    rewritten,
)
from tests.privacy.small_release import (
    CONTRACT,
    write,
)

KINDS = (keys, certificates, plans, receipts, ledgers, accounts, absences, models, audits)
"""Importing them has filled `FORGERIES`."""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return made(tmp_path_factory.mktemp)


def test_what_is_forged_here_was_valid(scene: Scene) -> None:
    shown = Shown(scene.files, scene.group.pinned, scene.earlier[CERTIFICATE], CONTRACT)
    assert shown.verdict().ok, shown.verdict().rows()
    for group, files in ((scene.group, scene.earlier), scene.crashed, scene.decided, scene.absent, scene.masked):
        verdict = Shown(files, group.pinned).verdict()
        assert verdict.ok, verdict.rows()
        again = Shown(rewritten(group, files, lambda _, entry: entry), group.pinned).verdict()
        assert again.ok, again.rows()


def name_of(forgery: object) -> str:
    return getattr(forgery, "__name__", "")


@pytest.mark.parametrize("number", range(len(FORGERIES)), ids=[name_of(forgery) for _, forgery in FORGERIES])
def test_a_forgery_is_refused_by_the_check_that_is_there_for_it(scene: Scene, number: int) -> None:
    check, forgery = FORGERIES[number]
    made = forgery(scene)
    verdict = (made if isinstance(made, Shown) else Shown(made, scene.group.pinned)).verdict()
    assert verdict.failed is not None, "it was accepted"
    assert verdict.failed.number == check, verdict.failed
    assert "while checking" not in verdict.failed.detail, "a check that met this unprepared"


@pytest.mark.parametrize("spoiling", SPOILINGS, ids=name_of)
def test_a_directory_that_is_no_release_is_refused_by_the_first_check(
    scene: Scene, spoiling: Spoiling, tmp_path: Path
) -> None:
    release = write(scene.files, tmp_path / "release")
    spoiling(release)
    verdict = verify_release(release)
    assert verdict.failed is not None
    assert verdict.failed.number == 1
    assert {check.state for check in verdict.checks[1:]} == {"not reached"}


def test_a_folder_of_endless_files_is_not_read_to_its_end(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("privacy.release_files.MAX_SITES", 5)
    release = write(scene.files, tmp_path / "release")
    for n in range(6):
        (release / "receipts" / f"x{n}").touch()
    failed = verify_release(release).failed
    assert failed is not None
    assert failed.detail == "release: expected at most 5 files in a directory, got more"


def test_every_check_refuses_something_and_every_forgery_has_a_name_of_its_own() -> None:
    assert {check for check, _ in FORGERIES} == set(range(2, 21))
    names = [name_of(forgery) for _, forgery in FORGERIES] + [name_of(spoiling) for spoiling in SPOILINGS]
    assert len(set(names)) == len(names) >= 60
