"""When something recurs by a rule of RFC 5545 (3.3.10), inside a window and in bounded time.

Everything here is local wall-clock time without a zone: what 9 o'clock means on a day is decided after the rule.
Rules that repeat within a day are refused: nobody's calendar needs them, and they are how a calendar becomes a bomb.
"""

from __future__ import annotations

import re
from calendar import isleap, monthrange
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import MAXYEAR, date, datetime, time, timedelta
from typing import Any, Final

from privacy.errors import InputError

FREQUENCIES: Final = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")
MAX_INTERVAL: Final = 10_000
MAX_TIMES_A_DAY: Final = 48
MAX_WEEKDAYS: Final = 7 * (1 + 2 * 53)
"""All that there are: each weekday of every week, and by its number in the year from either end."""
WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_LISTS: Final = {  # lowest and highest of the numbers; negative ones count from the end
    "BYMONTH": (1, 12, False),
    "BYMONTHDAY": (1, 31, True),
    "BYYEARDAY": (1, 366, True),
    "BYWEEKNO": (1, 53, True),
    "BYSETPOS": (1, 366, True),
    "BYHOUR": (0, 23, False),
    "BYMINUTE": (0, 59, False),
    "BYSECOND": (0, 59, False),
}
_KNOWN: Final = frozenset({"FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYDAY", *_LISTS})
_BYDAY: Final = re.compile(r"([+-]?[0-9]{1,2})?(MO|TU|WE|TH|FR|SA|SU)", re.ASCII)


class Budget:
    """How many days and moments may still be looked at; shared by rules that come together."""

    def __init__(self, days: int) -> None:
        """`days` at most."""
        self.days = days

    def spend(self, days: int) -> None:
        """Raises InputError when there are none left."""
        self.days -= days
        if self.days < 0:
            raise InputError("RRULE: expected rules that can be worked out in bounded time, got more")


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that has been checked; `lists` holds the BY parts but BYDAY, whose pairs are (ordinal or 0, weekday).

    Both are looked up in, so that a long list takes no longer for each day.
    """

    frequency: str
    interval: int
    count: int | None
    until: date | datetime | None
    first_weekday: int
    weekdays: frozenset[tuple[int, int]]
    lists: Mapping[str, frozenset[int]]


def parse_rule(parts: Mapping[str, Sequence[Any]]) -> Rule:
    """The rule with these parts: names in capitals, to lists of texts, numbers or (UNTIL) a day or a moment.

    Raises:
        InputError: naming the part that is not as the standard or this module's head has it.
    """
    if not parts.keys() <= _KNOWN:
        raise InputError("RRULE: expected the parts of RFC 5545, got another")
    frequency = _one(parts, "FREQ", "")
    if frequency not in FREQUENCIES:
        raise InputError(f"RRULE: expected one of {', '.join(FREQUENCIES)}, got another")
    until = _one(parts, "UNTIL", None)
    if until is not None and not isinstance(until, date):
        raise InputError("RRULE: expected a day or a moment as UNTIL, got otherwise")
    if len(parts.get("BYDAY", ())) > MAX_WEEKDAYS:
        raise InputError(f"RRULE: expected at most {MAX_WEEKDAYS} weekdays as BYDAY, got more")
    weekdays = frozenset(_weekday(str(text), frequency, "BYWEEKNO" in parts) for text in parts.get("BYDAY", ()))
    lists = {name: _numbers(parts[name], name) for name in _LISTS if name in parts}
    if _product(lists) > MAX_TIMES_A_DAY:
        raise InputError(f"RRULE: expected at most {MAX_TIMES_A_DAY} times a day, got more")
    wkst = str(_one(parts, "WKST", "MO"))
    if wkst not in WEEKDAYS:
        raise InputError("RRULE: expected a weekday as WKST, got otherwise")
    return Rule(
        frequency,
        _whole(parts, "INTERVAL", MAX_INTERVAL) or 1,
        _whole(parts, "COUNT", 10**9),
        until,
        WEEKDAYS.index(wkst),
        weekdays,
        lists,
    )


def occurrences(rule: Rule, start: datetime, first: date, last: date, budget: Budget) -> Iterator[datetime]:
    """When the rule has something begin from `first` to `last`, in order; never before `start`, all without a zone.

    Raises:
        InputError: when the budget is spent.
    """
    rule = _completed(rule, start)
    times = _times(rule, start)
    # What is counted has to be counted from the start; everything else is looked up where it is wanted.
    counted = rule.count is not None
    number = 0 if counted else max(0, _periods_between(rule, start.date(), first))
    whole = counted or "BYSETPOS" in rule.lists
    found = 0
    while (days := _days(rule, start.date(), number)) and days[0] <= last:
        chosen = _chosen(rule, days if whole else [day for day in days if first <= day <= last], times)
        budget.spend(len(days) * len(times) if whole else 1 + len(chosen))
        for moment in chosen:
            if moment < start:
                continue
            found += 1
            if moment.date() > last or _is_over(rule, moment) or (rule.count is not None and found > rule.count):
                return
            if moment.date() >= first:
                yield moment
        number += 1


def _one(parts: Mapping[str, Sequence[Any]], name: str, default: Any) -> Any:
    values = parts.get(name, (default,))
    if len(values) != 1:
        raise InputError(f"RRULE: expected one value of {name}, got {len(values)}")
    return values[0]


def _whole(parts: Mapping[str, Sequence[Any]], name: str, most: int) -> int | None:
    value = _one(parts, name, None)
    if value is not None and (not isinstance(value, int) or not 1 <= value <= most):
        raise InputError(f"RRULE: expected a whole number from 1 to {most} as {name}, got otherwise")
    return value


def _numbers(values: Sequence[Any], name: str) -> frozenset[int]:
    low, high, negative = _LISTS[name]
    good = (isinstance(v, int) and (low <= v <= high or (negative and -high <= v <= -low)) for v in values)
    if not 1 <= len(values) <= 2 * high + 2 or not all(good):
        raise InputError(f"RRULE: expected {name} from {low} to {high}, got otherwise")
    return frozenset(values)


def _weekday(text: str, frequency: str, by_week: bool) -> tuple[int, int]:
    found = _BYDAY.fullmatch(text)
    ordinal = int(found[1] or 0) if found else 0
    if not found or (found[1] and not 1 <= abs(ordinal) <= 53):
        raise InputError("RRULE: expected weekdays as BYDAY, got otherwise")
    if ordinal and (frequency in ("DAILY", "WEEKLY") or by_week):
        raise InputError("RRULE: expected numbered weekdays in a month or year only, got otherwise")
    return ordinal, WEEKDAYS.index(found[2])


def _product(lists: Mapping[str, frozenset[int]]) -> int:
    return len(lists.get("BYHOUR", "h")) * len(lists.get("BYMINUTE", "m")) * len(lists.get("BYSECOND", "s"))


def _completed(rule: Rule, start: datetime) -> Rule:
    """The rule with what it leaves open taken from the start."""
    lists, weekdays = dict(rule.lists), rule.weekdays
    if not weekdays and not lists.keys() & {"BYWEEKNO", "BYYEARDAY", "BYMONTHDAY"}:
        if rule.frequency == "YEARLY":
            lists.setdefault("BYMONTH", frozenset({start.month}))
        if rule.frequency in ("YEARLY", "MONTHLY"):
            lists["BYMONTHDAY"] = frozenset({start.day})
        if rule.frequency == "WEEKLY":
            weekdays = frozenset({(0, start.weekday())})
    elif "BYWEEKNO" in lists and not weekdays and not lists.keys() & {"BYYEARDAY", "BYMONTHDAY"}:
        weekdays = frozenset({(0, start.weekday())})
    return Rule(rule.frequency, rule.interval, rule.count, rule.until, rule.first_weekday, weekdays, lists)


def _times(rule: Rule, start: datetime) -> list[time]:
    hours, minutes, seconds = (
        sorted(rule.lists.get(name, (at,)))
        for name, at in (("BYHOUR", start.hour), ("BYMINUTE", start.minute), ("BYSECOND", start.second))
    )
    return [time(hour, minute, second) for hour in hours for minute in minutes for second in seconds]


def _week_of(day: date, first_weekday: int) -> date:
    return day - timedelta((day.weekday() - first_weekday) % 7)


def _periods_between(rule: Rule, start: date, day: date) -> int:
    """How many whole intervals of the rule lie between the start's period and the day's; less than 0 before it."""
    if rule.frequency == "DAILY":
        return (day - start).days // rule.interval
    if rule.frequency == "WEEKLY":
        return (day - _week_of(start, rule.first_weekday)).days // (7 * rule.interval)
    years = day.year - start.year
    return (years if rule.frequency == "YEARLY" else 12 * years + day.month - start.month) // rule.interval


def _days(rule: Rule, start: date, number: int) -> list[date]:
    """The days of a period; none after the calendar's end."""
    steps = number * rule.interval
    try:
        if rule.frequency == "DAILY":
            return [start + timedelta(steps)]
        if rule.frequency == "WEEKLY":
            week = _week_of(start, rule.first_weekday) + timedelta(7 * steps)
            return [week + timedelta(n) for n in range(7)]
    except OverflowError:
        return []
    months = 12 * (start.year + steps) if rule.frequency == "YEARLY" else 12 * start.year + start.month - 1 + steps
    year, month = divmod(months, 12)
    if year > MAXYEAR:
        return []
    if rule.frequency == "MONTHLY":
        return [date(year, month + 1, n + 1) for n in range(monthrange(year, month + 1)[1])]
    first = date(year, 1, 1).toordinal()
    return [date.fromordinal(first + n) for n in range(366 if isleap(year) else 365)]


def _chosen(rule: Rule, days: Sequence[date], times: Sequence[time]) -> list[datetime]:
    """What the rule has begin within a period, in order."""
    moments = [datetime.combine(day, at) for day in days if _fits(rule, day) for at in times]
    places = rule.lists.get("BYSETPOS")
    if places is None:
        return moments
    indices = {place - 1 if place > 0 else len(moments) + place for place in places}
    return [moment for n, moment in enumerate(moments) if n in indices]


def _fits(rule: Rule, day: date) -> bool:
    lists = rule.lists
    if "BYMONTH" in lists and day.month not in lists["BYMONTH"]:
        return False
    if rule.weekdays and not _weekdays_of(rule, day) & rule.weekdays:
        return False
    if "BYMONTHDAY" in lists:
        length = monthrange(day.year, day.month)[1]
        if not {day.day, day.day - length - 1} & lists["BYMONTHDAY"]:
            return False
    if "BYYEARDAY" in lists:
        number, length = day.timetuple().tm_yday, 366 if isleap(day.year) else 365
        if not {number, number - length - 1} & lists["BYYEARDAY"]:
            return False
    return "BYWEEKNO" not in lists or bool(_week_numbers(day, rule.first_weekday) & lists["BYWEEKNO"])


def _weekdays_of(rule: Rule, day: date) -> set[tuple[int, int]]:
    """The day's weekday, also by its number in its month (or year, where no month is said) from either end."""
    if rule.frequency == "MONTHLY" or "BYMONTH" in rule.lists:
        before, length = day.day - 1, monthrange(day.year, day.month)[1]
    else:
        before, length = day.timetuple().tm_yday - 1, 366 if isleap(day.year) else 365
    return {(ordinal, day.weekday()) for ordinal in (0, before // 7 + 1, -((length - 1 - before) // 7 + 1))}


def _week_numbers(day: date, first_weekday: int) -> set[int]:
    """The number of the day's week in its year, from the start and from the end."""
    number, year = _week_number(day, first_weekday)
    return {number, number - _week_number(date(year, 12, 28), first_weekday)[0] - 1}


def _week_number(day: date, first_weekday: int) -> tuple[int, int]:
    """A week belongs to the year that has four of its days."""
    middle = _week_of(day, first_weekday) + timedelta(3)
    return (middle.timetuple().tm_yday - 1) // 7 + 1, middle.year


def _is_over(rule: Rule, moment: datetime) -> bool:
    if rule.until is None:
        return False
    return moment > rule.until if isinstance(rule.until, datetime) else moment.date() > rule.until
