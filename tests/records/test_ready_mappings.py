"""The mappings that come with Kith: all load, read what the systems write, and nothing that is nobody's business."""

import csv
import io
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
import sqlalchemy as sa

from privacy.pseudonyms import Pseudonyms
from records.connectors import sql, tables
from records.facts import Fact, Fault, Incoming, Trait
from records.mapping import load_mapping, ready_mappings
from records.prohibited import prohibition
from records.registry import load_registry

Write = Callable[..., Path]
PSEUDONYMS = Pseudonyms(b"k" * 32, "Alder")
TODAY = date(2026, 3, 4)
NEVER = {
    "ip",
    "other",
    "realuserid",
    "emp_smoker",
    "ethnic_race_code",
    "Blood Group",
    "Health Details",
    "marital",
    "ssnid",
}


@pytest.mark.parametrize("name", ready_mappings())
def test_it_loads_and_reads_nothing_prohibited(name: str) -> None:
    mapping = load_mapping(name, load_registry())
    assert mapping.cells
    assert not mapping.cells & NEVER
    assert all(prohibition(cell, in_vault=True) is None for cell in mapping.cells)


@pytest.fixture
def said(csv: Write) -> Callable[..., list[Incoming]]:
    """What a row of a CSV file with these cells says through a ready mapping; nothing in it is unknown."""

    def read(name: str, /, **cells: str) -> list[Incoming]:
        mapping = load_mapping(name, load_registry())
        found = tables.records_of(csv(written(cells)), mapping)
        assert found.unknown == ()
        return [one for place, row in found for one in mapping.incoming(row, place, PSEUDONYMS, TODAY)]

    return read


def written(cells: dict[str, str]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows([cells.keys(), cells.values()])
    return text.getvalue()


def values(found: list[Incoming]) -> dict[str, object]:
    assert isinstance(found[0], Fact), found
    return dict(found[0].values)


def test_orangehrm_employee(said: Callable[..., list[Incoming]]) -> None:
    row = {
        "emp_number": "7",
        "employee_id": "000007",
        "emp_lastname": "X",
        "emp_smoker": "1",
        "ethnic_race_code": "2",
        "emp_gender": "2",
        "emp_status": "Part-Time Internship",
        "joined_date": "2019-05-01",
    }
    person, trait = said("orangehrm_employee", **row)
    assert values([person]) == {"start_month": "2019-05", "employment_type": "intern"}
    assert trait == Trait(PSEUDONYMS.person("000007"), {"sex": "female"}, 0)


def test_orangehrm_candidates(said: Callable[..., list[Incoming]]) -> None:
    row = {"candidate_id": "5", "vacancy_id": "12", "status": "JOB OFFERED", "consent_to_keep_data": "0"}
    found = said("orangehrm_candidates", **row, email="x@example.org")
    assert values(found) == {"req_id": "12", "consent_to_keep": "no", "stage": "offer", "outcome": "pending"}
    assert isinstance(found[0], Fact)
    assert (found[0].subject, found[0].item) == (PSEUDONYMS.candidate("5"), "12")


def test_orangehrm_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'orangehrm.sqlite'}")
    with engine.begin() as connection:
        for statement in (
            "CREATE TABLE hs_hr_employee (emp_number, employee_id, joined_date, emp_status, termination_id, purged_at)",
            "CREATE TABLE ohrm_employment_status (id, name)",
            "CREATE TABLE ohrm_emp_termination (id, emp_number, reason_id, termination_date, note)",
            "CREATE TABLE ohrm_emp_termination_reason (id, name)",
            "CREATE TABLE hs_hr_emp_reportto (erep_sup_emp_number, erep_sub_emp_number, erep_reporting_mode)",
            "INSERT INTO hs_hr_employee VALUES (1, '0001', '2019-05-01', 3, 9, NULL)",
            "INSERT INTO hs_hr_employee VALUES (2, '0002', NULL, NULL, NULL, NULL)",
            "INSERT INTO ohrm_employment_status VALUES (3, 'Full-Time Contract')",
            "INSERT INTO ohrm_emp_termination VALUES (9, 1, 4, '2026-01-31', 'gossip')",
            "INSERT INTO ohrm_emp_termination_reason VALUES (4, 'Resigned - Self Proposed')",
            "INSERT INTO hs_hr_emp_reportto VALUES (2, 1, 1)",
        ):
            connection.execute(sa.text(statement))
    monkeypatch.setenv("ORANGEHRM_URL", str(engine.url))
    mapping = load_mapping("orangehrm_database", load_registry())
    found = sql.records_of(mapping)
    assert found.unknown == ()
    first, second = (mapping.incoming(row, place, PSEUDONYMS, TODAY) for place, row in found)
    assert values(first) == {
        "start_month": "2019-05",
        "end_month": "2026-01",
        "manager_key": PSEUDONYMS.person("0002"),
        "employment_type": "fixed term",
        "exit_type": "voluntary",
    }
    assert isinstance(second[0], Fault)  # a person of whom nothing is stated


def test_frappe_hr(said: Callable[..., list[Incoming]]) -> None:
    row = {
        "Employee Number": "12",
        "Gender": "Male",
        "Date of Birth": "01-01-1980",
        "Date of Joining": "31-05-2019",
        "Relieving Date": "",
        "Employment Type": "Apprentice",
        "Blood Group": "A+",
    }
    person, trait = said("frappe_hr_employee", **row)
    assert values([person]) == {"start_month": "2019-05", "end_month": None, "employment_type": "apprentice"}
    assert isinstance(trait, Trait)
    row = {"ID": "HR-APP-2026-00001", "Job Opening": "HR-OPN-2026-0001", "Status": "Replied", "Email Address": "x"}
    assert values(said("frappe_hr_job_applicant", **row)) == {
        "req_id": "HR-OPN-2026-0001",
        "stage": "screening",
        "outcome": "pending",
    }
    row = {
        "ID": "HR-INT-2026-0001",
        "Job Applicant": "HR-APP-2026-00001",
        "Job Opening": "HR-OPN-2026-0001",
        "Status": "Cleared",
        "Scheduled On": "2026-03-02",
        "From Time": "10:00:00",
    }
    (found,) = said("frappe_hr_interview", **row)
    assert values([found]) == {"req_id": "HR-OPN-2026-0001", "attended": "yes"}
    assert isinstance(found, Fact)
    assert found.valid_from == "2026-03-02"


def test_odoo(said: Callable[..., list[Incoming]]) -> None:
    row = {
        "registration_number": "77",
        "name": "X",
        "employee_type": "trainee",
        "tz": "Europe/Oslo",
        "lang": "nb_NO",
        "parent_id/registration_number": "78",
        "work_location_type": "home",
        "departure_reason_id": "Retired",
        "departure_date": "2026-02-28",
        "marital": "single",
        "sex": "other",
    }
    assert values(said("odoo_employee", **row)) == {
        "employment_type": "apprentice",
        "work_tz": "Europe/Oslo",
        "locale": "nb_NO",
        "manager_key": PSEUDONYMS.person("78"),
        "work_mode": "remote",
        "exit_type": "retirement",
        "end_month": "2026-02",
    }
    row = {
        "employee_id/registration_number": "77",
        "date_version": "2021-06-01",
        "contract_date_start": "2019-05-01",
        "employee_type": "employee",
        "country_code": "NO",
        "wage": "1",
    }
    (found,) = said("odoo_version", **row)
    assert values([found]) == {"start_month": "2019-05", "location_country": "NO", "employment_type": "permanent"}
    assert isinstance(found, Fact)
    assert found.valid_from == "2021-06-01"


def test_bamboohr_and_workday(said: Callable[..., list[Incoming]]) -> None:
    row = {"employeeNumber": "5", "date": "2024-04-01", "department": "IT", "reportsTo": "A B", "jobTitle": "x"}
    assert values(said("bamboohr_job_info", **row)) == {"job_family": "engineering"}
    row = {"Employee_ID": "21001", "Hire_Date": "2019-05-01", "Management_Level": "Principal", "FTE": "0.8"}
    assert values(said("workday_worker", **row)) == {"start_month": "2019-05", "level_band": "lead", "fte": 0.8}


def test_moodle_reads_three_events_and_no_addresses(said: Callable[..., list[Incoming]]) -> None:
    row = {
        "id": "9",
        "eventname": "\\core\\event\\course_completed",
        "courseid": "42",
        "idnumber": "000007",
        "timecreated": "1772409600",
        "other": '{"secret":1}',
        "ip": "192.0.2.7",
        "realuserid": "3",
    }
    (found,) = said("moodle_log", **row)
    assert values([found]) == {"course_id": "42", "verb": "completed"}
    assert isinstance(found, Fact)
    assert (found.item, found.valid_from) == (PSEUDONYMS.item("learning_event", "9"), "2026-03-02")
    viewed = {**row, "eventname": "\\core\\event\\course_viewed", "idnumber": ""}
    assert said("moodle_log", **viewed) == []


def test_applicant_tracking(said: Callable[..., list[Incoming]]) -> None:
    row = {
        "candidate_id": "C1",
        "requisition_id": "R7",
        "stage": "Hired",
        "stage_entered_at": "2026-02-01",
        "disposition": "Accepted",
        "offer_pay": "103000",
        "offer_start": "2026-04-01",
        "offer_level": "Senior",
    }
    assert values(said("ats_applications", **row)) == {
        "req_id": "R7",
        "stage": "closed",
        "outcome": "accepted",
        "offer_pay": 103000.0,
        "offer_start": "2026-04",
        "offer_level": "senior",
    }
    row = {
        "candidate_id": "C1",
        "requisition_id": "R7",
        "round": "2",
        "slot": "2026-03-02T14:00+01:00",
        "type": "Phone",
    }
    (found,) = said("ats_interviews", **row, attended="Yes")
    assert values([found]) == {
        "req_id": "R7",
        "slot_utc": "2026-03-02T13:00:00Z",
        "interview_type": "phone",
        "attended": "yes",
    }
    (late,) = said("ats_interviews", **{**row, "slot": "2026-03-02 14:00"})
    assert isinstance(late, Fault)
    assert "time zone" in late.reason
