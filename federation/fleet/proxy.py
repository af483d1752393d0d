"""The front proxy: what it lets through, as an nginx configuration.

Rules:
    1. A subsidiary's SuperNode reaches the paths of `FLEET` alone, an operator with a client certificate those of
       `CONTROL`, nobody anything else: not the interface by which code runs, not its documentation, not its health.
    2. A path counts as it stands in the request line. Whatever is encoded, doubled or climbs is none of the list's.
    3. A SuperNode whose key is not registered here is turned away before the SuperLink hears of it.
    4. Sizes, rates and times are bounded, and no error of the SuperLink's own is shown.
"""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from federation.fleet.templates_of import rendered
from privacy.errors import InputError
from privacy.tls_authority import node_public

FLEET: Final = (
    "activate-node",
    "confirm-message-received",
    "deactivate-node",
    "get-fab",
    "get-run",
    "pull-messages",
    "pull-object",
    "push-messages",
    "push-object",
    "send-node-heartbeat",
)
"""All but those by which a node would register itself."""
CONTROL: Final = ("list-nodes", "list-runs", "register-node", "start-run")
"""What `federation.fleet.control` asks, and no more."""
MEGABYTES: Final = 160
"""Of one request: a sealed message of 128 MiB, in base64 or not, and what is around it."""
REQUESTS: Final = 400
"""Per second and address; a site needs about 15 in a run. More wait, and five seconds' worth at most."""


@dataclass(frozen=True)
class Proxy:
    """A proxy's places and addresses.

    Attributes:
        listen: address and port.
        superlink: the SuperLink's, host:port.
        tls: folder of server.crt, server.key, ca.crt and operators.crt.
        place: folder for what passes through.
        log: folder of the access log; standard output if None.
        user: as whom it works, where root starts it.
        nodes: public keys (PEM) of the sites' SuperNodes, by folder's name.
    """

    listen: str
    superlink: str
    tls: Path
    place: Path
    log: Path | None
    user: str
    nodes: Mapping[str, bytes]

    def to_text(self) -> str:
        """The configuration."""
        return rendered(
            "nginx.conf.j2",
            listen=self.listen,
            superlink=self.superlink,
            tls=self.tls,
            place=self.place,
            log=f'"{self.log}/proxy.access.log"' if self.log else "/dev/stdout",
            nodes=[(base64.b64encode(key).decode("ascii"), name) for name, key in sorted(self.nodes.items())],
            fleet_paths=FLEET,
            control_paths=CONTROL,
            megabytes=MEGABYTES,
            requests_per_second=REQUESTS,
            user=self.user,
        )


def node_keys(folder: Path) -> Mapping[str, bytes]:
    """The public keys in a coordinator's folder of SuperNodes, as `Proxy.nodes` has them.

    Raises:
        InputError: if a file is none.
    """
    return {path.stem: node_public(path) for path in sorted(folder.glob("*.pub"))}


def nginx() -> str:
    """The program.

    Raises:
        InputError: if it is not installed.
    """
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise InputError("front proxy: expected nginx to be installed (Debian: apt-get install nginx-light), got none")
    return found
