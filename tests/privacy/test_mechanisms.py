from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import InputError
from privacy.mechanisms import gaussian_sum
from privacy.plan import GaussianSum
from privacy.randomness import Integers, NoiseSource, secure_source, seeded_source
from tests.privacy.test_randomness import centred, scale_is, unrelated

EVENT = GaussianSum("gradient", 12, 20_000, 24, 2**20, 2**24)
SUM = np.random.default_rng(4).integers(-(2**40), 2**40, EVENT.coordinates)


@dataclass(frozen=True)
class Halved:
    """A planted fault: half of the noise."""

    name: str = "halved"

    def gaussian(self, size: int, deviation: int, label: bytes) -> Integers:
        return seeded_source(1).gaussian(size, deviation // 2, label)


@dataclass(frozen=True)
class Reused:
    """A planted fault: noise drawn once and given again."""

    name: str = "reused"
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

        def gaussian(self, size: int, deviation: int, label: bytes) -> Integers:
            raise AssertionError("noise was drawn")

    with pytest.raises(InputError, match="sum for 'gradient': expected"):
        gaussian_sum(SMALL, exact, Untouched(), b"")


def test_a_refusal_does_not_show_the_sum() -> None:
    with pytest.raises(InputError) as refusal:
        gaussian_sum(SMALL, np.array([1, 2**53 + 123456789, 0]), seeded_source(1), b"")
    assert str(2**53 + 123456789) not in str(refusal.value)
