"""`kith runs` as a person meets it: real processes, exit codes, one clear line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from federation.run_log import FILE, RunLog
from tests.federation.told_run import BEGAN, RELEASES, told_run, write

KITH = [sys.executable, "-m", "kith", "runs"]
ROOT = Path(__file__).resolve().parent.parent.parent


def runs(*arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*KITH, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == code, done.stdout[-2000:] + done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is finished, one that was interrupted, and folders that are no runs."""
    made = tmp_path_factory.mktemp("runs")
    at = BEGAN + 100
    write(made / "finished", [*told_run(RELEASES), (at, "finished", {"release": "runs/finished/release"})])
    write(made / "stopped", told_run(4, absent_from=2))
    (made / "other").mkdir()
    (made / "file").write_text("")
    return made


def test_runs_are_listed_with_what_became_of_them(folder: Path) -> None:
    shown = runs("list", "--runs", folder).stdout.splitlines()
    assert [line.split()[:2] for line in shown[1:]] == [["finished", "finished"], ["stopped", "interrupted"]]
    assert "2023-11-14 22:13:20" in shown[1]
    listed = json.loads(runs("list", "--runs", folder, "--json").stdout)["runs"]
    assert [(one["folder"], one["status"], one["done"]) for one in listed] == [
        ("finished", "finished", RELEASES),
        ("stopped", "interrupted", 4),
    ]
    assert [one["sites_with_absences"] for one in listed] == [0, 1]


def test_no_runs_are_no_error_and_no_folder_is_one(tmp_path: Path) -> None:
    assert runs("list", "--runs", tmp_path).stdout == f"no runs in {tmp_path}\n"
    assert json.loads(runs("list", "--runs", tmp_path, "--json").stdout) == {"runs": []}
    assert "expected a folder of runs" in runs("list", "--runs", tmp_path / "absent", code=2).stderr


def test_a_run_is_shown(folder: Path) -> None:
    shown = runs("show", "stopped", "--runs", folder).stdout
    for words in ("interrupted", "4 of 13", "Ost Logistik GmbH", "1 silent", "31 % charged"):
        assert words in shown
    document = json.loads(runs("show", "stopped", "--runs", folder, "--json").stdout)
    assert (document["run"], document["status"], document["done"]) == ("retention-ab12cd34", "interrupted", 4)
    assert document["sites"][0]["absences"] == {"silent": 1}


def test_following_ends_with_the_run_and_says_by_its_exit_code_how(folder: Path) -> None:
    shown = runs("show", "finished", "--runs", folder, "--follow").stdout.splitlines()
    assert shown[0] == (
        "22:13:20 retention-ab12cd34: retention, secure-sum, 13 releases of 5 sites, epsilon 1 at delta 0.00001"
    )
    assert shown[-1] == "22:15:00 finished: runs/finished/release"
    runs("show", "stopped", "--runs", folder, "--follow", code=1)
    assert "--follow or --json" in runs("show", "stopped", "--runs", folder, "--follow", "--json", code=2).stderr


def test_a_run_is_followed_while_another_process_is_at_it(tmp_path: Path) -> None:
    told = told_run(1)
    with RunLog(tmp_path / "run") as log:
        _, what, facts = told[0]
        log.add(what, **facts)
        process = subprocess.Popen(
            [*KITH, "show", "run", "--follow", "--runs", str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        try:
            assert process.stdout is not None
            assert "13 releases of 5 sites" in process.stdout.readline()
            for _, what, facts in told[1:]:
                log.add(what, **facts)
            assert "contributions: gradient 0" in process.stdout.readline()
            assert "1 of 13" in process.stdout.readline()
            assert process.poll() is None
            log.add("finished", release="release")
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.communicate()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("absent", "expected one of those in"),
        ("file", "expected one of those in"),
        ("other", f"expected a run's folder, got one without {FILE}"),
        ("..", "expected the name of a folder in"),
        ("../../etc", "expected the name of a folder in"),
        ("/etc", "expected the name of a folder in"),
        ("a\x1b[2J", "expected the name of a folder in"),
        ("", "expected the name of a folder in"),
    ],
)
def test_what_is_no_run_is_refused_in_one_line(folder: Path, name: str, expected: str) -> None:
    said = runs("show", "--runs", folder, "--", name, code=2).stderr
    assert expected in said
    assert said.count("\n") == 1
    assert "\x1b" not in said


@pytest.mark.parametrize("address", ["9464", "127.0.0.1", "127.0.0.1:x", ":1", "127.0.0.1:65536", "no host:1", "a:b:1"])
def test_an_address_that_is_none_is_refused(folder: Path, address: str) -> None:
    said = runs("metrics", "--runs", folder, "--listen", address, code=2).stderr
    assert "--listen: expected" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_metrics_are_served_until_it_is_stopped(folder: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [*KITH, "metrics", "--runs", str(folder), "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert 'kith_runs{status="interrupted"} 1.0' in answer.read().decode()
        os.kill(process.pid, number)
        assert process.wait(30) == 0
    finally:
        process.kill()
        assert process.communicate()[1] == ""


def test_settings_beside_resume_are_refused_as_the_run_has_its_own() -> None:
    asked = ("train", "--group", "group", "--site", "site", "--resume", "run-1", "--epsilon", "9", "--rounds", "3")
    done = subprocess.run([*KITH[:-1], *asked], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 2
    assert "--resume: expected no other settings than the run began with, got epsilon, rounds" in done.stderr
