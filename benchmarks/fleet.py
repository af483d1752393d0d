"""Seconds for one exchange of messages on a real fleet, beside Flower as its documentation has one write it.

Kith's is the whole of it: TLS through the front proxy, node keys, a SQLite state, guards in processes of their own that
check, charge, mask and sign. Flower's are bare: plain HTTP, no keys, apps that do next to nothing.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from benchmarks.fleet_rig import Step, kith_exchanges, kith_fleet, plain_exchanges
from benchmarks.measure import Progress, Report, Skipped, Spread
from federation.fleet.making import Wanted
from federation.fleet.proxy import nginx
from federation.run_settings import Settings
from privacy.errors import InputError
from privacy.plan import LOCAL, SECURE_SUM
from records.sample.group import write_sample_group

LIMITS: Final = {"plain": 0.8, "with_opacus": 0.4}
FLARE: Final = 2.5
"""Seconds of a round of NVIDIA FLARE 2.9 with its own settings and three clients, measured before on such a machine."""
STEPS: Final = {
    "Flower as it comes, Strategy.start": Step(),
    "own loop: push, then pull each .1 s": Step(loop="own"),
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL=0.1": Step(
        loop="own", environment=(("FLWR_SUPEREXEC_TASK_POLL_INTERVAL", "0.1"),)
    ),
    "SuperNodes that ask each .2 s (federation.fleet.node)": Step(
        loop="own", brisk_nodes=True, environment=(("FLWR_SUPEREXEC_TASK_POLL_INTERVAL", "0.1"),)
    ),
    "apps forked from a warm process (federation.fleet.apps)": Step(loop="own", brisk_nodes=True, forked_apps=True),
}


def run(quick: bool, progress: Progress) -> Report:
    """Three and five sites, one after the other, and at three what each step gains."""
    try:
        nginx()
    except InputError as error:
        raise Skipped(str(error)) from None
    rows: list[tuple[str, ...]] = []
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="kith-") as name:
        for sites in (3,) if quick else (3, 5):
            found = _compared(Path(name) / str(sites), sites, 2 if quick else 6, progress)
            figures[f"{sites} sites"] = found["figures"]
            rows += found["rows"]
        if not quick:
            for number, (what, step) in enumerate(STEPS.items()):
                progress(what)
                taken = Spread.of(plain_exchanges(Path(name) / f"step-{number}", step, 3, 8)[1:])
                figures[f"step: {what}"] = taken.to_document()
                rows.append(("3 sites, step by step", what, taken.shown(unit=" s"), ""))
    return Report(
        title="a real fleet on loopback: seconds for one exchange of messages",
        columns=("", "what", "seconds, median (quartiles)", "Kith's share of it"),
        rows=tuple(rows),
        notes=(
            "Kith: `kith fleet run` with TLS, proxy, node keys, guards. Flower: plain HTTP and no keys; (a) is an empty"
            " app under Strategy.start, (b) torch and Opacus in the app, with a new engine for each message, as in"
            " Flower's example.",
            f"Limits: {LIMITS['plain']} of (a), {LIMITS['with_opacus']} of (b). NVIDIA FLARE 2.9: {FLARE} s a round, as"
            " measured before; not in this run.",
            "Each step holds those before it, but for the poll interval, which forked apps do not need.",
        ),
        figures=figures,
    )


def _compared(folder: Path, sites: int, exchanges: int, progress: Progress) -> dict[str, Any]:
    taken: dict[str, list[float]] = {}
    runs: dict[str, float] = {}
    sample = write_sample_group(folder / "exports")
    chosen = sorted(sample.sites, key=lambda site: site.name)[:sites]
    contract = folder / "contract.toml"
    left_out = tuple(f'"{site.name}"' for site in sample.sites if site not in chosen)
    lines = sample.contract.read_text(encoding="utf-8").splitlines()
    contract.write_text("\n".join(line for line in lines if not line.startswith(left_out)) + "\n", encoding="utf-8")
    sources = {site.name: site.table for site in chosen}
    wanted = Wanted(contract, sources, Decimal(1000), Decimal("0.00001"), port=0)
    progress(f"{sites} sites: Kith's fleet")
    with kith_fleet(folder / "f", wanted, datetime.now(UTC)) as fleet:
        for trust in (SECURE_SUM, LOCAL):
            settings = Settings(f"bench-{trust}", "retention", Decimal(1), Decimal("0.00001"), trust, rounds=exchanges)
            with contextlib.redirect_stderr(io.StringIO()):
                taken[trust], runs[trust] = kith_exchanges(fleet, settings)
    for name in LIMITS:
        progress(f"{sites} sites: Flower, {name}")
        taken[name] = plain_exchanges(folder / name, Step(app=name), sites, exchanges)[1:]
    medians = {name: Spread.of(seconds) for name, seconds in taken.items()}
    ours = medians[SECURE_SUM].median
    words = {
        SECURE_SUM: "Kith, secure sum",
        LOCAL: "Kith, local noise",
        "plain": "(a) Flower, empty app",
        "with_opacus": "(b) Flower, Opacus in the app",
    }
    rows = [
        (
            f"{sites} sites",
            words[name],
            spread.shown(unit=" s"),
            f"{ours / spread.median:.2f}, limit {LIMITS[name]}" if name in LIMITS else "",
        )
        for name, spread in medians.items()
    ]
    shares = {f"share_of_{name}": round(ours / medians[name].median, 3) for name in LIMITS}
    figures = {**{name: spread.to_document() for name, spread in medians.items()}, **shares}
    return {"rows": rows, "figures": {**figures, "run_seconds": {name: round(one, 2) for name, one in runs.items()}}}
