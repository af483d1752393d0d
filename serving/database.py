"""The service's state: what was recommended, on which inputs, and who decided what about it.

Rules, kept by the database itself (triggers of the migrations), whatever program writes to it
1. A recommendation comes into being as proposed, abstained or ready; ready only at low stakes.
2. It leaves proposed only towards approved or declined, with as many decisions on record as its stakes ask for, and
   approved only if all of them approve.
3. Everything about a recommendation but status and version stays as it was written; decisions are never changed or
   deleted.
4. Nobody decides twice on one recommendation, on their own request, on themselves, or on one not proposed.

SQLite is the embedded default; any other database that SQLAlchemy and the migrations know (PostgreSQL) goes by URL.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import CheckConstraint, Engine, ForeignKey, Text, UniqueConstraint, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from privacy.errors import InputError, KithError

SCHEMA: Final = "0001"
"""Revision of the newest migration; a test holds it against the migrations."""
MIGRATIONS: Final = Path(__file__).parent / "migrations"
_WRITES: Final = "kith_writes"
_BUSY_SECONDS: Final = 20


class Base(DeclarativeBase):
    """Tables of the service."""


class Recommendation(Base):
    """One recommendation with everything it was made from."""

    __tablename__ = "recommendations"
    __table_args__ = (
        CheckConstraint("status IN ('proposed', 'abstained', 'ready', 'approved', 'declined')", name="known_status"),
        CheckConstraint(
            "(stakes = 'low' AND decisions_needed = 0) OR (stakes = 'medium' AND decisions_needed = 1)"
            " OR (stakes = 'high' AND decisions_needed = 2)",
            name="stakes_decide",
        ),
    )

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(Text, unique=True)
    use_case: Mapped[str] = mapped_column(Text)
    site: Mapped[str] = mapped_column(Text, index=True)
    employee: Mapped[str] = mapped_column(Text)
    requested_by: Mapped[str] = mapped_column(Text)
    stakes: Mapped[str] = mapped_column(Text)
    decisions_needed: Mapped[int]
    status: Mapped[str] = mapped_column(Text, index=True)
    version: Mapped[int] = mapped_column(default=1)
    inputs: Mapped[str] = mapped_column(Text)
    explanation: Mapped[str] = mapped_column(Text)
    actions: Mapped[str] = mapped_column(Text)
    model_digest: Mapped[str] = mapped_column(Text)
    certificate_digest: Mapped[str] = mapped_column(Text)
    idempotency_key: Mapped[str | None] = mapped_column(Text, unique=True)
    request_digest: Mapped[str] = mapped_column(Text)
    created_at: Mapped[str] = mapped_column(Text)
    decisions: Mapped[list[Decision]] = relationship(order_by="Decision.number", viewonly=True)

    @property
    def etag(self) -> str:
        """Entity tag of this version (RFC 9110, section 8.8.3)."""
        return f'"{self.version}"'


class Decision(Base):
    """One person's decision on one recommendation."""

    __tablename__ = "decisions"
    __table_args__ = (
        UniqueConstraint("recommendation_id", "decided_by", name="once_per_person"),
        CheckConstraint("outcome IN ('approve', 'decline')", name="known_outcome"),
        CheckConstraint("length(reason) >= 20", name="reason_given"),
    )

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    recommendation_id: Mapped[str] = mapped_column(ForeignKey("recommendations.id"))
    decided_by: Mapped[str] = mapped_column(Text)
    outcome: Mapped[str] = mapped_column(Text)
    reason_code: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    decided_at: Mapped[str] = mapped_column(Text)


class Store:
    """Sessions on one database."""

    def __init__(self, url: str) -> None:
        """Prepare connections; none is opened yet.

        Raises:
            InputError: if the URL or its driver is unknown.
        """
        self._engine = _engine(url)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one state and writes nothing."""
        with Session(self._engine) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session that commits at the end, or leaves no trace if an exception passes.

        On SQLite it holds the write lock from its first statement, so what it read still holds when it writes.
        """
        connection = self._engine.connect().execution_options(**{_WRITES: True})
        with connection, Session(connection, expire_on_commit=False) as session, session.begin():
            yield session

    def is_current(self) -> bool:
        """Whether the database answers and its schema is this program's."""
        try:
            with self._engine.connect() as connection:
                return connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == SCHEMA
        except SQLAlchemyError:
            return False

    def close(self) -> None:
        """Close idle connections."""
        self._engine.dispose()


def migrate(url: str) -> None:
    """Bring the database to this program's schema, creating a SQLite file (0600) if there is none.

    Raises:
        InputError: if the URL is unusable.
        KithError: if the database refuses.
    """
    from alembic import command
    from alembic.config import Config

    parsed = _parsed(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
        _create_private(Path(str(parsed.database)))
    config = Config(attributes={"engine": (engine := _engine(url))})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    try:
        command.upgrade(config, "head")
    except SQLAlchemyError as error:
        raise KithError(f"database: expected to bring it to schema {SCHEMA}, got {type(error).__name__}") from None
    finally:
        engine.dispose()


def now() -> str:
    """The time, UTC, as ISO 8601 to the microsecond: sorts as text."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        raise InputError("database: expected a SQLAlchemy URL such as sqlite:///kith.db, got otherwise") from None


def _engine(url: str) -> Engine:
    parsed = _parsed(url)
    try:
        # hide_parameters: what is written are people's values, and driver errors would repeat them.
        engine = create_engine(parsed, hide_parameters=True, pool_pre_ping=parsed.get_backend_name() != "sqlite")
    except (ImportError, SQLAlchemyError):
        raise InputError(f"database: expected an installed driver, got none for {parsed.drivername}") from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, _record: Any) -> None:
    """Per connection: transactions are ours (not the driver's), a write-ahead log, durable commits, foreign keys."""
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={_BUSY_SECONDS * 1000}"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Any) -> None:
    """A writer takes the lock at once: upgrading a read lock later can only fail."""
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get(_WRITES) else "BEGIN")


def _create_private(path: Path) -> None:
    """An empty file that only its owner can read; SQLite gives its side files the same mode."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise InputError(f"database: expected a file that can be written at {path}, got {error.strerror}") from None
