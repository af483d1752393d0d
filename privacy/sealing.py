"""Sealing: bytes that only the holder of a key can read, and that nobody can change or move to another place.

`Sealer` seals for the holder of one secret key: AES-256-GCM under a random 96-bit nonce, good for 2**32 texts a key.
`seal_to` seals for the holder of a private key, so that who writes can not read: HPKE (RFC 9180), base mode, with
DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and ChaCha20Poly1305.

`about` says what a sealed text is and where it belongs. It is authenticated, not hidden: a text opens only under the
`about` it was sealed with. Lengths are not hidden; pad what must not be told by its length.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from privacy.errors import InputError, VerificationFailed
from privacy.fields import from_base64, to_base64
from privacy.secret_files import KEY_BYTES, write_new

_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_SECRET_DOMAIN: Final = b"kith.sealed.v1\0"
_PUBLIC_DOMAIN: Final = b"kith.sealed-to.v1\0"
_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


class Sealer:
    """Seals and opens under one secret key."""

    def __init__(self, key: bytes) -> None:
        """Hold a key of 32 bytes.

        Raises:
            InputError: if it has another length.
        """
        _check_key(key)
        self._cipher = AESGCM(key)

    def seal(self, plain: bytes, about: str) -> str:
        """Base64 of nonce, ciphertext and tag: another text each time."""
        nonce = os.urandom(_NONCE_BYTES)
        return to_base64(nonce + self._cipher.encrypt(nonce, plain, _bound(_SECRET_DOMAIN, about)))

    def open(self, sealed: str, about: str) -> bytes:
        """What was sealed under the same key and `about`.

        Raises:
            InputError: if `sealed` is no sealed text.
            VerificationFailed: if it was changed, moved or sealed under another key.
        """
        data = _parts(sealed, _NONCE_BYTES)
        try:
            return self._cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], _bound(_SECRET_DOMAIN, about))
        except InvalidTag:
            raise _broken() from None


def create_sealing_pair(private_path: Path, public_path: Path) -> None:
    """A new X25519 key pair, each half as one line of base64: the private one mode 0600, the public one 0644.

    Raises:
        InputError: if a path exists or can not be written; then neither file is left behind.
    """
    private = X25519PrivateKey.generate()
    write_new(private_path, to_base64(private.private_bytes_raw()) + "\n")
    try:
        write_new(public_path, to_base64(private.public_key().public_bytes_raw()) + "\n", mode=0o644)
    except InputError:
        private_path.unlink()
        raise


def seal_to(public: bytes, plain: bytes, about: str) -> str:
    """Base64 of the encapsulated key and the ciphertext: another text each time.

    Raises:
        InputError: if `public` is no X25519 public key.
    """
    _check_key(public)
    try:
        return to_base64(
            _SUITE.encrypt(plain, X25519PublicKey.from_public_bytes(public), _bound(_PUBLIC_DOMAIN, about))
        )
    except ValueError:  # a point of low order
        raise InputError("sealing: expected an X25519 public key, got other bytes") from None


def open_sealed(private: bytes, sealed: str, about: str) -> bytes:
    """What was sealed to this private key's public half under the same `about`.

    Raises:
        InputError: if `private` is no key, or `sealed` no sealed text.
        VerificationFailed: if it was changed, moved or sealed to another key.
    """
    _check_key(private)
    data = _parts(sealed, KEM.X25519.enc_length())
    try:
        return _SUITE.decrypt(data, X25519PrivateKey.from_private_bytes(private), _bound(_PUBLIC_DOMAIN, about))
    except (InvalidTag, ValueError):
        raise _broken() from None


def _check_key(key: bytes) -> None:
    if not isinstance(key, bytes) or len(key) != KEY_BYTES:
        raise InputError(f"sealing: expected a key of {KEY_BYTES} bytes, got otherwise")


def _bound(domain: bytes, about: str) -> bytes:
    try:
        return domain + about.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError("sealing: expected Unicode text about what is sealed, got a lone surrogate") from None


def _parts(sealed: str, head: int) -> bytes:
    data = from_base64(sealed, "sealed text")
    if len(data) < head + _TAG_BYTES:
        raise InputError(f"sealed text: expected at least {head + _TAG_BYTES} bytes, got {len(data)}")
    return data


def _broken() -> VerificationFailed:
    return VerificationFailed(
        "sealed text: expected one that this key opens in this place, got another or a changed one"
    )
