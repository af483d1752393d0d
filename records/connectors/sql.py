"""Databases of other systems, by an SQLAlchemy URL and one query.

Rules:
 1. The URL comes from the environment variable that the mapping names, and is never repeated: it may hold a password.
 2. The query is one SELECT. The database itself is told to let nothing be written (SQLite: `query_only`; PostgreSQL,
    MySQL and MariaDB: a read-only transaction), whatever the query says; another database is refused.
 3. Rows come as they are read, never all at once. What a driver says is not passed on: it may quote values.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, CursorResult, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from privacy.errors import InputError
from records.connectors.rows import Binding, Records, as_text, bind
from records.facts import Fault
from records.mapping import Mapping
from records.text_rows import MAX_CELL_BYTES, MAX_ROWS

BATCH_ROWS: Final = 2_000
READ_ONLY: Final = {
    "sqlite": "PRAGMA query_only = ON",
    "postgresql": "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
}
"""What each kind of database is told on every new connection."""

_NOT_CODE: Final = re.compile(
    r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`|\$([A-Za-z_]*)\$.*?\$\1\$", re.DOTALL
)


def records_of(mapping: Mapping) -> Records:
    """The rows of a mapping's query as records; its columns are asked for at once, its rows when iterated.

    Raises:
        InputError: now or while iterating, if the URL, the query or what it answers can not be used.
    """
    name, query = mapping.read.url_from, mapping.read.query
    if mapping.kind != "sql" or name is None or query is None:
        raise InputError(f'{mapping.where}: expected kind = "sql" for a database, got {mapping.kind!r}')
    where = f"the database that {name} names"
    engine = _engine(_url(name), where)
    checked = _one_select(query, mapping.where)
    with _answer(engine, checked, where) as answer:
        names = [str(column) for column in answer.keys()]  # noqa: SIM118 - a result, not a dict
    binding = bind(names, mapping, where)

    def rows(bound: Binding) -> Iterator[tuple[int, Sequence[str | None] | Fault]]:
        with _answer(engine, checked, where) as answer:
            for place, row in enumerate(answer):
                if place >= MAX_ROWS:
                    raise InputError(f"{where}: expected at most {MAX_ROWS} rows, got more")
                yield place, [_cell(row[column], mapping.read.numbers.decimal, where) for column in bound.places]

    return Records(where, binding, rows)


def _url(name: str) -> URL:
    """The URL in an environment variable (rule 1)."""
    value = os.environ.get(name)
    if not value:
        raise InputError(f"environment variable {name}: expected a SQLAlchemy URL, got nothing")
    try:
        url = make_url(value)
    except (ArgumentError, ValueError):
        raise InputError(f"environment variable {name}: expected a SQLAlchemy URL, got something else") from None
    if url.get_backend_name() not in READ_ONLY:  # rule 2
        kinds = ", ".join(READ_ONLY)
        raise InputError(f"environment variable {name}: expected a database among {kinds}, got another")
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        raise InputError(f"environment variable {name}: expected an existing SQLite file, got none")
    return url


def _engine(url: URL, where: str) -> Engine:
    try:
        engine = create_engine(url, hide_parameters=True, pool_size=1, max_overflow=0)
    except (ImportError, SQLAlchemyError, TypeError, ValueError):
        raise InputError(f"{where}: expected an installed driver and options that it knows, got otherwise") from None

    @event.listens_for(engine, "connect")
    def _read_only(connection: Any, _record: Any) -> None:  # rule 2
        cursor = connection.cursor()
        cursor.execute(READ_ONLY[url.get_backend_name()])
        cursor.close()
        connection.commit()

    return engine


def _one_select(query: str, where: str) -> str:
    """The query, if it is one SELECT (rule 2)."""
    code = _NOT_CODE.sub(" ", query).strip().rstrip(";").strip()
    if not re.match(r"(?:SELECT|WITH)\b", code, re.IGNORECASE) or ";" in code:
        raise InputError(f"{where}, 'query': expected one SELECT, got something else")
    return query.strip().rstrip(";")


@contextmanager
def _answer(engine: Engine, query: str, where: str) -> Iterator[CursorResult[Any]]:
    """The open answer to the query; connection and transaction end with it."""
    try:
        with engine.connect().execution_options(stream_results=True, yield_per=BATCH_ROWS) as connection:
            yield _asked(connection, query)
    except SQLAlchemyError as error:
        raise InputError(f"{where}: expected the query to be answered, got {_named(error)}") from None
    except (UnicodeError, ValueError, OverflowError) as error:
        raise InputError(f"{where}: expected plain cells, got {type(error).__name__}") from None
    finally:
        engine.dispose()


def _asked(connection: Connection, query: str) -> CursorResult[Any]:
    """Colons are the query's own: it has no parameters."""
    return connection.execute(text(query.replace(":", "\\:")))


def _named(error: SQLAlchemyError) -> str:
    """What kind of error it was, and its code where the database has one (rule 3)."""
    code = getattr(getattr(error, "orig", None), "sqlstate", None)
    return type(error).__name__ + (f" {code}" if isinstance(code, str) and re.fullmatch("[0-9A-Z]{5}", code) else "")


def _cell(value: object, decimal: str, where: str) -> str | None:
    found = as_text(value, decimal, where)
    if found is not None and (len(found) > MAX_CELL_BYTES or "\0" in found):
        raise InputError(f"{where}: expected plain text of at most {MAX_CELL_BYTES} characters, got other")
    return found
