"""Privacy loss distributions of Gaussian sums, with and without Poisson sampling: an upper bound on delta and epsilon.

One release with mu = sensitivity / noise at rate q is dominated by a pair of distributions on the line (Zhu, Dong &
Wang 2022, Thm. 11), and several releases by the products of their pairs, taken in one direction (ibid., Thm. 10):

    somebody is removed:  P = (1-q) N(0, 1) + q N(mu, 1),  Q = N(0, 1)
    somebody is added:    P = N(0, 1),                     Q = (1-q) N(0, 1) + q N(mu, 1)

With the loss L = log dP/dQ under P, delta(epsilon) = E[(1 - e^(epsilon - L))+], and the losses of releases add up. The
figure stated is the larger of the two directions'. Every step below is exact or errs upwards:

1. Grid. The losses between two neighbouring points of a grid are replaced by those two points, with the weights that
   keep both the P-mass and the Q-mass (Doroshenko et al. 2022, "connect the dots"). (1 - e^epsilon r)+ is convex in
   r = dQ/dP, and the replacement spreads r without moving its mean: no delta becomes smaller. Weight is moved to the
   upper point for what float64 may have lost (`loss_grid.ROUNDING`).
2. Ends. Losses below the grid are put on its lowest point; the P-mass above counts as delta, once for each release.
3. Tilting. Losses are composed under the weights e^(tilt * L), normalised: the region that decides delta then carries
   most of the mass, and an absolute error of the FFT is a relative one in delta. Any tilt is right; a good one is
   looked for.
4. Window. The FFT is circular, so what lies outside its window is added inside it: more mass, never less, at any point.
   The mass above the window counts as delta, by Chernoff's bound.
5. FFT. Every point gets what the FFT's rounding may have taken (`FFT_ROUNDING`).
6. Between grid points delta is linear in e^epsilon: the last step is solved exactly.

What only looks for a good grid, tilt and window (`privacy.loss_sketch`) may err: a bad choice costs tightness.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

import numpy as np
from numpy.typing import NDArray

from privacy.errors import InputError
from privacy.loss_grid import SUMS, UNIT, Grid, Released
from privacy.loss_sketch import ENDS, LEAST, Sketch

MIN_DELTA: Final = 1e-200
MAX_MU: Final = 36.0
"""Above, every epsilon is taken for infinite: float64 has no such tails, and nothing is protected."""
ATTEMPTS: Final = 4
NEAR: Final = 0.7
"""An epsilon below this share of what was expected is computed again with a grid that is as much finer."""
MAX_SAMPLED: Final = 8
"""Most different releases for an epsilon under sampling."""
_left: Final[ContextVar[float]] = ContextVar("points that may still be computed", default=math.inf)
MAX_WINDOW: Final = 1 << 21
MAX_WIDTH: Final = 1300.0
"""Of a window, in units of loss: its exponentials are within float64's range."""
FFT_ROUNDING: Final = 16 * UNIT
"""An FFT of length N errs in L2 by less than this times log2 N, relatively (a few units in practice)."""


def epsilon(released: Sequence[Released], delta: float) -> float:
    """An epsilon at which the releases together are (epsilon, `delta`)-DP, for add-remove neighbours.

    Within half a percent and 0.0001 of the smallest one for delta from 1e-12 on (tests compare), and always above it;
    infinity where none is found. The order of `released` does not matter.

    Raises:
        InputError: for delta outside [1e-200, 1), no release, more than `MAX_SAMPLED` under sampling, or
            too much work (`bounded`).
    """
    if not MIN_DELTA <= delta < 1:
        raise InputError(f"delta: expected at least {MIN_DELTA:g} and less than 1, got {delta:g}")
    merged = _merged(released)
    if len(merged) > MAX_SAMPLED and _sampled(merged):
        raise InputError(f"releases: expected at most {MAX_SAMPLED} different ones under sampling, got {len(merged)}")
    if merged[-1].mu > MAX_MU:
        return math.inf
    found = LEAST
    for sign in _signs(merged):
        if sign > 0 or _largest_loss_of_adding(merged) > found:
            found = max(found, _epsilon(merged, sign, delta, found))
    return found


def delta(released: Sequence[Released], epsilon: float) -> float:
    """A delta at which the releases together are (`epsilon`, delta)-DP, for add-remove neighbours; at least 1e-200.

    Raises:
        InputError: for epsilon outside [0, 700], or no release.
    """
    if not 0 <= epsilon <= 700:
        raise InputError(f"epsilon: expected 0 to 700, got {epsilon:g}")
    merged = _merged(released)
    if merged[-1].mu > MAX_MU:
        return 1.0
    return max(_delta(merged, sign, epsilon) for sign in _signs(merged))


def _epsilon(released: Sequence[Released], sign: int, delta: float, enough: float) -> float:
    """Epsilon in one direction, or anything up to `enough` if it is below.

    Where it ends far below what the sketch expected, a finer grid is worth its time.
    """
    best = about = math.inf
    for _ in range(ATTEMPTS):
        sketch = Sketch(released, sign, delta, None, about)
        best = min(best, _Direction(released, sign, sketch).epsilon(delta))
        if best > NEAR * sketch.about or best <= enough:
            break
        about = best
    return best


def _delta(released: Sequence[Released], sign: int, epsilon: float) -> float:
    return _Direction(released, sign, Sketch(released, sign, None, epsilon, math.inf)).delta(epsilon)


def _merged(released: Sequence[Released]) -> list[Released]:
    times: Counter[tuple[float, float]] = Counter()
    for one in released:
        times[one.mu, one.rate] += one.times
    if not times:
        raise InputError("releases: expected at least one, got none")
    return sorted(Released(mu, rate, count) for (mu, rate), count in times.items())


def _signs(released: Sequence[Released]) -> tuple[int, ...]:
    """+1 for somebody removed, -1 for somebody added; without sampling both are the same."""
    return (1, -1) if _sampled(released) else (1,)


def _sampled(released: Sequence[Released]) -> bool:
    return any(one.rate < 1 for one in released)


@contextmanager
def bounded(points: int) -> Iterator[None]:
    """Within it, all figures together compute at most so many points of grids and windows, else `InputError`."""
    token = _left.set(points)
    try:
        yield
    finally:
        _left.reset(token)


def _spend(points: float) -> None:
    left = _left.get() - points
    if left < 0:
        raise InputError("releases: expected ones whose losses can be computed in bounded work, got too different ones")
    _left.set(left)


def _largest_loss_of_adding(released: Sequence[Released]) -> float:
    """Log P/Q is at most -log(1-q) for each release; beyond that epsilon, delta is 0."""
    return sum(one.times * -math.log1p(-one.rate) if one.rate < 1 else math.inf for one in released)


class _Direction:
    """The composed loss in one direction, on the grid, under the tilt and in the window of a sketch."""

    def __init__(self, released: Sequence[Released], sign: int, sketch: Sketch) -> None:
        self._step, tilt = sketch.step, sketch.tilt
        _spend(sketch.points)
        grids = [Grid(one, sign, sketch.step, sketch.lost) for one in released]
        times = [one.times for one in released]
        moment = sum(t * grid.log_moment(tilt) for t, grid in zip(times, grids, strict=True))
        low = max(sketch.low, sum(t * grid.lowest for t, grid in zip(times, grids, strict=True)))
        top = sum(t * grid.highest for t, grid in zip(times, grids, strict=True))
        length = 1 << max(4, math.ceil(math.log2(max(min(sketch.high, top) - low, 0) + 3)))
        # Mass above the window by Chernoff's bound, at the best of some orders (step 4).
        orders = [tilt + further for further in sketch.further]
        moments = [sum(t * grid.log_moment(s) for t, grid in zip(times, grids, strict=True)) for s in orders]

        def beyond(length: int) -> float:
            above = (low + length) * self._step
            bound = min(m - s * above for s, m in zip(orders, moments, strict=True))
            return 0.0 if low + length > top else math.exp(min(bound, 0.0))

        while beyond(length) > ENDS * sketch.delta and length < MAX_WINDOW:
            length *= 2
        _spend(length * len(grids))
        self._too_wide = length > MAX_WINDOW or length * self._step > MAX_WIDTH
        if self._too_wide:
            return
        self._lost = sum(t * grid.lost for t, grid in zip(times, grids, strict=True)) + beyond(length)
        spectrum: NDArray[np.complex128] = np.ones(length // 2 + 1, dtype=np.complex128)
        error = 0.0
        for count, grid in zip(times, grids, strict=True):
            folded = grid.tilted(tilt, length)
            spectrum *= np.fft.rfft(folded) ** count
            error += (count + 1) * math.sqrt(float(folded @ folded))
        circle = np.maximum(np.fft.irfft(spectrum, length), 0.0) + FFT_ROUNDING * math.log2(length) * error  # step 5
        masses = np.roll(circle, -(low % length))
        self._points = (low + np.arange(length)) * self._step
        # Delta at every point, up to e^_scale, by two sums of positive terms: with S(k) the mass from point k on,
        # delta(k) = (1 - e^-h) * sum over j > k of e^(-h (j - 1 - k)) S(j).
        offsets = np.arange(length) * self._step
        untilted = masses * np.exp(np.maximum(-tilt * offsets, -740.0))
        tails = np.cumsum(untilted[::-1])[::-1]
        centred = offsets - offsets[-1] / 2
        decayed = np.cumsum((tails * np.exp(-centred))[::-1])[::-1]
        growth = -math.expm1(-self._step) * np.exp(centred[1:])
        self._deltas = np.append(growth * decayed[1:], 0.0)
        self._scale = moment - tilt * float(self._points[0]) + SUMS * (1 + sum(times) / 1000)
        largest = max(abs(grid.highest * self._step) for grid in grids)
        self._shift = sum(times) * 64 * UNIT * (1 + largest + released[-1].mu ** 2)

    def epsilon(self, delta: float) -> float:
        """The smallest epsilon at `delta`, or the window's lower end if that is larger."""
        left = 0.0 if self._too_wide else delta * (1 - SUMS) - self._lost
        if left <= 0:
            return math.inf
        log_goal = math.log(left) - self._scale
        if log_goal < -690:
            return math.inf  # float64 could take for 0 what is not
        goal = math.exp(min(log_goal, 700.0))
        place = int(np.argmax(self._deltas <= goal))
        if place == 0:
            return max(float(self._points[0]), 0.0) + self._shift
        upper, lower = float(self._deltas[place - 1]), float(self._deltas[place])
        share = (upper - goal) / (upper - lower) if upper > lower else 1.0
        return max(float(self._points[place - 1]) + math.log1p(share * math.expm1(self._step)), 0.0) + self._shift

    def delta(self, epsilon: float) -> float:
        """Delta at `epsilon`."""
        if self._too_wide:
            return 1.0
        at = epsilon - self._shift
        place = int(np.searchsorted(self._points, at))
        if at < self._points[0]:
            main = math.inf
        elif 0 < place < len(self._points):
            share = math.expm1(at - float(self._points[place - 1])) / math.expm1(self._step)
            upper, lower = float(self._deltas[place - 1]), float(self._deltas[place])
            main = upper - share * (upper - lower)
        else:
            main = float(self._deltas[0]) if place == 0 else 0.0
        log_main = math.log(main) + self._scale if main > 0 else -math.inf
        return min(1.0, (math.exp(min(log_main, 0.0)) + self._lost) * (1 + SUMS) + MIN_DELTA)
