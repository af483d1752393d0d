"""Every figure of a cost is what it says it is, and none is smaller than the truth."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import accounting, cost, other_accountants
from privacy.cost import DELTAS, LEAVERS, RELEASES, TOO_LARGE, Cost, certify_cost, check_second, cost_of
from privacy.errors import InputError, Refused
from privacy.plan import FLOAT64, GaussianSum, Plan, SiteBound

MOMENTS = GaussianSum("second-moments", 1, 300, 40, 2**34, 2**37)
GRADIENT = GaussianSum("gradient", 12, 24, 40, 2**33, 2**37)
PLAN = Plan("retention", "0" * 64, "local", "0.00001", "1", (SiteBound("North", 100),), (MOMENTS, GRADIENT), 1)
DELTA = Decimal(PLAN.delta)
RARE = replace(PLAN, events=(MOMENTS, replace(GRADIENT, times=30, noise=2**35, rate="0.1")))


def with_events(*events: GaussianSum, **changes: str) -> Plan:
    return replace(PLAN, events=events, **changes)


def test_the_figures_of_a_plan_without_sampling_are_the_closed_forms() -> None:
    found, spent = cost_of(PLAN), PLAN.mu_squared
    assert found.mu2 == "0.0625" == str(float(spent))
    assert found.accountant == "gdp-closed-form"
    assert Decimal(found.epsilon) == accounting.epsilon(spent, DELTA) == Decimal("0.926342")
    assert Decimal(found.epsilon_replace_one) == accounting.epsilon(4 * spent, DELTA)
    assert Decimal(found.epsilon_two_sites) == accounting.epsilon(2 * spent, DELTA)
    masked = cost_of(
        replace(
            PLAN,
            trust="secure-sum",
            sites=tuple(SiteBound(f"site {n}", 100) for n in range(3)),
            replies_at_least=3,
            colluding=1,
        )
    )
    assert masked.epsilon_two_sites == masked.epsilon_replace_one, "both contributions are in one sum with one noise"
    assert [at for at, _ in found.epsilons] == list(DELTAS)
    for at, stated in found.epsilons:
        assert Decimal(stated) == accounting.epsilon(spent, Decimal(at))
    assert [people for people, _ in found.leavers] == list(LEAVERS)
    for people, stated in found.leavers:
        assert Decimal(stated) == accounting.epsilon(people**2 * spent, DELTA)
    assert [copies for copies, _ in found.releases] == list(RELEASES)
    for copies, stated in found.releases:
        assert Decimal(stated) == accounting.epsilon(copies * spent, DELTA)


def test_the_second_figure_is_an_independent_bound_just_above() -> None:
    found = cost_of(PLAN)
    assert found.second_accountant == "privacy-loss-distribution"
    assert Decimal(found.epsilon) <= Decimal(found.epsilon_second) <= Decimal(found.epsilon) * Decimal("1.001")


def test_the_cost_grows_release_by_release_to_the_whole() -> None:
    found = cost_of(PLAN)
    assert len(found.cumulative) == 13
    assert found.cumulative[0] == format(accounting.epsilon(MOMENTS.mu_squared_once, DELTA), "f")
    assert found.cumulative[-1] == found.epsilon
    assert [Decimal(value) for value in found.cumulative] == sorted({Decimal(value) for value in found.cumulative})


def test_of_very_many_releases_the_first_thousand_are_stated() -> None:
    many = with_events(*(replace(GRADIENT, name=f"event {n}", times=600, noise=2**39) for n in range(2)))
    assert len(cost_of(many).cumulative) == 1000


def test_the_figures_of_a_plan_with_sampling() -> None:
    found, spent = cost_of(RARE), RARE.mu_squared
    assert (found.accountant, found.second_accountant) == ("privacy-loss-distribution", "renyi-of-sampled-gaussian")
    assert Decimal(found.mu2) == Decimal(spent.numerator) / Decimal(spent.denominator), "charged without sampling"
    assert Decimal(found.epsilon) < accounting.epsilon(spent, DELTA) / 3, "stated with it"
    assert Decimal(found.epsilon) <= Decimal(found.epsilon_second)
    assert Decimal(found.epsilon) < Decimal(found.epsilon_two_sites) < 2 * Decimal(found.epsilon)
    assert Decimal(found.epsilon_replace_one) == accounting.epsilon(4 * spent, DELTA), "bounded without it"
    assert len(found.cumulative) == 31
    grown = [Decimal(value) for value in found.cumulative]
    assert grown == sorted(grown)
    assert grown[-1] == Decimal(found.epsilon)
    for count in (1, 7, 20, 31):
        part = replace(RARE, events=accounting.first(RARE, count))
        assert accounting.epsilon_of(part, DELTA) <= grown[count - 1] + accounting.EPSILON_STEP


def test_figures_beyond_700_are_written_in_words() -> None:
    loud = with_events(replace(GRADIENT, times=1, noise=2**30), mechanism=FLOAT64)  # mu = 8
    found = cost_of(loud)
    assert Decimal(found.epsilon) < 70
    assert found.leavers[-1] == (5, TOO_LARGE)
    assert found.releases[-1] == (24, TOO_LARGE)
    assert TOO_LARGE == ">700"


def test_a_plan_beyond_700_itself_has_no_cost() -> None:
    with pytest.raises(InputError, match="at most 700"):
        cost_of(with_events(replace(GRADIENT, times=20, noise=2**30), mechanism=FLOAT64))


@pytest.mark.parametrize("noise", [2**5, 2**8])
def test_a_grid_too_coarse_for_its_delta_is_refused(noise: int) -> None:
    with pytest.raises(InputError, match="discrete noise to add at most a thousandth"):
        cost_of(with_events(GaussianSum("gradient", 1, 10, 0, noise // 4, noise)))


def test_what_a_coarse_grid_adds_is_in_every_figure() -> None:
    coarse = with_events(GaussianSum("gradient", 1, 10, 0, 2**9, 2**14))
    found, mu = cost_of(coarse), math.sqrt(coarse.mu_squared)
    added = float(found.discretization_delta)
    assert 0 < added <= float(DELTA) / 1000
    assert accounting.delta_of(float(found.epsilon), mu) + added <= float(DELTA)
    distance = float(accounting.total_variation(coarse))
    for at, stated in found.epsilons:
        continuous = accounting.delta_of(float(stated), mu)
        by_distance = continuous + distance * (1 + math.exp(float(stated))) <= float(at) * (1 + 1e-9)
        by_concentration = Decimal(stated) == accounting.epsilon_by_zcdp(coarse.mu_squared, Decimal(at))
        assert by_distance or by_concentration
    assert Decimal(found.epsilons[-1][1]) == accounting.epsilon_by_zcdp(coarse.mu_squared, Decimal(DELTAS[-1]))


@given(st.integers(2**33, 2**40), st.integers(1, 40), st.integers(1, 1000))
@settings(max_examples=25, deadline=None)
def test_no_figure_is_below_the_closed_form(noise: int, times: int, coordinates: int) -> None:
    one = with_events(replace(GRADIENT, times=times, noise=noise, coordinates=coordinates))
    try:
        found = cost_of(one)
    except InputError:
        return
    spent = one.mu_squared
    for copies, people, stated in [
        (1, 1, found.epsilon),
        (2, 1, found.epsilon_two_sites),
        (1, 2, found.epsilon_replace_one),
        *((1, people, stated) for people, stated in found.leavers),
        *((copies, 1, stated) for copies, stated in found.releases),
    ]:
        if stated == TOO_LARGE:
            continue
        assert Decimal(stated) >= accounting.epsilon(copies * people**2 * spent, DELTA)


def test_float64_noise_adds_nothing_to_delta() -> None:
    assert cost_of(replace(PLAN, mechanism=FLOAT64)).discretization_delta == "0"


@pytest.mark.parametrize("plan", [PLAN, RARE], ids=["unsampled", "sampled"])
def test_what_others_agree_with_is_certified_as_it_is(plan: Plan) -> None:
    assert certify_cost(plan) == cost_of(plan)


@pytest.mark.parametrize("factor", ["0.98", "1.02"])
def test_what_others_find_otherwise_is_not_certified(monkeypatch: pytest.MonkeyPatch, factor: str) -> None:
    theirs = other_accountants.epsilon_by_pld(PLAN, DELTA) * Decimal(factor)
    monkeypatch.setattr(other_accountants, "epsilon_by_pld", lambda *_: theirs)
    with pytest.raises(Refused, match="expected dp-accounting to find"):
        certify_cost(PLAN)


@pytest.mark.parametrize(
    ("plan", "second"),
    [(PLAN, "0.9"), (PLAN, "0.94"), (RARE, "0.5"), (RARE, "9")],
    ids=["low", "high", "low, sampled", "high, sampled"],
)
def test_two_accountants_that_disagree_are_refused(plan: Plan, second: str) -> None:
    found = cost_of(plan)
    check_second(found)
    with pytest.raises(Refused, match="to agree"):
        check_second(replace(found, epsilon_second=second))


@pytest.mark.parametrize("event", [MOMENTS, GRADIENT], ids=["moments", "gradient"])
@pytest.mark.parametrize("plan", [PLAN, RARE], ids=["unsampled", "sampled"])
def test_an_event_left_out_of_the_first_account_is_caught_by_the_second(
    monkeypatch: pytest.MonkeyPatch, plan: Plan, event: GaussianSum
) -> None:
    """Planted: epsilon is computed of a plan without one event, and everything else of the whole plan."""
    less = replace(plan, events=tuple(one for one in plan.events if one.name != event.name))
    honest = cost.cost_of(plan)
    planted: Cost = replace(honest, epsilon=cost_of(less).epsilon)
    monkeypatch.setattr(cost, "cost_of", lambda _: planted)
    with pytest.raises(Refused):
        certify_cost(plan)


def test_a_cost_needs_no_slow_library() -> None:
    """The verifier starts at once: neither dp-accounting, scipy, torch nor opendp."""
    slow = "{'dp_accounting', 'prv_accountant', 'scipy', 'torch', 'opendp'}"
    code = f"import sys; import privacy.cost; print(sorted({slow} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_costs_are_the_same_for_the_same_mechanism_whoever_takes_part() -> None:
    other = replace(PLAN, sites=(SiteBound("North", 5), SiteBound("South", 10**6)))
    assert cost_of(other) == cost_of(PLAN)
    assert Fraction(cost_of(PLAN).mu2) >= PLAN.mu_squared


def test_a_sampled_plan_that_would_take_minutes_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("privacy.cost.MAX_POINTS", 100)
    with pytest.raises(InputError, match="bounded work"):
        cost_of(RARE)


def test_nine_different_releases_under_sampling_are_refused() -> None:
    events = tuple(replace(GRADIENT, name=f"g{n}", noise=2**35 + n * 2**31, rate="0.1") for n in range(9))
    with pytest.raises(InputError, match="at most 8 different"):
        cost_of(replace(PLAN, events=events))
