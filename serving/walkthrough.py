"""One recommendation from request to decision, through the HTTP API of a running service, and as lines for curl."""

from __future__ import annotations

import json
import os
import shlex
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from privacy.errors import KithError
from serving.identity import issue_token

APPLICATION: Final = "demo-application"
REVIEWER: Final = "demo-reviewer"
HOURS: Final = 8.0
DECISION: Final = {
    "decision": "approve",
    "reason_code": "evidence-supports",
    "reason": "The figures fit what the team has told us; a conversation is welcome.",
}
_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """Header files (0600) of two tokens for one site: `curl --header @FILE` keeps a token out of the process list."""

    application: Path
    reviewer: Path


def credentials(state: Path, site: str) -> Credentials:
    """Issue a token for an application and one for a reviewer of `site`, into header files in `state`.

    Raises:
        InputError: if the state directory's keys can not be used.
    """
    return Credentials(
        _header_file(state / "application.header", issue_token(state, "application", APPLICATION, site, HOURS)),
        _header_file(state / "reviewer.header", issue_token(state, "reviewer", REVIEWER, site, HOURS)),
    )


def walk(url: str, holders: Credentials, body: Mapping[str, Any]) -> dict[str, Any]:
    """Recommend, explain and decide; the three answers by those names.

    Raises:
        KithError: if the service answers anything but success.
    """
    recommendation, _ = _call(f"{url}/v1/recommend", holders.application, body)
    explanation, _ = _call(f"{url}/v1/explain", holders.reviewer, {"id": recommendation["id"]})
    _, etag = _call(f"{url}{recommendation['decision']}", holders.reviewer)
    decided, _ = _call(f"{url}{recommendation['decision']}/decide", holders.reviewer, DECISION, etag)
    return {"recommendation": recommendation, "explanation": explanation, "decision": decided}


def curl_lines(url: str, holders: Credentials, body_file: Path) -> tuple[str, ...]:
    """Shell lines that do what `walk` does, by hand; the body of the request is in `body_file`."""
    as_application, as_reviewer = (f"-H @{shlex.quote(str(path))}" for path in (holders.application, holders.reviewer))
    as_json = "-H 'Content-Type: application/json'"
    return (
        f"ID=$(curl -s {as_application} {as_json} -d @{shlex.quote(str(body_file))} {url}/v1/recommend"
        " | python3 -c 'import json,sys; print(json.load(sys.stdin)[\"id\"])')",
        f'curl -s {as_reviewer} {as_json} -d "{{\\"id\\": \\"$ID\\"}}" {url}/v1/explain',
        f"curl -s {as_reviewer} {url}/v1/decisions/$ID -i",
        f"curl -s {as_reviewer} {as_json} -H 'If-Match: \"1\"' -d {shlex.quote(json.dumps(DECISION))}"
        f" {url}/v1/decisions/$ID/decide",
    )


def _call(
    url: str, holder: Path, body: Mapping[str, Any] | None = None, etag: str | None = None
) -> tuple[dict[str, Any], str | None]:
    name, _, value = holder.read_text(encoding="ascii").strip().partition(": ")
    headers = {name: value, "Content-Type": "application/json"} | ({"If-Match": etag} if etag else {})
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers=headers)  # noqa: S310 - the URL is this service's own
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
            return json.load(answer), answer.headers.get("ETag")
    except urllib.error.HTTPError as error:
        title = json.load(error).get("title", "")
        raise KithError(f"{url}: expected success, got {error.code} {title}") from None


def _header_file(path: Path, token: str) -> Path:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
        file.write(f"Authorization: Bearer {token}\n")
    return path
