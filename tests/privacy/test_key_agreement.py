from __future__ import annotations

import hmac

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import InputError, VerificationFailed
from privacy.key_agreement import (
    _SMALL_ORDER,
    MAX_STREAM,
    TAG_BYTES,
    AgreementKey,
    Keystream,
    check_public,
    derive,
    seal,
    unseal,
)

KEY = bytes(range(32))
PRIME = 2**255 - 19
KEYS = st.binary(min_size=32, max_size=32)


def little(number: int) -> bytes:
    return number.to_bytes(32, "little")


@given(KEYS, KEYS, st.binary(max_size=100))
def test_both_come_to_the_same_key(mine: bytes, yours: bytes, info: bytes) -> None:
    a, b = AgreementKey(mine), AgreementKey(yours)
    assert a.agree(b.public, info) == b.agree(a.public, info)


def test_the_key_is_hkdf_sha256_of_x25519() -> None:
    other = X25519PrivateKey.generate().public_key().public_bytes_raw()
    shared = X25519PrivateKey.from_private_bytes(KEY).exchange(X25519PublicKey.from_public_bytes(other))
    extracted = hmac.digest(bytes(32), shared, "sha256")
    assert AgreementKey(KEY).agree(other, b"info") == hmac.digest(extracted, b"info\x01", "sha256")


def test_a_derived_key_is_hkdf_expand() -> None:
    assert derive(KEY, b"info") == hmac.digest(KEY, b"info\x01", "sha256")


def test_another_purpose_is_another_key() -> None:
    other = AgreementKey(KEY[::-1]).public
    assert AgreementKey(KEY).agree(other, b"a") != AgreementKey(KEY).agree(other, b"b")
    assert derive(KEY, b"a") != derive(KEY, b"b")


@pytest.mark.parametrize("u", [*sorted(_SMALL_ORDER), PRIME, PRIME + 1])
def test_a_point_of_small_order_makes_no_key(u: int) -> None:
    """With such a key everybody knows what is agreed on."""
    with pytest.raises(InputError, match="large order"):
        AgreementKey(KEY).agree(little(u), b"")
    with pytest.raises(InputError, match="here: expected an X25519 public key"):
        check_public(little(u), "here")


def test_a_second_writing_of_a_public_key_is_refused() -> None:
    check_public(little(9), "here")
    for other in (little(9 + PRIME), little(9 + 2**255), b"", KEY + b"\0"):
        with pytest.raises(InputError):
            check_public(other, "here")


def test_keystream_is_chacha20_of_rfc_8439() -> None:
    """Appendix A.1, vector 1: key, counter and nonce of zeros."""
    expected = "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7da41597c5157488d7724e03fb8d84a37"
    assert Keystream(bytes(32)).read(48).hex() == expected


@given(KEYS, st.lists(st.integers(0, 200), max_size=8))
def test_a_keystream_is_one_however_it_is_read(key: bytes, sizes: list[int]) -> None:
    stream = Keystream(key)
    assert b"".join(stream.read(size) for size in sizes) == Keystream(key).read(sum(sizes))


def test_a_keystream_ends_before_it_repeats() -> None:
    for size in (-1, MAX_STREAM + 1):
        with pytest.raises(InputError):
            Keystream(KEY).read(size)


def test_sealed_text_is_chacha20_poly1305() -> None:
    sealed = seal(KEY, b"plain", b"about")
    assert len(sealed) == len(b"plain") + TAG_BYTES
    assert ChaCha20Poly1305(KEY).decrypt(bytes(12), sealed, b"about") == b"plain"


@given(KEYS, st.binary(max_size=200), st.binary(max_size=50), st.data())
def test_sealed_text_opens_only_unchanged_under_its_key_about_the_same(
    key: bytes, plain: bytes, about: bytes, data: st.DataObject
) -> None:
    sealed = seal(key, plain, about)
    assert unseal(key, sealed, about) == plain
    place = data.draw(st.integers(0, len(sealed) - 1))
    changed = sealed[:place] + bytes([sealed[place] ^ data.draw(st.integers(1, 255))]) + sealed[place + 1 :]
    for k, text, what in ((key, changed, about), (derive(key, b""), sealed, about), (key, sealed, about + b"!")):
        with pytest.raises(VerificationFailed):
            unseal(k, text, what)


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33)])
def test_a_key_of_another_length_is_refused(key: bytes) -> None:
    for use in (AgreementKey, Keystream, lambda k: derive(k, b""), lambda k: seal(k, b"", b"")):
        with pytest.raises(InputError, match="32 bytes"):
            use(key)
    with pytest.raises(InputError, match="32 bytes"):
        unseal(key, bytes(16), b"")
