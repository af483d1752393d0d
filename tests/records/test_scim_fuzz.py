"""Whatever a SCIM client sends is answered: with what it asked for, or with a SCIM error, never with a failure."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privacy.errors import InputError
from records.connectors.scim import BOUNDS
from records.connectors.scim_export import records_of
from records.connectors.scim_resources import CATALOGUE
from records.connectors.strict_json import read_json
from records.mapping import load_mapping
from records.registry import load_registry
from tests.records.scim_service import CORE, EMPLOYMENT, ENTERPRISE, PATCH, SEARCH, Service
from tests.records.store_folder import store_of_kind

FUZZ = settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
ATTRIBUTES = st.sampled_from(
    [*CATALOGUE, "id", "meta", "meta.lastModified", "schemas", "emails", "emails.value", "name"]
)
TEXTS = st.text(max_size=12) | st.sampled_from(["", "2020-02-30", "9" * 40, "\x00", "engineering", "W/1", "\ud800"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ATTRIBUTES | TEXTS, inner, max_size=5),
    max_leaves=12,
)
OPERATORS = st.sampled_from(["eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le", "EQ", "zz", ""])
COMPARISONS = st.builds(
    lambda path, operator, value: f"{path} {operator} {value}",
    ATTRIBUTES,
    OPERATORS,
    SCALARS.map(json.dumps) | TEXTS,
) | ATTRIBUTES.map(lambda path: f"{path} pr")
FILTERS = st.recursive(
    COMPARISONS,
    lambda inner: st.one_of(
        st.builds(
            lambda one, word, other: f"{one} {word} {other}", inner, st.sampled_from(["and", "or", "AND"]), inner
        ),
        inner.map(lambda one: f"not ({one})"),
        inner.map(lambda one: f"({one})"),
        st.builds(lambda path, one: f"{path}[{one}]", ATTRIBUTES, inner),
    ),
    max_leaves=8,
)
PATHS = (
    ATTRIBUTES
    | FILTERS
    | TEXTS
    | st.builds(lambda path, one, sub: f"{path}[{one}].{sub}", ATTRIBUTES, COMPARISONS, TEXTS)
)
OPERATIONS = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "replace", "remove", "Replace", "x"]) | VALUES},
    optional={"path": PATHS | VALUES, "value": VALUES},
)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with store_of_kind("sqlite", tmp_path_factory.mktemp("fuzz") / "records") as store:
        yield Service(store)


def is_answered(answer):
    assert answer.status_code < 500, answer.text
    assert answer.headers["content-type"] == "application/scim+json"
    if answer.status_code >= 400:
        assert answer.json()["status"] == str(answer.status_code)
        assert answer.json()["detail"].isprintable()
    return answer


def attempted(read):
    try:
        return read()
    except InputError:
        return "refused"


@FUZZ
@given(expression=FILTERS | st.text(max_size=60), sort=st.none() | PATHS, page=st.tuples(SCALARS, SCALARS))
def test_any_query_is_answered(service, expression, sort, page):
    if service.http.get("/Users").json()["totalResults"] == 0:
        service.create(employment={"hireDate": "2020-02-03", "level": "lead"})
    query = {"schemas": [SEARCH], "filter": expression, "startIndex": page[0], "count": page[1]}
    is_answered(service.http.post("/.search", content=json.dumps({**query, **({"sortBy": sort} if sort else {})})))
    encoded = {
        key: str(value).encode("utf-8", "surrogatepass").decode("utf-8", "replace") for key, value in query.items()
    }
    is_answered(service.http.get("/Users", params=encoded))


@FUZZ
@given(operations=st.lists(OPERATIONS, min_size=1, max_size=4))
def test_any_patch_is_answered_and_leaves_an_account_that_can_be_read(service, operations):
    found = service.http.get("/Users", params={"filter": 'externalId eq "patched"'}).json()["Resources"]
    made = found[0] if found else service.create(login="patched", number="77", externalId="patched")
    message = {"schemas": [PATCH], "Operations": operations}
    is_answered(service.http.patch(f"/Users/{made['id']}", content=json.dumps(message)))
    assert is_answered(service.http.get(f"/Users/{made['id']}")).status_code == 200
    assert (
        is_answered(service.http.put(f"/Users/{made['id']}", json={**made, "externalId": "patched"})).status_code == 200
    )


@FUZZ
@given(
    core=st.dictionaries(ATTRIBUTES | st.sampled_from(["userName", "USERNAME", "active", CORE]), VALUES, max_size=5),
    enterprise=st.dictionaries(st.sampled_from(["employeeNumber", "manager", "costCenter"]), VALUES, max_size=3),
    employment=st.dictionaries(
        st.sampled_from(["hireDate", "endDate", "exitType", "level", "fte"]), VALUES, max_size=4
    ),
    drop=st.booleans(),
)
def test_any_user_is_taken_or_refused(service, core, enterprise, employment, drop):
    body = {"schemas": [CORE], **core, ENTERPRISE: enterprise, EMPLOYMENT: employment}
    answer = is_answered(service.http.post("/Users", content=json.dumps(body)))
    if answer.status_code == 201:
        location = answer.headers["location"]
        assert service.http.get(location).json() == answer.json()
        again = service.http.put(location, json=answer.json())
        assert again.json()["meta"]["version"] == 'W/"1"'
        assert service.http.delete(location).status_code == 204


@FUZZ
@given(body=st.binary(max_size=80) | VALUES.map(lambda value: json.dumps(value).encode()), path=st.text(max_size=20))
def test_any_bytes_and_addresses_are_answered(service, body, path):
    for address in ("/Users", "/.search"):
        is_answered(service.http.post(address, content=body))
    path = path.replace("\n", "")  # which Starlette's Mount, before us, takes for no path of its own
    quoted = "".join(f"%{byte:02X}" for byte in path.encode("utf-8", "surrogatepass"))
    for method in ("GET", "DELETE", "PUT", "PATCH"):
        is_answered(service.http.request(method, f"/Users/x{quoted}", content=body or b"{}"))
    is_answered(service.http.get(f"/{quoted}"))
    is_answered(service.http.get(f"/Users?attributes={quoted}&sortBy={quoted}&count={quoted}"))


@FUZZ
@given(data=st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_json_reads_or_is_refused(data):
    read = attempted(lambda: read_json(data, "here", BOUNDS))
    assert read == "refused" or json.loads(json.dumps(read)) == read


@FUZZ
@given(
    lines=st.lists(VALUES.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=30), max_size=5),
    whole=st.sampled_from([b"%s", b"[%s]", b'{"Resources": [%s]}', b'{"Resources": %s}']),
)
def test_any_file_of_users_reads_or_is_refused(tmp_path, lines, whole):
    mapping = load_mapping("scim", load_registry())
    path = tmp_path / "users.json"
    path.write_bytes(whole.replace(b"%s", (b"\n" if whole == b"%s" else b",").join(lines)))
    places = attempted(lambda: [place for place, _ in records_of(path, mapping)])
    assert places in ("refused", list(range(len(places))))
