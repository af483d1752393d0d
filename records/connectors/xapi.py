"""Where learning systems send xAPI 1.0.3 statements: an ASGI application below any address.

`POST statements` (one or a batch), `PUT statements?statementId=`, `GET about`. Kith learns from statements and keeps
none, so it is no Learning Record Store: there is nothing to get, and no other resource.

Rules
1. A request is taken as a whole or not at all, and answered once it is on disk.
2. Whoever sends is known and allowed before this application is reached; what a sender may not do is not known here.
3. Every answer bears the version of the standard; every request but for `about` has to.
4. A body is JSON of at most `MAX_BYTES`; attachments are not taken, and what statements point to is not fetched.
5. A refusal names the statement by its number in the request, and the property; never what it held.
6. A statement that the site's mapping can not use (an unknown verb, say) is a good statement all the same: it is
   answered like any other, quarantined with its reason, and taken in when it comes again after the mapping was mended.
7. So is one of a person who was erased, of which nothing is stored: an answer of its own would tell who was. What is
   not stored can not conflict either: a sender that twice uses an id for such a person, with other bodies, may notice.
"""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Scope

from privacy.errors import InputError, KithError, Refused
from records.connectors.strict_json import read_json
from records.connectors.xapi_reading import BOUNDS, MAX_BYTES
from records.connectors.xapi_statements import Conflict, StatementError, ingest_statements
from records.mapping import Mapping, load_mapping
from records.registry import load_registry
from records.store import Store

VERSION: Final = "1.0.3"
HEADER: Final = "X-Experience-API-Version"
MAX_STATEMENTS: Final = 10_000
PROBLEM: Final = "application/problem+json"
MAPPING: Final = "xapi"
"""The ready mapping, where the site's settings name no other."""
_VERSION: Final = re.compile(r"1\.0(?:\.[0-9]{1,3})?")
_UUID: Final = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_TITLES: Final = {
    400: "The request is not as xAPI 1.0.3 has it",
    403: "That may not be done here",
    404: "There is no such resource",
    405: "This resource takes another method",
    409: "Another statement has this id",
    413: "The body is too large",
    415: "Only plain JSON is taken",
    500: "The records can not be written to",
}

Handler = Callable[[Request], Awaitable[Response]]


def application(store_of: Callable[[Scope], Store]) -> ASGIApp:
    """The application; `store_of` gives the store that a request's sender writes to (rule 2)."""
    service = _Service(store_of)
    statements = Route("/statements", service.statements, methods=["POST", "PUT"])
    about = Route("/about", _about, methods=["GET"])
    app = Starlette(
        routes=[statements, about],
        exception_handlers={HTTPException: _no_route, KithError: _refused, ClientDisconnect: _cut_short},
    )
    app.router.redirect_slashes = False
    return app


class _Service:
    """Takes statements into the stores of their senders."""

    def __init__(self, store_of: Callable[[Scope], Store]) -> None:
        self._store_of = store_of
        self._compiled = threading.local()

    async def statements(self, request: Request) -> Response:
        """Store what was sent (rule 1)."""
        _check_headers(request)
        put = _put_id(request)
        body = await _body(request)
        store = self._store_of(request.scope)
        ids = await run_in_threadpool(self._take, store, body, put)
        return Response(status_code=204, headers=_headers()) if put else JSONResponse(ids, headers=_headers())

    def _take(self, store: Store, body: bytes, put: str | None) -> list[str]:
        """The ids of the statements, once all are stored."""
        sent = read_json(body, "body", BOUNDS)
        values = sent if isinstance(sent, list) and put is None else [sent]
        if len(values) > MAX_STATEMENTS:
            raise InputError(f"body: expected at most {MAX_STATEMENTS} statements, got {len(values)}")
        named = [_named(value, place, put) for place, value in enumerate(values)]
        ingest_statements(store, load_registry(), self._mapping(store), enumerate(named), datetime.now(UTC), whole=True)
        return [value["id"] for value in named]

    def _mapping(self, store: Store) -> Mapping:
        """The site's mapping, compiled once for each thread: it remembers what it reads."""
        named = store.settings.xapi_mapping or MAPPING
        compiled: dict[str, Mapping] = self._compiled.__dict__
        if str(named) not in compiled:
            mapping = load_mapping(named, load_registry())
            if mapping.kind != "xapi":
                raise KithError("xapi: expected a mapping of this kind in the site's settings, got another")
            compiled[str(named)] = mapping
        return compiled[str(named)]


def _named(value: Any, place: int, put: str | None) -> Any:
    """The statement with an id: its own, that of the address, or a new one."""
    if not isinstance(value, dict):
        raise StatementError(place, "", f"expected an object, got {type(value).__name__}")
    if put and str(value.get("id", put)).lower() != put.lower():
        raise StatementError(place, "id", "expected the statementId of the address, got another")
    return {**value, "id": value.get("id", put or str(uuid.uuid4()))}


def _check_headers(request: Request) -> None:
    """Rules 3 and 4."""
    if not _VERSION.fullmatch(request.headers.get(HEADER, "")):
        raise HTTPException(400, f"Expected the header {HEADER}: {VERSION} or another 1.0.x.")
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = parameters.strip().lower().replace('"', "")
    if kind.strip().lower() != "application/json" or charset not in ("", "charset=utf-8"):
        raise HTTPException(400, "Expected Content-Type: application/json, without attachments.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "Expected a body that is not compressed.")


def _put_id(request: Request) -> str | None:
    """The id that a PUT names; a POST takes no parameters."""
    sent = request.query_params.multi_items()
    if request.method == "POST" and not sent:
        return None
    if request.method == "PUT" and [name for name, _ in sent] == ["statementId"] and _UUID.fullmatch(sent[0][1]):
        return sent[0][1]
    raise HTTPException(400, "Expected PUT with one statementId (a UUID), or POST without parameters.")


async def _body(request: Request) -> bytes:
    """Rule 4, whatever length the sender declares."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BYTES:
            raise HTTPException(413, f"Expected at most {MAX_BYTES} bytes.", {"Connection": "close"})
    return bytes(body)


async def _about(_: Request) -> Response:
    return JSONResponse({"version": [VERSION]}, headers=_headers())


async def _no_route(request: Request, error: Exception) -> Response:
    """What the routes do not take, and what a handler refused in passing."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    detail = error.detail
    if error.status_code == 405:
        detail = "Expected POST or PUT at statements, GET at about: Kith learns from statements and keeps none to get."
    elif error.status_code == 404:
        detail = "Expected statements or about: Kith is no Learning Record Store, and has no other resource."
    return _problem(error.status_code, detail, dict(error.headers or {}))


async def _refused(request: Request, error: Exception) -> Response:
    """Rule 5: a connector's messages hold no values."""
    status = 409 if isinstance(error, Conflict) else 403 if isinstance(error, Refused) else 400
    if not isinstance(error, InputError | Refused | Conflict):
        return _problem(500, "The records can not be written to at the moment.")
    return _problem(status, f"{error}.")


async def _cut_short(request: Request, error: Exception) -> Response:
    return _problem(400, "Expected a whole body.")


def _problem(status: int, detail: str, more: dict[str, str] | None = None) -> Response:
    document = {"type": "about:blank", "title": _TITLES.get(status, "Error"), "status": status, "detail": detail}
    return JSONResponse(document, status, _headers() | (more or {}), PROBLEM)


def _headers() -> dict[str, str]:
    return {HEADER: VERSION}
