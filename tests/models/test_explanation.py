from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.explanation import NEUTRAL, explain
from models.features import FeatureSpace
from models.link import ClippedLogistic, log_odds
from models.optimiser import Fit
from models.scorer import AdditiveScorer
from models.use_case import UseCase, load_use_case
from records.contract import Contract
from records.minimize import MinimizedRows
from tests.models.spaces import BINARY, QUANTITY, category, contracts, number, space_of, values_for
from tests.models.test_optimiser import SOMEBODY, bounds_of, fitted
from tests.models.test_scorer import scorer_of

RETENTION = load_use_case("retention")
SPACE = space_of(number("hours_a_week", 0.0, 40.0), category("job", "clerk", "driver"), number("days", 0.0, 20.0))


def by_hand(**weights: float) -> AdditiveScorer:
    """Sure of every weight; a name is a column, its weight that of its line or first value; zero is typical."""
    vector = np.zeros(SPACE.width)
    for column, weight in weights.items():
        vector[0 if column == "intercept" else SPACE.slices[column].start] = weight
    typical = np.zeros(SPACE.width)
    typical[0] = 1.0
    return AdditiveScorer(SPACE, vector, np.zeros(SPACE.width), np.eye(SPACE.width), typical)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_the_reasons_and_the_intercept_sum_to_the_score(data: st.DataObject) -> None:
    contract = data.draw(contracts())
    scorer = scorer_of(FeatureSpace.from_contract(contract), data.draw(st.integers(0, 2**32)))
    values = data.draw(values_for(contract))
    told = explain(scorer, values, RETENTION)
    assert told.intercept + sum(reason.points for reason in told.terms) == pytest.approx(told.score, abs=1e-9)
    assert told.score == pytest.approx(scorer.score(values), abs=1e-9)
    assert sorted(reason.column for reason in told.terms) == sorted(column.name for column in contract.features)
    strengths = [abs(reason.points) for reason in told.terms]
    assert strengths == sorted(strengths, reverse=True)


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_every_reason_tells_this_persons_odds_with_and_without_it(data: st.DataObject) -> None:
    contract = data.draw(contracts(BINARY))
    scorer = scorer_of(FeatureSpace.from_contract(contract), data.draw(st.integers(0, 2**32)), 0.3)
    told = explain(scorer, data.draw(values_for(contract)), RETENTION)
    for reason in told.terms:
        factor = math.exp(log_odds(told.score) - log_odds(told.score - reason.points))
        if reason.direction == "neutral":
            assert abs(math.log(factor)) < NEUTRAL
            assert "next to no difference" in reason.words
        else:
            assert reason.direction == ("raises" if reason.points > 0 else "lowers")
            assert f"goes with {factor:.2f} times the odds" in reason.words


def test_a_reason_says_column_value_unit_effect_and_outcome() -> None:
    """Score -log 2 means odds 2/3; without the job it is log 2, odds 3/2; without the hours -log 4, odds 2/5."""
    scorer = by_hand(hours_a_week=math.log(2), job=-math.log(4))
    told = explain(scorer, {"hours_a_week": 40.0, "job": "clerk"}, RETENTION)
    assert [reason.words for reason in told.terms] == [
        "job is clerk: goes with 0.44 times the odds of leaving within a year, against the typical job",
        "hours a week is 40 units: goes with 1.67 times the odds of leaving within a year,"
        " against the typical hours a week",
        "days is not recorded: makes next to no difference to leaving within a year",
    ]


def test_a_quantity_is_told_in_shares_of_its_range() -> None:
    space = space_of(number("hours"), label=QUANTITY)
    weights, typical = np.zeros(space.width), np.zeros(space.width)
    weights[1], typical[0] = 0.3, 1.0
    scorer = AdditiveScorer(space, weights, np.zeros(space.width), np.eye(space.width), typical)
    reason = explain(scorer, {"hours": 0.0}, RETENTION).terms[0]
    assert reason.direction == "lowers"
    assert "goes with -0.30 of the range" in reason.words
    assert "odds" not in reason.words


def test_the_words_hold_nobody_elses_values() -> None:
    """Every cell named is the person's own: the words of two people differ in nothing but their own cells."""
    scorer = scorer_of(SPACE)
    mine, theirs = {"hours_a_week": 12.25, "job": "clerk"}, {"hours_a_week": 37.75, "job": "driver"}
    words = " ".join(reason.words for reason in explain(scorer, mine, RETENTION).terms)
    assert "12.25" in words
    assert "clerk" in words
    explain(scorer, theirs, RETENTION)
    again = " ".join(reason.words for reason in explain(scorer, mine, RETENTION).terms)
    assert again == words
    assert "37.75" not in again
    assert "driver" not in again


@pytest.mark.parametrize(
    ("odds", "band"),
    [(1.51, "elevated"), (3.0, "elevated"), (1.49, "typical"), (1.0, "typical"), (0.68, "typical"), (0.66, "low")],
)
def test_bands_are_multiples_of_the_typical_odds(odds: float, band: str) -> None:
    """The typical person's odds are one in four; the score that has `odds` times as many is read from the link."""
    link = ClippedLogistic()
    intercept, score = link.centre(0.25 / 1.25), link.centre(0.25 * odds / (1 + 0.25 * odds))
    scorer = by_hand(intercept=intercept, hours_a_week=score - intercept)
    assert explain(scorer, {"hours_a_week": 40.0, "job": "clerk"}, RETENTION).band == band


def test_the_bands_are_the_use_cases_own() -> None:
    strict = replace(RETENTION, elevated=Decimal(4), low=Decimal("0.1"))
    scorer, values = by_hand(hours_a_week=math.log(3)), {"hours_a_week": 40.0, "job": "clerk"}
    assert explain(scorer, values, RETENTION).band == "elevated"
    assert explain(scorer, values, strict).band == "typical"


def test_it_abstains_when_more_than_half_is_missing() -> None:
    scorer = by_hand(hours_a_week=math.log(3))
    two_of_three = explain(scorer, {"hours_a_week": 40.0}, RETENTION)
    assert two_of_three.abstained == "2 of 3 columns are not recorded; at most half may be missing"
    assert explain(scorer, {"hours_a_week": 40.0, "job": None, "days": None}, RETENTION).abstained is not None
    assert explain(scorer, {"hours_a_week": 40.0, "job": "clerk"}, RETENTION).abstained is None


def uncertain(scorer: AdditiveScorer, variance: float) -> AdditiveScorer:
    return replace(scorer, variances=np.full(SPACE.width, variance))


def test_it_abstains_where_the_evidence_does_not_tell_a_person_from_the_typical_one() -> None:
    values = {"hours_a_week": 40.0, "job": "clerk", "days": 3.0}
    told = explain(uncertain(by_hand(hours_a_week=0.1), 1.0), values, RETENTION)
    assert told.abstained is not None
    assert "does not tell this person from the typical employee" in told.abstained
    assert "+0.10" in told.abstained
    assert explain(uncertain(by_hand(hours_a_week=0.1), 0.001), values, RETENTION).abstained is None
    assert explain(uncertain(by_hand(hours_a_week=9.0), 1.0), values, RETENTION).abstained is None


def test_how_much_more_it_would_take_is_the_square_of_what_is_missing() -> None:
    values = {"hours_a_week": 40.0, "job": "clerk", "days": 3.0}
    told = explain(uncertain(by_hand(), 0.5), values, RETENTION)
    deviation = (told.interval[1] - told.interval[0]) / 2
    times = math.ceil((deviation / math.log(1.5)) ** 2)
    assert f"about {times} times the people" in str(told.abstained)


def test_the_interval_is_one_deviation_each_way_and_narrows_with_the_budget(
    group_space: FeatureSpace, group_rows: MinimizedRows, group_contract: Contract
) -> None:
    widths = []
    for stated in ("0.5", "8"):
        fit: Fit = fitted(group_space, group_rows, bounds_of(group_contract), stated)
        told = explain(fit.shared, SOMEBODY, RETENTION)
        low, high = told.interval
        assert low < told.score < high
        assert (high - low) / 2 == pytest.approx(fit.shared.deviation(SOMEBODY))
        widths.append(high - low)
    assert widths[0] > widths[1]


def test_an_explanation_is_plain_data() -> None:
    told = explain(scorer_of(SPACE), {"hours_a_week": 3.0}, RETENTION)
    assert json.loads(json.dumps(asdict(told), allow_nan=False))["band"] == told.band


def test_the_actions_follow_what_raises_the_risk() -> None:
    case: UseCase = RETENTION
    assert [a.id for a in case.actions_for(["overtime_hours", "pulse"])] == ["workload-review", "development-offer"]
    assert [a.id for a in case.actions_for(["overtime_hours", "work_mode"])] == ["workload-review"]
    assert [a.id for a in case.actions_for([])] == ["check-in"]
    assert [a.id for a in case.actions_for(["something else"])] == ["check-in"]
