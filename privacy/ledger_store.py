"""Where a ledger's database is, how it comes to be, and its transactions. No rule of spending.

Rules:
    1. One writer at a time; what is written is on disk when the transaction returns. SQLite: a write-ahead log with
       synchronous=FULL (sqlite.org/pragma.html#pragma_synchronous). PostgreSQL: one advisory lock, and a server that
       does not wait for its disk is refused.
    2. A SQLite file appears complete or not at all, and is its owner's alone.
    3. What is no ledger is refused, and left as it was.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from privacy import databases, ledger_tables, signing
from privacy.databases import DatabaseUnavailable
from privacy.errors import InputError
from privacy.ledger_book import Crowds, LedgerBook

BUSY_SECONDS: Final = 30
"""How long a writer waits for another."""
LOCK: Final = int.from_bytes(b"KithLedg", "big")
_PRAGMAS: Final[dict[str, str | int]] = {
    "busy_timeout": BUSY_SECONDS * 1000,
    "trusted_schema": "OFF",
    "synchronous": "FULL",
    "fullfsync": "ON",
    "checkpoint_fullfsync": "ON",
}
_NEW_FILE: Final[dict[str, str | int]] = _PRAGMAS | {"journal_mode": "DELETE", "synchronous": "EXTRA"}
_LOGGED: Final[dict[str, str | int]] = _PRAGMAS | {"journal_mode": "WAL"}
_SIDE_FILES: Final = ("-wal", "-shm", "-journal")
_DURABLE: Final = ("fsync", "synchronous_commit", "full_page_writes")


class LedgerStore:
    """An open ledger's database; safe to share between threads and processes, forked ones too."""

    def __init__(self, address: Path | str) -> None:
        """Open what `create` made.

        Raises:
            InputError: if it is no ledger (rule 3), or a server that loses what it has committed (rule 1).
            DatabaseUnavailable: if it can not be read now.
        """
        url = _url(address)
        self._where = url.render_as_string() if url.get_backend_name() != "sqlite" else str(url.database)
        if url.get_backend_name() == "sqlite":
            path = Path(str(url.database))
            _check_header(path)
            # mode=rw: SQLite must not make a file anew that somebody has taken away.
            url = URL.create("sqlite", database=path.as_uri(), query={"mode": "rw", "uri": "true"})
        self._crowds = Crowds()
        self._engine = databases.create_engine_for(url, _PRAGMAS)
        try:
            with _damaged(self._where), databases.reading(self._engine) as connection:
                ledger_tables.check(connection)
                _require_durable(connection)
        except BaseException:
            self.close()
            raise

    @classmethod
    def create(cls, address: Path | str, fill: Callable[[LedgerBook], None], on_step: Callable[[str], None]) -> None:
        """A new ledger, filled in the transaction that makes it.

        Raises:
            InputError: if there is something already, or it can not be written.
            DatabaseUnavailable: if the disk is full, or the server can not be reached.
        """
        url = _url(address)
        if url.get_backend_name() != "sqlite":
            _create_in(databases.create_engine_for(url, {}), fill, on_step)
            return
        path = Path(str(url.database))
        new = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
        url = url.set(database=str(new))
        try:
            _refuse_side_files(path)
            os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            try:
                _create_in(databases.create_engine_for(url, _NEW_FILE), fill, on_step)
                _turn_to_log(databases.create_engine_for(url, _LOGGED))
                os.link(new, path)  # unlike a rename, fails if `path` exists (rule 3)
                on_step("create: linked")
            finally:
                new.unlink(missing_ok=True)
            signing.sync_directory(path.parent)
        except OSError as error:
            raise InputError(f"ledger {path}: expected a new file that can be written, got {error.strerror}") from None

    def close(self) -> None:
        """Close every connection; the object is of no use afterwards."""
        self._engine.dispose()

    @contextmanager
    def reading(self, anew: bool = False) -> Iterator[LedgerBook]:
        """One moment of the ledger; `anew`, without what was kept in memory from before."""
        with _damaged(self._where), databases.reading(self._engine) as connection:
            yield LedgerBook(connection, Crowds() if anew else self._crowds)

    @contextmanager
    def writing(self) -> Iterator[LedgerBook]:
        """The one writer's transaction: on disk when it ends, or undone if it raises (rule 1)."""
        with _damaged(self._where), databases.writing(self._engine) as connection:
            _take_turn(connection)
            yield LedgerBook(connection, self._crowds)


def _url(address: Path | str) -> URL:
    if isinstance(address, Path):
        return URL.create("sqlite", database=str(address.absolute()))
    return databases.address(address, Path.cwd())


def _check_header(path: Path) -> None:
    """Rule 3: SQLite does not even open a file that does not say it is a ledger."""
    if not path.is_file():
        raise InputError(f"ledger {path}: expected a file, got none")
    try:
        with path.open("rb") as file:
            data = file.read(ledger_tables.HEADER_BYTES)
    except OSError as error:
        raise InputError(f"ledger {path}: expected a file that can be read, got {error.strerror}") from None
    if not ledger_tables.has_header(data):
        raise InputError(f"ledger {path}: expected a Kith ledger, got another file")


def _refuse_side_files(path: Path) -> None:
    """SQLite would take an earlier ledger's log, left beside a file that was deleted, for the new file's own."""
    for side in _SIDE_FILES:
        if path.with_name(path.name + side).exists():
            raise InputError(f"ledger {path}: expected a new file, got {path.name}{side} of an earlier one beside it")


def _take_turn(connection: sa.Connection) -> None:
    """One writer at a time; SQLite's transaction has the lock already (rule 1)."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{BUSY_SECONDS}s'")
        connection.exec_driver_sql("SET LOCAL synchronous_commit = on")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")


def _create_in(engine: sa.Engine, fill: Callable[[LedgerBook], None], on_step: Callable[[str], None]) -> None:
    try:
        with _damaged("to be made"), databases.writing(engine) as connection:
            _require_durable(connection)
            _take_turn(connection)
            ledger_tables.create(connection)
            fill(LedgerBook(connection, Crowds()))
            on_step("create: written")
        on_step("create: committed")
    finally:
        engine.dispose()


def _turn_to_log(engine: sa.Engine) -> None:
    """Only now, for what is written to a log first is in the file only once the log is closed, if the disk lets it."""
    try:
        with databases.reading(engine):
            pass
    finally:
        engine.dispose()


def _require_durable(connection: sa.Connection) -> None:
    """Rule 1: a server that says "written" before it is would lose charges in a power cut."""
    if connection.dialect.name != "postgresql":
        return
    for setting in _DURABLE:
        if connection.exec_driver_sql(f"SHOW {setting}").scalar() == "off":
            raise InputError(f"ledger: expected a server with {setting} on, got off (store rule 1)")


@contextmanager
def _damaged(where: str) -> Iterator[None]:
    """The database's errors as ours: unavailable now, or damaged."""
    try:
        yield
    except DatabaseUnavailable:
        raise
    except SQLAlchemyError as error:
        got = type(getattr(error, "orig", None) or error).__name__
        raise InputError(f"ledger {where}: expected an undamaged ledger, got {got}") from None
