"""Ledgers of any length in minutes: the entries that a site would have written, without a commit for each.

Every entry is admitted by `privacy.balance.Balance`, as a site's own is, over records in memory; entries, tree and
records then go into the database in large transactions. That the result is what one entry after another would have made
is not taken on trust: the benchmark has `Ledger.verify` compute it all anew.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from benchmarks.measure import Progress
from benchmarks.sample import DELTA
from privacy import amounts, entries, fields, ledger_tables, merkle
from privacy.balance import Balance
from privacy.budget import first_budget, sign_decision
from privacy.entries import Charged, Decided, Ended, Entry, Reserved, Settled
from privacy.ledger import Ledger
from privacy.ledger_book import LedgerBook
from privacy.ledger_records import ChargeAt, Cohort, MemoryBook, Record, Release, Run, key_of
from privacy.marks import Marks
from privacy.plan import GaussianSum, Plan, SiteBound
from privacy.signing import Signer

SITE: Final = "made-up"
EVENT: Final = GaussianSum("gradient", times=30, coordinates=25, grid=24, sensitivity=1, noise=1000)
PLAN: Final = Plan("retention", "0" * 64, "local", str(DELTA), "1", (SiteBound(SITE, 1000),), (EVENT,), 1)
STATE: Final = hashlib.sha256(b"state").hexdigest()
VALUES: Final = bytes(8 * EVENT.coordinates)
RECEIPT: Final = bytes(1500)
"""As large as a real one."""
STAFF: Final = 300
RUNS_A_STAFF: Final = 50
"""Runs after which a fifth of the staff has gone and others have come."""
RUNS_A_PERIOD: Final = 500
_BATCH: Final = 20_000
_ONCE_WRITTEN: Final = (Run, Release, ChargeAt)
"""Records that nothing changes once their run is over."""


def run_name(number: int) -> str:
    """The id of a run."""
    return f"run-{number}"


def staff_of(run: int) -> Marks:
    """Who is there in a run: everybody stays for five changes of staff, half a period."""
    first = run // RUNS_A_STAFF * (STAFF // 5)
    return frozenset(hashlib.sha256(b"%d" % n).digest()[:16] for n in range(first, first + STAFF))


class _Current:
    """Entries as the transaction of the moment has them."""

    book: LedgerBook

    def leaf(self, position: int) -> bytes:
        return self.book.leaf(position)

    def cohort(self, digest: str) -> Cohort:
        return self.book.cohort(digest)

    def members(self, crowd: str) -> Marks:
        return self.book.members(crowd)


class _Noting(MemoryBook):
    """Records in memory, and which of them have changed."""

    def __init__(self, source: _Current) -> None:
        super().__init__(source)
        self.changed: dict[tuple[Any, ...], Record] = {}

    def put(self, record: Record) -> None:
        super().put(record)
        self.changed[type(record), *key_of(record)] = record


class Filler:
    """A ledger that grows by whole runs."""

    def __init__(self, path: Path, officers: tuple[Signer, Signer]) -> None:
        """A new ledger at `path`; the cap holds what one employee takes part in, and no more than 6 of 10 runs."""
        cap = Decimal(amounts.to_text(amounts.total(PLAN) * (RUNS_A_PERIOD * 6 // 10)))
        keys = tuple(fields.to_base64(one.public) for one in officers)
        self.path = path
        self.runs = 0
        self.ledger = Ledger.create(path, SITE, first_budget(cap, DELTA, ["retention"], "0", keys), clock=lambda: 0)
        self._officers = officers
        self._source = _Current()
        self._memory = _Noting(self._source)
        self._balance = Balance(self._memory)
        self._last: dict[int, tuple[int, bytes]] = {}
        leaf = self.ledger.inclusion(0).leaf
        self._hash(0, leaf)
        self._balance.apply(entries.from_leaf(leaf, "opening entry"))
        self._memory.changed.clear()

    def grow(self, size: int, progress: Progress) -> None:
        """Write whole runs until there are at least `size` entries."""
        while (reached := self._balance.head.size) < size:
            progress(f"filling, {reached:,} of {size:,} entries")
            with self.ledger._store.writing() as book:
                self._source.book = book
                self._write(book, min(size, reached + _BATCH))

    def copy(self, path: Path) -> None:
        """The ledger as it is now, in a file of its own."""
        self.ledger.close()  # which empties the write-ahead log into the file
        shutil.copyfile(self.path, path)

    def _write(self, book: LedgerBook, size: int) -> None:
        rows: dict[Any, list[dict[str, Any]]] = {
            table: [] for table in (ledger_tables.ENTRIES, ledger_tables.NODES, ledger_tables.CONTRIBUTIONS)
        }
        while (position := self._balance.head.size) < size:
            for at, entry in enumerate(self._run(book), start=position):
                leaf = entries.to_leaf(entry)
                self._balance.apply(entry)
                rows[ledger_tables.ENTRIES].append({"position": at, "leaf": leaf})
                rows[ledger_tables.NODES] += self._hash(at, leaf)
                if isinstance(entry, Settled):
                    rows[ledger_tables.CONTRIBUTIONS].append(
                        {"charge": entry.charge, "sent": VALUES, "receipt": RECEIPT}
                    )
                if isinstance(entry, Decided):  # read again by its position when the next run asks for the budget
                    book._connection.execute(ledger_tables.ENTRIES.insert(), rows.pop(ledger_tables.ENTRIES))
                    rows[ledger_tables.ENTRIES] = []
        for record in self._memory.changed.values():
            if isinstance(record, _ONCE_WRITTEN):
                rows.setdefault(ledger_tables.RECORDS[type(record)], []).append(ledger_tables.values_of(record))
            else:
                book.put(record)
        for table, values in rows.items():
            if values:
                book._connection.execute(table.insert(), values)
        self._memory.changed.clear()
        for kind in (Release, ChargeAt):
            self._memory._records[kind].clear()  # whose runs are over

    def _run(self, book: LedgerBook) -> Iterator[Entry]:
        """The entries of one run, each made when the one before has been applied."""
        if self.runs and self.runs % RUNS_A_PERIOD == 0:
            yield self._next_period()
        run, head, asked = run_name(self.runs), self._balance.head, amounts.total(PLAN)
        offered = staff_of(self.runs)
        out = self._balance.over(offered, "all", asked)
        if out:
            raise RuntimeError(f"expected everybody to afford {run}, got {len(out)} who can not")
        cohort = book.add_cohort(offered, 0)
        yield Reserved(run, PLAN.digest, "retention", "all", head.budget, amounts.to_text(asked), cohort, 0)
        once = amounts.once(EVENT)
        for index in range(EVENT.times):
            head, group_spent = self._balance.head, self._balance.group_spent("all")
            totals = (amounts.to_text(total + once) for total in (head.spent, group_spent, head.lifetime))
            mu2 = amounts.to_text(once)
            yield Charged(run, PLAN.digest, EVENT.name, index, 0, STATE, mu2, cohort, *totals, at=0)
            yield Settled(head.size, _sha256(VALUES), _sha256(RECEIPT), 0)
        yield Ended(run, 0)
        self.runs += 1

    def _next_period(self) -> Decided:
        current = self._balance.budget
        new = replace(
            current, number=current.number + 1, period=current.period + 1, label=str(current.period + 1), reason="next"
        )
        return Decided(fields.to_base64(sign_decision(new, self.ledger.id, *self._officers)), 0)

    def _hash(self, position: int, leaf: bytes) -> list[dict[str, Any]]:
        """The tree nodes that a leaf completes; only the latest of each level is needed for that."""
        nodes = merkle.completed(position, merkle.leaf_hash(leaf), lambda level, _: self._last[level][1])
        self._last |= {level: (at, value) for (level, at), value in nodes.items()}
        return [{"level": level, "position": at, "hash": value} for (level, at), value in nodes.items()]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
