from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.features import ONE
from models.moments import levels, plausible
from tests.models.spaces import category, number, ordered, rows_of, space_of

SPACE = space_of(
    number("hours"),
    number("age"),
    category("job", *(f"job {n}" for n in range(6))),
    ordered("grade", "low", "middle", "high"),
)
Vector = NDArray[np.float64]


def moments(people: int = 4000, seed: int = 0) -> Vector:
    """Of people whose hours follow their age, with some values missing."""
    random = np.random.default_rng(seed)
    age = random.uniform(0, 10, people)
    cells = {
        "hours": np.where(random.random(people) < 0.1, np.nan, np.clip(age + random.normal(0, 1, people), 0, 9.99)),
        "age": age,
        "job": random.integers(-1, 6, people),
        "grade": random.integers(0, 3, people),
    }
    design = SPACE.design(rows_of(cells, np.zeros(people))) / ONE
    return design.T @ design


def noisy(exact: Vector, deviation: float, seed: int = 1) -> Vector:
    noise = np.random.default_rng(seed).normal(0, deviation, exact.shape)
    return exact + np.triu(noise) + np.triu(noise, 1).T


def error(found: Vector, exact: Vector) -> float:
    return float(np.linalg.norm(found - exact))


def test_every_row_of_a_feature_is_one_of_its_levels_but_for_the_place_within_a_bin() -> None:
    exact = moments(50)
    assert [len(levels(feature)) for feature in SPACE.features] == [17, 17, 7, 4]
    for feature in SPACE.features:
        assert levels(feature).shape[1] == feature.width
    assert error(plausible(exact, SPACE, 0.0), exact) < 0.03 * np.linalg.norm(exact)


@pytest.mark.parametrize("deviation", [30.0, 300.0, 3000.0])
def test_it_is_nearer_to_the_exact_moments_than_what_was_released(deviation: float) -> None:
    exact = moments()
    released = noisy(exact, deviation)
    assert error(plausible(released, SPACE, deviation), exact) < 0.6 * error(released, exact)


def test_the_less_noise_the_nearer() -> None:
    exact = moments()
    errors = [error(plausible(noisy(exact, d), SPACE, d), exact) for d in (1.0, 30.0, 300.0, 3000.0)]
    assert errors == sorted(errors)


def test_what_features_say_of_each_other_is_kept_where_it_stands_out() -> None:
    exact = moments()
    hours, age = SPACE.slices["hours"].start, SPACE.slices["age"].start  # the two lines
    apart = exact[0, hours] * exact[0, age] / exact[0, 0]
    found = plausible(noisy(exact, 10.0), SPACE, 10.0)[hours, age]
    assert found == pytest.approx(exact[hours, age], rel=0.1)
    assert abs(found - apart) > 5 * abs(found - exact[hours, age])


def test_what_noise_says_of_independent_features_is_dropped() -> None:
    exact = moments()
    found = plausible(noisy(exact, 400.0), SPACE, 400.0)
    job, grade = SPACE.slices["job"], SPACE.slices["grade"]
    apart = np.outer(found[0, job], found[0, grade]) / found[0, 0]
    assert np.abs(found[job, grade] - apart).max() < 100


def test_it_is_symmetric_and_of_one_head_count_whatever_the_noise() -> None:
    for deviation in (0.0, 1e3, 1e6):
        found = plausible(noisy(moments(), deviation), SPACE, deviation)
        assert np.allclose(found, found.T)
        assert found[0, 0] >= 1
        for feature, at in zip(SPACE.features, SPACE.slices.values(), strict=True):
            if feature.column != "hours":
                assert np.diag(found)[at].min() > -1e-6


def test_a_space_of_one_feature_has_nothing_between_features() -> None:
    space = space_of(category("job", "a", "b"))
    exact = np.diag([10.0, 6.0, 4.0, 0.0])
    exact[0] = exact[:, 0] = [10.0, 6.0, 4.0, 0.0]
    assert plausible(exact, space, 0.0) == pytest.approx(exact)
