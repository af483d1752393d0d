"""What a pin vouches for: roots, or a whole list that knows what was revoked."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from privacy import canonical, key_list, signing
from privacy.errors import InputError, VerificationFailed
from privacy.key_list import KeyList
from privacy.trust_roots import PinnedKeys, TrustRoots
from tests.privacy.fixed_signer import FixedSigner

ROOTS = [FixedSigner(n) for n in (101, 102, 103)]
OTHERS = [FixedSigner(n) for n in (111, 112, 113)]
COORDINATOR, NORTH, SOUTH, SPARE = (FixedSigner(n) for n in (1, 2, 3, 4))
PARTIES = {"coordinator": COORDINATOR.public, "site/North": NORTH.public, "site/South": SOUTH.public}
NOW = 1_763_000_000


def opened(listed: KeyList, *signers: FixedSigner) -> KeyList:
    return key_list.open_key_list(key_list.sign_key_list(listed, *(signers or ROOTS[:2])))


def first(roots: list[FixedSigner] = ROOTS) -> KeyList:
    return opened(key_list.first_list("Group", [one.public for one in roots], 2, PARTIES, NOW), *roots[:2])


ONE = first()
TWO = opened(key_list.rotated(ONE, "site/North", SPARE.public, NOW))
THREE = opened(key_list.revoked(TWO, NORTH.keyid, NOW))


def pin(listed: KeyList) -> PinnedKeys:
    return PinnedKeys.from_bytes(listed.envelope, "pin")


def test_roots_of_signers_are_their_verifiers() -> None:
    roots = TrustRoots.of(COORDINATOR, {"South": SOUTH, "North": NORTH})
    assert roots == ONE.trusted()
    assert roots.sites["North"] == signing.verifier(NORTH.public)


def test_pinned_roots_are_the_golden_file(golden: Callable[[str, bytes], None]) -> None:
    golden("roots.json", PinnedKeys.of(ONE).to_bytes())


def test_a_pin_is_read_from_a_roots_file_or_a_key_list(tmp_path: Path) -> None:
    roots, keys = tmp_path / "roots.json", tmp_path / "keys.json"
    roots.write_text(json.dumps(json.loads(PinnedKeys.of(ONE).to_bytes()), indent=2))
    keys.write_bytes(ONE.envelope)
    assert PinnedKeys.read(roots) == PinnedKeys.of(ONE)
    assert PinnedKeys.read(keys) == replace(PinnedKeys.of(ONE), known=ONE)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"threshold": 0}, id="no signature needed"),
        pytest.param({"threshold": 4}, id="more than there are"),
        pytest.param({"roots": []}, id="none"),
        pytest.param({"roots": list(ONE.roots[::-1])}, id="in another order"),
        pytest.param({"roots": [ONE.roots[0]] * 2}, id="one twice"),
        pytest.param({"roots": [*ONE.roots[:2], "z" * 44]}, id="no key"),
        pytest.param({"group": ""}, id="no group"),
        pytest.param({"more": 1}, id="a field more"),
    ],
)
def test_a_file_that_pins_nothing_usable_is_refused(change: dict[str, Any]) -> None:
    document = json.loads(PinnedKeys.of(ONE).to_bytes())
    with pytest.raises(InputError):
        PinnedKeys.from_bytes(canonical.to_bytes({**document, **change}), "pin")


def test_an_unreadable_file_or_a_list_that_too_few_signed_pins_nothing(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(InputError, match="readable"):
            PinnedKeys.read(path)
    (tmp_path / "keys.json").write_bytes(key_list.sign_key_list(ONE, ROOTS[0]))
    with pytest.raises(VerificationFailed, match="2 root keys"):
        PinnedKeys.read(tmp_path / "keys.json")


def test_pinned_roots_vouch_for_every_list_that_they_signed() -> None:
    for listed in (ONE, TWO, THREE, opened(ONE, *ROOTS), opened(ONE, *ROOTS[1:])):
        PinnedKeys.of(ONE).check(listed)


def test_a_list_of_other_roots_is_refused_though_it_is_signed_by_its_own() -> None:
    forged = first(OTHERS)
    for pinned in (PinnedKeys.of(ONE), pin(ONE), pin(THREE)):
        with pytest.raises(VerificationFailed, match="pinned"):
            pinned.check(forged)


def test_one_pinned_root_among_others_is_not_the_pinned_threshold() -> None:
    mixed = [ROOTS[0], *OTHERS[:2]]
    with pytest.raises(VerificationFailed, match="pinned roots: expected signatures of 2 root keys, got 1"):
        PinnedKeys.of(ONE).check(first(mixed))


def test_another_group_s_list_by_the_same_roots_is_refused() -> None:
    other = opened(replace(ONE, group="Other", envelope=b""))
    for pinned in (PinnedKeys.of(ONE), pin(ONE)):
        with pytest.raises(VerificationFailed, match="Other"):
            pinned.check(other)


def test_a_pinned_list_vouches_for_itself_for_older_ones_of_its_history_and_for_later_ones() -> None:
    retired = opened(key_list.rotated(TWO, "coordinator", FixedSigner(5).public, NOW))
    for pinned in (pin(ONE), pin(TWO), pin(retired)):
        for listed in (ONE, TWO, retired):
            pinned.check(listed)


def test_a_key_that_is_revoked_in_the_pinned_list_counts_in_no_older_one() -> None:
    with pytest.raises(VerificationFailed, match="'site/North': expected a key in force"):
        pin(THREE).check(ONE)
    pin(THREE).check(TWO)  # there it is retired: it signs nothing
    PinnedKeys.of(ONE).check(ONE)  # roots alone can not know


def test_a_fork_of_a_pinned_list_is_refused_before_at_and_after_its_number() -> None:
    other_two = opened(key_list.revoked(ONE, SOUTH.keyid, NOW))
    other_three = opened(key_list.revoked(other_two, NORTH.keyid, NOW))
    for pinned, shown in ((TWO, other_two), (TWO, other_three), (THREE, other_two), (other_two, THREE)):
        with pytest.raises(VerificationFailed, match="fork"):
            pin(pinned).check(shown)


def test_a_list_with_other_contents_under_the_pinned_number_is_refused() -> None:
    later = opened(replace(ONE, issued_at=NOW + 1, envelope=b""))
    with pytest.raises(VerificationFailed, match="fork"):
        pin(ONE).check(later)


def test_a_list_from_before_the_roots_changed_is_vouched_for_by_a_later_one() -> None:
    moved = opened(key_list.with_roots(TWO, [one.public for one in OTHERS], 2, NOW), *ROOTS[:2], *OTHERS[:2])
    after = opened(key_list.rotated(moved, "site/South", FixedSigner(6).public, NOW), *OTHERS[:2])
    for listed in (ONE, TWO, moved, after):
        pin(after).check(listed)
    PinnedKeys.of(ONE).check(moved)
    for pinned in (PinnedKeys.of(ONE), pin(TWO)):
        with pytest.raises(VerificationFailed, match="pinned roots"):
            pinned.check(after)  # two steps on: the pin must take the step between first
