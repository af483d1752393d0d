"""Whether a site serves a plan at all, by what it knows itself: nothing is read of anybody for it.

Rules:
    1. The plan names this site and this site's feature space, no site that is not on the group's key list, and is for
       the contract's purpose, which the budget must allow.
    2. It asks for every employee in every release: sampling is not served, as nobody could tell from outside that it
       was done.
    3. Its sensitivities, grids and lengths are those of the site's own mechanism, which the site computes from the
       contract: it believes nothing that it is told. An event that it does not know is refused.
    4. It costs no more than anybody's budget holds, in all and for its purposes, and states its epsilon at no larger
       delta than the budget: at a delta near 1 any cost reads as epsilon 0. Whose own budget holds it still, is for the
       ledger to say, and for nobody else to know.
    5. It keeps within the site's policy (`federation.policy`). When runs may start, and who must see them first, is for
       `federation.admission`.
"""

from __future__ import annotations

from fractions import Fraction

from federation.site import Site
from federation.site_keys import site_keys
from models.features import FeatureSpace
from models.planning import TRAINING, Shape, gradient_clip, mechanism
from privacy import amounts
from privacy.budget import Budget
from privacy.errors import BudgetExceeded, InputError, Refused
from privacy.plan import Plan, decimal


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
    sites = {one.name for one in plan.sites}
    if plan.features != space.digest or site.name not in sites:  # rule 1
        raise Refused(f"plan: expected this feature space and site {site.name!r} in it, got another")
    if strangers := sorted(sites - site_keys(site).keys()):
        raise Refused(f"plan sites: expected sites of the group's key list, got {strangers[0]!r:.80}")
    if plan.use_case != purpose:
        raise Refused(f"plan use case: expected {purpose!r}, as the contract says, got {plan.use_case!r:.60}")
    group = budget.group_of(plan.use_case)
    if plan.sampled:  # rule 2
        raise Refused("plan: expected every employee in every release (rate 1), got sampling, which no site serves")
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
    if decimal(plan.delta, "plan delta") > decimal(budget.delta, "budget delta"):
        raise Refused(f"plan delta: expected at most {budget.delta}, the budget's, got {plan.delta}")
    site.policy.check_plan(plan)  # rule 5
