"""A site's shares for another one, sealed so that only that one reads them, and bound to the list that it was shown.

A sealed bag is the 32 bytes of the participants' digest, then the bag under a key of the two sites' sealing keys. The
key is used for nothing else: it is derived for these participants, so this run and plan, and this sender and recipient.
"""

from __future__ import annotations

import hashlib
from typing import Final

from federation.secure_sum.adverts import Participants
from federation.secure_sum.site_secrets import BAG_BYTES
from privacy import key_agreement
from privacy.errors import InputError, VerificationFailed
from privacy.key_agreement import AgreementKey

_BAG: Final = b"kith.secure-sum.bag.v1\0"
_DIGEST_BYTES: Final = 32


def seal_bag(bag: bytes, participants: Participants, sender: str, recipient: str, key: AgreementKey) -> bytes:
    """The sender's bag for the recipient; `key` is the sender's."""
    about = _about(participants, sender, recipient)
    return participants.digest + key_agreement.seal(
        key.agree(participants.adverts[recipient].sealing, about), bag, about
    )


def check_bag(sealed: bytes, participants: Participants, sender: str) -> None:
    """What anybody can check of a sealed bag.

    Raises:
        InputError: if it is of another length.
        VerificationFailed: if its sender was shown another list of participants.
    """
    where = f"shares of {sender!r:.80}"
    releases = len(participants.adverts[sender].masks)
    expected = _DIGEST_BYTES + releases * BAG_BYTES + key_agreement.TAG_BYTES
    if len(sealed) != expected:
        raise InputError(f"{where}: expected {expected} bytes, got {len(sealed)}")
    if sealed[:_DIGEST_BYTES] != participants.digest:
        raise VerificationFailed(f"{where}: expected the same list of participants as here, got another")


def open_bag(sealed: bytes, participants: Participants, sender: str, recipient: str, key: AgreementKey) -> bytes:
    """The bag; `key` is the recipient's.

    Raises:
        VerificationFailed: if it was not sealed by this sender for this recipient and these participants.
    """
    about = _about(participants, sender, recipient)
    return key_agreement.unseal(key.agree(participants.adverts[sender].sealing, about), sealed[_DIGEST_BYTES:], about)


def _about(participants: Participants, sender: str, recipient: str) -> bytes:
    ids = (hashlib.sha256(name.encode("utf-8")).digest() for name in (sender, recipient))
    return _BAG + participants.digest + b"".join(ids)
