"""`kith budget decide`, `sign` and `apply`: how a ledger gets its next budget.

A decision is drafted and signed by one officer (`decide`), signed by a second one at another place (`sign`), and given
to the ledger (`apply`), which judges it. Nothing is decided by this program: it writes what officers sign, and shows
it to them in words.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privacy.errors import InputError
from privacy.ledger_place import Place

if TYPE_CHECKING:
    from privacy.budget import Budget, PurposeGroup

app = typer.Typer()

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Officer = Annotated[str, typer.Option(help="URI of the officer's key: file:PATH.")]


@app.command()
def decide(
    place: Place,
    reason: Annotated[str, typer.Option(help="Why: it stands in the ledger for good.")],
    key: Officer,
    out: Annotated[Path, typer.Option(help="Where the decision is written, for the second officer.")],
    cap: Annotated[str | None, typer.Option(help="Most mu² per employee and period; as before if none.")] = None,
    group: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=CAP:USE,...", help="Use cases that share a cap. Repeat: these replace all groups."),
    ] = None,
    next_period: Annotated[str | None, typer.Option(help="Label of a new period: what counts resets.")] = None,
    delta: Annotated[str | None, typer.Option(help="Where mu² is read as an epsilon; as before if none.")] = None,
    officer: Annotated[
        list[str] | None, typer.Option(help="Public key (base64) of an officer. Repeat: these replace all officers.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Draft the next budget of a ledger and sign it as the first officer; a second one signs it with `sign`."""
    from dataclasses import replace

    from privacy import ledger_place
    from privacy.budget import sign_decision
    from privacy.secret_files import write_new
    from privacy.signing import signer_from_uri

    with ledger_place.opened(place) as opened:
        current, ledger = opened.budget, opened.id
    changes: dict[str, Any] = {"number": current.number + 1, "reason": reason}
    if cap is not None:
        changes["cap"] = _plain(cap, "--cap")
    if delta is not None:
        changes["delta"] = _plain(delta, "--delta")
    if group:
        changes["groups"] = tuple(_group(one) for one in group)
    if officer:
        changes["officers"] = tuple(officer)
    if next_period is not None:
        changes |= {"period": current.period + 1, "label": next_period}
    new = replace(current, **changes)
    write_new(out, sign_decision(new, ledger, signer_from_uri(key)).decode("utf-8"), 0o644)
    _report(new, current, ledger, f"written: {out}; another officer signs it with kith budget sign", as_json)


@app.command()
def sign(
    file: Annotated[Path, typer.Argument(help="What `kith budget decide` wrote.")], key: Officer, as_json: Json = False
) -> None:
    """Sign a decision as a further officer, and show what is signed. The file then holds both signatures."""
    from privacy.atomic_files import replace_file
    from privacy.budget import add_signature, read_decision
    from privacy.signing import signer_from_uri

    data = _decision(file)
    read = read_decision(data)
    replace_file(file, add_signature(data, signer_from_uri(key)), 0o644)
    signed = f"signed by {len(read.keyids) + 1}: {file}; kith budget apply gives it to the ledger"
    _report(read.budget, None, read.ledger, signed, as_json)


@app.command()
def apply(
    place: Place,
    file: Annotated[Path, typer.Argument(help="A decision with the signatures of two officers.")],
    as_json: Json = False,
) -> None:
    """Give a decision to the ledger. It takes effect if two officers of the current budget signed it, else exit 1."""
    from privacy import ledger_place

    data = _decision(file)
    with ledger_place.opened(place) as opened:
        current, ledger = opened.budget, opened.id
        new = opened.decide(data)
    _report(new, current, ledger, f"budget {new.number} is in force", as_json)


def _report(new: Budget, current: Budget | None, ledger: str, done: str, as_json: bool) -> None:
    """What was decided: the whole budget, and against the current one, where that is known, what changes."""
    if as_json:
        print(json.dumps({"ledger": ledger, "budget": new.to_document()}, indent=2))
        return
    before = {} if current is None else _lines(current)
    print(f"budget {new.number} of ledger {ledger[:16]}")
    for name, value in _lines(new).items():
        was = before.get(name)
        print(f"  {name}: {value}" + (f" (was {was})" if was not in (None, value) else ""))
    print(done)


def _lines(shown: Budget) -> dict[str, str]:
    groups = "; ".join(f"{one.name} {one.cap} for {', '.join(one.use_cases)}" for one in shown.groups)
    return {
        "period": f"{shown.period}, {shown.label!r}",
        "cap": f"{shown.cap} mu², epsilon {_cap_epsilon(shown)} at delta {shown.delta}",
        "groups": groups,
        "officers": ", ".join(shown.officers) or "none: no budget can follow this one",
        "reason": shown.reason,
    }


def _cap_epsilon(shown: Budget) -> str:
    from privacy.amounts import from_text
    from privacy.standing import epsilon_of

    return f"{epsilon_of(from_text(shown.cap, 'budget cap'), shown.delta):.6}"


def _group(text: str) -> PurposeGroup:
    from privacy.budget import PurposeGroup

    name, equals, rest = text.partition("=")
    cap, colon, cases = rest.partition(":")
    if not (equals and colon and name and cases):
        raise InputError(f"--group: expected NAME=CAP:USE_CASE,..., got {text!r:.80}")
    return PurposeGroup(name, _plain(cap, "--group"), tuple(cases.split(",")))


def _plain(text: str, where: str) -> str:
    """An amount as ledgers write it: 0.50 and 5e-1 are 0.5."""
    from fractions import Fraction

    from privacy import amounts
    from privacy.plan import decimal

    return amounts.to_text(Fraction(decimal(text, where)))


def _decision(file: Path) -> bytes:
    from privacy.budget import MAX_DECISION

    try:
        with file.open("rb") as stream:
            return stream.read(MAX_DECISION + 1)
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: expected a readable decision, got {type(error).__name__}") from None
