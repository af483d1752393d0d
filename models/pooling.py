"""How the sums of one release are put together: which sites count how much, and what is done where one is missing.

A release is made of parts: one of each site where every site adds all of the noise, or one sum of many sites, with the
noise of all their shares, where they add up under masks.

Where sites add all of the noise, they are weighed by what their signal is worth against it: a_k = n_k g / (n_k g +
s²/T), with n_k the public bound on the head count and g the information one person is expected to carry about one
coordinate. Where noise is small all people count alike; where it dominates, a site counts in proportion to its size. In
a sum under masks all people count alike.

Sites may be missing from a release, but never so many that fewer than the plan's `replies_at_least` are there. What is
there is scaled up to all sites' weighed people, by their public bounds, and its noise with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.features import LINEAR, LOGISTIC, FeatureSpace
from models.planning import GRADIENT
from privacy.errors import InputError
from privacy.plan import LOCAL, GaussianSum, Plan

INFORMATION: Final = {LOGISTIC: 0.2, LINEAR: 0.05}
"""Expected variance of a label's residual, by link: g = variance * R² / d."""

Vector = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Part:
    """A noisy sum over some sites: of one site, or what several added up under masks.

    Attributes:
        sites: whose sums are in it.
        sum: int64, (coordinates,), in grid steps, with the noise of every one of those sites.
    """

    sites: tuple[str, ...]
    sum: Integers


@dataclass(frozen=True, eq=False)
class Pooled:
    """A release put together.

    Attributes:
        sum: (coordinates,) of all sites, weighed, in units of the statistic.
        deviation: standard deviation of its noise on each coordinate, in the same units.
        of_sites: (site, its own sum in units), of those who are there, in order; none under masks.
    """

    sum: Vector
    deviation: float
    of_sites: tuple[tuple[str, Vector], ...]


class Pooling:
    """The plan's sites and their weights.

    Attributes:
        people: public bound on each site's head count.
        total: of all sites' people, weighed.
    """

    def __init__(self, plan: Plan, space: FeatureSpace) -> None:
        """Weigh the plan's sites."""
        self._plan = plan
        self._apart = plan.trust == LOCAL
        self.people = {site.name: float(site.people_at_most) for site in plan.sites}
        self._weights = self._worths(space) if self._apart else dict.fromkeys(self.people, 1.0)
        self.total = self._weighed(self.people)

    def noise(self, event: GaussianSum) -> float:
        """Standard deviation of the noise that one site adds, in units of the statistic."""
        return self._plan.at_site(event).noise / 2.0**event.grid

    def pooled(self, parts: Sequence[Part], event: GaussianSum) -> Pooled:
        """The parts of one release put together.

        Raises:
            InputError: if they are not those of one release of the plan, or a sum has another shape.
        """
        self._check(parts, event)
        ordered = sorted(parts, key=lambda part: part.sites)
        there = {name for part in ordered for name in part.sites}
        scale = self.total / self._weighed(name for name in self.people if name in there)
        weights = [self._weights[part.sites[0]] for part in ordered]
        total = sum(weight * _units(part, event) for weight, part in zip(weights, ordered, strict=True))
        squares = sum(weight**2 * len(part.sites) for weight, part in zip(weights, ordered, strict=True))
        each = tuple((part.sites[0], _units(part, event)) for part in ordered) if self._apart else ()
        return Pooled(np.asarray(total) * scale, self.noise(event) * scale * squares**0.5, each)

    def _check(self, parts: Sequence[Part], event: GaussianSum) -> None:
        names = [name for part in parts for name in part.sites]
        if not all(part.sites for part in parts) or len(names) != len(set(names)) or set(names) - set(self.people):
            raise InputError(f"{event.name}: expected parts of different sites of the plan, got otherwise")
        if len(names) < self._plan.replies_at_least:
            raise InputError(
                f"{event.name}: expected sums of at least {self._plan.replies_at_least} sites, got {len(names)}"
            )
        if len(parts) != (len(names) if self._apart else 1):
            expected = "one part for each site" if self._apart else "one part of all sites"
            raise InputError(f"{event.name}: expected {expected}, got {len(parts)} of {len(names)} sites")
        for part in parts:
            if part.sum.shape != (event.coordinates,):
                where = f"{event.name} of site {part.sites[0]!r}" if self._apart else event.name
                raise InputError(f"{where}: expected {event.coordinates} whole numbers, got otherwise")

    def _worths(self, space: FeatureSpace) -> dict[str, float]:
        """Weight of each site's own sum, at most 1."""
        event = self._plan.event(GRADIENT)
        information = INFORMATION[space.link] * space.squared_radius / space.width
        noise = self.noise(event) ** 2 / event.times
        worth = {name: n * information / (n * information + noise) for name, n in self.people.items()}
        return {name: value / max(worth.values()) for name, value in worth.items()}

    def _weighed(self, sites: Iterable[str]) -> float:
        return sum(self._weights[name] * self.people[name] for name in sites)


def _units(part: Part, event: GaussianSum) -> Vector:
    units: Vector = part.sum / 2.0**event.grid
    return units
