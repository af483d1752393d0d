"""The Merkle tree of RFC 6962 section 2.1 (RFC 9162 section 2.1): roots and proofs from stored complete subtrees.

A tree is a size and a way to look up the hash of a complete subtree: `node(level, index)` covers the leaves from
index * 2**level to (index + 1) * 2**level. Appending a leaf completes on average two such nodes (`completed`), and
roots and proofs read O(log² size) of them at most, so a log that keeps its nodes never hashes its past again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from privacy.errors import InputError, VerificationFailed

EMPTY_ROOT: Final = hashlib.sha256(b"").digest()

Node = Callable[[int, int], bytes]


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256(0x00 || entry)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Tree:
    """The first `size` leaves of a log; `node` must know every complete subtree of them."""

    size: int
    node: Node

    @classmethod
    def of(cls, leaf_hashes: Sequence[bytes]) -> Tree:
        """The tree over leaf hashes held in memory."""
        nodes: dict[tuple[int, int], bytes] = {}
        for index, leaf in enumerate(leaf_hashes):
            nodes.update(completed(index, leaf, lambda level, at: nodes[level, at]))
        return cls(len(leaf_hashes), lambda level, at: nodes[level, at])

    def root(self) -> bytes:
        """MTH of all leaves (RFC 9162 section 2.1.1)."""
        return self._hash(0, self.size) if self.size else EMPTY_ROOT

    def inclusion(self, index: int) -> tuple[bytes, ...]:
        """PATH(index, leaves), nearest sibling first (RFC 9162 section 2.1.3.1).

        Raises:
            InputError: if the tree has no such leaf.
        """
        if not 0 <= index < self.size:
            raise InputError(f"inclusion: expected a leaf below {self.size}, got {index}")
        return tuple(self._path(index, 0, self.size))

    def consistency(self, earlier: int) -> tuple[bytes, ...]:
        """PROOF(earlier, leaves): the tree of the first `earlier` leaves is a prefix (RFC 9162 section 2.1.4.1).

        Raises:
            InputError: if `earlier` is not from 0 to the size.
        """
        if not 0 <= earlier <= self.size:
            raise InputError(f"consistency: expected an earlier size of at most {self.size}, got {earlier}")
        return tuple(self._subproof(earlier, 0, self.size, True)) if 0 < earlier < self.size else ()

    def _hash(self, start: int, end: int) -> bytes:
        size = end - start
        if size & (size - 1) == 0:
            level = size.bit_length() - 1
            return self.node(level, start >> level)
        middle = start + _split(size)
        return node_hash(self._hash(start, middle), self._hash(middle, end))

    def _path(self, index: int, start: int, end: int) -> Iterator[bytes]:
        if end - start == 1:
            return
        middle = start + _split(end - start)
        if index < middle:
            yield from self._path(index, start, middle)
            yield self._hash(middle, end)
        else:
            yield from self._path(index, middle, end)
            yield self._hash(start, middle)

    def _subproof(self, earlier: int, start: int, end: int, whole: bool) -> Iterator[bytes]:
        if earlier == end:
            if not whole:
                yield self._hash(start, end)
            return
        middle = start + _split(end - start)
        if earlier <= middle:
            yield from self._subproof(earlier, start, middle, whole)
            yield self._hash(middle, end)
        else:
            yield from self._subproof(earlier, middle, end, False)
            yield self._hash(start, middle)


def completed(index: int, leaf: bytes, node: Node) -> dict[tuple[int, int], bytes]:
    """The nodes, by (level, index), that leaf number `index` completes, its own hash first."""
    level, result = 0, {(0, index): leaf}
    while index & 1:
        leaf = node_hash(node(level, index - 1), leaf)
        level, index = level + 1, index >> 1
        result[level, index] = leaf
    return result


def root(leaf_hashes: Sequence[bytes]) -> bytes:
    """MTH of leaf hashes held in memory."""
    return Tree.of(leaf_hashes).root()


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Return if the leaf with hash `leaf` is number `index` of the tree of `size` leaves (RFC 9162 section 2.1.3.2).

    Raises:
        VerificationFailed: if the proof does not show it.
    """
    if not 0 <= index < size:
        raise VerificationFailed(f"inclusion: expected a leaf below {size}, got {index}")
    first, last, result = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise VerificationFailed("inclusion: expected a shorter proof")
        if first & 1 or first == last:
            result = node_hash(sibling, result)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            result = node_hash(result, sibling)
        first, last = first >> 1, last >> 1
    if last or result != root:
        raise VerificationFailed(f"inclusion: expected a proof of leaf {index} under the root, got another")


def verify_consistency(earlier: int, size: int, proof: Sequence[bytes], earlier_root: bytes, root: bytes) -> None:
    """Return if the tree of `earlier` leaves is a prefix of the tree of `size` (RFC 9162 section 2.1.4.2).

    Raises:
        VerificationFailed: if the proof does not show it.
    """
    if earlier == 0:
        holds = not proof and earlier_root == EMPTY_ROOT and (size > 0 or (size == 0 and root == EMPTY_ROOT))
    elif earlier == size:
        holds = not proof and earlier_root == root
    else:
        holds = 0 < earlier < size and _both_roots(earlier, size, proof, earlier_root) == (earlier_root, root)
    if not holds:
        raise VerificationFailed(f"consistency: expected a proof from size {earlier} to {size}, got another")


def _both_roots(earlier: int, size: int, proof: Sequence[bytes], earlier_root: bytes) -> tuple[bytes, bytes] | None:
    """The roots of both trees that a proof with 0 < earlier < size leads to; None if its length is wrong."""
    path = [earlier_root, *proof] if earlier & (earlier - 1) == 0 else list(proof)
    first, last = earlier - 1, size - 1
    while first & 1:
        first, last = first >> 1, last >> 1
    if not path:
        return None
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return None
        if first & 1 or first == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        first, last = first >> 1, last >> 1
    return None if last else (old, new)


def _split(size: int) -> int:
    return 1 << ((size - 1).bit_length() - 1)
