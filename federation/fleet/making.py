"""Makes a new fleet's folder: authorities, certificates, keys, sites, the group, its app and its files.

Nothing is ever made over what is there: a key that was overwritten is a site that nobody can verify any more.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

from federation.fleet.bundle import bundle, write_bundle
from federation.fleet.deployment import write_deployment
from federation.fleet.layout import GROUP_FILE, Fleet, FleetSite, folder_names
from federation.fleet.proxy import Proxy, node_keys
from federation.group import create_group
from federation.run_settings import DEADLINE, Settings
from federation.server_app import config_of
from federation.site import Site, create_site
from privacy.atomic_files import new_file
from privacy.budget import first_budget
from privacy.errors import InputError
from privacy.randomness import OS
from privacy.tls_authority import CLIENTS, SERVERS, Authority, create_node_key
from records.contract import Contract, load_contract

LOOPBACK: Final = ("localhost", "127.0.0.1")
OPERATOR: Final = "operator"
GROUP: Final = "group"
SECRET_BYTES: Final = 32
DEFAULT_PORT: Final = 8443


@dataclass(frozen=True)
class Wanted:
    """What a new fleet is to be.

    Attributes:
        contract: the group's contract file.
        sources: each site's records folder or table, by name; exactly the contract's sites.
        cap: mu² that each site allows each of its people.
        delta: probability that goes with a site's budget.
        host: at which sites and operators reach the proxy.
        port: the proxy's; those after it are the SuperLink's and the SuperNodes'. 0 for any that are free.
        deadline: seconds that an exchange with the sites may take.
        noise: as `create_site` takes it.
    """

    contract: Path
    sources: Mapping[str, Path]
    cap: Decimal
    delta: Decimal
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    deadline: float = DEADLINE
    noise: str = OS


def create_fleet(root: Path, wanted: Wanted, now: datetime) -> Fleet:
    """A new fleet in `root`, which must be empty or not there.

    Raises:
        InputError: if there is anything in `root` already, or something wanted can not be had.
    """
    contract = load_contract(wanted.contract)
    fleet = _described(root.resolve(), wanted, contract)
    if root.exists() and any(root.iterdir()):
        raise InputError(f"{root}: expected a new or empty folder for a fleet, got one with something in it")
    for site in fleet.sites:
        fleet.socket(site)
    root.mkdir(parents=True, exist_ok=True)
    root.chmod(0o700)
    _certificates(fleet, now)
    made = [_site(fleet, site, wanted, contract) for site in fleet.sites]
    create_group(fleet.coordinator / "group", wanted.contract, made, fleet.name)
    for site in fleet.sites:
        _node(fleet, site)
    _coordinator(fleet, contract)
    new_file(root / GROUP_FILE, fleet.to_toml(), 0o644)
    write_deployment(fleet)
    return fleet


def proxy_of(fleet: Fleet) -> Proxy:
    """The proxy of a fleet on this host, for the SuperNodes that are registered with its coordinator."""
    return Proxy(
        listen=f"{fleet.host if fleet.host in LOOPBACK else '0.0.0.0'}:{fleet.port}",  # noqa: S104 - it is the front
        superlink=f"127.0.0.1:{fleet.superlink}",
        tls=fleet.coordinator / "tls",
        place=fleet.coordinator / "proxy",
        log=fleet.root / "log",
        user="root" if os.geteuid() == 0 else "",  # nobody else may enter the fleet's folder
        nodes=node_keys(fleet.coordinator / "nodes"),
    )


def _described(root: Path, wanted: Wanted, contract: Contract) -> Fleet:
    names = sorted(contract.site.names)
    if names != sorted(wanted.sources):
        odd = min({*names} ^ {*wanted.sources})
        got = f"{'none for' if odd in names else 'also'} {odd!r:.80}"
        raise InputError(f"{wanted.contract}, sites: expected exactly the contract's, each with its source, got {got}")
    folders = folder_names(names)
    ports = _ports(wanted.port, 2 + len(names))
    sites = tuple(FleetSite(name, folders[name], port) for name, port in zip(names, ports[2:], strict=True))
    return Fleet(root, GROUP, wanted.host, ports[0], ports[1], wanted.deadline, sites)


def free_ports(number: int) -> list[int]:
    """As many ports as asked for on which nobody listens now."""
    with ExitStack() as open_:
        probes = [open_.enter_context(socket.socket()) for _ in range(number)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def _ports(first: int, number: int) -> Sequence[int]:
    return range(first, first + number) if first else free_ports(number)


def _certificates(fleet: Fleet, now: datetime) -> None:
    servers = Authority.create(fleet.authorities / SERVERS, fleet.name[:40], SERVERS, now)
    clients = Authority.create(fleet.authorities / CLIENTS, fleet.name[:40], CLIENTS, now)
    tls, operator = fleet.coordinator / "tls", fleet.operators / OPERATOR
    servers.vouch(tls, "server", fleet.host[:64], list(dict.fromkeys((*LOOPBACK, "superlink", fleet.host))), now)
    clients.vouch(operator, "operator", OPERATOR, (), now)
    _copy(fleet.authorities / SERVERS / "ca.crt", tls / "ca.crt")
    _copy(fleet.authorities / SERVERS / "ca.crt", operator / "ca.crt")
    _copy(fleet.authorities / CLIENTS / "ca.crt", tls / "operators.crt")


def _site(fleet: Fleet, site: FleetSite, wanted: Wanted, contract: Contract) -> Site:
    folder = fleet.site(site) / "site"
    folder.mkdir(parents=True)
    _copy(wanted.contract, folder / "contract.toml")
    budget = first_budget(wanted.cap, wanted.delta, (contract.purpose,))
    source = wanted.sources[site.name].resolve()
    return create_site(folder, site.name, source, Path("contract.toml"), budget, wanted.noise)


def _node(fleet: Fleet, site: FleetSite) -> None:
    folder = fleet.site(site) / "node"
    create_node_key(folder, "node.key")
    new_file(folder / "secret", os.urandom(SECRET_BYTES), 0o600)
    _copy(fleet.coordinator / "tls" / "ca.crt", folder / "ca.crt")
    _copy(folder / "node.key.pub", fleet.coordinator / "nodes" / f"{site.folder}.pub")


def _coordinator(fleet: Fleet, contract: Contract) -> None:
    for name in ("runs", "superlink", "proxy"):
        (fleet.coordinator / name).mkdir()
    new_file(fleet.coordinator / "superlink" / "secret", os.urandom(SECRET_BYTES), 0o600)
    settings = Settings("any", contract.purpose, Decimal(1), Decimal("0.00001"), "local")
    write_bundle(fleet.coordinator / "app", bundle(config_of(settings, fleet.coordinator / "group", fleet.runs)))


def _copy(source: Path, target: Path) -> None:
    if target.exists():
        raise InputError(f"{target}: expected a new file, got one that is there")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
