"""Others' accountants agree with ours on honest figures, and refuse planted wrong ones."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import dp_accounting
import pytest
from dp_accounting.pld import PLDAccountant

from privacy import other_accountants
from privacy.accounting import epsilon, epsilon_of
from privacy.errors import InputError, Refused
from privacy.other_accountants import check_agreement, epsilon_by_pld, epsilon_by_prv
from privacy.plan import Plan
from tests.privacy.test_accounting import DELTA, PLANS, plan, sampled

NAMES = [f"plan {n}" for n in range(len(PLANS))]
SAMPLED = [sampled("0.05", noise=2000), sampled("0.3", times=20, noise=5000), sampled("0.01", times=300)]


@pytest.mark.parametrize("run", PLANS, ids=NAMES)
def test_google_agrees_with_the_closed_form(run: Plan) -> None:
    closed = float(epsilon(run.mu_squared, DELTA))
    assert closed * (1 - 1e-4) <= float(epsilon_by_pld(run, DELTA)) <= closed * 1.002 + 1e-4
    check_agreement(run, DELTA, epsilon(run.mu_squared, DELTA))


@pytest.mark.parametrize("run", SAMPLED, ids=["0.05", "0.3", "0.01"])
def test_google_and_microsoft_agree_with_loss_distributions_under_sampling(run: Plan) -> None:
    stated = epsilon_of(run, DELTA)
    assert float(epsilon_by_pld(run, DELTA)) == pytest.approx(float(stated), rel=0.002)
    low, high = epsilon_by_prv(run, DELTA, 0.01)
    assert low <= float(stated) <= high
    assert high - low < 0.05
    check_agreement(run, DELTA, stated)


def test_google_sees_every_event_and_every_rate() -> None:
    one, two = plan((12, 1000, 12_000)), plan((12, 1000, 12_000), (1, 1000, 1500))
    assert epsilon_by_pld(two, DELTA) > epsilon_by_pld(one, DELTA) * Decimal("1.5")
    assert epsilon_by_pld(sampled("0.5", noise=9000), DELTA) > epsilon_by_pld(sampled("0.4", noise=9000), DELTA)


def test_replacing_one_person_costs_twice_the_distance_and_google_says_so() -> None:
    run = PLANS[1]
    replaced = epsilon(4 * run.mu_squared, DELTA)
    accountant = PLDAccountant(dp_accounting.NeighboringRelation.REPLACE_ONE, value_discretization_interval=1e-4)
    event = run.events[0]
    gaussian = dp_accounting.GaussianDpEvent(event.noise / event.sensitivity)
    accountant.compose(dp_accounting.SelfComposedDpEvent(gaussian, event.times))
    assert accountant.get_epsilon(float(DELTA)) == pytest.approx(float(replaced), rel=0.01)
    assert replaced > 2 * epsilon(run.mu_squared, DELTA)


@pytest.mark.parametrize("run", [PLANS[1], SAMPLED[0]], ids=["unsampled", "sampled"])
@pytest.mark.parametrize("factor", ["0.9", "0.99", "1.01", "1.1"])
def test_an_epsilon_off_by_a_hundredth_is_refused(run: Plan, factor: str) -> None:
    with pytest.raises(Refused, match="expected dp-accounting to find"):
        check_agreement(run, DELTA, epsilon_of(run, DELTA) * Decimal(factor))


def test_microsoft_is_asked_where_there_is_sampling(monkeypatch: pytest.MonkeyPatch) -> None:
    stated = epsilon_of(SAMPLED[0], DELTA)
    monkeypatch.setattr(other_accountants, "epsilon_by_pld", lambda *_: stated * Decimal("1.1"))
    with pytest.raises(Refused, match="expected prv-accountant to find"):
        check_agreement(SAMPLED[0], DELTA, stated * Decimal("1.1"))


def test_where_microsoft_finds_nothing_it_is_refused() -> None:
    """Its grid can not hold what is next to infinite; whatever it raises is a refusal."""
    with pytest.raises(Refused, match="one from prv-accountant"):
        epsilon_by_prv(replace(plan((1000, 20_000, 1000))), DELTA, float("nan"))


@pytest.mark.parametrize("delta", ["1", "0", "1e-390"])
def test_a_delta_that_is_none_is_refused(delta: str) -> None:
    for ask in (
        lambda: epsilon_by_pld(PLANS[0], Decimal(delta)),
        lambda: epsilon_by_prv(PLANS[0], Decimal(delta), 0.1),
    ):
        with pytest.raises(InputError, match="delta: expected"):
            ask()


def test_a_plan_charged_for_one_round_of_twelve_is_refused() -> None:
    run = PLANS[4]
    with pytest.raises(Refused):
        check_agreement(run, DELTA, epsilon(Fraction(run.mu_squared, 12), DELTA))
