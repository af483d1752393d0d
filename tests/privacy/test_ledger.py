"""What a ledger does on either database. Who is left out: test_ledger_filter.py; crashes and attacks beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import sqlalchemy as sa

from privacy import amounts, checkpoint, merkle, signing
from privacy.balance import MAX_ATTEMPTS, Balance
from privacy.entries import Charged, Opened, Reserved
from privacy.errors import BudgetExceeded, InputError, KithError, Refused, VerificationFailed
from privacy.ledger import Charge, Ledger
from privacy.ledger_records import Cohort, MemoryBook
from privacy.marks import Marks
from privacy.plan import GaussianSum, SiteBound
from tests.postgresql import own_database_or_skip
from tests.privacy.fixed_signer import FixedSigner
from tests.privacy.small_ledger import (
    FIRST,
    ONCE,
    PLAN,
    RELEASES,
    SECOND,
    SITE,
    STAFF,
    TOTAL,
    budget,
    charge,
    clock,
    complete,
    decided,
    following,
    next_period,
    own_schema,
    people,
    sqlite_address,
)
from tests.privacy.small_release import NOW, plan

ANN = people(0)
MARK = next(iter(ANN))


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with own_database_or_skip() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path | str]:
    if request.param == "sqlite":
        yield sqlite_address(tmp_path)
        return
    with own_schema(request.getfixturevalue("database")) as url:
        yield url


@pytest.fixture
def ledger(address: Path | str) -> Iterator[Ledger]:
    ledger = Ledger.create(address, SITE, budget(), clock=clock)
    yield ledger
    ledger.close()


def amounts_of(ledger: Ledger) -> tuple[Fraction, Fraction]:
    totals = ledger.totals
    return totals.spent, totals.held


# Spending


def test_a_new_ledger_has_spent_nothing(ledger: Ledger) -> None:
    assert (ledger.site, ledger.budget, ledger.head().size, ledger.open_runs) == (SITE, budget(), 1, {})
    assert amounts_of(ledger) == (0, 0)
    assert ledger.decisions() == ((NOW, budget()),)
    assert list(ledger.spending()) == []
    assert ledger.verify() == ledger.head()


def test_its_id_is_the_leaf_hash_of_its_opening_entry(ledger: Ledger) -> None:
    assert ledger.id == merkle.leaf_hash(ledger.inclusion(0).leaf).hex()


def test_a_reservation_is_held_and_becomes_a_charge_release_by_release(ledger: Ledger) -> None:
    assert ledger.reserve("run", PLAN, STAFF).members == STAFF
    assert amounts_of(ledger) == (0, TOTAL)
    assert ledger.open_runs == {"run": TOTAL}
    charge(ledger, FIRST)
    assert amounts_of(ledger) == (ONCE, TOTAL - ONCE)
    assert ledger.totals.held_by_group == {"all": TOTAL - ONCE}


def test_a_second_run_of_the_same_plan_composes_with_the_first(ledger: Ledger) -> None:
    complete(ledger, "one")
    complete(ledger, "two")
    assert amounts_of(ledger) == (2 * TOTAL, 0)
    assert ledger.balance_of(MARK).spent == 2 * TOTAL


def test_a_plan_over_a_cap_is_refused_with_the_cap_and_what_was_asked(ledger: Ledger) -> None:
    dear = plan(events=(GaussianSum("gradient", 5, 3, 20, 1, 2),))
    with pytest.raises(BudgetExceeded, match=r"charged in all in a period, 1, got 1\.25 asked"):
        ledger.reserve("run", dear, STAFF)
    assert (ledger.head().size, ledger.knows("run")) == (1, False)
    with pytest.raises(Refused, match="reservation"):
        charge(ledger, FIRST)


def test_a_plan_that_takes_exactly_the_cap_is_accepted(tmp_path: Path) -> None:
    ledger = Ledger.create(sqlite_address(tmp_path), SITE, budget("0.375"))
    complete(ledger, "run")
    assert ledger.balance_of(MARK).left == 0


def test_the_end_of_a_run_frees_what_was_not_charged_and_nothing_else(ledger: Ledger) -> None:
    ledger.reserve("run", PLAN, STAFF)
    charge(ledger, FIRST)
    ledger.end("run")
    size = ledger.head().size
    ledger.end("run")
    assert (ledger.head().size, amounts_of(ledger)) == (size, (ONCE, 0))
    for release in (FIRST, SECOND):
        with pytest.raises(Refused, match="ended"):
            charge(ledger, release)
    assert amounts_of(ledger) == (ONCE, 0)
    with pytest.raises(Refused, match="open run"):
        ledger.end("another")


def test_reserving_again_gives_the_same_members_and_changes_nothing(ledger: Ledger) -> None:
    first = ledger.reserve("run", PLAN, STAFF)
    size = ledger.head().size
    assert ledger.reserve("run", PLAN, people(7, 8)) == first == ledger.reservation("run")
    ledger.end("run")
    assert ledger.reserve("run", PLAN, ()) == first  # as when a release was lost and all is asked for again
    assert (ledger.head().size, amounts_of(ledger)) == (size + 1, (0, 0))


def test_another_plan_of_a_run_is_refused(ledger: Ledger) -> None:
    ledger.reserve("run", PLAN, STAFF)
    other = plan(clip="2")
    with pytest.raises(Refused, match="plan"):
        ledger.reserve("run", other, STAFF)
    with pytest.raises(Refused, match="plan"):
        charge(ledger, FIRST, plan=other)
    assert amounts_of(ledger) == (0, TOTAL)


def test_a_plan_without_this_site_a_purpose_in_no_group_and_what_are_no_marks_are_refused(ledger: Ledger) -> None:
    with pytest.raises(InputError, match="North"):
        ledger.reserve("run", plan(sites=(SiteBound("Elsewhere", 10),)), STAFF)
    with pytest.raises(Refused, match="gossip"):
        ledger.reserve("run", plan(use_case="gossip"), STAFF)
    with pytest.raises(InputError, match="16 bytes"):
        ledger.reserve("run", PLAN, [b"7"])
    with pytest.raises(InputError, match="run"):
        ledger.reserve("", PLAN, STAFF)
    assert ledger.head().size == 1


@pytest.mark.parametrize("ask", [Ledger.members, Ledger.reservation, Ledger.end])
def test_a_run_that_is_not_known_is_refused(ledger: Ledger, ask: object) -> None:
    with pytest.raises(Refused, match="run 'unknown'"):
        ask(ledger, "unknown")  # type: ignore[operator]


# Releases


def test_a_settled_release_is_answered_with_the_same_bytes_and_no_charge(ledger: Ledger) -> None:
    ledger.reserve("run", PLAN, STAFF)
    first = charge(ledger, FIRST)
    ledger.settle(first, b"values", b"receipt")
    size = ledger.head().size
    again = charge(ledger, FIRST)
    assert again.answered is not None
    assert (again.answered.values, again.answered.receipt) == (b"values", b"receipt")
    assert (again.position, again.leaf_hash) == (first.position, first.leaf_hash)
    assert (amounts_of(ledger)[0], ledger.head().size) == (ONCE, size)


def test_a_settled_release_is_answered_after_the_run_has_ended(ledger: Ledger) -> None:
    complete(ledger, "run")
    assert charge(ledger, FIRST).answered is not None


def test_a_charge_that_was_never_settled_is_charged_again_in_full(ledger: Ledger) -> None:
    ledger.reserve("run", PLAN, STAFF)
    charge(ledger, FIRST)
    again = charge(ledger, FIRST)
    assert again.answered is None
    assert amounts_of(ledger) == (2 * ONCE, TOTAL - ONCE)
    ledger.settle(again, b"values", b"receipt")
    assert charge(ledger, FIRST).answered is not None


def test_repeated_charges_stop_where_they_would_fit_nobody(ledger: Ledger) -> None:
    ledger.decide(decided(ledger, next_period(budget(), cap="0.75")))
    ledger.reserve("run", PLAN, STAFF)
    for _ in range(2):
        charge(ledger, FIRST)
    assert ledger.balance_of(MARK).left == Fraction(1, 8)
    with pytest.raises(BudgetExceeded, match=r"attempt 3 .*in a period, 0\.75, got 0\.875 asked"):
        charge(ledger, FIRST)
    assert amounts_of(ledger) == (2 * ONCE, TOTAL - ONCE)


def test_a_release_is_charged_a_few_times_and_never_again_however_large_the_budget(ledger: Ledger) -> None:
    groups = (replace(budget().groups[0], cap="100"),)
    ledger.decide(decided(ledger, next_period(budget(), cap="100", groups=groups)))
    ledger.reserve("run", PLAN, STAFF)
    for _ in range(MAX_ATTEMPTS):
        last = charge(ledger, FIRST)
    size = ledger.head().size
    with pytest.raises(Refused, match=r"attempt 4 at release .* 0: expected at most 3 charges of one release"):
        charge(ledger, FIRST)
    assert (ledger.head().size, amounts_of(ledger)) == (size, (MAX_ATTEMPTS * ONCE, TOTAL - ONCE))
    ledger.settle(last, b"values", b"receipt")
    assert charge(ledger, FIRST).answered is not None
    charge(ledger, SECOND)
    ledger.verify()


@pytest.mark.parametrize("settled", [False, True])
def test_a_release_for_another_state_is_refused(ledger: Ledger, settled: bool) -> None:
    ledger.reserve("run", PLAN, STAFF)
    first = charge(ledger, FIRST)
    if settled:
        ledger.settle(first, b"values", b"receipt")
    with pytest.raises(Refused, match="state"):
        charge(ledger, FIRST, state="0" * 64)
    assert amounts_of(ledger)[0] == ONCE


@pytest.mark.parametrize("release", [("unknown", 0), ("gradient", 2), ("gradient", -1)])
def test_a_release_that_the_plan_has_not_is_refused_before_anything_is_written(
    ledger: Ledger, release: tuple[str, int]
) -> None:
    ledger.reserve("run", PLAN, STAFF)
    with pytest.raises(InputError, match="event"):
        charge(ledger, release)
    assert (amounts_of(ledger)[0], ledger.head().size) == (0, 2)


@pytest.mark.parametrize("release", [FIRST, ("gradient", 0)])
def test_releases_out_of_the_plans_order_are_refused(ledger: Ledger, release: tuple[str, int]) -> None:
    ledger.reserve("run", PLAN, STAFF)
    charge(ledger, ("gradient", 1))
    with pytest.raises(Refused, match="order"):
        charge(ledger, release)
    assert ledger.head().size == 3


def test_a_repeated_charge_of_an_earlier_release_opens_no_way_back(ledger: Ledger) -> None:
    ledger.reserve("run", PLAN, STAFF)
    charge(ledger, FIRST)
    charge(ledger, ("gradient", 1))
    charge(ledger, FIRST)  # never settled
    with pytest.raises(Refused, match="order"):
        charge(ledger, ("gradient", 0))
    assert ledger.verify().size == 5


def test_releases_that_a_site_was_not_there_for_are_passed_over_and_not_charged(ledger: Ledger) -> None:
    ledger.reserve("run", PLAN, STAFF)
    charge(ledger, ("gradient", 1))
    assert amounts_of(ledger)[0] == PLAN.event("gradient").mu_squared_once


def test_a_release_is_settled_once_under_its_latest_charge(ledger: Ledger) -> None:
    ledger.reserve("run", PLAN, STAFF)
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


def test_what_was_charged_before_the_end_may_be_settled_after_it_and_is_paid_for(ledger: Ledger) -> None:
    ledger.reserve("run", PLAN, STAFF)
    late = charge(ledger, FIRST)
    ledger.end("run")
    ledger.settle(late, b"values", b"receipt")
    assert charge(ledger, FIRST).answered is not None
    assert (amounts_of(ledger), ledger.verify().size) == ((ONCE, 0), 5)


@pytest.mark.parametrize("times", [(NOW, 0, 2 * NOW, 1, 3, 2, 1, 0, 5), range(9, 0, -1), (-5,) * 9, (2**60,) * 9])
def test_clocks_decide_nothing(address: Path | str, times: tuple[int, ...]) -> None:
    given = iter(times)
    ledger = Ledger.create(address, SITE, budget(), clock=lambda: next(given))
    complete(ledger, "run")
    assert (amounts_of(ledger), ledger.verify().size) == ((TOTAL, 0), 9)
    assert [one.spent for one in ledger.spending()] == [Fraction(1, 4), Fraction(5, 16), Fraction(3, 8)]
    ledger.close()


# Budgets


def test_a_new_period_starts_from_nothing_and_the_lifetime_goes_on(ledger: Ledger) -> None:
    complete(ledger, "one")
    new = next_period(budget(), cap="0.5")
    assert ledger.decide(decided(ledger, new)) == new == ledger.budget
    assert (ledger.totals.spent, ledger.totals.lifetime, ledger.totals.spent_by_group) == (0, TOTAL, {"all": 0})
    complete(ledger, "two")
    person = ledger.balance_of(MARK)
    assert (person.spent, person.lifetime, person.left) == (TOTAL, 2 * TOTAL, Fraction(1, 8))
    assert [(one.period, one.spent) for one in ledger.spending()][::3] == [(0, ONCE), (1, ONCE)]
    assert [one for _, one in ledger.decisions()] == [budget(), new]
    assert ledger.verify().size == 18


def test_a_raised_cap_within_a_period_keeps_what_was_spent(ledger: Ledger) -> None:
    complete(ledger, "one")
    complete(ledger, "two")
    groups = (replace(budget().groups[0], cap="2"),)
    ledger.decide(decided(ledger, following(budget(), cap="2", groups=groups)))
    person = ledger.balance_of(MARK)
    assert (person.spent, person.left, ledger.totals.spent) == (2 * TOTAL, 2 - 2 * TOTAL, 2 * TOTAL)
    assert ledger.reserve("three", PLAN, STAFF).left_out == 0
    ledger.verify()


# Proof


def test_checkpoints_and_proofs_hold_at_every_size(ledger: Ledger) -> None:
    signer = FixedSigner(2)
    verifier = signing.verifier(signer.public)
    heads = []
    for run in ("one", "two"):
        complete(ledger, run)
        heads.append(checkpoint.open_note(ledger.checkpoint(signer), checkpoint.origin_of(SITE), verifier))
    for size in range(1, heads[1].size + 1):
        root = merkle.root([merkle.leaf_hash(ledger.inclusion(n).leaf) for n in range(size)])
        for position in (0, size // 2, size - 1):
            proof = ledger.inclusion(position, size)
            merkle.verify_inclusion(merkle.leaf_hash(proof.leaf), position, size, proof.path, root)
        merkle.verify_consistency(size, heads[1].size, ledger.consistency(size), root, heads[1].root)
        merkle.verify_consistency(1, size, ledger.consistency(1, size), bytes.fromhex(ledger.id), root)
    assert ledger.verify(heads[0]) == heads[1]


def test_an_excerpt_shows_what_allowed_and_charged_a_run(ledger: Ledger) -> None:
    signer = FixedSigner(2)
    complete(ledger, "one")
    new = next_period(budget())
    ledger.decide(decided(ledger, new))
    complete(ledger, "two")
    for run, allowed in (("one", budget()), ("two", new)):
        shown = ledger.excerpt(run, signer).verified(SITE, signing.verifier(signer.public))
        assert (shown.head, shown.budget, shown.reserved.run) == (ledger.head(), allowed, run)
        assert [(one.event, one.index) for one in shown.charges.values()] == list(RELEASES)
    with pytest.raises(Refused, match="reservation"):
        ledger.excerpt("three", signer)


@pytest.mark.parametrize(("position", "size"), [(1, None), (0, 2), (-1, None), (0, 0)])
def test_proofs_of_what_is_not_there_are_refused(ledger: Ledger, position: int, size: int | None) -> None:
    with pytest.raises(InputError, match=r"expected a (leaf|size)"):
        ledger.inclusion(position, size)


# Opening


def test_a_ledger_is_found_again_as_it_was(ledger: Ledger, address: Path | str) -> None:
    complete(ledger, "one")
    ledger.reserve("two", PLAN, STAFF)
    charge(ledger, FIRST, "two")
    other = Ledger.open(address, clock=clock)
    assert (other.id, other.site, other.budget, other.totals) == (ledger.id, SITE, budget(), ledger.totals)
    assert (other.head(), other.open_runs) == (ledger.head(), {"two": TOTAL - ONCE})
    assert other.members("two") == STAFF
    other.close()


def test_a_ledger_open_twice_sees_what_the_other_wrote(ledger: Ledger, address: Path | str) -> None:
    other = Ledger.open(address, clock=clock)
    complete(other, "one")
    assert amounts_of(ledger) == (TOTAL, 0)
    complete(ledger, "two")
    assert amounts_of(other) == (2 * TOTAL, 0)
    other.close()


def test_what_is_there_already_is_never_overwritten(ledger: Ledger, address: Path | str) -> None:
    complete(ledger, "run")
    with pytest.raises(InputError, match=r"expected a (new file|database without)"):
        Ledger.create(address, SITE, budget())
    assert ledger.verify().size == 9


def statements(ledger: Ledger, work: object) -> list[str]:
    """What `work` has the database do."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        work()  # type: ignore[operator]
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    return seen


def test_neither_opening_nor_a_charge_reads_the_log(ledger: Ledger, address: Path | str) -> None:
    def opening() -> list[str]:
        return statements(ledger, lambda: Ledger.open(address).close())

    def charging(run: str, marks: Marks) -> list[str]:
        ledger.reserve(run, PLAN, marks)
        return statements(ledger, lambda: charge(ledger, FIRST, run))

    def without_nodes(given: list[str]) -> list[str]:
        return [one for one in given if "FROM ledger_nodes" not in one]

    long = plan(events=(GaussianSum("gradient", 20, 1, 0, 1, 1000),))
    opened, charged = opening(), charging("short", STAFF)
    complete(ledger, "long", STAFF, long)
    assert opening() == opened
    assert without_nodes(charging("longer", people(*range(1000)))) == without_nodes(charged)
    assert 5 < len(charged) < 30
    for statement in opened + charged:
        if "FROM ledger_entries" in statement:
            assert "ledger_entries.position = " in statement


@pytest.mark.parametrize("named", [None, "ab" * 32], ids=["no key", "a key"])
def test_a_ledger_is_its_site_s_and_for_its_key_of_marks(address: Path | str, named: str | None) -> None:
    Ledger.create(address, SITE, budget(), marks=named).close()
    ledger = Ledger.open(address)
    for site, marks in ((SITE, "cd" * 32), ("South", "ab" * 32)):
        with pytest.raises(InputError, match=r"rule 2"):
            ledger.check_owner(site, marks)
    if named:
        ledger.check_owner(SITE, named)
    ledger.close()


def test_a_fingerprint_that_is_none_opens_no_ledger(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="64 lower-case"):
        Ledger.create(sqlite_address(tmp_path), SITE, budget(), marks="a key")
    assert list(tmp_path.iterdir()) == []


# Sums


class NoMarks:
    """Entries that nobody is in."""

    def __init__(self, first: bytes) -> None:
        self.first = first

    def leaf(self, position: int) -> bytes:
        assert position == 0
        return self.first

    def cohort(self, digest: str) -> Cohort:
        return Cohort(digest, 0)

    def members(self, crowd: str) -> Marks:
        return frozenset()


@pytest.mark.parametrize("seed", range(20))
def test_sums_are_exact_and_what_is_asked_is_never_less_than_its_true_cost(seed: int) -> None:
    from privacy import entries

    drawn = hashlib.shake_256(b"%d" % seed).digest(60)
    numbers = [int.from_bytes(drawn[n : n + 3], "big") % 2**20 + 1 for n in range(0, 60, 3)]
    opened = Opened(SITE, checkpoint.origin_of(SITE), budget("1000000"), 0)
    balance, spent = Balance(MemoryBook(NoMarks(entries.to_leaf(opened)))), Fraction(0)
    balance.apply(opened)
    for number, (sensitivity, noise, times) in enumerate(zip(numbers[::3], numbers[1::3], numbers[2::3], strict=False)):
        times = times % 5 + 1
        event = GaussianSum("event", times, 1, 0, sensitivity, noise)
        asked, once, run = amounts.total(plan(events=(event,))), amounts.once(event), str(number)
        assert once * times == asked >= event.mu_squared
        reserve = Reserved(run, "0" * 64, "retention", "all", 0, amounts.to_text(asked), "0" * 64, 0)
        if asked > 1000000:
            with pytest.raises(BudgetExceeded):
                balance.apply(reserve)
            continue
        balance.apply(reserve)
        for index in range(times):
            spent += once
            total = amounts.to_text(spent)
            state = hashlib.sha256(b"state").hexdigest()
            balance.apply(
                Charged(
                    run, "0" * 64, "event", index, 0, state, amounts.to_text(once), "0" * 64, total, total, total, 0
                )
            )
        assert (balance.totals().spent, balance.totals().held) == (spent, 0)
    assert spent


def test_an_opening_entry_comes_first_and_once() -> None:
    from privacy import entries

    opened = Opened(SITE, checkpoint.origin_of(SITE), budget(), 0)
    for first in (None, opened):
        balance = Balance(MemoryBook(NoMarks(entries.to_leaf(opened))))
        if first:
            balance.apply(first)
        second = opened if first else Reserved("run", "0" * 64, "retention", "all", 0, "1", "0" * 64, 0)
        with pytest.raises(Refused, match="rule 2"):
            balance.apply(second)
    with pytest.raises(Refused, match="budget 0 of period 0"):
        Balance(MemoryBook(NoMarks(b""))).apply(replace(opened, budget=replace(budget(), number=1)))


def test_a_server_that_loses_what_it_committed_is_refused(database: str) -> None:
    engine = sa.create_engine(database, isolation_level="AUTOCOMMIT")
    name = sa.make_url(database).database
    with own_schema(database) as url:
        Ledger.create(url, SITE, budget()).close()
        try:
            with engine.connect() as connection:
                connection.execute(sa.text(f"ALTER DATABASE {name} SET synchronous_commit = off"))
            with pytest.raises(InputError, match="synchronous_commit on, got off"):
                Ledger.open(url)
            with own_schema(database) as other, pytest.raises(InputError, match="synchronous_commit on, got off"):
                Ledger.create(other, SITE, budget())
        finally:
            with engine.connect() as connection:
                connection.execute(sa.text(f"ALTER DATABASE {name} RESET synchronous_commit"))
            engine.dispose()
        Ledger.open(url).close()


def test_a_database_without_a_ledger_and_an_unreachable_one_are_errors_of_ours(database: str) -> None:
    with own_schema(database) as url, pytest.raises(InputError, match="expected the tables of a Kith ledger"):
        Ledger.open(url)
    with pytest.raises(KithError, match="expected it to answer"):
        Ledger.open("postgresql+psycopg://root@127.0.0.1:1/nothing?connect_timeout=2")


def test_a_postgresql_database_may_hold_other_things_beside_a_ledger(database: str) -> None:
    with own_schema(database) as url:
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE people (number TEXT)"))
        engine.dispose()
        ledger = Ledger.create(url, SITE, budget())
        complete(ledger, "run")
        assert ledger.verify().size == 9
        ledger.close()


def test_a_held_checkpoint_of_another_log_or_a_longer_one_does_not_hold(ledger: Ledger) -> None:
    head = ledger.head()
    for held in (replace(head, origin="kith/South"), replace(head, size=2), replace(head, root=bytes(32))):
        with pytest.raises(VerificationFailed):
            ledger.verify(held)
