"""Kith's own accountant is an upper bound, and a tight one: against closed forms and against others' accountants."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import dp_accounting
import mpmath
import numpy as np
import pytest
from dp_accounting.pld import PLDAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from prv_accountant import PRVAccountant
from prv_accountant.privacy_random_variables import PoissonSubsampledGaussianMechanism

from privacy import accounting
from privacy.errors import InputError
from privacy.loss_distribution import delta, epsilon
from privacy.loss_grid import Grid, Released

TIGHT = 1e-3
"""Relative excess allowed where there is an exact figure; the grid is made for 3e-4."""
SLACK = 5e-5
"""Absolute excess allowed: it matters for epsilons below 0.1, which the sketch may misjudge."""
STEP = 1e-6
"""Closed forms state epsilon rounded up to this."""
RATES = [0.999, 0.5, 0.1, 0.001, 1e-6]


def exact_of_one(mu: float, rate: float, target: float) -> float:
    """Epsilon of one sampled release from its two trade-off integrals, by bisection with 60 digits."""
    with mpmath.workdps(60):
        m, q = mpmath.mpf(mu), mpmath.mpf(rate)

        def above(x: mpmath.mpf) -> mpmath.mpf:
            return mpmath.erfc(x / mpmath.sqrt(2)) / 2

        def removed(e: mpmath.mpf) -> mpmath.mpf:
            x = m / 2 + mpmath.log1p(mpmath.expm1(e) / q) / m
            return (1 - q) * above(x) + q * above(x - m) - mpmath.exp(e) * above(x)

        def added(e: mpmath.mpf) -> mpmath.mpf:
            if mpmath.expm1(-e) / q <= -1:
                return mpmath.mpf(0)
            x = m / 2 + mpmath.log1p(mpmath.expm1(-e) / q) / m
            return above(-x) - mpmath.exp(e) * ((1 - q) * above(-x) + q * above(m - x))

        worst = 0.0
        for curve in (removed, added):
            low, high = mpmath.mpf(0), mpmath.mpf(700)
            if curve(low) <= target:
                continue
            for _ in range(70):
                middle = (low + high) / 2
                low, high = (middle, high) if curve(middle) > target else (low, middle)
            worst = max(worst, float(high))
        return worst


@pytest.mark.parametrize("target", [1e-3, 1e-5, 1e-7, 1e-12, 1e-100])
@pytest.mark.parametrize(
    ("mu", "times"),
    [(0.2681, 1), (0.08, 13), (0.5, 12), (0.01, 1000), (0.01, 24_000), (3.0, 1), (20.0, 1), (0.5, 1000), (1e-3, 1)],
)
def test_without_sampling_it_is_the_closed_form_and_never_below(mu: float, times: int, target: float) -> None:
    closed = float(accounting.epsilon(times * Fraction(mu) ** 2, Decimal(target)))
    found = epsilon([Released(mu, 1.0, times)], target)
    assert closed - STEP <= found <= closed * (1 + TIGHT) + SLACK


@given(st.lists(st.tuples(st.floats(0.005, 3.0), st.integers(1, 50)), min_size=1, max_size=4), st.floats(0.0, 20.0))
@settings(max_examples=30, deadline=None)
def test_delta_of_mixed_releases_is_the_closed_form_and_never_below(events: list[tuple[float, int]], at: float) -> None:
    closed = accounting.delta_of(at, math.sqrt(sum(times * mu * mu for mu, times in events)))
    found = delta([Released(mu, 1.0, times) for mu, times in events], at)
    assert closed * (1 - 1e-8) <= found
    # a share of epsilon of 1e-4 is a factor e^(share * epsilon * order) in delta; far in the tail orders are large
    assert found <= closed * 1.1 + 1e-200 or closed < 1e-30


@pytest.mark.parametrize("target", [1e-3, 1e-5, 1e-9])
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("mu", [0.01, 0.3, 1.0, 3.0, 10.0])
def test_one_sampled_release_is_its_own_integral_and_never_below(mu: float, rate: float, target: float) -> None:
    exactly = exact_of_one(mu, rate, target)
    assert exactly <= epsilon([Released(mu, rate, 1)], target) <= exactly * (1 + 2 * TIGHT) + SLACK


SAMPLED = [
    # deviation over sensitivity, releases, rate, delta
    (1.0, 1000, 0.01, 1e-5),
    (2.0, 1000, 0.05, 1e-5),
    (0.8, 100, 0.01, 1e-6),
    (5.0, 20, 0.3, 1e-5),
    (1.1, 1560, 0.0128, 1e-5),
    (3.0, 12, 0.9, 1e-7),
    (50.0, 1000, 0.1, 1e-5),
]
IDS = [f"{s:g} {times} {rate:g} {target:g}" for s, times, rate, target in SAMPLED]


@pytest.mark.parametrize(("deviation", "times", "rate", "target"), SAMPLED, ids=IDS)
def test_google_finds_the_same_under_sampling(deviation: float, times: int, rate: float, target: float) -> None:
    """Theirs is an upper bound as well, so ours may be below by their grid's excess: 0.1 % here."""
    accountant = PLDAccountant(value_discretization_interval=1e-4 if deviation < 10 else 2e-5)
    sampled = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(deviation))
    accountant.compose(dp_accounting.SelfComposedDpEvent(sampled, times))
    theirs = accountant.get_epsilon(target)
    assert epsilon([Released(1 / deviation, rate, times)], target) == pytest.approx(theirs, rel=1e-3, abs=SLACK)


@pytest.mark.parametrize(("deviation", "times", "rate", "target"), SAMPLED[:4], ids=IDS[:4])
def test_microsofts_interval_holds_it_under_sampling(deviation: float, times: int, rate: float, target: float) -> None:
    found = epsilon([Released(1 / deviation, rate, times)], target)
    accountant = PRVAccountant(
        prvs=[PoissonSubsampledGaussianMechanism(rate, deviation)],
        max_self_compositions=[times],
        eps_error=0.01,
        delta_error=target / 1000,
    )
    low, _, high = accountant.compute_epsilon(target, [times])
    assert low <= found <= high


def test_mixed_sampled_and_unsampled_releases_agree_with_google() -> None:
    accountant = PLDAccountant(value_discretization_interval=1e-4)
    accountant.compose(dp_accounting.GaussianDpEvent(8.0))
    sampled = dp_accounting.PoissonSampledDpEvent(0.02, dp_accounting.GaussianDpEvent(1.5))
    accountant.compose(dp_accounting.SelfComposedDpEvent(sampled, 300))
    found = epsilon([Released(1 / 8, 1.0, 1), Released(1 / 1.5, 0.02, 300)], 1e-5)
    assert found == pytest.approx(accountant.get_epsilon(1e-5), rel=1e-3)


EVENTS = st.lists(
    st.builds(Released, st.floats(0.02, 1.5), st.sampled_from([1.0, 0.5, 0.1, 0.02]), st.integers(1, 40)),
    min_size=1,
    max_size=3,
)
TARGETS = st.sampled_from([1e-3, 1e-5, 1e-8])


def no_more(less: float, more: float) -> bool:
    """Up to what grids differ by: bounds of two plans are each within this of something that is monotone."""
    return less <= more * (1 + 2 * TIGHT) + 2 * SLACK


@given(EVENTS, TARGETS, st.floats(0.3, 0.97), st.data())
@settings(max_examples=40, deadline=None)
def test_more_noise_fewer_releases_or_a_smaller_rate_never_cost_more(
    events: list[Released], target: float, factor: float, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(events) - 1))
    one = events[place]
    cheaper = data.draw(
        st.sampled_from(
            [
                Released(one.mu * factor, one.rate, one.times),
                Released(one.mu, one.rate, max(1, int(one.times * factor))),
                Released(one.mu, one.rate * factor, one.times),
            ]
        )
    )
    changed = [*events[:place], cheaper, *events[place + 1 :]]
    assert no_more(epsilon(changed, target), epsilon(events, target))


@given(EVENTS, TARGETS)
@settings(max_examples=25, deadline=None)
def test_it_is_never_above_the_bound_without_sampling(events: list[Released], target: float) -> None:
    unsampled = float(accounting.epsilon(Fraction(sum(one.times * one.mu**2 for one in events)), Decimal(target)))
    assert no_more(epsilon(events, target), unsampled)


@given(EVENTS, TARGETS, st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_neither_order_nor_splitting_of_releases_matters(events: list[Released], target: float, random: object) -> None:
    parts = [part for one in events for part in (Released(one.mu, one.rate, 1),) * one.times]
    random.shuffle(parts)
    assert epsilon(parts, target) == epsilon(events, target) == epsilon(events[::-1], target)


@given(EVENTS, TARGETS)
@settings(max_examples=25, deadline=None)
def test_delta_and_epsilon_are_inverse(events: list[Released], target: float) -> None:
    found = epsilon(events, target)
    again = delta(events, found)
    assert again <= target * 1.05
    assert epsilon(events, again) <= found * (1 + 2 * TIGHT) + 2 * SLACK


@pytest.mark.parametrize("sign", [1, -1], ids=["removed", "added"])
@pytest.mark.parametrize(("mu", "rate"), [(0.3, 1.0), (1.0, 0.01), (3.0, 0.5), (0.01, 1e-4)])
def test_the_grid_alone_loses_no_delta_at_any_epsilon(sign: int, mu: float, rate: float) -> None:
    """Steps 1 and 2 by themselves, on a grid so coarse that everything they add shows."""
    step = 0.7 * mu * rate
    grid = Grid(Released(mu, rate, 1), sign, step, 1e-14)
    losses = np.arange(grid.lowest, grid.highest + 1) * step
    masses = np.exp([grid.log_moment(0.0)])[0] * grid.tilted(0.0, 1 << 20)
    masses = np.roll(masses, -grid.lowest)[: len(losses)]
    for at in np.linspace(-3 * step, 6 * step, 37):
        on_grid = float(np.sum(masses * -np.expm1(np.minimum(at - losses, 0.0)))) + grid.lost
        assert on_grid >= exact_delta(mu, rate, sign, float(at)) * (1 - 1e-12)


def exact_delta(mu: float, rate: float, sign: int, at: float) -> float:
    with mpmath.workdps(40):
        m, q, e = mpmath.mpf(mu), mpmath.mpf(rate), mpmath.mpf(sign * at)

        def above(x: mpmath.mpf) -> mpmath.mpf:
            return mpmath.erfc(x / mpmath.sqrt(2)) / 2

        inner = mpmath.expm1(e) / q
        x = m / 2 + mpmath.log1p(inner) / m if inner > -1 else -mpmath.inf
        if sign > 0:
            return float((1 - q) * above(x) + q * above(x - m) - mpmath.exp(at) * above(x))
        return float(above(-x) - mpmath.exp(at) * ((1 - q) * above(-x) + q * above(m - x)))


def test_losses_that_no_grid_can_hold_are_refused() -> None:
    with pytest.raises(InputError, match="one grid can hold"):
        Grid(Released(1.0, 1.0, 1), 1, 1e-6, 1e-14)


@pytest.mark.parametrize("planted", ["upper point's weight", "mass above"])
def test_a_grid_that_rounds_down_is_caught(monkeypatch: pytest.MonkeyPatch, planted: str) -> None:
    honest = epsilon([Released(0.5, 1.0, 12)], 1e-5)
    closed = float(accounting.epsilon(Fraction(3), Decimal("1e-5")))
    build = Grid.__init__

    def faulty(self: Grid, one: Released, sign: int, step: float, lost: float) -> None:
        build(self, one, sign, step, lost if planted == "upper point's weight" else 1e-3)
        if planted == "upper point's weight":
            self._masses = np.append(self._masses[1:], 0.0)
        else:
            self.lost = 0.0

    monkeypatch.setattr(Grid, "__init__", faulty)
    assert epsilon([Released(0.5, 1.0, 12)], 1e-5) < closed <= honest


@pytest.mark.parametrize("released", [[Released(40.0, 1.0, 1)], [Released(40.0, 0.001, 3)], [Released(30.0, 1.0, 500)]])
def test_what_protects_nobody_has_no_epsilon(released: list[Released]) -> None:
    assert epsilon(released, 1e-5) == math.inf
    assert delta(released, 1.0) == 1.0


@pytest.mark.parametrize("events", [[Released(1e-9, 1.0, 1)], [Released(1.0, 1e-9, 10)], [Released(1e-6, 1e-6, 1000)]])
def test_next_to_nothing_costs_next_to_nothing(events: list[Released]) -> None:
    assert epsilon(events, 1e-5) < STEP


@pytest.mark.parametrize(
    ("mu", "rate", "times"),
    [
        *((mu, 1.0, 1) for mu in (0.0, -1.0, math.inf, math.nan)),
        *((1.0, rate, 1) for rate in (0.0, -0.5, 1.1, math.nan)),
        *((1.0, 1.0, times) for times in (0, -1, 10**6 + 1)),
    ],
)
def test_what_is_no_release_is_refused(mu: float, rate: float, times: int) -> None:
    with pytest.raises(InputError, match="release: expected"):
        Released(mu, rate, times)


@pytest.mark.parametrize("target", [0.0, -1.0, 1.0, 1e-201, math.nan])
def test_a_delta_that_is_none_is_refused(target: float) -> None:
    with pytest.raises(InputError, match="delta: expected"):
        epsilon([Released(1.0, 1.0, 1)], target)


@pytest.mark.parametrize("at", [-0.1, 701.0, math.nan])
def test_an_epsilon_out_of_range_is_refused(at: float) -> None:
    with pytest.raises(InputError, match="epsilon: expected"):
        delta([Released(1.0, 1.0, 1)], at)


def test_nothing_released_is_refused() -> None:
    with pytest.raises(InputError, match="at least one"):
        epsilon([], 1e-5)
