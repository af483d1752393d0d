"""What a plan would cost, leave and learn, put together before a run. Everything public, but for what ledgers add.

The parts: the plan's cost (`privacy.cost`), each site's account if its ledger is at hand (`privacy.standing`), and the
forecast (`models.forecast`). A plan is refused here if nothing useful can be expected of it, or if a ledger at hand
would refuse it to everybody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from models.forecast import EPSILONS, TIMES_PEOPLE, USEFUL, Forecast, Help
from privacy import amounts
from privacy.cost import Cost
from privacy.plan import SECURE_SUM, Plan
from privacy.standing import Prospect, epsilon_of

MASKED: Final = (
    "under masks the group's model is learned from sums of at least {replies} of {sites} sites, and no site gets terms"
    " of its own; up to {colluding} sites may collude"
)
NAMED: Final = 5
"""Sites that a sentence names; of more it says how many."""


@dataclass(frozen=True)
class Outlook:
    """A plan with all that is known of it before it runs.

    Attributes:
        epsilon: what was asked for.
        people: head counts that the forecast was made for, by site.
        runs: how many such runs a period is to hold.
        prospects: by site, where its ledger was at hand.
        help: what would make it useful, if it is not.
    """

    plan: Plan
    epsilon: Decimal
    cost: Cost
    people: Mapping[str, int]
    runs: int
    prospects: Mapping[str, Prospect]
    forecast: Forecast
    help: Help | None

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the plan should not be run; none if it may."""
        return (*self._useless(), *self._unaffordable())

    @property
    def verdict(self) -> str:
        """In a word or two."""
        return "refused" if self.reasons else "goes"

    @property
    def per_period(self) -> tuple[Fraction, str]:
        """mu² and epsilon of `runs` such runs for who is in all of them."""
        mu_squared = self.runs * amounts.total(self.plan)
        return mu_squared, epsilon_of(mu_squared, self.plan.delta)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What else is to be said of it, in sentences."""
        told = [*self._masked(), *self._alone(), *self.forecast.notes]
        for name, prospect in self.prospects.items():
            held = prospect.runs[0]
            if prospect.allowed and self.runs > held:
                told.append(
                    f"{name}: {self.runs} such runs in a period are more than its cap holds: whoever was in the first"
                    f" {held} is left out of the others"
                )
        return tuple(told)

    def to_document(self) -> dict[str, Any]:
        """The JSON of `kith plan`."""
        mu_squared, epsilon = self.per_period
        forecast = {name: _rounded(value) for name, value in asdict(self.forecast).items() if name != "alone"}
        return {
            "use_case": self.plan.use_case,
            "plan": self.plan.digest,
            "trust": self.plan.trust,
            "asked": {"epsilon": str(self.epsilon), "delta": self.plan.delta},
            "events": [{"name": event.name, "times": event.times} for event in self.plan.events],
            "cost": asdict(self.cost),
            "per_period": {"runs": self.runs, "mu2": amounts.to_text(mu_squared), "epsilon": epsilon},
            "sites": [self._site(site.name, site.people_at_most) for site in self.plan.sites],
            "forecast": {
                **forecast,
                "useful_from": _rounded(self.forecast.useful_from),
                "useful": self.forecast.is_useful(self.forecast.federated),
            },
            "would_help": None if self.help is None else asdict(self.help),
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "remarks": list(self.remarks),
        }

    def _site(self, name: str, bound: int) -> dict[str, Any]:
        alone = self.forecast.alone[name]
        return {
            "site": name,
            "people_at_most": bound,
            "people_in_forecast": self.people[name],
            "mu2": self.cost.mu2,
            "epsilon": self.cost.epsilon,
            "epsilon_replace_one": self.cost.epsilon_replace_one,
            "epsilon_two_sites": self.cost.epsilon_two_sites,
            "alone": _rounded(alone),
            "alone_useful": self.forecast.is_useful(alone),
            "account": _account(self.prospects[name]) if name in self.prospects else None,
        }

    def _useless(self) -> Sequence[str]:
        cast = self.forecast
        if cast.is_useful(cast.federated):
            return ()
        where = "alone" if len(self.people) == 1 else f"by {len(self.people)} sites together"
        if self.plan.trust == SECURE_SUM:
            where += ", even under masks"
        people = sum(self.people.values())
        told = (
            f"{people:,} people at epsilon {self.epsilon}: nothing useful can be learned {where}: {cast.metric}"
            f" {cast.federated:.2f} expected, {cast.recovered(cast.federated):.0%} of what there is to know"
            f" (useful: {USEFUL:.0%}, {cast.useful_from:.3g})"
        )
        return (f"{told}; what would help: {self._what_would_help()}",)

    def _what_would_help(self) -> str:
        if self.help is None:
            return "not tried"
        told = []
        if self.help.epsilon is not None:
            told.append(f"epsilon {self.help.epsilon}")
        if self.help.people is not None:
            told.append(f"about {self.help.people:,} people at epsilon {self.epsilon}")
        if self.help.masks:
            told.append("adding up under masks (--trust secure-sum)")
        if told:
            return ", or ".join(told)
        return f"nothing that was tried: epsilon up to {EPSILONS[-1]}, up to {TIMES_PEOPLE[-1]} times as many people"

    def _unaffordable(self) -> Sequence[str]:
        return tuple(
            f"{name}: the plan costs {self.cost.mu2} mu², more than the cap of its budget"
            for name, prospect in self.prospects.items()
            if not prospect.allowed
        )

    def _masked(self) -> Sequence[str]:
        plan = self.plan
        if plan.trust != SECURE_SUM:
            return ()
        return (MASKED.format(replies=plan.replies_at_least, sites=len(plan.sites), colluding=plan.colluding),)

    def _alone(self) -> Sequence[str]:
        """Which sites could not learn anything useful by themselves, where together they can."""
        cast = self.forecast
        without = [name for name, figure in cast.alone.items() if not cast.is_useful(figure)]
        if len(self.people) == 1 or not without or not cast.is_useful(cast.federated):
            return ()
        named = ", ".join(f"{name} ({self.people[name]:,} people)" for name in without[:NAMED])
        more = f" and {len(without) - NAMED} more" if len(without) > NAMED else ""
        return (f"alone, nothing useful can be learned at epsilon {self.epsilon} by {named}{more}; together it can",)


def _account(prospect: Prospect) -> dict[str, Any]:
    whole, group = prospect.standing.whole, prospect.account
    budget = prospect.standing.budget
    holds, more = prospect.runs
    return {
        "budget": budget.number,
        "period": budget.period,
        "label": budget.label,
        "cap": amounts.to_text(whole.cap),
        "group": prospect.group,
        "group_cap": amounts.to_text(group.cap),
        "charged": amounts.to_text(whole.spent),
        "held": amounts.to_text(whole.held),
        "worst_off_before": amounts.to_text(whole.worst_off),
        "worst_off_after": amounts.to_text(whole.after(prospect.asked)) if prospect.allowed else None,
        "runs_held_by_cap": holds,
        "runs_left_to_worst_off": more,
        "allowed": prospect.allowed,
        "left_out": prospect.left_out,
    }


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else list(value) if isinstance(value, tuple) else value
