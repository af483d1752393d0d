"""A list of keys counts if its roots signed it, and follows another if the other's roots did."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import canonical, dsse, key_list, signing
from privacy.errors import InputError, KithError, VerificationFailed
from privacy.key_list import ACTIVE, RETIRED, REVOKED, Key, KeyList
from privacy.statement import Statement, Subject
from tests.privacy.fixed_signer import FixedSigner

ROOTS = [FixedSigner(n) for n in (101, 102, 103)]
COORDINATOR, NORTH, SOUTH, SPARE, STRANGER = (FixedSigner(n) for n in (1, 2, 3, 4, 99))
PARTIES = {"coordinator": COORDINATOR.public, "site/North": NORTH.public, "site/South & West": SOUTH.public}
NOW = 1_763_000_000
FIRST = key_list.first_list("Group", [one.public for one in ROOTS], 2, PARTIES, NOW)
SIGNED = key_list.sign_key_list(FIRST, *ROOTS[:2])


def opened(listed: KeyList, *signers: FixedSigner) -> KeyList:
    return key_list.open_key_list(key_list.sign_key_list(listed, *(signers or ROOTS[:2])))


def text(signer: FixedSigner) -> str:
    return base64.b64encode(signer.public).decode()


def envelope(document: dict[str, Any], *signers: FixedSigner, kind: str = key_list.KEY_LIST) -> bytes:
    """What somebody who holds root keys could sign: any document, with the digest that goes with it."""
    digest = hashlib.sha256(canonical.to_bytes(document)).hexdigest()
    statement = Statement((Subject("key list", digest),), kind, document)
    return dsse.sign(statement.to_bytes(), *(signers or ROOTS[:2])).to_bytes()


def test_a_signed_list_is_the_golden_file(golden: Callable[[str, bytes], None]) -> None:
    golden("keys.json", SIGNED)


def test_the_next_list_with_a_rotated_and_a_revoked_key_is_the_golden_file(
    golden: Callable[[str, bytes], None],
) -> None:
    second = opened(key_list.rotated(opened(FIRST), "site/North", SPARE.public, NOW + 60))
    third = key_list.revoked(second, SOUTH.keyid, NOW + 120)
    golden("keys-2.json", key_list.sign_key_list(third, *ROOTS[1:]))


def test_a_signed_list_comes_back_with_its_active_keys() -> None:
    back = key_list.open_key_list(SIGNED)
    assert back == FIRST
    trusted = back.trusted()
    assert trusted.coordinator.public == COORDINATOR.public
    assert {name: key.public for name, key in trusted.sites.items()} == {
        "North": NORTH.public,
        "South & West": SOUTH.public,
    }
    assert [back.status(one.keyid) for one in (NORTH, STRANGER)] == [ACTIVE, "unknown"]
    assert back.active("site/North") == Key("site/North", text(NORTH), ACTIVE, 0)


# Signatures


@pytest.mark.parametrize(
    "signers",
    [
        pytest.param(ROOTS[:1], id="too few roots"),
        pytest.param([STRANGER, SPARE], id="keys that are no roots"),
        pytest.param([ROOTS[0], STRANGER], id="one root and a stranger"),
        pytest.param([COORDINATOR, NORTH, SOUTH], id="the parties themselves"),
    ],
)
def test_a_list_without_enough_of_its_roots_signatures_is_refused(signers: list[FixedSigner]) -> None:
    data = key_list.sign_key_list(FIRST, *signers)
    with pytest.raises(VerificationFailed, match="2 root keys"):
        key_list.open_key_list(data)
    assert key_list.proposed(data) == FIRST


def test_one_root_s_signature_twice_is_not_two() -> None:
    twice = dsse.sign(dsse.Envelope.from_bytes(SIGNED).payload, ROOTS[0], ROOTS[0]).to_bytes()
    with pytest.raises(VerificationFailed, match="two of one"):
        key_list.open_key_list(twice)
    with pytest.raises(InputError, match="different root keys"):
        key_list.sign_key_list(FIRST, ROOTS[0], ROOTS[0])
    with pytest.raises(InputError, match="has not signed"):
        key_list.add_signature(SIGNED, ROOTS[0])


def test_a_signature_in_a_root_s_name_that_does_not_hold_spoils_the_list() -> None:
    document = json.loads(key_list.sign_key_list(FIRST, *ROOTS))
    document["signatures"][0]["sig"] = document["signatures"][1]["sig"]
    with pytest.raises(VerificationFailed, match="signature"):
        key_list.open_key_list(canonical.to_bytes(document))


def test_more_signatures_than_needed_and_of_strangers_do_no_harm() -> None:
    assert opened(FIRST, *ROOTS, STRANGER) == FIRST


def test_a_second_officer_signs_the_same_bytes_elsewhere() -> None:
    alone = key_list.sign_key_list(FIRST, ROOTS[0])
    assert key_list.add_signature(alone, ROOTS[1]) == SIGNED


def test_a_list_made_by_hand_is_not_taken_for_a_signed_one() -> None:
    for listed in (FIRST, replace(key_list.open_key_list(SIGNED), issued_at=NOW + 1)):
        with pytest.raises(VerificationFailed, match=r"signed list|under another"):
            listed.require(listed.roots, 1)
        with pytest.raises(VerificationFailed):
            key_list.follows(replace(key_list.rotated(FIRST, "site/North", SPARE.public, NOW), envelope=SIGNED), FIRST)


@settings(max_examples=200, deadline=None)
@given(position=st.integers(0, len(SIGNED) - 1), byte=st.integers(0, 255))
def test_one_changed_byte_anywhere_is_refused(position: int, byte: int) -> None:
    changed = SIGNED[:position] + bytes([byte]) + SIGNED[position + 1 :]
    if changed != SIGNED:
        with pytest.raises(KithError):
            key_list.open_key_list(changed)


# What a list may say, even if its roots signed it


def der(signer: FixedSigner) -> str:
    key = Ed25519PublicKey.from_public_bytes(signer.public)
    return base64.b64encode(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


@pytest.mark.parametrize(
    "public",
    [
        pytest.param(NORTH.public.hex(), id="hexadecimal"),
        pytest.param(der(NORTH), id="SubjectPublicKeyInfo"),
        pytest.param(text(NORTH).rstrip("="), id="base64 without padding"),
        pytest.param(text(NORTH) + "\n", id="base64 with a newline"),
        pytest.param(base64.urlsafe_b64encode(b"\xff" * 31 + b"\x7e").decode(), id="base64url"),
        pytest.param("-----BEGIN PUBLIC KEY-----", id="PEM"),
        pytest.param(base64.b64encode(bytes(32)).decode(), id="a point of small order"),
        pytest.param(base64.b64encode(b"\xff" * 32).decode(), id="no canonical point"),
        pytest.param("", id="empty"),
    ],
)
def test_a_key_in_another_encoding_is_refused(public: str) -> None:
    document = FIRST.to_document()
    document["keys"] = [{**one, "public": public} if one["party"] == "site/North" else one for one in document["keys"]]
    with pytest.raises(InputError):
        key_list.open_key_list(envelope(document))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"keys": (Key("coordinator", text(NORTH), ACTIVE, 0), *FIRST.keys[1:])}, id="two parties"),
        pytest.param(
            {"keys": (Key("coordinator", text(ROOTS[0]), ACTIVE, 0), *FIRST.keys[1:])}, id="a root and a party"
        ),
        pytest.param(
            {
                "keys": tuple(
                    sorted((*FIRST.keys, Key("site/North", text(NORTH), RETIRED, 0)), key=lambda one: one.party)
                )
            },
            id="one party twice",
        ),
    ],
)
def test_a_shared_key_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"every key once|in order"):
        replace(FIRST, **changes)


def test_two_active_keys_of_one_party_are_refused() -> None:
    keys = tuple(
        sorted((*FIRST.keys, Key("site/North", text(SPARE), ACTIVE, 0)), key=lambda one: (one.party, one.public))
    )
    with pytest.raises(InputError, match="one active key"):
        replace(FIRST, keys=keys)


def test_look_alike_parties_are_refused() -> None:
    with pytest.raises(InputError, match="one script"):
        key_list.first_list("Group", [ROOTS[0].public], 1, {**PARTIES, "site/N\u043erth": SPARE.public}, NOW)
    with pytest.raises(InputError, match="differ to the eye"):
        key_list.rotated(FIRST, "site/NORTH", SPARE.public, NOW)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(b'"number":0', b'"number":0,"number":0', id="number"),
        pytest.param(b'"threshold":2', b'"threshold":1,"threshold":2', id="threshold"),
        pytest.param(b'"status":"active"', b'"status":"active","status":"revoked"', id="status"),
    ],
)
def test_a_key_of_the_document_twice_is_refused_whoever_signed_it(old: bytes, new: bytes) -> None:
    payload = dsse.Envelope.from_bytes(SIGNED).payload
    assert old in payload
    with pytest.raises(InputError, match="twice"):
        key_list.open_key_list(dsse.sign(payload.replace(old, new, 1), *ROOTS).to_bytes())


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"threshold": 0}, id="no signature needed"),
        pytest.param({"threshold": 4}, id="more than there are roots"),
        pytest.param({"roots": []}, id="no roots"),
        pytest.param({"roots": [text(ROOTS[0])] * 3}, id="one root three times"),
        pytest.param({"roots": sorted((text(one) for one in ROOTS), reverse=True)}, id="roots in another order"),
        pytest.param({"keys": []}, id="no keys"),
        pytest.param({"keys": FIRST.to_document()["keys"][::-1]}, id="keys in another order"),
        pytest.param({"number": 1}, id="a number without history"),
        pytest.param({"history": ["0" * 64]}, id="a history without number"),
        pytest.param({"issued_at": -1}, id="a time before 1970"),
        pytest.param({"group": "Gr\u043eup"}, id="a look-alike group"),
        pytest.param({"extra": 1}, id="a field more"),
    ],
)
def test_a_signed_list_that_contradicts_itself_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        key_list.open_key_list(envelope({**FIRST.to_document(), **change}, *ROOTS))


@pytest.mark.parametrize("change", [{"status": "trusted"}, {"since": 1}, {"since": -1}, {"party": "boss"}], ids=str)
def test_a_signed_key_that_contradicts_the_list_is_refused(change: dict[str, Any]) -> None:
    document = FIRST.to_document()
    document["keys"][1] |= change
    with pytest.raises(InputError):
        key_list.open_key_list(envelope(document))


def test_another_statement_of_the_roots_is_no_key_list() -> None:
    with pytest.raises(VerificationFailed, match="key-list"):
        key_list.open_key_list(envelope(FIRST.to_document(), kind="urn:kith:receipt:v1"))
    statement = Statement((Subject("key list", "0" * 64),), key_list.KEY_LIST, FIRST.to_document())
    with pytest.raises(InputError, match="digest"):
        key_list.open_key_list(dsse.sign(statement.to_bytes(), *ROOTS).to_bytes())


# The next list


def test_a_rotated_key_is_retired_and_the_new_one_signs() -> None:
    first = opened(FIRST)
    second = opened(key_list.rotated(first, "site/North", SPARE.public, NOW + 1))
    key_list.follows(second, first)
    assert (second.number, second.history) == (1, (first.digest,))
    assert [second.status(one.keyid) for one in (NORTH, SPARE, SOUTH)] == [RETIRED, ACTIVE, ACTIVE]
    assert second.trusted().sites["North"].public == SPARE.public


def test_a_revoked_key_leaves_its_party_without_one() -> None:
    first = opened(FIRST)
    second = opened(key_list.revoked(first, NORTH.keyid, NOW + 1))
    key_list.follows(second, first)
    assert second.status(NORTH.keyid) == REVOKED
    assert set(second.trusted().sites) == {"South & West"}
    third = opened(key_list.rotated(second, "site/North", SPARE.public, NOW + 2))
    assert third.trusted().sites["North"].public == SPARE.public
    with pytest.raises(InputError, match="active or retired"):
        key_list.revoked(third, NORTH.keyid, NOW)
    with pytest.raises(InputError, match="active or retired"):
        key_list.revoked(third, STRANGER.keyid, NOW)


def test_without_a_coordinator_nothing_is_trusted() -> None:
    with pytest.raises(VerificationFailed, match="coordinator"):
        key_list.revoked(FIRST, COORDINATOR.keyid, NOW).trusted()


def test_a_key_that_is_in_the_list_already_is_nobody_s_new_one() -> None:
    second = key_list.rotated(FIRST, "site/North", SPARE.public, NOW)
    for public in (NORTH.public, SOUTH.public, ROOTS[0].public):
        with pytest.raises(InputError, match="every key once"):
            key_list.rotated(second, "site/North", public, NOW)


def test_an_older_list_or_the_same_again_does_not_follow() -> None:
    first = opened(FIRST)
    second = opened(key_list.rotated(first, "site/North", SPARE.public, NOW))
    third = opened(key_list.revoked(second, NORTH.keyid, NOW))
    for newer, older in ((first, second), (second, second), (third, first), (second, third)):
        with pytest.raises(VerificationFailed, match="expected list"):
            key_list.follows(newer, older)


def test_two_lists_of_one_number_are_a_fork_that_the_next_one_shows() -> None:
    first = opened(FIRST)
    one = opened(key_list.rotated(first, "site/North", SPARE.public, NOW))
    other = opened(key_list.revoked(first, NORTH.keyid, NOW))
    for branch in (one, other):
        key_list.follows(branch, first)
    after = opened(key_list.revoked(other, SOUTH.keyid, NOW))
    with pytest.raises(VerificationFailed, match="fork"):
        key_list.follows(after, one)
    with pytest.raises(VerificationFailed, match="fork"):
        key_list.extends(other, one)


def test_new_roots_need_the_older_s_signatures_too() -> None:
    first = opened(FIRST)
    mine = [FixedSigner(n) for n in (111, 112)]
    second = key_list.with_roots(first, [one.public for one in mine], 2, NOW)
    with pytest.raises(VerificationFailed, match="roots of list 0"):
        key_list.follows(opened(second, *mine), first)
    with pytest.raises(VerificationFailed, match="roots of list 0"):
        key_list.follows(opened(second, *mine, ROOTS[0]), first)
    with pytest.raises(VerificationFailed, match="2 root keys, got 0"):
        opened(second, *ROOTS)
    unfinished = key_list.proposed(key_list.sign_key_list(second, mine[0], *ROOTS[:2]))
    with pytest.raises(VerificationFailed, match="2 root keys, got 1"):
        key_list.follows(unfinished, first)
    both = opened(second, *mine, *ROOTS[1:])
    key_list.follows(both, first)
    key_list.follows(opened(key_list.revoked(both, NORTH.keyid, NOW), *mine), both)


def test_a_lower_threshold_counts_only_from_the_list_after() -> None:
    first = opened(FIRST)
    second = key_list.with_roots(first, [one.public for one in ROOTS], 1, NOW)
    with pytest.raises(VerificationFailed, match="roots of list 0: expected signatures of 2"):
        key_list.follows(opened(second, ROOTS[0]), first)


def test_another_group_s_list_of_the_same_roots_does_not_follow() -> None:
    with pytest.raises(VerificationFailed, match="Other"):
        key_list.follows(
            opened(replace(key_list.rotated(FIRST, "site/North", SPARE.public, NOW), group="Other")), FIRST
        )


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(lambda keys: keys[1:], id="gone"),
        pytest.param(lambda keys: [replace(keys[0], status=ACTIVE, since=2), *keys[1:]], id="back from the revoked"),
        pytest.param(lambda keys: [replace(keys[0], party="site/East"), *keys[1:]], id="another party's"),
        pytest.param(
            lambda keys: [*keys[:-1], replace(keys[-1], party="site/West", status=RETIRED, since=2)],
            id="another party's and retired",
        ),
        pytest.param(lambda keys: [replace(keys[0], since=0), *keys[1:]], id="revoked before it was"),
        pytest.param(lambda keys: [*keys, Key("site/East", text(STRANGER), ACTIVE, 1)], id="new but dated back"),
        pytest.param(
            lambda keys: [*keys[:-1], replace(keys[-1], status=REVOKED, since=1)], id="revoked but dated back"
        ),
    ],
)
def test_the_next_list_may_not_rewrite_what_was(changed: Callable[[list[Key]], list[Key]]) -> None:
    second = opened(key_list.revoked(FIRST, NORTH.keyid, NOW))
    ordered = sorted(second.keys, key=lambda one: one.status != REVOKED)
    honest = key_list.rotated(second, "site/East", SPARE.public, NOW)
    enrolled = [one for one in honest.keys if one.party == "site/East"]
    keys = sorted([*changed(ordered), *enrolled], key=lambda one: (one.party, one.public))
    if sum(one.party == "site/East" and one.status == ACTIVE for one in keys) > 1:
        keys = [one for one in keys if one not in enrolled]
    third = opened(replace(honest, keys=tuple(keys)))
    key_list.follows(opened(honest), second)
    with pytest.raises(VerificationFailed, match=r"expected it as before|expected changes since"):
        key_list.follows(third, second)


def test_ids_of_keys_are_sha256_of_the_raw_bytes() -> None:
    assert FIRST.keys[0].keyid == signing.keyid(COORDINATOR.public) == COORDINATOR.keyid
