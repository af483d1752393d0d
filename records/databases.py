"""One way to open a database, SQLite or PostgreSQL, so that it keeps people's data as promised.

Rules
1. A password stands in the environment: never in a file of settings, a message or a log.
2. A SQLite file and its side files are their owner's alone (0600); what is deleted is overwritten.
3. Errors never repeat a value that was written, whatever the driver says.
4. A reader sees one state and writes nothing; a writer commits at the end or leaves no trace, one at a time.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from sqlalchemy import Connection, Engine, MetaData, create_engine, event, text
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError, InternalError, OperationalError, SQLAlchemyError

from privacy.errors import InputError, KithError

MIGRATIONS: Final = Path(__file__).parent / "migrations"
FROM_ENVIRONMENT: Final = "env:"
BUSY_SECONDS: Final = 600
"""How long a SQLite writer waits for another one, an objection for a long ingest; on PostgreSQL without end."""
PURGE_SECONDS: Final = 60
"""How long a purge waits for readers and writers."""
_DRIVERS: Final = ("sqlite", "sqlite+pysqlite", "postgresql", "postgresql+psycopg")
_MODE: Final = "kith_mode"
_INTEGRITY: Final = "23"


@dataclass(frozen=True, slots=True)
class Schema:
    """Tables as their newest migration leaves them.

    Attributes:
        versions: folder of the Alembic migrations.
        table: where a database keeps its revision: another for each schema, so that several may share a database.
        revision: the newest migration's.
    """

    versions: Path
    table: str
    revision: str


STORE: Final = Schema(MIGRATIONS / "store", "store_schema", "0001")
VAULT: Final = Schema(MIGRATIONS / "vault", "vault_schema", "0001")


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


def create_engine_for(url: URL) -> Engine:
    """An engine on `url`; no connection is opened yet.

    Raises:
        InputError: if the driver is not installed.
    """
    try:
        # rule 3: hide_parameters leaves out of messages what was written.
        engine = create_engine(url, hide_parameters=True, pool_pre_ping=url.get_backend_name() != "sqlite")
    except (ImportError, SQLAlchemyError):
        raise InputError(f"database: expected an installed driver, got none for {url.drivername}") from None
    event.listen(engine, "handle_error", _drop_values)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection that sees one state from its first statement on, and may not write (rule 4)."""
    options: dict[str, Any] = {_MODE: "read"}
    if engine.dialect.name == "postgresql":
        options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with _answering(), engine.connect().execution_options(**options) as connection, connection.begin():
        yield connection


class Undo(Exception):  # noqa: N818 - no error: whoever raises it has found nothing to write
    """Raised in a writing transaction: it leaves no trace, and the exception goes no further."""


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A connection whose one transaction commits at the end, or leaves no trace if an exception passes (rule 4).

    On SQLite it holds the write lock from the start, so what it read still holds when it writes. `Undo` ends it here.
    """
    with (
        suppress(Undo),
        _answering(),
        engine.connect().execution_options(**{_MODE: "write"}) as connection,
        connection.begin(),
    ):
        yield connection


def create(url: URL, schema: Schema) -> None:
    """Bring a database to a schema, making the SQLite file if there is none.

    Raises:
        InputError: if the driver is not installed, or the SQLite file can not be written.
        KithError: if the database refuses.
    """
    if url.get_backend_name() == "sqlite":
        _create_private(Path(str(url.database)))
    engine = create_engine_for(url)
    try:
        _migrate(engine, schema)
    except SQLAlchemyError as error:
        raise KithError(f"database: expected to bring it to its schema, got {type(error).__name__}") from None
    finally:
        engine.dispose()


def require(engine: Engine, schema: Schema) -> None:
    """Return if the database answers and is of this schema.

    Raises:
        InputError: if not.
    """
    if (found := _revision(engine, schema)) != schema.revision:
        got = "none, or no answer" if found is None else repr(found)[:20]
        raise InputError(f"database: expected revision {schema.revision} of {schema.table}, got {got}")


def purge(engine: Engine, metadata: MetaData) -> None:
    """Rewrite the tables, so that what was deleted is in none of the database's own files any more.

    Of a SQLite database these are the file, its write-ahead log and its index. Backups, and the archived log of a
    PostgreSQL server, are the operator's.

    Raises:
        KithError: if readers or writers do not make way for it.
    """
    if engine.dialect.name == "sqlite":
        _purge_sqlite(engine)
        return
    names = ", ".join(engine.dialect.identifier_preparer.format_table(table) for table in metadata.tables.values())
    with _answering(), engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"SET lock_timeout = {PURGE_SECONDS * 1000}"))
        try:
            connection.execute(text(f"VACUUM (FULL) {names}"))  # plain VACUUM leaves the bytes in the pages' gaps
        finally:
            connection.execute(text("RESET lock_timeout"))


def _from_environment(name: str) -> str:
    if value := os.environ.get(name):
        return value
    raise InputError(f"database: expected its URL in the environment variable {name!r:.60}, got nothing")


def _migrate(engine: Engine, schema: Schema) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"engine": engine, "version_table": schema.table})
    options = {"script_location": MIGRATIONS, "path_separator": "newline", "version_locations": schema.versions}
    for option, value in options.items():
        config.set_main_option(option, str(value).replace("%", "%%"))
    command.upgrade(config, "head")


def _revision(engine: Engine, schema: Schema) -> str | None:
    """The revision that the database has; None if it has none or does not answer."""
    if engine.dialect.name == "sqlite" and not Path(str(engine.url.database)).is_file():
        return None  # connecting would make one, open to others (rule 2)
    try:
        with engine.connect() as connection:
            return cast("str | None", connection.execute(text(f"SELECT version_num FROM {schema.table}")).scalar())  # noqa: S608
    except SQLAlchemyError:
        return None


def _configure_sqlite(connection: Any, _record: Any) -> None:
    """Per connection: transactions are ours (not the driver's), a write-ahead log, durable commits, foreign keys."""
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout={BUSY_SECONDS * 1000}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "secure_delete=ON",  # rule 2
    ):
        connection.execute(f"PRAGMA {pragma}")


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
def _answering() -> Iterator[None]:
    """Turns "the database is locked, full, gone" into one line."""
    try:
        yield
    except (OperationalError, InternalError) as error:
        raise KithError(f"database: expected it to answer, got {type(error.orig).__name__}") from error


def _purge_sqlite(engine: Engine) -> None:
    """secure_delete blanks deleted cells, but a page whose cells moved to another one may keep copies: hence VACUUM."""
    try:
        with closing(engine.raw_connection()) as connection:
            cursor = connection.cursor()
            cursor.execute("PRAGMA query_only=OFF")
            cursor.execute(f"PRAGMA busy_timeout={PURGE_SECONDS * 1000}")
            try:
                cursor.execute("VACUUM")
                busy = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            finally:
                cursor.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
    except (sqlite3.OperationalError, OperationalError) as error:
        raise KithError(f"database: expected to rewrite it, got {type(error).__name__}") from None
    if busy:
        raise KithError("database: expected no reader while its log is emptied, got one that does not end")


def _create_private(path: Path) -> None:
    """A file that only its owner can read, empty if it is new; SQLite gives its side files the same mode (rule 2)."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        os.fchmod(descriptor, 0o600)  # of a file that was there too
        os.close(descriptor)
    except OSError as error:
        raise InputError(f"database: expected a file that can be written at {path}, got {error.strerror}") from None
