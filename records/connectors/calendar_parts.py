"""An iCalendar file (RFC 5545) taken apart: each event and each list of busy times, with what says when and whose.

Rules
1. Only the properties in `KEPT`, and those that the mapping reads, are looked at: titles, descriptions, places and
   alarms are left behind as text before anything is parsed.
2. A time zone is one that the tz database knows (or Windows' or a vendor's name for it). A file's own definitions are
   left behind too: they are programs that say when clocks change.
3. Bytes, lines and components are bounded.
4. A part that can not be read is a fault of its own, a file that is not whole one for all of it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from icalendar import Component
from icalendar.parser import Contentline, Contentlines

from privacy.errors import InputError

MAX_BYTES: Final = 16 * 2**20
MAX_PARTS: Final = 20_000
MAX_LINES: Final = 200_000
MAX_LINE: Final = 2**16
KINDS: Final = ("VEVENT", "VFREEBUSY")
ZONE: Final = "X-WR-TIMEZONE"
METHOD: Final = "METHOD"
KEPT: Final = frozenset(
    {
        *("UID", "SEQUENCE", "RECURRENCE-ID", "DTSTART", "DTEND", "DURATION", "RRULE", "RDATE", "EXDATE", "EXRULE"),
        *(ZONE, METHOD, "STATUS", "TRANSP", "X-MICROSOFT-CDO-BUSYSTATUS", "ATTENDEE", "FREEBUSY"),
    }
)
_NAME: Final = re.compile(r"[A-Za-z0-9-]{1,100}(?=[;:])")
_BROKEN: Final = (ValueError, KeyError, IndexError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What the parser raises for lines that it can not read."""


class BadPart(Exception):  # noqa: N818 - a fault of the part, which its reader reports
    """A property that keeps its part out; `column` is its name."""

    def __init__(self, column: str, reason: str) -> None:
        """`reason` holds nothing of what came."""
        super().__init__(reason)
        self.column = column
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Part:
    """One event or list of busy times, as text.

    Attributes:
        kind: one of `KINDS`.
        lines: its kept lines, unfolded.
        head: properties of the calendar that it is in: its zone and method, and what the mapping reads.
    """

    kind: str
    lines: Sequence[str]
    head: Mapping[str, str]

    def component(self) -> Component:
        """Its properties, read.

        Raises:
            BadPart: if they can not be (rule 4).
        """
        text = "\r\n".join((f"BEGIN:{self.kind}", *self.lines, f"END:{self.kind}", ""))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about a vendor's names of zones, which rule 2 takes
                found = Component.from_ical(text)
        except _BROKEN:
            raise BadPart("", "expected properties written as in RFC 5545, got otherwise") from None
        assert isinstance(found, Component)  # noqa: S101 - one component was written
        return found


def parts_of(data: bytes, encoding: str, wanted: Collection[str]) -> list[Part]:
    """The parts of a file, in order; `wanted` are names (in capitals) of further properties.

    Raises:
        InputError: if the file is not one whole calendar or several, or too large (rules 3 and 4).
    """
    if len(data) > MAX_BYTES:
        raise InputError(f"expected a calendar of at most {MAX_BYTES} bytes, got more")
    try:
        text = data.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except (UnicodeDecodeError, LookupError):
        raise InputError(f"expected text in {encoding}, got another encoding") from None
    found = _Reader(KEPT.union(wanted))
    lines: list[str] = Contentlines.from_ical(text)  # type: ignore[no-untyped-call]
    for line in lines:
        found.take(line)
    return found.close()


class _Reader:
    """Follows a file line by line, and keeps what rule 1 keeps."""

    def __init__(self, kept: Collection[str]) -> None:
        self._kept = kept
        self._open: list[str] = []
        self._head: dict[str, str] = {}
        self._lines: list[str] = []
        self._taken = 0
        self._parts: list[Part] = []

    def take(self, line: str) -> None:
        named = _NAME.match(line)
        name = named.group().upper() if named else ""
        if name == "BEGIN":
            self._begin(line[6:].strip().upper())
        elif name == "END":
            self._end(line[4:].strip().upper())
        elif not self._open and line.strip():
            raise InputError("expected BEGIN:VCALENDAR, got something else")
        elif name in self._kept:
            self._keep(name, line)

    def close(self) -> list[Part]:
        if self._open:
            raise InputError("expected a whole calendar, got one that ends early")
        if not self._taken:
            raise InputError("expected BEGIN:VCALENDAR, got an empty file")
        return self._parts

    def _begin(self, name: str) -> None:
        if not self._open:
            if name != "VCALENDAR":
                raise InputError("expected BEGIN:VCALENDAR, got something else")
            self._head = {}
            self._taken += 1
        elif len(self._open) == 1:
            self._lines = []
        if len(self._open) >= 8:
            raise InputError("expected components inside each other at most 8 deep, got more")
        self._open.append(name)

    def _end(self, name: str) -> None:
        if not self._open or self._open.pop() != name:
            raise InputError("expected every BEGIN to have its END, got otherwise")
        if len(self._open) == 1 and name in KINDS:
            if len(self._parts) == MAX_PARTS:
                raise InputError(f"expected at most {MAX_PARTS} events, got more")
            self._parts.append(Part(name, self._lines, self._head))

    def _keep(self, name: str, line: str) -> None:
        self._taken += 1
        if self._taken > MAX_LINES or len(line) > MAX_LINE:
            raise InputError(f"expected at most {MAX_LINES} lines of at most {MAX_LINE} characters, got more")
        if len(self._open) == 1:
            self._head.setdefault(name, _value(line))
        elif len(self._open) == 2 and self._open[1] in KINDS:
            self._lines.append(line)


def _value(line: str) -> str:
    try:
        return str(Contentline(line).parts()[2]).strip()  # type: ignore[no-untyped-call]
    except _BROKEN:
        return ""


def texts(component: Component, name: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The values of a property as text, with its parameters."""
    found = component.get(name, [])
    for one in found if isinstance(found, list) else [found]:
        yield str(one), getattr(one, "params", {})
