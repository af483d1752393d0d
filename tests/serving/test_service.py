"""The service as its callers meet it, through every middleware."""

import json
import math
import time

import pytest
from sqlalchemy.exc import OperationalError

from privacy.errors import KithError
from serving.identity import OPERATIONS, Role
from serving.problems import MEDIA_TYPE, PROBLEM_TYPES
from tests.serving.conftest import CANARY, FEATURES, REASON, assert_problem, assert_refused, request
from tests.serving.signed_release import OTHER_SITE

# --- recommend, explain, decide ------------------------------------------------------------------------------------


def test_recommend_explain_decide(as_role):
    answer = as_role("application", "portal").recommend()
    assert answer.status_code == 200
    made = answer.json()
    assert made == {
        "id": made["id"],
        "status": "proposed",
        "decision": f"/v1/decisions/{made['id']}",
        "reason": None,
        "actions": None,
    }

    reviewer = as_role("reviewer", "ann")
    explanation = reviewer.post("/v1/explain", {"id": made["id"]}).json()
    terms = [term["points"] for term in explanation["terms"]]
    assert abs(math.fsum([explanation["intercept"], *terms]) - explanation["score"]) <= 1e-9
    assert {term["column"] for term in explanation["terms"]} == set(FEATURES)

    item = reviewer.get(made["decision"])
    assert item.json()["evidence"] == FEATURES
    decided = reviewer.decide(made["id"], etag=item.headers["etag"])
    assert decided.status_code == 200
    assert decided.json()["status"] == "approved"
    assert decided.json()["decisions"][0]["reason"] == REASON
    assert decided.headers["etag"] != item.headers["etag"]


def test_nothing_about_score_or_suggestion_shows_to_an_application_before_the_decision(as_role, proposed):
    application = as_role("application", "portal")
    assert_problem(application.post("/v1/explain", {"id": proposed}), 403, "forbidden")
    assert_problem(application.get(f"/v1/decisions/{proposed}"), 403, "forbidden")
    as_role("reviewer", "ann").decide(proposed)
    assert application.post("/v1/explain", {"id": proposed}).status_code == 200


def test_whoever_asked_sees_neither_explanation_nor_item_until_others_have_decided(as_role):
    partner = as_role("hr_partner", "pat")
    id = partner.recommend().json()["id"]
    reads = [lambda: partner.post("/v1/explain", {"id": id}), lambda: partner.get(f"/v1/decisions/{id}")]
    for read in reads:
        assert_problem(read(), 403, "separation-of-duties")
    assert id in partner.get("/v1/decisions?limit=100").text
    as_role("reviewer", "ann").decide(id)
    assert [read().status_code for read in reads] == [200, 200]


def test_whoever_asked_learns_at_once_that_it_abstained_and_never_the_score(as_role):
    partner, another = as_role("hr_partner", "pat"), as_role("hr_partner", "kim")
    answer = partner.recommend({"tenure_years": None}).json()
    assert (answer["status"], answer["actions"]) == ("abstained", None)
    assert not {"score", "band", "terms"} & set(answer)
    for who, status in ((partner, 403), (another, 200)):
        reads = [who.post("/v1/explain", {"id": answer["id"]}), who.get(answer["decision"])]
        assert [read.status_code for read in reads] == [status, status]
    assert_problem(partner.post("/v1/explain", {"id": answer["id"]}), 403, "separation-of-duties")
    assert_problem(partner.get(answer["decision"]), 403, "separation-of-duties")


def test_an_application_learns_nothing_of_what_was_declined(as_role, proposed):
    as_role("reviewer", "ann").decide(proposed, "decline", reason_code="not-appropriate")
    assert_problem(as_role("application", "portal").post("/v1/explain", {"id": proposed}), 403, "forbidden")


def test_an_explanation_is_the_same_later_bit_for_bit(as_role, proposed):
    reviewer = as_role("reviewer", "ann")
    first = reviewer.post("/v1/explain", {"id": proposed})
    reviewer.decide(proposed)
    later = as_role("auditor", "eve").post("/v1/explain", {"id": proposed})
    assert later.text.replace('"approved"', '"proposed"') == first.text


def test_an_explanation_says_what_could_not_be_seen(as_role):
    id = as_role("application", "portal").recommend({"tenure_years": 1.0, "overtime_hours": 60}).json()["id"]
    explanation = as_role("reviewer", "ann").post("/v1/explain", {"id": id}).json()
    assert "not recorded for this person: work_mode" in explanation["cannot_see"]
    assert len(explanation["model"]) == len(explanation["certificate"]) == 64


def test_without_evidence_it_abstains_and_there_is_nothing_to_decide(as_role):
    answer = as_role("application", "portal").recommend({"tenure_years": None}).json()
    assert answer["status"] == "abstained"
    assert "carry a recommendation" in answer["reason"]
    reviewer = as_role("reviewer", "ann")
    assert reviewer.get(answer["decision"]).json()["actions"] == []
    assert_problem(reviewer.decide(answer["id"]), 409, "not-awaiting-decision")
    assert "columns are not recorded" in reviewer.post("/v1/explain", {"id": answer["id"]}).json()["abstained"]


# --- idempotency ---------------------------------------------------------------------------------------------------


def test_the_same_key_and_request_give_the_same_answer_also_after_the_decision(as_role):
    application = as_role("application", "portal")
    first = application.recommend(Idempotency_Key="once").json()
    as_role("reviewer", "ann").decide(first["id"])
    assert application.recommend(Idempotency_Key="once").json() == first


def test_the_same_key_with_another_request_is_refused(as_role):
    application = as_role("application", "portal")
    application.recommend(Idempotency_Key="twice")
    answer = application.recommend({"tenure_years": 9.0, "overtime_hours": 1}, Idempotency_Key="twice")
    assert_problem(answer, 409, "idempotency-conflict")


def test_another_asker_may_use_the_same_key(as_role):
    first = as_role("application", "portal").recommend(Idempotency_Key="ours").json()
    assert as_role("application", "intranet").recommend(Idempotency_Key="ours").json()["id"] != first["id"]


@pytest.mark.parametrize("key", ["", "a" * 129, "with space", "tab\there"])
def test_a_malformed_key_is_refused(as_role, key):
    assert_problem(as_role("application", "portal").recommend(Idempotency_Key=key), 422, "invalid-request")


# --- decisions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"reason": "too short"},
        {"reason": " " * 40},
        {"reason": None},
        {"reason_code": "because"},
        {"decision": "maybe"},
        {"note": "more"},
        {"reason": "x" * 2001},
    ],
    ids=str,
)
def test_a_decision_without_a_proper_reason_changes_nothing(as_role, proposed, changes):
    reviewer = as_role("reviewer", "ann")
    assert_problem(reviewer.decide(proposed, **changes), 422, "invalid-request")
    assert reviewer.get(f"/v1/decisions/{proposed}").json()["status"] == "proposed"


def test_deciding_without_naming_the_version_is_refused(as_role, proposed):
    body = {"decision": "approve", "reason_code": "other", "reason": REASON}
    answer = as_role("reviewer", "ann").post(f"/v1/decisions/{proposed}/decide", body)
    assert_problem(answer, 428, "precondition-required")


@pytest.mark.parametrize("etag", ['"2"', "1", "*", 'W/"1"', "", '"1" "2"', CANARY])
def test_deciding_on_another_version_is_refused(as_role, proposed, etag):
    assert_problem(as_role("reviewer", "ann").decide(proposed, etag=etag), 412, "changed-meanwhile")


def test_deciding_twice_is_refused(as_role, proposed):
    reviewer = as_role("reviewer", "ann")
    etag = reviewer.decide(proposed).headers["etag"]
    assert_problem(reviewer.decide(proposed, etag=etag), 409, "already-decided")
    assert_problem(as_role("reviewer", "bob").decide(proposed, "decline", etag=etag), 409, "already-decided")


def test_nobody_decides_on_their_own_request(as_role):
    partner = as_role("hr_partner", "pat")
    id = partner.recommend().json()["id"]
    assert_problem(partner.decide(id), 403, "separation-of-duties")
    assert as_role("hr_partner", "sam").decide(id).status_code == 200


def test_nobody_decides_on_themselves(as_role):
    id = as_role("application", "portal").recommend(employee="ann").json()["id"]
    assert_problem(as_role("reviewer", "ann").decide(id), 403, "separation-of-duties")


def test_the_list_shows_no_score_and_no_suggestion(as_role, proposed):
    items = as_role("reviewer", "ann").get("/v1/decisions?status=proposed").json()["items"]
    assert proposed in {item["id"] for item in items}
    assert set(items[0]) == {
        "id", "number", "use_case", "site", "employee", "stakes", "status", "created_at", "decisions_needed",
        "decisions_made",
    }  # fmt: skip


def test_the_list_pages_through_everything_once(as_role):
    for _ in range(5):
        as_role("application", "portal", site=OTHER_SITE).post("/v1/recommend", request(site=OTHER_SITE))
    reviewer = as_role("reviewer", "ann", site=OTHER_SITE)
    everything = [item["number"] for item in reviewer.get("/v1/decisions?limit=100").json()["items"]]
    seen, path = [], "/v1/decisions?limit=2"
    while path:
        page = reviewer.get(path).json()
        seen += [item["number"] for item in page["items"]]
        path = page["next"] and f"/v1/decisions?limit=2&before={page['next']}"
    assert seen == everything
    assert len(seen) >= 5


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", f"status={CANARY}", "before=-1"])
def test_a_query_out_of_bounds_is_refused(as_role, query):
    assert_problem(as_role("reviewer", "ann").get(f"/v1/decisions?{query}"), 422, "invalid-request")


# --- sites and roles -----------------------------------------------------------------------------------------------


def test_another_sites_items_do_not_exist(as_role, proposed):
    stranger = as_role("reviewer", "zoe", site=OTHER_SITE)
    assert_problem(stranger.get(f"/v1/decisions/{proposed}"), 404, "not-found")
    assert_problem(stranger.post("/v1/explain", {"id": proposed}), 404, "not-found")
    assert_problem(stranger.decide(proposed), 404, "not-found")
    assert proposed not in stranger.get("/v1/decisions?limit=100").text


def test_a_token_recommends_for_its_own_site_only(as_role):
    answer = as_role("application", "portal", site=OTHER_SITE).recommend()
    assert_problem(answer, 403, "forbidden")


def test_an_auditor_of_every_site_reaches_all(as_role, proposed):
    assert as_role("auditor", "eve", site="*").get(f"/v1/decisions/{proposed}").status_code == 200


BODIES = {
    "recommend": request(),
    "explain": {"id": "0" * 32},
    "decide": {"decision": "approve", "reason_code": "other", "reason": REASON},
}


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_role_at_every_operation(as_role, role, operation):
    path = operation.path.replace("{id}", "0" * 32).replace("{name}", "not-found")
    caller = as_role(role, f"{role}-table")
    path += "/anything" if operation.mounted else ""
    answer = caller.send(operation.method, path, BODIES.get(operation.name))
    if role in operation.roles:
        assert answer.status_code in (200, 404)
        assert answer.status_code == 200 or operation.name in ("explain", "get_decision", "decide") or operation.mounted
    else:
        assert_refused(answer, path, 403, "forbidden")


# --- the front door ------------------------------------------------------------------------------------------------


def test_the_probes_are_open_and_nothing_else_is(anonymous):
    for path in ("/livez", "/readyz", "/healthz"):
        assert anonymous.get(path).status_code == 200
    for path in ("/", "/metrics", "/docs.json", "/openapi.json", "/schema.json", "/static_content/x", "/v1/decisions"):
        answer = anonymous.get(path)
        assert_problem(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "path", ["/", "/metrics", "/schema.json", "/static_content/x", "/nothing", "/v1/decisions/", "/xapi",
             "/scim/v20/Users", "/xapistatements"]
)  # fmt: skip
def test_what_is_not_in_the_table_is_not_there_either_with_a_token(as_role, path):
    assert_problem(as_role("site_operator").get(path), 404, "not-found")


def test_another_method_is_told_which_is_taken(as_role):
    answer = as_role("application").get("/v1/recommend")
    assert_problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "content_type",
    ["application/vnd.bentoml+pickle", "multipart/form-data; boundary=x", "text/plain", "",
     "application/json; charset=utf-16", "application/x-www-form-urlencoded",
     "application/json, application/vnd.bentoml+pickle"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/recommend", "/v1/explain"])
def test_only_json_is_taken(as_role, content_type, path):
    answer = as_role("hr_partner").post(path, request(), Content_Type=content_type)
    assert_problem(answer, 415, "unsupported-media-type")


def test_a_compressed_body_is_refused(as_role):
    answer = as_role("application").post("/v1/recommend", request(), Content_Encoding="gzip")
    assert_problem(answer, 415, "unsupported-media-type")


def test_a_body_over_the_limit_is_refused_declared_or_not(as_role, shared_http):
    application = as_role("application")
    body = json.dumps(request() | {"employee": "x" * 64 * 2**10}).encode()
    headers = application.headers | {"Content-Type": "application/json"}
    assert_problem(shared_http.post("/v1/recommend", content=body, headers=headers), 413, "body-too-large")
    chunks = shared_http.post("/v1/recommend", content=iter([body[:1000], body[1000:]]), headers=headers)
    assert_problem(chunks, 413, "body-too-large")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 30_000, b'{"use_case": }', b"null", b"[]", b'"text"'])
@pytest.mark.parametrize("path", ["/v1/recommend", "/v1/decisions/" + "0" * 32 + "/decide"])
def test_a_body_that_is_no_object_is_a_problem(as_role, shared_http, body, path):
    headers = as_role("hr_partner").headers | {"Content-Type": "application/json"}
    answer = shared_http.post(path, content=body, headers=headers)
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == MEDIA_TYPE


@pytest.mark.parametrize(
    "changes",
    [{"race": CANARY}, {CANARY: 1}, {"employee": f"{CANARY} Müller"}, {"employee": ""}, {"site": 3}, {"use_case": None},
     {"features": [CANARY]}, {"features": {"tenure_years": [CANARY]}}, {"features": {"tenure_years": True}},
     {"features": {"work_mode": CANARY * 50}}],
    ids=str,
)  # fmt: skip
def test_a_body_with_other_fields_is_a_problem_that_does_not_repeat_them(as_role, changes, caplog):
    answer = as_role("application").post("/v1/recommend", request() | changes)
    assert_problem(answer, 422, "invalid-request")
    assert answer.json()["errors"]


@pytest.mark.parametrize(
    "features",
    [{CANARY: 1.0}, {"work_mode": CANARY}, {"tenure_years": CANARY}, {"tenure_years": math.nan}, {"work_mode": 1},
     {"tenure_years": math.inf}, {"tenure_years": 10**400}],
    ids=lambda features: str(features)[:40],
)  # fmt: skip
def test_features_out_of_the_public_space_are_a_problem_that_does_not_repeat_them(as_role, features):
    answer = as_role("application").post("/v1/recommend", request(features))
    assert answer.status_code == 422
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert CANARY not in answer.text


def test_an_unknown_use_case_or_site_is_a_problem(as_role):
    answer = as_role("application").post("/v1/recommend", request() | {"use_case": "promotion"})
    assert_problem(answer, 422, "unknown-use-case")
    stranger = as_role("application", site="Atlantis")
    assert_problem(stranger.post("/v1/recommend", request(site="Atlantis")), 422, "unknown-use-case")


def test_every_answer_forbids_caches_and_sniffing(as_role, anonymous):
    for answer in (as_role("reviewer").get("/v1/decisions"), anonymous.get("/v1/decisions")):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_an_error_of_ours_tells_nothing_and_logs_where_without_what(as_role, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError(CANARY)

    monkeypatch.setattr("serving.recommendations.recommend", broken)
    monkeypatch.setattr("serving.decisions.listed", broken)
    recommended = as_role("application").recommend(employee=CANARY)
    listed = as_role("reviewer").get("/v1/decisions")
    for answer in (recommended, listed):
        assert_problem(answer, 500, "internal")


@pytest.mark.parametrize("told", [False, True], ids=["as it comes", "in one line"])
def test_a_database_that_does_not_answer_is_told_as_unavailable(as_role, monkeypatch, told):
    def broken(*_):
        error = OperationalError(CANARY, {}, Exception(CANARY))
        if told:
            raise KithError(CANARY) from error
        raise error

    monkeypatch.setattr("serving.recommendations.recommend", broken)
    monkeypatch.setattr("serving.decisions.listed", broken)
    for answer in (as_role("application").recommend(), as_role("reviewer").get("/v1/decisions")):
        assert_problem(answer, 503, "unavailable")


def test_what_takes_too_long_is_a_problem(as_role, monkeypatch):
    monkeypatch.setattr("serving.front_door.TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr("serving.recommendations.recommend", lambda *_: time.sleep(0.5))
    assert_problem(as_role("application").recommend(), 504, "timeout")


# --- privacy and the contract --------------------------------------------------------------------------------------


def test_the_certificate_is_there_for_everyone_with_its_checks_and_its_epsilon(as_role):
    [model] = as_role("employee").get("/v1/privacy/certificate").json()["models"]
    assert model["verdict"]["ok"]
    assert model["keys"] == "self-asserted"
    checks = model["verdict"]["checks"]
    assert [check["number"] for check in checks] == list(range(1, len(checks) + 1))
    assert float(model["statement"]["cost"]["epsilon"]) > 0


def test_every_registered_problem_has_a_page(as_role):
    for name, kind in PROBLEM_TYPES.items():
        page = as_role("employee").get(f"/problems/{name}").json()
        assert page == {"type": kind.uri, "status": kind.status, "title": kind.title}


def test_the_contract_is_openapi_3_1_and_holds_every_operation(as_role):
    document = as_role("employee").get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    documented = {(path, method.upper()) for path, methods in document["paths"].items() for method in methods}
    served = {(operation.path, operation.method) for operation in OPERATIONS if not operation.mounted}
    assert documented == {pair for pair in served if not pair[0].endswith(".json")}
    mounted = {operation.path for operation in OPERATIONS if operation.mounted}
    assert mounted
    assert all(f" at {path}" in document["info"]["description"] for path in mounted)
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert operation["responses"]["default"]["content"].keys() == {MEDIA_TYPE}
            assert operation["x-kith-roles"], path


def test_the_contract_is_valid(as_role):
    validator = pytest.importorskip("openapi_spec_validator", reason="openapi-spec-validator is not installed")
    validator.validate(as_role("employee").get("/openapi.json").json())


def test_bentomls_own_document_lists_both_operations(as_role):
    document = as_role("employee").get("/docs.json").json()
    assert {"/v1/recommend", "/v1/explain"} <= set(document["paths"])
