"""Keys that are the same in every run, for golden files and for telling parties apart."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy import signing


@dataclass(frozen=True)
class FixedSigner:
    """An Ed25519 key made of one byte's value, 32 times."""

    seed: int

    @property
    def _key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(bytes([self.seed]) * 32)

    @property
    def public(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    @property
    def keyid(self) -> str:
        return signing.keyid(self.public)

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)
