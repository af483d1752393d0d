"""Two hundred small sites in one process: a whole run under a secure sum, beside the same run where nothing is masked.

`python -m benchmarks.many_sites FOLDER TRUST SITES ROUNDS` is one run in a process of its own, so that its memory is.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.measure import Progress, Report, child
from privacy.plan import LOCAL, SECURE_SUM

SITES: Final = 200
PEOPLE: Final = 100
ROUNDS: Final = 16
SEED: Final = 11
CONTRACT: Final = """
purpose = "retention"
employee = "who"
[label]
column = "left"
kind = "binary"
positive = ["yes"]
negative = ["no"]
[site]
column = "site"
[site.people_at_most]
{sites}
{columns}"""
COLUMN: Final = """[columns.measure_{n}]
kind = "number"
low = 0
high = 10
unit = "points"
train = true
"""
COLUMNS: Final = 4


def run(quick: bool, progress: Progress) -> Report:
    """A run of each trust."""
    sites, rounds = (20, 2) if quick else (SITES, ROUNDS)
    found = {}
    for trust in (LOCAL, SECURE_SUM):
        progress(f"{sites} sites, {trust}")
        with tempfile.TemporaryDirectory(prefix="kith-bench-") as name:
            found[trust] = json.loads(child("-m", "benchmarks.many_sites", name, trust, str(sites), str(rounds)))
    return Report(
        title=f"{sites} sites of {PEOPLE} people in one process, {rounds} rounds",
        columns=("trust", "run, s", "a release, s", "peak memory, MiB", "kB a site and release", "setting up sites, s"),
        rows=tuple(
            (
                trust,
                f"{one['seconds']:.1f}",
                f"{one['seconds'] / one['releases']:.2f}",
                f"{one['peak_mib']:.0f}",
                f"{one['bytes'] / one['releases'] / sites / 1e3:.1f}",
                f"{one['setting_up']:.1f}",
            )
            for trust, one in found.items()
        ),
        notes=(
            f"One process, {rounds + 1} releases of {found[LOCAL]['coordinates']} coordinates or fewer, release"
            f" certified at the end. Bytes are those of contributions and receipts as they came; the secure sum's keys"
            f" and shares come to {found[SECURE_SUM]['shares_bytes'] / sites / 1e3:.0f} kB a site, once a run.",
            f"The secure sum takes {found[SECURE_SUM]['seconds'] / found[LOCAL]['seconds']:.2f} times as long.",
        ),
        figures=found,
    )


def measure(folder: Path, trust: str, sites: int, rounds: int) -> dict[str, Any]:
    """One run: seconds, peak memory, bytes."""
    from benchmarks.sample import CAP, DELTA, USE_CASE
    from federation.checkpoints import Checkpoints
    from federation.embedded import run_embedded
    from federation.group import create_group, load_group
    from federation.run_log import LogReader
    from federation.run_settings import Settings
    from federation.site import create_site
    from federation.training_run import plan_run
    from privacy.budget import first_budget

    names = [f"Site {n:03d}" for n in range(sites)]
    contract = folder / "contract.toml"
    bounds = "\n".join(f'"{name}" = {2 * PEOPLE}' for name in names)
    columns = "".join(COLUMN.format(n=n) for n in range(COLUMNS))
    contract.write_text(CONTRACT.format(sites=bounds, columns=columns), encoding="utf-8")
    budget, random = first_budget(CAP, DELTA, (USE_CASE,)), np.random.default_rng(SEED)
    began = time.perf_counter()
    places = []
    for n, name in enumerate(names):
        table = folder / f"{n}.csv"
        _write(table, name, random)
        places.append(create_site(folder / "sites" / f"{n:03d}", name, table, contract, budget))
    create_group(folder / "group", contract, places)
    setting_up = time.perf_counter() - began
    settings = Settings("many", USE_CASE, Decimal(1), DELTA, trust, rounds)
    plan = plan_run(load_group(folder / "group"), settings)
    began = time.perf_counter()
    run_embedded(folder / "group", [place.folder for place in places], settings, folder / "run")
    seconds = time.perf_counter() - began
    told = [event for event in LogReader(folder / "run").new() if event.what == "released"]
    shares = Checkpoints(folder / "run" / "checkpoints").load("secure-sum")
    return {
        "seconds": round(seconds, 2),
        "setting_up": round(setting_up, 2),
        "releases": len(told),
        "bytes": sum(int(str(event.facts["bytes"])) for event in told),
        "shares_bytes": len(json.dumps(shares)) if shares else 0,
        "coordinates": max(event.coordinates for event in plan.events),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def _write(table: Path, name: str, random: np.random.Generator) -> None:
    values = random.uniform(0, 10, (PEOPLE, COLUMNS))
    leaves = random.random(PEOPLE) < 1 / (1 + np.exp(-(values[:, 0] - values[:, 1]) / 2))
    head = ",".join(["who", "site", "left", *(f"measure_{n}" for n in range(COLUMNS))])
    lines = [
        ",".join([f"{name}-{n}", name, "yes" if leaves[n] else "no", *(f"{value:.3f}" for value in values[n])])
        for n in range(PEOPLE)
    ]
    table.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    where, kind, count, times = sys.argv[1:]
    print(json.dumps(measure(Path(where), kind, int(count), int(times))))
