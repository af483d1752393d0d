from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

import dp_accounting
import mpmath
import numpy as np
import pytest
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from privacy.accounting import (
    EPSILON_STEP,
    delta_of,
    discretization_delta,
    epsilon,
    epsilon_by_pld,
    mu_squared_for,
    total_variation,
)
from privacy.errors import InputError
from privacy.plan import GaussianSum, Plan, SiteBound

DELTA = Decimal("0.00001")
# notes/privacy.md, section 3: measured there, at delta 1e-5.
KNOWN = [("0.5", 0.1422), ("1", 0.2681), ("3", 0.7191), ("8", 1.666)]
MUS = st.floats(0.001, 12.0)
DELTAS = st.sampled_from(["0.5", "0.1", "0.001", "0.00001", "1e-7", "1e-10", "1e-15", "1e-30"]).map(Decimal)


def plan(*events: tuple[int, int, int], delta: str = "0.00001", coordinates: int = 100) -> Plan:
    """A plan of events (times, sensitivity, noise)."""
    return Plan(
        use_case="retention",
        features="0" * 64,
        trust="local",
        delta=delta,
        clip="1",
        sites=(SiteBound("North", 100),),
        events=tuple(GaussianSum(f"event {n}", t, coordinates, 20, s, d) for n, (t, s, d) in enumerate(events)),
    )


def oracle_delta(eps: object, mu: object) -> mpmath.mpf:
    """Dong, Roth & Su 2022, Cor. 2.13, with 80 digits and nothing of the module under test."""
    with mpmath.workdps(80):
        e, m = mpmath.mpf(eps), mpmath.mpf(mu)
        return mpmath.ncdf(-e / m + m / 2) - mpmath.exp(e) * mpmath.ncdf(-e / m - m / 2)


def exact(value: Fraction | Decimal) -> mpmath.mpf:
    fraction = Fraction(value)
    with mpmath.workdps(80):
        return mpmath.mpf(fraction.numerator) / fraction.denominator


def root(mu_squared: Fraction) -> mpmath.mpf:
    with mpmath.workdps(80):
        return mpmath.sqrt(exact(mu_squared))


@pytest.mark.parametrize(("stated", "mu"), KNOWN)
def test_known_budgets(stated: str, mu: float) -> None:
    assert math.sqrt(mu_squared_for(Decimal(stated), DELTA)) == pytest.approx(mu, rel=4e-4)
    assert float(epsilon(Fraction(mu) ** 2, DELTA)) == pytest.approx(float(stated), rel=6e-4)


@given(st.floats(0.0, 60.0), st.floats(0.01, 12.0))
@settings(max_examples=150)
def test_delta_agrees_with_an_independent_evaluation(eps: float, mu: float) -> None:
    expected = float(oracle_delta(eps, mu))
    closeness = 1e-8 if expected > 1e-200 else 1e-5  # the second term is then an asymptotic series
    assert delta_of(eps, mu) == pytest.approx(expected, rel=closeness, abs=1e-290)


@given(MUS, DELTAS)
@settings(max_examples=150)
def test_epsilon_is_the_smallest_at_its_delta_rounded_up(mu: float, delta: Decimal) -> None:
    mu_squared = Fraction(mu) ** 2
    stated = epsilon(mu_squared, delta)
    slack = Decimal("1e-9")
    assert oracle_delta(exact(stated + slack), root(mu_squared)) <= exact(delta)
    below = stated - EPSILON_STEP - slack
    assert below < 0 or oracle_delta(exact(below), root(mu_squared)) > exact(delta)
    assert stated == stated.quantize(EPSILON_STEP)


@given(st.decimals("0.01", "100", places=4), DELTAS)
@settings(max_examples=150)
def test_the_budget_for_an_epsilon_never_costs_more_than_it(stated: Decimal, delta: Decimal) -> None:
    mu_squared = mu_squared_for(stated, delta)
    assert oracle_delta(exact(stated), root(mu_squared)) <= exact(delta)
    more = mu_squared * (1 + Fraction(1, 10**5))
    assert oracle_delta(exact(stated), root(more)) > exact(delta), "a noticeably larger budget would have done"


@given(st.decimals("0.01", "60", places=4), DELTAS)
@settings(max_examples=150)
def test_budget_and_epsilon_are_inverse(stated: Decimal, delta: Decimal) -> None:
    again = epsilon(mu_squared_for(stated, delta), delta)
    assert again <= stated
    assert float(again) == pytest.approx(float(stated), rel=1e-5, abs=1e-5)


@given(st.lists(st.fractions("0.0001", "40", max_denominator=10**6), min_size=2, max_size=2, unique=True), DELTAS)
def test_more_is_never_cheaper(budgets: list[Fraction], delta: Decimal) -> None:
    less, more = sorted(budgets)
    assert epsilon(less, delta) <= epsilon(more, delta)
    assert epsilon(more, delta) <= epsilon(more, delta / 2)
    assert delta_of(1.0, math.sqrt(less)) <= delta_of(1.0, math.sqrt(more))
    assert delta_of(2.0, math.sqrt(more)) <= delta_of(1.0, math.sqrt(more))


@given(st.floats(0.05, 4.0), st.floats(0.05, 4.0))
@settings(max_examples=40)
def test_two_runs_cost_less_than_the_sum_of_their_epsilons_and_more_than_the_larger(one: float, other: float) -> None:
    a, b = Fraction(one) ** 2, Fraction(other) ** 2
    together = epsilon(a + b, DELTA)
    assert max(epsilon(a, DELTA), epsilon(b, DELTA)) < together
    assert together <= epsilon(a, DELTA / 2) + epsilon(b, DELTA / 2)


def test_an_officer_finds_the_same_by_the_two_calls_of_a_spreadsheet() -> None:
    mu = math.sqrt(mu_squared_for(Decimal(1), DELTA))
    spreadsheet = norm.cdf(-1 / mu + mu / 2) - math.exp(1) * norm.cdf(-1 / mu - mu / 2)
    assert spreadsheet == pytest.approx(delta_of(1.0, mu), rel=1e-9)
    assert 0.999e-5 < spreadsheet <= 1e-5


PLANS = [
    plan((1, 1000, 5000)),
    plan((12, 1000, 12_000)),
    plan((1, 3, 20), (12, 1000, 15_000)),
    plan((1, 2**30, 2**32), (16, 2**25, 2**29), (3, 7, 70)),
    plan((12, 1000, 3000)),
]


@pytest.mark.parametrize("run", PLANS, ids=[f"plan {n}" for n in range(len(PLANS))])
def test_the_second_accountant_agrees_within_a_hundredth(run: Plan) -> None:
    closed = float(epsilon(run.mu_squared, DELTA))
    assert closed * (1 - 1e-4) <= float(epsilon_by_pld(run, DELTA)) <= closed * 1.01


@pytest.mark.parametrize("run", PLANS, ids=[f"plan {n}" for n in range(len(PLANS))])
def test_a_bound_by_renyi_divergence_is_never_below_the_closed_form(run: Plan) -> None:
    accountant = RdpAccountant()
    for event in run.events:
        gaussian = dp_accounting.GaussianDpEvent(event.noise / event.sensitivity)
        accountant.compose(dp_accounting.SelfComposedDpEvent(gaussian, event.times))
    closed = float(epsilon(run.mu_squared, DELTA))
    assert closed < accountant.get_epsilon(float(DELTA)) < 1.5 * closed + 0.05


def test_replacing_one_person_costs_twice_the_distance_and_the_second_accountant_says_so() -> None:
    run = PLANS[1]
    replaced = epsilon(4 * run.mu_squared, DELTA)
    accountant = PLDAccountant(dp_accounting.NeighboringRelation.REPLACE_ONE, value_discretization_interval=1e-4)
    event = run.events[0]
    gaussian = dp_accounting.GaussianDpEvent(event.noise / event.sensitivity)
    accountant.compose(dp_accounting.SelfComposedDpEvent(gaussian, event.times))
    assert accountant.get_epsilon(float(DELTA)) == pytest.approx(float(replaced), rel=0.01)
    assert replaced > 2 * epsilon(run.mu_squared, DELTA)


def test_the_second_accountant_sees_every_event() -> None:
    one, two = plan((12, 1000, 12_000)), plan((12, 1000, 12_000), (1, 1000, 1500))
    assert epsilon_by_pld(two, DELTA) > epsilon_by_pld(one, DELTA) * Decimal("1.5")


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda: epsilon(Fraction(0), DELTA), id="nothing spent"),
        pytest.param(lambda: epsilon(Fraction(-1), DELTA), id="less than nothing spent"),
        pytest.param(lambda: epsilon(Fraction(1), Decimal(0)), id="delta 0"),
        pytest.param(lambda: epsilon(Fraction(1), Decimal(1)), id="delta 1"),
        pytest.param(lambda: epsilon(Fraction(1), Decimal("-1e-5")), id="negative delta"),
        pytest.param(lambda: epsilon(Fraction(1), Decimal("1e-390")), id="a delta that float64 takes for 0"),
        pytest.param(lambda: epsilon(Fraction(10**8), DELTA), id="an epsilon above 700"),
        pytest.param(lambda: epsilon(Fraction(10**400), DELTA), id="a cost beyond float64"),
        pytest.param(lambda: mu_squared_for(Decimal(0), DELTA), id="epsilon 0"),
        pytest.param(lambda: mu_squared_for(Decimal(-1), DELTA), id="negative epsilon"),
        pytest.param(lambda: mu_squared_for(Decimal(101), DELTA), id="epsilon above 100"),
        pytest.param(lambda: mu_squared_for(Decimal("NaN"), DELTA), id="epsilon NaN"),
        pytest.param(lambda: mu_squared_for(Decimal(1), Decimal(0)), id="budget for delta 0"),
        pytest.param(lambda: mu_squared_for(Decimal(1), Decimal(2)), id="budget for delta 2"),
        pytest.param(lambda: mu_squared_for(Decimal(1), Decimal("1e-390")), id="budget for a delta taken for 0"),
        pytest.param(lambda: epsilon_by_pld(PLANS[0], Decimal(1)), id="second accountant, delta 1"),
        pytest.param(lambda: epsilon_by_pld(PLANS[0], Decimal("1e-390")), id="second accountant, delta taken for 0"),
        pytest.param(lambda: total_variation(plan((1, 1, 2))), id="noise of 2 steps"),
        pytest.param(lambda: discretization_delta(plan((1, 1, 1))), id="noise of 1 step"),
    ],
)
def test_what_can_not_be_accounted_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(InputError, match="expected"):
        call()


@pytest.mark.parametrize("spent", [Fraction(1, 10**20), Fraction(1, 10**62), Fraction(1, 10**400)])
def test_next_to_nothing_costs_nothing(spent: Fraction) -> None:
    assert epsilon(spent, DELTA) == 0


@pytest.mark.parametrize(("mu", "delta"), [(33.0, "1e-5"), (25.0, "1e-40"), (1e-6, "1e-12"), (0.5, "1e-250")])
def test_extreme_costs_are_still_exact(mu: float, delta: str) -> None:
    stated = epsilon(Fraction(mu) ** 2, Decimal(delta))
    assert oracle_delta(exact(stated + Decimal("1e-8")), mu) <= exact(Decimal(delta))
    assert oracle_delta(exact(max(stated - Decimal("2e-6"), Decimal(0))), mu) > exact(Decimal(delta))


def distance_to_rounded(deviation: int) -> float:
    """Total variation between the discrete Gaussian and the rounded Gaussian, summed to 20 deviations."""
    steps = np.arange(-20 * deviation, 20 * deviation + 1)
    weights = np.exp(-0.5 * (steps / deviation) ** 2)
    cells = norm.cdf(np.minimum(-np.abs(steps) + 0.5, 0.5) / deviation) - norm.cdf((-np.abs(steps) - 0.5) / deviation)
    return float(0.5 * np.abs(weights / weights.sum() - cells).sum())


@pytest.mark.parametrize("deviation", [*range(3, 30), 50, 75, 100, 150, 200])
def test_the_stated_distance_bounds_the_true_one(deviation: int) -> None:
    stated = float(total_variation(plan((1, 1, deviation), coordinates=1)))
    true = distance_to_rounded(deviation)
    assert true <= stated
    assert stated <= 4 * true, "a bound far above the truth would tell nothing"


def test_the_distance_adds_up_over_coordinates_and_releases() -> None:
    one = total_variation(plan((1, 1, 50), coordinates=1))
    assert total_variation(plan((7, 1, 50), coordinates=30)) == 210 * one
    assert total_variation(plan((7, 1, 50), (2, 1, 100), coordinates=30)) == 210 * one + 60 * one / 4


@pytest.mark.parametrize("coordinates", [1, 10, 1000])
def test_what_discrete_noise_adds_to_delta_grows_with_the_coordinates(coordinates: int) -> None:
    run = plan((12, 1000, 12_000), coordinates=coordinates)
    added = discretization_delta(run)
    eps = epsilon(run.mu_squared, DELTA)
    exactly = total_variation(run) * Fraction(1 + eps.exp())
    assert exactly <= Fraction(added) <= exactly * Fraction(1003, 1000)
    assert added < discretization_delta(plan((12, 1000, 12_000), coordinates=2 * coordinates))
