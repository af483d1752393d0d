from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import dp_accounting
import mpmath
import numpy as np
import pytest
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from privacy.accounting import (
    EPSILON_STEP,
    ORDERS,
    PLD,
    RDP,
    TooLarge,
    agree,
    delta_of,
    discretization_delta,
    epsilon,
    epsilon_by_loss,
    epsilon_by_rdp,
    epsilon_by_zcdp,
    epsilon_of,
    first,
    mu_squared_for,
    releases,
    total_variation,
)
from privacy.errors import InputError
from privacy.plan import FLOAT64, GaussianSum, Plan, SiteBound

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
        replies_at_least=1,
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
def test_loss_distributions_find_the_same_and_never_less(run: Plan) -> None:
    closed = epsilon(run.mu_squared, DELTA)
    assert closed <= epsilon_by_loss(run, DELTA) <= closed * Decimal("1.001")
    assert agree(closed, PLD, epsilon_by_loss(run, DELTA))


@pytest.mark.parametrize("run", PLANS, ids=[f"plan {n}" for n in range(len(PLANS))])
def test_bounds_by_renyi_divergence_are_above_the_closed_form_and_not_far(run: Plan) -> None:
    """Whole orders are few where mu is small: the zero-concentrated bound may take any."""
    accountant = RdpAccountant()
    for event in run.events:
        gaussian = dp_accounting.GaussianDpEvent(event.noise / event.sensitivity)
        accountant.compose(dp_accounting.SelfComposedDpEvent(gaussian, event.times))
    closed, theirs = float(epsilon(run.mu_squared, DELTA)), accountant.get_epsilon(float(DELTA))
    assert closed < theirs < 1.5 * closed + 0.05
    assert closed < float(epsilon_by_zcdp(run.mu_squared, DELTA)) <= theirs * 1.0001 + 1e-6
    assert float(epsilon_by_rdp(run, DELTA)) == pytest.approx(theirs, rel=0.01)


@given(MUS, DELTAS)
@settings(max_examples=60)
def test_the_zero_concentrated_bound_is_never_below_the_closed_form(mu: float, delta: Decimal) -> None:
    mu_squared = Fraction(mu) ** 2
    assert epsilon(mu_squared, delta) <= epsilon_by_zcdp(mu_squared, delta)


def sampled(rate: str, times: int = 100, sensitivity: int = 1000, noise: int = 1000) -> Plan:
    run = plan((times, sensitivity, noise))
    return replace(run, events=tuple(replace(event, rate=rate) for event in run.events))


@pytest.mark.parametrize("rate", ["0.9", "0.3", "0.05", "0.001"])
@pytest.mark.parametrize("noise", [700, 1000, 5000])
def test_renyi_divergences_under_sampling_are_googles(rate: str, noise: int) -> None:
    accountant = RdpAccountant(orders=list(ORDERS))
    event = dp_accounting.PoissonSampledDpEvent(float(rate), dp_accounting.GaussianDpEvent(noise / 1000))
    accountant.compose(dp_accounting.SelfComposedDpEvent(event, 100))
    ours = float(epsilon_by_rdp(sampled(rate, noise=noise), DELTA))
    assert ours == pytest.approx(accountant.get_epsilon(float(DELTA)), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("rate", ["0.9", "0.3", "0.05", "0.01"])
def test_under_sampling_epsilon_is_by_loss_distributions_and_below_what_it_would_be_without(rate: str) -> None:
    run = sampled(rate, noise=3000)
    found = epsilon_of(run, DELTA)
    assert found == epsilon_by_loss(run, DELTA)
    assert found < epsilon(run.mu_squared, DELTA)
    assert agree(found, RDP, epsilon_by_rdp(run, DELTA))
    assert epsilon_of(run, DELTA) < epsilon_of(run, DELTA, copies=2) < 2 * epsilon_of(run, DELTA)


@pytest.mark.parametrize("people", [2, 3, 5])
def test_several_people_together_get_nothing_from_sampling(people: int) -> None:
    run = sampled("0.01", noise=20_000)
    assert epsilon_of(run, DELTA, people=people) == epsilon(people**2 * run.mu_squared, DELTA)


def test_a_rate_is_never_rounded_down() -> None:
    for rate in ("0.1", "0.3", "0.7", "0.000001", "0.999999999999"):
        (released,) = releases(sampled(rate).events)
        assert Fraction(rate) <= Fraction(released.rate) <= 1
        assert Fraction(1) <= Fraction(released.mu)


def test_the_first_releases_of_a_plan_are_taken_in_order() -> None:
    run = PLANS[3]
    assert [event.times for event in first(run, 1)] == [1]
    assert [event.times for event in first(run, 17)] == [1, 16]
    assert [event.times for event in first(run, 19)] == [1, 16, 2]
    assert first(run, 20) == run.events


@pytest.mark.parametrize(
    ("stated", "second_accountant", "second", "agrees"),
    [
        ("1", PLD, "1", True),
        ("1", PLD, "1.005", True),
        ("1", PLD, "1.0052", False),
        ("1", PLD, "0.9948", False),
        ("0", PLD, "0.0001", True),
        ("0", PLD, "0.0002", False),
        ("1", RDP, "1.1", True),
        ("1", RDP, "0.99", False),
        ("1", RDP, "2.8", False),
    ],
)
def test_what_counts_as_agreement(stated: str, second_accountant: str, second: str, agrees: bool) -> None:
    assert agree(Decimal(stated), second_accountant, Decimal(second)) == agrees


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
        pytest.param(lambda: epsilon_by_loss(PLANS[0], Decimal(1)), id="second accountant, delta 1"),
        pytest.param(lambda: epsilon_by_loss(PLANS[0], Decimal("1e-390")), id="second accountant, delta taken for 0"),
        pytest.param(lambda: epsilon_by_rdp(PLANS[0], Decimal(1)), id="Renyi bound, delta 1"),
        pytest.param(lambda: epsilon_by_zcdp(Fraction(0), DELTA), id="zero-concentrated bound of nothing"),
        pytest.param(lambda: total_variation(plan((1, 1, 2))), id="noise of 2 steps"),
        pytest.param(lambda: discretization_delta(plan((1, 1, 1))), id="noise of 1 step"),
    ],
)
def test_what_can_not_be_accounted_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(InputError, match="expected"):
        call()


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda: epsilon(Fraction(1200), DELTA), id="closed form"),
        pytest.param(lambda: epsilon(Fraction(10**8), DELTA), id="closed form far off"),
        pytest.param(lambda: epsilon_by_zcdp(Fraction(1200), DELTA), id="zero-concentrated"),
        pytest.param(lambda: epsilon_by_zcdp(Fraction(10**8), DELTA), id="zero-concentrated far off"),
        pytest.param(lambda: epsilon_by_loss(plan((900, 3, 2)), DELTA), id="loss distributions"),
        pytest.param(lambda: epsilon_by_rdp(plan((900, 3, 2)), DELTA), id="Renyi"),
    ],
)
def test_an_epsilon_above_700_is_told_from_other_refusals(call: Callable[[], object]) -> None:
    with pytest.raises(TooLarge, match="expected at most 700"):
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


def test_rounded_float64_noise_is_at_no_distance_from_itself() -> None:
    run = replace(plan((12, 1000, 12_000)), mechanism=FLOAT64)
    assert total_variation(run) == 0
    assert discretization_delta(run) == 0


def test_sampling_makes_discrete_noise_no_further_off() -> None:
    run = plan((12, 1000, 12_000))
    rarely = replace(run, events=tuple(replace(event, rate="0.1") for event in run.events))
    assert total_variation(rarely) == total_variation(run)
    assert discretization_delta(rarely) < discretization_delta(run)
