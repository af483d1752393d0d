from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError

from privacy.errors import KithError
from records import databases, schema
from records.schema import person
from records.store import Store, open_store
from tests.records.store_folder import (
    KINDS,
    add_person,
    consent,
    people,
    run_raw,
    store_of_kind,
)

CANARY = "canary-4711"


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with store_of_kind(request.param, tmp_path / "alder") as store:
        yield store


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    with store_of_kind("sqlite", tmp_path / "alder") as store:
        yield store


def files_holding(store: Store, text: str) -> list[str]:
    return [path.name for path in store.folder.iterdir() if text.encode() in path.read_bytes()]


def test_purged_bytes_are_in_none_of_the_files(sqlite_store: Store) -> None:
    store = sqlite_store
    with store.writing() as connection:
        for number in range(500):
            add_person(connection, f"{CANARY}-{number}", job_family=f"{CANARY} {number} " * 5)
        add_person(connection, "stays")
    with store.writing() as connection:
        connection.execute(sa.update(person).where(person.c.subject != "stays").values(locale=CANARY))
    assert "records.sqlite-wal" in files_holding(store, CANARY)
    with store.writing() as connection:
        connection.execute(sa.delete(person).where(person.c.subject != "stays"))
    assert files_holding(store, CANARY) != []
    store.purge()
    assert files_holding(store, CANARY) == []
    assert people(store) == ["stays"]
    assert files_holding(store, "stays") == ["records.sqlite"]


def test_purging_finds_the_copies_that_moving_cells_leave_behind(sqlite_store: Store) -> None:
    """SQLite's secure_delete alone leaves some after many insertions and deletions; VACUUM does not."""
    import random

    choose, living, made = random.Random(2), set[str](), 0
    for _ in range(40):
        with sqlite_store.writing() as connection:
            for _ in range(100):
                made += 1
                subject = f"canary{choose.getrandbits(60):015x}"
                living.add(subject)
                connection.execute(
                    sa.text("INSERT INTO tombstone VALUES (:mark, :at)"),
                    {"mark": subject, "at": subject * choose.randint(1, 8)},
                )
            for subject in choose.sample(sorted(living), k=min(len(living), choose.randint(25, 95))):
                connection.execute(sa.text("DELETE FROM tombstone WHERE mark = :mark"), {"mark": subject})
                living.discard(subject)
    sqlite_store.purge()
    content = b"".join(path.read_bytes() for path in sqlite_store.folder.iterdir())
    assert {found.decode() for found in re.findall(rb"canary[0-9a-f]{15}", content)} == living
    assert made > len(living) > 0


def test_a_rolled_back_value_is_purged_too(sqlite_store: Store) -> None:
    def fail() -> None:
        with sqlite_store.writing() as connection:
            connection.exec_driver_sql("PRAGMA cache_size = 1")  # so that pages spill before the commit
            for number in range(1_000):
                add_person(connection, f"{CANARY}-{number}")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert files_holding(sqlite_store, CANARY) == ["records.sqlite-wal"]
    sqlite_store.purge()
    assert files_holding(sqlite_store, CANARY) == []


def test_purging_says_so_if_a_reader_keeps_the_log_from_being_emptied(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "PURGE_SECONDS", 0)
    store = open_store(sqlite_store.folder)
    with sqlite_store.reading() as reader:
        reader.execute(sa.select(person)).all()
        with store.writing() as connection:
            add_person(connection, "s1")
        with pytest.raises(KithError, match="reader"):
            store.purge()
    store.purge()
    with sqlite_store.writing(), pytest.raises(KithError):
        store.purge()
    store.close()


def test_postgresql_tables_are_rewritten_without_what_was_deleted(tmp_path: Path) -> None:
    with store_of_kind("postgresql", tmp_path / "alder") as store:
        with store.writing() as connection:
            for number in range(100):
                add_person(connection, f"{CANARY}-{number}")
            add_person(connection, "stays")
        assert CANARY.encode() in relation_file(store, "person")
        with store.writing() as connection:
            connection.execute(sa.delete(person).where(person.c.subject != "stays"))
        store.purge()
        for relation in ("person", "person_version"):
            assert CANARY.encode() not in relation_file(store, relation)
            assert b"stays" in relation_file(store, relation)
        assert people(store) == ["stays"]


def test_purging_does_not_wait_for_ever_for_a_reader_on_postgresql(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "PURGE_SECONDS", 1)
    with store_of_kind("postgresql", tmp_path / "alder") as store:
        with store.reading() as reader:
            reader.execute(sa.select(person)).all()
            with pytest.raises(KithError, match="expected it to answer"):
                store.purge()
        store.purge()


def test_purging_says_so_if_a_transaction_that_reads_none_of_it_may_still_see_deleted_rows_on_postgresql(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "PURGE_SECONDS", 1)
    with store_of_kind("postgresql", tmp_path / "alder") as store:
        with store.writing() as connection:
            add_person(connection, CANARY)
        with store.reading() as reader:
            reader.execute(sa.select(1)).all()  # a snapshot, and no lock
            with store.writing() as connection:
                connection.execute(sa.delete(person))
            with pytest.raises(KithError, match="still sees deleted rows"):
                store.purge()
        store.purge()
        assert CANARY.encode() not in relation_file(store, "person")


def relation_file(store: Store, relation: str) -> bytes:
    run_raw(store, "CHECKPOINT")
    ((content,),) = run_raw(store, f"SELECT pg_read_binary_file(pg_relation_filepath('{relation}'))")
    return bytes(content)


def test_the_database_is_durable_and_erases_what_it_deletes(sqlite_store: Store) -> None:
    with sqlite_store.writing() as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
        }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1}


def test_errors_do_not_repeat_what_was_written(store: Store) -> None:
    def write_twice(connection: sa.Connection) -> None:
        for _ in range(2):
            add_person(connection, CANARY)

    def write_nothing_required(connection: sa.Connection) -> None:
        connection.execute(sa.insert(schema.quarantine).values(reason=CANARY))

    def write_unknown_state(connection: sa.Connection) -> None:
        consent(connection, CANARY, state="perhaps")

    for write in (write_twice, write_nothing_required, write_unknown_state):
        with pytest.raises(IntegrityError) as caught, store.writing() as connection:
            write(connection)
        told = f"{caught.value!s} {caught.value!r} {caught.value.orig!s} {caught.value.orig!r} {caught.value.__cause__}"
        assert CANARY not in told
        assert re.search(r"person|quarantine|consent_event", told)


def test_postgresql_does_not_quote_what_it_can_not_read(tmp_path: Path) -> None:
    with store_of_kind("postgresql", tmp_path / "alder") as store:
        with pytest.raises(DBAPIError) as caught, store.writing() as connection:
            connection.execute(sa.text(f"SELECT CAST('{CANARY}' AS INTEGER)"))
        assert CANARY not in f"{caught.value.args} {caught.value.orig!s} {caught.value.orig!r}"
        assert "22P02" in str(caught.value)
