"""One way in for every kind of source: what is refused, and when the same thing counts as come before."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from privacy.errors import InputError, Refused
from records.access import erase
from records.intake import ingest_file, unknown_columns
from records.mapping import load_mapping, parse_mapping
from records.registry import load_registry
from records.store import Store, create_store

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
AS_OF = date(2026, 11, 1)
REGISTRY = load_registry()
TABLE = b"""
source = "hris"
kind = "table"
[person]
number = "No"
[[facts]]
table = "person"
columns.job_family = { from = "Family" }
"""
SQL = TABLE.replace(b'"table"\n[person]', b'"sql"\n[read]\nurl_from = "T_URL"\nquery = "SELECT * FROM p"\n[person]')
EVENT = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20260101T000000Z\r\n"
    "DTSTART:20261201T090000Z\r\nDTEND:20261201T100000Z\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = create_store(tmp_path / "store", "Site")
    yield made
    made.close()


@pytest.fixture
def mapping(tmp_path: Path) -> Path:
    path = tmp_path / "mapping.toml"
    path.write_bytes(TABLE)
    return path


@pytest.fixture
def people(tmp_path: Path) -> Path:
    path = tmp_path / "people.csv"
    path.write_text("No,Family,Shoe size\n1,care,40\n2,sales,41\n")
    return path


def test_a_file_comes_once_under_whatever_name(store: Store, mapping: Path, people: Path, tmp_path: Path) -> None:
    first = ingest_file(store, REGISTRY, mapping, people, AS_OF, NOW)
    assert (first.written, first.quarantined, first.already) == (2, 0, False)
    copy = people.rename(tmp_path / "again.csv")
    assert ingest_file(store, REGISTRY, load_mapping(mapping, REGISTRY), copy, AS_OF, NOW).already


def test_another_day_or_another_mapping_is_another_batch(store: Store, mapping: Path, people: Path) -> None:
    ingest_file(store, REGISTRY, mapping, people, AS_OF, NOW)
    assert not ingest_file(store, REGISTRY, mapping, people, AS_OF + timedelta(1), NOW).already
    mapping.write_bytes(TABLE + b"# a change\n")
    again = ingest_file(store, REGISTRY, mapping, people, AS_OF, NOW)
    assert (again.already, again.unchanged) == (False, 2)


def test_what_is_kept_of_a_file_can_not_be_guessed_at_after_an_erasure(
    store: Store, mapping: Path, tmp_path: Path
) -> None:
    people = tmp_path / "one.csv"
    people.write_text("No,Family\n4711,care\n")
    ingest_file(store, REGISTRY, mapping, people, AS_OF, NOW)
    erase(store, store.pseudonyms.person("4711"), NOW)
    with store.reading() as connection:
        kept = connection.exec_driver_sql("SELECT digest FROM batch").scalars().all()
    other = create_store(tmp_path / "other", "Site")  # without the site's key nobody comes to the same digest
    ingest_file(other, REGISTRY, mapping, people, AS_OF, NOW)
    with other.reading() as connection:
        guessed = connection.exec_driver_sql("SELECT digest FROM batch").scalars().all()
    other.close()
    assert len(kept) == len(guessed) == 1
    assert kept != guessed


def test_rows_without_a_day_hold_from_today_on(store: Store, mapping: Path, people: Path) -> None:
    ingest_file(store, REGISTRY, mapping, people, None, NOW)
    with store.reading() as connection:
        days = connection.exec_driver_sql("SELECT DISTINCT valid_from FROM person").scalars().all()
    assert days == ["2026-11-22"]


def test_columns_that_nobody_named_are_told_and_not_read(mapping: Path, people: Path) -> None:
    found = unknown_columns(load_mapping(mapping, REGISTRY), people)
    assert [(column.name, column.prohibited) for column in found] == [("Shoe size", None)]


def test_a_database_is_read_anew_each_time(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sqlite3.connect(tmp_path / "hr.db") as database:
        database.execute("CREATE TABLE p (No TEXT, Family TEXT)")
        database.execute("INSERT INTO p VALUES ('1', 'care')")
    monkeypatch.setenv("T_URL", f"sqlite:///{tmp_path / 'hr.db'}")
    mapping = parse_mapping(SQL, REGISTRY)
    assert ingest_file(store, REGISTRY, mapping, None, AS_OF, NOW).written == 1
    with sqlite3.connect(tmp_path / "hr.db") as database:
        database.execute("INSERT INTO p VALUES ('2', 'sales')")
    later = ingest_file(store, REGISTRY, mapping, None, AS_OF, NOW + timedelta(seconds=1))
    assert (later.written, later.unchanged) == (1, 1)
    with pytest.raises(InputError, match="expected no path"):
        ingest_file(store, REGISTRY, mapping, tmp_path / "hr.db", AS_OF, NOW)


def test_a_folder_of_calendars_is_read_as_one(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "calendars"
    folder.mkdir()
    for number in ("000001", "000002"):
        (folder / f"{number}.ics").write_text(EVENT)
    (folder / "notes.txt").write_text("not a calendar")
    assert ingest_file(store, REGISTRY, "calendar", folder, None, NOW).written == 2
    assert ingest_file(store, REGISTRY, "calendar", folder, None, NOW + timedelta(hours=1)).already
    assert not ingest_file(store, REGISTRY, "calendar", folder, None, NOW + timedelta(days=1)).already


def test_the_same_calendar_of_another_person_is_another_batch(store: Store, tmp_path: Path) -> None:
    for number in ("000001", "000002"):
        file = tmp_path / f"{number}.ics"
        file.write_text(EVENT)
        assert not ingest_file(store, REGISTRY, "calendar", file, None, NOW).already


@pytest.mark.parametrize("kind", ["scim", "xapi"])
def test_lines_of_a_kind_go_to_its_connector(store: Store, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"some": "thing"}\n')
    done = ingest_file(store, REGISTRY, kind, path, AS_OF, NOW)
    assert (done.rows, done.quarantined, done.written) == (1, 1, 0)


@pytest.mark.parametrize("name", ["missing.csv", "\0", "a" * 5_000, ""])
def test_a_path_that_leads_nowhere_is_refused(store: Store, mapping: Path, name: str) -> None:
    with pytest.raises(InputError, match="expected a file, got"):
        ingest_file(store, REGISTRY, mapping, name, AS_OF, NOW)


def test_a_folder_is_no_table_and_a_missing_path_no_source(store: Store, mapping: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a file, got a folder"):
        ingest_file(store, REGISTRY, mapping, tmp_path, AS_OF, NOW)
    with pytest.raises(InputError, match="expected a file to read, got no path"):
        ingest_file(store, REGISTRY, mapping, None, AS_OF, NOW)


def test_an_unknown_mapping_and_a_prohibited_one_are_refused(store: Store, people: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected one of"):
        ingest_file(store, REGISTRY, "no_such_mapping", people, AS_OF, NOW)
    path = tmp_path / "prohibited.toml"
    path.write_bytes(TABLE.replace(b'"Family"', b'"religion"'))
    with pytest.raises(Refused, match="prohibited"):
        ingest_file(store, REGISTRY, path, people, AS_OF, NOW)


def test_a_time_without_a_zone_is_refused(store: Store, mapping: Path, people: Path) -> None:
    with pytest.raises(InputError, match="expected a time with its zone"):
        ingest_file(store, REGISTRY, mapping, people, AS_OF, datetime(2026, 11, 22))
