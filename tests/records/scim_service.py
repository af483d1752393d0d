"""A SCIM client of a store on a fixed day, without a network."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Table, func, select
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from records.connectors.scim import application
from records.schema import batch, person
from records.store import Store

CORE = "urn:ietf:params:scim:schemas:core:2.0:User"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
EMPLOYMENT = "urn:kith:scim:schemas:1.0:Employment"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
SEARCH = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"
TODAY = datetime(2026, 5, 20, 12, tzinfo=UTC)


class Service:
    """The service provider of a store. `now` is its time."""

    def __init__(self, store: Store, now: datetime = TODAY) -> None:
        self.store = store
        self.now = now
        app = Starlette(routes=[Mount("/scim/v2", app=application(lambda scope: store, lambda: self.now))])
        self.http = TestClient(app, base_url="https://kith.example/scim/v2", raise_server_exceptions=False)

    def create(self, **attributes: Any) -> dict[str, Any]:
        answer = self.http.post("/Users", json=user(**attributes))
        assert answer.status_code == 201, answer.text
        return answer.json()

    def patch(self, id: str, *operations: dict[str, Any], **headers: str) -> Any:
        message = {"schemas": [PATCH], "Operations": list(operations)}
        return self.http.patch(f"/Users/{id}", json=message, headers=headers)

    def rows(self, table: Table) -> int:
        with self.store.reading() as connection:
            return int(connection.execute(select(func.count()).select_from(table)).scalar_one())

    def facts(self, number: str = "4711") -> list[dict[str, Any]]:
        """The versions of a person's record, oldest first, without what is not stated."""
        subject = self.store.pseudonyms.person(number)
        with self.store.reading() as connection:
            rows = connection.execute(
                select(person, batch.c.source, batch.c.connector)
                .join(batch, batch.c.number == person.c.batch)
                .where(person.c.subject == subject)
                .order_by(person.c.valid_from)
            ).mappings()
            return [{key: value for key, value in row.items() if value is not None} for row in rows]


def user(
    login: str = "ada@alder.example",
    number: str | None = "4711",
    enterprise: dict[str, Any] | None = None,
    employment: dict[str, Any] | None = None,
    **core: Any,
) -> dict[str, Any]:
    """A User as an identity provider writes it."""
    extension = {**({"employeeNumber": number} if number is not None else {}), **(enterprise or {})}
    stated = {"hireDate": "2020-02-03"} if employment is None else employment
    return {
        "schemas": [CORE, ENTERPRISE, EMPLOYMENT],
        "userName": login,
        "active": True,
        **core,
        **({ENTERPRISE: extension} if extension else {}),
        **({EMPLOYMENT: stated} if stated else {}),
    }
