"""DSSE v1 envelopes (github.com/secure-systems-lab/dsse, protocol.md and envelope.md), in one writing only.

Rules:
    1. What is signed is the pre-authentication encoding of type and payload, never the envelope's JSON.
    2. An envelope is read only in its canonical writing (RFC 8785, canonical base64): every changed byte is refused.
    3. `verify`: the signatures are exactly those of the keys asked for, one each: none missing, none more.
    4. `signed_by`, where any few of many keys are enough: each of the keys signed once at most, and what is signed in
       their names holds. Signatures of other keys do not count and do no harm.
    5. `opened`, for what anybody may send: type and key are looked at before the payload is decoded, and the signature
       before anybody parses it. No JSON is parsed here: whatever the bytes are, it is a few passes over them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from privacy import canonical, fields
from privacy.errors import InputError, VerificationFailed
from privacy.signing import Signer, Verifier

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
MAX_BYTES: Final = 16 * 2**20
MAX_SIGNATURES: Final = 16
_OF_ONE: Final = re.compile(
    rb'\{"payload":"([0-9A-Za-z+/]*+={0,2})","payloadType":"([ !#-\[\]-~]++)",'
    rb'"signatures":\[\{"keyid":"([0-9a-f]{64})","sig":"([0-9A-Za-z+/]{86}==)"\}\]\}'
)
"""The canonical writing of an envelope with one signature; possessive, so that it looks at no byte twice."""


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature under an envelope's payload."""

    keyid: str
    signature: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload, its type, and the signatures under both."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        signatures = [{"keyid": one.keyid, "sig": fields.to_base64(one.signature)} for one in self.signatures]
        payload = fields.to_base64(self.payload)
        return canonical.to_bytes({"payload": payload, "payloadType": self.payload_type, "signatures": signatures})

    @classmethod
    def from_bytes(cls, data: bytes, where: str = "envelope", max_bytes: int = MAX_BYTES) -> Envelope:
        """The envelope that `to_bytes` wrote, of at most `max_bytes`; its signatures are not checked here.

        Raises:
            InputError: for anything else.
            VerificationFailed: for another writing of the same envelope (rule 2).
        """
        document = fields.exactly(
            canonical.from_bytes(data, where, max_bytes), ("payload", "payloadType", "signatures"), where
        )
        envelope = cls(
            fields.text(document["payloadType"], f"{where}, payloadType"),
            fields.from_base64(document["payload"], f"{where}, payload"),
            tuple(_signature(one, where) for one in fields.items(document["signatures"], where)[:MAX_SIGNATURES]),
        )
        if envelope.to_bytes() != data:
            raise VerificationFailed(f"{where}: expected the canonical writing, got another")
        return envelope


def pae(payload_type: str, payload: bytes) -> bytes:
    """The pre-authentication encoding: the bytes that are signed (protocol.md)."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def sign(payload: bytes, *signers: Signer, payload_type: str = PAYLOAD_TYPE) -> Envelope:
    """`payload` under one signature of each signer, in the order given."""
    encoded = pae(payload_type, payload)
    return Envelope(payload_type, payload, tuple(Signature(one.keyid, one.sign(encoded)) for one in signers))


def verify(
    envelope: Envelope, *verifiers: Verifier, payload_type: str = PAYLOAD_TYPE, where: str = "envelope"
) -> bytes:
    """The payload, if exactly these keys signed it under this type.

    Raises:
        VerificationFailed: if the type is another, or a signature is wrong, missing or one too many (rules 1 and 3).
    """
    if envelope.payload_type != payload_type:
        raise VerificationFailed(f"{where}: expected payload type {payload_type}, got {envelope.payload_type[:80]!r}")
    signers = [one.keyid for one in envelope.signatures]
    if not verifiers or signers != [one.keyid for one in verifiers]:
        expected = ", ".join(one.keyid[:16] for one in verifiers)
        got = ", ".join(keyid[:16] for keyid in signers)
        raise VerificationFailed(
            f"{where}: expected signatures of exactly {expected or 'someone'}, got {got or 'none'}"
        )
    encoded = pae(envelope.payload_type, envelope.payload)
    for verifier, signature in zip(verifiers, envelope.signatures, strict=True):
        try:
            verifier.verify(encoded, signature.signature)
        except VerificationFailed as error:
            raise VerificationFailed(f"{where}, {error}") from None
    return envelope.payload


def signed_by(
    envelope: Envelope, verifiers: Collection[Verifier], payload_type: str = PAYLOAD_TYPE, where: str = "envelope"
) -> tuple[Verifier, ...]:
    """Those of `verifiers` that signed the payload, in the envelope's order (rule 4). It is the caller's to count them.

    Raises:
        VerificationFailed: if the type is another, one of them signed twice, or a signature in its name does not hold.
    """
    if envelope.payload_type != payload_type:
        raise VerificationFailed(f"{where}: expected payload type {payload_type}, got {envelope.payload_type[:80]!r}")
    known = {one.keyid: one for one in verifiers}
    claimed = [one for one in envelope.signatures if one.keyid in known]
    if len({one.keyid for one in claimed}) != len(claimed):
        raise VerificationFailed(f"{where}: expected one signature of each key, got two of one")
    encoded = pae(envelope.payload_type, envelope.payload)
    for one in claimed:
        try:
            known[one.keyid].verify(encoded, one.signature)
        except VerificationFailed as error:
            raise VerificationFailed(f"{where}, {error}") from None
    return tuple(known[one.keyid] for one in claimed)


def opened(
    data: bytes, verifiers: Mapping[str, Verifier], payload_type: str, where: str, max_bytes: int
) -> tuple[bytes, Verifier]:
    """The payload under its one signature, and whose of `verifiers` that is (rule 5).

    Args:
        data: as it came.
        verifiers: the keys that count, by keyid.
        payload_type: what it must be.
        where: for messages.
        max_bytes: of the envelope.

    Raises:
        InputError: if it is no envelope of this type with one signature in the canonical writing (rule 2).
        VerificationFailed: if none of `verifiers` signed it.
    """
    if len(data) > max_bytes:
        raise InputError(f"{where}: expected at most {max_bytes} bytes, got {len(data)}")
    found = _OF_ONE.fullmatch(data)
    if found is None or found[2] != payload_type.encode():
        raise InputError(f"{where}: expected one signature over {payload_type}, canonically written, got otherwise")
    key = verifiers.get(found[3].decode())
    if key is None:
        raise VerificationFailed(f"{where}: expected the signature of a known key, got another")
    payload, signature = (fields.from_base64(found[part].decode(), where) for part in (1, 4))
    envelope = Envelope(payload_type, payload, (Signature(key.keyid, signature),))
    return verify(envelope, key, payload_type=payload_type, where=where), key


def _signature(value: object, where: str) -> Signature:
    document = fields.exactly(value, ("keyid", "sig"), f"{where}, signature")
    return Signature(
        fields.digest(document["keyid"], f"{where}, keyid"), fields.from_base64(document["sig"], f"{where}, sig")
    )
