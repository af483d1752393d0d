"""`kith budget show` and `release`: where a site's people stand, and what abandoned runs hold."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from privacy import decision_commands
from privacy.errors import InputError, Refused
from privacy.ledger_place import LEDGER, Place
from privacy.terminal import console

if TYPE_CHECKING:
    from fractions import Fraction

    from privacy.balance import PersonBalance
    from privacy.budget import Budget
    from privacy.ledger import Ledger
    from privacy.spending_picture import Spending
    from privacy.standing import Account, Standing

app = typer.Typer()
budget = typer.Typer(help="Where a site's people stand, and what its officers decide.", no_args_is_help=True)
budget.add_typer(decision_commands.app)
app.add_typer(budget, name="budget")

MAX_EMPLOYEE: Final = 1_000
MOST_DRAWN: Final = 200_000
"""Entries up to which the picture is drawn unasked: it reads them all, about ten seconds for so many."""

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@budget.command()
def show(
    places: Annotated[list[str] | None, typer.Argument(metavar="[LEDGER]...", help=LEDGER)] = None,
    employee: Annotated[
        str | None, typer.Option(help="One person's own balance, by employee key; - reads the key from standard input.")
    ] = None,
    site: Annotated[Path | None, typer.Option(help="With --employee: the site's folder, for its marks.")] = None,
    svg: Annotated[Path | None, typer.Option(help="Write the picture of spending over time to this SVG file.")] = None,
    as_json: Json = False,
) -> None:
    """Show what was charged and held, what the worst-off employee has left, and spending over time."""
    from privacy import ledger_place

    if (employee is None) != (site is None):
        raise InputError("budget show: expected --employee and --site together, got one of them")
    if employee is not None and site is not None:
        if places or svg:
            raise InputError("budget show: expected no ledgers and no --svg with --employee, got some")
        _show_person(employee, site, as_json)
        return
    if not places:
        raise InputError("budget show: expected at least one ledger, got none")
    from privacy.standing import Standing

    standings: list[Standing] = []
    pictures: list[Spending | None] = []
    for place in places:
        with ledger_place.opened(place) as opened:
            standings.append(Standing.of(opened))
            small = not as_json and opened.head().size <= MOST_DRAWN
            pictures.append(_picture(opened) if svg is not None or small else None)
    if svg is not None:
        from privacy.atomic_files import replace_file
        from privacy.spending_svg import svg as drawn

        replace_file(svg, drawn([one for one in pictures if one]).encode("utf-8"), 0o644)
    if as_json:
        print(json.dumps({"unit": "mu² per employee", "sites": [_document(one) for one in standings]}, indent=2))
        return
    from privacy.spending_picture import chart

    for standing, picture in zip(standings, pictures, strict=True):
        _print_standing(standing)
        console().print(chart(picture) if picture else f"more than {MOST_DRAWN:,} entries: --svg draws them")


@budget.command()
def release(
    place: Place,
    run: Annotated[str, typer.Option(help="Id of the run.")],
    as_json: Json = False,
) -> None:
    """Free what a run that will not go on still holds reserved. What it was charged stays charged; it ends for good."""
    from privacy import ledger_place
    from privacy.amounts import to_text
    from privacy.standing import Standing

    with ledger_place.opened(place) as opened:
        before = Standing.of(opened).whole.held
        try:
            opened.end(run)
        except Refused:
            raise InputError(f"--run: expected a run that reserved from this ledger, got {run!r:.60}") from None
        whole = Standing.of(opened).whole
    freed, left = to_text(before - whole.held), to_text(whole.left)
    if as_json:
        print(json.dumps({"run": run, "freed": freed, "left": left}, indent=2))
    else:
        print(f"freed {freed} mu² that run {run} held; left to the worst-off: {left} mu²")


# One site


def _picture(ledger: Ledger) -> Spending:
    """Decisions and charges as the picture takes them; of a run's charges in a row the last one at each moment."""
    from privacy.spending_picture import Limit, Point, Spending

    limits = tuple(Limit(at, one.period, one.label, float(one.cap)) for at, one in ledger.decisions())
    points: list[Point] = []
    for charge in ledger.spending():
        point = Point(charge.at, charge.period, float(charge.spent))
        if points and (points[-1].at, points[-1].period) == (point.at, point.period):
            points[-1] = point
        else:
            points.append(point)
    return Spending(ledger.site, limits, tuple(points))


def _document(standing: Standing) -> dict[str, Any]:
    from privacy.amounts import to_text

    limit = standing.budget
    return {
        "site": standing.site,
        "budget": limit.number,
        "period": limit.period,
        "label": limit.label,
        "delta": limit.delta,
        **_figures(standing.whole, limit.delta),
        "lifetime": to_text(standing.lifetime),
        "groups": {name: _figures(account, limit.delta) for name, account in standing.groups.items()},
        "open_runs": {run: to_text(held) for run, held in standing.open_runs.items()},
        "left_out": dict(standing.left_out),
        "officers": len(limit.officers),
    }


def _figures(account: Account, delta: str) -> dict[str, str]:
    from privacy.amounts import to_text
    from privacy.standing import epsilon_of

    return {
        "cap": to_text(account.cap),
        "charged": to_text(account.spent),
        "worst_off": to_text(account.worst_off),
        "held": to_text(account.held),
        "left": to_text(account.left),
        "epsilon_cap": epsilon_of(account.cap, delta),
        "epsilon_worst_off": epsilon_of(account.worst_off, delta),
    }


def _print_standing(standing: Standing) -> None:
    from rich.markup import escape
    from rich.table import Table

    from privacy.standing import epsilon_of

    limit = standing.budget
    out = console()
    out.print(
        f"[bold]{escape(standing.site)}[/], period {escape(limit.label)}: mu² per employee, ε at delta {limit.delta}",
        highlight=False,
    )
    table = Table()
    table.add_column("purposes", overflow="fold")
    for name in ("cap", "charged", "worst-off", "held", "left"):
        table.add_column(name, justify="right")
    accounts = {"all": standing.whole}
    if len(standing.groups) > 1 or any(one.cap != standing.whole.cap for one in standing.groups.values()):
        accounts |= {f"group {name}": account for name, account in standing.groups.items()}
    for name, account in accounts.items():
        shown = [account.cap, account.spent, account.worst_off, account.held, account.left]
        table.add_row(escape(name), *map(_short, shown))
        bounds = (account.cap, account.worst_off)
        cap, worst = (f"[dim]ε {_rounded(epsilon_of(one, limit.delta))}[/]" for one in bounds)
        table.add_row("", cap, "", worst, "", "")
    out.print(table)
    for run, held in standing.open_runs.items():
        left_out = standing.left_out.get(run, 0)
        without = f"; {left_out:,} people are not in it, as their budget does not hold it" if left_out else ""
        out.print(f"open: run {escape(run)} holds {_short(held)}{without}", highlight=False)
    if standing.lifetime != standing.whole.spent:
        out.print(f"over all periods: {_short(standing.lifetime)}", highlight=False)


# One person


def _show_person(employee: str, site: Path, as_json: bool) -> None:
    from privacy import ledger_place
    from privacy.marks import MarkKey

    key = _employee(employee)
    mark = MarkKey.read(site / ledger_place.MARKS_FILE).mark(key)
    with ledger_place.opened(str(site)) as opened:
        person, limit, name = opened.balance_of(mark), opened.budget, opened.site
    document = _person(person, limit, name)
    if as_json:
        print(json.dumps(document, indent=2))
        return
    from rich.markup import escape
    from rich.table import Table

    out = console()
    out.print(f"own balance at [bold]{escape(name)}[/], period {escape(limit.label)}: mu²", highlight=False)
    table = Table("purposes", "charged", "left")
    table.add_row("all", _short(person.spent), _short(person.left))
    for group, (spent, left) in person.groups.items():
        table.add_row(f"group {escape(group)}", _short(spent), _short(left))
    out.print(table)
    out.print(
        f"epsilon so far: {_rounded(document['epsilon'])} at delta {limit.delta}; held by open runs:"
        f" {_short(person.held)}; over all periods: {_short(person.lifetime)}",
        highlight=False,
    )
    out.print("Somebody who was never in a run, or never worked here, has the same empty balance.", style="dim")


def _person(person: PersonBalance, limit: Budget, site: str) -> dict[str, Any]:
    from privacy.amounts import to_text
    from privacy.standing import epsilon_of

    groups = {name: {"charged": to_text(spent), "left": to_text(left)} for name, (spent, left) in person.groups.items()}
    return {
        "site": site,
        "period": limit.period,
        "label": limit.label,
        "charged": to_text(person.spent),
        "held": to_text(person.held),
        "left": to_text(person.left),
        "epsilon": epsilon_of(person.spent, limit.delta),
        "delta": limit.delta,
        "groups": groups,
        "lifetime": to_text(person.lifetime),
    }


def _employee(employee: str) -> str:
    """The key given, or the one line on standard input."""
    if employee == "-":
        employee = sys.stdin.readline(MAX_EMPLOYEE + 2).rstrip("\r\n")
    if not 1 <= len(employee) <= MAX_EMPLOYEE:
        raise InputError(f"--employee: expected a key of 1 to {MAX_EMPLOYEE} characters, got otherwise")
    return employee


def _short(value: Fraction) -> str:
    return f"{float(value):.4g}"


def _rounded(text: str) -> str:
    return text if text.startswith(">") else f"{float(text):.3g}"
