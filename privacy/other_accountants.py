"""Accountants written by others, asked before a run and when it is certified: they load slowly and must agree.

Google's dp-accounting (privacy loss distributions, PLD) for every plan, and Microsoft's prv-accountant (privacy random
variables, PRV) for plans with sampling, where there is no closed form. Neither shares code with this repository.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Final

from privacy.accounting import SLACK, TOLERANCE, probability, rounded_up
from privacy.errors import Refused
from privacy.plan import Plan

PLD_INTERVALS: Final = 2e-2
"""Discretization of the loss in dp-accounting, as a share of the standard deviation of the least noisy release's."""


def epsilon_by_pld(plan: Plan, delta: Decimal) -> Decimal:
    """Epsilon of the plan at `delta` by dp-accounting's privacy loss distributions, composed event by event."""
    import dp_accounting  # a second of imports that a verification need not wait for
    from dp_accounting.pld import PLDAccountant

    probability(delta)
    interval = min(1e-4, PLD_INTERVALS * _deviation(plan))
    accountant = PLDAccountant(value_discretization_interval=interval)
    for event in plan.events:
        one: dp_accounting.DpEvent = dp_accounting.GaussianDpEvent(event.noise / event.sensitivity)
        if event.sampled:
            one = dp_accounting.PoissonSampledDpEvent(float(event.rate), one)
        accountant.compose(dp_accounting.SelfComposedDpEvent(one, event.times))
    return rounded_up(float(accountant.get_epsilon(float(delta))))


def epsilon_by_prv(plan: Plan, delta: Decimal, error: float) -> tuple[float, float]:
    """Lower and upper bound of the plan's epsilon at `delta` by prv-accountant, about 2 * `error` apart.

    Gopi, Lee & Wutschitz 2021. Its sampled Gaussian is the loss of somebody who is removed: the dearer direction.

    Raises:
        Refused: where it finds none; its own numerics fail for large epsilons (its issues #36 and #42).
    """
    from prv_accountant import PRVAccountant
    from prv_accountant.privacy_random_variables import GaussianMechanism, PoissonSubsampledGaussianMechanism

    target = probability(delta)
    losses = [
        PoissonSubsampledGaussianMechanism(float(event.rate), event.noise / event.sensitivity)
        if event.sampled
        else GaussianMechanism(event.noise / event.sensitivity)
        for event in plan.events
    ]
    times = [event.times for event in plan.events]
    try:
        accountant = PRVAccountant(prvs=losses, max_self_compositions=times, eps_error=error, delta_error=target / 1000)
        low, _, high = (float(bound) for bound in accountant.compute_epsilon(target, times))
    except (ArithmeticError, AssertionError, MemoryError, RuntimeError, ValueError) as failure:
        raise Refused(f"epsilon: expected one from prv-accountant, got {type(failure).__name__}") from None
    return low, high


def check_agreement(plan: Plan, delta: Decimal, stated: Decimal) -> None:
    """See that dp-accounting, and prv-accountant for a plan with sampling, find `stated` at `delta` as well.

    They must agree within `TOLERANCE` of it, plus `SLACK`; prv-accountant's own interval must meet that range.

    Raises:
        Refused: naming the accountant and both figures, if one does not.
    """
    allowed = stated * TOLERANCE + SLACK
    google = epsilon_by_pld(plan, delta)
    if abs(google - stated) > allowed:
        raise Refused(f"epsilon: expected dp-accounting to find {stated} within {TOLERANCE:%}, got {google}")
    if plan.sampled:
        low, high = epsilon_by_prv(plan, delta, float(allowed))
        if not low - float(allowed) <= float(stated) <= high + float(allowed):  # false for NaN
            raise Refused(f"epsilon: expected prv-accountant to find {stated}, got {low:.6f} to {high:.6f}")


def _deviation(plan: Plan) -> float:
    """About the standard deviation of the privacy loss of the plan's least noisy release."""
    return max(
        float(event.rate) * math.sqrt(math.expm1(min(float(event.mu_squared_once), 1.0))) for event in plan.events
    )
