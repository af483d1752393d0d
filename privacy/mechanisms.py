"""The one mechanism by which a number leaves a site: an exact integer sum plus Gaussian noise on the same grid.

Rules:
    1. If adding or removing one employee moves `exact` by at most `event.sensitivity` grid steps in L2, one call of
       `gaussian_sum` is (event.sensitivity / event.noise)-GDP, up to the total variation stated in
       `privacy.accounting`. The sum is an integer vector computed without rounding, so no floating-point summation
       enters the argument (Mironov 2012). Whoever calls computes `exact` with that sensitivity: `models.training` shows
       how.
    2. The noise is of the mechanism that the plan states, or there is none and no sum.
    3. For an event with a rate below 1, `exact` is the sum over those whom `poisson_sample` chose, freshly for this one
       release, out of all who might be in it; who was chosen and how many stays at the site.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from privacy.errors import InputError, Refused
from privacy.plan import DISCRETE, GaussianSum
from privacy.randomness import ChanceSource, Integers, NoiseSource

EXACT: Final = 2**53
"""Sums of whole numbers are exact in float64 below this; larger ones are refused."""


def gaussian_sum(
    event: GaussianSum, exact: Integers, noise: NoiseSource, label: bytes, mechanism: str = DISCRETE
) -> Integers:
    """The sum with noise, int64, shape (event.coordinates,), in grid steps.

    Args:
        event: which release of a plan, with its noise.
        exact: the sum, int64 of that shape.
        noise: a source that serves `mechanism`.
        label: of the release, for a seeded source.
        mechanism: the plan's.

    Raises:
        Refused: if the source serves another mechanism (rule 2).
        InputError: if `exact` is not int64 of that shape, or a coordinate is 2**53 or larger.
    """
    if noise.mechanism != mechanism:  # rule 2
        raise Refused(f"noise: expected a source of {mechanism}, got {noise.name!r} of {noise.mechanism}")
    if exact.dtype != np.int64 or exact.shape != (event.coordinates,):
        expected = f"int64 of shape ({event.coordinates},)"
        raise InputError(f"sum for {event.name!r}: expected {expected}, got {exact.dtype} of {exact.shape}")
    if ((exact <= -EXACT) | (exact >= EXACT)).any():
        raise InputError(f"sum for {event.name!r}: expected coordinates below 2**53 grid steps, got a larger one")
    return exact + noise.gaussian(event.coordinates, event.noise, label)


def poisson_sample(count: int, rate: str, chance: ChanceSource, label: bytes) -> NDArray[np.bool_]:
    """Which of `count` employees enter a release: each with probability `rate`, exactly, independently of the others.

    Args:
        count: how many might be in it.
        rate: as in `GaussianSum.rate`; a fraction of at most 12 decimal places, and that fraction is the probability.
        chance: the secure source, but for tests.
        label: of the release, for a seeded source.

    Raises:
        InputError: for a rate that is none.
    """
    share = Fraction(GaussianSum("sample", 1, 1, 0, 1, 1, rate).rate)  # the plan's own check
    return chance.below(count, share.denominator, label) < share.numerator
