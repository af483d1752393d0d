"""`kith records`, what a person may ask for: everything held, a correction, a yes or no, an answer, an erasure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from records.command_parts import (
    Candidate,
    Employee,
    Folder,
    Json,
    Unknown,
    day_of,
    now,
    opened,
    said,
    subject_of,
    tell,
)

app = typer.Typer()

Purpose = Annotated[str, typer.Option(help="The purpose, as in the registry.")]


@app.command()
def export(
    folder: Folder,
    out: Annotated[Path, typer.Option(help="A new folder for everything.json and one CSV file per table.")],
    employee: Employee = None,
    candidate: Candidate = None,
    as_json: Json = False,
) -> None:
    """Write everything that is held about a person (GDPR Art. 15 and 20)."""
    from records.access import everything_about

    with opened(folder) as (store, registry):
        dossier = everything_about(store, registry, subject_of(store, employee, candidate), now())
    files = dossier.write(out)
    tell({"folder": str(out), "files": [path.name for path in files]}, as_json)


@app.command()
def correct(
    folder: Folder,
    column: Annotated[str, typer.Option(help="As in the registry: table.column.")],
    value: Annotated[str, typer.Option(help="What is right; - reads it from standard input, after the number.")],
    employee: Employee = None,
    candidate: Candidate = None,
    item: Annotated[str, typer.Option(help="Which of several, as in the export.")] = "",
    valid_from: Annotated[
        str | None, typer.Option(metavar="YYYY-MM-DD", help="The version, as in the export; the latest if none.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Correct a fact (GDPR Art. 16). No later export can undo it silently."""
    from records import access

    day = None if valid_from is None else day_of(valid_from, "--valid-from").isoformat()
    with opened(folder) as (store, registry):
        subject = subject_of(store, employee, candidate)
        access.correct(store, registry, subject, column, item, day, said(value, "--value"), now())
    tell({"corrected": column}, as_json)


@app.command()
def say(
    folder: Folder,
    purpose: Purpose,
    state: Annotated[str, typer.Option(help="informed, given, withdrawn, objected or objection_withdrawn.")],
    employee: Employee = None,
    candidate: Candidate = None,
    notice_version: Annotated[
        int | None, typer.Option(help="Of the notice that it is about; the newest if none.")
    ] = None,
    locale: Annotated[str, typer.Option(help="The language in which it was said.")] = "en",
    unknown: Unknown = False,
    as_json: Json = False,
) -> None:
    """Record that a person was informed, consented, withdrew or objected. It counts at the next read."""
    from records.consent import record
    from records.facts import Said
    from records.store import instant

    with opened(folder) as (store, registry):
        version = registry.purpose(purpose).notice_version if notice_version is None else notice_version
        at, subject = now(), subject_of(store, employee, candidate)
        event = Said(subject, purpose, state, version, locale, "command line", instant(at), 0)
        number = record(store, registry, event, at, unknown=unknown)
    tell({"event": number, "purpose": purpose, "state": state, "notice_version": version}, as_json)


@app.command()
def basis(
    folder: Folder, purpose: Purpose, employee: Employee = None, candidate: Candidate = None, as_json: Json = False
) -> None:
    """Whether a person's records may be used for a purpose now, and why, in words to that person."""
    from records.consent import may_use
    from records.subjects import require_known

    with opened(folder) as (store, registry), store.reading() as connection:
        subject = subject_of(store, employee, candidate)
        require_known(store, connection, subject)
        answer = may_use(connection, registry, subject, purpose, now())
    tell({"purpose": purpose, **answer.to_document()}, as_json)


@app.command()
def erase(
    folder: Folder,
    employee: Employee = None,
    candidate: Candidate = None,
    unknown: Unknown = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Erase a person from the store and the vault (GDPR Art. 17). No later export brings them back."""
    from records import access

    with opened(folder) as (store, _):
        subject = subject_of(store, employee, candidate)
        if not yes:
            typer.confirm("Erase everything about this person?", abort=True, err=True)
        found = access.erase(store, subject, now(), unknown=unknown)
    tell(found.to_document(), as_json)


@app.command()
def readmit(folder: Folder, employee: Employee = None, candidate: Candidate = None, as_json: Json = False) -> None:
    """Let exports speak again of a person who was erased, after a new hire, say."""
    from records import access

    with opened(folder) as (store, _):
        access.readmit(store, subject_of(store, employee, candidate), now())
    tell({"readmitted": True}, as_json)
