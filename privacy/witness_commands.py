"""`kith witness`: what a site has seen of the others' ledgers, and how an officer ends a conflict about one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from privacy.terminal import console

app = typer.Typer()
witness = typer.Typer(help="What a site has seen of other sites' ledgers.", no_args_is_help=True)
app.add_typer(witness, name="witness")

Folder = Annotated[Path, typer.Argument(help="The site's `witnessed` folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@witness.command()
def show(folder: Folder, as_json: Json = False) -> None:
    """Show the last checkpoint held of each ledger, and both notes of any that shrank or forked."""
    from privacy.checkpoint import read_unverified
    from privacy.witness import WitnessBook

    book = WitnessBook(folder)
    held = [{"log": one.origin, "size": one.size, "root": one.root.hex()} for one in book.held().values()]
    conflicts: list[dict[str, Any]] = []
    for one in map(book.conflict, book.conflicts()):
        sizes = {"held_size": read_unverified(one.held).size, "shown_size": read_unverified(one.shown).size}
        conflicts.append({"log": one.origin, "kind": one.kind, **sizes, "held": one.held, "shown": one.shown})
    if as_json:
        print(json.dumps({"held": held, "conflicts": conflicts}, indent=2))
        return
    from rich.table import Table
    from rich.text import Text

    kinds = {one["log"]: one["kind"] for one in conflicts}
    table = Table("log", "entries", "root", "conflict")
    for row in held:
        kind = Text(kinds.get(row["log"], ""), style="bold red")
        table.add_row(Text(str(row["log"])), str(row["size"]), str(row["root"]), kind)
    console().print(table)
    for told in conflicts:
        print(f"\n{told['log']} {told['kind']}. Held:\n{told['held']}\nShown:\n{told['shown']}", end="")


@witness.command()
def resolve(
    folder: Folder,
    site: Annotated[str, typer.Argument(help="The site whose ledger it is.")],
    forget: Annotated[
        bool, typer.Option("--forget", help="Take that ledger's next checkpoint as a first one: it was made anew.")
    ] = False,
    as_json: Json = False,
) -> None:
    """End a conflict, once you know what happened. The evidence is kept in `resolved`."""
    from privacy.checkpoint import origin_of
    from privacy.errors import InputError
    from privacy.witness import WitnessBook

    book, log = WitnessBook(folder), origin_of(site)
    if log not in book.conflicts():
        raise InputError(f"{folder}: expected a ledger in conflict, got {site!r:.80}")
    book.resolve(log, forget)
    if as_json:
        print(json.dumps({"log": log, "forgotten": forget, "conflicts": list(book.conflicts())}, indent=2))
    else:
        print(f"{log}: " + ("its next checkpoint is taken as a first one" if forget else "it must extend what is held"))
