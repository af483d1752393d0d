"""Whether a site serves a plan at all, by what it knows itself: nothing is read of anybody for it.

Rules:
    1. The plan names this site and this site's feature space, and is for a use case that the site, its contract and its
       budget allow.
    2. It asks for a trust and a noise that the site gives, and for every employee in every release: sampling is not
       served, as nobody could tell from outside that it was done.
    3. Its sensitivities, grids and lengths are those of the site's own mechanism, which the site computes from the
       contract: it believes nothing that it is told. An event that it does not know is refused.
    4. It costs no more than anybody's budget holds, in all and for its purposes. Whose own budget holds it still, is
       for the ledger to say, and for nobody else to know.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from federation.site import Site
from models.features import FeatureSpace
from models.planning import TRAINING, Shape, gradient_clip, mechanism
from privacy import amounts
from privacy.budget import Budget
from privacy.errors import BudgetExceeded, InputError, Refused
from privacy.plan import FLOAT64, Plan

TRUSTS: Final = ("local",)


def check_plan(plan: Plan, site: Site, purpose: str, space: FeatureSpace, budget: Budget) -> None:
    """Return if the site serves the plan.

    Args:
        plan: what was asked for.
        site: who is asked.
        purpose: of the site's contract.
        space: that the contract leads to.
        budget: the ledger's current one.

    Raises:
        Refused: saying what was expected.
        BudgetExceeded: by rule 4.
    """
    if plan.features != space.digest or site.name not in {one.name for one in plan.sites}:  # rule 1
        raise Refused(f"plan: expected this feature space and site {site.name!r} in it, got another")
    if plan.use_case not in site.use_cases or plan.use_case != purpose:
        expected = ", ".join(site.use_cases)
        raise Refused(f"plan use case: expected one of {expected}, as the contract says, got {plan.use_case!r:.60}")
    group = budget.group_of(plan.use_case)
    if plan.trust not in TRUSTS:  # rule 2
        raise Refused(f"plan trust: expected {TRUSTS[0]!r}, got {plan.trust!r}")
    if plan.sampled:
        raise Refused("plan: expected every employee in every release (rate 1), got sampling, which no site serves")
    if plan.mechanism == FLOAT64 and not site.float64:
        raise Refused(
            "plan mechanism: expected exact discrete noise, got float64 noise, which this site does not allow"
        )
    try:
        known = mechanism(space, [event.name for event in plan.events if event.name not in TRAINING])
    except InputError as error:
        raise Refused(f"plan events, {error}") from None
    if tuple(map(Shape.of, plan.events)) != known or plan.clip != str(gradient_clip(space)):  # rule 3
        raise Refused("plan: expected the clip, grids, lengths and sensitivities of this site's mechanism")
    asked, most = amounts.total(plan), min(Fraction(budget.cap), Fraction(group.cap))
    if asked > most:  # rule 4
        raise BudgetExceeded(
            f"plan: expected mu² of at most {amounts.to_text(most)}, all that anybody's budget holds, got"
            f" {amounts.to_text(asked)}"
        )
