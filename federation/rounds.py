"""One exchange of messages with all sites of a plan, over any Flower `Grid`.

Rules:
    1. A reply counts only with a receipt that the site enrolled under that name has signed, for exactly this run, plan,
       event, index, state and these bytes.
    2. Every site of the plan counts once; a second reply under the same name is refused.
    3. All sites of the plan must answer before the deadline, or the exchange ends and says which did not, and what
       reasons came. A node that refuses and is not needed does no harm.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from flwr.app import Message, MessageType, RecordDict
from flwr.serverapp import Grid
from numpy.typing import NDArray

from federation import messages
from federation.guard import Contribution, Request
from privacy.dsse import Envelope
from privacy.errors import InputError, Refused, VerificationFailed
from privacy.ledger_excerpt import LedgerExcerpt, VerifiedExcerpt
from privacy.plan import Plan
from privacy.receipt import Receipt, open_receipt
from privacy.trust_roots import TrustRoots

DEADLINE: Final = 600.0
"""Seconds that an exchange may take."""
POLL: Final = 0.1
"""Seconds between two pulls of replies."""


@dataclass(frozen=True)
class Verified:
    """A contribution whose receipt has been verified."""

    sum: NDArray[np.int64]
    receipt: Receipt
    envelope: bytes


class Rounds:
    """The exchanges of one run."""

    def __init__(self, grid: Grid, run: str, plan: Plan, keys: TrustRoots, deadline: float = DEADLINE) -> None:
        """Wait for the plan's sites to be online.

        Raises:
            InputError: if the plan names a site that is not enrolled.
            Refused: if fewer nodes than sites are online before the deadline.
        """
        self._grid, self._run, self._plan, self._deadline = grid, run, plan, deadline
        unknown = [site.name for site in plan.sites if site.name not in keys.sites]
        if unknown:
            raise InputError(f"plan sites: expected enrolled ones, got {unknown[0]!r:.80} without a key in keys.json")
        self._keys = {site.name: keys.sites[site.name] for site in plan.sites}
        self._nodes = self._wait_for_nodes()

    def contributions(self, event: str, index: int, state: bytes) -> Mapping[str, Verified]:
        """Every site's noisy sum for one release of the plan, by site name.

        Raises:
            Refused: if a site refuses, fails or is silent.
            VerificationFailed: if a reply is not what its receipt says.
        """
        request = Request(self._run, self._plan.to_bytes(), event, index, state)
        asked = (event, index, hashlib.sha256(state).hexdigest())
        found: dict[str, Verified] = {}

        def take(reply: Message) -> None:
            verified = self._verified(messages.read_contribution(reply.content), asked)
            if verified.receipt.site in found:  # rule 2
                raise VerificationFailed(f"site {verified.receipt.site!r}: expected one reply, got a second")
            found[verified.receipt.site] = verified

        self._exchange(MessageType.TRAIN, lambda: messages.request_record(request), take, f"{event} {index}", found)
        return found

    def excerpts(self) -> Mapping[str, tuple[bytes, VerifiedExcerpt]]:
        """End the run at every site and fetch its ledger's proof, verified, by site name.

        Raises:
            Refused: if a site refuses, fails or is silent.
            VerificationFailed: if a proof does not hold.
        """
        found: dict[str, tuple[bytes, VerifiedExcerpt]] = {}

        def take(reply: Message) -> None:
            data, site = messages.read_excerpt(reply.content)
            if site not in self._keys or site in found:
                raise VerificationFailed(f"ledger of site {site!r:.80}: expected one of each site of the plan")
            found[site] = data, LedgerExcerpt.from_bytes(data, f"ledger of {site}").verified(site, self._keys[site])

        self._exchange(MessageType.QUERY, lambda: messages.finish_record(self._run), take, "finish", found)
        return found

    def _exchange(
        self,
        kind: str,
        content: Callable[[], RecordDict],
        take: Callable[[Message], None],
        what: str,
        found: Mapping[str, object],
    ) -> None:
        ends = time.monotonic() + self._deadline
        reasons: list[str] = []
        waiting = set(self._grid.push_messages([Message(content(), node, kind, group_id=what) for node in self._nodes]))
        while waiting:
            for reply in self._grid.pull_messages(list(waiting)):
                waiting.discard(reply.metadata.reply_to_message_id)
                if reply.has_error():
                    reasons.append(reply.error.reason)
                else:
                    take(reply)
            if time.monotonic() > ends:
                break
            time.sleep(POLL if waiting else 0)
        silent = [name for name in self._keys if name not in found]
        if silent:  # rule 3
            why = "; ".join(dict.fromkeys(reasons)) or f"no reply in {self._deadline:g} s"
            raise Refused(
                f"{what}: expected a contribution of every site, none of {', '.join(silent)[:200]}: {why:.400}"
            )

    def _verified(self, contribution: Contribution, asked: tuple[str, int, str]) -> Verified:
        receipt = self._opened(contribution.receipt)
        event, index, state = asked
        expected = (self._run, self._plan.digest, event, index, state)
        if (receipt.run, receipt.plan, receipt.event, receipt.index, receipt.state) != expected:  # rule 1
            raise VerificationFailed(f"receipt of {receipt.site!r}: expected run, plan and state of {event} {index}")
        if receipt.contribution != hashlib.sha256(contribution.values).hexdigest():
            raise VerificationFailed(f"contribution of {receipt.site!r}: expected the bytes that its receipt names")
        coordinates = self._plan.event(event).coordinates
        if len(contribution.values) != 8 * coordinates:
            raise InputError(f"contribution of {receipt.site!r}: expected {coordinates} int64, got another length")
        return Verified(np.frombuffer(contribution.values, dtype="<i8").astype(np.int64), receipt, contribution.receipt)

    def _opened(self, envelope: bytes) -> Receipt:
        keyids = {signature.keyid for signature in Envelope.from_bytes(envelope, "receipt").signatures}
        for name, verifier in self._keys.items():
            if verifier.keyid in keyids:
                receipt = open_receipt(envelope, verifier)
                if receipt.site == name:
                    return receipt
        raise VerificationFailed("receipt: expected one signed by a site of the plan under its own name, got another")

    def _wait_for_nodes(self) -> list[int]:
        ends = time.monotonic() + self._deadline
        while True:
            nodes = sorted(self._grid.get_node_ids())
            if len(nodes) >= len(self._keys):
                return nodes
            if time.monotonic() > ends:
                raise Refused(
                    f"fleet: expected {len(self._keys)} nodes online in {self._deadline:g} s, got {len(nodes)}"
                )
            time.sleep(POLL * 10)
