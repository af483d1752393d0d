"""Provisioning over SCIM: what becomes of people's records, and what a client is told."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from records.access import correct, erase, everything_about
from records.connectors.scim_profile import profile_of
from records.connectors.scim_resources import ENDED, MANAGER, NUMBER
from records.derive import employed, employment_columns, read_versions
from records.facts import Fact
from records.ingest import ingest
from records.mapping import READY
from records.registry import load_registry
from records.schema import batch, person, quarantine, reconciliation, scim_user
from records.store import open_store
from tests.records.scim_service import CORE, EMPLOYMENT, ENTERPRISE, TODAY, Service, user
from tests.records.store_folder import store_of_kind

NAMES = {
    "name": {"givenName": "Ada", "familyName": "Quillfeather", "formatted": "Ada Quillfeather"},
    "displayName": "Ada Quillfeather",
    "nickName": "Quilly",
    "emails": [{"value": "ada@quillfeather.example", "type": "work", "primary": True}],
    "phoneNumbers": [{"value": "+47 99 88 77 66", "type": "mobile"}],
    "photos": [{"value": "https://photos.example/quillfeather.png"}],
    "addresses": [{"streetAddress": "1 Quillfeather Lane", "country": "NO"}],
    "password": "quillfeather-secret",
    "roles": [{"value": "quillfeather-role"}],
    "urn:okta:scim:schemas:custom:1.0:User": {"religion": "quillfeather-belief"},
}


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A service that refuses everything it is asked."""
    with store_of_kind("sqlite", tmp_path_factory.mktemp("empty") / "records") as store:
        yield Service(store)


@pytest.fixture
def service(tmp_path):
    with store_of_kind("sqlite", tmp_path / "records") as store:
        yield Service(store)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_an_account_is_provisioned_changed_and_deprovisioned_with_its_facts(tmp_path, kind):
    with store_of_kind(kind, tmp_path / "records") as store:
        service = Service(store)
        made = service.create(
            enterprise={"costCenter": "4400", "manager": {"value": "4712"}},
            employment={"hireDate": "2020-02-03", "jobFamily": "Engineering", "level": "senior", "fte": 0.8},
            locale="nb-NO",
        )
        [first] = service.facts()
        assert first["valid_from"] == "2026-05-20"
        assert (first["source"], first["connector"]) == ("hris", "scim")
        assert first["start_month"] == "2020-02"
        assert (first["job_family"], first["level_band"], first["fte"]) == ("engineering", "senior", 0.8)
        assert first["manager_key"] == store.pseudonyms.person("4712")
        assert (first["org_unit"], first["locale"]) == ("4400", "nb-NO")
        service.now += timedelta(days=40)
        changed = service.patch(made["id"], {"op": "replace", "path": f"{EMPLOYMENT}:level", "value": "lead"})
        assert changed.json()[EMPLOYMENT]["level"] == "lead"
        assert changed.headers["etag"] == changed.json()["meta"]["version"] == 'W/"2"'
        assert [version["level_band"] for version in service.facts()] == ["senior", "lead"]
        service.now += timedelta(days=40)
        assert service.http.delete(f"/Users/{made['id']}").status_code == 204
        assert service.http.get(f"/Users/{made['id']}").status_code == 404
        assert service.rows(scim_user) == 0
        last = service.facts()[-1]
        assert (last["valid_from"], last["end_month"], last["level_band"]) == ("2026-08-08", "2026-08", "lead")
        assert "exit_type" not in last


def test_who_was_deprovisioned_is_not_employed_when_the_month_is_over(service):
    made = service.create()
    service.http.delete(f"/Users/{made['id']}")
    working = {}
    for day in (TODAY.date(), TODAY.date().replace(month=6, day=1)):
        with service.store.reading() as connection:
            versions = read_versions(connection, employment_columns(), day)
        working[day.month] = dict(zip(versions.subjects, employed(versions), strict=True))
    subject = service.store.pseudonyms.person("4711")
    assert working == {5: {subject: True}, 6: {subject: False}}


def test_names_and_numbers_that_a_client_sends_are_in_no_byte_of_the_database(service):
    made = service.create(
        login="ada.secretlogin@alder.example", number="90817263", externalId="ext-5544332211", **NAMES
    )
    service.patch(
        made["id"],
        {"op": "replace", "path": 'emails[type eq "work"].value', "value": "second@quillfeather.example"},
        {"op": "add", "path": "name.familyName", "value": "Quillfeather-Brown"},
        {"op": "replace", "value": {"displayName": "Q. Quillfeather", "active": "False"}},
    )
    answer = service.http.get(f"/Users/{made['id']}")
    assert answer.json()["active"] is False
    assert not set(NAMES) & set(answer.json())
    files = b"".join(file.read_bytes() for file in service.store.folder.iterdir())
    assert service.store.pseudonyms.person("90817263").encode() in files
    for trace in (b"uillfeather", b"Quilly", b"99 88 77", b"secretlogin", b"90817263", b"5544332211"):
        assert trace not in files


def test_no_schema_has_a_place_for_names_contacts_or_groups(service):
    schemas = service.http.get("/Schemas").json()["Resources"]
    attributes = {attribute["name"] for schema in schemas for attribute in schema["attributes"]}
    assert {"userName", "active", "employeeNumber", "hireDate", "endDate", "exitType"} <= attributes
    assert not attributes & {"name", "displayName", "emails", "phoneNumbers", "photos", "addresses", "title", "groups"}
    kinds = service.http.get("/ResourceTypes").json()["Resources"]
    assert [kind["endpoint"] for kind in kinds] == ["/Users"]
    assert service.http.get("/Groups").status_code == 404


def test_only_what_the_sites_mapping_reads_is_advertised_and_kept(tmp_path):
    text = (
        (READY / "scim.toml")
        .read_text()
        .replace('locale = { from = "locale" }', 'locale = { from = "preferredLanguage" }')
    )
    (tmp_path / "own.toml").write_text(text)
    with store_of_kind("sqlite", tmp_path / "records") as created:
        settings = (tmp_path / "records" / "records.toml").read_text()
        (tmp_path / "records" / "records.toml").write_text(f'{settings}\n[scim]\nmapping = "{tmp_path / "own.toml"}"\n')
        created.close()
        store = open_store(tmp_path / "records")
        service = Service(store)
        made = service.create(locale="nb-NO", preferredLanguage="nn-NO", title="Head of Everything")
        store.close()
    assert "locale" not in made
    assert "title" not in made
    assert made["preferredLanguage"] == "nn-NO"
    assert service.facts()[0]["locale"] == "nn-NO"


@pytest.mark.parametrize("lost", [NUMBER, ENDED])
def test_a_mapping_that_can_not_provision_is_refused(tmp_path, lost):
    text = (READY / "scim.toml").read_text().replace(f'"{lost}"', '"userName"')
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(Exception, match="expected") as refused:
        profile_of(tmp_path / "own.toml")
    assert type(refused.value).__name__ == "InputError"


@pytest.mark.parametrize(
    ("attributes", "named"),
    [
        ({"employment": {"hireDate": "03.02.2020"}}, f"{EMPLOYMENT}:hireDate"),
        ({"employment": {"jobFamily": "Wizardry"}}, f"{EMPLOYMENT}:jobFamily"),
        ({"employment": {"fte": "1.7"}}, f"{EMPLOYMENT}:fte"),
        ({"enterprise": {"costCenter": "People & Culture"}}, f"{ENTERPRISE}:costCenter"),
        ({"number": "x\u0007"}, f"{ENTERPRISE}:employeeNumber"),
        ({"active": "perhaps"}, "active"),
        ({"login": ["a list"]}, "userName"),
        ({"login": " "}, "userName"),
        ({"locale": "n" * 1_001}, "user"),
        ({"employment": {"hireDate": "2020-02-03", "endDate": "2019-01-01"}}, "user"),
    ],
)
def test_what_can_not_be_mapped_is_refused_by_name_and_leaves_no_trace(empty, attributes, named):
    before = empty.store.revision()
    answer = empty.http.post("/Users", json=user(**attributes))
    assert answer.status_code == 400
    assert answer.json()["scimType"] == "invalidValue"
    assert answer.json()["detail"].startswith(f"{named}: expected")
    assert empty.store.revision() == before
    assert [empty.rows(table) for table in (scim_user, person, batch, quarantine)] == [0, 0, 0, 0]


def test_a_refused_change_leaves_account_and_facts_as_they_were(service):
    made = service.create()
    answer = service.patch(
        made["id"],
        {"op": "replace", "path": "userName", "value": "new@alder.example"},
        {"op": "add", "path": f"{EMPLOYMENT}:level", "value": "emperor"},
    )
    assert (answer.status_code, answer.json()["scimType"]) == (400, "invalidValue")
    assert service.http.get(f"/Users/{made['id']}").json() == made
    assert len(service.facts()) == 1


def test_an_account_without_a_number_is_kept_and_says_nothing_of_anybody_until_it_has_one(service):
    made = service.create(number=None)
    assert service.rows(person) == 0
    answer = service.patch(made["id"], {"op": "add", "path": NUMBER, "value": "4711"})
    assert answer.status_code == 200
    assert service.facts()[0]["start_month"] == "2020-02"


def test_another_number_ends_the_record_of_the_first(service):
    made = service.create()
    assert service.patch(made["id"], {"op": "replace", "path": NUMBER, "value": "4712"}).status_code == 200
    assert service.facts("4711")[-1]["end_month"] == "2026-05"
    assert "end_month" not in service.facts("4712")[-1]
    assert service.patch(made["id"], {"op": "remove", "path": NUMBER}).status_code == 200
    assert service.facts("4712")[-1]["end_month"] == "2026-05"


def test_names_and_numbers_belong_to_one_account_whatever_their_case(service):
    service.create(login="Ada@Alder.example")
    for taken in (user(login="aDA@alder.EXAMPLE", number="1"), user(login="other@alder.example")):
        answer = service.http.post("/Users", json=taken)
        assert (answer.status_code, answer.json()["scimType"]) == (409, "uniqueness")
    other = service.create(login="other@alder.example", number="1")
    answer = service.patch(other["id"], {"op": "replace", "path": "userName", "value": "ADA@alder.example"})
    assert (answer.status_code, answer.json()["scimType"]) == (409, "uniqueness")
    assert service.rows(scim_user) == 2


def test_a_change_that_changes_nothing_writes_nothing(service):
    made = service.create(**NAMES)
    before = service.store.revision()
    again = service.http.put(f"/Users/{made['id']}", json=user(**NAMES))
    assert (again.status_code, again.json()) == (200, made)
    same = service.patch(made["id"], {"op": "replace", "path": "active", "value": True})
    dropped = service.patch(made["id"], {"op": "replace", "path": "displayName", "value": "Another Name"})
    assert same.json() == dropped.json() == made
    assert service.store.revision() == before


def test_put_replaces_everything(service):
    made = service.create(locale="nb-NO", externalId="e1", employment={"hireDate": "2020-02-03", "workMode": "remote"})
    answer = service.http.put(f"/Users/{made['id']}", json=user(login="new@alder.example"))
    document = answer.json()
    assert "locale" not in document
    assert "externalId" not in document
    assert document[EMPLOYMENT] == {"hireDate": "2020-02-03"}
    assert document["meta"]["created"] == made["meta"]["created"]
    found = {
        name: service.http.get("/Users", params={"filter": f'userName eq "{name}"'}).json()["totalResults"]
        for name in ("ada@alder.example", "new@alder.example")
    }
    assert found == {"ada@alder.example": 0, "new@alder.example": 1}


def test_a_version_that_is_not_the_users_changes_nothing(service):
    id = service.create()["id"]
    change = {"op": "replace", "path": "locale", "value": "de-DE"}
    assert service.patch(id, change, **{"If-Match": 'W/"7"'}).status_code == 412
    assert service.http.put(f"/Users/{id}", json=user(), headers={"If-Match": '"7"'}).status_code == 412
    assert service.http.delete(f"/Users/{id}", headers={"If-Match": 'W/"0", W/"2"'}).status_code == 412
    assert service.patch(id, change, **{"If-Match": 'W/"3", W/"1"'}).status_code == 200
    assert service.http.get(f"/Users/{id}", headers={"If-None-Match": 'W/"2"'}).status_code == 304
    assert service.http.get(f"/Users/{id}", headers={"If-None-Match": 'W/"1"'}).status_code == 200
    assert service.http.delete(f"/Users/{id}", headers={"If-Match": "*"}).status_code == 204


def test_an_exit_keeps_the_day_and_the_kind_that_were_stated(service):
    made = service.create()
    service.patch(
        made["id"],
        {"op": "add", "value": {EMPLOYMENT: {"endDate": "2026-07-31", "exitType": "voluntary"}}},
    )
    service.http.delete(f"/Users/{made['id']}")
    assert (service.facts()[-1]["end_month"], service.facts()[-1]["exit_type"]) == ("2026-07", "voluntary")


def test_a_suspension_that_is_lifted_was_no_exit(service):
    id = service.create()["id"]
    service.patch(id, {"op": "replace", "path": "active", "value": False})
    assert service.facts()[-1]["end_month"] == "2026-05"
    service.now += timedelta(days=9)
    service.patch(id, {"op": "replace", "path": "active", "value": True})
    assert [version.get("end_month") for version in service.facts()] == ["2026-05", None]
    service.http.delete(f"/Users/{id}")
    assert service.facts()[-1]["end_month"] == "2026-05"
    service.create()
    assert [version.get("end_month") for version in service.facts()] == ["2026-05", None]


def test_an_end_is_taken_back_by_the_beginning_that_another_source_told(service):
    service.create(employment={})
    subject = service.store.pseudonyms.person("4711")
    began = Fact("person", subject, "", "2026-05-20", {"start_month": "2020-02"}, 0)
    ingest(service.store, load_registry(), "hris", "tables", "beginnings", [began], service.now)
    id = service.http.get("/Users").json()["Resources"][0]["id"]
    service.patch(id, {"op": "replace", "path": "active", "value": False})
    assert service.facts()[-1]["end_month"] == "2026-05"
    service.patch(id, {"op": "replace", "path": "active", "value": True})
    assert "end_month" not in service.facts()[-1]


def test_a_corrected_end_is_disputed_and_not_taken_back(service):
    id = service.create(employment={"hireDate": "2020-02-03", "endDate": "2026-09-30"})["id"]
    subject = service.store.pseudonyms.person("4711")
    correct(service.store, load_registry(), subject, "person.end_month", "", None, "2026-08", service.now)
    assert service.patch(id, {"op": "remove", "path": ENDED}).status_code == 200
    assert service.facts()[-1]["end_month"] == "2026-08"
    assert service.rows(reconciliation) == 1


def test_a_notice_that_is_withdrawn_takes_its_end_back_and_a_rehire_does_not(service):
    id = service.create()["id"]
    service.patch(id, {"op": "add", "path": ENDED, "value": "2026-06-30"})
    service.patch(id, {"op": "remove", "path": ENDED})
    assert "end_month" not in service.facts()[-1]
    service.patch(id, {"op": "add", "value": {EMPLOYMENT: {"endDate": "2026-06-30", "exitType": "voluntary"}}})
    assert service.patch(id, {"op": "remove", "path": ENDED}).status_code == 200
    assert not {"end_month", "exit_type"} & set(service.facts()[-1])
    service.patch(id, {"op": "add", "path": ENDED, "value": "2026-06-30"})
    service.http.delete(f"/Users/{id}")
    service.now = datetime(2027, 1, 4, tzinfo=UTC)
    service.create(employment={"hireDate": "2027-01-04"})
    assert [version.get("end_month") for version in service.facts()] == ["2026-06", None]
    assert service.facts()[-1]["start_month"] == "2027-01"


def test_an_end_that_another_source_told_is_not_taken_back(service):
    service.create()
    subject = service.store.pseudonyms.person("4711")
    left = Fact("person", subject, "", "2026-05-21", {"end_month": "2026-05"}, 0)
    service.now += timedelta(days=2)
    ingest(service.store, load_registry(), "hris", "tables", "terminations", [left], service.now)
    id = service.http.get("/Users").json()["Resources"][0]["id"]
    service.patch(id, {"op": "replace", "path": "locale", "value": "de-DE"})
    assert service.facts()[-1]["end_month"] == "2026-05"


def test_a_hire_to_come_counts_from_its_day_and_a_no_show_never(service):
    made = service.create(active=False, employment={"hireDate": "2026-07-01"})
    [version] = service.facts()
    assert version["valid_from"] == "2026-07-01"
    assert "end_month" not in version
    service.http.delete(f"/Users/{made['id']}")
    [version] = service.facts()
    assert (version["start_month"], version["end_month"]) == ("2026-07", "2026-07")


def test_managers_are_known_by_id_or_number_and_an_unknown_id_is_nobody(service):
    boss = service.create(login="boss@alder.example", number="1")
    service.create(
        login="a@alder.example", number="2", enterprise={"manager": {"value": boss["id"], "displayName": "B"}}
    )
    service.create(login="b@alder.example", number="3", enterprise={"manager": {"value": "1"}})
    service.create(
        login="c@alder.example", number="4", enterprise={"manager": {"value": "0b9c1d2e-0000-4000-8000-000000000000"}}
    )
    key = service.store.pseudonyms.person("1")
    assert [service.facts(number)[0].get("manager_key") for number in ("2", "3", "4")] == [key, key, None]


def test_an_erased_person_is_not_provisioned_again(service):
    service.create()
    erase(service.store, service.store.pseudonyms.person("4711"), service.now)
    assert service.rows(scim_user) == 0
    service.create(login="taken@alder.example", number="1")
    answers = [service.http.post("/Users", json=user(number=number)) for number in ("4711", "1")]
    assert [answer.status_code for answer in answers] == [409, 409]
    assert answers[0].json() == answers[1].json()  # which of the two was erased is not told
    other = service.create(number=None)
    assert service.patch(other["id"], {"op": "add", "path": NUMBER, "value": "4711"}).status_code == 409
    assert service.facts() == []


@pytest.mark.parametrize("operation", [{"op": "remove", "path": NUMBER}, {"op": "remove", "path": ENTERPRISE}])
def test_an_account_that_lost_its_number_is_exported_and_erased_with_its_person(service, operation):
    made = service.create()
    subject = service.store.pseudonyms.person("4711")
    assert service.patch(made["id"], operation).status_code == 200
    service.patch(made["id"], {"op": "replace", "path": "locale", "value": "de-DE"})
    [held] = everything_about(service.store, load_registry(), subject, service.now).tables["scim_user"]
    assert held["sealed"]["userName"] == "ada@alder.example"
    erase(service.store, subject, service.now)
    assert service.rows(scim_user) == 0


def test_no_account_is_without_a_subject(service):
    one, other = (service.create(login=f"{name}@alder.example", number=None)["id"] for name in "ab")
    with service.store.reading() as connection:
        held = dict(connection.execute(select(scim_user.c.id, scim_user.c.subject)).all())
    assert "" not in held.values()
    assert held[one] != held[other]
    erase(service.store, held[one], service.now)
    assert service.http.get(f"/Users/{one}").status_code == 404


def test_a_number_can_move_from_one_account_to_another(service):
    first = service.create()["id"]
    second = service.create(login="new@alder.example", number=None)["id"]
    add = {"op": "add", "path": NUMBER, "value": "4711"}
    assert service.patch(second, add).status_code == 409
    service.patch(first, {"op": "remove", "path": NUMBER})
    assert service.patch(second, add).status_code == 200
    assert "end_month" not in service.facts()[-1]
    assert service.patch(first, add).status_code == 409
    erase(service.store, service.store.pseudonyms.person("4711"), service.now)
    assert service.rows(scim_user) == 0


@pytest.mark.parametrize("written", ["12", "000012"])
def test_the_number_of_an_erased_manager_does_not_come_back(tmp_path, written):
    wide = (READY / "scim.toml").read_text().replace("[person]", "[person]\nwidth = 6")
    (tmp_path / "own.toml").write_text(wide)
    with store_of_kind("sqlite", tmp_path / "records") as store:
        with (tmp_path / "records" / "records.toml").open("a") as settings:
            settings.write(f'\n[scim]\nmapping = "{tmp_path / "own.toml"}"\n')
        store = open_store(tmp_path / "records")
        service = Service(store)
        id = service.create(enterprise={"manager": {"value": written}})["id"]
        erase(store, store.pseudonyms.person("000012"), service.now)
        again = service.http.put(f"/Users/{id}", json=user(enterprise={"manager": {"value": written}}))
        assert (again.status_code, again.json()[ENTERPRISE]) == (200, {"employeeNumber": "4711"})
        version = again.json()["meta"]["version"]
        same = service.patch(id, {"op": "add", "path": MANAGER, "value": written})
        assert (same.json()[ENTERPRISE], same.json()["meta"]["version"]) == ({"employeeNumber": "4711"}, version)
        other = service.patch(id, {"op": "add", "path": MANAGER, "value": "13"})
        assert other.json()[ENTERPRISE]["manager"] == {"value": "13"}
        store.close()


def test_what_entra_and_okta_write_is_understood(service):
    made = service.create(active="True", number=4711)
    answer = service.patch(
        made["id"],
        {"op": "Replace", "path": "active", "value": "False"},
        {"op": "Add", "path": f"{ENTERPRISE}:manager", "value": "12"},
        {"op": "Add", "path": 'phoneNumbers[type eq "mobile"].value', "value": "+47 1"},
        {"op": "Replace", "path": 'emails[type eq "work" and primary eq true].value', "value": "x@y"},
    )
    document = answer.json()
    assert (answer.status_code, document["active"], document[ENTERPRISE]["manager"]) == (200, False, {"value": "12"})
    okta = {"SCHEMAS": [CORE], "username": "okta@alder.example", "ACTIVE": True, "groups": [], "password": "p"}
    assert service.http.post("/Users", json=okta).status_code == 201


def test_changes_at_the_same_time_all_count_and_one_of_two_with_one_version(service):
    id = service.create()["id"]

    def change(place: int) -> int:
        path = f"{EMPLOYMENT}:commuteMinutes"
        return service.patch(id, {"op": "replace", "path": path, "value": place}).status_code

    def once(place: int) -> int:
        headers = {"If-Match": 'W/"7"'}
        return service.patch(id, {"op": "replace", "path": "locale", "value": f"l{place}"}, **headers).status_code

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(change, range(1, 7))) == [200] * 6
        assert sorted(pool.map(once, range(4))) == [200, 412, 412, 412]
    assert service.http.get(f"/Users/{id}").json()["meta"]["version"] == 'W/"8"'
    held = service.http.get(f"/Users/{id}").json()[EMPLOYMENT]["commuteMinutes"]
    assert [str(int(version["commute_minutes"])) for version in service.facts()] == [held]


def test_of_two_accounts_with_one_name_at_the_same_time_one_is_made(service):
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda place: service.http.post("/Users", json=user(number=str(place))), range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]


def test_a_sealed_account_opens_in_its_own_place_only(service):
    one, other = (service.create(login=f"{name}@alder.example", number=name)["id"] for name in ("1", "2"))
    with service.store.writing() as connection:
        sealed = connection.execute(select(scim_user.c.sealed).where(scim_user.c.id == one)).scalar_one()
        connection.execute(scim_user.update().where(scim_user.c.id == other).values(sealed=sealed))
    answer = service.http.get(f"/Users/{other}")
    assert answer.status_code == 503
    assert "1@alder" not in answer.text


def test_the_manager_is_read_where_the_mapping_reads_it():
    assert {NUMBER, ENDED, MANAGER} <= set(profile_of(None).advertised.cells)
