from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.link import LARGEST_SPREAD, ClippedLogistic, Linear, log_odds

SCORES = st.floats(-30, 30)
LINK = ClippedLogistic()


def clipped(score: float, likely: float) -> tuple[float, float]:
    """Mean and mean square of the residual p - y held within one half, for a label that is 1 with this probability."""
    p = 1 / (1 + math.exp(-score))
    at_0, at_1 = min(p, 0.5), -min(1 - p, 0.5)
    return (1 - likely) * at_0 + likely * at_1, (1 - likely) * at_0**2 + likely * at_1**2


def probability(score: float) -> float:
    return 1 / (1 + math.exp(-log_odds(score)))


@given(SCORES)
def test_the_odds_are_those_at_which_clipped_residuals_cancel_out(score: float) -> None:
    assert clipped(score, probability(score))[0] == pytest.approx(0, abs=1e-12)


@given(SCORES, SCORES)
def test_higher_scores_mean_higher_odds_and_the_sides_are_alike(one: float, other: float) -> None:
    if one < other:
        assert log_odds(one) <= log_odds(other)
    assert log_odds(-one) == pytest.approx(-log_odds(one), abs=1e-12)
    assert log_odds(0.0) == pytest.approx(0.0, abs=1e-15)


@given(st.floats(-1e308, 1e308))
def test_no_score_is_too_large_to_be_read(score: float) -> None:
    assert math.isfinite(log_odds(score))


@given(st.floats(0.001, 0.999))
def test_the_score_of_a_base_rate_has_that_rate(rate: float) -> None:
    assert probability(LINK.centre(rate)) == pytest.approx(rate, rel=1e-9)


@given(st.floats(-6, 6))
def test_the_curve_is_the_slope_of_the_mean_clipped_residual_and_its_variance(score: float) -> None:
    """By differences on the side where the label's own score lies; at one half the slope has a kink."""
    likely, h = probability(score), 1e-6 if score <= 0 else -1e-6
    outer = (clipped(score, likely)[0] - clipped(score - h, likely)[0]) / h
    curve = LINK.curve(score, 0.0)
    assert curve.slope == pytest.approx(outer, rel=1e-4)
    assert curve.slope * curve.spread == pytest.approx(clipped(score, likely)[1], rel=1e-9)


@pytest.mark.parametrize("mean", [-3.0, -1.5, 0.5])
@pytest.mark.parametrize("deviation", [0.3, 1.0])
def test_over_many_people_the_curve_is_their_average(mean: float, deviation: float) -> None:
    """15 nodes against 20,001 evenly spaced ones: the kink at zero leaves a few percent."""
    places = np.linspace(-8, 8, 20_001)
    share = np.exp(-0.5 * places**2)
    alone = [LINK.curve(mean + deviation * z, 0.0) for z in places[::40]]
    share = share[::40] / share[::40].sum()
    slope = float(share @ [c.slope for c in alone])
    square = float(share @ [c.slope * c.spread for c in alone])
    together = LINK.curve(mean, deviation)
    assert together.slope == pytest.approx(slope, rel=0.05)
    assert together.slope * together.spread == pytest.approx(square, rel=0.05)


def test_a_spread_of_scores_beyond_belief_is_not_believed() -> None:
    assert LINK.curve(-2.0, 50.0) == LINK.curve(-2.0, LARGEST_SPREAD)


def test_a_quantity_is_its_own_score() -> None:
    link = Linear(0.25)
    assert link.centre(0.3) == 0.3
    assert link.curve(-5.0, 3.0) == link.curve(0.5, 0.1)


@pytest.mark.parametrize("clip", [0.1, 0.25, 0.5])
def test_a_quantity_s_curve_is_that_of_clipped_normal_residuals(clip: float) -> None:
    residuals = np.random.default_rng(0).normal(0, np.sqrt(Linear.VARIANCE), 1_000_000)
    curve = Linear(clip).curve(0.0, 0.0)
    assert curve.slope == pytest.approx((np.abs(residuals) < clip).mean(), abs=0.003)
    assert curve.slope * curve.spread == pytest.approx(np.mean(np.clip(residuals, -clip, clip) ** 2), rel=0.01)
