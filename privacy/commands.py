"""`kith verify` and `kith budget`: what an officer runs, offline and without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from privacy.errors import InputError, Refused, VerificationFailed
from privacy.terminal import console

app = typer.Typer()
budget = typer.Typer(help="What a site's people have spent, and what runs hold.", no_args_is_help=True)
app.add_typer(budget, name="budget")

_STYLES = {"pass": "green", "fail": "bold red", "not reached": "yellow"}


@app.command()
def verify(
    release: Annotated[Path, typer.Argument(help="The release's directory.")],
    keys: Annotated[Path | None, typer.Option(help="Keys that you got by another way; else the release's own.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check a release offline: exit 0 if every numbered check passes, 1 if one fails, 2 for unusable arguments."""
    from privacy.verify import PINNED, SELF_ASSERTED, verify_release

    verdict = verify_release(release, keys)
    if as_json:
        print(json.dumps(verdict.to_document(), indent=2))
    else:
        _print_checks(verdict.rows())
        print(PINNED if keys else SELF_ASSERTED)
    if verdict.failed is not None:
        raise VerificationFailed(f"check {verdict.failed.number} ({verdict.failed.name}): {verdict.failed.detail}")


@budget.command()
def show(
    ledgers: Annotated[list[Path], typer.Argument(help="Ledger files (sites/*/ledger.sqlite).")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what the worst-off employee of each site has spent, holds reserved and has left, in mu²."""
    from privacy.amounts import to_text
    from privacy.ledger import Ledger

    balances: list[dict[str, Any]] = []
    for path in ledgers:
        ledger = Ledger.open(path)
        amounts = {"cap": ledger.cap, "spent": ledger.spent, "held": ledger.held, "left": ledger.left}
        open_runs = {run: to_text(held) for run, held in ledger.open_runs.items()}
        figures = {name: to_text(value) for name, value in amounts.items()}
        balances.append({"site": ledger.site, **figures, "open_runs": open_runs})
        ledger.close()
    if as_json:
        print(json.dumps({"unit": "mu² per employee", "sites": balances}, indent=2))
        return
    from rich.table import Table

    table = Table("site", "cap", "spent", "held", "left", "held by", title="mu² of the worst-off employee")
    for balance in balances:
        table.add_row(*(", ".join(value) if isinstance(value, dict) else value for value in balance.values()))
    console().print(table)


@budget.command()
def release(
    ledger: Annotated[Path, typer.Argument(help="Ledger file (sites/*/ledger.sqlite).")],
    run: Annotated[str, typer.Option(help="Id of the run.")],
) -> None:
    """Free what a run that will not go on still holds reserved. What it was charged stays charged; it ends for good."""
    from privacy.amounts import to_text
    from privacy.ledger import Ledger

    opened = Ledger.open(ledger)
    try:
        held = opened.held
        opened.end(run)
        freed, left = held - opened.held, opened.left
    except Refused:
        raise InputError(f"ledger {ledger}: expected a run that reserved from it, got {run!r:.60}") from None
    finally:
        opened.close()
    print(f"freed {to_text(freed)} mu² that run {run} held; left: {to_text(left)} mu²")


def _print_checks(rows: tuple[tuple[str, str, str, str], ...]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("", "check", "", "what was found")
    for number, name, state, detail in rows:
        table.add_row(number, name, Text(state, style=_STYLES[state]), Text(detail))
    console().print(table)
