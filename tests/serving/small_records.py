"""Records folders of sites, and made-up people in them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from records import consent
from records.facts import Fact, Said
from records.ingest import ingest
from records.registry import load_registry
from records.schema import FACTS
from records.store import Store, create_store, day, instant, open_store

ELSEWHERE = "Atlantis"
"""A site that has records, and no model."""
BEFORE = "2024-01-01"
HRIS = {
    "start_month": "2020-01", "level_since": "2023-01", "level_band": "senior", "work_mode": "remote",
    "job_family": "engineering", "commute_minutes": 25.0, "manager_key": "0" * 32,
}  # fmt: skip


def months_since(month: str) -> float:
    """Whole months from a month's start to today's."""
    year, number = map(int, month.split("-"))
    today = date.today()
    return float((today.year - year) * 12 + today.month - number)


@contextmanager
def opened(folder: Path) -> Iterator[Store]:
    store = open_store(folder)
    try:
        yield store
    finally:
        store.close()


def make(folder: Path, site: str) -> Path:
    create_store(folder, site).close()
    return folder


def take_in(folder: Path, source: str, facts: Iterable[Fact]) -> None:
    with opened(folder) as store:
        taken = ingest(store, load_registry(), source, "test", uuid.uuid4().hex, facts, datetime.now(UTC))
        assert taken.written == taken.rows > 0, taken


def person(folder: Path, number: str, told: bool = True, **changes: object) -> str:
    """The pseudonym of somebody new with a row of HR's and a pay band, told of the use for retention unless not."""
    with opened(folder) as store:
        subject = store.pseudonyms.person(number)
    values = HRIS | changes
    pay = Fact("comp_band", subject, "", BEFORE, {"compa_ratio": 98.0}, 1)
    take_in(folder, "hris", [Fact("person", subject, "", BEFORE, values, 0), pay])
    if told:
        say(folder, subject, "informed")
    return subject


def pulse(folder: Path, subject: str, likert: float) -> None:
    """What they answered last week."""
    answer = Fact("pulse", subject, "engagement", day(date.today() - timedelta(7)), {"likert": likert}, 0)
    take_in(folder, "survey", [answer])


def say(folder: Path, subject: str, state: str) -> None:
    """A consent event of this second."""
    now = datetime.now(UTC)
    said = Said(subject, "retention", state, 1, "en", "test", instant(now), 0)
    with opened(folder) as store:
        consent.record(store, load_registry(), said, now)


def rows_of(folder: Path, table: str, subject: str) -> list[dict[str, object]]:
    """What the store holds about somebody, oldest first."""
    source = FACTS[table]
    with opened(folder) as store, store.reading() as connection:
        query = sa.select(source).where(source.c.subject == subject).order_by(source.c.valid_from, source.c.number)
        return [dict(row) for row in connection.execute(query).mappings()]


def subject_of(folder: Path, number: str) -> str:
    with opened(folder) as store:
        return store.pseudonyms.person(number)
