"""A ledger's database within one transaction: what is only ever added to, and the records that it adds up to."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from privacy import ledger_tables, marks, merkle
from privacy.errors import InputError
from privacy.ledger_records import KEYS, NAMES, ChargeAt, Cohort, Record, Run, Share, key_of
from privacy.ledger_tables import COHORTS, CONTRIBUTIONS, CROWDS, ENTRIES, NODES, RECORDS
from privacy.marks import Marks

MOST_MARKS: Final = 1_000_000
"""How many marks of crowds are kept in memory between transactions: some 100 MiB."""
_BATCH: Final = {"yield_per": 1000}
_FEW: Final = {"yield_per": 20}
"""Of contributions, which may have megabytes."""


@cache
def _by_key(table: sa.Table, keys: int = 1) -> sa.Select[Any]:
    """The row whose key is given by its columns' names; made once, for SQLAlchemy takes long to make a statement."""
    columns = list(table.c)[:keys]
    return sa.select(table).where(*(column == sa.bindparam(column.name) for column in columns))


@cache
def _replace(table: sa.Table, keys: int, dialect: str) -> Any:
    """An insertion of a row in place of the one that has its key."""
    insert = sqlite_insert if dialect == "sqlite" else postgresql_insert
    statement, names = insert(table), [column.name for column in table.c]
    update = {name: statement.excluded[name] for name in names[keys:]}
    return statement.on_conflict_do_update(index_elements=names[:keys], set_=update)


class Crowds:
    """Crowds that were read lately, for all threads. A crowd's name is its digest, so one never changes."""

    def __init__(self, most: int = MOST_MARKS) -> None:
        """None yet; at most `most` marks together, or one crowd that has more."""
        self._most = most
        self._held = 0
        self._crowds: OrderedDict[str, Marks] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, crowd: str) -> Marks | None:
        """The crowd of that name, if it was kept."""
        with self._lock:
            if (found := self._crowds.get(crowd)) is not None:
                self._crowds.move_to_end(crowd)
            return found

    def keep(self, crowd: str, members: Marks) -> None:
        """Keep a crowd, if need be in place of those longest unused."""
        with self._lock:
            if self._crowds.setdefault(crowd, members) is not members:
                return
            self._held += len(members)
            while self._held > self._most and len(self._crowds) > 1:
                self._held -= len(self._crowds.popitem(last=False)[1])


class LedgerBook:
    """A ledger within one transaction: a `ledger_records.Book`, and what only a database has.

    Records, cohorts and tree nodes that were read in the transaction are not read again.
    """

    def __init__(self, connection: sa.Connection, crowds: Crowds) -> None:
        """For `ledger_store.LedgerStore`."""
        self._connection = connection
        self._crowds = crowds
        self._records: dict[tuple[Any, ...], Record | None] = {}
        self._nodes: dict[tuple[int, int], bytes] = {}
        self._cohorts: dict[str, Cohort] = {}

    def check(self) -> None:
        """Return if tables and triggers are still those of a ledger.

        Raises:
            InputError: if they are not.
        """
        ledger_tables.check(self._connection)

    # What is only ever added to

    def counts(self) -> tuple[int, int]:
        """How many entries there are, and how many tree nodes."""
        return self._count(ENTRIES), self._count(NODES)

    def append(self, position: int, leaf: bytes) -> None:
        """Add leaf number `position`, and the tree nodes that it completes."""
        self._connection.execute(ENTRIES.insert(), {"position": position, "leaf": leaf})
        nodes = merkle.completed(position, merkle.leaf_hash(leaf), self.node)
        rows = [{"level": level, "position": at, "hash": value} for (level, at), value in nodes.items()]
        self._connection.execute(NODES.insert(), rows)

    def leaf(self, position: int) -> bytes:
        """The entry at `position`.

        Raises:
            InputError: if there is none.
        """
        if (found := self._row(ENTRIES, position=position)) is None:
            raise InputError(f"ledger: expected entry {position}, got none")
        return bytes(found.leaf)

    def leaves(self, start: int = 0, end: int | None = None) -> Iterator[tuple[int, bytes]]:
        """(position, leaf) from `start` to before `end`, in order."""
        query = sa.select(ENTRIES).where(ENTRIES.c.position >= start).order_by(ENTRIES.c.position)
        if end is not None:
            query = query.where(ENTRIES.c.position < end)
        return ((position, leaf) for position, leaf in self._connection.execute(query, execution_options=_BATCH))

    def node(self, level: int, position: int) -> bytes:
        """The stored hash of a complete subtree (`merkle.Node`).

        Raises:
            InputError: if there is none.
        """
        if (level, position) not in self._nodes:
            if (found := self._row(NODES, level=level, position=position)) is None:
                raise InputError(f"ledger: expected tree node {level}/{position}, got none")
            self._nodes[level, position] = bytes(found.hash)
        return self._nodes[level, position]

    def nodes(self, level: int, start: int, end: int) -> dict[int, bytes]:
        """The nodes of one level from `start` to before `end`, by position."""
        query = sa.select(NODES.c.position, NODES.c.hash).where(
            NODES.c.level == level, NODES.c.position >= start, NODES.c.position < end
        )
        return {position: value for position, value in self._connection.execute(query)}

    def store(self, charge: int, values: bytes, receipt: bytes) -> None:
        """Keep what left under the charge at that position."""
        self._connection.execute(CONTRIBUTIONS.insert(), {"charge": charge, "sent": values, "receipt": receipt})

    def stored(self, charge: int) -> tuple[bytes, bytes]:
        """The values and the receipt kept under a charge.

        Raises:
            InputError: if there are none.
        """
        if (found := self._row(CONTRIBUTIONS, charge=charge)) is None:
            raise InputError(f"ledger: expected what was settled under charge {charge}, got none")
        return bytes(found.sent), bytes(found.receipt)

    def all_stored(self) -> Iterator[tuple[int, bytes, bytes]]:
        """(charge, values, receipt) of everything kept, in order of the charges."""
        query = sa.select(CONTRIBUTIONS).order_by(CONTRIBUTIONS.c.charge)
        rows = self._connection.execute(query, execution_options=_FEW)
        return ((charge, values, receipt) for charge, values, receipt in rows)

    def add_cohort(self, members: Marks, left_out: int) -> str:
        """Keep a cohort under a new salt; its digest."""
        salt, data = secrets.token_bytes(marks.SALT_BYTES), marks.joined(members)
        crowd, digest = hashlib.sha256(data).hexdigest(), marks.joined_digest(salt, data)
        if self._connection.execute(sa.select(CROWDS.c.crowd).where(CROWDS.c.crowd == crowd)).first() is None:
            self._connection.execute(CROWDS.insert(), {"crowd": crowd, "marks": data})
        cohort = {"digest": digest, "salt": salt, "crowd": crowd, "left_out": left_out}
        self._connection.execute(COHORTS.insert(), cohort)
        self._crowds.keep(crowd, members)
        return digest

    def cohort(self, digest: str) -> Cohort:
        """The cohort of a digest in the log.

        Raises:
            InputError: if there is none.
        """
        if digest not in self._cohorts:
            if (found := self._row(COHORTS, digest=digest)) is None:
                raise InputError(f"ledger: expected cohort {digest[:16]}, got none")
            self._cohorts[digest] = Cohort(found.crowd, found.left_out)
        return self._cohorts[digest]

    def cohorts(self) -> Iterator[tuple[str, str, bytes]]:
        """(crowd, digest, salt) of every cohort, those of one crowd together."""
        query = sa.select(COHORTS.c.crowd, COHORTS.c.digest, COHORTS.c.salt).order_by(COHORTS.c.crowd)
        rows = self._connection.execute(query, execution_options=_BATCH)
        return ((crowd, digest, salt) for crowd, digest, salt in rows)

    def count_crowds(self) -> int:
        """How many crowds there are."""
        return self._count(CROWDS)

    def joined(self, crowd: str) -> bytes:
        """The marks of a crowd, one after another in ascending order.

        Raises:
            InputError: if there is none, or it is not what its name is the digest of.
        """
        found = self._row(CROWDS, crowd=crowd)
        if found is None or hashlib.sha256(found.marks).hexdigest() != crowd:
            raise InputError(f"ledger: expected the marks of crowd {crowd[:16]}, got none or others")
        return bytes(found.marks)

    def members(self, crowd: str) -> Marks:
        """The marks of a crowd.

        Raises:
            InputError: as `joined` does.
        """
        if (members := self._crowds.get(crowd)) is None:
            members = marks.split(self.joined(crowd), f"ledger, crowd {crowd[:16]}")
            self._crowds.keep(crowd, members)
        return members

    # What that adds up to

    def get(self, kind: type[Any], *key: int | str) -> Any:
        """The record of that key, if there is one."""
        if (kind, *key) not in self._records:
            row = self._row(RECORDS[kind], **dict(zip(NAMES[kind], key, strict=False)))
            self._records[kind, *key] = None if row is None else ledger_tables.record_of(kind, row)
        return self._records[kind, *key]

    def put(self, record: Record) -> None:
        """Keep a record in place of an earlier one of its key."""
        kind = type(record)
        statement = _replace(RECORDS[kind], KEYS[kind], self._connection.dialect.name)
        self._connection.execute(statement, ledger_tables.values_of(record))
        self._records[kind, *key_of(record)] = record

    def open_runs(self) -> Sequence[Run]:
        """Runs that have not ended, in order of their reservation."""
        return self._all(Run, ledger_tables.OPEN, order=RECORDS[Run].c.reserved)

    def shares(self, period: int | None = None) -> Sequence[Share]:
        """Of one period; of all, if None."""
        return self._all(Share, *([] if period is None else [RECORDS[Share].c.period == period]))

    def charges_of(self, run: str) -> list[int]:
        """The positions of a run's charges, in order."""
        table = RECORDS[ChargeAt]
        query = sa.select(table.c.position).where(table.c.run == run).order_by(table.c.position)
        return list(self._connection.execute(query).scalars())

    def every(self, kind: type[Record]) -> Iterator[Record]:
        """Every record of a kind."""
        rows = self._connection.execute(sa.select(RECORDS[kind]), execution_options=_BATCH)
        return (ledger_tables.record_of(kind, row) for row in rows)

    def _all(self, kind: type[Any], *matches: sa.ColumnElement[bool], order: Any = None) -> Sequence[Any]:
        query = sa.select(RECORDS[kind]).where(*matches)
        rows = self._connection.execute(query if order is None else query.order_by(order))
        return tuple(ledger_tables.record_of(kind, row) for row in rows)

    def _row(self, table: sa.Table, **key: int | str) -> Any:
        return self._connection.execute(_by_key(table, len(key)), key).first()

    def _count(self, table: sa.Table) -> int:
        return int(self._connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())
