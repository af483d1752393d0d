"""The releases of a run, asked of all sites of its plan.

Rules:
    1. A reply counts only with a receipt that the site enrolled under that name has signed, for exactly this run, plan,
       event, index, state and these bytes.
    2. All sites of the plan count, each once (`federation.exchange`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from flwr.app import MessageType, RecordDict
from flwr.serverapp import Grid
from numpy.typing import NDArray

from federation import messages
from federation.closing import Closed, Closing
from federation.exchange import DEADLINE, Exchanges
from federation.guard import Contribution, Request
from privacy.dsse import Envelope
from privacy.errors import InputError, VerificationFailed
from privacy.key_list import KeyList
from privacy.plan import Plan
from privacy.receipt import Receipt, open_receipt


@dataclass(frozen=True)
class Verified:
    """A contribution whose receipt has been verified."""

    sum: NDArray[np.int64]
    receipt: Receipt
    envelope: bytes


class Rounds:
    """The exchanges of one run."""

    def __init__(self, grid: Grid, run: str, plan: Plan, keys: KeyList, deadline: float = DEADLINE) -> None:
        """Wait for the plan's sites to be online.

        Raises:
            InputError: if the plan names a site that has no active key.
            Refused: if fewer nodes than sites are online before the deadline.
        """
        self._run, self._plan = run, plan
        enrolled = keys.trusted().sites
        unknown = [site.name for site in plan.sites if site.name not in enrolled]
        if unknown:
            raise InputError(f"plan sites: expected enrolled ones, got {unknown[0]!r:.80} without a key in keys.json")
        self._keys = {site.name: enrolled[site.name] for site in plan.sites}
        self._exchanges = Exchanges(grid, self._keys, deadline)

    def contributions(self, event: str, index: int, state: bytes) -> Mapping[str, Verified]:
        """Every site's noisy sum for one release of the plan, by site name.

        Raises:
            Refused: if a site refuses, fails or is silent.
            VerificationFailed: if a reply is not what its receipt says.
        """
        request = Request(self._run, self._plan.to_bytes(), event, index, state)
        asked = (event, index, hashlib.sha256(state).hexdigest())

        def read(content: RecordDict) -> tuple[str, Verified]:
            verified = self._verified(messages.read_contribution(content), asked)
            return verified.receipt.site, verified

        return self._exchanges.ask(
            f"{event} {index}", MessageType.TRAIN, lambda: messages.request_record(request), read
        )

    def close(self, lists: Sequence[bytes]) -> Mapping[str, Closed]:
        """End the run at every site, as `federation.closing.Closing` says; `lists` are the signed key lists."""
        return Closing(self._exchanges, self._run, self._plan, self._keys, lists).closed()

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
