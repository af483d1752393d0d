"""AUC on held-out people of real tables: federated, personal, local, pooled; beside boosted trees without privacy."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from benchmarks.measure import ROOT, Progress, Report, Skipped
from models.evaluation import MODELS, Evaluation, Figures, Predictions, evaluate, figures_of
from privacy.plan import LOCAL, TRUSTS
from privacy.randomness import secure_source
from records.contract import parse_contract
from records.draft import draft_contract
from records.minimize import MinimizedRows, minimized_rows
from records.table import read_table

DELTA: Final = Decimal("0.00001")
TREES: Final = "trees"
SHOWN: Final = (*MODELS, TREES)


@dataclass(frozen=True, slots=True)
class Case:
    """A table of `../shared/data`, which column holds the sites, and the budgets to measure at."""

    file: str
    label: str
    site: str
    epsilons: tuple[str, ...]
    min_site: int = 1
    drop: tuple[str, ...] = ()
    trusts: tuple[str, ...] = (LOCAL,)

    @property
    def name(self) -> str:
        """For the table."""
        smallest = f", sites from {self.min_site} people" if self.min_site > 1 else ""
        return f"{Path(self.file).parent} by {self.site}{smallest}"


JOBCHANGE: Final = "ds_jobchange/aug_train.csv.gz"
CASES: Final = (
    Case(JOBCHANGE, "target", "company_type", ("0.5", "1", "3")),
    Case(JOBCHANGE, "target", "city", ("1",), min_site=30, trusts=TRUSTS),
    Case("hr_comma_sep/HR_comma_sep.csv", "left", "sales", ("1", "3")),
    Case(
        "ibm_attrition/WA_Fn-UseC_-HR-Employee-Attrition.csv",
        "Attrition",
        "Department",
        ("1", "3"),
        drop=("EmployeeCount", "EmployeeNumber", "Over18", "StandardHours"),
    ),
)


def run(quick: bool, progress: Progress) -> Report:
    """All cases; needs the tables in $KITH_DATA, by default ../shared/data."""
    data = Path(os.environ.get("KITH_DATA", ROOT.parent / "shared" / "data"))
    missing = [case.file for case in CASES if not (data / case.file).is_file()]
    if missing:
        raise Skipped(f"expected {missing[0]} in {data}, got none; set KITH_DATA to the folder of tables")
    seeds = range(1 if quick else 5)
    rows: list[tuple[str, ...]] = []
    figures: dict[str, Any] = {}
    for case in CASES:
        for epsilon, one in _measured(
            case, data, seeds, quick, lambda text, case=case: progress(f"{case.name}, {text}")
        ):
            trust = one.plan.trust
            rows.append((case.name, str(len(one.site_names)), trust, epsilon, *(_shown(one, m) for m in SHOWN)))
            figures[f"{case.name}, {trust}, epsilon {epsilon}"] = _document(one)
    return Report(
        title=f"AUC on held-out people, mean ± sd over {len(seeds)} splits; delta {DELTA:f}",
        columns=(
            "table",
            "sites",
            "trust",
            "epsilon",
            "federated",
            "personal",
            "local only",
            "pooled, no privacy",
            "pooled trees, no privacy",
        ),
        rows=tuple(rows),
        notes=(
            "Contracts are drafted from the tables, so their bounds are not public and epsilon does not cover them.",
            "Trees: scikit-learn's HistGradientBoostingClassifier as it comes, on the same rows of the same splits,"
            " categories as ordinals, the site as one more column.",
            "Under a secure sum the personal model is the group's.",
        ),
        figures=figures,
    )


def _measured(
    case: Case, data: Path, seeds: Sequence[int], quick: bool, progress: Progress
) -> list[tuple[str, Evaluation]]:
    """Each budget's evaluation with the trees' figures beside it; they are fitted once, the splits being the same."""
    table = read_table(data / case.file)
    contract = parse_contract(draft_contract(table, case.label, case.site, drop=case.drop), case.name)
    rows = minimized_rows(table, contract)
    measured: list[tuple[str, Evaluation]] = []
    trees: list[Figures] = []
    for trust, epsilon in product(case.trusts, case.epsilons[:1] if quick else case.epsilons):
        result = evaluate(
            contract,
            rows,
            Decimal(epsilon),
            DELTA,
            trust,
            seeds,
            secure_source(),
            case.min_site,
            lambda text, at=(trust, epsilon): progress(f"{at[0]}, epsilon {at[1]}, {text}"),
        )
        progress("trees")
        trees = trees or [_trees(rows, result, split) for split in result.predictions]
        beside = tuple({**ours, TREES: theirs} for ours, theirs in zip(result.figures, trees, strict=True))
        measured.append((epsilon, replace(result, figures=beside)))
    return measured


def _trees(rows: MinimizedRows, result: Evaluation, split: Predictions) -> Figures:
    """Boosted trees' figures on one split of the evaluation."""
    taking_part = np.isin(rows.site, [rows.site_names.index(name) for name in result.site_names])
    test = np.isin(rows.row, split.row)
    columns = _columns(rows)
    model = HistGradientBoostingClassifier(random_state=split.seed)
    model.fit(columns[taking_part & ~test], rows.label[taking_part & ~test])
    scores = model.predict_proba(columns[test])[:, 1]
    return figures_of(replace(split, scores={TREES: scores}), TREES, rows.site_names, result.metric)


def _columns(rows: MinimizedRows) -> NDArray[np.float64]:
    """(n, columns) of everything that may train, NaN where missing, and the site."""
    codes = [np.where(column < 0, np.nan, column) for column in rows.codes.values()]
    return np.column_stack([*rows.numbers.values(), *codes, rows.site]).astype(np.float64)


def _shown(result: Evaluation, model: str) -> str:
    return f"{result.mean(model):.4f} ± {result.spread(model):.4f}"


def _document(result: Evaluation) -> dict[str, Any]:
    people = list(result.people.values())
    return {
        "sites": len(people),
        "people": sum(people),
        "smallest_site": min(people),
        "seeds": [one.seed for one in result.predictions],
        "models": {
            model: {
                which: {"mean": round(result.mean(model, which), 5), "sd": round(result.spread(model, which), 5)}
                for which in ("overall", "within")
            }
            for model in SHOWN
        },
    }
