"""One exchange of sealed messages with the sites of a plan, over any Flower `Grid`.

Rules:
    1. A reply counts only under its site's signature, as the answer to this request (`federation.sealed`), once, before
       the deadline, and if it is what was asked for. A node that is not needed does no harm.
    2. An exchange ends when every site asked has answered or the deadline has passed. It holds if at least as many
       replies count as are needed; whoever else was asked is absent, by name and for a reason.
    3. Requests may be repeated: a guard answers the same again with the same bytes. So a node that fails is asked again
       while there is time, and so are one that is silent for long, and a site where a person has yet to see the plan.
    4. A site that an exchange has gone without is waited for but a moment in the next, until it answers again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from flwr.app import Message, MessageType
from flwr.serverapp import Grid

from federation import sealed, wire
from federation.messenger import body_of, carried
from federation.run_log import RunLog
from federation.wire import Refusal, Request
from privacy.certificate import FAILED, GARBAGE, REFUSED, SILENT
from privacy.errors import InputError, KithError, Refused
from privacy.signing import Signer, Verifier

POLL: Final = 0.1
"""Seconds between two pulls of replies."""
LOOK: Final = 1.0
"""Seconds between two looks at which nodes are online, while replies are missing."""
GRACE: Final = 15.0
"""Seconds that a site is waited for which the last exchange has gone without."""
AGAIN: Final = 2.0
"""Seconds until whoever failed is asked again."""
PERSON: Final = 15.0
"""Seconds until a site that waits for a person is asked again."""
SLACK: Final = 3600.0
"""Seconds for which requests count beyond the deadline: sites' clocks differ."""
SILENCES: Final = 3
"""Times that a silent node is asked: one that was started anew never sees the message that the one before it took."""

logger = logging.getLogger("kith.exchange")
Reply = TypeVar("Reply")


@dataclass(frozen=True)
class Replies(Generic[Reply]):
    """What came of an exchange: each site asked is in one of the two.

    Attributes:
        found: replies that count, by site in order of name.
        absent: why there is none, by site.
    """

    found: Mapping[str, Reply]
    absent: Mapping[str, str]


class Exchanges:
    """The nodes of a run, and exchanges with them. Which node is which site, its replies tell."""

    def __init__(
        self,
        grid: Grid,
        coordinator: Signer,
        sites: Mapping[str, Verifier],
        log: RunLog,
        deadline: float,
    ) -> None:
        """Nothing is sent yet.

        Args:
            grid: Flower's connection to the sites.
            coordinator: signs requests.
            sites: every site's key, by name.
            log: of the run.
            deadline: seconds that an exchange may take.
        """
        self.sites = sites
        self._coordinator = coordinator
        self._nodes = _Nodes(grid, sites, log, deadline, {}, set())

    def ask(
        self,
        what: str,
        asked: Request | Mapping[str, Request],
        read: Callable[[str, wire.Message], Reply],
        least: int,
        of: tuple[str, int] | None = None,
    ) -> Replies[Reply]:
        """Ask every site the same, or each of some its own.

        Args:
            what: the phase, in the words of the run log.
            asked: what is asked, of all sites or by site; where sites are asked different things, they must have
                answered something before.
            read: what a site's reply says, once it has been found to be so; a `KithError` of it means garbage.
            least: replies that are needed.
            of: event and index of the release that it is about.

        Raises:
            Refused: if fewer replies count (rule 2).
        """
        return _Exchange(self._nodes, what, read, *self._sealed(asked)).held(least, of)

    def _sealed(self, asked: Request | Mapping[str, Request]) -> tuple[Mapping[str, bytes], bytes | None]:
        """Sealed requests by site, and what nodes are sent of which nobody knows yet whose they are."""
        by_site = dict.fromkeys(self.sites, asked) if isinstance(asked, Request) else asked
        different = list(by_site.values())
        until = int(time.time() + self._nodes.deadline + SLACK)
        if all(one == different[0] for one in different):
            same = sealed.seal_request(different[0], self._coordinator, until)
            return dict.fromkeys(by_site, same), same
        return {name: sealed.seal_request(one, self._coordinator, until) for name, one in by_site.items()}, None


@dataclass
class _Nodes:
    """What all exchanges of a run have in common.

    Attributes:
        site_of: of nodes that have answered: whose they are.
        missed: sites that the last exchange that they were asked in went without, as nothing came of them.
        apart: whether replies are pulled one by one.
    """

    grid: Grid
    sites: Mapping[str, Verifier]
    log: RunLog
    deadline: float
    site_of: dict[int, str]
    missed: set[str]
    apart: bool = False


class _Exchange(Generic[Reply]):
    """One exchange, while it goes on."""

    def __init__(
        self,
        nodes: _Nodes,
        what: str,
        read: Callable[[str, wire.Message], Reply],
        requests: Mapping[str, bytes],
        for_strangers: bytes | None,
    ) -> None:
        self._nodes, self._what, self._read = nodes, what, read
        self._requests, self._for_strangers = requests, for_strangers
        self._began = self._look = time.monotonic()
        self._slowest = 0.0
        self._sent: dict[str, tuple[int, bytes]] = {}
        self._due: dict[int, float] = {}
        self._asked: set[int] = set()
        self._found: dict[str, Reply] = {}
        self._absent: dict[str, str] = {}
        self._failed: dict[int, str] = {}
        self._waiting: set[str] = set()
        self._reasons: dict[str, None] = {}

    def held(self, least: int, of: tuple[str, int] | None) -> Replies[Reply]:
        """Send, and pull until it is over."""
        about = {} if of is None else {"event": of[0], "index": of[1]}
        self._nodes.log.add("phase", phase=self._what, deadline=self._nodes.deadline, **about)
        while not self._over(least):
            self._send()
            for reply in self._pulled():
                self._take(reply)
            if not self._over(least):
                time.sleep(POLL)
        for name in self._requests:
            if name not in self._found:
                self._absent.setdefault(name, self._why(name))
        self._nodes.missed.difference_update(self._found)
        waited_for = (name for name, why in self._absent.items() if why in (SILENT, FAILED) or name in self._waiting)
        self._nodes.missed.update(waited_for)
        found = {name: self._found[name] for name in sorted(self._found)}
        if len(found) < least:
            for name, why in sorted(self._absent.items()):
                self._nodes.log.add("absent", site=name, reason=why, **about)
            self._refuse(least)
        for reason in self._reasons:
            logger.warning("%s: %s", self._what, reason)
        return Replies(found, self._absent)

    def _over(self, least: int) -> bool:
        waited, settled = time.monotonic() - self._began, self._found.keys() | self._absent.keys()
        if waited > self._nodes.deadline or len(settled) >= len(self._requests):
            return True
        enough = len(self._found) >= least and waited > max(GRACE, 2 * self._slowest)
        return enough and self._requests.keys() - settled <= self._nodes.missed  # rule 4

    def _send(self) -> None:
        """To every node online that is due: those not asked yet, and those to be asked again (rule 3)."""
        now = time.monotonic()
        if now < self._look:
            return
        self._look = now + LOOK
        nodes = set(self._nodes.grid.get_node_ids())
        for node in sorted(nodes - self._asked):
            self._due.setdefault(node, now)
        self._push(node for node, at in sorted(self._due.items()) if at <= now and node in nodes)

    def _push(self, nodes: Iterable[int]) -> None:
        bodies = {}
        for node in nodes:
            self._due[node] = time.monotonic() + self._nodes.deadline / SILENCES
            self._asked.add(node)
            if (body := self._body(node)) is not None:
                bodies[node] = body
        messages = [
            Message(carried(body), node, MessageType.QUERY, group_id=self._what) for node, body in bodies.items()
        ]
        for (node, body), identity in zip(bodies.items(), self._nodes.grid.push_messages(messages), strict=True):
            if identity:
                self._sent[identity] = node, body
            else:  # it went offline just now
                self._due[node] = time.monotonic() + AGAIN

    def _pulled(self) -> Iterable[Message]:
        """Replies that have come. One that Flower can not read is its node's failure (rule 3), and spoils no other.

        What was pulled with it is lost: everybody who has not answered is asked again, and from now on replies are
        pulled one by one.
        """
        nodes = self._nodes
        if not nodes.apart:
            try:
                return nodes.grid.pull_messages(list(self._sent))
            except Exception as error:
                self._note(f"a reply that can not be read: {type(error).__name__}")
                nodes.apart = True
                now = time.monotonic()
                self._due.update({node: now for node, _ in self._sent.values()})
                return ()
        found: list[Message] = []
        for identity, (node, _) in list(self._sent.items()):
            try:
                found += nodes.grid.pull_messages([identity])
            except Exception as error:
                del self._sent[identity]
                self._fail(node, f"a node failed: its reply can not be read: {type(error).__name__}")
        return found

    def _body(self, node: int) -> bytes | None:
        known = self._nodes.site_of.get(node)
        if known is None:
            return self._for_strangers
        return None if known in self._found or known in self._absent else self._requests.get(known)

    def _take(self, reply: Message) -> None:
        sent = self._sent.pop(reply.metadata.reply_to_message_id, None)
        if sent is None:  # not ours, or a second time
            return
        node, request = sent
        try:
            site, told = sealed.open_reply(_body_of(reply), request, self._nodes.sites)  # rule 1
        except KithError as error:
            self._fail(node, str(error))
            return
        self._nodes.site_of[node] = site
        if site in self._found or site in self._absent or site not in self._requests:
            return
        if isinstance(told, Refusal):
            self._refused(node, site, told)
            return
        try:
            self._found[site] = self._read(site, told)
        except KithError as error:
            self._give_up(site, GARBAGE, str(error))
            return
        self._slowest = time.monotonic() - self._began
        self._nodes.log.add("reply", site=site, phase=self._what, seconds=self._slowest)

    def _refused(self, node: int, site: str, told: Refusal) -> None:
        if told.waiting:
            if site not in self._waiting:
                self._waiting.add(site)
                self._nodes.log.add("waiting", site=site)
            self._fail(node, f"{site}: {told.reason}", REFUSED, PERSON)
        else:
            self._give_up(site, REFUSED, told.reason)

    def _give_up(self, site: str, why: str, reason: str) -> None:
        self._absent[site] = why
        self._note(f"{site}: {reason}")

    def _fail(self, node: int, reason: str, why: str = FAILED, again: float | None = None) -> None:
        """A node that failed, and is asked again (rule 3)."""
        self._failed[node] = why
        self._note(reason)
        self._due[node] = time.monotonic() + (again or AGAIN)

    def _note(self, reason: str) -> None:
        """Others' words, as far as a terminal may show them."""
        self._reasons["".join(one if one.isprintable() else " " for one in reason[:400])] = None

    def _why(self, name: str) -> str:
        nodes = [node for node, site in self._nodes.site_of.items() if site == name]
        return next((self._failed[node] for node in nodes if node in self._failed), SILENT)

    def _refuse(self, least: int) -> None:
        missing = ", ".join(sorted(self._absent))[:200]
        why = "; ".join(self._reasons) or f"no reply in {self._nodes.deadline:g} s"
        raise Refused(
            f"{self._what}: expected replies of {least} sites, got {len(self._found)}, none of {missing}: {why:.600}"
        )


def _body_of(reply: Message) -> bytes:
    """The sealed bytes of a reply.

    Raises:
        Refused: with the node's words, if it is an error.
        InputError: if it is something else.
    """
    if reply.has_error():
        raise Refused(f"a node failed: {str(reply.error.reason or 'without a reason')[:200]}")
    body = body_of(reply.content)
    if body is None:
        raise InputError("reply: expected sealed bytes, got otherwise")
    return body
