"""`python -m benchmarks`: run the subjects, print their tables, and keep the figures in benchmarks/results."""

from __future__ import annotations

import importlib
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import Progress as Bar
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks import results
from benchmarks.measure import Skipped

SUBJECTS: Final = (
    "contribution",
    "noise",
    "rounds",
    "many_sites",
    "fleet",
    "verification",
    "ledger",
    "ingest",
    "xapi",
    "audit",
    "measures",
)
MINUTES: Final = ("utility", "school")
"""Subjects that take minutes and want data of their own: run only when asked for."""


def main(
    utility: Annotated[bool, typer.Option("--utility", help="Also measure utility on real data: minutes.")] = False,
    only: Annotated[str, typer.Option(help=f"One of {', '.join((*SUBJECTS, *MINUTES))}.")] = "",
    quick: Annotated[bool, typer.Option("--quick", help="Few repetitions, small sizes; no results are kept.")] = False,
) -> None:
    """Measure Kith beside its peers."""
    if only and only not in (*SUBJECTS, *MINUTES):
        raise typer.BadParameter(
            f"expected one of {', '.join((*SUBJECTS, *MINUTES))}, got {only!r}", param_hint="--only"
        )
    names = [only] if only else [*SUBJECTS, *(MINUTES if utility else [])]
    code = results.code()
    notes = Console(stderr=True)
    tables = Console(width=None if Console().is_terminal else 160)
    for name in names:
        columns = (SpinnerColumn(), TextColumn("[bold]{task.description}"), TextColumn("{task.fields[doing]}"))
        with Bar(*columns, TimeElapsedColumn(), console=notes, transient=True, refresh_per_second=2) as bar:
            task = bar.add_task(name, total=None, doing="")
            try:
                report = importlib.import_module(f"benchmarks.{name}").run(
                    quick, lambda doing, bar=bar, task=task: bar.update(task, doing=doing)
                )
            except Skipped as reason:
                notes.print(f"{name}: skipped: {reason}")
                continue
        results.show(tables, report)
        if not quick:
            results.keep(name, report, code)


typer.run(main)
