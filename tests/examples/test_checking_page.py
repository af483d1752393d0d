"""docs/checking-without-kith.md: its commands, run as they stand there, on a valid release and on a forged one."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from privacy import release_files
from privacy.certificate import FAILED
from tests.privacy.small_release import MASKED_SITES, ROOT, RUN, SITES, Group, absent, masked_plan, plan, write

FOLDER = Path(__file__).parents[2]
PAGE = (FOLDER / "docs" / "checking-without-kith.md").read_text(encoding="utf-8")
SCRIPT = "\n".join(re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL))
TOOLS = ("bash", "jq", "openssl", "sha256sum")
pytestmark = pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"needs {', '.join(TOOLS)}")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return Group(tmp_path_factory.mktemp("group")).train(RUN, plan())


def walked(release: Path, tmp_path: Path) -> str:
    """What the commands print; python3 in them is the one that runs the tests."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "python3").symlink_to(sys.executable)
    environment = {
        "PATH": f"{tools}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "RELEASE": str(release),
        "ROOT": base64.b64encode(ROOT.public).decode(),
        "ALONE": str(FOLDER / "examples" / "verify_alone.py"),
    }
    done = subprocess.run(["bash", "-c", SCRIPT], env=environment, capture_output=True, text=True)
    return done.stdout + done.stderr


def test_every_step_of_the_walk_holds_on_a_valid_release(files: dict[str, bytes], tmp_path: Path) -> None:
    said = walked(write(files, tmp_path / "release"), tmp_path)
    assert said.count("Signature Verified Successfully") == 3
    assert said.count(": OK\n") == len(files) - 1
    assert "no other files" in said
    assert "mu2 = 0.375" in said
    assert "holds and a smaller epsilon would not" in said
    for site in SITES:
        assert f"{site}: 3 of 3 receipts signed by its key, absent from 0, of 3 releases" in said
    assert "3 charges, the reservation and the opening entry are in kith/North of " in said
    assert "accepted: epsilon 2.501740 at delta 0.00001, mu² 0.375, 2 sites" in said
    assert not re.search(r"error|Failure|Traceback|FAILED|NOT HOLD|refused", said), said


def test_the_walk_tells_a_secure_sum_and_who_was_absent(tmp_path: Path) -> None:
    (ledgers := tmp_path / "ledgers").mkdir()
    group = Group(ledgers, names=MASKED_SITES)
    gone = [*absent("East", ("gradient", 1)), *absent("West", ("head-count", 0), reason=FAILED)]
    said = walked(write(group.train(RUN, masked_plan(), away=gone), tmp_path / "release"), tmp_path)
    assert "trust secure-sum: 3 of 4 sites in every release, 1 may collude" in said
    assert "East: 3 of 3 receipts signed by its key, absent from 1, of 4 releases" in said
    assert "North: 4 of 4 receipts signed by its key, absent from 0, of 4 releases" in said
    assert "East is not in gradient 1: silent\nWest is not in head-count 0: failed\n" in said
    assert ", 4 sites" in said
    assert not re.search(r"error|Failure|Traceback|FAILED|NOT HOLD|refused", said), said


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        pytest.param(release_files.KEYS, lambda data: data.replace(b'sig":"', b'sig":"AA'), "Failure", id="keys"),
        pytest.param(release_files.CARD, lambda data: data + b" ", "card.json: FAILED", id="card"),
        pytest.param(release_files.PLAN, lambda data: data.replace(b"times", b"tiMes"), "plan.json: FAILED", id="plan"),
    ],
)
def test_a_step_of_the_walk_tells_what_was_changed(
    files: dict[str, bytes], tmp_path: Path, name: str, change: Callable[[bytes], bytes], told: str
) -> None:
    said = walked(write({**files, name: change(files[name])}, tmp_path / "release"), tmp_path)
    assert told in said
    assert "refused: " in said


def test_a_file_that_nobody_signed_is_seen(files: dict[str, bytes], tmp_path: Path) -> None:
    said = walked(write({**files, "notes.txt": b""}, tmp_path / "release"), tmp_path)
    assert "> notes.txt" in said
    assert "no other files" not in said
