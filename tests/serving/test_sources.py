"""Source systems write through the service: SCIM and xAPI, into the records of their token's site and nowhere else."""

import base64
import json
import uuid
from datetime import UTC, datetime

import httpx
import pytest
from scim2_client import BaseSyncSCIMClient
from scim2_tester import Status, check_server

from records.connectors import scim
from records.connectors.xapi_reading import MAX_BYTES
from serving.identity import EVERYONE, OPERATIONS, PUBLIC_KEYS, Role
from serving.problems import MEDIA_TYPE
from serving.revocation import revoke
from tests.serving import small_records
from tests.serving.conftest import CANARY, Caller, Place, assert_problem, assert_refused, assert_scim_error
from tests.serving.signed_release import OTHER_SITE
from tests.serving.small_records import ELSEWHERE, rows_of, say, subject_of

ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
EMPLOYMENT = "urn:kith:scim:schemas:1.0:Employment"
SCIM, XAPI = "/scim/v2", "/xapi"
VERSION = {"X_Experience_API_Version": "1.0.3"}
FINE = {Status.SUCCESS, Status.COMPLIANT, Status.ACCEPTABLE}


@pytest.fixture
def source(recorded_as):
    return recorded_as("provisioning", "idp", hours=366 * 24)


@pytest.fixture
def learning(recorded_as):
    return recorded_as("learning_system", "lms", hours=366 * 24)


@pytest.fixture
def basic(recorded_url, recorded_place):
    """A learning system that knows user name and password only."""
    with httpx.Client(base_url=recorded_url, auth=("lms", recorded_place.token("learning_system"))) as http:
        yield Caller(http, None)


def user(number, **employment):
    return {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", ENTERPRISE, EMPLOYMENT],
        "userName": f"{number}@north.example",
        ENTERPRISE: {"employeeNumber": number},
        EMPLOYMENT: {"hireDate": "2021-03-01", "jobFamily": "engineering", "workMode": "remote"} | employment,
    }


def statement(number, **changes):
    return {
        "id": str(uuid.uuid4()),
        "actor": {"account": {"homePage": "https://lms.example", "name": number}},
        "verb": {"id": "http://adlnet.gov/expapi/verbs/completed"},
        "object": {"id": "https://lms.example/courses/safety"},
        "result": {"duration": "PT8H"},
        "timestamp": datetime.now(UTC).isoformat(),
    } | changes


# --- SCIM ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("media_type", ["application/scim+json", "application/json; charset=utf-8"])
def test_a_user_lands_in_the_records_of_the_tokens_site(source, recorded_url, recorded_place, number, media_type):
    made = source.post(f"{SCIM}/Users", user(number), Content_Type=media_type)
    assert made.status_code == 201, made.text
    assert made.headers["location"].startswith(f"{recorded_url}{SCIM}/Users/")
    here, elsewhere = recorded_place.records
    [row] = rows_of(here, "person", subject_of(here, number))
    assert (row["start_month"], row["work_mode"]) == ("2021-03", "remote")
    assert rows_of(elsewhere, "person", subject_of(elsewhere, number)) == []


def test_somebody_provisioned_and_told_is_recommended_for_at_once(source, recorded_as, records, number):
    source.post(f"{SCIM}/Users", user(number))
    subject = subject_of(records, number)
    say(records, subject, "informed")
    body = {"use_case": "retention", "site": "North", "employee": subject}
    answer = recorded_as("application", "portal").post("/v1/recommend", body)
    assert answer.status_code == 200, answer.text
    item = recorded_as("reviewer", "ann").get(answer.json()["decision"])
    assert item.json()["evidence"]["work_mode"] == "remote"


def test_a_user_is_read_changed_and_deleted(source, records, number):
    at = source.post(f"{SCIM}/Users", user(number)).headers["location"]
    assert source.get(f"{SCIM}/Users", params={"filter": f'userName eq "{number}@north.example"'}).json()["Resources"]
    replaced = source.send("PUT", at, user(number, workMode="hybrid"))
    assert replaced.json()[EMPLOYMENT]["workMode"] == "hybrid"
    patch = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
             "Operations": [{"op": "replace", "path": "active", "value": False}]}  # fmt: skip
    assert source.send("PATCH", at, patch).status_code == 200
    assert rows_of(records, "person", subject_of(records, number))[-1]["end_month"]
    assert source.send("DELETE", at, None).status_code == 204
    assert_scim_error(source.get(at), 404)


def test_a_site_does_not_see_another_sites_users(source, recorded_as, number):
    at = source.post(f"{SCIM}/Users", user(number)).headers["location"]
    stranger = recorded_as("provisioning", "idp", site=ELSEWHERE)
    assert_scim_error(stranger.get(at), 404)
    assert_scim_error(stranger.send("PUT", at, user(number)), 404)
    assert number not in stranger.get(f"{SCIM}/Users").text
    assert source.get(at).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [("GET", "/Users/nobody", None, 404), ("GET", f"/Users?filter={CANARY}", None, 400), ("POST", "/Users", [], 400),
     ("POST", "/Users", {"schemas": [CANARY], "userName": 1}, 400), ("POST", "/Bulk", {}, 501),
     ("GET", "/", None, 404), ("GET", f"/{CANARY}", None, 404), ("PATCH", "/Schemas", {}, 405),
     ("GET", "/%2e%2e/metrics", None, 404)],
)  # fmt: skip
def test_scim_errors_leave_as_scim_has_them(source, method, path, body, status):
    assert_scim_error(source.send(method, SCIM + path, body), status)


class Client(BaseSyncSCIMClient):
    """scim2-client as a source system."""

    def __init__(self, caller):
        super().__init__()
        self.caller = caller

    def request(self, method, url, **arguments):
        headers = arguments.pop("headers", {}) | self.caller.headers
        return self.caller.http.request(method, SCIM + url, headers=headers, **arguments)


def test_scim2_tester_finds_nothing_to_complain_of(recorded_as):
    results = check_server(Client(recorded_as("provisioning", "tester", site=ELSEWHERE)))
    assert not [result for result in results if result.status not in FINE]
    assert {"object_creation", "object_replacement", "object_deletion", "random_url"} <= {r.title for r in results}


# --- xAPI ----------------------------------------------------------------------------------------------------------


def test_statements_land_in_the_records_with_basic_and_with_bearer(basic, learning, records, number):
    sent = [statement(number), statement(number)]
    answer = basic.post(f"{XAPI}/statements", sent, **VERSION)
    assert (answer.status_code, answer.json()) == (200, [each["id"] for each in sent]), answer.text
    assert answer.headers["x-experience-api-version"] == "1.0.3"
    put = statement(number)
    assert learning.send("PUT", f"{XAPI}/statements?statementId={put['id']}", put, **VERSION).status_code == 204
    rows = rows_of(records, "learning_event", subject_of(records, number))
    assert [(row["verb"], row["duration_hours"]) for row in rows] == [("completed", 8.0)] * 3


def test_statements_need_the_version_of_the_standard(basic):
    answer = basic.post(f"{XAPI}/statements", [])
    assert (answer.status_code, answer.headers["content-type"]) == (400, MEDIA_TYPE)
    assert "X-Experience-API-Version" in answer.json()["detail"]
    assert basic.get(f"{XAPI}/about").json() == {"version": ["1.0.3"]}


def test_another_statement_of_the_same_id_is_a_conflict(basic, number):
    first = statement(number)
    assert basic.post(f"{XAPI}/statements", first, **VERSION).status_code == 200
    other = first | {"verb": {"id": "http://adlnet.gov/expapi/verbs/failed"}}
    answer = basic.post(f"{XAPI}/statements", other, **VERSION)
    assert (answer.status_code, answer.headers["content-type"]) == (409, MEDIA_TYPE)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/statements", 405), ("GET", "/", 404), ("GET", f"/{CANARY}", 404), ("POST", "/about", 405),
     ("GET", "/%2e%2e/docs.json", 404), ("POST", f"/statements?{CANARY}=1", 400)],
)  # fmt: skip
def test_xapis_errors_are_problems(basic, method, path, status):
    answer = basic.send(method, XAPI + path, [CANARY], **VERSION)
    assert (answer.status_code, answer.headers["content-type"]) == (status, MEDIA_TYPE)
    assert CANARY not in answer.text


# --- sizes ---------------------------------------------------------------------------------------------------------


def raw(caller, path, body, **headers):
    sent = {"Content-Type": "application/json"} | caller.headers | headers
    return caller.http.post(path, content=body, headers=sent, timeout=60)


def test_statements_are_taken_up_to_what_xapi_takes(learning, number):
    body, version = json.dumps(statement(number)).encode(), {"X-Experience-API-Version": "1.0.3"}
    assert raw(learning, f"{XAPI}/statements", body.ljust(MAX_BYTES), **version).is_success
    too_long = raw(learning, f"{XAPI}/statements", body.ljust(MAX_BYTES + 1), **version)
    assert_problem(too_long, 413, "body-too-large")


def test_users_are_taken_up_to_what_scim_takes(source, number):
    body = json.dumps(user(number)).encode()
    assert raw(source, f"{SCIM}/Users", body.ljust(scim.MAX_BODY)).is_success
    assert_scim_error(raw(source, f"{SCIM}/Users", body.ljust(scim.MAX_BODY + 1)), 413)


def test_what_is_long_enough_for_statements_is_too_long_for_anything_else(recorded_as):
    application = recorded_as("application", "portal")
    assert_problem(raw(application, "/v1/recommend", b"{}".ljust(64 * 2**10 + 1)), 413, "body-too-large")
    assert_problem(raw(application, "/v1/recommend", b"{}".ljust(64 * 2**10)), 422, "invalid-request")


# --- who gets in ---------------------------------------------------------------------------------------------------

MOUNTED = [operation for operation in OPERATIONS if operation.mounted]


def at(operation):
    return operation.path + ("/Users" if operation.path == SCIM else "/statements")


@pytest.mark.parametrize("operation", MOUNTED, ids=lambda operation: f"{operation.method} {operation.path}")
def test_only_the_source_systems_of_a_mount_and_of_a_site_with_records_get_in(recorded_as, recorded_url, operation):
    own = {SCIM: Role.PROVISIONING, XAPI: Role.LEARNING_SYSTEM}[operation.path]
    for role in set(Role) - {own}:
        answer = recorded_as(role).send(operation.method, at(operation), {})
        assert_refused(answer, operation.path, 403, "forbidden")
    for site in (OTHER_SITE, "Nowhere"):
        elsewhere = recorded_as(own, site=site)
        assert_refused(elsewhere.send(operation.method, at(operation), {}), operation.path, 404, "not-found")
    with httpx.Client(base_url=recorded_url) as http:
        answer = Caller(http, None).send(operation.method, at(operation), {})
        assert_refused(answer, operation.path, 401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: f"{operation.method} {operation.path}")
def test_a_source_system_reaches_its_mount_and_nothing_else(source, learning, operation):
    path = operation.path.replace("{id}", "0" * 32).replace("{name}", "not-found")
    path += "/nothing" if operation.mounted else ""
    for caller, mount in ((source, SCIM), (learning, XAPI)):
        answer = caller.send(operation.method, path, {})
        if operation.path == mount:
            assert answer.status_code in (404, 405)
        else:
            assert_refused(answer, operation.path, 403, "forbidden")


def test_a_learning_systems_token_does_not_read_or_delete_accounts(source, basic, learning, number):
    account = source.post(f"{SCIM}/Users", user(number)).headers["location"]
    for caller in (basic, learning):
        assert_scim_error(caller.get(account), 403)
        assert_scim_error(caller.send("DELETE", account, None), 403)
    assert source.get(account).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [("TRACE", "/Users", {}, 405), ("POST", "/Users", {"Content_Type": "text/plain"}, 415), ("GET", "", {}, 404)],
)
def test_the_front_doors_refusals_are_scims_below_scims_path(source, method, path, headers, status):
    assert_scim_error(source.send(method, SCIM + path, {}, **headers), status)


def test_a_token_that_was_taken_back_is_refused_by_the_running_service(source, recorded_as, recorded_place):
    lost = recorded_as("provisioning", "lost")
    assert lost.get(f"{SCIM}/Users").status_code == 200
    revoke(recorded_place.state / PUBLIC_KEYS, lost.headers["Authorization"].removeprefix("Bearer "))
    assert_scim_error(lost.get(f"{SCIM}/Users"), 401)
    assert source.get(f"{SCIM}/Users").status_code == 200


def test_no_other_roles_token_is_taken_as_a_password(recorded_url, recorded_place):
    for role in EVERYONE:
        with httpx.Client(base_url=recorded_url, auth=("lms", recorded_place.token(role))) as http:
            for path in (f"{XAPI}/about", "/v1/privacy/certificate"):
                assert_problem(Caller(http, None).get(path), 401, "unauthenticated")


@pytest.mark.parametrize("media_type", ["application/scim+json", "text/plain", "application/x-www-form-urlencoded"])
def test_statements_are_json(learning, media_type):
    answer = learning.post(f"{XAPI}/statements", [], Content_Type=media_type, **VERSION)
    assert_problem(answer, 415, "unsupported-media-type")


# --- logs ----------------------------------------------------------------------------------------------------------


def test_nothing_of_what_came_is_logged_or_lies_in_a_file(registered_release, tmp_path):
    folder = small_records.make(tmp_path / "records", "North")
    place = Place(registered_release, tmp_path / "state", (folder,))
    with place.running() as url, httpx.Client(base_url=url, timeout=60) as http:
        caller, learning = Caller(http, place.token("provisioning")), Caller(http, place.token("learning_system"))
        good = user(CANARY) | {"displayName": CANARY, "userName": CANARY}
        answers = [
            caller.post(f"{SCIM}/Users", good),
            caller.post(f"{SCIM}/Users", good),
            caller.post(f"{SCIM}/Users", user(f"{CANARY}-2", workMode=CANARY, hireDate=CANARY)),
            caller.post(f"{SCIM}/Users", {CANARY: CANARY}),
            caller.get(f"{SCIM}/Users?filter={CANARY}"),
            learning.post(f"{XAPI}/statements", statement(CANARY), **VERSION),
            learning.post(f"{XAPI}/statements", statement(CANARY, verb={"id": f"https://example/{CANARY}"}), **VERSION),
            learning.post(f"{XAPI}/statements", statement(CANARY, id=CANARY), **VERSION),
            learning.post(f"{XAPI}/statements", {CANARY: CANARY}, **VERSION),
        ]
        assert {answer.status_code for answer in answers} >= {200, 201, 400, 409}
        assert not any(CANARY in answer.text for answer in answers if answer.is_error)
    log = (tmp_path / "state" / "service.log").read_text()
    assert log
    assert CANARY not in log
    held = [path for path in tmp_path.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
    assert held == []


def test_a_token_under_another_scheme_is_refused(recorded_url, recorded_place):
    token = recorded_place.token("learning_system")
    encoded = base64.b64encode(f"lms:{token}".encode()).decode()
    for header in (f"Bearer {encoded}", f"Basic {token}", f"Basic lms:{token}"):
        answer = httpx.get(f"{recorded_url}{XAPI}/about", headers={"Authorization": header})
        assert_problem(answer, 401, "unauthenticated")
