"""What a site has decided in its secure sums, on disk before it is told to anybody.

Rules:
    1. What is written first about something stays. Whoever writes later learns what it was, and nothing changes.
    2. It is on disk when `first` returns: SQLite's write-ahead log with synchronous=FULL.
    3. The file is its owner's alone. What is forgotten is overwritten, as far as SQLite reaches.
    4. Of a run that is forgotten one thing stays: that it was. It is never begun again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from privacy import databases
from privacy.databases import DatabaseUnavailable
from privacy.errors import InputError, Refused

_PRAGMAS: Final[dict[str, str | int]] = {
    "busy_timeout": 30_000,
    "trusted_schema": "OFF",
    "journal_mode": "WAL",
    "synchronous": "FULL",
    "secure_delete": "ON",
}
_ENDED: Final = "ended"
_decisions: Final = sa.Table(
    "decisions",
    sa.MetaData(),
    sa.Column("run", sa.String, primary_key=True),
    sa.Column("what", sa.String, primary_key=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
)
_BODY: Final = sa.select(_decisions.c.body).where(
    _decisions.c.run == sa.bindparam("of_run"), _decisions.c.what == sa.bindparam("about")
)
_WRITE: Final = sa.insert(_decisions)


class SumStore:
    """A site's decisions; safe to share between threads and processes."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises:
            InputError: if it can not be written, or is something else.
            DatabaseUnavailable: if it does not answer now.
        """
        databases.create_private(path)  # rule 3
        url = sa.engine.URL.create("sqlite", database=str(path.resolve()))
        self._engine = databases.create_engine_for(url, _PRAGMAS)
        try:
            with databases.writing(self._engine) as connection:
                _decisions.create(connection, checkfirst=True)
        except DatabaseUnavailable:
            self.close()
            raise
        except SQLAlchemyError:
            self.close()
            raise InputError(f"{path}: expected a site's file of secure sums, got another") from None

    def close(self) -> None:
        """Close every connection; the object is of no use afterwards."""
        self._engine.dispose()

    def first(self, run: str, what: str, body: bytes) -> bytes:
        """Write `body` about something in a run, unless something is written: in either case what stands there then.

        Raises:
            Refused: if the run was forgotten (rule 4).
            DatabaseUnavailable: if it could not be written.
        """
        with databases.writing(self._engine) as connection:
            written = _read(connection, run, what)
            if written is not None:
                return written  # rule 1
            if _read(connection, run, _ENDED) is not None:
                raise Refused(f"run {run!r:.80}: expected one that goes on, got one that has ended here")  # rule 4
            connection.execute(_WRITE, {"run": run, "what": what, "body": body})
        return body  # rule 2

    def read(self, run: str, what: str) -> bytes | None:
        """What was written; None if nothing was."""
        with databases.reading(self._engine) as connection:
            return _read(connection, run, what)

    def forget(self, run: str) -> None:
        """Delete all that was written of a run (rules 3 and 4); of a run that nothing was written of, nothing is."""
        with databases.writing(self._engine) as connection:
            if connection.execute(_decisions.delete().where(_decisions.c.run == run)).rowcount:
                connection.execute(_WRITE, {"run": run, "what": _ENDED, "body": b""})
        with databases.answering(), self._engine.connect() as connection:
            raw = connection.connection.dbapi_connection
            if raw is not None:
                raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _read(connection: sa.Connection, run: str, what: str) -> bytes | None:
    found = connection.execute(_BODY, {"of_run": run, "about": what}).scalar_one_or_none()
    return None if found is None else bytes(found)
