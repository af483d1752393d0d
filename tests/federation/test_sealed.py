"""Sealed requests and replies, by what a messenger, another site or a stranger may do with them."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation import sealed, wire
from federation.wire import Contribution, Finish, Refusal
from privacy import canonical, dsse, fields
from privacy.dsse import Envelope
from privacy.errors import InputError, KithError, Refused, VerificationFailed
from privacy.signing import Signer, Verifier, create_key, verifier
from tests.federation.guards import payload_of

ASKED = Finish("run-1")
TOLD = Contribution(b"\1" * 8, b"receipt")
UNTIL = 1_800_000_000


class Keys:
    """A coordinator, two sites and a stranger."""

    def __init__(self, folder: Path) -> None:
        self.coordinator, self.north, self.south, self.stranger = (
            create_key(folder / f"{name}.pem") for name in ("coordinator", "north", "south", "stranger")
        )

    @property
    def coordinators(self) -> dict[str, Verifier]:
        return {self.coordinator.keyid: verifier(self.coordinator.public)}

    @property
    def sites(self) -> dict[str, Verifier]:
        return {"North": verifier(self.north.public), "South": verifier(self.south.public)}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def request_(keys: Keys) -> bytes:
    return sealed.seal_request(ASKED, keys.coordinator, UNTIL)


@pytest.fixture(scope="module")
def reply(keys: Keys, request_: bytes) -> bytes:
    return sealed.seal_reply(TOLD, request_, keys.north)


def test_a_sealed_request_and_its_reply_are_opened(keys: Keys, request_: bytes, reply: bytes) -> None:
    assert sealed.open_request(request_, keys.coordinators, UNTIL) == ASKED
    assert sealed.open_reply(reply, request_, keys.sites) == ("North", TOLD)


def test_the_same_request_is_sealed_in_the_same_bytes(keys: Keys, request_: bytes) -> None:
    """So a repeated request is the same one, and a reply to the first answers the second."""
    assert sealed.seal_request(Finish("run-1"), keys.coordinator, UNTIL) == request_


def test_a_request_of_an_unknown_coordinator_is_refused(keys: Keys) -> None:
    for signer in (keys.stranger, keys.north):
        with pytest.raises(VerificationFailed, match="known key"):
            sealed.open_request(sealed.seal_request(ASKED, signer, UNTIL), keys.coordinators, UNTIL)


def test_where_no_coordinator_may_ask_none_is_served(request_: bytes) -> None:
    with pytest.raises(VerificationFailed):
        sealed.open_request(request_, {}, UNTIL)


@settings(deadline=None)
@given(data=st.data())
def test_a_request_or_reply_with_a_changed_byte_is_refused(
    keys: Keys, request_: bytes, reply: bytes, data: st.DataObject
) -> None:
    flipped = data.draw(st.integers(1, 255))
    for sealed_, opened in (
        (request_, lambda other: sealed.open_request(other, keys.coordinators, UNTIL)),
        (reply, lambda other: sealed.open_reply(other, request_, keys.sites)),
    ):
        place = data.draw(st.integers(0, len(sealed_) - 1))
        with pytest.raises(KithError):
            opened(sealed_[:place] + bytes([sealed_[place] ^ flipped]) + sealed_[place + 1 :])


@settings(deadline=None)
@given(data=st.binary(max_size=300))
def test_noise_is_neither(keys: Keys, request_: bytes, data: bytes) -> None:
    with pytest.raises(InputError):
        sealed.open_request(data, keys.coordinators, UNTIL)
    with pytest.raises(InputError):
        sealed.open_reply(data, request_, keys.sites)


def of_a_receipt(message: bytes, signer: Signer) -> Envelope:
    return dsse.sign(message, signer)


def of_a_reply(message: bytes, signer: Signer) -> Envelope:
    return dsse.sign(message, signer, payload_type=sealed.REPLY)


def renamed(message: bytes, signer: Signer) -> Envelope:
    return replace(dsse.sign(message, signer), payload_type=sealed.REQUEST)


def with_two_signatures(message: bytes, signer: Signer) -> Envelope:
    return dsse.sign(message, signer, signer, payload_type=sealed.REQUEST)


def without_a_signature(message: bytes, signer: Signer) -> Envelope:
    del signer
    return Envelope(sealed.REQUEST, message, ())


@pytest.mark.parametrize(
    "seal", [of_a_receipt, of_a_reply, renamed, with_two_signatures, without_a_signature], ids=lambda one: one.__name__
)
def test_what_the_coordinator_signed_as_something_else_is_no_request(
    keys: Keys, seal: Callable[[bytes, Signer], Envelope]
) -> None:
    with pytest.raises(KithError):
        sealed.open_request(
            seal(payload_of(wire.to_bytes(ASKED)), keys.coordinator).to_bytes(), keys.coordinators, UNTIL
        )


def test_a_strangers_signature_beside_the_coordinators_is_refused(keys: Keys) -> None:
    both = dsse.sign(payload_of(wire.to_bytes(ASKED)), keys.coordinator, keys.stranger, payload_type=sealed.REQUEST)
    with pytest.raises(InputError, match="one signature"):
        sealed.open_request(both.to_bytes(), keys.coordinators, UNTIL)


def test_a_signature_under_the_coordinators_id_by_another_key_is_refused(keys: Keys) -> None:
    envelope = dsse.sign(payload_of(wire.to_bytes(ASKED)), keys.stranger, payload_type=sealed.REQUEST)
    (signature,) = envelope.signatures
    forged = replace(envelope, signatures=(replace(signature, keyid=keys.coordinator.keyid),))
    with pytest.raises(VerificationFailed):
        sealed.open_request(forged.to_bytes(), keys.coordinators, UNTIL)


def test_a_reply_that_the_coordinator_signed_as_a_request_is_no_request(keys: Keys) -> None:
    told = dsse.sign(payload_of(wire.to_bytes(Refusal("no"))), keys.coordinator, payload_type=sealed.REQUEST)
    with pytest.raises(InputError, match="message"):
        sealed.open_request(told.to_bytes(), keys.coordinators, UNTIL)


def test_a_request_is_no_reply_and_a_reply_no_request(keys: Keys, request_: bytes, reply: bytes) -> None:
    with pytest.raises(InputError):
        sealed.open_reply(request_, request_, keys.sites | {"Coordinator": verifier(keys.coordinator.public)})
    with pytest.raises(InputError):
        sealed.open_request(reply, {keys.north.keyid: verifier(keys.north.public)}, UNTIL)


def test_a_reply_to_another_request_is_refused(keys: Keys, reply: bytes) -> None:
    for other in (Finish("run-2"), replace(ASKED, run="run-1 ")):
        with pytest.raises(VerificationFailed, match="this request"):
            sealed.open_reply(reply, sealed.seal_request(other, keys.coordinator, UNTIL), keys.sites)


def test_a_reply_to_the_same_request_of_another_coordinator_is_refused(keys: Keys, reply: bytes) -> None:
    with pytest.raises(VerificationFailed, match="this request"):
        sealed.open_reply(reply, sealed.seal_request(ASKED, keys.stranger, UNTIL), keys.sites)


def test_a_reply_names_its_site_by_its_key_alone(keys: Keys, request_: bytes) -> None:
    assert sealed.open_reply(sealed.seal_reply(TOLD, request_, keys.south), request_, keys.sites)[0] == "South"


def test_a_reply_of_a_stranger_or_under_a_sites_id_by_another_key_is_refused(keys: Keys, request_: bytes) -> None:
    told = sealed.seal_reply(TOLD, request_, keys.stranger)
    with pytest.raises(VerificationFailed, match="known key"):
        sealed.open_reply(told, request_, keys.sites)
    envelope = Envelope.from_bytes(told)
    (signature,) = envelope.signatures
    forged = replace(envelope, signatures=(replace(signature, keyid=keys.north.keyid),))
    with pytest.raises(VerificationFailed):
        sealed.open_reply(forged.to_bytes(), request_, keys.sites)


def test_a_reply_of_two_sites_is_refused(keys: Keys, request_: bytes, reply: bytes) -> None:
    payload = Envelope.from_bytes(reply).payload
    both = dsse.sign(payload, keys.north, keys.south, payload_type=sealed.REPLY)
    with pytest.raises(InputError, match="one signature"):
        sealed.open_reply(both.to_bytes(), request_, keys.sites)


def test_a_receipt_is_no_reply(keys: Keys, request_: bytes, reply: bytes) -> None:
    with pytest.raises(InputError):
        sealed.open_reply(dsse.sign(Envelope.from_bytes(reply).payload, keys.north).to_bytes(), request_, keys.sites)


@pytest.mark.parametrize(
    "payload",
    [
        {"reply": fields.to_base64(wire.to_bytes(TOLD))},
        {"reply": "", "request": "REQUEST"},
        {"reply": 3, "request": "REQUEST"},
        {"reply": fields.to_base64(b"{}"), "request": "REQUEST"},
        {"reply": fields.to_base64(wire.to_bytes(TOLD)), "request": None},
        {"reply": fields.to_base64(wire.to_bytes(TOLD)), "request": "REQUEST", "site": "South"},
        ["REQUEST"],
    ],
    ids=["no request", "no reply", "a number", "no message", "no digest", "a name", "a list"],
)
def test_what_a_site_signed_that_is_no_reply_is_refused(keys: Keys, request_: bytes, payload: object) -> None:
    written = canonical.to_bytes(payload).replace(b"REQUEST", sealed.digest(request_).encode())
    told = dsse.sign(written, keys.north, payload_type=sealed.REPLY).to_bytes()
    with pytest.raises(KithError):
        sealed.open_reply(told, request_, keys.sites)


def test_what_is_too_long_is_refused_before_its_signature_is_looked_at(
    keys: Keys, request_: bytes, reply: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealed, "MAX_BYTES", 100)
    monkeypatch.setattr(dsse, "verify", lambda *_, **__: pytest.fail("it was verified"))
    with pytest.raises(InputError, match="at most 100 bytes"):
        sealed.open_request(request_, keys.coordinators, UNTIL)
    with pytest.raises(InputError, match="at most 100 bytes"):
        sealed.open_reply(reply, request_, keys.sites)


def test_a_request_that_was_kept_back_counts_no_longer_when_its_time_is_over(keys: Keys, request_: bytes) -> None:
    for late in (1, 200 * 86_400):
        with pytest.raises(Refused, match=f"expected {UNTIL + late} .* got {UNTIL}"):
            sealed.open_request(request_, keys.coordinators, UNTIL + late)


@pytest.mark.parametrize("until", [None, -1, "1800000000", True, 2**60], ids=str)
def test_a_request_without_a_time_is_none(keys: Keys, until: object) -> None:
    payload = json.dumps({"not_after": until, "request": fields.to_base64(wire.to_bytes(ASKED))}).encode()
    request = dsse.sign(payload, keys.coordinator, payload_type=sealed.REQUEST).to_bytes()
    with pytest.raises(InputError):
        sealed.open_request(request, keys.coordinators, 0)


LISTS = b"[]," * (1 << 20) + b"[]"
"""Each three bytes are an object of some sixty, once they are parsed."""


@pytest.mark.parametrize("key", ["coordinator", "north"])
@pytest.mark.parametrize(
    "hostile",
    [
        lambda _: b'{"payload":[' + LISTS + b'],"payloadType":"x","signatures":[]}',
        lambda _: b"[" + LISTS + b"]",
        lambda _: b'{"payload":"' + b"A" * len(LISTS),
        lambda one: one.replace(b'"payload":"', b'"payload":"' + b"=" * len(LISTS)),
        lambda one: one.replace(b'"payloadType":"', b'"payloadType":"' + b"x" * len(LISTS)),
    ],
    ids=["a list as payload", "a list", "an open end", "padding", "a long type"],
)
def test_what_nobody_signed_costs_no_more_than_its_bytes(
    keys: Keys, request_: bytes, monkeypatch: pytest.MonkeyPatch, hostile: Callable[[bytes], bytes], key: str
) -> None:
    """Neither at a guard nor at the coordinator, even under the id of a key that is known."""
    signer: Signer = getattr(keys, key)
    kind = sealed.REQUEST if key == "coordinator" else sealed.REPLY
    data = hostile(dsse.sign(b"[]", signer, payload_type=kind).to_bytes())
    check_cost(keys, request_, monkeypatch, data)


def test_a_forged_signature_costs_no_more_than_a_few_passes_over_the_bytes(
    keys: Keys, request_: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind, signer in ((sealed.REQUEST, keys.coordinator), (sealed.REPLY, keys.north)):
        signatures = dsse.sign(b"else", signer, payload_type=kind).signatures
        check_cost(keys, request_, monkeypatch, Envelope(kind, b"[" + LISTS + b"]", signatures).to_bytes())


def check_cost(keys: Keys, request: bytes, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Both sides refuse these bytes, without parsing and in memory of a few times their length."""
    monkeypatch.setattr(json, "loads", lambda *_, **__: pytest.fail("it was parsed"))
    for opened in (
        lambda: sealed.open_request(data, keys.coordinators, UNTIL),
        lambda: sealed.open_reply(data, request, keys.sites),
    ):
        tracemalloc.start()
        try:
            with pytest.raises(KithError):
                opened()
            assert tracemalloc.get_traced_memory()[1] < 8 * len(data)
        finally:
            tracemalloc.stop()
