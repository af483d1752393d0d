"""Where a site's worst-off employee stands, and what a plan would change: for an officer, from the ledger's totals.

All amounts are mu² per employee. What was charged to everybody bounds every employee, whoever was in it; the worst-off
one has had at most the smaller of that and the cap, because the ledger leaves out whoever could not afford more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

from privacy import accounting, amounts
from privacy.budget import Budget
from privacy.errors import InputError

if TYPE_CHECKING:
    from privacy.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Account:
    """One cap and what counts against it in the current period.

    Attributes:
        cap: most for each employee.
        spent: charged, whoever was in it.
        held: set aside by open runs and not charged yet.
    """

    cap: Fraction
    spent: Fraction
    held: Fraction

    @property
    def worst_off(self) -> Fraction:
        """Most that any employee has been charged."""
        return min(self.cap, self.spent)

    @property
    def left(self) -> Fraction:
        """What whoever was in everything still has."""
        return max(Fraction(0), self.cap - self.spent - self.held)

    def after(self, asked: Fraction) -> Fraction:
        """Most that any employee will have been charged after a plan of this cost; open runs are not counted."""
        return min(self.cap, self.spent + asked)

    def runs(self, asked: Fraction) -> tuple[int, int]:
        """How many plans of this cost the cap holds for one person, and how many more for who was in everything."""
        return int(self.cap // asked), int(self.left // asked)


@dataclass(frozen=True, slots=True)
class Standing:
    """One site's accounts under its current budget.

    Attributes:
        site: its name.
        budget: the current one.
        whole: the account over all purposes.
        groups: that of each group of purposes, by the group's name.
        lifetime: charged over all periods, whoever was in it.
        open_runs: what each open run holds.
        left_out: how many people are not in an open run, as their own budget did not hold it; for the site alone.
    """

    site: str
    budget: Budget
    whole: Account
    groups: Mapping[str, Account]
    lifetime: Fraction
    open_runs: Mapping[str, Fraction]
    left_out: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, ledger: Ledger) -> Standing:
        """Where the ledger stands now."""
        budget, totals = ledger.budget, ledger.totals
        groups = {
            group.name: Account(
                amounts.from_text(group.cap, "group cap"),
                totals.spent_by_group.get(group.name, Fraction(0)),
                totals.held_by_group.get(group.name, Fraction(0)),
            )
            for group in budget.groups
        }
        whole = Account(amounts.from_text(budget.cap, "cap"), totals.spent, totals.held)
        open_runs = ledger.open_runs
        left_out = {run: ledger.reservation(run).left_out for run in open_runs}
        return cls(ledger.site, budget, whole, groups, totals.lifetime, open_runs, left_out)

    def prospect(self, asked: Fraction, use_case: str) -> Prospect:
        """What a plan of this cost for this purpose would meet.

        Raises:
            Refused: if the budget allows no such purpose.
        """
        group = self.budget.group_of(use_case).name
        return Prospect(self, group, asked)


@dataclass(frozen=True, slots=True)
class Prospect:
    """A plan that asks `asked` of everybody, against the account in all and that of its group of purposes."""

    standing: Standing
    group: str
    asked: Fraction

    @property
    def account(self) -> Account:
        """Of the group."""
        return self.standing.groups[self.group]

    @property
    def allowed(self) -> bool:
        """Whether the cost alone fits both caps: else the ledger refuses the plan for everybody."""
        return self.asked <= min(self.account.cap, self.standing.whole.cap)

    @property
    def everybody(self) -> bool:
        """Whether nobody can be left out, whoever was in what."""
        return self.asked <= min(self.account.left, self.standing.whole.left)

    @property
    def runs(self) -> tuple[int, int]:
        """How many such plans the caps hold for one person, and how many more for who was in everything."""
        (in_group, more_in_group), (in_all, more_in_all) = (
            self.account.runs(self.asked),
            self.standing.whole.runs(self.asked),
        )
        return min(in_group, in_all), min(more_in_group, more_in_all)

    @property
    def left_out(self) -> str:
        """Who would be left out, in words that tell nothing of anybody."""
        period = f"period {self.standing.budget.label}"
        if not self.allowed:
            return "everybody: the plan alone costs more than the cap"
        if self.everybody:
            return "nobody"
        account, what = self.standing.whole, "all purposes"
        if self.account.left < account.left:
            account, what = self.account, f"group {self.group}"
        most = f"{float(account.cap - self.asked):.4g}"
        held = " or held by open runs" if account.held else ""
        return (
            f"whoever has more than {most} mu² charged{held} for {what} in {period}, as who was in everything has; all"
            " others take part"
        )


def epsilon_of(mu_squared: Fraction, delta: str) -> str:
    """Epsilon at `delta` of what somebody was charged, as `privacy.cost` writes it; "0" for nothing."""
    if not mu_squared:
        return "0"
    try:
        return format(accounting.epsilon(mu_squared, Decimal(delta)), "f")
    except InputError:
        return f">{accounting.MAX_EPSILON:g}"
