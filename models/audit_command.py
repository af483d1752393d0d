"""`kith audit`: what an attacker can prove against the mechanism that a contract and a budget lead to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from privacy.errors import Refused
from privacy.terminal import console

if TYPE_CHECKING:
    from privacy.audit import AuditResult

app = typer.Typer()

WORKERS_AT_MOST: Final = 4


@app.command()
def audit(
    contract: Annotated[Path, typer.Option(help="The contract's TOML file; no table is read.")],
    epsilon: Annotated[str, typer.Option(help="The claim: budget of a run for each employee, at delta.")],
    delta: Annotated[str, typer.Option(help="Probability, well below one in the number of people.")],
    trust: Annotated[
        str, typer.Option(help="local: every site adds all of its noise; secure-sum: what the honest ones add up to.")
    ] = "local",
    runs: Annotated[int | None, typer.Option(help="Trainings, an even number; else as many as the claim asks.")] = None,
    fault: Annotated[
        str | None, typer.Option(help="Plant accountant-reset, missing-clip or halved-noise: is it caught?")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the made-up people and the noise.")] = 0,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Processes; else one per core, at most 4.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train many times on a made-up twin, with and without one employee, and bound epsilon from below.

    Exit status 1 if the claim is refuted, which a sound mechanism is at most once in 1000 audits.
    """
    import os

    from models.audit_faults import fault_of
    from privacy.accounting import mu_squared_for
    from privacy.plan import decimal

    fault_of(fault)
    amounts = decimal(epsilon, "--epsilon"), decimal(delta, "--delta")
    mu_squared_for(*amounts)
    result = _audited(contract, amounts, trust, runs, fault, seed, workers or min(WORKERS_AT_MOST, os.cpu_count() or 1))
    document = result.to_document()
    if as_json:
        print(json.dumps(document, indent=2))
    else:
        _print_table(document)
    if result.refuted:
        raise Refused(
            f"audit: expected at most epsilon {result.claim} at delta {amounts[1]} as claimed, got at least"
            f" {result.lower_bound}" + (f" (with {fault} planted)" if fault else "")
        )


def _audited(
    contract: Path, amounts: tuple[Any, Any], trust: str, runs: int | None, fault: str | None, seed: int, workers: int
) -> AuditResult:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from records.contract import load_contract

    agreed = load_contract(contract)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    notes = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=notes, transient=True, disable=not notes.is_terminal) as bar:
        task = bar.add_task("starting", total=None)
        from models.audit import run_audit  # torch takes seconds

        return run_audit(
            agreed,
            agreed.purpose,
            *amounts,
            trust,
            runs,
            seed,
            fault,
            lambda done, of: bar.update(task, description="trainings", completed=done, total=of),
            workers,
        )


def _print_table(document: dict[str, Any]) -> None:
    from rich.table import Table

    out = console()
    claim, stated = document["claim"], document["lower_bound"]
    columns = ("attack on", "false alarms", "misses", "epsilon ≥, any mechanism", "GDP, two rates", "GDP, guesses")
    title = f"epsilon of at least, at delta = {claim['delta']}, {float(stated['confidence']):.0%} each"
    table = Table(*columns, title=title)
    for attack in document["attacks"]:
        wrong = (f"{attack[kind]:,} of {attack['each']:,}" for kind in ("false_positives", "false_negatives"))
        bounds = (f"{float(attack[form]):.4f}" for form in ("direct", "gdp-rates", "gdp-guesses"))
        table.add_row(attack["attack"], *wrong, *bounds)
    out.print(table)
    out.print(
        f"Claimed: epsilon {claim['epsilon']}. Proved by an attacker who knows all others and sees every release"
        f" (GDP, guesses): at least {float(stated['epsilon']):.4f}, {float(stated['share_of_claim']):.0%} of the claim."
    )
    planted = f", with {document['fault']} planted" if document["fault"] else ""
    style, verdict = ("bold red", "refuted") if document["refuted"] else ("green", "not refuted")
    out.print(f"{verdict} after {document['runs']:,} trainings{planted}", style=style)
    out.print(
        "An audit can refute a claim and never proves one: that is the closed form's part. A sound mechanism is refuted"
        f" in at most one of {1 / float(document['false_alarm_at_most']):.0f} audits.",
        style="dim",
    )
