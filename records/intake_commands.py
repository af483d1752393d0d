"""`kith records`, from an empty folder to rows that may be used: init, ingest, quarantine, report."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from privacy.errors import InputError, Refused
from privacy.terminal import console
from records.command_parts import Folder, Json, day_of, now, opened, tell, tell_rows

app = typer.Typer()


@app.command()
def init(
    folder: Folder,
    site: Annotated[str, typer.Option(help="The site, as in the group's contract.")],
    database: Annotated[
        str | None, typer.Option(help="SQLAlchemy URL, or env:NAME; a SQLite file in the folder if none.")
    ] = None,
    vault: Annotated[
        str | None, typer.Option(help="The vault's, another one; a SQLite file in the folder if none.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a records folder: keys, an empty store, and an empty vault for protected traits."""
    from records.store import AUDITOR_KEY, create_store

    create_store(folder, site, database, vault).close()
    document = {"folder": str(folder), "site": site, "auditor_key": str(folder / AUDITOR_KEY)}
    tell(document, as_json, {**document, "next": f"give {AUDITOR_KEY} to the auditor and keep no copy here"})


@app.command()
def ingest(
    folder: Folder,
    mapping: Annotated[str, typer.Argument(help="A mapping file, or the name of one that comes with Kith.")],
    source: Annotated[Path | None, typer.Argument(help="The export: a file or a folder; none for SQL.")] = None,
    as_of: Annotated[
        str | None, typer.Option(metavar="YYYY-MM-DD", help="The day whose state the export shows; today if none.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Take an export in. What does not fit is quarantined with its reason; the same export twice changes nothing."""
    from rich.console import Console

    from records.intake import ingest_file, unknown_columns
    from records.mapping import load_mapping

    day = _past(as_of)
    with opened(folder) as (store, registry), Console(stderr=True).status("taking in"):
        loaded = load_mapping(mapping, registry)
        columns = unknown_columns(loaded, source)
        found = ingest_file(store, registry, loaded, source, day, now())
    document = found.to_document()
    not_read = [{"column": column.name, "prohibited": column.prohibited} for column in columns]
    shown = {"nothing changed": f"came before, as batch {found.batch}"} if found.already else document
    shown |= {"not read": [f"{one.name}{f': {one.prohibited}' if one.prohibited else ''}" for one in columns]}
    tell({**document, "not_read": not_read}, as_json, shown)


@app.command()
def quarantine(folder: Folder, as_json: Json = False) -> None:
    """List what did not get in: source, reason and how often, with the first rows, counted from 1."""
    from records.quarantine import held

    with opened(folder) as (store, _):
        rows = [line.to_document() for line in held(store)]
    tell_rows(rows, ("source", "connector", "column", "reason", "rows", "places"), as_json)


@app.command()
def report(
    folder: Folder,
    contract: Annotated[Path, typer.Option(help="The group's contract for the use case.")],
    html: Annotated[Path | None, typer.Option(help="Also write a page with plots there.")] = None,
    as_json: Json = False,
) -> None:
    """What the records are worth for a use case, source by source: exit 0 unless the verdict is to refuse."""
    from records.contract import load_contract
    from records.readiness import REFUSED
    from records.report import report_on
    from records.report_page import write_page
    from records.report_tables import tables

    with opened(folder) as (store, registry):
        found = report_on(store, registry, load_contract(contract), now())
    if html is not None:
        write_page(found, html)
    if as_json:
        print(json.dumps(found.to_document(), indent=2))
    else:
        for table in tables(found):
            console().print(table)
    if found.verdict == REFUSED:
        raise Refused(f"{found.site}: {'; '.join(found.refusals)}")


def _past(text: str | None) -> date | None:
    """The day, if it is not to come."""
    day = None if text is None else day_of(text, "--as-of")
    if day is not None and day > now().date():
        raise InputError(f"--as-of: expected a day up to today, got {day}")
    return day
