from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.features import FeatureSpace
from models.planning import (
    CLIP_SHARE,
    EVALUATION,
    FAIRNESS,
    GRADIENT,
    GRADIENT_GRID,
    HEAD_COUNT,
    MEASURE_GRID,
    MOMENTS_GRID,
    ROUNDS,
    SECOND_MOMENTS,
    TRAINING,
    Shape,
    from_upper_triangle,
    gradient_clip,
    make_plan,
    measures_offered,
    mechanism,
    plan_at_epsilon,
    sharing,
    traits,
    upper_triangle,
)
from privacy.accounting import discretization_delta, epsilon
from privacy.errors import InputError
from privacy.plan import LOCAL, MAX_SITES, MIN_SECURE_SITES, SECURE_SUM, Plan
from records.contract import Contract
from tests.models.spaces import category, contracts, number, space_of

SPACE = space_of(number("hours"), category("job", *"abcdef"))
PEOPLE = {"South": 800, "North": 100}
DELTA = Decimal("0.00001")


MEASURES = measures_offered(SPACE)


def at(stated: str, rounds: int = ROUNDS, measures: Sequence[str] = ()) -> Plan:
    return plan_at_epsilon(SPACE, PEOPLE, "retention", Decimal(stated), DELTA, "local", rounds, measures)


@given(st.data(), st.fractions("0.000001", "100", max_denominator=10**9), st.integers(1, 100), contracts())
@settings(max_examples=60, deadline=None)
def test_a_plan_spends_its_budget_and_no_more(
    data: st.DataObject, budget: Fraction, rounds: int, contract: Contract
) -> None:
    space = FeatureSpace.from_contract(contract)
    measures = data.draw(st.lists(st.sampled_from(measures_offered(space)), unique=True))
    plan = make_plan(space, PEOPLE, "retention", budget, DELTA, "local", rounds, measures)
    assert budget * (1 - Fraction(3, 10**6)) <= plan.mu_squared <= budget


@pytest.mark.parametrize("measures", [(), MEASURES], ids=["none", "all measures"])
@pytest.mark.parametrize("stated", ["0.1", "0.5", "1", "3", "8", "100"])
def test_a_plan_at_an_epsilon_costs_at_most_that_and_nearly_that(stated: str, measures: Sequence[str]) -> None:
    cost = epsilon(at(stated, measures=measures).mu_squared, DELTA)
    assert Decimal(stated) * Decimal("0.99999") <= cost <= Decimal(stated)


def test_a_quarter_goes_to_the_second_moments() -> None:
    plan = at("1")
    assert float(plan.event(SECOND_MOMENTS).mu_squared / plan.mu_squared) == pytest.approx(0.25, rel=1e-6)
    assert (plan.event(SECOND_MOMENTS).times, plan.event(GRADIENT).times) == (1, ROUNDS)


def test_every_measure_takes_a_twentieth_and_the_rest_is_divided_as_without() -> None:
    plan = at("1", measures=(EVALUATION, HEAD_COUNT, "fairness-sex"))
    part = {event.name: float(event.mu_squared / plan.mu_squared) for event in plan.events}
    assert part[EVALUATION] == part[HEAD_COUNT] == part["fairness-sex"] == pytest.approx(0.05, rel=1e-5)
    assert part[SECOND_MOMENTS] == pytest.approx(0.85 / 4, rel=1e-5)
    assert part[GRADIENT] == pytest.approx(0.85 * 3 / 4, rel=1e-5)
    assert plan.events[2].times == plan.events[3].times == plan.events[4].times == 1


def test_measures_follow_the_model_in_one_order_whatever_was_asked() -> None:
    plan = at("1", measures=tuple(reversed(MEASURES)))
    assert tuple(event.name for event in plan.events) == (*TRAINING, *MEASURES)
    assert (EVALUATION, HEAD_COUNT, *(FAIRNESS + trait for trait in traits())) == MEASURES
    assert {"sex", "race_ethnicity"} <= set(traits())


def test_a_measure_is_a_histogram_that_an_employee_moves_by_one_whole() -> None:
    shapes = mechanism(SPACE, (EVALUATION, HEAD_COUNT, "fairness-sex"))[2:]
    cells = {EVALUATION: 16, HEAD_COUNT: 1, "fairness-sex": 4 * len(traits()["sex"])}
    assert shapes == tuple(Shape(name, cells[name], MEASURE_GRID, 2**MEASURE_GRID) for name in cells)


@pytest.mark.parametrize("name", ["auc", "", GRADIENT, "fairness-", "fairness-income", "Evaluation"])
def test_an_unknown_measure_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="measures: expected some of evaluation, head-count, fairness-sex"):
        at("1", measures=(EVALUATION, name))
    with pytest.raises(InputError, match="measures: expected some of"):
        mechanism(SPACE, (EVALUATION, name))


def test_a_measure_twice_or_out_of_order_is_no_mechanism() -> None:
    with pytest.raises(InputError, match="each once, in this order"):
        at("1", measures=(EVALUATION, EVALUATION))
    for names in ((EVALUATION, EVALUATION), (HEAD_COUNT, EVALUATION)):
        with pytest.raises(InputError, match="each once, in this order"):
            mechanism(SPACE, names)


def test_more_rounds_mean_more_noise_in_each_and_the_same_cost() -> None:
    few, many = at("1", 4), at("1", 16)
    assert many.event(GRADIENT).noise / few.event(GRADIENT).noise == pytest.approx(2.0, rel=1e-6)
    assert float(many.mu_squared) == pytest.approx(float(few.mu_squared), rel=1e-6)


@given(contracts())
@settings(max_examples=40, deadline=None)
def test_the_mechanism_is_that_of_the_public_space(contract: Contract) -> None:
    space = FeatureSpace.from_contract(contract)
    moments, gradient = mechanism(space)
    d, r2 = space.width, Fraction(space.squared_radius)
    assert (moments.name, moments.coordinates, moments.grid) == ("second-moments", d * (d + 1) // 2, MOMENTS_GRID)
    assert (gradient.name, gradient.coordinates, gradient.grid) == ("gradient", d, GRADIENT_GRID)
    assert (moments.sensitivity - 1) ** 2 <= (r2 * r2 + r2) / 2 * 2 ** (2 * MOMENTS_GRID) < moments.sensitivity**2
    clip = Fraction(gradient_clip(space)) * 2**GRADIENT_GRID
    assert clip <= gradient.sensitivity < clip + 1
    assert abs((Fraction(gradient_clip(space)) / Fraction(CLIP_SHARE[space.link])) ** 2 - r2) < Fraction(1, 10**4)


def test_a_plan_binds_the_space_the_clip_and_the_sites_in_order() -> None:
    plan = at("1")
    assert plan.features == SPACE.digest
    assert plan.clip == str(gradient_clip(SPACE))
    assert [(site.name, site.people_at_most) for site in plan.sites] == [("North", 100), ("South", 800)]
    assert tuple(Shape.of(event) for event in plan.events) == mechanism(SPACE)
    assert Plan.from_bytes(plan.to_bytes()) == plan


def test_no_head_count_enters_the_noise_or_the_clip() -> None:
    larger = plan_at_epsilon(SPACE, {"South": 80_000, "North": 1}, "retention", Decimal(1), DELTA, "local")
    assert larger.events == at("1").events
    assert larger.clip == at("1").clip


def test_what_the_grid_adds_to_delta_is_next_to_nothing() -> None:
    assert discretization_delta(at("8", measures=MEASURES)) < DELTA / 1000


def test_two_thirds_of_the_sites_and_one_must_reply_and_a_tenth_may_collude() -> None:
    assert [sharing(n, SECURE_SUM) for n in (3, 4, 5, 30, 200)] == [(3, 1), (3, 1), (4, 1), (21, 3), (134, 20)]
    assert [sharing(n, LOCAL) for n in (1, 2, 3, 200)] == [(1, 0), (2, 0), (3, 0), (134, 0)]


def test_the_rule_s_secure_sums_hold_for_every_number_of_sites() -> None:
    for sites in range(MIN_SECURE_SITES, MAX_SITES + 1):
        replies, colluding = sharing(sites, SECURE_SUM)
        assert sites + colluding < 2 * replies <= 2 * sites
        assert replies - colluding >= sites // 2, "half of the sites' shares make up the noise"


def test_a_secure_sum_is_planned_with_the_noise_of_one_site_and_shared_by_the_honest() -> None:
    people = {name: 100 for name in ("East", "North", "South", "West")}
    shared, alone = (
        plan_at_epsilon(SPACE, people, "retention", Decimal(1), DELTA, trust) for trust in (SECURE_SUM, LOCAL)
    )
    assert shared.events == alone.events
    assert (shared.replies_at_least, shared.colluding, shared.noise_shares) == (3, 1, 2)
    assert (alone.replies_at_least, alone.colluding, alone.noise_shares) == (3, 0, 1)


def test_a_secure_sum_of_two_sites_is_refused() -> None:
    with pytest.raises(InputError, match="at least 3 for a secure sum, got 2"):
        plan_at_epsilon(SPACE, PEOPLE, "retention", Decimal(1), DELTA, SECURE_SUM)


@pytest.mark.parametrize("trust", ["", "Local", "none", "local "])
def test_an_unknown_trust_is_refused(trust: str) -> None:
    with pytest.raises(InputError, match="trust: expected one of local, secure-sum"):
        sharing(3, trust)


@pytest.mark.parametrize("budget", [Fraction(0), Fraction(-1)])
def test_a_plan_without_a_budget_is_refused(budget: Fraction) -> None:
    with pytest.raises(InputError, match="budget"):
        make_plan(SPACE, PEOPLE, "retention", budget, DELTA, "local")


def test_a_plan_without_sites_or_rounds_is_refused() -> None:
    with pytest.raises(InputError, match="plan sites"):
        make_plan(SPACE, {}, "retention", Fraction(1), DELTA, "local")
    with pytest.raises(InputError, match="times"):
        make_plan(SPACE, PEOPLE, "retention", Fraction(1), DELTA, "local", rounds=0)


@given(st.integers(1, 12), st.integers(0, 2**32))
def test_a_symmetric_matrix_survives_its_upper_triangle(width: int, seed: int) -> None:
    matrix = np.random.default_rng(seed).normal(size=(width, width))
    matrix = matrix + matrix.T
    assert np.array_equal(from_upper_triangle(upper_triangle(matrix), width), matrix)
