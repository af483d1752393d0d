"""Whose signatures count: the public keys of the coordinator and the sites, as a release's keys.json or a pinned file.

A release carries its own keys: alone they only show that it is of one piece. A pinned file, obtained by another way,
shows whose it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from privacy import canonical, fields, signing
from privacy.errors import InputError, VerificationFailed
from privacy.signing import Signer, Verifier

MAX_BYTES: Final = 16 * 2**20


@dataclass(frozen=True, slots=True)
class TrustRoots:
    """The coordinator's verifier and each site's, by the site's name. No two parties share a key."""

    coordinator: Verifier
    sites: Mapping[str, Verifier]

    def to_bytes(self) -> bytes:
        """keys.json: canonical JSON."""
        sites = {name: _document(key) for name, key in self.sites.items()}
        return canonical.to_bytes({"coordinator": _document(self.coordinator), "sites": sites})

    @classmethod
    def of(cls, coordinator: Signer, sites: Mapping[str, Signer]) -> TrustRoots:
        """The roots of these signers."""
        return cls(
            signing.verifier(coordinator.public),
            {name: signing.verifier(signer.public) for name, signer in sorted(sites.items())},
        )

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> TrustRoots:
        """The keys in a file like keys.json; white space and order of names are free.

        Raises:
            InputError: if it is not one, a keyid is not its key's, or two parties share a key.
        """
        document = fields.exactly(canonical.from_bytes(data, where, MAX_BYTES), ("coordinator", "sites"), where)
        sites = document["sites"]
        if not isinstance(sites, dict) or not sites:
            raise InputError(f"{where}, sites: expected an object with at least one site, got otherwise")
        roots = cls(
            _verifier(document["coordinator"], f"{where}, coordinator"),
            {fields.text(name, where, 200): _verifier(key, f"{where}, site {name!r}") for name, key in sites.items()},
        )
        if len({key.keyid for key in (roots.coordinator, *roots.sites.values())}) != 1 + len(sites):
            raise InputError(f"{where}: expected a key of its own for every party, got one shared")
        return roots

    @classmethod
    def read(cls, path: Path) -> TrustRoots:
        """The keys in the pinned file at `path`.

        Raises:
            InputError: if it can not be read or is not one.
        """
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise InputError(f"keys {path}: expected a readable file, got {error.strerror}") from None
        return cls.from_bytes(data, f"keys {path}")

    def check_against(self, pinned: TrustRoots) -> None:
        """Return if every key here is the pinned one of that party; the pinned file may name more sites.

        Raises:
            VerificationFailed: naming the party whose key is another or not pinned.
        """
        pairs: list[tuple[str, Verifier, Verifier | None]] = [("the coordinator", self.coordinator, pinned.coordinator)]
        pairs += [(f"site {name!r}", key, pinned.sites.get(name)) for name, key in self.sites.items()]
        for party, key, expected in pairs:
            if expected is None or expected.public != key.public:
                wanted = expected.keyid[:16] if expected else "a pinned key"
                raise VerificationFailed(f"key of {party}: expected {wanted}, got {key.keyid[:16]}")


def _document(key: Verifier) -> dict[str, str]:
    return {"keyid": key.keyid, "public": fields.to_base64(key.public)}


def _verifier(value: Any, where: str) -> Verifier:
    document = fields.exactly(value, ("keyid", "public"), where)
    verifier = signing.verifier(fields.from_base64(document["public"], where))
    if verifier.keyid != document["keyid"]:
        raise InputError(f"{where}, keyid: expected the sha256 of the public key, got another")
    return verifier
