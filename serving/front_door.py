"""The one way in: what every request passes before BentoML or FastAPI see it, and every answer on its way out.

Rules
1. Without a valid token nothing is reached but the probes in `OPEN`.
2. Only what `identity.OPERATIONS` lists is reached, only by the roles it lists.
3. A body is JSON by its content type (never a pickle or a form), whole, and at most as long as its operation takes.
4. Every error leaves as a problem (RFC 9457), below /scim/v2 as SCIM's own error (RFC 7644), also the one of taking
   longer than `TIMEOUT_SECONDS`; texts of the frameworks do not leave at all.
5. Nothing of a request's content is logged.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Final

from sqlalchemy.exc import InternalError, OperationalError
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving import problems
from serving.identity import TokenVerifier, check_permission, find_operation
from serving.problems import Problem
from serving.settings import Settings
from serving.value_free_logs import described

OPEN: Final = frozenset({"/livez", "/readyz", "/healthz"})
_HELD_BODY: Final = 64 * 2**10
TIMEOUT_SECONDS: Final = 30.0
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
        """Let a request in, or answer with an error."""
        if scope["type"] == "lifespan" or (scope["type"] == "http" and scope["path"] in OPEN):
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        way_out = _WayOut(send, problems.media_type_of(scope["path"]))
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                body = await self._admit(scope, receive)
                await self._app(scope, _replayed(body, receive), way_out.send)
            if way_out.held is None:
                return
            problem = _problem_for(way_out.held, way_out.body)
        except Problem as told:
            problem = told
        except TimeoutError:
            problem = Problem("timeout", f"Expected to be done in {TIMEOUT_SECONDS:g} s.")
        except Exception as error:
            problem = unexpected(error)
        if not way_out.started:
            await problem.response(scope["path"])(scope, receive, way_out.plain)

    async def _admit(self, scope: Scope, receive: Receive) -> bytes:
        """Rules 1 to 3; the identity goes into the request's state, the whole body is returned."""
        headers = Headers(scope=scope)
        identity = self._tokens.identify(headers.getlist("authorization"))
        operation = find_operation(scope["method"], scope["path"])
        check_permission(identity, operation)
        scope.setdefault("state", {})["identity"] = identity
        if operation.method not in ("POST", "PUT", "PATCH"):
            return b""
        body = await _whole_body(headers, receive, operation.max_body)
        if body or "content-type" in headers:
            _check_content_type(headers, operation.media_types)
        return body


def unexpected(error: Exception) -> Problem:
    """The answer to an exception that nobody meant: it tells nothing, and where it arose is in the log (rule 5)."""
    name = "unavailable" if isinstance(error.__cause__ or error, OperationalError | InternalError) else "internal"
    problem = Problem(name, "The log has an entry about this.")
    log.error("%s %s", problem.instance, described(type(error), error.__traceback__))
    return problem


class _WayOut:
    """Passes a response on, unless it is an error of another media type: that is held, to be replaced (rule 4).

    Attributes:
        started: whether anything has been passed on.
        held: status of the response that was held, or None.
        body: its first bytes.
    """

    def __init__(self, send: Send, passes: str) -> None:
        self._send = send
        self._passing = passes
        self.started = False
        self.held: int | None = None
        self.body = b""

    async def plain(self, message: Message) -> None:
        """Pass on, with the headers that every answer carries."""
        if message["type"] == "http.response.start":
            self.started = True
            MutableHeaders(scope=message).update(_ALWAYS)
        await self._send(message)

    async def send(self, message: Message) -> None:
        """Pass on, or hold back."""
        if message["type"] == "http.response.start" and message["status"] >= 400 and not self._passes(message):
            self.held = message["status"]
        elif self.held is None:
            await self.plain(message)
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")[: _HELD_BODY - len(self.body)]

    def _passes(self, start: Message) -> bool:
        return Headers(raw=start["headers"]).get("content-type", "").partition(";")[0] == self._passing


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


def _check_content_type(headers: Headers, media_types: tuple[str, ...]) -> None:
    """Rule 3: one content type, JSON, in UTF-8, not compressed."""
    types = headers.getlist("content-type")
    media_type, _, parameters = (types[0] if len(types) == 1 else "").partition(";")
    charset = parameters.strip().lower().replace('"', "")
    plain = headers.get("content-encoding", "identity") == "identity"
    if media_type.strip().lower() not in media_types or charset not in ("", "charset=utf-8") or not plain:
        accepted = {"Accept": ", ".join(media_types)}
        raise Problem("unsupported-media-type", f"Expected Content-Type: {media_types[0]}.", accepted)


async def _whole_body(headers: Headers, receive: Receive, most: int) -> bytes:
    """Rule 3: read at most so many bytes, whatever the client declares."""
    too_large = Problem("body-too-large", f"Expected at most {most} bytes.", {"Connection": "close"})
    declared = headers.get("content-length", "0")
    if not (declared.isascii() and declared.isdigit()) or int(declared[:12]) > most:
        raise too_large
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem("malformed-body", "Expected a whole body.")
        body += message.get("body", b"")
        if len(body) > most:
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
