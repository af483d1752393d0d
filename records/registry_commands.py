"""`kith records`, what the registry alone says: notices, the record of processing, the contract of a purpose."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from privacy.errors import InputError
from records.command_parts import Json, day_of

app = typer.Typer()


@app.command()
def notice(
    purpose: Annotated[
        str | None, typer.Option(help="One purpose; every one, and what is never held, if none.")
    ] = None,
    about: Annotated[str, typer.Option(help="employee or candidate: who reads it.")] = "employee",
    as_json: Json = False,
) -> None:
    """Print what people are told, made from the registry (GDPR Art. 13 and 14)."""
    from records import notices
    from records.registry import load_registry

    registry = load_registry()
    if purpose is None:
        document = notices.transparency_document(registry, about)
        text = notices.transparency_text(registry, about)
    else:
        document = notices.notice_document(registry, purpose, about)
        text = notices.notice_text(registry, purpose, about)
    print(json.dumps(document, indent=2) if as_json else text, end="\n" if as_json else "")


@app.command()
def processing(
    controller: Annotated[str | None, typer.Option(help="Name and contact details of the site.")] = None,
    officer: Annotated[str | None, typer.Option(help="Contact details of its data protection officer.")] = None,
    as_json: Json = False,
) -> None:
    """Print the record of processing activities, made from the registry (GDPR Art. 30)."""
    from records.processing_record import processing_document, processing_markdown
    from records.registry import load_registry

    if as_json:
        print(json.dumps(processing_document(load_registry(), controller, officer), indent=2))
    else:
        print(processing_markdown(load_registry(), controller, officer), end="")


@app.command()
def contract(
    purpose: Annotated[str, typer.Option(help="The purpose, as in the registry.")],
    people: Annotated[list[str], typer.Option(help="SITE=N: a site and its public head-count bound; repeat.")],
    as_of: Annotated[str, typer.Option(metavar="YYYY-MM-DD", help="The day at which features are read.")],
    horizon: Annotated[int, typer.Option(help="Months after it in which the label is read, 1 to 60.")] = 12,
    as_json: Json = False,
) -> None:
    """Print the contract (TOML) that the registry gives for a purpose, to be shared by all sites."""
    import tomllib

    from records.registry import load_registry
    from records.registry_contract import contract_text

    text = contract_text(load_registry(), purpose, _bounds(people), day_of(as_of, "--as-of"), horizon)
    print(json.dumps(tomllib.loads(text), indent=2, default=str) if as_json else text, end="\n" if as_json else "")


def _bounds(texts: list[str]) -> dict[str, int]:
    bounds: dict[str, int] = {}
    for text in texts:
        site, _, count = text.rpartition("=")
        if not site.strip() or site in bounds or not (count.isascii() and count.isdigit()) or len(count) > 9:
            raise InputError(f"--people: expected SITE=N, each site once, got {text!r:.80}")
        bounds[site] = int(count)
    return bounds
