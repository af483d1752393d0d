"""Every way a request can fail, once: problem details for HTTP APIs (RFC 9457), or what SCIM has in their place.

A problem says what was expected and where. It never repeats what the caller sent: a key or a value of a request
may be somebody's personal data, and answers end up in logs, tickets and screenshots.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.responses import JSONResponse

MEDIA_TYPE: Final = "application/problem+json"
SCIM: Final = "/scim/v2"
"""Below this path errors are SCIM's own (RFC 7644, section 3.12)."""
SCIM_MEDIA_TYPE: Final = "application/scim+json"
_SCIM_ERROR: Final = "urn:ietf:params:scim:api:messages:2.0:Error"


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One registered kind of problem; its `type` is `/problems/<name>`."""

    name: str
    status: int
    title: str

    @property
    def uri(self) -> str:
        """The `type` member of RFC 9457."""
        return f"/problems/{self.name}"


PROBLEM_TYPES: Final[Mapping[str, ProblemType]] = {
    name: ProblemType(name, status, title)
    for name, status, title in (
        ("malformed-body", 400, "The body is not JSON"),
        ("unauthenticated", 401, "A valid bearer token is needed"),
        ("forbidden", 403, "This role or site may not do that"),
        ("consent-missing", 403, "These records may not be used for this purpose"),
        ("separation-of-duties", 403, "Somebody else has to decide this"),
        ("not-found", 404, "There is no such thing, or not for you"),
        ("method-not-allowed", 405, "This address takes another method"),
        ("idempotency-conflict", 409, "The idempotency key was used for another request"),
        ("already-decided", 409, "The decision has been made"),
        ("not-awaiting-decision", 409, "There is nothing to decide here"),
        ("changed-meanwhile", 412, "Somebody changed this in the meantime"),
        ("body-too-large", 413, "The body is too large"),
        ("unsupported-media-type", 415, "Only JSON is taken"),
        ("invalid-request", 422, "The request does not fit the operation's schema"),
        ("unusable-features", 422, "The features do not fit the model's public feature space"),
        ("unknown-use-case", 422, "No served model has that use case and site"),
        ("precondition-required", 428, "Say which version you decide on"),
        ("internal", 500, "Something went wrong here"),
        ("unavailable", 503, "The service is not ready"),
        ("timeout", 504, "The answer took too long"),
    )
}
_BY_STATUS: Final = {kind.status: kind.name for kind in PROBLEM_TYPES.values()} | {
    403: "forbidden",
    409: "already-decided",
    422: "invalid-request",
}


@dataclass(slots=True)
class Problem(Exception):  # noqa: N818 - the word of RFC 9457
    """A request ends here.

    Attributes:
        name: a key of `PROBLEM_TYPES`.
        detail: what was expected, and where; never what the caller sent.
        headers: further response headers that the status asks for.
        errors: one entry per field of the request that does not fit.
        instance: a name for this occurrence, by which an operator finds the log's entry when there is one.
    """

    name: str
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)
    errors: tuple[Mapping[str, str], ...] = ()
    instance: str = field(default_factory=lambda: uuid.uuid4().urn)

    @property
    def kind(self) -> ProblemType:
        """The registered type."""
        return PROBLEM_TYPES[self.name]

    def response(self, path: str) -> JSONResponse:
        """The answer to a request for `path`, as the standard of that has it."""
        media_type = media_type_of(path)
        content = self._scim_error() if media_type == SCIM_MEDIA_TYPE else self._details()
        return JSONResponse(content, self.kind.status, self.headers, media_type)

    def _details(self) -> dict[str, Any]:
        """RFC 9457, section 3."""
        document: dict[str, Any] = {
            "type": self.kind.uri,
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "instance": self.instance,
        }
        return document | ({"errors": list(self.errors)} if self.errors else {})

    def _scim_error(self) -> dict[str, Any]:
        """RFC 7644, section 3.12."""
        return {"schemas": [_SCIM_ERROR], "status": str(self.kind.status), "detail": self.detail}


def media_type_of(path: str) -> str:
    """What errors of this path are written in."""
    return SCIM_MEDIA_TYPE if f"{path}/".startswith(f"{SCIM}/") else MEDIA_TYPE


def from_status(status: int) -> Problem:
    """The problem for an error status that came without one."""
    name = _BY_STATUS.get(status, "internal" if status >= 500 else "invalid-request")
    return Problem(name, "See /openapi.json for what each operation takes.")


def from_validation(errors: Iterable[Mapping[str, Any]]) -> Problem:
    """The problem for pydantic's errors, stripped of everything the caller wrote.

    Kept are the kind of each error and the top-level field it is in; the name of an unknown key is the caller's.
    """
    found = tuple({"field": _field(error), "expected": str(error.get("type", "invalid"))} for error in errors)
    if any(error["expected"] == "json_invalid" for error in found):
        return Problem("malformed-body", "Expected a JSON object in UTF-8, got something else.")
    unique = tuple(dict(pairs) for pairs in dict.fromkeys(tuple(error.items()) for error in found))
    return Problem("invalid-request", "Expected exactly the fields in /openapi.json, got otherwise.", errors=unique)


def _field(error: Mapping[str, Any]) -> str:
    """The first known name on the way to the error."""
    names = [str(part) for part in error.get("loc", ()) if part not in ("body", "query", "path", "header")]
    if error.get("type") == "extra_forbidden" or not names:
        return ""
    return names[0]
