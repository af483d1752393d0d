"""A plan that waits at a site, in words and figures for whoever is to approve it.

Rules:
    1. Whoever asks writes some of the words. Of each line only characters that print are shown, so that no plan writes
       a line, or over one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any, Final

from federation.approvals import Shown
from federation.policy import WEEK, Policy
from models.planning import EVALUATION, FAIRNESS, GRADIENT, HEAD_COUNT, SECOND_MOMENTS
from privacy import amounts
from privacy.balance import Totals
from privacy.budget import Budget
from privacy.plan import SECURE_SUM, GaussianSum, Plan, decimal
from privacy.standing import epsilon_of

NEAR: Final = 0.8
"""Share of a limit from which on it is pointed out."""
_LEAVES: Final = {
    SECOND_MOMENTS: "sums of products of features over all people",
    GRADIENT: "sums of all people's clipped gradients",
    EVALUATION: "counts of people by score and outcome",
    HEAD_COUNT: "how many people there are",
}


@dataclass(frozen=True)
class Limit:
    """One limit and how much of it a plan uses: 1 is all of it."""

    name: str
    asked: str
    allowed: str
    used: float

    @property
    def near(self) -> bool:
        """Whether it is nearly or wholly used."""
        return self.used >= NEAR


def limits(
    shown: Shown, policy: Policy, budget: Budget, totals: Totals, starts: Sequence[datetime], now: datetime
) -> tuple[Limit, ...]:
    """Every limit of number that the plan meets at the site, from policy, budget and ledger."""
    plan = shown.plan
    asked = amounts.total(plan)
    more, runs = (asked, 1) if shown.started is None else (Fraction(0), 0)  # else they are among the totals already
    noise = min(Fraction(event.noise, event.sensitivity) for event in plan.events)
    recent = sum(one > now - WEEK for one in starts)
    found = [
        _most("mu² of a run (policy)", asked, policy.largest_mu2),
        _most("mu² in all, of whoever was in everything (budget)", totals.spent + totals.held + more, budget.cap),
        _most("clip (policy)", Fraction(decimal(plan.clip, "clip")), policy.largest_clip),
        _least("noise of a release, in sensitivities (policy)", noise, policy.least_noise),
        _most("runs in seven days (policy)", Fraction(recent + runs), str(policy.runs_per_week)),
    ]
    for group in budget.groups:
        if plan.use_case in group.use_cases:
            there = totals.spent_by_group.get(group.name, 0) + totals.held_by_group.get(group.name, 0) + more
            found.append(_most(f"mu² for {group.name}, likewise (budget)", Fraction(there), group.cap))
    if policy.least_replies > 1:  # 1 is no limit
        replies = Fraction(plan.replies_at_least)
        found.append(_least("sites that make up a release (policy)", replies, str(policy.least_replies)))
    if plan.trust == SECURE_SUM and policy.least_colluding > 1:
        against = Fraction(plan.colluding)
        found.append(_least("colluding sites it holds against (policy)", against, str(policy.least_colluding)))
    return tuple(found)


def document(shown: Shown, needed: int, site: str, found: Sequence[Limit]) -> dict[str, Any]:
    """All that an approver is shown, for JSON."""
    plan = shown.plan
    return {
        "run": shown.run,
        "plan": shown.digest,
        "state": shown.state(needed),
        "approvals_needed": needed,
        "verdicts": [{"name": one.name, "verdict": one.verdict, "at": one.at} for one in shown.verdicts],
        "coordinator": shown.coordinator,
        "first_seen": int(shown.first_seen.timestamp()),
        "started": None if shown.started is None else int(shown.started.timestamp()),
        "purpose": plan.use_case,
        "mu2": amounts.to_text(amounts.total(plan)),
        "epsilon": epsilon_of(amounts.total(plan), plan.delta),
        "delta": plan.delta,
        "trust": plan.trust,
        "trust_words": trust_words(plan),
        "mechanism": plan.mechanism,
        "other_sites": [one.name for one in plan.sites if one.name != site],
        "leaves": [{"event": event.name, "words": leaving(event)} for event in plan.events],
        "limits": [
            {
                "limit": one.name,
                "asked": one.asked,
                "allowed": one.allowed,
                "used": round(one.used, 4),
                "near": one.near,
            }
            for one in found
        ],
    }


def lines(told: dict[str, Any]) -> Iterator[str]:
    """A document of `document` for people to read."""
    return map(printable, _lines(told))


def printable(line: str) -> str:
    """A line as a terminal may show it (rule 1)."""
    return "".join(one if one.isprintable() else "?" for one in line)


def _lines(told: dict[str, Any]) -> Iterator[str]:
    people = f"{told['approvals_needed']} needed"
    for one in told["verdicts"]:
        people += f"; {one['verdict']} by {one['name']}"
    others = told["other_sites"]
    named = ", ".join(others[:8]) + (f" and {len(others) - 8} more" if len(others) > 8 else "")
    yield f"run {told['run']}: {told['state']} ({people})"
    yield f"  purpose     {told['purpose']}"
    yield f"  cost        epsilon {told['epsilon']} at delta {told['delta']} for each employee (mu² {told['mu2']})"
    yield f"  trust       {told['trust']}: {told['trust_words']}"
    yield f"  with        {named or 'no other site'}"
    for n, one in enumerate(told["leaves"]):
        yield f"  {'leaves' if not n else '':<11} {one['words']}"
    for one in told["limits"]:
        if one["near"]:
            yield f"  near limit  {one['limit']}: {one['asked']} of {one['allowed']} ({one['used']:.0%})"
    yield f"  asked by    key {told['coordinator'][:16]}"
    yield f"  plan        {told['plan']}"


def trust_words(plan: Plan) -> str:
    """What the plan's trust means for this site."""
    if plan.trust == SECURE_SUM:
        return (
            f"sites add up under masks and share the noise; safe if at most {plan.colluding} of {len(plan.sites)} sites"
            f" join the coordinator against this one, and {plan.replies_at_least} take part"
        )
    return "all of the noise is added here, before anything leaves"


def leaving(event: GaussianSum) -> str:
    """What an event's releases give away, and how often."""
    what = _LEAVES.get(event.name)
    if event.name.startswith(FAIRNESS):
        what = f"counts of people by {event.name.removeprefix(FAIRNESS)}, outcome and suggestion"
    times = "once" if event.times == 1 else f"{event.times} times"
    noise = f"noise {event.noise / event.sensitivity:.4g} x what one person can move"
    return f"{what or event.name}: {event.coordinates:,} number{'s' * (event.coordinates > 1)}, {times}, with {noise}"


def _most(name: str, asked: Fraction, allowed: str) -> Limit:
    most = Fraction(decimal(allowed, name))
    return Limit(name, f"{float(asked):.5g}", allowed, float(asked / most) if most else float(asked > 0))


def _least(name: str, asked: Fraction, allowed: str) -> Limit:
    return Limit(name, f"{float(asked):.5g}", f"at least {allowed}", float(Fraction(decimal(allowed, name)) / asked))
