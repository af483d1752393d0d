"""Ed25519 signatures (RFC 8032), behind two protocols and a key URI.

A key is known by `keyid`, the sha256 (hex) of its 32 raw public bytes. A URI's scheme says where a private key lives:
`file:` is known here, others are registered (`register_scheme`) by whoever brings the module that holds them.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable
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
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]{0,19}")
_PRIME: Final = 2**255 - 19
_ORDER_8: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER: Final = frozenset({0, 1, _PRIME - 1, _ORDER_8, _PRIME - _ORDER_8})
"""y coordinates of the eight points of small order: of order 4, 1, 2, and 8 twice."""


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
        InputError: for an unknown scheme, an unreadable file, a file open to others, or one without an Ed25519 key.
    """
    scheme, _, place = uri.partition(":")
    opened = _SCHEMES.get(scheme)
    if opened is None or not place:
        known = " or ".join(f"{name}:" for name in sorted(_SCHEMES))
        raise InputError(f"key: expected {known} and a place, got scheme {scheme[:20]!r}")
    return opened(place)


def register_scheme(scheme: str, opened: Callable[[str], Signer]) -> None:
    """Let `signer_from_uri` open keys of another kind, of a hardware module for one.

    Args:
        scheme: lower-case, without the colon.
        opened: gives the signer at what follows the colon; raises InputError if there is none.

    Raises:
        InputError: if the scheme is malformed or known already: nobody takes over a scheme.
    """
    if not _SCHEME.fullmatch(scheme) or scheme in _SCHEMES:
        raise InputError(f"key: expected a new scheme of lower-case letters, got {scheme[:20]!r}")
    _SCHEMES[scheme] = opened


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

    A key of small order is refused: signatures hold under it that nobody's private key made. So is a second encoding of
    a point (RFC 8032 section 5.1.3), by which one key would have two names.

    Raises:
        InputError: if `public` is no Ed25519 public key, of small order, or not in its one encoding.
    """
    if len(public) != PUBLIC_BYTES:
        raise InputError(f"public key: expected {PUBLIC_BYTES} bytes, got {len(public)}")
    y = int.from_bytes(public, "little") & (2**255 - 1)  # the top bit is x's sign
    if y >= _PRIME or y in _SMALL_ORDER:
        raise InputError("public key: expected a point of large order in canonical encoding, got another")
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


def _from_file(path: str) -> Signer:
    return _from_pem(_read_private(path), path)


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


_SCHEMES: Final[dict[str, Callable[[str], Signer]]] = {"file": _from_file}
