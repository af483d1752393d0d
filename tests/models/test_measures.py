from __future__ import annotations

import math
import struct
from decimal import Decimal
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.features import GRID, FeatureSpace
from models.link import LARGEST_SPREAD, log_odds
from models.measures import SMALLEST_SPREAD, STANDARD_EDGES, WHOLE, Scale, check_state, measure, state_of
from models.optimiser import Fit
from models.planning import (
    EVALUATION,
    HEAD_COUNT,
    LARGEST_WEIGHT,
    MEASURE_GRID,
    SCORE_BINS,
    TRAINING,
    WEIGHT_STEP,
    measures_offered,
    mechanism,
    traits,
)
from models.scorer import AdditiveScorer
from models.use_case import load_use_case
from privacy import measures_file
from privacy.errors import InputError
from records.minimize import MinimizedRows
from tests.models.spaces import BINARY, QUANTITY, category, contracts, number, rows_for, rows_of, space_of

SPACE = space_of(number("hours"), category("job", *"abc"))
SEX = "fairness-sex"
SEXES = len(traits()["sex"])
SCORED = (EVALUATION, SEX)
Integers = NDArray[np.int64]


def scale_for(space: FeatureSpace, seed: int = 0, size: float = 1.0) -> Scale:
    random = np.random.default_rng(seed)
    weights = random.normal(0.0, size, space.width)
    return Scale(weights, float(random.normal()), float(random.uniform(0.1, 2.0)), float(random.normal()))


def made_up(people: int, seed: int = 0, most_rows: int = 1) -> MinimizedRows:
    random = np.random.default_rng(seed)
    employee = np.repeat(np.arange(people), random.integers(1, most_rows + 1, people))
    n = len(employee)
    cells = {"hours": random.uniform(0, 10, n), "job": random.integers(-1, 3, n)}
    return rows_of(cells, random.random(n) < 0.4, employee)


def stated_by(people: int, seed: int = 0) -> dict[str, Integers]:
    return {"sex": np.random.default_rng(seed).integers(0, SEXES, people)}


def counted(event: str, space: FeatureSpace, rows: MinimizedRows, scale: Scale) -> Integers:
    return measure(event, space, rows, state_of(event, scale), stated_by(int(rows.employee.max(initial=-1)) + 1))


def moved(one: Integers, other: Integers) -> tuple[int, int]:
    """Squared L2 and L1 distance, in exact integers."""
    apart = [a - b for a, b in zip(one.tolist(), other.tolist(), strict=True)]
    return sum(step * step for step in apart), sum(map(abs, apart))


# --- one employee's part -----------------------------------------------------------------------------------


@given(st.data(), contracts(BINARY), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_an_employee_with_any_rows_moves_a_histogram_by_at_most_the_stated_sensitivity(
    data: st.DataObject, contract: object, seed: int
) -> None:
    space = FeatureSpace.from_contract(contract)  # type: ignore[arg-type]
    rows = data.draw(rows_for(contract, employees=5, most_rows=7))  # type: ignore[arg-type]
    stated = {"sex": np.array(data.draw(st.lists(st.integers(0, SEXES - 1), min_size=5, max_size=5)))}
    scale = scale_for(space, seed)
    for shape in mechanism(space, (EVALUATION, HEAD_COUNT, SEX))[len(TRAINING) :]:
        state = state_of(shape.name, scale)
        whole = measure(shape.name, space, rows, state, stated)
        assert whole.shape == (shape.coordinates,)
        for person in range(5):
            without = measure(shape.name, space, rows.take(rows.employee != person), state, stated)
            squared, steps = moved(whole, without)
            assert 0 < squared <= shape.sensitivity**2
            assert steps <= shape.sensitivity


def test_the_same_check_fails_where_rows_are_counted_in_place_of_people() -> None:
    """The planted fault: every row as an employee of its own."""
    rows = made_up(3, seed=1, most_rows=6)
    faulty = rows_of(
        {"hours": rows.numbers["hours"].copy(), "job": rows.codes["job"].copy()}, rows.label, np.arange(len(rows))
    )
    scale = scale_for(SPACE)
    kept = rows.employee != 0
    assert (~kept).sum() > 1
    for event in (EVALUATION, HEAD_COUNT):
        good = moved(counted(event, SPACE, rows, scale), counted(event, SPACE, rows.take(kept), scale))
        bad = moved(counted(event, SPACE, faulty, scale), counted(event, SPACE, faulty.take(kept), scale))
        assert good[1] <= WHOLE < bad[1]


@pytest.mark.parametrize("event", [EVALUATION, HEAD_COUNT, SEX])
def test_nobodys_part_depends_on_who_else_there_is(event: str) -> None:
    rows, scale = made_up(200, seed=2, most_rows=5), scale_for(SPACE, 3)
    stated = stated_by(200)
    alone = [
        measure(event, SPACE, rows.take(rows.employee == person), state_of(event, scale), stated)
        for person in range(200)
    ]
    together = measure(event, SPACE, rows, state_of(event, scale), stated)
    assert np.array_equal(sum(alone), together)


@pytest.mark.parametrize("event", [EVALUATION, HEAD_COUNT, SEX])
def test_the_order_of_rows_decides_nothing(event: str) -> None:
    rows, scale = made_up(300, seed=4, most_rows=3), scale_for(SPACE, 5)
    shuffled = rows.take(np.random.default_rng(6).permutation(len(rows)))
    assert np.array_equal(counted(event, SPACE, rows, scale), counted(event, SPACE, shuffled, scale))


def test_an_employee_of_one_row_is_one_whole_in_one_cell() -> None:
    rows, scale = made_up(1), scale_for(SPACE)
    for event in (EVALUATION, HEAD_COUNT, SEX):
        cells = counted(event, SPACE, rows, scale)
        assert sorted(cells.tolist())[-1] == WHOLE == cells.sum() == 2**MEASURE_GRID


@pytest.mark.parametrize("event", [EVALUATION, HEAD_COUNT, SEX])
def test_nobody_is_a_histogram_of_zeros(event: str) -> None:
    nobody = made_up(1).take(np.zeros(1, dtype=bool))
    assert not counted(event, SPACE, nobody, scale_for(SPACE)).any()


# --- exactness ---------------------------------------------------------------------------------------------


def test_cells_are_those_of_a_count_by_hand() -> None:
    rows, scale = made_up(400, seed=7, most_rows=4), scale_for(SPACE, 8)
    stated = stated_by(400)["sex"]
    design = SPACE.design(rows)
    scores = [
        math.fsum(map(float, row * np.rint(scale.weights / WEIGHT_STEP) * WEIGHT_STEP)) / 2**GRID for row in design
    ]
    rows_each = np.bincount(rows.employee)
    evaluation = np.zeros((2, SCORE_BINS), dtype=object)
    fairness = np.zeros((SEXES, 2, 2), dtype=object)
    for row, score in enumerate(scores):
        person, label = int(rows.employee[row]), int(rows.label[row])
        share = 2**20 // int(rows_each[person])
        evaluation[label, sum(score >= edge for edge in scale.edges)] += share
        fairness[stated[person], int(score >= scale.threshold), label] += share
    assert counted(EVALUATION, SPACE, rows, scale).tolist() == evaluation.ravel().tolist()
    assert counted(SEX, SPACE, rows, scale).tolist() == fairness.ravel().tolist()
    assert counted(HEAD_COUNT, SPACE, rows, scale).tolist() == [400 * 2**20]


def test_who_stands_on_an_edge_is_in_the_bin_above_and_on_the_threshold_is_selected() -> None:
    rows = rows_of({"hours": np.array([5.0]), "job": np.array([0])}, [1.0])
    weights = np.zeros(SPACE.width)
    weights[0] = 0.75
    on_edge = counted(EVALUATION, SPACE, rows, Scale(weights, 0.75, 1.0, 0.75)).reshape(2, SCORE_BINS)
    assert on_edge[1].argmax() == SCORE_BINS // 2
    chosen = counted(SEX, SPACE, rows, Scale(weights, 0.0, 1.0, 0.75)).reshape(SEXES, 2, 2)
    passed = counted(SEX, SPACE, rows, Scale(weights, 0.0, 1.0, np.nextafter(0.75, 1.0))).reshape(SEXES, 2, 2)
    assert (chosen[:, 1, 1].sum(), passed[:, 0, 1].sum()) == (WHOLE, WHOLE)


# --- the scale ---------------------------------------------------------------------------------------------


def fit_of(spread: float, centre: float = -1.2) -> Fit:
    d = SPACE.width
    typical, weights = np.zeros(d), np.zeros(d)
    typical[0], weights[0] = 1.0, centre
    return Fit(AdditiveScorer(SPACE, weights, np.zeros(d), np.eye(d), typical), {}, 0.1, spread)


@pytest.mark.parametrize("centre", [-3.0, -0.7, 0.0, 0.4, 2.0])
def test_selection_begins_where_the_use_cases_elevated_band_does(centre: float) -> None:
    scale = Scale.of(fit_of(1.0, centre), load_use_case("retention"))
    assert math.exp(log_odds(scale.threshold) - log_odds(centre)) == pytest.approx(1.5)


def test_the_scale_is_the_shared_scorers_with_a_spread_that_is_believed() -> None:
    case = load_use_case("retention")
    scale = Scale.of(fit_of(0.9), case)
    assert (scale.centre, scale.spread) == (-1.2, 0.9)
    assert Scale.of(fit_of(0.0), case).spread == SMALLEST_SPREAD
    assert Scale.of(fit_of(9.0), case).spread == LARGEST_SPREAD


def test_bins_are_the_eighths_of_a_normal_distribution() -> None:
    eighths = [NormalDist().inv_cdf(n / SCORE_BINS) for n in range(1, SCORE_BINS)]
    assert pytest.approx(eighths, abs=5e-5) == STANDARD_EDGES


def test_what_is_predicted_in_a_bin_is_the_mean_over_normal_scores_there() -> None:
    scale = Scale(np.zeros(SPACE.width), -1.0, 0.8, 0.0)
    scores = np.random.default_rng(0).normal(-1.0, 0.8, 200_000)
    odds = np.exp([log_odds(score) for score in scores])
    place = np.searchsorted(scale.edges, scores, side="right")
    means = [(odds / (1 + odds))[place == part].mean() for part in range(SCORE_BINS)]
    assert scale.predicted == pytest.approx(means, abs=0.003)


def test_a_scale_survives_its_bytes() -> None:
    scale = scale_for(SPACE, 9)
    read = Scale.from_bytes(scale.to_bytes(), SPACE)
    assert read.to_bytes() == scale.to_bytes()
    assert np.array_equal(read.weights, scale.weights)


def test_the_verifiers_state_is_the_one_that_was_asked_for() -> None:
    scale = scale_for(SPACE, 10)
    marks = measures_file.Marks(*(repr(mark) for mark in (scale.centre, scale.spread, scale.threshold)))
    assert marks.state(scale.weights.astype("<f8").tobytes()) == state_of(EVALUATION, scale)


# --- what is refused ---------------------------------------------------------------------------------------


def changed(place: int, value: float) -> bytes:
    data = bytearray(scale_for(SPACE).to_bytes())
    place %= len(data) // 8
    data[8 * place : 8 * place + 8] = struct.pack("<d", value)
    return bytes(data)


BAD_STATES = {
    "nothing": b"",
    "too short": scale_for(SPACE).to_bytes()[:-8],
    "too long": scale_for(SPACE).to_bytes() + bytes(8),
    "a weight that is NaN": changed(0, math.nan),
    "an infinite weight": changed(1, -math.inf),
    "a weight beyond the range": changed(2, np.nextafter(LARGEST_WEIGHT, 1e9)),
    "a centre that is NaN": changed(-3, math.nan),
    "an infinite threshold": changed(-1, math.inf),
    "no spread": changed(-2, 0.0),
    "a spread below zero": changed(-2, -1.0),
    "a spread that is NaN": changed(-2, math.nan),
}


@pytest.mark.parametrize("event", SCORED)
@pytest.mark.parametrize("state", BAD_STATES.values(), ids=BAD_STATES.keys())
def test_a_state_that_is_no_scale_is_refused(event: str, state: bytes) -> None:
    with pytest.raises(InputError, match="state: expected"):
        check_state(event, SPACE, state)
    with pytest.raises(InputError, match="state: expected"):
        measure(event, SPACE, made_up(3), state, stated_by(3))


def test_a_head_count_is_asked_for_at_nothing() -> None:
    check_state(HEAD_COUNT, SPACE, b"")
    with pytest.raises(InputError, match="expected none for 'head-count'"):
        check_state(HEAD_COUNT, SPACE, scale_for(SPACE).to_bytes())


@pytest.mark.parametrize("event", ["second-moments", "gradient", "", "Evaluation", "fairness-", "fairness-shoe size"])
def test_an_unknown_measure_is_refused(event: str) -> None:
    with pytest.raises(InputError, match="measure: expected one of evaluation, head-count, fairness-sex"):
        check_state(event, SPACE, scale_for(SPACE).to_bytes())
    with pytest.raises(InputError, match="measure: expected one of"):
        measure(event, SPACE, made_up(3), scale_for(SPACE).to_bytes())


def test_scores_are_not_set_against_a_label_that_is_a_number() -> None:
    space = space_of(number("hours"), label=QUANTITY)
    assert measures_offered(space) == (HEAD_COUNT,)
    with pytest.raises(InputError, match="expected one of head-count, got 'evaluation'"):
        check_state(EVALUATION, space, scale_for(space).to_bytes())


@pytest.mark.parametrize(
    "stated",
    [None, {}, {"race_ethnicity": np.zeros(3, np.int64)}, {"sex": np.zeros(2, np.int64)}, {"sex": np.zeros(3)},
     {"sex": np.array([0, 1, SEXES])}, {"sex": np.array([0, 1, -1])}],
    ids=["none", "no trait", "another trait", "too few people", "no positions", "beyond the values", "below them"],
)  # fmt: skip
def test_a_trait_that_is_not_there_for_everybody_is_refused(stated: dict[str, Integers] | None) -> None:
    with pytest.raises(InputError, match="trait 'sex': expected a position among its 4 values for every employee"):
        measure(SEX, SPACE, made_up(3), scale_for(SPACE).to_bytes(), stated)


def test_verifier_and_planner_mean_the_same_events() -> None:
    assert measures_file.MODEL_EVENTS == TRAINING
    assert measures_file.HEAD_COUNT == HEAD_COUNT
    assert Decimal(measures_file.CONFIDENCE) == Decimal("0.95")
