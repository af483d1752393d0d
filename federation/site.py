"""A site's own folder: what its guard may open, and the limits that only the site sets.

site.toml       name, paths, use cases, and the noise source
key.pem         the site's signing key
ledger.sqlite   what its people's privacy has been charged
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import tomli_w

from privacy.errors import InputError
from privacy.ledger import Ledger
from privacy.randomness import OS, SEEDED, NoiseSource, secure_source, seeded_source
from privacy.signing import Signer, create_key, signer_from_uri

SITE_FILE: Final = "site.toml"
KEY_FILE: Final = "key.pem"
LEDGER_FILE: Final = "ledger.sqlite"
MAX_BYTES: Final = 1 << 16


@dataclass(frozen=True)
class Site:
    """A site as its own `site.toml` describes it.

    Attributes:
        folder: the site's folder; everything in it belongs to the guard.
        name: as in the group's plan.
        source: where its rows are: a records folder, or a table's file.
        contract: where the group's contract is.
        use_cases: purposes the site takes part in.
        noise: "os", or "seeded-for-tests:<seed>", which every receipt then says and every verifier refuses.
    """

    folder: Path
    name: str
    source: Path
    contract: Path
    use_cases: tuple[str, ...]
    noise: str

    @property
    def signer(self) -> Signer:
        """The site's signing key."""
        return signer_from_uri(f"file:{self.folder / KEY_FILE}")

    def open_ledger(self) -> Ledger:
        """The site's ledger, which must exist: a missing one is no empty one.

        Raises:
            InputError: if it is not there or not a ledger.
        """
        return Ledger.open(self.folder / LEDGER_FILE)

    def noise_source(self) -> NoiseSource:
        """Where this site's noise comes from.

        Raises:
            KithError: if the secure source can not be had.
            InputError: if `noise` names no source.
        """
        if self.noise == OS:
            return secure_source()
        name, _, seed = self.noise.partition(":")
        if name == SEEDED and seed.isdecimal() and len(seed) <= 9:
            return seeded_source(int(seed))
        raise InputError(f"{self.folder / SITE_FILE}, noise: expected {OS!r}, got {self.noise!r:.60}")


def create_site(
    folder: Path, name: str, source: Path, contract: Path, mu_squared_cap: Decimal, delta: Decimal, noise: str = OS
) -> Site:
    """A new site: its folder with a key and an empty ledger under a cap on mu².

    Raises:
        InputError: if the folder already holds a key or a ledger.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    create_key(folder / KEY_FILE)
    Ledger.create(folder / LEDGER_FILE, name, mu_squared_cap, delta).close()
    document = {
        "name": name,
        "source": str(source),
        "contract": str(contract),
        "use_cases": ["retention"],
        "noise": noise,
    }
    (folder / SITE_FILE).write_text(tomli_w.dumps(document), encoding="utf-8")
    return load_site(folder)


def load_site(folder: Path) -> Site:
    """The site in `folder`; relative paths in its file are relative to the folder.

    Raises:
        InputError: if `site.toml` is missing or is not a site's.
    """
    path = folder / SITE_FILE
    try:
        data = path.read_bytes()
        fields: dict[str, Any] = tomllib.loads(data.decode("utf-8")) if len(data) <= MAX_BYTES else {}
        site = Site(
            folder=folder,
            name=_text(fields.pop("name")),
            source=folder / _text(fields.pop("source")),
            contract=folder / _text(fields.pop("contract")),
            use_cases=tuple(_text(case) for case in fields.pop("use_cases")),
            noise=_text(fields.pop("noise")),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: expected a site's file, got {type(error).__name__}") from None
    if fields:
        raise InputError(
            f"{path}: expected only name, source, contract, use_cases, noise; got {', '.join(fields)[:80]}"
        )
    return site


def _text(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 4096:
        raise TypeError
    return value
