"""The parts of a fleet that run on this host: what each is started with, and how one sees that it is up."""

from __future__ import annotations

import os
import socket
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from federation.fleet.layout import SIGN, Fleet, FleetSite
from federation.fleet.processes import Place, Program, pid_of
from federation.fleet.proxy import nginx

BIN: Final = Path(sys.executable).parent
SUPERLINK, PROXY, APPS = "superlink", "proxy", "apps"
QUIET: Final = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}
_PASSED_ON: Final = ("LANG", "LC_ALL", "TZ", "PATH", "HOME", "USER", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "TMPDIR")
PROBE: Final = 2.0
"""Seconds for one look whether a part is up."""


@dataclass(frozen=True)
class Part:
    """One process of a fleet.

    Attributes:
        name: "superlink", "guard-north" …
        program: what is started.
        place: where it is written down.
        is_up: whether it answers.
        tries_again: whether it may end at first: a SuperLink lets a SuperNode in only once it takes the one before,
            which was killed, for gone.
    """

    name: str
    program: Program
    place: Place
    is_up: Callable[[], bool]
    tries_again: bool = False


def parts_of(fleet: Fleet) -> tuple[Part, ...]:
    """The parts whose folders are on this host, in the order in which they are started.

    Raises:
        InputError: if the proxy's program is not installed, where it is needed.
    """
    made: list[Part] = []
    if fleet.coordinator.is_dir():
        made += [_superlink(fleet), _server_apps(fleet), _proxy(fleet)]
    for site in fleet.here:
        made += [_guard(fleet, site), _node(fleet, site), _site_apps(fleet, site)]
    return tuple(made)


def _superlink(fleet: Fleet) -> Part:
    folder, tls = fleet.coordinator / "superlink", fleet.coordinator / "tls"
    command = (
        *(str(BIN / "flower-superlink"), "--host", "127.0.0.1", "--port", str(fleet.superlink)),
        *("--ssl-ca-certfile", str(tls / "ca.crt"), "--ssl-certfile", str(tls / "server.crt")),
        *("--ssl-keyfile", str(tls / "server.key"), "--enable-supernode-auth"),
        *("--database", str(folder / "state.db"), "--disable-runtime-dependency-installation"),
        *("--isolation", "process", "--superexec-auth-secret-file", str(folder / "secret")),
    )
    return _part(fleet, SUPERLINK, folder, command, lambda: _answers_tls(fleet.superlink, tls / "ca.crt"))


def _server_apps(fleet: Fleet) -> Part:
    folder, ca = fleet.coordinator / "superlink", fleet.coordinator / "tls" / "ca.crt"
    command = (
        *(sys.executable, "-P", "-m", "federation.fleet.apps", "server", "--runtime", f"127.0.0.1:{fleet.superlink}"),
        *("--secret", str(folder / "secret"), "--ca", str(ca)),
    )
    return _part(fleet, APPS, folder, command, lambda: True)


def _proxy(fleet: Fleet) -> Part:
    place, ca = fleet.coordinator / "proxy", fleet.coordinator / "tls" / "ca.crt"
    command = (nginx(), "-p", str(place), "-c", str(place / "nginx.conf"), "-e", "stderr")
    return _part(fleet, PROXY, place, command, lambda: _answers_tls(fleet.port, ca))


def _guard(fleet: Fleet, site: FleetSite) -> Part:
    folder, path = fleet.site(site) / "site", fleet.socket(site)
    command = (sys.executable, "-P", "-m", "kith", "guard", "serve", str(folder), "--listen", f"unix:{path}")
    part = _part(fleet, f"guard-{site.folder}", folder, command, lambda: _answers_unix(path))
    # The guard is the site's own and may need the site's own settings: a ledger elsewhere is named in the environment.
    return replace(part, program=Program(command, {**os.environ, **QUIET}, folder))


def _node(fleet: Fleet, site: FleetSite) -> Part:
    folder = fleet.site(site) / "node"
    command = (
        *(sys.executable, "-P", "-m", "federation.fleet.node", "--superlink", f"{fleet.host}:{fleet.port}"),
        *("--root-certificates", str(folder / "ca.crt"), "--auth-supernode-private-key", str(folder / "node.key")),
        *("--host", "127.0.0.1", "--port", str(site.port), "--node-config", f'guard="unix:{fleet.socket(site)}"'),
        *("--isolation", "process", "--superexec-auth-secret-file", str(folder / "secret")),
    )
    sign = folder / "online"
    part = _part(fleet, f"node-{site.folder}", folder, command, lambda: True)
    program = replace(part.program, environment={**part.program.environment, SIGN: str(sign)})
    return replace(part, program=program, is_up=lambda: _signed(sign, part.place), tries_again=True)


def _site_apps(fleet: Fleet, site: FleetSite) -> Part:
    folder = fleet.site(site) / "node"
    command = (
        *(sys.executable, "-P", "-m", "federation.fleet.apps", "client", "--runtime", f"127.0.0.1:{site.port}"),
        *("--secret", str(folder / "secret")),
    )
    return _part(fleet, f"{APPS}-{site.folder}", folder, command, lambda: True)


def _part(fleet: Fleet, name: str, folder: Path, command: tuple[str, ...], is_up: Callable[[], bool]) -> Part:
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment |= {**QUIET, "FLWR_HOME": str(folder / "flwr"), "PYTHONUNBUFFERED": "1"}
    place = Place(fleet.root / "run", fleet.root / "log", name)
    return Part(name, Program(command, environment, folder), place, is_up)


def _answers_tls(port: int, ca: Path) -> bool:
    """Whether somebody with a certificate of this authority answers there."""
    try:
        context = ssl.create_default_context(cafile=ca)
        with (
            socket.create_connection(("127.0.0.1", port), PROBE) as plain,
            context.wrap_socket(plain, server_hostname="localhost"),
        ):
            return True
    except (OSError, ssl.SSLError):
        return False


def _signed(sign: Path, place: Place) -> bool:
    """Whether the process that runs now has written its number."""
    try:
        return int(sign.read_text(encoding="ascii")[:20]) == pid_of(place)
    except (OSError, ValueError):
        return False


def _answers_unix(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
        channel.settimeout(PROBE)
        try:
            channel.connect(str(path))
        except BlockingIOError:  # so many wait that the system takes no more: it is there
            return True
        except OSError:
            return False
    return True
