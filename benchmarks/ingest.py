"""Taking tables of growing length in: CSV through a mapping into a site's store, each size in a process of its own.

`python -m benchmarks.ingest FOLDER` takes FOLDER/people.csv into FOLDER/store and prints what it took.
"""

from __future__ import annotations

import json
import re
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.measure import Progress, Report, child

SIZES: Final = (125_000, 250_000, 500_000, 1_000_000)
QUICK: Final = (5_000, 10_000, 20_000)
MEMORY_BOUND: Final = 1024
"""MiB that the longest table may take."""
PLOT: Final = Path(__file__).resolve().parent / "results" / "ingest.svg"
NOW: Final = datetime(2026, 11, 22, tzinfo=UTC)
MAPPING: Final = """
source = "hris"
kind = "table"
[person]
number = "Employee No"
width = 8
[valid_from]
column = "Effective"
[read]
dates = ["DD.MM.YYYY"]
decimal = ","
[[facts]]
table = "person"
[facts.columns]
job_family = { from = "Department", values = { "Care" = "care", "Sales" = "sales", "IT" = "engineering" } }
level_band = { from = "Grade", values = { "1" = "entry", "2" = "skilled", "3" = "senior", "4" = "lead" } }
start_month = { from = "Hired" }
fte = { from = "FTE" }
manager_key = { from = "Reports to" }
"""
MEMORY: Final = ("peak MiB", "of it added, MiB", "store, MiB")
HEADER: Final = "Employee No;Effective;Department;Grade;Hired;FTE;Reports to\n"


def run(quick: bool, progress: Progress) -> Report:
    """Take in tables of several lengths, and tell seconds and peak memory of each."""
    measured = []
    for rows in QUICK if quick else SIZES:
        progress(f"{rows:,} rows")
        with tempfile.TemporaryDirectory(prefix="kith-bench-") as name:
            prepare(Path(name), rows)
            measured.append(json.loads(child("-m", "benchmarks.ingest", name)))
    exponent = _exponent(measured)
    if not quick:
        plot(measured, PLOT)
    peak = max(one["peak_mib"] for one in measured)
    kept = "kept" if peak <= MEMORY_BOUND else "BROKEN"
    return Report(
        title="a table of people taken in: CSV, mapping, pseudonyms, checks, versions, one transaction (SQLite)",
        columns=("rows", "seconds", "rows a second", "processor, s", "rows a processor's second", *MEMORY),
        rows=tuple(
            (
                f"{one['rows']:,}",
                f"{one['seconds']:.1f}",
                f"{one['rows'] / one['seconds']:,.0f}",
                f"{one['processor_seconds']:.1f}",
                f"{one['rows'] / one['processor_seconds']:,.0f}",
                f"{one['peak_mib']:.0f}",
                f"{one['added_mib']:.0f}",
                f"{one['store_mib']:.0f}",
            )
            for one in measured
        ),
        notes=(
            "One person and one fact of six columns a row, a person a row; wall clock, one run each.",
            f"The processor's time grows with rows to the power of {exponent:.2f} (least squares of logarithms), the"
            " wall clock's also with what else the machine does.",
            f"The bound is {MEMORY_BOUND} MiB; the peak was {peak:.0f} MiB: {kept}.",
            "Peak: the kernel's high-water mark of the process, interpreter and libraries included.",
        ),
        figures={"sizes": measured, "exponent": round(exponent, 3), "memory_bound_mib": MEMORY_BOUND},
    )


def prepare(folder: Path, rows: int) -> None:
    """A table of so many people, its mapping and an empty store."""
    from records.store import create_store

    (folder / "people.toml").write_text(MAPPING, encoding="utf-8")
    with (folder / "people.csv").open("w", encoding="utf-8") as file:
        file.write(HEADER)
        file.writelines(_lines(rows))
    create_store(folder / "store", "made-up").close()


def measure(folder: Path) -> dict[str, Any]:
    """Takes the table in, and tells what that took."""
    from records.intake import ingest_file
    from records.registry import load_registry
    from records.store import open_store

    store, registry = open_store(folder / "store"), load_registry()
    before = _mebibytes("VmRSS")
    began, busy = time.perf_counter(), time.process_time()
    found = ingest_file(store, registry, folder / "people.toml", folder / "people.csv", None, NOW)
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    store.close()
    if found.written != found.rows:
        raise RuntimeError(f"expected every row to be written, got {found.to_document()}")
    peak = _mebibytes("VmHWM")
    size = sum(file.stat().st_size for file in (folder / "store").iterdir())
    figures = {"seconds": seconds, "processor_seconds": busy, "peak_mib": peak}
    figures |= {"added_mib": peak - before, "store_mib": size / 2**20}
    return {"rows": found.rows, **{name: round(value, 3) for name, value in figures.items()}}


def plot(measured: list[dict[str, Any]], path: Path) -> None:
    """Seconds and peak memory by rows, as SVG."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasSVG(figure)
    rows = [one["rows"] for one in measured]
    for place, (name, label, bound) in enumerate(
        [("processor_seconds", "processor's seconds", None), ("peak_mib", "peak memory, MiB", MEMORY_BOUND)]
    ):
        axes = figure.add_subplot(1, 2, place + 1)
        axes.plot(rows, [one[name] for one in measured], "o-", color="#1f5f8b", label="measured")
        if bound is None:
            axes.plot([0, rows[-1]], [0, measured[-1][name]], "--", color="#888888", label="in proportion to rows")
        else:
            axes.axhline(bound, linestyle="--", color="#b03030", label="bound")
        axes.set(xlabel="rows", ylabel=label, xlim=(0, None), ylim=(0, None))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:.0f}k")
        axes.legend(frameon=False)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def _lines(rows: int) -> Iterator[str]:
    """Rows as an HRIS with German settings would write them; the same every time."""
    departments = ("Care", "Sales", "IT")
    for number in range(rows):
        day, month, year = 1 + number % 28, 1 + number % 12, 2000 + number % 26
        yield (
            f"{number:08d};{day:02d}.{month:02d}.2026;{departments[number % 3]};{1 + number % 4};"
            f"01.{month:02d}.{year};{'1,0' if number % 5 else '0,5'};{90_000_000 + number // 10}\n"
        )


def _exponent(measured: list[dict[str, Any]]) -> float:
    rows, seconds = (np.log([one[name] for one in measured]) for name in ("rows", "processor_seconds"))
    return float(np.polyfit(rows, seconds, 1)[0])


def _mebibytes(field: str) -> float:
    """Of this process; `ru_maxrss` starts with the parent's, so it serves only where there is no /proc."""
    try:
        found = re.search(rf"^{field}:\s+(\d+) kB$", Path("/proc/self/status").read_text("ascii"), re.MULTILINE)
    except OSError:
        found = None
    return int(found[1]) / 1024 if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
