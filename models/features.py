"""The public feature space: how one employee's row becomes a bounded vector on an integer grid.

Every bound, vocabulary and bin edge comes from the contract, never from the data, so the space costs no privacy and is
equal, byte for byte, at every site. A row is encoded as

    intercept      1 number         its place in [low, high] as a line in [-1, 1]; one of 4 coarse and one of 16 fine
    equal bins; or missing.
                   With at most 16 declared steps the fine bins are the steps, and up to 8 need no coarse ones.
    ordered        its place in the order as a line in [-1, 1]; one indicator per value (and one of 4 coarse bins
    where it
                   has more than 8 values); or missing
    category       one indicator per value; or missing

in steps of 2**-10, truncated toward zero. So every row has a public bound on its L2 norm (`FeatureSpace.radius`), by
construction and without looking at any row.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from privacy import canonical
from privacy.errors import InputError
from records.contract import BinaryLabel, CategoryColumn, Contract, Label, NumberColumn, NumberLabel, OrderedColumn
from records.minimize import MinimizedRows

GRID: Final = 10
"""Features are whole multiples of 2**-GRID."""
ONE: Final = 2**GRID
COARSE: Final = 4
FINE: Final = 16
MANY_VALUES: Final = 8
MAX_WIDTH: Final = 4_000
"""Second moments have width * (width + 1) / 2 coordinates, each with its noise."""

LOGISTIC: Final = "logistic"
LINEAR: Final = "linear"

Value = float | int | str | None


@dataclass(frozen=True)
class NumberFeature:
    """A number with public bounds: its line, its bins, and whether it is missing; `step` as in the contract."""

    column: str
    low: float
    high: float
    unit: str
    step: float = 0.0

    @property
    def levels(self) -> int:
        """How many values a stepped number takes, if at most 16; else 0."""
        levels = round((self.high - self.low) / self.step) + 1 if self.step else 0
        return levels if levels <= FINE else 0

    @property
    def _coarse(self) -> int:
        return 0 if 0 < self.levels <= MANY_VALUES else COARSE

    @property
    def width(self) -> int:
        """The line, the bins, and the missing one."""
        return 1 + self._coarse + (self.levels or FINE) + 1

    @property
    def most_active(self) -> int:
        """How many coordinates of one row can be other than zero at once, each at most 1 in size."""
        return 3 if self._coarse else 2

    def encode(self, numbers: NDArray[np.float64]) -> NDArray[np.int64]:
        """(n, width) grid steps of n numbers, NaN where missing; values outside the bounds are clipped to them."""
        missing = np.isnan(numbers)
        place = np.clip((np.where(missing, self.low, numbers) - self.low) / (self.high - self.low), 0.0, 1.0)
        line = np.trunc((2 * place - 1) * ONE).astype(np.int64)[:, None]
        coarse = [_bins(place, COARSE)] if self._coarse else []
        fine = _indicators(np.rint(place * (self.levels - 1)), self.levels) if self.levels else _bins(place, FINE)
        return _or_missing(np.hstack([line, *coarse, fine, np.zeros_like(line)]), missing)

    def parse(self, value: Value) -> float:
        """One given value as a float, NaN where missing.

        Raises:
            InputError: for anything but a finite number or None.
        """
        if value is None:
            return math.nan
        number = math.nan
        if isinstance(value, int | float) and not isinstance(value, bool):
            with suppress(OverflowError):  # a whole number that float64 can not hold
                number = float(value)
        if not math.isfinite(number):
            raise InputError(f"feature {self.column!r}: expected a finite number or null, got something else")
        return number

    def to_document(self) -> dict[str, Any]:
        """What is published and hashed."""
        return {
            "column": self.column,
            "kind": "number",
            "low": repr(float(self.low)),
            "high": repr(float(self.high)),
            "unit": self.unit,
            "step": repr(float(self.step)),
        }


@dataclass(frozen=True)
class ChoiceFeature:
    """One of the contract's values: a category, or values in order."""

    column: str
    values: tuple[str, ...]
    ordered: bool

    @cached_property
    def width(self) -> int:
        """Indicators, the missing one, and for an order its line and (from 9 values on) its coarse bins."""
        return len(self.values) + 1 + (1 + self._coarse if self._has_line else 0)

    @cached_property
    def most_active(self) -> int:
        """How many coordinates of one row can be other than zero at once, each at most 1 in size."""
        return 1 + ((2 if self._coarse else 1) if self._has_line else 0)

    @property
    def _has_line(self) -> bool:
        return self.ordered and len(self.values) > 2

    @property
    def _coarse(self) -> int:
        return COARSE if len(self.values) > MANY_VALUES else 0

    def encode(self, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n, width) grid steps of n positions in `values`, -1 where missing."""
        missing = codes < 0
        place = np.where(missing, 0, codes)
        blocks = [_indicators(place, len(self.values))]
        if self._has_line:
            share = place / (len(self.values) - 1)
            blocks.append(np.trunc((2 * share - 1) * ONE).astype(np.int64)[:, None])
            if self._coarse:
                blocks.append(_bins(share, COARSE))
        blocks.append(np.zeros((len(codes), 1), dtype=np.int64))
        return _or_missing(np.hstack(blocks), missing)

    def parse(self, value: Value) -> int:
        """The position of one given value, -1 where missing.

        Raises:
            InputError: for a value that the contract does not list.
        """
        if value is None:
            return -1
        if not isinstance(value, str) or value not in self.values:
            expected = ", ".join(self.values[:12]) + (", …" if len(self.values) > 12 else "")
            raise InputError(f"feature {self.column!r}: expected null or one of {expected}; got something else")
        return self.values.index(value)

    def to_document(self) -> dict[str, Any]:
        """What is published and hashed."""
        return {"column": self.column, "kind": "ordered" if self.ordered else "category", "values": list(self.values)}


Feature = NumberFeature | ChoiceFeature


@dataclass(frozen=True)
class FeatureSpace:
    """What is predicted, from what, and for whom as one: everything of a contract that a contribution depends on.

    Attributes:
        label: the label's column with its two sides, or its public bounds.
        employee: the column that names a row's employee, or None if every row is another one.
        features: in the order of their coordinates, which follow the intercept.
    """

    label: Label
    employee: str | None
    features: tuple[Feature, ...]

    def __post_init__(self) -> None:
        """Refuse a space that nothing can be learned in.

        Raises:
            InputError: without features, with a name twice, or wider than 4,000 coordinates.
        """
        names = [feature.column for feature in self.features]
        if not names or len(set(names)) != len(names):
            raise InputError("features: expected at least one column that may train, each once, got otherwise")
        if self.width > MAX_WIDTH:
            raise InputError(f"features: expected at most {MAX_WIDTH} coordinates, got {self.width}: fewer categories")

    @classmethod
    def from_contract(cls, contract: Contract) -> FeatureSpace:
        """The space of a contract's columns that may train.

        Raises:
            InputError: if there is none, or if they take more than 4,000 coordinates.
        """
        features: list[Feature] = []
        for column in contract.columns:
            if isinstance(column, NumberColumn) and column.train:
                features.append(NumberFeature(column.name, column.low, column.high, column.unit, column.step))
            elif isinstance(column, CategoryColumn | OrderedColumn) and column.train:
                features.append(ChoiceFeature(column.name, column.values, isinstance(column, OrderedColumn)))
        return cls(contract.label, contract.employee, tuple(features))

    @property
    def link(self) -> str:
        """From score to label: "logistic" for a label of two sides, "linear" for a number scaled to [0, 1]."""
        return LINEAR if isinstance(self.label, NumberLabel) else LOGISTIC

    @cached_property
    def width(self) -> int:
        """Number of coordinates d, the intercept included."""
        return 1 + sum(feature.width for feature in self.features)

    @cached_property
    def slices(self) -> Mapping[str, slice]:
        """Where each column's coordinates stand."""
        result, start = {}, 1
        for feature in self.features:
            result[feature.column] = slice(start, start + feature.width)
            start += feature.width
        return result

    @property
    def squared_radius(self) -> int:
        """Public bound on a row's squared L2 norm; every coordinate is at most 1."""
        return 1 + sum(feature.most_active for feature in self.features)

    @property
    def radius(self) -> float:
        """Public bound on a row's L2 norm."""
        return math.sqrt(self.squared_radius)

    def design(self, rows: MinimizedRows) -> NDArray[np.int64]:
        """(n, d) grid steps of all rows; `design / 2**GRID` is the real-valued encoding."""
        blocks = [np.full((len(rows.row), 1), ONE, dtype=np.int64)]
        for feature in self.features:
            if isinstance(feature, NumberFeature):
                blocks.append(feature.encode(rows.numbers[feature.column]))
            else:
                blocks.append(feature.encode(rows.codes[feature.column].astype(np.int64)))
        return np.hstack(blocks)

    def active(self, values: Mapping[str, Value]) -> NDArray[np.float64]:
        """(d,) encoding of one person; a column that is not given counts as missing.

        Raises:
            InputError: for an unknown column, an unlisted value, a NaN or a wrong type; it never shows the value.
        """
        unknown = set(values) - set(self.slices)
        if unknown:
            expected = ", ".join(self.slices)
            raise InputError(f"features: expected only the columns {expected}; got {len(unknown)} others")
        blocks = [np.array([[ONE]], dtype=np.int64)]
        for feature in self.features:
            parsed = feature.parse(values.get(feature.column))
            kind = np.float64 if isinstance(feature, NumberFeature) else np.int64
            blocks.append(feature.encode(np.array([parsed], dtype=kind)))
        return np.hstack(blocks)[0] / ONE

    def to_document(self) -> dict[str, Any]:
        """What is published with a release and hashed into `digest`."""
        return {
            "label": _label_document(self.label),
            "employee": self.employee,
            "grid": GRID,
            "features": [feature.to_document() for feature in self.features],
        }

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) of the canonical document: both sides of a plan must name the same."""
        return hashlib.sha256(canonical.to_bytes(self.to_document())).hexdigest()

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> FeatureSpace:
        """The space that `to_document` wrote.

        Raises:
            InputError: for anything else.
        """
        try:
            if document["grid"] != GRID:
                raise InputError(f"feature space grid: expected {GRID}, got {document['grid']!r:.20}")
            features = tuple(_feature(item) for item in document["features"])
            return cls(_label(document["label"]), document["employee"], features)
        except (KeyError, TypeError, ValueError, OverflowError):
            raise InputError("feature space: expected label, employee, grid and features, got otherwise") from None


def _label_document(label: Label) -> dict[str, Any]:
    if isinstance(label, NumberLabel):
        bounds = {"low": repr(float(label.low)), "high": repr(float(label.high))}
        return {"column": label.column, "kind": label.kind, "unit": label.unit, **bounds}
    sides = {"positive": sorted(label.positive), "negative": sorted(label.negative)}
    return {"column": label.column, "kind": label.kind, **sides}


def _label(document: Mapping[str, Any]) -> Label:
    if document["kind"] == NumberLabel.kind:
        low, high = float(document["low"]), float(document["high"])
        if not (math.isfinite(high - low) and low < high):
            raise InputError(f"label {document['column']!r:.80}: expected low < high, got otherwise")
        return NumberLabel(document["column"], low, high, document["unit"])
    if document["kind"] == BinaryLabel.kind:
        return BinaryLabel(document["column"], tuple(document["positive"]), tuple(document["negative"]))
    raise InputError(f"label {document['column']!r:.80}: expected binary or number, got another kind")


def _feature(document: Mapping[str, Any]) -> Feature:
    if document["kind"] == "number":
        low, high, step = (float(document[name]) for name in ("low", "high", "step"))
        if not (math.isfinite(high - low) and low < high and 0 <= step <= high - low):
            raise InputError(
                f"feature {document['column']!r:.80}: expected low < high and a step within, got otherwise"
            )
        return NumberFeature(document["column"], low, high, document["unit"], step)
    if document["kind"] in ("category", "ordered"):
        return ChoiceFeature(document["column"], tuple(document["values"]), document["kind"] == "ordered")
    raise InputError(f"feature {document['column']!r}: expected number, category or ordered, got another kind")


def _bins(place: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    return _indicators(np.minimum((place * count).astype(np.int64), count - 1), count)


def _indicators(position: NDArray[Any], count: int) -> NDArray[np.int64]:
    return np.eye(count, dtype=np.int64)[position.astype(np.int64)] * ONE


def _or_missing(encoded: NDArray[np.int64], missing: NDArray[np.bool_]) -> NDArray[np.int64]:
    encoded[missing] = 0
    encoded[missing, -1] = ONE
    return encoded
