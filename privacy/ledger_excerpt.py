"""What a site shows of its ledger beside a release: a signed checkpoint, and under it what allowed and charged one run.

The file is `ledger/<n>.json` of a release: the opening entry (whose ledger), the decision that the reservation names
(none where the opening entry's own budget stood), the reservation, and every charge of the run, each with its proof of
inclusion under the checkpoint's root, and nothing of other runs but their total.

A decision is shown without those before it. The first one is held against the opening entry's officers; of a later one
it is checked that it is this ledger's and bears two signatures: whose officers they are only the whole log tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from privacy import budget, canonical, checkpoint, entries, fields, merkle
from privacy.budget import Budget
from privacy.checkpoint import Checkpoint
from privacy.entries import Charged, Decided, Opened, Reserved
from privacy.errors import InputError, Refused, VerificationFailed
from privacy.signing import Verifier

MAX_PROOF: Final = 64
MAX_CHARGES: Final = 100_000


@dataclass(frozen=True, slots=True)
class Proof:
    """An entry (`leaf`, its bytes), its position in the log, and its inclusion proof."""

    leaf: bytes
    position: int
    path: tuple[bytes, ...]

    def to_document(self) -> dict[str, Any]:
        """For canonical JSON."""
        path = [fields.to_base64(sibling) for sibling in self.path]
        return {"leaf": fields.to_base64(self.leaf), "index": self.position, "proof": path}

    @classmethod
    def from_document(cls, value: Any, where: str) -> Proof:
        """The proof that `to_document` wrote; nothing is verified here.

        Raises:
            InputError: for anything else.
        """
        document = fields.exactly(value, ("leaf", "index", "proof"), where)
        path = fields.items(document["proof"], where)
        if len(path) > MAX_PROOF:
            raise InputError(f"{where}: expected a proof of at most {MAX_PROOF} hashes, got {len(path)}")
        siblings = tuple(fields.from_base64(sibling, where) for sibling in path)
        return cls(fields.from_base64(document["leaf"], where), fields.whole(document["index"], where), siblings)


@dataclass(frozen=True, slots=True)
class LedgerExcerpt:
    """A checkpoint (signed note), the size it commits to, and one run's entries in order of position.

    `budget` is the decision that the reservation names; None where it names number 0, the opening entry's.
    """

    checkpoint: str
    size: int
    opened: Proof
    budget: Proof | None
    reserve: Proof
    charges: tuple[Proof, ...]

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical.to_bytes(
            {
                "checkpoint": self.checkpoint,
                "size": self.size,
                "open": self.opened.to_document(),
                "budget": self.budget and self.budget.to_document(),
                "reserve": self.reserve.to_document(),
                "charges": [proof.to_document() for proof in self.charges],
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> LedgerExcerpt:
        """The excerpt that `to_bytes` wrote; nothing is verified here.

        Raises:
            InputError: for anything else.
        """
        names = ("checkpoint", "size", "open", "budget", "reserve", "charges")
        document = fields.exactly(canonical.from_bytes(data, where), names, where)
        charges = fields.items(document["charges"], f"{where}, charges")
        if len(charges) > MAX_CHARGES:
            raise InputError(f"{where}: expected at most {MAX_CHARGES} charges, got {len(charges)}")
        decided = document["budget"]
        excerpt = cls(
            fields.text(document["checkpoint"], f"{where}, checkpoint", checkpoint.MAX_BYTES),
            fields.whole(document["size"], f"{where}, size"),
            Proof.from_document(document["open"], f"{where}, open"),
            None if decided is None else Proof.from_document(decided, f"{where}, budget"),
            Proof.from_document(document["reserve"], f"{where}, reserve"),
            tuple(Proof.from_document(one, f"{where}, charges") for one in charges),
        )
        if excerpt.to_bytes() != data:
            raise InputError(f"{where}: expected canonical JSON, got another writing")
        return excerpt

    def verified(self, site: str, verifier: Verifier) -> VerifiedExcerpt:
        """The entries, once signature and every proof hold and the entries belong together.

        Raises:
            InputError: if a leaf is no entry.
            VerificationFailed: naming what does not hold.
        """
        head = checkpoint.open_note(self.checkpoint, checkpoint.origin_of(site), verifier)
        if head.size != self.size:
            raise VerificationFailed(f"ledger of {site}: expected size {head.size}, the checkpoint's, got {self.size}")
        opened = _included(self.opened, head, site)
        named = isinstance(opened, Opened) and (opened.site, opened.origin) == (site, head.origin)
        if self.opened.position or not isinstance(opened, Opened) or not named:
            raise VerificationFailed(f"ledger of {site}: expected its opening entry first, got another")
        decided = self._budget(opened, head, site)
        reserved = _included(self.reserve, head, site)
        if not isinstance(reserved, Reserved) or self.reserve.position <= (self.budget.position if self.budget else 0):
            raise VerificationFailed(f"ledger of {site}: expected the run's reservation under its budget, got another")
        _check_allowed(reserved, decided, site)
        charges: dict[int, Charged] = {}
        last = self.reserve.position
        for proof in self.charges:
            entry = _included(proof, head, site)
            if not isinstance(entry, Charged) or proof.position <= last:
                raise VerificationFailed(f"ledger of {site}: expected charges in order of position, got otherwise")
            if (entry.run, entry.plan) != (reserved.run, reserved.plan):
                raise VerificationFailed(f"ledger of {site}: expected charges of the run reserved for, got another's")
            charges[proof.position], last = entry, proof.position
        return VerifiedExcerpt(head, opened, decided, reserved, charges)

    def _budget(self, opened: Opened, head: Checkpoint, site: str) -> Budget:
        """The budget that is shown: the decision's, or else the opening entry's."""
        if self.budget is None:
            return opened.budget
        ledger = merkle.leaf_hash(self.opened.leaf).hex()
        entry = _included(self.budget, head, site)
        if not isinstance(entry, Decided):
            raise VerificationFailed(f"ledger of {site}: expected a decision on the budget, got another entry")
        decision = fields.from_base64(entry.decision, f"ledger of {site}, decision")
        read = budget.read_decision(decision)
        if read.ledger != ledger or not read.budget.number:
            raise VerificationFailed(f"ledger of {site}: expected a decision for this ledger, got another's")
        if len(set(read.keyids)) < budget.MIN_OFFICERS:
            raise VerificationFailed(f"ledger of {site}: expected a decision by two officers, got fewer")
        return budget.open_decision(decision, opened.budget, ledger) if read.budget.number == 1 else read.budget


@dataclass(frozen=True, slots=True)
class VerifiedExcerpt:
    """What a verified excerpt shows.

    Attributes:
        head: the tree head.
        opened: the opening entry.
        budget: what the run was allowed under.
        reserved: the run's reservation.
        charges: of the run, by position, ascending.
    """

    head: Checkpoint
    opened: Opened
    budget: Budget
    reserved: Reserved
    charges: dict[int, Charged]


def _check_allowed(reserved: Reserved, decided: Budget, site: str) -> None:
    """That a reservation names this budget's number and its group of the use case."""
    try:
        group = decided.group_of(reserved.use_case).name
    except Refused as error:
        raise VerificationFailed(f"ledger of {site}: {error}") from None
    if (reserved.budget, reserved.group) != (decided.number, group):
        raise VerificationFailed(
            f"ledger of {site}: expected a reservation under budget {decided.number}, group {group!r:.80}, got another"
        )


def _included(proof: Proof, head: Checkpoint, site: str) -> entries.Entry:
    merkle.verify_inclusion(merkle.leaf_hash(proof.leaf), proof.position, head.size, proof.path, head.root)
    return entries.from_leaf(proof.leaf, f"ledger of {site}, entry {proof.position}")
