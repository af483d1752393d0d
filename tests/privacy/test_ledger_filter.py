"""Who is left out, and what each employee is charged: against hand-made cases and a model that knows every employee."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from privacy import amounts, entries
from privacy.balance import MAX_ATTEMPTS, Balance
from privacy.budget import Budget
from privacy.entries import Charged, Reserved
from privacy.errors import BudgetExceeded, Refused
from privacy.ledger import Charge, Ledger
from privacy.ledger_book import Crowds
from privacy.marks import Marks
from privacy.plan import GaussianSum, Plan
from tests.privacy.small_ledger import (
    FIRST,
    ONCE,
    PLAN,
    SITE,
    STAFF,
    STEP,
    TOTAL,
    budget,
    charge,
    clock,
    complete,
    decided,
    following,
    leaves,
    next_period,
    people,
    sqlite_address,
    two_groups,
)
from tests.privacy.small_release import plan

MENTORING = plan(use_case="mentoring")


def mark(number: int) -> bytes:
    return next(iter(people(number)))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger.create(sqlite_address(tmp_path), SITE, budget("0.5"), clock=clock)
    yield ledger
    ledger.close()


def grouped(folder: Path, cap: str, retention: str, mentoring: str) -> Ledger:
    return Ledger.create(sqlite_address(folder), SITE, two_groups(cap, retention, mentoring), clock=clock)


def test_only_who_ran_out_is_left_out(ledger: Ledger) -> None:
    complete(ledger, "one", people(1, 2, 3))
    found = ledger.reserve("two", PLAN, people(2, 3, 4, 5))
    assert (found.members, found.left_out) == (people(4, 5), 2)
    assert ledger.members("two") == people(4, 5)
    complete(ledger, "two", people(2, 3, 4, 5))
    assert [ledger.balance_of(mark(n)).spent for n in range(1, 6)] == [TOTAL] * 5
    ledger.verify()


def test_new_hires_have_spent_nothing(ledger: Ledger) -> None:
    complete(ledger, "one")
    new = ledger.balance_of(mark(99))
    assert (new.spent, new.held, new.left, new.lifetime, new.groups) == (
        0,
        0,
        Fraction(1, 2),
        0,
        {"all": (0, new.left)},
    )
    assert ledger.reserve("two", PLAN, STAFF | people(99)).members == people(99)


def test_what_an_open_run_holds_counts_until_it_ends(ledger: Ledger) -> None:
    ledger.reserve("one", PLAN, people(1))
    assert ledger.balance_of(mark(1)).held == TOTAL
    assert ledger.reserve("two", PLAN, people(1, 2)).members == people(2)
    ledger.end("one")
    assert ledger.reserve("three", PLAN, people(1)).members == people(1)


def test_a_group_s_cap_leaves_out_of_its_own_runs_alone(tmp_path: Path) -> None:
    ledger = grouped(tmp_path, "2", "0.5", "0.5")
    complete(ledger, "one", people(1, 2))
    assert ledger.reserve("two", PLAN, people(1, 2, 3)).members == people(3)
    assert ledger.reserve("three", MENTORING, people(1, 2, 3)).members == people(1, 2, 3)
    person = ledger.balance_of(mark(1))
    assert (person.spent, person.held, person.left) == (TOTAL, TOTAL, 2 - 2 * TOTAL)
    assert person.groups == {"keep": (TOTAL, Fraction(1, 8)), "grow": (0, Fraction(1, 8))}


def test_the_cap_in_all_leaves_out_of_every_group(tmp_path: Path) -> None:
    ledger = grouped(tmp_path, "0.5", "0.5", "0.5")
    complete(ledger, "one", people(1))
    assert ledger.reserve("two", MENTORING, people(1, 2)).members == people(2)


def test_a_plan_over_its_group_s_cap_is_refused(tmp_path: Path) -> None:
    ledger = grouped(tmp_path, "1", "0.25", "1")
    with pytest.raises(BudgetExceeded, match=r"for 'keep' in a period, 0\.25, got 0\.375"):
        ledger.reserve("run", PLAN, STAFF)
    assert ledger.reserve("run", MENTORING, STAFF).left_out == 0


def test_a_repeated_charge_drops_those_who_can_not_afford_it(tmp_path: Path) -> None:
    ledger = Ledger.create(sqlite_address(tmp_path), SITE, budget(), clock=clock)
    complete(ledger, "earlier", people(1))
    assert ledger.reserve("run", PLAN, people(1, 2)).left_out == 0
    first = entries.from_leaf(charge(ledger, FIRST).leaf, "charge")
    again = entries.from_leaf(charge(ledger, FIRST).leaf, "charge")
    assert isinstance(first, Charged)
    assert isinstance(again, Charged)
    assert ledger.members("run") == people(1, 2)  # 3/8 before, 1/4 twice, 1/8 held: exactly the cap
    third = entries.from_leaf(charge(ledger, FIRST).leaf, "charge")
    assert isinstance(third, Charged)
    assert len({first.cohort, again.cohort, third.cohort}) == 3  # also where nobody left: nobody sees whether one did
    assert (ledger.members("run"), ledger.reservation("run").left_out) == (people(2), 1)
    assert ledger.balance_of(mark(1)).spent == TOTAL + 2 * ONCE
    assert ledger.balance_of(mark(1)).held == 0
    assert ledger.balance_of(mark(2)).spent == 3 * ONCE
    ledger.verify()


def test_nobody_left_and_the_run_goes_on(ledger: Ledger) -> None:
    complete(ledger, "one")
    found = ledger.reserve("two", PLAN, STAFF)
    assert (found.members, found.left_out) == (frozenset(), len(STAFF))
    complete(ledger, "two")
    assert ledger.totals.spent == 2 * TOTAL
    assert ledger.balance_of(mark(1)).spent == TOTAL
    assert ledger.verify().size == 17


def test_a_run_for_nobody_at_all_goes_on(ledger: Ledger) -> None:
    complete(ledger, "run", frozenset())
    assert ledger.verify().size == 9


def test_a_new_period_lets_everybody_in_again(ledger: Ledger) -> None:
    complete(ledger, "one")
    assert ledger.reserve("two", PLAN, STAFF).left_out == len(STAFF)
    ledger.end("two")
    ledger.decide(decided(ledger, next_period(ledger.budget)))
    assert ledger.reserve("three", PLAN, STAFF).left_out == 0


def without_cohort(leaf: bytes) -> object:
    entry = entries.from_leaf(leaf, "entry")
    return replace(entry, cohort="0" * 64) if isinstance(entry, Reserved | Charged) else entry


def test_ledgers_of_different_people_differ_in_nothing_but_the_digests_of_cohorts(tmp_path: Path) -> None:
    """Runs that leave out all, some and nobody, with a repeated charge that somebody can not afford."""
    logs = []
    for name, first, second in (
        ("a", people(1), people(1)),
        ("b", people(*range(50)), people(7, 8)),
        ("c", *[STAFF] * 2),
    ):
        (tmp_path / name).mkdir()
        ledger = Ledger.create(sqlite_address(tmp_path / name), SITE, budget("0.75"), clock=clock)
        complete(ledger, "one", first)
        ledger.reserve("two", PLAN, second)
        charge(ledger, FIRST, "two")
        ledger.settle(charge(ledger, FIRST, "two"), b"values", b"receipt")
        ledger.end("two")
        logs.append(leaves(ledger))
        ledger.close()
    for other in logs[1:]:
        assert [len(leaf) for leaf in other] == [len(leaf) for leaf in logs[0]]
        assert [without_cohort(leaf) for leaf in other] == [without_cohort(leaf) for leaf in logs[0]]
        assert other != logs[0]


def test_the_same_people_twice_have_different_digests(ledger: Ledger) -> None:
    ledger.reserve("one", replace(PLAN, clip="2"), people(1))
    ledger.reserve("two", PLAN, people(2))
    ledger.end("two")
    ledger.reserve("three", PLAN, people(2))
    found = [entries.from_leaf(leaf, "entry") for leaf in leaves(ledger)]
    digests = [entry.cohort for entry in found if isinstance(entry, Reserved)]
    assert len(set(digests)) == 3


def test_fifty_cohorts_of_twenty_thousand_different_people(tmp_path: Path) -> None:
    """One fiftieth of the cap each: the 51st run is for those only who missed one at least."""
    small = plan(events=(GaussianSum("gradient", 1, 1, 0, 1, 100),))
    cost = amounts.total(small)
    ledger = Ledger.create(sqlite_address(tmp_path), SITE, budget(amounts.to_text(50 * cost)), clock=clock)
    everyone = sorted(people(*range(20_000 + 51 * 200)))
    for run in range(50):
        found = ledger.reserve(str(run), small, everyone[run * 200 : run * 200 + 20_000])
        assert (len(found.members), found.left_out) == (20_000, 0)
        ledger.charge(str(run), small, "gradient", 0, hashlib.sha256(b"").hexdigest())
        ledger.end(str(run))
    found = ledger.reserve("last", small, everyone)
    assert found.members == frozenset(everyone) - frozenset(everyone[49 * 200 : 20_000])
    assert ledger.balance_of(everyone[0]).spent == cost
    assert ledger.balance_of(everyone[12_000]).left == 0
    ledger.close()


def test_crowds_kept_in_memory_are_bounded() -> None:
    crowds = Crowds(most=10)
    for number in range(9):
        crowds.keep(str(number), people(*range(4)))
        crowds.keep(str(number), people(*range(4)))
        crowds.get("0")
    assert [name for name in map(str, range(9)) if crowds.get(name) is not None] == ["0", "8"]
    crowds.keep("large", people(*range(20)))
    assert (crowds.get("8"), crowds.get("large")) == (None, people(*range(20)))


# A model that knows everybody

CREW = range(6)
CAPS = {"all": Fraction(1), "keep": Fraction("0.6"), "grow": Fraction("0.7")}
EVENTS = (
    GaussianSum("one", 1, 1, 0, 1, 2),
    GaussianSum("two", 2, 1, 0, 1, 4),
    GaussianSum("three", 1, 1, 0, 1, 3),
)
STATE = hashlib.sha256(b"state").hexdigest()
subsets = st.sets(st.sampled_from(list(CREW))).map(lambda numbers: people(*numbers))


@dataclass
class OpenRun:
    """A run as the model has it."""

    plan: Plan
    group: str
    members: Marks
    left_out: int
    held: Fraction
    charged: Fraction = Fraction(0)
    done: int = 0
    pending: Charge | None = None
    """The latest charge of the latest release, if it is not settled."""
    attempts: int = 0
    """Charges of the latest release."""

    def release(self, number: int) -> tuple[str, int]:
        names = [(event.name, index) for event in self.plan.events for index in range(event.times)]
        return names[number]

    def once(self, number: int) -> Fraction:
        return amounts.once(self.plan.event(self.release(number)[0]))


@dataclass
class Person:
    """What the model says an employee was charged, by period and group."""

    charged: dict[tuple[int, str], Fraction] = field(default_factory=lambda: defaultdict(Fraction))

    def spent(self, period: int, group: str | None = None) -> Fraction:
        found = (v for (p, g), v in self.charged.items() if p == period and group in (None, g))
        return sum(found, Fraction(0))


class Spending(RuleBasedStateMachine):
    """Runs, charges, crashes and decisions in any order; every employee's sums are kept one by one."""

    @initialize()
    def create(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        caps = (amounts.to_text(CAPS[name]) for name in ("all", "keep", "grow"))
        self.ledger = Ledger.create(sqlite_address(self.folder), SITE, two_groups(*caps), clock=clock)
        self.caps = dict(CAPS)
        self.persons = {one: Person() for one in people(*CREW)}
        self.runs: dict[str, OpenRun] = {}
        self.period = self.count = 0
        self.total: dict[tuple[int, str], Fraction] = defaultdict(Fraction)

    def held(self, person: bytes, group: str | None = None) -> Fraction:
        found = (run.held for run in self.runs.values() if person in run.members and group in (None, run.group))
        return sum(found, Fraction(0))

    def affords(self, person: bytes, group: str, asked: Fraction) -> bool:
        known = self.persons[person]
        return all(
            known.spent(self.period, of) + self.held(person, of) + asked <= self.caps[of or "all"]
            for of in (None, group)
        )

    def open_run(self, data: st.DataObject) -> tuple[str, OpenRun]:
        name = data.draw(st.sampled_from(sorted(self.runs)))
        return name, self.runs[name]

    @rule(
        offered=subsets,
        use_case=st.sampled_from(["retention", "mentoring"]),
        chosen=st.sets(st.sampled_from([0, 1, 2])),
    )
    def reserve(self, offered: Marks, use_case: str, chosen: set[int]) -> None:
        self.count += 1
        name, group = f"run {self.count}", "keep" if use_case == "retention" else "grow"
        asked_of = plan(use_case=use_case, events=tuple(EVENTS[n] for n in sorted(chosen or {1})))
        asked = amounts.total(asked_of)
        if asked > min(self.caps["all"], self.caps[group]):
            with pytest.raises(BudgetExceeded):
                self.ledger.reserve(name, asked_of, offered)
            return
        members = frozenset(one for one in offered if self.affords(one, group, asked))
        found = self.ledger.reserve(name, asked_of, offered)
        assert (found.members, found.left_out) == (members, len(offered) - len(members))
        self.runs[name] = OpenRun(asked_of, group, members, found.left_out, asked)

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), settle=st.booleans())
    def charge(self, data: st.DataObject, settle: bool) -> None:
        """The next release; or the latest again, if it was never settled."""
        name, run = self.open_run(data)
        repeated = run.pending is not None
        number = run.done - 1 if repeated else run.done
        times = sum(event.times for event in run.plan.events)
        if number == times:
            return
        once, release = run.once(number), run.release(number)
        if repeated and run.attempts == MAX_ATTEMPTS:
            with pytest.raises(Refused, match="rule 7"):
                self.ledger.charge(name, run.plan, *release, STATE)
            return
        if repeated and run.charged + run.held + once > min(self.caps["all"], self.caps[run.group]):
            with pytest.raises(BudgetExceeded):
                self.ledger.charge(name, run.plan, *release, STATE)
            return
        if repeated:
            gone = {one for one in run.members if not self.affords(one, run.group, once)}
            run.members, run.left_out = run.members - gone, run.left_out + len(gone)
        else:
            run.held -= once
            run.done += 1
        run.pending, run.attempts = self.ledger.charge(name, run.plan, *release, STATE), 1 + repeated * run.attempts
        assert run.pending.answered is None
        run.charged += once
        self.total[self.period, run.group] += once
        for one in run.members:
            self.persons[one].charged[self.period, run.group] += once
        found = self.ledger.reservation(name)
        assert (found.members, found.left_out) == (run.members, run.left_out)
        if settle:
            self.ledger.settle(run.pending, b"values", b"receipt")
            run.pending = None
            assert self.ledger.charge(name, run.plan, *release, STATE).answered is not None

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        name, _ = self.open_run(data)
        self.ledger.end(name)
        del self.runs[name]

    @rule(period=st.booleans(), keep=st.sampled_from(["0.3", "0.6", "0.9"]))
    def decide(self, period: bool, keep: str) -> None:
        current = self.ledger.budget
        new = self.decided(current, period, keep)
        decision = decided(self.ledger, new)
        least = min(self.caps["keep"], self.total[self.period, "keep"])
        if self.runs or (not period and Fraction(keep) < least):
            with pytest.raises(Refused):
                self.ledger.decide(decision)
            assert self.ledger.budget == current
            return
        self.ledger.decide(decision)
        self.caps["keep"] = Fraction(keep)
        self.period = new.period

    def decided(self, current: Budget, period: bool, keep: str) -> Budget:
        groups = (replace(current.groups[0], cap=keep), *current.groups[1:])
        return next_period(current, groups=groups) if period else following(current, groups=groups)

    @rule()
    def reopen(self) -> None:
        self.ledger.close()
        self.ledger = Ledger.open(sqlite_address(self.folder), clock=clock)

    @invariant()
    def everybody_was_charged_what_the_model_says_and_never_above_a_cap(self) -> None:
        with self.ledger._store.reading() as book:  # one transaction for all, for the test's time
            balance = Balance(book)
            persons = {one: balance.person(one) for one in self.persons}
        for one, known in self.persons.items():
            person = persons[one]
            spent, held = known.spent(self.period), self.held(one)
            assert (person.spent, person.held) == (spent, held)
            assert person.lifetime == sum(known.charged.values())
            assert spent + held <= self.caps["all"]
            for group in ("keep", "grow"):
                assert person.groups[group][0] == known.spent(self.period, group)
                assert known.spent(self.period, group) + self.held(one, group) <= self.caps[group]

    @invariant()
    def totals_bound_everybody(self) -> None:
        totals = self.ledger.totals
        for group in ("keep", "grow"):
            assert totals.spent_by_group[group] == self.total[self.period, group]
        assert totals.spent == sum(v for (p, _), v in self.total.items() if p == self.period)
        assert totals.lifetime == sum(self.total.values())
        assert totals.held == sum(run.held for run in self.runs.values())
        assert all(known.spent(self.period) <= totals.spent for known in self.persons.values())

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.verify()
            self.ledger.close()
            shutil.rmtree(self.folder)


TestSpending = Spending.TestCase
TestSpending.settings = settings(
    max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
assert STEP * 2 + ONCE == TOTAL
