"""Signed tree heads (c2sp.org/tlog-checkpoint, a c2sp.org/signed-note), cosigned (c2sp.org/tlog-cosignature, Ed25519).

A checkpoint commits a site's ledger to all its entries so far. Whoever keeps one can later tell whether the ledger it
is shown still begins with them. A witness's cosignature says that, at a time by its own clock, this was the largest
head of that log which it had seen, and that the head extends all that it had seen before.

Rules:
    1. A note is read in one shape: three lines, a blank one, one or more signature lines; canonical base64; no control
       characters.
    2. A signature is a known key's if name and key id are that key's; then it must hold. Others are ignored.
    3. The log's own name is no witness of the log, and two witnesses never share a key: the cosigned message does not
       name the witness.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from privacy import fields
from privacy.errors import InputError, VerificationFailed
from privacy.signing import Signer, Verifier

MAX_BYTES: Final = 65_536
MAX_SIGNATURES: Final = 128
NOTE_KEY: Final = b"\x01"
COSIGNATURE_KEY: Final = b"\x04"
_DASH: Final = "\N{EM DASH} "
_TIME_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The root over the first `size` entries of the log named `origin`."""

    origin: str
    size: int
    root: bytes

    def to_text(self) -> str:
        """The note's body: what is signed."""
        return f"{self.origin}\n{self.size}\n{fields.to_base64(self.root)}\n"

    @classmethod
    def from_text(cls, text: str) -> Checkpoint:
        """What `to_text` wrote; nobody has signed it.

        Raises:
            InputError: for anything else.
        """
        checkpoint = _parse(text.removesuffix("\n"))
        if checkpoint.to_text() != text or any(one < " " and one != "\n" for one in text):
            raise InputError("checkpoint: expected origin, size and root, got otherwise")
        return checkpoint


def origin_of(site: str) -> str:
    """The name of a site's log, and of its key: `kith/` and the site's name, URL-quoted."""
    return f"kith/{quote(site, safe='')}"


def site_of(origin: str) -> str:
    """The site whose log or key has this name.

    Raises:
        InputError: if `origin_of` gives no site this name.
    """
    site = unquote(origin.removeprefix("kith/"))
    if not site or origin_of(site) != origin:
        raise InputError(f"checkpoint: expected the name of a site's log, got {origin[:80]!r}")
    return site


def verifier_key(name: str, public: bytes, kind: bytes = NOTE_KEY) -> str:
    """A public key as other tools take it (signed-note, "verifier keys"); of kind COSIGNATURE_KEY for a witness."""
    return f"{name}+{_key_id(name, public, kind).hex()}+{fields.to_base64(kind + public)}"


def sign(checkpoint: Checkpoint, signer: Signer) -> str:
    """The note that the log's own key signs."""
    body = checkpoint.to_text()
    signature = _key_id(checkpoint.origin, signer.public, NOTE_KEY) + signer.sign(body.encode("utf-8"))
    return f"{body}\n{_line(checkpoint.origin, signature)}"


def open_note(note: str, origin: str, verifier: Verifier) -> Checkpoint:
    """The checkpoint of log `origin` in a note that `verifier`'s key signed; other signatures are not looked into.

    Raises:
        InputError: if the note is malformed.
        VerificationFailed: if it is of another log, or that key did not sign it.
    """
    checkpoint, signatures = _split(note)
    if checkpoint.origin != origin:
        raise VerificationFailed(f"checkpoint: expected log {origin}, got {checkpoint.origin[:80]!r}")
    own = _of_key(signatures, origin, _key_id(origin, verifier.public, NOTE_KEY))
    if len(own) != 1:
        raise VerificationFailed(f"checkpoint: expected one signature by {origin}, got {len(own)}")
    verifier.verify(checkpoint.to_text().encode("utf-8"), own[0])
    return checkpoint


def read_unverified(note: str) -> Checkpoint:
    """What a note says, whoever signed it: for notes from one's own disk, which were verified when they were put there.

    Raises:
        InputError: if the note is malformed.
    """
    return _split(note)[0]


def cosign(note: str, name: str, signer: Signer, time: int) -> str:
    """The note with the cosignature of witness `name` as its last line.

    It is the caller's to have verified the note and its growth, and to have kept it (`WitnessBook.accept`) before.

    Args:
        note: the log's note; cosignatures already on it stay.
        name: of the witness's key, for a site `origin_of(site)`.
        signer: the witness's key.
        time: by the witness's clock, in whole seconds since 1970 (POSIX).

    Raises:
        InputError: if the note is malformed, has no room, or is the witness's own log's (rule 3).
    """
    checkpoint, signatures = _split(note)
    if name == checkpoint.origin or not _is_key_name(name):
        raise InputError(f"cosignature: expected the name of another key than the log's, got {name[:80]!r}")
    if len(signatures) >= MAX_SIGNATURES:
        raise InputError(
            f"cosignature: expected a note of fewer than {MAX_SIGNATURES} signatures, got {MAX_SIGNATURES}"
        )
    time = fields.whole(time, "cosignature, time")
    signature = time.to_bytes(_TIME_BYTES, "big") + signer.sign(_cosigned(checkpoint, time))
    return note + _line(name, _key_id(name, signer.public, COSIGNATURE_KEY) + signature)


def count_signatures(note: str) -> int:
    """How many signature lines a note has, whoever made them.

    Raises:
        InputError: if the note is malformed.
    """
    return len(_split(note)[1])


def joined(note: str, *lines: str) -> str:
    """`note` with these signature lines after its own: what several witnesses added (`cosignature`), in one.

    Raises:
        InputError: if the note or a line is malformed, or together they have too many signatures.
    """
    result = note + "".join(lines)
    _split(result)
    return result


def cosignature(note: str, head: Checkpoint, name: str, verifier: Verifier) -> str | None:
    """The one line by which witness `name` cosigned `head` in `note`, the latest of several; None if it did not.

    Raises:
        InputError: if the note is malformed.
        VerificationFailed: if it is not of `head`, or a signature in the witness's name does not hold (rule 2).
    """
    own = _cosignatures(_signatures_under(note, head), head, name, verifier)
    return _line(name, _key_id(name, verifier.public, COSIGNATURE_KEY) + max(own)[1]) if own else None


def witnesses(note: str, head: Checkpoint, verifiers: Mapping[str, Verifier]) -> tuple[tuple[str, int], ...]:
    """Who of `verifiers` cosigned `head` in `note`, and when by the witness's clock.

    Args:
        note: as the log or somebody on its way gave it out.
        head: what `open_note` found in it.
        verifiers: the keys of the witnesses that count, by key name; the log's own name in it is passed over (rule 3).

    Returns:
        (name, POSIX seconds) in order of name. The latest, if a witness cosigned twice.

    Raises:
        InputError: if the note is malformed, or two names share a key (rule 3).
        VerificationFailed: if it is not of `head`, or a signature in a known witness's name does not hold (rule 2).
    """
    signatures = _signatures_under(note, head)
    signed = {name: verifiers[name] for name in sorted({name for name, _ in signatures}) if name in verifiers}
    if len({one.public for one in verifiers.values()}) != len(verifiers):
        raise InputError("cosignatures: expected a key of its own for every witness, got one shared")
    found: list[tuple[str, int]] = []
    for name, verifier in signed.items():
        own = _cosignatures(signatures, head, name, verifier)
        found += [(name, max(own)[0])] if own else []
    return tuple(found)


def _signatures_under(note: str, head: Checkpoint) -> list[tuple[str, bytes]]:
    checkpoint, signatures = _split(note)
    if checkpoint != head:
        raise VerificationFailed(
            f"cosignatures: expected the note of {head.size} entries of {head.origin}, got another"
        )
    return signatures


def _cosignatures(
    signatures: list[tuple[str, bytes]], head: Checkpoint, name: str, verifier: Verifier
) -> list[tuple[int, bytes]]:
    """Of one witness: when it cosigned, and what follows the key id. None of the log itself (rule 3)."""
    own = _of_key(signatures, name, _key_id(name, verifier.public, COSIGNATURE_KEY)) if name != head.origin else []
    return [(_verified_time(one, head, name, verifier), one) for one in own]


def _verified_time(signature: bytes, head: Checkpoint, name: str, verifier: Verifier) -> int:
    try:
        time = fields.whole(int.from_bytes(signature[:_TIME_BYTES], "big"), "time")
        verifier.verify(_cosigned(head, time), signature[_TIME_BYTES:])
    except (InputError, VerificationFailed) as error:
        raise VerificationFailed(f"cosignature of {name}, {error}") from None
    return time


def _cosigned(checkpoint: Checkpoint, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{checkpoint.to_text()}".encode()


def _split(note: str) -> tuple[Checkpoint, list[tuple[str, bytes]]]:
    """The checkpoint and the signature lines of a note (rule 1)."""
    if len(note) > MAX_BYTES or not note.endswith("\n") or any(one < " " and one != "\n" for one in note):
        raise InputError(f"checkpoint: expected a note of at most {MAX_BYTES} characters, got otherwise")
    body, blank, signatures = note.partition("\n\n")
    checkpoint = _parse(body)
    if not blank or checkpoint.to_text() != body + "\n":
        raise InputError("checkpoint: expected origin, size, root and a blank line, got otherwise")
    return checkpoint, _signatures(signatures)


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
        if not line.startswith(_DASH) or not space or not _is_key_name(name):
            raise InputError("checkpoint: expected signature lines of a dash, a name and base64, got otherwise")
        result.append((name, fields.from_base64(signature, "checkpoint, signature")))
    return result


def _of_key(signatures: list[tuple[str, bytes]], name: str, key_id: bytes) -> list[bytes]:
    """What follows the key id in the lines of that key (rule 2)."""
    return [signature[4:] for signer, signature in signatures if signer == name and signature[:4] == key_id]


def _line(name: str, signature: bytes) -> str:
    return f"{_DASH}{name} {fields.to_base64(signature)}\n"


def _is_key_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(one.isspace() for one in name)


def _key_id(name: str, public: bytes, kind: bytes) -> bytes:
    return hashlib.sha256(name.encode("utf-8") + b"\n" + kind + public).digest()[:4]
