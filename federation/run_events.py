"""What the log of a run may say, and how a line says it.

Rules:
    1. An event is one of `SHAPES`, with the facts named there and no others: so nothing about a person can slip in.
    2. Texts are printable and on one line: nothing in a log commands the terminal of whoever reads it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from privacy import canonical, fields, plan
from privacy.certificate import REASONS
from privacy.errors import InputError, KithError

MAX_LINE: Final = 9 * 2**20
"""Bytes of one line: `started` names up to 10,000 sites."""
MAX_NAME: Final = 200
MAX_TEXT: Final = 1_000
"""Characters of a failure's reason, and of the path of a release."""

PHASES: Final = ("keys", "shares", "release", "agreeing", "unmasking", "closing", "certifying")
"""What a run is at: the two exchanges that make a secure sum, the three of a release, the end of the run at the sites,
and what the coordinator does alone."""
Fact = str | int | float | tuple[str, ...]
"""A time is text in the file and a number of seconds in `Event`."""
Check = Callable[[Any, str], Any]


def _line(value: Any, where: str, most: int = MAX_TEXT) -> None:
    if not fields.text(value, where, most).isprintable():
        raise InputError(f"{where}: expected one line of printable text, got otherwise")  # rule 2


def _name(value: Any, where: str) -> None:
    _line(value, where, MAX_NAME)


def _names(value: Any, where: str) -> None:
    for one in fields.items(value, where):
        _name(one, where)
    if not 1 <= len(value) <= plan.MAX_SITES:
        raise InputError(f"{where}: expected 1 to {plan.MAX_SITES} names, got {len(value)}")


def _one_of(words: tuple[str, ...]) -> Check:
    def check(value: Any, where: str) -> None:
        if value not in words:
            raise InputError(f"{where}: expected one of {', '.join(words)}, got otherwise")

    return check


def _seconds(value: Any, where: str) -> None:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{1,12}\.[0-9]{3}", value):
        raise InputError(f"{where}: expected seconds from 0 to 10**12 with three places, got otherwise")


_WHERE: Final[Mapping[str, Check]] = {"event": _name, "index": fields.whole}

SHAPES: Final[Mapping[str, tuple[Mapping[str, Check], Mapping[str, Check]]]] = {
    "started": (
        {
            "run": _name,
            "plan": fields.digest,
            "use_case": _name,
            "trust": _one_of(plan.TRUSTS),
            "sites": _names,
            "releases": fields.whole,
            "epsilon": plan.decimal,
            "delta": plan.decimal,
            "deadline": _seconds,  # from the beginning of any phase that does not say its own
        },
        {},
    ),
    "phase": ({"phase": _one_of(PHASES)}, {**_WHERE, "deadline": _seconds}),  # from the phase's beginning
    "reply": ({"site": _name, "phase": _one_of(PHASES), "seconds": _seconds}, {}),
    "waiting": ({"site": _name}, {}),  # a person there must see the plan first
    "absent": ({"site": _name, "reason": _one_of(REASONS)}, _WHERE),
    "released": (
        {**_WHERE, "done": fields.whole, "of": fields.whole, "sites": fields.whole, "bytes": fields.whole},
        {"spent": plan.decimal},  # share of the run's mu² that is charged by now, from 0 to 1
    ),
    "resumed": ({"done": fields.whole}, {}),
    "finished": ({"release": _line}, {}),
    "failed": ({"reason": _line}, {}),
}
"""Rule 1: each event with the facts that it must have and those that it may have. `sites` names them in `started` and
counts them in `released`; `bytes` are those that came in for the release; `seconds` count from the request."""
_FREE: Final = {"finished": "release", "failed": "reason"}
"""Facts that may be any text when they are written: a run must not fail at telling how it ended."""
TIMES: Final = frozenset({"seconds", "deadline"})


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a log.

    Attributes:
        at: when, in seconds since 1970 by the writer's clock.
        what: one of `SHAPES`.
        facts: as its shape says; times in seconds.
    """

    at: float
    what: str
    facts: Mapping[str, Fact]


def event_line(at: float, what: str, facts: Mapping[str, Any]) -> bytes:
    """The line of an event, with its end. A fact that is None is left out.

    Raises:
        InputError: if it has no such shape (rule 1), or is too long.
    """
    facts = {name: _one_line(value) if name == _FREE.get(what) else value for name, value in facts.items()}
    written = {name: _written(name, value) for name, value in facts.items() if value is not None}
    _check_event(what, written)
    line = canonical.to_bytes({"at": _time_text(at), "what": what, **written}) + b"\n"
    if len(line) > MAX_LINE:
        raise InputError(f"run log, {what}: expected at most {MAX_LINE} bytes, got {len(line)}")
    return line


def read_event(line: bytes) -> Event | None:
    """The event of a line; None if it is none."""
    try:
        document = canonical.from_bytes(line, "run log", MAX_LINE)
        at, what = document.pop("at"), document.pop("what")
        _seconds(at, "at")
        _check_event(what, document)
    except (KithError, KeyError, AttributeError, TypeError):
        return None
    return Event(float(at), what, {name: _read(name, value) for name, value in document.items()})


def _check_event(what: Any, facts: Mapping[str, Any]) -> None:
    shape = SHAPES.get(what) if isinstance(what, str) else None
    if shape is None:
        raise InputError(f"run log: expected one of {', '.join(SHAPES)}, got otherwise")
    required, optional = shape
    checks = {**required, **{name: check for name, check in optional.items() if name in facts}}
    for name, value in fields.exactly(dict(facts), checks, f"run log, {what}").items():
        checks[name](value, f"run log, {what}, {name}")


def _written(name: str, value: Any) -> Any:
    if name in TIMES and type(value) in (int, float):
        return _time_text(value)
    if isinstance(value, Decimal):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _read(name: str, value: Any) -> Fact:
    if name in TIMES:
        return float(value)
    return tuple(value) if isinstance(value, list) else value


def _time_text(value: float) -> str:
    if not math.isfinite(value):
        raise InputError("run log: expected a finite number of seconds, got otherwise")
    return f"{max(0.0, value):.3f}"


def _one_line(text: Any) -> str:
    """A text as rule 2 asks for it, cut at `MAX_TEXT`."""
    shown = "".join(one if one.isprintable() else " " for one in str(text))
    return (" ".join(shown.split()) or "unknown")[:MAX_TEXT]
