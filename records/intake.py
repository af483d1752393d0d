"""One way in for every kind of source: a mapping and a path, and the connector of the mapping's kind does the rest.

The same bytes through the same mapping for the same day are one batch, however often and from wherever they come.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

from privacy.errors import InputError
from records.connectors.rows import Unknown
from records.fact_plans import Record
from records.facts import Fault, Incoming
from records.ingest import Ingested, ingest
from records.mapping import Mapping, load_mapping
from records.registry import Registry
from records.store import Store

PATHS: Final = {
    "table": "a file",
    "sql": "no path",
    "scim": "a file",
    "xapi": "a file",
    "calendar": "a file or a folder",
}
"""What each kind of mapping is read from."""


def ingest_file(
    store: Store,
    registry: Registry,
    mapping: Mapping | str | Path,
    path: str | Path | None,
    as_of: date | None,
    now: datetime,
) -> Ingested:
    """Takes an export into a site's store.

    Args:
        store: of the site.
        registry: what may be known.
        mapping: what to read it through: loaded, by name, or its file.
        path: a table, SCIM users, xAPI statements, a calendar or a folder of .ics files; None for a database, which
            the mapping itself names.
        as_of: from when on facts are true whose rows do not say; None for the day of `now` in UTC.
        now: aware.

    Raises:
        InputError: if the mapping is none, the path is none of its kind, or what is there can not be read.
        Refused: if the mapping reads a prohibited cell.
        KithError: if the store's database does not answer.
    """
    if now.tzinfo is None:
        raise InputError("ingest: expected a time with its zone, got one without")
    loaded = mapping if isinstance(mapping, Mapping) else load_mapping(mapping, registry)
    place = _checked(loaded, path)
    if loaded.kind == "xapi":
        return _statements(store, registry, loaded, place, now)
    if loaded.kind == "calendar":
        return _calendars(store, registry, loaded, place, now)
    day = as_of or now.astimezone(UTC).date()
    incoming = _incoming(_records(loaded, place), loaded, store, day)
    digest = _digest(store, loaded, place, as_of, now)
    return ingest(store, registry, loaded.source, loaded.kind, digest, incoming, now)


def unknown_columns(mapping: Mapping, path: str | Path | None) -> tuple[Unknown, ...]:
    """The columns of a table or query that the mapping neither reads nor ignores; () for other kinds.

    Raises:
        InputError: if the path is none of the mapping's kind, or what is there can not be read.
    """
    from records.connectors import sql, tables

    place = _checked(mapping, path)
    if mapping.kind == "table":
        return tables.records_of(place, mapping).unknown
    return sql.records_of(mapping).unknown if mapping.kind == "sql" else ()


def _checked(mapping: Mapping, path: str | Path | None) -> Path:
    """The path, if there is something of the mapping's kind; the empty path for a database."""
    expected = PATHS[mapping.kind]
    if mapping.kind == "sql":
        if path is not None:
            raise InputError(f"{mapping.where}: expected {expected}, as the mapping names its database, got one")
        return Path()
    if path is None:
        raise InputError(f"{mapping.where}: expected {expected} to read, got no path")
    where = f"{str(path)!r:.300}"
    try:
        found = Path(path)
        if found.is_file() or (mapping.kind == "calendar" and found.is_dir()):
            return found
        got = "a folder" if found.is_dir() else "nothing of that name"
    except (OSError, ValueError) as error:
        got = type(error).__name__
    raise InputError(f"{where}: expected {expected}, got {got}")


def _records(mapping: Mapping, path: Path) -> Iterable[tuple[int, Record | Fault]]:
    """The rows of a source; each connector, and what it builds on, is imported only where its kind is read."""
    if mapping.kind == "table":
        from records.connectors import tables

        return tables.records_of(path, mapping)
    if mapping.kind == "sql":
        from records.connectors import sql

        return sql.records_of(mapping)
    from records.connectors import scim_export

    return scim_export.records_of(path, mapping)


def _incoming(
    records: Iterable[tuple[int, Record | Fault]], mapping: Mapping, store: Store, as_of: date
) -> Iterator[Incoming]:
    for place, record in records:
        yield from mapping.incoming(record, place, store.pseudonyms, as_of)


def _statements(store: Store, registry: Registry, mapping: Mapping, path: Path, now: datetime) -> Ingested:
    from records.connectors.xapi_statements import ingest_statements, records_of

    return ingest_statements(store, registry, mapping, records_of(path, mapping), now)


def _calendars(store: Store, registry: Registry, mapping: Mapping, path: Path, now: datetime) -> Ingested:
    from records.connectors.calendars import ingest_calendars

    return ingest_calendars(store, registry, mapping, path, now)


def _digest(store: Store, mapping: Mapping, path: Path, as_of: date | None, now: datetime) -> str:
    """Of what came, the mapping and the day; keyed, so that it outlives an erasure and says nothing of who was erased.

    What a database answers may be other things at any time.
    """
    came = now.astimezone(UTC).isoformat() if mapping.kind == "sql" else _content(path)
    day = as_of.isoformat() if as_of else ""
    return store.pseudonyms.digest(f"{mapping.digest} {day} {came}".encode())


def _content(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{str(file)!r:.300}: expected a readable file, got {type(error).__name__}") from None
