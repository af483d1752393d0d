"""What a registry holds: columns, features, purposes and notices, as frozen data, and which values a column takes.

Rule 13 of `records/registry.py` is checked here: a value outside its column's bounds, values or writing is not stored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

FIRST_YEAR: Final = 1900
LAST_YEAR: Final = 2200

_KEY: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_CODE: Final = re.compile(r"\w[\w.:/+#~?=&-]{0,79}")
"""No blank, comma or @: neither a person's name as people write it nor an e-mail address fits."""
_DAY: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_WRITINGS: Final = {
    "month": (re.compile(r"[0-9]{4}-[0-9]{2}"), "a month YYYY-MM"),
    "day": (re.compile(_DAY), "a day YYYY-MM-DD"),
    "instant": (re.compile(_DAY + r"T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"), "an instant YYYY-MM-DDTHH:MM:SSZ"),
}


class Basis(StrEnum):
    """The legal ground on which something is used; later ones ask less of the person."""

    CONSENT = "consent"
    LEGITIMATE_INTEREST = "legitimate_interest"
    CONTRACT = "contract"
    LEGAL_OBLIGATION = "legal_obligation"

    def covers(self, other: Basis) -> bool:
        """Whether this ground asks the person at least what `other` asks."""
        order = list(Basis)
        return order.index(self) <= order.index(other)


def stricter(one: Basis, other: Basis) -> Basis:
    """The ground of the two that asks more of the person."""
    return one if one.covers(other) else other


@dataclass(frozen=True, slots=True)
class Notice:
    """A text that people are shown; `changed` is the day (YYYY-MM-DD) of this version."""

    key: str
    version: int
    text: str
    changed: str


@dataclass(frozen=True, slots=True)
class Column:
    """What is registered about one column of the store, or one trait of the vault.

    Attributes:
        name: "table.field".
        basis: the column's own ground; with a purpose's it is the stricter that counts (`stricter`).
        subject: "employee" or "candidate".
        retention_months: months after `retention_from` ("exit", "valid_from" or "recorded") when it is deleted.
        low, high: what a number may be; None for other kinds.
        step: divides low to high into the only values there are; 0 if it takes any.
        values: what an ordered column (lowest first) or a category may be; empty for other kinds.
        notice: key of the text that describes it.
        since: version of its purposes' notices that first named it.
        prohibited_for: uses that are ruled out, such as "pay".
    """

    name: str
    table: str
    field: str
    kind: str
    purposes: tuple[str, ...]
    basis: Basis
    sensitivity: str
    special_category: bool
    sources: tuple[str, ...]
    subject: str
    train: bool
    serve: bool
    visible_to: tuple[str, ...]
    retention_months: int
    retention_from: str
    low: float | None
    high: float | None
    step: float
    unit: str
    values: tuple[str, ...]
    notice: str
    since: int
    prohibited_for: tuple[str, ...]

    def problem(self, value: str | float) -> str | None:
        """Why `value` may not be stored here, in words that do not hold it, or None if it may (rule 13)."""
        if self.kind == "number":  # rule 13, here and below
            return self._number_problem(value)
        if not isinstance(value, str):
            return f"expected text, got {type(value).__name__}"
        if self.values:
            return None if value in self.values else f"expected one of the {len(self.values)} registered values"
        if self.kind == "key":
            return None if _KEY.fullmatch(value) else "expected a pseudonym"
        if self.kind == "code":
            return None if _CODE.fullmatch(value) else "expected a code: 1 to 80 letters, digits and ._:/+#~?=&-"
        return time_problem(self.kind, value)

    def _number_problem(self, value: str | float) -> str | None:
        low, high = self.low or 0.0, self.high or 0.0
        if isinstance(value, bool | str) or not isinstance(value, int | float):
            return f"expected a number, got {type(value).__name__}"
        if not low <= value <= high:  # NaN too
            return f"expected a number from {low:g} to {high:g}"
        if self.step and not _is_whole((value - low) / self.step):
            return f"expected a number from {low:g} to {high:g} in steps of {self.step:g}"
        return None


@dataclass(frozen=True, slots=True)
class Feature:
    """A column of rows that models read, derived from one registered column.

    Attributes:
        derive: "latest", "months_since", "years_since", "sum", "mean", "count" or "changes".
        window_months: only facts of this many months before the moment count; None for all.
        item: only facts of this item count; None for all.
        scale: what the derived number is multiplied by.
        kind: "number" (with public low, high, step, unit), "ordered" or "category" (with public values).
    """

    name: str
    column: Column
    derive: str
    window_months: int | None
    item: str | None
    scale: float
    kind: str
    low: float | None
    high: float | None
    step: float
    unit: str
    values: tuple[str, ...]
    purposes: tuple[str, ...]
    basis: Basis
    train: bool
    serve: bool
    notice: str
    since: int


@dataclass(frozen=True, slots=True)
class LabelRule:
    """How a purpose's label is read from the records.

    Whoever's `column` (a month) lies within the horizon has the label `positive` if `reason` is one of `counted`, and
    no label if it is another; whoever is still there at the horizon's end has `negative`.
    """

    name: str
    column: Column
    derive: str
    reason: Column
    counted: tuple[str, ...]
    positive: str
    negative: str


@dataclass(frozen=True, slots=True)
class Purpose:
    """One thing that data may be used for; `balancing` says why its basis holds."""

    name: str
    title: str
    basis: Basis
    notice: str
    notice_version: int
    label: LabelRule | None
    prohibited_for: tuple[str, ...]
    balancing: str


def _is_whole(value: float) -> bool:
    return abs(value - round(value)) <= 1e-9 * max(1.0, abs(value))


def time_problem(kind: str, value: str) -> str | None:
    """Why `value` is no "month", "day" or "instant" of 1900 to 2200 as the store writes it, or None if it is."""
    pattern, expected = _WRITINGS[kind]
    try:
        written = f"{value}-01" if kind == "month" else value
        year = datetime.fromisoformat(written).year if pattern.fullmatch(value) else 0
    except ValueError:
        year = 0
    return None if FIRST_YEAR <= year <= LAST_YEAR else f"expected {expected} from {FIRST_YEAR} to {LAST_YEAR}"
