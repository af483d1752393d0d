"""Calendars: of people's .ics files only when they are busy, from some days back to some weeks ahead.

Rules
1. What goes on of an event is from when to when it keeps somebody busy, and whose it is: titles, people, places and
   texts are left behind by `calendar_parts`.
2. Busy times of a person are merged over all files, so that not even the number of meetings can be told.
3. An event that can not be used is a fault with its place, a file that can not be read another; neither stops the rest.
4. A person's earlier busy times in the window are replaced: a meeting that was called off keeps nobody busy.
5. Files are read before the store is written to: however long they take, no other writer waits for them.

Cells for the mapping: "start_utc", "end_utc", "day" (of the start, in UTC), "status" ("busy", or "tentative" for what
is only that), "file name" (without .ics), and any property of the event or its calendar by its name in capitals, such
as "ORGANIZER" or "X-EMPLOYEE".
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, delete, select

from privacy.databases import Undo
from privacy.errors import InputError
from records.connectors.calendar_events import BUSY, Window
from records.connectors.calendar_times import (
    DAYS_AHEAD,
    DAYS_BACK,
    MAX_SPANS,
    Record,
    bytes_of,
    calendars_of,
    files_of,
    record,
    records_of_calendar,
    window_around,
)
from records.facts import Fact, Fault, Incoming
from records.ingest import Ingested, ingest
from records.mapping import Mapping as SourceMapping
from records.registry import Registry
from records.schema import revision, schedule_busy
from records.store import Store
from records.versions import rows_of

CONNECTOR: Final = "calendar"
BLOCK: Final = 500


def records_of(
    path: Path, mapping: SourceMapping, now: datetime, back: int = DAYS_BACK, ahead: int = DAYS_AHEAD
) -> Iterator[tuple[int, Record | Fault]]:
    """The busy times in a file, or in all .ics files of a folder: numbered, with faults among them.

    Args:
        path: a file or a folder.
        mapping: of kind "calendar".
        now: aware; what the window is around.
        back: days before it.
        ahead: days after it.

    Raises:
        InputError: if there is nothing to read.
    """
    for place, found in calendars_of(files_of(path), mapping, window_around(now, back, ahead)):
        if isinstance(found, Fault):
            yield place, found
        else:
            yield from ((place, busy) for busy in records_of_calendar(*found))


def ingest_calendars(
    store: Store,
    registry: Registry,
    mapping: SourceMapping,
    path: Path,
    now: datetime,
    back: int = DAYS_BACK,
    ahead: int = DAYS_AHEAD,
) -> Ingested:
    """Take busy times in, and remove those of the same people and days that are no more (rule 4).

    Args:
        store: of the site.
        registry: what may be known.
        mapping: of kind "calendar".
        path: a file or a folder.
        now: aware; what the window is around.
        back: days before it.
        ahead: days after it.

    Raises:
        InputError: if there is nothing to read.
    """
    files, window = files_of(path), window_around(now, back, ahead)
    digest = store.pseudonyms.digest(_contents(files, mapping, window))
    intake = _Intake(store, registry, mapping, window, now)
    said = list(intake.incoming(files))  # rule 5
    with store.writing() as connection:
        taken = intake.take(connection, said, digest)
        removed = intake.remove_others(connection)
        unchanged = intake.came_before and not taken.written and not removed
        if unchanged:
            raise Undo
    if unchanged:
        return replace(taken, batch=None, already=True)
    return replace(taken, written=taken.written + removed)


class _Intake:
    """Busy times on their way into a store, and whose they are."""

    def __init__(self, store: Store, registry: Registry, mapping: SourceMapping, window: Window, now: datetime) -> None:
        self._store = store
        self._registry = registry
        self._mapping = mapping
        self._window = window
        self._now = now
        self._items: dict[str, set[str]] = {}
        self._count = 0
        self.came_before = False

    def take(self, connection: Connection, said: Sequence[Incoming], digest: str) -> Ingested:
        """Bring everything in, also if it came before: other calendars of the same people may have come since."""
        taken = self._ingest(connection, said, digest)
        if taken.already:
            self.came_before = True
            count = connection.execute(select(revision.c.count)).scalar_one()
            taken = self._ingest(connection, said, f"{digest}:{count}")
        return taken

    def _ingest(self, connection: Connection, said: Sequence[Incoming], digest: str) -> Ingested:
        source = self._mapping.source
        return ingest(self._store, self._registry, source, CONNECTOR, digest, said, self._now, connection=connection)

    def incoming(self, files: Sequence[Path]) -> Iterator[Incoming]:
        """What the files say."""
        for place, found in calendars_of(files, self._mapping, self._window):
            if isinstance(found, Fault):
                yield found
                continue
            whose, spans = found
            nothing = self._said(record(whose, BUSY, self._window.first, self._window.last), place)
            if any(isinstance(thing, Fault) for thing in nothing):  # whose it is can not be told
                yield from nothing
                continue
            for thing in nothing:
                self._items.setdefault(thing.subject or "", set())  # theirs even if it keeps them never busy
            for busy in records_of_calendar(whose, spans):
                for thing in self._said(busy, place):
                    self._note(thing)
                    yield thing

    def _said(self, cells: Record, place: int) -> list[Incoming]:
        return self._mapping.incoming(cells, place, self._store.pseudonyms, self._now.date())

    def remove_others(self, connection: Connection) -> int:
        """Remove the earlier busy times in the window of those whose calendars were read, and count them."""
        first, last = (moment.date().isoformat() for moment in (self._window.first, self._window.last))
        columns = [schedule_busy.c[name] for name in ("number", "subject", "item", "valid_from")]
        gone = [
            number
            for number, subject, item, day in rows_of(connection, columns, schedule_busy.c.subject, self._items)
            if first <= day < last and item not in self._items[subject]
        ]
        for start in range(0, len(gone), BLOCK):
            block = gone[start : start + BLOCK]
            connection.execute(delete(schedule_busy).where(schedule_busy.c.number.in_(block)))
        return len(gone)

    def _note(self, thing: Incoming) -> None:
        if isinstance(thing, Fact) and thing.table == schedule_busy.name:
            self._items.setdefault(thing.subject, set()).add(thing.item)
            self._count += 1
            if self._count > MAX_SPANS:
                raise InputError(f"calendars: expected at most {MAX_SPANS} busy times at once, got more")


def _contents(files: Sequence[Path], mapping: SourceMapping, window: Window) -> bytes:
    """Of what came, of the days that are read of it, and of the mapping."""
    found = hashlib.sha256(f"{mapping.digest} {window.first} {window.last}".encode())
    for file in files:
        try:
            data = bytes_of(file)
        except InputError:
            data = b""
        found.update(hashlib.sha256(file.name.encode("utf-8", "surrogateescape")).digest())
        found.update(hashlib.sha256(data).digest())
    return found.digest()
