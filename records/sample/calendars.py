"""Calendars of the sample group's interviewers, as iCalendar files (RFC 5545) of the weeks around a day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import numpy as np

from records.sample.people import SamplePerson

WEEKS_BEFORE: Final = 2
WEEKS_AFTER: Final = 10
ZONE: Final = "Europe/London"
_VTIMEZONE: Final = """\
BEGIN:VTIMEZONE
TZID:Europe/London
BEGIN:DAYLIGHT
DTSTART:19810329T010000
RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU
TZOFFSETFROM:+0000
TZOFFSETTO:+0100
TZNAME:BST
END:DAYLIGHT
BEGIN:STANDARD
DTSTART:19961027T020000
RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU
TZOFFSETFROM:+0100
TZOFFSETTO:+0000
TZNAME:GMT
END:STANDARD
END:VTIMEZONE
"""


def calendar(person: SamplePerson, today: date, random: np.random.Generator, floating: bool = False) -> bytes:
    """One person's calendar: a weekly meeting but for one week and one moved, single ones, and what keeps nobody busy.

    Args:
        person: whose it is; the events name them, as calendars do.
        today: meetings lie from two weeks before it to ten after.
        random: what the meetings are drawn from.
        floating: adds a meeting at a time without zone, which says nothing about when it is.
    """
    monday = today - timedelta(today.weekday() + 7 * WEEKS_BEFORE)
    parts = [*_weekly(person, monday, random), *_single(person, monday, random)]
    if floating:
        times = [f"DTSTART:{_local(monday, 11)}", f"DTEND:{_local(monday, 12)}"]
        parts.append(_event(person, monday, "floating", times))
    head = "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//Calder Quay//Calendar 9//EN\nMETHOD:PUBLISH\n"
    return (head + _VTIMEZONE + "".join(parts) + "END:VCALENDAR\n").replace("\n", "\r\n").encode()


def _weekly(person: SamplePerson, monday: date, random: np.random.Generator) -> list[str]:
    """Every week at one local time, so that its UTC hour moves with the clocks; one week off, one week later."""
    weeks = WEEKS_BEFORE + WEEKS_AFTER
    first = monday + timedelta(int(random.integers(5)))
    hour = int(random.integers(9, 15))
    off, moved = (first + timedelta(7 * int(week)) for week in random.choice(np.arange(1, weeks), 2, replace=False))
    series = [
        f"DTSTART;TZID={ZONE}:{_local(first, hour)}",
        f"DTEND;TZID={ZONE}:{_local(first, hour + 1)}",
        f"RRULE:FREQ=WEEKLY;COUNT={weeks}",
        f"EXDATE;TZID={ZONE}:{_local(off, hour)}",
    ]
    later = [
        f"RECURRENCE-ID;TZID={ZONE}:{_local(moved, hour)}",
        f"DTSTART;TZID={ZONE}:{_local(moved, hour + 2)}",
        f"DTEND;TZID={ZONE}:{_local(moved, hour + 3)}",
    ]
    return [_event(person, monday, "weekly", series), _event(person, monday, "weekly", later)]


def _single(person: SamplePerson, monday: date, random: np.random.Generator) -> list[str]:
    """Eight meetings written in UTC, one that was called off and one that keeps nobody busy."""
    days = random.choice(7 * (WEEKS_BEFORE + WEEKS_AFTER), 10, replace=False)
    marks = ["STATUS:CONFIRMED"] * 8 + ["STATUS:CANCELLED", "TRANSP:TRANSPARENT"]
    found = []
    for place, (day, mark) in enumerate(zip(days, marks, strict=True)):
        start = datetime.combine(monday + timedelta(int(day)), time(int(random.integers(8, 17))), UTC)
        minutes = int(random.choice((30, 45, 60, 90)))
        times = [f"DTSTART:{start:%Y%m%dT%H%M%SZ}", f"DURATION:PT{minutes}M", mark]
        found.append(_event(person, monday, f"single-{place}", times))
    return found


def _event(person: SamplePerson, monday: date, name: str, lines: Sequence[str]) -> str:
    address = f"{person.given}.{person.surname}@calder.example".lower()
    return "\n".join(
        (
            *("BEGIN:VEVENT", f"UID:{person.number}-{name}@calder.example", f"DTSTAMP:{_local(monday, 6)}Z", *lines),
            *(f"SUMMARY:Talk with {person.surname}", f"ATTENDEE:mailto:{address}"),
            *("BEGIN:VALARM", "ACTION:DISPLAY", "DESCRIPTION:Soon", "TRIGGER:-PT10M", "END:VALARM", "END:VEVENT\n"),
        )
    )


def _local(day: date, hour: int) -> str:
    return f"{day:%Y%m%d}T{hour:02d}0000"
