"""What tables and databases have in common: which of their columns are read, and how typed cells become text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Final, Protocol
from uuid import UUID

from privacy.errors import InputError
from records.cells import trimmed
from records.facts import Fault
from records.prohibited import prohibition
from records.table import MAX_NAME, is_shown, listed
from records.text_rows import MAX_COLUMNS

LONGEST_WHOLE: Final = 10**15
"""A float below this is written as the whole number that it is."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A column that the mapping neither reads nor ignores; `prohibited` says what it seems to hold, if that is."""

    name: str
    prohibited: str | None


@dataclass(frozen=True, slots=True)
class Binding:
    """Where a source's columns are that a mapping reads.

    Attributes:
        cells: names, as the mapping writes them.
        places: their places among the source's columns, from 0.
        width: how many columns the source has.
        unknown: what is there besides.
    """

    cells: tuple[str, ...]
    places: tuple[int, ...]
    width: int
    unknown: tuple[Unknown, ...]


class Reads(Protocol):
    """The part of a mapping that says which cells it reads."""

    cells: frozenset[str]
    required: frozenset[str]
    ignored: frozenset[str]


def bind(names: Sequence[str], mapping: Reads, where: str) -> Binding:
    """Finds the columns that a mapping reads, by their trimmed names.

    Raises:
        InputError: if a required one is missing, one that is read is there twice, or a name can not be shown.
    """
    if len(names) > MAX_COLUMNS:
        raise InputError(f"{where}: expected at most {MAX_COLUMNS} columns, got {len(names)}")
    found: dict[str, int] = {}
    unknown: dict[str, Unknown] = {}
    for place, name in enumerate(map(trimmed, names)):
        if len(name) > MAX_NAME or not is_shown(name):
            raise InputError(f"{where}: expected printable names of at most {MAX_NAME} characters, got another")
        if name in mapping.cells:
            if name in found:
                raise InputError(f"{where}: expected one column {name!r:.80}, got two")
            found[name] = place
        elif name not in mapping.ignored:
            name = name or f"(column {place + 1})"
            unknown[name] = Unknown(name, str(topic) if (topic := prohibition(name)) else None)
    if missing := sorted(mapping.required - set(found)):
        raise InputError(
            f"{where}: expected the columns that the mapping reads, got none named {listed(missing)} "
            "(another export, another separator, or no header?)"
        )
    return Binding(tuple(found), tuple(found.values()), len(names), tuple(unknown.values()))


Rows = Callable[[Binding], Iterator[tuple[int, Sequence[str | None] | Fault]]]
"""Reads a source's rows anew: each one's number, from 0, and its bound cells, or why it can not be read."""


class Records:
    """The rows of a source as records of a mapping; iterating reads it from its beginning, in bounded memory.

    Attributes:
        source: for messages.
        unknown: columns that the mapping neither reads nor ignores.
    """

    def __init__(self, source: str, binding: Binding, rows: Rows) -> None:
        """Join the rows with the names of their cells."""
        self.source = source
        self.unknown = binding.unknown
        self._binding = binding
        self._rows = rows

    def __iter__(self) -> Iterator[tuple[int, Mapping[str, str | None] | Fault]]:
        """The rows' numbers, and the rows or why they can not be read."""
        cells = self._binding.cells
        for place, row in self._rows(self._binding):
            yield place, row if isinstance(row, Fault) else dict(zip(cells, row, strict=True))


def as_text(value: object, decimal: str, where: str) -> str | None:
    """A typed cell in its one writing: numbers in the mapping's decimal sign, days and times as ISO 8601 writes them.

    Raises:
        InputError: for a value of a kind that is no plain cell.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal):
        return _number(value).replace(".", decimal)
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo else value).isoformat(timespec="seconds")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, time):
        return value.isoformat(timespec="seconds")
    if isinstance(value, timedelta):
        return f"PT{_number(Decimal(str(value.total_seconds())))}S"
    if isinstance(value, UUID):
        return str(value)
    raise InputError(f"{where}: expected plain cells, got one of type {type(value).__name__:.60}")


def _number(value: float | Decimal) -> str:
    if isinstance(value, int):
        return str(value) if abs(value) < 10**40 else f"{float(value)}"
    if isinstance(value, float):
        return str(int(value)) if abs(value) < LONGEST_WHOLE and value == int(value) else repr(value)
    if not value.is_finite() or abs(value.adjusted()) > 40:
        return str(value)
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
