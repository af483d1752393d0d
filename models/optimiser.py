"""How the coordinator learns from noisy sums. Everything here is post-processing: it costs no privacy.

Write M for the weighted sum of the sites' second moments, v for the slope of a gradient in the score and kappa for its
variance over that slope (`models.link`, at the scores that people have under the current weights), and H = v M =
U diag(h) U'. Around the current weights w_t a gradient sum is

    G(w_t) = H w_t - b + noise,     noise ~ N(0, kappa H + s² I):  people drawn at random, and privacy noise,

so every round gives one more look at b, and their mean over T rounds, H mean(w_t) - mean(G), has privacy noise s²/T.
H may change from round to round: it is only the slope by which all looks are brought together. With the prior
w ~ N(w0, tau² I) the posterior mean and variance, coordinate by coordinate in the basis U, are

    mean     = U'w0 + tau² h / (tau² h² + kappa h + s²/T) * U'(b - H w0)
    variance = tau² (kappa h + s²/T) / (tau² h² + kappa h + s²/T).

w0 holds the base rate alone, as the first gradient's intercept tells it: nobody is pulled towards one half.

That is a damped Newton step whose damping is computed from the noise and the head count, not tuned. The rounds serve
the curve of the link; the first ones, far from the solution, are steps and not evidence (WARM_UP).

tau starts from what is expected of scores (SPREAD). After the warm-up it is the one under which the evidence is most
likely: empirical Bayes, free like all else here, since it looks at released sums alone.

M is what the released moments can be, given how rows are encoded (`models.moments`). How sites are weighed, and what
is done where one is missing, is in `models.pooling`; a site's own terms are in `models.personal`. A sum of many sites
under masks says nothing about one of them: there the personal weights are the shared ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.features import LINEAR, LOGISTIC, FeatureSpace
from models.link import ClippedLogistic, Curve, Linear, Link
from models.moments import plausible
from models.personal import LEADING, Differences, Looks, Noise, differences
from models.planning import CLIP_SHARE, GRADIENT, LARGEST_WEIGHT, SECOND_MOMENTS, from_upper_triangle
from models.pooling import Part, Pooling
from models.scorer import AdditiveScorer
from privacy.errors import InputError
from privacy.plan import LOCAL, Plan

__all__ = ["Ask", "Fit", "Optimiser", "Part", "learn"]

SPREAD: Final = {LOGISTIC: 2.0, LINEAR: 0.3}
"""Standard deviation expected of scores, by link; a weight's is tau = SPREAD / R, with R the public bound on a row."""
PRIORS: Final = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0)
"""Candidates for the standard deviation of a weight, as multiples of that."""
WARM_UP: Final = 3
"""Rounds that are steps only; evidence is averaged over the later ones."""
BASE_RATE: Final = (0.02, 0.98)
"""Range in which the noisy base rate is believed."""

Vector = NDArray[np.float64]

Ask = Callable[[str, int, Vector | None], Sequence[Part]]
"""From the event's name, the release's index and the weights to compute it at (None for the moments) to the parts of
the release; none at all for a gradient that could not be had."""


@dataclass(frozen=True)
class Fit:
    """What a run has learned: the group's scorer and one per site, in one public basis.

    Attributes:
        personal: by site of the plan; the shared one itself where sites added up under masks.
        strength: standard deviation of a site's own differences, by empirical Bayes; 0 under masks.
        spread: standard deviation of the shared scores over people, as the released moments tell it.
        level: as `strength`, of a site's own level.
    """

    shared: AdditiveScorer
    personal: Mapping[str, AdditiveScorer]
    strength: float
    spread: float
    level: float = 0.0


class Optimiser:
    """The coordinator's state over a run: take the moments once, then gradients at `weights`, then ask for the fit.

    Attributes:
        weights: (d,) where the next gradients are to be computed.
        rounds: gradients taken so far.
    """

    def __init__(self, plan: Plan, space: FeatureSpace) -> None:
        """Start where everybody is predicted one half.

        Raises:
            InputError: if the plan was made for another feature space.
        """
        if plan.features != space.digest:
            raise InputError("plan: expected the digest of this feature space, got another")
        self._space = space
        self._link: Link = ClippedLogistic() if space.link == LOGISTIC else Linear(CLIP_SHARE[LINEAR])
        self._moments = plan.event(SECOND_MOMENTS)
        self._gradient = plan.event(GRADIENT)
        self._apart = plan.trust == LOCAL
        self._pooling = Pooling(plan, space)
        self._expected = self._prior = SPREAD[space.link] / space.radius
        self.rounds = 0
        self._evidence = _Evidence(space.width)
        self._of_sites: dict[str, _Evidence] = {}
        self._centre = self._constant(0.5)
        self.weights: Vector = self._centre

    def receive_moments(self, parts: Sequence[Part]) -> None:
        """Take the noisy second moments (upper triangle, grid steps).

        Raises:
            InputError: if the parts are not those of one release of the plan, or a sum has another shape.
        """
        pooled = self._pooling.pooled(parts, self._moments)
        matrix = plausible(from_upper_triangle(pooled.sum, self._space.width), self._space, pooled.deviation)
        eigenvalues, self._basis = np.linalg.eigh(matrix)
        self._eigenvalues = np.maximum(eigenvalues, 0.0)
        self._leading = self._basis[:, -LEADING:]
        self._moments_of_sites = {
            name: self._leading.T @ from_upper_triangle(own, self._space.width) @ self._leading
            for name, own in pooled.of_sites
        }
        self._count = max(float(matrix[0, 0]), 1.0)
        typical = np.clip(matrix[0] / self._count, -1.0, 1.0)
        typical[0] = 1.0
        self._typical = typical
        self._curve = self._curve_here()

    def receive_gradients(self, parts: Sequence[Part]) -> None:
        """Take the noisy gradient sums at `weights` (grid steps) and move the weights.

        Raises:
            InputError: if the parts are not those of one release of the plan, or a sum has another shape.
        """
        pooled = self._pooling.pooled(parts, self._gradient)
        self.rounds += 1
        if self.rounds == 1:
            pull = float(pooled.sum[0]) / self._count
            self._centre = self._constant(float(np.clip(0.5 - pull, *BASE_RATE)))
        if self.rounds <= WARM_UP + 1:
            self._evidence, self._of_sites = _Evidence(self._space.width), {}
        self._evidence.look(self.weights, pooled.sum, pooled.deviation)
        deviation = self._pooling.noise(self._gradient)
        for name, own in pooled.of_sites:
            self._of_sites.setdefault(name, _Evidence(self._space.width)).look(self.weights, own, deviation)
        self._move()

    def fit(self) -> Fit:
        """The shared scorer after the rounds so far, and every site's own.

        Raises:
            InputError: before the first gradient.
        """
        if not self.rounds:
            raise InputError("optimiser: expected at least one round of gradients, got none")
        spectrum, spread = self._spectrum, self._spread
        variances = self._prior**2 * spread / (self._prior**2 * spectrum**2 + spread)
        shared = self._scorer(self.weights, variances)
        deviation = self._scores_here()[1]
        if not self._apart:
            return Fit(shared, dict.fromkeys(self._pooling.people, shared), 0.0, deviation)
        found = self._differences()
        personal = {name: self._personal(found, name, variances) for name in sorted(self._pooling.people)}
        return Fit(shared, personal, found.strength, deviation, found.level)

    def _move(self) -> None:
        """To the posterior mean of the weights, under the prior that the evidence speaks for."""
        spectrum, spread = self._spectrum, self._spread
        centre = self._basis.T @ self._centre
        look = (spectrum * (self._basis.T @ self._evidence.places) - self._basis.T @ self._evidence.gradients) / (
            self._evidence.looks
        )
        surprise = look - spectrum * centre
        if self.rounds > WARM_UP:
            self._prior = self._likeliest(surprise)
        step = self._prior**2 * spectrum / (self._prior**2 * spectrum**2 + spread) * surprise
        self.weights = np.clip(self._basis @ (centre + step), -LARGEST_WEIGHT, LARGEST_WEIGHT)
        self._curve = self._curve_here()

    def _likeliest(self, surprise: Vector) -> float:
        """The candidate for the prior's deviation under which the evidence is most likely."""
        spectrum, spread = self._spectrum, self._spread

        def likelihood(prior: float) -> float:
            variance = prior**2 * spectrum**2 + spread
            return -float(np.sum(np.log(variance) + surprise**2 / variance))

        return max((times * self._expected for times in PRIORS), key=likelihood)

    def _differences(self) -> Differences:
        """What the releases of single sites say of them."""
        leading = self._leading
        sites = {
            name: Looks(
                self._pooling.people[name],
                self._moments_of_sites.get(name),
                seen.looks,
                leading.T @ seen.places,
                leading.T @ seen.gradients,
            )
            for name, seen in sorted(self._of_sites.items())
        }
        share = self._eigenvalues[-LEADING:] / self._pooling.total
        noise = Noise(self._pooling.noise(self._moments), self._pooling.noise(self._gradient))
        return differences(sites, share, leading.T @ self.weights, self._curve, noise, self._expected)

    def _personal(self, found: Differences, name: str, variances: Vector) -> AdditiveScorer:
        """A site's scorer: the shared one with its own difference, which may be unknown."""
        unknown = np.full(self._space.width, found.strength**2)
        unknown[-1] = found.level**2
        weights = self.weights
        if name in found.own:
            own, unknown[-LEADING:] = found.own[name]
            weights = weights + self._leading @ own
        return self._scorer(weights, variances + unknown)

    def _constant(self, rate: float) -> Vector:
        """Weights under which everybody is predicted `rate`."""
        weights = np.zeros(self._space.width)
        weights[0] = self._link.centre(rate)
        return weights

    def _scores_here(self) -> tuple[float, float]:
        """Mean and standard deviation of people's scores under the current weights, as the moments tell them."""
        mean = float(self.weights @ self._typical)
        square = float(self._eigenvalues @ (self._basis.T @ self.weights) ** 2) / self._count
        return mean, math.sqrt(max(0.0, square - mean * mean))

    def _curve_here(self) -> Curve:
        """The link's curve over those scores."""
        return self._link.curve(*self._scores_here())

    def _scorer(self, weights: Vector, variances: Vector) -> AdditiveScorer:
        return AdditiveScorer(self._space, weights, variances, self._basis, self._typical)

    @property
    def _spectrum(self) -> Vector:
        spectrum: Vector = self._curve.slope * self._eigenvalues
        return spectrum

    @property
    def _spread(self) -> Vector:
        """Variance of the mean look at b: of people drawn at random, and of the privacy noise."""
        spread: Vector = self._curve.spread * self._spectrum + self._evidence.noise
        return spread


class _Evidence:
    """Sums over the gradients that count: the weights they were computed at, and themselves."""

    def __init__(self, width: int) -> None:
        self.looks = 0
        self.places = np.zeros(width)
        self.gradients = np.zeros(width)
        self._variance = 0.0

    def look(self, weights: Vector, gradient: Vector, deviation: float) -> None:
        self.looks += 1
        self.places = self.places + weights
        self.gradients = self.gradients + gradient
        self._variance += deviation**2

    @property
    def noise(self) -> float:
        """Variance of the noise on a coordinate of the mean gradient."""
        return self._variance / self.looks**2


def learn(plan: Plan, space: FeatureSpace, ask: Ask) -> Fit:
    """Ask for every release of the plan in its order, and learn from the answers.

    Args:
        plan: what may be asked.
        space: the feature space of the plan.
        ask: the parts of a release; see `Ask`. A gradient that could not be had is passed over.

    Raises:
        InputError: if an answer is not one of the plan, or so few gradients could be had that all were steps and none
            is evidence.
    """
    optimiser = Optimiser(plan, space)
    optimiser.receive_moments(ask(SECOND_MOMENTS, 0, None))
    times = plan.event(GRADIENT).times
    for index in range(times):
        parts = ask(GRADIENT, index, optimiser.weights)
        if parts:
            optimiser.receive_gradients(parts)
    fewest = min(WARM_UP + 1, times)
    if optimiser.rounds < fewest:
        raise InputError(f"{GRADIENT}: expected at least {fewest} releases, got {optimiser.rounds}")
    return optimiser.fit()
