"""What readiness says of tables with known defects."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from privacy.errors import InputError
from records.contract import Contract, NumberLabel, TextColumn, parse_contract
from records.readiness import Readiness, check
from records.table import Table


def grown(frame: pd.DataFrame, times: int = 10) -> pd.DataFrame:
    """Enough people for every site, all of them different."""
    large = pd.concat([frame] * times, ignore_index=True)
    return large.assign(note=[f"n {row}" for row in range(len(large))])


def roomy(contract: Contract) -> Contract:
    return replace(
        contract, site=replace(contract.site, sites=tuple(replace(s, people_at_most=9999) for s in contract.site.sites))
    )


def reasons(found: Readiness) -> str:
    return " | ".join(found.reasons)


def test_a_sound_table_is_ready(frame: pd.DataFrame, contract: Contract) -> None:
    found = check(roomy(contract), Table(grown(frame), "people"))
    assert (found.verdict, found.reasons) == ("ready", ())
    assert (found.rows, found.people, found.copies) == (3000, 3000, 0)
    assert [site.name for site in found.sites] == ["Alder", "Birch", "Cedar"]
    assert sum(site.people for site in found.sites) == 3000
    assert found.sites[0].label == pytest.approx((frame[frame["company"] == "Alder"]["left"] == "yes").mean())
    assert found.undeclared == ()
    assert all(column.decides < 0.7 for column in found.columns)


def test_a_column_that_decides_the_label_alone_is_named(frame: pd.DataFrame, contract: Contract) -> None:
    gone = frame["left"] == "yes"
    number = frame.assign(hours=np.where(gone, "0", frame["hours"]))
    assert "may leak the label, which each nearly decides alone: 'hours'" in reasons(
        check(contract, Table(number, "p"))
    )
    category = frame.assign(job=np.where(gone, "nurse", "clerk"))
    assert "alone: 'job'" in reasons(check(contract, Table(category, "p")))
    missing = frame.assign(job=pd.Series(np.where(gone, None, "clerk"), dtype="str"))
    assert "alone: 'job'" in reasons(check(contract, Table(missing, "p")))


def test_a_leak_into_a_number_label_is_named(frame: pd.DataFrame, contract: Contract) -> None:
    leaking = frame.assign(left=[f"{float(hours) / 60 + 0.001}" for hours in frame["hours"]])
    found = check(replace(contract, label=NumberLabel("left", 0, 1, "")), Table(leaking, "p"))
    assert "alone: 'hours'" in reasons(found)


def test_many_categories_by_chance_are_no_leak(frame: pd.DataFrame, contract_text: str) -> None:
    values = [f"v{number}" for number in range(150)]
    contract = parse_contract(contract_text.replace('["clerk", "driver", "nurse"]', json.dumps(values)))
    found = check(contract, Table(frame.assign(job=values * 2), "p"))
    assert "leak" not in reasons(found)


def test_defects_are_counted_and_named(frame: pd.DataFrame, contract: Contract) -> None:
    frame = frame.assign(
        hours=pd.Series(["99"] * 10 + frame["hours"].tolist()[10:], dtype="str"),
        grade=pd.Series([None] * 200 + ["low"] * 100, dtype="str"),
        left=pd.Series([None] * 3 + frame["left"].tolist()[3:], dtype="str"),
        extra="x",
    )
    frame = pd.concat([frame, frame.iloc[50:100]], ignore_index=True)
    found = check(roomy(contract), Table(frame, "people"))
    text = reasons(found)
    assert found.verdict == "ready with reservations"
    assert "more than 50% missing: 'grade'" in text
    assert "more than 1% outside the public bounds: 'hours'" in text
    assert "50 rows are copies of others" in text
    assert "3 rows without a label are left out" in text
    assert "347 people in all" in text
    assert found.undeclared == ("extra",)
    assert {column.name: column.clipped for column in found.columns} == {"hours": 7, "grade": 0, "job": 0}


def test_marks_to_confirm_are_a_reservation(frame: pd.DataFrame, contract: Contract) -> None:
    found = check(replace(roomy(contract), unconfirmed=("label",)), Table(grown(frame), "people"))
    assert found.verdict == "ready with reservations"
    assert found.reasons == ("not confirmed by a person: 'label'",)


def test_more_people_than_declared_are_refused(frame: pd.DataFrame, contract: Contract) -> None:
    found = check(contract, Table(grown(frame), "people"))
    assert found.verdict == "refuse"
    assert "more people than the contract's people_at_most: 'Alder', 'Birch', 'Cedar'" in found.reasons


def test_too_few_people_are_refused(frame: pd.DataFrame, contract: Contract) -> None:
    few = frame.assign(key=[f"{company} {row % 12}" for row, company in enumerate(frame["company"])])
    found = check(replace(contract, employee="key"), Table(few, "people"))
    assert found.verdict == "refuse"
    assert found.people == 36
    assert found.reasons[0].startswith("36 people in all")


def test_an_unnamed_employee_key_is_suspected(frame: pd.DataFrame, contract: Contract) -> None:
    contract = replace(contract, columns=(*contract.columns, TextColumn("ID", False, "retention")))
    found = check(contract, Table(frame.assign(ID=[str(row % 36) for row in range(300)]), "people"))
    assert found.keys == ("ID",)
    assert "may be the employee key" in reasons(found)
    found = check(contract, Table(frame.assign(ID=[str(row) for row in range(300)]), "people"))
    assert found.keys == ()


def test_one_site_or_one_class_is_refused_unless_one_site_is_asked_for(frame: pd.DataFrame, contract: Contract) -> None:
    alone = Table(frame[frame["company"] == "Alder"].reset_index(drop=True), "people")
    with pytest.raises(InputError, match="at least two sites"):
        check(contract, alone)
    with pytest.raises(InputError, match="at least two classes"):
        check(contract, Table(frame.assign(left="no"), "people"))
    found = check(contract, alone, site="Alder")
    assert [site.name for site in found.sites] == ["Alder"]
    assert found.verdict == "ready"
    same = check(contract, Table(alone.frame.assign(left="no"), "people"), site="Alder")
    assert same.reasons == ("all rows have the same label",)


def test_the_report_can_be_printed_and_written(frame: pd.DataFrame, contract: Contract) -> None:
    found = check(contract, Table(frame, "people"))
    lines = found.render()
    assert lines[0] == ("verdict", found.verdict)
    assert [name for name, _ in lines if name.startswith("site ")] == ["site Alder", "site Birch", "site Cedar"]
    document = json.loads(json.dumps(found.to_document(), allow_nan=False))
    assert document["verdict"] == found.verdict
    assert document["sites"][0]["people"] == found.sites[0].people
