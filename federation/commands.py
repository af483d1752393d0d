"""`kith train`: a run over sites in this process, or the rest of one that was cut off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from privacy.errors import Refused
from privacy.plan import decimal

app = typer.Typer()


@app.command()
def train(
    context: typer.Context,
    group: Annotated[Path, typer.Option(help="The coordinator's folder: contract.toml, keys.json, coordinator.pem.")],
    site: Annotated[list[Path], typer.Option(help="A site's folder (site.toml and its keys); repeat.")],
    epsilon: Annotated[str, typer.Option(help="Budget of the run for each employee, at delta.")] = "",
    delta: Annotated[str, typer.Option(help="Probability, well below one in the number of people.")] = "",
    use_case: Annotated[str, typer.Option(help="The purpose.")] = "retention",
    trust: Annotated[
        str, typer.Option(help="local: every site adds all the noise; secure-sum: sites add up under masks, share it.")
    ] = "local",
    rounds: Annotated[int, typer.Option(min=1, max=200, help="Gradient sums.")] = 12,
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
    resume: Annotated[
        str, typer.Option("--resume", help="Go on with this run, as it was begun, from its last complete release.")
    ] = "",
    deadline: Annotated[float, typer.Option(help="Seconds that one exchange with the sites may take.")] = 600.0,
    runs: Annotated[Path, typer.Option(help="Where run folders are made.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train embedded: Flower apps and guards in this process. The release is in runs/<run id>/release."""
    from federation import run_view
    from federation.run_options import new_run_id, settings_of
    from federation.run_settings import Settings

    def new() -> Settings:
        return Settings(
            run=run or new_run_id(use_case),
            use_case=use_case,
            epsilon=decimal(epsilon, "--epsilon"),
            delta=decimal(delta, "--delta"),
            trust=trust,
            rounds=rounds,
            measures=tuple(measure or ()),
            float64=float64,
            audit=audit,
            prior=prior,
            deadline=deadline,
        )

    settings = settings_of(context, runs, resume, deadline, new)
    out = runs / settings.run
    with run_view.live(out):
        from federation.embedded import run_embedded  # torch and Flower: seconds, with something to look at

        try:
            release = run_embedded(group, site, settings, out)
        except Refused as error:
            raise Refused(f"{error} (go on with --resume {settings.run})") from None
    print(json.dumps({"run": settings.run, "release": str(release)}) if as_json else f"release: {release}")
