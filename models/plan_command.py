"""`kith plan`: what a run would cost, leave and learn, before it is run. No record of anybody is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from privacy.errors import InputError, Refused
from privacy.terminal import console

if TYPE_CHECKING:
    from models.features import FeatureSpace
    from models.outlook import Outlook
    from privacy.plan import Plan
    from privacy.standing import Prospect
    from records.contract import Contract

app = typer.Typer()

CONTRACT_FILE: Final = "contract.toml"
MOST_RUNS: Final = 10_000

Progress = Callable[[str], None]


@app.command()
def plan(
    epsilon: Annotated[str, typer.Option(help="Budget of the run for each employee, at delta.")],
    delta: Annotated[str, typer.Option(help="Probability, well below one in the number of people.")],
    contract: Annotated[Path | None, typer.Option(help="The contract's TOML file.")] = None,
    group: Annotated[Path | None, typer.Option(help="Instead: the coordinator's folder, for its contract.")] = None,
    use_case: Annotated[str, typer.Option(help="The purpose; the contract's if none is given.")] = "",
    trust: Annotated[
        str, typer.Option(help="local: every site adds all of its noise; secure-sum: sites add up under masks.")
    ] = "local",
    rounds: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Gradient sums; the public rule's if none.")
    ] = None,
    measure: Annotated[
        list[str] | None, typer.Option(help="Measure to release besides, e.g. evaluation; repeat.")
    ] = None,
    people: Annotated[
        list[str] | None, typer.Option(metavar="SITE=N", help="A stated head count for the forecast, below the bound.")
    ] = None,
    ledger: Annotated[
        list[str] | None,
        typer.Option("--ledger", "--site", help="A site's folder or ledger, for a local view; repeat."),
    ] = None,
    runs_per_period: Annotated[int, typer.Option(min=1, max=MOST_RUNS, help="Such runs that a period is to hold.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what a run would cost each employee, whom it would leave out, and what can be expected to be learned.

    The forecast trains on made-up people by a public rule. Exit status 1 if nothing useful can be learned, or if a
    ledger would refuse the plan to everybody.
    """
    from rich.console import Console

    from privacy.accounting import mu_squared_for
    from privacy.plan import decimal

    amounts = decimal(epsilon, "--epsilon"), decimal(delta, "--delta")
    mu_squared_for(*amounts)
    agreed = _contract(contract, group)
    if use_case and use_case != agreed.purpose:
        raise InputError(f"--use-case: expected {agreed.purpose!r:.80}, the contract's, got {use_case!r:.60}")
    with Console(stderr=True).status("planning") as status:
        found = _outlook(
            agreed,
            amounts,
            trust,
            rounds,
            measure or (),
            _stated(people or ()),
            ledger or (),
            runs_per_period,
            status.update,
        )
    document = found.to_document()
    if as_json:
        print(json.dumps(document, indent=2))
    else:
        _print(document, agreed.unconfirmed)
    if found.reasons:
        raise Refused(f"plan: {'; '.join(found.reasons)}")


def _contract(contract: Path | None, group: Path | None) -> Contract:
    from records.contract import load_contract

    if (contract is None) == (group is None):
        raise InputError("plan: expected one of --contract and --group, got both or none")
    return load_contract(contract or Path(str(group)) / CONTRACT_FILE)


def _stated(pairs: Sequence[str]) -> dict[str, int]:
    """Head counts by site, from SITE=N."""
    stated: dict[str, int] = {}
    for pair in pairs:
        name, _, count = pair.rpartition("=")
        if not name or name in stated or not (count.isascii() and count.isdecimal()) or len(count) > 10:
            raise InputError(f"--people: expected SITE=N, each site once, got {pair!r:.80}")
        stated[name] = int(count)
    return stated


def _outlook(
    contract: Contract,
    asked: tuple[Decimal, Decimal],
    trust: str,
    rounds: int | None,
    measures: Sequence[str],
    stated: Mapping[str, int],
    ledgers: Sequence[str],
    runs: int,
    progress: Progress,
) -> Outlook:
    from models.features import FeatureSpace
    from privacy.cost import cost_of

    space = FeatureSpace.from_contract(contract)
    made = _plan(space, contract, asked, trust, rounds, measures)
    cost = cost_of(made)
    prospects = _prospects(made, ledgers)
    progress("forecast")
    import torch  # takes seconds

    from models.forecast import forecast, what_would_help
    from models.outlook import Outlook

    torch.set_num_threads(1)  # small matrices gain nothing from more

    cast = forecast(space, made, stated, progress)
    useful = cast.is_useful(cast.federated)
    help_ = None if useful else what_would_help(space, made, asked[0], stated, progress)
    counted = {site.name: stated.get(site.name, site.people_at_most) for site in made.sites}
    return Outlook(made, asked[0], cost, counted, runs, prospects, cast, help_)


def _plan(
    space: FeatureSpace,
    contract: Contract,
    asked: tuple[Decimal, Decimal],
    trust: str,
    rounds: int | None,
    measures: Sequence[str],
) -> Plan:
    """The plan of the public rule."""
    from models.planning import ROUNDS, plan_at_epsilon

    bounds = {site.name: site.people_at_most for site in contract.site.sites}
    return plan_at_epsilon(space, bounds, contract.purpose, *asked, trust, rounds or ROUNDS, measures)


def _prospects(plan: Plan, ledgers: Sequence[str]) -> dict[str, Prospect]:
    """What the plan meets in each ledger that is at hand, by site."""
    from privacy import amounts, ledger_place
    from privacy.standing import Standing

    prospects: dict[str, Prospect] = {}
    names = {site.name for site in plan.sites}
    for named in ledgers:
        with ledger_place.opened(named) as opened:
            standing = Standing.of(opened)
        if standing.site not in names or standing.site in prospects:
            raise InputError(
                f"ledger of {standing.site!r:.80}: expected one of each of the contract's sites, got another"
            )
        prospects[standing.site] = standing.prospect(amounts.total(plan), plan.use_case)
    return prospects


def _print(document: dict[str, Any], unconfirmed: Sequence[str]) -> None:
    from rich.markup import escape

    out = console()
    if unconfirmed:
        out.print(
            f"{len(unconfirmed)} bounds of the contract were taken from rows: epsilon does not cover them",
            style="yellow",
        )
    cost, period = document["cost"], document["per_period"]
    events = ", ".join(f"{event['name']} × {event['times']}" for event in document["events"])
    out.print(f"[bold]{escape(document['use_case'])}[/], {document['trust']}: {events}", highlight=False)
    out.print(_costs(cost))
    if period["runs"] > 1:
        out.print(
            f"{period['runs']} such runs a period, for who is in all of them: mu² {_short(period['mu2'])}, epsilon"
            f" {_short(period['epsilon'])} at delta {cost['delta']}"
        )
    accounts = {site["site"]: site["account"] for site in document["sites"] if site["account"]}
    if accounts:
        out.print(_accounts(accounts))
    for name, account in accounts.items():
        out.print(f"{escape(name)}: left out would be {escape(account['left_out'])}", highlight=False)
    out.print(_sites(document))
    out.print(_expected(document))
    for remark in document["remarks"]:
        out.print(escape(remark), style="dim", highlight=False)
    style = "green" if not document["reasons"] else "bold red"
    out.print(document["verdict"], style=style)


def _costs(cost: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(
        "",
        "mu²",
        "epsilon",
        title=f"cost to each employee of every site, at delta {cost['delta']}",
        title_justify="left",
    )
    table.add_row("somebody added or removed", _short(cost["mu2"]), _short(cost["epsilon"]))
    table.add_row("somebody replaced by another", "", _short(cost["epsilon_replace_one"]))
    table.add_row("somebody employed at two sites", "", _short(cost["epsilon_two_sites"]))
    return table


def _sites(document: dict[str, Any]) -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="what a site learns alone", title_justify="left")
    table.add_column("site", overflow="fold")
    for name in ("people at most", document["forecast"]["metric"]):
        table.add_column(name, justify="right")
    for site in document["sites"]:
        figure = f"{site['alone']:.3f}" if site["alone_useful"] else f"({site['alone']:.3f})"
        table.add_row(escape(site["site"]), f"{site['people_at_most']:,}", figure)
    return table


def _accounts(accounts: dict[str, Any]) -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="mu² of the worst-off employee, and how many such runs the cap holds", title_justify="left")
    table.add_column("site", overflow="fold")
    for name in ("now", "after", "cap", "runs", "still"):
        table.add_column(name, justify="right")
    for name, account in accounts.items():
        places = ("worst_off_before", "worst_off_after", "cap", "runs_held_by_cap", "runs_left_to_worst_off")
        table.add_row(escape(name), *(_short(str(account[place] or 0)) for place in places))
    return table


def _expected(document: dict[str, Any]) -> str:
    cast = document["forecast"]
    return (
        f"forecast, on made-up people: {cast['metric']} {cast['federated']:.3f} ± {cast['spread']:.3f} together, of"
        f" {cast['best']:.2f} that the best possible model has by construction, and {cast['without_privacy']:.3f}"
        f" without privacy; useful from {cast['useful_from']:.3f} on. In brackets: nothing useful."
    )


def _short(value: str) -> str:
    """Four significant digits of a decimal string; other words as they are."""
    try:
        return f"{float(value):.4g}"
    except ValueError:
        return value
