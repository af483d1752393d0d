"""The guards of a tiny group behind a grid in this process, whose nodes and network do as a test says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import mkdtemp

from flwr.app import Message

from federation import sealed, wire
from federation.checkpoints import Checkpoints
from federation.embedded import InProcessGrid
from federation.exchange import Exchanges
from federation.guard import Guard
from federation.messenger import body_of, carried, messenger
from federation.rounds import Rounds
from federation.run_log import RunLog
from federation.wire import Request
from privacy import canonical, fields
from privacy.dsse import Envelope
from privacy.plan import Plan
from privacy.signing import Signer
from tests.federation.tiny_group import TinyGroup

Ask = Callable[[bytes], bytes]
SERVER = 1


class Node:
    """A site's node.

    Attributes:
        ask: what it asks; the site's guard at first.
        online: whether the grid knows it.
        silent: whether replies get lost.
        asked: the requests that have come to it.
    """

    def __init__(self, ask: Ask) -> None:
        self.ask, self.online, self.silent = ask, True, False
        self.asked: list[Request] = []

    def answer(self, request: bytes) -> bytes:
        self.asked.append(opened(request))
        return self.ask(request)


class TinyFleet(InProcessGrid):
    """A grid of nodes.

    Attributes:
        nodes: by the site's name; strangers by whatever name a test gives them.
        network: what is done to replies on their way.
    """

    def __init__(self, group: TinyGroup, strangers: Iterable[tuple[str, Ask]] = ()) -> None:
        self.guards = {site.name: Guard(site) for site in group.sites}
        self.nodes = {name: Node(guard.answer) for name, guard in self.guards.items()}
        self.nodes |= {name: Node(ask) for name, ask in strangers}
        self.network: Callable[[list[Message]], list[Message]] = lambda replies: replies
        self._names = dict(enumerate(self.nodes, start=SERVER + 1))
        super().__init__(
            messenger(lambda context: self.nodes[self._names[context.node_id]].answer), map(Path, self.nodes)
        )

    def number(self, name: str) -> int:
        """The node's id."""
        return next(number for number, known in self._names.items() if known == name)

    def get_node_ids(self) -> Iterable[int]:
        return [number for number, name in self._names.items() if self.nodes[name].online]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        pushed = []
        for message in messages:
            node = self.nodes[self._names[message.metadata.dst_node_id]]
            pushed.append(self._deliver(message) if node.online else "")
            if node.silent:
                self._replies.pop(pushed[-1], None)
        return pushed

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return self.network(list(super().pull_messages(message_ids)))


def opened(request: bytes) -> Request:
    """What a sealed request says, whoever signed it."""
    payload = Envelope.from_bytes(request, max_bytes=sealed.MAX_BYTES).payload
    document = canonical.from_bytes(payload, "request", sealed.MAX_BYTES)
    return wire.from_bytes(fields.from_base64(document["request"], "request"), Request, "request")


def changed(reply: Message, change: Callable[[bytes], bytes]) -> Message:
    """The reply with other bytes in it."""
    body = body_of(reply.content)
    assert body is not None
    reply.content = carried(change(body))
    return reply


def says(signer: Signer, told: wire.Message | Callable[[Request], wire.Message]) -> Ask:
    """What answers with this under a site's key."""

    def ask(request: bytes) -> bytes:
        return sealed.seal_reply(told(opened(request)) if callable(told) else told, request, signer)

    return ask


def exchanges_of(fleet: TinyFleet, group: TinyGroup, folder: Path, deadline: float = 1.0) -> tuple[Exchanges, RunLog]:
    """A coordinator's exchanges with a fleet, and the run's log."""
    known, log = group.load(), RunLog(folder)
    sites = known.keys.trusted().sites
    return Exchanges(fleet, known.signer, {site.name: sites[site.name] for site in group.sites}, log, deadline), log


def rounds_of(fleet: TinyFleet, group: TinyGroup, plan: Plan, folder: Path, run: str = "run-1") -> Rounds:
    """A coordinator's releases of a plan; each time with another log, as nobody closes it."""
    folder.mkdir(exist_ok=True)
    exchanges, log = exchanges_of(fleet, group, Path(mkdtemp(dir=folder)))
    return Rounds(exchanges, Checkpoints(folder / "checkpoints"), log, run, plan)
