"""The masks under which values leave a site, and that cancel out, or can be taken off, in the sum alone.

A site's masked values are, modulo 2**64,

    values + own mask + sum over the others of the sum: the mask shared with each, subtracted by the later in order

Every mask is the ChaCha20 keystream of a key of its own, derived for one release of one run of one plan, one list of
sites and one site or pair: no mask is of use anywhere else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.secure_sum.releases import digest_of
from privacy.key_agreement import AgreementKey, Keystream, derive

_OWN: Final = b"kith.secure-sum.own-mask.v1\0"
_PAIR: Final = b"kith.secure-sum.pair-mask.v1\0"
WORD: Final = np.dtype("<u8")

Masked = NDArray[np.uint64]


@dataclass(frozen=True)
class Masks:
    """The masks of one release.

    Attributes:
        scope: 32 bytes that stand for run, plan, release and the sites of the sum.
        size: coordinates.
    """

    scope: bytes
    size: int

    def of_site(self, site: str, seed: bytes) -> Masked:
        """A site's own mask."""
        return self._stream(derive(seed, _OWN + self.scope + _id(site)))

    def of_pair(self, site: str, other: str, key: AgreementKey, public: bytes) -> Masked:
        """What `site` adds for `other`, which adds its negative: from either's private key and the other's public one.

        Raises:
            InputError: if the public key is none.
        """
        first, second = sorted((site, other))
        mask = self._stream(key.agree(public, _PAIR + self.scope + _id(first) + _id(second)))
        return mask if site == first else np.negative(mask)

    def of_pairs(self, site: str, key: AgreementKey, others: Mapping[str, bytes]) -> Masked:
        """The sum of what `site` adds for each of the others, whose public keys these are."""
        total = np.zeros(self.size, dtype=np.uint64)
        for other, public in others.items():
            total += self.of_pair(site, other, key, public)
        return total

    def _stream(self, key: bytes) -> Masked:
        return np.frombuffer(Keystream(key).read(WORD.itemsize * self.size), dtype=WORD).astype(np.uint64, copy=False)


@lru_cache(maxsize=16)
def masks_of(run: str, plan: str, event: str, index: int, sites: tuple[str, ...], size: int) -> Masks:
    """The masks of a release.

    Args:
        run: the run's id.
        plan: sha256 (hex) of the plan.
        event: of the release.
        index: of the release, from 0.
        sites: those of the sum, in order.
        size: coordinates.
    """
    return Masks(digest_of("release", run=run, plan=plan, event=event, index=index, sites=sites), size)


@lru_cache(maxsize=4096)
def _id(site: str) -> bytes:
    return hashlib.sha256(site.encode("utf-8")).digest()
