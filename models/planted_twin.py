"""Made-up people with a planted effect: what a forecast trains on and measures by. No record is read.

Everything is drawn from the public bounds of a feature space: a number anywhere between its bounds (on its steps, if it
has few), any value of a category or an order, each with the same chance. A column's effect is a line over a number or
an order and a draw per value of a category; how strong it is, and in which direction, is drawn too, so that columns
differ in what they tell. The sum is scaled until the best possible model has a stated figure. All sites share one
truth.

A twin tells what head counts and noise leave of a signal of stated strength. It does not tell whether a table holds
one: real columns hang together, and real sites differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit

from models.features import LOGISTIC, FeatureSpace, NumberFeature
from records.minimize import MinimizedRows

BEST_AUC: Final = 0.80
"""Of the best possible model for a label of two sides. Pooled models without privacy reach .79 to .98 on the tables of
benchmarks/results; what is asked here is closer to the lower end."""
RATE: Final = 0.2
"""Share of people with label 1, which a contract does not say; .16 to .25 on those tables."""
BEST_R2: Final = 0.25
"""Share of a number label's variance that the best possible model explains: a correlation of one half."""
CENTRE: Final = 0.5
LABEL_SPREAD: Final = 0.15
"""Mean and standard deviation of a number label's place between its bounds: few are cut off at them."""
MEASURED_ON: Final = 6_000
"""People on whom the effect is scaled and models are measured; they train nothing."""
LEAST_SPREAD: Final = 1e-9
"""Effects that differ less are those of columns with one value: nothing can be told from them."""

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class People:
    """Made-up people: their rows, and the (n,) mean of each one's label, which nobody knows of real ones."""

    rows: MinimizedRows
    mean: Vector


class PlantedTwin:
    """One truth about made-up people. `measured_on` are those whom models are measured on, `design` their encoding."""

    def __init__(self, space: FeatureSpace, seed: int) -> None:
        """Draw effects and scale them to the stated figure; `seed` decides everything."""
        self._space = space
        self._seed = seed
        random = np.random.default_rng([seed, space.width])
        self._effects = [_effect(values, random) for values in self._levels()]
        self._shift, self._slope = 0.0, 1.0
        numbers, codes, effect = self._columns(MEASURED_ON, random)
        self._calibrate(effect)
        self.measured_on = self._people(numbers, codes, effect, (MEASURED_ON,), random)
        self.design = space.design(self.measured_on.rows)

    def people(self, sizes: Sequence[int]) -> People:
        """New people at sites of these sizes, called by their numbers; again the same ones for the same sizes."""
        random = np.random.default_rng([self._seed, self._space.width, *sizes])
        return self._people(*self._columns(sum(sizes), random), sizes, random)

    @property
    def best(self) -> float:
        """Figure of the best possible model: as stated above, or less where columns can tell no more."""
        return self.figure(self.measured_on.mean)

    def figure(self, scores: Vector) -> float:
        """How good `scores` of `measured_on` are, expected over their labels: AUC, or the share of variance explained.

        A model that tells nothing has AUC 0.5, or a share of 0 (or below, if it is worse than the mean).
        """
        mean = self.measured_on.mean
        if self._space.link == LOGISTIC:
            return expected_auc(mean, scores)
        rest = LABEL_SPREAD**2 * (1 - BEST_R2)
        return 1 - (float(np.mean((mean - scores) ** 2)) + rest) / (float(mean.var()) + rest)

    def _levels(self) -> list[int]:
        """Per column: how many values a category has; 0 for a number or an order, whose effect is a line."""
        return [
            0 if isinstance(feature, NumberFeature) or feature.ordered else len(feature.values)
            for feature in self._space.features
        ]

    def _columns(
        self, people: int, random: np.random.Generator
    ) -> tuple[dict[str, Vector], dict[str, NDArray[np.int64]], Vector]:
        numbers, codes, total = {}, {}, np.zeros(people)
        for feature, effect in zip(self._space.features, self._effects, strict=True):
            if isinstance(feature, NumberFeature):
                last = feature.levels - 1
                drawn = random.integers(0, last + 1, people) / last if last > 0 else random.random(people)
                numbers[feature.column] = feature.low + drawn * (feature.high - feature.low)
                total += effect[0] * _standard(drawn)
                continue
            last = len(feature.values) - 1
            code = random.integers(0, last + 1, people)
            codes[feature.column] = code
            if not feature.ordered:
                total += effect[code]
            elif last:
                total += effect[0] * _standard(code / last)
        return numbers, codes, total

    def _people(
        self,
        numbers: dict[str, Vector],
        codes: dict[str, NDArray[np.int64]],
        effect: Vector,
        sizes: Sequence[int],
        random: np.random.Generator,
    ) -> People:
        score = self._shift + self._slope * effect
        if self._space.link == LOGISTIC:
            mean = expit(score)
            label = (random.random(len(score)) < mean).astype(np.float64)
        else:
            mean = score
            rest = LABEL_SPREAD * np.sqrt(1 - BEST_R2)
            label = np.clip(score + rest * random.standard_normal(len(score)), 0.0, 1.0)
        each = np.arange(len(score), dtype=np.int64)
        rows = MinimizedRows(
            numbers=MappingProxyType(numbers),
            codes=MappingProxyType(codes),
            label=label,
            raw_label=label,
            site=np.repeat(np.arange(len(sizes)), sizes),
            site_names=tuple(f"{n:02}" for n in range(len(sizes))),
            employee=each,
            row=each,
            twin=each,
            clipped=MappingProxyType({}),
            unlabelled=0,
        )
        return People(rows, mean)

    def _calibrate(self, effect: Vector) -> None:
        """Slope and shift of the score under which rate (or mean) and best figure are as stated, on these people."""
        spread = float(effect.std())
        told = spread > LEAST_SPREAD
        unit = (effect - effect.mean()) / spread if told else np.zeros_like(effect)
        if self._space.link == LOGISTIC:
            slope = (
                _solved(lambda s: expected_auc(expit(s * unit + _shift_at(s * unit)), unit) - BEST_AUC) if told else 0.0
            )
            shift = _shift_at(slope * unit)
        else:
            slope, shift = LABEL_SPREAD * float(np.sqrt(BEST_R2)) * told, CENTRE
        self._slope = slope / spread if told else 0.0
        self._shift = shift - self._slope * float(effect.mean())


def expected_auc(mean: Vector, score: Vector) -> float:
    """AUC that `score` is expected to have over 0/1 labels drawn with these (n,) means; ties count half."""
    order = np.argsort(score, kind="stable")
    positive, ranked = mean[order], score[order]
    negative = 1 - positive
    below = np.concatenate(([0.0], np.cumsum(negative)))
    first, last = np.searchsorted(ranked, ranked, "left"), np.searchsorted(ranked, ranked, "right")
    tied = below[last] - below[first] - negative  # with others than oneself
    pairs = float(positive.sum() * negative.sum() - positive @ negative)
    return float(positive @ (below[first] + tied / 2)) / pairs


def _effect(values: int, random: np.random.Generator) -> Vector:
    """Effect of each of so many values of a category, or the slope of a line for none."""
    return random.standard_normal() * (random.standard_normal(values) if values else np.ones(1))


def _shift_at(score: Vector) -> float:
    """What to add to these log-odds for a mean probability of RATE."""
    return _solved(lambda shift: float(expit(score + shift).mean()) - RATE, -50.0, 50.0)


def _solved(rising: Callable[[float], float], low: float = 0.0, high: float = 20.0) -> float:
    """Where a rising function is zero; `high`, if it is nowhere."""
    return high if rising(high) <= 0 else float(brentq(rising, low, high, xtol=1e-9))


def _standard(place: Vector) -> Vector:
    """A place in [0, 1] as a number of mean 0 and deviation 1, if all places are as likely."""
    return (place - 0.5) * np.sqrt(12)
