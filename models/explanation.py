"""Explanations: the scorer's own terms, told in words. Nothing is estimated; the terms sum to the score.

Odds are read from scores through the link (`models.link`): a reason's factor is this person's odds with the term
against the same person's odds without it, and the band compares the odds with the typical employee's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from models.features import LOGISTIC, NumberFeature, Value
from models.link import log_odds
from models.scorer import AdditiveScorer, Term
from models.use_case import UseCase

NEUTRAL: Final = 0.02
"""Factors of the odds within 2 % of one are told as neutral."""
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
        score: on the link's scale; exactly `intercept` plus the sum of `terms`' points.
        intercept: the score of the group's typical employee.
        terms: one reason per column, strongest first.
        interval: score minus and plus one posterior standard deviation of its difference from the typical employee's
            (privacy noise and few people included).
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
    intercept = scorer.intercept
    score = math.fsum([intercept, *(term.points for term in terms)])
    reasons = tuple(_reason(scorer, term, score, values.get(term.column), use_case) for term in terms)
    relative = _told(scorer, score) - _told(scorer, intercept)
    deviation = scorer.deviation(values)
    return Explanation(
        score=score,
        intercept=intercept,
        terms=reasons,
        interval=(score - deviation, score + deviation),
        band=_band(relative, use_case),
        abstained=_abstained(scorer, values, score - intercept, deviation, use_case),
    )


def _told(scorer: AdditiveScorer, score: float) -> float:
    """A score on the scale that people are told: log-odds, or the label's own share of its range."""
    return log_odds(score) if scorer.space.link == LOGISTIC else score


def _reason(scorer: AdditiveScorer, term: Term, score: float, value: Value, use_case: UseCase) -> Reason:
    column, points = term.column, term.points
    effect = _told(scorer, score) - _told(scorer, score - points)
    direction = "neutral" if abs(effect) < NEUTRAL else ("raises" if effect > 0 else "lowers")
    name = column.replace("_", " ")
    unit = next((f.unit for f in scorer.space.features if isinstance(f, NumberFeature) and f.column == column), "")
    told = f"{value:.4g}" if isinstance(value, float) else value
    shown = "is not recorded" if value is None else f"is {told}{' ' + unit if unit else ''}"
    if direction == "neutral":
        words = f"makes next to no difference to {use_case.outcome}"
    elif scorer.space.link == LOGISTIC:
        words = f"goes with {math.exp(effect):.2f} times the odds of {use_case.outcome}, against the typical {name}"
    else:
        words = f"goes with {effect:+.2f} of the range of {use_case.outcome}, against the typical {name}"
    return Reason(column, points, direction, f"{name} {shown}: {words}")


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
    band = math.log(float(use_case.elevated))  # log-odds change by at most as much as scores do
    if deviation > band and abs(relative) < deviation:
        return (
            f"the evidence does not tell this person from the typical employee: the difference is {relative:+.2f} with"
            f" a standard deviation of {deviation:.2f}; about {math.ceil((deviation / band) ** 2)} times the people"
            " (or the budget) would settle it"
        )
    return None
