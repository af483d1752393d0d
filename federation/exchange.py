"""One exchange of messages with all sites of a plan, over any Flower `Grid`.

Rules:
    1. Every site of the plan must give one reply that counts before the deadline, or the exchange ends and says which
       did not, and what reasons came. A node that refuses and is not needed does no harm.
    2. A second reply under the same name is refused, and so is one under a name that is not the plan's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Final, TypeVar

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from privacy.errors import Refused, VerificationFailed

DEADLINE: Final = 600.0
"""Seconds that an exchange may take."""
POLL: Final = 0.1
"""Seconds between two pulls of replies."""

Reply = TypeVar("Reply")


class Exchanges:
    """The nodes of a run, and exchanges with them. Which node is which site only its replies tell."""

    def __init__(self, grid: Grid, sites: Collection[str], deadline: float = DEADLINE) -> None:
        """Wait for as many nodes as there are sites to be online.

        Raises:
            Refused: if there are fewer before the deadline.
        """
        self.sites = tuple(sites)
        self._grid, self._deadline = grid, deadline
        self._nodes = self._wait_for_nodes()

    def ask(
        self, what: str, kind: str, content: Callable[[], RecordDict], read: Callable[[RecordDict], tuple[str, Reply]]
    ) -> Mapping[str, Reply]:
        """Send the same to every node; what the sites answered, by name.

        Args:
            what: the exchange, in words.
            kind: Flower's message type.
            content: a new copy of what is sent.
            read: the site that a reply is of and what it says, once it is known to be so.

        Raises:
            Refused: if a site refuses, fails or is silent (rule 1).
            VerificationFailed: if a site answers twice or is not of the plan (rule 2).
            KithError: whatever `read` finds wrong.
        """
        found: dict[str, Reply] = {}
        reasons: list[str] = []
        ends = time.monotonic() + self._deadline
        waiting = set(self._grid.push_messages([Message(content(), node, kind, group_id=what) for node in self._nodes]))
        while waiting:
            for reply in self._grid.pull_messages(list(waiting)):
                waiting.discard(reply.metadata.reply_to_message_id)
                if reply.has_error():
                    reasons.append(reply.error.reason)
                    continue
                site, told = read(reply.content)
                if site not in self.sites or site in found:  # rule 2
                    came = "a second" if site in found else f"one of {site!r:.80}"
                    raise VerificationFailed(f"{what}: expected one reply of each site of the plan, got {came}")
                found[site] = told
            if time.monotonic() > ends:
                break
            time.sleep(POLL if waiting else 0)
        silent = [name for name in self.sites if name not in found]
        if silent:  # rule 1
            why = "; ".join(dict.fromkeys(reasons)) or f"no reply in {self._deadline:g} s"
            raise Refused(f"{what}: expected a reply of every site, none of {', '.join(silent)[:200]}: {why:.600}")
        return found

    def _wait_for_nodes(self) -> list[int]:
        ends = time.monotonic() + self._deadline
        while True:
            nodes = sorted(self._grid.get_node_ids())
            if len(nodes) >= len(self.sites):
                return nodes
            if time.monotonic() > ends:
                raise Refused(
                    f"fleet: expected {len(self.sites)} nodes online in {self._deadline:g} s, got {len(nodes)}"
                )
            time.sleep(POLL * 10)
