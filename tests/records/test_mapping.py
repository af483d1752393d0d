"""Mappings: rows become what they say or one fault, and a mapping that overreaches does not load."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.errors import InputError, KithError, Refused
from privacy.pseudonyms import Pseudonyms
from records.cell_plans import MAX_REMEMBERED
from records.facts import Fact, Fault, Incoming, Said, Trait
from records.mapping import Mapping, load_mapping, parse_mapping
from records.registry import load_registry

PSEUDONYMS = Pseudonyms(b"k" * 32, "Alder")
TODAY = date(2026, 3, 4)
CANARY = "Kanarienvogel"
PROHIBITED = "no prohibited column"

PEOPLE = """
source = "hris"
kind = "table"
[read]
decimal = ","
dates = ["DD/MM/YYYY", "MM/DD/YYYY"]
missing = ["-", "n/a"]
[person]
number = "Employee No"
width = 6
pattern = "[0-9]{6}"
[valid_from]
column = "Effective"
[[facts]]
table = "person"
when = { column = "Status", values = ["Active", "On leave"] }
[facts.columns]
job_family = { from = "Department", values = { "Prod." = "production", "Adm" = "administration", "None yet" = "" } }
start_month = { from = "Hired" }
manager_key = { from = "Reports to" }
commute_minutes = { from = "Commute", otherwise = "missing" }
work_mode = { from = "Mode", optional = true }
employment_type = { always = "permanent" }
[[facts]]
table = "comp_band"
columns.compa_ratio = { from = "Compa", scale = 100 }
[protected]
sex = { from = "Gender", values = { 1 = "male", 2 = "female", 9 = "" } }
[ignore]
columns = ["Name", "Blood group"]
"""
ROW = {
    "Employee No": "123",
    "Effective": "13/02/2020",
    "Status": " ACTIVE ",
    "Department": "prod.",
    "Hired": "2019-05",
    "Reports to": "77",
    "Commute": "25,5",
    "Compa": "1,05",
    "Gender": "2",
}


def mapping(text: str = PEOPLE) -> Mapping:
    return parse_mapping(text.encode(), load_registry())


def said(row: dict[str, str | None] | None = None, text: str = PEOPLE, **changes: str | None) -> list[Incoming]:
    names = {"number": "Employee No"}
    changed = {names.get(name, name): cell for name, cell in changes.items()}
    return mapping(text).incoming({**(ROW if row is None else row), **changed}, 7, PSEUDONYMS, TODAY)


def fault(found: list[Incoming]) -> Fault:
    assert len(found) == 1
    assert isinstance(found[0], Fault)
    return found[0]


def fact(found: list[Incoming]) -> Fact:
    assert isinstance(found[0], Fact)
    return found[0]


def test_a_row_becomes_facts_and_traits_of_one_pseudonym() -> None:
    person, pay, trait = said()
    key = PSEUDONYMS.person("000123")
    values = {
        "employment_type": "permanent",
        "job_family": "production",
        "start_month": "2019-05",
        "manager_key": PSEUDONYMS.person("000077"),
        "commute_minutes": 25.5,
    }
    assert person == Fact("person", key, "", "2020-02-13", values, 7)
    assert pay == Fact("comp_band", key, "", "2020-02-13", {"compa_ratio": 105.0}, 7)
    assert trait == Trait(key, {"sex": "female"}, 7)


def test_a_missing_cell_says_nothing_and_an_absent_one_is_not_spoken_of() -> None:
    values = fact(said(Department=" N/A ", Commute=None)).values
    assert values["job_family"] is None
    assert values["commute_minutes"] is None
    assert "work_mode" not in values
    assert fact(said(Mode="Remote")).values["work_mode"] == "remote"
    assert fact(said(Department="none  yet")).values["job_family"] is None


def test_a_trait_that_is_not_stated_is_none() -> None:
    assert not any(isinstance(one, Trait) for one in said(Gender="9"))
    assert not any(isinstance(one, Trait) for one in said(Gender=""))


@pytest.mark.parametrize(
    ("column", "cell", "reason"),
    [
        ("Department", CANARY, "values that the mapping lists"),
        ("Effective", "04/12/2019", "ambiguous"),
        ("Effective", "", "missing"),
        ("Hired", CANARY, "declared formats"),
        ("Compa", "1.05", "declared writing"),
        ("Compa", "99", "a number from 10 to 500"),
        ("Reports to", "12345678", "at most 6 characters"),
        ("Gender", "7", "values that the mapping lists"),
        ("Mode", CANARY, "registered values"),
        ("Department", CANARY * 100, "at most 1000 characters"),
        ("Department", "a\0b", "values that the mapping lists"),
    ],
)
def test_one_bad_cell_keeps_the_whole_row_out_and_is_named_without_its_content(
    column: str, cell: str, reason: str
) -> None:
    found = fault(said(**{column: cell}))
    assert (found.place, found.column, found.subject) == (7, column, PSEUDONYMS.person("000123"))
    assert reason in found.reason
    assert CANARY not in found.reason


@pytest.mark.parametrize("number", [None, "", "  ", "n/a", "12x", "1234567", "１２３４５６", "9" * 300, "\0"])
def test_a_row_of_nobody_is_a_fault_without_a_subject(number: str | None) -> None:
    found = fault(said(number=number))
    assert (found.column, found.subject) == ("Employee No", None)


def test_otherwise_missing_lets_the_row_in() -> None:
    assert fact(said(Commute="an hour or so")).values["commute_minutes"] is None
    assert fact(said(Commute="9999")).values["commute_minutes"] is None


def test_rows_that_no_when_lets_in_are_left_out_before_anything_of_them_is_read() -> None:
    only_people = PEOPLE.split('[[facts]]\ntable = "comp_band"')[0]
    assert said(text=only_people, Status="Left", number="x") == []
    assert said(text=only_people, Status=None) == []
    assert len(said(text=only_people, Status="on  LEAVE")) == 1


def test_a_row_that_states_nothing_is_a_fault() -> None:
    empty = dict.fromkeys(ROW, None) | {"Employee No": "1", "Effective": "2020-01-01", "Status": "Active"}
    assert "states something" in fault(said(empty)).reason


def test_a_fault_of_the_reader_passes_as_it_is() -> None:
    uneven = Fault(3, "", "expected 4 cells as in the header, got 3")
    assert mapping().incoming(uneven, 3, PSEUDONYMS, TODAY) == [uneven]


def test_without_a_day_in_the_row_the_day_of_the_ingest_counts() -> None:
    text = PEOPLE.replace('[valid_from]\ncolumn = "Effective"', "")
    assert fact(said(text=text)).valid_from == "2026-03-04"


def facts(table: str, columns: str, source: str = "hris", more: str = "", person: str = 'number = "no"') -> str:
    return (
        f'source = "{source}"\nkind = "table"\n[person]\n{person}\n'
        f'[[facts]]\ntable = "{table}"\n{more}\n[facts.columns]\n{columns}\n'
    )


def test_weeks_are_named_by_their_monday_and_told_on_their_sunday() -> None:
    text = facts("work_pattern_week", 'overtime_hours = { from = "h" }', "timekeeping", 'valid_from = "day"')
    assert fact(said({"no": "1", "h": "3", "day": "2026-03-01"}, text)).valid_from == "2026-03-01"
    text = facts("work_pattern_week", 'overtime_hours = { from = "h" }', "timekeeping")
    assert fact(said({"no": "1", "h": "3"}, text)).valid_from == "2026-03-08"
    text = facts("onboarding_item", 'task = { from = "t" }\ndue_week = { from = "d" }')
    assert fact(said({"no": "1", "t": "desk", "d": "2026-03-01"}, text)).values["due_week"] == "2026-02-23"


def test_facts_are_told_apart_by_their_own_columns() -> None:
    text = facts("pulse", 'question = { always = "engagement" }\nlikert = { from = "Q1" }', "survey")
    assert fact(said({"no": "1", "Q1": "4"}, text)).item == "engagement"
    columns = 'skill_id = { from = "s" }\nevidence = { always = "course" }\nlevel = { from = "l" }'
    assert fact(said({"no": "1", "s": "sql", "l": "3"}, facts("skill_evidence", columns))).item == "sql/course"
    text = facts("pulse", 'question = { from = "q" }\nlikert = { from = "a" }', "survey")
    assert "states something" in fault(said({"no": "1", "q": "mood-free", "a": None}, text)).reason
    assert fault(said({"no": "1", "q": None, "a": "3"}, text)).column == "q"


def test_facts_are_told_apart_by_cells_as_they_are_or_hashed() -> None:
    columns = 'course_id = { from = "Course" }\nverb = { always = "completed" }'
    row: dict[str, str | None] = {"no": "1", "Course": " c7 ", "Attempt": "2"}
    assert fact(said(row, facts("learning_event", columns, "lms", 'item = ["Course"]'))).item == "c7"
    both = facts("learning_event", columns, "lms", 'item = ["Course", "Attempt"]')
    assert fact(said(row, both)).item == PSEUDONYMS.item("learning_event", "c7", "2")
    assert fault(said({**row, "Attempt": None}, both)).column == "Attempt"
    single = facts("learning_event", columns, "lms", 'item = "Attempt"')
    assert fact(said(row, single)).item == PSEUDONYMS.item("learning_event", "2")


def test_candidates_are_not_employees_of_the_same_number() -> None:
    columns = 'req_id = { from = "r" }\nstage = { from = "s" }'
    text = facts("application", columns, "ats", "", 'candidate = "no"')
    assert fact(said({"no": "7", "r": "R1", "s": "Offer"}, text)).subject == PSEUDONYMS.candidate("7")
    text = facts("person", 'candidate_key = { from = "c" }')
    assert fact(said({"no": "7", "c": "7"}, text)).values["candidate_key"] == PSEUDONYMS.candidate("7")


def test_hours_may_be_iso_durations_and_scores_bands() -> None:
    columns = (
        'course_id = { from = "c" }\nduration_hours = { from = "d" }\nscore_band = { from = "s", bands = [50, 70, 85] }'
    )
    text = facts("learning_event", columns, "lms", 'item = ["c"]')
    for score, band in (("49.9", "below 50"), ("50", "50 to 70"), ("85", "85 and above")):
        values = fact(said({"no": "1", "c": "x", "d": "PT90M", "s": score}, text)).values
        assert (values["duration_hours"], values["score_band"]) == (1.5, band)
    assert fault(said({"no": "1", "c": "x", "d": "P1M", "s": "5"}, text)).column == "d"


CONSENT = """
source = "employee"
kind = "table"
[read]
timezone = "Europe/Oslo"
[person]
number = "no"
[consent]
purpose = { from = "what" }
state = { from = "did", values = { yes = "given", no = "withdrawn" } }
notice_version = { from = "version" }
at = { from = "at" }
locale = { always = "nb-NO" }
"""


def test_a_consent_export_becomes_events() -> None:
    row: dict[str, str | None] = {
        "no": "1",
        "what": "wellbeing",
        "did": "Yes",
        "version": "2",
        "at": "2026-03-02T09:00",
    }
    subject = PSEUDONYMS.person("1")
    assert said(row, CONSENT) == [Said(subject, "wellbeing", "given", 2, "nb-NO", "table", "2026-03-02T08:00:00Z", 7)]
    for column, cell in {"what": "surveillance", "did": "perhaps", "version": "1.5", "at": "2026-03-02"}.items():
        assert fault(said({**row, column: cell}, CONSENT)).column == column
        assert fault(said({**row, column: None}, CONSENT)).column == column


def test_what_is_remembered_of_cells_is_bounded() -> None:
    one = mapping(facts("person", 'commute_minutes = { from = "c" }'))
    for number in range(3 * MAX_REMEMBERED):
        one.incoming({"no": "1", "c": f"{number / 1000}"}, number, PSEUDONYMS, TODAY)
    (column,) = one._facts[0].columns
    assert 0 < len(column.plan._remembered) <= MAX_REMEMBERED


def without(*lines: str) -> str:
    return "\n".join(line for line in PEOPLE.splitlines() if not line.startswith(lines))


REFUSED: dict[str, tuple[str, str]] = {
    "no facts": ('source = "hris"\nkind = "table"\n[person]\nnumber = "n"\n', "at least one of"),
    "no person": (facts("person", 'fte = { from = "f" }', person=""), "'number': expected printable text"),
    "unknown source": (facts("person", 'fte = { from = "f" }', "gossip"), "'source': expected one of"),
    "unknown kind": (PEOPLE.replace('"table"', '"telepathy"', 1), "'kind': expected one of"),
    "unknown key": (PEOPLE + "[extra]\n", "only keys that a mapping knows"),
    "unknown table": (facts("protected", 'sex = { from = "s" }'), "'table': expected one of"),
    "unregistered column": (facts("person", 'shoe_size = { from = "s" }'), "a registered column"),
    "frame as a column": (facts("person", 'subject = { from = "s" }'), "a registered column"),
    "another source's column": (facts("pulse", 'question = { from = "q" }\nlikert = { from = "l" }'), "a source among"),
    "prohibited cell": (facts("person", 'job_family = { from = "Religion" }'), PROHIBITED),
    "prohibited person": (facts("person", 'fte = { from = "f" }', person='number = "SSN"'), PROHIBITED),
    "prohibited when": (
        facts("person", 'fte = { from = "f" }', more='when = { column = "Blood group", values = ["A"] }'),
        PROHIBITED,
    ),
    "protected trait as a column": (facts("person", 'job_family = { from = "Gender" }'), PROHIBITED),
    "prohibited trait": (PEOPLE.replace("[protected]", '[protected]\nreligion = { from = "r" }'), "registered column"),
    "trait for everybody": (
        PEOPLE.replace('{ from = "Gender", values = { 1 = "male", 2 = "female", 9 = "" } }', '{ always = "male" }'),
        "a cell of an employee",
    ),
    "ignored and read": (PEOPLE.replace('"Blood group"]', '"Compa"]'), "cells that are not read"),
    "unknown value": (PEOPLE.replace('"production"', '"productoin"'), "registered values among the values"),
    "unknown constant": (PEOPLE.replace('"permanent"', '"forever"'), "registered values"),
    "constant key": (PEOPLE.replace('{ from = "Reports to" }', '{ always = "7" }'), "no constant for a key"),
    "two writings of one value": (PEOPLE.replace('"Adm" =', '"PROD. " ='), "differ by more than case"),
    "scaled text": (PEOPLE.replace('{ from = "Hired" }', '{ from = "Hired", scale = 2 }'), "scale for a number"),
    "scale of nothing": (PEOPLE.replace("scale = 100", "scale = 0"), "'scale': expected a number"),
    "scale nan": (PEOPLE.replace("scale = 100", "scale = nan"), "'scale': expected a number"),
    "bands of a number": (PEOPLE.replace("scale = 100", "bands = [1]"), "bands for an ordered column"),
    "bands in disorder": (PEOPLE.replace("scale = 100", "bands = [2, 1]"), "each above the one before"),
    "date format": (PEOPLE.replace('"DD/MM/YYYY"', '"%d/%m/%Y"'), "dates: expected formats"),
    "time zone": (PEOPLE.replace("[read]", '[read]\ntimezone = "Mars"'), "IANA"),
    "encoding": (PEOPLE.replace("[read]", '[read]\nencoding = "utf-7"'), "'encoding': expected one of"),
    "separator": (PEOPLE.replace("[read]", '[read]\nseparator = "ab"'), "'separator': expected one of"),
    "one sign twice": (PEOPLE.replace("[read]", '[read]\nthousands = ","'), "another sign"),
    "query in a table": (PEOPLE.replace("[read]", '[read]\nquery = "SELECT 1"'), "only there"),
    "sql without a query": (PEOPLE.replace('"table"', '"sql"', 1), "only there"),
    "person of several": (facts("person", 'fte = { from = "f" }', more='item = ["x"]'), "expected none for person"),
    "events without an item": (facts("learning_event", 'course_id = { from = "c" }', "lms"), "which tell facts apart"),
    "key column missing": (facts("pulse", 'likert = { from = "l" }', "survey"), "the columns question"),
    "employee as candidate": (facts("application", 'req_id = { from = "r" }', "ats"), "to name a candidate"),
    "candidate as employee": (facts("person", 'fte = { from = "f" }', person='candidate = "c"'), "to name a employee"),
    "one fact twice": (
        PEOPLE.replace(
            "[protected]", '[[facts]]\ntable = "comp_band"\ncolumns.annual_pay = { from = "p" }\n[protected]'
        ),
        "'comp_band' twice",
    ),
    "constants only": (facts("person", "fte = { always = 1 }"), "at least one column from a cell"),
    "number for a text": (facts("person", "fte = { from = 7 }"), "'from': expected printable text"),
    "list for a table": (facts("person", "fte = [1]"), "expected a table, got list"),
    "text for a list": (PEOPLE.replace("[[facts]]", "[facts]", 1), "expected TOML"),
    "facts as a text": (
        'source = "hris"\nkind = "table"\nfacts = "person"\n[person]\nnumber = "n"\n',
        "tables [[facts]]",
    ),
    "name of control characters": (
        facts("person", 'fte = { from = "a\\u001b[31m" }'),
        "'from': expected printable text",
    ),
    "unknown consent": (CONSENT + 'mood = { from = "m" }\n', "only purpose, state"),
    "unknown state": (CONSENT.replace('"given"', '"assumed"'), "known values in their own writing"),
    "unknown purpose": (CONSENT.replace('{ from = "what" }', '{ always = "profit" }'), "a known value"),
    "consent without a time": (CONSENT.replace('at = { from = "at" }', ""), "'at': expected a column's form"),
    "deep nesting": ("a = " + "[" * 400 + "]" * 400, "got"),
    "deeper nesting": ("a = " + "[" * 40_000 + "]" * 40_000, "expected TOML"),
    "dotted key": ("a" + ".a" * 60 + " = 1", "at most 6 levels"),
    "endless dotted key": ("a" + ".a" * 60_000 + " = 1", "at most 64 dots"),
    "too large": ("# " + "x" * 2**17, "at most 131072 bytes"),
    "too many facts": ("facts = [" + "{}," * 101 + ']\nsource = "hris"\nkind = "table"', "at most 100 tables"),
    "not toml": (f"employee,name\n1,{CANARY}\n", "expected TOML"),
    "huge number": ("a = " + "9" * 5_000, "expected TOML"),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_a_mapping_that_overreaches_or_means_nothing_is_refused_on_load(name: str) -> None:
    text, expected = REFUSED[name]
    with pytest.raises(Refused if expected == PROHIBITED else InputError) as caught:
        mapping(text)
    message = str(caught.value)
    assert expected in message
    assert "\n" not in message
    assert CANARY not in message
    assert len(message) < 2_000


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(InputError, match="UTF-8"):
        parse_mapping(PEOPLE.encode("utf-16"), load_registry())


@pytest.mark.parametrize(
    ("pattern", "number", "fits"),
    [
        ("[0-9]{6}", "123456", True),
        ("[0-9]{6}", "12345", False),
        ("EMP-[0-9]{4}", "EMP-0012", True),
        ("EMP-[0-9]{4}", "emp-0012", False),
        ("C[A-Z0-9_-]{1,8}", "CX_9-1", True),
        ("C[A-Z0-9_-]{1,8}", "C", False),
        ("a.b", "axb", False),
    ],
)
def test_numbers_are_held_against_the_pattern(pattern: str, number: str, fits: bool) -> None:
    text = facts("person", 'fte = { from = "f" }', person=f'number = "no"\npattern = "{pattern}"')
    (found,) = said({"no": number, "f": "1"}, text)
    assert isinstance(found, Fact) == fits


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+",
        "a*",
        "[a-z]+",
        ".*",
        "a{1,9}b{1,9}",
        "a{9,1}",
        "a{1,}",
        "a{,9}",
        "a{101}",
        "a|b",
        "\\\\d",
        "[z-a]",
        "[^a]",
        "^a$",
        "[]",
        "a{",
        "{1}",
        "[[a]",
    ],
)
def test_patterns_that_could_take_long_or_mean_more_are_refused(pattern: str) -> None:
    with pytest.raises(InputError, match="'pattern'"):
        mapping(facts("person", 'fte = { from = "f" }', person=f'number = "no"\npattern = "{pattern}"'))


def test_a_mapping_is_loaded_by_name_or_path(tmp_path: Path) -> None:
    registry = load_registry()
    (tmp_path / "own.toml").write_text(PEOPLE)
    loaded = load_mapping(tmp_path / "own.toml", registry)
    assert loaded.cells == {*ROW, "Mode"}
    assert loaded.required == set(ROW)
    assert loaded.ignored == {"Name", "Blood group"}
    assert load_mapping(str(tmp_path / "own.toml"), registry).digest == loaded.digest
    assert load_mapping("orangehrm_employee", registry).source == "hris"
    with pytest.raises(InputError, match="expected one of ats_applications"):
        load_mapping("no_such_mapping", registry)
    with pytest.raises(InputError, match="readable mapping"):
        load_mapping(tmp_path / "none.toml", registry)
    with pytest.raises(InputError, match="readable mapping"):
        load_mapping(tmp_path, registry)


cells = st.one_of(
    st.none(),
    st.text(max_size=30),
    st.sampled_from(["1", "000123", "Active", "Prod.", "13/02/2020", "2019-05", "1,05", "25", "2", "-", "remote"]),
)


@settings(max_examples=150, deadline=None)
@given(row=st.dictionaries(st.sampled_from([*ROW, "Mode", "Name"]), cells))
def test_any_row_is_facts_or_one_fault(row: dict[str, str | None]) -> None:
    found = MAPPING.incoming(row, 3, PSEUDONYMS, TODAY)
    assert found
    assert len(found) == 1 or not any(isinstance(one, Fault) for one in found)
    assert all(one.place == 3 for one in found)
    for one in found:
        for name, value in getattr(one, "values", {}).items():
            table = one.table if isinstance(one, Fact) else "protected"
            assert value is None or load_registry().column(f"{table}.{name}").problem(value) is None


def damaged(draw: Callable[..., object]) -> str:
    place, length = draw(st.integers(0, len(PEOPLE))), draw(st.integers(0, 12))
    junk = draw(st.text(alphabet="[]{}=\"'\\,.\n ab1{", max_size=12))
    assert isinstance(place, int)
    assert isinstance(length, int)
    return f"{PEOPLE[:place]}{junk}{PEOPLE[place + length :]}"


@settings(max_examples=150, deadline=None)
@given(data=st.one_of(st.binary(max_size=60), st.composite(damaged)().map(str.encode)))
def test_any_mapping_file_loads_or_is_refused(data: bytes) -> None:
    message = ""
    try:
        assert parse_mapping(data, load_registry()).cells
    except KithError as error:
        message = str(error)
    assert "\n" not in message


MAPPING = mapping()
