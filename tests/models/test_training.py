from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from opacus.grad_sample import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import nn

from models.features import GRID, ONE, FeatureSpace
from models.planning import (
    GRADIENT_GRID,
    MOMENTS_GRID,
    RESIDUAL_GRID,
    from_upper_triangle,
    gradient_clip,
    gradient_sensitivity,
    moments_sensitivity,
)
from models.training import AdditiveLayer, SiteSums, employee_gradient_norms
from privacy.errors import InputError
from records.contract import BinaryLabel, NumberLabel
from records.minimize import MinimizedRows
from tests.models.spaces import (
    BINARY,
    QUANTITY,
    category,
    contracts,
    number,
    ordered,
    rows_for,
    rows_of,
    space_of,
)

COLUMNS = (
    number("hours"),
    number("mark", 1.0, 5.0, step=1.0),
    ordered("grade", "low", "middle", "high"),
    category("job", *"abcdef"),
)
SPACE = space_of(*COLUMNS)
STEP = 2.0**-RESIDUAL_GRID


def made_up(people: int, seed: int = 0, label: BinaryLabel | NumberLabel = BINARY, most_rows: int = 1) -> MinimizedRows:
    random = np.random.default_rng(seed)
    employee = np.repeat(np.arange(people), random.integers(1, most_rows + 1, people))
    n = len(employee)
    hours = random.uniform(0, 10, n)
    hours[random.random(n) < 0.1] = np.nan
    cells = {
        "hours": hours,
        "mark": random.integers(1, 6, n).astype(np.float64),
        "grade": random.integers(-1, 3, n),
        "job": random.integers(-1, 6, n),
    }
    drawn = random.random(n) < 0.4 if isinstance(label, BinaryLabel) else random.random(n)
    return rows_of(cells, drawn, employee)


def sums_of(space: FeatureSpace, rows: MinimizedRows, clip: float | None = None) -> SiteSums:
    return SiteSums(space, rows, float(gradient_clip(space)) if clip is None else clip)


def without(rows: MinimizedRows, person: int) -> MinimizedRows:
    return rows.take(rows.employee != person)


def squared_distance(one: NDArray[np.int64], other: NDArray[np.int64]) -> int:
    """In exact integers."""
    return sum((a - b) ** 2 for a, b in zip(one.tolist(), other.tolist(), strict=True))


def random_weights(space: FeatureSpace, seed: int, scale: float) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(0.0, scale, space.width)


# --- equal to Opacus -------------------------------------------------------------------------------------


def opacus_linear(space: FeatureSpace, rows: MinimizedRows, weights: NDArray[np.float64]) -> GradSampleModule:
    """Opacus' own hooks on torch's own linear layer, after one backward pass: per-sample gradients in `grad_sample`."""
    layer = nn.Linear(space.width, 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weights)[None, :])
    module = GradSampleModule(layer, loss_reduction="sum")
    scores = module(torch.from_numpy(space.design(rows) / ONE)).squeeze(1)
    label = torch.from_numpy(rows.label.copy())
    if space.link == "logistic":
        nn.functional.binary_cross_entropy_with_logits(scores, label, reduction="sum").backward()
    else:
        (0.5 * (scores - label) ** 2).sum().backward()
    return module


def grid_tolerance(space: FeatureSpace, people: int) -> float:
    """How far a coordinate of the sum may be from Opacus' for the grid alone.

    Each person's residual is truncated by less than one step of 2**-18, and their clip is R steps shorter; on a
    coordinate of at most 1 both together move the sum by less than (R + 1) steps for each person. Opacus adds 1e-6 to a
    norm, a quarter of a step: one more step covers it and the finer grids of weights and residuals.
    """
    return people * (space.radius + 2) * STEP


@pytest.mark.parametrize("label", [BINARY, QUANTITY], ids=["logistic", "linear"])
@pytest.mark.parametrize("scale", [0.0, 0.5, 5.0])
def test_the_sum_equals_opacus_hooks_clipped_by_hand(label: BinaryLabel | NumberLabel, scale: float) -> None:
    space, rows = space_of(*COLUMNS, label=label), made_up(300, 1, label)
    weights = random_weights(space, 2, scale)
    module = opacus_linear(space, rows, weights)
    gradients = module._module.weight.grad_sample.squeeze(1)
    clip = float(gradient_clip(space))
    factors = (clip / gradients.norm(dim=1)).clamp(max=1.0)
    expected = (gradients * factors[:, None]).sum(dim=0).numpy()
    got = sums_of(space, rows).gradient(weights) / 2.0**GRADIENT_GRID
    assert np.abs(got - expected).max() <= grid_tolerance(space, 300)
    assert np.abs(expected).max() > 20 * grid_tolerance(space, 300), "the tolerance must be small beside the sum"
    if scale == 5.0:
        assert (factors < 1).any(), "the comparison must include people who are clipped"


@pytest.mark.parametrize("scale", [0.5, 5.0])
def test_the_sum_equals_that_of_opacus_own_optimizer(scale: float) -> None:
    rows = made_up(300, 3)
    weights = random_weights(SPACE, 4, scale)
    module = opacus_linear(SPACE, rows, weights)
    optimizer = DPOptimizer(
        torch.optim.SGD(module.parameters(), lr=1.0),
        noise_multiplier=0.0,
        max_grad_norm=float(gradient_clip(SPACE)),
        expected_batch_size=1,
        loss_reduction="sum",
    )
    optimizer.clip_and_accumulate()
    expected = module._module.weight.summed_grad.squeeze(0).numpy()
    got = sums_of(SPACE, rows).gradient(weights) / 2.0**GRADIENT_GRID
    assert np.abs(got - expected).max() <= grid_tolerance(SPACE, 300)


def test_an_employee_of_several_rows_is_clipped_once_as_the_mean_of_their_rows() -> None:
    rows = made_up(60, 5, most_rows=6)
    weights = random_weights(SPACE, 6, 5.0)
    gradients = opacus_linear(SPACE, rows, weights)._module.weight.grad_sample.squeeze(1).numpy()
    expected = np.zeros(SPACE.width)
    for person in range(60):
        mean = gradients[rows.employee == person].mean(axis=0)
        expected += mean * min(1.0, float(gradient_clip(SPACE)) / np.linalg.norm(mean))
    got = sums_of(SPACE, rows).gradient(weights) / 2.0**GRADIENT_GRID
    assert np.abs(got - expected).max() <= 6 * grid_tolerance(SPACE, 60)


def test_a_small_site_without_clipping_is_computed_by_hand() -> None:
    """Three people at zero weights: every residual is one half (a power of two), so the sum is exact."""
    space = space_of(category("job", "a", "b"))
    rows = rows_of({"job": [0, 1, -1]}, [0.0, 1.0, 0.0])
    got = sums_of(space, rows, clip=2.0).gradient(np.zeros(4))
    assert got.tolist() == [x * 2**GRADIENT_GRID // 2 for x in (1, 1, -1, 1)]


def test_a_row_far_off_under_the_linear_link_counts_as_one_that_is_off_by_one() -> None:
    """An employee of two rows, one off by 200 and one by 3: both are held at 1, so neither outweighs the other."""
    space = space_of(category("job", "a", "b"), label=QUANTITY)
    a, b = space.slices["job"].start, space.slices["job"].start + 1
    weights = np.zeros(space.width)
    weights[[a, b]] = 200.0, 3.0
    got = sums_of(space, rows_of({"job": [0, 1]}, [0.0, 0.0], [0, 0])).gradient(weights)
    assert got[a] == got[b] > 0


def test_second_moments_are_the_sum_of_the_rows_products() -> None:
    rows = made_up(200, 7)
    design = SPACE.design(rows)
    matrix = from_upper_triangle(sums_of(SPACE, rows).second_moments().astype(np.float64), SPACE.width)
    assert np.array_equal(matrix / 2.0**MOMENTS_GRID, design.T @ design / 2.0 ** (2 * GRID))
    assert matrix[0, 0] == 200 * 2**MOMENTS_GRID


# --- what one employee can change ------------------------------------------------------------------------


def bounds_hold(
    space: FeatureSpace, rows: MinimizedRows, weights: NDArray[np.float64], clip: float | None = None
) -> bool:
    """Whether removing any one employee moves both sums by at most the plan's sensitivities, in exact integers."""
    gradient, moments = gradient_sensitivity(gradient_clip(space)), moments_sensitivity(space)
    whole = sums_of(space, rows, clip)
    with_all = whole.gradient(weights), whole.second_moments()
    for person in np.unique(rows.employee):
        rest = sums_of(space, without(rows, person), clip)
        if squared_distance(with_all[0], rest.gradient(weights)) > gradient**2:
            return False
        if squared_distance(with_all[1], rest.second_moments()) > moments**2:
            return False
    return True


WEIGHT_SCALES = st.sampled_from([0.0, 0.1, 1.0, 20.0])


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_removing_any_employee_stays_within_the_plans_sensitivity(data: st.DataObject) -> None:
    contract = data.draw(contracts())
    space = FeatureSpace.from_contract(contract)
    rows = data.draw(rows_for(contract, employees=data.draw(st.integers(1, 4)), most_rows=5))
    weights = random_weights(space, data.draw(st.integers(0, 2**32)), data.draw(WEIGHT_SCALES))
    assert bounds_hold(space, rows, weights)


@pytest.mark.parametrize("label", [BINARY, QUANTITY], ids=["logistic", "linear"])
@pytest.mark.parametrize("scale", [0.3, 3.0, 30.0])
def test_removing_any_of_many_employees_stays_within_it(label: BinaryLabel | NumberLabel, scale: float) -> None:
    space = space_of(*COLUMNS, label=label)
    rows = made_up(12, 8, label, most_rows=8)
    assert bounds_hold(space, rows, random_weights(space, 9, scale))


ONE_NUMBER = space_of(number("hours"))
"""Every row at a bound has norm R = 2 exactly."""


def one_person(labels: list[float], hours: float = 0.0, others: int = 3) -> MinimizedRows:
    """An employee 0 with a row for each label, and others of one row."""
    cells = {"hours": np.full(len(labels) + others, hours)}
    return rows_of(cells, [*labels, *[0.0] * others], [0] * len(labels) + list(range(1, others + 1)))


def logit_weights(space: FeatureSpace, probability: float) -> NDArray[np.float64]:
    weights = np.zeros(space.width)
    weights[0] = math.log(probability / (1 - probability))
    return weights


def rows_at_the_edge(least: int) -> tuple[MinimizedRows, NDArray[np.float64]]:
    """Rows of both labels that nearly cancel out to the clip, and weights at which truncation takes from one side only.

    One label's residuals are whole steps of the grid, the other's lie just below a step and are lost entirely.
    """
    steps = 2**RESIDUAL_GRID
    many = max(range(least, least + 40), key=lambda m: steps / m % 1)
    sure = (steps // many + 0.001) * many / steps
    clip = float(gradient_clip(ONE_NUMBER)) / ONE_NUMBER.radius
    leaving = math.ceil(many * (sure - clip + 2 * STEP))
    return one_person([1.0] * leaving + [0.0] * (many - leaving)), logit_weights(ONE_NUMBER, sure)


@pytest.mark.parametrize("many", [3, 20, 200, 2000, 20_000])
def test_rows_that_cancel_out_do_not_get_past_the_clip_by_rounding(many: int) -> None:
    rows, weights = rows_at_the_edge(many)
    assert bounds_hold(ONE_NUMBER, rows, weights)


def test_the_bound_is_nearly_reached() -> None:
    rows = one_person([0.0])
    weights = logit_weights(ONE_NUMBER, 0.9)
    with_them, without_them = (sums_of(ONE_NUMBER, r).gradient(weights) for r in (rows, without(rows, 0)))
    bound = gradient_sensitivity(gradient_clip(ONE_NUMBER))
    assert 0.999 * bound < math.sqrt(squared_distance(with_them, without_them)) <= bound
    moments = [sums_of(ONE_NUMBER, r).second_moments() for r in (rows, without(rows, 0))]
    assert 0.9 * moments_sensitivity(ONE_NUMBER) < math.sqrt(squared_distance(*moments))


def test_a_planted_missing_clip_is_caught() -> None:
    rows = one_person([0.0])
    weights = logit_weights(ONE_NUMBER, 0.9)
    assert bounds_hold(ONE_NUMBER, rows, weights)
    assert not bounds_hold(ONE_NUMBER, rows, weights, clip=1e3)


def test_planted_clipping_of_rows_instead_of_employees_is_caught() -> None:
    space, rows = ONE_NUMBER, one_person([0.0] * 5)
    weights = logit_weights(space, 0.9)
    separate = rows_of({"hours": rows.numbers["hours"]}, rows.label)
    moved = squared_distance(
        sums_of(space, separate).gradient(weights), sums_of(space, separate.take(np.arange(5, 8))).gradient(weights)
    )
    assert moved > gradient_sensitivity(gradient_clip(space)) ** 2
    assert bounds_hold(space, rows, weights)


@pytest.mark.parametrize("space", [SPACE, ONE_NUMBER, space_of(category("job", "a", "b"))])
def test_the_sensitivities_are_those_of_the_rows_norm(space: FeatureSpace) -> None:
    r2 = Fraction(space.squared_radius)
    moments = moments_sensitivity(space)
    assert (moments - 1) ** 2 <= (r2**2 + r2) / 2 * 2 ** (2 * MOMENTS_GRID) < moments**2
    clip = Fraction(gradient_clip(space))
    assert gradient_sensitivity(Decimal(str(gradient_clip(space)))) == math.ceil(clip * 2**GRADIENT_GRID)
    assert abs(clip - Fraction(space.radius) / 2) <= Fraction(1, 10**6)


# --- what an employee contributes depends on nobody else -------------------------------------------------


def shuffled(rows: MinimizedRows, seed: int) -> MinimizedRows:
    return rows.take(np.random.default_rng(seed).permutation(len(rows)))


@given(st.integers(0, 2**32), WEIGHT_SCALES)
@settings(max_examples=15, deadline=None)
def test_the_order_of_rows_and_employees_does_not_matter(seed: int, scale: float) -> None:
    rows = made_up(40, seed, most_rows=4)
    mixed = shuffled(rows, seed)
    names = np.random.default_rng(seed).permutation(1000)[:40]
    mixed = rows_of({**mixed.numbers, **mixed.codes}, mixed.label, names[mixed.employee])
    weights = random_weights(SPACE, seed, scale)
    one, other = sums_of(SPACE, rows), sums_of(SPACE, mixed)
    assert one.gradient(weights).tobytes() == other.gradient(weights).tobytes()
    assert one.second_moments().tobytes() == other.second_moments().tobytes()


@pytest.mark.parametrize("many", [3, 5, 6, 7, 11, 12])
def test_the_order_of_one_employees_rows_does_not_matter_even_where_rounding_shows(many: int) -> None:
    """Everybody is as sure as can be and wrong: residuals are 1/m each, whose floating-point sums depend on order."""
    random = np.random.default_rng(many)
    rows = rows_of({"hours": random.choice([0.0, 10.0, 5.0], 8 * many)}, np.zeros(8 * many), np.arange(8 * many) % 8)
    weights = np.zeros(ONE_NUMBER.width)
    weights[0] = 100.0
    answers = {sums_of(ONE_NUMBER, shuffled(rows, seed)).gradient(weights).tobytes() for seed in range(6)}
    assert len(answers) == 1


@pytest.fixture
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_threads")
def test_the_sums_do_not_depend_on_the_number_of_threads() -> None:
    rows = made_up(4000, 10, most_rows=2)
    weights = random_weights(SPACE, 11, 1.0)
    answers = set()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        sums = sums_of(SPACE, rows)
        answers.add((sums.gradient(weights).tobytes(), sums.second_moments().tobytes()))
    assert len(answers) == 1


def test_everybody_twice_gives_twice_the_sum_for_no_divisor_hides_the_head_count() -> None:
    rows = made_up(77, 12, most_rows=3)
    doubled = rows_of(
        {name: np.concatenate([cells, cells]) for name, cells in {**rows.numbers, **rows.codes}.items()},
        np.concatenate([rows.label, rows.label]),
        np.concatenate([rows.employee, rows.employee + 77]),
    )
    weights = random_weights(SPACE, 13, 1.0)
    once, twice = sums_of(SPACE, rows), sums_of(SPACE, doubled)
    assert np.array_equal(twice.gradient(weights), 2 * once.gradient(weights))
    assert np.array_equal(twice.second_moments(), 2 * once.second_moments())


@given(st.integers(0, 2**32), st.integers(1, 39))
@settings(max_examples=15, deadline=None)
def test_two_halves_of_a_site_add_up_to_the_whole(seed: int, cut: int) -> None:
    rows = made_up(40, seed, most_rows=3)
    weights = random_weights(SPACE, seed, 1.0)
    whole, one, other = (
        sums_of(SPACE, r) for r in (rows, *(rows.take(s) for s in (rows.employee < cut, rows.employee >= cut)))
    )
    assert np.array_equal(whole.gradient(weights), one.gradient(weights) + other.gradient(weights))


def straddling_scores() -> list[float]:
    """Scores at which torch's sigmoid is on one side of a grid step in vector code, and on the other in scalar code."""
    steps = np.arange(1, 2**RESIDUAL_GRID) * STEP
    at = np.log(steps / (1 - steps))
    scores = np.concatenate([at, *(np.nextafter(at, s * np.inf) for s in (1, -1))])
    inner = torch.sigmoid(torch.from_numpy(scores)).numpy()
    alone = torch.sigmoid(torch.from_numpy(np.stack([scores, scores], axis=1))[:, 0]).numpy()
    differ = np.trunc(inner / STEP) != np.trunc(alone / STEP)
    return [float(s) for s in scores[differ if differ.any() else slice(None)][:40]]


def test_a_coordinator_can_not_choose_weights_at_which_one_employee_moves_the_others() -> None:
    """At a rounding edge nobody's contribution may depend on how many others there are, or on the place of the row."""
    crowd = rows_of({"hours": np.zeros(40)}, np.zeros(40))
    for score in straddling_scores():
        weights = np.zeros(ONE_NUMBER.width)
        weights[0] = score
        alone = sums_of(ONE_NUMBER, crowd.take(np.arange(1))).gradient(weights)
        for people in (2, 7, 8, 15, 16, 17, 31, 32, 33, 40):
            together = sums_of(ONE_NUMBER, crowd.take(np.arange(people))).gradient(weights)
            assert np.array_equal(together, people * alone), (score, people)


def test_norms_do_not_depend_on_whether_somebody_else_has_several_rows() -> None:
    random = np.random.default_rng(14)
    design = torch.from_numpy(SPACE.design(made_up(200, 14)) / ONE)
    residuals = torch.from_numpy(random.uniform(-1, 1, 200))
    weight = torch.zeros(SPACE.width, dtype=torch.float64)
    singles = torch.arange(200)
    with_several = torch.cat([singles, torch.tensor([200, 200])])
    parameter = AdditiveLayer(weight, 200)
    alone = employee_gradient_norms(parameter, (design, singles), residuals)[parameter.weight]
    other = AdditiveLayer(weight, 201)
    together = employee_gradient_norms(
        other, (torch.cat([design, design[:2]]), with_several), torch.cat([residuals, residuals[:2]])
    )[other.weight]
    assert together[:200].numpy().tobytes() == alone.numpy().tobytes()


def test_norms_do_not_depend_on_who_else_there_is() -> None:
    rows = made_up(60, 15, most_rows=4)
    random = np.random.default_rng(15)
    design, employee = torch.from_numpy(SPACE.design(rows) / ONE), torch.from_numpy(rows.employee.copy())
    residuals = torch.from_numpy(random.uniform(-1, 1, len(rows)))
    weight = torch.zeros(SPACE.width, dtype=torch.float64)
    layer = AdditiveLayer(weight, 60)
    norms = employee_gradient_norms(layer, (design, employee), residuals)[layer.weight]
    for person in range(60):
        own = employee == person
        single = AdditiveLayer(weight, 1)
        alone = employee_gradient_norms(single, (design[own], torch.zeros_like(employee[own])), residuals[own])
        assert float(alone[single.weight]) == float(norms[person])


# --- what is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "weights",
    [
        pytest.param(np.full(SPACE.width, np.nan), id="NaN"),
        pytest.param(np.full(SPACE.width, np.inf), id="infinity"),
        pytest.param(np.zeros(SPACE.width + 1), id="too many"),
        pytest.param(np.zeros((SPACE.width, 1)), id="a column"),
        pytest.param(np.zeros(SPACE.width, dtype=np.float32), id="float32"),
        pytest.param(np.zeros(SPACE.width, dtype=np.int64), id="whole numbers"),
    ],
)
def test_weights_that_are_not_finite_float64_of_the_space_are_refused(weights: NDArray[np.float64]) -> None:
    with pytest.raises(InputError, match="state: expected"):
        sums_of(SPACE, made_up(5)).gradient(weights)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("label", [BINARY, QUANTITY], ids=["logistic", "linear"])
@pytest.mark.parametrize("size", [10.0, 256.0, 257.0, 1e17, 1.7e308])
@pytest.mark.parametrize("seed", range(2))
def test_large_weights_are_refused_or_do_not_break_the_bound(
    label: BinaryLabel | NumberLabel, size: float, seed: int
) -> None:
    """A coordinator may send any weights: overflow must not single anybody out."""
    space = space_of(*COLUMNS, label=label)
    weights = size * np.random.default_rng(seed).choice([-1.0, 1.0], space.width)
    rows = made_up(8, 16, label, most_rows=4)
    if size > 256:
        with pytest.raises(InputError, match="state: expected"):
            sums_of(space, rows).gradient(weights)
    else:
        assert bounds_hold(space, rows, weights)


def test_a_site_of_too_many_people_for_exact_sums_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.training.EXACT", 2 * 2 ** max(MOMENTS_GRID, GRADIENT_GRID))
    assert sums_of(SPACE, made_up(1)).gradient(np.zeros(SPACE.width)).any()
    with pytest.raises(InputError, match="few enough employees"):
        sums_of(SPACE, made_up(2))


def test_a_site_without_people_contributes_zeros() -> None:
    nobody = made_up(3).take(np.zeros(3, dtype=bool))
    assert not sums_of(SPACE, nobody).gradient(np.zeros(SPACE.width)).any()
    assert not sums_of(SPACE, nobody).second_moments().any()
