"""Noise that sites share: the sum of their discrete Gaussians, convolved exactly, against what is accounted for."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from functools import cache

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from privacy import cost
from privacy.accounting import EPSILON_STEP, discretization_delta, total_variation
from privacy.errors import InputError
from privacy.mechanisms import gaussian_sum
from privacy.plan import LOCAL, Plan
from privacy.randomness import seeded_source
from tests.privacy.small_release import masked_plan

DIGITS = 80
WIDTH = 14
"""Deviations of a share on either side: what is beyond is below 1e-42."""
Masses = list[mpmath.mpf]


@cache
def share(deviation: float) -> Masses:
    """Masses of a discrete Gaussian at -w..w."""
    with mpmath.workdps(DIGITS):
        reach = math.ceil(WIDTH * deviation)
        masses = [mpmath.exp(-mpmath.mpf(k * k) / (2 * mpmath.mpf(deviation) ** 2)) for k in range(-reach, reach + 1)]
        return [mass / mpmath.fsum(masses) for mass in masses]


@cache
def summed(deviation: float, sites: int) -> Masses:
    """Masses of the sum of so many of them, by convolution."""
    if sites == 1:
        return share(deviation)
    before, one = summed(deviation, sites - 1), share(deviation)
    with mpmath.workdps(DIGITS):
        result = [mpmath.mpf(0)] * (len(before) + len(one) - 1)
        for place, mass in enumerate(before):
            for step, other in enumerate(one):
                result[place + step] += mass * other
        return result


def at_once(deviation: float, sites: int) -> Masses:
    """Masses, at the places of `summed`, of the one discrete Gaussian that is accounted for."""
    with mpmath.workdps(DIGITS):
        reach = len(summed(deviation, sites)) // 2
        spread = 2 * sites * mpmath.mpf(deviation) ** 2
        masses = [mpmath.exp(-mpmath.mpf(k * k) / spread) for k in range(-reach, reach + 1)]
        return [mass / mpmath.fsum(masses) for mass in masses]


def tau(deviation: float, sites: int) -> mpmath.mpf:
    """Kairouz, Liu & Steinke 2021 (arXiv 2102.06387), Theorem 1."""
    with mpmath.workdps(DIGITS):
        exponents = (2 * mpmath.pi**2 * mpmath.mpf(deviation) ** 2 * j / (j + 1) for j in range(1, sites))
        return 10 * mpmath.fsum(mpmath.exp(-exponent) for exponent in exponents)


def distance(one: Masses, other: Masses) -> mpmath.mpf:
    with mpmath.workdps(DIGITS):
        return mpmath.fsum(abs(a - b) for a, b in zip(one, other, strict=True)) / 2


SMALL = [(deviation, sites) for deviation in (1, 1.5, 2) for sites in (2, 3, 4)] + [(3, 2), (3, 3)]


@pytest.mark.parametrize(("deviation", "sites"), SMALL)
def test_a_sum_of_shares_is_as_near_to_one_discrete_gaussian_as_published(deviation: float, sites: int) -> None:
    found, expected = summed(deviation, sites), at_once(deviation, sites)
    middle, near = len(found) // 2, math.floor(5 * deviation * math.sqrt(sites))
    with mpmath.workdps(DIGITS):
        ratios = (mpmath.log(found[middle + k] / expected[middle + k]) for k in range(-near, near + 1))
        furthest = max(abs(ratio) for ratio in ratios)
    assert 0 < furthest <= tau(deviation, sites)
    if sites == 2:
        assert furthest > tau(deviation, sites) / 6, "the published bound is not far from the truth for two"


def shared(noise: int, coordinates: int = 1, **changes: object) -> Plan:
    """One release of a secure sum of four sites, two of which make up the noise; see `masked_plan`."""
    event = replace(masked_plan().event("gradient"), times=1, coordinates=coordinates, noise=noise)
    return masked_plan(events=(event,), **changes)


def test_what_sharing_adds_is_more_than_what_was_measured() -> None:
    """Of two sites' shares of 3 steps; a larger share is nearer than arithmetic can tell."""
    plan = shared(4)
    assert (plan.noise_shares, plan.at_site(plan.events[0]).noise) == (2, 3)
    alone = replace(plan, trust=LOCAL, colluding=0)
    added = total_variation(plan) - total_variation(alone)
    assert mpmath.mpf("1e-41") < distance(summed(3, 2), at_once(3, 2)) < float(added) < 1e-36


def test_the_stated_distance_bounds_that_of_a_sum_of_shares_from_rounded_noise() -> None:
    plan, masses = shared(4), summed(3, 2)
    middle, deviation = len(masses) // 2, math.sqrt(2) * 3
    cells = [
        norm.cdf(k + 0.5, scale=deviation) - norm.cdf(k - 0.5, scale=deviation) for k in range(-middle, middle + 1)
    ]
    assert float(distance(masses, [mpmath.mpf(cell) for cell in cells])) <= float(total_variation(plan))


@given(st.integers(5, 10**6), st.integers(1, 1000))
def test_sharing_adds_to_the_distance_by_releases_and_coordinates_and_next_to_nothing(noise: int, size: int) -> None:
    plan = shared(noise, size)
    alone = total_variation(replace(plan, trust=LOCAL, colluding=0))
    assert alone < total_variation(plan) == size * total_variation(shared(noise)) < alone * (1 + Fraction(1, 10**30))


@pytest.mark.parametrize("noise", [1, 2])
def test_shares_below_three_steps_are_refused(noise: int) -> None:
    with pytest.raises(InputError, match="3 grid steps a site"):
        total_variation(shared(noise))


def test_a_site_s_share_may_be_too_small_where_the_whole_would_do() -> None:
    many = masked_plan().sites
    whole = shared(3, sites=many[:3], replies_at_least=3, colluding=2)
    assert total_variation(whole) > 0
    with pytest.raises(InputError, match="3 grid steps a site"):
        total_variation(shared(3, replies_at_least=4, colluding=1, sites=many))


def test_a_secure_sum_costs_what_the_same_noise_of_one_site_costs() -> None:
    plan = masked_plan()
    alone = cost.cost_of(replace(plan, trust=LOCAL, colluding=0))
    found = cost.cost_of(plan)
    assert (found.mu2, found.epsilon, found.epsilon_second) == (alone.mu2, alone.epsilon, alone.epsilon_second)
    assert discretization_delta(plan) >= discretization_delta(replace(plan, trust=LOCAL, colluding=0))


def test_where_the_zero_concentrated_bound_is_stated_sharing_is_within_its_rounding() -> None:
    """Sums of shares meet it with tau more for each coordinate (their Prop. 14), at most this for any plan."""
    largest = 10 * 10_000 * mpmath.exp(-((3 * mpmath.pi) ** 2)) * 10**7 * 64_000
    assert Decimal(mpmath.nstr(largest, 5)) < EPSILON_STEP / 10**12


def test_drawn_shares_add_up_to_noise_of_the_plan_s_size() -> None:
    plan = shared(2**10, coordinates=20_000)
    event = plan.at_site(plan.events[0])
    source = seeded_source(5)
    nobody = np.zeros(event.coordinates, dtype=np.int64)
    total = sum(gaussian_sum(event, nobody, source, f"{n}".encode()) for n in range(plan.noise_shares))
    assert np.std(np.asarray(total)) == pytest.approx(2**10, rel=0.02)
