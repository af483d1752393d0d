"""What is past its time goes, nothing else does, and the log can show it."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.errors import KithError
from records import retention, schema
from records.facts import Trait
from records.reconcile import Difference, open_differences
from records.registry import load_registry
from records.retention import expire
from records.retention_rules import past
from records.schema import FACTS, FRAME
from records.store import instant
from records.vault import open_vault
from tests.records.made_up_store import ANN, BOB, CARL, NOW, bytes_of, everything, fact, new_store, put, rows

CANARY = "canary-7f3a9c"
MONTHS = {
    "person": 24,
    "comp_band": 24,
    "learning_event": 24,
    "work_pattern_week": 6,
    "person.manager_key": 12,
    "person.work_tz": 12,
}


def with_months():
    """The packaged registry with these times, whatever its own are."""
    columns = {
        name: replace(column, retention_months=MONTHS.get(name, MONTHS.get(column.table, 12)))
        for name, column in load_registry().columns.items()
    }
    return replace(load_registry(), columns=MappingProxyType(columns))


REGISTRY = with_months()


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request, tmp_path):
    with new_store(tmp_path / "records", request.param) as store:
        yield store


@pytest.fixture
def store(tmp_path):
    with new_store(tmp_path / "records") as store:
        yield store


def cells(store, table):
    """(subject, valid_from, column) of every cell that is stated."""
    return {
        (row["subject"], row["valid_from"], name)
        for row in rows(store, FACTS[table])
        for name, value in row.items()
        if name not in FRAME and value is not None
    }


def test_cells_and_rows_go_by_the_rule_of_their_column(either):
    put(
        either,
        fact("learning_event", ANN, "2024-09-30", "old", course_id="c", duration_hours=8.0),
        fact("learning_event", ANN, "2024-10-01", "kept", course_id="c", duration_hours=8.0),
        fact("work_pattern_week", ANN, "2026-03-31", overtime_hours=3.0),
        fact("work_pattern_week", ANN, "2026-04-06", overtime_hours=3.0),
    )
    found = expire(either, REGISTRY, NOW)
    assert cells(either, "learning_event") == {(ANN, "2024-10-01", "course_id"), (ANN, "2024-10-01", "duration_hours")}
    assert [row["valid_from"] for row in rows(either, schema.work_pattern_week)] == ["2026-04-06"]
    assert found.emptied == {
        "learning_event.course_id": 1,
        "learning_event.duration_hours": 1,
        "work_pattern_week.overtime_hours": 1,
    }
    assert found.deleted == {"learning_event": 1, "work_pattern_week": 1}


def test_who_is_there_keeps_what_is_kept_until_the_exit(either):
    put(either, fact("person", ANN, "1999-01-01", start_month="1999-01", manager_key=BOB))
    put(either, fact("comp_band", ANN, "1999-01-01", annual_pay=1.0))
    before = everything(either)
    assert expire(either, REGISTRY, NOW).log is None
    assert everything(either) == before


def test_who_left_is_forgotten_column_by_column(either):
    put(either, fact("person", ANN, "2020-01-01", start_month="2020-01", manager_key=BOB, job_family="care"))
    last = {"start_month": "2020-01", "end_month": "2025-09", "exit_type": "voluntary", "job_family": "care"}
    put(
        either,
        fact("person", ANN, "2025-09-30", manager_key=BOB, **last),
        fact("comp_band", ANN, "2020-01-01", annual_pay=1.0),
    )
    expire(either, REGISTRY, NOW)
    assert {name for _, _, name in cells(either, "person")} == {"start_month", "end_month", "exit_type", "job_family"}
    assert cells(either, "comp_band")
    expire(either, REGISTRY, datetime(2027, 10, 1, tzinfo=UTC))
    assert not rows(either, schema.person)
    assert not rows(either, schema.comp_band)


def test_who_came_back_is_not_forgotten(store):
    put(store, fact("person", ANN, "2019-01-01", start_month="2015-01", end_month="2019-01", exit_type="voluntary"))
    put(store, fact("person", ANN, "2024-01-01", start_month="2024-01"))
    put(store, fact("person", BOB, "2024-01-01", start_month="2024-01", end_month="2019-01"))
    assert expire(store, REGISTRY, NOW).log is None


def test_one_column_of_a_row_may_go_before_the_others(store):
    put(store, fact("person", ANN, "2020-01-01", end_month="2025-06", work_tz="Europe/Oslo", job_family="care"))
    found = expire(store, REGISTRY, NOW)
    assert found.emptied == {"person.work_tz": 1}
    assert not found.deleted


def test_a_second_run_finds_nothing_and_writes_nothing(either):
    put(either, fact("pulse", ANN, "2020-01-01", "engagement", likert=3.0))
    first = expire(either, REGISTRY, NOW)
    revision, before = either.revision(), everything(either)
    again = expire(either, REGISTRY, NOW)
    assert first.log
    assert again.log is None
    assert not any((again.emptied, again.deleted, *again.left.values()))
    assert (either.revision(), everything(either)) == (revision, before)


def test_the_log_proves_that_nothing_is_left_by_any_rule(either):
    put(either, fact("pulse", ANN, "2020-01-01", "engagement", likert=3.0))
    found = expire(either, REGISTRY, NOW)
    entry = next(row for row in rows(either, schema.log_entry) if row["digest"] == found.log)
    document = json.loads(entry["document"])
    assert document["left"] == dict.fromkeys(document["left"], 0)
    stored = {name for name, column in REGISTRY.columns.items() if column.table in FACTS}
    assert stored | {"quarantine", "reconciliation", "correction", "statement", "scim_user"} <= set(document["left"])
    assert document["emptied"] == {"pulse.likert": 1}
    assert document["registry"] == REGISTRY.digest
    assert ANN not in entry["document"]
    with either.reading() as connection:
        assert either.check_log(connection) == 2


def test_a_job_that_would_leave_something_leaves_no_trace(store, monkeypatch):
    put(store, fact("pulse", ANN, "2020-01-01", "engagement", likert=3.0))
    put(store, fact("learning_event", ANN, "2020-01-01", "x", course_id="c"))
    before = everything(store)
    monkeypatch.setattr(retention._Rule, "apply", lambda rule, connection: 0)
    with pytest.raises(KithError, match="nothing past its time"):
        expire(store, REGISTRY, NOW)
    assert everything(store) == before


def test_deleted_bytes_are_in_no_file(store):
    facts = [fact("learning_event", ANN, "2020-01-01", f"{CANARY}-{n}", course_id=CANARY) for n in range(300)]
    put(store, *facts, fact("learning_event", BOB, "2026-01-01", "x", course_id="kept-course"))
    assert any(CANARY.encode() in content for content in bytes_of(store.folder).values())
    expire(store, REGISTRY, NOW)
    files = bytes_of(store.folder)
    assert not any(CANARY.encode() in content or ANN.encode() in content for content in files.values())
    assert any(b"kept-course" in content for content in files.values())


def test_an_earlier_run_that_was_cut_off_before_the_files_is_made_good(store, monkeypatch):
    put(store, *(fact("learning_event", ANN, "2020-01-01", f"{CANARY}-{n}", course_id=CANARY) for n in range(300)))
    with monkeypatch.context() as patch:
        patch.setattr(type(store), "purge", lambda store: None)
        expire(store, REGISTRY, NOW)
    expire(store, REGISTRY, NOW)
    assert not any(CANARY.encode() in content for content in bytes_of(store.folder).values())


def test_quarantined_places_go_after_half_a_year(either):
    for months, at in ((7, NOW - timedelta(days=200)), (1, NOW - timedelta(days=30))):
        number = put(either, at=at)
        with either.writing() as connection:
            connection.execute(sa.insert(schema.quarantine).values(batch=number, place=months, column="x", reason="y"))
    assert expire(either, REGISTRY, NOW).deleted == {"quarantine": 1}
    assert [row["place"] for row in rows(either, schema.quarantine)] == [1]


def test_settled_disagreements_go_and_those_about_facts_that_went(either):
    put(either, fact("person", CARL, "2020-01-01", end_month="2024-09", level_band="lead"))
    put(either, *(fact("person", who, "2020-01-01", level_band="lead") for who in (ANN, BOB)))
    with either.writing() as connection:
        differing = [
            Difference(who, None, "person.level_band", "", "2020-01-01", "lead", "entry") for who in (ANN, BOB, CARL)
        ]
        open_differences(connection, either.sealer, differing, "test", "2024-09-01T00:00:00Z")
        items, pins = schema.reconciliation, schema.correction
        settled = {"settled_at": "2024-09-01T00:00:00Z", "settled_by": "hr", "taken": "held"}
        connection.execute(sa.update(items).where(items.c.subject == ANN).values(settled))
        pin = {"column": "person.level_band", "item": "", "valid_from": "2020-01-01", "at": "2024-09-01T00:00:00Z"}
        connection.execute(sa.insert(pins), [{**pin, "subject": who} for who in (BOB, CARL)])
    found = expire(either, REGISTRY, NOW)
    assert found.deleted == {"person": 1, "reconciliation": 2, "correction": 1}
    assert [row["subject"] for row in (*rows(either, items), *rows(either, pins))] == [BOB, BOB]


def test_what_knows_statements_and_accounts_again_goes_with_what_they_said(either):
    put(
        either,
        fact("person", ANN, "2020-01-01", end_month="2024-09"),
        fact("person", BOB, "2020-01-01", job_family="care"),
    )
    with either.writing() as connection:
        for who, at in ((ANN, "2024-09-30T00:00:00Z"), (BOB, "2024-10-01T00:00:00Z")):
            connection.execute(
                sa.insert(schema.statement).values(id=who, body="b", subject=who, voided=0, stored_at=at)
            )
            account = {
                "id": who,
                "subject": who,
                "user_name": who,
                "sealed": "s",
                "version": 1,
                "created": at,
                "modified": at,
            }
            connection.execute(sa.insert(schema.scim_user).values(account))
    assert expire(either, REGISTRY, NOW).deleted == {"person": 1, "statement": 1, "scim_user": 1}
    assert [row["subject"] for row in (*rows(either, schema.statement), *rows(either, schema.scim_user))] == [BOB, BOB]


def test_protected_traits_go_after_their_time(store):
    vault = open_vault(store)
    vault.put([Trait(ANN, {"sex": "female"}, 0)], "hris", datetime(2025, 9, 30, tzinfo=UTC))
    vault.put([Trait(BOB, {"sex": "male"}, 0)], "hris", datetime(2025, 11, 1, tzinfo=UTC))
    found = expire(store, REGISTRY, NOW)
    assert found.deleted == {"protected": 1}
    assert (vault.holds(ANN), vault.holds(BOB)) == (False, True)
    assert found.log
    vault.close()


COLUMNS = [column for column in REGISTRY.columns.values() if column.table in FACTS]


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_after_the_job_no_cell_is_past_and_no_other_is_gone(data, tmp_path_factory):
    days = st.dates(datetime(2022, 1, 1).date(), datetime(2026, 10, 1).date()).map(str)
    with new_store(tmp_path_factory.mktemp("records") / "records") as store:
        exits = {
            who: data.draw(st.sampled_from([None, "2023-01", "2024-09", "2025-09", "2026-01"])) for who in (ANN, BOB)
        }
        facts = {
            ("person", who, ""): fact("person", who, "2020-01-01", start_month="2020-01", end_month=end)
            for who, end in exits.items()
        }
        for n in range(data.draw(st.integers(1, 10))):
            column = data.draw(st.sampled_from(COLUMNS))
            who = data.draw(st.sampled_from([ANN, BOB]))
            value = {"number": 1.0, "key": CARL}.get(column.kind, "2020-01")
            if column.table != "person":
                facts[column.table, who, str(n)] = fact(
                    column.table, who, data.draw(days), str(n), **{column.field: value}
                )
        put(store, *facts.values())
        before = {table: cells(store, table) for table in FACTS}
        expire(store, REGISTRY, NOW)
        for table, held in before.items():
            registered = {(who, day, name): REGISTRY.column(f"{table}.{name}") for who, day, name in held}
            kept = {c for c, column in registered.items() if not past(column, c[1], instant(NOW), exits[c[0]], NOW)}
            assert cells(store, table) == kept


def test_a_value_that_later_versions_carried_over_goes_from_all_of_them(either):
    stated = fact("preference", ANN, "2025-01-01", "k", kind="career_goal", value="x", stated="kind value")
    carried = [
        fact("preference", ANN, f"{year}-12-01", "k", value="x", expires_at=f"{year}-12-31", stated="expires_at")
        for year in (2025, 2026)
    ]
    put(either, stated, *carried)
    expire(either, REGISTRY, datetime(2026, 6, 1, tzinfo=UTC))
    assert cells(either, "preference") == {(ANN, f"{year}-12-01", "expires_at") for year in (2025, 2026)}


def test_a_value_that_was_stated_again_is_kept(either):
    put(
        either,
        fact("preference", ANN, "2025-01-01", "k", value="x"),
        fact("preference", ANN, "2026-01-01", "k", value="x"),
    )
    expire(either, REGISTRY, datetime(2026, 6, 1, tzinfo=UTC))
    assert cells(either, "preference") == {(ANN, "2026-01-01", "value")}


def test_pay_that_comes_after_the_person_has_gone_expires_by_its_own_day(either):
    put(
        either,
        fact("comp_band", ANN, "2024-01-01", annual_pay=1.0),
        fact("comp_band", BOB, "2026-01-01", annual_pay=1.0),
    )
    expire(either, REGISTRY, NOW)
    assert cells(either, "comp_band") == {(BOB, "2026-01-01", "annual_pay")}
