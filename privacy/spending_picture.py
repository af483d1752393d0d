"""What a ledger's people have been charged over time, put in order for a picture, and the picture for a terminal.

It shows the line that bounds everybody: all that was charged in a period, whoever was in it. It climbs to the cap and
falls to nothing where a new period begins. The cap is drawn as it was decided at each time. `privacy.spending_svg`
draws the same on a page. Nothing here opens a ledger.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.text import Text

COLUMNS: Final = 66
"""Columns of a terminal's chart; with its scale and margin it fits 80."""
ROWS: Final = 8
SCALE: Final = 9
"""Characters of the scale left of the chart."""
EIGHTHS: Final = " ▁▂▃▄▅▆▇█"
MOST_STEPS: Final = 2_000
"""Steps in an SVG: more than it has pixels would only make it larger."""
HEADROOM: Final = 1.12
"""Of the scale above the cap, so that its line stands free."""
SHOWN: Final = 0.98
"""Where in the picture the last event is: what stands then can be seen."""
LAST_MOMENT: Final = 253_402_300_799
"""The end of the year 9999, in POSIX seconds: later ones are shown as it."""
NEARLY: Final = 0.8
"""Share of the cap from which on a terminal's bar turns yellow."""


@dataclass(frozen=True, slots=True)
class Point:
    """After a charge: when (POSIX seconds, as the ledger's clock said), in which period, and the total then (mu²)."""

    at: int
    period: int
    spent: float


@dataclass(frozen=True, slots=True)
class Limit:
    """From when on a budget holds (POSIX seconds), its period and the period's label, and its cap (mu²)."""

    at: int
    period: int
    label: str
    cap: float


@dataclass(frozen=True, slots=True)
class Spending:
    """One site's points and limits, each in the ledger's order; there is at least one limit, the opening one."""

    site: str
    limits: tuple[Limit, ...]
    points: tuple[Point, ...]

    @property
    def now(self) -> float:
        """What has been charged in the current period."""
        last = self.points[-1] if self.points else None
        return last.spent if last and last.period == self.limits[-1].period else 0.0

    @property
    def summary(self) -> str:
        """What the picture shows, in a sentence."""
        limit = self.limits[-1]
        share = f" ({self.now / limit.cap:.0%})" if limit.cap else ""
        resets = limit.period - self.limits[0].period
        before = f"; {resets} earlier period{'s' if resets > 1 else ''}" if resets else ""
        return (
            f"{self.site}: {figure(self.now)} of a cap of {figure(limit.cap)} mu² charged in period"
            f" {limit.label}{share}{before}"
        )


@dataclass(frozen=True, slots=True)
class Step:
    """From `at` (a share of the time shown) on: the total and the cap."""

    at: float
    spent: float
    cap: float


@dataclass(frozen=True, slots=True)
class Course:
    """Everything in the order in which it happened, on a line from 0 to 1; a clock that went back stands still."""

    first: int
    last: int
    steps: tuple[Step, ...]
    periods: tuple[tuple[float, str], ...]
    top: float


def figure(value: float) -> str:
    """A number for people: four significant digits."""
    return f"{value:.4g}"


def chart(spending: Spending) -> Text:
    """The picture for a terminal: bars in eighths of a character, the cap as a line, periods under the time."""
    from rich.text import Text

    course = course_of(spending)
    columns = _columns(course)
    cap_row = [_row(cap / course.top) for _, cap in columns]
    text = Text()
    for row in reversed(range(ROWS)):
        text.append(_scale(row, course, columns[-1][1]).rjust(SCALE) + " ", style="dim")
        for (spent, cap), marked in zip(columns, cap_row, strict=True):
            filled = spent / course.top * ROWS - row
            if filled > 0:
                text.append(EIGHTHS[min(8, math.ceil(filled * 8))], style=_style(spent, cap))
            else:
                text.append("╌" if row == marked else " ", style="red")
        text.append("\n")
    text.append(" " * SCALE + "└" + "─" * COLUMNS + "\n", style="dim")
    text.append(" " * (SCALE + 1) + _periods(course) + "\n")
    text.append(" " * (SCALE + 1) + _ends(course), style="dim")
    return text


# What happened, in order


def course_of(spending: Spending) -> Course:
    """Limits and points merged by period and number, each no earlier than the one before it."""
    events: list[tuple[int, float, float]] = []
    began: list[tuple[int, str]] = []
    clock, position, previous = 0, 0, -1
    for n, limit in enumerate(spending.limits):
        clock = max(clock, limit.at)
        following = spending.limits[n + 1] if n + 1 < len(spending.limits) else None
        renewed = limit.period != previous
        previous = limit.period
        spent = 0.0 if renewed or not events else events[-1][1]
        if renewed:
            began.append((clock, limit.label))
        events.append((clock, spent, limit.cap))
        while position < len(spending.points) and _under(spending.points[position], limit, following):
            point = spending.points[position]
            clock, position = max(clock, point.at), position + 1
            events.append((clock, point.spent, limit.cap))
    first = events[0][0]
    span = max(1, clock - first) / SHOWN
    steps = tuple(Step((at - first) / span, spent, cap) for at, spent, cap in _thinned(events))
    top = HEADROOM * max([cap for _, _, cap in events] + [spent for _, spent, _ in events]) or 1.0
    return Course(first, clock, steps, tuple(((at - first) / span, label) for at, label in began), top)


def _under(point: Point, limit: Limit, following: Limit | None) -> bool:
    """Whether a charge fell under this limit and not yet under the one that follows."""
    return (
        following is None
        or point.period < following.period
        or (point.period == limit.period == following.period and point.at < following.at)
    )


def _thinned(events: list[tuple[int, float, float]]) -> Iterable[tuple[int, float, float]]:
    """At most about MOST_STEPS of the events: the last of each stretch of time, and both sides of every fall."""
    if len(events) <= MOST_STEPS:
        return events
    width = max(1, math.ceil((events[-1][0] - events[0][0]) / MOST_STEPS))
    kept = events[:1]
    for before, event, after in zip(events, events[1:], [*events[2:], None], strict=False):
        falls = event[1] < before[1] or (after is not None and after[1] < event[1])
        if falls or after is None or after[0] // width != event[0] // width:
            kept.append(event)
    return kept


# On a terminal


def _columns(course: Course) -> list[tuple[float, float]]:
    """(largest total, last cap) within each column's stretch of time."""
    columns: list[tuple[float, float]] = []
    position, spent, cap = 0, 0.0, course.steps[0].cap
    for column in range(COLUMNS):
        most = -1.0
        while position < len(course.steps) and min(COLUMNS - 1, int(course.steps[position].at * COLUMNS)) <= column:
            spent, cap = course.steps[position].spent, course.steps[position].cap
            most, position = max(most, spent), position + 1
        columns.append((max(most, spent) if most >= 0 else spent, cap))
    return columns


def _row(share: float) -> int:
    return min(ROWS - 1, int(share * ROWS))


def _scale(row: int, course: Course, cap: float) -> str:
    """What stands left of a row: the current cap, or zero."""
    if row == _row(cap / course.top):
        return f"cap {cap:.2g}" if cap else "cap 0"
    return "0" if row == 0 else ""


def _style(spent: float, cap: float) -> str:
    return "yellow" if spent > NEARLY * cap else "cyan"


def _periods(course: Course) -> str:
    """Each period's label under where it began, as far as there is room; a bar marks every beginning."""
    line = [" "] * COLUMNS
    free = 0
    for n, (at, label) in enumerate(course.periods):
        place = min(COLUMNS - 1, int(at * COLUMNS))
        line[place] = "│"
        following = course.periods[n + 1][0] * COLUMNS if n + 1 < len(course.periods) else COLUMNS
        room = int(min(following, COLUMNS)) - place - 2
        shown = printable(label)[: max(0, room)]
        if place >= free and len(shown) == len(label):
            line[place + 1 : place + 1 + len(shown)] = shown
            free = place + 1 + len(shown)
    return "".join(line)


def _ends(course: Course) -> str:
    first, last = moments(course)
    return first if first == last else first + last.rjust(COLUMNS - len(first))


def moments(course: Course) -> tuple[str, str]:
    """First and last moment in UTC: days, or minutes where that is one day."""
    ends = [datetime.fromtimestamp(min(at, LAST_MOMENT), UTC) for at in (course.first, course.last)]
    form = "%Y-%m-%d" if ends[0].date() != ends[1].date() else "%Y-%m-%d %H:%M"
    return ends[0].strftime(form), ends[1].strftime(form)


def printable(text: str) -> str:
    """The text with a mark in place of every character that is not to be seen."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
