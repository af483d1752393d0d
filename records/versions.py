"""The versions of facts: read, brought together with what came, and written.

Rules
1. What holds of a state on a day is, column by column, what was last stated up to that day, in whatever order it came.
2. A version of a state is written out in full: what it states over what the version before holds. So a fact that comes
   late, dated in between, reaches into later versions as far as these carried the column over, and no further.
3. What a version stated itself stands in its column `stated`.
4. An end belongs to one employment: a later beginning does not carry it over.
5. An event stands alone: it carries nothing over.
6. Where the value that holds on a day is a corrected one, a source does not overwrite it: it is disputed.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Select,
    Table,
    TableValuedAlias,
    Text,
    and_,
    cast,
    column,
    func,
    literal,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

from records.facts import Value
from records.schema import FRAME, STATES, correction

STATED: Final = "stated"
_ENDS: Final = ("end_month", "exit_type")

Key = tuple[str, str]
"""Subject and item."""
Row = dict[str, Any]
"""All columns of one version."""
Versions = dict[str, Row]
"""The versions of one key, by the day from which they hold."""
Statements = Mapping[str, Mapping[str, Value]]
"""What is said of one key, by day and column."""
Corrected = Mapping[str, Collection[str]]
"""The corrected columns of one key, by the day of the version."""
NOTHING: Final[Corrected] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Dispute:
    """A source says `came` where a corrected value, `held`, holds."""

    valid_from: str
    field: str
    held: Value
    came: Value


@cache
def fields_of(table: Table) -> tuple[str, ...]:
    """The columns that say something of a person."""
    return tuple(column.name for column in table.columns if column.name not in FRAME)


def read(connection: Connection, table: Table, wanted: Collection[tuple[str, str, str]]) -> dict[Key, Versions]:
    """The versions that bear on these (subject, item, valid_from): of a state all, of an event itself."""
    columns: list[Column[Any]] = [table.c.subject, table.c.item]
    if table.name not in STATES:
        columns.append(table.c.valid_from)
    keys = {key[: len(columns)] for key in wanted}
    found: dict[Key, Versions] = {}
    names = [column.name for column in table.columns if column.name != "number"]
    place, item, day = (names.index(name) for name in ("subject", "item", "valid_from"))
    for row in connection.execute(_among(connection, [table.c[name] for name in names], columns, keys)):
        found.setdefault((row[place], row[item]), {})[row[day]] = dict(zip(names, row, strict=True))
    return found


def rows_of(
    connection: Connection, columns: Iterable[Column[Any]], named: Column[Any], values: Collection[str]
) -> Sequence[Any]:
    """These columns of the rows where `named` is one of the values, however many these are."""
    if not values:
        return []
    return connection.execute(_among(connection, columns, [named], {(value,) for value in values})).all()


def among(connection: Connection, named: Column[Any], values: Collection[str | int]) -> ColumnElement[bool]:
    """Whether `named` is one of the values, however many these are."""
    listed, (part,) = _listed(connection, {(value,) for value in values}, 1)
    return named.in_(select(cast(part, named.type)).select_from(listed))


def corrected_in(connection: Connection, table: Table, subjects: Collection[str]) -> Mapping[Key, Corrected]:
    """What was corrected in a table's facts of these subjects."""
    columns = [correction.c.subject, correction.c.item, correction.c.valid_from, correction.c.column]
    found: dict[Key, dict[str, set[str]]] = {}
    for subject, item, day, name in rows_of(connection, columns, correction.c.subject, subjects):
        of_table, _, field = name.partition(".")
        if of_table == table.name:
            found.setdefault((subject, item), {}).setdefault(day, set()).add(field)
    return found


def merged(
    table: Table, key: Key, held: Versions, came: Statements, frame: Mapping[str, Any], corrected: Corrected = NOTHING
) -> list[Row]:
    """The versions of one key that have to be written so that what came counts (rules 1 to 5), by day.

    Args:
        table: of `schema.FACTS`.
        key: whose and which.
        held: what the store holds, as `read` gives it.
        came: what is said now; it replaces what the same version said before.
        frame: batch and recorded_at of versions that are new or were restated.
        corrected: what was corrected.
    """
    own = statements(held, corrected)
    empty = dict.fromkeys(fields_of(table))
    rows = []
    before: dict[str, Value] = {}
    for day in sorted({*held, *came}):
        old, said = held.get(day), came.get(day, {})
        stated = {**own.get(day, {}), **said}
        state = _state(table, before, stated)
        version: Row = {**empty, **state, STATED: " ".join(sorted(stated))}
        if old is None:
            rows.append({"subject": key[0], "item": key[1], "valid_from": day, **version, **frame})
        elif any(old[name] != value for name, value in version.items()):
            rows.append({**old, **version, **(frame if said else {})})
        before = state
    return rows


def statements(held: Versions, corrected: Corrected = NOTHING) -> dict[str, dict[str, Value]]:
    """What each version states itself (rule 3), by day and column; a corrected value is stated where it is pinned."""
    return {
        day: {name: held[day][name] for name in {*held[day][STATED].split(), *corrected.get(day, ())}}
        for day in sorted(held)
    }


def disputes(held: Versions, came: Statements, corrected: Corrected) -> list[Dispute]:
    """Where what came speaks against a corrected value (rule 6)."""
    own = statements(held, corrected)
    found = []
    for day, said in came.items():
        for name, value in said.items():
            last = max((other for other in own if other <= day and name in own[other]), default="")
            if name in corrected.get(last, ()) and own[last][name] != value:  # rule 6
                found.append(Dispute(day, name, own[last][name], value))
    return found


def write(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert versions, or put them in place of those of the same subject, item and day."""
    if not rows:
        return
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table)
    names = [name for name in rows[0] if name not in ("number", "subject", "item", "valid_from")]
    key = [table.c.subject, table.c.item, table.c.valid_from]
    put = statement.on_conflict_do_update(index_elements=key, set_={name: statement.excluded[name] for name in names})
    connection.execute(put, list(rows))


def _state(table: Table, before: Mapping[str, Value], stated: Mapping[str, Value]) -> dict[str, Value]:
    if table.name not in STATES:
        return dict(stated)  # rule 5
    state = {**before, **stated}  # rule 2
    if table.name == "person" and state.get("end_month") is not None and _ended_before(before, stated, state):  # rule 4
        state |= dict.fromkeys(_ENDS)
    return state


def _ended_before(before: Mapping[str, Value], stated: Mapping[str, Value], state: Mapping[str, Value]) -> bool:
    """Whether an end that was carried over is one of an earlier employment than the start (rule 4)."""
    start, end = str(state.get("start_month") or ""), str(state["end_month"])
    return "end_month" not in stated and (end < start or (end == start != before.get("start_month")))


def _among(
    connection: Connection, columns: Iterable[Column[Any]], named: Sequence[Column[Any]], keys: Iterable[Sequence[str]]
) -> Select[Any]:
    listed, parts = _listed(connection, keys, len(named))
    on = and_(*(one == part for one, part in zip(named, parts, strict=True)))
    return select(*columns).select_from(listed.join(named[0].table, on))


def _listed(
    connection: Connection, keys: Iterable[Sequence[Any]], width: int
) -> tuple[TableValuedAlias, list[ColumnElement[Any]]]:
    """One parameter names all keys, as JSON: a list of tuples is slow to plan on either database, and bounded."""
    document = literal(json.dumps(sorted(keys)), Text)
    if connection.dialect.name == "postgresql":
        parsed = func.json_array_elements(cast(document, postgresql.JSON))
        listed = parsed.table_valued(column("value", postgresql.JSON), name="wanted")
        return listed, [listed.c.value[place].astext for place in range(width)]
    listed = func.json_each(document).table_valued("value", name="wanted")
    return listed, [func.json_extract(listed.c.value, f"$[{place}]") for place in range(width)]
