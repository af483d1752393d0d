"""Stores to test on: in a folder with SQLite, or with PostgreSQL databases that are dropped afterwards."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from records.schema import batch, consent_event, person
from records.store import Store, create_store, instant

POSTGRESQL = "postgresql+psycopg://root@127.0.0.1:5432"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KINDS = ("sqlite", "postgresql")
BATCH = {
    "source": "hris", "connector": "tables", "came_at": instant(NOW), "rows": 1, "written": 1, "unchanged": 0,
    "quarantined": 0, "left_out": 0,
}  # fmt: skip


@contextmanager
def postgresql_url() -> Iterator[str]:
    """An empty database of its own."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    name = f"kith_test_{uuid.uuid4().hex[:12]}"
    server = sa.create_engine(f"{POSTGRESQL}/postgres?connect_timeout=2", isolation_level="AUTOCOMMIT")
    try:
        with server.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
    except SQLAlchemyError as error:
        pytest.skip(f"no PostgreSQL at 127.0.0.1:5432 that root may use: {type(error).__name__}")
    try:
        yield f"{POSTGRESQL}/{name}"
    finally:
        with server.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
        server.dispose()


@contextmanager
def store_of_kind(kind: str, folder: Path, site: str = "Alder") -> Iterator[Store]:
    """A new store, closed afterwards; `kind`, one of `KINDS`, is its database's. The vault is a SQLite file."""
    with postgresql_url() if kind == "postgresql" else nullcontext() as url:
        store = create_store(folder, site, url)
        try:
            yield store
        finally:
            store.close()


def raw_engine(store: Store) -> sa.Engine:
    """Raw SQL on the store's database, by an engine that knows nothing of our code."""
    return sa.create_engine(store.settings.database_url(store.folder))


def run_raw(store: Store, statement: str, **values: object) -> list[tuple[object, ...]]:
    """One raw statement in a transaction of its own; gives the rows, if it returns any."""
    engine = raw_engine(store)
    try:
        with engine.begin() as connection:
            result = connection.execute(sa.text(statement), values)
            return [tuple(row) for row in result] if result.returns_rows else []
    finally:
        engine.dispose()


def add_person(connection: sa.Connection, subject: str, **values: object) -> None:
    number = connection.execute(sa.insert(batch).values(digest=os.urandom(8).hex(), **BATCH)).inserted_primary_key[0]
    frame = {"item": "", "stated": "", "valid_from": "2026-01-01", "recorded_at": instant(NOW), "batch": number}
    connection.execute(sa.insert(person).values(subject=subject, **frame, **values))


def people(store: Store) -> list[str]:
    with store.reading() as connection:
        return list(connection.execute(sa.select(person.c.subject).order_by(person.c.subject)).scalars())


def consent(connection: sa.Connection, subject: str = "s1", receipt: str = "r1", **changes: object) -> None:
    said = {
        "subject": subject, "purpose": "retention", "state": "given", "notice_version": 1, "locale": "en",
        "channel": "web", "at": instant(NOW), "recorded_at": instant(NOW), "receipt": receipt,
    } | changes  # fmt: skip
    connection.execute(sa.insert(consent_event).values(said))


def add_log(store: Store, *events: str) -> list[str]:
    digests = []
    for event in events:
        with store.writing() as connection:
            digests.append(store.log(connection, {"event": event}, NOW))
    return digests


def log_length(store: Store) -> int:
    with store.reading() as connection:
        return store.check_log(connection)
