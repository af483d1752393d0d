"""The readiness report, against stores whose figures can be counted by hand; and each verdict with its reason."""

import json
import tomllib
import uuid
from datetime import timedelta

import pytest
import sqlalchemy as sa
import tomli_w

from records.access import erase
from records.facts import Fact
from records.ingest import ingest
from records.reconcile import Difference, open_differences
from records.report import report_on
from records.report_sources import unfit_share
from records.schema import batch
from records.snapshot import snapshot
from records.store import ANCHOR, instant
from tests.records.made_up_store import NOW, REGISTRY, contract, fact, new_store, put, said, subject
from tests.records.store_folder import run_raw

PEOPLE = 60
LEAVERS = 12
EARLIER = NOW - timedelta(days=10)
KEPT = ("tenure_years", "job_level", "job_family")


@pytest.fixture
def store(tmp_path):
    with new_store(tmp_path / "records") as made:
        yield made


def few_features(*names):
    """Changes a contract's text so that it learns from these features alone."""

    def change(text):
        document = tomllib.loads(text)
        document["columns"] = {name: document["columns"][name] for name in names}
        return tomli_w.dumps(document)

    return change


def small_contract(**changes):
    return contract(**{"change": few_features(*KEPT)} | changes)


def person(number, **values):
    start = {"start_month": "2020-03", "job_family": "care", "level_band": "entry"}
    return fact("person", subject(number), "2020-03-01", **start | values)


def left(number, kind="voluntary"):
    """A later version, in which the person has left within the horizon."""
    return fact(
        "person",
        subject(number),
        "2026-06-30",
        start_month="2020-03",
        job_family="care",
        level_band="entry",
        end_month="2026-06",
        exit_type=kind,
    )


def tell(store, numbers, state="informed", at=EARLIER, purpose="retention"):
    events = [said(subject(number), state, at, purpose) for number in numbers]
    assert ingest(store, REGISTRY, "employee", "test", uuid.uuid4().hex, events, NOW).written == len(events)


def fill(store, people=PEOPLE, leavers=LEAVERS):
    """People who were all told, of whom the first have left."""
    put(store, *(person(n) for n in range(people)), *(left(n) for n in range(leavers)))
    tell(store, range(people))


def delivered(store, rows, quarantined, source="hris", connector="table", at=NOW):
    """A delivery of which only the counts are of interest."""
    counts = {"rows": rows, "written": rows - quarantined, "unchanged": 0, "quarantined": quarantined, "left_out": 0}
    head = {"digest": uuid.uuid4().hex, "source": source, "connector": connector, "came_at": instant(at)}
    with store.writing() as connection:
        connection.execute(sa.insert(batch).values(**head, **counts))


def look(store, agreed=None, now=NOW):
    return report_on(store, REGISTRY, agreed or small_contract(), now)


def by_reason(report):
    return {group.reason: group.people for group in report.left_out}


def source(report, name):
    return next(one for one in report.sources if one.source == name)


def test_records_with_nothing_wrong_are_ready(store):
    fill(store)
    found = look(store)
    assert (found.verdict, found.reasons) == ("ready", ())
    assert (found.people, found.usable, found.labelled) == (PEOPLE, PEOPLE, PEOPLE)
    assert found.label == LEAVERS / PEOPLE
    assert found.label_is == "left = yes"
    assert found.left_out == ()
    assert [(one.name, one.known, one.costs) for one in found.features] == [
        (name, 1.0, "next to nothing") for name in KEPT
    ]


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_everybody_who_is_not_learned_from_is_counted_under_one_reason(tmp_path, backend):
    with new_store(tmp_path / "records", backend) as store:
        put(
            store,
            *(person(n) for n in range(99)),
            *(left(n) for n in range(20)),
            *(left(n, "involuntary") for n in range(90, 92)),
            person(99, start_month="2026-05"),
        )
        tell(store, range(96))
        tell(store, [99])
        tell(store, range(30, 33), "objected", NOW)
        tell(store, range(40, 42), "withdrawn", NOW)
        erase(store, subject(50), NOW)
        found = look(store)
    assert by_reason(found) == {
        "not told of this use": 3,
        "objected": 3,
        "withdrew": 2,
        "no label when the horizon ends": 2,
        "not employed on the day": 1,
    }
    assert (found.people, found.usable, found.labelled) == (99, 90, 88)
    assert found.people == found.labelled + sum(by_reason(found).values())
    assert found.label == 20 / 88


def test_what_each_group_costs_is_its_share_of_whom_could_be_learned_from(store):
    fill(store, people=100)
    tell(store, range(20, 25), "objected", NOW)
    put(store, person(200, start_month="2026-05"))
    tell(store, [200])
    costs = {group.reason: group.costs for group in look(store).left_out}
    assert costs == {"objected": "noise as if epsilon were 5.0% smaller", "not employed on the day": "nothing"}


def test_a_feature_is_known_closed_or_not_stated(store):
    fill(store, people=50)
    weeks = [fact("work_pattern_week", subject(n), "2026-03-02", overtime_hours=4.0) for n in range(30)]
    put(store, *weeks, source="timekeeping")
    tell(store, range(20, 40), "given", NOW)
    found = look(store, contract(change=few_features("overtime_hours")))
    (hours,) = found.features
    assert (hours.known, hours.closed, hours.unstated) == pytest.approx((0.2, 0.6, 0.2))  # 10, 30 and 10 of 50
    assert hours.costs == "80.0% do without it"
    assert hours.sources == ("timekeeping", "calendar", "payroll")
    assert "feature overtime_hours: known of 20.0% of the people" in found.reasons


def test_a_contract_without_an_employee_column_gives_the_same_figures(store):
    fill(store)
    without = contract(change=lambda text: text.replace('employee = "employee_key"\n', ""))
    assert without.employee is None
    found = snapshot(store, REGISTRY, without, NOW)
    assert report_on(store, REGISTRY, without, NOW, found) == look(store, contract())


def test_facts_that_came_after_newer_ones_are_late(store):
    put(store, person(1), fact("person", subject(1), "2026-02-01", level_band="senior"), at=EARLIER)
    put(store, person(2), person(3), at=EARLIER)
    put(store, fact("person", subject(1), "2025-06-01"), fact("person", subject(2), "2026-06-01"))
    put(store, fact("person", subject(4), "2026-06-01"), fact("person", subject(4), "2026-05-01"))
    assert source(look(store), "hris").late == 1  # one day's deliveries have no order


def test_what_comes_again_is_known_before(store):
    facts = [Fact("person", subject(n), "", "2026-01-01", {"level_band": "entry"}, n) for n in range(7)]
    for digest, count in (("one", 5), ("two", 7)):
        ingest(store, REGISTRY, "hris", "table", digest, facts[:count], NOW)
    found = source(look(store), "hris")
    assert (found.deliveries, found.rows, found.written, found.unchanged) == (2, 12, 7, 5)


def test_months_and_the_newest_day_are_of_facts_up_to_today(store):
    days = ("2024-10-31", "2024-11-01", "2026-09-30", "2026-10-01", "2026-10-02")
    put(store, *(fact("pulse", subject(n), day, likert=3.0) for n, day in enumerate(days)), source="survey")
    found = source(look(store), "survey")
    assert found.newest == "2026-10-01"
    assert list(found.months) == [f"{year}-{month:02d}" for year in (2024, 2025, 2026) for month in range(1, 13)][10:34]
    assert {month: count for month, count in found.months.items() if count} == {
        "2024-11": 1,
        "2026-09": 1,
        "2026-10": 1,
    }


def test_a_source_is_stale_once_its_newest_delivery_is_too_old(store):
    fill(store)
    for days, stale in ((31, False), (32, True)):
        found = look(store, now=NOW + timedelta(days=days))
        assert (source(found, "hris").age, source(found, "hris").stale) == (days, stale)
    assert found.reasons == ("source hris: its newest delivery is 32 days old, of at most 31",)
    assert found.verdict == "ready with reservations"


def test_who_comes_when_they_come_is_never_stale(store):
    delivered(store, 1, 0, source="employee", at=NOW - timedelta(days=3_000))
    found = source(look(store), "employee")
    assert (found.fresh_days, found.stale) == (None, False)


@pytest.mark.parametrize(
    ("deliveries", "share"),
    [
        ([], 0.0),
        ([("table", 0, 0)], 0.0),
        ([("table", 10, 1)], 0.1),
        ([("table", 10, 30)], 1.0),  # a row may hold several facts that do not fit
        ([("table", 10, 9), ("table", 90, 0)], 0.09),
        ([("table", 100, 0), ("table", 100, 100)], 0.0),  # the mapping was put right, and the file came again
        ([("table", 99, 0), ("table", 100, 100)], 100 / 199),
        ([("scim", 100, 0), ("table", 100, 100)], 0.5),
        ([("table", 50, 0), ("table", 50, 10), ("table", 100, 100)], 0.1),
    ],
)
def test_a_delivery_that_came_again_and_fits_is_forgiven(deliveries, share):
    assert unfit_share(deliveries) == share


def test_a_source_that_does_not_fit_its_mapping_refuses(store):
    fill(store)
    delivered(store, 60, 40)
    found = look(store)
    assert found.verdict == "refuse"
    assert found.reasons == ("source hris: 30.3% of its rows did not fit its mapping, of at most 20%",)  # 40 of 132
    delivered(store, 60, 0)
    again = look(store)
    assert again.verdict == "ready with reservations"
    assert again.reasons == ("source hris: 20.8% of the rows that ever came are in quarantine",)  # 40 of 192


def test_a_horizon_that_is_not_over_refuses(store):
    fill(store)
    later = small_contract(as_of="2026-04-30")
    found = look(store, later, NOW + timedelta(days=30))
    assert found.verdict == "refuse"
    assert (
        found.refusals
        == found.reasons
        == ("the horizon ends on 2026-10-31: nobody's label is known before 2026-11-01",)
    )
    assert found.label is None
    assert by_reason(found) == {"no label before 2026-11-01": PEOPLE}
    assert found.left_out[0].costs == "all that could be learned"
    assert look(store, later, NOW + timedelta(days=31)).verdict == "ready"


@pytest.mark.parametrize(("people", "verdict"), [(0, "refuse"), (19, "refuse"), (20, "ready with reservations")])
def test_too_few_people_refuse(store, people, verdict):
    fill(store, people, people // 4)
    found = look(store)
    assert found.verdict == verdict
    assert found.reasons[0].startswith(f"{people} labelled people")
    assert len(found.refusals) == int(verdict == "refuse")


def test_more_people_than_the_public_bound_refuse(store):
    fill(store)
    keep = few_features(*KEPT)
    found = look(store, contract(change=lambda text: keep(text.replace("50000", str(PEOPLE - 1)))))
    assert found.verdict == "refuse"
    assert found.reasons == (
        f"{PEOPLE} people whose records may be used: expected at most {PEOPLE - 1}, the contract's public bound",
    )
    assert look(store, contract(change=lambda text: keep(text.replace("50000", str(PEOPLE))))).verdict == "ready"


def rewrite(store):
    triggers = [name for (name,) in run_raw(store, "SELECT name FROM sqlite_master WHERE type = 'trigger'")]
    for name in triggers:
        run_raw(store, f"DROP TRIGGER {name}")
    ingest(store, REGISTRY, "hris", "table", "more", [], NOW)
    run_raw(store, "UPDATE log_entry SET document = '{}' WHERE number = (SELECT max(number) FROM log_entry)")


@pytest.mark.parametrize("tamper", [rewrite, lambda store: (store.folder / ANCHOR).unlink()], ids=["entry", "anchor"])
def test_a_log_that_was_tampered_with_refuses(store, tamper):
    fill(store)
    assert look(store).intact
    tamper(store)
    found = look(store)
    assert found.verdict == "refuse"
    assert found.reasons == ("the records' log was tampered with (kith records check says where)",)


def test_people_who_wait_for_a_settlement_are_a_reservation(store):
    fill(store)
    differs = Difference(subject(30), None, "person.level_band", "", "2020-03-01", "entry", "senior")
    with store.writing() as connection:
        open_differences(connection, store.sealer, [differs], "test", instant(NOW))
    found = look(store)
    assert found.verdict == "ready with reservations"
    assert found.reasons == ("1 person waits for HR to settle what two sources say (kith records disagreements)",)
    assert by_reason(found) == {"two sources disagree, HR decides": 1}


def test_many_who_are_left_out_are_a_reservation(store):
    fill(store, people=100)
    tell(store, range(20, 40), "objected", NOW)
    assert look(store).verdict == "ready"
    tell(store, [40], "objected", NOW)
    assert look(store).reasons == ("nothing is learned from 21 of 100 people",)


@pytest.mark.parametrize(("leavers", "rate"), [(0, "0.0%"), (150, "100.0%")])
def test_a_label_of_one_kind_is_a_reservation(store, leavers, rate):
    fill(store, 150, leavers)
    assert look(store).reasons == (f"left = yes for {rate} of the people: too one-sided to learn much from",)


def test_many_without_a_label_are_a_reservation(store):
    fill(store, people=100)
    put(store, *(left(n, "involuntary") for n in range(50, 55)))
    assert look(store).verdict == "ready"
    put(store, left(55, "involuntary"))
    assert look(store).reasons == ("6 people of 100 have no label when the horizon ends",)


def test_much_that_came_late_is_a_reservation(store):
    fill(store)
    delivered(store, 100, 0)
    put(store, *(person(n) for n in range(200, 210)), *(left(n) for n in range(200, 210)), at=EARLIER)
    put(store, *(fact("person", subject(n), "2022-01-01", level_band="skilled") for n in range(200, 206)))
    assert "source hris: 6 facts came after newer ones" in look(store).reasons


def test_whoever_speaks_while_the_report_is_made_is_told_in_general_words(store):
    fill(store)
    tell(store, [20], "objected", NOW)
    found = snapshot(store, REGISTRY, small_contract(), NOW)
    tell(store, [21], "objected", NOW)
    told = report_on(store, REGISTRY, small_contract(), NOW, found)
    assert by_reason(told) == {"may not be used": 1}


def test_the_document_is_json_and_names_nobody(store):
    fill(store)
    tell(store, [3], "objected", NOW)
    document = look(store).to_document()
    text = json.dumps(document)
    assert json.loads(text)["until"] == "2026-09-30"
    assert [one["source"] for one in document["sources"]] == ["employee", "hris"]
    assert not any(subject(number) in text for number in range(PEOPLE))
