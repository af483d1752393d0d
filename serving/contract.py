"""The FastAPI application beside BentoML's operations, and the OpenAPI 3.1 document of both: the contract."""

from __future__ import annotations

from typing import Annotated, Any, Final

import bentoml
from fastapi import APIRouter, Depends, FastAPI, Header, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.responses import JSONResponse

from serving import decisions, problems, sources
from serving.decisions import DecideRequest, ItemDetail, ItemList, Status
from serving.identity import OPERATIONS, Identity
from serving.problems import PROBLEM_TYPES, Problem
from serving.recommendations import Desk, ExplainAnswer, ExplainRequest, Id, RecommendAnswer, RecommendRequest

TITLE: Final = "Kith"
VERSION: Final = "1"
DESCRIPTION: Final = (
    "Recommendations under differential privacy; people decide. Errors are RFC 9457 problems."
    " Source systems write to what standards describe, not this document: SCIM 2.0 (RFC 7644) at /scim/v2, where errors"
    " are SCIM's, with the role provisioning; xAPI 1.0.3 statements at /xapi, with the role learning_system."
)
_PROBLEM: Final = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string", "enum": [kind.uri for kind in PROBLEM_TYPES.values()]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string", "format": "uri"},
        "errors": {"type": "array", "items": {"type": "object", "additionalProperties": {"type": "string"}}},
    },
}
_ANY_PROBLEM: Final = {
    "description": "A problem (RFC 9457)",
    "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}

app = FastAPI(title=TITLE, version=VERSION, openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)


def desk() -> Desk:
    """What this worker answers from."""
    return bentoml.get_current_service().desk  # type: ignore[no-any-return]


def identity(request: Request) -> Identity:
    """Whom the front door let in."""
    return request.state.identity  # type: ignore[no-any-return]


AtDesk = Annotated[Desk, Depends(desk)]
Who = Annotated[Identity, Depends(identity)]
ItemId = Annotated[Id, Path()]


@app.get("/v1/decisions", operation_id="list_decisions")
def list_decisions(
    at: AtDesk,
    who: Who,
    status: Annotated[Status | None, Query()] = None,
    before: Annotated[int | None, Query(ge=1, le=2**53)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
) -> ItemList:
    """Items of the token's site, newest first, without scores or suggestions."""
    return decisions.listed(at.store, who, status, before, limit)


@app.get("/v1/decisions/{id}", operation_id="get_decision")
def get_decision(at: AtDesk, who: Who, id: ItemId, response: Response) -> ItemDetail:
    """One item: its evidence, what is proposed, and the decisions that you may see. The ETag is for deciding.

    Refused to whoever asked for the recommendation while it is proposed, or abstained; and to all but auditors while
    the site's records may not be used for this person.
    """
    item, response.headers["ETag"] = decisions.one(at, who, id)
    return item


@app.post("/v1/decisions/{id}/decide", operation_id="decide")
def decide(
    at: AtDesk,
    who: Who,
    id: ItemId,
    body: DecideRequest,
    response: Response,
    if_match: Annotated[str | None, Header(max_length=200)] = None,
) -> ItemDetail:
    """Approve or decline, with a reason code and at least 20 characters of reason, naming the version seen.

    Refused while the site's records may not be used for this person.
    """
    item, response.headers["ETag"] = decisions.decide(at, who, id, body, if_match)
    return item


@app.get("/v1/privacy/certificate", operation_id="certificate")
def certificate(at: AtDesk) -> dict[str, Any]:
    """For every served model: the checks it passed, whether against pinned keys, its certificate, and digests."""
    return {
        "models": [
            {
                "use_case": name,
                "keys": model.keys,
                "verdict": model.verdict.to_document(),
                "statement": model.statement,
                "model": model.model_digest,
                "certificate": model.certificate_digest,
            }
            for name, model in sorted(at.models.items())
        ]
    }


@app.get("/openapi.json", operation_id="contract", include_in_schema=False)
def openapi_document() -> JSONResponse:
    """The contract."""
    return JSONResponse(contract())


@app.get("/problems/{name}", operation_id="problem")
def problem_type(name: Annotated[str, Path(max_length=64)]) -> dict[str, Any]:
    """What a problem's `type` means."""
    kind = PROBLEM_TYPES.get(name)
    if kind is None:
        raise Problem("not-found", "Expected the name of a registered problem.")
    return {"type": kind.uri, "status": kind.status, "title": kind.title}


app.mount(problems.SCIM, sources.SCIM)
app.mount("/xapi", sources.XAPI)


@app.exception_handler(Problem)
async def _told(request: Request, problem: Problem) -> JSONResponse:
    return problem.response(request.scope["path"])


@app.exception_handler(RequestValidationError)
async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    return problems.from_validation(error.errors()).response(request.scope["path"])


# Served by BentoML; written down here so that one document holds every operation.
_served_by_bentoml = APIRouter()


@_served_by_bentoml.post("/v1/recommend", operation_id="recommend")
def _recommend(body: RecommendRequest, idempotency_key: Annotated[str | None, Header()] = None) -> RecommendAnswer:
    """Make and store a recommendation for one employee; a person decides on it before anything shows."""
    raise NotImplementedError


@_served_by_bentoml.post("/v1/explain", operation_id="explain")
def _explain(body: ExplainRequest) -> ExplainAnswer:
    """Why: exact terms that, with the intercept, sum to the score. Not for the asker if proposed or abstained."""
    raise NotImplementedError


def contract() -> dict[str, Any]:
    """The OpenAPI 3.1 document of all operations, with the roles that may use each."""
    document = get_openapi(
        title=TITLE,
        version=VERSION,
        openapi_version="3.1.0",
        description=DESCRIPTION,
        routes=[*_served_by_bentoml.routes, *app.routes],
    )
    document.setdefault("components", {})["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    }
    document["components"].setdefault("schemas", {})["Problem"] = _PROBLEM
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
    document["security"] = [{"token": []}]
    roles = {(operation.path, operation.method.lower()): sorted(operation.roles) for operation in OPERATIONS}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = _ANY_PROBLEM
            operation["x-kith-roles"] = roles[path, method]
    return document
