"""Keys that two parties come to by X25519, and what is done with them: keystreams, and texts sealed between the two.

Rules:
    1. A public key is 32 bytes in its one encoding, of a point that is not of small order. A shared secret of zeros,
       which nobody's private key is needed for, is refused all the same (RFC 7748, section 6.1).
    2. A shared secret is never used itself: keys are made of it by HKDF-SHA256 (RFC 5869), each for the one purpose
       that its `info` says.
    3. A key makes one keystream (ChaCha20, RFC 8439) or seals one text (ChaCha20-Poly1305): the nonce is zero, so a
       second one under the same key would undo the first. Whoever derives a key says in `info` all that its use is of.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from privacy.errors import InputError, VerificationFailed

KEY_BYTES: Final = 32
TAG_BYTES: Final = 16
MAX_STREAM: Final = 2**32
"""Bytes of one keystream: far below the 2**38 after which its counter of blocks would start again."""
_PRIME: Final = 2**255 - 19
_ORDER_8: Final = (
    0x00B8495F16056286FDB1329CEB8D09DA6AC49FF1FAE35616AEB8413B7C7AEBE0,
    0x57119FD0DD4E22D8868E1C58C45C44045BEF839C55B1D0B1248C50A3BC959C5F,
)
_SMALL_ORDER: Final = frozenset({0, 1, _PRIME - 1, *_ORDER_8})
"""u coordinates of the points of small order on the curve and its twist (cr.yp.to/ecdh.html, "validate")."""
_STREAM_NONCE: Final = bytes(16)
_SEAL_NONCE: Final = bytes(12)


class AgreementKey:
    """A private X25519 key."""

    def __init__(self, private: bytes) -> None:
        """Hold 32 private bytes.

        Raises:
            InputError: if they are not 32.
        """
        _check_key(private)
        self._key = X25519PrivateKey.from_private_bytes(private)

    @property
    def public(self) -> bytes:
        """The 32 public bytes."""
        return self._key.public_key().public_bytes_raw()

    def agree(self, public: bytes, info: bytes) -> bytes:
        """The 32-byte key that the other's public key and `info` give (rule 2); the other comes to the same.

        Raises:
            InputError: if `public` is no usable key (rule 1).
        """
        try:
            shared = self._key.exchange(_public(public))
        except ValueError:  # another length, or a secret of zeros
            raise InputError("key agreement: expected a public key of large order, got another") from None
        return HKDF(hashes.SHA256(), KEY_BYTES, None, info).derive(shared)


class Keystream:
    """The keystream of one key, piece by piece (rule 3)."""

    def __init__(self, key: bytes) -> None:
        """From its beginning.

        Raises:
            InputError: if the key is not of 32 bytes.
        """
        _check_key(key)
        self._stream = Cipher(algorithms.ChaCha20(key, _STREAM_NONCE), mode=None).encryptor()
        self._left = MAX_STREAM

    def read(self, size: int) -> bytes:
        """The next `size` bytes.

        Raises:
            InputError: beyond `MAX_STREAM` in all.
        """
        if not 0 <= size <= self._left:
            raise InputError(f"keystream: expected at most {self._left} bytes more, got {size} asked for")
        self._left -= size
        return self._stream.update(bytes(size))


def check_public(public: bytes, where: str) -> None:
    """Refuse what is no usable X25519 public key (rule 1).

    Raises:
        InputError: saying `where`.
    """
    u = int.from_bytes(public, "little") if len(public) == KEY_BYTES else _PRIME
    if u >= _PRIME or u in _SMALL_ORDER:
        raise InputError(f"{where}: expected an X25519 public key of large order in its one encoding, got otherwise")


def derive(key: bytes, info: bytes) -> bytes:
    """A 32-byte key of a uniformly random one, for the purpose that `info` says (HKDF-Expand).

    Raises:
        InputError: if `key` is not of 32 bytes.
    """
    _check_key(key)
    return HKDFExpand(hashes.SHA256(), KEY_BYTES, info).derive(key)


def seal(key: bytes, plain: bytes, about: bytes) -> bytes:
    """`plain` under a key that seals nothing else (rule 3), bound to `about`, and 16 bytes longer.

    Raises:
        InputError: if the key is not of 32 bytes.
    """
    _check_key(key)
    return ChaCha20Poly1305(key).encrypt(_SEAL_NONCE, plain, about)


def unseal(key: bytes, sealed: bytes, about: bytes) -> bytes:
    """What was sealed under this key about this.

    Raises:
        InputError: if the key is not of 32 bytes.
        VerificationFailed: if it was sealed otherwise, or changed.
    """
    _check_key(key)
    try:
        return ChaCha20Poly1305(key).decrypt(_SEAL_NONCE, sealed, about)
    except InvalidTag:
        raise VerificationFailed("sealed text: expected one of this key about this, got another") from None


@lru_cache(maxsize=4096)
def _public(public: bytes) -> X25519PublicKey:
    """Where many sites are in one process, each agrees with the same others."""
    return X25519PublicKey.from_public_bytes(public)


def _check_key(key: bytes) -> None:
    if not isinstance(key, bytes) or len(key) != KEY_BYTES:
        raise InputError(f"key: expected {KEY_BYTES} bytes, got otherwise")
