from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from hypothesis import given
from hypothesis import strategies as st

from privacy.databases import Undo
from privacy.errors import InputError, KithError
from records import databases
from records.schema import consent_event, erasing, person, vault_metadata
from records.schema import metadata as store_metadata
from records.store import Store, day, instant, open_store
from tests.records.store_folder import (
    KINDS,
    NOW,
    add_person,
    consent,
    log_length,
    people,
    run_raw,
    store_of_kind,
)


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with store_of_kind(request.param, tmp_path / "alder") as store:
        yield store


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    with store_of_kind("sqlite", tmp_path / "alder") as store:
        yield store


def test_the_migrated_schema_is_the_tables_in_schema_py(store: Store) -> None:
    for url, tree, expected in (
        (store.settings.database_url(store.folder), databases.STORE, store_metadata),
        (store.vault_url, databases.VAULT, vault_metadata),
    ):
        engine = sa.create_engine(url)
        with engine.connect() as connection:
            found = MigrationContext.configure(connection, opts={"version_table": tree.table})
            assert compare_metadata(found, expected) == []
        engine.dispose()


@pytest.mark.parametrize("tree", [databases.STORE, databases.VAULT])
def test_the_newest_migration_is_the_programs_schema(tree: databases.Schema) -> None:
    scripts = ScriptDirectory(str(databases.MIGRATIONS), version_locations=[str(tree.versions)])
    assert scripts.get_current_head() == tree.revision


def test_migrating_again_changes_nothing(store: Store) -> None:
    with store.writing() as connection:
        add_person(connection, "s1")
    databases.create(store.settings.database_url(store.folder), databases.STORE)
    assert people(store) == ["s1"]


def test_a_failed_transaction_leaves_no_trace(store: Store) -> None:
    before = store.revision()

    def fail() -> None:
        with store.writing() as connection:
            add_person(connection, "s1")
            store.log(connection, {"event": "x"}, NOW)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert people(store) == []
    assert store.revision() == before
    assert log_length(store) == 1
    assert log_length(open_store(store.folder)) == 1


def test_what_is_undone_leaves_no_trace_and_goes_no_further(store: Store) -> None:
    before = store.revision()
    with store.writing() as connection:
        store.log(connection, {"event": "nothing"}, datetime(2026, 1, 1, tzinfo=UTC))
        raise Undo
    with store.reading() as connection:
        assert store.check_log(connection) == 1  # its creation
    assert store.revision() == before


def test_every_writing_transaction_counts_the_revision_up_by_one(store: Store) -> None:
    before = store.revision()
    for _ in range(3):
        with store.writing():
            pass
    people(store)
    assert store.revision() == before + 3


def test_a_reader_sees_one_state_while_another_writes(store: Store) -> None:
    count = sa.select(sa.func.count()).select_from(person)
    with store.reading() as reader:
        assert reader.execute(count).scalar() == 0
        with store.writing() as connection:
            add_person(connection, "s1")
        assert reader.execute(count).scalar() == 0
    assert people(store) == ["s1"]


def test_a_reader_can_not_write(store: Store) -> None:
    with pytest.raises(KithError), store.reading() as connection:
        consent(connection)
    with store.writing() as connection:
        consent(connection)


def test_writers_take_turns(store: Store) -> None:
    """Each reads, waits and writes what it read plus one: nothing is lost, and the log stays one chain."""
    errors: list[BaseException] = []
    before = store.revision()

    def write() -> None:
        try:
            for _ in range(8):
                with store.writing() as connection:
                    length = connection.execute(sa.select(sa.func.count()).select_from(consent_event)).scalar()
                    consent(connection, receipt=f"r{length}")
                    store.log(connection, {"event": "said"}, NOW, said=store.digest_of([f"r{length}"]))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert store.revision() == before + 32
    assert log_length(store) == 33


KILLED = """
import os, signal, sys
from pathlib import Path
from records.store import open_store
from tests.records.store_folder import NOW, add_person, consent
store = open_store(Path(sys.argv[1]))
with store.writing() as connection:
    for number in range(500):
        add_person(connection, f"killed-{number}")
    consent(connection)
    store.log(connection, {"event": "killed"}, NOW)
    print("written", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_writer_leaves_no_trace(store: Store) -> None:
    before = store.revision()
    done = subprocess.run([sys.executable, "-c", KILLED, store.folder], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "written\n"), done.stderr
    again = open_store(store.folder)
    assert people(again) == []
    assert again.revision() == before
    assert log_length(again) == 1
    with again.writing() as connection:
        add_person(connection, "s1")
    assert people(again) == ["s1"]
    again.close()


def test_an_erasure_does_not_outlive_its_transaction(store: Store) -> None:
    with pytest.raises(KithError, match="closed in its transaction"), store.writing() as connection:
        connection.execute(sa.insert(erasing).values(subject="s1"))
    assert run_raw(store, "SELECT * FROM erasing") == []


def test_a_locked_database_is_told_in_one_line(sqlite_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "BUSY_SECONDS", 0)
    waiting = open_store(sqlite_store.folder)
    with sqlite_store.writing(), pytest.raises(KithError, match="expected it to answer"), waiting.writing():
        pass
    waiting.close()


def test_nothing_of_the_drivers_defaults_is_left(sqlite_store: Store) -> None:
    """Python's sqlite3 would commit behind our back before some statements."""

    def fail() -> None:
        with sqlite_store.writing() as connection:
            add_person(connection, "s1")
            connection.exec_driver_sql("CREATE TABLE other (x)")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert people(sqlite_store) == []
    assert sqlite3.connect(sqlite_store.folder / "records.sqlite").execute(
        "SELECT count(*) FROM sqlite_master WHERE name = 'other'"
    ).fetchone() == (0,)


@pytest.mark.parametrize(
    ("moment", "written"),
    [
        (datetime(2026, 3, 1, 12, 0, 0, 999_999, tzinfo=UTC), "2026-03-01T12:00:00Z"),
        (datetime(2026, 3, 1, 0, 30, tzinfo=timezone(timedelta(hours=1))), "2026-02-28T23:30:00Z"),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00Z"),
    ],
)
def test_an_instant_is_written_in_utc_to_the_second(moment: datetime, written: str) -> None:
    assert instant(moment) == written


def test_a_time_without_zone_or_outside_the_calendar_is_refused() -> None:
    with pytest.raises(InputError, match="time zone"):
        instant(datetime(2026, 3, 1))
    with pytest.raises(InputError, match="1 to 9999"):
        instant(datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))))


@given(st.datetimes(timezones=st.timezones()), st.datetimes(timezones=st.timezones()))
def test_instants_sort_as_time_does(one: datetime, other: datetime) -> None:
    one, other = (moment.astimezone(UTC).replace(microsecond=0) for moment in (one, other))
    assert (instant(one) < instant(other)) == (one < other)


def test_a_day_is_that_of_its_own_place() -> None:
    assert (
        day(date(2026, 3, 1)) == day(datetime(2026, 3, 1, 0, 30, tzinfo=timezone(timedelta(hours=9)))) == "2026-03-01"
    )
