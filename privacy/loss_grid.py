"""The privacy loss of one release on a grid, erring upwards: steps 1 and 2 of `privacy.loss_distribution`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from privacy.errors import InputError

MAX_TIMES: Final = 10**6
MAX_CELLS: Final = 1 << 19
LEFT: Final = 9.0
"""Normal deviations beyond which low losses are all put on the lowest point."""
UNIT: Final = 2.0**-52
ROUNDING: Final = 16 * UNIT
"""Relative error of a normal tail at z, over 1 + z²: that of erfc, of its argument, and of a difference of two."""
SUMS: Final = 1e-9
"""Relative error of all other sums and exponentials together, generously."""

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True, order=True)
class Released:
    """A Gaussian sum with mu = sensitivity / noise, released `times` times; everybody enters each at `rate`."""

    mu: float
    rate: float
    times: int

    def __post_init__(self) -> None:
        """Refuse what is not a release.

        Raises:
            InputError: for mu not above 0 and finite, a rate outside (0, 1], or times outside 1 to 10**6.
        """
        if not (0 < self.mu < math.inf and 0 < self.rate <= 1 and 1 <= self.times <= MAX_TIMES):
            raise InputError("release: expected mu above 0, a rate in (0, 1] and 1 to 10**6 times, got otherwise")


class Grid:
    """One release's loss: masses at whole multiples of a step.

    Attributes:
        lowest, highest: of those multiples.
        lost: P-mass of losses above.
    """

    def __init__(self, one: Released, sign: int, step: float, lost: float) -> None:
        """Spread the losses of one release over the grid.

        Args:
            one: the release; how often does not matter.
            sign: +1 for somebody removed, -1 for somebody added.
            step: of the grid, in units of loss.
            lost: a normal tail about as small as what may be given up at the top.

        Raises:
            InputError: if that is over `MAX_CELLS` steps.
        """
        reach = math.sqrt(-2 * math.log(lost))  # a normal tail beyond is below `lost`
        ends = np.array([-LEFT, one.mu + reach] if sign > 0 else [LEFT + one.mu, -reach])
        low, high = (float(end) for end in sign * loss(one, ends))
        self.lowest, self.highest = math.floor(low / step), math.ceil(high / step)
        if self.highest - self.lowest > MAX_CELLS:
            raise InputError("releases: expected ones whose losses one grid can hold, got too different ones")
        self.highest = max(self.highest, self.lowest + 1)
        self._step = step
        losses = np.arange(self.lowest, self.highest + 1, dtype=np.float64) * np.float64(step)
        edges = _place(one, sign * losses)
        near, near_error = _between(edges)
        far, far_error = _between(edges - one.mu)
        mixed = (1 - one.rate) * near + one.rate * far
        mixed_error = (1 - one.rate) * near_error + one.rate * far_error
        p, p_error, q, q_error = (
            (mixed, mixed_error, near, near_error) if sign > 0 else (near, near_error, mixed, mixed_error)
        )
        growth = np.exp(np.minimum(losses[:-1], 700.0))
        upper = (p - q * growth + p_error + q_error * growth) / -math.expm1(-step)
        upper = np.clip(upper, 0.0, p + p_error)
        self._masses = np.zeros(len(losses))
        self._masses[1:] += upper
        self._masses[:-1] += p + p_error - upper
        first, last = float(edges[0]), float(edges[-1])
        if sign > 0:
            shares = ((1 - one.rate, 0.0), (one.rate, one.mu))
            below = sum(weight * _above(mean - first) for weight, mean in shares)
            self.lost = sum(weight * _above(last - mean) for weight, mean in shares)
        else:
            below, self.lost = _above(first), _above(-last)
        self._masses[0] += below

    def log_moment(self, tilt: float) -> float:
        """The log of E[e^(tilt * L)] on the grid."""
        exponents = self._exponents(tilt)
        largest = float(exponents.max())
        return largest + math.log(float(np.exp(exponents - largest).sum()))

    def tilted(self, tilt: float, length: int) -> Vector:
        """(length,) tilted masses by their place modulo `length`; they add up to one."""
        weights = np.exp(self._exponents(tilt) - self.log_moment(tilt))
        places = np.arange(self.lowest, self.highest + 1) % length
        return np.asarray(np.bincount(places, weights=weights, minlength=length), dtype=np.float64)

    def _exponents(self, tilt: float) -> Vector:
        with np.errstate(divide="ignore"):
            logs: Vector = np.log(self._masses)
        return logs + tilt * self._step * np.arange(self.lowest, self.highest + 1)


def loss(one: Released, points: Vector) -> Vector:
    """The log of dP/dQ at points of the line, for somebody who is removed."""
    single = one.mu * points - one.mu * one.mu / 2
    if one.rate == 1:
        return single
    return np.logaddexp(math.log1p(-one.rate), math.log(one.rate) + single)


def _place(one: Released, losses: Vector) -> Vector:
    """Where on the line `loss` takes these values; minus infinity for those below all of its values."""
    if one.rate == 1:
        return one.mu / 2 + losses / one.mu
    large = losses > 600
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log1p(np.maximum(np.expm1(np.minimum(losses, 600.0)) / one.rate, -1.0))
    logs = np.where(large, losses - math.log(one.rate), logs)
    places: Vector = one.mu / 2 + logs / one.mu
    return places


def _between(edges: Vector) -> tuple[Vector, Vector]:
    """Standard normal mass between neighbouring edges (in either order), and a bound on its error."""
    edges = np.clip(edges, -45.0, 45.0)
    tails = np.fromiter(map(math.erfc, (np.abs(edges) / math.sqrt(2)).tolist()), np.float64, len(edges)) / 2
    one, other = edges[:-1], edges[1:]
    straddles = (one < 0) != (other < 0)
    mass = np.where(straddles, 1 - tails[:-1] - tails[1:], np.abs(tails[:-1] - tails[1:]))
    errors = ROUNDING * (1 + edges * edges) * tails
    error = np.where(straddles, ROUNDING, np.maximum(errors[:-1], errors[1:]))
    return np.maximum(mass, 0.0), error


def _above(place: float) -> float:
    """Standard normal mass above, not too small."""
    return math.erfc(place / math.sqrt(2)) / 2 * (1 + SUMS)
