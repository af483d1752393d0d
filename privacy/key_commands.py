"""`kith keys`: what the holders of a group's root keys run, offline if they like, and how a site takes a new list over.

Private keys are named by URI, read where they lie, and neither printed nor copied.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from privacy.errors import InputError
from privacy.terminal import console

if TYPE_CHECKING:
    from privacy.key_folder import Progress
    from privacy.key_list import KeyList

app = typer.Typer()
keys = typer.Typer(help="A group's key list: who signs with what, and who decided so.", no_args_is_help=True)
app.add_typer(keys, name="keys")

_LEAST_PREFIX: Final = 8
_STYLES: Final = {"active": "green", "retired": "yellow", "revoked": "bold red"}

Folder = Annotated[Path, typer.Argument(help="The folder with keys.json.")]
Roots = Annotated[list[str], typer.Option("--root", help="URI of a root key that signs: file:PATH. Repeat for more.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@keys.command()
def show(
    place: Annotated[Path, typer.Argument(help="A key list, or the folder with keys.json.")],
    pinned: Annotated[Path | None, typer.Option(help="roots.json or keys.json that you got by another way.")] = None,
    as_json: Json = False,
) -> None:
    """Show a key list and who signed it. With --pinned, exit 1 unless that vouches for it."""
    from privacy import key_folder, key_list
    from privacy.trust_roots import PinnedKeys

    path = place / key_folder.KEYS_FILE if place.is_dir() else place
    listed = key_list.proposed(key_folder.read_bytes(path), f"keys {path}")
    signed = listed.signed_by(listed.roots)
    if pinned is not None:
        PinnedKeys.read(pinned).check(listed, f"keys {path}")
    document = _document(listed, signed) | {"pinned": pinned is not None}
    if as_json:
        print(json.dumps(document, indent=2))
    else:
        _print(document)


@keys.command()
def new(path: Annotated[Path, typer.Argument(help="Where the new file is made.")], as_json: Json = False) -> None:
    """Make a key pair. The private half stays in the file, which only its owner may read."""
    from privacy import fields, signing

    signer = signing.create_key(path)
    public = {"keyid": signer.keyid, "public": fields.to_base64(signer.public)}
    print(json.dumps(public, indent=2) if as_json else f"public key {public['public']}\nkey id     {public['keyid']}")


@keys.command()
def rotate(
    folder: Folder,
    party: Annotated[str, typer.Option(help="coordinator, or site/NAME; a new name is enrolled.")],
    public: Annotated[str, typer.Option(help="Its new public key, as `kith keys new` prints it.")],
    root: Roots,
    as_json: Json = False,
) -> None:
    """Give a party a new active key; the one before is retired, and what it signed still stands."""
    from privacy import fields, key_folder, key_list

    current = key_folder.in_force(folder)
    listed = key_list.rotated(current, party, fields.from_base64(public, "--public"), int(time.time()))
    _report(current, key_folder.propose(folder, listed, *_signers(root)), as_json)


@keys.command()
def revoke(
    folder: Folder,
    key: Annotated[str, typer.Option(help=f"The key's id, or its first {_LEAST_PREFIX} digits or more.")],
    root: Roots,
    as_json: Json = False,
) -> None:
    """Revoke a key that got into other hands: what it signed counts no more, for whoever pins the new list."""
    from privacy import key_folder, key_list

    current = key_folder.in_force(folder)
    found = [one.keyid for one in current.keys if one.keyid.startswith(key)] if len(key) >= _LEAST_PREFIX else []
    if len(found) != 1:
        raise InputError(f"--key: expected {_LEAST_PREFIX} digits or more of one key's id, got {key[:64]!r}")
    listed = key_list.revoked(current, found[0], int(time.time()))
    _report(current, key_folder.propose(folder, listed, *_signers(root)), as_json)


@keys.command()
def roots(
    folder: Folder,
    public: Annotated[list[str], typer.Option(help="A root's public key. Repeat: these are all roots from then on.")],
    threshold: Annotated[int, typer.Option(min=1, help="How many of them must sign a list.")],
    root: Roots,
    as_json: Json = False,
) -> None:
    """Replace the root keys. The roots before and the new ones must sign, each up to their threshold."""
    from privacy import fields, key_folder, key_list

    current = key_folder.in_force(folder)
    raw = [fields.from_base64(one, "--public") for one in public]
    listed = key_list.with_roots(current, raw, threshold, int(time.time()))
    _report(current, key_folder.propose(folder, listed, *_signers(root)), as_json)


@keys.command()
def sign(folder: Folder, root: Roots, as_json: Json = False) -> None:
    """Sign the list that waits in keys.proposed.json; it takes effect with the last signature that it needs."""
    from privacy import key_folder

    current = key_folder.in_force(folder)
    _report(current, key_folder.sign(folder, *_signers(root)), as_json)


@keys.command()
def adopt(
    folder: Folder,
    file: Annotated[Path, typer.Argument(help="The next list, signed by the roots of the one in the folder.")],
    as_json: Json = False,
) -> None:
    """Take the next list over, at a site or wherever a list is held."""
    from privacy import key_folder

    current = key_folder.in_force(folder)
    listed = key_folder.adopt(folder, key_folder.read_bytes(file), f"keys {file}")
    changes = _changes(current, listed)
    if as_json:
        print(json.dumps({"number": listed.number, "digest": listed.digest, "changes": changes}, indent=2))
    else:
        print("\n".join([f"list {listed.number} is in force", *changes]))


def _signers(uris: list[str]) -> list[Any]:
    from privacy.signing import signer_from_uri

    return [signer_from_uri(uri) for uri in uris]


def _report(current: KeyList, progress: Progress, as_json: bool) -> None:
    listed, (own, before) = progress.listed, progress.missing
    changes = _changes(current, listed)
    if as_json:
        document = {
            "number": listed.number,
            "digest": listed.digest,
            "file": str(progress.file),
            "in_force": progress.in_force,
            "missing": {"own_roots": own, "roots_before": before},
            "changes": changes,
        }
        print(json.dumps(document, indent=2))
        return
    state = (
        "is in force" if progress.in_force else f"waits in {progress.file} for {max(own, before)} signatures or more"
    )
    print("\n".join([f"list {listed.number} {state}", *changes]))


def _changes(older: KeyList, newer: KeyList) -> list[str]:
    """What an officer signs, in words."""
    before = {one.public: one.status for one in older.keys}
    told = [
        f"{one.party}: key {one.keyid} is {one.status}, was {before.get(one.public, 'not in the list')}"
        for one in newer.keys
        if before.get(one.public) != one.status
    ]
    if (older.roots, older.threshold) != (newer.roots, newer.threshold):
        told.append(
            f"roots: {newer.threshold} of {', '.join(newer.roots)}; was {older.threshold} of {len(older.roots)}"
        )
    return told


def _document(listed: KeyList, signed: tuple[str, ...]) -> dict[str, Any]:
    from privacy import checkpoint, fields, signing
    from privacy.party_names import site_of

    rows = []
    for one in listed.keys:
        row: dict[str, Any] = {"party": one.party, "keyid": one.keyid, "public": one.public}
        row |= {"status": one.status, "since": one.since}
        if site := site_of(one.party):
            origin, raw = checkpoint.origin_of(site), fields.from_base64(one.public, "key")
            row["ledger_key"] = checkpoint.verifier_key(origin, raw)
            row["witness_key"] = checkpoint.verifier_key(origin, raw, checkpoint.COSIGNATURE_KEY)
        rows.append(row)
    ids = {one: signing.keyid(fields.from_base64(one, "root")) for one in listed.roots}
    return {
        "group": listed.group,
        "number": listed.number,
        "digest": listed.digest,
        "issued_at": listed.issued_at,
        "threshold": listed.threshold,
        "roots": [{"keyid": keyid, "public": one, "signed": keyid in signed} for one, keyid in ids.items()],
        "signed": len(signed) >= listed.threshold,
        "keys": rows,
    }


def _print(document: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    signatures = sum(one["signed"] for one in document["roots"])
    title = f"list {document['number']} of {document['group']}: {signatures} of {document['threshold']} signatures"
    table = Table("party", "key id", "status", "since list", title=Text(title))
    for one in document["keys"]:
        status = Text(one["status"], style=_STYLES[one["status"]])
        table.add_row(Text(one["party"]), one["keyid"], status, str(one["since"]))
    console().print(table)
    for one in document["roots"]:
        print(f"root {one['keyid']} {'signed' if one['signed'] else 'did not sign'}")
