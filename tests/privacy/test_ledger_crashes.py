"""Crashes at every step, full disks, several writers at once: never is less charged than what may have left."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import pytest
import sqlalchemy as sa

from privacy import ledger_store
from privacy.databases import DatabaseUnavailable
from privacy.errors import BudgetExceeded, KithError, Refused
from privacy.ledger import Ledger
from tests.postgresql import own_database_or_skip
from tests.privacy.full_disk import full_disk
from tests.privacy.small_ledger import (
    FIRST,
    ONCE,
    PLAN,
    RELEASES,
    SITE,
    STAFF,
    STEP,
    TOTAL,
    budget,
    charge,
    clock,
    complete,
    decided,
    next_period,
    own_schema,
    people,
    sqlite_address,
)

Address = Path | str
KILLED = 77


class CrashError(Exception):
    """Raised out of the middle of an operation."""


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with own_database_or_skip() as url:
        yield url


def whole_life(address: Address, on_step: Callable[[str], None]) -> None:
    """Every operation: a run with a release charged twice, its end, a decision, another run's reservation."""
    ledger = Ledger.create(address, SITE, budget(), clock, on_step)
    try:
        ledger.reserve("run", PLAN, STAFF)
        for number, release in enumerate(RELEASES):
            if number == 1:
                charge(ledger, release)
            ledger.settle(charge(ledger, release), b"values", b"receipt")
        ledger.end("run")
        ledger.decide(decided(ledger, next_period(ledger.budget)))
        ledger.reserve("next", PLAN, people(7))
    finally:
        ledger.close()


STEPS = (
    *("create: written", "create: committed", "create: linked"),
    *(
        f"{operation}: {step}"
        for operation in (
            "reserve",
            *["charge", "settle"],
            *["charge"] * 2,
            "settle",
            "charge",
            "settle",
            "end",
            "decide",
        )
        for step in ("begun", "written", "committed")
    ),
    *("reserve: begun", "reserve: written", "reserve: committed"),
)
ON_SERVER = tuple(step for step in STEPS if step != "create: linked")
PAID = (ONCE, STEP, STEP, STEP)
"""What the life's charges cost, in order."""


def test_these_are_all_steps(tmp_path: Path) -> None:
    steps: list[str] = []
    whole_life(sqlite_address(tmp_path), steps.append)
    assert tuple(steps) == STEPS


def stop_at(number: int, stop: Callable[[], None], steps: tuple[str, ...] = STEPS) -> Callable[[str], None]:
    """What is told the steps, and stops the work at step `number`."""
    seen: list[str] = []

    def on_step(step: str) -> None:
        seen.append(step)
        assert tuple(seen) == steps[: len(seen)]
        if len(seen) == number + 1:
            stop()

    return on_step


def check_after_crash(address: Address, number: int) -> None:
    """The ledger verifies, has charged what was on disk and nothing less, and goes on."""
    before = STEPS[: number + 1]
    paid = sum(PAID[: before.count("charge: committed")], Fraction(0))
    ledger = Ledger.open(address, clock=clock)
    ledger.verify()
    assert ledger.totals.lifetime == paid
    assert ledger.balance_of(next(iter(STAFF))).lifetime == (paid if STAFF else 0)
    if not ledger.decisions()[1:]:
        complete(ledger, "run")
        assert ledger.open_runs == {}
        assert ledger.totals.spent - TOTAL in {0, ONCE, STEP, 2 * STEP}  # what was charged and not settled: again
        ledger.decide(decided(ledger, next_period(ledger.budget)))
    assert ledger.reserve("next", PLAN, people(7)).members == people(7)
    ledger.verify()
    ledger.close()


def raised() -> None:
    raise CrashError


@pytest.mark.parametrize("number", range(len(STEPS)), ids=lambda n: f"{n} {STEPS[n]}")
def test_an_exception_at_any_step_leaves_what_was_there_or_what_was_to_be(tmp_path: Path, number: int) -> None:
    path = sqlite_address(tmp_path)
    with pytest.raises(CrashError):
        whole_life(path, stop_at(number, raised))
    if STEPS[number].startswith("create:"):
        assert [one.name for one in tmp_path.iterdir()] == [path.name] * (STEPS[number] == "create: linked")
        return
    check_after_crash(path, number)


LAST_OF_EACH = {step: number for number, step in enumerate(STEPS)}


@pytest.mark.parametrize("step", [step for step in LAST_OF_EACH if not step.endswith("begun")])
def test_a_process_killed_at_a_step_leaves_what_was_there_or_what_was_to_be(tmp_path: Path, step: str) -> None:
    path, number = sqlite_address(tmp_path), LAST_OF_EACH[step]
    child = forked(lambda: whole_life(path, stop_at(number, lambda: os._exit(KILLED))))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == KILLED
    if step.startswith("create:"):
        assert path.exists() == (step == "create: linked")
        return
    check_after_crash(path, number)


@pytest.mark.parametrize("step", ["create: written", "create: committed", "charge: written", "settle: begun"])
def test_the_same_on_postgresql(database: str, step: str) -> None:
    with own_schema(database) as url:
        with pytest.raises(CrashError):
            whole_life(url, stop_at(ON_SERVER.index(step), raised, ON_SERVER))
        if step == "create: written":
            Ledger.create(url, SITE, budget()).close()
        check_after_crash(url, STEPS.index(step))


def test_a_crash_between_charge_and_settle_costs_the_release_again(tmp_path: Path) -> None:
    with pytest.raises(CrashError):
        whole_life(sqlite_address(tmp_path), stop_at(STEPS.index("charge: committed"), raised))
    ledger = Ledger.open(sqlite_address(tmp_path))
    assert charge(ledger, FIRST).answered is None
    assert ledger.totals.spent == 2 * ONCE


def test_who_was_in_a_cohort_that_was_never_written_is_not_remembered(tmp_path: Path) -> None:
    """What a transaction that was undone has put in memory is not taken for what is on disk."""
    stop: list[str] = []

    def on_step(step: str) -> None:
        if step in stop:
            raise CrashError

    ledger = Ledger.create(sqlite_address(tmp_path), SITE, budget(), clock, on_step)
    stop.append("reserve: written")
    with pytest.raises(CrashError):
        ledger.reserve("run", PLAN, STAFF)
    stop.clear()
    assert (ledger.knows("run"), ledger.totals.held, ledger.head().size) == (False, 0, 1)
    assert ledger.reserve("run", PLAN, STAFF).members == STAFF
    ledger.verify()
    ledger.close()
    assert Ledger.open(sqlite_address(tmp_path)).members("run") == STAFF


# Full disks


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger.create(sqlite_address(tmp_path), SITE, budget(), clock=clock)
    ledger.reserve("run", PLAN, STAFF)
    yield ledger
    ledger.close()


@pytest.mark.parametrize("left", [16, 40_000, 70_000])
def test_a_full_disk_is_an_error_of_ours_and_leaves_the_ledger_as_it_was(ledger: Ledger, left: int) -> None:
    """`left` bytes of a file: nothing, or a part of the transaction, can be written."""
    first = charge(ledger, FIRST)
    large = bytes(200_000)
    with (
        full_disk(left),
        pytest.raises(DatabaseUnavailable, match="expected it to answer, got OperationalError SQLITE_"),
    ):
        ledger.settle(first, large, b"receipt")
    assert (ledger.totals.spent, ledger.head().size) == (ONCE, 3)
    ledger.verify()
    ledger.settle(first, large, b"receipt")
    assert charge(ledger, FIRST).answered is not None
    assert ledger.verify().size == 4


def test_on_a_full_disk_nothing_is_charged_and_nothing_may_be_computed(ledger: Ledger) -> None:
    with full_disk():
        for work in (
            lambda: charge(ledger, FIRST),
            lambda: ledger.reserve("other", PLAN, people(*range(9000))),
            lambda: ledger.end("run"),
        ):
            with pytest.raises(DatabaseUnavailable):
                work()
    assert (ledger.totals.spent, ledger.totals.held, ledger.head().size) == (0, TOTAL, 2)
    assert ledger.verify().size == 2


def test_on_a_full_disk_no_ledger_is_made(tmp_path: Path) -> None:
    for left in (16, 30_000):
        with full_disk(left), pytest.raises(KithError):
            Ledger.create(sqlite_address(tmp_path), SITE, budget())
        assert not sqlite_address(tmp_path).exists()


def test_a_ledger_that_somebody_else_holds_locked_is_unavailable(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ledger_store._PRAGMAS, "busy_timeout", 1)
    other = Ledger.open(sqlite_address(tmp_path))
    with ledger._store.writing(), pytest.raises(DatabaseUnavailable, match="SQLITE_BUSY"):
        other.end("run")
    assert other.totals.held == TOTAL  # reading goes on beside a writer
    other.end("run")
    other.close()


def test_a_ledger_whose_connections_are_all_in_use_is_unavailable_and_not_damaged(ledger: Ledger) -> None:
    with pytest.raises(DatabaseUnavailable, match="TimeoutError"), ledger._store.reading():
        raise sa.exc.TimeoutError


# Several at once


def forked(work: Callable[[], None]) -> int:
    """Start `work` in a forked process, which exits with 0 if it returned; the process id."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return child


def runs_of(ledger: Ledger, worker: int) -> None:
    """Five runs of this worker's own, each whole."""
    for number in range(5):
        complete(ledger, f"{worker}-{number}")


def check_shared(address: Address, workers: int) -> None:
    """Everybody was charged up to the cap of five runs, whoever's they were, and the totals count all."""
    ledger = Ledger.open(address)
    assert (ledger.totals.spent, ledger.totals.held) == (5 * workers * TOTAL, 0)
    for mark in STAFF:
        assert ledger.balance_of(mark).spent == 5 * TOTAL
    assert ledger.verify().size == 1 + 5 * workers * 8
    ledger.close()


def in_threads(work: Callable[[int], object], count: int) -> None:
    failed: list[BaseException] = []

    def guarded(worker: int) -> None:
        try:
            work(worker)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(worker,)) for worker in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_threads_share_one_ledger_and_one_budget(tmp_path: Path) -> None:
    path = sqlite_address(tmp_path)
    with_one = Ledger.create(path, SITE, budget("1.875"))
    in_threads(lambda worker: runs_of(with_one, worker), 3)
    with_one.close()
    check_shared(path, 3)


def test_processes_share_one_ledger_that_was_open_before_they_were_forked(tmp_path: Path) -> None:
    """The object is used on both sides of the fork; no connection is."""
    path = sqlite_address(tmp_path)
    ledger = Ledger.create(path, SITE, budget("1.875"))
    assert ledger.totals.spent == 0
    here = f"/proc/{os.getpid()}/fd"
    held = [Path(here, name).resolve().name for name in os.listdir(here)] if os.path.isdir(here) else [path.name]  # noqa: PTH112, PTH208
    assert path.name in held

    def work() -> None:
        inherited = [Path("/proc/self/fd", name).resolve().name for name in os.listdir("/proc/self/fd")]  # noqa: PTH208
        assert not any(name.startswith(path.name) for name in inherited)
        runs_of(ledger, 1)

    child = forked(work)
    runs_of(ledger, 2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    ledger.close()
    check_shared(path, 2)


def test_two_processes_on_postgresql_share_one_budget(database: str) -> None:
    """Also on a server whose transactions by default would not see what the last writer wrote while they waited."""
    with own_schema(database) as url:
        url += "%20-cdefault_transaction_isolation%3Drepeatable%5C%20read"
        ledger = Ledger.create(url, SITE, budget("1.875"))
        child = forked(lambda: runs_of(ledger, 1))
        runs_of(ledger, 2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        ledger.close()
        check_shared(url, 2)


def test_two_who_charge_the_same_release_at_once_both_pay_and_one_settles(tmp_path: Path) -> None:
    ledger = Ledger.create(sqlite_address(tmp_path), SITE, budget(), clock=clock)
    ledger.reserve("run", PLAN, STAFF)
    outcomes: list[str] = []

    def contribute(worker: int) -> None:
        charged = charge(ledger, FIRST)
        barrier.wait()
        try:
            ledger.settle(charged, b"values of %d" % worker, b"receipt")
            outcomes.append("settled")
        except Refused:
            outcomes.append("refused")

    barrier = threading.Barrier(2)
    in_threads(contribute, 2)
    assert sorted(outcomes) == ["refused", "settled"]
    assert ledger.totals.spent == 2 * ONCE
    ledger.verify()
    ledger.close()


def test_no_two_reservations_at_once_take_the_same_of_somebody_s_budget(tmp_path: Path) -> None:
    ledger = Ledger.create(sqlite_address(tmp_path), SITE, budget("0.375"), clock=clock)
    in_threads(lambda worker: ledger.reserve(f"{worker}", PLAN, STAFF), 4)
    left_out = sorted(ledger.reservation(f"{worker}").left_out for worker in range(4))
    assert left_out == [0, len(STAFF), len(STAFF), len(STAFF)]
    charge(ledger, FIRST, "0")
    with pytest.raises(BudgetExceeded):
        charge(ledger, FIRST, "0")
    ledger.verify()
    ledger.close()
