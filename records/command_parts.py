"""What the `kith records` commands share: a folder's store, whom a number names, and how an answer is printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from privacy.errors import InputError
from privacy.terminal import console

if TYPE_CHECKING:
    from records.registry import Registry
    from records.store import Store

Folder = Annotated[Path, typer.Argument(help="The site's records folder.")]
Employee = Annotated[
    str | None,
    typer.Option(help="An employee number; - reads it from standard input, where no process list shows it."),
]
Candidate = Annotated[str | None, typer.Option(help="A candidate's number instead; - likewise.")]
Unknown = Annotated[bool, typer.Option("--unknown", help="Also of somebody these records do not know.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
MAX_LINE: Final = 4_096


@contextmanager
def opened(folder: Path) -> Iterator[tuple[Store, Registry]]:
    """The store in a folder and the registry."""
    from records.registry import load_registry
    from records.store import open_store

    store = open_store(folder)
    try:
        yield store, load_registry()
    finally:
        store.close()


def subject_of(store: Store, employee: str | None, candidate: str | None) -> str:
    """The pseudonym of the one who is named, whether the records know them or not.

    Raises:
        InputError: if not exactly one is.
    """
    if (employee is None) == (candidate is None):
        raise InputError("--employee, --candidate: expected one of the two, got both or none")
    if employee is not None:
        return store.pseudonyms.person(said(employee, "--employee"))
    return store.pseudonyms.candidate(said(candidate or "", "--candidate"))


def said(text: str, option: str) -> str:
    """The text of an option, or the next line of standard input for "-".

    Raises:
        InputError: if there is none, or more than `MAX_LINE` characters.
    """
    where = "standard input" if text == "-" else option
    try:
        line = sys.stdin.readline(MAX_LINE + 1) if text == "-" else text
    except UnicodeDecodeError:
        raise InputError(f"{where}: expected UTF-8 text, got something else") from None
    if not line.strip() or len(line) > MAX_LINE:
        raise InputError(f"{where}: expected a text of at most {MAX_LINE} characters, got none or more")
    return line.strip()


def day_of(text: str, option: str) -> date:
    """The day that an option names.

    Raises:
        InputError: if it is none.
    """
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    if day is None or day.isoformat() != text:
        raise InputError(f"{option}: expected a day YYYY-MM-DD, got another text")
    return day


def now() -> datetime:
    """This moment."""
    return datetime.now(UTC)


def tell(document: Mapping[str, Any], as_json: bool, shown: Mapping[str, Any] | None = None) -> None:
    """Prints a document as JSON, or `shown` (else the document) as a table for people."""
    if as_json:
        print(json.dumps(document, indent=2))
        return
    from rich.table import Table
    from rich.text import Text

    table = Table("", "", show_header=False)
    for what, value in (document if shown is None else shown).items():
        for name, text in _lines(what, value):
            table.add_row(Text(name), Text(text))
    console().print(table)


def tell_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], as_json: bool) -> None:
    """Prints rows as JSON, or these columns of them as a table for people."""
    if as_json:
        print(json.dumps(list(rows), indent=2))
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(*(column.replace("_", " ") for column in columns))
    for row in rows:
        table.add_row(*(Text(words(row[column])) for column in columns))
    console().print(table if rows else "none")


def words(value: object) -> str:
    """A value for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,.15g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "–" if value is None or value == "" else str(value)


def _lines(what: str, value: object) -> list[tuple[str, str]]:
    name = what.replace("_", " ")
    if isinstance(value, Mapping):
        return [(name if n == 0 else "", f"{words(count)} × {of}") for n, (of, count) in enumerate(value.items())] or [
            (name, "–")
        ]
    if isinstance(value, list | tuple):
        return [(name if n == 0 else "", str(inner)) for n, inner in enumerate(value)] or [(name, "–")]
    return [(name, words(value))]
