"""What noisy histograms say: figures with intervals, or an interval and why nothing can be measured here.

Rules:
 1. All of it is post-processing of released sums and costs no privacy.
 2. The value comes from the noisy cells as they are: their sums are unbiased.
 3. The interval is a parametric bootstrap in its basic form (Davison & Hinkley 1997, sec. 5.2). The cells, brought to
    zero or more without changing their total (Duchi et al. 2008), stand in for the people; DRAWS times as many people
    are drawn (Poisson, cell by cell) and given fresh noise of the plan's size. How far those figures lie from the
    stand-in's is how far the noisy figure may lie from the truth about people like these. A person whose rows are in
    several cells is drawn as parts, which varies less: such intervals are a little wide.
 4. An interval is always told, and it is the one that holds as often as it says. The value is not told where the
    interval is wider on either side than WIDEST: it is not measurable here. Where something that a figure is divided by
    is below CERTAIN deviations of its own noise, the interval is all that the figure can be. Whether a value is told
    thus depends on the noise, and values told near the limit lean by chance; intervals do not.
    Counts are always told, and their intervals count the noise alone: they speak of these people.
 5. A ratio of shares is to the trait's value with the highest measurable share, as LL144 asks (6 RCNY §5-301). The
    choice is made on noisy shares, and the interval does not count it.
 6. Single sites are read in groups of up to SITES_READ sites; in larger ones the file would hold more than anybody
    reads. Under a secure sum there is nothing of a single site to read.
 7. The noise counted is that of the sites whose people are in a sum, each its share: all of them are taken to have
    added it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from models.measures import Scale
from models.planning import EVALUATION, FAIRNESS, HEAD_COUNT, SCORE_BINS, SIDES, traits
from models.pooling import Part
from privacy.errors import InputError
from privacy.measures_file import CONFIDENCE, GROUP, Figure, Marks, Measures, NoisySum, groups_of, measures_of
from privacy.plan import LOCAL, GaussianSum, Plan

DRAWS: Final = 2_000
CERTAIN: Final = 3.0
"""Deviations of noise that a divisor must be above zero."""
WIDEST: Final = {
    "auc": 0.15,
    "observed": 0.1,
    "predicted": 0.1,
    "observed-minus-predicted": 0.1,
    "selected": 0.1,
    "selected-ratio": 0.2,
    "selected-of-positive": 0.15,
}
SITES_READ: Final = 200
DIGITS: Final = 4
ALL: Final = "all"
HALVES: Final = (
    (ALL, slice(None)),
    ("lower half", slice(0, SCORE_BINS // 2)),
    ("upper half", slice(SCORE_BINS // 2, None)),
)
"""Of the score bins."""
TAIL: Final = (1 - float(CONFIDENCE)) / 2

_LABEL: Final = np.repeat(np.array([[0.0], [1.0]]), SCORE_BINS, axis=1)

Vector = NDArray[np.float64]
Integers = NDArray[np.int64]
Statistic = Callable[[Vector], Vector]
"""From cells, whatever axes come before them, to a figure on those axes."""


@dataclass(frozen=True)
class Reading:
    """One figure of noisy cells: a value in its interval, or an interval and why there is no value.

    Attributes:
        of: what part of the people, as in `privacy.measures_file.Figure`.
        name: one of `privacy.measures_file.FIGURES`.
        value: None where it is not measurable.
        low, high: None where there is no bound at all.
        why: the reason why there is no value, or None.
    """

    of: str
    name: str
    value: float | None
    low: float | None
    high: float | None
    why: str | None = None


class Histogram:
    """Noisy cells in people, and the bootstrap's histograms, drawn once for all figures."""

    def __init__(self, cells: Vector, deviation: float, random: np.random.Generator, apart: int) -> None:
        """Draw.

        Args:
            cells: (..., n) noisy counts in people: one site's, or the sites' added up.
            deviation: standard deviation of the noise in each, in people.
            random: where from.
            apart: how many last axes hold the cells of one part, whose total the stand-in keeps (rule 3).
        """
        self._cells = cells
        self._deviation = deviation
        self._stand_in = _without_negatives(cells, apart)
        people = random.poisson(self._stand_in, (DRAWS, *cells.shape))
        self._drawn = people + random.normal(0.0, deviation, (DRAWS, *cells.shape))

    def read(self, of: str, name: str, statistic: Statistic, limits: tuple[float, float], *divisors: Vector) -> Reading:
        """A figure within its limits; `divisors` say of each sum it is divided by which cells (1, else 0) are in it."""
        certain = all(
            (self._cells * mask).sum() >= CERTAIN * self._deviation * np.sqrt(mask.sum()) for mask in divisors
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            off = statistic(self._drawn) - statistic(self._stand_in)
        if not certain or not np.isfinite(off).all():  # rule 4; a stand-in may have nobody in a part
            bounds = limits if np.isfinite(limits).all() else (None, None)
            return Reading(of, name, None, *bounds, f"fewer people than {CERTAIN:g} deviations of the noise")
        value = float(statistic(self._cells))
        low, high = (value - np.quantile(off, (1 - TAIL, TAIL))).tolist()
        too_wide = max(value - low, high - value) > WIDEST[name]
        low, value, high = np.clip((min(low, value), value, max(high, value)), *limits).tolist()
        if too_wide:  # rule 4
            return Reading(of, name, None, low, high, f"the interval is wider than ±{WIDEST[name]:g}")
        return Reading(of, name, value, low, high)

    def share(self, of: str, name: str, top: Vector, bottom: Vector) -> Reading:
        """A weighted sum of cells over a sum of cells, from 0 to 1, or from -1 where weights are negative."""
        return self.read(of, name, _share(top, bottom), (-1.0 if (top < 0).any() else 0.0, 1.0), bottom)


def evaluation(cells: Vector, deviation: float, scale: Scale, random: np.random.Generator) -> tuple[Reading, ...]:
    """AUC, and observed against predicted shares of label 1, from (2, 8) noisy counts of label and bin."""
    found = Histogram(cells, deviation, random, apart=1)
    readings = [area(found)]
    for name, part in HALVES:
        inside = np.zeros((SIDES, SCORE_BINS))
        inside[:, part] = 1.0
        for figure, top in (
            ("observed", _LABEL),
            ("predicted", np.tile(scale.predicted, (SIDES, 1))),
            ("observed-minus-predicted", _LABEL - scale.predicted),
        ):
            readings.append(found.share(name, figure, top * inside, inside))
    return tuple(readings)


def area(found: Histogram) -> Reading:
    """AUC from counts of label and bin."""
    return found.read(ALL, "auc", binned_auc, (0.0, 1.0), _LABEL, 1 - _LABEL)


def count(of: str, noisy: float, deviation: float, at_most: int) -> Reading:
    """How many people, from a noisy count and the public bound on it."""
    away = -float(ndtri(TAIL)) * deviation
    low, value, high = np.clip((noisy - away, noisy, noisy + away), 0.0, float(at_most)).tolist()
    return Reading(of, "people", value, low, high)


def fairness(
    cells: Vector, deviation: float, values: tuple[str, ...], at_most: int, random: np.random.Generator
) -> tuple[Reading, ...]:
    """People, shares selected and their ratios, from (V, 2, 2) noisy counts of value, selected and label."""
    found = Histogram(cells, deviation, random, apart=2)
    chosen, positive = np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[0.0, 1.0], [0.0, 1.0]])
    readings: list[Reading] = []
    shares: dict[str, tuple[float, Vector]] = {}
    for place, value in enumerate(values):
        inside = np.zeros((len(values), SIDES, SIDES))
        inside[place] = 1.0
        share = found.share(value, "selected", inside * chosen, inside)
        readings.append(count(value, float((cells * inside).sum()), deviation * SIDES, at_most))
        readings.append(share)
        readings.append(found.share(value, "selected-of-positive", inside * chosen * positive, inside * positive))
        if share.value is not None:
            shares[value] = share.value, inside
    highest = max(shares, key=lambda value: shares[value][0], default=None)  # rule 5
    for value in values:
        if highest is None or value not in shares:
            why = "its share selected is not measurable"
            readings.append(Reading(value, "selected-ratio", None, None, None, why))
            continue
        (_, inside), (_, best) = shares[value], shares[highest]
        ratio = _ratio(_share(inside * chosen, inside), _share(best * chosen, best))
        readings.append(found.read(value, "selected-ratio", ratio, (0.0, np.inf), inside, best, best * chosen))
    return tuple(readings)


def measures_document(plan: Plan, sums: Mapping[str, Sequence[Part]], scale: Scale | None) -> dict[str, Any]:
    """The content of a release's `measures.json`, for canonical JSON.

    The same sums give the same document: the bootstrap's generator is seeded with the plan's digest.

    Args:
        plan: of the run.
        sums: by measure, the parts of its release: one of each site that is in it, or under a secure sum one of all.
        scale: what they were asked for at; None if only heads were counted.

    Raises:
        InputError: if a measure of the plan is missing, one is there that is not the plan's, too few sites are in it or
            in other parts, a sum has another length, or there is no scale where scores were measured.
    """
    measures = measures_of(plan)
    if not measures:
        raise InputError("measures: expected a plan with at least one, got none")
    if set(sums) != {event.name for event in measures}:
        raise InputError("measures: expected sums of every measure of the plan and no other, got otherwise")
    parts = {event.name: _in_order(plan, event, sums[event.name]) for event in measures}
    random = np.random.default_rng(int(plan.digest, 16))
    figures: list[Figure] = []
    for event in measures:
        for scope, cells, deviation, at_most in _scopes(plan, event, parts[event.name]):
            for found in _readings(event.name, cells, deviation, at_most, scale, random):
                figures.append(_figure(event.name, scope, found))
    scored = scale is not None and any(event.name != HEAD_COUNT for event in measures)
    return Measures(
        plan=plan.digest,
        scale=_marks(scale) if scale is not None and scored else None,
        sums={
            event: tuple(NoisySum(part.sites, tuple(map(int, part.sum))) for part in of_event)
            for event, of_event in parts.items()
        },
        figures=tuple(figures),
    ).to_document()


def binned_auc(cells: Vector) -> Vector:
    """Area under the ROC curve of (..., 2, bins) counts; people in one bin count as equal."""
    negative, positive = cells[..., 0, :], cells[..., 1, :]
    below = np.cumsum(negative, axis=-1) - negative / 2
    pairs = positive.sum(axis=-1) * negative.sum(axis=-1)
    return np.asarray((positive * below).sum(axis=-1) / pairs)


def _in_order(plan: Plan, event: GaussianSum, parts: Sequence[Part]) -> list[Part]:
    """The parts as the file has them, in order of site."""
    ordered = sorted((Part(tuple(sorted(part.sites)), part.sum) for part in parts), key=lambda part: part.sites)
    sites = [site for part in ordered for site in part.sites]
    if len(set(sites)) != len(sites) or not set(sites) <= {site.name for site in plan.sites}:
        raise InputError(f"{event.name}: expected sums of distinct sites of the plan, got others")
    if len(sites) < plan.replies_at_least or [part.sites for part in ordered] != groups_of(plan, sites):
        which = "a sum of each" if plan.trust == LOCAL else "one sum of all"
        raise InputError(f"{event.name}: expected {which} of {plan.replies_at_least} sites or more, got otherwise")
    if any(part.sum.shape != (event.coordinates,) for part in ordered):
        raise InputError(f"{event.name}: expected {event.coordinates} whole numbers from each site, got otherwise")
    return ordered


def _scopes(plan: Plan, event: GaussianSum, parts: list[Part]) -> Iterator[tuple[str, Vector, float, int]]:
    """The group and each site: noisy cells in people, deviation of their noise, public bound on the head count."""
    share = plan.at_site(event).noise / 2.0**event.grid  # rule 7
    bounds = {site.name: site.people_at_most for site in plan.sites}
    people = [part.sum / 2.0**event.grid for part in parts]
    sites = [site for part in parts for site in part.sites]
    yield GROUP, np.asarray(sum(people)), share * float(np.sqrt(len(sites))), sum(bounds[site] for site in sites)
    if plan.trust == LOCAL and len(parts) <= SITES_READ:  # rule 6
        for site, cells in zip(sites, people, strict=True):
            yield f"site/{site}", cells, share, bounds[site]


def _readings(
    event: str, cells: Vector, deviation: float, at_most: int, scale: Scale | None, random: np.random.Generator
) -> tuple[Reading, ...]:
    if event == HEAD_COUNT:
        return (count(ALL, float(cells[0]), deviation, at_most),)
    if scale is None:
        raise InputError(f"measures: expected the scale that {event!r:.60} was asked for at, got none")
    if event == EVALUATION:
        return evaluation(cells.reshape(SIDES, SCORE_BINS), deviation, scale, random)
    values = traits()[event.removeprefix(FAIRNESS)]
    return fairness(cells.reshape(len(values), SIDES, SIDES), deviation, values, at_most, random)


def _share(top: Vector, bottom: Vector) -> Statistic:
    axes = tuple(range(-top.ndim, 0))
    return lambda cells: np.asarray((cells * top).sum(axis=axes) / (cells * bottom).sum(axis=axes))


def _ratio(one: Statistic, other: Statistic) -> Statistic:
    return lambda cells: one(cells) / other(cells)


def _without_negatives(cells: Vector, apart: int) -> Vector:
    """The nearest cells of zero or more with the same total (at least 0) in each block of the last `apart` axes."""
    blocks = cells.reshape(-1, int(np.prod(cells.shape[-apart:])))
    return np.stack([_on_simplex(block, max(float(block.sum()), 0.0)) for block in blocks]).reshape(cells.shape)


def _on_simplex(point: Vector, total: float) -> Vector:
    """Nearest point whose coordinates are at least 0 and add up to `total` (Duchi et al. 2008, fig. 1)."""
    falling = np.sort(point)[::-1]
    excess = (np.cumsum(falling) - total) / np.arange(1, len(point) + 1)
    kept = np.flatnonzero(falling > excess)
    return np.maximum(point - excess[kept[-1]], 0.0) if len(kept) else np.zeros_like(point)


def _figure(event: str, scope: str, found: Reading) -> Figure:
    digits = 1 if found.name == "people" else DIGITS
    value, low, high = (
        None if number is None else f"{round(number, digits) + 0.0:.{digits}f}"
        for number in (found.value, found.low, found.high)
    )
    return Figure(event, scope, found.of, found.name, value, low, high, found.why)


def _marks(scale: Scale) -> Marks:
    return Marks(repr(float(scale.centre)), repr(float(scale.spread)), repr(float(scale.threshold)))
