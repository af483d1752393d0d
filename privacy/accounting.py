"""What a plan costs: exact mu-GDP in closed form, and Google's PLD accountant as the second opinion.

A composition of full-participation Gaussian mechanisms is exactly mu-GDP with mu² additive (Dong, Roth & Su 2022,
Cor. 3.3), and a mu-GDP mechanism is (epsilon, delta)-DP for exactly (ibid., Cor. 2.13)

    delta(epsilon) = Phi(-epsilon/mu + mu/2) - e^epsilon * Phi(-epsilon/mu - mu/2).

An officer can check that line in a spreadsheet: =NORM.S.DIST(-E/M+M/2,TRUE)-EXP(E)*NORM.S.DIST(-E/M-M/2,TRUE).
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from privacy.errors import InputError

if TYPE_CHECKING:
    from privacy.plan import Plan

EPSILON_STEP: Final = Decimal("0.000001")
"""Epsilon is stated rounded up to this step."""
MAX_EPSILON: Final = 700.0
MAX_MU_SQUARED: Final = 10**6
MIN_DELTA: Final = 1e-300
"""Below, float64 can not tell delta from 0."""
PLD_INTERVAL: Final = 1e-4
"""Discretization of the privacy loss in the PLD accountant; it rounds pessimistically."""


def delta_of(epsilon: float, mu: float) -> float:
    """Delta of a mu-GDP mechanism at `epsilon` >= 0, for mu > 0 (Dong, Roth & Su 2022, Cor. 2.13)."""
    upper = -epsilon / mu + mu / 2
    lower = -epsilon / mu - mu / 2
    return max(0.0, _phi(upper) - math.exp(epsilon + _log_phi(lower)))


def epsilon(mu_squared: Fraction, delta: Decimal) -> Decimal:
    """The smallest epsilon at `delta` of a mu-GDP mechanism, rounded up to 6 decimals.

    Raises:
        InputError: for mu² <= 0, delta outside [1e-300, 1), or an epsilon above 700.
    """
    mu = math.sqrt(_positive(mu_squared))
    target = _probability(delta)
    if delta_of(0.0, mu) <= target:
        return Decimal(0)
    if delta_of(MAX_EPSILON, mu) > target:
        raise InputError(f"epsilon: expected at most {MAX_EPSILON:g}, got more at mu² = {float(mu_squared):.4g}")
    low, high = 0.0, MAX_EPSILON
    while high - low > 1e-12 * max(1.0, high):
        middle = (low + high) / 2
        low, high = (middle, high) if delta_of(middle, mu) > target else (low, middle)
    return Decimal(high).quantize(EPSILON_STEP, rounding=ROUND_CEILING)


def mu_squared_for(epsilon: Decimal, delta: Decimal) -> Fraction:
    """The largest mu² (to float precision, never above) whose epsilon at `delta` is at most `epsilon`.

    Raises:
        InputError: for epsilon outside (0, 100] or delta outside [1e-300, 1).
    """
    bound = float(epsilon)
    if not 0 < bound <= 100:
        raise InputError(f"epsilon: expected more than 0 and at most 100, got {epsilon}")
    target = _probability(delta)
    low, high = 0.0, 100.0
    while high - low > 1e-13 * high and high > 1e-12:
        middle = (low + high) / 2
        low, high = (middle, high) if delta_of(bound, middle) <= target else (low, middle)
    return Fraction(low) ** 2 * (1 - Fraction(1, 10**9))


def epsilon_by_pld(plan: Plan, delta: Decimal) -> Decimal:
    """Epsilon of the plan at `delta` by dp-accounting's privacy loss distributions, composed event by event.

    Independent of the closed form above; pessimistic by its discretization (here 1e-4 of privacy loss per event).
    """
    import dp_accounting  # a second of imports that only a verification needs
    from dp_accounting.pld import PLDAccountant

    _probability(delta)
    accountant = PLDAccountant(value_discretization_interval=PLD_INTERVAL)
    for event in plan.events:
        gaussian = dp_accounting.GaussianDpEvent(event.noise / event.sensitivity)
        accountant.compose(dp_accounting.SelfComposedDpEvent(gaussian, event.times))
    return Decimal(float(accountant.get_epsilon(float(delta)))).quantize(EPSILON_STEP, rounding=ROUND_CEILING)


def total_variation(plan: Plan) -> Fraction:
    """Bound on the distance between the plan's discrete Gaussians and rounded Gaussians of the same deviation.

    Rounding x + N(0, s²) at a whole x is post-processing of the Gaussian mechanism and so exactly covered by the
    closed form. One coordinate of discrete Gaussian noise differs from it in total variation by at most half of
    sum_k |integral over cell k of phi - phi(k)| <= (1/48)(integral |phi''| + integral |phi'''|) <= 1/(24 s²) for
    s >= 3 grid steps (midpoint rule; integral |phi''| = 0.968/s², integral |phi'''| < 3/s³). Coordinates and releases
    add up.

    Raises:
        InputError: for noise of fewer than 3 grid steps, where the bound is not shown.
    """
    distance = Fraction(0)
    for event in plan.events:
        if event.noise < 3:
            raise InputError(f"plan event {event.name!r}, noise: expected at least 3 grid steps, got {event.noise}")
        distance += Fraction(event.times * event.coordinates, 24 * event.noise * event.noise)
    return distance


def discretization_delta(plan: Plan) -> Decimal:
    """What discrete noise adds to the plan's delta: (1 + e^epsilon) times `total_variation`, rounded up.

    If M is (epsilon, delta)-DP and M' is within total variation g of M on every input, M' is
    (epsilon, delta + (1 + e^epsilon) g)-DP.
    """
    stated = float(epsilon(plan.mu_squared, Decimal(plan.delta)))
    return Decimal(f"{float(total_variation(plan)) * (1 + math.exp(stated)) * 1.001:.3e}")


def _phi(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


def _log_phi(x: float) -> float:
    if x > -35:
        return math.log(_phi(x))
    # Mills ratio, Abramowitz & Stegun 26.2.12; the first term left out is below 1e-10.
    return -x * x / 2 - math.log(-x * math.sqrt(2 * math.pi)) + math.log1p(-1 / x**2 + 3 / x**4 - 15 / x**6)


def _positive(mu_squared: Fraction) -> float:
    if not 0 < mu_squared <= MAX_MU_SQUARED:
        raise InputError(f"mu²: expected more than 0 and at most {MAX_MU_SQUARED}, got otherwise")
    return max(float(mu_squared), 1e-300)  # not 0, whatever float64 rounds it to


def _probability(delta: Decimal) -> float:
    if not MIN_DELTA <= float(delta) < 1:
        raise InputError(f"delta: expected at least {MIN_DELTA:g} and less than 1, got {delta}")
    return float(delta)
