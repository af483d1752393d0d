"""Which shares are wrong, of more than are needed: the decoding of a Reed-Solomon code over the integers modulo 65537.

Shares of one secret at r points are a codeword of length r and dimension t; so is any combination of several secrets'.
A random combination over all secrets is wrong, but for a chance of 1 in 65537, at each point where any share is, so one
decoding finds up to (r - t) / 2 of them (Berlekamp & Massey), however many secrets there are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from federation.secure_sum.shamir import PRIME, RandomBytes, Values, inverse


def wrong_places(
    points: Sequence[int], values: Values, threshold: int, random_bytes: RandomBytes
) -> tuple[int, ...] | None:
    """Rows of `values` (points, n) that do not go with the others; None if there are too many to tell."""
    mixture = np.frombuffer(random_bytes(4 * values.shape[1]), dtype="<u4").astype(np.int64) % PRIME
    word = [int(one) for one in (values * mixture % PRIME).sum(axis=1) % PRIME]
    syndromes = _syndromes(points, word, len(points) - threshold)
    if not any(syndromes):
        return ()
    locator = _locator(syndromes)
    found = tuple(place for place, point in enumerate(points) if _value(locator, inverse(point)) == 0)
    return found if len(found) == len(locator) - 1 <= len(syndromes) // 2 else None


def _syndromes(points: Sequence[int], word: Sequence[int], count: int) -> list[int]:
    """Sums over the points of word * multiplier * point**m for m below `count`: all zero for a codeword."""
    known = np.array(points, dtype=np.int64)
    products = np.ones(len(points), dtype=np.int64)
    for place, point in enumerate(points):
        others = np.arange(len(points)) != place
        products[others] = products[others] * (known[others] - point) % PRIME
    terms = np.array([one * inverse(int(product)) for one, product in zip(word, products, strict=True)]) % PRIME
    sums = []
    for _ in range(count):
        sums.append(int(terms.sum() % PRIME))
        terms = terms * known % PRIME
    return sums


def _locator(syndromes: Sequence[int]) -> list[int]:
    """Coefficients, the constant 1 first, of the shortest recurrence that the syndromes obey (Massey 1969)."""
    current, before, length, gap, discrepancy_before = [1], [1], 0, 1, 1
    for place, syndrome in enumerate(syndromes):
        discrepancy = syndrome
        for back in range(1, min(length, len(current) - 1) + 1):
            discrepancy += current[back] * syndromes[place - back]
        discrepancy %= PRIME
        if discrepancy == 0:
            gap += 1
            continue
        factor = discrepancy * inverse(discrepancy_before) % PRIME
        shifted = [0] * gap + [factor * one % PRIME for one in before]
        width = max(len(current), len(shifted))
        longer = [(_term(current, n) - _term(shifted, n)) % PRIME for n in range(width)]
        if 2 * length <= place:
            length, before, discrepancy_before, gap = place + 1 - length, current, discrepancy, 1
        else:
            gap += 1
        current = longer
    return current[: length + 1] + [0] * (length + 1 - len(current))


def _term(polynomial: Sequence[int], power: int) -> int:
    return polynomial[power] if power < len(polynomial) else 0


def _value(polynomial: Sequence[int], place: int) -> int:
    value = 0
    for coefficient in reversed(polynomial):
        value = (value * place + coefficient) % PRIME
    return value
