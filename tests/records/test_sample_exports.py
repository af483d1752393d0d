"""The sample group's exports: the same bytes every time, and a table again once they went through the connectors."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from privacy.errors import InputError, Refused
from records.contract import load_contract
from records.derive import months_after
from records.intake import ingest_file
from records.mapping import load_mapping
from records.reconcile import open_items
from records.registry import Registry, load_registry
from records.retention_rules import past
from records.sample.activity import LEARNING_DAYS, MONTH_DAYS
from records.sample.exports import SampleExports, SiteExports, write_sample_exports
from records.sample.group import COLUMNS, PROFILES, sample_tables
from records.sample.people import SURNAMES, sample_people
from records.sample.timeline import FIRST_DAY, HORIZON_MONTHS, LAST_DAY, Timeline, clocks_forward, year_before
from records.schema import FACTS
from records.snapshot import Snapshot, features_of, snapshot
from records.store import create_store

SEED = 7
TODAY = date(2026, 11, 22)
LEAP_DAY = date(2028, 2, 29)
ON_CONSENT = ("overtime_hours", "pulse")


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> SampleExports:
    return write_sample_exports(tmp_path_factory.mktemp("exports"), SEED, TODAY)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry()


def noon(day: date) -> datetime:
    return datetime.combine(day, time(12), UTC)


class Site:
    """A subsidiary's store after all its exports went in at once, and what each of them came to."""

    def __init__(self, exports: SiteExports, folder: Path, registry: Registry, contract: Path, now: datetime) -> None:
        self.exports = exports
        self.store = create_store(folder, exports.name)
        self.intakes = [
            ingest_file(self.store, registry, feed.mapping, feed.path, feed.as_of, now) for feed in exports.feeds
        ]
        self.snapshot: Snapshot = snapshot(self.store, registry, load_contract(contract), now)

    def rows(self) -> pd.DataFrame:
        """The snapshot's rows by the sample table's key; people of no table are left out."""
        person = self.store.pseudonyms.person
        keys = {person(number): key for key, number in self.exports.number_of.items()}
        frame = self.snapshot.table.frame
        return frame.set_index(frame["employee_key"].map(keys)).loc[lambda rows: rows.index.notna()]

    def sound(self, *standings: str) -> set[str]:
        """Keys of the people of such a standing whom no defect struck."""
        exports = self.exports
        return {
            key
            for key, number in exports.number_of.items()
            if exports.standing_of[number] in standings and number not in exports.spoiled
        }

    def today(self, number: str) -> dict[str, Any]:
        """The features of one person, read today."""
        subject = self.store.pseudonyms.person(number)
        return features_of(self.store, load_registry(), "retention", subject, noon(TODAY))


@pytest.fixture(scope="module")
def sites(
    exports: SampleExports, registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Site]]:
    folder = tmp_path_factory.mktemp("stores")
    made = {
        site.name: Site(site, folder / site.folder.name, registry, exports.contract, noon(TODAY))
        for site in exports.sites
    }
    yield made
    for site in made.values():
        site.store.close()


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    return {
        profile.name: table.set_index("employee_key") for profile, table in zip(PROFILES, sample_tables(), strict=True)
    }


def files_of(folder: Path) -> dict[str, str]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def test_the_same_seed_and_day_give_the_same_bytes(exports: SampleExports, tmp_path: Path) -> None:
    first = files_of(exports.contract.parent)
    assert files_of(write_sample_exports(tmp_path, SEED, TODAY).contract.parent) == first
    assert {Path(name).suffix for name in first} == {
        *(".csv", ".tsv", ".xlsx", ".parquet", ".json", ".jsonl", ".ics", ".toml")
    }


def test_another_day_moves_everything_and_gives_the_same_rows(
    exports: SampleExports, tables: dict[str, pd.DataFrame], registry: Registry, tmp_path: Path
) -> None:
    moved = write_sample_exports(tmp_path / "exports", SEED, LEAP_DAY)
    first, other = files_of(exports.contract.parent), files_of(moved.contract.parent)
    assert [name for name in first if first[name] == other.get(name)] == []
    site = Site(moved.sites[-1], tmp_path / "store", registry, moved.contract, noon(LEAP_DAY))
    rows = site.rows().loc[sorted(site.sound("given"))]
    assert len(rows) > 40
    for column in (*COLUMNS, "left"):
        assert same(tables[site.exports.name], rows, column).all(), column
    site.store.close()


@pytest.mark.parametrize("day", [FIRST_DAY - timedelta(1), LAST_DAY + timedelta(1), date.min, date.max])
def test_a_day_that_the_exports_can_not_be_dated_by_is_refused(tmp_path: Path, day: date) -> None:
    with pytest.raises(InputError, match="expected a day from 2025-01-01 to 2035-12-31"):
        write_sample_exports(tmp_path, SEED, day)


def within(day: date, end: date, months: int) -> bool:
    """Whether a feature that looks back so many months from `end` sees the day."""
    return months_after(end, -months) < day <= end


@given(st.dates(FIRST_DAY, LAST_DAY))
def test_every_day_counts_when_it_is_meant_to_and_is_kept_till_today(today: date) -> None:
    days, registry = Timeline(today), load_registry()
    as_of = days.as_of
    assert (as_of + timedelta(1)).day == 1
    assert months_after(as_of, HORIZON_MONTHS) < today
    ends = timedelta(6)  # a week's facts are true from its Sunday on
    assert all(within(week, as_of, 3) and week + ends <= as_of for week in days.weeks)
    assert all(within(week, today, 3) and week > as_of and week + ends <= today for week in days.recent_weeks)
    assert within(days.survey, as_of, 12)
    assert days.earlier_survey < days.survey
    assert within(days.recent_survey, today, 12)
    assert days.recent_survey > as_of
    for end, after in ((as_of, months_after(as_of, -12)), (today, as_of)):
        first = year_before(end)
        last = first + timedelta(LEARNING_DAYS, minutes=600)
        assert after < first.date() <= last.date() <= end
        assert within(first.date(), end, 12)
    assert not within((days.learned_before + timedelta(MONTH_DAYS)).date(), as_of, 12)
    assert not within(days.first_managers, as_of, 36)
    assert within(days.first_change, as_of, 36)
    oldest = {
        "learning_event.duration_hours": days.learned_before.date(),
        "pulse.likert": days.earlier_survey,
        "work_pattern_week.overtime_hours": days.weeks[0],
    }
    for name, day in oldest.items():
        assert not past(registry.column(name), day.isoformat(), day.isoformat(), None, noon(today))


@given(st.dates(FIRST_DAY, LAST_DAY))
def test_the_skipped_hour_is_one(today: date) -> None:
    day = clocks_forward(today)
    local = datetime.combine(day, time(2, 30), ZoneInfo("Europe/Oslo"))
    assert local.astimezone(UTC).astimezone(local.tzinfo).time() == time(3, 30)
    assert timedelta(0) < today - day < timedelta(372)


def test_a_folder_that_can_not_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="expected a folder to write to"):
        write_sample_exports(tmp_path / "taken", SEED, TODAY)


def test_a_past_gives_its_row_back(tables: dict[str, pd.DataFrame]) -> None:
    as_of = Timeline(TODAY).as_of
    assert as_of == date(2025, 10, 31)
    for place, profile in enumerate(PROFILES):
        table = tables[profile.name]
        people = [person for person in sample_people(place, table.reset_index(), SEED, Timeline(TODAY)) if person.key]
        assert [person.key for person in people] == list(table.index)
        assert len({person.number for person in people}) == len(table)
        for person in people:
            months = (as_of.year - person.joined.year) * 12 + as_of.month - person.joined.month
            assert abs(months / 12 - float(person.cell("tenure_years"))) <= 1 / 12
            days = [since for since, _ in person.managers]
            assert days == sorted(set(days))
            assert max(days) <= as_of
            assert len(days) - 1 == int(person.cell("manager_changes"))


def test_head_counts_keep_to_the_declared_bounds(exports: SampleExports) -> None:
    bounds = {site.name: site.people_at_most for site in load_contract(exports.contract).site.sites}
    hired = 8
    assert all(len(site.number_of) < site.people + hired <= bounds[site.name] for site in exports.sites)


def test_the_systems_write_as_they_do(exports: SampleExports) -> None:
    halden, norrvik, brightmoor, *_ = (site.folder for site in exports.sites)
    orange = (halden / "hs_hr_employee.csv").read_bytes()
    with pytest.raises(UnicodeDecodeError):
        orange.decode("utf-8")
    header, first, *_ = csv.reader(orange.decode("latin-1").splitlines(), delimiter=";")
    assert {"emp_smoker", "ethnic_race_code", "emp_ssn_num"} <= set(header)
    assert "/" in first[header.index("joined_date")]
    assert (brightmoor / "Employee.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    assert (norrvik / "employees.xlsx").read_bytes().startswith(b"PK")


def test_every_mapping_is_allowed_by_the_registry(exports: SampleExports, registry: Registry) -> None:
    for site in exports.sites:
        for feed in site.feeds:
            load_mapping(feed.mapping, registry)


def test_everything_planted_is_found_and_nothing_else(sites: dict[str, Site]) -> None:
    for name, site in sites.items():
        for feed, intake in zip(site.exports.feeds, site.intakes, strict=True):
            planted = sum(feed.expected_quarantine.values())
            assert intake.quarantined == planted == sum(intake.reasons.values()), (name, feed.path.name)
            assert intake.left_out == 0, (name, feed.path.name)  # nothing is past its time yet


def test_a_demonstration_takes_them_in_quickly(sites: dict[str, Site]) -> None:
    assert 60_000 < sum(intake.rows for site in sites.values() for intake in site.intakes) < 85_000


def test_the_planted_circle_gets_in_and_no_other(sites: dict[str, Site]) -> None:
    person = FACTS["person"].c
    for name, site in sites.items():
        with site.store.reading() as connection:
            rows = connection.execute(select(person.subject, person.manager_key).order_by(person.valid_from)).all()
        leader = {subject: manager for subject, manager in rows if manager}
        circle = [one for one, other in leader.items() if leader.get(other) == one]
        planted = sum(feed.repaired.get("manager cycle", 0) for feed in site.exports.feeds)
        assert len(circle) == planted == (2 if name.startswith("Halden") else 0)


def same(table: pd.DataFrame, rows: pd.DataFrame, column: str) -> pd.Series[Any]:
    """Whether cells agree; numbers up to the month that a date was rounded to."""
    expected, found = table.loc[rows.index, column], rows[column]
    both_missing = expected.isna() & found.isna()
    if column in ("work_mode", "job_level", "job_family", "pulse", "left"):
        return both_missing | (expected == found)
    numbers = pd.to_numeric(found)
    return both_missing | ((pd.to_numeric(expected) - numbers).abs() <= (1 / 12 if column == "tenure_years" else 1e-6))


def test_the_table_comes_back_whatever_came_later(sites: dict[str, Site], tables: dict[str, pd.DataFrame]) -> None:
    as_of = Timeline(TODAY).as_of.isoformat()
    for name, site in sites.items():
        rows, table, exports = site.rows(), tables[name], site.exports
        with site.store.reading() as connection:
            for happened in (FACTS[kind] for kind in ("work_pattern_week", "learning_event", "pulse")):
                later = select(func.count()).select_from(happened).where(happened.c.valid_from > as_of)
                assert (connection.scalar(later) or 0) > 0.6 * len(table)
        standing = {key: exports.standing_of[number] for key, number in exports.number_of.items()}
        allowed = {key for key, said in standing.items() if said in ("given", "informed", "returned")}
        sound = site.sound("given", "informed", "returned")
        assert sound <= set(rows.index) <= allowed
        rows = rows.loc[sorted(sound)]
        agreed = rows.index.map(standing) == "given"
        for column in (*COLUMNS, "left"):
            equal = same(table, rows, column)
            if column in ON_CONSENT:
                assert rows.loc[~agreed, column].isna().all()
                equal = equal[agreed]
            assert equal.all(), (name, column, int((~equal).sum()))


def test_what_differs_is_a_small_share(sites: dict[str, Site], tables: dict[str, pd.DataFrame]) -> None:
    """Over the whole table: people who may not be used, cells without consent, and what a defect took."""
    cells = differing = people = 0
    for name, site in sites.items():
        rows = site.rows()
        people += len(tables[name]) - len(rows)
        for column in (*COLUMNS, "left"):
            equal = same(tables[name], rows, column)
            cells, differing = cells + len(equal), differing + int((~equal).sum())
    total = sum(map(len, tables.values()))
    assert 0.03 < people / total < 0.08
    assert 0.001 < differing / cells < 0.02


def test_who_is_still_there_is_known_today_as_well_as_then(
    sites: dict[str, Site], tables: dict[str, pd.DataFrame]
) -> None:
    for name, site in sites.items():
        table = tables[name]
        for key in sorted(site.sound("given") & set(table.index[table["left"] == "no"]))[:25]:
            row, found = table.loc[key], site.today(site.exports.number_of[key])
            assert {column for column in COLUMNS if found[column] is None} == {c for c in COLUMNS if pd.isna(row[c])}
            for column in ("work_mode", "job_level", "job_family"):
                assert found[column] == row[column]
            for column in ("overtime_hours", "commute_minutes", "training_days", "pay_against_market"):
                assert found[column] is None or found[column] == pytest.approx(float(row[column]))
            assert found["pulse"] is None or abs(int(found["pulse"]) - int(row["pulse"])) <= 1
            assert found["months_since_promotion"] == int(row["months_since_promotion"]) + 13
            assert found["manager_changes"] <= int(row["manager_changes"])


def test_who_left_since_is_recommended_nothing(sites: dict[str, Site], tables: dict[str, pd.DataFrame]) -> None:
    for name, site in sites.items():
        left = site.sound("given") & set(tables[name].index[tables[name]["left"] == "yes"])
        for key in sorted(left)[:5]:
            with pytest.raises(Refused, match="not employed today"):
                site.today(site.exports.number_of[key])


def test_who_came_lately_was_told_and_asked(sites: dict[str, Site]) -> None:
    site = sites["Norrvik Logistics"]
    with (site.exports.folder / "new-consent.csv").open() as file:
        wrong, *others = dict.fromkeys(row["employee"] for row in csv.DictReader(file))
    assert len(others) == 7
    for number in others:
        assert site.today(number)["tenure_years"] < 0.1
    with pytest.raises(Refused, match="await a decision"):
        site.today(wrong)


def test_no_name_reaches_a_store(sites: dict[str, Site]) -> None:
    for site in sites.values():
        data = b"".join(path.read_bytes() for path in site.store.folder.iterdir() if path.is_file()).lower()
        assert len(data) > 100_000
        for surname in map(str.lower, SURNAMES):
            assert surname.encode() not in data
            assert surname.encode("latin-1") not in data


def test_the_offer_that_was_recorded_otherwise_waits_for_a_person(sites: dict[str, Site]) -> None:
    items = open_items(sites["Norrvik Logistics"].store)
    assert [item.column for item in items] == ["comp_band.annual_pay"]
    assert not any(open_items(site.store) for name, site in sites.items() if name != "Norrvik Logistics")


def test_the_same_exports_again_change_nothing(sites: dict[str, Site], registry: Registry) -> None:
    site = sites["Calder Quay Advisory"]
    before = site.store.revision()
    for feed in site.exports.feeds:
        again = ingest_file(
            site.store, registry, feed.mapping, feed.path, feed.as_of, noon(TODAY) + timedelta(minutes=1)
        )
        assert again.already or again.written == 0
    assert site.store.revision() == before
