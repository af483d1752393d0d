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

Sites are weighed by what their signal is worth against their noise: a_k = n_k g / (n_k g + s²/T), with n_k the public
bound on the head count and g the information one person is expected to carry about one coordinate. Where noise is
small all people count alike; where it dominates, a site counts in proportion to its size.

A site's personal weights repeat the argument around the shared ones: its own mean gradient residual is N(0, t² h_k² +
kappa h_k + s²/T) in the basis U under the prior N(0, t² I) on the difference. The strength t is the one under which
all sites' released residuals are most likely (empirical Bayes over released sums: free).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.features import LINEAR, LOGISTIC, FeatureSpace
from models.link import ClippedLogistic, Curve, Linear, Link
from models.planning import GRADIENT, LARGEST_WEIGHT, SECOND_MOMENTS, from_upper_triangle
from models.scorer import AdditiveScorer
from privacy.errors import InputError
from privacy.plan import Plan

SPREAD: Final = {LOGISTIC: 2.0, LINEAR: 0.3}
"""Standard deviation expected of scores, by link; a weight's is tau = SPREAD / R, with R the public bound on a row."""
WARM_UP: Final = 3
"""Rounds that are steps only; evidence is averaged over the later ones."""
BASE_RATE: Final = (0.02, 0.98)
"""Range in which the noisy base rate is believed."""
INFORMATION: Final = {LOGISTIC: 0.2, LINEAR: 0.05}
"""Expected variance of a label's residual, by link: g = variance * R² / d."""
STRENGTHS: Final = (0.0, 0.04, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.2, 1.6)
"""Candidates for the standard deviation of a site's own difference, as multiples of tau."""

Vector = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Fit:
    """What a run has learned: the group's scorer and one per site, in one public basis.

    Attributes:
        strength: standard deviation of a site's own differences, by empirical Bayes.
        spread: standard deviation of the shared scores over people, as the released moments tell it.
    """

    shared: AdditiveScorer
    personal: Mapping[str, AdditiveScorer]
    strength: float
    spread: float


class Optimiser:
    """The coordinator's state over a run: take the moments once, then gradients at `weights`, then ask for the fit."""

    def __init__(self, plan: Plan, space: FeatureSpace) -> None:
        """Start where everybody is predicted one half.

        Raises:
            InputError: if the plan was made for another feature space.
        """
        if plan.features != space.digest:
            raise InputError("plan: expected the digest of this feature space, got another")
        self._space = space
        self._link: Link = ClippedLogistic() if space.link == LOGISTIC else Linear()
        self._moments = plan.event(SECOND_MOMENTS)
        self._gradient = plan.event(GRADIENT)
        self._people = {site.name: float(site.people_at_most) for site in plan.sites}
        self._prior = SPREAD[space.link] / space.radius
        self._deviation = self._gradient.noise / 2.0**self._gradient.grid
        information = INFORMATION[space.link] * space.squared_radius / space.width
        noise = self._deviation**2 / self._gradient.times
        worth = {name: n * information / (n * information + noise) for name, n in self._people.items()}
        self._worth = {name: value / max(worth.values()) for name, value in worth.items()}
        self._round = 0
        self._forget()
        self._centre = self._constant(0.5)
        self.weights: Vector = self._centre

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
        self._curve = self._curve_here()

    def receive_gradients(self, sums: Mapping[str, Integers]) -> None:
        """Take each site's noisy gradient sum at `weights` (grid steps) and move the weights.

        Raises:
            InputError: if a site of the plan is missing, or a sum has another shape.
        """
        self._round += 1
        gradients = {name: self._units(sums, name, GRADIENT) for name in self._people}
        if self._round == 1:
            pull = sum(self._worth[name] * gradients[name][0] for name in gradients) / self._count
            self._centre = self._constant(float(np.clip(0.5 - pull, *BASE_RATE)))
        if self._round <= WARM_UP + 1:
            self._forget()
        self._looks += 1
        self._places = self._places + self.weights
        for name, gradient in gradients.items():
            self._gradients[name] = self._gradients[name] + gradient
        pooled = np.asarray(sum(self._worth[name] * self._gradients[name] for name in self._people))
        centre = self._basis.T @ self._centre
        surprise = self._evidence(self._spectrum, pooled) - self._spectrum * centre
        step = self._shrinkage(self._prior, self._spectrum, self._noise) * surprise
        self.weights = np.clip(self._basis @ (centre + step), -LARGEST_WEIGHT, LARGEST_WEIGHT)
        self._curve = self._curve_here()

    def fit(self) -> Fit:
        """The shared scorer after the rounds so far, and every site's own.

        Raises:
            InputError: before the first gradient.
        """
        if not self._round:
            raise InputError("optimiser: expected at least one round of gradients, got none")
        here = self._basis.T @ self.weights
        noise = self._deviation**2 / self._looks
        spectra = {name: self._site_spectrum(name) for name in sorted(self._people)}
        residuals = {
            name: self._evidence(spectrum, self._gradients[name]) - spectrum * here
            for name, spectrum in spectra.items()
        }
        candidates = [share * self._prior for share in STRENGTHS]
        strength = max(candidates, key=lambda candidate: self._likelihood(candidate, spectra, residuals, noise))
        variances = self._posterior(self._prior, self._spectrum, self._noise)
        personal = {}
        for name, residual in residuals.items():
            own = self._basis @ (self._shrinkage(strength, spectra[name], noise) * residual)
            spread = variances + self._posterior(strength, spectra[name], noise)
            personal[name] = self._scorer(self.weights + own, spread)
        return Fit(self._scorer(self.weights, variances), personal, strength, self._scores_here()[1])

    def _forget(self) -> None:
        self._looks = 0
        self._places = np.zeros(self._space.width)
        self._gradients = {name: np.zeros(self._space.width) for name in self._people}

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

    def _units(self, sums: Mapping[str, Integers], name: str, event: str) -> Vector:
        plan = self._moments if event == SECOND_MOMENTS else self._gradient
        if name not in sums or sums[name].shape != (plan.coordinates,):
            raise InputError(f"{event} of site {name!r}: expected {plan.coordinates} whole numbers, got otherwise")
        return sums[name] / 2.0**plan.grid

    @property
    def _spectrum(self) -> Vector:
        return self._curve.slope * self._eigenvalues

    @property
    def _noise(self) -> float:
        return self._deviation**2 / self._looks * sum(worth**2 for worth in self._worth.values())

    def _evidence(self, spectrum: Vector, gradients: Vector) -> Vector:
        """Mean look at b in the basis, from the sum of gradients over the rounds that count."""
        return (spectrum * (self._basis.T @ self._places) - self._basis.T @ gradients) / self._looks

    def _site_spectrum(self, name: str) -> Vector:
        """A site's share of the group's curvature, by its public head count: its own is too noisy to invert."""
        people = sum(self._worth[other] * n for other, n in self._people.items())
        return self._spectrum * (self._people[name] / people)

    def _shrinkage(self, prior: float, spectrum: Vector, noise: float) -> Vector:
        squared = prior * prior
        return squared * spectrum / (squared * spectrum**2 + self._curve.spread * spectrum + noise)

    def _posterior(self, prior: float, spectrum: Vector, noise: float) -> Vector:
        squared = prior * prior
        spread = self._curve.spread * spectrum + noise
        return squared * spread / (squared * spectrum**2 + spread)

    def _likelihood(
        self, strength: float, spectra: Mapping[str, Vector], residuals: Mapping[str, Vector], noise: float
    ) -> float:
        total = 0.0
        for name, residual in residuals.items():
            variance = strength**2 * spectra[name] ** 2 + self._curve.spread * spectra[name] + noise
            total -= float(np.sum(np.log(variance) + residual**2 / variance))
        return total


def learn(plan: Plan, space: FeatureSpace, ask: Callable[[str, int, Vector | None], Mapping[str, Integers]]) -> Fit:
    """Ask for every release of the plan in its order, and learn from the answers.

    Args:
        plan: what may be asked.
        space: the feature space of the plan.
        ask: from the event's name, the release's index and the weights to compute it at (None for the moments) to every
            site's noisy sum in grid steps.

    Raises:
        InputError: if an answer is not one of the plan.
    """
    optimiser = Optimiser(plan, space)
    optimiser.receive_moments(ask(SECOND_MOMENTS, 0, None))
    for index in range(plan.event(GRADIENT).times):
        optimiser.receive_gradients(ask(GRADIENT, index, optimiser.weights))
    return optimiser.fit()
