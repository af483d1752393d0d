"""A site as a witness of the other sites' ledgers: whoever replaces one by an older copy or a new one is found out.

Rules:
    1. A note counts only if the key list has its log's site, and that site's active key signed it.
    2. A note of a log that the site holds a checkpoint of must be proved to continue it; it is then held in its place.
       Of a log that is new to the site, it is held as it is.
    3. Two runs may end at once. So a note is not judged yet if its site was not asked about the head that this one
       holds by now, and one older than the held is no fault if it is proved to be a prefix of that. Neither is
       cosigned: a cosignature says that nothing larger was seen. The run is closed again instead.
    4. Anything else is a log that shrank or forked. Both notes are kept; the site refuses, names the log, and takes
       part in no run until somebody there has looked into it (`WitnessBook.resolve`).
    5. A cosignature says that the site has seen this log grow to here: nothing about what is in it.
    6. A site holds its own ledger's head likewise, beside the ledger: one that was put back from a backup would give
       people back what they were charged since, and is refused before anything is charged or read.
    7. What comes with a note counts only as its site's own signed statement, of this run and log
       (`privacy.consistency`). Anything else ends the run here before a note of it is held: whoever passes notes on can
       accuse nobody.
    8. A site says of its own log only what stays true of it: how a size that it has reached goes together with a head.
       Of a size that it has yet to reach it says nothing, or "no proof" could be shown once it has got there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from federation import site_keys
from federation.site import Site
from federation.wire import Prove, Witness
from privacy import checkpoint
from privacy.checkpoint import Checkpoint, origin_of
from privacy.consistency import MAX_CONTINUATIONS, Continuation, Statement, open_statement, sign_statement
from privacy.errors import InputError, Refused, VerificationFailed
from privacy.ledger import Ledger
from privacy.signing import Signer, Verifier, verifier
from privacy.witness import NotJudged, WitnessBook


@dataclass(frozen=True, slots=True)
class _Shown:
    """A note of another site's ledger, and what that site said of it."""

    note: str
    origin: str
    key: Verifier
    continuations: tuple[Continuation, ...]
    statement: bytes


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
    known = [_continuation(ledger, head.size, head.size, held)] if held else []
    try:
        book.accept(checkpoint.sign(head, signer), origin, verifier(signer.public), known)
    except VerificationFailed:
        if origin in book.conflicts():  # else a later head is held already
            raise Refused(
                f"site {site.name!r}: its own ledger {origin} has shrunk or forked; it takes part in no run until that"
                " is resolved there"
            ) from None


def heads_of_others(site: Site) -> tuple[str, ...]:
    """What the site holds of other sites' logs, in order of origin: as `Prove` asks about it."""
    held = site.witnessed.held()
    return tuple(head.to_text() for origin, head in held.items() if origin != origin_of(site.name))


def prove(ledger: Ledger, signer: Signer, asked: Prove) -> bytes:
    """The site's signed statement on the rows that are of its own log, in order.

    Raises:
        InputError: if columns are not of one length, a head is none, or there are too many; if a size is none that the
            log has reached (rule 8).
    """
    if len(asked.sizes) != len(asked.held):
        raise InputError("proofs: expected a size for each head, got otherwise")
    origin, reached = origin_of(ledger.site), ledger.head().size
    heads = map(Checkpoint.from_text, asked.held)
    own = [(size, held) for size, held in zip(asked.sizes, heads, strict=True) if held.origin == origin]
    if len(own) > MAX_CONTINUATIONS:
        raise InputError(f"proofs: expected at most {MAX_CONTINUATIONS} of one log, got {len(own)}")
    if any(not 1 <= size <= reached or not held.size for size, held in own):  # rule 8
        raise InputError(f"proofs: expected sizes of {origin} from 1 to {reached}, got another")
    found = tuple(_continuation(ledger, reached, size, held) for size, held in own)
    return sign_statement(Statement(asked.run, origin, found), signer)


def witness(site: Site, asked: Witness, now: int) -> tuple[str, ...]:
    """The notes of other sites, in order: with this site's cosignature added, or as they came (rule 3).

    Args:
        site: the witness.
        asked: the notes, the site's own among them being passed over, and the key lists, as far back as the site may be
            behind.
        now: UTC seconds, which the cosignatures state.

    Raises:
        Refused: if a log shrank or forked, now or before; all notes have been looked at by then.
        InputError: if there is not one statement for each note, or a note or statement is none.
        VerificationFailed: if the key list does not follow from the held one, or a note or statement is not signed as
            it must be (rules 1 and 7); no note is then held.
    """
    refuse_if_in_conflict(site)
    if len(asked.notes) != len(asked.statements):
        raise InputError("witness: expected a statement for each note, got otherwise")
    trusted = site_keys.accept(site, asked.lists).trusted()
    keys = {origin_of(name): key for name, key in trusted.sites.items()}
    pairs = zip(asked.notes, asked.statements, strict=True)
    shown = [_opened(asked.run, note, statement, keys) for note, statement in pairs]  # all before any is held: rule 7
    book, signer, own = site.witnessed, site.signer, origin_of(site.name)
    notes = tuple(
        checkpoint.cosign(one.note, own, signer, now) if _take_in(book, one) else one.note  # rule 5
        for one in shown
        if one.origin != own
    )
    refuse_if_in_conflict(site)
    return notes


def _opened(run: str, note: str, statement: bytes, keys: Mapping[str, Verifier]) -> _Shown:
    origin = note.partition("\n")[0]
    if origin not in keys:  # rule 1
        raise VerificationFailed(f"note: expected one of a site of the key list, got {origin[:80]!r}")
    key = keys[origin]
    checkpoint.open_note(note, origin, key)  # rule 1
    said = open_statement(statement, run, origin, key).continuations if statement else ()  # rule 7
    return _Shown(note, origin, key, said, statement)


def _take_in(book: WitnessBook, one: _Shown) -> bool:
    """Whether the note is now the one held; if not, it is not to be judged now, or there is a conflict."""
    try:
        book.accept(one.note, one.origin, one.key, one.continuations, one.statement)  # rule 2
    except NotJudged:  # rule 3
        return False
    except VerificationFailed:
        if one.origin in book.conflicts():  # rule 4
            return False
        raise
    return True


def _continuation(ledger: Ledger, reached: int, now: int, held: Checkpoint) -> Continuation:
    """How a ledger that has reached a size goes together, at another, with a head of it; no proof if it is behind."""
    earlier, later = sorted((now, held.size))
    return Continuation(now, held, ledger.consistency(earlier, later) if earlier > 0 and later <= reached else ())
