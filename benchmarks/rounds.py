"""The price of proof: exchanges over the in-process grid, beside the same noisy sums without any.

Much of that price is the disk's: two commits for each sum. They are measured bare in the same turns.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.ledger import bare_commits
from benchmarks.measure import Progress, Report, Spread, by_turns, ratio, timed
from benchmarks.sample import MadeUp, made_up, settings
from federation.checkpoints import Checkpoints
from federation.embedded import embedded_grid, run_embedded
from federation.exchange import Exchanges
from federation.group import Group, load_group
from federation.rounds import Rounds
from federation.run_log import RunLog
from federation.run_settings import DEADLINE
from federation.site import load_site
from federation.training_run import plan_run
from models.evaluation import fit_noisy
from models.features import FeatureSpace
from models.planning import GRADIENT, ROUNDS, SECOND_MOMENTS
from models.training import SiteSums
from privacy.mechanisms import gaussian_sum
from privacy.plan import Plan
from privacy.randomness import NoiseSource, secure_source
from records.minimize import minimized_rows
from records.table import read_table

State = NDArray[np.float64]
Disk = Callable[[int], None]
BARE: Final = "bare"
DISK: Final = "disk"
PROVEN: Final = "proven"


def run(quick: bool, progress: Progress) -> Report:
    """One exchange and one whole run, each by turns with its bare sums."""
    with tempfile.TemporaryDirectory(prefix="kith-bench-") as name:
        made = made_up(Path(name))
        group = load_group(made.group)
        sums = _sums(made, group)
        noise = secure_source()
        disk = _commits(Path(name) / "bare.sqlite", len(made.sites))
        first, exchange = _exchanges(
            made, group, sums, noise, disk, 3 if quick else 40, Path(name) / "exchanges", progress
        )
        whole = _runs(made, group, sums, noise, disk, 1 if quick else 7, Path(name), progress)
    rows: list[tuple[str, ...]] = []
    figures: dict[str, Any] = {"first_exchange_seconds": first}
    for what, taken in (("one gradient exchange", exchange), (f"a run: {ROUNDS + 1} exchanges, certificate", whole)):
        ours, bare = Spread.of(taken[PROVEN]), Spread.of(taken[BARE])
        price = ratio(taken[PROVEN], taken[BARE])
        more = Spread.of([a - b for a, b in zip(taken[PROVEN], taken[BARE], strict=True)])
        commits = Spread.of(taken[DISK])
        rows.append(
            (
                what,
                *(one.shown(1e3) for one in (ours, bare)),
                price.shown(unit="×"),
                more.shown(1e3),
                commits.shown(1e3),
            )
        )
        figures[what] = {
            "kith_seconds": ours.to_document(),
            "bare_seconds": bare.to_document(),
            "ratio": price.to_document(),
            "more_seconds": more.to_document(),
            "bare_commits_seconds": commits.to_document(),
        }
    return Report(
        title="the price of proof: five made-up sites in one process, 5,280 people",
        columns=("", "Kith, ms", "bare noisy sums, ms", "ratio", "proof costs, ms", "as many bare SQLite commits, ms"),
        rows=tuple(rows),
        notes=(
            "Bare: `models.evaluation.fit_noisy` and its sums. Kith adds Flower messages, the guard's checks, a charge"
            " on disk before and a settlement after each sum, a receipt signed and verified, and per run the ledgers'"
            " proofs, two accountants and the release on disk.",
            f"The first exchange of a process (tables read, second moments) took {first:.2f} s and is left out.",
        ),
        figures=figures,
    )


def _exchanges(
    made: MadeUp,
    group: Group,
    sums: dict[str, SiteSums],
    noise: NoiseSource,
    disk: Disk,
    turns: int,
    folder: Path,
    progress: Progress,
) -> tuple[float, dict[str, list[float]]]:
    """Seconds of the first exchange, and of gradient exchanges by turns with the same sums bare."""
    plan = plan_run(group, settings("exchanges", turns + 1))
    with RunLog(folder) as log:
        exchanges = Exchanges(embedded_grid(made.sites), group.signer, group.keys.trusted().sites, log, DEADLINE)
        rounds = Rounds(exchanges, Checkpoints(folder / "checkpoints"), log, "exchanges", plan)
        progress("first exchange")
        first = timed(lambda: rounds.release(SECOND_MOMENTS, 0, b""))
        weights = np.random.default_rng(0).normal(0, 0.2, plan.event(GRADIENT).coordinates)
        state, index = weights.astype("<f8").tobytes(), count()
        work: dict[str, Callable[[], object]] = {
            PROVEN: lambda: rounds.release(GRADIENT, next(index), state),
            BARE: lambda: _bare(plan, sums, weights, noise),
            DISK: lambda: disk(1),
        }
        return round(first, 3), by_turns(work, turns, progress, "exchange, ")


def _runs(
    made: MadeUp,
    group: Group,
    sums: dict[str, SiteSums],
    noise: NoiseSource,
    disk: Disk,
    turns: int,
    folder: Path,
    progress: Progress,
) -> dict[str, list[float]]:
    """Seconds of whole runs by turns with the same learning bare."""
    number = count()
    plan = plan_run(group, settings("bare", ROUNDS))
    space = FeatureSpace.from_contract(group.contract)

    def proven() -> None:
        run = f"run-{next(number)}"
        run_embedded(made.group, made.sites, settings(run, ROUNDS), folder / run)

    work: dict[str, Callable[[], object]] = {
        PROVEN: proven,
        BARE: lambda: fit_noisy(plan, space, sums, noise),
        DISK: lambda: disk(ROUNDS + 1),
    }
    return by_turns(work, turns, progress, "run, ")


def _commits(path: Path, sites: int) -> Disk:
    """The bare commits of so many exchanges."""
    append = bare_commits(path)

    def exchanges(number: int) -> None:
        for _ in range(number * sites):
            append()

    return exchanges


def _bare(plan: Plan, sums: dict[str, SiteSums], weights: State, noise: NoiseSource) -> None:
    for site in sums.values():
        gaussian_sum(plan.event(GRADIENT), site.gradient(weights), noise, b"")


def _sums(made: MadeUp, group: Group) -> dict[str, SiteSums]:
    space = FeatureSpace.from_contract(group.contract)
    clip = float(plan_run(group, settings("bare", ROUNDS)).clip)
    sites = [load_site(folder) for folder in made.sites]
    return {
        site.name: SiteSums(space, minimized_rows(read_table(site.source), group.contract, sites=[site.name]), clip)
        for site in sites
    }
