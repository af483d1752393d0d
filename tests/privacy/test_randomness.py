"""Statistics that a wrong scale, a wrong shape, or noise used twice does not pass; each says how often it errs."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy.stats import chi2, chisquare, norm

from privacy.errors import InputError, KithError
from privacy.plan import DISCRETE, FLOAT64
from privacy.randomness import (
    OS,
    OS_FLOAT64,
    SEEDED,
    Integers,
    NoiseSource,
    float64_source,
    secure_source,
    seeded_source,
)

DRAWS = 20_000
SMALL = 5
"""A deviation at which the steps of the grid show."""
LARGE = 2**28
"""About the deviation of a real plan."""
SOURCES = [
    pytest.param(secure_source, id=OS),
    pytest.param(float64_source, id=OS_FLOAT64),
    pytest.param(lambda: seeded_source(11), id=SEEDED),
]


def scale_is(draws: Integers, deviation: float) -> bool:
    """Chi-square on the variance: the sum of squares over `deviation`² against n degrees, refused below 1e-12 per side.

    A right scale fails with probability 2e-12. For n = 20,000 the statistic's own deviation is 1 % of n; a scale off by
    10 % moves it by 19 to 21 %, of which 7 % are allowed, and passes with probability Phi(-11) < 1e-27.
    """
    statistic = float(np.sum((draws / deviation) ** 2))
    return bool(min(chi2.cdf(statistic, len(draws)), chi2.sf(statistic, len(draws))) > 1e-12)


def centred(draws: Integers, deviation: float) -> bool:
    """Whether the mean is within 6 of its own deviations of 0: a centred source fails with probability 2e-9.

    For n = 20,000 that is 4 % of the deviation; a source off by 10 % of it passes with probability Phi(-8) < 1e-15.
    """
    return bool(abs(draws.astype(np.float64).mean()) < 6 * deviation / np.sqrt(len(draws)))


def shape_is(draws: Integers, deviation: int, discrete: bool = True) -> bool:
    """Chi-square against the exact probability of each step within 3 deviations, tails pooled; refused at p < 1e-9.

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


@pytest.mark.parametrize("deviation", [round(0.9 * LARGE), round(1.1 * LARGE), LARGE // 2])
def test_a_scale_off_by_a_tenth_is_caught(deviation: int) -> None:
    assert not scale_is(drawn(secure_source(), deviation), LARGE)


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


@pytest.mark.parametrize("make", SOURCES[:2])
def test_a_source_of_the_system_is_fresh_on_each_call_whatever_the_label(make: object) -> None:
    source = make()
    assert unrelated(drawn(source, LARGE, b"same"), drawn(source, LARGE, b"same"))
    assert unrelated(drawn(source, LARGE, b"same"), drawn(make(), LARGE, b"same"))


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


def test_sources_are_told_apart_by_name_and_by_what_they_serve() -> None:
    sources = [secure_source(), float64_source(), seeded_source(0), seeded_source(0, FLOAT64)]
    assert [source.name for source in sources] == ["os", "os-float64", "seeded-for-tests", "seeded-for-tests"]
    assert [source.mechanism for source in sources] == [DISCRETE, FLOAT64, DISCRETE, FLOAT64]


def uniform(draws: Integers, bound: int) -> bool:
    """Chi-square over the values 0 to `bound` - 1, refused at p < 1e-9; n of at least 50 for each value.

    A right source fails with probability 1e-9. Taking the remainder of a byte by 200 instead of drawing again gives the
    lower 56 values twice the weight: the noncentrality is 0.2 n = 4000 on 199 degrees, and it passes with probability
    below 1e-100.
    """
    assert 0 <= draws.min() <= draws.max() < bound
    return bool(chisquare(np.bincount(draws, minlength=bound)).pvalue >= 1e-9)


@pytest.mark.parametrize("make", SOURCES)
@pytest.mark.parametrize("bound", [2, 3, 128, 129, 200])
def test_whole_numbers_below_a_bound_are_equally_likely(make: object, bound: int) -> None:
    assert uniform(make().below(DRAWS, bound, b"release"), bound)


def test_remainders_instead_of_rejection_are_caught() -> None:
    planted = np.random.default_rng(5).integers(0, 256, DRAWS) % 200
    assert not uniform(planted, 200)


@pytest.mark.parametrize("bound", [1, 2, 10**12, 2**52 + 1, 2**53])
def test_whole_numbers_stay_below_their_bound(bound: int) -> None:
    drawn_here = secure_source().below(2000, bound, b"")
    assert drawn_here.min() >= 0
    assert drawn_here.max() < bound
    assert bound == 1 or drawn_here.max() >= bound // 2  # fails with probability 2**-2000 or (1/2)**2000


@pytest.mark.parametrize("bound", [0, -1, 2**53 + 1])
def test_a_bound_out_of_range_is_refused(bound: int) -> None:
    with pytest.raises(InputError, match="chance: expected a bound"):
        secure_source().below(1, bound, b"")


def test_a_tests_chance_is_not_the_stream_of_its_noise() -> None:
    source = seeded_source(3)
    noise, chance = source.gaussian(DRAWS, LARGE, b"a"), source.below(DRAWS, 2**53, b"a")
    assert unrelated(noise, chance)
    assert np.array_equal(chance, seeded_source(3).below(DRAWS, 2**53, b"a"))


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
