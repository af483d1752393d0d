"""The job that deletes what is past its time, and proves that nothing past its time is left.

Rules:
 1. The registry says of every column after how many months, from when on, its values go; a row without values goes too.
    The time of a value that later versions carried over counts from the version that stated it, and ends in all of
    them. What is kept from the exit on counts from its own day if no record of the person is left that could tell.
 2. Sealed values of a disagreement and the pin of a correction go with the fact they speak of; a settled disagreement
    goes after `SETTLED_MONTHS`, a quarantined row's place after `QUARANTINE_MONTHS`, what knows a statement again when
    the last of what it said has gone, and a SCIM user with the last of the person's own record.
 3. Every rule is counted once more in the same transaction: unless it finds nothing, the job leaves no trace.
 4. The counts go into the log. A second run finds nothing to do and writes nothing.
 5. Deleted bytes leave the files, even if an earlier run was cut off before it came to that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, exists, func, or_, select, update

from privacy.errors import KithError
from records.registry import VAULT, Column, Registry
from records.retention_rules import earliest, past
from records.schema import (
    FACTS,
    FRAME,
    STATES,
    batch,
    correction,
    person,
    quarantine,
    reconciliation,
    scim_user,
    statement,
)
from records.store import Store
from records.vault import open_vault
from records.versions import among

QUARANTINE_MONTHS: Final = 6
SETTLED_MONTHS: Final = 24
_CLOCKS: Final = {"valid_from": "valid_from", "recorded": "recorded_at"}
"""The column of a row from which its values' time counts."""
Exits = Mapping[str, str]
"""The month in which people left, by subject; who is there is not in it."""


@dataclass(frozen=True, slots=True)
class Expired:
    """What one run did.

    Attributes:
        emptied: cells that were past their time, by "table.column".
        deleted: rows that were deleted, by table.
        left: what the count after it found past its time, by rule: 0 everywhere.
        log: digest of the log's entry, or None if there was nothing to do.
    """

    emptied: Mapping[str, int]
    deleted: Mapping[str, int]
    left: Mapping[str, int]
    log: str | None

    def to_document(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Rule:
    """What of a table is past its time: cells of one field, or whole rows if that is None."""

    name: str
    table: Table
    field: str | None
    condition: ColumnElement[bool]

    def count(self, connection: Connection) -> int:
        """How much of it there is."""
        return connection.scalar(select(func.count()).select_from(self.table).where(self.condition)) or 0

    def apply(self, connection: Connection) -> int:
        """Deletes it, and gives how much."""
        gone = delete(self.table) if self.field is None else update(self.table).values({self.field: None})
        return connection.execute(gone.where(self.condition)).rowcount


def expire(store: Store, registry: Registry, now: datetime) -> Expired:
    """Deletes everything that is past its time at `now`, from the store, the vault and their files.

    Raises:
        KithError: if something past its time would be left in the store (which then is as it was), or a database does
            not answer.
    """
    traits = _expire_vault(store, registry, now)
    with store.reading() as connection:
        left = _counted(connection, registry, _exits(connection), now)
    emptied: Counter[str] = Counter()
    deleted: Counter[str] = Counter({VAULT: traits})
    digest = None
    if traits or any(left.values()):  # rule 4
        with store.writing() as connection:
            exits = _exits(connection)
            for rule in _rules(connection, registry, exits, now):
                (deleted if rule.field is None else emptied)[rule.name] += rule.apply(connection)
            left = _counted(connection, registry, exits, now)
            if late := [name for name, count in left.items() if count]:  # rule 3
                raise KithError(f"retention: expected nothing past its time to be left, got some by {len(late)} rules")
            counts = {"emptied": dict(+emptied), "deleted": dict(+deleted), "left": left}
            digest = store.log(connection, {"event": "expired", "registry": registry.digest, **counts}, now)
    store.purge()  # rule 5
    return Expired(dict(+emptied), dict(+deleted), left, digest)


def _expire_vault(store: Store, registry: Registry, now: datetime) -> int:
    """Rows of the vault that went. It knows months only, so a row goes when its month's first day is past its time."""
    months = [column.retention_months for column in registry.columns.values() if column.table == VAULT]
    if not months:
        return 0
    vault = open_vault(store)
    try:
        return vault.expire(datetime.fromisoformat(earliest(min(months) - 1, now)).replace(tzinfo=UTC))
    finally:
        vault.close()


def _counted(connection: Connection, registry: Registry, exits: Exits, now: datetime) -> dict[str, int]:
    """By rule, how much is past its time, found anew."""
    return {rule.name: rule.count(connection) for rule in _rules(connection, registry, exits, now)}


def _rules(connection: Connection, registry: Registry, exits: Exits, now: datetime) -> Iterator[_Rule]:
    """All rules with what is past its time by them.

    Cells come first, so that rows that they leave empty follow; and people, on whose record other tables' time depends.
    """
    for table in sorted(FACTS.values(), key=lambda table: table is not person):  # rule 1
        for column in registry.columns.values():
            if column.table == table.name:
                yield _cells(connection, column, exits, now)
        empty = and_(*(c.is_(None) for c in table.c if c.name not in FRAME))
        yield _Rule(table.name, table, None, empty)
    for table in (reconciliation, correction):  # rule 2
        late = among(connection, table.c.number, _of_past_facts(connection, registry, table, exits, now))
        settled = [table.c.settled_at < earliest(SETTLED_MONTHS, now)] if table is reconciliation else []
        yield _Rule(table.name, table, None, or_(late, *settled))
    came = select(batch.c.number).where(batch.c.came_at < earliest(QUARANTINE_MONTHS, now))
    yield _Rule(quarantine.name, quarantine, None, quarantine.c.batch.in_(came))
    said = _longest(registry, "learning_event")
    yield _Rule(statement.name, statement, None, statement.c.stored_at < earliest(said.retention_months, now))
    gone = _left_before(_longest(registry, "person"), exits, now)
    yield _Rule(scim_user.name, scim_user, None, among(connection, scim_user.c.subject, gone))


def _cells(connection: Connection, column: Column, exits: Exits, now: datetime) -> _Rule:
    """The cells of one column that are past their time (rule 1)."""
    table = FACTS[column.table]
    kept_from = earliest(column.retention_months, now)
    if column.retention_from == "exit":
        untold = and_(table.c.subject.not_in(select(person.c.subject)), table.c.valid_from < kept_from)
        late = or_(among(connection, table.c.subject, _left_before(column, exits, now)), untold)
    elif table.name in STATES:
        late = ~_stated_since(table, column, kept_from)
    else:
        late = table.c[_CLOCKS[column.retention_from]] < kept_from
    return _Rule(column.name, table, column.field, and_(table.c[column.field].is_not(None), late))


def _stated_since(table: Table, column: Column, kept_from: str) -> ColumnElement[bool]:
    """Whether the value of a version was stated in time, by itself or by the one from which it was carried over."""
    own = table.alias("own")
    return exists().where(
        own.c.subject == table.c.subject,
        own.c.item == table.c.item,
        own.c.valid_from <= table.c.valid_from,
        own.c[_CLOCKS[column.retention_from]] >= kept_from,
        (" " + own.c.stated + " ").contains(f" {column.field} ", autoescape=True),
    )


def _left_before(column: Column, exits: Exits, now: datetime) -> list[str]:
    """Who left so long ago that the column's time is over."""
    return [subject for subject, month in exits.items() if past(column, month, month, month, now)]


def _longest(registry: Registry, table: str) -> Column:
    """The column of a table that is kept longest."""
    return max((c for c in registry.columns.values() if c.table == table), key=lambda column: column.retention_months)


def _of_past_facts(connection: Connection, registry: Registry, table: Table, exits: Exits, now: datetime) -> list[int]:
    """The rows that speak of a fact that is past its time."""
    recorded = table.c.opened_at if table is reconciliation else table.c.at
    rows = connection.execute(select(table.c.number, table.c.subject, table.c.column, table.c.valid_from, recorded))
    told: dict[str, str | None] = dict.fromkeys(connection.scalars(select(person.c.subject).distinct()))
    told |= exits
    return [
        number
        for number, subject, name, valid_from, at in rows
        if (column := registry.columns.get(name)) and past(column, valid_from, at, told.get(subject, valid_from), now)
    ]


def _exits(connection: Connection) -> dict[str, str]:
    """When people left, by their last version; who started again after it is there."""
    left = select(person.c.subject).where(person.c.end_month.is_not(None))
    stated = select(person.c.subject, person.c.start_month, person.c.end_month).where(person.c.subject.in_(left))
    last = {subject: months for subject, *months in connection.execute(stated.order_by(person.c.valid_from))}
    return {subject: end for subject, (start, end) in last.items() if end and (start or "") <= end}
