"""Where a run's rows come from at a site: its records, or a table that somebody at the site answers for.

Records are read under the legal basis that holds when they are read: whoever objects or is erased between two rounds
is in no later one. A table knows of no basis; whoever prepared it has seen to that.

Every row comes with its employee's mark, under which the ledger keeps the balance. Records know their people by
pseudonym. A table knows them by its employee column, and without one by the place of a row: such a table's rows must
keep their places, or one person's charges fall on another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from federation.site import Site
from models.planning import FAIRNESS
from privacy.errors import InputError, Refused
from privacy.marks import MarkKey, Marks
from privacy.plan import Plan
from privacy.secret_files import read_secret
from records.contract import Contract
from records.minimize import MinimizedRows, employee_keys, minimized_rows
from records.readiness import REFUSED, Readiness, check
from records.registry import load_registry
from records.report import Report, report_on
from records.snapshot import snapshot
from records.stated_traits import stated
from records.store import AUDITOR_KEY, Store, open_store
from records.table import Table, read_table
from records.vault import open_vault


@dataclass(frozen=True, slots=True)
class MarkedRows:
    """Rows as they may be used, and whose they are.

    Attributes:
        rows: as minimized.
        employees: what the source calls each employee, by the number that `rows.employee` has for them, from 0.
        marks: the mark of each, in the same order.
    """

    rows: MinimizedRows
    employees: tuple[str, ...]
    marks: tuple[bytes, ...]

    def of(self, members: Marks) -> MinimizedRows:
        """The rows of these employees alone, in order."""
        chosen = np.array([mark in members for mark in self.marks], dtype=np.bool_)
        return self.rows.take(chosen[self.rows.employee])


class Source(Protocol):
    """A run's rows."""

    def check(self, plan: Plan) -> None:
        """Return if the source has what the plan's measures need; nothing is read of anybody.

        Raises:
            Refused: if it has not.
        """

    def rows(self) -> MarkedRows:
        """The rows as they may be used now: the same object as before if nothing has changed.

        Raises:
            KithError: if they can not be used.
        """

    def stated(self, trait: str, employees: Sequence[str]) -> NDArray[np.int64]:
        """(n,) positions of n employees' values among a protected trait's public ones.

        Raises:
            KithError: if they can not be had.
        """


class TableSource:
    """A file, read once."""

    def __init__(self, site: Site, contract: Contract) -> None:
        """Nothing is opened yet."""
        self._site, self._contract = site, contract
        self._read: MarkedRows | None = None

    def check(self, plan: Plan) -> None:
        """See `Source.check`: a table has no vault."""
        if any(event.name.startswith(FAIRNESS) for event in plan.events):
            raise Refused("plan: expected no fairness measure where rows come from a table, got one: it needs a vault")

    def rows(self) -> MarkedRows:
        """See `Source.rows`."""
        if self._read is None:
            table = read_table(self._site.source)
            rows = minimized_rows(table, self._contract, sites=[self._site.name])
            _refuse_unready(check(self._contract, table, self._site.name), table.source)
            self._read = _marked(rows, _employees(table, self._contract), self._site.marks)
        return self._read

    def stated(self, trait: str, employees: Sequence[str]) -> NDArray[np.int64]:
        """See `Source.stated`: there are none."""
        raise Refused(f"trait {trait!r:.60}: expected records with a vault, got a table")


class RecordsSource:
    """A records folder, read again whenever anything in it has changed."""

    def __init__(self, store: Store, contract: Contract, marks: MarkKey) -> None:
        """Nothing is read yet.

        Raises:
            InputError: if the contract has no column for the pseudonyms.
        """
        if contract.employee is None:
            raise InputError("contract, 'employee': expected a column, as records know their people, got none")
        self._store, self._contract, self._marks = store, contract, marks
        self._read: tuple[int, MarkedRows] | None = None

    def check(self, plan: Plan) -> None:
        """See `Source.check`: a fairness count needs the auditor's key, for as long as it is lent."""
        lent = (self._store.folder / AUDITOR_KEY).exists()
        if not lent and any(event.name.startswith(FAIRNESS) for event in plan.events):
            raise Refused("plan: expected no fairness measure while the auditor's key is not at the site, got one")

    def rows(self) -> MarkedRows:
        """See `Source.rows`."""
        if self._read is None or self._read[0] != self._store.revision():
            now, registry = datetime.now(UTC), load_registry()
            found = snapshot(self._store, registry, self._contract, now)
            rows = minimized_rows(found.table, self._contract, sites=[self._store.site])
            _refuse_unready(report_on(self._store, registry, self._contract, now, found), found.table.source)
            self._read = found.revision, _marked(rows, _employees(found.table, self._contract), self._marks)
        return self._read[1]

    def stated(self, trait: str, employees: Sequence[str]) -> NDArray[np.int64]:
        """See `Source.stated`: from the vault."""
        vault = open_vault(self._store)
        try:
            return stated(vault, load_registry(), read_secret(self._store.folder / AUDITOR_KEY), trait, employees)
        finally:
            vault.close()


def source_of(site: Site, contract: Contract) -> Source:
    """The site's source, a folder of records or a table's file.

    Raises:
        InputError: if the folder holds no records of this site.
    """
    if not site.source.is_dir():
        return TableSource(site, contract)
    return RecordsSource(open_store(site.source), contract, site.marks)


def _employees(table: Table, contract: Contract) -> Callable[[int], str]:
    """Whose the row at a place of the table is: the text that the mark is made of, as `minimized_rows` tells people."""
    if contract.employee is None:
        return lambda place: f"row {place}"
    keys: Sequence[str] = employee_keys(table, contract.employee).tolist()
    return lambda place: keys[place]


def _marked(rows: MinimizedRows, employee: Callable[[int], str], marks: MarkKey) -> MarkedRows:
    _, first = np.unique(rows.employee, return_index=True)  # numbers from 0 without gaps, as minimized
    employees = tuple(employee(int(rows.row[at])) for at in first)
    return MarkedRows(rows, employees, tuple(map(marks.mark, employees)))


def _refuse_unready(found: Readiness | Report, where: str) -> None:
    """What can not be trained on is not.

    Raises:
        Refused: with the reasons.
    """
    if found.verdict == REFUSED:
        reasons = found.refusals if isinstance(found, Report) else found.reasons
        raise Refused(f"{where}: {'; '.join(reasons)}")
