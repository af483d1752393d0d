"""A folder of key lists: the one in force, the next one while it is being signed, and those before.

keys.json           the list in force
keys.proposed.json  the next list, while it lacks signatures
keys-<number>.json  each list that was in force before, for those who are behind
roots.json          the pinned roots, where the folder is of somebody who pinned them (a site)

Rules:
    1. `keys.json` changes only to the next list, by key_list's rule 6.
    2. The old list is kept, and the new one on disk and whole, before the proposal goes.
    3. There is one proposal at a time, so that officers sign the same one.
    4. Where roots are pinned, they must vouch for the list in force; they move with it, after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from privacy import fields, key_list
from privacy.atomic_files import replace_file
from privacy.errors import InputError
from privacy.key_list import KeyList
from privacy.signing import Signer, sync_directory
from privacy.trust_roots import PinnedKeys

KEYS_FILE: Final = "keys.json"
PROPOSED_FILE: Final = "keys.proposed.json"
ROOTS_FILE: Final = "roots.json"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the next list is.

    Attributes:
        listed: the list.
        file: where it is now: `keys.json` once it is in force.
        missing: how many signatures of its own roots, and of the roots of the list before, are still needed.
    """

    listed: KeyList
    file: Path
    missing: tuple[int, int]

    @property
    def in_force(self) -> bool:
        """Whether nothing is missing."""
        return self.missing == (0, 0)


def read_bytes(path: Path) -> bytes:
    """The bytes of a key list's file.

    Raises:
        InputError: if it can not be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(key_list.MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"keys {path}: expected a readable file, got {error.strerror}") from None


def in_force(folder: Path) -> KeyList:
    """The list in force.

    Raises:
        InputError: if there is none.
        VerificationFailed: if too few of its roots signed it, or the pinned roots do not vouch for it (rule 4).
    """
    path = folder / KEYS_FILE
    listed = key_list.open_key_list(read_bytes(path), f"keys {path}")
    roots = folder / ROOTS_FILE
    if roots.exists():
        PinnedKeys.read(roots).check(listed, f"keys {path}")
    return listed


def propose(folder: Path, listed: KeyList, *signers: Signer) -> Progress:
    """Sign `listed` as the next list. It is in force at once if that is enough.

    Raises:
        InputError: if another proposal waits (rule 3), a signer is no root of either list, or the disk is full.
        VerificationFailed: if it does not follow the list in force.
    """
    waiting, current = folder / PROPOSED_FILE, in_force(folder)
    if waiting.exists() and key_list.proposed(read_bytes(waiting), f"keys {waiting}").number > current.number:
        raise InputError(f"keys {waiting}: expected no other list waiting for signatures, got one; sign or remove it")
    key_list.succeeds(listed, current)
    for signer in signers:
        _is_root(signer, current, listed)
    return _settle(folder, current, key_list.sign_key_list(listed, *signers))


def proposal(folder: Path) -> KeyList:
    """The list that waits for signatures, checked in all but these.

    Raises:
        InputError: if there is none.
        VerificationFailed: if it does not follow the list in force, or a signature does not hold.
    """
    path = folder / PROPOSED_FILE
    listed = key_list.proposed(read_bytes(path), f"keys {path}")
    key_list.succeeds(listed, in_force(folder), f"keys {path}")
    return listed


def sign(folder: Path, *signers: Signer) -> Progress:
    """Add signatures to the proposal. It is in force at once if that is enough.

    Raises:
        InputError: if there is none, or a signer is no root of either list or has signed.
        VerificationFailed: if it does not follow the list in force, or a signature does not hold.
    """
    listed, current = proposal(folder), in_force(folder)
    data = listed.envelope
    for signer in signers:
        _is_root(signer, current, listed)
        data = key_list.add_signature(data, signer)
    return _settle(folder, current, data)


def adopt(folder: Path, data: bytes, where: str) -> KeyList:
    """Put the next list in force, as it came from somewhere else; the same again is fine.

    Raises:
        InputError: if `data` is no key list, or the disk does not take it: the old one is still in force.
        VerificationFailed: if it does not follow the list in force.
    """
    listed, current = key_list.open_key_list(data, where), in_force(folder)
    if listed == current:
        return current
    key_list.follows(listed, current, where)  # rule 1
    _pin(folder, current)  # in case that the last time ended before it
    _install(folder, current, listed)
    return listed


def _settle(folder: Path, current: KeyList, data: bytes) -> Progress:
    listed = key_list.proposed(data)
    own = len(listed.signed_by(listed.roots))
    before = len(listed.signed_by(current.roots))
    missing = (max(0, listed.threshold - own), max(0, current.threshold - before))
    if missing != (0, 0):
        replace_file(folder / PROPOSED_FILE, data)
        return Progress(listed, folder / PROPOSED_FILE, missing)
    key_list.follows(listed, current)  # rule 1
    _pin(folder, current)
    _install(folder, current, listed)
    return Progress(listed, folder / KEYS_FILE, missing)


def _install(folder: Path, current: KeyList, listed: KeyList) -> None:
    """Rule 2."""
    replace_file(folder / f"keys-{current.number}.json", current.envelope)
    replace_file(folder / KEYS_FILE, listed.envelope)
    _pin(folder, listed)
    (folder / PROPOSED_FILE).unlink(missing_ok=True)
    sync_directory(folder)


def _pin(folder: Path, listed: KeyList) -> None:
    """Rule 4: the roots of a list that the pinned ones vouched for."""
    path = folder / ROOTS_FILE
    if path.exists() and PinnedKeys.read(path) != PinnedKeys.of(listed):
        replace_file(path, PinnedKeys.of(listed).to_bytes())


def _is_root(signer: Signer, *lists: KeyList) -> None:
    roots = {public for one in lists for public in one.roots}
    if fields.to_base64(signer.public) not in roots:
        raise InputError(f"key {signer.keyid[:16]}: expected a root key of the list or of the one before, got another")
