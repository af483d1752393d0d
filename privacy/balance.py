"""The arithmetic of spending: which entry may follow, and who can afford what. No file and no clock.

The rules are those of `privacy.ledger`, by their numbers there. `Balance.apply` is the only way in, for a new entry as
for one read back, so that a ledger that breaks a rule can neither be written nor pass its audit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

from privacy import amounts, budget, entries, fields, merkle
from privacy.budget import Budget
from privacy.entries import Charged, Decided, Ended, Entry, Opened, Reserved, Settled
from privacy.errors import BudgetExceeded, InputError, Refused
from privacy.ledger_records import Book, Budgeted, ChargeAt, GroupTotal, Head, Release, Run, Share
from privacy.marks import Marks

MAX_ATTEMPTS: Final = 3
"""Charges of one release: one that fails each time would else cost a whole period's budget, whatever its plan says."""
_NOTHING: Final = Fraction(0)
_UNIT: Final = 10**amounts.MAX_CHARACTERS
"""Amounts have fewer decimals than this has zeros, so that people's sums are sums of whole numbers."""


@dataclass(frozen=True, slots=True)
class PersonBalance:
    """One employee's mu²: `spent` in this period, `held` by open runs, `left` for others, and of all periods.

    `groups` gives (spent, left) by name of group.
    """

    spent: Fraction
    held: Fraction
    left: Fraction
    groups: Mapping[str, tuple[Fraction, Fraction]]
    lifetime: Fraction


@dataclass(frozen=True, slots=True)
class Totals:
    """What bounds everyone: all that was `spent` in this period, also by group, and over the ledger's lifetime.

    `held` is what open runs have reserved and not charged yet. Groups are the current budget's.
    """

    spent: Fraction
    held: Fraction
    spent_by_group: Mapping[str, Fraction]
    held_by_group: Mapping[str, Fraction]
    lifetime: Fraction


class Balance:
    """A ledger's state, as a book has it. For one transaction: what it read it does not read again."""

    def __init__(self, book: Book) -> None:
        """The state that `book` holds."""
        self._book = book
        self._budgets: dict[int, tuple[int, Budget]] = {}
        self._loads: tuple[int, str, dict[bytes, tuple[int, int]]] | None = None

    @property
    def head(self) -> Head:
        """The totals.

        Raises:
            InputError: if there is no opening entry.
        """
        if (head := self._book.get(Head, 0)) is None:
            raise InputError("ledger: expected an opening entry, got none")
        return head

    @property
    def budget(self) -> Budget:
        """The current one."""
        return self.decided(self.head.budget)[1]

    @property
    def ledger(self) -> str:
        """The ledger's id: the Merkle leaf hash (hex) of its opening entry."""
        return merkle.leaf_hash(self._book.leaf(0)).hex()

    def decided(self, number: int) -> tuple[int, Budget]:
        """When the budget of that number was set (by the clock), and the budget.

        Raises:
            InputError: if there is none.
        """
        if number not in self._budgets:
            found = self._book.get(Budgeted, number)
            if found is None:
                raise InputError(f"ledger: expected budget {number}, got none")
            entry = entries.from_leaf(self._book.leaf(found.position), "ledger, budget")
            self._budgets[number] = entry.at, budget_in(entry)
        return self._budgets[number]

    def totals(self) -> Totals:
        """What bounds everyone."""
        head, open_runs = self.head, self._book.open_runs()
        names = [group.name for group in self.budget.groups]
        held = {name: sum((run.held for run in open_runs if run.group == name), _NOTHING) for name in names}
        spent = {name: self.group_spent(name) for name in names}
        return Totals(head.spent, sum((run.held for run in open_runs), _NOTHING), spent, held, head.lifetime)

    def run(self, name: str, plan: str) -> Run:
        """The open or ended run of that name and plan.

        Raises:
            Refused: if there is none.
        """
        if (run := self._book.get(Run, name)) is None:
            raise Refused(f"run {name!r:.80}: expected a reservation before anything else, got none (rule 5)")
        if run.plan != plan:
            raise Refused(f"run {name!r:.80}: expected plan {run.plan[:16]}, got {plan[:16]} (rule 5)")
        return run

    def release(self, run: str, event: str, number: int, state: str) -> Release | None:
        """What is known of a release, None if it was never charged.

        Raises:
            Refused: if it was charged for another state (rule 6).
        """
        known = self._book.get(Release, run, event, number)
        if known is not None and known.state != state:
            raise Refused(
                f"release {event!r} {number}: expected the state it was charged for, "
                f"{known.state[:16]}, got {state[:16]} (rule 6)"
            )
        return known

    def members(self, cohort: str) -> Marks:
        """Who is in a cohort of the log."""
        return self._book.members(self._book.cohort(cohort).crowd)

    def over(self, marks: Marks, group: str, asked: Fraction) -> Marks:
        """Of these marks, those for whom charged in this period + held + `asked` is above a cap (rule 4)."""
        if self._fits_everyone(group, asked):
            return frozenset()
        cap, group_cap = (int(cap * _UNIT) - int(asked * _UNIT) for cap in self._caps(group))
        loads = self._loads_of(marks, group)
        return frozenset(mark for mark in marks if loads[mark][0] > cap or loads[mark][1] > group_cap)

    def check_affordable(self, group: str, asked: Fraction, what: str) -> None:
        """Return if `asked` would fit an employee who was never charged anything else (rule 4).

        Raises:
            BudgetExceeded: if it would fit nobody.
        """
        for cap, name in zip(self._caps(group), ("in all", f"for {group!r:.80}"), strict=True):
            if asked > cap:
                raise BudgetExceeded(
                    f"{what}: expected at most the mu² that anyone may be charged {name} in a period, "
                    f"{amounts.to_text(cap)}, got {amounts.to_text(asked)} asked (rule 4)"
                )

    def person(self, mark: bytes) -> PersonBalance:
        """What one employee was charged; somebody who was in no cohort was charged nothing."""
        head, current = self.head, self.budget
        inside: dict[str, bool] = {}

        def holds(crowd: str) -> bool:
            if crowd not in inside:
                inside[crowd] = mark in self._book.members(crowd)
            return inside[crowd]

        shares = [share for share in self._book.shares() if holds(share.crowd)]
        held = [run for run in self._book.open_runs() if holds(self._book.cohort(run.cohort).crowd)]
        spent = sum((share.spent for share in shares if share.period == head.period), _NOTHING)
        waiting = sum((run.held for run in held), _NOTHING)
        left = max(amounts.from_text(current.cap, "budget cap") - spent - waiting, _NOTHING)
        groups = {}
        for group in current.groups:
            of_group = sum(
                (one.spent for one in shares if (one.period, one.name) == (head.period, group.name)), _NOTHING
            )
            room = amounts.from_text(group.cap, "group cap") - of_group
            room -= sum((run.held for run in held if run.group == group.name), _NOTHING)
            groups[group.name] = (of_group, max(min(room, left), _NOTHING))
        return PersonBalance(spent, waiting, left, groups, sum((share.spent for share in shares), _NOTHING))

    # Entries

    def apply(self, entry: Entry) -> None:
        """Take the next entry in, or refuse it and stay as before.

        Raises:
            Refused: naming the rule's reason; `BudgetExceeded` where mu² does not suffice.
            InputError: if a cohort or decision is none.
        """
        if (self._book.get(Head, 0) is None) != isinstance(entry, Opened):
            raise Refused("ledger: expected one opening entry, and it first (rule 2)")
        match entry:
            case Opened():
                self._open(entry)
            case Decided():
                self._decide(entry)
            case Reserved():
                self._reserve(entry)
            case Charged():
                self._charge(entry)
            case Settled():
                self._settle(entry)
            case Ended():
                self._end(entry)

    def _open(self, entry: Opened) -> None:
        if (entry.budget.number, entry.budget.period) != (0, 0):
            raise Refused("ledger: expected to open with budget 0 of period 0, got another (rule 2)")
        self._book.put(Budgeted(0, 0))
        self._book.put(Head(0, 1, 0, 0, _NOTHING, _NOTHING))

    def _decide(self, entry: Decided) -> None:
        head, current = self.head, self.budget
        if self._book.open_runs():
            raise Refused("decision: expected no open run while a budget is decided, got one (rule 11)")
        new = budget.open_decision(fields.from_base64(entry.decision, "decision"), current, self.ledger)
        spent = {group.name: self.group_spent(group.name) for group in current.groups}
        budget.check_follows(new, current, head.spent, spent)
        self._book.put(Budgeted(new.number, head.size))
        total = head.spent if new.period == head.period else _NOTHING
        self._book.put(replace(head, size=head.size + 1, budget=new.number, period=new.period, spent=total))

    def _reserve(self, entry: Reserved) -> None:
        head = self.head
        if self._book.get(Run, entry.run) is not None:
            raise Refused(f"run {entry.run!r:.80}: expected one reservation, got a second (rule 4)")
        group = self.budget.group_of(entry.use_case).name
        if (entry.budget, entry.group) != (head.budget, group):
            raise Refused(f"run {entry.run!r:.80}: expected budget {head.budget}, group {group!r:.80}, got another")
        asked = amounts.from_text(entry.mu2, "reserve, mu2")
        self.check_affordable(group, asked, f"run {entry.run!r:.80}")
        if self.over(self.members(entry.cohort), group, asked):
            raise Refused(f"run {entry.run!r:.80}: expected nobody in the cohort above a cap, got someone (rule 4)")
        new = Run(
            run=entry.run,
            plan=entry.plan,
            use_case=entry.use_case,
            group=group,
            budget=entry.budget,
            cohort=entry.cohort,
            reserved=head.size,
            releases=0,
            held=asked,
            charged=_NOTHING,
            ended=False,
        )
        self._book.put(new)
        self._book.put(replace(head, size=head.size + 1))

    def _charge(self, entry: Charged) -> None:
        head, run = self.head, self.run(entry.run, entry.plan)
        what = f"release {entry.event!r:.80} {entry.index}"
        if run.ended:
            raise Refused(f"run {entry.run!r:.80}: expected an open run, got one that has ended (rule 9)")
        release = self.release(entry.run, entry.event, entry.index, entry.state)
        attempts = release.attempts if release else 0
        if entry.attempt != attempts or (release and release.settled):
            raise Refused(f"{what}: expected attempt {attempts} of an unsettled one")
        asked = amounts.from_text(entry.mu2, "charge, mu2")
        if attempts:
            self._check_repeat(entry, run, asked, f"attempt {attempts + 1} at {what}")
        elif asked > run.held or entry.cohort != run.cohort:
            raise Refused(f"{what}: expected the run's cohort and at most what it reserved, got otherwise (rule 5)")
        group_spent = self.group_spent(run.group)
        stated = (amounts.from_text(one, "charge") for one in (entry.spent, entry.group_spent, entry.lifetime))
        if tuple(stated) != (head.spent + asked, group_spent + asked, head.lifetime + asked):
            raise Refused(f"{what}: expected the totals after it (rule 10), got others")
        self._take(entry, run, asked)
        self._book.put(GroupTotal(head.period, run.group, group_spent + asked))
        self._book.put(replace(head, size=head.size + 1, spent=head.spent + asked, lifetime=head.lifetime + asked))

    def _check_repeat(self, entry: Charged, run: Run, asked: Fraction, what: str) -> None:
        """Rule 7: who can not afford a repeated charge, and nobody else, leaves the cohort; its salt is new always."""
        if entry.attempt >= MAX_ATTEMPTS:
            raise Refused(f"{what}: expected at most {MAX_ATTEMPTS} charges of one release, got another (rule 7)")
        self.check_affordable(run.group, run.charged + run.held + asked, what)
        before = self.members(run.cohort)
        kept = before - self.over(before, run.group, asked)
        if entry.cohort == run.cohort or self.members(entry.cohort) != kept:
            raise Refused(f"{what}: expected a new cohort of those who can afford it, got another (rule 7)")

    def _take(self, entry: Charged, run: Run, asked: Fraction) -> None:
        """Charge everyone in the entry's cohort, and the run."""
        position, period = self.head.size, self.head.period
        crowd = self._book.cohort(entry.cohort).crowd
        share = self._book.get(Share, crowd, period, run.group) or Share(crowd, period, run.group, _NOTHING)
        self._book.put(replace(share, spent=share.spent + asked))
        self._book.put(ChargeAt(position, entry.run, entry.event, entry.index))
        self._book.put(
            Release(entry.run, entry.event, entry.index, entry.state, entry.attempt + 1, position, settled=False)
        )
        self._book.put(
            replace(
                run,
                cohort=entry.cohort,
                releases=run.releases + (not entry.attempt),
                held=run.held - (_NOTHING if entry.attempt else asked),
                charged=run.charged + asked,
            )
        )

    def _settle(self, entry: Settled) -> None:
        head = self.head
        release = self.release_charged_at(entry.charge)
        what = f"release {release.event!r:.80} {release.number}"
        if release.settled:
            raise Refused(f"{what}: expected to be settled once, got a second contribution (rule 8)")
        if entry.charge != release.charge:
            raise Refused(f"{what}: expected its latest charge to be settled, got an earlier (rule 8)")
        self._book.put(replace(release, settled=True))
        self._book.put(replace(head, size=head.size + 1))

    def release_charged_at(self, position: int) -> Release:
        """The release that the charge at `position` is for.

        Raises:
            Refused: if there is no charge (rule 8).
        """
        charge = self._book.get(ChargeAt, position)
        release = self._book.get(Release, charge.run, charge.event, charge.number) if charge else None
        if release is None:
            raise Refused(f"settle: expected the position of a charge, got {position} (rule 8)")
        return release

    def _end(self, entry: Ended) -> None:
        head, run = self.head, self._book.get(Run, entry.run)
        if run is None or run.ended:
            raise Refused(f"run {entry.run!r:.80}: expected an open run to end, got none (rule 9)")
        self._book.put(replace(run, ended=True, held=_NOTHING))
        self._book.put(replace(head, size=head.size + 1))

    # Sums

    def _caps(self, group: str) -> tuple[Fraction, Fraction]:
        """In all, and of a group of the current budget."""
        found = self.budget.group(group)
        if found is None:
            raise InputError(f"ledger: expected group {group!r:.80} in the budget, got none")
        return amounts.from_text(self.budget.cap, "budget cap"), amounts.from_text(found.cap, "group cap")

    def group_spent(self, group: str) -> Fraction:
        """Everything charged to a group in this period."""
        total = self._book.get(GroupTotal, self.head.period, group)
        return total.spent if total else _NOTHING

    def _fits_everyone(self, group: str, asked: Fraction) -> bool:
        """Whether nobody can be above a cap, since all charges together are not: then nobody's marks are read."""
        cap, group_cap = self._caps(group)
        runs = self._book.open_runs()
        in_all = self.head.spent + sum((run.held for run in runs), _NOTHING)
        of_group = self.group_spent(group) + sum((run.held for run in runs if run.group == group), _NOTHING)
        return in_all + asked <= cap and of_group + asked <= group_cap

    def _loads_of(self, marks: Marks, group: str) -> dict[bytes, tuple[int, int]]:
        """Charged in this period + held, in all and in the group, of each mark, in units of 1 / _UNIT."""
        size = self.head.size
        if self._loads and self._loads[:2] == (size, group) and marks <= self._loads[2].keys():
            return self._loads[2]
        by_crowd: dict[str, tuple[int, int]] = {}
        sums = [(share.crowd, share.name, share.spent) for share in self._book.shares(self.head.period)]
        sums += [(self._book.cohort(run.cohort).crowd, run.group, run.held) for run in self._book.open_runs()]
        for crowd, name, amount in sums:
            in_all, of_group = by_crowd.get(crowd, (0, 0))
            units = int(amount * _UNIT)
            by_crowd[crowd] = in_all + units, of_group + (units if name == group else 0)
        loads = dict.fromkeys(marks, (0, 0))
        for crowd, (more, more_of_group) in by_crowd.items():
            for mark in self._book.members(crowd) & marks:
                in_all, of_group = loads[mark]
                loads[mark] = in_all + more, of_group + more_of_group
        self._loads = size, group, loads
        return loads


def budget_in(entry: Entry) -> Budget:
    """The budget that an entry sets.

    Raises:
        InputError: if it sets none.
    """
    if isinstance(entry, Opened):
        return entry.budget
    if isinstance(entry, Decided):
        return budget.read_decision(fields.from_base64(entry.decision, "decision")).budget
    raise InputError("ledger: expected an entry with a budget, got another")
