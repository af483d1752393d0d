"""What each source of a site has delivered: how much got in, in what order and how fresh; what did not, and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from sqlalchemy import Connection, func, select, union_all

from records.quarantine import Held, held_in
from records.schema import FACTS, batch

UNFIT_AT_MOST: Final = 0.2
"""Above this share of rows that do not fit, it is the mapping that does not."""
FRESH_DAYS: Final[Mapping[str, int]] = {
    "hris": 31,
    "ats": 14,
    "lms": 31,
    "calendar": 7,
    "survey": 200,
    "timekeeping": 31,
    "payroll": 62,
}
"""How old a source's newest delivery may be before it is stale, in days. What is not here comes when it comes."""
MONTHS_SHOWN: Final = 24
_COUNTS: Final = ("rows", "written", "unchanged", "quarantined", "left_out")


@dataclass(frozen=True, slots=True)
class SourceReport:
    """What one source has delivered.

    Attributes:
        source: of the registry.
        deliveries: how many.
        rows: in them.
        written: facts that were new or changed.
        unchanged: facts that were known already: repeated deliveries, duplicates.
        quarantined: facts, or rows as a whole, that did not get in.
        left_out: facts of people who were erased, or past their time.
        unfit: share of rows that did not get in, from 0 to 1, of the deliveries that count: one most of which did not
            is forgotten once deliveries of its kind have brought as many rows that did.
        late: facts that came on a later day than a newer version of the same thing.
        months: how many facts are from each of the last `MONTHS_SHOWN` months (YYYY-MM), oldest first.
        newest: the latest day that any fact speaks of, up to today; "" for none.
        delivered: the day of the newest delivery.
        age: days since.
        fresh_days: how many there may be before it is stale, or None if it comes when it comes.
        stale: whether there are more.
        reasons: why rows did not get in, most frequent first.
    """

    source: str
    deliveries: int
    rows: int
    written: int
    unchanged: int
    quarantined: int
    left_out: int
    unfit: float
    late: int
    months: Mapping[str, int]
    newest: str
    delivered: str
    age: int
    fresh_days: int | None
    stale: bool
    reasons: tuple[Held, ...]

    @property
    def quarantined_share(self) -> float:
        """Share of all rows that ever came and did not get in, from 0 to 1."""
        return min(self.quarantined / self.rows, 1.0) if self.rows else 0.0


def source_reports(connection: Connection, today: date) -> tuple[SourceReport, ...]:
    """Every source that has delivered, by name."""
    sums = [func.sum(batch.c[name]).label(name) for name in _COUNTS]
    query = select(batch.c.source, func.count().label("deliveries"), *sums, func.max(batch.c.came_at).label("came"))
    reasons, late, unfit = held_in(connection), _late(connection), _unfit(connection)
    months = _months(connection, today)
    found = []
    for row in connection.execute(query.group_by(batch.c.source)).mappings():
        source = row["source"]
        facts = months.get(source, {})
        age = max((today - date.fromisoformat(row["came"][:10])).days, 0)
        fresh = FRESH_DAYS.get(source)
        found.append(
            SourceReport(
                source=source,
                deliveries=row["deliveries"],
                **{name: int(row[name]) for name in _COUNTS},
                unfit=unfit[source],
                late=late[source],
                months={month: facts.get(month, (0, ""))[0] for month in _last_months(today)},
                newest=max((newest for _, newest in facts.values()), default=""),
                delivered=row["came"][:10],
                age=age,
                fresh_days=fresh,
                stale=fresh is not None and age > fresh,
                reasons=tuple(line for line in reasons if line.source == source),
            )
        )
    return tuple(sorted(found, key=lambda one: one.source))


def unfit_share(deliveries: Iterable[tuple[str, int, int]]) -> float:
    """Share of rows that did not get in, of the deliveries that count (see `SourceReport.unfit`).

    Args:
        deliveries: connector, rows and what did not get in, newest first.
    """
    total = unfit = 0
    brought: Counter[str] = Counter()
    for connector, rows, quarantined in deliveries:
        if quarantined <= UNFIT_AT_MOST * rows:
            brought[connector] += rows
        elif brought[connector] >= rows:
            continue
        total += rows
        unfit += min(quarantined, rows)
    return unfit / total if total else 0.0


def _unfit(connection: Connection) -> dict[str, float]:
    query = select(batch.c.source, batch.c.connector, batch.c.rows, batch.c.quarantined)
    deliveries = defaultdict(list)
    for source, *delivery in connection.execute(query.order_by(batch.c.number.desc())):
        deliveries[source].append(tuple(delivery))
    return {source: unfit_share(of_source) for source, of_source in deliveries.items()}


def _months(connection: Connection, today: date) -> dict[str, dict[str, tuple[int, str]]]:
    """How many facts each source holds of each month up to today, and the latest day in it that they speak of."""
    days = union_all(
        *(
            select(table.c.batch, table.c.valid_from.label("day"), func.count().label("facts"))
            .where(table.c.valid_from <= today.isoformat())
            .group_by(table.c.batch, table.c.valid_from)
            for table in FACTS.values()
        )
    ).subquery()
    month = func.substr(days.c.day, 1, 7)
    query = select(batch.c.source, month, func.sum(days.c.facts), func.max(days.c.day))
    found: dict[str, dict[str, tuple[int, str]]] = {}
    joined = query.join_from(days, batch, days.c.batch == batch.c.number).group_by(batch.c.source, month)
    for source, name, facts, newest in connection.execute(joined):
        found.setdefault(source, {})[name] = int(facts), newest
    return found


def _last_months(today: date) -> list[str]:
    """The last months up to today's, oldest first."""
    last = today.year * 12 + today.month - 1
    return [f"{month // 12:04d}-{month % 12 + 1:02d}" for month in range(max(last - MONTHS_SHOWN + 1, 12), last + 1)]


def _late(connection: Connection) -> Counter[str]:
    """How many facts of each source came on a later day than a newer version of the same fact."""
    counted: Counter[str] = Counter()
    came = func.substr(batch.c.came_at, 1, 10)
    for table in FACTS.values():
        earliest = func.min(came).over(
            partition_by=(table.c.subject, table.c.item), order_by=table.c.valid_from.desc(), rows=(None, -1)
        )
        joined = select(batch.c.source, came.label("came"), earliest.label("newer"))
        facts = joined.join_from(table, batch, table.c.batch == batch.c.number).subquery()
        query = select(facts.c.source, func.count()).where(facts.c.newer < facts.c.came).group_by(facts.c.source)
        counted.update(dict(connection.execute(query).tuples().all()))
    return counted
