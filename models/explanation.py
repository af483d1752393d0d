"""Explanations: the scorer's own terms, told in words. Nothing is estimated; the terms sum to the score."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from models.features import NumberFeature, Value
from models.scorer import AdditiveScorer
from models.use_case import UseCase

NEUTRAL: Final = 0.02
"""Terms below this many points (2 % of the odds) are told as neutral."""
MOST_MISSING: Final = 0.5
"""Share of columns that may be missing."""


@dataclass(frozen=True)
class Reason:
    """One column's term and what it says."""

    column: str
    points: float
    direction: str
    words: str


@dataclass(frozen=True)
class Explanation:
    """Why a score is what it is.

    Attributes:
        score: log-odds (or the scaled label for a linear link); exactly `intercept` plus the sum of `terms`' points.
        intercept: the score of the group's typical employee.
        terms: one reason per column, strongest first.
        interval: score minus and plus one posterior standard deviation (privacy noise and few people included).
        band: "elevated", "typical" or "low", against the typical employee's odds.
        abstained: why no recommendation is made, or None.
    """

    score: float
    intercept: float
    terms: tuple[Reason, ...]
    interval: tuple[float, float]
    band: str
    abstained: str | None


def explain(scorer: AdditiveScorer, values: Mapping[str, Value], use_case: UseCase) -> Explanation:
    """Explain the score of one person's values.

    Raises:
        InputError: for a column or value that the feature space does not know.
    """
    terms = sorted(scorer.terms(values), key=lambda term: -abs(term.points))
    reasons = tuple(_reason(scorer, term.column, term.points, values.get(term.column), use_case) for term in terms)
    intercept = scorer.intercept
    score = math.fsum([intercept, *(reason.points for reason in reasons)])
    deviation = scorer.deviation(values)
    return Explanation(
        score=score,
        intercept=intercept,
        terms=reasons,
        interval=(score - deviation, score + deviation),
        band=_band(score - intercept, use_case),
        abstained=_abstained(scorer, values, score - intercept, deviation, use_case),
    )


def _reason(scorer: AdditiveScorer, column: str, points: float, value: Value, use_case: UseCase) -> Reason:
    direction = "neutral" if abs(points) < NEUTRAL else ("raises" if points > 0 else "lowers")
    name = column.replace("_", " ")
    unit = next((f.unit for f in scorer.space.features if isinstance(f, NumberFeature) and f.column == column), "")
    shown = "is not recorded" if value is None else f"is {value}{' ' + unit if unit else ''}"
    odds = math.exp(abs(points))
    effect = {
        "neutral": f"makes next to no difference to the odds of {use_case.outcome}",
        "raises": f"goes with {odds:.2f} times the odds of {use_case.outcome}, against the typical employee",
        "lowers": f"goes with {1 / odds:.2f} times the odds of {use_case.outcome}, against the typical employee",
    }[direction]
    return Reason(column, points, direction, f"{name} {shown}: {effect}")


def _band(relative: float, use_case: UseCase) -> str:
    if relative >= math.log(float(use_case.elevated)):
        return "elevated"
    return "low" if relative <= math.log(float(use_case.low)) else "typical"


def _abstained(
    scorer: AdditiveScorer, values: Mapping[str, Value], relative: float, deviation: float, use_case: UseCase
) -> str | None:
    columns = [feature.column for feature in scorer.space.features]
    missing = sum(values.get(column) is None for column in columns)
    if missing > MOST_MISSING * len(columns):
        return f"{missing} of {len(columns)} columns are not recorded; at most half may be missing"
    band = math.log(float(use_case.elevated))
    if deviation > band and abs(relative) < deviation:
        return (
            f"the evidence does not tell this person from the typical employee: the difference is {relative:+.2f} with"
            f" a standard deviation of {deviation:.2f}; about {math.ceil((deviation / band) ** 2)} times the people"
            " (or the budget) would settle it"
        )
    return None
