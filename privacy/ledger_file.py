"""The SQLite file under a ledger: leaves, tree nodes and stored contributions; it knows nothing of budgets.

Nothing is ever updated or deleted (triggers refuse it), every commit is on disk before it returns (journal in DELETE
mode, synchronous=EXTRA: sqlite.org/pragma.html#pragma_synchronous), and a file of another kind is never written to.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from privacy import merkle, signing
from privacy.errors import InputError, KithError

APPLICATION_ID: Final = int.from_bytes(b"Kith", "big")
FORMAT: Final = 1
BUSY_SECONDS: Final = 30.0

_TABLES: Final = (
    "CREATE TABLE entries (position INTEGER PRIMARY KEY, leaf BLOB NOT NULL) STRICT",
    "CREATE TABLE nodes (level INTEGER, position INTEGER, hash BLOB NOT NULL, PRIMARY KEY (level, position))"
    " STRICT, WITHOUT ROWID",
    'CREATE TABLE contributions (charge INTEGER PRIMARY KEY, "values" BLOB NOT NULL, receipt BLOB NOT NULL) STRICT',
)
_TRIGGERS: Final = tuple(
    f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table} BEGIN SELECT RAISE(ABORT, 'append only'); END"
    for table in ("entries", "nodes", "contributions")
    for verb in ("UPDATE", "DELETE")
)


class LedgerUnavailable(KithError):  # noqa: N818  (named as the errors beside it in privacy.errors)
    """The ledger can not be read or written now (disk full, locked, I/O error); what it held it still holds."""


class LedgerFile:
    """An open file. Its methods are called within `reading` or `writing`."""

    def __init__(self, path: Path) -> None:
        """Open the existing file at `path`.

        Raises:
            InputError: if it is no ledger file.
            LedgerUnavailable: if it can not be read now.
        """
        if not path.is_file():
            raise InputError(f"ledger {path}: expected a file, got none")
        self._connection = _connect(path)
        try:
            with translated(), self.reading():
                self._check(path)
        except BaseException:
            self.close()
            raise

    @classmethod
    def create(cls, path: Path, first: bytes, on_step: Callable[[str], None]) -> None:
        """Write a new file whose only leaf is `first`; it appears at `path` complete or not at all.

        Raises:
            InputError: if `path` exists or can not be written.
        """
        new = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.new")
        try:
            os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            try:
                _initialise(new, first, on_step)
                os.link(new, path)  # unlike a rename, fails if `path` exists
                on_step("create: linked")
            finally:
                new.unlink(missing_ok=True)
            signing.sync_directory(path.parent)
        except OSError as error:
            raise InputError(f"ledger {path}: expected a new file that can be written, got {error.strerror}") from None

    def close(self) -> None:
        """Close the file; the object is of no use afterwards."""
        self._connection.close()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """One moment of the file, also within another `reading` or `writing`."""
        if self._connection.in_transaction:
            yield
            return
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """The one writer's transaction: on disk when it ends, or undone if it raises."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # a full disk has undone it by itself
                self._connection.execute("ROLLBACK")
            raise

    def append(self, position: int, leaf: bytes) -> None:
        """Add leaf number `position`, and the tree nodes that it completes."""
        _insert(self._connection, position, leaf, self.node)

    def leaves(self, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """(position, leaf) from `start` on, in order."""
        # Two searches by key: with OR in one query SQLite would read the whole table.
        for where, bound in (("position < ?", 0), ("position >= ?", start)):
            query = f"SELECT position, leaf FROM entries WHERE {where} ORDER BY position"  # noqa: S608
            for position, leaf in self._connection.execute(query, (bound,)):
                yield position, bytes(leaf)

    def leaf(self, position: int) -> bytes:
        """The leaf at `position`."""
        row = self._connection.execute("SELECT leaf FROM entries WHERE position = ?", (position,)).fetchone()
        if row is None:
            raise InputError(f"ledger: expected entry {position}, got none")
        return bytes(row[0])

    def node(self, level: int, position: int) -> bytes:
        """The stored hash of a complete subtree (`merkle.Node`)."""
        query = "SELECT hash FROM nodes WHERE level = ? AND position = ?"
        row = self._connection.execute(query, (level, position)).fetchone()
        if row is None:
            raise InputError(f"ledger: expected tree node {level}/{position}, got none")
        return bytes(row[0])

    def nodes(self) -> dict[tuple[int, int], bytes]:
        """Every stored node, by (level, position)."""
        rows = self._connection.execute("SELECT level, position, hash FROM nodes")
        return {(level, position): bytes(value) for level, position, value in rows}

    def store(self, charge: int, values: bytes, receipt: bytes) -> None:
        """Keep what left under the charge at that position."""
        self._connection.execute("INSERT INTO contributions VALUES (?, ?, ?)", (charge, values, receipt))

    def stored(self, charge: int) -> tuple[bytes, bytes]:
        """The values and the receipt kept under a charge."""
        query = 'SELECT "values", receipt FROM contributions WHERE charge = ?'
        row = self._connection.execute(query, (charge,)).fetchone()
        if row is None:
            raise InputError(f"ledger: expected what was settled under charge {charge}, got none")
        return bytes(row[0]), bytes(row[1])

    def all_stored(self) -> Iterator[tuple[int, bytes, bytes]]:
        """(charge, values, receipt) of everything kept."""
        for charge, values, receipt in self._connection.execute('SELECT charge, "values", receipt FROM contributions'):
            yield charge, bytes(values), bytes(receipt)

    def _check(self, path: Path) -> None:
        names = ("application_id", "user_version")
        identity = [self._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]
        schema = {row[0] for row in self._connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
        if identity != [APPLICATION_ID, FORMAT] or schema != {*_TABLES, *_TRIGGERS}:
            raise InputError(f"ledger {path}: expected a Kith ledger of format {FORMAT}, got another file")


@contextmanager
def translated() -> Iterator[None]:
    """SQLite's errors as ours: unavailable now, or damaged."""
    try:
        yield
    except (sqlite3.OperationalError, sqlite3.ProgrammingError) as error:
        raise LedgerUnavailable(f"ledger: expected to read and write its file, got: {error}") from None
    except sqlite3.Error as error:
        raise InputError(f"ledger: expected an undamaged ledger file, got: {error}") from None


def _connect(path: Path) -> sqlite3.Connection:
    with translated():
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            uri=True,
            isolation_level=None,
            timeout=BUSY_SECONDS,
            check_same_thread=False,
        )
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA synchronous = EXTRA")
        connection.execute("PRAGMA fullfsync = ON")
        return connection


def _initialise(path: Path, first: bytes, on_step: Callable[[str], None]) -> None:
    connection = _connect(path)
    try:
        with translated():
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("BEGIN IMMEDIATE")
            for statement in (*_TABLES, *_TRIGGERS):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {FORMAT}")
            _insert(connection, 0, first, _no_node)
            on_step("create: written")
            connection.execute("COMMIT")
            on_step("create: committed")
    finally:
        connection.close()


def _insert(connection: sqlite3.Connection, position: int, leaf: bytes, node: merkle.Node) -> None:
    connection.execute("INSERT INTO entries VALUES (?, ?)", (position, leaf))
    nodes = merkle.completed(position, merkle.leaf_hash(leaf), node)
    rows = [(level, at, value) for (level, at), value in nodes.items()]
    connection.executemany("INSERT INTO nodes VALUES (?, ?, ?)", rows)


def _no_node(level: int, position: int) -> bytes:
    raise InputError(f"ledger: expected no tree yet, got a request for node {level}/{position}")
