"""What a plan costs: in closed form where there is one, else by loss distributions.

A composition of full-participation Gaussian mechanisms is exactly mu-GDP with mu² additive (Dong, Roth & Su 2022,
Cor. 3.3), and a mu-GDP mechanism is (epsilon, delta)-DP for exactly (ibid., Cor. 2.13)

    delta(epsilon) = Phi(-epsilon/mu + mu/2) - e^epsilon * Phi(-epsilon/mu - mu/2).

An officer can check that line in a spreadsheet: =NORM.S.DIST(-E/M+M/2,TRUE)-EXP(E)*NORM.S.DIST(-E/M-M/2,TRUE).

Poisson sampling has no closed form: there `privacy.loss_distribution` is the first accountant and a Rényi bound the
second. Before a run others judge as well: `privacy.other_accountants`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from decimal import ROUND_CEILING, Decimal
from fractions import Fraction
from typing import Final

import numpy as np

from privacy import loss_distribution
from privacy.errors import InputError
from privacy.loss_grid import Released
from privacy.plan import DISCRETE, GaussianSum, Plan

CLOSED_FORM: Final = "gdp-closed-form"
PLD: Final = "privacy-loss-distribution"
RDP: Final = "renyi-of-sampled-gaussian"
EPSILON_STEP: Final = Decimal("0.000001")
"""Epsilon is stated rounded up to this step."""
MAX_EPSILON: Final = 700.0
MAX_MU_SQUARED: Final = 10**6
MIN_DELTA: Final = 1e-300
"""Below, float64 can not tell delta from 0."""
TOLERANCE: Final = Decimal("0.005")
"""Relative difference from which accountants disagree, beside `SLACK`."""
SLACK: Final = Decimal("0.0001")
"""Absolute difference that is none: it matters only where epsilon is next to nothing."""
RDP_FACTOR: Final = Decimal("2")
"""A Rényi bound is never tighter than what it bounds. It is a tenth looser for many releases, and far looser for few at
a small rate, whose losses are skewed; beyond this factor and slack something is wrong."""
RDP_SLACK: Final = Decimal("0.75")
ORDERS: Final = (*range(2, 65), *range(68, 129, 4), *range(144, 513, 16))
"""Rényi orders; whole, because the sum below has a closed form there."""


class TooLarge(InputError):  # noqa: N818 - a figure that is stated in words
    """An epsilon above `MAX_EPSILON`: float64 can not carry it, and it protects nobody."""


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
    if mu_squared > MAX_MU_SQUARED:
        raise TooLarge(f"epsilon: expected at most {MAX_EPSILON:g}, got more at a mu² above {MAX_MU_SQUARED}")
    mu = math.sqrt(_positive(mu_squared))
    target = probability(delta)
    if delta_of(0.0, mu) <= target:
        return Decimal(0)
    if delta_of(MAX_EPSILON, mu) > target:
        raise TooLarge(f"epsilon: expected at most {MAX_EPSILON:g}, got more at mu² = {float(mu_squared):.4g}")
    low, high = 0.0, MAX_EPSILON
    guess = min(mu * mu / 2 + mu * math.sqrt(-2 * math.log(target)), MAX_EPSILON)
    while high - low > 1e-12 * max(1.0, high):
        value = delta_of(guess, mu)
        low, high = (guess, high) if value > target else (low, guess)
        step = _newton_step(guess, mu, value, target)
        if value <= target and step is not None and 0 <= -step < 1e-12 * max(1.0, high):
            break  # log delta is concave in epsilon: from above, each step ends above the root, near it in the square
        middle = (low + high) / 2
        guess = guess + step if step is not None and low < guess + step < high else middle
    return Decimal(high).quantize(EPSILON_STEP, rounding=ROUND_CEILING)


def mu_squared_for(epsilon: Decimal, delta: Decimal) -> Fraction:
    """The largest mu² (to float precision, never above) whose epsilon at `delta` is at most `epsilon`.

    Raises:
        InputError: for epsilon outside (0, 100] or delta outside [1e-300, 1).
    """
    bound = float(epsilon)
    if not 0 < bound <= 100:
        raise InputError(f"epsilon: expected more than 0 and at most 100, got {epsilon}")
    target = probability(delta)
    low, high = 0.0, 100.0
    while high - low > 1e-13 * high and high > 1e-12:
        middle = (low + high) / 2
        low, high = (middle, high) if delta_of(bound, middle) <= target else (low, middle)
    return Fraction(low) ** 2 * (1 - Fraction(1, 10**9))


def epsilon_of(plan: Plan, delta: Decimal, copies: int = 1, people: int = 1) -> Decimal:
    """Epsilon at `delta` of `copies` runs of the plan, for `people` employees together, rounded up to 6 decimals.

    By the closed form; for one person in a plan with sampling, by loss distributions. For several people sampling is
    left out of account (`privacy.cost` says why).

    Raises:
        TooLarge, InputError: as `epsilon`.
    """
    if plan.sampled and people == 1:
        return epsilon_by_loss(plan, delta, copies)
    return epsilon(copies * people**2 * plan.mu_squared, delta)


def epsilon_by_loss(plan: Plan, delta: Decimal, copies: int = 1) -> Decimal:
    """Epsilon by Kith's own privacy loss distributions: an upper bound, rounded up to 6 decimals.

    Raises:
        TooLarge: if it is above 700.
        InputError: for delta outside [1e-200, 1).
    """
    value = loss_distribution.epsilon(releases(plan.events, copies), float(delta))
    if not value <= MAX_EPSILON:
        raise TooLarge(f"epsilon: expected at most {MAX_EPSILON:g}, got more")
    return rounded_up(value)


def releases(events: Sequence[GaussianSum], copies: int = 1) -> list[Released]:
    """The events as `privacy.loss_distribution` takes them, each `copies` times as often; floats rounded up."""
    return [
        Released(
            mu=math.nextafter(event.sensitivity / event.noise, math.inf),
            rate=min(1.0, math.nextafter(float(event.rate), math.inf)) if event.sampled else 1.0,
            times=copies * event.times,
        )
        for event in events
    ]


def first(plan: Plan, count: int) -> tuple[GaussianSum, ...]:
    """The events of the plan's first `count` releases."""
    events, left = [], count
    for event in plan.events:
        if left > 0:
            events.append(replace(event, times=min(left, event.times)))
        left -= event.times
    return tuple(events)


def epsilon_by_zcdp(mu_squared: Fraction, delta: Decimal) -> Decimal:
    """Epsilon at `delta` by zero-concentrated DP of mu²/2: exact discrete Gaussians meet it as continuous ones do.

    Canonne, Kamath & Steinke 2020: Thm. 4 for the noise, Prop. 12 for the conversion. Any order gives a bound; a good
    one is searched for.

    Raises:
        TooLarge, InputError: as `epsilon`.
    """
    if mu_squared > MAX_MU_SQUARED:
        raise TooLarge(f"epsilon: expected at most {MAX_EPSILON:g}, got more at a mu² above {MAX_MU_SQUARED}")
    rho, log_delta = _positive(mu_squared) / 2, math.log(probability(delta))
    near = 1 + math.sqrt(max(-log_delta, 1e-3) / rho)
    orders = [1 + (near - 1) * 2 ** (n / 16) for n in range(-64, 65)]
    return _from_renyi([(order, rho * order) for order in orders], log_delta)


def epsilon_by_rdp(plan: Plan, delta: Decimal) -> Decimal:
    """Epsilon at `delta` by Rényi divergences of whole orders, sampling included.

    The divergence of order a of one release at rate q is log(A)/(a - 1) with
    A = sum over k of C(a, k) (1-q)^(a-k) q^k e^(mu²(k² - k)/2), for adding and for removing (Mironov, Talwar & Zhang
    2019, Thm. 4 and 5, eq. 6). Converted by Canonne, Kamath & Steinke 2020, Prop. 12.

    Raises:
        TooLarge, InputError: as `epsilon`.
    """
    log_delta = math.log(probability(delta))
    divergences = [
        (float(order), sum(event.times * _sampled_divergence(order, event) for event in plan.events))
        for order in ORDERS
    ]
    return _from_renyi(divergences, log_delta)


def agree(stated: Decimal, second_accountant: str, second: Decimal) -> bool:
    """Whether a plan's two epsilons agree: within `TOLERANCE` and `SLACK`; a Rényi bound may be above by more."""
    allowed = stated * TOLERANCE + SLACK
    above = stated * (RDP_FACTOR - 1) + RDP_SLACK if second_accountant == RDP else allowed
    return stated - allowed <= second <= stated + above


def total_variation(plan: Plan) -> Fraction:
    """Bound on the distance between the plan's discrete Gaussians and rounded Gaussians of the same deviation.

    0 for a plan of rounded Gaussians: what float64 arithmetic makes of those is not bounded, and a certificate says so.

    Rounding x + N(0, s²) at a whole x is post-processing of the Gaussian mechanism and so exactly covered by the
    closed form. One coordinate of discrete Gaussian noise differs from it in total variation by at most half of
    sum_k |integral over cell k of phi - phi(k)| <= (1/48)(integral |phi''| + integral |phi'''|) <= 1/(24 s²) for
    s >= 3 grid steps (midpoint rule; integral |phi''| = 0.968/s², integral |phi'''| < 3/s³). Coordinates and releases
    add up. Sampling mixes such noises with the same weights on both sides, and a mixture is no further apart than its
    parts.

    Under a secure sum the noise is the sum of k sites' discrete Gaussians of deviation t. That is nearer than a factor
    e^x to one discrete Gaussian of deviation sqrt(k) t, with x = 10 sum_(j<k) e^(-2 pi² t² j/(j+1)) (Kairouz, Liu &
    Steinke 2021: the tau of their main theorem), hence within total variation x per coordinate. Every exponent is at
    most -pi² t².

    Raises:
        InputError: for noise, or a site's share of it, of fewer than 3 grid steps, where the bound is not shown.
    """
    distance = Fraction(0)
    if plan.mechanism != DISCRETE:
        return distance
    for event in plan.events:
        share = plan.at_site(event).noise
        if share < 3:
            raise InputError(f"plan event {event.name!r}, noise: expected at least 3 grid steps a site, got {share}")
        apart = 10 * (plan.noise_shares - 1) * Fraction(max(math.exp(-((math.pi * share) ** 2)), 1e-300))
        distance += event.times * event.coordinates * apart
        distance += Fraction(event.times * event.coordinates, 24 * event.noise * event.noise)
    return distance


def discretization_delta(plan: Plan) -> Decimal:
    """What discrete noise adds to the plan's delta: (1 + e^epsilon) times `total_variation`, rounded up.

    If M is (epsilon, delta)-DP and M' is within total variation g of M on every input, M' is
    (epsilon, delta + (1 + e^epsilon) g)-DP.
    """
    distance = total_variation(plan)
    if not distance:
        return Decimal(0)
    stated = float(epsilon_of(plan, Decimal(plan.delta) * Decimal("0.999")))
    return Decimal(f"{float(distance) * (1 + math.exp(stated)) * 1.001:.3e}")


def _newton_step(at: float, mu: float, value: float, target: float) -> float | None:
    """Step towards log delta = log target; None where float64 has no slope to follow."""
    if value <= 0:
        return None
    slope = -math.exp(at + _log_phi(-at / mu - mu / 2)) / value
    return (math.log(target) - math.log(value)) / slope if slope < 0 else None


def _sampled_divergence(order: int, event: GaussianSum) -> float:
    """Rényi divergence of that whole order of one release; rounding is far below `EPSILON_STEP`."""
    mu_squared = float(event.mu_squared_once)
    if not event.sampled:
        return order * mu_squared / 2
    rate = float(event.rate)
    chosen = np.arange(order + 1)
    log_factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, order + 1)))])
    terms = log_factorials[order] - log_factorials[chosen] - log_factorials[order - chosen]
    terms = terms + (order - chosen) * math.log1p(-rate) + chosen * math.log(rate)
    terms = terms + mu_squared * (chosen * chosen - chosen) / 2
    largest = float(terms.max())
    # A >= 1, as a moment of something of mean 1; for tiny mu² the sum is not told from 1, and 1e-15 covers that.
    log_sum = largest + math.log(float(np.exp(terms - largest).sum()))
    return (max(log_sum, 0.0) + 1e-13) / (order - 1)


def _from_renyi(divergences: Sequence[tuple[float, float]], log_delta: float) -> Decimal:
    best = min(
        divergence + math.log1p(-1 / order) - (log_delta + math.log(order)) / (order - 1)
        for order, divergence in divergences
    )
    if best > MAX_EPSILON:
        raise TooLarge(f"epsilon: expected at most {MAX_EPSILON:g}, got more")
    return rounded_up(max(best, 0.0))


def rounded_up(value: float) -> Decimal:
    """To a whole `EPSILON_STEP`."""
    return Decimal(value).quantize(EPSILON_STEP, rounding=ROUND_CEILING)


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


def probability(delta: Decimal) -> float:
    """Delta as a float.

    Raises:
        InputError: outside [1e-300, 1).
    """
    if not MIN_DELTA <= float(delta) < 1:
        raise InputError(f"delta: expected at least {MIN_DELTA:g} and less than 1, got {delta}")
    return float(delta)
