"""Secrets of sites restored from shares that others reply, some of which may be wrong.

Rules:
    1. A secret counts only if it is the one that its owner committed to beforehand, or that its public key is of.
    2. Up to half of what was replied beyond the threshold may be wrong for any number of secrets. What more can be
       mended by leaving repliers out is tried, `TRIES` times in all: every way, in groups of up to 13 sites.
    3. A share is wrong if it does not go with a restored secret. It is its replier's fault where that gave wrong shares
       of more secrets than there may be colluding sites to have dealt them so; else it may be either's, and is said so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import combinations, islice
from typing import Final

import numpy as np

from federation.secure_sum import shamir
from federation.secure_sum.shamir import RandomBytes, Values
from federation.secure_sum.wrong_shares import wrong_places

TRIES: Final = 1_000

Check = Callable[[bytes], bool]
Shares = Mapping[str, Mapping[str, bytes]]
"""By replier, then by whose secret."""


@dataclass
class Restored:
    """What came of it.

    Attributes:
        secrets: by owner, those that could be restored.
        wrong: of which owners' secrets a replier's shares were wrong, by replier.
    """

    secrets: dict[str, bytes] = field(default_factory=dict)
    wrong: dict[str, set[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Table:
    """Shares of some secrets by the same repliers: values (repliers, secrets * 16)."""

    repliers: tuple[str, ...]
    points: tuple[int, ...]
    owners: tuple[str, ...]
    values: Values

    def of(self, owner: str) -> Values:
        start = self.owners.index(owner) * shamir.LIMBS
        return self.values[:, start : start + shamir.LIMBS]


def restore(
    shares: Shares, points: Mapping[str, int], checks: Mapping[str, Check], threshold: int, random_bytes: RandomBytes
) -> Restored:
    """The secrets that can be restored.

    Args:
        shares: as replied, each of `shamir.SHARE_BYTES`.
        points: where the polynomials are taken for a replier.
        checks: whose secrets are wanted, and whether a candidate is it (rule 1).
        threshold: how many shares restore a secret.
        random_bytes: a source of uniform bytes, unknown to the repliers when they replied.
    """
    restored = Restored()
    repliers_of: dict[tuple[str, ...], list[str]] = {}
    for owner in checks:
        repliers_of.setdefault(tuple(name for name in sorted(shares) if owner in shares[name]), []).append(owner)
    for repliers, owners in repliers_of.items():
        if len(repliers) >= threshold:
            table = _table(shares, repliers, owners, points)
            _restore_table(table, checks, threshold, random_bytes, restored)
    return restored


def _table(shares: Shares, repliers: tuple[str, ...], owners: list[str], points: Mapping[str, int]) -> _Table:
    raw = b"".join(shares[name][owner] for name in repliers for owner in owners)
    values = shamir.to_values(np.frombuffer(raw, dtype=np.uint8).reshape(len(repliers), len(owners), -1))
    return _Table(repliers, tuple(points[name] for name in repliers), tuple(owners), values.reshape(len(repliers), -1))


def _restore_table(
    table: _Table, checks: Mapping[str, Check], threshold: int, random_bytes: RandomBytes, restored: Restored
) -> None:
    """Rule 2: all secrets at once without the shares that are found wrong, then one by one those still missing."""
    wrong = wrong_places(table.points, table.values, threshold, random_bytes) or ()
    places = range(len(table.points))
    used = tuple(place for place in places if place not in wrong)[:threshold]
    missing = []
    limbs = _at(table, used, 0, table.values).reshape(-1, shamir.LIMBS)
    for owner, found in zip(table.owners, limbs, strict=True):
        if _is(found, owner, checks, restored):
            _blame(table, used, owner, wrong, restored)
        else:
            missing.append(owner)
    for used in islice(combinations(places, threshold), TRIES if missing else 0):
        for owner in [one for one in missing if _is(_at(table, used, 0, table.of(one)), one, checks, restored)]:
            _blame(table, used, owner, places, restored)
            missing.remove(owner)
        if not missing:
            break


def _is(limbs: Values, owner: str, checks: Mapping[str, Check], restored: Restored) -> bool:
    """Whether these are the limbs of the owner's secret (rule 1), which then is restored."""
    secret = shamir.to_secret(limbs)
    if secret is None or not checks[owner](secret):
        return False
    restored.secrets[owner] = secret
    return True


def _blame(
    table: _Table, used: tuple[int, ...], owner: str, suspects: range | tuple[int, ...], restored: Restored
) -> None:
    """Rule 3: of the suspects, those whose share is not what the shares used say."""
    values = table.of(owner)
    for place in suspects:
        if place not in used and (_at(table, used, table.points[place], values) != values[place]).any():
            restored.wrong.setdefault(table.repliers[place], set()).add(owner)


def _at(table: _Table, used: tuple[int, ...], place: int, values: Values) -> Values:
    return shamir.at(place, [table.points[one] for one in used], values[list(used)])
