"""How a run ends: every site shows what it charged, and every other site sees that no ledger was rewritten.

Three exchanges. `finish`: each site ends the run and shows its ledger's excerpt, and how far it has seen the others'.
`consistency`: each site proves that its ledger continues what the others have seen of it. `witness`: each site gets the
others' checkpoints with these proofs, holds them from now on, and cosigns them.

Rules:
    1. An excerpt counts only if the site's own key signed its checkpoint, every proof in it holds, and its charges are
       of this run and plan.
    2. Sizes and proofs are passed on, not judged: the site that holds the earlier checkpoint judges, and keeps the
       evidence.
    3. A cosignature counts only if the witness's own key made it, under exactly the checkpoint that was shown.
    4. A witness that has seen another run's checkpoints meanwhile cosigns nothing. The run is then closed once more, at
       the ledgers' new sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from federation.exchange import Exchanges, Reply
from federation.wire import Cosigned, Finish, Finished, Message, Proofs, Prove, Request, Witness
from federation.witnessing import Span
from privacy import checkpoint
from privacy.checkpoint import origin_of
from privacy.entries import Charged, Reserved
from privacy.errors import InputError, Refused, VerificationFailed
from privacy.ledger_excerpt import LedgerExcerpt, VerifiedExcerpt
from privacy.plan import Plan

ATTEMPTS: Final = 3
"""Times that a run is closed before it is given up (rule 4)."""


@dataclass(frozen=True)
class Closed:
    """What a site showed of its ledger: the excerpt with its checkpoint cosigned, what is in it, and who cosigned."""

    excerpt: LedgerExcerpt
    verified: VerifiedExcerpt
    witnesses: tuple[str, ...]


@dataclass(frozen=True)
class _Finished:
    """A site's excerpt, and the size it holds of other sites' logs, by origin."""

    excerpt: LedgerExcerpt
    verified: VerifiedExcerpt
    held: Mapping[str, int]


@dataclass(frozen=True)
class Closing:
    """The end of one run.

    Attributes:
        exchanges: with the plan's sites.
        run: the run's id.
        plan: its plan.
        sites: those that have contributed, in order: all of them have to show what they were charged.
        lists: the signed key lists, the one in force last, which the sites are shown.
    """

    exchanges: Exchanges
    run: str
    plan: Plan
    sites: Sequence[str]
    lists: Sequence[bytes]

    def closed(self) -> Mapping[str, Closed]:
        """End the run at every site; by site name.

        Raises:
            Refused: if a site refuses, fails, is silent, or replies with what it must not; also if it found that
                another's ledger was rewritten.
        """
        for _ in range(ATTEMPTS):
            finished = self._ask(Finish(self.run), self._finished)
            cosigned = self._cosigned(finished)
            if all(set(by) == set(finished) - {name} for name, by in cosigned.items()):
                return {name: _joined(one, cosigned[name]) for name, one in finished.items()}
        raise Refused(f"run {self.run!r}: expected no other run to end at the same moment, got one {ATTEMPTS} times")

    def _ask(self, asked: Request, read: Callable[[str, Message], Reply]) -> Mapping[str, Reply]:
        """What every site that has contributed answers."""
        return self.exchanges.ask("closing", dict.fromkeys(self.sites, asked), read, len(self.sites)).found

    def _finished(self, site: str, told: Message) -> _Finished:
        if not isinstance(told, Finished):
            raise InputError(f"ledger of {site!r:.80}: expected an excerpt, got another reply")
        excerpt = LedgerExcerpt.from_bytes(told.excerpt, f"ledger of {site}")
        verified = excerpt.verified(site, self.exchanges.sites[site])  # rule 1
        entries: tuple[Reserved | Charged, ...] = (verified.reserved, *verified.charges.values())
        if any((entry.run, entry.plan) != (self.run, self.plan.digest) for entry in entries):
            raise VerificationFailed(f"ledger of site {site!r}: expected the charges of run {self.run!r} and its plan")
        return _Finished(excerpt, verified, told.held)

    def _cosigned(self, finished: Mapping[str, _Finished]) -> Mapping[str, Mapping[str, str]]:
        """By site: its note as each other site cosigned it, by the witness's name."""
        if len(finished) == 1:
            return {name: {} for name in finished}
        spans = {name: _spans(name, finished) for name in finished}
        proofs = self._proofs(spans)
        shown = [(finished[name].excerpt.checkpoint, proofs[name]) for name in sorted(finished)]
        rows = [(place, held, proof) for place, (_, by) in enumerate(shown) for held, proof in by.items()]
        places, held, hashes = zip(*rows, strict=True) if rows else ((), (), ())
        asked = Witness(self.run, tuple(self.lists), tuple(note for note, _ in shown), places, held, hashes)
        by_witness = self._ask(asked, lambda site, told: self._cosignatures(site, told, finished))
        return {
            name: {witness: notes[name] for witness, notes in by_witness.items() if name in notes} for name in finished
        }

    def _proofs(self, spans: Mapping[str, tuple[Span, ...]]) -> Mapping[str, Mapping[int, bytes]]:
        """By site: the proof for each of its spans, by the size that another site holds."""
        asked = [span for of_site in spans.values() for span in of_site]
        if not asked:
            return {name: {} for name in spans}

        def read(site: str, told: Message) -> Mapping[int, bytes]:
            of_site = spans[site]
            if not isinstance(told, Proofs) or len(told.proofs) != len(of_site):
                raise InputError(f"consistency of {site!r:.80}: expected {len(of_site)} proofs, got otherwise")
            return {span.held: proof for span, proof in zip(of_site, told.proofs, strict=True)}

        logs, sizes, held = zip(*((span.site, span.now, span.held) for span in asked), strict=True)
        return self._ask(Prove(self.run, logs, sizes, held), read)

    def _cosignatures(self, witness: str, told: Message, finished: Mapping[str, _Finished]) -> Mapping[str, str]:
        """The notes that a site has cosigned, by the site whose they are; those that it sent back as they were not."""
        others = [name for name in sorted(finished) if name != witness]
        notes = told.notes if isinstance(told, Cosigned) else ()
        if len(notes) != len(others):
            raise VerificationFailed(f"witness {witness!r:.80}: expected the notes of {len(others)} other sites")
        own = {origin_of(witness): self.exchanges.sites[witness]}
        found = {}
        for name, note in zip(others, notes, strict=True):
            if checkpoint.witnesses(note, finished[name].verified.head, own):  # rule 3
                found[name] = note
            elif note != finished[name].excerpt.checkpoint:
                raise VerificationFailed(f"witness {witness!r}: expected its cosignature on the note of {name!r:.80}")
        return found


def _spans(name: str, finished: Mapping[str, _Finished]) -> tuple[Span, ...]:
    """What a site has to prove: from each size that another holds of its log, to its own."""
    now, origin = finished[name].verified.head.size, origin_of(name)
    held = {one.held.get(origin, now) for one in finished.values()} - {now}
    return tuple(Span(name, now, size) for size in sorted(held) if size > 0)


def _joined(one: _Finished, cosigned: Mapping[str, str]) -> Closed:
    """The excerpt with all cosignatures on its checkpoint, or with as many as a note has room for."""
    note, names = one.excerpt.checkpoint, []
    for name, copy in sorted(cosigned.items()):
        try:
            note = checkpoint.joined(note, copy)
        except InputError:  # full
            break
        names.append(name)
    return Closed(replace(one.excerpt, checkpoint=note), one.verified, tuple(names))
