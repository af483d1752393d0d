"""How good a released AUC is: read from noisy histograms at the default share of the budget, beside the exact ones."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from benchmarks.measure import ROOT, Progress, Report
from benchmarks.utility import JOBCHANGE
from models.evaluation import auc, fit_noisy, held_out
from models.features import FeatureSpace
from models.measure_reading import measures_document
from models.measures import Scale, measure, state_of
from models.planning import EVALUATION, MEASURE_SHARE, plan_at_epsilon
from models.pooling import Part
from models.training import SiteSums
from models.use_case import load_use_case
from privacy.mechanisms import gaussian_sum
from privacy.randomness import seeded_source
from records.contract import Contract, load_contract, parse_contract
from records.draft import draft_contract
from records.minimize import MinimizedRows, minimized_rows
from records.sample.group import write_sample_group
from records.table import Table, read_table

DELTA: Final = Decimal("0.00001")
EPSILONS: Final = ("1", "3")


def run(quick: bool, progress: Progress) -> Report:
    """Both tables at both budgets; ds_jobchange only where $KITH_DATA (by default ../shared/data) holds it."""
    seeds = range(2 if quick else 6)
    rows: list[tuple[str, ...]] = []
    figures: dict[str, Any] = {}
    for name, contract, people in _tables():
        for epsilon in EPSILONS[:1] if quick else EPSILONS:
            found = []
            for seed in seeds:
                progress(f"{name}, epsilon {epsilon}, seed {seed}")
                found.append(_measured(contract, people, epsilon, seed))
            one = pd.DataFrame(found, columns=["same", "others", "value", "low", "high"])
            told = one.dropna()
            holds = int(((one["low"] <= one["same"]) & (one["same"] <= one["high"])).sum())
            error = float(np.sqrt(((told["value"] - told["same"]) ** 2).mean())) if len(told) else float("nan")
            width = float((one["high"] - one["low"]).mean() / 2)
            means = one[["same", "others", "value"]].mean()
            shown = (f"{means['same']:.3f}", f"{means['others']:.3f}", f"{means['value']:.3f}")
            shares = (f"{len(told)} of {len(one)}", f"{error:.3f}", f"±{width:.3f}", f"{holds} of {len(one)}")
            rows.append((f"{name}, {len(people):,} people", epsilon, *shown, *shares))
            figures[f"{name}, epsilon {epsilon}"] = {
                "seeds": len(one),
                "told": len(told),
                "interval_holds_exact": holds,
                "exact_same_people": f"{means['same']:.4f}",
                "exact_others": f"{means['others']:.4f}",
                "released": f"{means['value']:.4f}",
                "root_mean_squared_error": f"{error:.4f}",
                "half_width": f"{width:.4f}",
            }
    return Report(
        title=f"the group's AUC as released, {MEASURE_SHARE} of mu² for it, delta {DELTA:f}, trust local",
        columns=(
            "table",
            "epsilon",
            "exact, same people",
            "exact, held out",
            "released",
            "told",
            "RMS error",
            "95 % interval",
            "holds the exact",
        ),
        rows=tuple(rows),
        notes=(
            "Per seed three quarters of the people train and are measured, a quarter is held out.",
            "The contract of ds_jobchange is drafted from the table, so its bounds are not public.",
        ),
        figures=figures,
    )


def _tables() -> Iterator[tuple[str, Contract, MinimizedRows]]:
    with tempfile.TemporaryDirectory() as folder:
        group = write_sample_group(Path(folder))
        contract = load_contract(group.contract)
        frame = pd.concat([read_table(site.table).frame for site in group.sites], ignore_index=True)
        yield "sample group", contract, minimized_rows(Table(frame, "the sample group"), contract)
    path = Path(os.environ.get("KITH_DATA", ROOT.parent / "shared" / "data")) / JOBCHANGE
    if path.is_file():
        table = read_table(path)
        contract = parse_contract(draft_contract(table, "target", "company_type"), path.name)
        yield "ds_jobchange by company_type", contract, minimized_rows(table, contract)


def _measured(
    contract: Contract, rows: MinimizedRows, epsilon: str, seed: int
) -> tuple[float, float, float, float, float]:
    """Exact AUC on the people who trained and on others, and the released one with its interval (NaN if not told)."""
    space, noise = FeatureSpace.from_contract(contract), seeded_source(seed)
    bounds = {site.name: site.people_at_most for site in contract.site.sites}
    plan = plan_at_epsilon(space, bounds, contract.purpose, Decimal(epsilon), DELTA, "local", measures=(EVALUATION,))
    others = held_out(rows, seed)
    parts = {name: rows.take(~others & (rows.site == place)) for place, name in enumerate(rows.site_names)}
    sums = {name: SiteSums(space, part, float(plan.clip)) for name, part in parts.items()}
    fit = fit_noisy(plan, space, sums, noise)
    scale = Scale.of(fit, load_use_case("retention"))
    state, event = state_of(EVALUATION, scale), plan.event(EVALUATION)
    noisy = [
        Part((name,), gaussian_sum(event, measure(EVALUATION, space, part, state), noise, name.encode()))
        for name, part in parts.items()
    ]
    told = next(
        figure
        for figure in measures_document(plan, {EVALUATION: noisy}, scale)["figures"]
        if (figure["scope"], figure["name"]) == ("group", "auc")
    )
    released = tuple(float(told[name]) if told[name] else float("nan") for name in ("value", "low", "high"))
    scores = fit.shared.scores(space.design(rows))
    exact = (auc(rows.label[chosen], scores[chosen]) for chosen in (~others, others))
    return (*exact, *released)  # type: ignore[return-value]
