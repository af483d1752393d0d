"""When a value is past its time, asked of one value; `records.retention` deletes by it, `records.ingest` leaves out."""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime
from functools import lru_cache

from records.registry import Column


def past(column: Column, valid_from: str, recorded: str, exit_month: str | None, now: datetime) -> bool:
    """Whether the column's retention is over for a value.

    A day or instant is past once `retention_months` lie between it and today; a month once they lie between its last
    day and today. Who has not left is never past a column that is kept from the exit on.

    Args:
        column: what is registered about it.
        valid_from: the day from which the value is true.
        recorded: the instant at which it was recorded.
        exit_month: the month in which the person left (YYYY-MM), or None; `valid_from` if nothing tells any more.
        now: aware.
    """
    since = {"valid_from": valid_from, "recorded": recorded[:10], "exit": exit_month}[column.retention_from]
    return since is not None and since < earliest(column.retention_months, now)[: len(since)]


def earliest(months: int, now: datetime) -> str:
    """The first day (YYYY-MM-DD) that is not past after so many months."""
    return _earliest(months, now.astimezone(UTC).date())


@lru_cache(maxsize=1_000)
def _earliest(months: int, today: date) -> str:
    year, month = divmod(today.year * 12 + today.month - 1 - months, 12)
    if year < 1:
        return date.min.isoformat()
    return date(year, month + 1, min(today.day, calendar.monthrange(year, month + 1)[1])).isoformat()
