"""What an ingest costs grows in proportion to what comes: statements, looked-up rows, memory. Times: benchmarks."""

import json
import tracemalloc
import uuid
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import ingest as benchmark
from benchmarks.measure import child
from records import fact_writer, schema
from records import ingest as ingest_module
from records.fact_writer import _Seen
from records.facts import Fact
from records.ingest import ingest
from records.registry import load_registry
from records.store import create_store

NOW = datetime(2026, 11, 22, tzinfo=UTC)
REGISTRY = load_registry()
BLOCK = 250


@pytest.fixture
def store(tmp_path):
    store = create_store(tmp_path / "north", "North")
    yield store
    store.close()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(ingest_module, "BLOCK", BLOCK)


def pay(count, start=0):
    for number in range(start, start + count):
        yield Fact("comp_band", f"{number:032x}", "", "2026-01-01", {"compa_ratio": 100.0}, number)


def events_of_one(count):
    for number in range(count):
        values = {"verb": "completed", "duration_hours": 1.0}
        yield Fact("learning_event", "0" * 32, f"event-{number}", "2026-01-05", values, number)


def take(store, facts, source="hris"):
    return ingest(store, REGISTRY, source, "test", uuid.uuid4().hex, facts, NOW)


def statements(store, facts):
    count = 0

    def note(*_):
        nonlocal count
        count += 1

    sa.event.listen(store._engine, "before_cursor_execute", note)
    take(store, facts)
    sa.event.remove(store._engine, "before_cursor_execute", note)
    return count


def added_memory(store, facts):
    tracemalloc.start()
    take(store, facts)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_statements_grow_with_blocks_and_not_with_facts(store):
    few, many = statements(store, pay(4 * BLOCK)), statements(store, pay(8 * BLOCK, start=10**6))
    per_block = (many - few) / 4
    assert per_block <= 4
    assert many <= 8 * per_block + 20


def test_memory_does_not_grow_with_the_batch(store):
    take(store, pay(BLOCK, start=10**7))  # what is loaded on first use is not counted
    few, many = added_memory(store, pay(4 * BLOCK)), added_memory(store, pay(24 * BLOCK, start=10**6))
    assert many < 1.5 * few


def test_somebody_with_many_events_does_not_make_each_block_dearer(store, monkeypatch):
    looked_up = []

    def counting(connection, table, wanted):
        found = read(connection, table, wanted)
        looked_up.append(sum(map(len, found.values())))
        return found

    read = fact_writer.read
    monkeypatch.setattr(fact_writer, "read", counting)
    assert take(store, events_of_one(8 * BLOCK), "lms").written == 8 * BLOCK
    assert looked_up == [0] * 8
    assert take(store, events_of_one(8 * BLOCK), "lms").unchanged == 8 * BLOCK
    assert looked_up[8:] == [BLOCK] * 8


def test_looking_versions_up_uses_the_index(store):
    take(store, pay(10))
    with store.reading() as connection:
        seen = []

        def note(_connection, _cursor, statement, parameters, *_):
            seen.append((statement, parameters))

        sa.event.listen(store._engine, "before_cursor_execute", note)
        fact_writer.read(connection, schema.comp_band, [("0" * 32, "", "2026-01-01")])
        fact_writer.read(connection, schema.learning_event, [("0" * 32, "", "2026-01-01")])
        sa.event.remove(store._engine, "before_cursor_execute", note)
        for statement, parameters in seen:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            assert any("USING INDEX" in row[-1] and "subject=?" in row[-1] for row in plan)


def test_the_whole_way_from_a_table_to_the_store(tmp_path):
    benchmark.prepare(tmp_path, 2_000)
    figures = json.loads(child("-m", "benchmarks.ingest", str(tmp_path)))  # a process of its own: memory is its peak
    assert figures["rows"] == 2_000
    assert 0 < figures["peak_mib"] < benchmark.MEMORY_BOUND


@given(st.lists(st.lists(st.integers(0, 20), max_size=8), max_size=12))
def test_what_was_seen_is_what_an_earlier_block_held(blocks):
    seen, held = _Seen(), set()
    for block in blocks:
        assert seen.note([(str(number),) for number in block]) == [number in held for number in block]
        held |= set(block)
    assert sum(map(len, seen._runs)) == sum(map(len, blocks))
