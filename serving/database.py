"""The service's state: what was recommended, on which inputs, and who decided what about it.

Rules, kept by the database itself (triggers of the migrations), whatever program writes to it
1. A recommendation comes into being as proposed, abstained or ready; ready only at low stakes.
2. It leaves proposed only towards approved or declined, with as many decisions on record as its stakes ask for, and
   approved only if all of them approve.
3. Everything about a recommendation but status and version stays as it was written; decisions are never changed or
   deleted.
4. Nobody decides twice on one recommendation, on their own request, on themselves, or on one not proposed.

SQLite is the embedded default; PostgreSQL goes by URL. How they are opened is `privacy.databases`' business.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sqlalchemy import CheckConstraint, ForeignKey, Text, UniqueConstraint
from sqlalchemy.engine import URL
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from privacy.databases import located, reading, writing
from privacy.errors import InputError
from records import databases

SCHEMA: Final = databases.Schema(Path(__file__).parent / "migrations" / "versions", "alembic_version", "0001")
"""A test holds its revision against the migrations."""


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
        self._engine = databases.create_engine_for(_located(url))

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one state and writes nothing."""
        with reading(self._engine) as connection, Session(connection) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session that commits at the end, or leaves no trace if an exception passes.

        On SQLite it holds the write lock from its first statement, so what it read still holds when it writes.
        """
        with (
            writing(self._engine) as connection,
            Session(connection, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    def is_current(self) -> bool:
        """Whether the database answers and its schema is this program's."""
        try:
            databases.require(self._engine, SCHEMA)
        except InputError:
            return False
        return True

    def close(self) -> None:
        """Close idle connections."""
        self._engine.dispose()


def migrate(url: str) -> None:
    """Bring the database to this program's schema, creating a SQLite file (0600) if there is none.

    Raises:
        InputError: if the URL is unusable.
        KithError: if the database refuses.
    """
    databases.create(_located(url), SCHEMA)


def now() -> str:
    """The time, UTC, as ISO 8601 to the microsecond: sorts as text."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _located(url: str) -> URL:
    return located(url, Path())
