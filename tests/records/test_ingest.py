"""What gets into a store, how versions come together, and that a batch gets in whole or leaves no trace."""

import itertools
import json
import signal
import subprocess
import sys
import threading
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.errors import InputError, KithError
from privacy.secret_files import read_secret
from records import fact_writer, schema
from records import ingest as ingest_module
from records.facts import Fact, Fault, Said, Trait
from records.ingest import ingest
from records.reconcile import blocked, open_items
from records.registry import load_registry
from records.retention_rules import past
from records.store import create_store, instant, open_store
from records.vault import open_vault
from tests.postgresql import own_database

NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
ROOT = Path(__file__).parents[2]
REGISTRY = load_registry()
FULL = {"job_family": "care", "level_band": "senior", "work_mode": "hybrid", "start_month": "2019-03"}
people = (f"{number:032x}" for number in itertools.count(1))
"""A fresh pseudonym each time, so that tests may share a store."""


@pytest.fixture(scope="module")
def postgresql_url():
    with own_database() as url:
        yield url


@pytest.fixture(scope="module")
def sqlite_store(tmp_path_factory):
    store = create_store(tmp_path_factory.mktemp("sqlite") / "north", "North")
    yield store
    store.close()


@pytest.fixture(scope="module")
def postgresql_store(tmp_path_factory, postgresql_url):
    store = create_store(tmp_path_factory.mktemp("postgresql") / "north", "North", database=postgresql_url)
    yield store
    store.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request):
    return request.getfixturevalue(f"{request.param}_store")


@pytest.fixture
def store(sqlite_store):
    return sqlite_store


@pytest.fixture
def fresh(tmp_path):
    store = create_store(tmp_path / "north", "North")
    yield store
    store.close()


@pytest.fixture
def someone():
    return next(people)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(ingest_module, "BLOCK", 1)


def take(store, *incoming, source="hris", digest=None, now=NOW):
    return ingest(store, REGISTRY, source, "test", digest or uuid.uuid4().hex, iter(incoming), now)


def about(subject, day="2026-01-01", place=0, table="person", item="", **values):
    return Fact(table, subject, item, day, values, place)


def versions(store, subject, table="person", *columns):
    """Rows of a subject by day, or one column of them."""
    named = schema.FACTS[table]
    with store.reading() as connection:
        rows = connection.execute(sa.select(named).where(named.c.subject == subject).order_by(named.c.valid_from))
        found = {row["valid_from"]: dict(row) for row in rows.mappings()}
    return {day: row[columns[0]] for day, row in found.items()} if columns else found


def contents(store):
    """Everything in every table."""
    with store.reading() as connection:
        return {
            table.name: [tuple(row) for row in connection.execute(sa.select(table).order_by(*table.primary_key))]
            for table in schema.metadata.sorted_tables
        }


def quarantined(store, batch):
    held = schema.quarantine
    with store.reading() as connection:
        return [
            (row.place, row.column, row.reason, row.subject)
            for row in connection.execute(sa.select(held).where(held.c.batch == batch).order_by(held.c.number))
        ]


def pin(store, subject, column, day, item=""):
    with store.writing() as connection:
        values = {"subject": subject, "column": column, "item": item, "valid_from": day, "at": instant(NOW)}
        connection.execute(sa.insert(schema.correction).values(values))


def bury(store, *subjects):
    with store.writing() as connection:
        rows = [{"mark": store.pseudonyms.mark(subject), "at": instant(NOW)} for subject in subjects]
        connection.execute(sa.insert(schema.tombstone), rows)


def test_a_batch_is_written_counted_and_logged_without_a_value(fresh, someone):
    found = take(fresh, about(someone, **FULL), Fault(1, "Start", "expected a day", None), digest="d" * 64)
    assert (found.batch, found.rows, found.written, found.quarantined, found.already) == (1, 2, 1, 1, False)
    assert found.reasons == {"expected a day": 1}
    row = versions(fresh, someone)["2026-01-01"]
    assert {name: row[name] for name in FULL} == FULL
    assert (row["batch"], row["recorded_at"]) == (1, instant(NOW))
    with fresh.reading() as connection:
        fresh.check_log(connection)
        newest = sa.select(schema.log_entry.c.document).order_by(schema.log_entry.c.number.desc()).limit(1)
        document = connection.execute(newest).scalar_one()
        counts = connection.execute(sa.select(schema.batch)).mappings().one()
    told = json.loads(document)
    assert told["digest"] == "d" * 64
    assert told["written"] == counts["written"] == 1
    assert told["quarantined"] == counts["quarantined"] == 1
    assert someone not in document
    assert not any(value in document for value in FULL.values())


def test_the_document_of_a_batch_is_plain_json(store, someone):
    found = take(store, about(someone, **FULL))
    assert json.loads(json.dumps(found.to_document()))["written"] == 1


def test_the_same_batch_twice_changes_nothing_not_even_the_revision(either, someone):
    digest = uuid.uuid4().hex
    first = take(either, about(someone, **FULL), digest=digest)
    before = contents(either)
    again = take(either, about(someone, work_mode="remote"), digest=digest)
    assert (again.already, again.batch, again.rows, again.written) == (True, first.batch, 0, 0)
    assert contents(either) == before


def test_the_same_facts_in_another_batch_are_not_written_again(either, someone):
    take(either, about(someone, **FULL))
    before = versions(either, someone)
    found = take(either, about(someone, **FULL))
    assert (found.written, found.unchanged) == (0, 1)
    assert versions(either, someone) == before


def test_a_new_version_carries_over_what_it_does_not_state(either, someone):
    take(either, about(someone, **FULL, commute_minutes=30))
    take(either, about(someone, "2026-03-01", work_mode="remote", commute_minutes=None))
    newest = versions(either, someone)["2026-03-01"]
    assert (newest["work_mode"], newest["job_family"], newest["commute_minutes"]) == ("remote", "care", 30)
    assert versions(either, someone)["2026-01-01"]["work_mode"] == "hybrid"


def test_a_late_fact_reaches_into_the_versions_that_carried_its_column_over(either, someone):
    take(either, about(someone, "2026-01-01", commute_minutes=10, work_mode="hybrid"))
    take(either, about(someone, "2026-05-01", work_mode="remote"))
    take(either, about(someone, "2026-07-01", commute_minutes=70))
    take(either, about(someone, "2026-03-01", commute_minutes=40, work_mode="on site"))
    assert versions(either, someone, "person", "commute_minutes") == {
        "2026-01-01": 10, "2026-03-01": 40, "2026-05-01": 40, "2026-07-01": 70,
    }  # fmt: skip
    assert versions(either, someone, "person", "work_mode") == {
        "2026-01-01": "hybrid", "2026-03-01": "on site", "2026-05-01": "remote", "2026-07-01": "remote",
    }  # fmt: skip


def test_a_version_that_only_carries_over_keeps_its_own_batch(store, someone):
    take(store, about(someone, "2026-01-01", commute_minutes=10))
    second = take(store, about(someone, "2026-05-01", work_mode="remote"))
    take(store, about(someone, "2026-03-01", commute_minutes=40))
    assert versions(store, someone, "person", "batch")["2026-05-01"] == second.batch


def test_a_version_keeps_what_it_stated_also_where_that_repeats_the_one_before(store, someone):
    take(store, about(someone, "2026-01-01", work_mode="hybrid"))
    take(store, about(someone, "2026-05-01", work_mode="hybrid"))
    take(store, about(someone, "2026-03-01", work_mode="remote"))
    assert versions(store, someone, "person", "work_mode")["2026-05-01"] == "hybrid"


def test_history_that_comes_after_the_present_does_not_change_it(store, someone):
    take(store, about(someone, "2026-05-01", work_mode="remote", job_family="care"))
    take(store, about(someone, "2025-01-01", work_mode="hybrid"), about(someone, "2026-01-01", place=1, fte=0.5))
    assert versions(store, someone, "person", "work_mode") == {
        "2025-01-01": "hybrid", "2026-01-01": "hybrid", "2026-05-01": "remote",
    }  # fmt: skip
    assert versions(store, someone, "person", "fte")["2026-05-01"] == 0.5


def test_a_later_batch_corrects_a_version_and_what_carried_it_over(either, someone):
    take(either, about(someone, "2026-01-01", work_mode="hybrid", fte=1))
    take(either, about(someone, "2026-05-01", fte=0.5))
    found = take(either, about(someone, "2026-01-01", work_mode="remote"))
    assert (found.written, found.reconciliations) == (1, 0)
    assert set(versions(either, someone, "person", "work_mode").values()) == {"remote"}
    assert versions(either, someone, "person", "fte") == {"2026-01-01": 1, "2026-05-01": 0.5}
    assert versions(either, someone, "person", "batch")["2026-01-01"] == found.batch


def test_an_event_stands_alone_and_is_replaced_by_its_later_account(either, someone):
    facts = [
        about(someone, "2026-02-02", 0, "pulse", "engagement", likert=2),
        about(someone, "2026-03-02", 1, "pulse", "engagement", question="engagement"),
    ]
    take(either, *facts, source="survey")
    assert versions(either, someone, "pulse", "likert") == {"2026-02-02": 2, "2026-03-02": None}
    take(either, about(someone, "2026-02-02", 0, "pulse", "engagement", likert=4), source="survey")
    assert versions(either, someone, "pulse", "likert") == {"2026-02-02": 4, "2026-03-02": None}


def test_items_do_not_mix(store, someone):
    facts = [about(someone, "2026-01-01", n, "performance_fact", f"2025-{n}", rating=n + 1) for n in range(3)]
    assert take(store, *facts).written == 3
    with store.reading() as connection:
        ratings = connection.execute(sa.select(schema.performance_fact.c.rating).filter_by(subject=someone)).scalars()
        assert sorted(ratings) == [1, 2, 3]


@pytest.mark.parametrize("block", [1, 5_000])
def test_a_second_row_for_a_version_is_quarantined_unless_it_says_the_same(store, someone, monkeypatch, block):
    monkeypatch.setattr(ingest_module, "BLOCK", block)
    facts = [about(someone, place=n, work_mode=mode) for n, mode in enumerate(["hybrid", "remote", "hybrid"])]
    found = take(store, *facts)
    assert (found.rows, found.written, found.unchanged, found.quarantined) == (3, 1, 1, 1)
    assert quarantined(store, found.batch) == [(1, "", fact_writer.DUPLICATE, someone)]
    assert versions(store, someone, "person", "work_mode") == {"2026-01-01": "hybrid"}


def test_a_second_row_is_a_duplicate_also_where_the_first_changed_nothing(store, someone, small_blocks):
    take(store, about(someone, work_mode="hybrid"))
    found = take(store, about(someone, work_mode="hybrid"), about(someone, place=1, work_mode="remote"))
    assert (found.unchanged, found.quarantined) == (1, 1)
    assert versions(store, someone, "person", "work_mode") == {"2026-01-01": "hybrid"}


def test_one_row_may_state_a_version_in_several_facts_that_agree(store, someone):
    found = take(store, about(someone, fte=1), about(someone, work_mode="hybrid"), about(someone, work_mode="remote"))
    assert (found.rows, found.written, found.quarantined) == (1, 2, 1)
    assert versions(store, someone)["2026-01-01"]["fte"] == 1


def test_whoever_is_hired_again_has_not_left(either, someone):
    take(either, about(someone, "2020-01-01", start_month="2020-01"))
    take(either, about(someone, "2024-06-30", end_month="2024-06", exit_type="voluntary", start_month="2020-01"))
    take(either, about(someone, "2025-09-01", start_month="2025-09"))
    take(either, about(someone, "2026-01-01", fte=0.5))
    assert versions(either, someone, "person", "end_month") == {
        "2020-01-01": None, "2024-06-30": "2024-06", "2025-09-01": None, "2026-01-01": None,
    }  # fmt: skip
    assert versions(either, someone)["2026-01-01"]["exit_type"] is None


def test_hired_again_before_it_is_known_that_one_left(store, someone):
    take(store, about(someone, "2025-09-01", start_month="2025-09"))
    take(store, about(someone, "2024-06-30", start_month="2020-01", end_month="2024-06", exit_type="voluntary"))
    assert versions(store, someone, "person", "end_month") == {"2024-06-30": "2024-06", "2025-09-01": None}
    assert versions(store, someone, "person", "exit_type")["2025-09-01"] is None


def test_an_empty_end_beside_the_same_start_takes_a_notice_back(store, someone):
    take(store, about(someone, "2026-01-01", start_month="2020-01", end_month="2026-12", exit_type="voluntary"))
    take(store, about(someone, "2026-02-01", fte=1, end_month=None))
    assert versions(store, someone)["2026-02-01"]["end_month"] == "2026-12"
    take(store, about(someone, "2026-03-01", start_month="2020-01", end_month=None, exit_type=None))
    newest = versions(store, someone)["2026-03-01"]
    assert (newest["end_month"], newest["exit_type"]) == (None, None)


def test_an_end_in_the_future_is_kept(store, someone):
    assert take(store, about(someone, start_month="2020-01", end_month="2027-03")).written == 1


def test_an_employment_that_ends_before_it_begins_is_quarantined(store, someone):
    found = take(store, about(someone, start_month="2024-05", end_month="2024-04"))
    assert found.quarantined == 1
    assert "2024" not in quarantined(store, found.batch)[0][2]
    assert versions(store, someone) == {}


def test_who_reports_to_themselves_is_quarantined_and_a_longer_circle_is_not(store):
    one, other = next(people), next(people)
    found = take(
        store,
        about(one, manager_key=one, fte=1),
        about(one, place=1, manager_key=other),
        about(other, place=2, manager_key=one),
    )
    assert (found.written, found.quarantined) == (2, 1)
    assert versions(store, one, "person", "manager_key") == {"2026-01-01": other}


@pytest.mark.parametrize(
    "value",
    [
        "a stranger's secret",
        "",
        "care\0",
        "\ud800",
        3.0,
        float("nan"),
        True,
        ["care"],
        b"care",
        {"a": 1},
        "x" * 100_000,
    ],
    ids=repr,
)
def test_what_the_registry_does_not_take_is_quarantined_without_its_content(store, someone, value):
    found = take(store, about(someone, job_family=value), about(someone, "2026-02-01", 1, work_mode="remote"))
    assert (found.written, found.quarantined) == (1, 1)
    ((place, column, reason, subject),) = quarantined(store, found.batch)
    assert (place, column, subject) == (0, "person.job_family", someone)
    assert "secret" not in reason


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 1e300, "30", True, None, 10**400], ids=repr)
def test_numbers_that_are_none_are_not_stored(store, someone, value):
    found = take(store, about(someone, commute_minutes=value, fte=1))
    stored = versions(store, someone, "person", "commute_minutes")
    assert stored in ({}, {"2026-01-01": None})
    assert found.quarantined == (value is not None)


@pytest.mark.parametrize(
    "fact",
    [
        about("4711", fte=1),
        about("", fte=1),
        about("A" * 32, fte=1),
        about("0" * 31 + "a", day="2026-02-30", fte=1),
        about("0" * 31 + "a", day="2026-W01-1", fte=1),
        about("0" * 31 + "a", day="20260101", fte=1),
        about("0" * 31 + "a", day="", fte=1),
        about("0" * 31 + "a", day="9999-01-01", fte=1),
        about("0" * 31 + "a", day="٢٠٢٦-٠١-٠١", fte=1),
        about("0" * 31 + "a", item="a\nb", fte=1),
        about("0" * 31 + "a", item="x" * 201, fte=1),
    ],
)
def test_a_fact_that_is_nobody_s_or_of_no_day_is_quarantined(store, fact):
    found = take(store, fact)
    assert (found.written, found.quarantined) == (0, 1)
    assert "4711" not in str(quarantined(store, found.batch))


@pytest.mark.parametrize(
    ("fact", "source"),
    [
        (about("0" * 32, religion="x"), "hris"),
        (about("0" * 32, number=7), "hris"),
        (about("0" * 32, batch=7), "hris"),
        (about("0" * 32, religion=None), "hris"),
        (about("0" * 32, job_family="care"), "survey"),
        (about("0" * 32, table="protected", sex="female"), "hris"),
        (about("0" * 32, table="scim_user", sealed="x"), "hris"),
        (Trait("0" * 32, {"shoe_size": "45"}, 0), "hris"),
        ("not a fact", "hris"),
        (None, "hris"),
    ],
)
def test_what_is_not_registered_for_the_source_stops_the_batch_without_a_trace(store, someone, fact, source):
    before = contents(store)
    pulse = about(someone, "2026-01-01", 0, "pulse", "engagement", likert=3)
    with pytest.raises(InputError, match="connector: expected"):
        take(store, pulse if source == "survey" else about(someone, fte=1), fact, source=source)
    assert contents(store) == before


@pytest.mark.parametrize(
    ("source", "connector", "digest"),
    [
        ("nobody", "test", "d"),
        ("hris", "", "d"),
        ("hris", "a\nb", "d"),
        ("hris", "test", ""),
        ("hris", "test", "d" * 200),
    ],
)
def test_a_batch_without_a_source_a_connector_or_a_digest_is_refused(store, source, connector, digest):
    with pytest.raises(InputError):
        ingest(store, REGISTRY, source, connector, digest, [], NOW)


def test_an_empty_batch_is_a_batch(store):
    found = take(store)
    assert (found.rows, found.written, found.already) == (0, 0, False)


def test_a_fact_that_states_nothing_writes_nothing(store, someone):
    assert take(store, about(someone, work_mode=None), about(someone, place=1)).unchanged == 2
    assert versions(store, someone) == {}


def test_reasons_are_bounded_and_shown(store):
    faults = [Fault(place, "c" * 1_000, f"reason {place}\n", "4711") for place in range(300)]
    found = take(store, *faults)
    assert found.quarantined == sum(found.reasons.values()) == 300
    assert len(found.reasons) == ingest_module.MAX_REASONS + 1
    assert all(
        len(column) <= 200 and reason.isprintable() and subject is None
        for _, column, reason, subject in quarantined(store, found.batch)
    )


def test_what_is_past_its_time_is_left_out_and_counted(store, someone):
    old = about(someone, "2020-01-06", 0, "pulse", "engagement", likert=3)
    recent = about(someone, "2026-11-02", 1, "pulse", "engagement", likert=3)
    found = take(store, old, recent, source="survey")
    assert (found.written, found.left_out) == (1, 1)
    assert list(versions(store, someone, "pulse")) == ["2026-11-02"]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("block", [1, 5_000])
def test_who_left_long_ago_does_not_come_back(store, someone, monkeypatch, block, reverse):
    monkeypatch.setattr(ingest_module, "BLOCK", block)
    facts = [
        about(someone, "2016-03-31", 1, start_month="2010-01", end_month="2016-03", exit_type="voluntary"),
        about(someone, "2012-01-01", 0, job_family="care"),
        about(someone, "2015-01-01", 2, "comp_band", compa_ratio=100),
    ]
    found = take(store, *(facts[::-1] if reverse and block > 1 else facts))
    assert (found.written, found.left_out) == (0, 3)
    assert versions(store, someone) == versions(store, someone, "comp_band") == {}


def test_the_end_of_somebody_who_is_held_gets_in_however_long_ago(store, someone):
    take(store, about(someone, "2012-01-01", start_month="2010-01", job_family="care"))
    found = take(store, about(someone, "2016-03-31", end_month="2016-03", exit_type="voluntary", job_family="finance"))
    assert found.written == 1
    newest = versions(store, someone)["2016-03-31"]
    assert (newest["end_month"], newest["job_family"]) == ("2016-03", "care")


def test_who_left_long_ago_and_was_hired_again_is_taken_in(store, someone):
    left = about(someone, "2016-03-31", 0, start_month="2010-01", end_month="2016-03", exit_type="voluntary")
    found = take(store, left, about(someone, "2025-01-01", 1, start_month="2025-01"))
    assert found.written == 2


@pytest.mark.parametrize(
    ("name", "valid_from", "recorded", "left", "expected"),
    [
        ("pulse.likert", "2024-11-22", "", None, False),
        ("pulse.likert", "2024-11-21", "", None, True),
        ("person.job_family", "1990-01-01", "", None, False),
        ("person.job_family", "1990-01-01", "", "2024-11", False),
        ("person.job_family", "1990-01-01", "", "2024-10", True),
        ("person.job_family", "1990-01-01", "", "2027-10", False),
    ],
)
def test_past_its_time(name, valid_from, recorded, left, expected):
    import dataclasses

    column = dataclasses.replace(REGISTRY.column(name), retention_months=24)
    assert past(column, valid_from, recorded, left, NOW) is expected


def test_a_long_retention_never_runs_out_of_calendar():
    assert past(REGISTRY.column("pulse.likert"), "0001-01-01", "", None, datetime(3, 1, 1, tzinfo=UTC)) in (True, False)


def test_nothing_of_who_was_erased_gets_in(either):
    gone, there = next(people), next(people)
    bury(either, gone)
    found = take(
        either,
        about(gone, fte=1),
        Trait(gone, {"sex": "female"}, 1),
        Said(gone, "retention", "given", 1, "en", "test", "2026-01-01T00:00:00Z", 2),
        Fault(3, "Start", "expected a day", gone),
        about(there, place=4, fte=1, manager_key=gone),
        about(there, "2026-02-01", 5, manager_key=gone),
        about("x" * 20_000, place=6, fte=1),
        about(there, "2026-03-01", 7, manager_key="\ud800"),
    )
    assert (found.left_out, found.written, found.unchanged, found.quarantined) == (4, 1, 1, 2)
    assert gone not in str(contents(either))


def test_protected_traits_go_to_the_vault_and_nowhere_else(fresh):
    subjects = [next(people) for _ in range(3)]
    traits = [Trait(subject, {"sex": "female"}, place) for place, subject in enumerate(subjects)]
    told = Said(subjects[0], "workload", "given", 1, "en", "portal", "2026-01-01T00:00:00Z", 3)
    found = take(fresh, *traits, told, about(subjects[0], place=4, fte=1))
    assert (found.rows, found.written) == (5, 5)
    with fresh.reading() as connection:
        assert connection.execute(sa.select(schema.batch.c.written)).scalar_one() == 5
        assert connection.execute(sa.select(schema.consent_event.c.subject)).scalar_one() == subjects[0]
        assert fresh.check_log(connection) == 2
    vault = open_vault(fresh)
    assert all(vault.holds(subject) for subject in subjects)
    assert len(vault.read(read_secret(fresh.folder / "auditor.key"))) == 3
    vault.close()
    assert "female" not in str(contents(fresh))


def test_a_trait_that_is_not_registered_so_is_quarantined(store, someone):
    found = take(store, Trait(someone, {"sex": "a stranger's secret"}, 0), Trait("4711", {"sex": "female"}, 1))
    assert found.quarantined == 2
    assert "secret" not in str(quarantined(store, found.batch))


def test_consent_events_are_put_on_record_once_in_order_of_time(either, someone, small_blocks):
    events = [
        Said(someone, "workload", state, 1, "en", "portal", f"2026-0{month}-01T00:00:00Z", place)
        for place, (month, state) in enumerate([(3, "given"), (2, "withdrawn"), (1, "given")])
    ]
    assert take(either, *events).written == 3
    again = take(either, *events, events[0])
    assert (again.written, again.unchanged) == (0, 4)
    held = schema.consent_event
    with either.reading() as connection:
        rows = connection.execute(sa.select(held.c.at).where(held.c.subject == someone).order_by(held.c.number))
        assert [at[5:7] for (at,) in rows] == ["01", "02", "03"]


@pytest.mark.parametrize(
    "change",
    [
        {"purpose": "a stranger's secret"},
        {"state": "a stranger's secret"},
        {"notice_version": 99},
        {"notice_version": "1"},
        {"at": "yesterday"},
        {"subject": "4711"},
        {"channel": "a\nb"},
    ],
)
def test_a_consent_event_that_is_none_is_quarantined(store, someone, change):
    right = {"subject": someone, "purpose": "workload", "state": "given", "notice_version": 1, "locale": "en"}
    event = Said(**{**right, "channel": "portal", "at": "2026-01-01T00:00:00Z", "place": 0} | change)
    found = take(store, event)
    assert (found.written, found.quarantined) == (0, 1)
    assert "secret" not in str(quarantined(store, found.batch))


def test_against_a_corrected_value_nothing_is_written_and_one_item_opened(either, someone):
    take(either, about(someone, work_mode="remote", fte=1))
    pin(either, someone, "person.work_mode", "2026-01-01")
    found = take(either, about(someone, work_mode="on site", fte=0.5))
    assert (found.written, found.reconciliations) == (1, 1)
    row = versions(either, someone)["2026-01-01"]
    assert (row["work_mode"], row["fte"]) == ("remote", 0.5)
    again = take(either, about(someone, work_mode="on site"))
    assert (again.reconciliations, again.unchanged) == (0, 1)
    (item,) = [item for item in open_items(either) if item.subject == someone]
    assert (item.column, item.held, item.came, item.candidate) == ("person.work_mode", "remote", "on site", None)
    assert "remote" not in repr(item)
    with either.reading() as connection:
        assert someone in blocked(connection)


def test_a_correction_also_holds_where_later_versions_carried_it_over(store, someone):
    take(store, about(someone, work_mode="remote"))
    pin(store, someone, "person.work_mode", "2026-01-01")
    take(store, about(someone, "2026-02-01", fte=1))
    found = take(store, about(someone, "2026-03-01", work_mode="on site", fte=0.8))
    assert found.reconciliations == 1
    newest = versions(store, someone)["2026-03-01"]
    assert (newest["work_mode"], newest["fte"]) == ("remote", 0.8)


def test_a_correction_does_not_hold_what_came_before_it_or_another_fact(store, someone):
    take(store, about(someone, "2026-03-01", work_mode="remote"))
    pin(store, someone, "person.work_mode", "2026-03-01")
    earlier = about(someone, "2026-01-01", work_mode="on site", job_family="care")
    found = take(store, earlier, about(someone, "2026-03-01", 1, work_mode="remote", job_family="finance"))
    assert found.reconciliations == 0
    assert versions(store, someone, "person", "work_mode") == {"2026-01-01": "on site", "2026-03-01": "remote"}


def test_a_correction_stays_where_an_earlier_version_changes(store, someone):
    take(store, about(someone, "2026-01-01", work_mode="remote"), about(someone, "2026-03-01", 1, work_mode="on site"))
    with store.writing() as connection:
        wrong = sa.update(schema.person).where(schema.person.c.subject == someone).values(work_mode="remote")
        connection.execute(wrong)
    pin(store, someone, "person.work_mode", "2026-03-01")
    take(store, about(someone, "2026-01-01", work_mode="hybrid"), about(someone, "2026-02-01", 1, work_mode="on site"))
    assert versions(store, someone, "person", "work_mode") == {
        "2026-01-01": "hybrid", "2026-02-01": "on site", "2026-03-01": "remote",
    }  # fmt: skip


def test_a_fact_that_only_speaks_against_a_correction_writes_no_version(store, someone):
    take(store, about(someone, work_mode="remote"))
    pin(store, someone, "person.work_mode", "2026-01-01")
    found = take(store, about(someone, "2026-03-01", work_mode="on site"))
    assert (found.written, found.unchanged, found.reconciliations) == (0, 1, 1)
    assert list(versions(store, someone)) == ["2026-01-01"]


def test_an_error_in_the_middle_leaves_no_trace(either, someone, small_blocks):
    vault, digest = open_vault(either), uuid.uuid4().hex
    before = contents(either)

    def breaking():
        yield about(someone, fte=1)
        yield Said(someone, "workload", "given", 1, "en", "portal", "2026-01-01T00:00:00Z", 1)
        yield Trait(someone, {"sex": "female"}, 2)
        yield Fault(3, "", "why not")
        yield about(someone, "2026-02-01", 4, fte=0.5)
        raise InputError("row 5: expected an end, got none")

    with pytest.raises(InputError, match="row 5"):
        ingest(either, REGISTRY, "hris", "test", digest, breaking(), NOW)
    assert contents(either) == before
    assert not vault.holds(someone)
    vault.close()
    assert take(either, about(someone, fte=1), digest=digest).written == 1


KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from records.facts import Fact
from records.ingest import ingest
from records.registry import load_registry
from records.store import open_store

def coming():
    for place in range(40_000):
        if place == 30_000:
            os.kill(os.getpid(), signal.SIGKILL)
        yield Fact("comp_band", f"{place:032x}", "", "2026-01-01", {"compa_ratio": 100.0}, place)

store, now = open_store(Path(sys.argv[1])), datetime(2026, 11, 22, tzinfo=UTC)
ingest(store, load_registry(), "hris", "test", "d", coming(), now)
"""


def test_a_killed_ingest_leaves_no_trace(fresh):
    before = contents(fresh)
    ended = subprocess.run([sys.executable, "-c", KILLED, str(fresh.folder)], timeout=120, cwd=ROOT)
    assert ended.returncode == -signal.SIGKILL
    again = open_store(fresh.folder)
    assert contents(again) == before
    with again.reading() as connection:
        again.check_log(connection)
    again.close()


def test_a_full_disk_leaves_no_trace(fresh):
    before = contents(fresh)
    fresh.close()

    @sa.event.listens_for(fresh._engine, "connect")
    def little_room(connection, _record):
        connection.execute("PRAGMA max_page_count=200")

    facts = (about(f"{n:032x}", place=n, table="comp_band", compa_ratio=100) for n in range(30_000))
    with pytest.raises(KithError, match="database"):
        ingest(fresh, REGISTRY, "hris", "test", "d", facts, NOW)
    assert contents(fresh) == before


@pytest.mark.parametrize("same", [False, True])
def test_batches_that_come_together_take_turns(either, same):
    subjects = [next(people) for _ in range(40)]
    barrier = threading.Barrier(2)
    found = []

    def one(mode, digest):
        def coming():
            for place, subject in enumerate(subjects):
                yield about(subject, place=place, work_mode=mode)

        barrier.wait()
        found.append(ingest(either, REGISTRY, "hris", "test", digest, coming(), NOW))

    digest = uuid.uuid4().hex
    turns = [("hybrid", digest), ("hybrid", digest) if same else ("remote", uuid.uuid4().hex)]
    threads = [threading.Thread(target=one, args=turn) for turn in turns]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(one.already for one in found) == [False, same]
    modes = {versions(either, subject, "person", "work_mode")["2026-01-01"] for subject in subjects}
    assert len(modes) == 1


def test_who_finds_the_batch_taken_in_meanwhile_changes_nothing(store, someone, monkeypatch):
    digest = uuid.uuid4().hex
    first = take(store, about(someone, fte=1), digest=digest)
    answers = [None]
    known = ingest_module._known
    monkeypatch.setattr(ingest_module, "_known", lambda *asked: answers.pop() if answers else known(*asked))
    before = contents(store)
    found = take(store, about(someone, fte=0.5), digest=digest)
    assert (found.already, found.batch) == (True, first.batch)
    assert contents(store) == before


def test_a_batch_may_be_part_of_a_transaction_that_is_open(either, someone):
    before = contents(either)

    def inside(after_all):
        with either.writing() as connection:
            facts = [about(someone, fte=1)]
            found = ingest(either, REGISTRY, "hris", "t", uuid.uuid4().hex, facts, NOW, connection=connection)
            assert found.written == 1
            if not after_all:
                raise KithError("after all not")

    with pytest.raises(KithError, match="after all"):
        inside(after_all=False)
    assert contents(either) == before
    inside(after_all=True)
    assert list(versions(either, someone)) == ["2026-01-01"]


def test_the_versions_of_one_state_are_bounded(store, someone, monkeypatch):
    monkeypatch.setattr(fact_writer, "MAX_VERSIONS", 3)
    facts = [about(someone, f"2026-01-0{day}", day, commute_minutes=day) for day in range(1, 6)]
    found = take(store, *facts)
    assert (found.written, found.quarantined) == (3, 2)


def test_no_value_is_in_an_error(store, someone):
    with pytest.raises(InputError) as refusal:
        take(store, about(someone, job_family="care", shoe_size="a stranger's secret"))
    assert "secret" not in str(refusal.value)
    assert "person.shoe_size" in str(refusal.value)


# One state of one person, told in any order.

DAYS = [f"2026-0{month}-01" for month in range(1, 6)]
COLUMNS = ("commute_minutes", "fte")
statement = st.tuples(st.sampled_from(DAYS), st.dictionaries(st.sampled_from(COLUMNS), st.integers(1, 3), min_size=1))
batches = st.lists(st.lists(statement, min_size=1, max_size=4, unique_by=lambda one: one[0]), min_size=1, max_size=4)


def told(batches):
    """With values that the columns take."""
    return [[(day, {name: number / 100 for name, number in said.items()}) for day, said in one] for one in batches]


def state(store, subject):
    """What holds on each day, by column."""
    held = versions(store, subject)
    newest = {day: max((other for other in held if other <= day), default=None) for day in DAYS}
    return {day: {n: held[at][n] if at else None for n in COLUMNS} for day, at in newest.items()}


def expected(batches):
    """The rule itself: of each column what was last stated up to the day, a later batch replacing an earlier's word."""
    statements = {}
    for day, said in itertools.chain.from_iterable(batches):
        statements.setdefault(day, {}).update(said)
    found, current = {}, dict.fromkeys(COLUMNS)
    for day in DAYS:
        current = {**current, **statements.get(day, {})}
        found[day] = current
    return found


def take_all(store, subject, batches):
    return [take(store, *(about(subject, day, n, **said) for n, (day, said) in enumerate(one))) for one in batches]


@settings(deadline=None, max_examples=60)
@given(batches)
def test_on_every_day_holds_what_was_last_stated_up_to_it(sqlite_store, batches):
    batches, subject = told(batches), next(people)
    counted = take_all(sqlite_store, subject, batches)
    assert state(sqlite_store, subject) == expected(batches)
    for one, found in zip(batches, counted, strict=True):
        assert found.written + found.unchanged + found.quarantined + found.left_out == len(one)


@settings(deadline=None, max_examples=30)
@given(batches)
def test_any_sequence_of_batches_twice_gives_the_same_state(sqlite_store, batches):
    batches, subject = told(batches), next(people)
    take_all(sqlite_store, subject, batches)
    before = state(sqlite_store, subject)
    take_all(sqlite_store, subject, batches)
    assert state(sqlite_store, subject) == before


@settings(deadline=None, max_examples=40)
@given(batches, st.data())
def test_splitting_a_batch_or_another_order_of_its_rows_gives_the_same_state(sqlite_store, batches, data):
    (one, *_), split, other = told(batches), next(people), next(people)
    cut = data.draw(st.integers(0, len(one)))
    take_all(sqlite_store, split, [one[:cut], one[cut:]])
    take_all(sqlite_store, other, [data.draw(st.permutations(one))])
    assert state(sqlite_store, split) == state(sqlite_store, other) == expected([one])
