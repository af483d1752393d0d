"""Reading xAPI 1.0.3 statements: from bytes to what is kept of them, and when two of them are the same.

Rules
1. JSON is read by `strict_json`, within `BOUNDS`.
2. Two statements of one id are the same if nothing differs but what an LRS may add or write otherwise (part 2, 2.3.1):
   id, authority, stored, version, an absent timestamp, the offset a timestamp is written with, a verb's display, an
   activity's definition, the order of a group's members, one context activity for a list of it, the case of what has
   none. A duration is compared as text, down to hundredths of a second.
3. Of a statement nothing goes on but keyed digests of it and the cells that the mapping reads.
4. A message says which statement and which property, never what came.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import unquote

from privacy.pseudonyms import Pseudonyms
from records.cell_plans import sunday
from records.connectors.strict_json import Bounds
from records.connectors.xapi_shapes import VOIDED, check_statement, moment

MAX_BYTES: Final = 8 * 2**20
BOUNDS: Final = Bounds(MAX_BYTES, depth=32, parts=500_000)
"""Of a request's body, and of a line of a file."""
_SEPARATORS: Final = re.compile(r"[/#:]")
_NOT_CODE: Final = re.compile(r"[\W_]+")
_FINER: Final = re.compile(r"([.,]\d\d)\d+")
_SEPARATOR: Final = "."


@dataclass(frozen=True, slots=True)
class Statement:
    """What is left of a statement once it has been read (rule 3).

    Attributes:
        place: its number in what came, from 0.
        id: a UUID in lower case.
        body: keyed digests by which it is known again; see `is_same`.
        voids: the id of the statement that this one voids, or None.
        is_about_activity: whether its object is an activity, and no person or other statement.
        cells: what the mapping reads.
    """

    place: int
    id: str
    body: str
    voids: str | None
    is_about_activity: bool
    cells: Mapping[str, str | None]


def read_statement(value: Any, place: int, wanted: Collection[str], pseudonyms: Pseudonyms, now: datetime) -> Statement:
    """One statement, checked.

    Args:
        value: as `strict_json` gives it. One without an id gets it from its body, so that the same line of a file is
            the same statement.
        place: its number in what came, from 0.
        wanted: names of the cells that the mapping reads: properties by their path ("result.score.scaled"),
            "object.code" (the last part of the object's id) and "week" (the Sunday that ends the week of its time, no
            later than now's).
        pseudonyms: of the site.
        now: aware.

    Raises:
        Misshapen: if it is not as the standard and Kith have it.
    """
    check_statement(value)
    body = _body(value, pseudonyms)
    known = {**value, "id": str(value.get("id") or _uuid(body)).lower()}
    return Statement(
        place,
        known["id"],
        body,
        value["object"]["id"].lower() if value["verb"]["id"] == VOIDED else None,
        value["object"].get("objectType", "Activity") == "Activity",
        {cell: _DERIVED[cell](known, now) if cell in _DERIVED else _property(known, cell) for cell in wanted},
    )


def is_same(one: str, other: str) -> bool:
    """Whether two bodies are one statement's (rule 2): a timestamp that one of them lacks tells nothing."""
    (core, at), (other_core, other_at) = (body.split(_SEPARATOR) for body in (one, other))
    return core == other_core and (not at or not other_at or at == other_at)


_CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _body(statement: Mapping[str, Any], pseudonyms: Pseudonyms) -> str:
    """Digests of what rule 2 compares: of the statement, and of its time if it says one."""
    core = _CANONICAL.encode(_comparable(statement))
    at = statement.get("timestamp")
    time = pseudonyms.digest(_time(at).encode()) if at else ""
    return f"{pseudonyms.digest(core.encode())}{_SEPARATOR}{time}"


def _uuid(body: str) -> str:
    """A UUID (version 8: of one's own making) from 122 of the bits of a keyed digest."""
    bits = int(body.split(_SEPARATOR)[0], 16) & ~(0xF << 76) & ~(0x3 << 62) | 0x8 << 76 | 0x2 << 62
    digits = f"{bits:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _time(text: str) -> str:
    return moment(text).isoformat(timespec="milliseconds")


def _comparable(statement: Mapping[str, Any]) -> dict[str, Any]:
    """A statement or substatement without what rule 2 leaves out, in one writing."""
    found = {name: part for name, part in statement.items() if name in ("objectType", "attachments")}
    found["actor"] = _agent(statement["actor"])
    found["verb"] = statement["verb"]["id"]
    found["object"] = _thing(statement["object"])
    if result := statement.get("result"):
        finer = {"duration": _FINER.sub(r"\1", result["duration"])} if "duration" in result else {}
        found["result"] = {**result, **finer}
    if context := statement.get("context"):
        found["context"] = {name: _CONTEXT.get(name, _same)(part) for name, part in context.items()}
    return found


def _same(part: Any) -> Any:
    return part


def _agent(agent: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(agent)
    if "mbox" in found:
        user, _, host = found["mbox"].rpartition("@")
        found["mbox"] = f"{user}@{host.lower()}"
    if "mbox_sha1sum" in found:
        found["mbox_sha1sum"] = found["mbox_sha1sum"].lower()
    if "member" in found:
        found["member"] = sorted((_agent(one) for one in found["member"]), key=_writing)
    return found


def _writing(value: Any) -> str:
    return _CANONICAL.encode(value)


def _thing(thing: Mapping[str, Any]) -> dict[str, Any]:
    """A statement's object."""
    kind = thing.get("objectType", "Activity")
    if kind in ("Agent", "Group"):
        return _agent(thing)
    if kind == "SubStatement":
        at = thing.get("timestamp")
        return _comparable(thing) | ({"timestamp": _time(at)} if at else {})
    found = {name: part for name, part in thing.items() if name != "definition"}
    return {**found, "id": found["id"].lower()} if kind == "StatementRef" else found


def _activities(kinds: Mapping[str, Any]) -> dict[str, Any]:
    return {kind: [_thing(one) for one in (them if isinstance(them, list) else [them])] for kind, them in kinds.items()}


_CONTEXT: Final[Mapping[str, Callable[[Any], Any]]] = {
    "registration": str.lower,
    "language": str.lower,
    "instructor": _agent,
    "team": _agent,
    "statement": _thing,
    "contextActivities": _activities,
}


def _property(statement: Mapping[str, Any], path: str) -> str | None:
    """A property as text; None for one that is not there, or is no plain value."""
    value: Any = statement
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else None


def _code(statement: Mapping[str, Any], _: datetime) -> str | None:
    """The last part of the object's id with its query, in lower-case letters, digits and hyphens."""
    last = [part for part in _SEPARATORS.split(str(statement["object"].get("id", ""))) if part][-1:]
    return next((_NOT_CODE.sub("-", unquote(part).lower()).strip("-") or part for part in last), None)


def _week(statement: Mapping[str, Any], now: datetime) -> str:
    """The week's last day: on none before it is what the week held known.

    Clocks of senders may be ahead: nothing was learned after now.
    """
    at = statement.get("timestamp")
    when = min(moment(at), now.astimezone(UTC)) if at else now.astimezone(UTC)
    return sunday(when.date()).isoformat()


_DERIVED: Final = {"object.code": _code, "week": _week}
