"""`kith ledger`: proofs out of a site's ledger, and their check by somebody who has the keys and not the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from privacy.errors import InputError
from privacy.ledger_place import Place
from privacy.terminal import console

if TYPE_CHECKING:
    from privacy.checkpoint import Checkpoint
    from privacy.ledger import Ledger

app = typer.Typer()
ledger = typer.Typer(help="A site's append-only ledger: look at it, prove from it, check it.", no_args_is_help=True)
app.add_typer(ledger, name="ledger")

MOST_SHOWN: Final = 1_000
MOST_CHARACTERS: Final = 40
_SHORT: Final = 16
_SHOWN: Final = ("run", "event", "index", "use_case", "group", "mu2", "spent", "charge")
"""What a table says of an entry, in this order; --json says everything."""
_AMOUNTS: Final = ("mu2", "spent")

Key = Annotated[str | None, typer.Option(help="URI of the site's key, file:PATH; a site's folder has its own.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Out = Annotated[Path | None, typer.Option(help="Where to write it; else it is printed.")]


@ledger.command()
def show(
    place: Place,
    last: Annotated[int, typer.Option(min=0, max=MOST_SHOWN, help="How many entries to show, the latest.")] = 10,
    as_json: Json = False,
) -> None:
    """Show whose ledger it is, its head, and its latest entries."""
    from privacy import ledger_place

    with ledger_place.opened(place) as opened:
        head = opened.head()
        entries = list(_latest(opened, head.size, last))
        document = {
            "site": opened.site,
            "ledger": opened.id,
            **_head(head),
            "budget": opened.budget.to_document(),
            "entries": entries,
        }
    if as_json:
        print(json.dumps(document, indent=2))
        return
    print(f"{document['site']}: {head.size} entries, root {document['root']}\nledger {document['ledger']}")
    from rich.table import Table

    table = Table("", "entry", "", box=None)
    for entry in entries:
        told = [f"{name} {_words(name, entry[name])}" for name in _SHOWN if name in entry]
        table.add_row(str(entry["position"]), entry["kind"], ", ".join(told))
    console().print(table)


@ledger.command()
def checkpoint(place: Place, key: Key = None, out: Out = None, as_json: Json = False) -> None:
    """Sign the ledger's head, a note to keep elsewhere: who holds it can tell later whether anything was taken back."""
    from privacy import ledger_place
    from privacy.signing import signer_from_uri

    with ledger_place.opened(place) as opened:
        note = opened.checkpoint(signer_from_uri(ledger_place.signing_key(place, key)))
    _deliver(note.encode("utf-8"), out, json.dumps({"checkpoint": note}, indent=2) if as_json else note)


@ledger.command()
def prove(
    place: Place,
    entry: Annotated[int | None, typer.Option(min=0, help="Prove that this entry is in the log.")] = None,
    since: Annotated[
        int | None, typer.Option(min=1, help="Prove that the log still begins as when it had so many.")
    ] = None,
    key: Key = None,
    out: Out = None,
) -> None:
    """Write a proof that `kith ledger check` verifies without the ledger. One of --entry and --since."""
    from privacy import ledger_place
    from privacy.checkpoint import read_unverified
    from privacy.ledger_proof import ConsistencyProof, InclusionProof, LedgerProof
    from privacy.signing import signer_from_uri

    if (entry is None) == (since is None):
        raise InputError("ledger prove: expected one of --entry and --since, got both or none")
    with ledger_place.opened(place) as opened:
        note = opened.checkpoint(signer_from_uri(ledger_place.signing_key(place, key)))
        size = read_unverified(note).size
        proof: LedgerProof
        if entry is not None:
            proof = InclusionProof(note, opened.inclusion(entry, size))
        else:
            proof = ConsistencyProof(note, since or 0, opened.consistency(since or 0, size))
    data = proof.to_bytes()
    _deliver(data, out, data.decode("utf-8"))


@ledger.command()
def check(
    proof: Annotated[Path, typer.Argument(help="What `kith ledger prove` wrote.")],
    keys: Annotated[Path, typer.Option(help="The group's key list (keys.json), which you got by another way.")],
    held: Annotated[Path | None, typer.Option(help="The note that you kept, for a proof made with --since.")] = None,
    as_json: Json = False,
) -> None:
    """Check a proof offline, without the ledger: exit 0 if it holds, 1 if not, 2 for unusable files."""
    from privacy import ledger_proof, party_names
    from privacy.entries import to_leaf
    from privacy.key_list import MAX_BYTES, open_key_list

    listed = open_key_list(_read(keys, MAX_BYTES), f"keys {keys}")
    note = None if held is None else _note(held)
    shown = ledger_proof.check(ledger_proof.read(_read(proof, ledger_proof.MAX_BYTES)), listed, note)
    document: dict[str, Any] = {"site": shown.site, **_head(shown.head), "group": listed.group}
    document["signed_by"] = {
        "party": party_names.site_party(shown.site),
        "keyid": shown.key.keyid,
        "status": shown.key.status,
    }
    if shown.entry is not None:
        document["entry"] = {"position": shown.entry[0], **json.loads(to_leaf(shown.entry[1]))}
    if shown.held is not None:
        document["held"] = _head(shown.held)
    if as_json:
        print(json.dumps(document, indent=2))
        return
    key = f"{shown.key.status} key {shown.key.keyid[:_SHORT]}"
    signed = f"of a log of {shown.head.size}, signed by {shown.site} with its {key}"
    if shown.entry is not None:
        print(f"holds: entry {shown.entry[0]} {signed}")
        print(json.dumps(document["entry"], indent=2))
    elif shown.held is not None:
        print(f"holds: the first {shown.held.size} entries are as in the held checkpoint, {signed}")


@ledger.command()
def verify(
    place: Place,
    held: Annotated[
        Path | None, typer.Option(help="A note that you kept: the ledger must still begin like it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Recompute a whole ledger from its entries: sums, tree, stored answers, balances. Exit 1 if anything differs."""
    from privacy import ledger_place
    from privacy.checkpoint import read_unverified

    # The note is the officer's own: what it commits to counts, and its signature was checked when it was kept.
    before = None if held is None else read_unverified(_note(held))
    from rich.console import Console

    with ledger_place.opened(place) as opened, Console(stderr=True).status("verifying") as status:
        site = opened.site
        head = opened.verify(before, lambda done, of: status.update(f"entry {done:,} of {of:,}"))
    document = {"site": site, **_head(head), "held": None if before is None else _head(before)}
    if as_json:
        print(json.dumps(document, indent=2))
        return
    like = f", and begins with the {before.size} of the held checkpoint" if before else ""
    print(f"{site}: {head.size} entries hold{like}; root {document['root']}")


def _latest(opened: Ledger, size: int, last: int) -> Iterator[dict[str, Any]]:
    for position in range(max(0, size - last), size):
        yield {"position": position, **json.loads(opened.inclusion(position, size).leaf)}


def _head(head: Checkpoint) -> dict[str, Any]:
    from privacy.fields import to_base64

    return {"origin": head.origin, "size": head.size, "root": to_base64(head.root)}


def _words(name: str, value: Any) -> str:
    if name in _AMOUNTS:
        return f"{float(value):.4g}"
    text = str(value)
    return text if len(text) <= MOST_CHARACTERS else f"{text[:_SHORT]}…"


def _deliver(data: bytes, out: Path | None, printed: str) -> None:
    """To the file, or to standard output as it is."""
    if out is None:
        print(printed, end="" if printed.endswith("\n") else "\n")
        return
    from privacy.atomic_files import replace_file

    replace_file(out, data, 0o644)
    print(f"written: {out}")


def _note(path: Path) -> str:
    from privacy.checkpoint import MAX_BYTES

    try:
        return _read(path, MAX_BYTES).decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path}: expected a checkpoint, got something else") from None


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a readable file, got {type(error).__name__}") from None
    if len(data) > most:
        raise InputError(f"{path}: expected at most {most} bytes, got more")
    return data
