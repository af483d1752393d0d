"""The job that deletes what is past its time, and proves that nothing past its time is left.

Rules:
 1. The registry says of every column after how many months, from when on, its values go; a row without values goes too.
 2. Sealed values of a disagreement and the pin of a correction go with the fact they speak of; a settled disagreement
    goes after `SETTLED_MONTHS`, a quarantined row's place after `QUARANTINE_MONTHS`, what knows a statement again when
    the last of what it said has gone, and a SCIM user with the last of the person's own record.
 3. Every rule is counted once more in the same transaction: unless it finds nothing, the job leaves no trace.
 4. The counts go into the log. A second run finds nothing to do and writes nothing.
 5. Deleted bytes leave the files, even if an earlier run was cut off before it came to that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, func, select, update

from privacy.errors import KithError
from records.registry import VAULT, Column, Registry
from records.retention_rules import earliest, past
from records.schema import FACTS, FRAME, batch, correction, person, quarantine, reconciliation, scim_user, statement
from records.store import Store
from records.vault import open_vault

QUARANTINE_MONTHS: Final = 6
SETTLED_MONTHS: Final = 24
BLOCK: Final = 500
"""Values that one statement names."""
_CLOCKS: Final = {"valid_from": "valid_from", "recorded": "recorded_at", "exit": "subject"}
"""The column of a row by which it is told whether its time has come."""
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
    conditions: tuple[ColumnElement[bool], ...]

    def count(self, connection: Connection) -> int:
        """How much of it there is."""
        counts = (connection.scalar(select(func.count()).select_from(self.table).where(c)) for c in self._held())
        return sum(count or 0 for count in counts)

    def apply(self, connection: Connection) -> int:
        """Deletes it, and gives how much."""
        return sum(connection.execute(self._statement().where(condition)).rowcount for condition in self._held())

    def _held(self) -> list[ColumnElement[bool]]:
        if self.field is None:
            return list(self.conditions)
        return [and_(condition, self.table.c[self.field].is_not(None)) for condition in self.conditions]

    def _statement(self) -> Any:
        return delete(self.table) if self.field is None else update(self.table).values({self.field: None})


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
    """All rules with what is past its time by them; cells first, so that rows that they leave empty follow."""
    for column in registry.columns.values():  # rule 1
        if column.table in FACTS:
            yield _cells(connection, column, exits, now)
    for table in FACTS.values():
        empty = and_(*(c.is_(None) for c in table.c if c.name not in FRAME))
        yield _Rule(table.name, table, None, (empty,))
    for table in (reconciliation, correction):  # rule 2
        late = _of_past_facts(connection, registry, table, exits, now)
        yield _Rule(table.name, table, None, (*_among(table.c.number, late), *_settled(table, now)))
    came = select(batch.c.number).where(batch.c.came_at < earliest(QUARANTINE_MONTHS, now))
    yield _Rule(quarantine.name, quarantine, None, (quarantine.c.batch.in_(came),))
    said = _longest(registry, "learning_event")
    yield _Rule(statement.name, statement, None, (statement.c.stored_at < earliest(said.retention_months, now),))
    gone = _left_before(_longest(registry, "person"), exits, now)
    yield _Rule(scim_user.name, scim_user, None, tuple(_among(scim_user.c.subject, gone)))


def _cells(connection: Connection, column: Column, exits: Exits, now: datetime) -> _Rule:
    """The cells of one column that are past their time."""
    table = FACTS[column.table]
    clock = table.c[_CLOCKS[column.retention_from]]
    if column.retention_from == "exit":
        late = _left_before(column, exits, now)
    else:
        there = connection.scalars(select(clock).where(table.c[column.field].is_not(None)).distinct())
        late = [moment for moment in there if past(column, moment, moment, None, now)]
    return _Rule(column.name, table, column.field, tuple(_among(clock, late)))


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
    return [
        number
        for number, subject, name, valid_from, at in rows
        if name in registry.columns and past(registry.columns[name], valid_from, at, exits.get(subject), now)
    ]


def _settled(table: Table, now: datetime) -> list[ColumnElement[bool]]:
    if table is not reconciliation:
        return []
    return [table.c.settled_at < earliest(SETTLED_MONTHS, now)]


def _exits(connection: Connection) -> dict[str, str]:
    """When people left, by their last version; who started again after it is there."""
    left = select(person.c.subject).where(person.c.end_month.is_not(None))
    stated = select(person.c.subject, person.c.start_month, person.c.end_month).where(person.c.subject.in_(left))
    last = {subject: months for subject, *months in connection.execute(stated.order_by(person.c.valid_from))}
    return {subject: end for subject, (start, end) in last.items() if end and (start or "") <= end}


def _among(column: Any, values: Collection[Any]) -> Iterable[ColumnElement[bool]]:
    return [column.in_(block) for block in _blocks(sorted(values))]


def _blocks(values: list[Any]) -> list[list[Any]]:
    return [values[start : start + BLOCK] for start in range(0, len(values), BLOCK)]
