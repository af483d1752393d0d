"""What a person may ask: to see everything, to have it corrected, and to be gone from everything."""

import csv
import io
import json
import sqlite3
import stat
import threading
import time
from contextlib import closing
from datetime import timedelta

import pytest
import sqlalchemy as sa

from privacy.errors import InputError, KithError, Refused
from records import access, databases, schema
from records.access import correct, erase, everything_about, readmit
from records.consent import may_use, record
from records.facts import Fact, Said, Trait
from records.ingest import ingest
from records.reconcile import Difference, open_differences, open_items
from records.schema import FACTS
from records.snapshot import features_of
from records.store import Store, instant
from records.vault import open_vault
from tests.records.made_up_store import (
    ANN,
    BOB,
    NOW,
    REGISTRY,
    bytes_of,
    everything,
    fact,
    new_store,
    put,
    rows,
    said,
    subject,
)

APPLICANT, OTHER = subject(0xA1), subject(0xB1)
DAY = "2026-01-01"
TRACES = {"career-goal-canary", "unit-canary", "course-canary", "task-canary", "cycle-canary", "Ann Canary"}
"""Texts that only Ann's records hold."""
VALUE = {
    "number": 1.0,
    "key": BOB,
    "month": "2020-01",
    "day": DAY,
    "instant": f"{DAY}T00:00:00Z",
    "code": "unit-canary",
}


@pytest.fixture
def store(tmp_path):
    with new_store(tmp_path / "records") as store:
        yield store


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request, tmp_path):
    with new_store(tmp_path / "records", request.param) as store:
        yield store


def account(store, who, name, manager=None):
    """A SCIM account as the connector keeps it."""
    document = {
        "userName": name,
        "urn:enterprise": {"department": "x", **({"manager": {"value": manager}} if manager else {})},
    }
    sealed = store.sealer.seal(json.dumps(document).encode(), f"id-{who}")
    names = {"user_name": store.pseudonyms.index("scim.userName", name), "external_id": None}
    times = {"created": instant(NOW), "modified": instant(NOW)}
    return {"id": f"id-{who}", "subject": who, **names, "sealed": sealed, "version": 1, **times}


def fill(store, who, applicant):
    """Something about a person in every table there is."""
    values = {
        table: {c.field: VALUE.get(c.kind) or c.values[0] for c in REGISTRY.columns.values() if c.table == table}
        for table in FACTS
    }
    values["person"] |= {"candidate_key": applicant, "manager_key": subject(9), "end_month": None, "exit_type": None}
    items = {"learning_event": "course-canary", "onboarding_item": "task-canary", "performance_fact": "cycle-canary"}
    for table, stated in values.items():
        owner = applicant if table in schema.CANDIDATES else who
        put(store, fact(table, owner, DAY, items.get(table, ""), **stated))
    record(store, REGISTRY, said(who, "given", NOW), NOW)
    record(store, REGISTRY, said(applicant, "informed", NOW, "hire_continuity"), NOW)
    with store.writing() as connection:
        number = connection.scalar(sa.select(sa.func.max(schema.batch.c.number)))
        held = {"batch": number, "place": 7, "column": "x", "reason": "expected a day"}
        connection.execute(sa.insert(schema.quarantine), [{**held, "subject": who}, {**held, "subject": applicant}])
        open_differences(
            connection,
            store.sealer,
            [Difference(who, applicant, "comp_band.annual_pay", "", DAY, 103_000.0, 130_000.0)],
            "the record differs from the accepted offer",
            instant(NOW),
        )
        pin = {"subject": who, "column": "person.level_band", "item": "", "valid_from": DAY, "at": instant(NOW)}
        connection.execute(sa.insert(schema.correction).values(pin))
        known = {"id": f"st-{who}", "body": "b", "subject": who, "voided": 0, "stored_at": instant(NOW)}
        connection.execute(sa.insert(schema.statement).values(known))
        connection.execute(sa.insert(schema.scim_user).values(account(store, who, "Ann Canary")))
    vault = open_vault(store)
    vault.put([Trait(who, {"sex": "female"}, 0)], "hris", NOW)
    vault.close()


def holds(store, who):
    vault = open_vault(store)
    try:
        return vault.holds(who)
    finally:
        vault.close()


def taken_in(store, *incoming, source="hris", at=NOW):
    digest = f"batch-{store.revision()}"
    return ingest(store, REGISTRY, source, "test", digest, incoming, at)


# To see everything


def test_a_dossier_has_every_table_that_holds_something(either):
    fill(either, ANN, APPLICANT)
    document = everything_about(either, REGISTRY, ANN, NOW).to_document()
    held = {name for name, table in schema.metadata.tables.items() if "subject" in table.c and rows(either, table)}
    assert held == set(document["tables"])
    assert len(held) == len(FACTS) + 6
    assert document["in_vault"]


def test_a_dossier_says_where_each_fact_came_from_and_opens_what_is_sealed(store):
    fill(store, ANN, APPLICANT)
    tables = everything_about(store, REGISTRY, ANN, NOW).tables
    assert {row["source"] for row in tables["person"]} == {"hris"}
    assert (tables["reconciliation"][0]["held"], tables["reconciliation"][0]["came"]) == (103_000.0, 130_000.0)
    assert tables["scim_user"][0]["sealed"]["userName"] == "Ann Canary"
    assert tables["application"][0]["subject"] == APPLICANT
    assert [row["place"] for row in tables["quarantine"]] == [7, 7]


def test_a_dossier_tells_of_each_purpose_whether_and_with_what_it_may_be_used(store):
    put(
        store,
        fact("person", ANN, DAY, work_mode="remote", start_month="2020-10"),
        fact("pulse", ANN, DAY, "engagement", likert=2.0),
    )
    record(store, REGISTRY, said(ANN, "informed", NOW), NOW)
    uses = {use["purpose"]: use for use in everything_about(store, REGISTRY, ANN, NOW).uses}
    assert set(uses) == set(REGISTRY.purposes)
    with store.reading() as connection:
        for purpose, use in uses.items():
            assert use["because"] == may_use(connection, REGISTRY, ANN, purpose, NOW).because
    assert uses["retention"]["features"] == features_of(store, REGISTRY, "retention", ANN, NOW)
    assert uses["retention"]["features"]["tenure_years"] == 6.0
    assert uses["retention"]["features"]["pulse"] is None
    assert uses["workload"]["features"] == {}


def test_a_dossier_holds_nothing_of_anybody_else(store):
    fill(store, ANN, APPLICANT)
    fill_other = fact("person", BOB, DAY, job_family="sales", org_unit="other-canary", manager_key=ANN)
    put(store, fill_other)
    document = everything_about(store, REGISTRY, ANN, NOW).to_json()
    assert "unit-canary" in document
    assert "other-canary" not in document
    assert "unit-canary" not in everything_about(store, REGISTRY, BOB, NOW).to_json()


def test_a_dossier_is_written_as_json_and_csv_for_its_owner_alone(store, tmp_path):
    fill(store, ANN, APPLICANT)
    put(store, fact("preference", ANN, DAY, "career_goal", kind="career_goal", value='=HYPERLINK("x")\n,"y"'))
    dossier = everything_about(store, REGISTRY, ANN, NOW)
    files = dossier.write(tmp_path / "out")
    assert {path.name for path in files} == {path.name for path in (tmp_path / "out").iterdir()}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files)
    assert json.loads((tmp_path / "out" / "everything.json").read_text()) == json.loads(
        json.dumps(dossier.to_document())
    )
    for name, tabled in dossier.tables.items():
        with (tmp_path / "out" / f"{name}.csv").open(newline="") as file:
            assert len(list(csv.DictReader(file))) == len(tabled)
    cells = [row["value"] for row in csv.DictReader(io.StringIO(dossier.to_csv_files()["preference.csv"]))]
    assert '\'=HYPERLINK("x")\n,"y"' in cells
    with pytest.raises(InputError, match="new folder"):
        dossier.write(tmp_path / "out")


@pytest.mark.parametrize("call", [everything_about, erase, readmit, correct])
@pytest.mark.parametrize("who", ["", "Ann Lee", "A" * 32, "a" * 33, None, 5])
def test_only_a_pseudonym_names_a_person(store, call, who):
    arguments = {
        everything_about: (REGISTRY, who, NOW),
        correct: (REGISTRY, who, "person.fte", "", None, 1.0, NOW),
    }.get(call, (who, NOW))
    with pytest.raises(InputError, match="pseudonym") as refused:
        call(store, *arguments)
    assert "Ann" not in str(refused.value)


# To have it corrected


def test_a_correction_is_written_and_reaches_the_versions_that_carried_the_value_over(either):
    for day, level in (("2025-01-01", "entry"), ("2025-06-01", None), ("2026-01-01", "lead")):
        taken_in(either, Fact("person", ANN, "", day, {"level_band": level, "fte": float(day[:4] == "2025")}, 0))
    correct(either, REGISTRY, ANN, "person.level_band", "", "2025-01-01", "skilled", NOW)
    levels = sorted((row["valid_from"], row["level_band"]) for row in rows(either, schema.person))
    assert dict(levels)["2025-01-01"] == "skilled"
    assert dict(levels)["2026-01-01"] == "lead"
    assert set(dict(levels).values()) == {"skilled", "lead"}


def test_a_correction_without_a_day_is_one_of_the_latest_version(store):
    for day in ("2025-01-01", "2026-01-01"):
        put(store, fact("comp_band", ANN, day, annual_pay=float(day[:4])))
    correct(store, REGISTRY, ANN, "comp_band.annual_pay", "", None, "61000.5", NOW)
    assert [row["annual_pay"] for row in rows(store, schema.comp_band)] == [2025.0, 61000.5]


def test_an_event_is_corrected_by_its_item(store):
    put(store, *(fact("learning_event", ANN, DAY, item, duration_hours=8.0) for item in "xy"))
    correct(store, REGISTRY, ANN, "learning_event.duration_hours", "y", DAY, 4, NOW)
    assert {row["item"]: row["duration_hours"] for row in rows(store, schema.learning_event)} == {"x": 8.0, "y": 4.0}


def test_no_source_undoes_a_correction_silently(either):
    taken_in(either, Fact("person", ANN, "", DAY, {"level_band": "entry", "start_month": "2020-01"}, 0))
    correct(either, REGISTRY, ANN, "person.level_band", "", DAY, "senior", NOW)
    for day in (DAY, "2026-02-01"):
        taken_in(either, Fact("person", ANN, "", day, {"level_band": "entry"}, 0))
    assert {row["level_band"] for row in rows(either, schema.person)} == {"senior"}
    assert open_items(either)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("person.level_band", "king"),
        ("person.level_band", 3.0),
        ("person.fte", "much"),
        ("person.fte", "1e99"),
        ("person.fte", float("nan")),
        ("person.fte", 7.0),
        ("person.start_month", "2020-13"),
        ("person.manager_key", "Bob"),
        ("person.nickname", "x"),
        ("person.subject", "x"),
        ("tombstone.mark", "x"),
    ],
)
def test_a_correction_is_checked_as_any_other_value(store, column, value):
    put(store, fact("person", ANN, DAY, level_band="entry"))
    before = everything(store)
    with pytest.raises(InputError) as refused:
        correct(store, REGISTRY, ANN, column, "", DAY, value, NOW)
    assert "king" not in str(refused.value)
    assert everything(store) == before


def test_what_is_not_held_and_what_is_in_the_vault_can_not_be_corrected(store):
    put(store, fact("person", ANN, DAY, level_band="entry"))
    put(store, fact("pulse", BOB, DAY, "engagement", likert=2.0))
    for who, day, item in ((BOB, None, ""), (ANN, "2026-01-02", ""), (ANN, DAY, "x")):
        with pytest.raises(InputError, match="version that is held"):
            correct(store, REGISTRY, who, "person.level_band", item, day, "senior", NOW)
    with pytest.raises(Refused, match="vault"):
        correct(store, REGISTRY, ANN, "protected.sex", "", None, "male", NOW)


def test_a_correction_is_logged_without_who_and_what(store):
    put(store, fact("person", ANN, DAY, org_unit="wrong-unit"))
    correct(store, REGISTRY, ANN, "person.org_unit", "", None, "right-unit", NOW)
    documents = " ".join(row["document"] for row in rows(store, schema.log_entry))
    assert "corrected" in documents
    assert not any(word in documents for word in (ANN, "wrong-unit", "right-unit"))
    assert "corrected" in str(everything_about(store, REGISTRY, ANN, NOW).tables["log_entry"])


# To be gone


def in_tables(store, *texts):
    return sorted(
        {table for table, cells in everything(store).items() for text in texts if any(text in cell for cell in cells)}
    )


def test_an_erasure_leaves_nothing_in_any_table(either):
    fill(either, ANN, APPLICANT)
    put(either, fact("person", BOB, DAY, manager_key=ANN, org_unit="kept-unit"))
    found = erase(either, ANN, NOW)
    assert in_tables(either, ANN, APPLICANT, *TRACES) == []
    assert not holds(either, ANN)
    assert set(found.rows) == {
        *FACTS,
        "consent_event",
        "quarantine",
        "reconciliation",
        "correction",
        "scim_user",
        "statement",
    }
    assert (found.references, found.in_vault) == (1, True)
    assert in_tables(either, "kept-unit") == ["person"]
    with either.reading() as connection:
        assert either.check_log(connection) == 4


def test_an_erasure_leaves_nothing_in_any_file(store):
    for n in range(40):
        put(store, fact("person", subject(1000 + n), DAY, manager_key=ANN, org_unit="kept-unit"))
    fill(store, ANN, APPLICANT)
    names = [text.encode() for text in (ANN, APPLICANT, *(TRACES - {"Ann Canary", "career-goal-canary"}))]
    before = b"".join(bytes_of(store.folder).values())
    assert all(name in before for name in names)
    erase(store, ANN, NOW)
    for file, content in bytes_of(store.folder).items():
        assert not [name for name in names if name in content], file
    assert any(b"kept-unit" in content for content in bytes_of(store.folder).values())


def test_an_erasure_whose_files_were_not_cleaned_is_made_good_by_asking_again(store, monkeypatch):
    fill(store, ANN, APPLICANT)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "purge", lambda store: None)
        erase(store, ANN, NOW)
    erase(store, ANN, NOW)
    assert not any(ANN.encode() in content for content in bytes_of(store.folder).values())


def test_other_people_s_records_forget_whom_they_named(either):
    put(
        either,
        fact("person", BOB, DAY, manager_key=ANN, candidate_key=APPLICANT),
        fact("person", ANN, DAY, candidate_key=APPLICANT),
    )
    number = "4711"
    boss = either.pseudonyms.person(number)
    with either.writing() as connection:
        keys = [
            Difference(BOB, None, "person.manager_key", "", DAY, ANN, OTHER),
            Difference(BOB, None, "person.fte", "", DAY, 1.0, 0.5),
        ]
        open_differences(connection, either.sealer, keys, "test", instant(NOW))
        accounts = [
            account(either, ANN, "ann"),
            account(either, BOB, "bob", f"id-{ANN}"),
            account(either, OTHER, "x", number),
        ]
        connection.execute(sa.insert(schema.scim_user), accounts)
    assert erase(either, ANN, NOW).references == 4
    assert [item.column for item in open_items(either)] == ["person.fte"]
    assert [(row["manager_key"], row["candidate_key"]) for row in rows(either, schema.person)] == [(None, None)]
    assert erase(either, boss, NOW, unknown=True).references == 1
    opened = [everything_about(either, REGISTRY, who, NOW).tables["scim_user"][0] for who in (BOB, OTHER)]
    assert [row["sealed"]["urn:enterprise"] for row in opened] == [{"department": "x"}] * 2
    assert [row["version"] for row in opened] == [2, 2]


def test_a_candidate_is_erased_and_the_employee_they_became_is_not(store):
    fill(store, ANN, APPLICANT)
    erase(store, APPLICANT, NOW)
    assert in_tables(store, APPLICANT) == []
    assert "person" in in_tables(store, ANN)


def test_after_an_erasure_nothing_about_the_person_is_stored_again(either):
    fill(either, ANN, APPLICANT)
    erase(either, ANN, NOW)
    coming = [
        Fact("person", ANN, "", DAY, {"job_family": "care"}, 0),
        Fact("person", BOB, "", DAY, {"manager_key": ANN, "job_family": "care"}, 1),
        Said(ANN, "retention", "given", 1, "en", "test", instant(NOW), 2),
        Trait(ANN, {"sex": "female"}, 3),
    ]
    taken_in(either, *coming)
    taken_in(either, Fact("application", APPLICANT, "r1", DAY, {"stage": "applied"}, 0), source="ats")
    with pytest.raises(Refused):
        record(either, REGISTRY, said(ANN, "given", NOW), NOW)
    with pytest.raises(InputError):
        correct(either, REGISTRY, ANN, "person.fte", "", None, 1.0, NOW)
    assert in_tables(either, ANN, APPLICANT) == []
    assert not holds(either, ANN)
    assert in_tables(either, BOB) == ["person"]


def test_erasing_again_takes_what_came_since_and_otherwise_says_nothing_new(store):
    fill(store, ANN, APPLICANT)
    first = erase(store, ANN, NOW)
    again = erase(store, ANN, NOW)
    assert first.log
    assert (again.rows, again.references, again.in_vault, again.log) == ({}, 0, False, None)
    put(store, fact("person", ANN, DAY, fte=1.0))
    assert erase(store, ANN, NOW).rows == {"person": 1}


def test_a_stranger_may_ask_that_nothing_is_ever_stored(store):
    assert erase(store, OTHER, NOW, unknown=True).log
    assert taken_in(store, Fact("person", OTHER, "", DAY, {"job_family": "care"}, 0)).left_out == 1


def test_an_erasure_that_fails_leaves_the_store_as_it_was(store, monkeypatch):
    fill(store, ANN, APPLICANT)
    before = everything(store)

    def broken(*_):
        raise KithError("the vault does not answer")

    monkeypatch.setattr(access, "_forget_traits", broken)
    with pytest.raises(KithError):
        erase(store, ANN, NOW)
    assert everything(store) == before


def test_who_is_readmitted_is_stored_again(either):
    fill(either, ANN, APPLICANT)
    erase(either, ANN, NOW)
    readmit(either, ANN, NOW)
    taken_in(either, Fact("person", ANN, "", DAY, {"job_family": "care"}, 0))
    assert in_tables(either, ANN) == ["person"]
    with either.reading() as connection:
        assert not may_use(connection, REGISTRY, ANN, "retention", NOW + timedelta(days=1))
        assert either.check_log(connection) >= 3
    with pytest.raises(InputError, match="erased"):
        readmit(either, ANN, NOW)


def test_the_log_tells_of_an_erasure_and_names_nobody(store):
    fill(store, ANN, APPLICANT)
    found = erase(store, ANN, NOW)
    readmit(store, ANN, NOW)
    documents = [json.loads(row["document"]) for row in rows(store, schema.log_entry)]
    assert [document["event"] for document in documents] == ["created", "said", "said", "erased", "readmitted"]
    assert documents[3]["person"] == documents[4]["person"] == store.pseudonyms.mark(ANN)
    assert documents[3]["rows"] == found.rows


def test_a_mistyped_number_is_refused_and_leaves_no_trace(store):
    fill(store, ANN, APPLICANT)
    before = everything(store)
    for ask in (
        lambda: erase(store, OTHER, NOW),
        lambda: everything_about(store, REGISTRY, OTHER, NOW),
        lambda: correct(store, REGISTRY, OTHER, "person.fte", "", None, 1.0, NOW),
    ):
        with pytest.raises(InputError, match="leading zeros"):
            ask()
    assert everything(store) == before


def test_who_is_in_the_vault_alone_is_erased_if_that_is_meant(store):
    vault = open_vault(store)
    vault.put([Trait(OTHER, {"sex": "female"}, 0)], "hris", NOW)
    vault.close()
    with pytest.raises(InputError, match="got nobody's"):
        erase(store, OTHER, NOW)
    assert erase(store, OTHER, NOW, unknown=True).in_vault


def test_an_applicant_who_differed_from_their_offer_is_found_when_the_record_names_them_no_more(either):
    put(either, fact("person", ANN, DAY, fte=1.0), fact("application", APPLICANT, DAY, "r1", stage="applied"))
    with either.writing() as connection:
        differs = Difference(ANN, APPLICANT, "person.level_band", "", DAY, "lead", "entry")
        open_differences(connection, either.sealer, [differs], "test", instant(NOW))
    assert "application" in everything_about(either, REGISTRY, ANN, NOW).tables
    erase(either, ANN, NOW)
    assert in_tables(either, ANN, APPLICANT) == []


def test_a_correction_neither_cuts_nor_lends_applications(store):
    fill(store, ANN, APPLICANT)
    with pytest.raises(Refused, match="applied"):
        correct(store, REGISTRY, ANN, "person.candidate_key", "", None, OTHER, NOW)


def test_an_objection_is_recorded_while_an_erasure_waits_for_a_reader_of_the_vault(store, monkeypatch):
    monkeypatch.setattr(databases, "PURGE_SECONDS", 2)
    fill(store, ANN, APPLICANT)
    put(store, fact("person", BOB, DAY, fte=1.0))
    failed = []

    def ask():
        try:
            erase(store, ANN, NOW)
        except KithError as error:
            failed.append(error)

    with closing(sqlite3.connect(store.folder / "vault.sqlite", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM protected").fetchall()
        asking = threading.Thread(target=ask)
        asking.start()
        while ANN in everything(store)["person"]:
            time.sleep(0.01)
        record(store, REGISTRY, said(BOB, "objected", NOW), NOW)
        assert asking.is_alive()
        asking.join()
    assert failed
    assert erase(store, ANN, NOW).log is None
