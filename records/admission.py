"""Who and what gets into the store: each thing that came, judged before anything is written.

Rules
1. What is not registered for its source stops the batch: a connector that sends it is not to be trusted with the rest.
2. Of who was erased nothing gets in, nor their key in another person's fact.
3. A fact is about a pseudonym, from a real day on, told apart by a printable item; else it is quarantined. An event
   lies at most a year ahead: one of the year 2199 would never be past its time.
4. A value that the registry does not take is quarantined with its whole fact.
5. So is a fact that contradicts itself: an employment that ends before it begins, a person who reports to themselves.
   Longer circles of managers get in: which of the rows is wrong can not be told, and over time each may be right.
6. A cell past its retention is left out, and a fact of which no cell is left. The end of an employment still gets in
   where the person's record is held: it tells the retention job to delete the rest.
7. Reasons hold no cell's content.
8. A withdrawal or an objection counts whatever else of it can not be read: then it is one of now, of the current
   notice. Only whose it is, what it is and for which purpose have to be told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache
from typing import Final

from sqlalchemy import Connection, select

from privacy.errors import InputError
from records.consent import RESTRICTS, check
from records.facts import Fact, Fault, Incoming, Said, Trait, Value
from records.registry import VAULT, Column, Registry
from records.retention_rules import earliest, past
from records.schema import FACTS, STATES, person, tombstone
from records.store import Store, instant
from records.subjects import is_subject
from records.versions import rows_of

MAX_ITEM: Final = 200
MAX_NAME: Final = 200
"""Characters of a column's name and of a reason that are kept."""
MAX_REMEMBERED: Final = 50_000
"""Judgements of values that are kept, since tables hold the same few values over and over."""
FIRST_YEAR: Final = 1900
LAST_YEAR: Final = 2200
_ENDING: Final = ("start_month", "end_month", "exit_type")


@dataclass(slots=True)
class Admitted:
    """What of a block gets in.

    Attributes:
        facts: by table; their values hold only stated, registered, unexpired cells, numbers as float.
        said: consent events.
        traits: for the vault.
        faults: for the quarantine.
        silent: how many facts state nothing.
        left_out: how many things were of erased people, or past their time.
    """

    facts: dict[str, list[Fact]] = field(default_factory=dict)
    said: list[Said] = field(default_factory=list)
    traits: list[Trait] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    silent: int = 0
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class _Table:
    """What one source may say in one table.

    Attributes:
        columns: by field, those that are registered for the source.
        keys: fields that name another subject.
        by_exit: whether a column is kept from the exit on.
        kept_from: no column that is kept from `valid_from` on is past its time from this day on.
    """

    columns: Mapping[str, Column]
    keys: tuple[str, ...]
    by_exit: bool
    kept_from: str


@dataclass(slots=True)
class _People:
    """What is known of the people of a block: who is held, and in which month who left."""

    held: Collection[str] = ()
    exits: Mapping[str, str] = field(default_factory=dict)
    erased: Collection[str] = ()


class Admission:
    """Judges what one source sends in one batch, block by block."""

    def __init__(self, store: Store, registry: Registry, source: str, connection: Connection, now: datetime) -> None:
        """Prepare for a batch; `connection` is of its transaction."""
        self._pseudonyms = store.pseudonyms
        self._registry = registry
        self._source = source
        self._connection = connection
        self._now = now
        self._recorded = instant(now)
        self._year_ahead = earliest(-12, now)
        self._tables: dict[str, _Table] = {}
        self._remembered: dict[tuple[str, Value], str | None] = {}
        self._any_erased = connection.execute(select(tombstone.c.mark).limit(1)).first() is not None
        self._long_gone: dict[str, tuple[str, str]] = {}

    def judge(self, block: Sequence[Incoming]) -> Admitted:
        """What of a block gets in, and why the rest does not.

        Raises:
            InputError: for a table, column or trait that is not registered for the source (rule 1).
        """
        facts = [one for one in block if isinstance(one, Fact)]
        people = self._people(facts)
        people.erased = self._erased(block, facts)
        admitted = Admitted()
        for one in block:
            if one.subject in people.erased:  # rule 2
                admitted.left_out += 1
            elif isinstance(one, Fact):
                self._fact(one, people, admitted)
            elif isinstance(one, Fault):
                admitted.faults.append(Fault(one.place, _shown(one.column), _shown(one.reason), _subject(one.subject)))
            elif isinstance(one, Trait):
                self._trait(one, admitted)
            else:
                self._said(one, admitted)
        return admitted

    def _fact(self, fact: Fact, people: _People, admitted: Admitted) -> None:
        table = self._table(fact.table)
        column, reason, values = "", _frame_problem(fact, self._year_ahead), dict[str, Value]()
        if reason is None:
            column, reason, values = self._values(fact, table, people.erased)
        if reason is not None:
            admitted.faults.append(Fault(fact.place, column, reason, _subject(fact.subject)))
        elif not values:
            admitted.silent += 1
        elif kept := self._kept(fact, table, values, people):
            made = Fact(fact.table, fact.subject, fact.item, fact.valid_from, kept, fact.place)
            admitted.facts.setdefault(fact.table, []).append(made)
        else:
            admitted.left_out += 1

    def _values(self, fact: Fact, table: _Table, erased: Collection[str]) -> tuple[str, str | None, dict[str, Value]]:
        """The cells that say something, or the column that does not get in and why."""
        values: dict[str, Value] = {}
        for name, value in fact.values.items():
            column = table.columns.get(name) or self._registered(f"{fact.table}.{name}")  # rule 1
            if value is None:
                continue
            if reason := self._problem(column, value):  # rule 4
                return column.name, reason, values
            if name not in table.keys or value not in erased:  # rule 2
                values[name] = float(value) if column.kind == "number" else value
        if fact.table != person.name:
            return "", None, values
        if "start_month" in values and "end_month" in fact.values and "end_month" not in values:
            # An empty end beside a stated start says that this employment has not ended.
            values |= {"end_month": None, "exit_type": None}
        return "", _contradiction(fact.subject, values), values

    def _kept(self, fact: Fact, table: _Table, values: dict[str, Value], people: _People) -> dict[str, Value]:
        """The cells that are not past their time (rule 6)."""
        left = people.exits.get(fact.subject)
        if fact.valid_from >= table.kept_from and not (left and table.by_exit):
            return values
        needed = _ENDING if fact.table == person.name and fact.subject in people.held else ()
        return {
            name: value
            for name, value in values.items()
            if name in needed or not past(self._column(fact, name), fact.valid_from, self._recorded, left, self._now)
        }

    def _trait(self, trait: Trait, admitted: Admitted) -> None:
        reason = None if _subject(trait.subject) else "expected a pseudonym"
        name = ""
        for trait_name, value in trait.values.items():
            column = self._registered(f"{VAULT}.{trait_name}")
            if reason is None and (reason := column.problem(value)):
                name = column.name
        if reason is None:
            admitted.traits.append(trait)
        else:
            admitted.faults.append(Fault(trait.place, name, reason, _subject(trait.subject)))

    def _said(self, said: Said, admitted: Admitted) -> None:
        try:
            if said.purpose not in self._registry.purposes:  # the registry's own words would repeat it (rule 7)
                raise InputError("consent event, purpose: expected a registered one, got another")
            admitted.said.append(self._readable(said))
        except InputError as error:
            admitted.faults.append(Fault(said.place, "", _shown(str(error)), _subject(said.subject)))

    def _readable(self, said: Said) -> Said:
        """The event as it can be put on record; raises InputError if it can not (rule 8)."""
        try:
            check(self._registry, said)
        except InputError:
            if said.state not in RESTRICTS:
                raise
            version = self._registry.purpose(said.purpose).notice_version
            said = Said(
                said.subject, said.purpose, said.state, version, "und", self._source, self._recorded, said.place
            )
            check(self._registry, said)
        return said

    def _problem(self, column: Column, value: str | float) -> str | None:
        """`column.problem(value)`, remembered; true and 1 are one key and must not share a judgement."""
        if column.kind in ("key", "number") or not isinstance(value, str):
            return column.problem(value)
        key = (column.name, value)
        if key not in self._remembered:
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = column.problem(value)
        return self._remembered[key]

    def _table(self, name: str) -> _Table:
        if name not in self._tables:
            if name not in FACTS:
                raise InputError(f"connector: expected one of {', '.join(FACTS)}, got another table")
            every = [column for column in self._registry.columns.values() if column.table == name]
            dated = [earliest(c.retention_months, self._now) for c in every if c.retention_from == "valid_from"]
            self._tables[name] = _Table(
                {column.field: column for column in every if self._source in column.sources},
                tuple(column.field for column in every if column.kind == "key"),
                any(column.retention_from == "exit" for column in every),
                max(dated, default=""),
            )
        return self._tables[name]

    def _column(self, fact: Fact, name: str) -> Column:
        return self._registry.column(f"{fact.table}.{name}")

    def _registered(self, name: str) -> Column:
        """The column, if the source may state it (rule 1)."""
        column = self._registry.columns.get(name)
        if column is None or self._source not in column.sources:
            raise InputError(f"connector: expected columns that are registered for {self._source}, got {name!r:.80}")
        return column

    def _erased(self, block: Iterable[Incoming], facts: Iterable[Fact]) -> Collection[str]:
        """The subjects of a block, and those that its facts name, who were erased (rule 2)."""
        if not self._any_erased:
            return frozenset()
        named: list[object] = [one.subject for one in block]
        for fact in facts:
            named += [fact.values.get(key) for key in self._table(fact.table).keys]
        subjects = {subject for one in named if (subject := _subject(one))}
        marks = {self._pseudonyms.mark(subject): subject for subject in subjects}
        return {marks[mark] for (mark,) in rows_of(self._connection, [tombstone.c.mark], tombstone.c.mark, marks)}

    def _people(self, facts: Sequence[Fact]) -> _People:
        """Who of a block's people is held, and who left when, as far as store and batch tell (rule 6)."""
        subjects = {fact.subject for fact in facts if self._table(fact.table).by_exit and _subject(fact.subject)}
        columns = [person.c.subject, person.c.valid_from, person.c.end_month]
        newest: dict[str, tuple[str, str]] = {s: self._long_gone[s] for s in subjects if s in self._long_gone}
        held = set()
        for subject, day, end in rows_of(self._connection, columns, person.c.subject, subjects):
            held.add(subject)
            newest[subject] = max(newest.get(subject, ("", "")), (day, end or ""))
        spoken = [fact for fact in facts if fact.table == person.name and fact.subject in subjects]
        if any(end for _, end in newest.values()) or any(fact.values.get("end_month") for fact in spoken):
            for fact in sorted(spoken, key=lambda fact: str(fact.valid_from)):
                newest[fact.subject] = self._after(newest.get(fact.subject, ("", "")), fact)
        exits = {subject: end for subject, (_, end) in newest.items() if end}
        kept = self._registry.column("person.end_month")
        for subject, end in exits.items():
            if subject not in held and past(kept, end, self._recorded, end, self._now):
                self._long_gone[subject] = newest[subject]
        return _People(held, exits)

    def _after(self, known: tuple[str, str], fact: Fact) -> tuple[str, str]:
        """The last day spoken of and the exit's month, "" for none, after one more fact."""
        day, end = known
        if str(fact.valid_from) < day:
            return known
        came = {name: fact.values.get(name) for name in _ENDING[:2]}
        months = {n: str(v) for n, v in came.items() if v and not self._problem(self._registered(f"person.{n}"), v)}
        if "end_month" in months:
            end = months["end_month"]
        elif "start_month" in months and ("end_month" in fact.values or months["start_month"] > end):
            end = ""
        return fact.valid_from, end


def _contradiction(subject: str, values: Mapping[str, Value]) -> str | None:
    """Why a fact about a person can not be true (rule 5)."""
    start, end = values.get("start_month"), values.get("end_month")
    if start is not None and end is not None and str(end) < str(start):
        return "expected an employment that ends after it begins, got one that ends before"
    if values.get("manager_key") == subject:
        return "expected another person as manager, got the person"
    return None


def _frame_problem(fact: Fact, year_ahead: str) -> str | None:
    """Why a fact can not be told whose, which or when (rule 3)."""
    if _subject(fact.subject) is None:
        return "expected a pseudonym"
    if not isinstance(fact.item, str) or len(fact.item) > MAX_ITEM or not fact.item.isprintable():
        return f"expected a printable item of at most {MAX_ITEM} characters"
    if not isinstance(fact.valid_from, str) or not _is_day(fact.valid_from):
        return f"expected a day YYYY-MM-DD from {FIRST_YEAR} to {LAST_YEAR}"
    if fact.table not in STATES and fact.valid_from > year_ahead:
        return "expected an event of at most a year ahead"
    return None


@lru_cache(maxsize=10_000)
def _is_day(text: str) -> bool:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return False
    return found.isoformat() == text and FIRST_YEAR <= found.year <= LAST_YEAR


def _subject(subject: object) -> str | None:
    return str(subject) if is_subject(subject) else None


def _shown(text: str) -> str:
    """A name or a reason, as far as it can be shown."""
    return text[:MAX_NAME] if text.isprintable() else repr(text)[:MAX_NAME]
