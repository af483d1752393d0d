"""The coordinator's folder: the contract all sites share, everybody's public keys, and the coordinator's own key.

contract.toml    what the columns are, which sites there are, and the public bound on each one's head count
keys.json        public keys of the coordinator and of every site, as enrolled
coordinator.pem  the coordinator's signing key
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from federation.site import Site
from privacy.signing import Signer, create_key, signer_from_uri
from privacy.trust_roots import TrustRoots
from records.contract import Contract, load_contract

CONTRACT_FILE: Final = "contract.toml"
KEYS_FILE: Final = "keys.json"
KEY_FILE: Final = "coordinator.pem"


@dataclass(frozen=True)
class Group:
    """What the coordinator knows before a run: no record of anybody."""

    contract: Contract
    keys: TrustRoots
    signer: Signer


def create_group(folder: Path, contract: Path, sites: Sequence[Site]) -> Group:
    """A new coordinator's folder that enrols these sites' keys.

    Raises:
        InputError: if the folder already holds a key.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    (folder / CONTRACT_FILE).write_bytes(contract.read_bytes())
    signer = create_key(folder / KEY_FILE)
    roots = TrustRoots.of(signer, {site.name: site.signer for site in sites})
    (folder / KEYS_FILE).write_bytes(roots.to_bytes())
    return load_group(folder)


def load_group(folder: Path) -> Group:
    """The group in `folder`.

    Raises:
        InputError: if a file is missing or malformed.
    """
    return Group(
        contract=load_contract(folder / CONTRACT_FILE),
        keys=TrustRoots.read(folder / KEYS_FILE),
        signer=signer_from_uri(f"file:{folder / KEY_FILE}"),
    )
