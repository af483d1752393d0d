"""The coordinator's folder: the contract all sites share, everybody's public keys, and the coordinator's own key.

contract.toml    what the columns are, which sites there are, and the public bound on each one's head count
keys.json        the group's key list (`privacy.key_folder`, with those before it)
roots.json       its root keys, for whoever pins them: every site, every verifier
coordinator.pem  the coordinator's signing key
root-1.pem       the root key, to be moved offline: it signs key lists and nothing else
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from federation import site_keys
from federation.site import Site
from privacy import key_folder, key_list
from privacy.errors import VerificationFailed
from privacy.key_folder import KEYS_FILE, ROOTS_FILE
from privacy.key_list import KeyList
from privacy.party_names import COORDINATOR, site_party
from privacy.secret_files import write_new
from privacy.signing import Signer, create_key, signer_from_uri
from privacy.trust_roots import PinnedKeys
from records.contract import Contract, load_contract

CONTRACT_FILE: Final = "contract.toml"
KEY_FILE: Final = "coordinator.pem"
ROOT_KEY_FILE: Final = "root-1.pem"
LISTS_SHOWN: Final = 16
"""How many lists a site may be behind."""


@dataclass(frozen=True)
class Group:
    """What the coordinator knows before a run: no record of anybody.

    Attributes:
        contract: the group's.
        contract_digest: sha256 (hex) of its file.
        keys: the key list in force.
        lists: the last signed key lists, the one in force last.
        signer: the coordinator's key.
    """

    contract: Contract
    contract_digest: str
    keys: KeyList
    lists: tuple[bytes, ...]
    signer: Signer

    @property
    def keys_file(self) -> bytes:
        """The signed list in force, as a release carries it."""
        return self.lists[-1]


def create_group(folder: Path, contract: Path, sites: Sequence[Site], name: str = "group") -> Group:
    """A new coordinator's folder that enrols these sites' keys; every site joins.

    Raises:
        InputError: if the folder already holds a key, or a site is in a group already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    (folder / CONTRACT_FILE).write_bytes(contract.read_bytes())
    signer, root = create_key(folder / KEY_FILE), create_key(folder / ROOT_KEY_FILE)
    parties = {COORDINATOR: signer.public, **{site_party(site.name): site.signer.public for site in sites}}
    listed = key_list.first_list(name, [root.public], 1, parties, int(time.time()))
    keys, roots = key_list.sign_key_list(listed, root), PinnedKeys.of(listed).to_bytes()
    write_new(folder / KEYS_FILE, keys.decode("utf-8"))
    write_new(folder / ROOTS_FILE, roots.decode("utf-8"))
    for site in sites:
        site_keys.join(site, keys, roots)
    return load_group(folder)


def load_group(folder: Path) -> Group:
    """The group in `folder`.

    Raises:
        InputError: if a file is missing or malformed.
        VerificationFailed: if the key list is not signed as it must be, or has another coordinator's key.
    """
    keys = key_folder.in_force(folder)
    older = [folder / f"keys-{number}.json" for number in range(max(0, keys.number - LISTS_SHOWN), keys.number)]
    lists = [key_folder.read_bytes(path) for path in (*older, folder / KEYS_FILE) if path.exists()]
    signer = signer_from_uri(f"file:{folder / KEY_FILE}")
    if keys.trusted().coordinator.public != signer.public:
        raise VerificationFailed(
            f"{folder / KEYS_FILE}: expected the key in {KEY_FILE} as the coordinator's, got another"
        )
    return Group(
        contract=load_contract(folder / CONTRACT_FILE),
        contract_digest=hashlib.sha256((folder / CONTRACT_FILE).read_bytes()).hexdigest(),
        keys=keys,
        lists=tuple(lists),
        signer=signer,
    )
