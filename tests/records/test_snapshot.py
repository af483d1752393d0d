"""The only way from records to a model: nothing unregistered, unconsented, protected or future comes through."""

import ast
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import sqlalchemy as sa

from privacy.errors import InputError, Refused
from records import schema
from records.access import erase
from records.consent import record
from records.facts import Trait
from records.minimize import minimized_rows
from records.reconcile import Difference, open_differences
from records.registry import Basis
from records.snapshot import features_of, snapshot
from records.store import instant
from records.vault import open_vault
from tests.records.made_up_store import (
    ANN,
    BOB,
    CARL,
    NOW,
    REGISTRY,
    contract,
    everything,
    fact,
    new_store,
    put,
    said,
    subject,
)

ROOT = Path(__file__).parents[2]
PERSON = {
    "start_month": "2020-09",
    "level_since": "2025-12",
    "commute_minutes": 35.0,
    "work_mode": "hybrid",
    "level_band": "senior",
    "job_family": "care",
    "manager_key": BOB,
}


@pytest.fixture
def store(tmp_path):
    with new_store(tmp_path / "records") as store:
        yield store


def employee(who, valid_from="2026-01-01", **changes):
    """The facts of one employee as of that day, of every table that a feature comes from."""
    return [
        fact("person", who, valid_from, **{**PERSON, **changes}),
        fact("comp_band", who, valid_from, compa_ratio=97.0, annual_pay=50_000.0),
        fact("learning_event", who, "2025-11-03", "x", duration_hours=20.0, verb="completed"),
        fact("work_pattern_week", who, "2026-02-02", overtime_hours=6.5),
        fact("pulse", who, "2026-02-02", "engagement", likert=4.0, question="engagement"),
    ]


def tell(store, who, *states, purpose="retention", version=1, since="2026-01-01T00:00:00Z", registry=REGISTRY):
    at = datetime.fromisoformat(since)
    for minutes, state in enumerate(states):
        moment = at + timedelta(minutes=minutes)
        record(store, registry, said(who, state, moment, purpose, version), moment)


def taken(store, now=NOW, registry=REGISTRY, **moment):
    """(rows by employee, people left out)."""
    found = snapshot(store, registry, contract(registry=registry, **moment), now)
    frame = found.table.frame.set_index("employee_key")
    rows = {
        who: {name: None if cell != cell else cell for name, cell in row.items()}
        for who, row in frame.to_dict("index").items()
    }
    return rows, dict(found.left_out)


# What a row is


def test_a_row_holds_the_registered_features_the_site_and_the_label(store):
    put(store, *employee(ANN))
    tell(store, ANN, "given")
    assert taken(store)[0] == {
        ANN: {
            "subsidiary": store.site,
            "tenure_years": "5.5",
            "months_since_promotion": "3",
            "overtime_hours": "6.5",
            "commute_minutes": "35",
            "training_days": "2.5",
            "pay_against_market": "97",
            "manager_changes": "0",
            "pulse": "4",
            "work_mode": "hybrid",
            "job_level": "senior",
            "job_family": "care",
            "left": "no",
        }
    }


def test_the_table_goes_through_minimization(store):
    put(store, *employee(ANN), *employee(BOB, manager_key=CARL), *employee(CARL, work_mode=None))
    for who in (ANN, BOB, CARL):
        tell(store, who, "given" if who == ANN else "informed")
    found = snapshot(store, REGISTRY, contract(), NOW)
    rows = minimized_rows(found.table, contract())
    assert len(rows) == 3
    assert sorted(rows.codes["pulse"]) == [-1, -1, 3]
    assert sorted(rows.codes["work_mode"]) == [-1, 0, 0]
    assert np.isnan(rows.numbers["overtime_hours"]).sum() == 2
    assert set(rows.raw_label) == {0.0}


def test_an_empty_store_gives_an_empty_table_of_the_same_columns(store):
    empty = snapshot(store, REGISTRY, contract(), NOW)
    put(store, *employee(ANN))
    tell(store, ANN, "given")
    assert list(empty.table.frame.columns) == list(snapshot(store, REGISTRY, contract(), NOW).table.frame.columns)
    assert len(empty.table.frame) == 0
    assert len(minimized_rows(empty.table, contract(), [store.site])) == 0


def test_a_snapshot_tells_the_revision_that_it_is_of(store):
    assert snapshot(store, REGISTRY, contract(), NOW).revision == store.revision()
    put(store, *employee(ANN))
    assert snapshot(store, REGISTRY, contract(), NOW).revision == store.revision()


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("[columns.work_mode]", "[columns.location_country]"),
        lambda text: text.replace("[columns.work_mode]", "[columns.annual_pay]"),
        lambda text: text.replace("[columns.work_mode]", "[columns.sex]"),
        lambda text: text.replace('"remote",', '"remote", "office",'),
        lambda text: text.replace('"voluntary"', '"involuntary"').replace('column = "left"', 'column = "end_month"'),
    ],
)
def test_a_contract_that_asks_for_more_than_is_registered_is_refused(store, change):
    with pytest.raises(Refused, match="registered"):
        snapshot(store, REGISTRY, contract(change=change), NOW)


def test_a_contract_without_a_moment_or_for_other_sites_is_refused(store):
    with pytest.raises(InputError, match="moment"):
        snapshot(store, REGISTRY, replace(contract(), moment=None), NOW)
    with pytest.raises(InputError, match="sites"):
        snapshot(store, REGISTRY, contract(change=lambda text: text.replace(store.site, "Alder")), NOW)


def test_a_purpose_that_nobody_registered_or_that_has_no_label_is_refused(store):
    for purpose in ("profiling", "learning"):
        with pytest.raises(InputError):
            snapshot(store, REGISTRY, replace(contract(), purpose=purpose), NOW)


# Consent


def test_without_a_notice_there_is_no_row(store):
    put(store, *employee(ANN))
    assert taken(store) == ({}, {"not allowed": 1})


@pytest.mark.parametrize("no", ["withdrawn", "objected"])
def test_a_no_takes_the_whole_row_at_the_next_read(store, no):
    put(store, *employee(ANN), *employee(BOB))
    tell(store, ANN, "given")
    tell(store, BOB, "informed")
    assert set(taken(store)[0]) == {ANN, BOB}
    tell(store, ANN, no, since="2026-01-02T00:00:00Z")
    rows, left_out = taken(store)
    assert set(rows) == {BOB}
    assert left_out == {"not allowed": 1}


def test_a_no_to_another_purpose_takes_nothing(store):
    put(store, *employee(ANN))
    tell(store, ANN, "informed")
    tell(store, ANN, "objected", purpose="learning")
    assert ANN in taken(store)[0]


def test_what_rests_on_consent_is_empty_without_it_and_all_else_is_there(store):
    put(store, *employee(ANN), *employee(BOB))
    tell(store, ANN, "informed")
    tell(store, BOB, "given")
    rows, _ = taken(store)
    consented = {
        feature.name for feature in REGISTRY.features_for("retention", "train") if feature.basis is Basis.CONSENT
    }
    assert consented == {"overtime_hours", "pulse"}
    assert {name for name, cell in rows[ANN].items() if cell is None} == consented
    assert None not in rows[BOB].values()


def test_consent_to_a_column_ends_with_an_objection_that_was_taken_back(store):
    put(store, *employee(ANN))
    tell(store, ANN, "given", "objected", "objection_withdrawn")
    assert taken(store)[0][ANN]["pulse"] is None


def newer(version, **since):
    """The registry with retention's notice at `version`, and features that it named from some version on."""
    purposes = {**REGISTRY.purposes, "retention": replace(REGISTRY.purpose("retention"), notice_version=version)}
    features = {name: replace(f, since=since.get(name, f.since)) for name, f in REGISTRY.features.items()}
    return replace(REGISTRY, purposes=MappingProxyType(purposes), features=MappingProxyType(features))


def test_what_the_notice_told_did_not_name_is_empty(store):
    registry = newer(2, commute_minutes=2, pulse=2)
    put(store, *employee(ANN), *employee(BOB), *employee(CARL))
    tell(store, ANN, "given", registry=registry)
    tell(store, BOB, "given", version=2, registry=registry)
    tell(store, CARL, "given", registry=registry)
    tell(store, CARL, "informed", version=2, since="2026-01-02T00:00:00Z", registry=registry)
    rows, _ = taken(store, registry=registry)
    empty = {who: {name for name, cell in row.items() if cell is None} for who, row in rows.items()}
    assert empty == {ANN: {"commute_minutes", "pulse"}, BOB: set(), CARL: {"pulse"}}


# Who is left out


def test_who_is_left_out_is_counted_by_reason(store):
    gone, unborn, waiting, buried, silent = (subject(n) for n in range(1, 6))
    for who in (ANN, gone, unborn, waiting, buried, silent):
        changes = {gone: {"end_month": "2026-02"}, unborn: {"start_month": "2026-04"}}.get(who, {})
        put(store, *employee(who, **changes))
        tell(store, who, *["informed"] * (who != silent))
    put(store, *employee(subject(6), valid_from="2026-04-01"))
    tell(store, subject(6), "informed")
    with store.writing() as connection:
        differing = Difference(waiting, None, "person.level_band", "", "2026-01-01", "senior", "lead")
        open_differences(connection, store.sealer, [differing], "test", instant(NOW))
        connection.execute(sa.insert(schema.tombstone).values(mark=store.pseudonyms.mark(buried), at=instant(NOW)))
    rows, left_out = taken(store)
    assert set(rows) == {ANN}
    assert left_out == {"erased": 1, "not allowed": 1, "awaits a reconciliation": 1, "not employed on the day": 3}


def test_an_erased_person_is_no_longer_counted_nor_are_the_marks_of_their_applications(store):
    candidate = subject(0xD)
    put(store, *employee(ANN), *employee(BOB, candidate_key=candidate))
    tell(store, ANN, "informed")
    tell(store, BOB, "informed")
    erase(store, BOB, NOW)
    rows, left_out = taken(store)
    assert (set(rows), left_out) == ({ANN}, {})


def test_each_person_is_counted_once(store):
    put(store, *employee(ANN, end_month="2026-01"))
    assert taken(store) == ({}, {"not allowed": 1})


# Time


def test_no_fact_after_the_day_reaches_a_feature(store):
    put(store, *employee(ANN))
    tell(store, ANN, "given")
    before = taken(store)[0]
    put(
        store,
        fact(
            "person",
            ANN,
            "2026-04-01",
            **{**PERSON, "work_mode": "remote", "manager_key": CARL, "commute_minutes": 90.0},
        ),
        fact("comp_band", ANN, "2026-04-01", compa_ratio=130.0),
        fact("learning_event", ANN, "2026-04-01", "y", duration_hours=80.0),
        fact("work_pattern_week", ANN, "2026-04-06", overtime_hours=30.0),
        fact("pulse", ANN, "2026-04-01", "engagement", likert=1.0),
    )
    assert taken(store)[0] == before
    assert taken(store, as_of="2026-04-30")[0] != before


def test_an_exit_counts_by_its_month_however_late_it_is_told_once_the_horizon_is_over(store):
    put(store, *employee(ANN), *employee(BOB), *employee(CARL))
    put(store, fact("person", ANN, "2026-06-01", **{**PERSON, "end_month": "2026-06", "exit_type": "voluntary"}))
    put(store, fact("person", BOB, "2026-06-01", **{**PERSON, "end_month": "2026-06", "exit_type": "retirement"}))
    put(store, fact("person", CARL, "2026-10-01", **{**PERSON, "end_month": "2026-09", "exit_type": "voluntary"}))
    for who in (ANN, BOB, CARL):
        tell(store, who, "informed")
    until = datetime(2026, 9, 30, 23, tzinfo=UTC)
    assert {row["left"] for row in taken(store, until)[0].values()} == {None}
    rows, _ = taken(store, until + timedelta(hours=1))
    assert [rows[who]["left"] for who in (ANN, BOB, CARL)] == ["yes", None, "yes"]
    features = {who: {name: cell for name, cell in row.items() if name != "left"} for who, row in rows.items()}
    assert features[ANN] == features[BOB] == features[CARL]  # of a day when none of it was known


# The vault


def imports_of(path):
    """The modules that a file imports, wherever in it the import stands, but for those of the type checker alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
    skipped = {id(inner) for node in typing for part in node.body for inner in ast.walk(part)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def file_of(module):
    path = ROOT / module.replace(".", "/")
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)


def reached_from(modules):
    """Module -> the one that imports it, for everything of ours that is imported directly or not."""
    found, waiting = dict.fromkeys(modules), list(modules)
    while waiting:
        module = waiting.pop()
        for name in imports_of(file_of(module)):
            if name not in found and name.split(".")[0] in ("privacy", "records", "models") and file_of(name):
                found[name] = module
                waiting.append(name)
    return found


MODELS = sorted(".".join(p.relative_to(ROOT).with_suffix("").parts) for p in (ROOT / "models").rglob("*.py"))


def test_nothing_that_makes_rows_or_models_imports_the_vault():
    reached = reached_from(["records.snapshot", "records.minimize", "records.derive", "records.consent", *MODELS])
    assert "records.store" in reached
    assert len(reached) > len(MODELS) > 5
    for module in ("records.vault", "records.access", "records.ingest", "records.retention"):
        assert module not in reached, f"imported by {reached.get(module)}"


def test_the_walk_would_find_the_vault():
    assert "records.vault" in reached_from(["records.access"])
    assert "records.vault" in reached_from(["records.retention"])


def test_a_snapshot_needs_neither_the_vault_nor_its_keys(store):
    put(store, *employee(ANN))
    tell(store, ANN, "given")
    vault = open_vault(store)
    vault.put([Trait(ANN, {"sex": "female", "race_ethnicity": "two_or_more"}, 0)], "hris", NOW)
    vault.close()
    before = taken(store), features_of(store, REGISTRY, "retention", ANN, NOW)
    for path in store.folder.iterdir():
        if path.name.startswith(("vault", "auditor")):
            path.unlink()
    assert (taken(store), features_of(store, REGISTRY, "retention", ANN, NOW)) == before


def test_no_feature_comes_from_the_vault_or_a_special_category():
    for feature in REGISTRY.features.values():
        assert feature.column.table in schema.FACTS
        assert not feature.column.special_category
        assert feature.column.sensitivity != "P3"


def test_no_table_of_the_store_is_one_of_the_vault(store):
    assert not set(schema.metadata.tables) & set(schema.vault_metadata.tables)
    assert "protected" not in everything(store)


# Serving


def test_features_for_serving_are_those_of_today(store):
    put(store, *employee(ANN, valid_from="2026-01-01"))
    put(store, fact("work_pattern_week", ANN, "2026-09-07", overtime_hours=12.0))
    tell(store, ANN, "given")
    assert features_of(store, REGISTRY, "retention", ANN, NOW) == {
        "tenure_years": pytest.approx(6 + 1 / 12),
        "months_since_promotion": 10.0,
        "overtime_hours": 12.0,
        "commute_minutes": 35.0,
        "training_days": 2.5,
        "pay_against_market": 97.0,
        "manager_changes": 0.0,
        "pulse": "4",
        "work_mode": "hybrid",
        "job_level": "senior",
        "job_family": "care",
    }


def test_serving_and_training_read_the_same_features(store):
    put(store, *employee(ANN), *employee(BOB, commute_minutes=None, manager_key=None, level_since="2027-01"))
    for who, state in ((ANN, "given"), (BOB, "informed")):
        tell(store, who, state)
    day = datetime(2026, 9, 30, 12, tzinfo=UTC)
    rows, _ = taken(store, as_of=day.date().isoformat())
    for who in (ANN, BOB):
        served = features_of(store, REGISTRY, "retention", who, day)
        written = {n: f"{v:.10g}" if isinstance(v, float) else v for n, v in served.items()}
        assert written == {name: cell for name, cell in rows[who].items() if name not in ("subsidiary", "left")}


def test_serving_refuses_in_the_words_of_the_answer(store):
    put(store, *employee(ANN))
    with pytest.raises(Refused, match="you have not been told about this use"):
        features_of(store, REGISTRY, "retention", ANN, NOW)
    tell(store, ANN, "informed", "objected")
    with pytest.raises(Refused, match="you objected"):
        features_of(store, REGISTRY, "retention", ANN, NOW)
    with pytest.raises(Refused, match="needs your agreement"):
        features_of(store, REGISTRY, "workload", ANN, NOW)


def test_serving_refuses_who_left_who_waits_and_who_was_erased(store):
    left, waiting, buried = subject(1), subject(2), subject(3)
    for who in (left, waiting, buried):
        put(store, *employee(who, **({"end_month": "2026-08"} if who == left else {})))
        tell(store, who, "given")
    with store.writing() as connection:
        differing = Difference(waiting, None, "person.level_band", "", "2026-01-01", "senior", "lead")
        open_differences(connection, store.sealer, [differing], "test", instant(NOW))
        connection.execute(sa.insert(schema.tombstone).values(mark=store.pseudonyms.mark(buried), at=instant(NOW)))
    for who, word in ((left, "not employed"), (waiting, "decision of HR"), (buried, "erased")):
        with pytest.raises(Refused, match=word):
            features_of(store, REGISTRY, "retention", who, NOW)


def test_of_a_purpose_that_nobody_registered_there_are_no_features(store):
    with pytest.raises(InputError, match="registry"):
        features_of(store, REGISTRY, "profiling", ANN, NOW)


def test_rows_are_the_same_on_postgresql(store, tmp_path):
    with new_store(tmp_path / "other", "postgresql") as other:
        for each in (store, other):
            put(each, *employee(ANN), *employee(BOB, work_mode="remote"))
            tell(each, ANN, "given")
            tell(each, BOB, "informed")
        assert taken(other) == taken(store)
        assert features_of(other, REGISTRY, "retention", ANN, NOW) == features_of(
            store, REGISTRY, "retention", ANN, NOW
        )
