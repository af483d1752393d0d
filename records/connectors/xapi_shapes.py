"""The shape of an xAPI 1.0.3 statement (part 2 of the standard), and the one thing Kith asks beyond it.

Rules
1. A statement has the properties that the standard names, written and typed as it says, and no others. What an
   `extensions` object holds is its writer's business.
2. Who learned is named by one account: no e-mail address or OpenID, which would be a person's name in disguise, and
   no group, which would be nobody's record.
3. A message names properties of the standard and types, never what came.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

Check = Callable[[Any], None]
"""Raises `Misshapen` for what does not fit."""

MAX_TEXT: Final = 100_000
MAX_IRI: Final = 2_000
MAX_ACCOUNT: Final = 200
VOIDED: Final = "http://adlnet.gov/expapi/verbs/voided"

_IDENTIFIERS: Final = ("account", "mbox", "mbox_sha1sum", "openid")
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_IRI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`\x00-\x1f]+")
_LANGUAGE: Final = re.compile(r"(?:[A-Za-z]{2,8}|[ixIX])(?:-[A-Za-z0-9]{1,8}){0,10}")
_TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?:Z|[+-]\d\d(?::?\d\d)?)", re.IGNORECASE | re.ASCII
)
_NUMBER: Final = r"\d{1,9}(?:[.,]\d{1,9})?"
DURATION: Final = re.compile(
    rf"P(?:(?P<weeks>{_NUMBER})W|(?=[\dT])(?:(?P<years>{_NUMBER})Y)?(?:(?P<months>{_NUMBER})M)?(?:(?P<days>{_NUMBER})D)?"
    rf"(?:T(?=\d)(?:(?P<hours>{_NUMBER})H)?(?:(?P<minutes>{_NUMBER})M)?(?:(?P<seconds>{_NUMBER})S)?)?)",
    re.ASCII,
)
"""ISO 8601 section 4.4.3.2, numbers bounded."""


class Misshapen(Exception):  # noqa: N818 - it says what the value is
    """A value that does not fit: where inside the statement, and what was expected (rule 3)."""

    def __init__(self, expected: str, *path: str) -> None:
        """`path`: names of properties, the outermost first."""
        super().__init__(expected)
        self.expected = expected
        self.path = path

    def inside(self, name: str) -> Misshapen:
        """The same, seen from one level further out."""
        return Misshapen(self.expected, name, *self.path)

    @property
    def property(self) -> str:
        """Where: "result.score.scaled"; "" for the statement as a whole."""
        return ".".join(self.path)


def moment(text: str) -> datetime:
    """A timestamp of the standard, which has to say its offset, in UTC.

    Raises:
        Misshapen: if it is none.
    """
    try:
        found = datetime.fromisoformat(text.upper().replace(",", ".")) if _TIME.fullmatch(text) else None
        if found is not None:
            return found.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise Misshapen("expected an ISO 8601 time with its offset, got otherwise")


def _got(value: Any) -> str:
    return "null" if value is None else type(value).__name__


def _text(value: Any) -> None:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise Misshapen(f"expected a text of at most {MAX_TEXT} characters, got {_got(value)}")


def _boolean(value: Any) -> None:
    if not isinstance(value, bool):
        raise Misshapen(f"expected true or false, got {_got(value)}")


def _number(low: float = -math.inf, high: float = math.inf) -> Check:
    def check(value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Misshapen(f"expected a number, got {_got(value)}")
        if not low <= value <= high:
            raise Misshapen(f"expected a number from {low:g} to {high:g}, got another")

    return check


def _like(pattern: re.Pattern[str], words: str, most: int = MAX_IRI) -> Check:
    def check(value: Any) -> None:
        if not isinstance(value, str) or len(value) > most or not pattern.fullmatch(value):
            raise Misshapen(f"expected {words}, got {'another text' if isinstance(value, str) else _got(value)}")

    return check


def _one_of(*values: str) -> Check:
    def check(value: Any) -> None:
        if not isinstance(value, str) or value not in values:
            raise Misshapen(f"expected {' or '.join(values)}, got otherwise")

    return check


def _array(item: Check) -> Check:
    def check(value: Any) -> None:
        if not isinstance(value, list):
            raise Misshapen(f"expected an array, got {_got(value)}")
        for one in value:
            item(one)

    return check


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Misshapen(f"expected an object, got {_got(value)}")
    return value


def _record(checks: Mapping[str, Check], *required: str) -> Check:
    """An object with these properties and no others (rule 1)."""
    names = ", ".join(checks)

    def check(value: Any) -> None:
        for name, item in _object(value).items():
            known = checks.get(name)
            if known is None:
                raise Misshapen(f"expected no properties but {names}, got another")
            try:
                known(item)
            except Misshapen as misshapen:
                raise misshapen.inside(name) from None
        for name in required:
            if name not in value:
                raise Misshapen("expected it, got nothing", name)

    return check


def _map(key: Check, item: Check) -> Check:
    def check(value: Any) -> None:
        for name, one in _object(value).items():
            key(name)
            item(one)

    return check


def _anything(value: Any) -> None:
    """What an extension holds."""


_id = _like(_UUID, "a UUID")
_iri = _like(_IRI, "an absolute IRI")
_language = _like(_LANGUAGE, "a language tag of RFC 5646")
_languages = _map(_language, _text)
_extensions = _map(_iri, _anything)


def _timestamp(value: Any) -> None:
    _text(value)
    moment(value)


_account = _record(
    {"homePage": _iri, "name": _like(re.compile(r"\S(?:.*\S)?"), "a name without blanks around it", MAX_ACCOUNT)},
    "homePage",
    "name",
)
_agent_properties: Final[Mapping[str, Check]] = {
    "objectType": _one_of("Agent"),
    "name": _text,
    "mbox": _like(re.compile(r"mailto:[^@\s]+@[^@\s]+"), "a mailto IRI"),
    "mbox_sha1sum": _like(re.compile(r"[0-9A-Fa-f]{40}"), "40 hexadecimal digits"),
    "openid": _iri,
    "account": _account,
}
_agent_record = _record(_agent_properties)


def _agent(value: Any) -> None:
    _agent_record(value)
    if sum(name in value for name in _IDENTIFIERS) != 1:
        raise Misshapen(f"expected exactly one of {', '.join(_IDENTIFIERS)}, got otherwise")


_group_record = _record(
    {**_agent_properties, "objectType": _one_of("Group"), "member": _array(_agent)},
    "objectType",
)


def _group(value: Any) -> None:
    _group_record(value)
    identifiers = sum(name in value for name in _IDENTIFIERS)
    if identifiers > 1 or (not identifiers and "member" not in value):
        raise Misshapen(f"expected members or one of {', '.join(_IDENTIFIERS)}, got otherwise")


def _agent_or_group(value: Any) -> None:
    (_group if _object(value).get("objectType") == "Group" else _agent)(value)


def _learner(value: Any) -> None:
    """Rule 2."""
    found = _object(value)
    if found.get("objectType") == "Group" or "member" in found:
        raise Misshapen("expected one person: Kith keeps no statements about groups, got a group")
    others = [name for name in _IDENTIFIERS if name != "account" and name in found]
    if others:
        raise Misshapen(f"expected the person's account: Kith takes no addresses as identifiers, got {others[0]}")
    _agent(value)


_component = _record({"id": _text, "description": _languages}, "id")
_definition = _record(
    {
        "name": _languages,
        "description": _languages,
        "type": _iri,
        "moreInfo": _iri,
        "interactionType": _one_of(
            *("true-false", "choice", "fill-in", "long-fill-in", "matching", "performance"),
            *("sequencing", "likert", "numeric", "other"),
        ),
        "correctResponsesPattern": _array(_text),
        **{name: _array(_component) for name in ("choices", "scale", "source", "target", "steps")},
        "extensions": _extensions,
    }
)
_activity = _record({"objectType": _one_of("Activity"), "id": _iri, "definition": _definition}, "id")
_reference = _record({"objectType": _one_of("StatementRef"), "id": _id}, "objectType", "id")
_verb = _record({"id": _iri, "display": _languages}, "id")
_score_record = _record({"scaled": _number(-1, 1), "raw": _number(), "min": _number(), "max": _number()})


def _score(value: Any) -> None:
    _score_record(value)
    low, raw, high = value.get("min", -math.inf), value.get("raw"), value.get("max", math.inf)
    if not low < high or (raw is not None and not low <= raw <= high):
        raise Misshapen("expected min below max and raw between them, got otherwise")


_result = _record(
    {
        "score": _score,
        "success": _boolean,
        "completion": _boolean,
        "response": _text,
        "duration": _like(DURATION, "an ISO 8601 duration"),
        "extensions": _extensions,
    }
)


def _activities(value: Any) -> None:
    (_array(_activity) if isinstance(value, list) else _activity)(value)


_context = _record(
    {
        "registration": _id,
        "instructor": _agent_or_group,
        "team": _group,
        "contextActivities": _record({name: _activities for name in ("parent", "grouping", "category", "other")}),
        "revision": _text,
        "platform": _text,
        "language": _language,
        "statement": _reference,
        "extensions": _extensions,
    }
)
_attachment = _record(
    {
        "usageType": _iri,
        "display": _languages,
        "description": _languages,
        "contentType": _text,
        "length": _number(0),
        "sha2": _like(re.compile(r"[0-9A-Fa-f]{56,128}"), "hexadecimal digits of a SHA-2"),
        "fileUrl": _iri,
    },
    *("usageType", "display", "contentType", "length", "sha2", "fileUrl"),  # without a part of its own it needs a URL
)
_parts: Final[Mapping[str, Check]] = {
    "verb": _verb,
    "result": _result,
    "context": _context,
    "timestamp": _timestamp,
    "attachments": _array(_attachment),
}
_OBJECTS: Final[Mapping[str, Check]] = {
    "Activity": _activity,
    "Agent": _agent,
    "Group": _group,
    "StatementRef": _reference,
}


def _inner_object(value: Any) -> None:
    kind = _object(value).get("objectType", "Activity")
    if not isinstance(kind, str) or kind not in _OBJECTS:
        raise Misshapen(f"expected one of {', '.join(_OBJECTS)}, got otherwise", "objectType")
    _OBJECTS[kind](value)


_substatement = _record(
    {"objectType": _one_of("SubStatement"), "actor": _agent_or_group, "object": _inner_object, **_parts},
    *("actor", "verb", "object"),
)


def _any_object(value: Any) -> None:
    (_substatement if _object(value).get("objectType") == "SubStatement" else _inner_object)(value)


_statement_record = _record(
    {
        "id": _id,
        "actor": _learner,
        "object": _any_object,
        **_parts,
        "stored": _timestamp,
        "authority": _agent_or_group,
        "version": _like(re.compile(r"1\.0\.\d{1,3}", re.ASCII), "a version 1.0.x"),
    },
    *("actor", "verb", "object"),
)


def check_statement(value: Any) -> None:
    """Whether a JSON value is a statement that Kith takes.

    Raises:
        Misshapen: for the first thing that is not as rules 1 and 2 say.
    """
    _statement_record(value)
    kind = value["object"].get("objectType", "Activity")
    if kind != "Activity" and not value.get("context", {}).keys().isdisjoint(("revision", "platform")):
        raise Misshapen("expected neither revision nor platform beside an object that is no activity", "context")
    if value["verb"]["id"] == VOIDED and kind != "StatementRef":
        raise Misshapen("expected StatementRef in a statement that voids another, got otherwise", "object.objectType")
