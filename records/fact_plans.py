"""One `[[facts]]` of a mapping, checked against the registry and compiled; rules 1, 2 and 4 of `records/mapping.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Any, Final

from privacy.errors import InputError
from privacy.pseudonyms import Pseudonyms
from records.cell_plans import (
    MISSING,
    BadCell,
    CellPlan,
    checked_plan,
    day_plan,
    key_plan,
    plan_of,
    sunday,
    text_plan,
)
from records.cells import Unreadable
from records.facts import Fact, Said, Value
from records.mapping_file import FactsForm, Form, MappingFile, When
from records.prohibited import refuse, refuse_query
from records.registry import VAULT, Column, Registry
from records.schema import CANDIDATES, FACTS

KEYS: Final = MappingProxyType(
    {
        "skill_evidence": ("skill_id", "evidence"),
        "preference": ("kind",),
        "schedule_busy": ("start_utc",),
        "interview": ("req_id",),
        "application": ("req_id",),
        "onboarding_item": ("task",),
        "pulse": ("question",),
        "performance_fact": ("cycle",),
    }
)
"""Which columns tell a person's facts of a table apart, where the mapping names no cells that do."""
SINGLE: Final = frozenset({"person", "work_pattern_week", "comp_band"})
"""Tables with one fact of a person at a time."""
WEEKLY: Final = frozenset({"work_pattern_week"})
"""Tables whose facts are of a week, and true from its Sunday on."""
RESTRICTS: Final = ("withdrawn", "objected")
STATES: Final = ("informed", "given", "objection_withdrawn", *RESTRICTS)

Record = Mapping[str, str | None]
"""One row of a source: cells by name, as text; None is a missing one, and an absent one was not spoken of."""


@dataclass(frozen=True, slots=True)
class _ColumnPlan:
    """A column that is read from a cell; `counts` if it alone makes a fact, `hide` if it names another person."""

    name: str
    plan: CellPlan
    counts: bool
    hide: Callable[[Pseudonyms, str], str] | None


@dataclass(frozen=True, slots=True)
class FactPlan:
    """Reads one fact of a row.

    Attributes:
        always: columns with one value for every row.
        keys: columns whose values tell the facts apart, joined by "/".
        item: cells that do instead, hashed.
        since: the cell that says from when on it is true, or None for the day of the ingest.
    """

    table: str
    when: When | None
    admitted: CellPlan | None
    columns: tuple[_ColumnPlan, ...]
    always: Mapping[str, Value]
    keys: tuple[str, ...]
    item: tuple[CellPlan, ...]
    since: CellPlan | None

    def admits(self, record: Record) -> bool:
        """Whether `when` lets the row in."""
        if self.when is None or self.admitted is None:
            return True
        return self.admitted.value(record.get(self.when.cell)) is not None

    def fact(self, record: Record, place: int, subject: str, pseudonyms: Pseudonyms, as_of: date) -> Fact | None:
        """The row's fact, or None if none of its cells states anything.

        Raises:
            BadCell: for the first cell that does not read.
        """
        values = dict(self.always)
        stated = False
        for column in self.columns:
            plan = column.plan
            if plan.cell not in record:
                continue
            value = plan.value(record[plan.cell])
            if value is not None:
                stated = stated or column.counts
                if column.hide is not None:
                    value = column.hide(pseudonyms, str(value))
            values[column.name] = value
        if not stated:
            return None
        item = self._item(record, values, pseudonyms)
        return Fact(self.table, subject, item, self._valid_from(record, as_of), values, place)

    def _item(self, record: Record, values: Mapping[str, Value], pseudonyms: Pseudonyms) -> str:
        if self.item:
            return pseudonyms.item(self.table, *(plan.stated(record.get(plan.cell)) for plan in self.item))
        parts = []
        for name in self.keys:
            if (value := values.get(name)) is None:
                raise BadCell(next((column.plan.cell for column in self.columns if column.name == name), ""), MISSING)
            parts.append(str(value))
        return "/".join(parts)

    def _valid_from(self, record: Record, as_of: date) -> str:
        if self.since is not None:
            return self.since.stated(record.get(self.since.cell))
        return (sunday(as_of) if self.table in WEEKLY else as_of).isoformat()


class Compiler:
    """Compiles a file's parts, and notes which cells they read.

    Attributes:
        cells: every cell that is read.
        required: those that a table must have.
    """

    def __init__(self, file: MappingFile, registry: Registry) -> None:
        """Start with the cell that says whose a row is.

        Raises:
            InputError: if the source is not registered.
            Refused: if that cell is prohibited.
        """
        if file.source not in registry.sources:
            raise InputError(f"{file.where}, 'source': expected one of {', '.join(registry.sources)}, got another")
        self._file = file
        self._registry = registry
        self.cells: set[str] = set()
        self.required: set[str] = set()
        refuse_query(file.read.query or "", f"{file.where}, 'query'", in_vault=bool(file.protected))  # rule 2
        self._read(file.person.cell)

    def facts(self) -> tuple[FactPlan, ...]:
        """The plans of all `[[facts]]`.

        Raises:
            InputError: for what is not registered for this source and subject, and for one fact that two would write.
            Refused: for a prohibited cell.
        """
        plans = []
        seen: set[Any] = set()
        for form in self._file.facts:
            plan = self._fact(form)
            always = tuple((key, plan.always.get(key)) for key in plan.keys)
            cells = tuple((key, form.columns[key].cell) for key in plan.keys)
            same = (form.table, form.when, form.item, always, cells, form.valid_from)
            if same in seen:
                raise InputError(f"{form.where}: expected a fact that no other writes, got {form.table!r:.80} twice")
            seen.add(same)
            plans.append(plan)
        return tuple(plans)

    def protected(self) -> tuple[tuple[str, CellPlan], ...]:
        """Plans of the traits for the vault; all read from cells, since nobody has a trait by default."""
        where = f"{self._file.where}, 'protected'"
        found = []
        for name, form in self._file.protected.items():
            column = self._column(VAULT, name, where)
            if form.cell is None or self._file.person.subject != "employee":
                raise InputError(f"{where}, {name!r:.80}: expected a cell of an employee's row, got otherwise")
            self._read(form.cell, form.optional, in_vault=True)
            found.append((name, self._plan(column, form, where)))
        return tuple(found)

    def consent(self) -> ConsentPlan | None:
        """The plan of consent events, if the mapping is of an export of them."""
        if not self._file.consent:
            return None
        where = f"{self._file.where}, 'consent'"
        calendar, numbers = self._file.read.calendar, self._file.read.numbers
        purposes = frozenset(self._registry.purposes)
        defaults = {"locale": Form(None, "und"), "channel": Form(None, self._file.kind)}
        plans: dict[str, CellPlan | Value] = {}
        for name, form in {**defaults, **self._file.consent}.items():
            read: Callable[[str], Value] | None = None
            if name in ("at", "notice_version"):
                read = calendar.instant if name == "at" else numbers.read
            known = {"purpose": purposes, "state": frozenset(STATES)}.get(name)
            plans[name] = self._said(form, read, known, name == "notice_version", f"{where}, {name!r}")
        return ConsentPlan(MappingProxyType(plans))

    def _said(
        self, form: Form, read: Callable[[str], Value] | None, known: frozenset[str] | None, whole: bool, where: str
    ) -> CellPlan | Value:
        def problem(value: str | float) -> str | None:
            if whole and not (isinstance(value, float) and value == int(value) and 1 <= value <= 10_000):
                return "expected a whole number from 1 to 10000"
            return "expected a known value" if known is not None and value not in known else None

        self._read(form.cell, form.optional)
        try:
            plan = checked_plan(form, self._file.read, read, problem)
            if form.cell is not None:
                return plan
            value = form.always if whole or not isinstance(form.always, str) else plan.value(form.always)
            if value is None or (reason := problem(value)):
                raise InputError(f"{reason or MISSING}, got another")
            return value
        except (InputError, BadCell) as error:
            raise InputError(f"{where}: {error}") from None

    def _fact(self, form: FactsForm) -> FactPlan:
        if form.table not in FACTS:
            raise InputError(f"{form.where}, 'table': expected one of {', '.join(FACTS)}, got another")
        about = "candidate" if form.table in CANDIDATES else "employee"
        if about != self._file.person.subject:  # rule 1
            raise InputError(f"{form.where}: expected [person] to name a {about} for {form.table}, got otherwise")
        columns = {name: self._column(form.table, name, form.where) for name in form.columns}
        keys, item = self._apart(form)
        since = form.valid_from or self._file.valid_from
        for cell in (*item, since, form.when.cell if form.when else None):
            self._read(cell)
        read = tuple(self._column_plan(columns[name], source, keys, form) for name, source in _from_cells(form))
        always = {name: self._always(columns[name], source, form) for name, source in _constant(form)}
        if not any(column.counts for column in read):
            read = tuple(_ColumnPlan(column.name, column.plan, True, column.hide) for column in read)
        if not read:
            raise InputError(f"{form.where}: expected at least one column from a cell, got none")
        options = self._file.read
        return FactPlan(
            form.table,
            form.when,
            _admitting(form.when, self._file) if form.when else None,
            read,
            MappingProxyType(always),
            keys,
            tuple(text_plan(cell, options) for cell in item),
            day_plan(since, options, form.table in WEEKLY) if since else None,
        )

    def _apart(self, form: FactsForm) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The columns, or else the cells, that tell a person's facts apart."""
        if form.table in SINGLE:
            if form.item:
                raise InputError(
                    f"{form.where}, 'item': expected none for {form.table}, of which there is one, got some"
                )
            return (), ()
        if len(form.item) == 1:
            mapped = tuple(name for name, source in form.columns.items() if source.cell == form.item[0])[:1]
            return (mapped, ()) if mapped else ((), form.item)
        keys = KEYS.get(form.table, ())
        if form.item or (keys and set(keys) <= set(form.columns)):
            return ((), form.item) if form.item else (keys, ())
        wanted = f"the columns {', '.join(keys)}" if keys else "cells"
        raise InputError(f"{form.where}, 'item': expected {wanted}, which tell facts apart, got none")

    def _column(self, table: str, name: str, where: str) -> Column:
        """The registered column, if this source may write it (rule 1)."""
        try:
            column = self._registry.column(f"{table}.{name}")
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        if self._file.source not in column.sources:
            sources = ", ".join(column.sources)
            raise InputError(f"{where}, {column.name!r}: expected a source among {sources}, got {self._file.source!r}")
        return column

    def _column_plan(self, column: Column, form: Form, keys: tuple[str, ...], facts: FactsForm) -> _ColumnPlan:
        self._read(form.cell, form.optional)
        counts = column.field not in keys
        if column.kind != "key":
            return _ColumnPlan(column.field, self._plan(column, form, facts.where), counts, None)
        if form.values or form.bands or form.scale != 1:
            raise InputError(f"{facts.where}, {column.name!r}: expected a key as it is, got a changed one")
        of_candidate = column.field.startswith("candidate")
        width = 0 if of_candidate or self._file.person.subject == "candidate" else self._file.person.width
        hide = Pseudonyms.candidate if of_candidate else Pseudonyms.person
        return _ColumnPlan(column.field, key_plan(form, self._file.read, width), counts, hide)

    def _plan(self, column: Column, form: Form, where: str) -> CellPlan:
        try:
            return plan_of(column, form, self._file.read)
        except InputError as error:
            raise InputError(f"{where}, {column.name!r}: {error}") from None

    def _always(self, column: Column, form: Form, facts: FactsForm) -> Value:
        value = form.always
        problem = "expected no constant for a key" if column.kind == "key" else column.problem(value or "")
        if problem:
            raise InputError(f"{facts.where}, {column.name!r}: {problem}, got another")
        return value

    def _read(self, cell: str | None, optional: bool = False, in_vault: bool = False) -> None:
        """Notes a cell that is read, unless it is prohibited (rule 2) or said to be ignored."""
        if cell is None:
            return
        refuse(cell, self._file.where, in_vault=in_vault)
        if cell in self._file.ignored:
            raise InputError(f"{self._file.where}, 'ignore': expected cells that are not read, got {cell!r:.80}")
        self.cells.add(cell)
        if not optional:
            self.required.add(cell)


@dataclass(frozen=True, slots=True)
class ConsentPlan:
    """Reads one consent event of a row."""

    parts: Mapping[str, CellPlan | Value]

    def said(self, record: Record, place: int, subject: str, as_of: date) -> Said:
        """The row's event; a withdrawal or an objection of which no more can be read is one of `as_of`, version 1.

        Raises:
            BadCell: for the first cell that does not read or is missing; of a no, purpose and state alone.
        """
        state, purpose = str(self._part("state", record)), str(self._part("purpose", record))
        unread: dict[str, Value] = {
            "notice_version": 1.0,
            "at": f"{as_of}T00:00:00Z",
            "locale": "und",
            "channel": "und",
        }
        found: dict[str, Value] = {}
        for name, instead in unread.items():
            try:
                found[name] = self._part(name, record)
            except BadCell:
                if state not in RESTRICTS:
                    raise
                found[name] = instead
        version = int(float(found.pop("notice_version") or 0))
        texts = {name: str(part) for name, part in found.items()}
        return Said(subject, purpose, state, version, place=place, **texts)

    def _part(self, name: str, record: Record) -> Value:
        part = self.parts[name]
        return part.stated(record.get(part.cell)) if isinstance(part, CellPlan) else part


def _from_cells(form: FactsForm) -> Iterable[tuple[str, Form]]:
    return ((name, source) for name, source in form.columns.items() if source.cell is not None)


def _constant(form: FactsForm) -> Iterable[tuple[str, Form]]:
    return ((name, source) for name, source in form.columns.items() if source.cell is None)


def _admitting(when: When, file: MappingFile) -> CellPlan:
    """A plan whose value is missing where the row is not let in."""

    def read(text: str) -> Value:
        raise Unreadable("")

    values = MappingProxyType(dict.fromkeys(when.values, 1.0))
    return CellPlan(when.cell, read, Form(when.cell, None, values, lenient=True), file.read)
