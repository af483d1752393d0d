from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from privacy import signing
from privacy.errors import InputError, VerificationFailed


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
