"""A running service in this process, tokens for every role, and a release that verifies."""

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
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from starlette.testclient import TestClient

from serving import database
from serving.database import Recommendation, migrate
from serving.identity import issue_token, token_keys
from serving.settings import Settings
from tests.serving.signed_release import SITE, write_release

POSTGRESQL = "postgresql+psycopg://root@127.0.0.1:5432"
FEATURES = {"tenure_years": 2.5, "overtime_hours": 30.0, "work_mode": "onsite"}
REASON = "The overtime of the last months is known to the team."


@dataclass(frozen=True)
class Place:
    """The files of one service."""

    release: Path
    state: Path

    @property
    def url(self) -> str:
        return f"sqlite:///{self.state / 'kith.db'}"

    def token(self, role: str, subject: str | None = None, site: str = SITE, hours: float = 1) -> str:
        return issue_token(self.state, role, subject or f"{role}-1", site, hours)

    def environment(self) -> dict[str, str]:
        return Settings((self.release,), None, self.url, token_keys(self.state)).to_environment()


class Caller:
    """An HTTP client that speaks as one token's holder."""

    def __init__(self, http: httpx.Client, token: str | None) -> None:
        self.http = http
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.http.get(path, headers=self.headers | more.pop("headers", {}), **more)

    def post(self, path: str, body: object, **headers: str) -> httpx.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(
            path, content=json.dumps(body), headers={"Content-Type": "application/json"} | self.headers | sent
        )

    def recommend(
        self, features: dict[str, Any] | None = None, employee: str = "p-17", **headers: str
    ) -> httpx.Response:
        return self.post("/v1/recommend", request(features, employee), **headers)

    def decide(self, id: str, decision: str = "approve", etag: str = '"1"', **changes: Any) -> httpx.Response:
        body = {"decision": decision, "reason_code": "evidence-supports", "reason": REASON} | changes
        return self.post(f"/v1/decisions/{id}/decide", body, If_Match=etag)


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
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    name = f"kith_test_{uuid.uuid4().hex[:12]}"
    server = sa.create_engine(f"{POSTGRESQL}/postgres?connect_timeout=2", isolation_level="AUTOCOMMIT")
    try:
        with server.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
    except SQLAlchemyError as error:
        pytest.skip(f"no PostgreSQL at 127.0.0.1:5432 that root may use: {type(error).__name__}")
    try:
        migrate(f"{POSTGRESQL}/{name}")
        yield f"{POSTGRESQL}/{name}"
    finally:
        with server.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
        server.dispose()
