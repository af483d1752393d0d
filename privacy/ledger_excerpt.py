"""What a site shows of its ledger beside a release: a signed checkpoint and the run's charges under it.

The file is `ledger/<n>.json` of a release. It shows the opening entry (whose ledger, which cap) and every charge of
the run, each with its proof of inclusion under the checkpoint's root, and nothing of other runs but their total.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from privacy import canonical, checkpoint, entries, fields, merkle
from privacy.checkpoint import Checkpoint
from privacy.entries import Charged, Opened
from privacy.errors import InputError, VerificationFailed
from privacy.signing import Verifier

MAX_PROOF: Final = 64


@dataclass(frozen=True, slots=True)
class Proof:
    """An entry (`leaf`, its bytes), its position in the log, and its inclusion proof."""

    leaf: bytes
    position: int
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class LedgerExcerpt:
    """A checkpoint (signed note), the size it commits to, the opening entry and a run's charges in order."""

    checkpoint: str
    size: int
    opened: Proof
    charges: tuple[Proof, ...]

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical.to_bytes(
            {
                "checkpoint": self.checkpoint,
                "size": self.size,
                "open": _document(self.opened),
                "charges": [_document(proof) for proof in self.charges],
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> LedgerExcerpt:
        """The excerpt that `to_bytes` wrote; nothing is verified here.

        Raises:
            InputError: for anything else.
        """
        names = ("checkpoint", "size", "open", "charges")
        document = fields.exactly(canonical.from_bytes(data, where), names, where)
        excerpt = cls(
            fields.text(document["checkpoint"], f"{where}, checkpoint", checkpoint.MAX_BYTES),
            fields.whole(document["size"], f"{where}, size"),
            _proof(document["open"], f"{where}, open"),
            tuple(_proof(one, f"{where}, charges") for one in fields.items(document["charges"], f"{where}, charges")),
        )
        if excerpt.to_bytes() != data:
            raise InputError(f"{where}: expected canonical JSON, got another writing")
        return excerpt

    def verified(self, site: str, verifier: Verifier) -> VerifiedExcerpt:
        """The entries, once signature and every proof hold.

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
        charges: dict[int, Charged] = {}
        for proof in self.charges:
            entry = _included(proof, head, site)
            if not isinstance(entry, Charged) or proof.position <= max(charges, default=0):
                raise VerificationFailed(f"ledger of {site}: expected charges in order of position, got otherwise")
            charges[proof.position] = entry
        return VerifiedExcerpt(head, opened, charges)


@dataclass(frozen=True, slots=True)
class VerifiedExcerpt:
    """What a verified excerpt shows: the tree head, the opening entry, and charges by position, ascending."""

    head: Checkpoint
    opened: Opened
    charges: dict[int, Charged]


def _included(proof: Proof, head: Checkpoint, site: str) -> entries.Entry:
    merkle.verify_inclusion(merkle.leaf_hash(proof.leaf), proof.position, head.size, proof.path, head.root)
    return entries.from_leaf(proof.leaf, f"ledger of {site}, entry {proof.position}")


def _document(proof: Proof) -> dict[str, Any]:
    path = [fields.to_base64(sibling) for sibling in proof.path]
    return {"leaf": fields.to_base64(proof.leaf), "index": proof.position, "proof": path}


def _proof(value: Any, where: str) -> Proof:
    document = fields.exactly(value, ("leaf", "index", "proof"), where)
    path = fields.items(document["proof"], where)
    if len(path) > MAX_PROOF:
        raise InputError(f"{where}: expected a proof of at most {MAX_PROOF} hashes, got {len(path)}")
    siblings = tuple(fields.from_base64(sibling, where) for sibling in path)
    return Proof(fields.from_base64(document["leaf"], where), fields.whole(document["index"], where), siblings)
