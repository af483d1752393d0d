"""Everything else that leaves a site, as an event of the plan: exact integer histograms over its employees.

| event | cells | computed at |
|---|---|---|
| evaluation | label x bin of the shared score (8) | a `Scale` |
| head-count | one | nothing |
| fairness-TRAIT | value of a trait of the vault x selected or not x label | a `Scale` |

Rules:
 1. An employee with m rows adds floor(2**20 / m) steps to the cell of each of their rows: at most 2**20 steps in L1
    over all cells, hence at most 2**20 in L2, whatever the rows hold. That is the sensitivity that the plan states.
    With the head-count it is 2**20 in the one cell.
 2. Cells are sums of whole numbers, exact in any order, below 2**53 for up to 2**33 employees.
 3. Nobody's part depends on who else there is, not even in its last bit: a row's cell is decided by the row and the
    state alone. Scores are exact (`planning.WEIGHT_STEP`) and are compared one by one with edges that come from the
    state.
 4. The state is the coordinator's word and made of released sums: it moves people between cells, never what one of
    them can move. Weights outside the public range, and what is not finite, are refused before anything is charged.
 5. Traits come from the vault, for this count and for no other purpose, as positions among the registry's public
    values; who is not in the vault has not stated theirs. No row, feature or weight ever holds one.

The evaluation's bins are the eighths of a normal distribution with the centre and spread of scores that the released
moments tell. They hold about equally many people, which costs no privacy, as no row is looked at for it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtri

from models.features import GRID, FeatureSpace
from models.link import LARGEST_SPREAD, ClippedLogistic, log_odds
from models.optimiser import Fit
from models.planning import (
    EVALUATION,
    FAIRNESS,
    HEAD_COUNT,
    LARGEST_WEIGHT,
    MEASURE_GRID,
    SCORE_BINS,
    SIDES,
    WEIGHT_STEP,
    measures_offered,
    traits,
)
from models.use_case import UseCase
from privacy.errors import InputError
from records.minimize import MinimizedRows

WHOLE: Final = 2**MEASURE_GRID
"""One employee, in steps."""
SMALLEST_SPREAD: Final = 0.05
LARGEST_SCORE: Final = 1e6
"""Centre, spread and threshold of a scale are within this; no score is larger."""
STANDARD_EDGES: Final = (-1.1503, -0.6745, -0.3186, 0.0, 0.3186, 0.6745, 1.1503)
"""Between the bins, in spreads from the centre: the eighths of a normal distribution."""

Vector = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Scale:
    """What scores are measured with: the scorer and its public marks. All of it is computed from released sums.

    Attributes:
        weights: (d,) float64, the shared scorer's.
        centre: the typical row's score.
        spread: standard deviation of scores, above 0.
        threshold: score from which on a person is selected: the use case's band "elevated" begins there.
    """

    weights: Vector
    centre: float
    spread: float
    threshold: float

    @classmethod
    def of(cls, fit: Fit, use_case: UseCase) -> Scale:
        """The scale of a finished fit with labels of two sides, under the use case's bands."""
        centre = fit.shared.intercept
        elevated = expit(log_odds(centre) + math.log(float(use_case.elevated)))
        threshold = ClippedLogistic().centre(float(elevated))
        spread = min(max(fit.spread, SMALLEST_SPREAD), LARGEST_SPREAD)
        return cls(fit.shared.weights, centre, spread, threshold)

    @property
    def edges(self) -> Vector:
        """(7,) scores between the bins; one that stands on an edge is in the bin above."""
        return self.centre + self.spread * np.array(STANDARD_EDGES)

    @property
    def predicted(self) -> Vector:
        """(8,) mean probability of label 1 in each bin, if scores are spread normally there."""
        parts = 64
        places = ndtri((np.arange(SCORE_BINS * parts) + 0.5) / (SCORE_BINS * parts))
        odds = np.array([log_odds(score) for score in self.centre + self.spread * places])
        return np.asarray(expit(odds).reshape(SCORE_BINS, parts).mean(axis=1))

    def to_bytes(self) -> bytes:
        """Little-endian float64: weights, centre, spread, threshold."""
        return self.weights.astype("<f8").tobytes() + struct.pack("<3d", self.centre, self.spread, self.threshold)

    @classmethod
    def from_bytes(cls, data: bytes, space: FeatureSpace) -> Scale:
        """The scale that `to_bytes` wrote.

        Raises:
            InputError: for another length, weights outside ±256, a mark that is not finite, or no spread (rule 4).
        """
        if len(data) != 8 * (space.width + 3):
            raise InputError(f"state: expected {8 * (space.width + 3)} bytes, got {len(data)}")
        values = np.frombuffer(data, dtype="<f8").astype(np.float64)
        scale = cls(values[:-3], *(float(mark) for mark in values[-3:]))
        if not (np.abs(scale.weights) <= LARGEST_WEIGHT).all():  # false for NaN
            raise InputError(f"state: expected weights within ±{LARGEST_WEIGHT:g}, got another, NaN or infinity")
        if not (np.abs(values[-3:]) <= LARGEST_SCORE).all() or scale.spread <= 0:
            raise InputError(f"state: expected centre, spread above 0 and threshold within ±{LARGEST_SCORE:g}")
        return scale


def state_of(event: str, scale: Scale) -> bytes:
    """What a measure is asked for at: nothing for the head-count, the scale for the others."""
    return b"" if event == HEAD_COUNT else scale.to_bytes()


def check_state(event: str, space: FeatureSpace, state: bytes) -> None:
    """Refuse what a measure can not be computed at; to be called before anything is charged (rule 4).

    Raises:
        InputError: for an event that is no measure over this space, or a state that is not its own.
    """
    offered = measures_offered(space)
    if event not in offered:
        raise InputError(f"measure: expected one of {', '.join(offered)}, got {event!r:.60}")
    if event != HEAD_COUNT:
        Scale.from_bytes(state, space)
    elif state:
        raise InputError(f"state: expected none for {HEAD_COUNT!r}, got {len(state)} bytes")


def measure(
    event: str,
    space: FeatureSpace,
    rows: MinimizedRows,
    state: bytes,
    stated: Mapping[str, Integers] | None = None,
) -> Integers:
    """The exact histogram of a site's rows: no noise is on it, and it must not leave the site.

    Args:
        event: a measure of the plan.
        space: the public feature space, d coordinates.
        rows: one site's rows.
        state: what `state_of` gave the coordinator.
        stated: for a fairness measure, by trait: position among its public values, by employee number (rule 5).

    Returns:
        The cells in the order of the table above, last axis fastest, int64, in steps of 2**-20 employees.

    Raises:
        InputError: as `check_state`; or if the trait is not there for every employee number of the rows.
    """
    check_state(event, space, state)
    _, employee, each = np.unique(rows.employee, return_inverse=True, return_counts=True)
    if event == HEAD_COUNT:
        return np.array([len(each) * WHOLE], dtype=np.int64)
    scale = Scale.from_bytes(state, space)
    share = WHOLE // each[employee]  # rule 1
    weights = np.rint(scale.weights / WEIGHT_STEP) * WEIGHT_STEP  # rule 3
    score = space.design(rows) @ weights / 2.0**GRID
    label = (rows.label > 0.5).astype(np.int64)
    if event == EVALUATION:
        return _histogram((label, np.searchsorted(scale.edges, score, side="right")), (SIDES, SCORE_BINS), share)
    trait = event.removeprefix(FAIRNESS)
    values = len(traits()[trait])
    value = _positions(trait, values, rows.employee, stated or {})
    selected = (score >= scale.threshold).astype(np.int64)
    return _histogram((value, selected, label), (values, SIDES, SIDES), share)


def _positions(trait: str, values: int, employee: Integers, stated: Mapping[str, Integers]) -> Integers:
    """Each row's value of a trait."""
    known = stated.get(trait, np.zeros(0, dtype=np.int64))
    if (employee >= len(known)).any() or known.dtype != np.int64 or ((known < 0) | (known >= values)).any():
        raise InputError(f"trait {trait!r}: expected a position among its {values} values for every employee")
    return known[employee]


def _histogram(places: tuple[Integers, ...], shape: tuple[int, ...], share: Integers) -> Integers:
    """Sum of shares by cell (rule 2)."""
    cells = np.zeros(math.prod(shape), dtype=np.int64)
    np.add.at(cells, np.ravel_multi_index(places, shape), share)
    return cells
