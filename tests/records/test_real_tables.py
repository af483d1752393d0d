"""Real exports, messy as they are: a draft must come of each, and fit it with no edits."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from privacy.errors import InputError
from records.contract import BinaryLabel, Contract, NumberLabel, parse_contract
from records.draft import draft_contract
from records.minimize import MinimizedRows, minimized_rows
from records.readiness import check
from records.table import read_table

Real = Callable[[str], Path]

TABLES = {
    "ds_jobchange by company_type": ("ds_jobchange/aug_train.csv.gz", "target", "company_type", 19158, 7),
    "ds_jobchange by city": ("ds_jobchange/aug_train.csv.gz", "target", "city", 19158, 123),
    "hr_comma_sep": ("hr_comma_sep/HR_comma_sep.csv", "left", "sales", 14999, 10),
    "ibm_attrition": ("ibm_attrition/WA_Fn-UseC_-HR-Employee-Attrition.csv", "Attrition", "Department", 1470, 3),
    "interview_attendance": ("interview_attendance/Interview.csv", "Observed Attendance", "Client name", 1233, 15),
    "osmi2016": ("osmi2016/mental-heath-in-tech-2016_20161114.csv", "mh_treatment", "country", 1433, 53),
    "absenteeism": ("absenteeism/Absenteeism_at_work.csv", "Absenteeism time in hours", "Social smoker", 740, 2),
    "oulad": ("oulad/studentInfo.csv.gz", "final_result", "region", 32593, 13),
    "garments": ("garment_productivity/garments_worker_productivity.csv", "actual_productivity", "team", 1197, 12),
    "happydb": ("happydb/labeled_10k.csv.gz", "agency", "country", 10560, 70),
}


def drafted(path: Path, label: str, site: str, employee: str | None = None) -> tuple[Contract, MinimizedRows]:
    table = read_table(path)
    contract = parse_contract(draft_contract(table, label, site, employee))
    return contract, minimized_rows(table, contract)


@pytest.mark.parametrize("name", list(TABLES))
def test_a_draft_fits_its_table_with_no_edits(real: Real, name: str) -> None:
    file, label, site, rows, sites = TABLES[name]
    contract, minimized = drafted(real(file), label, site)
    assert len(minimized) == rows
    assert len(contract.site.names) == sites
    assert {"label", "site"} <= set(contract.unconfirmed)
    assert not any(column.protected for column in contract.features)
    assert check(contract, read_table(real(file))).verdict == "ready with reservations"


def test_job_changes_keep_their_orders_and_lose_key_and_gender(real: Real) -> None:
    contract, rows = drafted(real("ds_jobchange/aug_train.csv.gz"), "target", "company_type")
    kinds = {column.name: (column.kind, column.train) for column in contract.columns}
    assert kinds["enrollee_id"] == kinds["city"] == ("text", False)
    assert kinds["gender"] == ("category", False)
    assert kinds["experience"] == kinds["company_size"] == kinds["education_level"] == ("ordered", True)
    assert kinds["city_development_index"] == kinds["training_hours"] == ("number", True)
    assert contract.label == BinaryLabel("target", ("1.0",), ("0.0",))
    assert rows.label.mean() == pytest.approx(0.249, abs=1e-3)


def test_copies_in_hr_comma_sep_are_found(real: Real) -> None:
    _, rows = drafted(real("hr_comma_sep/HR_comma_sep.csv"), "left", "sales")
    assert len(set(rows.twin.tolist())) == 11991


def test_thirty_six_people_are_too_few(real: Real) -> None:
    table = read_table(real("absenteeism/Absenteeism_at_work.csv"))
    contract = parse_contract(draft_contract(table, "Absenteeism time in hours", "Social smoker", employee="ID"))
    assert isinstance(contract.label, NumberLabel)
    found = check(contract, table)
    assert found.verdict == "refuse"
    assert found.reasons[0].startswith("36 people in all")
    unnamed = parse_contract(draft_contract(table, "Absenteeism time in hours", "Social smoker"))
    assert check(unnamed, table).keys == ("ID",)


def test_a_table_without_a_header_is_refused_without_a_word_of_its_first_row(real: Real, tmp_path: Path) -> None:
    shutil.copy(real("adult_uci/adult.data.gz"), tmp_path / "adult.csv.gz")
    with pytest.raises(InputError) as caught:
        read_table(tmp_path / "adult.csv.gz")
    assert "is the header missing?" in str(caught.value)
    assert "Bachelors" not in str(caught.value)
