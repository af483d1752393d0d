"""The tables of a ledger in SQLite and PostgreSQL, and what tells a ledger from any other database.

Rules:
    1. Entries, tree nodes, contributions, crowds and cohorts are only ever added; triggers refuse the rest.
    2. A SQLite file is a ledger if it holds these tables, indexes and triggers and nothing else. A PostgreSQL schema
       may hold other things beside them: what is a ledger's begins with `ledger_`.

The statements are written here, not by a library whose next version may put a space elsewhere: a file is known by them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, Final, get_type_hints

import sqlalchemy as sa

from privacy import amounts
from privacy.errors import InputError
from privacy.ledger_records import KEYS, NAMES, Budgeted, ChargeAt, GroupTotal, Head, Record, Release, Run, Share

APPLICATION_ID: Final = int.from_bytes(b"Kith", "big")
FORMAT: Final = 2
HEADER_BYTES: Final = 100
_HEADER: Final = {0: b"SQLite format 3\0", 18: b"\2\2", 60: FORMAT.to_bytes(4, "big"), 68: b"Kith"}
"""By offset: magic, write-ahead log, user_version, application_id (sqlite.org/fileformat2.html, section 1.3)."""

_TYPES: Final[dict[str, dict[type, str]]] = {
    "sqlite": {int: "INTEGER", bool: "INTEGER", str: "TEXT", Fraction: "TEXT", bytes: "BLOB"},
    "postgresql": {int: "BIGINT", bool: "BIGINT", str: "TEXT", Fraction: "TEXT", bytes: "BYTEA"},
}
_COLUMNS: Final[dict[type, Any]] = {
    int: sa.BigInteger,
    bool: sa.BigInteger,
    str: sa.Text,
    Fraction: sa.Text,
    bytes: sa.LargeBinary,
}
_NAMES: Final[dict[type[Record], str]] = {
    Head: "ledger_head",
    Budgeted: "ledger_budgets",
    GroupTotal: "ledger_group_totals",
    Run: "ledger_runs",
    Release: "ledger_releases",
    ChargeAt: "ledger_charges",
    Share: "ledger_shares",
}
_HINTS: Final = {kind: get_type_hints(kind) for kind in KEYS}
_APPEND_ONLY: Final[dict[str, tuple[int, dict[str, type]]]] = {
    "ledger_entries": (1, {"position": int, "leaf": bytes}),
    "ledger_nodes": (2, {"level": int, "position": int, "hash": bytes}),
    "ledger_contributions": (1, {"charge": int, "sent": bytes, "receipt": bytes}),
    "ledger_crowds": (1, {"crowd": str, "marks": bytes}),
    "ledger_cohorts": (1, {"digest": str, "salt": bytes, "crowd": str, "left_out": int}),
}
_SHAPES: Final = _APPEND_ONLY | {
    _NAMES[kind]: (KEYS[kind], {field: _HINTS[kind][field] for field in NAMES[kind]}) for kind in KEYS
}
"""By table: how many of its first columns are its key, and its columns."""
_INDEXES: Final = {
    "ledger_charges_of_run": "ON ledger_charges (run, position)",
    "ledger_open_runs": "ON ledger_runs (run) WHERE ended = 0",
    "ledger_shares_of_period": "ON ledger_shares (period)",
}
_REFUSE: Final = " BEGIN RAISE EXCEPTION 'append only'; END "
_READ_AS: Final[dict[type, Callable[[Any], Any]]] = {
    bool: bool,
    Fraction: lambda text: amounts.from_text(text, "ledger record"),
}
_READ: Final = {
    kind: tuple(
        (n, _READ_AS[_HINTS[kind][name]]) for n, name in enumerate(NAMES[kind]) if _HINTS[kind][name] in _READ_AS
    )
    for kind in KEYS
}
_metadata: Final = sa.MetaData()


def _table(name: str) -> sa.Table:
    keys, shape = _SHAPES[name]
    columns = (sa.Column(column, _COLUMNS[of](), primary_key=n < keys) for n, (column, of) in enumerate(shape.items()))
    return sa.Table(name, _metadata, *columns)


ENTRIES: Final = _table("ledger_entries")
NODES: Final = _table("ledger_nodes")
CONTRIBUTIONS: Final = _table("ledger_contributions")
CROWDS: Final = _table("ledger_crowds")
COHORTS: Final = _table("ledger_cohorts")
RECORDS: Final[dict[type[Record], sa.Table]] = {kind: _table(name) for kind, name in _NAMES.items()}
OPEN: Final = RECORDS[Run].c.ended == sa.literal_column("0")
"""As the index has it."""


def values_of(record: Record) -> dict[str, Any]:
    """A record as the columns of its table."""
    values = {name: getattr(record, name) for name in NAMES[type(record)]}
    return {name: _stored(value) for name, value in values.items()}


def record_of(kind: type[Any], row: Any) -> Any:
    """The record in a row of its table.

    Raises:
        InputError: if an amount is none.
    """
    values = list(row)
    for n, read in _READ[kind]:
        values[n] = read(values[n])
    return kind(*values)


def create(connection: sa.Connection) -> None:
    """Make the tables of a ledger where there are none.

    Raises:
        InputError: if there are.
    """
    if _found(connection):
        raise InputError("ledger: expected a database without a ledger's tables, got some")
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.exec_driver_sql(f"PRAGMA user_version = {FORMAT}")
    for statement in _statements(connection.dialect.name):
        connection.exec_driver_sql(statement)


def has_header(data: bytes) -> bool:
    """Whether a file that begins with these bytes may be a ledger: SQLite need not be asked, and changes nothing."""
    return all(data[at : at + len(expected)] == expected for at, expected in _HEADER.items())


def check(connection: sa.Connection) -> None:
    """Return if the database holds a ledger's tables (rule 2).

    Raises:
        InputError: if it does not.
    """
    if _found(connection) != _expected(connection.dialect.name):
        raise InputError(f"ledger: expected the tables of a Kith ledger of format {FORMAT}, got others or none")


def _stored(value: Any) -> Any:
    if isinstance(value, Fraction):
        return amounts.to_text(value)
    return int(value) if isinstance(value, bool) else value


def _statements(dialect: str) -> Iterator[str]:
    types, strict = _TYPES[dialect], " STRICT" if dialect == "sqlite" else ""
    for name, (keys, shape) in _SHAPES.items():
        columns = ", ".join(f'"{column}" {types[of]} NOT NULL' for column, of in shape.items())
        key = ", ".join(f'"{column}"' for column in list(shape)[:keys])
        yield f"CREATE TABLE {name} ({columns}, PRIMARY KEY ({key})){strict}"
    yield from (f"CREATE INDEX {name} {what}" for name, what in _INDEXES.items())
    if dialect == "sqlite":
        for name in _APPEND_ONLY:
            for verb in ("UPDATE", "DELETE"):
                refuse = "BEGIN SELECT RAISE(ABORT, 'append only'); END"
                yield f"CREATE TRIGGER {name}_no_{verb} BEFORE {verb} ON {name} {refuse}"
        return
    yield f"CREATE FUNCTION ledger_append_only() RETURNS trigger LANGUAGE plpgsql AS $${_REFUSE}$$"
    for name in _APPEND_ONLY:
        yield (
            f"CREATE TRIGGER {name}_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {name}"
            " FOR EACH STATEMENT EXECUTE FUNCTION ledger_append_only()"
        )


def _found(connection: sa.Connection) -> set[tuple[str, ...]]:
    """What is defined in the database: on SQLite by statement; on PostgreSQL columns and what the triggers do."""
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
        return {(str(row[0]),) for row in rows}
    columns = connection.exec_driver_sql(
        "SELECT table_name, column_name, upper(data_type) FROM information_schema.columns"
        " WHERE table_schema = current_schema() AND starts_with(table_name, 'ledger_')"
    )
    triggers = connection.exec_driver_sql(
        "SELECT relname, tgname, prosrc FROM pg_trigger"
        " JOIN pg_class ON pg_class.oid = tgrelid JOIN pg_proc ON pg_proc.oid = tgfoid"
        " WHERE relnamespace = current_schema()::regnamespace AND starts_with(relname, 'ledger_')"
        " AND NOT tgisinternal AND tgenabled = 'O'"
    )
    return {tuple(map(str, row)) for row in (*columns, *triggers)}


def _expected(dialect: str) -> set[tuple[str, ...]]:
    """What `_found` finds in a ledger."""
    if dialect == "sqlite":
        return {(statement,) for statement in _statements(dialect)}
    types = _TYPES[dialect]
    columns = {(name, column, types[of]) for name, (_, shape) in _SHAPES.items() for column, of in shape.items()}
    return columns | {(name, f"{name}_only", _REFUSE) for name in _APPEND_ONLY}
