"""Whose signatures count: the keys that a key list makes active, and what pins a key list.

A release carries its own key list: alone it only shows that the release is of one piece. A pin, obtained by another
way, shows whose it is: the group's root keys (`roots.json`), or a whole key list, which also knows what was revoked.

Rules of a pin:
    1. The list is of the pinned group.
    2. Roots pinned: at least the pinned threshold of them signed the list.
    3. A list pinned: the list is it, or one that its history names; or a later one whose history names it and which the
       pinned roots signed up to their threshold. Anything else is a fork.
    4. No key that the list makes active is revoked in the pinned list.

Pinned roots alone do not know of later lists, so they can not tell an old list from the newest. Where that matters, pin
the newest list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from privacy import canonical, fields, key_list, signing
from privacy.errors import InputError, VerificationFailed
from privacy.key_list import KeyList
from privacy.party_names import MAX_NAME
from privacy.signing import Signer, Verifier

_ROOTS: Final = ("group", "roots", "threshold")
MAX_ROOTS_BYTES: Final = 10_000


@dataclass(frozen=True, slots=True)
class TrustRoots:
    """The coordinator's verifier and each site's, by the site's name. No two parties share a key."""

    coordinator: Verifier
    sites: Mapping[str, Verifier]

    @classmethod
    def of(cls, coordinator: Signer, sites: Mapping[str, Signer]) -> TrustRoots:
        """The roots of these signers."""
        return cls(
            signing.verifier(coordinator.public),
            {name: signing.verifier(signer.public) for name, signer in sorted(sites.items())},
        )


@dataclass(frozen=True, slots=True)
class PinnedKeys:
    """What somebody holds about a group's keys from another way than a release.

    Attributes:
        group: the group's name.
        roots: its root keys, base64, in order.
        threshold: how many of them must sign.
        known: a whole key list, or None if only the roots are pinned.
    """

    group: str
    roots: tuple[str, ...]
    threshold: int
    known: KeyList | None = None

    @classmethod
    def of(cls, listed: KeyList) -> PinnedKeys:
        """The roots of a list, for `roots.json`."""
        return cls(listed.group, listed.roots, listed.threshold)

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> PinnedKeys:
        """What `roots.json` or `keys.json` holds.

        Raises:
            InputError: if it is neither.
            VerificationFailed: if it is a key list that its own roots did not sign.
        """
        document = canonical.from_bytes(data, where, key_list.MAX_BYTES)
        if isinstance(document, dict) and "payload" in document:
            listed = key_list.open_key_list(data, where)
            return cls(listed.group, listed.roots, listed.threshold, listed)
        document = fields.exactly(document, _ROOTS, where)
        group = fields.text(document["group"], f"{where}, group", MAX_NAME)
        roots = tuple(fields.text(one, f"{where}, root") for one in fields.items(document["roots"], f"{where}, roots"))
        for one in roots:
            signing.verifier(fields.from_base64(one, f"{where}, root"))
        threshold = fields.whole(document["threshold"], f"{where}, threshold")
        if list(roots) != sorted(set(roots)) or not 1 <= threshold <= len(roots) <= key_list.MAX_ROOTS:
            raise InputError(f"{where}: expected 1 to {key_list.MAX_ROOTS} roots in order and a threshold among them")
        return cls(group, roots, threshold)

    @classmethod
    def read(cls, path: Path) -> PinnedKeys:
        """The pin in a file: `roots.json` or `keys.json`.

        Raises:
            InputError: if it can not be read, or is neither.
            VerificationFailed: if it is a key list that its own roots did not sign.
        """
        try:
            with path.open("rb") as file:
                data = file.read(key_list.MAX_BYTES + 1)
        except OSError as error:
            raise InputError(f"keys {path}: expected a readable file, got {error.strerror}") from None
        return cls.from_bytes(data, f"keys {path}")

    def to_bytes(self) -> bytes:
        """`roots.json`: canonical JSON."""
        return canonical.to_bytes({"group": self.group, "roots": list(self.roots), "threshold": self.threshold})

    def check(self, listed: KeyList, where: str = "key list") -> None:
        """Return if this pin vouches for `listed`, as `key_list.open_key_list` gave it.

        Raises:
            VerificationFailed: if it breaks one of the rules above.
        """
        if listed.group != self.group:  # rule 1
            raise VerificationFailed(f"{where}: expected keys of {self.group!r:.80}, got of {listed.group!r:.80}")
        known = self.known
        if known is None or listed.number > known.number:
            listed.require(self.roots, self.threshold, f"{where}, pinned roots")  # rules 2 and 3
        if known is not None:
            self._check_against(known, listed, where)

    @staticmethod
    def _check_against(known: KeyList, listed: KeyList, where: str) -> None:
        if listed != known:  # rule 3
            older, newer = sorted((known, listed), key=lambda one: one.number)
            key_list.extends(newer, older, f"{where}, with the pinned list {known.number}")
        revoked = {one.public for one in known.keys if one.status == key_list.REVOKED}
        for key in listed.keys:
            if key.status == key_list.ACTIVE and key.public in revoked:  # rule 4
                raise VerificationFailed(f"{where}, {key.party!r:.80}: expected a key in force, got one revoked since")
