"""xAPI: statements arrive once, unchanged, all or none; and of a statement only what the mapping asks for is kept."""

import copy
import gzip
import json
import threading
import uuid
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from privacy.errors import InputError, KithError
from privacy.pseudonyms import Pseudonyms
from records.access import erase
from records.connectors import xapi, xapi_statements
from records.connectors.strict_json import read_json
from records.connectors.xapi_reading import BOUNDS, MAX_BYTES, is_same, read_statement
from records.connectors.xapi_shapes import VOIDED, Misshapen
from records.connectors.xapi_statements import Conflict, StatementError, ingest_statements, records_of
from records.mapping import READY, load_mapping, parse_mapping
from records.registry import load_registry
from records.schema import batch, learning_event, log_entry, metadata, quarantine, statement
from tests.records.store_folder import KINDS, store_of_kind

NOW = datetime(2026, 3, 25, 12, tzinfo=UTC)
REGISTRY = load_registry()
MAPPING = load_mapping("xapi", REGISTRY)
HEADERS = {"X-Experience-API-Version": "1.0.3", "Content-Type": "application/json"}
ADL = "http://adlnet.gov/expapi/verbs/"
SOME_ID = "6f1c9a52-7d36-4c1e-9b50-2f3a8d4e7b01"
CMI5 = "https://w3id.org/xapi/adl/verbs/"


def made(n=1, **changes):
    """A statement of cmi5; a change of None takes a property away."""
    found = {
        "id": str(uuid.UUID(int=n, version=4)),
        "actor": {
            "objectType": "Agent",
            "name": "Ann Berg",
            "account": {"homePage": "https://lms.example", "name": "004711"},
        },
        "verb": {"id": f"{ADL}completed", "display": {"en-US": "completed"}},
        "object": {
            "objectType": "Activity",
            "id": "https://lms.example/courses/Fire%20Safety",
            "definition": {"name": {"en-US": "Fire safety"}, "type": "http://adlnet.gov/expapi/activities/course"},
        },
        "result": {"completion": True, "success": True, "score": {"scaled": 0.8}, "duration": "PT2H30M"},
        "context": {
            "registration": str(uuid.UUID(int=n + 1000, version=4)),
            "contextActivities": {"category": [{"id": "https://w3id.org/xapi/cmi5/context/categories/cmi5"}]},
            "extensions": {"https://lms.example/ip": {"address": "192.0.2.7", "nothing": None}},
        },
        "timestamp": "2026-02-04T10:11:12.345Z",
    }
    found.update(changes)
    return {name: part for name, part in found.items() if part is not None}


def put_in(value, path, new):
    """A copy with one property replaced (or, for `...`, taken away)."""
    found = copy.deepcopy(value)
    *way, last = path.split("/")
    inner = found
    for name in way:
        inner = inner[name]
    if new is ...:
        del inner[last]
    else:
        inner[last] = new
    return found


def voiding(n, target, **changes):
    reference = {"objectType": "StatementRef", "id": target["id"]}
    return made(n, verb={"id": VOIDED}, object=reference, result=None, context=None, **changes)


@pytest.fixture(params=KINDS)
def store(request, tmp_path):
    with store_of_kind(request.param, tmp_path / "store") as found:
        yield found


@pytest.fixture
def sqlite(tmp_path):
    with store_of_kind("sqlite", tmp_path / "store") as found:
        yield found


class Sender:
    """A learning system that speaks to the application."""

    def __init__(self, store):
        self.store = store
        self.client = TestClient(xapi.application(lambda scope: store))

    def post(self, body, **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.post("/statements", content=data, headers=HEADERS | headers)

    def put(self, body, id):
        return self.client.put("/statements", content=json.dumps(body), headers=HEADERS, params={"statementId": id})

    def rows(self, table=learning_event):
        with self.store.reading() as connection:
            return connection.execute(sa.select(table).order_by(*table.primary_key)).all()


@pytest.fixture
def lms(store):
    return Sender(store)


@pytest.fixture
def one(sqlite):
    return Sender(sqlite)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """For requests that store nothing."""
    with store_of_kind("sqlite", tmp_path_factory.mktemp("shared") / "store") as found:
        sender = Sender(found)
        yield sender
        assert [sender.rows(table) for table in (learning_event, statement, batch, quarantine)] == [[], [], [], []]


KEYS = Pseudonyms(bytes(32), "Alder")


def detail(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["X-Experience-API-Version"] == "1.0.3"
    assert answer.json()["status"] == status
    return answer.json()["detail"]


class TestTaken:
    def test_a_batch_becomes_facts_of_what_the_mapping_asks_for(self, lms):
        answer = lms.post([made(1), made(2, verb={"id": f"{ADL}failed"}, result={"score": {"scaled": 0.3}})])
        assert answer.status_code == 200
        assert answer.headers["X-Experience-API-Version"] == "1.0.3"
        assert answer.json() == [made(1)["id"], made(2)["id"]]
        first, second = lms.rows()
        assert first.subject == lms.store.pseudonyms.person("004711")
        assert first.item == lms.store.pseudonyms.item("xapi", made(1)["id"])
        assert (first.course_id, first.verb, first.duration_hours) == ("fire-safety", "completed", 2.5)
        assert (first.score_band, first.valid_from) == ("70 to 85", "2026-02-08")
        assert (second.verb, second.score_band, second.duration_hours) == ("failed", "below 50", None)

    def test_a_single_statement(self, one):
        assert one.post(made(1)).json() == [made(1)["id"]]
        assert len(one.rows()) == 1

    def test_a_put_statement(self, one):
        answer = one.put(made(1, id=None), made(1)["id"].upper())
        assert (answer.status_code, answer.content) == (204, b"")
        assert one.put(made(1), made(1)["id"]).status_code == 204
        assert len(one.rows()) == len(one.rows(statement)) == 1

    def test_a_statement_without_id_gets_one_and_is_another_each_time(self, one):
        ids = [one.post(made(1, id=None)).json()[0] for _ in range(2)]
        assert {str(uuid.UUID(id)) for id in ids} == set(ids)
        assert len(one.rows()) == len(set(ids)) == 2

    def test_an_empty_batch(self, one):
        assert one.post([]).json() == []
        assert one.rows(batch) == []

    def test_the_verbs_of_cmi5_and_adl(self, sqlite):
        meanings = {
            f"{ADL}registered": "enrolled",
            f"{ADL}launched": "launched",
            f"{ADL}initialized": "launched",
            f"{ADL}experienced": "progressed",
            f"{ADL}progressed": "progressed",
            f"{ADL}terminated": "progressed",
            f"{ADL}completed": "completed",
            f"{ADL}passed": "passed",
            f"{ADL}failed": "failed",
            f"{CMI5}abandoned": "dropped",
            f"{CMI5}satisfied": "completed",
            f"{CMI5}waived": "completed",
        }
        said = [(place, made(place, verb={"id": verb})) for place, verb in enumerate(meanings)]
        ingest_statements(sqlite, REGISTRY, MAPPING, said, NOW, whole=True)
        assert [row.verb for row in Sender(sqlite).rows()] == list(meanings.values())

    def test_no_other_word_of_a_statement_reaches_the_disk(self, one):
        said = made(1, result={"response": "Zebra", "duration": "PT1H", "extensions": {"x:Zebra": "Zebra"}})
        said["actor"]["name"] = said["object"]["definition"]["name"]["en-US"] = "Zebra"
        said["context"]["instructor"] = {"mbox": "mailto:Zebra@lms.example"}
        assert one.post([said, put_in(said, "id", str(uuid.uuid4())) | {"verb": {"id": "http://x.example/Zebra"}}])
        files = b"".join(file.read_bytes() for file in one.store.folder.rglob("*") if file.is_file())
        assert len(one.rows()) == len(one.rows(quarantine)) == 1
        for word in (b"Zebra", b"zebra", b"004711", b"192.0.2.7", b"lms.example", b"2026-02-04"):
            assert word not in files

    def test_a_statement_of_tomorrow_counts_for_this_week(self, sqlite):
        ahead = made(1, timestamp=(NOW + timedelta(days=30)).isoformat())
        ingest_statements(sqlite, REGISTRY, MAPPING, [(0, ahead), (1, made(2, timestamp=None))], NOW)
        assert {row.valid_from for row in Sender(sqlite).rows()} == {"2026-03-29"}

    def test_what_was_learned_later_in_a_week_is_not_known_on_its_monday(self, sqlite):
        ingest_statements(sqlite, REGISTRY, MAPPING, [(0, made(1, timestamp="2026-02-06T15:00:00Z"))], NOW)
        [row] = Sender(sqlite).rows()
        assert "2026-02-06" <= row.valid_from == "2026-02-08"

    def test_what_the_mapping_can_not_use_is_quarantined_and_taken_in_once_it_can(self, sqlite):
        odd = made(1, verb={"id": "http://verbs.example/pondered"})
        person = made(2, object={"objectType": "Agent", "mbox": "mailto:a@b.example"})
        for _ in range(2):
            taken = ingest_statements(sqlite, REGISTRY, MAPPING, [(0, odd), (1, person)], NOW, whole=True)
        assert taken.already
        sender = Sender(sqlite)
        held = [(row.place, row.column) for row in sender.rows(quarantine)]
        assert held == [(0, "verb.id"), (1, "object.objectType")]
        assert sender.rows(statement) == []
        with_it = (MAPPING_TEXT + '"http://verbs.example/pondered" = "progressed"\n').encode()
        ingest_statements(sqlite, REGISTRY, parse_mapping(with_it, REGISTRY), [(0, odd)], NOW, whole=True)
        assert [row.verb for row in sender.rows()] == ["progressed"]


MAPPING_TEXT = (READY / "xapi.toml").read_text(encoding="utf-8")


class TestOnce:
    def test_the_same_again_changes_nothing(self, lms):
        lms.post([made(1), made(2)])
        before = lms.store.revision(), lms.rows(), lms.rows(batch)
        assert lms.post([made(2), made(1)]).status_code == 200
        assert lms.post(made(1)).status_code == 200
        assert (lms.store.revision(), lms.rows(), lms.rows(batch)) == before

    def test_another_body_is_a_conflict_and_nothing_of_its_batch_gets_in(self, lms):
        lms.post(made(1))
        changed = put_in(made(1), "result/score/scaled", 0.9)
        assert detail(lms.post([made(2), changed, made(3)]), 409).startswith("statements[1].id: expected")
        assert detail(lms.put(changed, made(1)["id"]), 409).startswith("statements[0].id")
        assert (len(lms.rows()), lms.rows()[0].score_band) == (1, "70 to 85")
        assert len(lms.rows(statement)) == 1

    def test_an_id_twice_in_a_request_is_refused(self, one):
        assert "twice" in detail(one.post([made(1), made(2), made(1)]), 400)
        assert one.rows() == one.rows(statement) == []

    def test_the_same_id_in_other_letters_is_the_same_id(self, one):
        lower = made(1, id="abcdefab-cdef-4bcd-8fab-cdefabcdefab")
        one.post(lower)
        assert one.post(lower | {"id": lower["id"].upper()}).status_code == 200
        assert len(one.rows()) == 1

    @pytest.mark.parametrize(
        ("path", "new"),
        [
            ("stored", "2026-03-01T00:00:00Z"),
            ("version", "1.0.0"),
            ("authority", {"account": {"homePage": "https://x.example", "name": "lms"}}),
            ("timestamp", ...),
            ("timestamp", "2026-02-04T11:11:12.345+01:00"),
            ("timestamp", "2026-02-04T10:11:12.3450Z"),
            ("verb/display", {"nb": "fullført"}),
            ("verb/display", ...),
            ("object/definition", {"name": {"nb": "Brann"}}),
            ("object/definition", ...),
            ("context/registration", str(uuid.UUID(int=1001, version=4)).upper()),
            ("context/contextActivities/category", {"id": "https://w3id.org/xapi/cmi5/context/categories/cmi5"}),
            ("context/team/member", [{"mbox": "mailto:b@X.example"}, {"mbox": "mailto:a@x.example"}]),
            ("result/duration", "PT2H30M10.1234S"),
        ],
    )
    def test_differences_that_an_lrs_may_make_are_none(self, path, new):
        base = made(1)
        base["context"]["team"] = {
            "objectType": "Group",
            "member": [{"mbox": "mailto:a@x.example"}, {"mbox": "mailto:b@x.example"}],
        }
        base["result"]["duration"] = "PT2H30M10.12S" if "duration" in path else "PT2H"
        bodies = [body_of(one) for one in (base, put_in(base, path, new))]
        assert is_same(*bodies)
        assert is_same(*reversed(bodies))

    @pytest.mark.parametrize(
        ("path", "new"),
        [
            ("actor/account/name", "004712"),
            ("actor/name", "Anna Berg"),
            ("verb/id", f"{ADL}passed"),
            ("object/id", "https://lms.example/courses/fire%20safety"),
            ("result/duration", "PT150M"),
            ("result/score/scaled", 0.81),
            ("result/success", False),
            ("result", ...),
            ("context/registration", str(uuid.UUID(int=7, version=4))),
            ("context/extensions", {"https://lms.example/ip": {"address": "192.0.2.8"}}),
            ("context/contextActivities/category", [{"id": "https://w3id.org/xapi/cmi5/context/categories/moveon"}]),
            ("timestamp", "2026-02-04T10:11:12.346Z"),
            ("timestamp", "2026-02-04T10:11:12.345+01:00"),
        ],
    )
    def test_other_differences_are(self, path, new):
        assert not is_same(body_of(made(1)), body_of(put_in(made(1), path, new)))

    def test_numbers_are_compared_by_what_they_are(self):
        bodies = [
            body_of(read_json(json.dumps(made(1)).replace("0.8", score).encode(), "body", BOUNDS))
            for score in ("1", "1.0", "10e-1")
        ]
        assert len(set(bodies)) == 1

    def test_of_two_writers_at_once_one_gets_a_conflict(self, store):
        outcomes = []

        def write(score):
            said = put_in(made(1), "result/score/scaled", score)
            mapping = load_mapping("xapi", REGISTRY)
            try:
                outcomes.append(ingest_statements(store, REGISTRY, mapping, [(0, said)], NOW, whole=True).written)
            except Conflict:
                outcomes.append("conflict")

        threads = [threading.Thread(target=write, args=(score / 10,)) for score in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(map(str, outcomes)) == ["1", "conflict", "conflict", "conflict"]
        assert len(Sender(store).rows()) == 1


def body_of(value):
    return read_statement(value, 0, (), KEYS, NOW).body


class TestVoided:
    def test_a_voided_statement_leaves_no_fact(self, lms):
        lms.post([made(1), made(2)])
        assert lms.post(voiding(3, made(1))).status_code == 200
        assert [row.item for row in lms.rows()] == [lms.store.pseudonyms.item("xapi", made(2)["id"])]
        assert json.loads(lms.rows(log_entry)[-1].document)["event"] == "voided"
        with lms.store.reading() as connection:
            lms.store.check_log(connection)

    def test_it_does_not_come_back(self, lms):
        lms.post(made(1))
        lms.post(voiding(3, made(1)))
        assert lms.post(made(1)).status_code == 200
        assert lms.rows() == []
        assert lms.post(made(4)).status_code == 200
        assert len(lms.rows()) == 1

    def test_voided_before_it_came(self, lms):
        lms.post(voiding(3, made(1)))
        assert lms.post([made(1), made(2)]).status_code == 200
        assert [row.item for row in lms.rows()] == [lms.store.pseudonyms.item("xapi", made(2)["id"])]
        assert detail(lms.post(put_in(made(1), "result", ...)), 409)

    @pytest.mark.parametrize("turned", [False, True])
    def test_voided_in_the_same_batch(self, one, turned):
        said = [made(1), made(2), voiding(3, made(1))]
        one.post(said[::-1] if turned else said)
        assert len(one.rows()) == 1
        one.post(said)
        assert len(one.rows()) == 1

    def test_voiding_twice_changes_nothing(self, one):
        one.post([made(1), voiding(3, made(1))])
        assert one.post(voiding(4, made(1))).status_code == 200
        assert one.rows() == []

    def test_a_statement_that_voids_can_not_be_voided(self, one):
        one.post([made(1), voiding(3, made(1))])
        assert "statements[1].object.id" in detail(one.post([made(2), voiding(4, made(3))]), 400)
        assert "object.id" in detail(one.post([voiding(5, made(6)), voiding(6, made(7))]), 400)
        assert "object.id" in detail(one.post(voiding(8, made(8))), 400)
        assert one.rows() == []
        assert len(one.rows(statement)) == 2

    def test_a_voiding_statement_that_was_voided_before_it_came_voids_all_the_same(self, one):
        one.post(made(1))
        one.post(voiding(4, made(3)))
        assert one.post(voiding(3, made(1))).status_code == 200
        assert one.rows() == []

    def test_a_quarantined_statement_that_was_voided_stays_out(self, sqlite):
        odd = made(1, verb={"id": "http://verbs.example/pondered"})
        ingest_statements(sqlite, REGISTRY, MAPPING, [(0, odd), (1, voiding(3, odd))], NOW)
        with_it = (MAPPING_TEXT + '"http://verbs.example/pondered" = "progressed"\n').encode()
        ingest_statements(sqlite, REGISTRY, parse_mapping(with_it, REGISTRY), [(0, odd)], NOW)
        assert Sender(sqlite).rows() == Sender(sqlite).rows(quarantine) == []

    @pytest.mark.parametrize(
        "thing", [{"id": "https://lms.example/c"}, {"objectType": "Agent", "mbox": "mailto:a@b.c"}]
    )
    def test_only_a_statement_is_voided(self, one, thing):
        assert "StatementRef" in detail(one.post(made(1, verb={"id": VOIDED}, object=thing)), 400)


class TestErased:
    def test_nothing_is_stored_of_who_was_erased_and_the_answer_does_not_tell(self, lms):
        lms.post([made(1), made(2)])
        erase(lms.store, lms.store.pseudonyms.person("004711"), NOW)
        assert lms.rows() == lms.rows(statement) == []
        other = put_in(made(4), "actor/account/name", "004712")
        for said in ([made(1), made(3)], other, put_in(made(1), "result", ...), voiding(5, made(1))):
            assert lms.post(said).status_code == 200
        assert [row.item for row in lms.rows()] == [lms.store.pseudonyms.item("xapi", other["id"])]
        mine = lms.store.pseudonyms.person("004711")
        assert not [row for table in metadata.sorted_tables for row in lms.rows(table) if mine in row]

    def test_a_whole_export_counts_again_for_who_comes_back(self, sqlite):
        from records.access import readmit

        subject = sqlite.pseudonyms.person("004711")
        said = list(enumerate([made(1), made(2)]))
        ingest_statements(sqlite, REGISTRY, MAPPING, said, NOW)
        erase(sqlite, subject, NOW)
        assert ingest_statements(sqlite, REGISTRY, MAPPING, said, NOW).left_out == 2
        readmit(sqlite, subject, NOW)
        assert ingest_statements(sqlite, REGISTRY, MAPPING, said, NOW).written == 2
        assert len(Sender(sqlite).rows()) == 2


REFUSED = [
    ("actor", {"mbox": "mailto:ann@lms.example"}, "actor", "account"),
    ("actor", {"mbox_sha1sum": "a" * 40}, "actor", "account"),
    ("actor", {"openid": "https://ann.example"}, "actor", "account"),
    ("actor", {"objectType": "Group", "member": [{"mbox": "mailto:a@b.c"}]}, "actor", "group"),
    ("actor/member", [], "actor", "group"),
    ("actor/mbox", "mailto:ann@lms.example", "actor", "account"),
    ("actor/account", ..., "actor", "exactly one"),
    ("actor/account/name", ..., "actor.account.name", "got nothing"),
    ("actor/account/name", "", "actor.account.name", "name"),
    ("actor/account/name", "x" * 201, "actor.account.name", "name"),
    ("actor/account/name", 4711, "actor.account.name", "int"),
    ("actor/account/homePage", "lms", "actor.account.homePage", "IRI"),
    ("actor", ..., "actor", "got nothing"),
    ("actor", None, "actor", "null"),
    ("verb", ..., "verb", "got nothing"),
    ("verb/id", "completed", "verb.id", "IRI"),
    ("verb/display", {"english!": "x"}, "verb.display", "language"),
    ("verb/Display", {}, "verb", "no properties but"),
    ("object/id", ..., "object.id", "got nothing"),
    ("object/objectType", "Thing", "object.objectType", "one of"),
    ("object/definition/name", "Fire", "object.definition.name", "object"),
    ("object/definition/interactionType", "guess", "object.definition.interactionType", "choice"),
    ("object", {"objectType": "SubStatement", "actor": {"mbox": "mailto:a@b.c"}}, "object.verb", "got nothing"),
    ("object", {"objectType": "StatementRef", "id": "1"}, "object.id", "UUID"),
    ("object", {"objectType": "StatementRef", "id": str(uuid.UUID(int=5))}, "context", "revision"),
    ("result/score/scaled", 1.5, "result.score.scaled", "-1 to 1"),
    ("result/score/scaled", "0.5", "result.score.scaled", "str"),
    ("result/score/scaled", True, "result.score.scaled", "bool"),
    ("result/score", {"min": 1, "max": 1}, "result.score", "min below max"),
    ("result/score", {"raw": 5, "max": 4}, "result.score", "raw"),
    ("result/success", "yes", "result.success", "true or false"),
    ("result/duration", "2 hours", "result.duration", "duration"),
    ("result/duration", "P", "result.duration", "duration"),
    ("result/duration", "P4W1D", "result.duration", "duration"),
    ("result/extensions", {"not an iri": 1}, "result.extensions", "IRI"),
    ("result/response", None, "result.response", "null"),
    ("context/registration", "7", "context.registration", "UUID"),
    ("context/contextActivities/sibling", [], "context.contextActivities", "no properties but"),
    ("context/team", {"mbox": "mailto:a@b.c"}, "context.team.objectType", "got nothing"),
    ("timestamp", "2026-02-04", "timestamp", "offset"),
    ("timestamp", "2026-02-04T10:11:12", "timestamp", "offset"),
    ("timestamp", "2026-02-30T10:11:12Z", "timestamp", "offset"),
    ("timestamp", "0001-01-01T00:00:00+23:59", "timestamp", "offset"),
    ("timestamp", 7, "timestamp", "int"),
    ("version", "1.1.0", "version", "1.0.x"),
    ("id", "not-a-uuid", "id", "UUID"),
    ("id", "{" + SOME_ID + "}", "id", "UUID"),
    ("attachments", [{"usageType": "x:y"}], "attachments.display", "got nothing"),
    ("extra", 1, "", "no properties but"),
    ("Actor", {}, "", "no properties but"),
]


class TestRefused:
    @pytest.mark.parametrize(("path", "new", "column", "words"), REFUSED)
    def test_a_misshapen_statement_names_its_index_and_property(self, shared, path, new, column, words):
        said = put_in(made(2), path, new)
        if column == "context" and words == "revision":
            said["context"]["revision"] = "1"
        with pytest.raises(StatementError) as refused:
            ingest_statements(shared.store, REGISTRY, MAPPING, [(0, made(1)), (1, said)], NOW, whole=True)
        where, _, reason = str(refused.value).partition(": ")
        assert where == f"statements[1]{'.' if column else ''}{column}"
        assert words in reason
        with pytest.raises(Misshapen):
            read_statement(said, 0, (), KEYS, NOW)

    def test_the_answer_holds_no_value(self, shared):
        said = [made(1), put_in(made(2), "actor", {"mbox": "mailto:ann.berg@lms.example"})]
        words = detail(shared.post(said), 400)
        assert words.startswith("statements[1].actor: expected the person's account")
        assert "ann" not in words
        unknown = detail(shared.post(made(1, **{"Ann Berg": "Zebra"})), 400)
        assert "Ann" not in unknown
        assert "Zebra" not in unknown

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"\xff\xfe",
            b"null",
            b"7",
            b'"text"',
            b"[7]",
            b"[[]]",
            b'{"id": 1, "id": 1}',
            b"[NaN]",
            b"[-Infinity]",
            b"[1e999]",
            b"[1" + b"0" * 5_000 + b"]",
            b"[" * 100_000,
            b'{"a":' * 40 + b"1" + b"}" * 40,
            b'{"x": "\\ud800"}',
            b'{"\\udfff": 1}',
            b"[" + b"{}," * 500_000 + b"{}]",
            b"\xef\xbb\xbf{}",
        ],
        ids=lambda body: repr(body[:12]),
    )
    def test_json_that_is_hostile_or_none(self, shared, body):
        detail(shared.post(body), 400)

    def test_a_duplicate_key_deep_inside(self, shared):
        body = json.dumps(made(1)).replace('"scaled": 0.8', '"scaled": 0.8, "scaled": 0.9').encode()
        assert "every key once" in detail(shared.post(body), 400)

    def test_too_many_statements(self, shared):
        assert "at most 10000" in detail(shared.post(b"[" + b"{}," * 10_000 + b"{}]"), 400)

    def test_a_body_that_is_too_large(self, shared):
        assert str(MAX_BYTES) in detail(shared.post(b" " * (MAX_BYTES + 1)), 413)

    def test_a_body_that_claims_to_be_small(self, shared):
        chunks = (b" " * 2**20 for _ in range(20))
        answer = shared.client.post("/statements", content=chunks, headers=HEADERS)
        detail(answer, 413)

    @pytest.mark.parametrize("version", [None, "", "0.95", "1.1.0", "2.0.0", "1.0.x"])
    def test_the_version_is_asked_for(self, shared, version):
        headers = {name: value for name, value in HEADERS.items() if name == "Content-Type"}
        if version is not None:
            headers["X-Experience-API-Version"] = version
        answer = shared.client.post("/statements", content=json.dumps(made(1)), headers=headers)
        assert "X-Experience-API-Version" in detail(answer, 400)

    @pytest.mark.parametrize("version", ["1.0", "1.0.0", "1.0.9"])
    def test_every_1_0_is_taken(self, one, version):
        assert one.post(made(1), **{"X-Experience-API-Version": version}).status_code == 200

    @pytest.mark.parametrize("kind", ["text/plain", "multipart/mixed; boundary=x", "application/json; charset=latin-1"])
    def test_other_content_is_not_taken(self, shared, kind):
        assert "application/json" in detail(shared.post(made(1), **{"Content-Type": kind}), 400)

    def test_compressed_content_is_not_taken(self, shared):
        detail(shared.post(gzip.compress(json.dumps(made(1)).encode()), **{"Content-Encoding": "gzip"}), 415)

    @pytest.mark.parametrize(
        ("method", "address"),
        [
            ("PUT", "/statements"),
            ("PUT", "/statements?statementId=7"),
            ("PUT", "/statements?StatementId=" + SOME_ID),
            ("PUT", f"/statements?statementId={SOME_ID}&statementId={SOME_ID}"),
            ("POST", "/statements?method=PUT"),
            ("POST", f"/statements?statementId={SOME_ID}"),
        ],
    )
    def test_other_parameters_are_refused(self, shared, method, address):
        detail(shared.client.request(method, address, content=json.dumps(made(1)), headers=HEADERS), 400)

    def test_a_put_of_another_id_or_of_several_is_refused(self, shared):
        assert "statements[0].id" in detail(shared.put(made(1), str(uuid.uuid4())), 400)
        assert "object" in detail(shared.put([made(1)], made(1)["id"]), 400)

    @pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
    def test_there_is_nothing_to_get(self, shared, method):
        answer = shared.client.request(method, "/statements", headers=HEADERS)
        assert answer.status_code == 405
        assert {"POST", "PUT"} <= set(answer.headers["allow"].replace(" ", "").split(","))
        assert answer.headers["X-Experience-API-Version"] == "1.0.3"
        if method == "GET":
            assert "keeps none" in detail(answer, 405)

    @pytest.mark.parametrize("address", ["/activities/state", "/statements/", "/", "/about/", "/agents"])
    def test_no_other_resource(self, shared, address):
        assert "Learning Record Store" in detail(shared.client.get(address, headers=HEADERS), 404)

    def test_about_needs_no_version(self, shared):
        answer = shared.client.get("/about")
        assert (answer.status_code, answer.json()) == (200, {"version": ["1.0.3"]})
        assert answer.headers["X-Experience-API-Version"] == "1.0.3"

    def test_a_store_that_does_not_answer_is_an_error_without_values(self):
        def store_of(scope):
            raise KithError("database: secret")

        client = TestClient(xapi.application(store_of))
        answer = client.post("/statements", content=json.dumps(made(1)), headers=HEADERS)
        assert "secret" not in detail(answer, 500)


class TestFiles:
    def write(self, path, *lines):
        data = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
        return path

    @pytest.mark.parametrize("name", ["lrs.jsonl", "lrs.jsonl.gz"])
    def test_each_line_stands_alone(self, store, tmp_path, name):
        lines = [
            made(1),
            b"",
            b"{not json",
            put_in(made(2), "actor", {"mbox": "mailto:a@b.example"}),
            made(1),
            put_in(made(1), "result", ...),
            made(3, id=None),
            made(3, id=None),
            voiding(4, voiding(5, made(1))),
            voiding(5, made(6)),
            made(6),
            b'{"a": "' + b"x" * 2**21 + b'"}',
            made(7),
        ]
        path = self.write(tmp_path / name, *lines)
        taken = ingest_statements(store, REGISTRY, MAPPING, records_of(path, MAPPING), NOW)
        sender = Sender(store)
        assert [row.place for row in sender.rows(quarantine)] == [2, 3, 5, 8, 11]
        assert [row.column for row in sender.rows(quarantine)] == ["", "actor", "id", "object.id", ""]
        assert len(sender.rows()) == 3
        assert (taken.rows, taken.written, taken.unchanged, taken.quarantined) == (12, 4, 3, 5)
        before = store.revision()
        again = ingest_statements(store, REGISTRY, MAPPING, records_of(path, MAPPING), NOW)
        assert (again.already, again.written, store.revision()) == (True, 0, before)

    def test_blocks_are_taken_in_one_by_one(self, sqlite, tmp_path):
        lines = [made(n) for n in range(2_100)]
        path = self.write(tmp_path / "lrs.jsonl", *lines, put_in(made(5), "result", ...), voiding(9_999, made(7)))
        taken = ingest_statements(sqlite, REGISTRY, MAPPING, records_of(path, MAPPING), NOW)
        assert (taken.written, taken.quarantined) == (2_101, 1)
        assert len(Sender(sqlite).rows()) == 2_099
        assert len(Sender(sqlite).rows(batch)) == 3

    def test_a_file_and_a_request_know_each_others_statements(self, one, tmp_path):
        path = self.write(tmp_path / "lrs.jsonl", made(1), made(2))
        ingest_statements(one.store, REGISTRY, MAPPING, records_of(path, MAPPING), NOW)
        assert one.post([made(1), made(3)]).status_code == 200
        assert detail(one.post(put_in(made(2), "result", ...)), 409)
        assert len(one.rows()) == 3

    def test_a_file_that_can_not_be_read(self, tmp_path):
        for path, data in ((tmp_path / "x.jsonl.gz", b"no gzip"), (tmp_path / "none.jsonl", None)):
            if data:
                path.write_bytes(data)
            with pytest.raises(InputError, match="JSON lines"):
                list(records_of(path, MAPPING))

    @pytest.mark.parametrize("data", [b"\n" * 10_000, b" " * 2**22], ids=["blank lines", "one line"])
    def test_a_gzip_file_that_unpacks_without_end_is_refused(self, tmp_path, monkeypatch, data):
        monkeypatch.setattr(xapi_statements, "MAX_FILE_BYTES", 5_000)
        path = self.write(tmp_path / "x.jsonl.gz", data)
        with pytest.raises(InputError, match="5000 bytes"):
            list(records_of(path, MAPPING))

    def test_a_cut_gzip_file(self, tmp_path):
        path = self.write(tmp_path / "x.jsonl.gz", *[made(n) for n in range(50)])
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(InputError, match="JSON lines"):
            list(records_of(path, MAPPING))


class TestMappings:
    def test_accounts_of_one_system_only(self, sqlite):
        text = MAPPING_TEXT.replace("# when =", "when =")
        mapping = parse_mapping(text.encode(), REGISTRY)
        other = put_in(made(2), "actor/account/homePage", "https://crm.example")
        taken = ingest_statements(sqlite, REGISTRY, mapping, [(0, made(1)), (1, other)], NOW, whole=True)
        assert (taken.written, taken.unchanged) == (1, 1)
        assert len(Sender(sqlite).rows(statement)) == 1

    @pytest.mark.parametrize(
        ("iri", "code"),
        [
            ("https://lms.example/courses/42", "42"),
            ("https://lms.example/course/view.php?id=42", "view-php-id-42"),
            ("https://lms.example/courses/fire%20Safety/", "fire-safety"),
            ("urn:uuid:1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed", "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"),
            ("https://lms.example/courses#safety", "safety"),
            ("https://lms.example/日本", "日本"),
            ("https://lms.example/---", "---"),
        ],
    )
    def test_codes_of_courses_are_short_and_plain(self, iri, code):
        said = put_in(made(1), "object/id", iri)
        assert read_statement(said, 0, ("object.code",), KEYS, NOW).cells == {"object.code": code}

    @pytest.mark.parametrize("last", ["---", "x" * 81])
    def test_a_course_without_a_code_is_quarantined(self, sqlite, last):
        said = put_in(made(1), "object/id", f"https://lms.example/{last}")
        ingest_statements(sqlite, REGISTRY, MAPPING, [(0, said)], NOW, whole=True)
        assert [row.column for row in Sender(sqlite).rows(quarantine)] == ["object.code"]

    def test_any_plain_property_is_a_cell(self):
        wanted = ("result.success", "result.score.scaled", "context.registration", "object", "no.such", "week", "id")
        cells = read_statement(made(1), 0, wanted, KEYS, NOW).cells
        assert cells == {
            "result.success": "true",
            "result.score.scaled": "0.8",
            "context.registration": made(1)["context"]["registration"],
            "object": None,
            "no.such": None,
            "week": "2026-02-08",
            "id": made(1)["id"],
        }

    def test_the_sites_own_mapping_is_used(self, tmp_path):
        with store_of_kind("sqlite", tmp_path / "store") as found:
            folder = found.folder
        (folder / "mine.toml").write_text(MAPPING_TEXT.replace('"completed"', '"passed"'), encoding="utf-8")
        with (folder / "records.toml").open("a") as file:
            file.write('[xapi]\nmapping = "mine.toml"\n')
        from records.store import open_store

        store = open_store(folder)
        sender = Sender(store)
        assert sender.post(made(1)).status_code == 200
        assert sender.rows()[0].verb == "passed"
        store.close()
