"""Where source systems write: SCIM and xAPI, into the records of the site that their token is for."""

from __future__ import annotations

from typing import Final

import bentoml
from starlette.types import ASGIApp, Receive, Scope, Send

from records.connectors import scim, xapi
from records.store import Store
from serving.problems import Problem


def _at_its_site(app: ASGIApp) -> ASGIApp:
    """The application, reached only with the store of the caller's site in the request's state."""

    async def at_its_site(scope: Scope, receive: Receive, send: Send) -> None:
        state = scope["state"]
        store = bentoml.get_current_service().desk.records.get(state["identity"].site)
        if store is None:
            raise Problem("not-found", "Expected a site whose records folder this service was given.")
        state["records"] = store
        await app(scope, receive, send)

    return at_its_site


def _store_of(scope: Scope) -> Store:
    return scope["state"]["records"]  # type: ignore[no-any-return]


SCIM: Final = _at_its_site(scim.application(_store_of))
XAPI: Final = _at_its_site(xapi.application(_store_of))
