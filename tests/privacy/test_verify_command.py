"""`kith verify` as an officer meets it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from privacy import release_files
from privacy.commands import app
from privacy.errors import VerificationFailed
from tests.privacy.forging import Files, certified
from tests.privacy.small_release import CONTRACT, RUN, Group, plan, write

ROOT = Path(__file__).parents[2]


def kith(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Group:
    return Group(tmp_path_factory.mktemp("group"))


@pytest.fixture(scope="module")
def files(group: Group) -> Files:
    return group.train(RUN, plan())


@pytest.fixture
def release(files: Files, tmp_path: Path) -> Path:
    return write(files, tmp_path / "release")


def test_the_first_line_is_the_verdict_and_the_cost(release: Path) -> None:
    done = kith("verify", release)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[0] == "valid: epsilon = 2.501740 at delta = 0.00001 per employee"


def test_the_second_line_says_whether_keys_were_pinned(release: Path, group: Group, tmp_path: Path) -> None:
    assert kith("verify", release).stdout.splitlines()[1] == (
        "keys: self-asserted - the release is of one piece, whoever made it; pin keys with --keys"
    )
    for pin in ("roots.json", "keys.json"):
        data = group.pinned.to_bytes() if pin == "roots.json" else (release / release_files.KEYS).read_bytes()
        (tmp_path / pin).write_bytes(data)
        done = kith("verify", release, "--keys", tmp_path / pin)
        assert done.exit_code == 0
        assert done.stdout.splitlines()[1].startswith("keys: pinned")


def test_then_come_14_questions_and_then_20_checks(release: Path) -> None:
    shown = kith("verify", release).stdout
    assert shown.index("What NIST SP 800-226 asks") < shown.index("\nChecks")
    numbered = [int(number) for number in re.findall(r"^ *(\d+)  (?:pass|not stated) ", shown, re.MULTILINE)]
    assert numbered == [*range(1, 15), *range(1, 21)]


def test_a_refused_release_says_so_first_and_ends_with_exit_1(group: Group, files: Files, tmp_path: Path) -> None:
    done = kith("verify", write(certified(group, files, run="another"), tmp_path / "release"))
    assert done.stdout.splitlines()[0].startswith("REFUSED by check 6 (receipts)")
    assert isinstance(done.exception, VerificationFailed)
    assert done.exception.exit_code == 1
    assert str(done.exception).startswith("check 6 (receipts): receipts/0.jsonl, line 1")


def test_json_holds_all_that_a_person_is_shown(release: Path) -> None:
    document = json.loads(kith("verify", release, "--json").stdout)
    shown = " ".join(kith("verify", release).stdout.split())
    assert document["ok"] is True
    assert document["verdict"] in shown
    assert document["keys"] in shown
    for one in (*document["questions"], *document["checks"]):
        for words in (one["state"], one.get("question", one.get("name"))):
            assert words in shown
    assert [one["number"] for one in document["questions"]] == list(range(1, 15))


def test_what_the_officer_kept_is_held_against_the_release(group: Group, release: Path, tmp_path: Path) -> None:
    later = group.train("run-2", plan(), prior=(release / release_files.CERTIFICATE).read_bytes())
    (contract := tmp_path / "contract.toml").write_bytes(CONTRACT)
    place = write(later, tmp_path / "later")
    assert kith("verify", place, "--prior", release, "--contract", contract).exit_code == 0
    contract.write_bytes(CONTRACT + b"\n")
    assert "check 20" in str(kith("verify", place, "--contract", contract).exception)
    assert "check 19" in str(kith("verify", release, "--prior", place).exception)


@pytest.mark.parametrize("option", ["--keys", "--prior", "--contract"])
def test_an_argument_that_is_not_there_ends_with_exit_2(release: Path, tmp_path: Path, option: str) -> None:
    error = kith("verify", release, option, tmp_path / "absent").exception
    assert getattr(error, "exit_code", None) == 2


@pytest.mark.parametrize("columns", [60, 80, 100, 140])
def test_no_line_is_longer_than_the_terminal_is_wide(
    release: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    from rich.console import Console

    monkeypatch.setattr("privacy.verify_command.console", lambda: Console(width=columns))
    lines = kith("verify", release).stdout.splitlines()
    assert max(map(len, lines)) <= columns
    assert sum(line.rstrip().endswith("...") for line in lines) <= 1, "words were cut off"


def test_the_command_line_comes_up_without_what_only_other_commands_need() -> None:
    heavy = ("torch", "pandas", "numpy", "scipy", "dp_accounting", "sqlalchemy", "starlette", "jwt", "flwr", "bentoml")
    code = f"import sys, kith; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
