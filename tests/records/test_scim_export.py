"""Files of SCIM users: whatever form they come in, the same records; what is no user is a fault of its own."""

from __future__ import annotations

import json
from datetime import date

import pytest

from privacy.errors import InputError
from privacy.pseudonyms import Pseudonyms
from records.connectors import scim_export
from records.connectors.scim_export import records_of
from records.connectors.scim_resources import ENDED, MANAGER, NUMBER
from records.connectors.strict_json import Bounds
from records.facts import Fact, Fault
from records.mapping import load_mapping
from records.registry import load_registry
from tests.records.scim_service import EMPLOYMENT, ENTERPRISE, user

BOSS = "0b9c1d2e-0000-4000-8000-000000000001"
USERS = [
    {**user(login="a@alder.example", number="0012", enterprise={"manager": {"value": BOSS}}), "id": "a"},
    {**user(login="b@alder.example", number=7, displayName="Quillfeather"), "id": BOSS, "emails": [{"value": "q@x"}]},
    user(
        login="c@alder.example", number="13", enterprise={"manager": {"value": "0b9c1d2e-0000-4000-8000-00000000000f"}}
    ),
    user(login="d@alder.example", number="14", enterprise={"manager": {"value": "0012"}}, employment={"fte": 0.5}),
]
FORMS = {
    "list response": lambda users: json.dumps({"totalResults": len(users), "Resources": users}, indent=1),
    "list response in a line": lambda users: json.dumps({"Resources": users}),
    "list": lambda users: "\ufeff" + json.dumps(users),
    "lines": lambda users: "\n".join(map(json.dumps, users)) + "\n\n",
}


@pytest.fixture(scope="module")
def mapping():
    return load_mapping("scim", load_registry())


def written(folder, text):
    path = folder / "users.json"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_file_gives_the_same_records(tmp_path, mapping, form):
    records = dict(records_of(written(tmp_path, FORMS[form](USERS)), mapping))
    assert list(records) == [0, 1, 2, 3]
    assert [record[NUMBER] for record in records.values()] == ["0012", "7", "13", "14"]
    assert [record[MANAGER] for record in records.values()] == ["7", None, None, "0012"]
    assert records[3][f"{EMPLOYMENT}:fte"] == "0.5"
    assert "uillfeather" not in str(records)
    assert all(ENDED not in record for record in records.values())


def test_a_single_user_is_a_file_too(tmp_path, mapping):
    [(place, record)] = records_of(written(tmp_path, json.dumps(USERS[0], indent=2)), mapping)
    assert (place, record[NUMBER]) == (0, "0012")


def test_the_records_are_what_the_mapping_reads(tmp_path, mapping):
    pseudonyms = Pseudonyms(b"k" * 32, "Alder")
    [fact, *_] = (
        one
        for place, record in records_of(written(tmp_path, FORMS["lines"](USERS)), mapping)
        for one in mapping.incoming(record, place, pseudonyms, date(2026, 5, 20))
    )
    assert isinstance(fact, Fact)
    assert (fact.subject, fact.place) == (pseudonyms.person("0012"), 0)
    assert fact.values["manager_key"] == pseudonyms.person("7")
    assert fact.values["start_month"] == "2020-02"


def test_who_is_not_active_ended_on_the_day_that_the_file_tells(tmp_path, mapping):
    changed = {"lastModified": "2026-03-04T22:00:00Z"}
    users = [
        user(number="1", active=False, meta=changed),
        user(number="2", active=False, meta=changed, employment={"hireDate": "2020-01-01", "endDate": "2026-01-31"}),
        user(number="3", active=False),
        user(number="4", meta=changed),
    ]
    records = records_of(written(tmp_path, FORMS["list"](users)), mapping)
    assert [record.get(ENDED) for _, record in records] == ["2026-03-04", "2026-01-31", None, None]


@pytest.mark.parametrize(
    "line",
    [
        "no JSON",
        "[]",
        '"text"',
        '{"userName": "a", "userName": "b"}',
        '{"userName": "\\ud800"}',
        '{"userName": {"deep": ' + "[" * 30 + "]" * 30 + "}}",
        json.dumps({**USERS[0], "active": "perhaps"}),
        json.dumps({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": "Group"}),
    ],
)
def test_a_line_that_is_no_user_is_a_fault_and_the_others_go_on(tmp_path, mapping, line):
    lines = [json.dumps(USERS[0]), line, json.dumps(USERS[1])]
    found = dict(records_of(written(tmp_path, "\n".join(lines)), mapping))
    assert found[1] == Fault(1, "", "expected a SCIM User, got something else")
    assert (found[0][NUMBER], found[2][NUMBER]) == ("0012", "7")
    assert mapping.incoming(found[1], 1, Pseudonyms(b"k" * 32, "Alder"), date(2026, 1, 1)) == [found[1]]


@pytest.mark.parametrize("text", ["", "\n\n", "no JSON", '{"Resources": 3}', "3", '[{"a": 1, "a": 2}]', "[" * 100_000])
def test_a_file_without_users_is_refused(tmp_path, mapping, text):
    with pytest.raises(InputError, match="expected"):
        list(records_of(written(tmp_path, text), mapping))


def test_sizes_are_bounded(tmp_path, mapping, monkeypatch):
    monkeypatch.setattr(scim_export, "LIST", Bounds(300, depth=16, parts=1_000))
    monkeypatch.setattr(scim_export, "LINE", Bounds(700, depth=16, parts=1_000))
    with pytest.raises(InputError, match="at most 300 bytes"):
        list(records_of(written(tmp_path, FORMS["list"](USERS)), mapping))
    with pytest.raises(InputError, match="at most 700 bytes"):
        list(records_of(written(tmp_path, json.dumps(USERS[0]) + "\n" + " " * 701), mapping))
    monkeypatch.setattr(scim_export, "MAX_USERS", 2)
    with pytest.raises(InputError, match="at most 2 users"):
        list(records_of(written(tmp_path, FORMS["lines"](USERS)), mapping))


def test_a_small_file_of_very_many_parts_is_refused_before_it_is_read(tmp_path, mapping):
    bomb = '{"Resources": [' + "[]," * 1_000_000 + "{}]}"
    with pytest.raises(InputError, match="at most 2000000 brackets and commas"):
        list(records_of(written(tmp_path, bomb), mapping))


def test_another_kind_of_mapping_or_no_file_is_refused(tmp_path, mapping):
    other = load_mapping("orangehrm_employee", load_registry())
    with pytest.raises(InputError, match='kind = "scim"'):
        records_of(written(tmp_path, "[]"), other)
    with pytest.raises(InputError, match="readable file"):
        list(records_of(tmp_path / "nothing.json", mapping))


def test_an_extension_with_another_case_is_the_same(tmp_path, mapping):
    one = {"USERNAME": "a", ENTERPRISE: {"EMPLOYEENUMBER": "12"}}
    [(_, record)] = records_of(written(tmp_path, json.dumps([one])), mapping)
    assert record[NUMBER] == "12"
