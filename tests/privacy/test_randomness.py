"""Statistics that a wrong scale, a wrong shape, or noise used twice does not pass; each says how often it errs."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy.stats import chisquare, norm

from privacy.errors import KithError
from privacy.randomness import OS, SEEDED, Integers, NoiseSource, secure_source, seeded_source

DRAWS = 20_000
SMALL = 5
"""A deviation at which the steps of the grid show."""
LARGE = 2**28
"""About the deviation of a real plan."""
SOURCES = [pytest.param(secure_source, id=OS), pytest.param(lambda: seeded_source(11), id=SEEDED)]


def scale_is(draws: Integers, deviation: float) -> bool:
    """Whether the root mean square is within 5 % of `deviation`.

    Its own relative deviation is 1/sqrt(2n): 0.5 % for n = 20,000. A right scale fails with probability
    2 Phi(-10) < 1e-22; a scale off by 10 % passes with probability Phi(-9) < 1e-18.
    """
    return bool(abs(np.sqrt(np.mean(draws.astype(np.float64) ** 2)) / deviation - 1) < 0.05)


def centred(draws: Integers, deviation: float) -> bool:
    """Whether the mean is within 6 of its own deviations of 0: a centred source fails with probability 2e-9.

    For n = 20,000 that is 4 % of the deviation; a source off by 10 % of it passes with probability Phi(-8) < 1e-15.
    """
    return bool(abs(draws.astype(np.float64).mean()) < 6 * deviation / np.sqrt(len(draws)))


def shape_is(draws: Integers, deviation: int, discrete: bool = True) -> bool:
    """Chi-square over the steps within 3 deviations (tails pooled), refused at p < 1e-9.

    A right source fails with probability 1e-9 (every cell expects at least 17 of n = 20,000 draws). A scale off by 10 %
    has a noncentrality of at least 368 on 32 degrees of freedom and passes with probability below 1e-23.
    """
    edge = 3 * deviation
    steps = np.arange(-edge, edge + 1)
    cell = norm.cdf((steps + 0.5) / deviation) - norm.cdf((steps - 0.5) / deviation)
    weights = np.exp(-0.5 * (steps / deviation) ** 2) / (deviation * np.sqrt(2 * np.pi)) if discrete else cell
    tail = (1 - weights.sum()) / 2
    expected = np.concatenate([[tail], weights, [tail]]) * len(draws)
    counted = np.bincount(np.clip(draws, -edge - 1, edge + 1) + edge + 1, minlength=len(expected))
    return bool(chisquare(counted, expected).pvalue >= 1e-9)


def normal_shape(draws: Integers, deviation: float) -> bool:
    """Kolmogorov-Smirnov distance to the Gaussian below 3.4/sqrt(n); a right source exceeds it with probability 2e-10.

    For n = 20,000 the threshold is 0.024. It is for shapes: a uniform of the same deviation is at 0.057 and passes with
    probability below 1e-15, while a scale off by 10 %, at 0.025, is `scale_is`'s to catch.
    """
    ordered = np.sort(draws) / deviation
    places = np.arange(1, len(draws) + 1) / len(draws)
    return bool(np.abs(norm.cdf(ordered) - places).max() < 3.4 / np.sqrt(len(draws)))


def unrelated(one: Integers, other: Integers) -> bool:
    """Whether the correlation of n pairs is below 6/sqrt(n).

    Independent draws fail with probability 2e-9; draws that share a tenth of their variance pass, for n = 20,000, with
    probability Phi(-8) < 1e-15.
    """
    return bool(abs(np.corrcoef(one.astype(np.float64), other.astype(np.float64))[0, 1]) < 6 / np.sqrt(len(one)))


def drawn(source: NoiseSource, deviation: int, label: bytes = b"release", size: int = DRAWS) -> Integers:
    return source.gaussian(size, deviation, label)


@pytest.mark.parametrize("make", SOURCES)
@pytest.mark.parametrize("deviation", [SMALL, LARGE])
def test_the_noise_has_the_deviation_asked_for(make: object, deviation: int) -> None:
    draws = drawn(make(), deviation)
    assert draws.dtype == np.int64
    assert draws.shape == (DRAWS,)
    assert scale_is(draws, deviation)
    assert centred(draws, deviation)


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.1])
def test_a_scale_that_is_off_is_caught(factor: float) -> None:
    planted = np.rint(drawn(secure_source(), LARGE) * factor).astype(np.int64)
    assert not scale_is(planted, LARGE)


def test_a_bias_of_a_tenth_is_caught() -> None:
    assert not centred(drawn(secure_source(), LARGE) + LARGE // 10, LARGE)


def test_the_secure_source_is_a_discrete_gaussian_step_by_step() -> None:
    assert shape_is(drawn(secure_source(), SMALL), SMALL)


@pytest.mark.parametrize("deviation", [0.9 * SMALL, 1.1 * SMALL])
def test_a_discrete_gaussian_of_another_scale_is_caught(deviation: float) -> None:
    planted = np.rint(np.random.default_rng(2).normal(0, deviation, DRAWS)).astype(np.int64)
    assert not shape_is(planted, SMALL)


def test_noise_that_leaves_out_every_other_step_is_caught() -> None:
    assert not shape_is(2 * drawn(seeded_source(1), SMALL) // 2 // 2 * 2, SMALL)


@pytest.mark.parametrize("make", SOURCES)
def test_large_noise_is_gaussian(make: object) -> None:
    assert normal_shape(drawn(make(), LARGE), LARGE)


def test_uniform_noise_of_the_right_deviation_is_caught() -> None:
    half = LARGE * np.sqrt(3)
    planted = np.random.default_rng(3).uniform(-half, half, DRAWS).astype(np.int64)
    assert scale_is(planted, LARGE)
    assert not normal_shape(planted, LARGE)


@pytest.mark.parametrize("make", SOURCES)
def test_coordinates_of_one_release_are_uncorrelated(make: object) -> None:
    draws = drawn(make(), LARGE)
    assert all(unrelated(draws[lag:], draws[:-lag]) for lag in (1, 2, 3, 8, 100, DRAWS // 2))
    assert unrelated(np.abs(draws[1:]), np.abs(draws[:-1]))


def test_coordinates_that_share_some_noise_are_caught() -> None:
    draws = drawn(secure_source(), LARGE)
    planted = draws[1:] + draws[:-1] // 3
    assert not unrelated(planted[1:], planted[:-1])


def test_the_secure_source_is_fresh_on_each_call_whatever_the_label() -> None:
    source = secure_source()
    assert unrelated(drawn(source, LARGE, b"same"), drawn(source, LARGE, b"same"))
    assert unrelated(drawn(source, LARGE, b"same"), drawn(secure_source(), LARGE, b"same"))


def test_noise_drawn_once_and_used_again_is_caught() -> None:
    reused = drawn(seeded_source(1), LARGE)
    assert not unrelated(reused, reused)
    assert not unrelated(reused, -reused)


def test_the_seeded_source_repeats_itself_for_tests() -> None:
    assert np.array_equal(drawn(seeded_source(5), LARGE, b"a"), drawn(seeded_source(5), LARGE, b"a"))


def test_the_seeded_source_differs_by_seed_and_by_label() -> None:
    base = drawn(seeded_source(5), LARGE, b"a")
    assert unrelated(base, drawn(seeded_source(6), LARGE, b"a"))
    assert unrelated(base, drawn(seeded_source(5), LARGE, b"b"))
    assert unrelated(drawn(seeded_source(1), LARGE, b"1"), drawn(seeded_source(11), LARGE, b""))


def test_sources_are_told_apart_by_name() -> None:
    assert secure_source().name == "os"
    assert seeded_source(0).name == "seeded-for-tests"


@pytest.mark.parametrize("missing", ["opendp", "opendp.prelude"])
def test_without_the_secure_sampler_nothing_starts(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    if missing == "opendp":
        monkeypatch.delitem(sys.modules, "opendp.prelude", raising=False)
    with pytest.raises(KithError, match="randomness: expected OpenDP's secure sampler, got ModuleNotFoundError"):
        secure_source()


def test_a_secure_sampler_that_does_not_answer_stops_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    import opendp.prelude as dp

    def broken(*_: object, **__: object) -> None:
        raise OSError("no entropy")

    monkeypatch.setattr(dp.m, "make_gaussian", broken)
    with pytest.raises(KithError, match="got OSError"):
        secure_source()
