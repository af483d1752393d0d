"""10,000 xAPI statements, some of them twice and some in conflict, taken into SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import hashlib
import json
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from benchmarks.measure import Progress, Report, Spread, ratio, timed
from records.connectors import xapi
from records.connectors.xapi_statements import ingest_statements, records_of
from records.ingest import Ingested
from records.mapping import load_mapping
from records.registry import load_registry
from records.schema import learning_event, statement
from records.store import Store, create_store

STATEMENTS: Final = 10_000
DUPLICATES: Final = 1_000
CONFLICTS: Final = 500
BATCH: Final = 1_000
PEOPLE: Final = 2_000
NOW: Final = datetime(2026, 3, 25, 12, tzinfo=UTC)
POSTGRESQL: Final = "postgresql+psycopg://root@127.0.0.1:5432"
VERBS: Final = ("launched", "initialized", "progressed", "completed", "passed", "failed", "terminated")
HEADERS: Final = {"X-Experience-API-Version": xapi.VERSION, "Content-Type": "application/json"}

FILE: Final = "a file of JSON lines"
AGAIN: Final = "the same file again"
REQUESTS: Final = f"requests of {BATCH:,}"
BARE: Final = "bare: JSON read, rows inserted"
WORKS: Final = (FILE, AGAIN, REQUESTS, BARE)


def run(quick: bool, progress: Progress) -> Report:
    """Take the same statements into a new store every turn, by each way in turn."""
    said = statements()
    figures: dict[str, Any] = {}
    rows, notes = [], []
    for kind in ("SQLite", "PostgreSQL"):
        try:
            measured = _measured(kind, said, 1 if quick else 7, progress)
        except SQLAlchemyError as error:
            notes.append(f"{kind}: not measured: {type(error).__name__}.")
            continue
        for name in WORKS:
            wall, busy = ([taken[clock] for taken in measured[name]] for clock in (0, 1))
            seconds, rate = Spread.of(wall), Spread.of([STATEMENTS / one for one in wall])
            beside = ratio(wall, [taken[0] for taken in measured[BARE]])
            processor = Spread.of([STATEMENTS / one for one in busy])
            rows.append((kind, name, seconds.shown(), rate.shown(), processor.shown(), beside.shown(unit="×")))
            figures[f"{kind}, {name}"] = {
                "seconds": seconds.to_document(),
                "statements_a_second": rate.to_document(),
                "statements_a_processor_second": processor.to_document(),
                "over_bare": beside.to_document(),
            }
    return Report(
        title=f"{STATEMENTS:,} xAPI statements: {DUPLICATES:,} come twice, {CONFLICTS} a second time with another body",
        columns=("", "", "seconds", "statements a second", "a processor's second", f"÷ {BARE.partition(':')[0]}"),
        rows=tuple(rows),
        notes=(
            "From JSON text to committed rows: checked against the standard, mapped, pseudonymised, compared.",
            f"Requests pass the ASGI application without a network; the {CONFLICTS} conflicts come in a batch of their"
            " own, which is refused.",
            "Bare: the same text, read as JSON and inserted as id and hash, one transaction a batch.",
            "The processor's time is this process's; on a shared machine it says more than the wall's.",
            *notes,
        ),
        figures=figures,
    )


def statements() -> list[bytes]:
    """The lines: new ones, then repetitions, then conflicts."""
    new = [_made(n) for n in range(STATEMENTS - DUPLICATES - CONFLICTS)]
    again = [new[7 * n % len(new)] for n in range(DUPLICATES)]
    changed = [{**new[11 * n % len(new)], "result": {"completion": False}} for n in range(CONFLICTS)]
    return [json.dumps(one).encode() for one in (*new, *again, *changed)]


def _made(n: int) -> dict[str, Any]:
    """As a learning system that follows cmi5 sends it."""
    return {
        "id": str(uuid.UUID(int=(n + 1) * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128, version=4)),
        "actor": {
            "objectType": "Agent",
            "name": f"Person {n % PEOPLE}",
            "account": {"homePage": "https://lms.example", "name": f"{n % PEOPLE:06}"},
        },
        "verb": {
            "id": f"http://adlnet.gov/expapi/verbs/{VERBS[n % len(VERBS)]}",
            "display": {"en": VERBS[n % len(VERBS)]},
        },
        "object": {
            "id": f"https://lms.example/courses/course-{n % 60}",
            "definition": {"name": {"en": f"Course {n % 60}"}, "type": "http://adlnet.gov/expapi/activities/course"},
        },
        "result": {"completion": True, "score": {"scaled": n % 100 / 100}, "duration": f"PT{n % 90}M"},
        "context": {
            "registration": str(uuid.UUID(int=n)),
            "contextActivities": {"category": [{"id": "https://w3id.org/xapi/cmi5/context/categories/cmi5"}]},
            "extensions": {"https://w3id.org/xapi/cmi5/context/extensions/sessionid": str(n)},
        },
        "timestamp": (NOW - timedelta(hours=n % 4_000)).isoformat(),
    }


def _measured(kind: str, said: list[bytes], turns: int, progress: Progress) -> dict[str, list[tuple[float, float]]]:
    """Seconds of the wall's and the processor's clock, turn by turn, after one turn that is not counted."""
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in WORKS}
    for turn in range(turns + 1):
        progress(f"{kind}, turn {turn} of {turns}" if turn else f"{kind}, warming up")
        for name, work in _works(kind, said):
            began = time.process_time()
            wall = timed(work)
            if turn:
                measured[name].append((wall, time.process_time() - began))
    return measured


def _works(kind: str, said: list[bytes]) -> Iterator[tuple[str, Callable[[], object]]]:
    with tempfile.TemporaryDirectory(prefix="kith-bench-") as name:
        path = Path(name) / "lrs.jsonl"
        path.write_bytes(b"\n".join(said))
        with _store(kind, Path(name) / "file") as store:
            yield FILE, lambda: _check(store, _from_file(store, path))
            yield AGAIN, lambda: _from_file(store, path)
        with _store(kind, Path(name) / "requests") as store:
            yield REQUESTS, lambda: asyncio.run(_send(store, said))
        with _store(kind, Path(name) / "bare") as store:
            yield BARE, lambda: _insert(store, said)


@contextmanager
def _store(kind: str, folder: Path) -> Iterator[Store]:
    with _database() if kind == "PostgreSQL" else nullcontext() as url:
        store = create_store(folder, "Made-up", url)
        try:
            yield store
        finally:
            store.close()


@contextmanager
def _database() -> Iterator[str]:
    name = f"kith_bench_{uuid.uuid4().hex[:12]}"
    server = sa.create_engine(f"{POSTGRESQL}/postgres?connect_timeout=2", isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    try:
        yield f"{POSTGRESQL}/{name}"
    finally:
        with server.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
        server.dispose()


def _from_file(store: Store, path: Path) -> Ingested:
    registry = load_registry()
    mapping = load_mapping("xapi", registry)
    return ingest_statements(store, registry, mapping, records_of(path, mapping), NOW)


def _check(store: Store, taken: Ingested) -> None:
    """A rate says something only if everything got where it belongs."""
    new = STATEMENTS - DUPLICATES - CONFLICTS
    counts = (taken.written, taken.unchanged, taken.quarantined)
    with store.reading() as connection:
        held = connection.execute(sa.select(sa.func.count()).select_from(learning_event)).scalar_one()
    if counts != (new, DUPLICATES, CONFLICTS) or held != new:
        raise AssertionError(f"expected {new} new, {DUPLICATES} again and {CONFLICTS} conflicts, got {counts}")


async def _send(store: Store, said: list[bytes]) -> None:
    app = xapi.application(lambda _: store)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://kith.example", headers=HEADERS) as client:
        for start in range(0, STATEMENTS - CONFLICTS, BATCH):
            await _post(client, said[start : min(start + BATCH, STATEMENTS - CONFLICTS)], 200)
        await _post(client, said[-CONFLICTS:], 409)


async def _post(client: httpx.AsyncClient, some: list[bytes], status: int) -> None:
    answer = await client.post("/statements", content=b"[" + b",".join(some) + b"]")
    if answer.status_code != status:
        raise AssertionError(f"expected {status}, got {answer.status_code}: {answer.text}")


def _insert(store: Store, said: list[bytes]) -> None:
    """What any way in has to do at least."""
    known: set[str] = set()
    for start in range(0, STATEMENTS, BATCH):
        rows = {}
        for line in said[start : start + BATCH]:
            id = json.loads(line)["id"]
            rows[id] = {"id": id, "body": hashlib.sha256(line).hexdigest(), "subject": "", "voided": 0, "stored_at": ""}
        new = [row for id, row in rows.items() if id not in known]
        known |= rows.keys()
        if new:
            with store.writing() as connection:
                connection.execute(sa.insert(statement), new)
