"""What the tests of `models` share: made-up feature spaces and rows, by hand and by hypothesis."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
from hypothesis import strategies as st

from models.features import FeatureSpace
from privacy.plan import SiteBound
from records.contract import (
    BinaryLabel,
    CategoryColumn,
    Column,
    Contract,
    NumberColumn,
    NumberLabel,
    OrderedColumn,
    SiteColumn,
)
from records.minimize import MinimizedRows

BINARY = BinaryLabel("left", ("yes",), ("no",))
QUANTITY = NumberLabel("output", 0.0, 10.0, "pieces")


def number(name: str, low: float = 0.0, high: float = 10.0, step: float = 0.0) -> NumberColumn:
    return NumberColumn(name, low, high, "units", True, False, "retention", step)


def category(name: str, *values: str) -> CategoryColumn:
    return CategoryColumn(name, values, True, False, "retention")


def ordered(name: str, *values: str) -> OrderedColumn:
    return OrderedColumn(name, values, True, False, "retention")


def contract_of(
    *columns: Column, label: BinaryLabel | NumberLabel = BINARY, sites: tuple[str, ...] = ("North", "South")
) -> Contract:
    bounds = tuple(SiteBound(name, 5000) for name in sites)
    return Contract("retention", label, SiteColumn("site", bounds, None), None, columns, ())


def space_of(*columns: Column, label: BinaryLabel | NumberLabel = BINARY) -> FeatureSpace:
    return FeatureSpace.from_contract(contract_of(*columns, label=label))


def rows_of(
    cells: dict[str, Any],
    label: Any,
    employee: Any = None,
    site: Any = None,
    site_names: tuple[str, ...] = ("North", "South"),
    twin: Any = None,
) -> MinimizedRows:
    """Rows of these cells: floats for numbers (NaN where missing), positions for values (-1 where missing)."""
    labels = np.asarray(label, dtype=np.float64)
    each = np.arange(len(labels), dtype=np.int64)
    arrays = {name: np.asarray(values) for name, values in cells.items()}
    return MinimizedRows(
        numbers=MappingProxyType({name: a.astype(np.float64) for name, a in arrays.items() if a.dtype.kind == "f"}),
        codes=MappingProxyType({name: a.astype(np.int64) for name, a in arrays.items() if a.dtype.kind == "i"}),
        label=labels,
        raw_label=labels,
        site=np.zeros_like(each) if site is None else np.asarray(site, dtype=np.int64),
        site_names=site_names,
        employee=each if employee is None else np.asarray(employee, dtype=np.int64),
        row=each,
        twin=each if twin is None else np.asarray(twin, dtype=np.int64),
        clipped=MappingProxyType({}),
        unlabelled=0,
    )


@st.composite
def number_columns(draw: st.DrawFn, name: str) -> NumberColumn:
    low = draw(st.floats(-1e6, 1e6))
    size = draw(st.floats(1e-3, 1e6))
    levels = draw(st.sampled_from([0, 0, 2, 3, 8, 9, 16, 17, 40]))
    high = low + size
    return number(name, low, high, (high - low) / (levels - 1) if levels else 0.0)


@st.composite
def choice_columns(draw: st.DrawFn, name: str) -> CategoryColumn | OrderedColumn:
    values = [f"value {n}" for n in range(draw(st.sampled_from([1, 2, 3, 8, 9, 20])))]
    return draw(st.sampled_from([category, ordered]))(name, *values)


@st.composite
def contracts(draw: st.DrawFn, label: BinaryLabel | NumberLabel | None = None) -> Contract:
    count = draw(st.integers(1, 4))
    columns = [draw(number_columns(f"column {n}") | choice_columns(f"column {n}")) for n in range(count)]
    contract = contract_of(*columns, label=label or draw(st.sampled_from([BINARY, QUANTITY])))
    return replace(contract, employee=draw(st.sampled_from([None, "key"])))


def number_cells(column: NumberColumn) -> st.SearchStrategy[float]:
    """Numbers within the bounds, at them, far outside them, at bins' edges, and missing."""
    share = st.floats(0.0, 1.0).map(lambda s: column.low + s * (column.high - column.low))
    edges = st.integers(0, 16).map(lambda n: column.low + n / 16 * (column.high - column.low))
    return share | edges | st.sampled_from([column.low, column.high, -1e300, 1e300, float("nan")])


@st.composite
def rows_for(
    draw: st.DrawFn, contract: Contract, most: int = 12, employees: int | None = None, most_rows: int = 1
) -> MinimizedRows:
    """Up to `most` rows, or `employees` people of up to `most_rows` rows each, in any order."""
    if employees is None:
        group = list(range(draw(st.integers(1, most))))
    else:
        each = [draw(st.integers(1, most_rows)) for _ in range(employees)]
        group = draw(st.permutations([person for person, rows in enumerate(each) for _ in range(rows)]))
    cells: dict[str, Any] = {}
    for column in contract.features:
        if isinstance(column, NumberColumn):
            strategy: Any = number_cells(column)
        else:
            strategy = st.integers(-1, len(column.values) - 1)
        drawn = draw(st.lists(strategy, min_size=len(group), max_size=len(group)))
        cells[column.name] = np.array(drawn, dtype=np.float64 if isinstance(column, NumberColumn) else np.int64)
    labels = st.sampled_from([0.0, 1.0]) if isinstance(contract.label, BinaryLabel) else st.floats(0.0, 1.0)
    label = draw(st.lists(labels, min_size=len(group), max_size=len(group)))
    return rows_of(cells, label, group)


def values_for(contract: Contract) -> st.SearchStrategy[dict[str, float | str | None]]:
    """One person's values as an application sends them, some missing or not given at all."""
    columns: dict[str, st.SearchStrategy[Any]] = {}
    for column in contract.features:
        if isinstance(column, NumberColumn):
            columns[column.name] = st.none() | number_cells(column).filter(lambda x: x == x)
        else:
            columns[column.name] = st.none() | st.sampled_from(column.values)
    return st.fixed_dictionaries({}, optional=columns)
