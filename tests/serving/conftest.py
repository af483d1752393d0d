"""A running service in this process, tokens for every role, and a release that verifies."""

import contextlib
import json
import os
import socket
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from serving import database, launch
from serving.database import Recommendation, migrate
from serving.identity import issue_token, token_keys
from serving.problems import MEDIA_TYPE, SCIM_MEDIA_TYPE
from serving.settings import Settings
from tests.postgresql import own_database_or_skip
from tests.serving import small_records
from tests.serving.signed_release import SITE, registered_space, write_release

FEATURES = {"tenure_years": 2.5, "overtime_hours": 30.0, "work_mode": "onsite"}
REASON = "The overtime of the last months is known to the team."
CANARY = "canary-4711-of-somebody"


@dataclass(frozen=True)
class Place:
    """The files of one service."""

    release: Path
    state: Path
    records: tuple[Path, ...] = ()

    @property
    def url(self) -> str:
        return f"sqlite:///{self.state / 'kith.db'}"

    def token(self, role: str, subject: str | None = None, site: str = SITE, hours: float = 1) -> str:
        return issue_token(self.state, role, subject or f"{role}-1", site, hours)

    def environment(self) -> dict[str, str]:
        return Settings((self.release,), None, self.url, token_keys(self.state), self.records).to_environment()

    def running(self) -> contextlib.AbstractContextManager[str]:
        """A real process of the service, by its address; its log is in the state folder."""
        return launch.started([self.release], port=free_port(), records=self.records, state=self.state)


class Caller:
    """An HTTP client that speaks as one token's holder."""

    def __init__(self, http: httpx.Client, token: str | None) -> None:
        self.http = http
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.http.get(path, headers=self.headers | more.pop("headers", {}), **more)

    def post(self, path: str, body: object, **headers: str) -> httpx.Response:
        return self.send("POST", path, body, **headers)

    def send(self, method: str, path: str, body: object, **headers: str) -> httpx.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        all_headers = {"Content-Type": "application/json"} | self.headers | sent
        return self.http.request(method, path, content=json.dumps(body), headers=all_headers)

    def recommend(
        self, features: dict[str, Any] | None = None, employee: str = "p-17", **headers: str
    ) -> httpx.Response:
        return self.post("/v1/recommend", request(features, employee), **headers)

    def decide(self, id: str, decision: str = "approve", etag: str = '"1"', **changes: Any) -> httpx.Response:
        body = {"decision": decision, "reason_code": "evidence-supports", "reason": REASON} | changes
        return self.post(f"/v1/decisions/{id}/decide", body, If_Match=etag)


def assert_problem(answer: httpx.Response, status: int, name: str) -> None:
    """The answer is that problem of ours, and holds no canary."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == MEDIA_TYPE
    document = answer.json()
    assert set(document) >= {"type", "title", "status", "detail", "instance"}
    assert document["type"] == f"/problems/{name}"
    assert document["status"] == status
    assert CANARY not in answer.text


def assert_scim_error(answer: httpx.Response, status: int) -> None:
    """The answer is an error as SCIM has it, and holds no canary."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == SCIM_MEDIA_TYPE
    assert answer.json()["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:Error"]
    assert answer.json()["status"] == str(status)
    assert CANARY not in answer.text


def assert_refused(answer: httpx.Response, path: str, status: int, name: str) -> None:
    """The answer is that problem, told as SCIM has it below SCIM's path."""
    if path.startswith("/scim/v2"):
        assert_scim_error(answer, status)
    else:
        assert_problem(answer, status, name)


def request(features: dict[str, Any] | None = None, employee: str = "p-17", site: str = SITE) -> dict[str, Any]:
    return {"use_case": "retention", "site": site, "employee": employee, "features": features or FEATURES}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


As = Callable[..., Caller]


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_release(tmp_path_factory.mktemp("run") / "release")


@pytest.fixture(scope="session")
def shared_place(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(release, tmp_path_factory.mktemp("state"))
    database.migrate(place.url)
    return place


@pytest.fixture(scope="session")
def shared_http(shared_place: Place) -> Iterator[httpx.Client]:
    """One service for all tests that leave others' items alone; in this process, through every middleware."""
    before = dict(os.environ)
    os.environ.update(shared_place.environment())
    try:
        from serving.service import Kith

        with TestClient(Kith.to_asgi(), raise_server_exceptions=False) as http:
            yield http
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def place(shared_place: Place) -> Place:
    return shared_place


@pytest.fixture
def as_role(shared_http: httpx.Client, place: Place) -> As:
    """`as_role("reviewer", "ann")` speaks as reviewer ann of the release's first site."""

    def caller(role: str, subject: str | None = None, **claims: Any) -> Caller:
        return Caller(shared_http, place.token(role, subject, **claims))

    return caller


@pytest.fixture
def anonymous(shared_http: httpx.Client) -> Caller:
    return Caller(shared_http, None)


@pytest.fixture
def proposed(as_role: As) -> str:
    """Id of a fresh item that awaits one decision."""
    answer = as_role("application", "portal").recommend()
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "proposed"
    return str(answer.json()["id"])


def row(id="r1", stakes="medium", status="proposed", **changes):
    needed = {"low": 0, "medium": 1, "high": 2}[stakes]
    fields = {
        "id": id, "use_case": "retention", "site": "North", "employee": "p-1", "requested_by": "portal",
        "stakes": stakes, "decisions_needed": needed, "status": status, "version": 1, "inputs": "{}",
        "explanation": "{}", "actions": "[]", "model_digest": "m", "certificate_digest": "c", "request_digest": "d",
        "created_at": database.now(),
    }  # fmt: skip
    return Recommendation(**(fields | changes))


@pytest.fixture
def sqlite_url(tmp_path):
    url = f"sqlite:///{tmp_path / 'state' / 'kith.db'}"
    migrate(url)
    return url


@pytest.fixture
def postgresql_url():
    """A database of its own, dropped afterwards."""
    with own_database_or_skip() as url:
        migrate(url)
        yield url


@pytest.fixture(scope="session")
def registered_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release whose columns are the registry's features for retention."""
    return write_release(tmp_path_factory.mktemp("registered-run") / "release", space=registered_space())


@pytest.fixture(scope="session")
def recorded_place(registered_release: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Files of a service that has records of the release's first site and of one without a model."""
    folder = tmp_path_factory.mktemp("recorded")
    records = tuple(small_records.make(folder / site, site) for site in (SITE, small_records.ELSEWHERE))
    return Place(registered_release, folder / "state", records)


@pytest.fixture(scope="session")
def recorded_url(recorded_place: Place) -> Iterator[str]:
    with recorded_place.running() as url:
        yield url


@pytest.fixture
def recorded_as(recorded_url: str, recorded_place: Place) -> Iterator[As]:
    """As `as_role`, of the service with records, which is a process of its own."""
    with httpx.Client(base_url=recorded_url, timeout=60) as http:
        yield lambda role, subject=None, **claims: Caller(http, recorded_place.token(role, subject, **claims))


@pytest.fixture
def records(recorded_place: Place) -> Path:
    """The records folder of the release's first site."""
    return recorded_place.records[0]


@pytest.fixture
def number() -> str:
    """An employee number that nobody has yet."""
    return uuid.uuid4().hex[:12]


@pytest.fixture
def somebody(records: Path, number: str) -> str:
    """The pseudonym of somebody new at the release's first site, who was told."""
    return small_records.person(records, number)
