"""A site's own terms: how its people differ from the group, from what its own releases say of it.

Around the shared weights w a site's mean gradient residual tells of its own difference u through its own curvature K:

    B = K mean(w_t) - mean(G) - K w = K u + noise,      noise ~ N(0, kappa diag(K) + s²/T)

in the basis U of the group's moments, where only the leading directions are looked at (LEADING). K is the site's share
of the group's curvature, by public head counts, and what its own noisy moments say beyond that. How much an entry of
them is to be believed is told by all sites together (empirical Bayes): with V the variance over sites of what is
beyond the share and m² the noise, V / (V + m²) of it is taken, and the V m² / (V + m²) that stays unknown is one more
noise in B, as large as the differences that it would multiply. Without that, a site whose people are unlike the group's
would be taken for one whose truth is unlike it.

The prior on u is N(0, diag(t²)) with one strength for the level, the direction in which everybody's row points, and one
for all else: sites differ in how many leave more than in why. Both are those under which all sites' released residuals
are most likely.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.link import Curve

STRENGTHS: Final = (0.0, 0.04, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.2, 1.6)
"""Candidates for the standard deviation of a site's own difference, as multiples of a shared weight's."""
LEVELS: Final = (0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.2, 1.6, 2.4)
"""As STRENGTHS, for the level."""
LEADING: Final = 64
"""Directions of the basis in which sites are looked at: the largest. What they say of others is noise."""
FEWEST: Final = 3
"""With fewer sites, nothing is told of how sites' people differ."""

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Looks:
    """What one site's own releases say. Directions are the leading ones of the basis.

    Attributes:
        people: public bound on its head count.
        moments: (r, r) its noisy second moments, or None if it was missing there.
        looks: gradients that count, at least 1.
        places: (r,) sum of the weights they were computed at.
        gradients: (r,) sum of them.
    """

    people: float
    moments: Vector | None
    looks: int
    places: Vector
    gradients: Vector


@dataclass(frozen=True)
class Noise:
    """Standard deviation of one site's noise on a coordinate of its moments and of a gradient."""

    moments: float
    gradient: float


@dataclass(frozen=True, eq=False)
class Differences:
    """By site: its difference from the shared weights, (r,), and the variance it is known with, (r,).

    Attributes:
        strength: standard deviation of a difference, but for the level's.
        level: of the level's.
    """

    strength: float
    level: float
    own: Mapping[str, tuple[Vector, Vector]]


def differences(
    sites: Mapping[str, Looks], share: Vector, weights: Vector, curve: Curve, noise: Noise, prior: float
) -> Differences:
    """Every site's difference from the shared weights.

    Args:
        sites: what each site's releases say.
        share: (r,) eigenvalues of the group's moments for one person, the largest last.
        weights: (r,) the shared weights in the basis.
        curve: slope and spread of the link at these weights.
        noise: of one site.
        prior: standard deviation expected of a shared weight.
    """
    seen = _seen(sites, share, weights, curve, noise)
    pairs = [(strength * prior, level * prior) for strength in STRENGTHS for level in LEVELS]
    strength, level = max(pairs, key=lambda pair: sum(one.likelihood(*pair) for one in seen.values()))
    return Differences(strength, level, {name: one.posterior(strength, level) for name, one in seen.items()})


@dataclass(frozen=True, eq=False)
class _Seen:
    """A site's curvature (r, r) with the variance (r, r) it is known with, its residual (r,) and that one's noise."""

    curvature: Vector
    unknown: Vector
    residual: Vector
    noise: Vector

    def likelihood(self, strength: float, level: float) -> float:
        """Of the residual under these strengths, coordinate by coordinate."""
        rest, own = self._gains
        variance = strength**2 * rest + level**2 * own + self.noise
        return -float(np.sum(np.log(variance) + self.residual**2 / variance))

    @cached_property
    def _gains(self) -> tuple[Vector, Vector]:
        """(r,) variance of the residual for each unit of variance: of all differences but the level, and of it."""
        gains = self.curvature**2 + self.unknown
        return gains[:, :-1].sum(axis=1), gains[:, -1]

    def posterior(self, strength: float, level: float) -> tuple[Vector, Vector]:
        """Mean and variance of the difference."""
        prior = np.full(len(self.residual), strength**2)
        prior[-1] = level**2
        if not prior.any():
            return np.zeros_like(prior), prior
        towards = prior[:, None] * self.curvature
        spread = self.curvature @ towards + np.diag(self.noise + self.unknown @ prior)
        gain = np.linalg.solve(spread, towards.T).T
        return gain @ self.residual, np.maximum(prior - np.einsum("ij,ij->i", gain, towards), 0.0)


def _seen(sites: Mapping[str, Looks], share: Vector, weights: Vector, curve: Curve, noise: Noise) -> dict[str, _Seen]:
    beyond = {
        name: site.moments - np.diag(site.people * share) for name, site in sites.items() if site.moments is not None
    }
    variance = _variance_between(beyond, sites, noise.moments, len(share))
    seen = {}
    for name, site in sites.items():
        expected = site.people * share
        between = site.people**2 * variance
        curvature, unknown = np.diag(expected), between
        if name in beyond:
            believed = between / (between + noise.moments**2)
            curvature, unknown = curvature + believed * beyond[name], believed * noise.moments**2
        curvature = curve.slope * curvature
        residual = curvature @ (site.places / site.looks - weights) - site.gradients / site.looks
        spread = curve.spread * curve.slope * expected + noise.gradient**2 / site.looks
        seen[name] = _Seen(curvature, curve.slope**2 * unknown, residual, spread)
    return seen


def _variance_between(beyond: Mapping[str, Vector], sites: Mapping[str, Looks], deviation: float, width: int) -> Vector:
    """(r, r) variance over sites of one person's moments beyond the group's, above what noise alone gives."""
    if len(beyond) < FEWEST:
        return np.zeros((width, width))
    by_chance = deviation**2 * (1 + math.sqrt(2 / len(beyond)))  # one standard deviation above the noise's mean square
    squares = np.sum([own**2 - by_chance for own in beyond.values()], axis=0)
    variance: Vector = np.maximum(squares, 0.0) / sum(sites[name].people ** 2 for name in beyond)
    return variance
