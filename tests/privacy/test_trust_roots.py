from __future__ import annotations

import json
from pathlib import Path

import pytest

from privacy.errors import InputError, VerificationFailed
from privacy.trust_roots import TrustRoots
from tests.privacy.small_release import FixedSigner

ROOTS = TrustRoots.of(FixedSigner(1), {"North": FixedSigner(2), "South": FixedSigner(3)})


def test_keys_come_back_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(json.dumps(json.loads(ROOTS.to_bytes()), indent=2))
    assert TrustRoots.read(tmp_path / "keys.json").to_bytes() == ROOTS.to_bytes()


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="readable"):
        TrustRoots.read(tmp_path / "absent")
    with pytest.raises(InputError, match="readable"):
        TrustRoots.read(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"South"', '"North"', "twice"),
        (FixedSigner(2).keyid, FixedSigner(3).keyid, "keyid"),
        ('"coordinator"', '"boss"', "exactly"),
        ("=", "", "base64"),
    ],
)
def test_keys_that_contradict_themselves_are_refused(old: str, new: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        TrustRoots.from_bytes(ROOTS.to_bytes().replace(old.encode(), new.encode()), "keys")


def test_a_key_shared_by_two_parties_is_refused() -> None:
    shared = TrustRoots.of(FixedSigner(1), {"North": FixedSigner(1)})
    with pytest.raises(InputError, match="of its own"):
        TrustRoots.from_bytes(shared.to_bytes(), "keys")


def test_a_pinned_file_may_know_more_sites_but_no_other_keys() -> None:
    TrustRoots.of(FixedSigner(1), {"North": FixedSigner(2)}).check_against(ROOTS)
    for other in (
        TrustRoots.of(FixedSigner(9), {"North": FixedSigner(2)}),
        TrustRoots.of(FixedSigner(1), {"North": FixedSigner(9)}),
        TrustRoots.of(FixedSigner(1), {"West": FixedSigner(2)}),
    ):
        with pytest.raises(VerificationFailed, match="key of"):
            other.check_against(ROOTS)
