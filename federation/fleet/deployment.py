"""Files for the real thing: systemd units, Compose files and Kubernetes manifests, for the coordinator and each site.

They are made from the fleet's names and ports and hold no secret. What they keep apart: a site's guard, its SuperNode
and the coordinator's code are three users, who share a socket and a loopback port.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from federation.fleet.layout import Fleet, FleetSite
from federation.fleet.proxy import Proxy, node_keys
from federation.fleet.templates_of import rendered
from privacy.atomic_files import new_file

BIN: Final = "/opt/kith/bin"
"""Where the units expect Kith's virtual environment."""
COORDINATOR_UNITS: Final = (
    "kith-superlink.service",
    "kith-coordinator.service",
    "kith-proxy.service",
    "kith-loopback.service",
)
SITE_UNITS: Final = ("kith-guard.service", "kith-node.service", "kith-apps.service")
COORDINATOR_USERS: Final = ("kith-superlink", "kith-coordinator", "kith-proxy")
SITE_USERS: Final = ("kith-guard", "kith-node", "kith-apps")


def write_deployment(fleet: Fleet) -> None:
    """All of them, under deploy/.

    Raises:
        InputError: if one is there already.
    """
    for path, text in deployment(fleet).items():
        target = fleet.root / "deploy" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        new_file(target, text.encode("utf-8"), 0o644)


def deployment(fleet: Fleet) -> dict[str, str]:
    """The text of each file, by its path under deploy/."""
    files = {"INSTALL.md": _text("INSTALL.md", fleet), "compose/Dockerfile": _text("Dockerfile", fleet)}
    files |= {f"systemd/coordinator/{unit}": _text(f"systemd/{unit}", fleet) for unit in COORDINATOR_UNITS}
    files["systemd/coordinator/kith-loopback.nft"] = _text("systemd/kith-loopback.nft", fleet)
    files["systemd/coordinator/kith.conf"] = _text("systemd/kith.sysusers", fleet, users=COORDINATOR_USERS)
    files["systemd/coordinator/nginx.conf"] = _proxy(fleet).to_text()
    inside = replace(_proxy(fleet), tls=Path("/run/secrets"), log=None)
    files["compose/nginx.conf"] = replace(inside, superlink=f"superlink:{fleet.superlink}").to_text()
    files["kubernetes/nginx.conf"] = inside.to_text()
    for kind in ("compose", "kubernetes"):
        files[f"{kind}/coordinator.yaml"] = _text(f"{kind}/coordinator.yaml", fleet)
    for site in fleet.sites:
        files |= _of_site(fleet, site)
    return files


def _of_site(fleet: Fleet, site: FleetSite) -> dict[str, str]:
    files = {f"systemd/{site.folder}/{unit}": _text(f"systemd/{unit}", fleet, site=site) for unit in SITE_UNITS}
    files[f"systemd/{site.folder}/kith.conf"] = _text("systemd/kith.sysusers", fleet, users=SITE_USERS)
    for kind in ("compose", "kubernetes"):
        files[f"{kind}/{site.folder}.yaml"] = _text(f"{kind}/site.yaml", fleet, site=site)
    return files


def _proxy(fleet: Fleet) -> Proxy:
    return Proxy(
        listen=f"0.0.0.0:{fleet.port}",
        superlink=f"127.0.0.1:{fleet.superlink}",
        tls=Path("/run/credentials/kith-proxy.service"),
        place=Path("/run/kith-proxy"),
        log=Path("/var/log/kith-proxy"),
        user="",
        nodes=node_keys(fleet.coordinator / "nodes"),
    )


def _text(template: str, fleet: Fleet, **values: Any) -> str:
    return rendered(f"{template}.j2", fleet=fleet, bin=BIN, **values)
