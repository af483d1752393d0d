"""`kith fleet`: a real Flower deployment, on this machine for a trial, or party by party."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privacy.errors import InputError, Refused

if TYPE_CHECKING:
    from federation.fleet.lifecycle import FleetStanding, Progress
    from federation.run_settings import Settings

app = typer.Typer()
fleet = typer.Typer(help="A real Flower deployment: keys, TLS, proxy, processes.", no_args_is_help=True)
app.add_typer(fleet, name="fleet")

Folder = Annotated[Path, typer.Argument(help="The fleet's folder, with group.toml.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@fleet.command()
def init(
    folder: Annotated[Path, typer.Argument(help="A new or empty folder.")],
    contract: Annotated[Path | None, typer.Option(help="The group's contract.")] = None,
    site: Annotated[
        list[str] | None, typer.Option(help="NAME=SOURCE: a site of the contract and its records or table; repeat.")
    ] = None,
    sample: Annotated[bool, typer.Option("--sample", help="A made-up group of five subsidiaries instead.")] = False,
    cap: Annotated[str, typer.Option(help="mu² that each site allows each of its people.")] = "1",
    delta: Annotated[str, typer.Option(help="Probability that goes with a site's budget.")] = "0.00001",
    host: Annotated[str, typer.Option(help="Where sites and operators reach the proxy.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65_000, help="The proxy's; the other ports follow it. 0: any free ones.")
    ] = 8443,
    deadline: Annotated[float, typer.Option(help="Seconds that an exchange with the sites may take.")] = 600.0,
    as_json: Json = False,
) -> None:
    """Make keys, certificates, sites, policies and deployment files; nothing that is there is written over."""
    from datetime import UTC, datetime

    from federation.fleet.making import Wanted, create_fleet
    from privacy.plan import decimal

    contract, sources = _sample(folder) if sample else (contract, _sources(site or []))
    if contract is None:
        raise InputError("fleet init: expected --contract and its sites, or --sample, got neither")
    amounts = decimal(cap, "--cap"), decimal(delta, "--delta")
    wanted = Wanted(contract, sources, *amounts, host=host, port=port, deadline=deadline)
    with _progress() as progress:
        progress("making keys and folders", 0, 1)
        made = create_fleet(folder, wanted, datetime.now(UTC))
    document = {
        "folder": str(made.root),
        "proxy": f"{made.host}:{made.port}",
        "sites": [one.name for one in made.sites],
    }
    print(json.dumps(document) if as_json else f"fleet of {len(made.sites)} sites in {folder}: kith fleet up {folder}")


@fleet.command()
def up(folder: Folder, as_json: Json = False) -> None:
    """Start what does not run of the fleet on this host, and wait until it is up."""
    from federation.fleet import lifecycle
    from federation.fleet.layout import Fleet

    with _progress() as progress:
        found = lifecycle.up(Fleet.read(folder), progress)
    _show(found, as_json)


@fleet.command()
def status(folder: Folder, as_json: Json = False) -> None:
    """Show each part: its process, whether it answers, whether its SuperNode is online. Exit 1 unless all are."""
    from federation.fleet import lifecycle
    from federation.fleet.layout import Fleet

    with _progress() as progress:
        progress("asking", 0, 1)
        found = lifecycle.standing(Fleet.read(folder))
    _show(found, as_json)
    raise typer.Exit(0 if found.whole else 1)


@fleet.command()
def down(folder: Folder, as_json: Json = False) -> None:
    """Stop the fleet's processes on this host, and nobody else's."""
    from federation.fleet import lifecycle
    from federation.fleet.layout import Fleet

    with _progress() as progress:
        ended = lifecycle.down(Fleet.read(folder), progress)
    print(json.dumps({"stopped": ended}) if as_json else f"stopped {ended} processes")


@fleet.command()
def run(
    context: typer.Context,
    folder: Folder,
    epsilon: Annotated[str, typer.Option(help="Budget of the run for each employee, at delta.")] = "",
    delta: Annotated[str, typer.Option(help="Probability, well below one in the number of people.")] = "",
    use_case: Annotated[str, typer.Option(help="The purpose.")] = "retention",
    trust: Annotated[str, typer.Option(help="local or secure-sum.")] = "secure-sum",
    rounds: Annotated[int, typer.Option(min=1, max=200, help="Gradient sums.")] = 12,
    measure: Annotated[
        list[str] | None,
        typer.Option(help="Measure at the end, on the same budget: evaluation, head-count, fairness-TRAIT; repeat."),
    ] = None,
    audit: Annotated[Path | None, typer.Option(help="An audit of exactly this plan, to go into the release.")] = None,
    prior: Annotated[Path | None, typer.Option(help="The release that this one follows.")] = None,
    float64: Annotated[
        bool, typer.Option("--float64", help="Ask for floating-point noise: faster; the certificate says so.")
    ] = False,
    run_id: Annotated[str, typer.Option("--run", help="The run's id; a new one if none.")] = "",
    resume: Annotated[str, typer.Option(help="Go on with this run from its last complete release.")] = "",
    detach: Annotated[bool, typer.Option("--detach", help="Submit it and do not wait for its end.")] = False,
    as_json: Json = False,
) -> None:
    """Run on the fleet and follow it to its end. The release is in coordinator/runs/<run id>/release."""
    from federation.fleet import running
    from federation.fleet.layout import Fleet
    from federation.run_options import new_run_id, settings_of
    from federation.run_settings import Settings
    from privacy.plan import decimal

    described = Fleet.read(folder)

    def new() -> Settings:
        return Settings(
            run=run_id or new_run_id(use_case),
            use_case=use_case,
            epsilon=decimal(epsilon, "--epsilon"),
            delta=decimal(delta, "--delta"),
            trust=trust,
            rounds=rounds,
            measures=tuple(measure or ()),
            float64=float64,
            audit=None if audit is None else audit.resolve(),
            prior=None if prior is None else prior.resolve(),
            deadline=described.deadline,
        )

    settings = settings_of(context, described.runs, resume, described.deadline, new)
    started = running.start(described, settings)
    document = {"run": settings.run, "flower_run": str(started.flower)}
    if detach:
        print(json.dumps(document) if as_json else f"run {settings.run} submitted")
        return
    try:
        release = running.follow(described, started)
    except KeyboardInterrupt:
        look = f"kith runs show {settings.run} --runs {described.runs}"
        raise Refused(f"run {settings.run}: no longer watched; it goes on ({look})") from None
    print(json.dumps({**document, "release": str(release)}) if as_json else f"release: {release}")


def _sources(given: list[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for one in given:
        name, equals, source = one.partition("=")
        if not equals or not name or not source or name in found:
            raise InputError(f"--site: expected NAME=SOURCE, each name once, got {one!r:.80}")
        if not Path(source).exists():
            raise InputError(f"--site {name!r:.80}: expected a records folder or a table, got none at {source!r:.200}")
        found[name] = Path(source)
    return found


def _sample(folder: Path) -> tuple[Path, dict[str, Path]]:
    """A made-up group's contract and tables, beside the fleet's folder."""
    from records.sample.group import write_sample_group

    place = folder.with_name(f"{folder.name}-sample")
    if place.exists():
        raise InputError(f"{place}: expected no folder there for a made-up group, got one")
    group = write_sample_group(place)
    return group.contract, {site.name: site.table for site in group.sites}


@contextmanager
def _progress() -> Iterator[Progress]:
    from rich.console import Console

    with Console(stderr=True).status("starting") as status:
        yield lambda what, done, steps: status.update(f"{what}, {done} of {steps}")


def _show(found: FleetStanding, as_json: bool) -> None:
    if as_json:
        print(json.dumps(found.to_document(), indent=2))
        return
    from rich.table import Table

    from privacy.terminal import console

    table = Table("part", "process", "state")
    for part in found.parts:
        table.add_row(part.name, str(part.pid or ""), "[green]up[/]" if part.up else "[bold red]down[/]")
    out = console()
    out.print(table)
    for name, state in (found.nodes or {}).items():
        out.print(f"SuperNode of {name}: {state}", style="green" if state == "online" else "bold red", highlight=False)
    if found.certificate_days is not None:
        out.print(f"the proxy's certificate holds for {found.certificate_days} days", style="dim")
