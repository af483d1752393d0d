from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from privacy import signing
from privacy.errors import InputError, VerificationFailed
from tests.privacy.fixed_signer import FixedSigner


def test_a_created_key_signs_what_its_public_half_verifies(tmp_path: Path) -> None:
    created = signing.create_key(tmp_path / "key")
    read = signing.signer_from_uri(f"file:{tmp_path / 'key'}")
    verifier = signing.verifier(created.public)
    assert read.public == created.public
    assert read.keyid == created.keyid == verifier.keyid
    verifier.verify(b"data", read.sign(b"data"))
    with pytest.raises(VerificationFailed):
        verifier.verify(b"date", read.sign(b"data"))


def test_rfc_8032_test_1_verifies() -> None:
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    signature = bytes.fromhex(
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b"
    )
    signing.verifier(public).verify(b"", signature)


def test_a_created_key_is_for_its_owner_only_and_never_overwritten(tmp_path: Path) -> None:
    signing.create_key(tmp_path / "key")
    before = (tmp_path / "key").read_bytes()
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(InputError, match="new file"):
        signing.create_key(tmp_path / "key")
    assert (tmp_path / "key").read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    signing.create_key(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(InputError, match="only its owner"):
        signing.signer_from_uri(f"file:{tmp_path / 'key'}")


@pytest.mark.parametrize("uri", ["hsm:slot-1", "/etc/key", "file:", "", "file:/no/such/key", "file:/dev/null"])
def test_other_places_of_keys_are_refused(uri: str) -> None:
    with pytest.raises(InputError, match="expected"):
        signing.signer_from_uri(uri)


def test_a_pipe_as_key_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "key", 0o600)
    with pytest.raises(InputError, match="only its owner"):
        signing.signer_from_uri(f"file:{tmp_path / 'key'}")


def test_other_kinds_of_keys_are_refused_without_their_bytes_in_the_message(tmp_path: Path) -> None:
    other = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content in (other, b"secret but no key"):
        path = tmp_path / "key"
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(InputError) as caught:
            signing.signer_from_uri(f"file:{path}")
        assert "secret" not in str(caught.value)
        assert caught.value.__cause__ is None


@pytest.mark.parametrize("length", [0, 31, 33])
def test_public_keys_of_another_length_are_refused(length: int) -> None:
    with pytest.raises(InputError, match="32 bytes"):
        signing.verifier(bytes(length))


P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
ORDER_8 = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")
"""One of the four points of order 8."""


def encoded(y: int, sign: int = 0) -> bytes:
    return (y | sign << 255).to_bytes(32, "little")


def doubled(x: int, y: int) -> tuple[int, int]:
    """Twice a point of -x² + y² = 1 + d x² y² (RFC 8032 section 5.1.4, in affine coordinates)."""
    product = D * x * x * y * y
    return 2 * x * y * pow(1 + product, -1, P) % P, (y * y + x * x) * pow(1 - product, -1, P) % P


def x_of(y: int) -> int:
    """RFC 8032 section 5.1.3."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    root = pow(square, (P + 3) // 8, P)
    return root if root * root % P == square else root * pow(2, (P - 1) // 4, P) % P


def test_keys_of_small_order_are_refused_all_eight() -> None:
    order_8 = int.from_bytes(ORDER_8, "little")
    points = set()
    for y in (0, 1, P - 1, order_8, P - order_8):
        point = (x_of(y), y)
        points |= {point, (-point[0] % P, y)}
        assert doubled(*doubled(*doubled(*point))) == (0, 1)
        for sign in (0, 1):
            with pytest.raises(InputError, match="large order"):
                signing.verifier(encoded(y, sign))
    assert len(points) == 8  # as many as there are: the group's order is 8 times a prime


def test_a_key_of_small_order_would_have_let_anybody_sign() -> None:
    neutral, base_point = encoded(1), bytes([0x58]) + bytes([0x66]) * 31
    forged = base_point + encoded(1)  # s = 1, R = B: s B = R + h A holds for every message, as A is neutral
    Ed25519PublicKey.from_public_bytes(neutral).verify(forged, b"whatever")
    with pytest.raises(InputError):
        signing.verifier(neutral)


@pytest.mark.parametrize("y", [P, P + 1, P + 3, 2**255 - 1])
def test_a_second_encoding_of_a_point_is_refused(y: int) -> None:
    with pytest.raises(InputError, match="canonical"):
        signing.verifier(encoded(y))


class InModule:
    """A key that never leaves its module."""

    def __init__(self, slot: str) -> None:
        self._key = FixedSigner(int(slot))
        self.public, self.keyid = self._key.public, self._key.keyid

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)


def test_a_scheme_is_registered_once_and_serves_keys_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "_SCHEMES", dict(signing._SCHEMES))
    signing.register_scheme("hsm", InModule)
    signer = signing.signer_from_uri("hsm:7")
    signing.verifier(FixedSigner(7).public).verify(b"data", signer.sign(b"data"))
    for taken in ("hsm", "file", "", "HSM", "a b"):
        with pytest.raises(InputError, match="new scheme"):
            signing.register_scheme(taken, InModule)
