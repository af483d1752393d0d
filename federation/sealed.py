"""Requests under the coordinator's signature, and replies under the site's: what a messenger carries and can not alter.

Rules:
    1. A request counts only under the signature of a coordinator whom the site lets start runs.
    2. A reply counts only under the signature of a site, and only as the answer to exactly one request, whose digest it
       carries: nobody answers in another's name, and no reply is used for another request.

Both are DSSE envelopes with payload types of their own, so neither can be taken for the other or for a receipt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from federation import wire
from federation.wire import Message, Request
from privacy import canonical, dsse, fields
from privacy.dsse import Envelope
from privacy.errors import InputError, VerificationFailed
from privacy.signing import Signer, Verifier

REQUEST: Final = "application/vnd.kith.request+json"
REPLY: Final = "application/vnd.kith.reply+json"
MAX_BYTES: Final = 128 * 2**20
"""Of one envelope."""


def seal_request(request: Request, coordinator: Signer) -> bytes:
    """The request, signed."""
    return dsse.sign(wire.to_bytes(request), coordinator, payload_type=REQUEST).to_bytes()


def open_request(data: bytes, coordinators: Mapping[str, Verifier]) -> Request:
    """The request that one of these coordinators signed.

    Args:
        data: as it came.
        coordinators: the keys that may start runs here, by keyid.

    Raises:
        InputError: if `data` is no request.
        VerificationFailed: if none of them signed it (rule 1).
    """
    envelope = Envelope.from_bytes(data, "request", MAX_BYTES)
    return wire.from_bytes(_payload(envelope, REQUEST, coordinators, "request")[0], Request, "request")


def seal_reply(reply: Message, request: bytes, site: Signer) -> bytes:
    """The reply to the sealed request with these bytes, signed."""
    payload = canonical.to_bytes({"reply": fields.to_base64(wire.to_bytes(reply)), "request": digest(request)})
    return dsse.sign(payload, site, payload_type=REPLY).to_bytes()


def open_reply(data: bytes, request: bytes, sites: Mapping[str, Verifier]) -> tuple[str, Message]:
    """Who answered, and what.

    Args:
        data: as it came.
        request: the sealed request that was sent.
        sites: every site's key, by name.

    Raises:
        InputError: if `data` is no reply.
        VerificationFailed: if none of the sites signed it, or as the answer to another request (rule 2).
    """
    names = {key.keyid: name for name, key in sites.items()}
    envelope = Envelope.from_bytes(data, "reply", MAX_BYTES)
    payload, keyid = _payload(envelope, REPLY, {key.keyid: key for key in sites.values()}, "reply")
    where = f"reply of {names[keyid]!r:.80}"
    document = fields.exactly(canonical.from_bytes(payload, where, MAX_BYTES), ("reply", "request"), where)
    if document["request"] != digest(request):
        raise VerificationFailed(f"{where}: expected the answer to this request, got another's")
    return names[keyid], wire.from_bytes(fields.from_base64(document["reply"], where), Message, where)


def digest(sealed: bytes) -> str:
    """sha256 (hex) of an envelope's bytes."""
    return hashlib.sha256(sealed).hexdigest()


def _payload(envelope: Envelope, kind: str, keys: Mapping[str, Verifier], what: str) -> tuple[bytes, str]:
    """The payload under its one signature by one of the keys, and whose that is."""
    if envelope.payload_type != kind or len(envelope.signatures) != 1:
        raise InputError(f"{what}: expected one signature over {kind}, got otherwise")
    key = keys.get(envelope.signatures[0].keyid)
    if key is None:
        raise VerificationFailed(f"{what}: expected the signature of a known key, got another")
    dsse.verify(envelope, key, payload_type=kind, where=what)
    return envelope.payload, key.keyid
