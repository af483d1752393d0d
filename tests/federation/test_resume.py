"""kill -9 of a coordinator at every kind of step of a run: whoever goes on gets the same weights and charges nothing.

The guards die with it here, between two requests; what a guard's own crash leads to, `test_kill` and the ledger's tests
say.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from federation.run_log import read_log
from privacy.plan import LOCAL, SECURE_SUM
from privacy.verify import verify_release
from tests.federation.resumed import STEPS
from tests.federation.tiny_group import TinyGroup, tiny_group

ROOT = Path(__file__).resolve().parents[2]
SEEDED = "seeded-for-tests:5"


class Coordinators:
    """Coordinators' processes, one after another, forked from a warm one."""

    def __init__(self, log: Path) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "tests.federation.resumed"]
        self._log = log.open("wb")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._log}
        self._warm = subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes)  # type: ignore[call-overload]

    def run(self, folder: Path, trust: str, last: int = 0) -> bool:
        """Whether a process came to the run's end; else it died at step `last`."""
        assert self._warm.stdin is not None
        assert self._warm.stdout is not None
        print(json.dumps({"folder": str(folder), "trust": trust, "last": last}), file=self._warm.stdin, flush=True)
        status = int(self._warm.stdout.readline())
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL
            return False
        assert status == 0, Path(self._log.name).read_text(encoding="utf-8")[-3000:]
        return True

    def close(self) -> None:
        assert self._warm.stdin is not None
        self._warm.stdin.close()
        self._warm.wait(30)
        self._log.close()


@pytest.fixture(scope="module")
def coordinators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coordinators]:
    made = Coordinators(tmp_path_factory.mktemp("warm") / "stderr")
    yield made
    made.close()


@pytest.fixture(scope="module", params=[LOCAL, SECURE_SUM])
def trust(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def undisturbed(coordinators: Coordinators, trust: str, tmp_path_factory: pytest.TempPathFactory) -> TinyGroup:
    """A group whose run nobody disturbed."""
    group = tiny_group(tmp_path_factory.mktemp("undisturbed"), SEEDED)
    assert coordinators.run(group.group.parent, trust)
    return group


def steps_of(group: TinyGroup) -> list[str]:
    return list(json.loads((group.group.parent / STEPS).read_text(encoding="utf-8")))


def weights(group: TinyGroup) -> bytes:
    return (group.group.parent / "runs" / "run-1" / "release" / "model.safetensors").read_bytes()


def accounts(group: TinyGroup) -> list[Any]:
    """All that a ledger says that does not hang on its keys: sums, entries, and every person's balance."""
    found = []
    for site in group.sites:
        ledger = site.open_ledger()
        totals, people = ledger.totals, [ledger.balance_of(mark) for mark in sorted(ledger.members("run-1"))]
        sums = (totals.spent, totals.held, totals.lifetime)
        found.append((*sums, ledger.head().size, {(one.spent, one.held, one.left) for one in people}, len(people)))
        ledger.verify()
        ledger.close()
    return found


def check(group: TinyGroup, undisturbed: TinyGroup) -> None:
    """The same weights, the same charges, and a release in which nothing but the test's noise is wrong."""
    assert weights(group) == weights(undisturbed)
    assert accounts(group) == accounts(undisturbed)
    verdict = verify_release(group.group.parent / "runs" / "run-1" / "release", group.group / "roots.json")
    states = {check.name: check.state for check in verdict.checks}
    assert states.pop("noise") == "fail"
    assert set(states.values()) == {"pass"}
    assert "; 0 repeated or in vain" in next(one.detail for one in verdict.checks if one.name == "ledger")
    run = group.group.parent / "runs" / "run-1"
    assert sorted(path.name for path in run.iterdir()) == ["checkpoints", "events.jsonl", "release", "settings.json"]
    assert read_log(run)[-1].what == "finished"


QUICK = ("after save release-0000", "closing 2")
POINTS = (
    "before log started",
    "before log phase",  # the first release is about to be asked for
    "before log reply",  # one site has answered
    "before save release-0000",  # all have answered
    "before replace",
    "after save release-0000",
    "after save release-0001",
    "before save release-0002",
    "after save release-0002",
    "closing 1",
    "closing 2",
    "closing 3",
    "certifying",
    "before rename",  # the release is whole, at its other place
)


def place_of(point: str, steps: list[str]) -> int:
    """The step's number, from 1; the exchanges of the end come after the last release."""
    if point.startswith("closing"):
        ending = [n for n, step in enumerate(steps, 1) if step == "before log phase"][-4:]
        return ending[int(point.partition(" ")[2]) - 1]
    if point == "certifying":
        return [n for n, step in enumerate(steps, 1) if step == "before log phase"][-1]
    return steps.index(point) + 1


@pytest.mark.parametrize(
    "point", [pytest.param(point, marks=[] if point in QUICK else pytest.mark.slow) for point in POINTS]
)
def test_whoever_goes_on_after_a_kill_gets_the_same_weights_and_charges_nobody_again(
    coordinators: Coordinators, undisturbed: TinyGroup, trust: str, tmp_path: Path, point: str
) -> None:
    group = tiny_group(tmp_path, SEEDED)
    assert not coordinators.run(tmp_path, trust, place_of(point, steps_of(undisturbed)))
    assert not (tmp_path / "runs" / "run-1" / "release").exists()
    assert coordinators.run(tmp_path, trust)
    check(group, undisturbed)


@pytest.mark.slow
def test_a_run_that_dies_again_and_again_each_time_a_little_later_comes_to_the_same_end(
    coordinators: Coordinators, undisturbed: TinyGroup, trust: str, tmp_path: Path
) -> None:
    group = tiny_group(tmp_path, SEEDED)
    lives = next(life for life, last in enumerate(range(3, 1000, 5)) if coordinators.run(tmp_path, trust, last))
    assert lives >= 3
    check(group, undisturbed)
