"""The command line, and nothing else: one Typer app made of the packages' own commands."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

# Nothing that Kith starts reports to anybody. Set before any library is imported; child processes inherit it.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")

import typer

from federation import commands as federation_commands
from federation import fleet_commands, guard_commands, run_commands
from models import commands as models_commands
from privacy import commands as privacy_commands
from privacy.errors import KithError
from privacy.terminal import console
from records import commands as records_commands
from serving import commands as serving_commands

if TYPE_CHECKING:
    from federation.demonstration import Demonstrated

app = typer.Typer(
    help="Federated personalization for a group of companies, with a privacy cost that an officer can check.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for commands in (
    records_commands,
    models_commands,
    federation_commands,
    guard_commands,
    fleet_commands,
    run_commands,
    privacy_commands,
    serving_commands,
):
    app.add_typer(commands.app)


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="Do all of it, stop the service, and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="TCP port; 3000, or any free one with --once.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the made-up people.")] = 7,
    runs: Annotated[Path, typer.Option(help="Where the run's folder is made.")] = Path("runs"),
) -> None:
    """The whole story on a made-up group: take exports in, train privately, certify, verify, serve, decide."""
    from rich.console import Console

    from federation.run_options import new_run_id
    from serving.launch import DEFAULT_HOST, DEFAULT_PORT, free_port, started

    wanted = port or (0 if once else DEFAULT_PORT)
    free_port(DEFAULT_HOST, wanted)  # asked before the training, which takes its time; `started` asks again
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the service is stopped with it
    run = new_run_id("demo")
    with Console(stderr=True).status("starting") as status:
        from federation.demonstration import demonstrate
        from privacy.verify import verify_release
        from serving import walkthrough

        told = demonstrate(runs / run, run, seed, lambda what, done, steps: status.update(f"{what}, {done} of {steps}"))
        status.update("verifying")
        verdict = verify_release(told.release, told.keys)
        if verdict.failed is not None:
            raise KithError(f"check {verdict.failed.number} ({verdict.failed.name}): {verdict.failed.detail}")
        status.update("starting the service")
        state = told.folder / "serving"
        state.mkdir(mode=0o700)
        holders = walkthrough.credentials(state, told.person["site"])
        service = started([told.release], port=wanted, pinned=told.keys, records=told.records, state=state)
        with service as url:
            answers = walkthrough.walk(url, holders, told.person) if once else {}
            status.stop()
            document = {**told.to_document(), "verified": verdict.to_document(), "service": {"url": url, **answers}}
            document["seconds"] = round(time.monotonic() - began, 1)
            body = told.folder / "request.json"
            body.write_text(json.dumps(told.person), encoding="utf-8")
            if as_json:
                print(json.dumps(document, indent=2), flush=True)
            else:
                _print_demonstration(told, document, walkthrough.curl_lines(url, holders, body))
            if not once:
                _wait_for_interrupt()


def main() -> None:
    """Run the command line; Kith's own errors end as one line on standard error with their exit status."""
    try:
        app()
    except KithError as error:
        print(f"kith: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Exception as error:
        if os.environ.get("KITH_TRACEBACK"):
            raise
        frame = traceback.extract_tb(error.__traceback__)[-1]  # its text may hold a person's value: not shown
        where = f"{Path(frame.filename).name}, line {frame.lineno}"
        print(f"kith: a fault of Kith's own: {type(error).__name__} in {where}; see KITH_TRACEBACK=1", file=sys.stderr)
        sys.exit(70)


def _print_demonstration(told: Demonstrated, document: dict[str, Any], lines: tuple[str, ...]) -> None:
    from rich.table import Table

    out = console()
    columns = (
        "site",
        "people",
        "no budget left",
        "mu²",
        "epsilon",
        "local",
        "federated",
        "personal",
        "pooled, no privacy",
    )
    out.print(_intake_table(told))
    table = Table(*columns, title="AUC on made-up people who are in no site's records")
    for site in told.sites:
        figures = (site.auc_local, site.auc_federated, site.auc_personal, site.auc_pooled_without_privacy)
        mu2 = f"{float(site.mu2):.5f}"
        table.add_row(
            site.site,
            f"{site.people:,}",
            f"{site.without_budget:,}",
            mu2,
            site.epsilon,
            *(f"{figure:.3f}" for figure in figures),
        )
    out.print(table)
    cost = told.certificate.cost
    out.print(
        "These figures, the head counts and who had no budget left were computed without noise. Only a demonstration on"
        " made-up people may show them uncharged.",
        style="yellow",
    )
    auc = next(one for one in told.measured if one.name == "auc")
    shown = f"{auc.value} ({auc.low} to {auc.high})" if auc.why is None else f"not measurable: {auc.why}"
    out.print(f"What the release itself says of the group's model, charged and with noise: AUC {shown}")
    out.print(
        f"epsilon = {cost.epsilon} at delta = {cost.delta} per employee (closed form; by {cost.second_accountant}:"
        f" {cost.epsilon_second}),"
        f" verified: kith verify {told.release} --keys {told.keys}"
    )
    service = document["service"]
    if "explanation" in service:
        explained = service["explanation"]
        out.print(f"recommendation {explained['id']}: {service['decision']['status']}. Why:")
        for term in explained["terms"][:5]:
            out.print(f"  {term['points']:+.2f}  {term['words']}", highlight=False)
    else:
        out.print("Try it:", style="bold")
        for line in lines:
            print(line)
    out.print(f"{document['seconds']} s in all", style="dim")


def _intake_table(told: Demonstrated) -> Any:
    from rich.table import Table

    table = Table("site", title="From exports to rows that may be used")
    for name in ("rows in exports", "facts", "quarantined", "usable people"):
        table.add_column(name, justify="right")
    table.add_column("left out")
    for site in told.intake:
        counts = (site.rows, site.facts, sum(site.quarantined.values()), site.people)
        left_out = ", ".join(f"{count} {reason}" for reason, count in site.left_out.items())
        table.add_row(site.site, *(f"{count:,}" for count in counts), left_out or "nobody")
    return table


def _wait_for_interrupt() -> None:
    print("serving until Ctrl-C", flush=True)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
