"""The made-up people of a forecast: inside the public bounds, with an effect of exactly the stated strength."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.evaluation import auc
from models.features import NumberFeature
from models.planted_twin import BEST_AUC, BEST_R2, RATE, PlantedTwin, expected_auc
from tests.models.spaces import QUANTITY, category, contracts, number, ordered, space_of

COLUMNS = (number("hours"), number("mark", 1.0, 5.0, step=1.0), ordered("grade", "low", "middle", "high"))
SPACE = space_of(*COLUMNS, category("team", "red", "green", "blue"))
NUMBER_SPACE = space_of(*COLUMNS, label=QUANTITY)

means = st.lists(st.floats(0.05, 0.95), min_size=2, max_size=12)


@given(mean=means, data=st.data())
def test_the_expected_auc_is_the_mean_over_all_pairs_weighed_by_how_likely_they_are(
    mean: list[float], data: st.DataObject
) -> None:
    score = data.draw(st.lists(st.integers(-2, 2), min_size=len(mean), max_size=len(mean)))
    won = total = 0.0
    for i, p in enumerate(mean):
        for j, q in enumerate(mean):
            if i != j:
                weight = p * (1 - q)
                total += weight
                won += weight * (1.0 if score[i] > score[j] else 0.5 if score[i] == score[j] else 0.0)
    assert expected_auc(np.array(mean), np.array(score, dtype=float)) == pytest.approx(won / total)


@given(labels=st.lists(st.booleans(), min_size=2, max_size=30), data=st.data())
def test_with_labels_for_means_it_is_the_auc_that_evaluations_state(labels: list[bool], data: st.DataObject) -> None:
    label = np.array([*labels, True, False], dtype=float)
    score = np.array(data.draw(st.lists(st.integers(-3, 3), min_size=len(label), max_size=len(label))), dtype=float)
    assert expected_auc(label, score) == pytest.approx(auc(label, score))


@pytest.mark.parametrize("seed", range(3))
def test_the_best_possible_model_of_two_sides_has_the_stated_auc_at_the_stated_rate(seed: int) -> None:
    twin = PlantedTwin(SPACE, seed)
    assert twin.figure(twin.measured_on.mean) == pytest.approx(BEST_AUC, abs=1e-4)
    assert twin.measured_on.mean.mean() == pytest.approx(RATE, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_best_possible_model_of_a_number_explains_the_stated_share(seed: int) -> None:
    twin = PlantedTwin(NUMBER_SPACE, seed)
    assert twin.figure(twin.measured_on.mean) == pytest.approx(BEST_R2, abs=1e-6)
    assert twin.figure(np.full_like(twin.measured_on.mean, twin.measured_on.mean.mean())) == pytest.approx(0, abs=1e-9)


def test_people_who_train_follow_the_same_truth_as_those_who_measure() -> None:
    twin = PlantedTwin(SPACE, 0)
    people = twin.people((30_000,))
    assert auc(people.rows.label, people.mean) == pytest.approx(BEST_AUC, abs=0.01)
    assert people.rows.label.mean() == pytest.approx(RATE, abs=0.01)


@settings(max_examples=25, deadline=None)
@given(contract=contracts(), seed=st.integers(0, 9))
def test_nobody_is_drawn_outside_the_public_bounds(contract: object, seed: int) -> None:
    from models.features import FeatureSpace

    space = FeatureSpace.from_contract(contract)  # type: ignore[arg-type]
    rows = PlantedTwin(space, seed).people((20, 5)).rows
    assert len(rows) == 25
    assert rows.site.tolist() == [0] * 20 + [1] * 5
    for feature in space.features:
        if isinstance(feature, NumberFeature):
            drawn = rows.numbers[feature.column]
            assert ((drawn >= feature.low) & (drawn <= feature.high)).all()
        else:
            codes = rows.codes[feature.column]
            assert ((codes >= 0) & (codes < len(feature.values))).all()
    assert ((rows.label >= 0) & (rows.label <= 1)).all()
    space.design(rows)


def test_a_seed_is_one_truth_and_the_same_people_however_often_they_are_asked_for() -> None:
    one, again, other = PlantedTwin(SPACE, 1), PlantedTwin(SPACE, 1), PlantedTwin(SPACE, 2)
    one.people((7,))
    assert (one.people((50,)).rows.label == again.people((50,)).rows.label).all()
    assert (one.measured_on.mean == again.measured_on.mean).all()
    assert (one.measured_on.mean != other.measured_on.mean).any()


def test_where_every_column_has_one_value_nothing_can_be_told() -> None:
    twin = PlantedTwin(space_of(category("team", "red")), 0)
    assert twin.figure(twin.measured_on.mean) == pytest.approx(0.5)
