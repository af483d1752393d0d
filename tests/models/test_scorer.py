from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.features import ONE, FeatureSpace
from models.scorer import AdditiveScorer
from privacy.errors import InputError
from records.contract import Contract
from tests.models.spaces import category, contracts, number, rows_for, space_of, values_for

SPACE = space_of(number("hours"), category("job", "a", "b"))


def scorer_of(space: FeatureSpace, seed: int = 0, scale: float = 1.0) -> AdditiveScorer:
    """Weights, variances and an orthonormal basis as a fit may have them."""
    random = np.random.default_rng(seed)
    d = space.width
    basis, _ = np.linalg.qr(random.normal(size=(d, d)))
    typical = np.concatenate([[1.0], random.uniform(-1, 1, d - 1)])
    return AdditiveScorer(space, random.normal(0, scale, d), random.uniform(0, 0.25, d), basis, typical)


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_the_terms_and_the_intercept_sum_to_the_score(data: st.DataObject) -> None:
    contract = data.draw(contracts())
    scorer = scorer_of(FeatureSpace.from_contract(contract), data.draw(st.integers(0, 2**32)))
    values = data.draw(values_for(contract))
    terms = scorer.terms(values)
    assert [term.column for term in terms] == [column.name for column in contract.features]
    assert scorer.intercept + sum(term.points for term in terms) == pytest.approx(scorer.score(values), abs=1e-9)


@given(contracts(), st.data())
@settings(max_examples=40, deadline=None)
def test_a_column_moves_its_own_term_and_no_other(contract: Contract, data: st.DataObject) -> None:
    scorer = scorer_of(FeatureSpace.from_contract(contract))
    one, other = data.draw(values_for(contract)), data.draw(values_for(contract))
    column = contract.features[0].name
    mixed = {**one, column: other.get(column)}
    for before, after in zip(scorer.terms(one), scorer.terms(mixed), strict=True):
        if before.column != column:
            assert before == after
    assert scorer.terms(mixed)[0] == scorer.terms(other)[0]


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_many_rows_are_scored_as_each_alone(data: st.DataObject) -> None:
    contract = data.draw(contracts())
    space = FeatureSpace.from_contract(contract)
    scorer = scorer_of(space)
    design = space.design(data.draw(rows_for(contract)))
    assert scorer.scores(design) == pytest.approx([float(row @ scorer.weights) for row in design / ONE], abs=1e-9)


def test_the_typical_row_has_no_terms_and_the_intercept_as_its_score() -> None:
    """A group in which everybody is alike is its own typical row."""
    values = {"hours": 5.0, "job": "a"}
    scorer = replace(scorer_of(SPACE), typical=SPACE.active(values))
    assert all(term.points == 0.0 for term in scorer.terms(values))
    assert scorer.score(values) == scorer.intercept
    assert scorer.deviation(values) == 0.0


def test_the_deviation_is_that_of_the_posterior() -> None:
    """Scores of weights drawn from it spread as stated: 20,000 draws tell a deviation to 0.5 %, so 5 % is 10 sigma."""
    scorer = scorer_of(SPACE, 4)
    values = {"hours": 2.0, "job": "b"}
    random = np.random.default_rng(5)
    drawn = scorer.weights + (random.normal(size=(20_000, SPACE.width)) * np.sqrt(scorer.variances)) @ scorer.basis.T
    spread = (drawn @ (SPACE.active(values) - scorer.typical)).std()
    assert spread == pytest.approx(scorer.deviation(values), rel=0.05)


@pytest.mark.parametrize("field", ["weights", "variances", "basis", "typical"])
@pytest.mark.parametrize("spoil", ["short", "NaN", "infinity", "float32", "column"])
def test_arrays_that_do_not_belong_to_the_space_are_refused(field: str, spoil: str) -> None:
    scorer = scorer_of(SPACE)
    array = getattr(scorer, field)
    spoiled = {
        "short": array[:-1],
        "NaN": np.where(np.arange(array.size).reshape(array.shape) == 1, np.nan, array),
        "infinity": np.where(np.arange(array.size).reshape(array.shape) == 1, np.inf, array),
        "float32": array.astype(np.float32),
        "column": array[..., None],
    }[spoil]
    with pytest.raises(InputError, match=f"scorer {field}"):
        replace(scorer, **{field: spoiled})


def test_negative_variances_are_refused() -> None:
    scorer = scorer_of(SPACE)
    with pytest.raises(InputError, match="scorer variances"):
        replace(scorer, variances=np.where(np.arange(SPACE.width) == 2, -1e-9, scorer.variances))


@pytest.mark.parametrize("values", [{"hours": float("nan")}, {"job": "c"}, {"age": 40.0}])
@pytest.mark.parametrize("method", ["score", "terms", "deviation"])
def test_values_that_the_space_does_not_know_are_not_scored(values: dict[str, Any], method: str) -> None:
    with pytest.raises(InputError):
        getattr(scorer_of(SPACE), method)(values)
