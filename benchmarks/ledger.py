"""Ledgers of very different length: what a run costs, beside bare SQLite commits; proofs, opening, verifying."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.ledger_filling import EVENT, PLAN, RECEIPT, STATE, VALUES, Filler, run_name, staff_of
from benchmarks.measure import Progress, Report, Spread, by_turns, ratio, timed
from privacy import signing
from privacy.ledger import Ledger
from privacy.plan import GaussianSum, Plan
from privacy.signing import Signer

SIZES: Final = (1_000, 10_000, 100_000, 1_000_000)
QUICK: Final = (1_000, 10_000)
SQLITE: Final = "four bare SQLite commits"
LEAVES: Final = (350, 600, 300, 100)
"""Bytes of the entries of a run of one release: reserve, charge, settle, end."""
SMALL: Final = Plan(
    PLAN.use_case,
    PLAN.features,
    PLAN.trust,
    PLAN.delta,
    PLAN.clip,
    PLAN.sites,
    (GaussianSum(EVENT.name, 1, 25, 24, 1, 9999),),
    PLAN.replies_at_least,
)
PLOT: Final = Path(__file__).resolve().parent / "results" / "ledger.svg"
SHOWN: Final = {
    "append": "a run of one release",
    "inclusion": "inclusion of an entry",
    "consistency": "consistency with an earlier size",
    "excerpt": f"excerpt of a run of {EVENT.times} charges",
    "open": "opening",
}


class Subject:
    """A ledger of some length, and what is done with it."""

    def __init__(self, path: Path, runs: int, signer: Signer) -> None:
        """The ledger at `path`, which holds so many runs."""
        self.path = path
        self.ledger = Ledger.open(path)
        self.size = self.ledger.head().size
        self._runs = runs
        self._signer = signer
        self._new = count()
        self._chosen = np.random.default_rng(1)

    def append(self) -> None:
        """A run of one release, for everybody who is there: four entries, each on disk."""
        run = f"new-{next(self._new)}"
        self.ledger.reserve(run, SMALL, staff_of(self._runs))
        charge = self.ledger.charge(run, SMALL, EVENT.name, 0, STATE)
        self.ledger.settle(charge, VALUES, RECEIPT)
        self.ledger.end(run)

    def inclusion(self) -> None:
        """Prove that an entry is in the log, any one."""
        self.ledger.inclusion(int(self._chosen.integers(self.size)))

    def consistency(self) -> None:
        """Prove that the log continues what it was at any earlier size."""
        self.ledger.consistency(int(self._chosen.integers(1, self.size)))

    def excerpt(self) -> None:
        """Show all charges of any run, as at its end."""
        self.ledger.excerpt(run_name(int(self._chosen.integers(self._runs))), self._signer)

    def open(self) -> None:
        """Open the file anew, as a guard does when it starts."""
        Ledger.open(self.path).close()

    def verify(self) -> None:
        """Compute everything anew, with nothing in memory."""
        ledger = Ledger.open(self.path)
        ledger.verify()
        ledger.close()


def run(quick: bool, progress: Progress) -> Report:
    """Fill ledgers, then write to each, prove from each and open each by turns; at last verify each once."""
    turns = 8 if quick else 40
    with tempfile.TemporaryDirectory(prefix="kith-bench-") as name:
        folder = Path(name)
        subjects = _filled(folder, QUICK if quick else SIZES, progress)
        verified = {}
        for subject in subjects:
            progress(f"verifying {subject.size:,} entries")
            verified[subject.size] = timed(subject.verify)
        times = {}
        for what in SHOWN:
            work: dict[str, Callable[[], object]] = {str(one.size): getattr(one, what) for one in subjects}
            if what == "append":
                work[SQLITE] = bare_commits(folder / "bare.sqlite", LEAVES)
            times[what] = by_turns(work, turns, progress, f"{what}, ")
        sizes = {str(one.size): one.path.stat().st_size / 2**20 for one in subjects}
    measured = [_figures(int(size), times, verified[int(size)], mebibytes) for size, mebibytes in sizes.items()]
    if not quick:
        plot(measured, Spread.of(times["append"][SQLITE]).median, PLOT)
    return _report(measured, times)


def bare_commits(path: Path, leaves: Sequence[int] = (500, 300)) -> Callable[[], object]:
    """As many bytes in as many commits as entries of these sizes, one with what left, as durable as a ledger's."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE entries (position INTEGER PRIMARY KEY, leaf BLOB, more BLOB, receipt BLOB)")

    def append() -> None:
        connection.execute("INSERT INTO entries VALUES (NULL, ?, ?, ?)", (bytes(leaves[0]), VALUES, RECEIPT))
        for length in leaves[1:]:
            connection.execute("INSERT INTO entries (leaf) VALUES (?)", (bytes(length),))

    return append


def plot(measured: Sequence[dict[str, Any]], commits: float, path: Path) -> None:
    """Time by number of entries, both in powers of ten, as SVG."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    sizes = [one["entries"] for one in measured]
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    for what, label in SHOWN.items():
        spreads = [one[f"{what}_seconds"] for one in measured]
        line = axes.plot(sizes, [one["median"] for one in spreads], "o-", label=label)[0]
        axes.fill_between(
            sizes, [one["low"] for one in spreads], [one["high"] for one in spreads], color=line.get_color(), alpha=0.15
        )
    axes.axhline(commits, linestyle=":", color="#555555", label=SQLITE)
    seconds = [one["verify_seconds"] for one in measured]
    axes.plot(sizes, seconds, "s-", color="#b03030", label="verifying all of it")
    first = seconds[-1] * sizes[0] / sizes[-1]
    axes.plot([sizes[0], sizes[-1]], [first, seconds[-1]], "--", color="#b03030", alpha=0.5, label="in proportion")
    axes.set(xscale="log", yscale="log", xlabel="entries in the ledger", ylabel="seconds")
    axes.grid(alpha=0.25)
    figure.legend(loc="outside right upper", frameon=False)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def _filled(folder: Path, sizes: Sequence[int], progress: Progress) -> list[Subject]:
    """Ledgers of these sizes, each the beginning of the next: copies of one that grows."""
    officers = signing.create_key(folder / "one.pem"), signing.create_key(folder / "two.pem")
    filler = Filler(folder / "growing.sqlite", officers)
    subjects = []
    for size in sizes:
        filler.grow(size, progress)
        path = folder / f"{size}.sqlite"
        filler.copy(path)
        subjects.append(Subject(path, filler.runs, officers[0]))
    return subjects


def _figures(size: int, times: dict[str, dict[str, list[float]]], verified: float, mebibytes: float) -> dict[str, Any]:
    spreads = {f"{what}_seconds": Spread.of(taken[str(size)]).to_document() for what, taken in times.items()}
    beside = ratio(times["append"][str(size)], times["append"][SQLITE]).to_document()
    whole = {"verify_seconds": round(verified, 3), "mebibytes": round(mebibytes, 1)}
    return {"entries": size, **spreads, "append_over_bare_sqlite": beside, **whole}


def _report(measured: Sequence[dict[str, Any]], times: dict[str, dict[str, list[float]]]) -> Report:
    rows = []
    for one in measured:
        size = str(one["entries"])
        shown = [Spread.of(times[what][size]).shown(1e3) for what in SHOWN]
        shown.insert(1, ratio(times["append"][size], times["append"][SQLITE]).shown(unit="×"))
        seconds = one["verify_seconds"]
        rows.append((f"{one['entries']:,}", *shown, f"{seconds:.1f}", f"{seconds / one['entries'] * 1e6:.0f}"))
    bare = Spread.of(times["append"][SQLITE])
    rows.append((SQLITE, bare.shown(1e3), *[""] * (len(rows[0]) - 2)))
    return Report(
        title="the ledger: a run of one release (reserve, charge, settle, end: each on disk), proofs, opening, verify",
        columns=(
            "entries",
            "a run, ms",
            f"÷ {SQLITE}",
            "inclusion, ms",
            "consistency, ms",
            f"excerpt of {EVENT.times} charges, ms",
            "opening, ms",
            "verify, s",
            "an entry, µs",
        ),
        rows=tuple(rows),
        notes=(
            "Bare: the same bytes in as many commits with the ledger's own settings, without tree, sums or rules.",
            "Filled in large transactions with entries that the ledger's own rules admitted one by one"
            " (benchmarks/ledger_filling.py); `verify` then computed each of them anew.",
            "300 employees, a fifth of whom change every 50 runs; a period of 500 runs, of which a cap holds 300.",
            "Verifying ran once for each size, with an empty memory.",
        ),
        figures={"sizes": list(measured), SQLITE: bare.to_document()},
    )
