"""Requests under the coordinator's signature, and replies under the site's: what a messenger carries and can not alter.

Rules:
    1. A request counts only under the signature of a coordinator whom the site lets start runs.
    2. A reply counts only under the signature of a site, and only as the answer to exactly one request, whose digest it
       carries: nobody answers in another's name, and no reply is used for another request.
    3. A request counts until the time that its coordinator wrote into it, by the site's clock: one that was kept back,
       or that the coordinator has given up, is not served later.
    4. Nothing is parsed before its signature holds (`privacy.dsse`, rule 5): strangers' bytes cost little.

Both are DSSE envelopes with payload types of their own, so neither can be taken for the other or for a receipt.

A request names no addressee, as the coordinator sends the same bytes to all: which node is whose it learns only from
their replies. What a site does with one that was meant for another is what the coordinator could have asked of it too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from federation import wire
from federation.wire import Message, Request
from privacy import canonical, dsse, fields
from privacy.errors import Refused, VerificationFailed
from privacy.signing import Signer, Verifier

REQUEST: Final = "application/vnd.kith.request+json"
REPLY: Final = "application/vnd.kith.reply+json"
MAX_BYTES: Final = 128 * 2**20
"""Of one envelope."""


@dataclass(frozen=True)
class Answered:
    """What came of a sealed request.

    Attributes:
        asked: what it asked; None if it did not count.
        told: the reply.
        sealed: the reply as it leaves.
    """

    asked: Request | None
    told: Message
    sealed: bytes


def seal_request(request: Request, coordinator: Signer, not_after: int) -> bytes:
    """The request, signed; it counts until `not_after`, in seconds of UTC since 1970."""
    payload = canonical.to_bytes({"not_after": not_after, "request": fields.to_base64(wire.to_bytes(request))})
    return dsse.sign(payload, coordinator, payload_type=REQUEST).to_bytes()


def open_request(data: bytes, coordinators: Mapping[str, Verifier], now: int) -> Request:
    """The request that one of these coordinators signed.

    Args:
        data: as it came.
        coordinators: the keys that may start runs here, by keyid.
        now: in seconds of UTC since 1970, by the site's clock.

    Raises:
        InputError: if `data` is no request.
        VerificationFailed: if none of them signed it (rule 1).
        Refused: if its time is over (rule 3).
    """
    payload, _ = dsse.opened(data, coordinators, REQUEST, "request", MAX_BYTES)  # rule 4
    document = fields.exactly(canonical.from_bytes(payload, "request", MAX_BYTES), ("not_after", "request"), "request")
    not_after = fields.whole(document["not_after"], "request, not_after")
    if now > not_after:
        raise Refused(f"request, not_after: expected {now} (UTC, by the site's clock) or later, got {not_after}")
    return wire.from_bytes(fields.from_base64(document["request"], "request"), Request, "request")


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
    payload, key = dsse.opened(data, {one.keyid: one for one in sites.values()}, REPLY, "reply", MAX_BYTES)  # rule 4
    where = f"reply of {names[key.keyid]!r:.80}"
    document = fields.exactly(canonical.from_bytes(payload, where, MAX_BYTES), ("reply", "request"), where)
    if document["request"] != digest(request):
        raise VerificationFailed(f"{where}: expected the answer to this request, got another's")
    return names[key.keyid], wire.from_bytes(fields.from_base64(document["reply"], where), Message, where)


def digest(sealed: bytes) -> str:
    """sha256 (hex) of an envelope's bytes."""
    return hashlib.sha256(sealed).hexdigest()
