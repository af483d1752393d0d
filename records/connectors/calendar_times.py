"""Files of calendars, read together: whose they are, and from when to when these people are busy.

A series is brought together with what stands in for single occurrences of it, the newest writing of each; whoever's
times they are, they are merged over all that was read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Final

from icalendar import Component

from privacy.errors import InputError
from records.connectors.calendar_events import (
    BUSY,
    FREE,
    TENTATIVE,
    Event,
    Span,
    Window,
    busy_periods,
    read_event,
    zone_of,
)
from records.connectors.calendar_parts import MAX_BYTES, METHOD, BadPart, Part, parts_of, texts
from records.connectors.recurrence import Budget
from records.facts import Fault
from records.mapping import Mapping as SourceMapping
from records.store import instant

DAYS_BACK: Final = 7
DAYS_AHEAD: Final = 60
MAX_FILES: Final = 20_000
MAX_SPANS: Final = 1_000_000
MAX_DAYS_LOOKED_AT: Final = 200_000
"""By the rules of one file, and times found by them: about a second's worth."""
FILE_NAME: Final = "file name"
_OURS: Final = frozenset({"start_utc", "end_utc", "day", "status", FILE_NAME})

Record = Mapping[str, str | None]
"""Cells by name."""
Whose = tuple[tuple[str, str | None], ...]
"""What the mapping reads to know whose an event is."""
Spans = dict[Whose, dict[str, list[Span]]]
"""Busy times by whose they are and by status."""


def window_around(now: datetime, back: int = DAYS_BACK, ahead: int = DAYS_AHEAD) -> Window:
    """Whole days in UTC from `back` days before now to `ahead` days after it.

    Raises:
        InputError: if `now` has no time zone, or it is not 0 to 366 days.
    """
    if now.tzinfo is None or not (0 <= back <= 366 and 0 < ahead <= 366):
        raise InputError("calendars: expected a time with its zone and windows of at most 366 days, got otherwise")
    today = datetime.combine(now.astimezone(UTC).date(), time(), UTC)
    return Window(today - timedelta(back), today + timedelta(ahead))


def files_of(path: Path) -> list[Path]:
    """The file, or the .ics files in the folder, by name.

    Raises:
        InputError: if there is none, or too many.
    """
    try:
        if path.is_file():
            return [path]
        files = sorted(one for one in path.iterdir() if one.suffix.lower() == ".ics" and one.is_file())
    except OSError as error:
        raise InputError(f"calendars: expected a file or a folder, got {type(error).__name__}") from None
    if not 1 <= len(files) <= MAX_FILES:
        raise InputError(f"calendars: expected 1 to {MAX_FILES} .ics files in the folder, got {len(files)}")
    return files


def merged(spans: Iterable[Span]) -> list[Span]:
    """The same times, none of them overlapping or touching, in order."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def without(spans: Iterable[Span], taken: Iterable[Span]) -> list[Span]:
    """What of the times is not taken; both merged, as is what is left."""
    found: list[Span] = []
    others = iter(taken)
    other = next(others, None)
    for start, end in spans:
        while other and start < end and other[0] < end:
            if start < other[0]:
                found.append((start, other[0]))
            start = max(start, other[1])
            if other[1] > end:
                break
            other = next(others, None)
        if start < end:
            found.append((start, end))
    return found


def calendars_of(
    files: Sequence[Path], mapping: SourceMapping, window: Window
) -> Iterator[tuple[int, Fault | tuple[Whose, dict[str, list[Span]]]]]:
    """What files hold: faults, each with its event's number over all files; and busy times by whose they are.

    These have the number of their first event, and come file by file where the file's name tells whose they are.

    Raises:
        InputError: if there are too many.
    """
    found: Spans = defaultdict(lambda: defaultdict(list))
    place = 0
    for file in files:
        reader = _File(file, mapping, window, found)
        for fault in reader.faults(place):
            yield fault.place, fault
        if FILE_NAME in mapping.cells:  # whoever this file is about, no other one is
            yield from ((place, calendar) for calendar in found.items())
            found.clear()
        elif sum(len(spans) for by_status in found.values() for spans in by_status.values()) > MAX_SPANS:
            raise InputError(f"calendars: expected at most {MAX_SPANS} busy times at once, got more")
        place += max(1, reader.parts)
    yield from enumerate(found.items(), place)


@dataclass(slots=True)
class _Series:
    """The writings of one event: the series, and what stands in for single occurrences of it."""

    master: tuple[int, Event, Whose] | None
    others: dict[datetime, tuple[int, Event, Whose]]


class _File:
    """One file: its faults, and its busy times added to those found."""

    def __init__(self, file: Path, mapping: SourceMapping, window: Window, found: Spans) -> None:
        self._file = file
        self._mapping = mapping
        self._window = window
        self._found = found
        self._wanted = tuple(sorted(mapping.cells - _OURS))
        self._budget = Budget(MAX_DAYS_LOOKED_AT)
        self.parts = 0

    def faults(self, place: int) -> Iterator[Fault]:
        """Read the file; its events' numbers count from `place`."""
        try:
            parts = parts_of(bytes_of(self._file), self._mapping.read.encoding, self._wanted)
        except InputError as error:
            yield Fault(place, "", str(error))
            return
        self.parts = len(parts)
        if not self._wanted:
            self._found[self._named()]  # theirs even if it holds nothing
        series: dict[object, _Series] = {}
        for number, part in enumerate(parts, place):
            try:
                self._take(part, number, series)
            except BadPart as bad:
                yield Fault(number, bad.column, bad.reason)
        for one in series.values():
            yield from self._add(one)

    def _take(self, part: Part, number: int, series: dict[object, _Series]) -> None:
        component = part.component()
        whose = self._whose(part, component)
        if part.kind == "VFREEBUSY":
            for status, span in list(busy_periods(component, self._window)):
                self._found[whose][status].append(span)
            return
        event = read_event(component, zone_of(part, self._mapping.read.timezone), self._file.stem)
        if part.head.get(METHOD, "").upper() == "CANCEL":
            event = replace(event, status=FREE)
        one = series.setdefault((whose, event.uid) if event.uid else number, _Series(None, {}))
        if event.replaces is None:
            if one.master is None or one.master[1].sequence <= event.sequence:
                one.master = (number, event, whose)
        else:
            held = one.others.get(event.replaces.instant)
            if held is None or held[1].sequence <= event.sequence:
                one.others[event.replaces.instant] = (number, event, whose)

    def _named(self) -> Whose:
        return ((FILE_NAME, self._file.stem),) if FILE_NAME in self._mapping.cells else ()

    def _whose(self, part: Part, component: Component) -> Whose:
        cells = list(self._named())
        for name in self._wanted:
            text = next((value for value, _ in texts(component, name)), part.head.get(name))
            cells.append((name, _address(text) if text else None))
        return tuple(cells)

    def _add(self, series: _Series) -> Iterator[Fault]:
        replaced = frozenset(series.others)
        for written in (series.master, *series.others.values()):
            if written is None or written[1].status == FREE:
                continue
            number, event, whose = written
            try:
                spans = list(event.spans(self._window, self._budget, frozenset() if event.replaces else replaced))
            except InputError as error:
                yield Fault(number, "RRULE", str(error).removeprefix("RRULE: "))
                continue
            self._found[whose][event.status].extend(spans)


def records_of_calendar(whose: Whose, spans: Mapping[str, list[Span]]) -> Iterator[Record]:
    """Rule 2; what is taken for sure is not also tentative."""
    busy = merged(spans.get(BUSY, ()))
    for status, times in ((BUSY, busy), (TENTATIVE, without(merged(spans.get(TENTATIVE, ())), busy))):
        for start, end in times:
            yield record(whose, status, start, end)


def record(whose: Whose, status: str, start: datetime, end: datetime) -> Record:
    """The cells of one busy time."""
    day = start.date().isoformat()
    return {**dict(whose), "start_utc": instant(start), "end_utc": instant(end), "day": day, "status": status}


def bytes_of(file: Path) -> bytes:
    """What is in a file, or one byte more than a calendar may have of it.

    Raises:
        InputError: if it can not be read.
    """
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"expected a readable calendar, got {type(error).__name__}") from None


def _address(text: str) -> str:
    return text[7:] if text[:7].lower() == "mailto:" else text
