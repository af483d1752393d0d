"""From score to probability, for a model whose residuals were clipped at one half.

Clipping every employee's gradient at half of the public row norm cuts the residual p - y of the logistic loss to
±1/2, p = 1 / (1 + e^-z). What such training makes zero on average is then not p - P(y = 1) but

    (1 - P) min(p, 1/2) - P min(1 - p, 1/2),      so that      odds(z) = P / (1 - P) = 2p         where z <= 0
                                                                              1 / (2 (1 - p))     where z > 0.

That is the link: exact, known in public, and free. Scores stay additive; odds are read from them through it. (A row
shorter than the public norm is clipped a little later than at one half; the difference is not corrected.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Vector = NDArray[np.float64]

LARGEST_SPREAD: Final = 1.5
"""Standard deviation of scores that is believed; a noisy estimate may say more."""
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(15)


@dataclass(frozen=True)
class Curve:
    """What one person's gradient carries on average: slope of its mean in the score; its variance over the slope."""

    slope: float
    spread: float


class Link(Protocol):
    """How scores and labels belong together."""

    def centre(self, rate: float) -> float:
        """The score at which everybody's mean label is `rate`."""

    def curve(self, mean: float, deviation: float) -> Curve:
        """Slope and spread over people whose scores have this mean and standard deviation."""


class ClippedLogistic:
    """A label of 0 or 1."""

    def centre(self, rate: float) -> float:
        """The score whose odds are rate / (1 - rate); 0 < rate < 1."""
        if rate > 0.5:
            return -self.centre(1 - rate)
        p = rate / (2 * (1 - rate))
        return math.log(p / (1 - p))

    def curve(self, mean: float, deviation: float) -> Curve:
        """See `Link.curve`; the spread is that of clipped residuals."""
        z = mean + min(deviation, LARGEST_SPREAD) * _NODES
        weights = _WEIGHTS / _WEIGHTS.sum()
        p = expit(-np.abs(z))  # by symmetry, the side where p <= 1/2
        likely = p / (p + 0.5)
        slope = float(weights @ (p * (1 - p) * (1 - likely)))
        return Curve(slope, float(weights @ ((1 - likely) * p**2 + likely / 4)) / slope)


class Linear:
    """A label on [0, 1]; the score is the label's mean, as long as few residuals are beyond the clip.

    Clipped residuals are those of Huber's regression (1964): slope and spread are what they would be under normal
    residuals of an expected size.
    """

    VARIANCE: Final = 0.05
    """Expected of a label's residual."""

    def __init__(self, clip: float) -> None:
        """`clip`: the largest residual that is not cut off, above 0."""
        share = clip / math.sqrt(self.VARIANCE)
        within = math.erf(share / math.sqrt(2))
        density = math.exp(-share * share / 2) / math.sqrt(2 * math.pi)
        cut = within - 2 * share * density + share * share * (1 - within)  # mean square, in the variance
        self._curve = Curve(within, self.VARIANCE * cut / within)

    def centre(self, rate: float) -> float:
        """The rate itself."""
        return rate

    def curve(self, mean: float, deviation: float) -> Curve:
        """See `Link.curve`; the same whatever the scores."""
        del mean, deviation
        return self._curve


def log_odds(score: float) -> float:
    """Natural logarithm of the odds of label 1 at a score of a clipped logistic model."""
    side = math.log(2) - math.log1p(math.exp(-abs(score))) - abs(score)  # log of 2p on the side where p <= 1/2
    return side if score <= 0 else -side
