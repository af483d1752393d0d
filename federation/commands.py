"""`kith train`: a run over sites in this process."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Annotated

import typer

from privacy.errors import Refused

app = typer.Typer()


@app.command()
def train(
    group: Annotated[Path, typer.Option(help="The coordinator's folder: contract.toml, keys.json, coordinator.pem.")],
    site: Annotated[list[Path], typer.Option(help="A site's folder (site.toml and its keys); repeat.")],
    epsilon: Annotated[str, typer.Option(help="Budget of the run for each employee, at delta.")],
    delta: Annotated[str, typer.Option(help="Probability, well below one in the number of people.")],
    use_case: Annotated[str, typer.Option(help="The purpose.")] = "retention",
    trust: Annotated[str, typer.Option(help="local; secure-sum is not yet to be had.")] = "local",
    measure: Annotated[
        list[str] | None,
        typer.Option(help="Measure at the end, on the same budget: evaluation, head-count, fairness-TRAIT; repeat."),
    ] = None,
    audit: Annotated[
        Path | None, typer.Option(help="An audit of exactly this plan (kith audit --json), to go into the release.")
    ] = None,
    prior: Annotated[Path | None, typer.Option(help="The release that this one follows.")] = None,
    float64: Annotated[
        bool, typer.Option("--float64", help="Ask for floating-point noise: faster; the certificate says so.")
    ] = False,
    run: Annotated[str, typer.Option(help="The run's id; a new one if none.")] = "",
    runs: Annotated[Path, typer.Option(help="Where run folders are made.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train embedded: Flower apps and guards in this process. The release is in runs/<run id>/release."""
    from rich.console import Console

    from models.planning import check_trust
    from privacy.plan import decimal

    check_trust(trust)
    amounts = decimal(epsilon, "--epsilon"), decimal(delta, "--delta")
    name = run or new_run_id(use_case)
    with Console(stderr=True).status("starting") as status:

        def progress(what: str, done: int, steps: int) -> None:
            status.update(f"{what}, {done} of {steps}")

        from federation.embedded import run_embedded
        from federation.training_run import Settings

        settings = Settings(
            *(name, use_case, *amounts, trust),
            measures=tuple(measure or ()),
            float64=float64,
            audit=audit,
            prior=prior,
        )
        try:
            release = run_embedded(group, site, settings, runs / name, progress)
        except Refused as error:
            raise Refused(f"{error} (run {name}: go on with --run, or free it with kith budget release)") from None
    print(json.dumps({"run": name, "release": str(release)}) if as_json else f"release: {release}")


def new_run_id(use_case: str) -> str:
    """A fresh run id."""
    return f"{use_case}-{secrets.token_hex(4)}"
