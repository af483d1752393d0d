"""Where a run's rows come from at a site: its records, or a table that somebody at the site answers for.

Records are read under the legal basis that holds when they are read: whoever objects or is erased between two rounds
is in no later one. A table knows of no basis; whoever prepared it has seen to that.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol

from federation.site import Site
from privacy.errors import Refused
from records.contract import Contract
from records.minimize import MinimizedRows, minimized_rows
from records.readiness import REFUSED, Readiness, check
from records.registry import load_registry
from records.report import Report, report_on
from records.snapshot import snapshot
from records.store import Store, open_store
from records.table import read_table


class Source(Protocol):
    """A run's rows."""

    def rows(self) -> MinimizedRows:
        """The rows as they may be used now: the same object as before if nothing has changed.

        Raises:
            KithError: if they can not be used.
        """


class TableSource:
    """A file, read once."""

    def __init__(self, site: Site, contract: Contract) -> None:
        """Nothing is opened yet."""
        self._site, self._contract = site, contract
        self._rows: MinimizedRows | None = None

    def rows(self) -> MinimizedRows:
        """See `Source.rows`."""
        if self._rows is None:
            table = read_table(self._site.source)
            rows = minimized_rows(table, self._contract, sites=[self._site.name])
            _refuse_unready(check(self._contract, table, self._site.name), table.source)
            self._rows = rows
        return self._rows


class RecordsSource:
    """A records folder, read again whenever anything in it has changed."""

    def __init__(self, store: Store, contract: Contract) -> None:
        """Nothing is read yet."""
        self._store, self._contract = store, contract
        self._read: tuple[int, MinimizedRows] | None = None

    def rows(self) -> MinimizedRows:
        """See `Source.rows`."""
        if self._read is None or self._read[0] != self._store.revision():
            now, registry = datetime.now(UTC), load_registry()
            found = snapshot(self._store, registry, self._contract, now)
            rows = minimized_rows(found.table, self._contract, sites=[self._store.site])
            _refuse_unready(report_on(self._store, registry, self._contract, now, found), found.table.source)
            self._read = found.revision, rows
        return self._read[1]


def source_of(site: Site, contract: Contract) -> Source:
    """The site's source, a folder of records or a table's file.

    Raises:
        InputError: if the folder holds no records of this site.
    """
    if not site.source.is_dir():
        return TableSource(site, contract)
    return RecordsSource(open_store(site.source), contract)


def _refuse_unready(found: Readiness | Report, where: str) -> None:
    """What can not be trained on is not.

    Raises:
        Refused: with the reasons.
    """
    if found.verdict == REFUSED:
        reasons = found.refusals if isinstance(found, Report) else found.reasons
        raise Refused(f"{where}: {'; '.join(reasons)}")
