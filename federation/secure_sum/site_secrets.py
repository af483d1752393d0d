"""What a site keeps to itself in a run: all of it drawn from one random root, so that it is the same after a crash.

The root's keystreams give the sealing key, for every release a mask key and a seed, and the coefficients by which those
are shared out. To whoever lacks the root each of them looks random, whatever is known of the others (ChaCha20 and
HKDF): a release's secrets, once told, tell nothing of another's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from federation.secure_sum import shamir
from federation.secure_sum.adverts import Advert, commitment
from federation.secure_sum.releases import plan_digest, releases
from privacy.key_agreement import KEY_BYTES, AgreementKey, Keystream, derive
from privacy.plan import Plan

_KEYS: Final = b"kith.secure-sum.keys.v1\0"
_SHARES: Final = b"kith.secure-sum.shares.v1\0"
BAG_BYTES: Final = 2 * shamir.SHARE_BYTES
"""Of a bag's part for one release: a share of the seed, then one of the mask key."""


@dataclass(frozen=True, repr=False)
class SiteSecrets:
    """A site's secrets in one run.

    Attributes:
        root: 32 random bytes.
        count: releases of the plan.
    """

    root: bytes
    count: int

    @cached_property
    def sealing(self) -> AgreementKey:
        """The key under which others seal for this site."""
        return AgreementKey(self._keys[:KEY_BYTES])

    def mask_key(self, place: int) -> AgreementKey:
        """The key of the release at a place, of which the masks shared with others are made."""
        return AgreementKey(self._piece(2 * place + 2))

    def seed(self, place: int) -> bytes:
        """The seed of the site's own mask in the release at a place."""
        return self._piece(2 * place + 1)

    def advert(self, run: str, plan: Plan, site: str) -> Advert:
        """The public side of it."""
        places = range(len(releases(plan)))
        masks = tuple(self.mask_key(place).public for place in places)
        commitments = tuple(commitment(self.seed(place)) for place in places)
        return Advert(run, plan_digest(plan), site, self.sealing.public, masks, commitments)

    def bags(self, points: tuple[int, ...], threshold: int) -> list[bytes]:
        """For each point its shares of all seeds and mask keys, release by release."""
        secrets = np.frombuffer(self._keys, dtype=np.uint8)[KEY_BYTES:].reshape(-1, shamir.SECRET_BYTES)
        shares = shamir.deal(secrets, points, threshold, Keystream(derive(self.root, _SHARES)).read)
        return [bag.tobytes() for bag in shares]

    @cached_property
    def _keys(self) -> bytes:
        return Keystream(derive(self.root, _KEYS)).read(KEY_BYTES * (1 + 2 * self.count))

    def _piece(self, number: int) -> bytes:
        return self._keys[KEY_BYTES * number : KEY_BYTES * (number + 1)]


def seed_share(bag: bytes, place: int) -> bytes:
    """The share of the seed for the release at a place."""
    return bag[place * BAG_BYTES :][: shamir.SHARE_BYTES]


def key_share(bag: bytes, place: int) -> bytes:
    """The share of the mask key for the release at a place."""
    return bag[place * BAG_BYTES :][shamir.SHARE_BYTES : BAG_BYTES]
