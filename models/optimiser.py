"""How the coordinator learns from noisy sums. Everything here is post-processing: it costs no privacy.

Write M for the weighted sum of the sites' second moments, v for the curvature of the link (p(1-p) at the base rate
for a logistic link, 1 for a linear one) and H = v M = U diag(h) U'. Around the current weights w_t a gradient sum is

    G(w_t) = H w_t - b + noise,     noise ~ N(0, kappa H + s² I):  people drawn at random, and privacy noise,

so every round gives one more look at b, and their mean over T rounds has privacy noise s²/T. With the prior
w ~ N(0, tau² I) the posterior mean and variance, coordinate by coordinate in the basis U, are

    mean     = tau² h / (tau² h² + kappa h + s²/T) * (U'b)
    variance = tau² (kappa h + s²/T) / (tau² h² + kappa h + s²/T).

That is a damped Newton step whose damping is computed from the noise and the head count, not tuned. The rounds serve
the curve of the link; the first ones, far from the solution, are steps and not evidence (WARM_UP).

Sites are weighed by what their signal is worth against their noise: a_k = n_k g / (n_k g + s²), with n_k the public
bound on the head count and g the information one person is expected to carry about one coordinate. Where noise is
small all people count alike; where it dominates, a site counts in proportion to its size.

A site's personal weights repeat the argument around the shared ones: its own mean gradient residual is N(0, t² h_k² +
kappa h_k + s²/T) in the basis U under the prior N(0, t² I) on the difference. The strength t is the one under which
all sites' released residuals are most likely (empirical Bayes over released sums: free).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.features import LOGISTIC, FeatureSpace
from models.planning import GRADIENT, SECOND_MOMENTS, from_upper_triangle
from models.scorer import AdditiveScorer
from privacy.errors import InputError
from privacy.plan import Plan

PRIOR: Final = 0.5
"""Standard deviation tau expected of a weight, on the score's scale."""
WARM_UP: Final = 2
"""Rounds that are steps only; evidence is averaged over the later ones."""
BASE_RATE: Final = (0.02, 0.98)
"""Range in which the noisy base rate is believed."""
LABEL_VARIANCE: Final = {LOGISTIC: 0.2}
"""Expected variance of a label's residual, by link: g = variance * R² / d."""
LINEAR_VARIANCE: Final = 0.05
STRENGTHS: Final = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8)
"""Candidates for the standard deviation of a site's own difference."""

Vector = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Fit:
    """What a run has learned: the group's scorer and one per site, in one public basis."""

    shared: AdditiveScorer
    personal: Mapping[str, AdditiveScorer]
    strength: float


class Optimiser:
    """The coordinator's state over a run: take the moments once, then gradients at `weights`, then ask for the fit."""

    def __init__(self, plan: Plan, space: FeatureSpace) -> None:
        """Start at zero weights.

        Raises:
            InputError: if the plan was made for another feature space.
        """
        if plan.features != space.digest:
            raise InputError("plan: expected the digest of this feature space, got another")
        self._space = space
        self._moments = plan.event(SECOND_MOMENTS)
        self._gradient = plan.event(GRADIENT)
        self._people = {site.name: float(site.people_at_most) for site in plan.sites}
        self._deviation = self._gradient.noise / 2.0**self._gradient.grid
        self._kappa = 1.0 if space.link == LOGISTIC else LINEAR_VARIANCE
        variance = LABEL_VARIANCE.get(space.link, LINEAR_VARIANCE)
        information = variance * space.squared_radius / space.width
        noise = self._deviation**2 / self._gradient.times
        worth = {name: n * information / (n * information + noise) for name, n in self._people.items()}
        self._worth = {name: value / max(worth.values()) for name, value in worth.items()}
        self._round = 0
        self._evidence = {name: np.zeros(space.width) for name in self._people}
        self.weights: Vector = np.zeros(space.width)

    def receive_moments(self, sums: Mapping[str, Integers]) -> None:
        """Take each site's noisy second moments (upper triangle, grid steps).

        Raises:
            InputError: if a site of the plan is missing, or a sum has another shape.
        """
        combined = sum(self._worth[name] * self._units(sums, name, SECOND_MOMENTS) for name in self._people)
        matrix = from_upper_triangle(np.asarray(combined), self._space.width)
        eigenvalues, self._basis = np.linalg.eigh(matrix)
        self._eigenvalues = np.maximum(eigenvalues, 0.0)
        self._count = max(float(matrix[0, 0]), 1.0)
        typical = np.clip(matrix[0] / self._count, -1.0, 1.0)
        typical[0] = 1.0
        self._typical = typical
        self._curvature = 0.25 if self._space.link == LOGISTIC else 1.0

    def receive_gradients(self, sums: Mapping[str, Integers]) -> None:
        """Take each site's noisy gradient sum at `weights` (grid steps) and move the weights.

        Raises:
            InputError: if a site of the plan is missing, or a sum has another shape.
        """
        self._round += 1
        gradients = {name: self._units(sums, name, GRADIENT) for name in self._people}
        if self._round == 1 and self._space.link == LOGISTIC:
            pull = sum(self._worth[name] * gradients[name][0] for name in gradients) / self._count
            rate = float(np.clip(0.5 - pull, *BASE_RATE))
            self._curvature = rate * (1 - rate)
        if self._round <= WARM_UP + 1:
            self._evidence = {name: np.zeros(self._space.width) for name in self._people}
        here = self._basis.T @ self.weights
        for name, gradient in gradients.items():
            self._evidence[name] += self._site_spectrum(name) * here - self._basis.T @ gradient
        self.weights = self._basis @ (self._shrinkage(PRIOR, self._spectrum, self._noise) * self._shared_evidence)

    def fit(self) -> Fit:
        """The shared scorer after the rounds so far, and every site's own.

        Raises:
            InputError: before the first gradient.
        """
        if not self._round:
            raise InputError("optimiser: expected at least one round of gradients, got none")
        here = self._basis.T @ self.weights
        noise = self._deviation**2 / self._looks
        residuals = {
            name: self._evidence[name] / self._looks - self._site_spectrum(name) * here for name in sorted(self._people)
        }
        strength = max(STRENGTHS, key=lambda candidate: self._likelihood(candidate, residuals, noise))
        variances = self._posterior(PRIOR, self._spectrum, self._noise)
        personal = {}
        for name, residual in residuals.items():
            spectrum = self._site_spectrum(name)
            own = self._basis @ (self._shrinkage(strength, spectrum, noise) * residual)
            spread = variances + self._posterior(strength, spectrum, noise)
            personal[name] = self._scorer(self.weights + own, spread)
        return Fit(self._scorer(self.weights, variances), personal, strength)

    def _scorer(self, weights: Vector, variances: Vector) -> AdditiveScorer:
        return AdditiveScorer(self._space, weights, variances, self._basis, self._typical)

    def _units(self, sums: Mapping[str, Integers], name: str, event: str) -> Vector:
        plan = self._moments if event == SECOND_MOMENTS else self._gradient
        if name not in sums or sums[name].shape != (plan.coordinates,):
            raise InputError(f"{event} of site {name!r}: expected {plan.coordinates} whole numbers, got otherwise")
        return sums[name] / 2.0**plan.grid

    @property
    def _looks(self) -> int:
        return max(1, self._round - WARM_UP)

    @property
    def _spectrum(self) -> Vector:
        return self._curvature * self._eigenvalues

    @property
    def _noise(self) -> float:
        return self._deviation**2 / self._looks * sum(worth**2 for worth in self._worth.values())

    @property
    def _shared_evidence(self) -> Vector:
        return np.asarray(sum(self._worth[name] * self._evidence[name] for name in self._people)) / self._looks

    def _site_spectrum(self, name: str) -> Vector:
        """A site's share of the group's curvature, by its public head count: its own is too noisy to invert."""
        people = sum(self._worth[other] * n for other, n in self._people.items())
        return self._spectrum * (self._people[name] / people)

    def _shrinkage(self, prior: float, spectrum: Vector, noise: float) -> Vector:
        squared = prior * prior
        return squared * spectrum / (squared * spectrum**2 + self._kappa * spectrum + noise)

    def _posterior(self, prior: float, spectrum: Vector, noise: float) -> Vector:
        squared = prior * prior
        spread = self._kappa * spectrum + noise
        return squared * spread / (squared * spectrum**2 + spread)

    def _likelihood(self, strength: float, residuals: Mapping[str, Vector], noise: float) -> float:
        total = 0.0
        for name, residual in residuals.items():
            spectrum = self._site_spectrum(name)
            variance = strength**2 * spectrum**2 + self._kappa * spectrum + noise
            total -= float(np.sum(np.log(variance) + residual**2 / variance))
        return total
