from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy import amounts, checkpoint, entries, merkle, signing
from privacy.balance import Balance
from privacy.entries import Charged, Opened, Reserved
from privacy.errors import BudgetExceeded, InputError, KithError, Refused, VerificationFailed
from privacy.ledger import Charge, Ledger
from privacy.ledger_file import LedgerUnavailable
from privacy.plan import GaussianSum
from tests.privacy.small_release import NOW, SITES, FixedSigner, clock, plan, state_of

SITE = SITES[0]
PLAN = plan()
TOTAL = Fraction(3, 8)
ONCE = Fraction(1, 4)
FIRST = ("second-moments", 0)
SECOND = ("gradient", 0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "site.ledger"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    ledger = Ledger.create(path, SITE, Decimal(1), clock=clock)
    yield ledger
    ledger.close()


def charge(ledger: Ledger, release: tuple[str, int], run: str = "run", state: str | None = None) -> Charge:
    return ledger.charge(run, PLAN, *release, state or state_of(*release))


def all_releases() -> list[tuple[str, int]]:
    return [(event.name, index) for event in PLAN.events for index in range(event.times)]


def complete(ledger: Ledger, run: str) -> None:
    ledger.reserve(run, PLAN)
    for release in all_releases():
        charged = charge(ledger, release, run)
        if charged.answered is None:
            ledger.settle(charged, b"values of %d" % release[1], b"receipt")
    ledger.end(run)


# Spending


def test_a_new_ledger_has_spent_nothing(ledger: Ledger) -> None:
    assert (ledger.site, ledger.cap, ledger.spent, ledger.held, ledger.left) == (SITE, 1, 0, 0, 1)


def test_a_reservation_is_held_and_becomes_a_charge_release_by_release(ledger: Ledger) -> None:
    ledger.reserve("run", PLAN)
    assert (ledger.spent, ledger.held, ledger.left) == (0, TOTAL, 1 - TOTAL)
    charge(ledger, FIRST)
    assert (ledger.spent, ledger.held, ledger.left) == (ONCE, TOTAL - ONCE, 1 - TOTAL)


def test_a_second_run_of_the_same_plan_composes_with_the_first(ledger: Ledger) -> None:
    complete(ledger, "one")
    complete(ledger, "two")
    assert ledger.spent == 2 * TOTAL


def test_a_plan_over_the_cap_is_refused_with_what_is_left_and_what_was_asked(ledger: Ledger) -> None:
    complete(ledger, "one")
    ledger.reserve("two", PLAN)
    with pytest.raises(BudgetExceeded, match=r"left, 0\.25 of a cap of 1, got 0\.375 asked"):
        ledger.reserve("three", PLAN)
    assert (ledger.spent, ledger.held) == (TOTAL, TOTAL)
    with pytest.raises(Refused, match="reservation"):
        charge(ledger, FIRST, "three")


def test_a_plan_that_takes_exactly_what_is_left_is_accepted(path: Path) -> None:
    ledger = Ledger.create(path, SITE, Decimal("0.375"))
    complete(ledger, "run")
    assert (ledger.spent, ledger.left) == (ledger.cap, 0)


def test_the_end_of_a_run_frees_what_was_not_charged_and_nothing_else(ledger: Ledger) -> None:
    ledger.reserve("run", PLAN)
    charge(ledger, FIRST)
    ledger.end("run")
    ledger.end("run")
    assert (ledger.spent, ledger.held) == (ONCE, 0)
    with pytest.raises(Refused, match="ended"):
        charge(ledger, SECOND)
    size = ledger.head().size
    ledger.reserve("run", PLAN)  # as a coordinator does that lost its release and asks for everything again
    assert (ledger.head().size, ledger.held) == (size, 0)
    with pytest.raises(Refused, match="open run"):
        ledger.end("another")


def test_reserving_again_changes_nothing_and_another_plan_is_refused(ledger: Ledger) -> None:
    ledger.reserve("run", PLAN)
    ledger.reserve("run", PLAN)
    assert ledger.held == TOTAL
    with pytest.raises(Refused, match="plan"):
        ledger.reserve("run", plan(clip="2"))
    with pytest.raises(Refused, match="plan"):
        ledger.charge("run", plan(clip="2"), *FIRST, state_of(*FIRST))


def test_a_plan_without_this_site_is_refused(path: Path) -> None:
    ledger = Ledger.create(path, "Elsewhere", Decimal(1))
    with pytest.raises(InputError, match="Elsewhere"):
        ledger.reserve("run", PLAN)


# Releases


def test_a_settled_release_is_answered_with_the_same_bytes_and_no_charge(ledger: Ledger) -> None:
    ledger.reserve("run", PLAN)
    first = charge(ledger, FIRST)
    ledger.settle(first, b"values", b"receipt")
    size = ledger.head().size
    again = charge(ledger, FIRST)
    assert again.answered is not None
    assert (again.answered.values, again.answered.receipt) == (b"values", b"receipt")
    assert (again.position, again.leaf_hash) == (first.position, first.leaf_hash)
    assert (ledger.spent, ledger.head().size) == (ONCE, size)


def test_a_settled_release_is_answered_after_the_run_has_ended(ledger: Ledger) -> None:
    complete(ledger, "run")
    assert charge(ledger, FIRST).answered is not None


def test_a_charge_that_was_never_settled_is_charged_again_in_full(ledger: Ledger) -> None:
    ledger.reserve("run", PLAN)
    charge(ledger, FIRST)
    again = charge(ledger, FIRST)
    assert again.answered is None
    assert (ledger.spent, ledger.held) == (2 * ONCE, TOTAL - ONCE)
    ledger.settle(again, b"values", b"receipt")
    assert charge(ledger, FIRST).answered is not None


def test_repeated_charges_stop_at_the_cap(ledger: Ledger) -> None:
    ledger.reserve("run", PLAN)
    for _ in range(3):
        charge(ledger, FIRST)
    with pytest.raises(BudgetExceeded, match=r"attempt 4 .* left, 0\.125 of a cap of 1, got 0\.25 asked"):
        charge(ledger, FIRST)
    assert (ledger.spent, ledger.held) == (3 * ONCE, TOTAL - ONCE)


@pytest.mark.parametrize("settled", [False, True])
def test_a_release_for_another_state_is_refused(ledger: Ledger, settled: bool) -> None:
    ledger.reserve("run", PLAN)
    first = charge(ledger, FIRST)
    if settled:
        ledger.settle(first, b"values", b"receipt")
    with pytest.raises(Refused, match="state"):
        charge(ledger, FIRST, state="0" * 64)
    assert ledger.spent == ONCE


@pytest.mark.parametrize("release", [("unknown", 0), ("gradient", 2), ("gradient", -1)])
def test_a_release_that_the_plan_has_not_is_refused_before_anything_is_written(
    ledger: Ledger, release: tuple[str, int]
) -> None:
    ledger.reserve("run", PLAN)
    size = ledger.head().size
    with pytest.raises(InputError, match="event"):
        charge(ledger, release)
    assert (ledger.spent, ledger.head().size) == (0, size)


@pytest.mark.parametrize("release", [("gradient", 0), ("gradient", 1)])
def test_releases_out_of_the_plans_order_are_refused(ledger: Ledger, release: tuple[str, int]) -> None:
    ledger.reserve("run", PLAN)
    with pytest.raises(Refused, match="order"):
        charge(ledger, release)
    assert ledger.spent == 0


def test_a_release_is_settled_once_under_its_latest_charge(ledger: Ledger) -> None:
    ledger.reserve("run", PLAN)
    earlier, later = charge(ledger, FIRST), charge(ledger, FIRST)
    with pytest.raises(Refused, match="latest"):
        ledger.settle(earlier, b"values", b"receipt")
    ledger.settle(later, b"values", b"receipt")
    ledger.settle(later, b"values", b"receipt")
    for attempt, values in [(later, b"others"), (earlier, b"values")]:
        with pytest.raises(Refused, match="once"):
            ledger.settle(attempt, values, b"receipt")
    with pytest.raises(Refused, match="position of a charge"):
        ledger.settle(Charge(0, b""), b"values", b"receipt")
    assert ledger.verify().size == 5


def test_clocks_decide_nothing(path: Path) -> None:
    times = iter([NOW, 0, 2 * NOW, 1, 3, 2, 1, 0, 5])
    ledger = Ledger.create(path, SITE, Decimal(1), clock=lambda: next(times))
    complete(ledger, "run")
    assert ledger.spent == TOTAL
    assert ledger.verify().size == 9


@given(st.lists(st.tuples(st.integers(1, 2**20), st.integers(1, 2**20), st.integers(1, 5)), min_size=1, max_size=8))
def test_sums_are_exact_and_never_above_the_cap(specs: list[tuple[int, int, int]]) -> None:
    balance, cap, spent = Balance(), Fraction(2), Fraction(0)
    balance.apply(Opened(SITE, "kith/North", "2", "0.00001", 0))
    for number, (sensitivity, noise, times) in enumerate(specs):
        event = GaussianSum("event", times, 1, 0, sensitivity, noise)
        asked, once, run = amounts.total(plan(events=(event,))), amounts.once(event), str(number)
        assert once * times == asked >= event.mu_squared
        reserve = Reserved(run, "0" * 64, amounts.to_text(asked), 0)
        if asked > cap - spent:
            with pytest.raises(BudgetExceeded):
                balance.apply(reserve)
            continue
        balance.apply(reserve)
        for index in range(times):
            spent += once
            texts = amounts.to_text(once), amounts.to_text(spent)
            balance.apply(Charged(run, "0" * 64, "event", index, 0, "0" * 64, *texts, 0))
        assert (balance.spent, balance.held) == (spent, 0)
    assert balance.spent <= cap


# Crashes, races, full disks


def steps_of_a_run(path: Path, on_step: Callable[[str], None]) -> None:
    ledger = Ledger.create(path, SITE, Decimal(1), on_step=on_step)
    ledger.reserve("run", PLAN)
    for release in all_releases():
        ledger.settle(charge(ledger, release), b"values", b"receipt")
    ledger.end("run")


def all_steps(path: Path) -> list[str]:
    steps: list[str] = []
    steps_of_a_run(path, steps.append)
    return steps


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


def killed_at(path: Path, number: int) -> None:
    seen = 0

    def on_step(step: str) -> None:
        nonlocal seen
        del step
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)
        seen += 1

    child = forked(lambda: steps_of_a_run(path, on_step))
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


def test_a_kill_at_any_step_never_lowers_what_was_spent_and_a_restart_goes_on(tmp_path: Path) -> None:
    steps = all_steps(tmp_path / "whole.ledger")
    committed = Fraction(0)
    releases = iter(all_releases())
    for number, step in enumerate(steps):
        path = tmp_path / f"{number}.ledger"
        killed_at(path, number)
        if step == "charge: committed":
            committed += amounts.once(PLAN.event(next(releases)[0]))
        if step.startswith("create:"):
            assert path.exists() == (step == "create: linked")
            continue
        ledger = Ledger.open(path)
        assert ledger.spent == committed, step
        ledger.verify()
        if not step.startswith("end:"):
            complete(ledger, "run")
            assert ledger.spent in (TOTAL, TOTAL + ONCE, TOTAL + Fraction(1, 16)), step
            assert ledger.held == 0
        ledger.verify()
        ledger.close()
    assert committed == TOTAL


def test_a_kill_between_charge_and_settle_costs_the_release_again(path: Path) -> None:
    steps = all_steps(path.with_suffix(".whole"))
    killed_at(path, steps.index("charge: committed"))
    ledger = Ledger.open(path)
    assert charge(ledger, FIRST).answered is None
    assert ledger.spent == 2 * ONCE


def test_two_processes_share_one_budget(path: Path) -> None:
    Ledger.create(path, SITE, Decimal(TOTAL.numerator * 5) / TOTAL.denominator).close()

    def reserve(worker: int) -> None:
        ledger = Ledger.open(path)
        for number in range(5):
            try:
                complete(ledger, f"{worker}-{number}")
            except BudgetExceeded:
                continue

    child = forked(lambda: reserve(1))
    reserve(2)
    assert os.waitpid(child, 0)[1] == 0
    ledger = Ledger.open(path)
    assert (ledger.spent, ledger.held) == (5 * TOTAL, 0)
    ledger.verify()


def test_a_ledger_open_twice_sees_what_the_other_wrote(ledger: Ledger, path: Path) -> None:
    other = Ledger.open(path)
    complete(other, "one")
    assert ledger.spent == TOTAL
    complete(ledger, "two")
    assert other.spent == 2 * TOTAL
    other.close()


def test_a_full_disk_is_an_error_of_ours_and_loses_nothing(ledger: Ledger, path: Path) -> None:
    ledger.reserve("run", PLAN)
    first = charge(ledger, FIRST)
    connection = ledger._file._connection
    connection.execute(f"PRAGMA max_page_count = {path.stat().st_size // 4096}")
    with pytest.raises(LedgerUnavailable, match="full"):
        ledger.settle(first, bytes(10_000), b"receipt")
    assert (ledger.spent, ledger.head().size) == (ONCE, 3)
    ledger.verify()
    connection.execute("PRAGMA max_page_count = 100000")
    ledger.settle(first, bytes(10_000), b"receipt")
    assert charge(ledger, FIRST).answered is not None


# Proof


def test_checkpoints_and_proofs_hold_at_every_size(ledger: Ledger) -> None:
    signer = FixedSigner(2)
    verifier = signing.verifier(signer.public)
    heads = []
    for run in ("one", "two"):
        complete(ledger, run)
        heads.append(checkpoint.open_note(ledger.checkpoint(signer), checkpoint.origin_of(SITE), verifier))
    for proof in ledger.proofs("one", heads[0].size):
        merkle.verify_inclusion(merkle.leaf_hash(proof.leaf), proof.position, heads[0].size, proof.path, heads[0].root)
    consistency = ledger.consistency(heads[0].size)
    merkle.verify_consistency(heads[0].size, heads[1].size, consistency, heads[0].root, heads[1].root)
    excerpt = ledger.excerpt("two", signer).verified(SITE, verifier)
    assert excerpt.head == heads[1]
    assert [(one.event, one.index) for one in excerpt.charges.values()] == all_releases()
    assert ledger.verify(heads[0]) == heads[1]


def test_a_ledger_put_back_to_an_earlier_copy_is_found_by_a_checkpoint_held_elsewhere(path: Path) -> None:
    ledger = Ledger.create(path, SITE, Decimal(1), clock=clock)
    earlier = path.read_bytes()
    complete(ledger, "run")
    held = ledger.head()
    ledger.close()
    path.write_bytes(earlier)
    rolled_back = Ledger.open(path, clock=clock)
    with pytest.raises(VerificationFailed, match="at least"):
        rolled_back.verify(held)
    for number in range(10):
        rolled_back.reserve(f"other {number}", plan(events=(GaussianSum("event", 1, 1, 0, 1, 10),)))
    with pytest.raises(VerificationFailed, match="as the checkpoint has them"):
        rolled_back.verify(held)


def lower_a_charge(leaf: bytes) -> bytes:
    return leaf.replace(b'"mu2":"0.25"', b'"mu2":"0.05"').replace(b'"spent":"0.25"', b'"spent":"0.05"')


def raise_the_cap(leaf: bytes) -> bytes:
    return leaf.replace(b'"cap":"1"', b'"cap":"9"')


def date_later(leaf: bytes) -> bytes:
    return leaf.replace(b"%d" % NOW, b"%d" % (NOW + 1))


TAMPERING = {
    "a charge made cheaper": "UPDATE entries SET leaf = lower_a_charge(leaf) WHERE position = 2",
    "a later date": "UPDATE entries SET leaf = date_later(leaf) WHERE position = 7",
    "another cap": "UPDATE entries SET leaf = raise_the_cap(leaf) WHERE position = 0",
    "the last entry removed": "DELETE FROM entries WHERE position = 8",
    "a charge removed": "DELETE FROM entries WHERE position = 2",
    "an entry before the first": "INSERT INTO entries SELECT -1, leaf FROM entries WHERE position = 1",
    "no JSON": "UPDATE entries SET leaf = x'00' WHERE position = 3",
    "a tree node": "UPDATE nodes SET hash = zeroblob(32) WHERE level = 1 AND position = 0",
    "a tree node removed": "DELETE FROM nodes WHERE level = 2 AND position = 0",
    "a stored contribution": "UPDATE contributions SET \"values\" = x'00'",
    "a stored receipt": "UPDATE contributions SET receipt = x'00'",
    "a contribution removed": "DELETE FROM contributions WHERE charge = 2",
}


@pytest.mark.parametrize("statement", TAMPERING.values(), ids=TAMPERING.keys())
def test_tampering_with_a_row_is_found(ledger: Ledger, path: Path, statement: str) -> None:
    complete(ledger, "run")
    ledger.verify()
    connection = sqlite3.connect(path)
    for change in (lower_a_charge, raise_the_cap, date_later):
        connection.create_function(change.__name__, 1, change)
    triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    assert connection.execute(statement).rowcount > 0
    for _, sql in triggers:
        connection.execute(sql)
    connection.commit()
    connection.close()
    with pytest.raises((VerificationFailed, InputError)):
        Ledger.open(path).verify()
    with pytest.raises(VerificationFailed):
        ledger.verify()


@pytest.mark.parametrize("statement", ["UPDATE entries SET leaf = leaf", "DELETE FROM entries", "DELETE FROM nodes"])
def test_sql_that_rewrites_the_past_is_refused_by_the_file_itself(ledger: Ledger, path: Path, statement: str) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="append only"):
        sqlite3.connect(path).execute(statement)
    ledger.verify()


# Files


def test_an_existing_file_is_never_overwritten(ledger: Ledger, path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(InputError, match="new file"):
        Ledger.create(path, SITE, Decimal(1))
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_foreign_and_damaged_files_are_refused_and_left_alone(ledger: Ledger, path: Path) -> None:
    whole = path.read_bytes()
    foreign = path.with_name("foreign")
    sqlite3.connect(foreign).execute("CREATE TABLE entries (position INTEGER PRIMARY KEY, leaf BLOB NOT NULL)")
    for content in (b"", b"not a database at all" * 400, whole[:5000], foreign.read_bytes(), whole[:100] + bytes(9000)):
        damaged = path.with_name("damaged")
        damaged.write_bytes(content)
        with pytest.raises(KithError):
            Ledger.open(damaged)
        assert damaged.read_bytes() == content
    with pytest.raises(InputError, match="got none"):
        Ledger.open(path.with_name("absent"))
    assert not path.with_name("absent").exists()


def test_only_its_owner_may_read_a_ledger(ledger: Ledger, path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    assert ledger.site == SITE


@pytest.mark.parametrize("cap", ["-1", "NaN", "Infinity", "1000001", "1E-21"])
def test_caps_that_are_no_budget_are_refused(path: Path, cap: str) -> None:
    with pytest.raises(InputError, match="cap"):
        Ledger.create(path, SITE, Decimal(cap))
    assert not path.exists()


@given(st.binary(max_size=200))
def test_arbitrary_leaves_are_refused_without_a_traceback(leaf: bytes) -> None:
    with pytest.raises(InputError):
        entries.from_leaf(leaf, "entry")
