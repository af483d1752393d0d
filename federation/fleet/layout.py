"""Where everything of a fleet is, and what group.toml says of it.

group.toml        the group's sites, where the coordinator is reached, deadlines: public, a copy for every party
authorities/      who vouches for servers and for operators: to be kept offline
coordinator/      the coordinator's host: group/ (contract, keys), runs/, app/, superlink/, tls/, proxy/, nodes/
operators/NAME/   who may start runs: a client certificate
sites/NAME/       one site's host: site/ (the guard's alone), node/ (its SuperNode)
deploy/           units and manifests for the real thing
log/, run/        of the processes that `kith fleet up` started here

A party carries group.toml and its own folder to its own host; `kith fleet up` starts there what is there.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import tomli_w

from privacy import fields
from privacy.errors import InputError

GROUP_FILE: Final = "group.toml"
SIGN: Final = "KITH_NODE_SIGN"
"""Environment variable: file into which a node writes its process's number once the SuperLink has let it in."""
MAX_BYTES: Final = 1 << 20
MAX_SITES: Final = 1_000
MAX_SOCKET: Final = 107
"""Bytes of a Unix socket's path."""
_FOLDER: Final = re.compile("[a-z0-9][a-z0-9-]{0,39}")
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_PATH: Final = re.compile(r"[A-Za-z0-9 ._/+@=-]+")


@dataclass(frozen=True)
class FleetSite:
    """One site of a fleet.

    Attributes:
        name: as in the group's contract.
        folder: its folder's name under sites/.
        port: of its SuperNode's Runtime API, on its own loopback.
    """

    name: str
    folder: str
    port: int

    def __post_init__(self) -> None:
        """Refuse what is no folder's name or port: both go into command lines and configurations.

        Raises:
            InputError: naming the field.
        """
        fields.text(self.name, "site, name", 200)
        if not _FOLDER.fullmatch(self.folder):
            raise InputError(f"site {self.name!r:.80}, folder: expected a-z, 0-9 and -, got {self.folder!r:.60}")
        _port(self.port, f"site {self.name!r:.80}")


@dataclass(frozen=True)
class Fleet:
    """A fleet as its group.toml describes it.

    Attributes:
        root: its folder.
        name: the group's.
        host: name or IPv4 address at which sites and operators reach the proxy.
        port: the proxy's.
        superlink: port of the SuperLink, on the coordinator's loopback.
        deadline: seconds that an exchange with the sites may take.
        sites: in order of name.
    """

    root: Path
    name: str
    host: str
    port: int
    superlink: int
    deadline: float
    sites: tuple[FleetSite, ...]

    def __post_init__(self) -> None:
        """Refuse what would mean something else in a configuration or a command line.

        Raises:
            InputError: naming the field.
        """
        if not _PATH.fullmatch(str(self.root)):
            raise InputError(
                f"fleet folder: expected a path of letters, digits, spaces and ._/+@=-, got {str(self.root)!r:.200}"
            )
        fields.text(self.name, "group, name", 200)
        if not _HOST.fullmatch(self.host):
            raise InputError(f"group, host: expected a host's name or IPv4 address, got {self.host!r:.80}")
        _port(self.port, "proxy")
        _port(self.superlink, "superlink")
        if not 1 <= self.deadline <= 7 * 86_400:
            raise InputError(f"group, deadline: expected 1 second to a week, got {self.deadline!r:.40}")
        folders = [site.folder for site in self.sites]
        names = [site.name for site in self.sites]
        if not 1 <= len(names) <= MAX_SITES or names != sorted(set(names)) or len(set(folders)) != len(folders):
            got = ", ".join(f"{site.name} in {site.folder}" for site in self.sites)
            raise InputError(
                f"group, sites: expected 1 to {MAX_SITES}, in order of name, no name or folder twice, "
                f"got {len(names)}: {got!r:.200}"
            )

    @property
    def coordinator(self) -> Path:
        """The coordinator's folder."""
        return self.root / "coordinator"

    @property
    def authorities(self) -> Path:
        """The authorities' folder."""
        return self.root / "authorities"

    @property
    def operators(self) -> Path:
        """The operators' folder."""
        return self.root / "operators"

    @property
    def runs(self) -> Path:
        """Where run folders are made."""
        return self.coordinator / "runs"

    @property
    def here(self) -> tuple[FleetSite, ...]:
        """The sites whose folders are on this host."""
        return tuple(site for site in self.sites if (self.site(site) / "site").is_dir())

    def site(self, site: FleetSite) -> Path:
        """A site's folder."""
        return self.root / "sites" / site.folder

    def socket(self, site: FleetSite) -> Path:
        """Where a site's guard listens.

        Raises:
            InputError: if that is too long for a socket.
        """
        path = self.site(site) / "guard.sock"
        if (size := len(str(path).encode())) > MAX_SOCKET:
            raise InputError(f"{path}: expected at most {MAX_SOCKET} bytes for a socket, got {size}: use a shorter one")
        return path

    def to_toml(self) -> bytes:
        """The text of group.toml."""
        document: dict[str, Any] = asdict(self)
        del document["root"]
        document["sites"] = list(document["sites"])
        return tomli_w.dumps(document).encode("utf-8")

    @classmethod
    def read(cls, root: Path) -> Fleet:
        """The fleet in a folder.

        Raises:
            InputError: if there is none.
        """
        path = root / GROUP_FILE
        try:
            data = path.read_bytes()
            document = tomllib.loads(data.decode("utf-8")) if len(data) <= MAX_BYTES else {}
            document["sites"] = tuple(FleetSite(**site) for site in document["sites"])
            document["deadline"] = float(document["deadline"])
            return cls(root=root.resolve(), **document)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path}: expected a fleet's file, got {error!r:.120}") from None


def folder_names(names: list[str]) -> dict[str, str]:
    """A plain folder's name for each site's name, no two the same."""
    taken: dict[str, str] = {}
    for name in sorted(names):
        plain = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")[:36] or "site"
        number = 1
        folder = plain
        while folder in taken.values():
            number += 1
            folder = f"{plain}-{number}"
        taken[name] = folder
    return taken


def _port(port: object, where: str) -> None:
    if not isinstance(port, int) or isinstance(port, bool) or not 1 <= port <= 65_535:
        raise InputError(f"{where}, port: expected 1 to 65535, got {port!r:.20}")
