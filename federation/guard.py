"""The site's side of a run. It alone opens the site's records, ledger and key, and what it returns may leave.

Rules:
    1. A plan is served only if it is canonical, names this site and this site's feature space, is for a use case the
       site takes part in, and asks for a trust that the site can give.
    2. The plan's sensitivities, grids and lengths must be those of the site's own mechanism: the site computes them
       from the contract and believes nothing it is told.
    3. The whole plan is reserved in the ledger before anything is read, at its first release; a plan over budget is
       refused there.
    4. Every contribution is charged, on disk, before the rows are read. No rows are kept from one run to another, nor
       after a run's end, nor once the records that they were read from have changed.
    5. A repeated request gets the same bytes and no new charge.
    6. What leaves is a sum with its noise and the site's signature under it. Before rows are read an error leaves in
       words; from then on all that leaves of any failure is that there was one, since its words would depend on the
       rows. That there was one still does: a site looks at its records (`kith records report`) before it takes part.
    7. The state is the coordinator's word: weights outside the public range are refused before anything is charged.
"""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from federation.code_digest import code_digest
from federation.site import Site, load_site
from federation.source import Source, source_of
from models.features import FeatureSpace
from models.planning import LARGEST_WEIGHT, SECOND_MOMENTS, Shape, gradient_clip, mechanism
from privacy import amounts
from privacy.errors import InputError, KithError, Refused
from privacy.ledger import Charge, Ledger
from privacy.mechanisms import gaussian_sum
from privacy.plan import Plan
from privacy.receipt import Receipt, sign_receipt
from records.contract import load_contract
from records.minimize import MinimizedRows

if TYPE_CHECKING:
    from models.training import SiteSums

TRUSTS: Final = ("local",)

logger = logging.getLogger("kith.guard")


@dataclass(frozen=True)
class Request:
    """What the coordinator asks of a site.

    Attributes:
        run: the run's id.
        plan: canonical bytes of the plan.
        event, index: which release of the plan.
        state: what the release is computed at: nothing for moments, little-endian float64 weights for gradients.
    """

    run: str
    plan: bytes
    event: str
    index: int
    state: bytes


@dataclass(frozen=True)
class Contribution:
    """What leaves: little-endian int64 grid steps with noise, and the DSSE receipt that binds them."""

    values: bytes
    receipt: bytes


class Guard(Protocol):
    """The one interface between a site's data and the rest of the world."""

    def contribute(self, request: Request) -> Contribution:
        """Answer one release of a plan.

        Raises:
            KithError: if the request can not or may not be served; the message may leave.
        """

    def finish(self, run: str) -> bytes:
        """End a run and return the ledger's excerpt that proves its charges.

        Raises:
            KithError: if there is no such run.
        """


class EmbeddedGuard:
    """The guard as an object in the process that asks, for a trial: the process can read what the guard can."""

    def __init__(self, site: Site) -> None:
        """Open what a run needs before data: ledger, key, contract and noise source."""
        self._site = site
        self._ledger: Ledger = site.open_ledger()
        self._signer = site.signer
        self._noise = site.noise_source()
        self._contract = load_contract(site.contract)
        self._space = FeatureSpace.from_contract(self._contract)
        self._run: tuple[str, Source] | None = None
        self._of_rows: tuple[MinimizedRows, SiteSums] | None = None

    def contribute(self, request: Request) -> Contribution:
        """Answer one release of a plan; see `Guard.contribute`."""
        plan = self._accepted(Plan.from_bytes(request.plan))
        weights = self._weights(plan, request)
        state = hashlib.sha256(request.state).hexdigest()
        if (request.event, request.index) == (plan.events[0].name, 0):
            self._ledger.reserve(request.run, plan)  # rule 3
        charge = self._ledger.charge(request.run, plan, request.event, request.index, state)  # rule 4
        if charge.answered is not None:  # rule 5
            return Contribution(charge.answered.values, charge.answered.receipt)
        exact = self._exact(request.run, weights)
        label = f"{self._site.name}\0{plan.digest}\0{request.event}\0{request.index}".encode()
        noisy = gaussian_sum(plan.event(request.event), exact, self._noise, label)  # rule 6
        values = noisy.astype("<i8").tobytes()
        receipt = self._receipt(request, plan, state, charge, values)
        self._ledger.settle(charge, values, receipt)
        return Contribution(values, receipt)

    def finish(self, run: str) -> bytes:
        """End a run; see `Guard.finish`."""
        self._ledger.end(run)
        self._run = self._of_rows = None
        return self._ledger.excerpt(run, self._signer).to_bytes()

    def _accepted(self, plan: Plan) -> Plan:
        if plan.features != self._space.digest or self._site.name not in {site.name for site in plan.sites}:  # rule 1
            raise Refused(f"plan: expected this feature space and site {self._site.name!r} in it, got another")
        if plan.use_case not in self._site.use_cases or plan.use_case != self._contract.purpose:
            expected = ", ".join(self._site.use_cases)
            raise Refused(f"plan use case: expected one of {expected}, as the contract says, got {plan.use_case!r:.60}")
        if plan.trust not in TRUSTS:
            raise Refused(f"plan trust: expected {TRUSTS[0]!r}, got {plan.trust!r}")
        shapes = tuple(Shape.of(event) for event in plan.events)
        if shapes != mechanism(self._space) or plan.clip != str(gradient_clip(self._space)):  # rule 2
            raise Refused("plan: expected the clip, grids, lengths and sensitivities of this site's mechanism")
        return plan

    def _weights(self, plan: Plan, request: Request) -> NDArray[np.float64] | None:
        """The state as weights, checked before anything is charged; None for the moments."""
        event = plan.event(request.event)
        if event.name == SECOND_MOMENTS:
            if request.state:
                raise InputError(f"state: expected none for {SECOND_MOMENTS!r}, got {len(request.state)} bytes")
            return None
        if len(request.state) != 8 * event.coordinates:
            raise InputError(f"state: expected {8 * event.coordinates} bytes, got {len(request.state)}")
        weights = np.frombuffer(request.state, dtype="<f8").astype(np.float64)
        if not (np.abs(weights) <= LARGEST_WEIGHT).all():  # rule 7; false for NaN
            raise InputError(f"state: expected weights within ±{LARGEST_WEIGHT:g}, got another, NaN or infinity")
        return weights

    def _exact(self, run: str, weights: NDArray[np.float64] | None) -> NDArray[np.int64]:
        """The exact sum of the run's rows: second moments, or gradients at `weights`."""
        try:
            sums = self._sums(run)
            return sums.second_moments() if weights is None else sums.gradient(weights)
        except Exception as error:  # rule 6
            logger.error(
                "run %s at %s: %s", run, self._site.name, error if isinstance(error, KithError) else type(error)
            )
            raise Refused(f"site {self._site.name!r}: its rows can not be used; its own log says why") from None

    def _sums(self, run: str) -> SiteSums:
        """The sums over the rows as they may be used at this moment (rule 4)."""
        if self._run is None or self._run[0] != run:
            self._run = run, source_of(self._site, self._contract)
        rows = self._run[1].rows()
        if self._of_rows is None or self._of_rows[0] is not rows:
            from models.training import SiteSums  # torch and opacus: seconds that a refused plan need not wait for

            self._of_rows = rows, SiteSums(self._space, rows, float(gradient_clip(self._space)))
        return self._of_rows[1]

    def _receipt(self, request: Request, plan: Plan, state: str, charge: Charge, values: bytes) -> bytes:
        receipt = Receipt(
            site=self._site.name,
            run=request.run,
            plan=plan.digest,
            event=request.event,
            index=request.index,
            state=state,
            mu2=amounts.to_text(amounts.once(plan.event(request.event))),
            position=charge.position,
            leaf=charge.leaf_hash,
            noise=self._noise.name,
            code=code_digest(),
            issued_at=int(time.time()),
            contribution=hashlib.sha256(values).hexdigest(),
        )
        return sign_receipt(receipt, self._signer)


@cache
def guard_at(folder: Path) -> Guard:
    """The guard of the site in `folder`, one per process, so that it stays warm over a run."""
    return EmbeddedGuard(load_site(folder))
