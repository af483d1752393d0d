"""Secrets of 32 bytes shared out so that any `threshold` shares restore them, and fewer tell nothing (Shamir 1979).

A secret is 16 limbs of 16 bits, each the value at 0 of a polynomial of degree `threshold` - 1 over the integers modulo
65537, whose other coefficients are uniform; a share is the polynomials' values at its point. Products of matrices are
exact in float64: 65536² times 2**20 terms stay below 2**53.

A share is written in 34 bytes: the values' low 16 bits, little-endian, then a bit each for the value 65536.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from privacy.errors import InputError

PRIME: Final = 65537
SECRET_BYTES: Final = 32
LIMBS: Final = 16
SHARE_BYTES: Final = 34
MAX_TERMS: Final = 2**20
"""Of one product of matrices."""

Bytes = NDArray[np.uint8]
Values = NDArray[np.int64]
RandomBytes = Callable[[int], bytes]


def deal(secrets: Bytes, points: Sequence[int], threshold: int, random_bytes: RandomBytes) -> Bytes:
    """A share of every secret for every point.

    Args:
        secrets: (secrets, 32).
        points: distinct, from 1 to 65536.
        threshold: how many shares restore a secret.
        random_bytes: a source of uniform bytes.

    Returns:
        (points, secrets, 34).

    Raises:
        InputError: for points that are none, or fewer than the threshold.
    """
    _check_points(points, threshold)
    limbs = np.ascontiguousarray(secrets).reshape(-1, SECRET_BYTES).view("<u2").astype(np.int64).reshape(1, -1)
    others = _uniform((threshold - 1, limbs.shape[1]), random_bytes)
    values = _product(_powers(tuple(points), threshold), np.concatenate([limbs, others]))
    return to_shares(values.reshape(len(points), -1, LIMBS))


def to_shares(values: Values) -> Bytes:
    """The writing of shares: values (..., 16) to bytes (..., 34)."""
    low = (values & 0xFFFF).astype("<u2").view(np.uint8)
    return np.concatenate([low, np.packbits(values == PRIME - 1, axis=-1)], axis=-1)


def to_values(shares: Bytes) -> Values:
    """What `to_shares` wrote: bytes (..., 34) to values (..., 16). Other bytes give other values, whichever."""
    low = np.ascontiguousarray(shares[..., :SECRET_BYTES]).view("<u2").astype(np.int64)
    return np.where(np.unpackbits(shares[..., SECRET_BYTES:], axis=-1), PRIME - 1, low)


def at(place: int, points: Sequence[int], values: Values) -> Values:
    """The values at `place` of the polynomials of degree below len(points) that have these values (points, n) there.

    Raises:
        InputError: for points that are none.
    """
    _check_points(points, len(points))
    weights: Values = _basis(place, tuple(points))[None, :]
    return _product(weights, values).reshape(-1)


def to_secret(values: Values) -> bytes | None:
    """The secret whose 16 limbs these are; None if they are no limbs of a secret, but of shares that are wrong."""
    if (values >= PRIME - 1).any():
        return None
    return values.astype("<u2").tobytes()


def inverse(number: int) -> int:
    """Its inverse modulo 65537."""
    return pow(number, -1, PRIME)


def _product(left: Values, right: Values) -> Values:
    """The product of two matrices of values, exactly."""
    if left.shape[1] > MAX_TERMS:
        raise InputError(f"shares: expected at most {MAX_TERMS} terms, got {left.shape[1]}")
    return (left.astype(np.float64) @ right.astype(np.float64)).astype(np.int64) % PRIME


@lru_cache(maxsize=8)
def _powers(points: tuple[int, ...], count: int) -> Values:
    """(points, count): each point to the powers 0 to count - 1."""
    powers = np.ones((len(points), count), dtype=np.int64)
    for power in range(1, count):
        powers[:, power] = powers[:, power - 1] * np.array(points) % PRIME
    return powers


@lru_cache(maxsize=64)
def _basis(place: int, points: tuple[int, ...]) -> Values:
    """Lagrange's weights: the value at `place` is their product with the values at the points."""
    known = np.array(points, dtype=np.int64)
    above, below = np.ones(len(points), dtype=np.int64), np.ones(len(points), dtype=np.int64)
    for position, point in enumerate(points):
        others = np.arange(len(points)) != position
        above[others] = above[others] * (place - point) % PRIME
        below[others] = below[others] * (known[others] - point) % PRIME
    weights: Values = above * np.array([inverse(int(one)) for one in below]) % PRIME
    return weights


def _uniform(shape: tuple[int, int], random_bytes: RandomBytes) -> Values:
    """Uniform values by rejection: 2**32 - 1 is 65535 times 65537, so 32 bits are drawn again if all are ones."""
    drawn = np.full(shape[0] * shape[1], 2**32 - 1, dtype=np.uint32)
    while len(missing := np.flatnonzero(drawn == 2**32 - 1)):
        drawn[missing] = np.frombuffer(random_bytes(4 * len(missing)), dtype="<u4")
    return (drawn.astype(np.int64) % PRIME).reshape(shape)


def _check_points(points: Sequence[int], threshold: int) -> None:
    if not 1 <= threshold <= len(set(points)) == len(points) or not all(1 <= point < PRIME for point in points):
        raise InputError(f"shares: expected at least {threshold} distinct points from 1 to 65536, got otherwise")
