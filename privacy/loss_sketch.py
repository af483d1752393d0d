"""A good tilt, grid and window for `privacy.loss_distribution`. A bad choice costs tightness and nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from privacy.loss_grid import LEFT, MAX_CELLS, Released, Vector, loss

ACCURACY: Final = 3e-4
"""Share of epsilon that the grid may cost; the grid is made fine enough for it."""
LEAST: Final = 5e-7
"""No epsilon below this is stated: it is half of the step to which others are rounded up."""
ENDS: Final = 1e-6
"""Share of delta that mass above grid or window may take up."""
POINTS: Final = 1200


class Sketch:
    """A tilt, a step and a window, from sums over some points of the line.

    Attributes:
        delta, about: the delta asked for and about the epsilon there, or the other way round.
        tilt: of the losses.
        further: tilts on top, for the mass above the window.
        step: of the grid.
        points: about how many points the grids of all releases have.
        low, high: of the window, in steps.
        lost: normal tail beyond which a release's losses are given up.
    """

    def __init__(
        self, released: Sequence[Released], sign: int, delta: float | None, epsilon: float | None, about: float
    ) -> None:
        """For a delta or an epsilon, the other of which is looked for; epsilon is not above `about`."""
        times = np.array([one.times for one in released], dtype=np.float64)
        total = float(times.sum())
        self.lost = 1e-290 if delta is None else max(1e-290, ENDS * delta / total)
        self._points = [_nodes(one, sign, self.lost) for one in released]
        self._times = times
        tilts = np.geomspace(1e-3, 1e9, 97)
        moments = np.array([self._log_moment(tilt) for tilt in tilts])
        # log of the largest e^(-tilt t) (1 - e^-t), by which Chernoff's bound on delta is sharper than on a tail
        moments += -np.log1p(tilts) - tilts * np.log1p(1 / tilts)
        if delta is None:
            bounds, near = np.maximum(moments - tilts * (epsilon or 0.0), -480.0), 0.1  # a delta of 1e-200 will do
        else:
            bounds = (moments - math.log(delta)) / tilts
            near = 0.02 * abs(float(np.nanmin(bounds))) + LEAST / 4
        best = int(np.argmax(bounds <= np.nanmin(bounds) + near))  # of good ones the smallest: large ones are brittle
        self.tilt, bound = float(tilts[best]), float(bounds[best])
        self.delta = math.exp(min(bound, 0.0)) if delta is None else delta
        self.about = max(min(bound, about), LEAST) if epsilon is None else max(epsilon, LEAST)
        self.lost = max(1e-290, min(self.lost, ENDS * self.delta / total))
        mean, deviation = self._tilted()
        if delta is None:
            self.about = max(self.about, deviation / 10)
        self.step = self._fine_enough(deviation, total)
        moment = self._log_moment(self.tilt)
        # Chernoff's bound under the tilt: 1e-12 of its mass above the window, 1e-8 below.
        self.further = [factor / max(deviation, 1e-300) for factor in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)]
        tops = [(self._log_moment(self.tilt + f) - moment + 28) / f for f in self.further]
        bottoms = [-(self._log_moment(self.tilt - f) - moment + 18) / f for f in self.further]
        wanted = (self.about if epsilon is None else epsilon) - 2 * self.step
        # Untilting over more than 600 is too much for float64; mass below the window is added inside it.
        reached = max(min(max(bottoms), mean), self.about - 600 / self.tilt)
        self.low = math.floor(min(reached, wanted) / self.step)
        self.high = math.ceil(max(min(tops), wanted, mean) / self.step) + 2
        spans = sum(float(losses.max() - losses.min()) for losses, _ in self._points)
        self.points = spans / self.step

    def _log_moment(self, tilt: float) -> float:
        total = 0.0
        for count, (losses, logs) in zip(self._times, self._points, strict=True):
            exponents = logs + tilt * losses
            largest = float(exponents.max())
            total += count * (largest + math.log(float(np.exp(exponents - largest).sum())))
        return total

    def _weights(self) -> list[Vector]:
        weights = []
        for losses, logs in self._points:
            exponents = logs + self.tilt * losses
            weight = np.exp(exponents - exponents.max())
            weights.append(weight / weight.sum())
        return weights

    def _tilted(self) -> tuple[float, float]:
        """Mean and standard deviation of the composed loss under the tilt."""
        mean = variance = 0.0
        for count, (losses, _), weight in zip(self._times, self._points, self._weights(), strict=True):
            own = float(weight @ losses)
            mean += count * own
            variance += count * float(weight @ (losses - own) ** 2)
        return mean, math.sqrt(variance)

    def _fine_enough(self, deviation: float, total: float) -> float:
        """A step whose spreading of losses adds at most ACCURACY to epsilon."""
        weights = self._weights()
        span = max(float(losses.max() - losses.min()) for losses, _ in self._points)
        step = max(deviation / math.sqrt(total) / 2, 1e-12)
        while step > span / MAX_CELLS * 2:
            added = 0.0
            for count, (losses, _), weight in zip(self._times, self._points, weights, strict=True):
                parts = losses / step
                parts -= np.floor(parts)
                added += count * float(weight @ (parts * (1 - parts))) * step * step
            if (self.tilt + 1) / 2 * added <= ACCURACY * self.about:
                return step
            step /= 2
        return span / MAX_CELLS * 2


def _nodes(one: Released, sign: int, lost: float) -> tuple[Vector, Vector]:
    """Losses at points of the line and the logarithms of their P-weights."""
    reach = math.sqrt(-2 * math.log(lost))
    low, high = (-LEFT, one.mu + reach) if sign > 0 else (-reach, one.mu + LEFT)
    points = np.linspace(low, high, POINTS)
    near = -points * points / 2
    if sign > 0:
        far = -((points - one.mu) ** 2) / 2 + math.log(one.rate)
        logs = far if one.rate == 1 else np.logaddexp(near + math.log1p(-one.rate), far)
    else:
        logs = near
    return sign * loss(one, points), logs - math.log(float(np.exp(logs).sum()))
