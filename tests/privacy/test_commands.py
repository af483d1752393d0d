"""`kith verify` and `kith budget` as an officer meets them."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from privacy import amounts, release_files
from privacy.commands import app
from privacy.errors import InputError, KithError
from tests.privacy.small_release import RUN, Group, plan, state_of, write


def kith(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def group(tmp_path: Path) -> Group:
    return Group(tmp_path)


def test_a_person_is_told_in_one_line_whether_keys_were_pinned(group: Group, tmp_path: Path) -> None:
    release = write(group.train(RUN, plan()), tmp_path / "release")
    alone = kith("verify", release)
    assert alone.exit_code == 0
    assert alone.stdout.splitlines()[-1] == (
        "keys: self-asserted - the release is of one piece, whoever made it; pin keys with --keys"
    )
    pinned = kith("verify", release, "--keys", release / release_files.KEYS)
    assert pinned.stdout.splitlines()[-1].startswith("keys: pinned")


def test_releasing_an_abandoned_run_frees_what_it_held_and_not_what_it_was_charged(group: Group) -> None:
    ledger, path = group.sites[0].ledger, group.folder / "0.ledger"
    ledger.reserve("abandoned", plan())
    ledger.charge("abandoned", plan(), "second-moments", 0, state_of("second-moments", 0))
    done = kith("budget", "release", path, "--run", "abandoned")
    assert done.stdout == "freed 0.125 mu² that run abandoned held; left: 1.75 mu²\n"
    assert (ledger.held, amounts.to_text(ledger.spent)) == (0, "0.25")
    assert kith("budget", "release", path, "--run", "abandoned").stdout.startswith("freed 0 mu²")


def test_releasing_leaves_other_runs_alone(group: Group) -> None:
    ledger = group.sites[0].ledger
    for run in ("abandoned", "going on"):
        ledger.reserve(run, plan())
    kith("budget", "release", group.folder / "0.ledger", "--run", "abandoned")
    assert amounts.to_text(ledger.held) == "0.375"
    ledger.charge("going on", plan(), "second-moments", 0, state_of("second-moments", 0))


def test_releasing_an_unknown_run_or_ledger_ends_with_exit_2_and_writes_nothing(group: Group, tmp_path: Path) -> None:
    size = group.sites[0].ledger.head().size
    for path in (group.folder / "0.ledger", tmp_path / "nowhere.ledger", write({"text": b"x"}, tmp_path) / "text"):
        error = kith("budget", "release", path, "--run", "unknown").exception
        assert isinstance(error, KithError)
        assert error.exit_code == InputError.exit_code == 2
    assert group.sites[0].ledger.head().size == size
    assert not (tmp_path / "nowhere.ledger").exists()
