"""The one way in: what every request passes before BentoML or FastAPI see it, and every answer on its way out.

Rules
1. Without a valid token nothing is reached but the probes in `OPEN`.
2. Only what `identity.OPERATIONS` lists is reached, only by the roles it lists.
3. A body is JSON by its content type (never a pickle or a form), whole, and at most `MAX_BODY` bytes.
4. Every error leaves as a problem (RFC 9457); texts of the frameworks do not leave at all.
5. Nothing of a request's content is logged.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving import problems
from serving.identity import TokenVerifier, check_permission, find_operation
from serving.problems import Problem
from serving.settings import Settings
from serving.value_free_logs import described

OPEN: Final = frozenset({"/livez", "/readyz", "/healthz"})
MAX_BODY: Final = 64 * 2**10
_ALWAYS: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}

log = logging.getLogger("bentoml.kith")


class FrontDoor:
    """ASGI middleware around the whole service."""

    def __init__(self, app: ASGIApp) -> None:
        """Read the public token keys that the environment names.

        Raises:
            InputError: if they can not be used.
        """
        self._app = app
        self._tokens = TokenVerifier.from_file(Settings.from_environment().token_keys)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer with a problem."""
        if scope["type"] == "lifespan" or (scope["type"] == "http" and scope["path"] in OPEN):
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        way_out = _WayOut(send)
        try:
            body = await self._admit(scope, receive)
            await self._app(scope, _replayed(body, receive), way_out.send)
        except Problem as problem:
            await problem.response()(scope, receive, way_out.plain)
        except Exception:
            instance = problems.new_instance()
            log.error("%s %s", instance, described(*sys.exc_info()[::2]))
            if not way_out.started:
                await Problem("internal", "The log has an entry under this instance.").response(instance)(
                    scope, receive, way_out.plain
                )

    async def _admit(self, scope: Scope, receive: Receive) -> bytes:
        """Rules 1 to 3; the identity goes into the request's state, the whole body is returned."""
        headers = Headers(scope=scope)
        identity = self._tokens.identify(headers.getlist("authorization"))
        operation = find_operation(scope["method"], scope["path"])
        check_permission(identity, operation)
        scope.setdefault("state", {})["identity"] = identity
        if operation.method != "POST":
            return b""
        _check_content_type(headers)
        return await _whole_body(headers, receive)


class _WayOut:
    """Passes a response on, unless it is an error that is not a problem: that is held and replaced (rule 4)."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._held: int | None = None
        self._body = b""
        self.started = False

    async def plain(self, message: Message) -> None:
        """Pass on, with the headers that every answer carries."""
        if message["type"] == "http.response.start":
            self.started = True
            MutableHeaders(scope=message).update(_ALWAYS)
        await self._send(message)

    async def send(self, message: Message) -> None:
        """Pass on, or hold back."""
        if message["type"] == "http.response.start" and message["status"] >= 400 and not _is_problem(message):
            self._held = message["status"]
        elif self._held is None:
            await self.plain(message)
        elif message["type"] == "http.response.body":
            self._body += message.get("body", b"")[: MAX_BODY - len(self._body)]
            if not message.get("more_body", False):
                await _problem_for(self._held, self._body).response()({"type": "http"}, _nothing, self.plain)


def _is_problem(start: Message) -> bool:
    return Headers(raw=start["headers"]).get("content-type", "").startswith(problems.MEDIA_TYPE)


def _problem_for(status: int, body: bytes) -> Problem:
    """The problem for an error answer of BentoML's: its list of pydantic errors, if it has one, or the bare status."""
    if status == 400:
        try:
            document = json.loads(body)
        except ValueError:
            document = None
        if isinstance(document, Mapping) and isinstance(document.get("detail"), list):
            return problems.from_validation(document["detail"])
        return Problem("malformed-body", "Expected a JSON object in UTF-8, got something else.")
    return problems.from_status(status)


def _check_content_type(headers: Headers) -> None:
    """Rule 3: one content type, JSON, in UTF-8, not compressed."""
    types = headers.getlist("content-type")
    media_type, _, parameters = (types[0] if len(types) == 1 else "").partition(";")
    charset = parameters.strip().lower().replace('"', "")
    plain = headers.get("content-encoding", "identity") == "identity"
    if media_type.strip().lower() != "application/json" or charset not in ("", "charset=utf-8") or not plain:
        accepted = {"Accept": "application/json"}
        raise Problem("unsupported-media-type", "Expected Content-Type: application/json.", accepted)


async def _whole_body(headers: Headers, receive: Receive) -> bytes:
    """Rule 3: read at most `MAX_BODY` bytes, whatever the client declares."""
    too_large = Problem("body-too-large", f"Expected at most {MAX_BODY} bytes.", {"Connection": "close"})
    declared = headers.get("content-length", "0")
    if not (declared.isascii() and declared.isdigit()) or int(declared[:12]) > MAX_BODY:
        raise too_large
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem("malformed-body", "Expected a whole body.")
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise too_large
        if not message.get("more_body", False):
            return bytes(body)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read, then what the server has to say."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
