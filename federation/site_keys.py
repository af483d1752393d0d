"""Whose signatures a site believes: the group's key list, as it follows from the roots that the site pinned.

Rules:
    1. The roots are pinned when the site joins, by its own hand, and that the list has the site's own key is seen then.
    2. A list takes the place of the held one only if it is the next (`privacy.key_list.follows`). Whoever is behind is
       shown those between, in order. The same again is fine; a list that ends before the held one is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from federation.site import Site
from privacy import key_folder, key_list
from privacy.atomic_files import replace_file
from privacy.errors import InputError, VerificationFailed
from privacy.key_folder import KEYS_FILE, ROOTS_FILE
from privacy.key_list import KeyList
from privacy.signing import Verifier
from privacy.trust_roots import PinnedKeys

MAX_LISTS: Final = 64
"""In one request."""


def join(site: Site, keys: bytes, roots: bytes) -> None:
    """Pin a group's roots at a site, and take its key list over (rule 1).

    Raises:
        InputError: if the site has joined a group already, or a file is none.
        VerificationFailed: if these roots did not sign the list, or it holds another key of this site than its own.
    """
    if (site.folder / ROOTS_FILE).exists():
        raise InputError(f"{site.folder / ROOTS_FILE}: expected a site that is in no group yet, got one that is")
    listed = key_list.open_key_list(keys, KEYS_FILE)
    PinnedKeys.from_bytes(roots, ROOTS_FILE).check(listed, KEYS_FILE)
    trusted = listed.trusted()
    if site.name not in trusted.sites or trusted.sites[site.name].public != site.signer.public:
        raise VerificationFailed(f"{KEYS_FILE}: expected the key of site {site.name!r:.80} itself, got another or none")
    replace_file(site.folder / KEYS_FILE, keys)
    replace_file(site.folder / ROOTS_FILE, roots)


def coordinators(site: Site) -> Mapping[str, Verifier]:
    """The keys that may start runs here, by keyid: those of the held list that the site's policy lets.

    Raises:
        InputError: if the site is in no group.
    """
    return site.policy.coordinator_keys(key_folder.in_force(site.folder))


def site_keys(site: Site) -> Mapping[str, Verifier]:
    """The keys of all sites of the held list, by name.

    Raises:
        InputError: if the site is in no group.
    """
    return key_folder.in_force(site.folder).trusted().sites


def accept(site: Site, lists: Sequence[bytes]) -> KeyList:
    """The key list in force at the site, once the group has shown these, in order of number, its own in force last.

    Raises:
        InputError: if one is no key list, there are none or too many, or the site is in no group.
        VerificationFailed: if they do not lead from the held list to the last (rule 2).
    """
    held = key_folder.in_force(site.folder)
    if not 1 <= len(lists) <= MAX_LISTS:
        raise InputError(f"key lists: expected 1 to {MAX_LISTS}, got {len(lists)}")
    shown = [key_list.open_key_list(data) for data in lists]
    for listed, data in zip(shown, lists, strict=True):
        if listed.number >= held.number:
            held = key_folder.adopt(site.folder, data, "key list")
    if shown[-1].number < held.number:
        raise VerificationFailed(f"key list: expected number {held.number} as held, or a later, got {shown[-1].number}")
    return held
