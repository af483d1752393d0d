"""Ed25519 signatures (RFC 8032), behind two protocols and a key URI.

A key is known by `keyid`, the sha256 (hex) of its 32 raw public bytes.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from privacy.errors import InputError, VerificationFailed

PUBLIC_BYTES: Final = 32
_MAX_PEM: Final = 10_000


class Signer(Protocol):
    """Something that holds a private key: a file here, a hardware module elsewhere."""

    @property
    def keyid(self) -> str:
        """sha256 (hex) of `public`."""

    @property
    def public(self) -> bytes:
        """The 32 raw public bytes."""

    def sign(self, data: bytes) -> bytes:
        """The 64 bytes of signature under `data`."""


class Verifier(Protocol):
    """One public key."""

    @property
    def keyid(self) -> str:
        """sha256 (hex) of `public`."""

    @property
    def public(self) -> bytes:
        """The 32 raw public bytes."""

    def verify(self, data: bytes, signature: bytes) -> None:
        """Return if `signature` is this key's under `data`.

        Raises:
            VerificationFailed: if it is not.
        """


def keyid(public: bytes) -> str:
    """The name of a public key."""
    return hashlib.sha256(public).hexdigest()


def signer_from_uri(uri: str) -> Signer:
    """The key that `uri` names: `file:/path` to an unencrypted PKCS#8 PEM that nobody but its owner may read.

    Raises:
        InputError: for another scheme, an unreadable file, a file open to others, or one without an Ed25519 key.
    """
    scheme, _, path = uri.partition(":")
    if scheme != "file" or not path:
        raise InputError(f"key: expected file:/path, got scheme {scheme[:20]!r}")
    return _from_pem(_read_private(path), path)


def create_key(path: Path) -> Signer:
    """A new key, written to `path` (mode 0600, on disk before this returns).

    Raises:
        InputError: if `path` exists or can not be written.
    """
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        sync_directory(path.parent)
    except OSError as error:
        raise InputError(f"key {path}: expected a new file that can be written, got {error.strerror}") from None
    return _from_pem(pem, str(path))


def verifier(public: bytes) -> Verifier:
    """The verifier of a raw public key.

    Raises:
        InputError: if `public` is no Ed25519 public key.
    """
    if len(public) != PUBLIC_BYTES:
        raise InputError(f"public key: expected {PUBLIC_BYTES} bytes, got {len(public)}")
    try:
        return _Ed25519Verifier(public, Ed25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise InputError("public key: expected an Ed25519 public key, got other bytes") from None


def sync_directory(path: Path) -> None:
    """Put a directory's own entries on disk, so that a new file's name survives a crash."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class _Ed25519Signer:
    public: bytes
    _key: Ed25519PrivateKey = field(repr=False)

    @property
    def keyid(self) -> str:
        return keyid(self.public)

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)


@dataclass(frozen=True, slots=True)
class _Ed25519Verifier:
    public: bytes
    _key: Ed25519PublicKey = field(repr=False, compare=False)

    @property
    def keyid(self) -> str:
        return keyid(self.public)

    def verify(self, data: bytes, signature: bytes) -> None:
        try:
            self._key.verify(signature, data)
        except InvalidSignature:
            raise VerificationFailed(f"signature: expected one by key {self.keyid[:16]}, got another") from None


def _read_private(path: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077:
                mode = oct(stat.S_IMODE(status.st_mode))
                raise InputError(f"key {path}: expected a file that only its owner may read, got mode {mode}")
            return file.read(_MAX_PEM)
    except (OSError, ValueError) as error:
        raise InputError(f"key {path}: expected a readable file, got {type(error).__name__}") from None


def _from_pem(pem: bytes, path: str) -> Signer:
    try:
        key = load_pem_private_key(pem, password=None)
    except Exception:  # a private key's bytes must not travel in another library's message, whatever its type
        raise InputError(f"key {path}: expected an unencrypted PKCS#8 PEM, got something else") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"key {path}: expected an Ed25519 key, got another kind")
    return _Ed25519Signer(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw), key)
