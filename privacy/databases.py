"""One way to open a database, SQLite or PostgreSQL, so that it keeps what is in it as promised.

Rules
1. A password stands in the environment: never in a file of settings, a message or a log.
2. A SQLite file and its side files are their owner's alone (0600).
3. Errors never repeat a value that was written, whatever the driver says.
4. A reader sees one state and writes nothing; a writer commits at the end or leaves no trace, one at a time.
5. No connection lives on in a forked process: SQLite knows what is locked by the process, so a child that inherits a
   connection takes its parent's locks for its own (sqlite.org/howtocorrupt.html, section 2.6).
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError, InternalError, OperationalError, SQLAlchemyError, TimeoutError

from privacy.errors import InputError, KithError

FROM_ENVIRONMENT: Final = "env:"
_DRIVERS: Final = ("sqlite", "sqlite+pysqlite", "postgresql", "postgresql+psycopg")
_MODE: Final = "kith_mode"
_INTEGRITY: Final = "23"
_engines: Final[weakref.WeakSet[Engine]] = weakref.WeakSet()


class DatabaseUnavailable(KithError):  # noqa: N818  (named as the errors of privacy.errors)
    """The database can not be read or written now (locked, full, gone); what it held it still holds."""


def address(named: str, folder: Path) -> URL:
    """The database that `named` names: a URL without a password, or "env:NAME" for one in an environment variable.

    A SQLite file is relative to `folder`.

    Raises:
        InputError: if it is no URL of a SQLite file or a PostgreSQL database, or holds a password itself (rule 1).
    """
    if named.startswith(FROM_ENVIRONMENT):
        return located(_from_environment(named.removeprefix(FROM_ENVIRONMENT)), folder)
    url = located(named, folder)
    if url.password or any("password" in key for key in url.query):  # rule 1
        raise InputError("database: expected env:NAME for a URL with a password, got the password itself")
    return url


def located(named: str, folder: Path) -> URL:
    """A SQLAlchemy URL, that of a SQLite file relative to `folder`.

    Raises:
        InputError: if it is no URL of a SQLite file or a PostgreSQL database.
    """
    try:
        url = make_url(named)
    except (ArgumentError, ValueError):
        raise InputError("database: expected a URL such as sqlite:///records.sqlite, got otherwise") from None
    if url.drivername not in _DRIVERS:
        raise InputError(f"database: expected {' or '.join(_DRIVERS[::2])}, got another kind")
    if url.get_backend_name() != "sqlite":
        return url
    if url.database in (None, "", ":memory:") or url.query or url.host or "\0" in str(url.database):
        raise InputError("database: expected the path of a SQLite file, got otherwise")
    return url.set(database=str((folder / str(url.database)).resolve()))


def create_engine_for(url: URL, pragmas: Mapping[str, str | int]) -> Engine:
    """An engine on `url`; no connection is opened yet. `pragmas` are set on every connection to SQLite, in order.

    Raises:
        InputError: if the driver is not installed.
    """
    try:
        # rule 3: hide_parameters leaves out of messages what was written.
        engine = create_engine(url, hide_parameters=True, pool_pre_ping=url.get_backend_name() != "sqlite")
    except (ImportError, SQLAlchemyError):
        raise InputError(f"database: expected an installed driver, got none for {url.drivername}") from None
    _engines.add(engine)
    event.listen(engine, "handle_error", _drop_values)
    if engine.dialect.name == "sqlite":
        settings = tuple(f"PRAGMA {name} = {value}" for name, value in pragmas.items())
        event.listen(engine, "connect", lambda connection, _record: _configure_sqlite(connection, settings))
        event.listen(engine, "begin", _begin_sqlite)
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection that sees one state from its first statement on, and may not write (rule 4)."""
    options: dict[str, Any] = {_MODE: "read"}
    if engine.dialect.name == "postgresql":
        options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with answering(), engine.connect().execution_options(**options) as connection, connection.begin():
        yield connection


class Undo(Exception):  # noqa: N818 - no error: whoever raises it has found nothing to write
    """Raised in a writing transaction: it leaves no trace, and the exception goes no further."""


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A connection whose one transaction commits at the end, or leaves no trace if an exception passes (rule 4).

    On SQLite it holds the write lock from the start, so what it read still holds when it writes. On PostgreSQL every
    statement sees what was committed before it, so that whoever waited for a lock reads what the last holder wrote.
    `Undo` ends it here.
    """
    options: dict[str, Any] = {_MODE: "write"}
    if engine.dialect.name == "postgresql":
        options |= {"isolation_level": "READ COMMITTED"}
    with (
        suppress(Undo),
        answering(),
        engine.connect().execution_options(**options) as connection,
        connection.begin(),
    ):
        yield connection


def create_private(path: Path) -> None:
    """A file that only its owner can read, empty if it is new; SQLite gives its side files the same mode (rule 2).

    Raises:
        InputError: if it can not be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        os.fchmod(descriptor, 0o600)  # of a file that was there too
        os.close(descriptor)
    except OSError as error:
        raise InputError(f"database: expected a file that can be written at {path}, got {error.strerror}") from None


def _from_environment(name: str) -> str:
    if value := os.environ.get(name):
        return value
    raise InputError(f"database: expected its URL in the environment variable {name!r:.60}, got nothing")


def _configure_sqlite(connection: Any, settings: tuple[str, ...]) -> None:
    connection.isolation_level = None  # transactions are ours, not the driver's
    for setting in settings:
        connection.execute(setting)


def _begin_sqlite(connection: Connection) -> None:
    """A writer takes the lock at once: upgrading a read lock later can only fail. A reader can not write (rule 4)."""
    mode = connection.get_execution_options().get(_MODE)
    connection.exec_driver_sql(f"PRAGMA query_only={'ON' if mode == 'read' else 'OFF'}")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if mode == "write" else "BEGIN")


def _drop_values(context: ExceptionContext) -> None:
    """PostgreSQL quotes the row that broke a rule, or the value that it could not read (rule 3)."""
    error = context.original_exception
    diagnosis = getattr(error, "diag", None)
    if diagnosis is None or diagnosis.sqlstate is None:
        return
    names_only = diagnosis.sqlstate.startswith(_INTEGRITY)
    said = f"{diagnosis.message_primary if names_only else 'refused'} (SQLSTATE {diagnosis.sqlstate})"
    error.args = (said,)
    if context.sqlalchemy_exception is not None:
        context.sqlalchemy_exception.args = (f"({type(error).__name__}) {said}",)


@contextmanager
def answering() -> Iterator[None]:
    """Turns "the database is locked, full, gone" into one line."""
    try:
        yield
    except (OperationalError, InternalError, TimeoutError) as error:
        raise DatabaseUnavailable(f"database: expected it to answer, got {_name(error)}") from error


def _name(error: SQLAlchemyError) -> str:
    """What a driver calls its error, with SQLite's own name of it where there is one: never its words (rule 3)."""
    cause = getattr(error, "orig", None) or error
    named = getattr(cause, "sqlite_errorname", None)
    return f"{type(cause).__name__} {named}" if named else type(cause).__name__


def _close_idle() -> None:
    """Rule 5. A connection that another thread uses at this moment is that thread's, which the child does not have."""
    for engine in tuple(_engines):
        engine.dispose()


os.register_at_fork(before=_close_idle)
