"""A site's own folder: what its guard may open, and the limits that only the site sets.

site.toml       name, paths, the noise source, where the ledger is if not here, and where the guard listens
policy.toml     what the site lets anybody ask of it (`federation.policy`)
key.pem         the site's signing key
marks.key       the secret under which the ledger knows its people
ledger.sqlite   what its people's privacy has been charged
roots.json      the group's root keys, as pinned when the site joined
keys.json       the group's key list, signed by them
approvals.sqlite  plans that were shown to the site, and who of its people approved them (`federation.approvals`)
sums.sqlite     what it has decided in secure sums that go on (`federation.secure_sum`)
witnessed/      the last checkpoint that the site has seen of every site's ledger, its own included
"""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import tomli_w

from federation.policy import Policy, default_policy
from federation.policy_file import POLICY_FILE, load_policy, write_policy
from privacy import ledger_place
from privacy.budget import Budget
from privacy.errors import InputError
from privacy.ledger import Ledger
from privacy.marks import MarkKey
from privacy.plan import DISCRETE, FLOAT64
from privacy.randomness import OS, SEEDED, NoiseSource, float64_source, secure_source, seeded_source
from privacy.signing import Signer, create_key, signer_from_uri
from privacy.witness import WitnessBook

SITE_FILE: Final = "site.toml"
KEY_FILE: Final = "key.pem"
MARKS_FILE: Final = "marks.key"
SUMS_FILE: Final = "sums.sqlite"
WITNESSED: Final = "witnessed"
MAX_BYTES: Final = 1 << 16


@dataclass(frozen=True)
class TlsFiles:
    """PEM files of a guard that is asked over TLS.

    Attributes:
        certificate, key: the guard's own.
        clients: the authority of those who may ask.
    """

    certificate: Path
    key: Path
    clients: Path


@dataclass(frozen=True)
class Site:
    """A site as its own `site.toml` describes it.

    Attributes:
        folder: the site's folder; everything in it belongs to the guard.
        name: as in the group's plan.
        source: where its rows are: a records folder, or a table's file.
        contract: where the group's contract is.
        noise: "os", or "seeded-for-tests:<seed>", which every receipt then says and every verifier refuses.
        ledger: URL of the ledger's database, a file's path in it relative to the folder, or "env:NAME" for one in an
            environment variable; "" for ledger.sqlite.
        listen: where the guard is asked, unless its command says otherwise: "unix:PATH" or "tls:HOST:PORT".
        peers: who may ask it there: names or numbers of the system's users, or names in TLS certificates; with none,
            whoever may open the socket, or has a certificate of the right authority.
        tls: the files that "tls:" needs.
    """

    folder: Path
    name: str
    source: Path
    contract: Path
    noise: str
    ledger: str = ""
    listen: str = ""
    peers: tuple[str, ...] = ()
    tls: TlsFiles | None = None

    @property
    def signer(self) -> Signer:
        """The site's signing key."""
        return signer_from_uri(f"file:{self.folder / KEY_FILE}")

    @property
    def policy(self) -> Policy:
        """What the site lets anybody ask of it, as the file says at this moment.

        Raises:
            InputError: if the file is missing, open to others, or no policy.
        """
        return load_policy(self.folder / POLICY_FILE)

    @property
    def marks(self) -> MarkKey:
        """The key of its employees' marks.

        Raises:
            InputError: if the file is missing, open to others, or no key.
        """
        return MarkKey.read(self.folder / MARKS_FILE)

    @property
    def witnessed(self) -> WitnessBook:
        """What it has seen of sites' ledgers, its own included."""
        return WitnessBook(self.folder / WITNESSED)

    @property
    def ledger_address(self) -> Path | str:
        """Where its ledger is."""
        return ledger_place.beside(self.folder, self.ledger)

    def open_ledger(self) -> Ledger:
        """The site's ledger, which must exist: a missing one is no empty one.

        Raises:
            InputError: if it is not there, not a ledger, another site's, or was opened for another key of marks.
        """
        ledger = Ledger.open(self.ledger_address)
        try:
            ledger.check_owner(self.name, self.marks.fingerprint)
        except BaseException:
            ledger.close()
            raise
        return ledger

    def noise_source(self, mechanism: str = DISCRETE) -> NoiseSource:
        """Where this site's noise of a plan's mechanism comes from.

        Raises:
            KithError: if the secure source can not be had.
            InputError: if `noise` names no source.
        """
        if self.noise == OS:
            return float64_source() if mechanism == FLOAT64 else secure_source()
        name, _, seed = self.noise.partition(":")
        if name == SEEDED and seed.isdecimal() and len(seed) <= 9:
            return seeded_source(int(seed), mechanism)
        raise InputError(f"{self.folder / SITE_FILE}, noise: expected {OS!r}, got {self.noise!r:.60}")


def create_site(
    folder: Path,
    name: str,
    source: Path,
    contract: Path,
    budget: Budget,
    noise: str = OS,
    ledger: str = "",
) -> Site:
    """A new site: its folder with its keys, an empty ledger under this budget, and the `default_policy`.

    Raises:
        InputError: if the folder already holds a key or a ledger, or `ledger` names a database that can not be used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    create_key(folder / KEY_FILE)
    marks = MarkKey.create(folder / MARKS_FILE).fingerprint
    Ledger.create(ledger_place.beside(folder, ledger), name, budget, marks=marks).close()
    document: dict[str, Any] = {
        "name": name,
        "source": str(source),
        "contract": str(contract),
        "noise": noise,
    }
    if ledger:
        document["ledger"] = ledger
    write_policy(folder / POLICY_FILE, default_policy(budget))
    (folder / SITE_FILE).write_text(tomli_w.dumps(document), encoding="utf-8")
    return load_site(folder)


def load_site(folder: Path) -> Site:
    """The site in `folder`; relative paths in its file are relative to the folder.

    Raises:
        InputError: if `site.toml` or the policy is missing, or either is not a site's.
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
            noise=_text(fields.pop("noise")),
            ledger=_text(fields.pop("ledger")) if "ledger" in fields else "",
            listen=_text(fields.pop("listen")) if "listen" in fields else "",
            peers=tuple(_text(str(one)) for one in fields.pop("peers", ())),
            tls=_tls(folder, fields.pop("tls")) if "tls" in fields else None,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: expected a site's file, got {type(error).__name__}") from None
    if fields:
        known = ", ".join(field.name for field in dataclasses.fields(Site) if field.name != "folder")
        raise InputError(f"{path}: expected only {known}; got {', '.join(fields)[:80]}")
    _ = site.policy  # a site without one is none
    return site


def _text(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 4096:
        raise TypeError
    return value


def _tls(folder: Path, files: dict[str, Any]) -> TlsFiles:
    return TlsFiles(**{name: folder / _text(file) for name, file in files.items()})
