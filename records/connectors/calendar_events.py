"""When one event, or a list of busy times, keeps a person busy: starts, repetitions and exceptions in their time zones.

Rules
1. A time without a zone (floating) says nothing about when it is, and is refused. A day without a time lasts from
   midnight to midnight in the calendar's zone, or else the mapping's; without either it is refused.
2. Repetition follows the clock on the wall of the event's zone; a time that the clocks skip is read with the offset
   from before the skip (RFC 5545, 3.3.5).
3. Cancelled, transparent and declined events, and times marked free, keep nobody busy.
4. What is worked out is bounded: in days looked at, dates listed and the length of one event.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

from icalendar import Component
from icalendar.prop import vDDDLists, vDDDTypes, vPeriod, vRecur
from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

from privacy.errors import InputError
from records.connectors.calendar_parts import ZONE, BadPart, Part
from records.connectors.recurrence import Budget, Rule, occurrences, parse_rule

BUSY: Final = "busy"
TENTATIVE: Final = "tentative"
FREE: Final = "free"
MAX_LENGTH: Final = timedelta(days=3_660)
MAX_DATES: Final = 5_000
DAY: Final = timedelta(days=1)
_PERIODS: Final = {"BUSY": BUSY, "BUSY-UNAVAILABLE": BUSY, "BUSY-TENTATIVE": TENTATIVE, "FREE": FREE}

Span = tuple[datetime, datetime]
"""From when to when, in UTC; the end is after the start."""


@dataclass(frozen=True, slots=True)
class Window:
    """The days, from the first to before the last, both at midnight in UTC, that busy times are wanted of."""

    first: datetime
    last: datetime

    def cut(self, start: datetime, end: datetime) -> Iterator[Span]:
        """What of a span lies inside; nothing if it is empty."""
        start, end = max(start, self.first), min(end, self.last)
        if start < end:
            yield start, end


@dataclass(frozen=True, slots=True)
class Start:
    """When something starts: on the wall clock of a zone; a whole day where no time was written."""

    wall: datetime
    zone: tzinfo
    whole_day: bool

    @property
    def instant(self) -> datetime:
        """In UTC (rule 2)."""
        return at(self.wall, self.zone)


@dataclass(frozen=True, slots=True)
class Event:
    """An event that has been read.

    Attributes:
        uid: which series it belongs to; "" for none.
        replaces: the start of the occurrence that it stands in for, or None.
        sequence: the higher one of two writings of the same event counts.
        status: BUSY, TENTATIVE or FREE.
        length: how long each occurrence lasts; `nominal` if that is in days, which are not always 24 hours.
        dates: further occurrences, with a length of their own or None.
        left_out: starts, and whole days, that do not take place.
    """

    uid: str
    replaces: Start | None
    sequence: int
    status: str
    start: Start
    length: timedelta
    nominal: bool
    rule: Rule | None
    dates: tuple[tuple[Start, timedelta | None], ...]
    left_out: tuple[Start, ...]

    def spans(self, window: Window, budget: Budget, replaced: frozenset[datetime] = frozenset()) -> Iterator[Span]:
        """Its occurrences inside the window, without those that others stand in for (starts in UTC).

        Raises:
            InputError: if that can not be worked out in bounded time (rule 4).
        """
        instants = replaced.union(one.instant for one in self.left_out)
        days = {one.wall.date() for one in self.left_out if one.whole_day}
        own = {self.start.wall, *self._repeated(window, budget)}
        listed = [(Start(wall, self.start.zone, self.start.whole_day), None) for wall in own]
        for start, length in (*listed, *self.dates):
            if start.instant not in instants and start.wall.date() not in days:
                yield from window.cut(start.instant, self._end(start, length))

    def _repeated(self, window: Window, budget: Budget) -> Iterator[datetime]:
        if self.rule is None:
            return iter(())
        first = (window.first - self.length - 2 * DAY).date()
        return occurrences(self.rule, self.start.wall, first, (window.last + DAY).date(), budget)

    def _end(self, start: Start, length: timedelta | None) -> datetime:
        if length is None and self.nominal:
            return at(start.wall + self.length, start.zone)
        return start.instant + (self.length if length is None else length)


def at(wall: datetime, zone: tzinfo) -> datetime:
    """A wall-clock time of a zone in UTC."""
    return wall.replace(tzinfo=zone).astimezone(UTC)


def zone_of(part: Part, otherwise: str | None) -> ZoneInfo | None:
    """The zone of days without a time (rule 1)."""
    for name in (part.head.get(ZONE), otherwise):
        if name:
            try:
                return ZoneInfo(WINDOWS_TO_OLSON.get(name, name))
            except (OSError, ValueError, KeyError):
                raise BadPart(ZONE, "expected a time zone of the tz database, got another") from None
    return None


def busy_periods(component: Component, window: Window) -> Iterator[tuple[str, Span]]:
    """The busy times of a VFREEBUSY, as (BUSY or TENTATIVE, span).

    Raises:
        BadPart: if one of them can not be read.
    """
    for one in _all(component, "FREEBUSY"):
        status = _PERIODS.get(str(one.params.get("FBTYPE", "BUSY")).upper(), BUSY)
        if not isinstance(one, vPeriod):
            raise BadPart("FREEBUSY", "expected periods, got otherwise")
        start, end = one.dt
        if start.tzinfo is None:
            raise BadPart("FREEBUSY", "expected times in UTC, got a floating one")
        start = start.astimezone(UTC)
        end = start + end if isinstance(end, timedelta) else end.astimezone(UTC)
        if not timedelta(0) <= end - start <= MAX_LENGTH:
            raise BadPart("FREEBUSY", f"expected periods of at most {MAX_LENGTH.days} days, got otherwise")
        if status != FREE:
            yield from ((status, span) for span in window.cut(start, end))


def read_event(component: Component, zone: ZoneInfo | None, owner: str) -> Event:
    """An event.

    Args:
        component: a VEVENT.
        zone: of days without a time.
        owner: whose calendar it is in: an address, or the part before its @.

    Raises:
        BadPart: naming the property that can not be used.
    """
    start = _start(component, "DTSTART", zone)
    if start is None:
        raise BadPart("DTSTART", "expected it, got nothing")
    if component.get("EXRULE") is not None:
        raise BadPart("EXRULE", "expected EXDATE instead, got this property, which RFC 5545 has dropped")
    replaces = _start(component, "RECURRENCE-ID", zone)
    if replaces and "RANGE" in component["RECURRENCE-ID"].params:
        raise BadPart("RECURRENCE-ID", "expected one occurrence, got a range of them")
    length, nominal = _length(component, start, zone)
    return Event(
        str(component.get("UID", "")),
        replaces,
        _sequence(component),
        _status(component, owner),
        start,
        length,
        nominal,
        _rule(component, start),
        tuple(_dates(component, "RDATE", zone)),
        tuple(one for one, _ in _dates(component, "EXDATE", zone)),
    )


def _all(component: Component, name: str) -> list[Any]:
    found = component.get(name, [])
    return found if isinstance(found, list) else [found]


def _one(component: Component, name: str, kind: type) -> Any:
    found = _all(component, name)
    if len(found) > 1 or not all(isinstance(one, kind) for one in found):
        raise BadPart(name, "expected it once and as in RFC 5545, got otherwise")
    return found[0] if found else None


def _start(component: Component, name: str, zone: ZoneInfo | None) -> Start | None:
    found = _one(component, name, vDDDTypes)
    return None if found is None else _moment(found.dt, name, found.params, zone)


def _moment(value: Any, name: str, parameters: Mapping[str, Any], zone: ZoneInfo | None) -> Start:
    """Rule 1."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            got = "one that is not in the tz database" if "TZID" in parameters else "none: a floating time"
            raise BadPart(name, f"expected a time with its zone, got {got}")
        return _checked(Start(value.replace(tzinfo=None, fold=0), value.tzinfo, False), name)
    if not isinstance(value, date):
        raise BadPart(name, "expected a time or a day, got otherwise")
    if zone is None:
        raise BadPart(name, f"expected {ZONE} or the mapping's timezone for a day without a time, got neither")
    return _checked(Start(datetime.combine(value, time()), zone, True), name)


def _checked(start: Start, name: str) -> Start:
    """Years that no calendar has are where arithmetic ends."""
    if not 1900 <= start.wall.year <= 2200:
        raise BadPart(name, "expected a year from 1900 to 2200, got another")
    return start


def _length(component: Component, start: Start, zone: ZoneInfo | None) -> tuple[timedelta, bool]:
    """How long it lasts, and whether that is in days of the calendar (RFC 5545, 3.8.5.3)."""
    end = _start(component, "DTEND", zone)
    duration = _one(component, "DURATION", vDDDTypes)
    if end is not None:
        length = end.wall - start.wall if start.whole_day else end.instant - start.instant
        nominal = start.whole_day
    elif duration is not None:
        length = duration.dt
        if not isinstance(length, timedelta):
            raise BadPart("DURATION", "expected a duration, got otherwise")
        nominal = not length % DAY
    else:
        length, nominal = (DAY if start.whole_day else timedelta(0)), True
    if not timedelta(0) <= length <= MAX_LENGTH:
        raise BadPart("DTEND", f"expected an end at most {MAX_LENGTH.days} days after the start, got otherwise")
    return length, nominal


def _sequence(component: Component) -> int:
    found = _one(component, "SEQUENCE", int)
    return 0 if found is None else int(found)


def _status(component: Component, owner: str) -> str:
    """Rule 3."""
    outlook = str(component.get("X-MICROSOFT-CDO-BUSYSTATUS", "")).upper()
    status = str(component.get("STATUS", "")).upper()
    answer = _answer(component, owner)
    transparent = str(component.get("TRANSP", "OPAQUE")).upper() == "TRANSPARENT"
    if transparent or status == "CANCELLED" or outlook == "FREE" or answer == "DECLINED":
        return FREE
    return TENTATIVE if "TENTATIVE" in (status, outlook, answer) else BUSY


def _answer(component: Component, owner: str) -> str:
    """How the calendar's owner answered: the only attendee listed, or the one of the owner's address."""
    attendees = _all(component, "ATTENDEE")
    for one in attendees:
        address = str(one).casefold().removeprefix("mailto:")
        if len(attendees) == 1 or owner.casefold() in (address, address.partition("@")[0]):
            return str(getattr(one, "params", {}).get("PARTSTAT", "")).upper()
    return ""


def _rule(component: Component, start: Start) -> Rule | None:
    found = _one(component, "RRULE", vRecur)
    if found is None:
        return None
    parts = {str(name).upper(): values if isinstance(values, list) else [values] for name, values in found.items()}
    parts["UNTIL"] = [_until(one, start) for one in parts["UNTIL"]] if "UNTIL" in parts else []
    try:
        return parse_rule({name: values for name, values in parts.items() if values or name != "UNTIL"})
    except InputError as error:
        raise BadPart("RRULE", str(error).removeprefix("RRULE: ")) from None


def _until(value: Any, start: Start) -> Any:
    """The last moment on the wall clock that the rule is worked out on."""
    if not isinstance(value, datetime):
        return value
    wall = _checked(Start(value.replace(tzinfo=None), UTC, False), "RRULE").wall
    if value.tzinfo is not None:
        wall = value.astimezone(start.zone).replace(tzinfo=None)
    return wall.date() if start.whole_day else wall


def _dates(component: Component, name: str, zone: ZoneInfo | None) -> Iterator[tuple[Start, timedelta | None]]:
    lists = _all(component, name)
    if not all(isinstance(one, vDDDLists) for one in lists):
        raise BadPart(name, "expected times or days, got otherwise")
    listed = [(value, one.params) for one in lists for value in one.dts]
    if len(listed) > MAX_DATES:
        raise BadPart(name, f"expected at most {MAX_DATES} dates, got more")
    for value, parameters in listed:
        begin, end = value.dt if isinstance(value.dt, tuple) else (value.dt, None)
        start = _moment(begin, name, parameters, zone)
        if end is not None and not isinstance(end, timedelta):
            end = _moment(end, name, parameters, zone).instant - start.instant
        if end is not None and not timedelta(0) <= end <= MAX_LENGTH:
            raise BadPart(name, f"expected periods of at most {MAX_LENGTH.days} days, got otherwise")
        yield start, end
