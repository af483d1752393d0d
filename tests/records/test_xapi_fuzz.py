"""Whatever is sent as xAPI ends as statements, one kind of error or a refusal; and no order of statements matters."""

import copy
import json
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from privacy.errors import InputError
from privacy.pseudonyms import Pseudonyms
from records.connectors import xapi
from records.connectors.strict_json import read_json
from records.connectors.xapi_reading import BOUNDS, is_same, read_statement
from records.connectors.xapi_shapes import Misshapen, check_statement
from records.connectors.xapi_statements import Conflict, StatementError, ingest_statements, records_of
from records.mapping import load_mapping
from records.registry import load_registry
from records.schema import learning_event, statement
from tests.records.store_folder import store_of_kind
from tests.records.test_xapi import HEADERS, made, voiding

NOW = datetime(2026, 3, 25, 12, tzinfo=UTC)
REGISTRY = load_registry()
MAPPING = load_mapping("xapi", REGISTRY)
KEYS = Pseudonyms(bytes(32), "Alder")
FUZZ = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

WORDS = [
    *("id", "actor", "verb", "object", "result", "context", "timestamp", "stored", "authority", "version"),
    *("attachments", "objectType", "account", "homePage", "name", "mbox", "member", "display", "definition", "score"),
    *("scaled", "raw", "min", "max", "duration", "extensions", "registration", "contextActivities", "category"),
    *("Agent", "Group", "Activity", "StatementRef", "SubStatement", "PT1H", "P", "2026-02-04T10:11:12Z", "en-US"),
    *("http://adlnet.gov/expapi/verbs/completed", "http://adlnet.gov/expapi/verbs/voided", "https://lms.example", ""),
    *("00000000-0000-4000-8000-000000000001", "mailto:a@b.example", "1.0.0", "9" * 400),
]
PROPERTIES = {
    *(word for word in WORDS if word.isalpha()),
    *("mbox_sha1sum", "openid", "description", "type", "moreInfo", "interactionType", "correctResponsesPattern"),
    *("choices", "scale", "source", "target", "steps", "success", "completion", "response", "instructor", "team"),
    *("revision", "platform", "language", "statement", "parent", "grouping", "other", "usageType", "contentType"),
    *("length", "sha2", "fileUrl"),
}
"""The only words that a message's property may be made of."""
texts = st.one_of(st.sampled_from(WORDS), st.text(max_size=8))
plain = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts)
values = st.recursive(
    plain,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=12,
)


@st.composite
def mutated(draw):
    """A good statement with some of its parts replaced by anything, or taken away."""
    found = made(draw(st.integers(1, 3)))
    if draw(st.booleans()):
        found["object"] = {**made(2), "objectType": "SubStatement"}
        for name in ("id", "stored", "version"):
            found["object"].pop(name, None)
    for _ in range(draw(st.integers(0, 3))):
        inner = found
        while True:
            name = draw(st.sampled_from(sorted(inner, key=str) or [""]))
            if isinstance(inner.get(name), dict) and inner[name] and draw(st.integers(0, 3)):
                inner = inner[name]
                continue
            break
        if draw(st.booleans()):
            inner[draw(st.one_of(st.just(name), texts))] = draw(values)
        else:
            inner.pop(name, None)
    return found


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with store_of_kind("sqlite", tmp_path_factory.mktemp("fuzz") / "store") as found:
        yield found


@FUZZ
@given(
    data=st.one_of(st.binary(max_size=200), st.one_of(values, mutated()).map(lambda value: json.dumps(value).encode()))
)
def test_bytes(data):
    with suppress(InputError):
        read_json(data, "body", BOUNDS)


@FUZZ
@given(value=st.one_of(values, mutated()))
def test_shapes(value):
    words, where = "expected ", ""
    try:
        check_statement(value)
    except Misshapen as misshapen:
        words, where = misshapen.expected, misshapen.property
    assert words.startswith("expected ")
    assert set(where.split(".")) <= {"", *PROPERTIES}


@settings(FUZZ, max_examples=300)
@given(value=mutated())
def test_readings(value):
    try:
        found = read_statement(value, 0, (*MAPPING.cells, "object.id", "result"), KEYS, NOW)
    except Misshapen:
        return
    assert is_same(found.body, found.body)
    assert all(cell is None or isinstance(cell, str) for cell in found.cells.values())


@FUZZ
@given(said=st.lists(st.one_of(mutated(), values), max_size=4))
def test_requests(store, said):
    client = TestClient(xapi.application(lambda scope: store), raise_server_exceptions=True)
    answer = client.post("/statements", content=json.dumps(said).encode(), headers=HEADERS)
    assert answer.status_code in (200, 400, 409)
    assert answer.headers["X-Experience-API-Version"] == "1.0.3"


@FUZZ
@given(
    path=st.text(max_size=20),
    query=st.text(max_size=20),
    headers=st.dictionaries(
        st.sampled_from(["X-Experience-API-Version", "Content-Type", "Content-Encoding", "Accept"]),
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12),
    ),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"]),
)
def test_addresses_and_headers(store, path, query, headers, method):
    client = TestClient(xapi.application(lambda scope: store))
    address = f"/{quote(path, errors='replace')}?{quote(query, errors='replace')}"
    assert client.request(method, address, headers=headers).status_code in (200, 400, 404, 405, 415)


@FUZZ
@given(
    lines=st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.one_of(mutated(), values).map(lambda value: json.dumps(value).encode()),
        ),
        max_size=6,
    )
)
def test_files(store, tmp_path, lines):
    path = tmp_path / "lrs.jsonl"
    path.write_bytes(b"\n".join(lines))
    taken = ingest_statements(store, REGISTRY, MAPPING, records_of(path, MAPPING), NOW)
    assert taken.rows == taken.written + taken.unchanged + taken.quarantined + taken.left_out or taken.already
    again = ingest_statements(store, REGISTRY, MAPPING, records_of(path, MAPPING), NOW)
    assert again.already
    assert again.written == 0


def shuffled(value, draw):
    if isinstance(value, dict):
        return {name: shuffled(value[name], draw) for name in draw(st.permutations(sorted(value)))}
    return [shuffled(one, draw) for one in value] if isinstance(value, list) else value


@FUZZ
@given(data=st.data(), number=st.integers(1, 50))
def test_the_order_of_properties_tells_nothing(data, number):
    one, other = made(number), shuffled(copy.deepcopy(made(number)), data.draw)
    bodies = [read_statement(said, 0, (), KEYS, NOW).body for said in (one, other)]
    assert bodies[0] == bodies[1]


@settings(FUZZ, max_examples=20)
@given(data=st.data())
def test_no_order_and_no_partition_of_statements_changes_what_is_held(tmp_path_factory, data):
    """Good statements, voiding ones and repetitions of both: what is left is what nothing voids."""
    plain_ones = [made(n) for n in range(1, 6)]
    voids = [voiding(100 + n, plain_ones[n]) for n in data.draw(st.sets(st.integers(0, 4)))]
    said = data.draw(
        st.permutations([*plain_ones, *voids, *data.draw(st.lists(st.sampled_from(plain_ones), max_size=4))])
    )
    whole = data.draw(st.booleans())
    expected = {one["id"] for one in plain_ones} - {one["object"]["id"] for one in voids}
    with store_of_kind("sqlite", tmp_path_factory.mktemp("order") / "store") as found:
        while said:
            size = data.draw(st.integers(1, len(said)))
            part, said = said[:size], said[size:]
            if whole:
                part = list({one["id"]: one for one in part}.values())
            ingest_statements(found, REGISTRY, MAPPING, list(enumerate(part)), NOW, whole=whole)
        with found.reading() as connection:
            items = {row.item for row in connection.execute(sa.select(learning_event))}
            ids = {row.id for row in connection.execute(sa.select(statement))}
        assert items == {found.pseudonyms.item("xapi", id) for id in expected}
        assert ids == {one["id"] for one in (*plain_ones, *voids)}


@settings(FUZZ, max_examples=60)
@given(said=st.lists(st.tuples(st.integers(1, 3), st.sampled_from([0.1, 0.6, 0.9])), min_size=1, max_size=6))
def test_a_refused_request_leaves_no_trace(store, said):
    before = everything(store)
    bodies = [made(1_000 + n, result={"score": {"scaled": score}}) for n, score in said]
    try:
        ingest_statements(store, REGISTRY, MAPPING, list(enumerate(bodies)), NOW, whole=True)
    except (StatementError, Conflict):
        event("refused")
        after = everything(store)
    else:
        after = before
    assert after == before


def everything(store):
    with store.reading() as connection:
        return [connection.execute(sa.select(table)).all() for table in (learning_event, statement)]
