"""Appending to ledgers of very different length, beside bare SQLite commits to the same disk; and opening them."""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
import time
from collections.abc import Callable
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Final

from benchmarks.measure import Progress, Report, Spread, by_turns, ratio
from benchmarks.sample import DELTA
from privacy.ledger import Ledger
from privacy.plan import GaussianSum, Plan, SiteBound

SITE: Final = "made-up"
EVENT: Final = GaussianSum("gradient", times=1000, coordinates=200, grid=24, sensitivity=1, noise=1000)
PLAN: Final = Plan("retention", "0" * 64, "local", str(DELTA), "1", (SiteBound(SITE, 1000),), (EVENT,))
STATE: Final = hashlib.sha256(b"state").hexdigest()
VALUES: Final = bytes(8 * EVENT.coordinates)
RECEIPT: Final = bytes(1500)
"""As large as a real one."""
SQLITE: Final = "two bare SQLite commits"


class Writer:
    """A ledger, and where in which run it is."""

    def __init__(self, path: Path) -> None:
        """A new ledger at `path`."""
        self.path = path
        self.ledger = Ledger.create(path, SITE, Decimal(1), DELTA)
        self.entries = 1
        self._releases = count()

    def append(self) -> None:
        """One release: a charge and a settlement; at the start of a run also its reservation."""
        run, index = divmod(next(self._releases), EVENT.times)
        if not index:
            self.ledger.reserve(f"run-{run}", PLAN)
            self.entries += 1
        charge = self.ledger.charge(f"run-{run}", PLAN, EVENT.name, index, STATE)
        self.ledger.settle(charge, VALUES, RECEIPT)
        self.entries += 2

    def reopen(self) -> None:
        """Open the file anew, as a guard does when it starts."""
        Ledger.open(self.path).close()


def run(quick: bool, progress: Progress) -> Report:
    """Fill ledgers to 10², 10³ and 10⁴ entries, then append to each and open each by turns."""
    sizes = (100, 1000) if quick else (100, 1000, 10_000)
    with tempfile.TemporaryDirectory(prefix="kith-bench-") as name:
        writers = {size: _filled(Path(name) / f"{size}.sqlite", size, progress) for size in sizes}
        work: dict[str, Callable[[], object]] = {str(size): writer.append for size, writer in writers.items()}
        turns = 20 if quick else 50  # few, or the shortest ledger would not stay short
        appends = by_turns({**work, SQLITE: bare_commits(Path(name) / "bare.sqlite")}, turns, progress, "append, ")
        processor = by_turns(work, turns, progress, "append, processor's time, ", time.process_time)
        opens = by_turns(
            {str(size): writer.reopen for size, writer in writers.items()}, 3 if quick else 15, progress, "open, "
        )
    shortest = str(sizes[0])
    rows, figures = [], {}
    for size in (str(size) for size in sizes):
        append, opening = Spread.of(appends[size]), Spread.of(opens[size])
        beside, longer = ratio(appends[size], appends[SQLITE]), ratio(appends[size], appends[shortest])
        busy, busier = Spread.of(processor[size]), ratio(processor[size], processor[shortest])
        shown = (append.shown(1e3), beside.shown(unit="×"), busy.shown(1e3), busier.shown(unit="×"), opening.shown(1e3))
        rows.append((f"from {int(size):,} entries on", *shown))
        figures[size] = {
            "append_seconds": append.to_document(),
            "append_processor_seconds": busy.to_document(),
            "over_shortest": longer.to_document(),
            "processor_over_shortest": busier.to_document(),
            "over_bare_sqlite": beside.to_document(),
            "open_seconds": opening.to_document(),
        }
    commits = Spread.of(appends[SQLITE])
    rows.append((SQLITE, commits.shown(1e3), "", "", "", ""))
    figures[SQLITE] = {"append_seconds": commits.to_document()}
    return Report(
        title="the ledger: one release appended (charge and settle, each on disk), and opening",
        columns=(
            "",
            "ms an append",
            f"÷ {SQLITE}",
            "processor, ms",
            f"processor ÷ at {shortest} entries",
            "ms to open",
        ),
        rows=tuple(rows),
        notes=(
            "Bare: the same bytes in two commits with the ledger's own settings, without chain, sums or rules.",
            "The disk's waits vary with what else uses it; the processor's time tells whether length matters.",
            "Opening reads and checks every entry.",
        ),
        figures=figures,
    )


def _filled(path: Path, size: int, progress: Progress) -> Writer:
    writer = Writer(path)
    while writer.entries < size:
        if writer.entries % 100 < 2:
            progress(f"filling, {writer.entries:,} of {size:,} entries")
        writer.append()
    return writer


def bare_commits(path: Path) -> Callable[[], object]:
    """As many bytes in as many commits as an append, with the same durability as `privacy.ledger_file`."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("PRAGMA synchronous = EXTRA")
    connection.execute("CREATE TABLE entries (position INTEGER PRIMARY KEY, leaf BLOB, more BLOB, receipt BLOB)")

    def append() -> None:
        connection.execute("INSERT INTO entries (leaf) VALUES (?)", (bytes(500),))
        connection.execute("INSERT INTO entries (leaf, more, receipt) VALUES (?, ?, ?)", (bytes(300), VALUES, RECEIPT))

    return append
