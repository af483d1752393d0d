from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError

from records.schema import consent_event, erasing
from records.schema import metadata as store_metadata
from records.store import Store
from tests.records.store_folder import (
    KINDS,
    consent,
    raw_engine,
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


def refused(rule: str) -> pytest.RaisesExc[DBAPIError]:
    return pytest.raises(DBAPIError, match=rule)


CHANGES = [
    "UPDATE {0} SET {1} = {1}",
    "UPDATE {0} SET number = number + 100",
    "DELETE FROM {0}",
    "DELETE FROM {0} WHERE number = 1",
]


@pytest.mark.parametrize(("table", "column"), [("consent_event", "state"), ("log_entry", "document")])
def test_what_was_said_and_logged_stays(store: Store, table: str, column: str) -> None:
    with store.writing() as connection:
        consent(connection)
    before = run_raw(store, f"SELECT * FROM {table}")
    for change in CHANGES:
        with refused(f"{table}_(stays|is_kept)"):
            run_raw(store, change.format(table, column))
    assert run_raw(store, f"SELECT * FROM {table}") == before


def test_no_table_is_emptied_at_once(tmp_path: Path) -> None:
    with store_of_kind("postgresql", tmp_path / "alder") as store:
        with store.writing() as connection:
            consent(connection)
        for table in ("consent_event", "log_entry"):
            with refused(f"{table}_is_not_emptied"):
                run_raw(store, f"TRUNCATE {table}")


@pytest.mark.parametrize("table", ["consent_event", "log_entry"])
def test_replacing_a_row_does_not_go_around_the_rules(sqlite_store: Store, table: str) -> None:
    with sqlite_store.writing() as connection:
        consent(connection)
    before = run_raw(sqlite_store, f"SELECT * FROM {table}")
    columns = [column.name for column in store_metadata.tables[table].columns]
    changed = ", ".join(f"'{CANARY}'" if name in ("channel", "document") else f'"{name}"' for name in columns)
    names = ", ".join(columns)
    receipt = f"'{CANARY}'" if table == "consent_event" else "previous"
    for anew in (changed, changed.replace('"receipt"', receipt)):
        with suppress(DBAPIError):
            run_raw(sqlite_store, f"INSERT OR REPLACE INTO {table} ({names}) SELECT {anew} FROM {table}")
    assert run_raw(sqlite_store, f"SELECT * FROM {table}") == before


def test_replacing_an_event_by_its_receipt_does_not_move_it_to_the_end(sqlite_store: Store) -> None:
    with sqlite_store.writing() as connection:
        consent(connection, receipt="r1", state="given")
        consent(connection, receipt="r2", state="withdrawn")
    before = run_raw(sqlite_store, "SELECT * FROM consent_event")
    names = ", ".join(column.name for column in consent_event.columns if column.name != "number")
    run_raw(
        sqlite_store,
        f"INSERT OR REPLACE INTO consent_event ({names}) SELECT {names} FROM consent_event WHERE receipt = 'r1'",
    )
    assert run_raw(sqlite_store, "SELECT * FROM consent_event") == before


def test_consent_goes_only_while_its_subject_is_being_erased(store: Store) -> None:
    with store.writing() as connection:
        consent(connection, "s1", "r1")
        consent(connection, "s2", "r2")
    with store.writing() as connection:
        connection.execute(sa.insert(erasing).values(subject="s1"))
        connection.execute(sa.delete(consent_event).where(consent_event.c.subject == "s1"))
        connection.execute(sa.delete(erasing))
    assert run_raw(store, "SELECT subject FROM consent_event") == [("s2",)]
    engine = raw_engine(store)
    with refused("consent_event_is_kept"), engine.begin() as raw:
        raw.execute(sa.text("INSERT INTO erasing VALUES ('s1')"))
        raw.execute(sa.text("DELETE FROM consent_event WHERE subject = 's2'"))
    with refused("consent_event_stays"), engine.begin() as raw:
        raw.execute(sa.text("INSERT INTO erasing VALUES ('s2')"))
        raw.execute(sa.text("UPDATE consent_event SET state = 'given'"))
    engine.dispose()


def test_an_unknown_state_of_consent_is_refused(store: Store) -> None:
    with pytest.raises(IntegrityError), store.writing() as connection:
        consent(connection, state="perhaps")
