"""Stores to test on: in a folder with SQLite, or with PostgreSQL databases that are dropped afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from records.schema import batch, consent_event, person
from records.store import Store, create_store, instant
from tests.postgresql import own_database_or_skip

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KINDS = ("sqlite", "postgresql")
BATCH = {
    "source": "hris", "connector": "tables", "came_at": instant(NOW), "rows": 1, "written": 1, "unchanged": 0,
    "quarantined": 0, "left_out": 0,
}  # fmt: skip


@contextmanager
def store_of_kind(kind: str, folder: Path, site: str = "Alder") -> Iterator[Store]:
    """A new store, closed afterwards; `kind`, one of `KINDS`, is its database's. The vault is a SQLite file."""
    with own_database_or_skip() if kind == "postgresql" else nullcontext() as url:
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
