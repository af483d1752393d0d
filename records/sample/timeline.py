"""The days that the sample group's exports are dated by, all told from the day on which they are written."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from privacy.errors import InputError

FIRST_DAY: Final = date(2025, 1, 1)
LAST_DAY: Final = date(2035, 12, 31)
"""Later days are none of the mappings' plausible ones."""
MONTHS_BACK: Final = 13
"""From the month of `today` back to that of `as_of`: a horizon of a year is over, and little is past its time yet."""
HORIZON_MONTHS: Final = 12


@dataclass(frozen=True, slots=True)
class Timeline:
    """The days of one writing of the exports.

    Attributes:
        today: the day of writing, between FIRST_DAY and LAST_DAY.
    """

    today: date

    def __post_init__(self) -> None:
        """Refuses days that the exports can not be dated by."""
        if not FIRST_DAY <= self.today <= LAST_DAY:
            raise InputError(f"sample exports: expected a day from {FIRST_DAY} to {LAST_DAY}, got another")

    @property
    def as_of(self) -> date:
        """The day whose state the exports of people show: the last of a month, whose year's horizon is over."""
        first = months_before(self.today, MONTHS_BACK)
        return first.replace(day=calendar.monthrange(first.year, first.month)[1])

    @property
    def first_managers(self) -> date:
        """From when on managers are recorded, before the three years in which changes count."""
        return months_before(self.as_of, 39)

    @property
    def first_change(self) -> date:
        """The first day of a change that counts as_of."""
        return months_before(self.as_of, 35, 15)

    @property
    def last_raise(self) -> date:
        """When pay was last raised."""
        return months_before(self.as_of, 6)

    @property
    def told(self) -> datetime:
        """When the notice of the purpose went out."""
        return _at_eight(months_before(self.as_of, 8, 15))

    @property
    def learned_before(self) -> datetime:
        """The first morning of the month before the year of training that counts as_of."""
        return _at_eight(months_before(self.as_of, 12))

    @property
    def weeks(self) -> tuple[date, date, date]:
        """Mondays of the three months before as_of."""
        return monday(self.as_of, 70), monday(self.as_of, 42), monday(self.as_of, 14)

    @property
    def recent_weeks(self) -> tuple[date, date]:
        """Mondays of the three months before today."""
        return monday(self.today, 42), monday(self.today, 14)

    @property
    def earlier_survey(self) -> date:
        """The wave before the one that counts as_of."""
        return monday(self.as_of, 250)

    @property
    def survey(self) -> date:
        """The wave that counts as_of."""
        return monday(self.as_of, 100)

    @property
    def recent_survey(self) -> date:
        """The wave that counts today."""
        return monday(self.today, 30)


def months_before(day: date, months: int, day_of_month: int = 1) -> date:
    """A day of the month that lies `months` before the month of `day`."""
    total = day.year * 12 + day.month - 1 - months
    return date(total // 12, total % 12 + 1, day_of_month)


def monday(day: date, days: int) -> date:
    """The Monday of the week that lies so many days before a day."""
    then = day - timedelta(days)
    return then - timedelta(then.weekday())


def year_before(day: date) -> datetime:
    """The first morning of the 355 days before a day."""
    return _at_eight(day - timedelta(355))


def clocks_forward(day: date) -> date:
    """The last day before a day on which Europe's clocks went forward: it had no time from 02:00 to 03:00, locally."""
    year = day.year
    while (sunday := _last_sunday_of_march(year)) >= day:
        year -= 1
    return sunday


def _last_sunday_of_march(year: int) -> date:
    last = date(year, 3, 31)
    return last - timedelta((last.weekday() + 1) % 7)


def _at_eight(day: date) -> datetime:
    return datetime.combine(day, time(8), UTC)
