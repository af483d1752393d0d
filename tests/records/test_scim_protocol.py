"""The SCIM protocol: queries, pages, versions of answers, bounds, and what a refusal says."""

from __future__ import annotations

import json
import logging

import pytest

from records.connectors import scim_users
from records.connectors.scim_resources import NUMBER
from records.schema import scim_user
from tests.records.scim_service import EMPLOYMENT, ENTERPRISE, SEARCH, Service, user
from tests.records.store_folder import store_of_kind


@pytest.fixture(scope="module")
def peopled(tmp_path_factory):
    """A service with four users, which nobody changes."""
    with store_of_kind("sqlite", tmp_path_factory.mktemp("peopled") / "records") as store:
        service = Service(store)
        for place, level in enumerate(("", "lead", "senior", "")):
            service.create(
                login=f"user{place}@alder.example",
                number=str(1000 + place),
                externalId=f"E{place}",
                active=place != 3,
                enterprise={"manager": {"value": "9"}} if place == 1 else {},
                employment={"hireDate": f"{2020 + place}-01-01", **({"level": level} if level else {})},
            )
        yield service


@pytest.fixture
def service(tmp_path):
    with store_of_kind("sqlite", tmp_path / "records") as store:
        yield Service(store)


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ('userName eq "USER1@alder.example"', "1"),
        ('externalId eq "E2"', "2"),
        ('externalId eq "e2"', ""),
        ('userName ne "user1@alder.example"', "023"),
        ('userName co "ser3@"', "3"),
        ('userName sw "USER" and userName ew "0@alder.example"', "0"),
        ("active eq false", "3"),
        ("(" * 900 + "active eq false" + ")" * 900, "3"),
        ("not (active eq true)", "3"),
        (f"{EMPLOYMENT}:level pr", "12"),
        (f'{EMPLOYMENT}:level eq "senior" or active eq false', "23"),
        (f'({EMPLOYMENT}:level pr) and not ({EMPLOYMENT}:level eq "lead")', "2"),
        (f'{EMPLOYMENT}:hireDate gt "2020-01-01" and {EMPLOYMENT}:hireDate le "2022-01-01"', "12"),
        (f'{ENTERPRISE}:manager.value eq "9"', "1"),
        (f'{NUMBER} ge "1002" AND {NUMBER} lt "1003"', "2"),
        ('meta.lastModified gt "2026-01-01T00:00:00Z"', "0123"),
        ('id eq "nobody"', ""),
        ('userName eq "user1@alder.example" and active eq false', ""),
    ],
)
def test_filters_find_whom_they_mean(peopled, expression, found):
    for answer in (
        peopled.http.get("/Users", params={"filter": expression}),
        peopled.http.post("/Users/.search", json={"schemas": [SEARCH], "filter": expression}),
        peopled.http.post("/.search", json={"schemas": [SEARCH], "filter": expression}),
    ):
        names = sorted(one["userName"] for one in answer.json()["Resources"])
        assert names == [f"user{place}@alder.example" for place in found]
        assert answer.json()["totalResults"] == len(found)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "userName",
        'userName zz "x"',
        "userName eq",
        'name.familyName eq "x"',
        'emails[type eq "work"]',
        "active gt true",
        'active eq "perhaps"',
        "not (" * 40 + "active pr" + ")" * 40,
        " or ".join(["active pr"] * 51),
        'userName eq "' + "x" * 2_000 + '"',
    ],
)
def test_a_filter_that_can_not_be_answered_is_refused(peopled, expression):
    answer = peopled.http.get("/Users", params={"filter": expression})
    assert (answer.status_code, answer.json()["status"]) == (400, "400")


def test_only_a_look_up_goes_through_where_reading_all_would_cost_too_much(service, monkeypatch):
    monkeypatch.setattr(scim_users, "MAX_SCANNED", 1)
    for place in range(2):
        service.create(login=f"user{place}@alder.example", number=str(place))
    answer = service.http.get("/Users", params={"filter": 'userName co "user"'})
    assert (answer.status_code, answer.json()["scimType"]) == (400, "tooMany")
    assert service.http.get("/Users", params={"sortBy": "userName"}).status_code == 400
    answer = service.http.get("/Users", params={"filter": 'active eq true and userName eq "user1@alder.example"'})
    assert answer.json()["totalResults"] == 1
    assert service.http.get("/Users").json()["totalResults"] == 2


def test_lists_come_in_pages_and_in_order(service):
    made = [service.create(login=f"user{place}@alder.example", number=str(place)) for place in (2, 0, 1)]
    pages = [service.http.get("/Users", params={"startIndex": start, "count": 2}).json() for start in (-4, 3, 99)]
    assert [len(page["Resources"]) for page in pages] == [2, 1, 0]
    assert {one["id"] for page in pages for one in page["Resources"]} == {one["id"] for one in made}
    assert [page["startIndex"] for page in pages] == [1, 3, 99]
    assert service.http.get("/Users", params={"count": 0}).json() | {"schemas": 0} == {
        **{"schemas": 0, "totalResults": 3, "startIndex": 1, "itemsPerPage": 0, "Resources": []}
    }
    answer = service.http.get("/Users", params={"sortBy": "userName", "sortOrder": "descending", "count": 2}).json()
    assert [one["userName"][:5] for one in answer["Resources"]] == ["user2", "user1"]


def test_no_page_holds_more_than_two_hundred(service, monkeypatch):
    monkeypatch.setattr(scim_users, "MAX_PAGE", 2)
    for place in range(3):
        service.create(login=f"user{place}@alder.example", number=str(place))
    for query in ({"count": 10**12}, {"count": 500, "filter": "active pr"}):
        assert len(service.http.get("/Users", params=query).json()["Resources"]) == 2
    assert service.http.get("/ServiceProviderConfig").json()["filter"]["maxResults"] == 200


def test_answers_hold_the_attributes_that_were_asked_for(service):
    id = service.create(locale="nb-NO", enterprise={"costCenter": "1"})["id"]
    only = service.http.get(f"/Users/{id}", params={"attributes": f"locale,{ENTERPRISE}:costCenter"}).json()
    assert set(only) == {"schemas", "id", "locale", ENTERPRISE}
    assert only[ENTERPRISE] == {"costCenter": "1"}
    less = service.http.get("/Users", params={"excludedAttributes": "locale,meta"}).json()["Resources"][0]
    assert not {"locale", "meta"} & set(less)
    assert {"id", "userName"} <= set(less)
    both = {"attributes": "locale", "excludedAttributes": "meta"}
    assert service.http.get("/Users", params=both).status_code == 400
    many = ",".join(["locale"] * 51)
    assert service.http.get("/Users", params={"attributes": many}).status_code == 400
    assert service.http.post("/.search", json={"schemas": [SEARCH], "attributes": [many]}).status_code == 400
    assert service.http.delete(f"/Users/{id}").status_code == 204
    refused = service.http.post("/Users?attributes=a[", json=user())
    assert (refused.status_code, service.rows(scim_user)) == (400, 0)


def test_locations_are_under_the_mount_as_the_client_wrote_it(service):
    made = service.http.post("/Users", json=user())
    location = f"https://kith.example/scim/v2/Users/{made.json()['id']}"
    assert made.headers["location"] == made.json()["meta"]["location"] == location
    assert made.headers["content-type"] == "application/scim+json"
    kind = service.http.get("/ResourceTypes/User").json()
    assert kind["meta"]["location"] == "https://kith.example/scim/v2/ResourceTypes/User"
    schema = service.http.get(f"/Schemas/{EMPLOYMENT}").json()
    assert schema["meta"]["location"] == f"https://kith.example/scim/v2/Schemas/{EMPLOYMENT}"
    forged = service.http.get("/ServiceProviderConfig", headers={"host": 'evil"><script>'}).json()
    assert "evil" not in json.dumps(forged)


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "application/scim+json", 400),
        (b"[]", "application/scim+json", 400),
        (b'{"userName": "a", "userName": "b"}', "application/json", 400),
        (b'{"userName": "a", "x": NaN}', "application/json", 400),
        (b'{"userName": "a", "x": 1e999}', "application/json", 400),
        (b'{"userName": "\\ud800"}', "application/json", 400),
        (b'{"userName": "\xff"}', "application/json", 400),
        (b'{"x": ' + b"[" * 20 + b"]" * 20 + b"}", "application/json", 400),
        (b"[" * 200_000, "application/json", 400),
        (b'{"x": [' + b"0," * 6_000 + b"0]}", "application/json", 400),
        (b'{"x": ' + b"9" * 5_000 + b"}", "application/json", 400),
        (b'{"userName": "' + b"a" * 2**20 + b'"}', "application/json", 413),
        (b'{"userName": "a"}', "text/plain", 415),
    ],
)
def test_hostile_bodies_are_refused(peopled, body, kind, status):
    answer = peopled.http.post("/Users", content=body, headers={"content-type": kind})
    assert (answer.status_code, answer.json()["status"]) == (status, str(status))
    assert answer.headers["content-type"] == "application/scim+json"


def test_plain_json_is_taken_too(service):
    body = b'\xef\xbb\xbf{"userName": "a"}'
    answer = service.http.post("/Users", content=body, headers={"content-type": "application/json; charset=utf-8"})
    assert (answer.status_code, answer.headers["content-type"]) == (201, "application/scim+json")


def test_too_many_operations_and_too_long_paths_are_refused(service):
    id = service.create()["id"]
    one = {"op": "replace", "path": "locale", "value": "de"}
    assert service.patch(id, *[one] * 101).status_code == 400
    assert service.patch(id, {**one, "path": "l" * 1_001}).status_code == 400
    assert service.patch(id).status_code == 400
    assert service.patch(id, {"op": "remove", "path": "userName"}).json()["scimType"] == "mutability"
    assert service.patch(id, {"op": "replace", "path": "id", "value": "x"}).json()["scimType"] == "mutability"
    assert service.patch(id, {"op": "remove"}).json()["scimType"] == "noTarget"
    assert service.patch(id, {"op": "explode", "path": "locale"}).status_code == 400


def test_refusals_and_logs_hold_nothing_that_came(service, caplog):
    caplog.set_level(logging.DEBUG)
    id = service.create()["id"]
    secret = "Zebulon.Sekrit"
    answers = [
        service.http.post("/Users", json=user(login=secret, employment={"hireDate": secret})),
        service.http.post("/Users", json=user(login=secret, active=secret)),
        service.http.post("/Users", json={**user(), secret: 1, "userName": {secret: secret}}),
        service.http.post("/Users", content=f'{{"{secret}": 1, "{secret}": 2}}'),
        service.http.post("/Users", json=user(login="x", employment={"jobFamily": secret}, number=secret)),
        service.http.get("/Users", params={"filter": f'active eq "{secret}"'}),
        service.http.get("/Users", params={"filter": f'{secret} eq "{secret}"'}),
        service.http.get("/Users", params={"filter": f'userName eq "{secret}'}),
        service.http.get("/Users", params={"sortBy": secret}),
        service.http.get("/Users", params={"count": secret}),
        service.http.get("/Users", params={"attributes": f"a[{secret}"}),
        service.http.get(f"/Users/{secret}"),
        service.http.get(f"/{secret}"),
        service.http.get(f"/Schemas/{secret}"),
        service.patch(id, {"op": secret, "path": "locale", "value": secret}),
        service.patch(id, {"op": "replace", "path": f'active[value eq "{secret}"]', "value": secret}),
        service.patch(id, {"op": "replace", "path": "active", "value": secret}),
        service.patch(id, {"op": "replace", "path": f"{EMPLOYMENT}:level", "value": secret}),
        service.patch(id, {"op": "add", "path": "active", "value": {secret: secret}}),
        service.http.put(f"/Users/{id}", json={"schemas": [secret], "active": secret}),
    ]
    assert all(400 <= answer.status_code < 500 for answer in answers)
    assert not [answer.text for answer in answers if "zebulon" in answer.text.lower()]
    assert not [line for line in caplog.messages if "zebulon" in line.lower() and "http request" not in line.lower()]


def test_a_fault_of_the_service_is_answered_and_logged_without_its_words(service, monkeypatch, caplog):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("Zebulon Sekrit")

    monkeypatch.setattr(scim_users, "ingest", fail)
    answer = service.http.post("/Users", json=user())
    assert (answer.status_code, answer.json()["status"]) == (500, "500")
    assert "Zebulon" not in answer.text + caplog.text
    assert "RuntimeError" in caplog.text
    assert service.rows(scim_user) == 0


def test_what_is_not_supported_says_so(service):
    assert service.http.get("/Me").status_code == 501
    assert service.http.post("/Bulk", json={}).status_code == 501
    assert service.http.get("/Schemas", params={"filter": "name pr"}).status_code == 403
    put = service.http.put("/Users", json=user())
    assert (put.status_code, put.json()["status"]) == (405, "405")
    assert "POST" in put.headers["allow"]
    config = service.http.get("/ServiceProviderConfig").json()
    assert [config[name]["supported"] for name in ("patch", "filter", "sort", "etag", "bulk", "changePassword")] == [
        *(True, True, True, True),
        *(False, False),
    ]
