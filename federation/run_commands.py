"""`kith runs list`, `show` and `metrics`: runs as their logs tell them, while they go on and after."""

from __future__ import annotations

import json
import signal
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privacy.errors import InputError
from privacy.terminal import console

if TYPE_CHECKING:
    from collections.abc import Mapping

    from federation.run_state import RunState

app = typer.Typer()
runs_app = typer.Typer(help="Runs: how they stand, live and afterwards.", no_args_is_help=True)
app.add_typer(runs_app, name="runs")

RunsFolder = Annotated[Path, typer.Option("--runs", help="Where run folders are made.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@runs_app.command("list")
def list_runs(runs: RunsFolder = Path("runs"), as_json: Json = False) -> None:
    """List the runs of a folder, the one that began last at the end."""
    from federation.run_folders import Runs

    states = Runs(runs).states()
    if as_json:
        print(json.dumps({"runs": [_line(name, state) for name, state in states.items()]}, indent=2))
    elif states:
        _print_table(states)
    else:
        print(f"no runs in {runs}")


@runs_app.command()
def show(
    run: Annotated[str, typer.Argument(help="The run's id.")],
    runs: RunsFolder = Path("runs"),
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until the run ends; exit 1 if it does badly.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show how a run stands: phase, sites, who is late or absent, budget and time left."""
    from federation.run_folders import Following, run_folder
    from federation.run_state import FINISHED
    from federation.run_view import view, watch

    folder = run_folder(runs, run)
    if follow and as_json:
        raise InputError("runs show: expected --follow or --json, got both")
    if follow:
        if watch(folder, console=console()).status != FINISHED:
            raise typer.Exit(1)
        return
    following = Following(folder)
    for _ in following.new():
        pass
    state = following.state()
    if as_json:
        print(json.dumps(state.to_document(), indent=2))
    else:
        console().print(view(state))


@runs_app.command()
def metrics(
    listen: Annotated[str, typer.Option(help="HOST:PORT to answer Prometheus at.")] = "127.0.0.1:9464",
    runs: RunsFolder = Path("runs"),
) -> None:
    """Serve the figures of a folder's runs to Prometheus until it is stopped."""
    from federation.metrics_server import host_and_port
    from federation.run_metrics import serve_runs

    place = host_and_port(listen, "--listen")
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    with serve_runs(runs, *place) as url:
        print(f"metrics of {runs} at {url}", flush=True)
        over.wait()


def _line(name: str, state: RunState) -> dict[str, object]:
    """What a list says of a run: its state without the sites."""
    document = state.to_document()
    absent = sum(bool(site.absences) for site in state.sites)
    leave = ("release_seconds", "sites")
    kept = {key: value for key, value in document.items() if key not in leave}
    return {**kept, "folder": name, "sites": len(state.sites), "sites_with_absences": absent}


def _print_table(states: Mapping[str, RunState]) -> None:
    from rich.table import Table
    from rich.text import Text

    from federation.run_view import COLOURS, span

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("run", "status", "purpose", "trust", "began (UTC)"):
        table.add_column(name, no_wrap=True)
    for name in ("took", "releases", "sites", "with absences"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, state in states.items():
        began = f"{datetime.fromtimestamp(state.began, UTC):%Y-%m-%d %H:%M:%S}" if state.began else "-"
        absent = sum(bool(site.absences) for site in state.sites)
        table.add_row(
            Text(name),
            Text(state.status, COLOURS[state.status]),
            Text(state.use_case),
            state.trust,
            *(began, span(state.elapsed), f"{state.done} of {state.releases}", str(len(state.sites)), str(absent)),
        )
    console().print(table)
