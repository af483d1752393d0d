"""`kith records`, what a site has to see to: disagreements between sources, what is past its time, and its own log."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from records.command_parts import Candidate, Employee, Folder, Json, now, opened, subject_of, tell, tell_rows, words

app = typer.Typer()

SHOWN_DIGITS: Final = 8
"""Of a subject, in a table for people; JSON has all of them."""


@app.command()
def disagreements(
    folder: Folder, employee: Employee = None, candidate: Candidate = None, as_json: Json = False
) -> None:
    """List where sources disagree about people, or about one of them; their rows wait until HR has settled it."""
    from records.reconcile import open_items
    from records.subjects import require_known

    with opened(folder) as (store, _):
        items = open_items(store)
        if employee is not None or candidate is not None:
            subject = subject_of(store, employee, candidate)
            with store.reading() as connection:
                require_known(store, connection, subject)
            items = [item for item in items if subject in (item.subject, item.candidate)]
    rows = [item.to_document() for item in items]
    if not as_json:
        rows = [{**row, "subject": f"{row['subject'][:SHOWN_DIGITS]}…"} for row in rows]
    tell_rows(rows, ("number", "subject", "column", "valid_from", "held", "came", "reason", "opened_at"), as_json)


@app.command()
def settle(
    folder: Folder,
    number: Annotated[int, typer.Argument(help="As `kith records disagreements` lists it.")],
    take: Annotated[str, typer.Option(help="held: what the store holds or the offer said; came: what came since.")],
    by: Annotated[str, typer.Option(help="Who decides: an account, not a name.")],
    reason: Annotated[str, typer.Option(help="Why, without the values themselves.")],
    as_json: Json = False,
) -> None:
    """Settle one disagreement; the log keeps who did and why."""
    from records import reconcile

    with opened(folder) as (store, _):
        reconcile.settle(store, number, take, by, reason, now())
    tell({"settled": number, "taken": take}, as_json)


@app.command()
def expire(folder: Folder, as_json: Json = False) -> None:
    """Delete what is past its time, and prove that nothing past its time is left."""
    from records import retention

    with opened(folder) as (store, registry):
        found = retention.expire(store, registry, now())
    left = f"{words(sum(found.left.values()))} by {words(len(found.left))} rules, counted anew"
    shown = {"emptied": found.emptied, "deleted": found.deleted, "past its time now": left, "log": found.log}
    tell(found.to_document(), as_json, shown)


@app.command()
def check(folder: Folder, as_json: Json = False) -> None:
    """Verify the store's own log, entry by entry."""
    with opened(folder) as (store, _), store.reading() as connection:
        entries = store.check_log(connection)
    tell({"log_entries": entries, "intact": True}, as_json)
