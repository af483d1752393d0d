"""From a table to the few numbers that may be learned from.

Rules:
 1. Only columns that the contract marks `train = true` are read into the result, beside the label, the site and the
    employee key; nothing else can be reached from it. (`twin` tells which rows are copies, not what they hold.)
 2. Texts leave as numbers of the contract's own values; keys leave as group numbers.
 3. A cell that the contract does not foresee stops everything, and the error names column, row and expectation,
    never the cell.
 4. Numbers are clipped to the public bounds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from privacy.errors import InputError
from records.contract import BinaryLabel, Contract, Label, NumberColumn
from records.table import Table, as_numbers, listed

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class MinimizedRows:
    """What may be learned from: n rows, in the table's order. The arrays can not be written to.

    Attributes:
        numbers: (n,) per training number column, in its unit, within its bounds; NaN where missing.
        codes: (n,) per training category or ordered column: the position among its values, -1 where missing.
        label: (n,) 0 or 1; for a number, its place between the public bounds, from 0 to 1.
        raw_label: (n,) 0 or 1; for a number, as it stands in the table.
        site: (n,) position in `site_names`.
        site_names: the contract's sites, in order.
        employee: (n,) a group number, the same in all rows of one employee.
        row: (n,) the table's row numbers.
        twin: (n,) a group number, the same in rows that are equal in every column of the table.
        clipped: cells outside the public bounds, per number column; the label under its own column's name.
        unlabelled: rows left out for want of a label.
    """

    numbers: Mapping[str, Floats]
    codes: Mapping[str, Integers]
    label: Floats
    raw_label: Floats
    site: Integers
    site_names: tuple[str, ...]
    employee: Integers
    row: Integers
    twin: Integers
    clipped: Mapping[str, int]
    unlabelled: int

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.row)

    def take(self, positions: npt.ArrayLike) -> MinimizedRows:
        """The rows at these positions (or under this mask of n booleans), in that order; counts stay as they are."""
        chosen = np.asarray(positions)
        taken: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                value = _sealed(value[chosen])
            elif field.name in ("numbers", "codes"):
                value = MappingProxyType({name: _sealed(column[chosen]) for name, column in value.items()})
            taken[field.name] = value
        return MinimizedRows(**taken)


def minimized_rows(table: Table, contract: Contract, sites: Collection[str] | None = None) -> MinimizedRows:
    """What the contract lets be learned from the table, of all sites or of those named.

    Rows without a label are left out and counted.

    Raises:
        InputError: for a missing column; a cell that is no number, not finite, or none of the declared values; a row
            without a site or employee key that needs one; an employee at two sites; no labelled row, unless `sites`
            are named.
    """
    names = contract.site.names
    if sites is not None and not set(sites) <= set(names):
        raise InputError(f"sites: expected some of {listed(names)}, got another")
    _check_columns(table, contract)
    site = _site(table, contract)
    raw_label = _raw_label(table, contract.label)
    employee = _employee(table, contract, site)
    wanted = np.isin(site, [names.index(name) for name in sites]) if sites is not None else np.full(len(site), True)
    kept = np.flatnonzero(wanted & ~np.isnan(raw_label))
    if not len(kept) and sites is None:  # a site of its own may be empty: that it is would be told by an error
        raise InputError(
            f"{table.source}, column {contract.label.column!r:.80}: expected a label in some row, got none"
        )
    numbers: dict[str, Floats] = {}
    codes: dict[str, Integers] = {}
    clipped: dict[str, int] = {}
    for column in contract.features:  # rule 1
        if isinstance(column, NumberColumn):
            values = _number(table, column.name)[kept]
            numbers[column.name] = _sealed(np.clip(values, column.low, column.high))  # rule 4
            clipped[column.name] = int(np.sum((values < column.low) | (values > column.high)))
        else:
            codes[column.name] = _sealed(_codes(table, column.name, column.values)[kept])
    raw_label = raw_label[kept]
    label = _scaled(raw_label, contract.label)
    if not isinstance(contract.label, BinaryLabel):
        clipped[contract.label.column] = int(
            np.sum((raw_label < contract.label.low) | (raw_label > contract.label.high))
        )
    return MinimizedRows(
        numbers=MappingProxyType(numbers),
        codes=MappingProxyType(codes),
        label=_sealed(label),
        raw_label=_sealed(raw_label),
        site=_sealed(site[kept]),
        site_names=names,
        employee=_sealed(_renumbered(employee[kept])),
        row=_sealed(kept.astype(np.int64)),
        twin=_sealed(_renumbered(_twin(table)[kept])),
        clipped=MappingProxyType(clipped),
        unlabelled=int(np.sum(wanted)) - len(kept),
    )


def employee_keys(table: Table, column: str) -> pd.Series[Any]:
    """The employees' keys in Unicode's composed form: however a program writes "é", it is the same person.

    Raises:
        InputError: if there is no such column.
    """
    return table.column(column).str.normalize("NFC")


def check_comparable(rows: MinimizedRows, where: str) -> None:
    """Refuses rows from which nothing can be learned together.

    Raises:
        InputError: if they are of one site only, or all have the same label.
    """
    if len(np.unique(rows.site)) < 2:
        raise InputError(f"{where}: expected rows of at least two sites, got those of one")
    if len(np.unique(rows.label)) < 2:
        raise InputError(f"{where}: expected labels of at least two classes, got one class only")


def _check_columns(table: Table, contract: Contract) -> None:
    needed = [contract.label.column, contract.site.column, contract.employee]
    for name in [*needed, *(column.name for column in contract.features)]:
        if name is not None:
            table.column(name)


def _site(table: Table, contract: Contract) -> Integers:
    declared = contract.site
    codes = _codes(table, declared.column, declared.names)
    if declared.missing is not None:
        codes[codes < 0] = declared.names.index(declared.missing)
    _refuse(codes < 0, table, declared.column, "a site in every row (or the contract's site.missing)", "missing cells")
    return codes


def _raw_label(table: Table, label: Label) -> Floats:
    if not isinstance(label, BinaryLabel):
        return _number(table, label.column)
    codes = _codes(table, label.column, (*label.negative, *label.positive))
    return np.where(codes < 0, np.nan, (codes >= len(label.negative)).astype(np.float64))


def _scaled(raw: Floats, label: Label) -> Floats:
    if isinstance(label, BinaryLabel):
        return raw.copy()
    return np.clip((raw - label.low) / (label.high - label.low), 0.0, 1.0)


def _employee(table: Table, contract: Contract, site: Integers) -> Integers:
    """A group number per row; rules out that one person's rows are charged at two sites."""
    if contract.employee is None:
        return np.arange(len(site), dtype=np.int64)
    codes, _ = pd.factorize(employee_keys(table, contract.employee), use_na_sentinel=True)
    employee = codes.astype(np.int64)
    _refuse(employee < 0, table, contract.employee, "an employee key in every row", "missing cells")
    first_site = np.zeros(int(employee.max(initial=-1)) + 1, dtype=np.int64)
    first_site[employee[::-1]] = site[::-1]
    elsewhere = site != first_site[employee]
    _refuse(elsewhere, table, contract.employee, "all rows of an employee at one site", "rows at another")
    return employee


def _number(table: Table, name: str) -> Floats:
    numbers = as_numbers(table.column(name))
    _refuse(numbers.other, table, name, "numbers or empty cells", "cells of text")
    _refuse(numbers.not_finite, table, name, "finite numbers or empty cells", "cells of NaN or infinity")
    return numbers.values


def _codes(table: Table, name: str, values: Sequence[str]) -> Integers:
    """Positions among the declared values, -1 where missing (rule 2)."""
    cells = table.column(name)
    codes = pd.Index(list(values), dtype=object).get_indexer(pd.Index(cells)).astype(np.int64)
    codes[cells.isna().to_numpy(dtype=bool)] = -1
    _refuse((codes < 0) & cells.notna().to_numpy(dtype=bool), table, name, f"one of {listed(values)}", "other values")
    return codes


def _refuse(bad: npt.NDArray[np.bool_], table: Table, name: str, expected: str, got: str) -> None:
    """Rule 3."""
    if bad.any():
        raise InputError(
            f"{table.source}, column {name!r:.80}: expected {expected}, "
            f"got {int(bad.sum())} {got}, first in row {int(np.argmax(bad))}"
        )


def _twin(table: Table) -> Integers:
    hashes = pd.util.hash_pandas_object(table.frame, index=False)
    return np.asarray(pd.factorize(hashes.to_numpy())[0], dtype=np.int64)


def _renumbered(groups: Integers) -> Integers:
    return np.asarray(pd.factorize(groups)[0], dtype=np.int64)


def _sealed(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array.setflags(write=False)
    return array
