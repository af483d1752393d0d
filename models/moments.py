"""What noisy second moments can be, given how rows are encoded: post-processing, with nothing but public knowledge.

A row holds one level of every feature (a value, a bin, or missing), and a level is encoded in one known way, E. So the
second moments are not any symmetric matrix:

    within a feature     E' diag(c) E, with c the people at each level: a dozen numbers, told by hundreds of entries;
    between features     E' C F, with C the people at each pair of levels: in the span of both encodings.

Counts come by least squares from all entries that tell them. Between features, what differs from independence is taken
as a low-rank signal in noise whose size is public: its eigenvalues are shrunk as is best for the squared error where
the noise is a Wigner matrix (Gavish & Donoho 2017), and those within the noise are dropped.

A number's place within its bin is taken for the middle, which it is not quite: of what is left of the released entries,
as much is believed as is more than noise. So with much noise features are taken for independent and numbers for the
middles of their bins, and with none the moments stay as they were released.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.features import FINE, ONE, Feature, FeatureSpace, NumberFeature

Vector = NDArray[np.float64]

SMALLEST: Final = 1e-6
"""Singular values of an encoding below this are none."""


def plausible(matrix: Vector, space: FeatureSpace, deviation: float) -> Vector:
    """The second moments, shape (d, d), that a noisy sum of them speaks for.

    Args:
        matrix: symmetric, (d, d), with independent noise on and above its diagonal.
        space: how rows are encoded.
        deviation: standard deviation of that noise.
    """
    places, encodings = list(space.slices.values()), [levels(feature) for feature in space.features]
    counts = [_counts(matrix, at, encoding) for at, encoding in zip(places, encodings, strict=True)]
    people = max(float(np.mean([count.sum() for count in counts])), 1.0)
    counts = [_with_sum(count, people) for count in counts]
    means, within = np.zeros(len(matrix)), []
    means[0] = people
    for at, encoding, count in zip(places, encodings, counts, strict=True):
        rest = np.vstack(
            [matrix[0, at] - encoding.T @ count, matrix[at, at] - encoding.T @ (count[:, None] * encoding)]
        )
        rest = rest * _believed(rest[0] @ rest[0] + _squares(rest[1:]), _entries(encoding) - len(count), deviation)
        means[at] = encoding.T @ count + rest[0]
        within.append(encoding.T @ (count[:, None] * encoding) + rest[1:])
    independent = np.outer(means, means) / people
    for at, block in zip(places, within, strict=True):
        independent[at, at] = block
    return independent + _between(matrix - independent, places, encodings, deviation)


def _believed(squares: float, entries: int, deviation: float) -> float:
    """Share of what so many entries show that is surely more than noise: by James and Stein, never below 0.

    The noise alone is taken for three standard deviations more than its mean square.
    """
    noise = (entries + 3 * math.sqrt(2 * entries)) * deviation**2
    return max(0.0, 1.0 - noise / squares) if squares > 0 else 0.0


def _squares(block: Vector) -> float:
    """Sum of squares on and above the diagonal."""
    return float(np.sum(np.triu(block) ** 2))


def _entries(encoding: Vector) -> int:
    """Released numbers that tell a feature's levels: its part of the first row, and its block's upper triangle."""
    width: int = encoding.shape[1]
    return width + width * (width + 1) // 2


def levels(feature: Feature) -> Vector:
    """(levels, width) encoding of each level of a feature, the middle of a bin for a number; missing is the last."""
    if not isinstance(feature, NumberFeature):
        return feature.encode(np.append(np.arange(len(feature.values)), -1)) / ONE
    steps = feature.levels
    middles = np.arange(steps) / (steps - 1) if steps else (np.arange(FINE) + 0.5) / FINE
    places = np.append(feature.low + middles * (feature.high - feature.low), np.nan)
    return feature.encode(places) / ONE


def _counts(matrix: Vector, at: slice, encoding: Vector) -> Vector:
    """(levels,) people at each level of a feature, by least squares over every entry on and above the diagonal.

    The products of two coordinates are never built: for levels r and s their inner product over i <= j is
    ((e_r . e_s)² + sum_i e_ri² e_si²) / 2.
    """
    block, squares = matrix[at, at], encoding**2
    gram = encoding @ encoding.T
    normal = 1.0 + gram + (gram**2 + squares @ squares.T) / 2
    through = np.einsum("ri,ij,rj->r", encoding, block, encoding, optimize=True)
    told = matrix[0, 0] + encoding @ matrix[0, at] + (through + squares @ np.diag(block)) / 2
    counts: Vector = np.linalg.lstsq(normal, told, rcond=None)[0]
    return counts


def _with_sum(counts: Vector, people: float) -> Vector:
    """The counts, none below 0, brought to one sum."""
    counts = np.maximum(counts, 0.0)
    total = float(counts.sum())
    return counts * (people / total) if total > 0 else np.full(len(counts), people / len(counts))


def _between(rest: Vector, places: Sequence[slice], encodings: Sequence[Vector], deviation: float) -> Vector:
    """What features say of each other beyond independence, as far as it stands out of the noise."""
    beyond, signal, rank = np.zeros_like(rest), np.zeros_like(rest), 0
    spans = [_span(encoding) for encoding in encodings]
    for i, (at, span) in enumerate(zip(places, spans, strict=True)):
        rank += round(float(np.trace(span)))
        for other, beside in zip(places[:i], spans[:i], strict=True):
            signal[at, other] = span @ rest[at, other] @ beside
            beyond[at, other] = rest[at, other] - signal[at, other]
    entries = (len(rest) - 1) ** 2 - rank**2 - sum(len(span) ** 2 - round(float(np.trace(span))) ** 2 for span in spans)
    beyond *= _believed(float(np.sum(beyond**2)), entries // 2, deviation)
    values, vectors = np.linalg.eigh(signal + signal.T)
    kept = np.sign(values) * np.sqrt(np.maximum(values**2 - 4 * rank * deviation**2, 0.0))
    strong: Vector = (vectors * kept) @ vectors.T
    return strong + beyond + beyond.T


def _span(encoding: Vector) -> Vector:
    """(width, width) projection onto what the levels of a feature span."""
    _, sizes, rows = np.linalg.svd(encoding, full_matrices=False)
    rows = rows[sizes > SMALLEST]
    span: Vector = rows.T @ rows
    return span
