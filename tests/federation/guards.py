"""Guards as processes of their own, and how tests ask them."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from federation.messenger import ask_at
from federation.sealed import open_reply, seal_request
from federation.site import Site
from federation.wire import Message, Request
from privacy import canonical, fields
from privacy.signing import Signer, Verifier, verifier
from tests.federation.tiny_group import TinyGroup

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60
ALWAYS = 2**40
"""Until when requests of tests count."""


@dataclass
class Served:
    """A running `kith guard serve`, and the lines of its log."""

    process: subprocess.Popen[str]
    lines: queue.Queue[dict[str, Any]] = field(default_factory=queue.Queue)
    seen: list[dict[str, Any]] = field(default_factory=list)

    def told(self, what: str) -> dict[str, Any]:
        """The next line of that kind."""
        while True:
            line = self.lines.get(timeout=SECONDS)
            self.seen.append(line)
            if line.get("what") == what:
                return line

    @property
    def place(self) -> str:
        """Where it listens."""
        return next(str(line["address"]) for line in self.seen if line.get("what") == "listening")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)


@contextmanager
def serving(site: Site, *options: str) -> Iterator[Served]:
    """`kith guard serve` for a site, listening; killed at the end if it is still there."""
    with listening([sys.executable, "-m", "kith", "guard", "serve", str(site.folder), *options]) as served:
        yield served


@contextmanager
def listening(command: Sequence[str]) -> Iterator[Served]:
    """A process that serves a guard, once it listens."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    served = Served(process)
    reader = threading.Thread(target=_read, args=(served,), daemon=True)
    reader.start()
    try:
        served.told("listening")
        yield served
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait(SECONDS)
        reader.join(SECONDS)


def ask(place: str, group: TinyGroup, request: Request) -> Message:
    """What the guard at a place replies to a request that the group's coordinator signed."""
    return opened(ask_at(place), group.load().signer, keys_of(group.sites), request)


def opened(ask_with: Callable[[bytes], bytes], signer: Signer, sites: dict[str, Verifier], request: Request) -> Message:
    sealed = seal_request(request, signer, ALWAYS)
    return open_reply(ask_with(sealed), sealed, sites)[1]


def payload_of(message: bytes) -> bytes:
    """What a coordinator signs to ask for this."""
    return canonical.to_bytes({"not_after": ALWAYS, "request": fields.to_base64(message)})


def keys_of(sites: Sequence[Site]) -> dict[str, Verifier]:
    return {site.name: verifier(site.signer.public) for site in sites}


def _read(served: Served) -> None:
    assert served.process.stderr is not None
    for line in served.process.stderr:
        try:
            served.lines.put(json.loads(line))
        except ValueError:
            served.lines.put({"what": "not JSON", "line": line})
