"""Officers' and sites' keys as files, for commands that name them by URI."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.privacy.fixed_signer import FixedSigner


def key_file(folder: Path, signer: FixedSigner) -> Path:
    """The signer's private key in a file of its own (0600)."""
    path = folder / f"{signer.seed}.pem"
    key = Ed25519PrivateKey.from_private_bytes(bytes([signer.seed]) * 32)
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


def key_uri(folder: Path, signer: FixedSigner) -> str:
    """The URI of such a file."""
    return f"file:{key_file(folder, signer)}"
