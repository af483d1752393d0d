"""`kith records`: a site's records from exports to use, and everything that the people in them may ask for."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from privacy.errors import InputError, Refused
from privacy.terminal import console

if TYPE_CHECKING:
    from records.registry import Registry
    from records.store import Store

app = typer.Typer(help="A site's records: taken in, reported on, exported, corrected, erased.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="The site's records folder.")]
Employee = Annotated[
    str, typer.Option(help="An employee number; - reads it from standard input, where no process list shows it.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
_DAY: Final = "%Y-%m-%d"


@app.command()
def init(
    folder: Folder,
    site: Annotated[str, typer.Option(help="The site, as in the group's contract.")],
    database: Annotated[str | None, typer.Option(help="SQLAlchemy URL; a SQLite file in the folder if none.")] = None,
    vault: Annotated[str | None, typer.Option(help="The vault's URL; a SQLite file in the folder if none.")] = None,
    as_json: Json = False,
) -> None:
    """Make a records folder: keys, an empty store, and an empty vault for protected traits."""
    from records.store import create_store

    create_store(folder, site, database, vault).close()
    _tell({"folder": str(folder), "site": site}, as_json)


@app.command()
def ingest(
    folder: Folder,
    mapping: Annotated[str, typer.Argument(help="A mapping file, or the name of one that comes with Kith.")],
    source: Annotated[Path | None, typer.Argument(help="The export: a file or a folder; none for SQL.")] = None,
    as_of: Annotated[
        datetime | None, typer.Option(formats=[_DAY], help="The day whose state the export shows; today if none.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Take an export in. What does not fit is quarantined with its reason; the same export twice changes nothing."""
    from rich.console import Console

    from records.intake import ingest_file

    with _opened(folder) as (store, registry), Console(stderr=True).status(f"taking in {source or mapping}"):
        found = ingest_file(store, registry, mapping, source, as_of.date() if as_of else None, _now())
    _tell(found.to_document(), as_json)


@app.command()
def quarantine(folder: Folder, as_json: Json = False) -> None:
    """List what did not get in: source, reason and how often, with the first places."""
    from records.quarantine import held

    with _opened(folder) as (store, _):
        rows = [line.to_document() for line in held(store)]
    _tell_rows(rows, ("source", "column", "reason", "rows", "places"), as_json)


@app.command()
def report(
    folder: Folder,
    contract: Annotated[Path, typer.Option(help="The group's contract for the use case.")],
    html: Annotated[Path | None, typer.Option(help="Also write a page with plots there.")] = None,
    as_json: Json = False,
) -> None:
    """What the records are worth for a use case, source by source: exit 0 unless the verdict is to refuse."""
    from records.contract import load_contract
    from records.report import report_on
    from records.report_page import write_page
    from records.report_tables import tables

    with _opened(folder) as (store, registry):
        found = report_on(store, registry, load_contract(contract), _now())
    if html is not None:
        write_page(found, html)
    if as_json:
        print(json.dumps(found.to_document(), indent=2))
    else:
        for table in tables(found):
            console().print(table)
    if found.verdict == "refuse":
        raise Refused(f"{found.site}: {'; '.join(found.reasons)}")


@app.command()
def export(
    folder: Folder,
    employee: Employee,
    out: Annotated[Path, typer.Option(help="A new folder for everything.json and one CSV file per table.")],
    as_json: Json = False,
) -> None:
    """Write everything that is held about a person (GDPR Art. 15 and 20)."""
    from records.access import everything_about

    with _opened(folder) as (store, registry):
        dossier = everything_about(store, registry, _subject(store, employee), _now())
    files = dossier.write(out)
    _tell({"folder": str(out), "files": [path.name for path in files]}, as_json)


@app.command()
def correct(
    folder: Folder,
    employee: Employee,
    column: Annotated[str, typer.Option(help="As in the registry: table.column.")],
    value: Annotated[str, typer.Option(help="What is right; - reads it from standard input.")],
    item: Annotated[str, typer.Option(help="Which of several, as in the export.")] = "",
    valid_from: Annotated[
        datetime | None, typer.Option(formats=[_DAY], help="The version; the latest if none.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Correct a fact (GDPR Art. 16). No later export can undo it silently."""
    from records.access import correct as corrected

    with _opened(folder) as (store, registry):
        subject = _subject(store, employee)
        day = valid_from.date().isoformat() if valid_from else None
        corrected(store, registry, subject, column, item, day, _said(value), _now())
    _tell({"corrected": column}, as_json)


@app.command()
def erase(
    folder: Folder,
    employee: Employee,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Erase a person from the store and the vault (GDPR Art. 17). No later export brings them back."""
    from records.access import erase as erased

    with _opened(folder) as (store, _):
        subject = _subject(store, employee)
        if not yes:
            typer.confirm("Erase everything about this person?", abort=True, err=True)
        found = erased(store, subject, _now())
    _tell(found.to_document(), as_json)


@app.command()
def readmit(folder: Folder, employee: Employee, as_json: Json = False) -> None:
    """Let exports speak again of a person who was erased, after a new hire, say."""
    from records.access import readmit as readmitted

    with _opened(folder) as (store, _):
        readmitted(store, _subject(store, employee), _now())
    _tell({"readmitted": True}, as_json)


@app.command()
def say(
    folder: Folder,
    employee: Employee,
    purpose: Annotated[str, typer.Option(help="The purpose, as in the registry.")],
    state: Annotated[str, typer.Option(help="informed, given, withdrawn, objected or objection_withdrawn.")],
    locale: Annotated[str, typer.Option(help="The language in which it was said.")] = "en",
    as_json: Json = False,
) -> None:
    """Record that a person was informed, consented, withdrew or objected. It counts at the next read."""
    from records.consent import record
    from records.facts import Said
    from records.store import instant

    with _opened(folder) as (store, registry):
        now = _now()
        version = registry.purpose(purpose).notice_version
        event = Said(_subject(store, employee), purpose, state, version, locale, "command line", instant(now), 0)
        number = record(store, registry, event, now)
    _tell({"event": number}, as_json)


@app.command()
def basis(
    folder: Folder,
    employee: Employee,
    purpose: Annotated[str, typer.Option(help="The purpose, as in the registry.")],
    as_json: Json = False,
) -> None:
    """Whether a person's records may be used for a purpose now, and why."""
    from records.consent import may_use

    with _opened(folder) as (store, registry), store.reading() as connection:
        answer = may_use(connection, registry, _subject(store, employee), purpose, _now())
    _tell(answer.to_document(), as_json)


@app.command()
def expire(folder: Folder, as_json: Json = False) -> None:
    """Delete what is past its time, and prove that nothing past its time is left."""
    from records.retention import expire as expired

    with _opened(folder) as (store, registry):
        found = expired(store, registry, _now())
    _tell(found.to_document(), as_json)


@app.command()
def disagreements(folder: Folder, as_json: Json = False) -> None:
    """List where sources disagree about a person; that person's rows wait until HR has settled it."""
    from records.reconcile import open_items

    with _opened(folder) as (store, _):
        rows = [item.to_document() for item in open_items(store)]
    _tell_rows(rows, ("number", "subject", "column", "held", "came", "reason", "opened_at"), as_json)


@app.command()
def settle(
    folder: Folder,
    number: Annotated[int, typer.Argument(help="As `kith records disagreements` lists it.")],
    take: Annotated[str, typer.Option(help="held or came.")],
    by: Annotated[str, typer.Option(help="Who decides.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    as_json: Json = False,
) -> None:
    """Settle one disagreement."""
    from records.reconcile import settle as settled

    with _opened(folder) as (store, _):
        settled(store, number, take, by, reason, _now())
    _tell({"settled": number, "taken": take}, as_json)


@app.command()
def notice(
    purpose: Annotated[str | None, typer.Option(help="One purpose; every one if none.")] = None, as_json: Json = False
) -> None:
    """Print what employees are told, made from the registry (GDPR Art. 13)."""
    from records.notices import notice_document, notice_text
    from records.registry import load_registry

    registry = load_registry()
    names = [registry.purpose(purpose).name] if purpose else list(registry.purposes)
    if as_json:
        print(json.dumps([notice_document(registry, name) for name in names], indent=2))
    else:
        print("\n".join(notice_text(registry, name) for name in names))


@app.command()
def processing(as_json: Json = False) -> None:
    """Print the record of processing activities, made from the registry (GDPR Art. 30)."""
    from records.processing_record import processing_document, processing_markdown
    from records.registry import load_registry

    registry = load_registry()
    print(json.dumps(processing_document(registry), indent=2) if as_json else processing_markdown(registry))


@app.command(name="contract")
def contract_of(
    purpose: Annotated[str, typer.Option(help="The purpose, as in the registry.")],
    people: Annotated[list[str], typer.Option(help="SITE=N: a site and its public head-count bound; repeat.")],
    as_of: Annotated[datetime, typer.Option(formats=[_DAY], help="The day at which features are read.")],
    horizon: Annotated[int, typer.Option(min=1, max=60, help="Months after it in which the label is read.")] = 12,
) -> None:
    """Print the contract (TOML) that the registry gives for a purpose, to be shared by all sites."""
    from records.registry import load_registry
    from records.registry_contract import contract_text

    bounds = dict(_bound(text) for text in people)
    print(contract_text(load_registry(), purpose, bounds, as_of.date(), horizon), end="")


@app.command()
def check(folder: Folder, as_json: Json = False) -> None:
    """Verify the store's own log, entry by entry."""
    with _opened(folder) as (store, _), store.reading() as connection:
        entries = store.check_log(connection)
    _tell({"log_entries": entries, "intact": True}, as_json)


@contextmanager
def _opened(folder: Path) -> Iterator[tuple[Store, Registry]]:
    from records.registry import load_registry
    from records.store import open_store

    store = open_store(folder)
    try:
        yield store, load_registry()
    finally:
        store.close()


def _subject(store: Store, employee: str) -> str:
    return store.pseudonyms.person(_said(employee))


def _said(text: str) -> str:
    """The text, or a line of standard input for "-"."""
    said = sys.stdin.readline(4096).strip() if text == "-" else text.strip()
    if not said:
        raise InputError(f"{'standard input' if text == '-' else 'option'}: expected a text, got none")
    return said


def _bound(text: str) -> tuple[str, int]:
    site, _, count = text.rpartition("=")
    if not site or not (count.isascii() and count.isdigit()) or len(count) > 9:
        raise InputError(f"--people: expected SITE=N, got {text!r:.80}")
    return site, int(count)


def _now() -> datetime:
    return datetime.now(UTC)


def _tell(document: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(document, indent=2))
        return
    from rich.table import Table
    from rich.text import Text

    shown = Table("", "", show_header=False)
    for what, value in document.items():
        for name, text in _lines(what, value):
            shown.add_row(Text(name), Text(text))
    console().print(shown)


def _lines(what: str, value: object) -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        return [(f"{what}: {name}", str(inner)) for name, inner in value.items()]
    if isinstance(value, list | tuple):
        return [(what if n == 0 else "", str(inner)) for n, inner in enumerate(value)]
    return [(what, str(value))]


def _tell_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], as_json: bool) -> None:
    if as_json:
        print(json.dumps(list(rows), indent=2))
        return
    from rich.table import Table
    from rich.text import Text

    shown = Table(*columns)
    for row in rows:
        shown.add_row(*(Text(str(row[column])) for column in columns))
    console().print(shown if rows else "none")
