"""Databases that keep people's data: their settings, schemas and the rewriting of what was deleted.

Rules (beside those of `privacy.databases`)
1. Of a SQLite database what is deleted is overwritten.
2. A database is used only if it is of the newest migration's schema.
"""

from __future__ import annotations

import re
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import Connection, Engine, MetaData, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from privacy import databases
from privacy.errors import InputError, KithError

if TYPE_CHECKING:
    import psycopg

MIGRATIONS: Final = Path(__file__).parent / "migrations"
BUSY_SECONDS: Final = 600
"""How long a SQLite writer waits for another one, an objection for a long ingest; on PostgreSQL without end."""
PURGE_SECONDS: Final = 60
"""How long a purge waits for readers and writers."""


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


def create_engine_for(url: URL) -> Engine:
    """An engine on `url` for people's data; no connection is opened yet.

    Raises:
        InputError: if the driver is not installed.
    """
    pragmas: dict[str, str | int] = {
        "busy_timeout": BUSY_SECONDS * 1000,
        "journal_mode": "WAL",
        "synchronous": "FULL",
        "foreign_keys": "ON",
        "secure_delete": "ON",  # rule 1
    }
    return databases.create_engine_for(url, pragmas)


def create(url: URL, schema: Schema) -> None:
    """Bring a database to a schema, making the SQLite file if there is none.

    Raises:
        InputError: if the driver is not installed, or the SQLite file can not be written.
        KithError: if the database refuses.
    """
    if url.get_backend_name() == "sqlite":
        databases.create_private(Path(str(url.database)))
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
    with databases.answering(), engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"SET lock_timeout = {PURGE_SECONDS * 1000}"))
        try:
            _vacuum_full(connection, names)
        finally:
            connection.execute(text("RESET lock_timeout"))


def _vacuum_full(connection: Connection, names: str) -> None:
    """Rewrite tables until no deleted row is in them: one that some snapshot may still see is copied, and not said.

    Plain VACUUM leaves the bytes in the pages' gaps.
    """
    session = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
    kept: list[int] = []

    def note(notice: psycopg.errors.Diagnostic) -> None:
        kept.extend(
            map(int, re.findall(r"^[0-9]+", notice.message_detail or ""))
        )  # "N dead row versions cannot be ..."

    session.add_notice_handler(note)
    try:
        ends = time.monotonic() + PURGE_SECONDS
        while True:
            kept.clear()
            connection.execute(text(f"VACUUM (FULL, VERBOSE) {names}"))
            if not any(kept):
                return
            if time.monotonic() > ends:
                raise KithError("database: expected no transaction that still sees deleted rows, got one")
            time.sleep(0.1)
    finally:
        session.remove_notice_handler(note)


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
        return None  # connecting would make one, open to others
    try:
        with engine.connect() as connection:
            return cast("str | None", connection.execute(text(f"SELECT version_num FROM {schema.table}")).scalar())  # noqa: S608
    except SQLAlchemyError:
        return None


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
