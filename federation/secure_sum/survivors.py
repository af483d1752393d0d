"""Lists of those whose masked values have arrived, and sites' signatures under them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from privacy import canonical, dsse, signing
from privacy.errors import VerificationFailed
from privacy.signing import Signer, Verifier

SURVIVORS: Final = "application/vnd.kith.secure-sum-survivors+json"


@lru_cache(maxsize=16)
def statement(run: str, plan: str, event: str, index: int, survivors: tuple[str, ...]) -> bytes:
    """What is signed: canonical JSON of a release and its survivors; `plan` is a digest (hex)."""
    return canonical.to_bytes({"event": event, "index": index, "plan": plan, "run": run, "survivors": list(survivors)})


def sign(listed: bytes, site: Signer) -> bytes:
    """A site's signature under a `statement`."""
    return site.sign(dsse.pae(SURVIVORS, listed))


def verify(listed: bytes, site: Verifier, signature: bytes) -> None:
    """Return if the signature under a `statement` is this site's.

    Raises:
        VerificationFailed: if it is not.
    """
    site.verify(dsse.pae(SURVIVORS, listed), signature)


def count(listed: bytes, signatures: Mapping[str, bytes], sites: Mapping[str, Verifier], enough: int) -> int:
    """How many of these sites have signed a `statement`, counted up to `enough`. What does not hold does not count."""
    found = 0
    for name in sorted(set(signatures) & set(sites)):
        if found == enough:
            break
        found += _holds(listed, sites[name].public, signatures[name])
    return found


@lru_cache(maxsize=1024)
def _holds(listed: bytes, public: bytes, signature: bytes) -> bool:
    """Where many sites are in one process, each is shown the same signatures."""
    try:
        verify(listed, signing.verifier(public), signature)
    except VerificationFailed:
        return False
    return True
