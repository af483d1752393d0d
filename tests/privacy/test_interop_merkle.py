"""Roots and proofs of RFC 6962 against transparency-dev/merkle's vectors, and its ways of spoiling them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from privacy import merkle
from privacy.errors import VerificationFailed

VECTORS = json.loads((Path(__file__).parent / "vectors" / "merkle.json").read_text(encoding="utf-8"))
LEAVES = [merkle.leaf_hash(bytes.fromhex(leaf)) for leaf in VECTORS["leaves"]]
ROOTS = [bytes.fromhex(root) for root in VECTORS["roots"]]
EMPTY = sha256(b"").digest()
SOME = bytes.fromhex("abacaba000000000000000000000000000000000000000000060061e00123456")
Proof = list[bytes]


def hashes(proof: list[str]) -> Proof:
    return [bytes.fromhex(one) for one in proof]


def flipped(proof: Proof, at: int, mask: int) -> Proof:
    return [*proof[:at], bytes([proof[at][0] ^ mask]) + proof[at][1:], *proof[at + 1 :]]


def spoiled_inclusion(index: int, size: int, proof: Proof) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """(name, arguments of verify_inclusion) as proof/verify_test.go corrupts: corruptInclusionProof."""
    leaf, root = LEAVES[index], ROOTS[size - 1]
    yield "leafIndex - 1", (leaf, index - 1, size, proof, root)
    yield "leafIndex + 1", (leaf, index + 1, size, proof, root)
    yield "leafIndex ^ 2", (leaf, index ^ 2, size, proof, root)
    yield "treeSize * 2", (leaf, index, size * 2, proof, root)
    yield "treeSize / 2", (leaf, index, size // 2, proof, root)
    yield "wrong leaf", (b"WrongLeaf", index, size, proof, root)
    yield "empty root", (leaf, index, size, proof, EMPTY)
    yield "random root", (leaf, index, size, proof, SOME)
    yield "trailing garbage", (leaf, index, size, [*proof, b""], root)
    yield "trailing root", (leaf, index, size, [*proof, root], root)
    yield "preceding garbage", (leaf, index, size, [b"", *proof], root)
    yield "preceding root", (leaf, index, size, [root, *proof], root)
    for at in range(len(proof)):
        yield f"modified proof[{at}] bit 3", (leaf, index, size, flipped(proof, at, 8), root)
    if proof:
        yield "removed component", (leaf, index, size, proof[:-1], root)
    if len(proof) > 1:
        yield "inserted component", (leaf, index, size, [proof[0], SOME, *proof[1:]], root)


def spoiled_consistency(earlier: int, size: int, proof: Proof) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """(name, arguments of verify_consistency), as corruptConsistencyProof."""
    old, new = ROOTS[earlier - 1], ROOTS[size - 1]
    yield "size1 - 1", (earlier - 1, size, proof, old, new)
    yield "size1 + 1", (earlier + 1, size, proof, old, new)
    yield "size1 ^ 2", (earlier ^ 2, size, proof, old, new)
    yield "size2 * 2", (earlier, size * 2, proof, old, new)
    yield "size2 / 2", (earlier, size // 2, proof, old, new)
    yield "wrong root1", (earlier, size, proof, b"WrongRoot", new)
    yield "wrong root2", (earlier, size, proof, old, b"WrongRoot")
    yield "swapped roots", (earlier, size, proof, new, old)
    yield "empty proof", (earlier, size, [], old, new)
    for name, extra in (("garbage", b""), ("root1", old), ("root2", new)):
        yield f"trailing {name}", (earlier, size, [*proof, extra], old, new)
        yield f"preceding {name}", (earlier, size, [extra, *proof], old, new)
    yield "preceding proof[0]", (earlier, size, [proof[0], *proof], old, new)
    yield "truncated proof", (earlier, size, proof[:-1], old, new)
    for at in range(len(proof)):
        yield f"modified proof[{at}] bit 4", (earlier, size, flipped(proof, at, 16), old, new)


INCLUSION = [(one["index"], one["size"], hashes(one["proof"])) for one in VECTORS["inclusion"]]
CONSISTENCY = [(one["earlier"], one["size"], hashes(one["proof"])) for one in VECTORS["consistency"]]


@pytest.mark.parametrize(("index", "size", "proof"), INCLUSION, ids=[f"{i} of {s}" for i, s, _ in INCLUSION])
def test_published_inclusion_proofs_are_ours_and_hold(index: int, size: int, proof: Proof) -> None:
    assert list(merkle.Tree.of(LEAVES[:size]).inclusion(index)) == proof
    merkle.verify_inclusion(LEAVES[index], index, size, proof, ROOTS[size - 1])


@pytest.mark.parametrize(("earlier", "size", "proof"), CONSISTENCY, ids=[f"{e} to {s}" for e, s, _ in CONSISTENCY])
def test_published_consistency_proofs_are_ours_and_hold(earlier: int, size: int, proof: Proof) -> None:
    assert list(merkle.Tree.of(LEAVES[:size]).consistency(earlier)) == proof
    merkle.verify_consistency(earlier, size, proof, ROOTS[earlier - 1], ROOTS[size - 1])


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(arguments, id=f"{index} of {size}, {name}")
        for index, size, proof in INCLUSION
        for name, arguments in spoiled_inclusion(index, size, proof)
    ],
)
def test_no_spoiled_inclusion_proof_holds(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(VerificationFailed):
        merkle.verify_inclusion(*arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(arguments, id=f"{earlier} to {size}, {name}")
        for earlier, size, proof in CONSISTENCY
        if proof
        for name, arguments in spoiled_consistency(earlier, size, proof)
    ],
)
def test_no_spoiled_consistency_proof_holds(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(VerificationFailed):
        merkle.verify_consistency(*arguments)


@pytest.mark.parametrize(
    ("earlier", "size", "proof", "old", "new", "holds"),
    [
        pytest.param(0, 0, [], EMPTY, EMPTY, True, id="empty to empty"),
        pytest.param(0, 1, [], EMPTY, ROOTS[0], True, id="everything begins with nothing"),
        pytest.param(1, 1, [], ROOTS[0], ROOTS[0], True, id="same tree"),
        pytest.param(0, 0, [], EMPTY, SOME, False, id="empty trees of two roots"),
        pytest.param(0, 1, [], SOME, ROOTS[0], False, id="an empty tree of another root"),
        pytest.param(1, 0, [], ROOTS[0], EMPTY, False, id="back in time to nothing"),
        pytest.param(2, 1, [], ROOTS[1], ROOTS[0], False, id="back in time"),
        pytest.param(1, 2, [], ROOTS[0], ROOTS[1], False, id="empty proof"),
        pytest.param(1, 1, [], SOME, ROOTS[0], False, id="same size, another root"),
        pytest.param(0, 0, [EMPTY], EMPTY, EMPTY, False, id="empty trees with a proof"),
        pytest.param(0, 1, [EMPTY], EMPTY, ROOTS[0], False, id="from nothing with a proof"),
        pytest.param(1, 1, [EMPTY], ROOTS[0], ROOTS[0], False, id="same tree with a proof"),
    ],
)
def test_trivial_consistency(earlier: int, size: int, proof: Proof, old: bytes, new: bytes, holds: bool) -> None:
    """As TestVerifyConsistency there; only stricter: from size 0 the older root must be that of the empty tree."""
    if holds:
        merkle.verify_consistency(earlier, size, proof, old, new)
        return
    with pytest.raises(VerificationFailed):
        merkle.verify_consistency(earlier, size, proof, old, new)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 0), (2, 1), (1, 1)])
def test_a_leaf_outside_the_tree_is_never_included(index: int, size: int) -> None:
    for leaf, root in ((SOME, b""), (b"", EMPTY), (SOME, EMPTY), (SOME, SOME)):
        with pytest.raises(VerificationFailed):
            merkle.verify_inclusion(leaf, index, size, [], root)
