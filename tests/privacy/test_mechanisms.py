from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from privacy.errors import InputError, Refused
from privacy.mechanisms import gaussian_sum, poisson_sample
from privacy.plan import DISCRETE, FLOAT64, GaussianSum
from privacy.randomness import Integers, NoiseSource, float64_source, secure_source, seeded_source
from tests.privacy.test_randomness import centred, scale_is, unrelated

EVENT = GaussianSum("gradient", 12, 20_000, 24, 2**20, 2**24)
SUM = np.random.default_rng(4).integers(-(2**40), 2**40, EVENT.coordinates)


@dataclass(frozen=True)
class Halved:
    """A planted fault: half of the noise."""

    name: str = "halved"
    mechanism: str = DISCRETE

    def gaussian(self, size: int, deviation: int, label: bytes) -> Integers:
        return seeded_source(1).gaussian(size, deviation // 2, label)


@dataclass(frozen=True)
class Reused:
    """A planted fault: noise drawn once and given again."""

    name: str = "reused"
    mechanism: str = DISCRETE
    first: dict[int, Integers] = field(default_factory=dict)

    def gaussian(self, size: int, deviation: int, label: bytes) -> Integers:
        return self.first.setdefault(deviation, seeded_source(1).gaussian(size, deviation, label))


def two_releases(noise: NoiseSource) -> tuple[Integers, Integers]:
    """What is left of two releases of one sum when the sum is taken away."""
    first, second = (gaussian_sum(EVENT, SUM, noise, label) - SUM for label in (b"0", b"1"))
    return first, second


def passes(noise: NoiseSource) -> bool:
    """Right scale and mean in both releases, and no relation between them.

    By the statistics of `test_randomness`: a right source fails with probability below 1e-8; half of the noise and
    noise used twice pass with probability below 1e-15.
    """
    first, second = two_releases(noise)
    right = all(scale_is(noise, EVENT.noise) and centred(noise, EVENT.noise) for noise in (first, second))
    return right and unrelated(first, second)


def test_a_release_is_the_sum_plus_fresh_noise_of_the_plans_deviation() -> None:
    assert passes(secure_source())
    assert passes(seeded_source(3))


def test_halved_noise_is_caught() -> None:
    assert not passes(Halved())


def test_noise_drawn_once_and_reused_is_caught() -> None:
    first, second = two_releases(Reused())
    assert scale_is(first, EVENT.noise)
    assert np.array_equal(first, second)
    assert not passes(Reused())


def test_noise_is_taken_from_the_plan_and_not_from_the_sum() -> None:
    nothing = np.zeros(EVENT.coordinates, dtype=np.int64)
    assert scale_is(gaussian_sum(EVENT, nothing, secure_source(), b""), EVENT.noise)
    louder = replace(EVENT, noise=2 * EVENT.noise)
    assert scale_is(gaussian_sum(louder, nothing, secure_source(), b""), 2 * EVENT.noise)


@given(st.lists(st.integers(-(2**53) + 1, 2**53 - 1), min_size=1, max_size=8), st.binary(max_size=8))
def test_the_noise_does_not_depend_on_the_sum(values: list[int], label: bytes) -> None:
    event = replace(EVENT, coordinates=len(values))
    exact = np.array(values, dtype=np.int64)
    noise = gaussian_sum(event, np.zeros_like(exact), seeded_source(1), label)
    assert [int(x) for x in gaussian_sum(event, exact, seeded_source(1), label)] == [
        value + int(n) for value, n in zip(values, noise, strict=True)
    ]
    assert exact.tolist() == values, "the exact sum must not be written to"


SMALL = replace(EVENT, coordinates=3)


@pytest.mark.parametrize(
    "exact",
    [
        pytest.param(np.zeros(3), id="float64"),
        pytest.param(np.zeros(3, dtype=np.int32), id="int32"),
        pytest.param(np.zeros(3, dtype=np.uint64), id="uint64"),
        pytest.param(np.zeros(3, dtype=object), id="objects"),
        pytest.param(np.zeros(2, dtype=np.int64), id="too short"),
        pytest.param(np.zeros(4, dtype=np.int64), id="too long"),
        pytest.param(np.zeros((3, 1), dtype=np.int64), id="a column"),
        pytest.param(np.int64(0) + np.zeros((), dtype=np.int64), id="a single number"),
        pytest.param(np.array([0, 2**53, 0]), id="2**53"),
        pytest.param(np.array([0, -(2**53), 0]), id="-2**53"),
        pytest.param(np.array([0, 2**63 - 1, 0]), id="the largest int64"),
        pytest.param(np.array([0, -(2**63), 0]), id="the smallest int64, whose absolute value is itself"),
    ],
)
def test_sums_that_are_not_exact_are_refused_before_noise_is_drawn(exact: np.ndarray) -> None:
    class Untouched:
        name = "untouched"
        mechanism = DISCRETE

        def gaussian(self, size: int, deviation: int, label: bytes) -> Integers:
            raise AssertionError("noise was drawn")

    with pytest.raises(InputError, match="sum for 'gradient': expected"):
        gaussian_sum(SMALL, exact, Untouched(), b"")


def test_a_refusal_does_not_show_the_sum() -> None:
    with pytest.raises(InputError) as refusal:
        gaussian_sum(SMALL, np.array([1, 2**53 + 123456789, 0]), seeded_source(1), b"")
    assert str(2**53 + 123456789) not in str(refusal.value)


# --- the plan's mechanism, and no other --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "mechanism"),
    [
        pytest.param(float64_source, DISCRETE, id="float64 noise where exact noise is stated"),
        pytest.param(secure_source, FLOAT64, id="exact noise where float64 noise is stated"),
        pytest.param(lambda: seeded_source(1), FLOAT64, id="a test's noise of another mechanism"),
        pytest.param(secure_source, "", id="no mechanism"),
    ],
)
def test_noise_of_another_mechanism_than_the_plan_states_is_refused(source: object, mechanism: str) -> None:
    with pytest.raises(Refused, match="noise: expected a source of"):
        gaussian_sum(SMALL, np.zeros(3, dtype=np.int64), source(), b"", mechanism)


def test_float64_noise_is_never_taken_by_default() -> None:
    with pytest.raises(Refused):
        gaussian_sum(SMALL, np.zeros(3, dtype=np.int64), float64_source(), b"")


def test_float64_noise_has_the_plans_deviation_where_the_plan_states_it() -> None:
    released = [gaussian_sum(EVENT, SUM, float64_source(), b"", FLOAT64) - SUM for _ in range(2)]
    assert all(scale_is(noise, EVENT.noise) and centred(noise, EVENT.noise) for noise in released)
    assert unrelated(*released)


# --- who is sampled ----------------------------------------------------------------------------------------


def sampled_as_stated(chosen: np.ndarray, rate: float) -> bool:
    """Whether the share chosen is within 6 deviations of the rate: a right sampler fails with probability 2e-9.

    For n = 400,000 and rate 0.02 that is 6.6 % of the rate, one deviation 1.1 %: a rate off by a fifth is at 18
    deviations and passes with probability Phi(-11) < 1e-27.
    """
    return bool(abs(chosen.mean() - rate) < 6 * np.sqrt(rate * (1 - rate) / len(chosen)))


PEOPLE = 400_000


@pytest.mark.parametrize("rate", ["0.02", "0.5", "0.333333333333", "0.999", "0.000001"])
def test_employees_are_sampled_at_the_rate_of_the_plan(rate: str) -> None:
    assert sampled_as_stated(poisson_sample(PEOPLE, rate, secure_source(), b""), float(rate))


@pytest.mark.parametrize("planted", [0.016, 0.024])
def test_a_rate_off_by_a_fifth_is_caught(planted: float) -> None:
    chosen = np.random.default_rng(1).random(PEOPLE) < planted
    assert not sampled_as_stated(chosen, 0.02)


def number_varies(samples: list[np.ndarray], rate: float) -> bool:
    """Whether the numbers chosen in k samples of n vary as binomials: chi-square on k degrees, refused below 1e-9.

    A fixed number, as a shuffled batch has, is at 0: for k = 60 it is refused with certainty.
    """
    n, k = len(samples[0]), len(samples)
    statistic = sum((float(one.sum()) - n * rate) ** 2 for one in samples) / (n * rate * (1 - rate))
    return bool(min(chi2.cdf(statistic, k), chi2.sf(statistic, k)) > 1e-9)


def test_how_many_are_sampled_is_left_to_chance_too() -> None:
    assert number_varies([poisson_sample(2000, "0.1", secure_source(), b"") for _ in range(60)], 0.1)


def test_batches_of_a_fixed_size_are_caught() -> None:
    random = np.random.default_rng(2)
    fixed = [random.permutation(np.arange(2000) < 200) for _ in range(60)]
    assert not number_varies(fixed, 0.1)


def independent(one: np.ndarray, other: np.ndarray, rate: float) -> bool:
    """Whether those in both are within 6 deviations of rate² n: independent samples fail with probability 2e-9.

    For n = 400,000 and rate 0.1 the same sample twice is 36,000 off, 570 deviations.
    """
    both = rate * rate
    return bool(abs((one & other).mean() - both) < 6 * np.sqrt(both * (1 - both) / len(one)))


def test_every_release_and_every_employee_is_sampled_independently() -> None:
    source = secure_source()
    one, other = (poisson_sample(PEOPLE, "0.1", source, b"same") for _ in range(2))
    assert independent(one, other, 0.1)
    assert independent(one[1:], one[:-1], 0.1)
    assert not independent(one, one, 0.1), "the same sample twice is caught"


def test_everybody_is_sampled_at_rate_one() -> None:
    assert poisson_sample(1000, "1", secure_source(), b"").all()
    assert poisson_sample(0, "0.5", secure_source(), b"").shape == (0,)


@pytest.mark.parametrize("rate", ["0", "1.1", "-0.1", "nan", "1/3", ""])
def test_a_rate_that_no_plan_may_state_is_refused(rate: str) -> None:
    with pytest.raises(InputError, match="rate: expected"):
        poisson_sample(10, rate, secure_source(), b"")


def test_a_tests_sample_repeats_itself_and_differs_by_label() -> None:
    one, again, other = (poisson_sample(1000, "0.5", seeded_source(1), label) for label in (b"a", b"a", b"b"))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
