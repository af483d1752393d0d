"""SCIM 2.0 (RFC 7643, RFC 7644): the service provider to which an identity provider or HRIS provisions employees.

An ASGI application, to be mounted (at `/scim/v2`) behind whatever authenticates its clients. Accounts and facts are
`scim_users`' business; here are the paths, headers, bounds and answers.

Rules
1. What a client sends ends in a SCIM answer: refused, if it can not be used, and never a failure of the service.
2. No error and no log line holds a value that came.
3. Work on the database is done beside the event loop.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from http import HTTPStatus
from typing import Any, Final

from scim2_models import (
    Context,
    Error,
    ForbiddenException,
    ListResponse,
    Meta,
    NotFoundException,
    NotImplementedException,
    Resource,
    ResourceType,
    ResponseParameters,
    Schema,
    SCIMException,
)
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Scope

from privacy.errors import InputError, KithError, Refused, VerificationFailed
from records.connectors.scim_errors import value_free
from records.connectors.scim_profile import Profile, profile_of
from records.connectors.scim_resources import of
from records.connectors.scim_users import Page, Users
from records.connectors.strict_json import Bounds, read_json
from records.store import Store

MEDIA_TYPE: Final = "application/scim+json"
MEDIA_TYPES: Final = (MEDIA_TYPE, "application/json")
MAX_BODY: Final = 2**20
BOUNDS: Final = Bounds(MAX_BODY, depth=16, parts=5_000)
"""Of a message: each key of a PATCH is parsed as a path."""
MAX_PARAMETER: Final = 8_000
MAX_ATTRIBUTES: Final = 50
LOG: Final = logging.getLogger(__name__)
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_SELECTING: Final = ("attributes", "excludedattributes")
_PARAMETERS: Final = ("attributes", "excludedAttributes", "filter", "sortBy", "sortOrder", "startIndex", "count")


def application(
    store_of: Callable[[Scope], Store], clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> ASGIApp:
    """The service provider.

    Args:
        store_of: the store of the site that a request is about.
        clock: the time, aware.
    """
    routes = [
        Route(path, _endpoint(actions, store_of, clock), methods=list(actions)) for path, actions in _ACTIONS.items()
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _no_such_route})
    app.router.redirect_slashes = False
    return app


@dataclass(frozen=True)
class _Call:
    """One request with its body, and what answers it."""

    request: Request
    body: bytes
    profile: Profile
    users: Users
    base: str

    @cached_property
    def payload(self) -> dict[str, Any]:
        value = read_json(self.body, "body", BOUNDS)
        if not isinstance(value, dict):
            raise InputError(f"body: expected a JSON object, got {type(value).__name__}")
        return value

    @property
    def id(self) -> str:
        return str(self.request.path_params["id"])

    @property
    def version(self) -> str | None:
        return self.request.headers.get("if-match")

    @cached_property
    def parameters(self) -> dict[str, str]:
        given = self.request.query_params
        if any(len(given.get(name, "")) > MAX_PARAMETER for name in _PARAMETERS):
            raise InputError(f"query: expected at most {MAX_PARAMETER} characters a parameter, got more")
        return {name: given[name] for name in _PARAMETERS if name in given}

    @cached_property
    def wanted(self) -> ResponseParameters[Any]:
        """Which attributes an answer is to have."""
        return self.attributes(self.parameters)

    def attributes(self, query: Mapping[str, Any]) -> ResponseParameters[Any]:
        """Which attributes a query names.

        Raises:
            InputError: if it names too many.
            SCIMException: if it names something else.
        """
        named = {name: value for name, value in query.items() if name.lower() in _SELECTING}
        given = [text for value in named.values() for text in (value if isinstance(value, list) else [value])]
        if sum(str(text).count(",") + 1 for text in given) > MAX_ATTRIBUTES:
            raise InputError(f"attributes: expected at most {MAX_ATTRIBUTES} names, got more")
        with value_free():
            message = of(ResponseParameters, self.profile.advertised.model)
            wanted: ResponseParameters[Any] = message.model_validate(named)
        return wanted


Action = Callable[[_Call], Response]


def _endpoint(
    actions: Mapping[str, Action], store_of: Callable[[Scope], Store], clock: Callable[[], datetime]
) -> Callable[[Request], Any]:
    def called(request: Request, body: bytes) -> Response:
        store = store_of(request.scope)
        profile, base = _profile(store), base_of(request)
        call = _Call(request, body, profile, Users(store, profile, base, clock()), base)
        return actions["GET" if request.method == "HEAD" else request.method](call)

    async def endpoint(request: Request) -> Response:
        try:
            body = await _body(request) if request.method in ("POST", "PUT", "PATCH") else b""
            return await run_in_threadpool(called, request, body)  # rule 3
        except ClientDisconnect:
            raise
        except Exception as error:  # rule 1
            return _refusal(error)

    return endpoint


def _profile(store: Store) -> Profile:
    try:
        return profile_of(store.settings.scim_mapping)
    except InputError as error:  # the site's mistake, not the client's
        raise KithError(str(error)) from None


def base_of(request: Request) -> str:
    """The address at which the application is mounted, as the client wrote it."""
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):
        host = ":".join(str(part) for part in request.scope.get("server") or ("localhost",) if part is not None)
    return f"{request.scope.get('scheme', 'http')}://{host}{request.scope.get('root_path', '')}"


async def _body(request: Request) -> bytes:
    kind = request.headers.get("content-type", MEDIA_TYPE).partition(";")[0].strip().lower()
    if kind not in MEDIA_TYPES:
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"body: expected {MEDIA_TYPE}, got another media type")
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BODY:
            raise HTTPException(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"body: expected at most {MAX_BODY} bytes, got more"
            )
    return bytes(data)


def _refusal(error: Exception) -> Response:
    """The answer to a request that raised an error (rule 2)."""
    if isinstance(error, SCIMException):
        return _error(error.status, error.detail, error.scim_type)
    if isinstance(error, HTTPException):
        return _error(error.status_code, error.detail)
    if isinstance(error, InputError):
        return _error(400, str(error), "invalidSyntax")
    if isinstance(error, Refused) and not isinstance(error, VerificationFailed):
        return _error(403, str(error))
    LOG.error("scim: %s", type(error).__name__)
    if isinstance(error, KithError):
        return _error(503, "records: expected them to be at hand, got no answer")
    return _error(500, "service: expected to answer, got a fault of its own")


async def _no_such_route(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    expected = "path: expected one that is served" if status == 404 else "method: expected one that the path takes"
    return _error(status, f"{expected}, got another", headers=getattr(error, "headers", None))


def _error(status: int, detail: str, scim_type: str = "", headers: Mapping[str, str] | None = None) -> Response:
    return _json(Error(status=status, scim_type=scim_type or None, detail=detail).model_dump(), status, headers)


def _json(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse(content, status, dict(headers or {}), MEDIA_TYPE)


def _user(user: Resource[Any], wanted: ResponseParameters[Any], status: int = 200) -> Response:
    document = user.model_dump(scim_ctx=Context.RESOURCE_QUERY_RESPONSE, response_parameters=wanted)
    return _json(document, status, {"ETag": str(user["meta.version"]), "Location": str(user["meta.location"])})


def _create(call: _Call) -> Response:
    wanted = call.wanted  # refused, if it is, before anything changes
    return _user(call.users.create(call.payload), wanted, 201)


def _get(call: _Call) -> Response:
    user = call.users.get(call.id)
    if call.users.is_version(user, call.request.headers.get("if-none-match")):
        return Response(status_code=304, headers={"ETag": str(user["meta.version"])})
    return _user(user, call.wanted)


def _replace(call: _Call) -> Response:
    wanted = call.wanted
    return _user(call.users.replace(call.id, call.payload, call.version), wanted)


def _patch(call: _Call) -> Response:
    wanted = call.wanted
    return _user(call.users.patch(call.id, call.payload, call.version), wanted)


def _delete(call: _Call) -> Response:
    call.users.delete(call.id, call.version)
    return Response(status_code=204)


def _list(call: _Call) -> Response:
    wanted = call.wanted
    return _page(call, call.users.search(call.parameters), wanted)


def _search(call: _Call) -> Response:
    wanted = call.attributes(call.payload)
    return _page(call, call.users.search(call.payload), wanted)


def _page(call: _Call, page: Page, wanted: ResponseParameters[Any]) -> Response:
    answer = of(ListResponse, call.profile.advertised.model)(
        total_results=page.total, start_index=page.start, items_per_page=len(page.users), resources=page.users
    )
    return _json(answer.model_dump(scim_ctx=Context.RESOURCE_QUERY_RESPONSE, response_parameters=wanted))


def _configuration(call: _Call) -> Response:
    configuration = call.profile.advertised.configuration
    return _json(_described(call, "ServiceProviderConfig", configuration, "/ServiceProviderConfig"))


def _schemas(call: _Call) -> Response:
    return _all(call, [_schema_document(call, schema) for schema in call.profile.advertised.provider.schemas])


def _schema(call: _Call) -> Response:
    return _one(call, call.profile.advertised.provider.schemas, lambda schema: _schema_document(call, schema))


def _resource_types(call: _Call) -> Response:
    return _all(call, [_kind_document(call, kind) for kind in call.profile.advertised.provider.resource_types])


def _resource_type(call: _Call) -> Response:
    return _one(call, call.profile.advertised.provider.resource_types, lambda kind: _kind_document(call, kind))


def _schema_document(call: _Call, schema: Schema) -> dict[str, Any]:
    return _described(call, "Schema", schema, f"/Schemas/{schema.id}")


def _kind_document(call: _Call, kind: ResourceType) -> dict[str, Any]:
    return _described(call, "ResourceType", kind, f"/ResourceTypes/{kind.id}")


def _described(call: _Call, kind: str, resource: Resource[Any], path: str) -> dict[str, Any]:
    described = resource.model_copy(update={"meta": Meta(resource_type=kind, location=call.base + path)})
    return described.model_dump(scim_ctx=Context.RESOURCE_QUERY_RESPONSE)


def _all(call: _Call, documents: list[dict[str, Any]]) -> Response:
    if "filter" in call.parameters:  # RFC 7644, section 4
        raise ForbiddenException(detail="filter: expected none of a description, got one")
    count = len(documents)
    frame = {"schemas": [str(ListResponse.__schema__)], "totalResults": count, "startIndex": 1, "itemsPerPage": count}
    return _json({**frame, "Resources": documents})


def _one(call: _Call, known: Iterable[Any], document: Callable[[Any], dict[str, Any]]) -> Response:
    for one in known:
        if str(one.id).lower() == call.id.lower():
            return _json(document(one))
    raise NotFoundException(detail="path: expected the id of one that is described, got another")


def _unsupported(_: _Call) -> Response:
    raise NotImplementedException(detail="path: expected one that the configuration says is supported, got another")


_ACTIONS: Final[dict[str, dict[str, Action]]] = {
    "/Users": {"GET": _list, "POST": _create},
    "/Users/.search": {"POST": _search},
    "/Users/{id}": {"GET": _get, "PUT": _replace, "PATCH": _patch, "DELETE": _delete},
    "/.search": {"POST": _search},
    "/Schemas": {"GET": _schemas},
    "/Schemas/{id}": {"GET": _schema},
    "/ResourceTypes": {"GET": _resource_types},
    "/ResourceTypes/{id}": {"GET": _resource_type},
    "/ServiceProviderConfig": {"GET": _configuration},
    "/Me": dict.fromkeys(("GET", "POST", "PUT", "PATCH", "DELETE"), _unsupported),
    "/Bulk": {"POST": _unsupported},
}
