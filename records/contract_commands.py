"""`kith contract`: from a table to a contract that a person confirms, and a table held against it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from privacy.errors import Refused
from privacy.terminal import console

app = typer.Typer(help="What may be learned from a table.", no_args_is_help=True)


@app.command()
def draft(
    table: Annotated[Path, typer.Argument(help="CSV (also .gz), TSV or Parquet.")],
    label: Annotated[str, typer.Option(help="The column to predict.")],
    site: Annotated[str, typer.Option(help="The column that says where each row belongs.")],
    employee: Annotated[
        str | None, typer.Option(help="The employee key, if an employee may have several rows.")
    ] = None,
    drop: Annotated[str, typer.Option(help="Columns to leave out, separated by commas.")] = "",
    purpose: Annotated[str, typer.Option(help="The use case.")] = "retention",
) -> None:
    """Print a contract (TOML) for a table; `confirm = true` marks all that was taken from its rows."""
    from records.draft import draft_contract
    from records.table import read_table

    dropped = tuple(name.strip() for name in drop.split(",") if name.strip())
    print(draft_contract(read_table(table), label, site, employee, dropped, purpose), end="")


@app.command()
def check(
    contract: Annotated[Path, typer.Argument(help="The contract's TOML file.")],
    table: Annotated[Path, typer.Argument(help="CSV (also .gz), TSV or Parquet.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Hold a table against a contract and report how ready it is: exit 0 unless the verdict is to refuse it."""
    from records.contract import load_contract
    from records.readiness import check as readiness_of
    from records.table import read_table

    found = readiness_of(load_contract(contract), read_table(table))
    if as_json:
        print(json.dumps(found.to_document(), indent=2))
    else:
        from rich.table import Table
        from rich.text import Text

        shown = Table("", "", title=found.source, show_header=False)
        for what, value in found.render():
            shown.add_row(Text(what), Text(value))
        console().print(shown)
    if found.verdict == "refuse":
        raise Refused(f"{found.source}: {found.reasons[0]}")
