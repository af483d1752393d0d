from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy import dsse, fields, signing
from privacy.errors import InputError, KithError, VerificationFailed
from tests.privacy.fixed_signer import FixedSigner

SIGNER = FixedSigner(7)
VERIFIER = signing.verifier(SIGNER.public)


def test_pae_is_that_of_protocol_md() -> None:
    """Test vector of github.com/secure-systems-lab/dsse, protocol.md."""
    assert dsse.pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_pae_counts_bytes_not_characters() -> None:
    assert dsse.pae("ü", "ü".encode()) == b"DSSEv1 2 \xc3\xbc 2 \xc3\xbc"


@given(st.binary(max_size=200))
def test_a_signed_payload_comes_back(payload: bytes) -> None:
    data = dsse.sign(payload, SIGNER).to_bytes()
    assert dsse.verify(dsse.Envelope.from_bytes(data), VERIFIER) == payload


@pytest.mark.parametrize("payload", [b"", b"a", b"ab", b"abc"])
def test_one_changed_bit_anywhere_is_refused(payload: bytes) -> None:
    data = dsse.sign(payload, SIGNER).to_bytes()
    for position in range(len(data)):
        for bit in range(8):
            changed = data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :]
            with pytest.raises(KithError):
                dsse.verify(dsse.Envelope.from_bytes(changed), VERIFIER)


@pytest.mark.parametrize("other", [lambda data: data + b"\n", lambda data: b" " + data, lambda data: data + data])
def test_other_writings_of_the_same_envelope_are_refused(other: object) -> None:
    data = dsse.sign(b"payload", SIGNER).to_bytes()
    with pytest.raises(KithError):
        dsse.Envelope.from_bytes(other(data))
    with pytest.raises(VerificationFailed, match="canonical"):
        dsse.Envelope.from_bytes(json.dumps(json.loads(data), indent=1).encode())


def test_a_signature_over_another_type_does_not_count() -> None:
    envelope = dsse.sign(b"payload", SIGNER, payload_type="text/plain")
    with pytest.raises(VerificationFailed, match="payload type"):
        dsse.verify(envelope, VERIFIER)
    renamed = dsse.Envelope(dsse.PAYLOAD_TYPE, envelope.payload, envelope.signatures)
    with pytest.raises(VerificationFailed, match="signature"):
        dsse.verify(renamed, VERIFIER)


def test_signatures_are_exactly_those_of_the_keys_asked_for() -> None:
    second = FixedSigner(8)
    both = signing.verifier(second.public)
    dsse.verify(dsse.sign(b"payload", SIGNER, second), VERIFIER, both)
    for envelope, verifiers in [
        (dsse.sign(b"payload", SIGNER, second), (VERIFIER,)),
        (dsse.sign(b"payload", SIGNER), (VERIFIER, both)),
        (dsse.sign(b"payload", second), (VERIFIER,)),
        (dsse.sign(b"payload"), ()),
    ]:
        with pytest.raises(VerificationFailed, match="exactly"):
            dsse.verify(envelope, *verifiers)


def test_a_signature_renamed_to_the_expected_key_is_refused() -> None:
    forged = dsse.sign(b"payload", FixedSigner(8)).signatures[0].signature
    envelope = dsse.Envelope(dsse.PAYLOAD_TYPE, b"payload", (dsse.Signature(SIGNER.keyid, forged),))
    with pytest.raises(VerificationFailed, match="signature"):
        dsse.verify(envelope, VERIFIER)


def test_base64_with_other_padding_bits_is_refused() -> None:
    data = dsse.sign(b"a", SIGNER).to_bytes()
    assert base64.b64decode(b"YR==") == b"a"
    with pytest.raises(InputError, match="base64"):
        dsse.Envelope.from_bytes(data.replace(b'"YQ=="', b'"YR=="'))


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused_without_a_traceback(data: bytes) -> None:
    with pytest.raises(KithError):
        dsse.Envelope.from_bytes(data)


def test_those_of_many_keys_that_signed_are_found_and_strangers_passed_over() -> None:
    keys = [FixedSigner(n) for n in (1, 2, 3)]
    verifiers = [signing.verifier(one.public) for one in keys]
    envelope = dsse.sign(b"payload", keys[2], SIGNER, keys[0])
    assert dsse.signed_by(envelope, verifiers) == (verifiers[2], verifiers[0])
    assert dsse.signed_by(envelope, []) == ()


def test_a_key_that_signed_twice_or_falsely_is_refused_among_many() -> None:
    twice = dsse.sign(b"payload", SIGNER, SIGNER)
    with pytest.raises(VerificationFailed, match="two of one"):
        dsse.signed_by(twice, [VERIFIER])
    other = dsse.sign(b"other", SIGNER).signatures
    for envelope in (replace(twice, signatures=other), replace(dsse.sign(b"payload", SIGNER), payload=b"changed")):
        with pytest.raises(VerificationFailed, match="signature"):
            dsse.signed_by(envelope, [VERIFIER])
    with pytest.raises(VerificationFailed, match="payload type"):
        dsse.signed_by(dsse.sign(b"payload", SIGNER, payload_type="text/plain"), [VERIFIER])


def opened(data: bytes) -> bytes:
    payload, key = dsse.opened(data, {VERIFIER.keyid: VERIFIER}, "text/plain", "envelope", 10_000)
    assert key is VERIFIER
    return payload


@given(st.binary(max_size=200))
def test_what_one_key_signed_is_opened_as_it_is_read(payload: bytes) -> None:
    data = dsse.sign(payload, SIGNER, payload_type="text/plain").to_bytes()
    assert opened(data) == dsse.Envelope.from_bytes(data).payload == payload


@pytest.mark.parametrize("payload", [b"", b"a", b"ab", b"abc"])
def test_opening_finds_one_changed_bit_anywhere(payload: bytes) -> None:
    data = dsse.sign(payload, SIGNER, payload_type="text/plain").to_bytes()
    for position in range(len(data)):
        for bit in range(8):
            with pytest.raises(KithError):
                opened(data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :])


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data + b"\n",
        lambda data: b" " + data,
        lambda data: json.dumps(json.loads(data), indent=1).encode(),
        lambda data: data.replace(b"text/plain", b"text\\/plain"),
        lambda data: data.replace(b'"YQ=="', b'"YR=="'),
        lambda data: data.replace(b'"YQ=="', b'"YQ="'),
        lambda data: data.replace(b'"YQ=="', b'"YQ"'),
        lambda data: data.replace(b'"YQ=="', b'"Y\\u0051=="'),
        lambda data: data.replace(b'"payload"', b'"payload":"","payload"'),
    ],
)
def test_opening_refuses_other_writings_of_the_same_envelope(change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(InputError):
        opened(change(dsse.sign(b"a", SIGNER, payload_type="text/plain").to_bytes()))


def test_what_is_of_another_type_key_or_length_is_not_even_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "from_base64", lambda *_: pytest.fail("it was decoded"))
    for envelope, words in (
        (dsse.sign(b"a", SIGNER, payload_type="text/html"), "text/plain"),
        (dsse.sign(b"a", SIGNER, FixedSigner(8), payload_type="text/plain"), "one signature"),
        (dsse.sign(b"a", payload_type="text/plain"), "one signature"),
        (dsse.sign(b"a", FixedSigner(8), payload_type="text/plain"), "known key"),
        (dsse.sign(bytes(10_000), SIGNER, payload_type="text/plain"), "at most 10000 bytes"),
    ):
        with pytest.raises(KithError, match=words):
            opened(envelope.to_bytes())
