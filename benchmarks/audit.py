"""What the empirical audit proves of the default mechanism at three claims, what it takes, and whether faults show."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from benchmarks.measure import Progress, Report
from models.audit import run_audit
from models.audit_faults import FAULTS
from models.features import FeatureSpace
from privacy.audit import AuditResult
from records.contract import parse_contract
from records.sample.group import CONTRACT

CLAIMS: Final = ("1", "3", "8")
DELTA: Final = Decimal("0.00001")
RUNS_WITH_A_FAULT: Final = {"3": 1200, "8": 600}
WORKERS: Final = 2


def run(quick: bool, progress: Progress) -> Report:
    """The sound mechanism at every claim, then every fault."""
    cases: list[tuple[str, str | None, int | None]] = [(claim, None, None) for claim in CLAIMS]
    cases += [(claim, fault, runs) for claim, runs in RUNS_WITH_A_FAULT.items() for fault in FAULTS]
    if quick:
        cases = [("8", None, 200), *(("8", fault, 400) for fault in FAULTS)]
    contract = parse_contract(CONTRACT)
    width = FeatureSpace.from_contract(contract).width
    rows, figures = [], {}
    for claim, fault, runs in cases:
        what = f"epsilon {claim}, {fault or 'sound'}"
        result, wall, processor = _timed(
            lambda claim=claim, fault=fault, runs=runs, what=what: run_audit(
                contract,
                contract.purpose,
                Decimal(claim),
                DELTA,
                "local",
                runs,
                fault=fault,
                progress=lambda done, of: progress(f"{what}: {done:,} of {of:,} trainings"),
                workers=WORKERS,
            )
        )
        rows.append(_row(claim, result, wall, processor))
        figures[what] = {**_figures(result), "seconds": round(wall, 1), "processor_seconds": round(processor, 1)}
    return Report(
        title=f"empirical audit at delta {DELTA:f}, {width} features, {WORKERS} processes",
        columns=(
            "claim",
            "planted",
            "trainings",
            "epsilon ≥, releases",
            "÷ claim",
            "two rates",
            "any mechanism",
            "final model",
            "refuted",
            "s",
            "processor, s",
        ),
        rows=tuple(rows),
        notes=(
            "Lower bounds at 95 %. The one stated is that of an attacker on the releases, from the share of right"
            " guesses (GDP); two rates and any mechanism are the other forms of the same attack.",
        ),
        figures=figures,
    )


def _timed(work: Callable[[], AuditResult]) -> tuple[AuditResult, float, float]:
    """What came, seconds by the wall's clock, and processor seconds of the workers."""
    before, began = _children(), time.perf_counter()
    result = work()
    return result, time.perf_counter() - began, _children() - before


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _row(claim: str, result: AuditResult, wall: float, processor: float) -> tuple[str, ...]:
    releases, final = result.attacks
    return (
        claim,
        result.fault or "nothing",
        f"{result.runs:,}",
        f"{result.lower_bound:.3f}",
        f"{result.lower_bound / result.claim:.2f}",
        f"{releases.gdp_rates:.3f}",
        f"{releases.direct:.3f}",
        f"{final.gdp_guesses:.3f}",
        "yes" if result.refuted else "no",
        f"{wall:.0f}",
        f"{processor:.0f}",
    )


def _figures(result: AuditResult) -> dict[str, Any]:
    kept = ("claim", "lower_bound", "refuted", "runs", "fault", "attacks")
    document = result.to_document()
    return {name: document[name] for name in kept}
