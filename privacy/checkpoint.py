"""Signed tree heads: C2SP tlog-checkpoint (c2sp.org/tlog-checkpoint) as a signed note (c2sp.org/signed-note).

A checkpoint commits a site's ledger to all its entries so far. Whoever keeps one can later tell whether the ledger it
is shown still begins with them. Further signatures, of witnesses, may follow the site's own.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from privacy import fields
from privacy.errors import InputError, VerificationFailed
from privacy.signing import Signer, Verifier

MAX_BYTES: Final = 16_384
MAX_SIGNATURES: Final = 16
_ED25519: Final = b"\x01"
_DASH: Final = "\N{EM DASH} "


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The root over the first `size` entries of the log named `origin`."""

    origin: str
    size: int
    root: bytes

    def to_text(self) -> str:
        """The note's body: what is signed."""
        return f"{self.origin}\n{self.size}\n{fields.to_base64(self.root)}\n"


def origin_of(site: str) -> str:
    """The name of a site's log, and of its key: `kith/` and the site's name, URL-quoted."""
    return f"kith/{quote(site, safe='')}"


def sign(checkpoint: Checkpoint, signer: Signer) -> str:
    """The signed note."""
    body = checkpoint.to_text()
    signature = signer.sign(body.encode("utf-8"))
    key_hash = _key_hash(checkpoint.origin, signer.public)
    return f"{body}\n{_DASH}{checkpoint.origin} {fields.to_base64(key_hash + signature)}\n"


def open_note(note: str, origin: str, verifier: Verifier) -> Checkpoint:
    """The checkpoint of log `origin` in a note that `verifier`'s key signed; other signatures are not looked into.

    Raises:
        InputError: if the note is malformed.
        VerificationFailed: if it is of another log, or that key did not sign it.
    """
    if len(note) > MAX_BYTES or not note.endswith("\n"):
        raise InputError(f"checkpoint: expected a note of at most {MAX_BYTES} bytes, got otherwise")
    body, blank, signatures = note.partition("\n\n")
    checkpoint = _parse(body)
    if not blank or checkpoint.to_text() != body + "\n":
        raise InputError("checkpoint: expected origin, size, root and a blank line, got otherwise")
    if checkpoint.origin != origin:
        raise VerificationFailed(f"checkpoint: expected log {origin}, got {checkpoint.origin[:80]!r}")
    expected = _key_hash(origin, verifier.public)
    own = [signature for name, signature in _signatures(signatures) if name == origin and signature[:4] == expected]
    if len(own) != 1:
        raise VerificationFailed(f"checkpoint: expected one signature by {origin}, got {len(own)}")
    verifier.verify(checkpoint.to_text().encode("utf-8"), own[0][4:])
    return checkpoint


def _parse(body: str) -> Checkpoint:
    lines = body.split("\n")
    if len(lines) != 3 or not (lines[1].isascii() and lines[1].isdigit()) or len(lines[1]) > 16:
        raise InputError("checkpoint: expected three lines: origin, size, root")
    root = fields.from_base64(lines[2], "checkpoint, root")
    if len(root) != hashlib.sha256().digest_size:
        raise InputError(f"checkpoint, root: expected 32 bytes, got {len(root)}")
    return Checkpoint(fields.text(lines[0], "checkpoint, origin"), int(lines[1]), root)


def _signatures(text: str) -> list[tuple[str, bytes]]:
    lines = text[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise InputError(f"checkpoint: expected at most {MAX_SIGNATURES} signatures, got {len(lines)}")
    result = []
    for line in lines:
        name, space, signature = line.removeprefix(_DASH).partition(" ")
        if not line.startswith(_DASH) or not name or not space:
            raise InputError("checkpoint: expected signature lines of a dash, a name and base64, got otherwise")
        result.append((name, fields.from_base64(signature, "checkpoint, signature")))
    return result


def _key_hash(name: str, public: bytes) -> bytes:
    return hashlib.sha256(name.encode("utf-8") + b"\n" + _ED25519 + public).digest()[:4]
