from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy import merkle
from privacy.errors import InputError, VerificationFailed

# certificate-transparency's reference leaves (merkletree/merkle_tree_test.cc) and the roots of their prefixes.
ENTRIES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAVES = [merkle.leaf_hash(entry) for entry in ENTRIES]


def naive_root(entries: Sequence[bytes]) -> bytes:
    """RFC 6962 section 2.1 read out word by word, with nothing of the module under test."""
    if not entries:
        return sha256(b"").digest()
    if len(entries) == 1:
        return sha256(b"\x00" + entries[0]).digest()
    k = 1
    while 2 * k < len(entries):
        k *= 2
    return sha256(b"\x01" + naive_root(entries[:k]) + naive_root(entries[k:])).digest()


def entries_of(size: int) -> list[bytes]:
    return [b"entry %d" % index for index in range(size)]


def tree_of(size: int) -> merkle.Tree:
    return merkle.Tree.of([merkle.leaf_hash(entry) for entry in entries_of(size)])


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    assert merkle.root(LEAVES[:size]).hex() == ROOTS[size - 1] == naive_root(ENTRIES[:size]).hex()


def test_the_empty_root_is_the_hash_of_nothing() -> None:
    assert merkle.root([]) == sha256(b"").digest()


@pytest.mark.parametrize("size", [*range(70), 127, 128, 129])
def test_roots_and_proofs_of_every_leaf(size: int) -> None:
    tree = tree_of(size)
    assert tree.root() == naive_root(entries_of(size))
    for index, entry in enumerate(entries_of(size)):
        merkle.verify_inclusion(merkle.leaf_hash(entry), index, size, tree.inclusion(index), tree.root())


@pytest.mark.parametrize("size", [*range(34), 64, 65])
def test_every_prefix_is_shown_consistent(size: int) -> None:
    tree = tree_of(size)
    for earlier in range(size + 1):
        proof = tree.consistency(earlier)
        merkle.verify_consistency(earlier, size, proof, naive_root(entries_of(earlier)), tree.root())


@given(st.data())
def test_no_changed_inclusion_proof_holds(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 80))
    index = data.draw(st.integers(0, size - 1))
    tree = tree_of(size)
    proof, leaf = list(tree.inclusion(index)), tree.node(0, index)
    other_index = data.draw(st.integers(-1, size).filter(lambda other: other != index))
    at = data.draw(st.integers(0, len(proof) - 1))
    flipped = bytes([proof[at][0] ^ 1]) + proof[at][1:]
    forgeries = [
        (leaf, other_index, size, proof),
        (merkle.leaf_hash(b"another"), index, size, proof),
        (leaf, index, size, proof[:at] + proof[at + 1 :]),
        (leaf, index, size, [*proof, proof[at]]),
        (leaf, index, size, [*proof[:at], flipped, *proof[at + 1 :]]),
    ]
    for forged in forgeries:
        with pytest.raises(VerificationFailed):
            merkle.verify_inclusion(*forged, tree.root())


@given(st.data())
def test_no_changed_consistency_proof_holds(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 80))
    earlier = data.draw(st.integers(1, size - 1))
    tree, old = tree_of(size), naive_root(entries_of(earlier))
    proof = list(tree.consistency(earlier))
    at = data.draw(st.integers(0, len(proof) - 1))
    flipped = bytes([proof[at][0] ^ 1]) + proof[at][1:]
    rewritten = naive_root([b"rewritten", *entries_of(earlier)[1:]])
    for forged_proof, forged_old in [
        (proof[:at] + proof[at + 1 :], old),
        ([*proof, proof[at]], old),
        ([*proof[:at], flipped, *proof[at + 1 :]], old),
        (proof, rewritten),
    ]:
        with pytest.raises(VerificationFailed):
            merkle.verify_consistency(earlier, size, forged_proof, forged_old, tree.root())


@pytest.mark.parametrize(("earlier", "size"), [(3, 2), (-1, 2), (0, -1)])
def test_impossible_sizes_are_refused(earlier: int, size: int) -> None:
    with pytest.raises(VerificationFailed):
        merkle.verify_consistency(earlier, size, [], merkle.EMPTY_ROOT, merkle.EMPTY_ROOT)
    with pytest.raises(InputError):
        tree_of(2).consistency(3)
    with pytest.raises(InputError):
        tree_of(2).inclusion(2)


def test_an_entry_that_looks_like_a_node_is_no_node() -> None:
    left, right = LEAVES[:2]
    assert merkle.leaf_hash(left + right) != merkle.node_hash(left, right)


def test_appending_hashes_a_constant_number_of_nodes_on_average() -> None:
    nodes: dict[tuple[int, int], bytes] = {}
    for index in range(1024):
        nodes.update(merkle.completed(index, merkle.leaf_hash(b"%d" % index), lambda level, at: nodes[level, at]))
    assert len(nodes) == 2 * 1024 - 1
