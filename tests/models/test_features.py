from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.features import ONE, ChoiceFeature, FeatureSpace, NumberFeature
from privacy import canonical
from privacy.errors import InputError
from records.contract import BinaryLabel, Contract, NumberColumn
from records.minimize import MinimizedRows
from tests.models.spaces import (
    BINARY,
    QUANTITY,
    category,
    contract_of,
    contracts,
    number,
    ordered,
    rows_for,
    rows_of,
    space_of,
)

SPACE = space_of(
    number("hours", 0.0, 40.0),
    number("mark", 1.0, 5.0, step=1.0),
    ordered("grade", "low", "middle", "high"),
    category("job", "clerk", "driver"),
)


def value_of(rows: MinimizedRows, contract: Contract, row: int) -> dict[str, float | str | None]:
    """One row as an application would send it."""
    values: dict[str, float | str | None] = {}
    for column in contract.features:
        if isinstance(column, NumberColumn):
            cell = float(rows.numbers[column.name][row])
            values[column.name] = None if math.isnan(cell) else cell
        else:
            code = int(rows.codes[column.name][row])
            values[column.name] = None if code < 0 else column.values[code]
    return values


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_every_row_is_within_the_public_bounds_whatever_its_cells(data: st.DataObject) -> None:
    contract = data.draw(contracts())
    space = FeatureSpace.from_contract(contract)
    design = space.design(data.draw(rows_for(contract)))
    assert design.dtype == np.int64
    assert design.shape[1] == space.width
    for row in design.tolist():
        assert all(abs(x) <= ONE for x in row)
        assert sum(x * x for x in row) <= space.squared_radius * ONE * ONE


@given(contracts())
@settings(max_examples=40, deadline=None)
def test_the_public_bound_is_reached_so_it_is_no_larger_than_it_must_be(contract: Contract) -> None:
    space = FeatureSpace.from_contract(contract)
    cells = {
        c.name: np.array([c.low]) if isinstance(c, NumberColumn) else np.array([0], dtype=np.int64)
        for c in contract.features
    }
    row = space.design(rows_of(cells, [0.0]))[0]
    assert int(row @ row) == space.squared_radius * ONE * ONE


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_one_person_is_encoded_as_their_row_is(data: st.DataObject) -> None:
    contract = data.draw(contracts())
    space = FeatureSpace.from_contract(contract)
    rows = data.draw(rows_for(contract, most=3))
    design = space.design(rows)
    for row in range(len(rows)):
        active = space.active(value_of(rows, contract, row))
        assert active.dtype == np.float64
        assert np.array_equal(active * ONE, design[row])


@given(contracts())
@settings(max_examples=60, deadline=None)
def test_a_space_survives_being_published(contract: Contract) -> None:
    space = FeatureSpace.from_contract(contract)
    published = canonical.from_bytes(canonical.to_bytes(space.to_document()), "space")
    again = FeatureSpace.from_document(published)
    assert again == space
    assert again.digest == space.digest
    assert again.width == space.width


@pytest.mark.parametrize(
    "columns",
    [
        (number("hours", 0.0, 41.0),),
        (number("hours", -1.0, 40.0),),
        (number("hours", 0.0, 40.0, step=1.0),),
        (number("time", 0.0, 40.0),),
        (category("hours", "0", "40"),),
        (number("hours", 0.0, 40.0), category("job", "clerk")),
    ],
    ids=["high", "low", "step", "name", "kind", "one more"],
)
def test_spaces_that_read_a_row_differently_have_different_digests(columns: Any) -> None:
    assert space_of(*columns).digest != space_of(number("hours", 0.0, 40.0)).digest


def test_what_counts_as_the_label_and_as_one_employee_enters_the_digest() -> None:
    column = number("hours")
    spaces = [
        space_of(column),
        space_of(column, label=QUANTITY),
        space_of(column, label=replace(QUANTITY, high=11.0)),
        space_of(column, label=replace(BINARY, column="stays")),
        space_of(column, label=BinaryLabel("left", ("no",), ("yes",))),
        FeatureSpace.from_contract(replace(contract_of(column), employee="key")),
    ]
    assert len({space.digest for space in spaces}) == len(spaces)


def test_the_order_of_values_and_features_enters_the_digest() -> None:
    one, other = category("a", "x", "y"), category("b", "x", "y")
    assert space_of(one, other).digest != space_of(other, one).digest
    assert space_of(category("a", "y", "x")).digest != space_of(one).digest
    assert space_of(ordered("a", "x", "y")).digest != space_of(one).digest


def test_every_column_has_its_own_coordinates_and_the_intercept_the_first() -> None:
    taken = [n for place in SPACE.slices.values() for n in range(place.start, place.stop)]
    assert [0, *taken] == list(range(SPACE.width))


@pytest.mark.parametrize("column", ["hours", "mark", "grade", "job"])
def test_a_missing_cell_is_one_indicator_and_nothing_else(column: str) -> None:
    block = SPACE.active({column: None})[SPACE.slices[column]]
    assert block.tolist() == [0.0] * (len(block) - 1) + [1.0]
    assert np.array_equal(SPACE.active({}), SPACE.active({column: None}))


@pytest.mark.parametrize(("outside", "bound"), [(-1e308, 0.0), (-0.001, 0.0), (40.001, 40.0), (1e308, 40.0)])
def test_a_number_beyond_its_bounds_counts_as_the_bound(outside: float, bound: float) -> None:
    assert np.array_equal(SPACE.active({"hours": outside}), SPACE.active({"hours": bound}))


def test_a_number_moves_its_line_and_its_bins() -> None:
    block = SPACE.active({"hours": 30.0})[SPACE.slices["hours"]]
    line, coarse, fine, missing = block[0], block[1:5], block[5:21], block[21]
    assert line == 0.5
    assert np.flatnonzero(coarse).tolist() == [3]
    assert np.flatnonzero(fine).tolist() == [12]
    assert missing == 0.0


@pytest.mark.parametrize(("mark", "level"), [(1.0, 0), (2.0, 1), (5.0, 4), (2.4, 1), (2.6, 2), (9.0, 4)])
def test_a_rating_has_one_bin_for_each_mark(mark: float, level: int) -> None:
    block = SPACE.active({"mark": mark})[SPACE.slices["mark"]]
    assert len(block) == 1 + 5 + 1
    assert np.flatnonzero(block[1:]).tolist() == [level]


@pytest.mark.parametrize(
    ("step", "levels", "width"),
    [
        (0.0, 0, 22),
        (10.0, 2, 4),
        (10 / 7, 8, 10),
        (1.25, 9, 15),
        (10 / 15, 16, 22),
        (10 / 16, 0, 22),
        (0.1, 0, 22),
    ],
)
def test_declared_steps_become_levels_where_they_are_few(step: float, levels: int, width: int) -> None:
    feature = NumberFeature("mark", 0.0, 10.0, "", step)
    assert feature.levels == levels
    assert feature.width == width


def test_every_level_of_a_stepped_number_has_its_own_bin() -> None:
    feature = NumberFeature("mark", 0.1, 0.1 + 15 * 0.3, "", 0.3)
    encoded = feature.encode(np.array([0.1 + n * 0.3 for n in range(16)]))
    assert np.array_equal(encoded[:, 5:21], np.eye(16, dtype=np.int64) * ONE)


def test_an_order_has_a_line_and_a_category_has_none() -> None:
    lines = [SPACE.active({"grade": value})[SPACE.slices["grade"]][3] for value in ("low", "middle", "high")]
    assert lines == [-1.0, 0.0, 1.0]
    assert SPACE.active({"job": "driver"})[SPACE.slices["job"]].tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"salary": 55_123.0}, id="unknown column"),
        pytest.param({"hours": 1.0, "55123": None}, id="unknown column with no value"),
        pytest.param({"job": "55123"}, id="unknown category"),
        pytest.param({"job": "Clerk"}, id="another case"),
        pytest.param({"grade": "55123"}, id="unknown value of an order"),
        pytest.param({"job": 55_123}, id="a number for a category"),
        pytest.param({"job": ["clerk"]}, id="a list for a category"),
        pytest.param({"hours": float("nan")}, id="NaN"),
        pytest.param({"hours": float("inf")}, id="infinity"),
        pytest.param({"hours": -float("inf")}, id="negative infinity"),
        pytest.param({"hours": True}, id="a boolean"),
        pytest.param({"hours": "55123"}, id="a text for a number"),
        pytest.param({"hours": [55_123]}, id="a list for a number"),
        pytest.param({"hours": {"x": 55_123}}, id="an object for a number"),
        pytest.param({"hours": 10**400 + 55_123}, id="a whole number beyond float64"),
        pytest.param({"hours": -(10**400) - 55_123}, id="a negative one"),
        pytest.param({"hours": 55_123j}, id="a complex number"),
    ],
)
def test_what_the_space_does_not_know_is_refused_without_showing_it(values: Any) -> None:
    with pytest.raises(InputError, match="expected") as refusal:
        SPACE.active(values)
    assert "55123" not in str(refusal.value)
    assert "Clerk" not in str(refusal.value)


def test_columns_that_may_not_train_are_not_features() -> None:
    hidden = NumberColumn("age", 0.0, 100.0, "", False, True, "audit")
    assert list(space_of(number("hours"), hidden).slices) == ["hours"]


def test_a_space_without_features_or_too_wide_is_refused() -> None:
    with pytest.raises(InputError, match="at least one column"):
        FeatureSpace.from_contract(contract_of())
    wide = [category(f"column {n}", *(f"{v}" for v in range(500))) for n in range(8)]
    with pytest.raises(InputError, match="at most 4000 coordinates"):
        space_of(*wide)


def test_a_space_with_one_column_twice_is_refused() -> None:
    feature = ChoiceFeature("job", ("clerk",), False)
    with pytest.raises(InputError, match="each once"):
        FeatureSpace(BinaryLabel("left", ("yes",), ("no",)), None, (feature, feature))


QUANTITY_DOCUMENT = space_of(number("hours"), label=QUANTITY).to_document()["label"]


def altered(**changes: Any) -> dict[str, Any]:
    return {**SPACE.to_document(), **changes}


def with_number(**changes: Any) -> dict[str, Any]:
    """A space of one number whose document is altered."""
    return altered(features=[{**SPACE.to_document()["features"][0], **changes}])


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({}, id="nothing"),
        pytest.param([], id="a list"),
        pytest.param(None, id="null"),
        pytest.param(altered(grid=11), id="another grid"),
        pytest.param(altered(label="left"), id="the label is a text"),
        pytest.param(altered(label=None), id="no label"),
        pytest.param(altered(label={**SPACE.to_document()["label"], "kind": "rank"}), id="another kind of label"),
        pytest.param(altered(label={**QUANTITY_DOCUMENT, "low": "10"}), id="a label without a range"),
        pytest.param(altered(label={**QUANTITY_DOCUMENT, "high": "nan"}), id="a label up to NaN"),
        pytest.param(altered(label={**QUANTITY_DOCUMENT, "unit": None, "high": "x"}), id="a label up to no number"),
        pytest.param(altered(features=5), id="features are a number"),
        pytest.param(altered(features=[]), id="no features"),
        pytest.param(altered(features=["hours"]), id="a feature is a text"),
        pytest.param(altered(features=SPACE.to_document()["features"] * 2), id="features twice"),
        pytest.param(with_number(kind="text"), id="an unknown kind"),
        pytest.param(with_number(low="40.0"), id="low is high"),
        pytest.param(with_number(low="50"), id="low above high"),
        pytest.param(with_number(high="nan"), id="a bound is NaN"),
        pytest.param(with_number(high="inf"), id="a bound is infinite"),
        pytest.param(with_number(high="x"), id="a bound is no number"),
        pytest.param(with_number(low="-1.7e308", high="1.7e308"), id="bounds too far apart for float64"),
        pytest.param(with_number(step="-1.0"), id="a negative step"),
        pytest.param(with_number(step="41"), id="a step beyond the range"),
        pytest.param(with_number(step="nan"), id="a step that is NaN"),
        pytest.param(with_number(high="1e100", step="5e-324"), id="more steps than float64 counts"),
    ],
)
def test_a_published_space_that_is_malformed_is_refused(document: Any) -> None:
    with pytest.raises(InputError):
        FeatureSpace.from_document(document)


def test_the_document_is_plain_json() -> None:
    assert json.loads(json.dumps(SPACE.to_document())) == SPACE.to_document()
