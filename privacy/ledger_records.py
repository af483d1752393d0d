"""What a ledger's entries add up to, as records by key, and the two places that hold them: a database and memory.

The records repeat what the entries say, so that no operation has to read the whole log. They are written in the same
transaction as the entry that changes them, and `privacy.ledger_audit` computes them anew from the entries.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Protocol, TypeVar

from privacy.marks import Marks


@dataclass(frozen=True, slots=True)
class Head:
    """The one record (`row` is 0) of a ledger's totals after `size` entries, and the number and period of its budget.

    `spent` is everything charged in this period, `lifetime` in all periods.
    """

    row: int
    size: int
    budget: int
    period: int
    spent: Fraction
    lifetime: Fraction


@dataclass(frozen=True, slots=True)
class Budgeted:
    """Where in the log budget `number` stands."""

    number: int
    position: int


@dataclass(frozen=True, slots=True)
class GroupTotal:
    """Everything charged to a group of purposes in a period."""

    period: int
    name: str
    spent: Fraction


@dataclass(frozen=True, slots=True)
class Run:
    """A run's reservation (at position `reserved`), and what became of it.

    `cohort` is the latest one, `releases` counts those charged at least once, `held` is reserved and not charged yet,
    `charged` everything charged, repeats included.
    """

    run: str
    plan: str
    use_case: str
    group: str
    budget: int
    cohort: str
    reserved: int
    releases: int
    held: Fraction
    charged: Fraction
    ended: bool


@dataclass(frozen=True, slots=True)
class Release:
    """One release of a run's event: the state it answers, how often it was charged, where last, and if settled."""

    run: str
    event: str
    number: int
    state: str
    attempts: int
    charge: int
    settled: bool


@dataclass(frozen=True, slots=True)
class ChargeAt:
    """Which release the charge at `position` is for."""

    position: int
    run: str
    event: str
    number: int


@dataclass(frozen=True, slots=True)
class Share:
    """What everyone in a crowd was charged while the cohort was exactly that crowd, in a period and group."""

    crowd: str
    period: int
    name: str
    spent: Fraction


Record = Head | Budgeted | GroupTotal | Run | Release | ChargeAt | Share
R = TypeVar("R", Head, Budgeted, GroupTotal, Run, Release, ChargeAt, Share)

KEYS: Final[Mapping[type[Record], int]] = {
    Head: 1,
    Budgeted: 1,
    GroupTotal: 2,
    Run: 1,
    Release: 3,
    ChargeAt: 1,
    Share: 3,
}
"""How many of a record's first fields tell it apart."""
NAMES: Final[Mapping[type[Record], tuple[str, ...]]] = {
    kind: tuple(field.name for field in dataclasses.fields(kind)) for kind in KEYS
}


def key_of(record: Record) -> tuple[Any, ...]:
    """What tells a record apart from others of its kind."""
    kind = type(record)
    return tuple(getattr(record, name) for name in NAMES[kind][: KEYS[kind]])


@dataclass(frozen=True, slots=True)
class Cohort:
    """Which crowd a cohort is, and how many of those offered are not in it: known to the site alone."""

    crowd: str
    left_out: int


class Entries(Protocol):
    """What is only ever added to: leaves, and who is behind a cohort's digest."""

    def leaf(self, position: int) -> bytes:
        """The entry at `position`."""

    def cohort(self, digest: str) -> Cohort:
        """The cohort of a digest in the log."""

    def members(self, crowd: str) -> Marks:
        """The marks of a crowd, which is known by the sha256 (hex) of its sorted marks."""


class Book(Entries, Protocol):
    """Entries and the records that they add up to."""

    def get(self, kind: type[R], *key: int | str) -> R | None:
        """The record of that key, if there is one."""

    def put(self, record: Record) -> None:
        """Keep a record in place of an earlier one of its key."""

    def open_runs(self) -> Sequence[Run]:
        """Runs that have not ended."""

    def shares(self, period: int | None = None) -> Sequence[Share]:
        """Of one period; of all, if None."""


class MemoryBook:
    """Records computed anew from a ledger's entries."""

    def __init__(self, source: Entries) -> None:
        """No records yet; leaves and marks are those of `source`."""
        self._source = source
        self._records: dict[type[Record], dict[tuple[Any, ...], Record]] = {kind: {} for kind in KEYS}
        self._open: dict[str, Run] = {}

    def leaf(self, position: int) -> bytes:
        """See `Entries.leaf`."""
        return self._source.leaf(position)

    def cohort(self, digest: str) -> Cohort:
        """See `Entries.cohort`."""
        return self._source.cohort(digest)

    def members(self, crowd: str) -> Marks:
        """See `Entries.members`."""
        return self._source.members(crowd)

    def get(self, kind: type[R], *key: int | str) -> R | None:
        """See `Book.get`."""
        return self._records[kind].get(key)  # type: ignore[return-value]

    def put(self, record: Record) -> None:
        """See `Book.put`."""
        self._records[type(record)][key_of(record)] = record
        if isinstance(record, Run):
            self._open.pop(record.run, None)
            if not record.ended:
                self._open[record.run] = record

    def open_runs(self) -> Sequence[Run]:
        """See `Book.open_runs`."""
        return tuple(self._open.values())

    def shares(self, period: int | None = None) -> Sequence[Share]:
        """See `Book.shares`."""
        shares = self._records[Share].values()
        return tuple(one for one in shares if isinstance(one, Share) and period in (None, one.period))

    def all(self, kind: type[Record]) -> Mapping[tuple[Any, ...], Record]:
        """Every record of a kind, by key."""
        return self._records[kind]
