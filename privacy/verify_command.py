"""`kith verify`: what an officer runs to check a release, offline and without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from privacy.errors import VerificationFailed
from privacy.terminal import console

if TYPE_CHECKING:
    from rich.table import Table

    from privacy.verdict import Verdict

app = typer.Typer()

_STYLES: Final = {"pass": "green", "fail": "bold red", "not reached": "yellow", "not stated": "yellow"}


@app.command()
def verify(
    release: Annotated[Path, typer.Argument(help="The release's directory.")],
    keys: Annotated[
        Path | None, typer.Option(help="roots.json or keys.json that you got by another way; else the release's own.")
    ] = None,
    prior: Annotated[Path | None, typer.Option(help="The release before this one: did the ledgers go on?")] = None,
    contract: Annotated[Path | None, typer.Option(help="The group's contract.toml: is it the one?")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check a release offline: exit 0 if every numbered check passes, 1 if one fails, 2 for unusable arguments.

    First verdict and cost; then what the release answers to 14 questions after NIST SP 800-226; then the checks.
    """
    from privacy.verify import verify_release

    verdict = verify_release(release, keys, prior, contract)
    if as_json:
        print(json.dumps(verdict.to_document(), indent=2))
    else:
        _print(verdict)
    if verdict.failed is not None:
        raise VerificationFailed(f"check {verdict.failed.number} ({verdict.failed.name}): {verdict.failed.detail}")


def _print(verdict: Verdict) -> None:
    from rich.text import Text

    out = console()
    out.print(Text(verdict.line, style="bold green" if verdict.ok else "bold red"))
    out.print(Text(verdict.keys))
    asked = _table("What NIST SP 800-226 asks")
    for answer in verdict.answers:
        said = Text.assemble((answer.question, "bold"), "\n", answer.evidence)  # under each other: 80 columns are few
        asked.add_row(str(answer.number), Text(answer.state, style=_STYLES[answer.state]), said)
    out.print(asked)
    checks = _table("Checks")
    for number, name, state, detail in verdict.rows():
        checks.add_row(number, Text(state, style=_STYLES[state]), name, Text(detail))
    out.print(checks)


def _table(title: str) -> Table:
    from rich.table import Table

    table = Table(title=f"\n{title}", title_justify="left", title_style="bold", box=None, show_header=False)
    table.add_column(justify="right")
    table.add_column(no_wrap=True)
    return table
