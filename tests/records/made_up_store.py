"""A store for tests, filled with facts and consent directly, whatever ingest would say of them."""

import atexit
import shutil
import uuid
from collections import defaultdict
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import sqlalchemy as sa

from records.contract import parse_contract
from records.facts import Said
from records.registry import load_registry
from records.registry_contract import contract_text
from records.schema import FACTS, FRAME, batch, metadata
from records.store import create_store, instant, open_store
from tests.postgresql import own_database

SITE = "Tessera Software"
NOW = datetime(2026, 10, 1, 12, tzinfo=UTC)
REGISTRY = load_registry()


def subject(number):
    """A made-up pseudonym."""
    return f"{number:032x}"


ANN, BOB, CARL = "5a" * 16, "5b" * 16, "5c" * 16
"""Looked for in files: no end of the zeros before a log's first entry, and the next hash's first digit, may be one."""


def contract(as_of="2026-03-31", horizon=6, registry=REGISTRY, change=lambda text: text):
    """The contract of the registry's retention features, or a changed one."""
    day = datetime.fromisoformat(as_of).date()
    return parse_contract(change(contract_text(registry, "retention", {SITE: 50_000, "Elsewhere": 10}, day, horizon)))


@cache
def template():
    """An empty store on SQLite, to be copied: making one runs every migration."""
    folder = Path(mkdtemp(prefix="kith-records-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    create_store(folder / "records", SITE).close()
    return folder / "records"


@contextmanager
def new_store(folder, backend="sqlite"):
    """An empty store on SQLite, or on a PostgreSQL database of its own."""
    with nullcontext() if backend == "sqlite" else own_database() as url:
        if url is None:
            shutil.copytree(template(), folder)
        store = open_store(folder) if url is None else create_store(folder, SITE, url)
        try:
            yield store
        finally:
            store.close()


def fact(table, who, valid_from, item="", **values):
    """A row for `put`."""
    return table, {"subject": who, "item": item, "valid_from": valid_from, **values}


def put(store, *facts, source="hris", at=NOW):
    """Writes facts as one batch, as they are."""
    recorded = instant(at)
    values = {
        "source": source,
        "connector": "test",
        "came_at": recorded,
        "digest": uuid.uuid4().hex,
        "rows": len(facts),
    }
    tables = defaultdict(list)
    for table, row in facts:
        tables[table].append(row)
    with store.writing() as connection:
        counts = dict.fromkeys(("written", "unchanged", "quarantined", "left_out"), 0)
        number = connection.execute(sa.insert(batch).values(**values, **counts)).inserted_primary_key[0]
        for name, rows in tables.items():
            empty = dict.fromkeys(c.name for c in FACTS[name].c if c.name != "number")
            rows = [{**empty, "stated": _stated(row), **row, "recorded_at": recorded, "batch": number} for row in rows]
            connection.execute(sa.insert(FACTS[name]), rows)
    return number


def _stated(row):
    return " ".join(sorted(row.keys() - FRAME))


def said(who, state, at, purpose="retention", version=1):
    """A consent event."""
    at = at if isinstance(at, str) else instant(at)
    return Said(who, purpose, state, version, "en", "test", at, 0)


def rows(store, table):
    """All rows of a table."""
    with store.reading() as connection:
        return [dict(row) for row in connection.execute(sa.select(table)).mappings()]


def everything(store):
    """Every cell of every table of the store, as text, by table."""
    with store.reading() as connection:
        tables = {table.name: connection.execute(sa.select(table)).all() for table in metadata.sorted_tables}
    return {name: [str(value) for row in rows for value in row] for name, rows in tables.items()}


def bytes_of(folder):
    """The bytes of every file of a records folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
