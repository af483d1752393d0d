"""How one cell of every row becomes one value: compiled once per column, and remembered per distinct text."""

from __future__ import annotations

import bisect
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from privacy.errors import InputError
from privacy.pseudonyms import Pseudonyms
from records.cells import MAX_CELL, MAX_CODE, Unreadable, code, folded, hours, trimmed
from records.facts import Value
from records.mapping_file import Form, PersonForm, ReadOptions
from records.registry import Column

MAX_REMEMBERED: Final = 4_096
"""Texts that a plan remembers; when they are more it forgets them all, so that memory stays bounded."""
MISSING: Final = "expected a stated cell, got a missing one"


class BadCell(Exception):  # noqa: N818 - a fault of the row, which the engine reports
    """A cell that keeps its row out; `column` is the cell's name."""

    def __init__(self, column: str, reason: str) -> None:
        """Say which cell and why, in words that hold none of it."""
        super().__init__(reason)
        self.column = column
        self.reason = reason


@dataclass(frozen=True, slots=True)
class _Bad:
    """What is remembered of a text that does not read."""

    reason: str


_NEW: Final = _Bad("")


class CellPlan:
    """Reads one cell as one kind of value."""

    __slots__ = ("_form", "_missing", "_problem", "_read", "_remembered", "cell")

    def __init__(
        self,
        cell: str,
        read: Callable[[str], Value],
        form: Form,
        options: ReadOptions,
        problem: Callable[[str | float], str | None] = lambda value: None,
    ) -> None:
        """Prepare to read.

        Args:
            cell: the cell's name.
            read: from trimmed, present text to the value; raises Unreadable.
            form: known values, and what becomes of others.
            options: how the source writes.
            problem: why a value may not be stored, or None.
        """
        self.cell = cell
        self._read = read
        self._form = form
        self._missing = options.missing
        self._problem = problem
        self._remembered: dict[str, Value | _Bad] = {}

    def value(self, text: str | None) -> Value:
        """The value of a cell, None for a missing one.

        Raises:
            BadCell: if it can not be read, or may not be stored.
        """
        if text is None:
            return None
        found = self._remembered.get(text, _NEW)
        if found is _NEW:
            found = self._learn(text)
        if type(found) is _Bad:
            raise BadCell(self.cell, found.reason)
        return found  # type: ignore[return-value,unused-ignore]

    def stated(self, text: str | None) -> str:
        """The value of a cell that must be there, as text.

        Raises:
            BadCell: as `value`, and for a missing cell.
        """
        value = self.value(text)
        if value is None:
            raise BadCell(self.cell, MISSING)
        return str(value)

    def _learn(self, text: str) -> Value | _Bad:
        if len(text) > MAX_CELL:
            return _Bad(f"expected at most {MAX_CELL} characters, got more")
        try:
            found: Value | _Bad = self._checked(trimmed(text))
        except Unreadable as reason:
            found = None if self._form.lenient else _Bad(str(reason))
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered[text] = found
        return found

    def _checked(self, text: str) -> Value:
        value = self._meant(text)
        if value is not None and (problem := self._problem(value)):
            raise Unreadable(problem)
        return value

    def _meant(self, text: str) -> Value:
        """By the listed values first: they may list what is a missing cell elsewhere."""
        key = folded(text)
        values = self._form.values
        if values is not None and key in values:
            return values[key] if values[key] != "" else None
        if key in self._missing:
            return None
        if values is not None:
            raise Unreadable("expected one of the values that the mapping lists, got another")
        return self._read(text)


def plan_of(column: Column, form: Form, options: ReadOptions) -> CellPlan:
    """The plan of a registered column's cell.

    Raises:
        InputError: if the form does not go with the column's kind; without a place, which the caller adds.
    """
    if form.bands and (column.kind != "ordered" or len(form.bands) != len(column.values) - 1):
        raise InputError("expected bands for an ordered column only, one fewer than its values, got otherwise")
    if form.scale != 1 and column.kind != "number" and not form.bands:
        raise InputError("expected scale for a number only, got it for another kind")
    problems = {column.problem(value) for value in (form.values or {}).values() if value != ""} - {None}
    if problems:
        raise InputError(f"{problems.pop()} among the values, got another")
    return CellPlan(form.cell or "", _reader(column, form, options), form, options, column.problem)


def checked_plan(
    form: Form,
    options: ReadOptions,
    read: Callable[[str], Value] | None,
    problem: Callable[[str | float], str | None],
) -> CellPlan:
    """The plan of a cell that is no registered column's.

    Raises:
        InputError: if a listed value has a problem, or the form has bands or a scale.
    """
    if form.bands or form.scale != 1:
        raise InputError("expected neither bands nor scale, got one")
    if any(problem(value) for value in (form.values or {}).values() if value != ""):
        raise InputError("expected known values in their own writing, got another")
    return CellPlan(form.cell or "", read or code, form, options, problem)


def key_plan(form: Form, options: ReadOptions, width: int) -> CellPlan:
    """The plan of a cell that names another person: read as a number, not yet a pseudonym."""
    return CellPlan(form.cell or "", lambda text: padded(code(text), width), form, options)


def text_plan(cell: str, options: ReadOptions) -> CellPlan:
    """The plan of a cell that tells facts apart."""
    return CellPlan(cell, code, Form(cell), options)


def day_plan(cell: str, options: ReadOptions, weekly: bool) -> CellPlan:
    """The plan of a cell that says from when on a fact is true; what is true of a week is so from its last day on."""

    def week(text: str) -> str:
        return sunday(date.fromisoformat(options.calendar.day(text))).isoformat()

    return CellPlan(cell, week if weekly else options.calendar.day, Form(cell), options)


def monday(day: date) -> date:
    """The Monday of a day's week."""
    return day - timedelta(days=day.weekday())


def sunday(day: date) -> date:
    """The Sunday of a day's week, its last day."""
    return monday(day) + timedelta(days=6)


def _week(options: ReadOptions) -> Callable[[str], str]:
    return lambda text: monday(date.fromisoformat(options.calendar.day(text))).isoformat()


def _reader(column: Column, form: Form, options: ReadOptions) -> Callable[[str], Value]:
    if form.bands:
        return lambda text: column.values[bisect.bisect_right(form.bands, options.numbers.read(text, form.scale))]
    if column.kind == "number":
        return _number(column, form, options)
    if column.values:
        by_fold = {folded(value): value for value in column.values}
        return lambda text: by_fold.get(folded(text)) or code(text)
    if column.kind == "day":
        return _week(options) if column.field.endswith("_week") else options.calendar.day
    return {"month": options.calendar.month, "instant": options.calendar.instant}.get(column.kind, code)


def _number(column: Column, form: Form, options: ReadOptions) -> Callable[[str], Value]:
    """A number; where it counts hours, an ISO 8601 duration too, which starts as no number does."""

    def read(text: str) -> Value:
        if text.startswith("P") and column.unit.startswith("hours"):
            return hours(text)
        return options.numbers.read(text, form.scale)

    return read


def padded(number: str, width: int) -> str:
    """A number of digits alone with its lost leading zeros.

    Raises:
        Unreadable: if it is longer than `width` (0: any).
    """
    if not width:
        return number
    if len(number) > width:
        raise Unreadable(f"expected a number of at most {width} characters, got a longer one")
    return number.zfill(width) if number.isascii() and number.isdigit() else number


class PersonPlan:
    """Reads whose a row is. Nothing is remembered: no table from numbers to pseudonyms may stand in memory."""

    __slots__ = ("_form", "_missing", "candidate", "cell")

    def __init__(self, form: PersonForm, options: ReadOptions) -> None:
        """Prepare to read `form.cell`."""
        self.cell = form.cell
        self.candidate = form.subject == "candidate"
        self._form = form
        self._missing = options.missing

    def subject(self, text: str | None, pseudonyms: Pseudonyms) -> str:
        """The pseudonym of a row's person.

        Raises:
            BadCell: if the number is missing, too long or not of the declared pattern.
        """
        try:
            number = self._number(text)
        except Unreadable as reason:
            raise BadCell(self.cell, str(reason)) from None
        return pseudonyms.candidate(number) if self.candidate else pseudonyms.person(number)

    def _number(self, text: str | None) -> str:
        if text is None or len(text) > MAX_CODE:
            raise Unreadable(MISSING if text is None else f"expected at most {MAX_CODE} characters, got more")
        number = code(text)
        if number.casefold() in self._missing:
            raise Unreadable(MISSING)
        number = padded(number, self._form.width)
        if self._form.pattern and not self._form.pattern.fullmatch(number):
            raise Unreadable("expected a number of the declared pattern, got another")
        return number
