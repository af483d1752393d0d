"""A fleet's processes on this host: all up, how they stand, all down."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from federation.fleet import processes
from federation.fleet.control import ONLINE, Control, control
from federation.fleet.layout import Fleet, FleetSite
from federation.fleet.making import OPERATOR, proxy_of
from federation.fleet.parts import PROXY, SUPERLINK, Part, parts_of
from privacy.atomic_files import replace_file
from privacy.errors import KithError, Refused
from privacy.tls_authority import days_left, node_public

PATIENCE: Final = 90.0
"""Seconds for all parts to be up."""
POLL: Final = 0.2
AGAIN: Final = 2.0
"""Seconds until a part that may try again does."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Standing:
    """How one part stands.

    Attributes:
        name: the part's.
        pid: of its process; None if it does not run.
        up: whether it runs and answers.
    """

    name: str
    pid: int | None
    up: bool


@dataclass(frozen=True)
class FleetStanding:
    """How a fleet stands on this host.

    Attributes:
        parts: in the order in which they are started.
        nodes: status of each site's SuperNode as the SuperLink has it; None where this host can not ask.
        certificate_days: for which the proxy's certificate holds; None at a site.
    """

    parts: tuple[Standing, ...]
    nodes: Mapping[str, str] | None
    certificate_days: int | None

    @property
    def whole(self) -> bool:
        """Whether all parts are up, and all SuperNodes online as far as one can ask."""
        online = self.nodes is None or all(status == ONLINE for status in self.nodes.values())
        return online and all(part.up for part in self.parts)

    def to_document(self) -> dict[str, Any]:
        """The JSON of `kith fleet status --json`."""
        return {
            "up": self.whole,
            "parts": [{"name": part.name, "pid": part.pid, "up": part.up} for part in self.parts],
            "nodes": None if self.nodes is None else dict(self.nodes),
            "certificate_days": self.certificate_days,
        }


def up(fleet: Fleet, progress: Progress, patience: float = PATIENCE) -> FleetStanding:
    """Start what does not run, and wait until all of it is up and online; what runs is left alone.

    Raises:
        KithError: naming the part that ended or did not come up, with what it said last.
    """
    parts = parts_of(fleet)
    if fleet.coordinator.is_dir():
        _configure(fleet, next(part for part in parts if part.name == PROXY))
    ends = time.monotonic() + patience
    first = [part for part in parts if part.name in (SUPERLINK, PROXY)]
    _start(first, progress, ends)
    with _operator(fleet) as asked:
        if asked is not None:
            register(fleet, asked)  # a SuperNode that is not known ends at once
        _start([part for part in parts if part not in first], progress, ends)
        if asked is not None:
            progress("waiting for SuperNodes", len(parts), len(parts))
            _wait_online(fleet, asked, parts, ends)
    return standing(fleet)


def standing(fleet: Fleet) -> FleetStanding:
    """How the fleet stands on this host."""
    parts = []
    for part in parts_of(fleet):
        pid = processes.pid_of(part.place)
        parts.append(Standing(part.name, pid, pid is not None and part.is_up()))
    certificate = fleet.coordinator / "tls" / "server.crt"
    days = days_left(certificate, datetime.now(UTC)) if certificate.is_file() else None
    return FleetStanding(tuple(parts), _nodes(fleet), days)


def down(fleet: Fleet, progress: Progress) -> int:
    """End every part of the fleet on this host, those of the sites first; how many ran.

    Raises:
        KithError: if one can not be ended.
    """
    parts = parts_of(fleet)
    front = [part.place for part in parts if part.name in (SUPERLINK, PROXY)]
    others = [part.place for part in parts if part.place not in front]
    progress("stopping", 0, len(parts))
    ran = processes.stop(others)  # while there is somebody whom a SuperNode can tell that it goes
    progress("stopping", ran, len(parts))
    return ran + processes.stop(front)


def register(fleet: Fleet, asked: Control) -> None:
    """Let those SuperNodes in whose public keys the coordinator has and the SuperLink has not.

    Raises:
        Refused: if the SuperLink does not let the operator in.
    """
    known = {node.public for node in asked.nodes()}
    for site in fleet.sites:
        path = _public(fleet, site)
        if path.is_file() and (public := node_public(path)) not in known:
            asked.register(site.name, public)


def _configure(fleet: Fleet, proxy: Part) -> None:
    """Write the proxy's configuration, and let it read it anew if it runs and there is a difference."""
    path, text = fleet.coordinator / "proxy" / "nginx.conf", proxy_of(fleet).to_text().encode("utf-8")
    if path.is_file() and path.read_bytes() == text:
        return
    replace_file(path, text)
    processes.tell(proxy.place, signal.SIGHUP)


def _start(parts: Sequence[Part], progress: Progress, ends: float) -> None:
    for done, part in enumerate(parts):
        progress(f"starting {part.name}", done, len(parts))
        processes.start(part.program, part.place)
    for done, part in enumerate(parts):
        progress(f"waiting for {part.name}", done, len(parts))
        _wait_for(part, ends)


@contextmanager
def _operator(fleet: Fleet) -> Iterator[Control | None]:
    """This host's operator's connection; None where no operator's folder is."""
    operator = fleet.operators / OPERATOR
    if not operator.is_dir():
        yield None
        return
    with control(f"{fleet.host}:{fleet.port}", operator) as asked:
        yield asked


def _wait_for(part: Part, ends: float) -> None:
    while processes.pid_of(part.place) is None or not part.is_up():
        if processes.pid_of(part.place) is None:
            if not part.tries_again:
                raise KithError(f"{part.name}: expected it to run, it ended: {processes.last_lines(part.place)[:600]}")
            time.sleep(AGAIN)
            processes.start(part.program, part.place)
        if time.monotonic() > ends:
            raise KithError(f"{part.name}: expected it to be up, it is not: {processes.last_lines(part.place)[:600]}")
        time.sleep(POLL)


def _wait_online(fleet: Fleet, asked: Control, parts: Sequence[Part], ends: float) -> None:
    """Until the SuperNodes of this host are online; those of other hosts come when they come."""
    while True:
        status = _status(fleet, asked)
        waiting = [site.name for site in fleet.here if status.get(site.name) != ONLINE]
        if not waiting:
            return
        for part in parts:
            _wait_for(part, ends)
        if time.monotonic() > ends:
            raise Refused(f"SuperNode of {waiting[0]!r:.80}: expected it to be online, got {status.get(waiting[0])}")
        time.sleep(POLL)


def _nodes(fleet: Fleet) -> Mapping[str, str] | None:
    try:
        with _operator(fleet) as asked:
            return None if asked is None else _status(fleet, asked)
    except KithError:
        return dict.fromkeys((site.name for site in fleet.sites), "unknown")


def _status(fleet: Fleet, asked: Control) -> dict[str, str]:
    """Each site's SuperNode by its key, not by the name that somebody gave it."""
    by_key = {node.public: node.status for node in asked.nodes()}
    found = {}
    for site in fleet.sites:
        path = _public(fleet, site)
        found[site.name] = by_key.get(node_public(path), "unregistered") if path.is_file() else "unregistered"
    return found


def _public(fleet: Fleet, site: FleetSite) -> Path:
    return fleet.coordinator / "nodes" / f"{site.folder}.pub"
