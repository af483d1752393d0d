"""The one mechanism by which a number leaves a site: an exact integer sum plus Gaussian noise on the same grid.

Guarantee of `gaussian_sum`: if adding or removing one employee moves `exact` by at most `event.sensitivity` grid steps
in L2, one call is (event.sensitivity / event.noise)-GDP, up to the total variation stated in `privacy.accounting`. The
sum is an integer vector computed without rounding, so no floating-point summation enters the argument (Mironov 2012).
Whoever calls computes `exact` with that sensitivity: `models.training` shows how.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from privacy.errors import InputError
from privacy.plan import GaussianSum
from privacy.randomness import Integers, NoiseSource

EXACT: Final = 2**53
"""Sums of whole numbers are exact in float64 below this; larger ones are refused."""


def gaussian_sum(event: GaussianSum, exact: Integers, noise: NoiseSource, label: bytes) -> Integers:
    """The sum with noise, int64, shape (event.coordinates,), in grid steps.

    Raises:
        InputError: if `exact` is not int64 of that shape, or a coordinate is 2**53 or larger.
    """
    if exact.dtype != np.int64 or exact.shape != (event.coordinates,):
        expected = f"int64 of shape ({event.coordinates},)"
        raise InputError(f"sum for {event.name!r}: expected {expected}, got {exact.dtype} of {exact.shape}")
    if ((exact <= -EXACT) | (exact >= EXACT)).any():
        raise InputError(f"sum for {event.name!r}: expected coordinates below 2**53 grid steps, got a larger one")
    return exact + noise.gaussian(event.coordinates, event.noise, label)
