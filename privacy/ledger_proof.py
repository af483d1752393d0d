"""A proof out of one ledger, in a file of its own, for whoever has the group's keys and not the ledger.

`kith ledger prove` writes one of two, as canonical JSON:

    {"kind": "inclusion", "checkpoint": a signed note, "entry": {"leaf", "index", "proof"}}
    {"kind": "consistency", "checkpoint": a signed note, "earlier": a size, "proof": [base64, ...]}

The first shows that an entry stands in the log at its place, the second that the log still begins as it was when it had
`earlier` entries: for that the reader must hold a checkpoint of then.

Rules:
    1. A note counts if a key of the site signed it that the key list calls active or retired.
    2. The held checkpoint is believed as little as the new one: it must be signed too, and be of the same log.
    3. A proof is read in its one writing only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from privacy import canonical, checkpoint, entries, fields, merkle, signing
from privacy.checkpoint import Checkpoint
from privacy.entries import Entry
from privacy.errors import InputError, VerificationFailed
from privacy.key_list import ACTIVE, RETIRED, Key, KeyList
from privacy.ledger_excerpt import MAX_PROOF, Proof
from privacy.party_names import site_party

INCLUSION: Final = "inclusion"
CONSISTENCY: Final = "consistency"
MAX_BYTES: Final = 2**20
_WHERE: Final = "ledger proof"


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """That an entry is in the log that the checkpoint commits to."""

    checkpoint: str
    entry: Proof

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical.to_bytes({"kind": INCLUSION, "checkpoint": self.checkpoint, "entry": self.entry.to_document()})


@dataclass(frozen=True, slots=True)
class ConsistencyProof:
    """That the log which the checkpoint commits to begins with its first `earlier` entries as they were."""

    checkpoint: str
    earlier: int
    path: tuple[bytes, ...]

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        path = [fields.to_base64(sibling) for sibling in self.path]
        return canonical.to_bytes(
            {"kind": CONSISTENCY, "checkpoint": self.checkpoint, "earlier": self.earlier, "proof": path}
        )


LedgerProof = InclusionProof | ConsistencyProof


@dataclass(frozen=True, slots=True)
class Shown:
    """What a checked proof shows.

    Attributes:
        site: whose ledger.
        head: what its key signed.
        key: the key, as the list has it.
        entry: the entry and its position, for an inclusion proof.
        held: the checkpoint that the log extends, for a consistency proof.
    """

    site: str
    head: Checkpoint
    key: Key
    entry: tuple[int, Entry] | None
    held: Checkpoint | None


def read(data: bytes) -> LedgerProof:
    """The proof that `to_bytes` wrote; nothing is verified here.

    Raises:
        InputError: for anything else (rule 3).
    """
    document = canonical.from_bytes(data, _WHERE, MAX_BYTES)
    kind = document.get("kind") if isinstance(document, dict) else None
    proof: LedgerProof
    if kind == INCLUSION:
        document = fields.exactly(document, ("kind", "checkpoint", "entry"), _WHERE)
        proof = InclusionProof(_note(document), Proof.from_document(document["entry"], f"{_WHERE}, entry"))
    elif kind == CONSISTENCY:
        document = fields.exactly(document, ("kind", "checkpoint", "earlier", "proof"), _WHERE)
        path = fields.items(document["proof"], f"{_WHERE}, proof")
        if len(path) > MAX_PROOF:
            raise InputError(f"{_WHERE}: expected at most {MAX_PROOF} hashes, got {len(path)}")
        hashes = tuple(fields.from_base64(one, f"{_WHERE}, proof") for one in path)
        proof = ConsistencyProof(_note(document), fields.whole(document["earlier"], f"{_WHERE}, earlier"), hashes)
    else:
        raise InputError(f"{_WHERE}: expected kind {INCLUSION} or {CONSISTENCY}, got another")
    if proof.to_bytes() != data:
        raise InputError(f"{_WHERE}: expected canonical JSON, got another writing")
    return proof


def check(proof: LedgerProof, keys: KeyList, held: str | None = None) -> Shown:
    """What `proof` shows to somebody who trusts `keys`.

    Args:
        proof: as `read` gave it.
        keys: the group's key list, from another way than the proof.
        held: the signed note that the reader kept: a consistency proof needs it, an inclusion proof has no use for it.

    Raises:
        InputError: if a note or an entry is malformed, or `held` is there without need or not there in need.
        VerificationFailed: naming what does not hold.
    """
    site, head, key = open_by_list(proof.checkpoint, keys)
    if (held is not None) != isinstance(proof, ConsistencyProof):
        needed = "a held checkpoint (--held)" if held is None else "no held checkpoint"
        raise InputError(f"{_WHERE}: expected {needed} with a proof of this kind, got otherwise")
    if isinstance(proof, InclusionProof):
        position, leaf = proof.entry.position, proof.entry.leaf
        merkle.verify_inclusion(merkle.leaf_hash(leaf), position, head.size, proof.entry.path, head.root)
        return Shown(site, head, key, (position, entries.from_leaf(leaf, f"entry {position} of {site}")), None)
    _, before, _ = open_by_list(held or "", keys)  # rule 2
    if (before.origin, before.size) != (head.origin, proof.earlier):
        expected = f"{proof.earlier} entries of {head.origin}"
        raise VerificationFailed(f"held checkpoint: expected {expected}, got {before.size} of {before.origin:.80}")
    merkle.verify_consistency(before.size, head.size, proof.path, before.root, head.root)
    return Shown(site, head, key, None, before)


def open_by_list(note: str, keys: KeyList) -> tuple[str, Checkpoint, Key]:
    """The site, the checkpoint and the key of a note that a key of the list signed (rule 1).

    Raises:
        InputError: if the note is malformed.
        VerificationFailed: if no such key of the log's site signed it.
    """
    origin = checkpoint.read_unverified(note).origin
    site = checkpoint.site_of(origin)
    for key in _keys_of(site, keys):
        try:
            return site, checkpoint.open_note(note, origin, signing.verifier(_raw(key))), key
        except VerificationFailed:
            continue
    raise VerificationFailed(f"checkpoint: expected a signature of site {site!r:.80} by a key of the list, got none")


def _keys_of(site: str, keys: KeyList) -> Iterator[Key]:
    party = site_party(site)
    return (one for one in keys.keys if one.party == party and one.status in (ACTIVE, RETIRED))


def _raw(key: Key) -> bytes:
    return fields.from_base64(key.public, "key list, public key")


def _note(document: dict[str, Any]) -> str:
    return fields.text(document["checkpoint"], f"{_WHERE}, checkpoint", checkpoint.MAX_BYTES)
