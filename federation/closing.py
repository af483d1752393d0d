"""How a run ends: every site shows what it charged, and every other site sees that no ledger was rewritten.

Three exchanges. `Finish`: each site ends the run and shows its ledger's excerpt, and how far it has seen the others'.
`Prove`: each site proves, and signs, that its ledger continues what the others have seen of it. `Witness`: each site
gets the others' checkpoints with these statements, holds them from now on, and cosigns them.

Rules:
    1. An excerpt counts only if the site's own key signed its checkpoint, every proof in it holds, its charges are of
       this run and plan, and the last one of each release is where the site's receipt says that it was charged.
    2. What a site says of its log counts only under its own key, for this run and what it was asked. It is passed on as
       it is, not judged: the site that holds the earlier checkpoint judges, and keeps the evidence.
    3. A cosignature counts only if the witness's own key made it, under exactly the checkpoint that was shown. Nothing
       else is taken over from the note that a witness sends back, so no site can use up the room for another's.
    4. A witness that has seen another run's checkpoints meanwhile cosigns nothing. The run is then closed once more, at
       the ledgers' new sizes.
    5. A checkpoint comes with its own site's signature alone: the room on it is for the witnesses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from federation.exchange import Exchanges, Reply
from federation.wire import Cosigned, Finish, Finished, Message, Proofs, Prove, Request, Witness
from privacy import checkpoint, merkle
from privacy.checkpoint import Checkpoint, origin_of
from privacy.consistency import open_statement
from privacy.entries import Charged, Reserved
from privacy.errors import InputError, Refused, VerificationFailed
from privacy.ledger_excerpt import LedgerExcerpt, VerifiedExcerpt
from privacy.plan import Plan
from privacy.receipt import Receipt

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
    """A site's excerpt, and the heads it holds of other sites' logs, by origin."""

    excerpt: LedgerExcerpt
    verified: VerifiedExcerpt
    held: Mapping[str, Checkpoint]


@dataclass(frozen=True)
class Closing:
    """The end of one run.

    Attributes:
        exchanges: with the plan's sites.
        run: the run's id.
        plan: its plan.
        receipts: by site that has contributed, in order: all of them have to show these charges.
        lists: the signed key lists, the one in force last, which the sites are shown.
    """

    exchanges: Exchanges
    run: str
    plan: Plan
    receipts: Mapping[str, Sequence[Receipt]]
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
        return self.exchanges.ask("closing", dict.fromkeys(self.receipts, asked), read, len(self.receipts)).found

    def _finished(self, site: str, told: Message) -> _Finished:
        if not isinstance(told, Finished):
            raise InputError(f"ledger of {site!r:.80}: expected an excerpt, got another reply")
        excerpt = LedgerExcerpt.from_bytes(told.excerpt, f"ledger of {site}")
        verified = excerpt.verified(site, self.exchanges.sites[site])  # rule 1
        if checkpoint.count_signatures(excerpt.checkpoint) != 1:  # rule 5
            raise VerificationFailed(f"ledger of site {site!r:.80}: expected no signature but its own, got others")
        entries: tuple[Reserved | Charged, ...] = (verified.reserved, *verified.charges.values())
        if any((entry.run, entry.plan) != (self.run, self.plan.digest) for entry in entries):
            raise VerificationFailed(f"ledger of site {site!r}: expected charges of run {self.run!r:.60}, got others")
        _check_shows(site, excerpt, verified, self.receipts[site])  # rule 1
        held = map(Checkpoint.from_text, told.held)
        return _Finished(excerpt, verified, {one.origin: one for one in held})

    def _cosigned(self, finished: Mapping[str, _Finished]) -> Mapping[str, Mapping[str, str]]:
        """By site: the cosignatures on its note, by the witness's name."""
        if len(finished) == 1:
            return {name: {} for name in finished}
        statements = self._statements(finished)
        names = sorted(finished)
        notes = tuple(finished[name].excerpt.checkpoint for name in names)
        asked = Witness(self.run, tuple(self.lists), notes, tuple(statements[name] for name in names))
        by_witness = self._ask(asked, lambda site, told: self._cosignatures(site, told, finished))
        return {
            name: {witness: lines[name] for witness, lines in by_witness.items() if name in lines} for name in finished
        }

    def _statements(self, finished: Mapping[str, _Finished]) -> Mapping[str, bytes]:
        """By site: what it said and signed of its log; nothing where no site is asked."""
        spans = {name: _spans(name, finished) for name in finished}
        asked = [span for of_site in spans.values() for span in of_site]
        if not asked:
            return dict.fromkeys(finished, b"")

        def read(site: str, told: Message) -> bytes:
            if not isinstance(told, Proofs):
                raise InputError(f"proofs of {site!r:.80}: expected a statement, got another reply")
            said = open_statement(told.statement, self.run, origin_of(site), self.exchanges.sites[site])  # rule 2
            if tuple((one.now, one.held) for one in said.continuations) != spans[site]:
                raise VerificationFailed(f"proofs of {site!r:.80}: expected those asked for, got others")
            return told.statement

        sizes, held = zip(*asked, strict=True)
        return self._ask(Prove(self.run, sizes, tuple(head.to_text() for head in held)), read)

    def _cosignatures(self, witness: str, told: Message, finished: Mapping[str, _Finished]) -> Mapping[str, str]:
        """A witness's cosignatures, by the site whose note it is; none on a note that it sent back as it was."""
        others = [name for name in sorted(finished) if name != witness]
        notes = told.notes if isinstance(told, Cosigned) else ()
        if len(notes) != len(others):
            raise VerificationFailed(f"witness {witness!r:.80}: expected {len(others)} notes, got {len(notes)}")
        found = {}
        for name, note in zip(others, notes, strict=True):
            shown, key = finished[name], self.exchanges.sites[witness]
            line = checkpoint.cosignature(note, shown.verified.head, origin_of(witness), key)  # rule 3
            if line is not None:
                found[name] = line
            elif note != shown.excerpt.checkpoint:
                raise VerificationFailed(
                    f"witness {witness!r:.60}: expected to cosign {name!r:.60}, got no cosignature"
                )
        return found


def _check_shows(site: str, excerpt: LedgerExcerpt, verified: VerifiedExcerpt, receipts: Sequence[Receipt]) -> None:
    """That an excerpt has the charges that the site's receipts name, each the last of its release (rule 1).

    Raises:
        VerificationFailed: naming the site, if it does not.
    """
    leaves = {proof.position: merkle.leaf_hash(proof.leaf).hex() for proof in excerpt.charges}
    last = {(one.event, one.index): (position, leaves[position]) for position, one in verified.charges.items()}
    for receipt in receipts:
        if last.get((receipt.event, receipt.index)) != (receipt.position, receipt.leaf):
            raise VerificationFailed(
                f"ledger of site {site!r:.80}: expected the charge that its receipt of {receipt.event} {receipt.index}"
                " names, got another or none"
            )


def _spans(name: str, finished: Mapping[str, _Finished]) -> tuple[tuple[int, Checkpoint], ...]:
    """What a site is asked about its log: its size now, and each head of another size that others hold."""
    now, origin = finished[name].verified.head.size, origin_of(name)
    heads = {one.held[origin] for one in finished.values() if origin in one.held}
    return tuple((now, head) for head in sorted(heads, key=Checkpoint.to_text) if head.size not in (0, now))


def _joined(one: _Finished, cosignatures: Mapping[str, str]) -> Closed:
    """The excerpt with all cosignatures on its checkpoint, or with as many as a note has room for."""
    note, names = one.excerpt.checkpoint, []
    for name, line in sorted(cosignatures.items()):
        try:
            note = checkpoint.joined(note, line)
        except InputError:  # full
            break
        names.append(name)
    return Closed(replace(one.excerpt, checkpoint=note), one.verified, tuple(names))
