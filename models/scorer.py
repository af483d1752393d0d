"""The additive scorer: a sum of one term per column, read from public bins. No torch: serving is table look-ups.

The score of a row x is w·x; `models.link` reads odds from it. Because every column owns its own coordinates,
the score is exactly the sum of the columns' terms and the intercept: the explanation is the model.

How sure it is: training leaves a Gaussian posterior over w, diagonal in a public basis U (see `models.optimiser`), so
the standard deviation of a score is sqrt(sum_j variance_j (U'x)_j²). It counts privacy noise and few people alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from models.features import GRID, FeatureSpace, Value
from privacy.errors import InputError

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Term:
    """One column's share of a score, relative to what the typical row has there."""

    column: str
    points: float


@dataclass(frozen=True)
class AdditiveScorer:
    """Weights over a feature space with their uncertainty.

    Attributes:
        space: the public feature space, d coordinates.
        weights: (d,) float64.
        variances: (d,) float64, posterior variances of the weights' coordinates in `basis`.
        basis: (d, d) float64, orthonormal columns.
        typical: (d,) float64, the group's average row as released with noise; terms are told relative to it.
    """

    space: FeatureSpace
    weights: Vector
    variances: Vector
    basis: NDArray[np.float64]
    typical: Vector

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong to the space.

        Raises:
            InputError: for a wrong shape, a NaN, an infinity or a negative variance.
        """
        d = self.space.width
        shapes = {"weights": (d,), "variances": (d,), "basis": (d, d), "typical": (d,)}
        for name, shape in shapes.items():
            array = getattr(self, name)
            if array.dtype != np.float64 or array.shape != shape or not np.isfinite(array).all():
                raise InputError(f"scorer {name}: expected finite float64 of shape {shape}, got otherwise")
        if (self.variances < 0).any():
            raise InputError("scorer variances: expected 0 or more, got less")

    @cached_property
    def intercept(self) -> float:
        """Score of the typical row; every term is relative to it."""
        return float(self.weights @ self.typical)

    def score(self, values: Mapping[str, Value]) -> float:
        """Score of one person, on the link's scale.

        Raises:
            InputError: for a column or value that the space does not know.
        """
        return float(self.weights @ self.space.active(values))

    def scores(self, design: NDArray[np.int64]) -> Vector:
        """(n,) scores of n encoded rows (grid steps, as `FeatureSpace.design` gives them)."""
        return np.asarray(design @ self.weights / 2**GRID, dtype=np.float64)

    def deviation(self, values: Mapping[str, Value]) -> float:
        """Posterior standard deviation of one person's score relative to the typical row's."""
        direction = self.basis.T @ (self.space.active(values) - self.typical)
        return float(np.sqrt(self.variances @ direction**2))

    def terms(self, values: Mapping[str, Value]) -> tuple[Term, ...]:
        """One term per column, in the order of the space; with `intercept` they sum to the score (to rounding)."""
        relative = (self.space.active(values) - self.typical) * self.weights
        return tuple(Term(column, float(relative[place].sum())) for column, place in self.space.slices.items())
