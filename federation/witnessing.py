"""A site as a witness of the other sites' ledgers: whoever replaces one by an older copy or a new one is found out.

Rules:
    1. A note counts only if the key list has its log's site, and that site's active key signed it.
    2. A note of a log that the site holds a checkpoint of must be proved to continue it; it is then held in its place.
       Of a log that is new to the site, it is held as it is.
    3. Two runs may end at once. So a note is not judged yet if no proof for the size that the site holds by now was
       asked for, and one older than the held is no fault if it is proved to be a prefix of that. Neither is cosigned:
       a cosignature says that nothing larger was seen. The run is closed again instead.
    4. Anything else is a log that shrank or forked. Both notes are kept; the site refuses, names the log, and takes
       part in no run until somebody there has looked into it (`WitnessBook.resolve`).
    5. A cosignature says that the site has seen this log grow to here: nothing about what is in it.
    6. A site holds its own ledger's head likewise, beside the ledger: one that was put back from a backup would give
       people back what they were charged since, and is refused before anything is charged or read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from federation import site_keys
from federation.site import Site
from federation.wire import Prove, Witness
from privacy import checkpoint, merkle
from privacy.checkpoint import Checkpoint, origin_of
from privacy.errors import InputError, Refused, VerificationFailed
from privacy.ledger import Ledger
from privacy.signing import Verifier, verifier
from privacy.witness import MAX_PROOF, WitnessBook

HASH: Final = 32
MAX_ASKED: Final = 10_000
"""Proofs in one request."""


@dataclass(frozen=True, slots=True)
class Span:
    """Two sizes of a site's ledger: now, and as another site holds it. The smaller is to be proved a prefix."""

    site: str
    now: int
    held: int


@dataclass(frozen=True, slots=True)
class Shown:
    """A signed note of a site's ledger, and proofs (hashes, one after another) by the size held.

    A proof of no hashes says that the site was asked and had none.
    """

    note: str
    proofs: Mapping[int, bytes]


def refuse_if_in_conflict(site: Site) -> None:
    """Return if no log is known to have shrunk or forked (rule 4).

    Raises:
        Refused: naming the logs.
    """
    if found := site.witnessed.conflicts():
        raise Refused(
            f"site {site.name!r}: the ledger {', '.join(sorted(found))[:200]} has shrunk or forked; the site takes part"
            " in no run until that is resolved there"
        )


def hold_own(site: Site, ledger: Ledger) -> None:
    """Hold the ledger's own head from now on, if it continues the one held (rule 6).

    Raises:
        Refused: if it does not; both notes are kept.
    """
    book, signer, origin = site.witnessed, site.signer, origin_of(site.name)
    held = book.held().get(origin)  # before the head, which is then no smaller, whoever else writes
    head = ledger.head()
    if head == held and origin not in book.conflicts():
        return
    since = held.size if held else 0
    proof = ledger.consistency(since, head.size) if 0 < since < head.size else ()
    try:
        book.accept(checkpoint.sign(head, signer), origin, verifier(signer.public), proof, since)
    except VerificationFailed:
        if origin in book.conflicts():  # else a later head is held already
            raise Refused(
                f"site {site.name!r}: its own ledger {origin} has shrunk or forked; it takes part in no run until that"
                " is resolved there"
            ) from None


def spans_of(request: Prove) -> tuple[Span, ...]:
    """The rows of a request.

    Raises:
        InputError: if its columns are not of one length.
    """
    return tuple(Span(*row) for row in _rows(request.logs, request.sizes, request.held))


def shown_of(request: Witness) -> tuple[Shown, ...]:
    """The notes of a request with their proofs.

    Raises:
        InputError: if its columns are not of one length, or a proof is of no note.
    """
    proofs: list[dict[int, bytes]] = [{} for _ in request.notes]
    for place, held, proof in _rows(request.places, request.held, request.proofs):
        if place >= len(proofs):
            raise InputError(f"witness, places: expected below {len(proofs)}, got {place}")
        proofs[place][held] = proof
    return tuple(Shown(note, of_note) for note, of_note in zip(request.notes, proofs, strict=True))


def prove(ledger: Ledger, spans: Sequence[Span]) -> tuple[bytes, ...]:
    """Proofs for this ledger's spans, in order; nothing for a size that it has not reached.

    Raises:
        InputError: for too many, or sizes that are no span.
    """
    asked = [span for span in spans if span.site == ledger.site]
    if len(asked) > MAX_ASKED or any(min(span.now, span.held) < 1 for span in asked):
        raise InputError(f"consistency: expected at most {MAX_ASKED} spans of sizes from 1 on, got otherwise")
    reached = ledger.head().size
    sizes = [(min(span.now, span.held), max(span.now, span.held)) for span in asked]
    return tuple(b"".join(ledger.consistency(*pair)) if pair[1] <= reached else b"" for pair in sizes)


def witness(site: Site, lists: Sequence[bytes], shown: Sequence[Shown], now: int) -> tuple[str, ...]:
    """The notes of other sites, in order: with this site's cosignature added, or as they came (rule 3).

    Args:
        site: the witness.
        lists: the group's key lists, as far back as the site may be behind; the one in force last.
        shown: notes of sites' ledgers; its own is passed over.
        now: UTC seconds, which the cosignatures state.

    Raises:
        Refused: if a log shrank or forked, now or before; all notes have been looked at by then.
        VerificationFailed: if the key list does not follow from the held one, or a note is not signed as it must be.
    """
    refuse_if_in_conflict(site)
    trusted = site_keys.accept(site, lists).trusted()
    verifiers = {origin_of(name): key for name, key in trusted.sites.items()}
    book, signer, own = site.witnessed, site.signer, origin_of(site.name)
    notes = []
    for one in shown:
        origin = one.note.partition("\n")[0]
        if origin not in verifiers:  # rule 1
            raise VerificationFailed(f"note: expected one of a site of the key list, got {origin[:80]!r}")
        if origin != own:
            grown = _take_in(book, one, origin, verifiers[origin])
            notes.append(checkpoint.cosign(one.note, own, signer, now) if grown else one.note)  # rule 5
    refuse_if_in_conflict(site)
    return tuple(notes)


def _take_in(book: WitnessBook, one: Shown, origin: str, verifier: Verifier) -> bool:
    """Whether the note is now the one held; if not, it is not to be judged now, or there is a conflict."""
    head = checkpoint.open_note(one.note, origin, verifier)  # rule 1
    held = book.held().get(origin)
    if held is not None and held.size != head.size and held.size not in one.proofs:  # rule 3
        return False
    proof = _hashes(one.proofs.get(held.size, b"") if held else b"")
    if held is not None and head.size < held.size and _is_prefix(head, held, proof):
        return False
    try:
        book.accept(one.note, origin, verifier, proof)  # rule 2
    except VerificationFailed:
        if origin in book.conflicts():  # rule 4
            return False
        raise
    return True


def _rows(*columns: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    if len({len(column) for column in columns}) != 1:
        raise InputError("request: expected columns of one length, got otherwise")
    return zip(*columns, strict=True)


def _hashes(proof: bytes) -> tuple[bytes, ...]:
    if len(proof) % HASH or len(proof) > MAX_PROOF * HASH:
        raise InputError(f"consistency proof: expected at most {MAX_PROOF} hashes of {HASH} bytes, got otherwise")
    return tuple(proof[at : at + HASH] for at in range(0, len(proof), HASH))


def _is_prefix(older: Checkpoint, newer: Checkpoint, proof: tuple[bytes, ...]) -> bool:
    try:
        merkle.verify_consistency(older.size, newer.size, proof, older.root, newer.root)
    except VerificationFailed:
        return False
    return older.size > 0
