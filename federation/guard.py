"""The site's side of a run. It alone opens the site's records, ledger and key, and what it returns may leave.

Rules:
    1. A plan is served only if it is one that this site serves at all (`federation.acceptance`).
    2. What is refused is refused before anything is written, and as far as it can be before anything is read.
    3. The whole plan is reserved in the ledger at its first release. Who is there then, and whose own budget holds the
       plan, are its members: nobody else's rows enter any of its releases, whoever comes later.
    4. Every contribution is charged to the members, on disk, before anything is computed from their rows. No rows are
       kept from one run to another, nor after a run's end, nor once the records that they were read from have changed.
    5. A repeated request gets the same bytes and no new charge.
    6. What leaves is a sum with its noise and the site's signature under it. It does not depend on whether anybody was
       left out, but for the sum itself; how many were is for the site alone. Before rows are read an error leaves in
       words; from then on all that leaves of any failure is that there was one, since its words would depend on the
       rows. That there was one still does: a site looks at its records (`kith records report`) before it takes part.
    7. The state is the coordinator's word: weights outside the public range are refused before anything is charged.
    8. While a ledger, the site's own or another's, is known to have shrunk or forked (`federation.witnessing`), nothing
       is contributed.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from federation import witnessing
from federation.acceptance import check_plan
from federation.code_digest import code_digest
from federation.site import Site, load_site
from federation.source import MarkedRows, Source, source_of
from federation.witnessing import Shown, Span
from models.features import FeatureSpace
from models.planning import (
    FAIRNESS,
    GRADIENT,
    LARGEST_WEIGHT,
    SECOND_MOMENTS,
    gradient_clip,
)
from privacy import amounts
from privacy.errors import InputError, KithError, Refused
from privacy.ledger import Charge, Ledger
from privacy.marks import Marks
from privacy.mechanisms import gaussian_sum
from privacy.plan import DISCRETE, GaussianSum, Plan
from privacy.receipt import Receipt, sign_receipt
from records.contract import load_contract
from records.minimize import MinimizedRows

if TYPE_CHECKING:
    from models.training import SiteSums

logger = logging.getLogger("kith.guard")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Request:
    """What the coordinator asks of a site.

    Attributes:
        run: the run's id.
        plan: canonical bytes of the plan.
        event, index: which release of the plan.
        state: what the release is computed at: nothing for moments and head-counts, little-endian float64 weights for
            gradients, a `models.measures.Scale` for measures of scores.
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


@dataclass(frozen=True)
class Finished:
    """What leaves at a run's end: the ledger's excerpt, and the sizes that the site holds of other logs, by origin."""

    excerpt: bytes
    held: Mapping[str, int]


class Guard(Protocol):
    """The one interface between a site's data and the rest of the world."""

    @property
    def name(self) -> str:
        """The site's name."""

    def contribute(self, request: Request) -> Contribution:
        """Answer one release of a plan.

        Raises:
            KithError: if the request can not or may not be served; the message may leave.
        """

    def finish(self, run: str) -> Finished:
        """End a run and return the ledger's excerpt that proves its charges.

        Raises:
            KithError: if there is no such run.
        """

    def prove(self, spans: Sequence[Span]) -> tuple[bytes, ...]:
        """Proofs that the site's ledger continues what others have seen of it: `federation.witnessing.prove`."""

    def witness(self, lists: Sequence[bytes], shown: Sequence[Shown]) -> tuple[str, ...]:
        """Look at the other sites' checkpoints and cosign them: `federation.witnessing.witness`."""


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
        self._of_rows: tuple[MarkedRows, Marks, MinimizedRows, SiteSums] | None = None

    @property
    def name(self) -> str:
        """The site's name."""
        return self._site.name

    def contribute(self, request: Request) -> Contribution:
        """Answer one release of a plan; see `Guard.contribute`."""
        plan = Plan.from_bytes(request.plan)
        check_plan(plan, self._site, self._contract.purpose, self._space, self._ledger.budget)  # rule 1
        compute = self._computation(plan.event(request.event), request.state)
        witnessing.hold_own(self._site, self._ledger)  # rule 8
        witnessing.refuse_if_in_conflict(self._site)
        state = hashlib.sha256(request.state).hexdigest()
        if (request.event, request.index) == (plan.events[0].name, 0):
            self._reserve(request.run, plan)  # rule 3
        charge = self._ledger.charge(request.run, plan, request.event, request.index, state)  # rule 4
        if charge.answered is not None:  # rule 5
            return Contribution(charge.answered.values, charge.answered.receipt)
        exact = self._unsaid(request.run, lambda: compute(request.run))
        label = f"{self._site.name}\0{plan.digest}\0{request.event}\0{request.index}".encode()
        noise = self._noise if plan.mechanism == DISCRETE else self._site.noise_source(plan.mechanism)
        noisy = gaussian_sum(plan.event(request.event), exact, noise, label, plan.mechanism)  # rule 6
        values = noisy.astype("<i8").tobytes()
        receipt = self._receipt(request, plan, state, charge, values, noise.name)
        self._ledger.settle(charge, values, receipt)
        witnessing.hold_own(self._site, self._ledger)
        return Contribution(values, receipt)

    def finish(self, run: str) -> Finished:
        """End a run; see `Guard.finish`."""
        self._ledger.end(run)
        self._run = self._of_rows = None
        witnessing.hold_own(self._site, self._ledger)
        excerpt = self._ledger.excerpt(run, self._signer).to_bytes()
        return Finished(excerpt, {origin: head.size for origin, head in self._site.witnessed.held().items()})

    def prove(self, spans: Sequence[Span]) -> tuple[bytes, ...]:
        """Proofs of this ledger's growth; see `Guard.prove`."""
        return witnessing.prove(self._ledger, spans)

    def witness(self, lists: Sequence[bytes], shown: Sequence[Shown]) -> tuple[str, ...]:
        """Cosignatures for other ledgers; see `Guard.witness`."""
        return witnessing.witness(self._site, lists, shown, int(time.time()))

    def _computation(self, event: GaussianSum, state: bytes) -> Callable[[str], NDArray[np.int64]]:
        """What computes an event's exact sum for a run, once the state has been checked (rule 7)."""
        if event.name == SECOND_MOMENTS:
            if state:
                raise InputError(f"state: expected none for {SECOND_MOMENTS!r}, got {len(state)} bytes")
            return lambda run: self._members_rows(run)[3].second_moments()
        if event.name == GRADIENT:
            weights = _weights(event, state)
            return lambda run: self._members_rows(run)[3].gradient(weights)
        from models import measures

        measures.check_state(event.name, self._space, state)
        return lambda run: self._measured(run, event.name, state)

    def _reserve(self, run: str, plan: Plan) -> None:
        """Reserve the plan for those who are there, unless it is (rule 3)."""
        if self._ledger.knows(run):
            self._ledger.reserve(run, plan, ())  # which refuses another plan
            return
        source = self._source(run)
        source.check(plan)
        marks = self._unsaid(run, lambda: source.rows().marks)
        found = self._ledger.reserve(run, plan, marks)
        if found.left_out:  # rule 6: in the site's own log and ledger, and in no reply
            logger.warning(
                "run %s at %s: %d people are left out, as their budget does not hold the plan",
                *(run, self._site.name, found.left_out),
            )

    def _source(self, run: str) -> Source:
        known = self._run  # another thread may be at another run
        if known is None or known[0] != run:
            known = run, source_of(self._site, self._contract)
            self._run, self._of_rows = known, None
        return known[1]

    def _members_rows(self, run: str) -> tuple[MarkedRows, Marks, MinimizedRows, SiteSums]:
        """All rows as they may be used at this moment, the run's members, their rows, and the sums over these."""
        here, members = self._source(run).rows(), self._ledger.members(run)
        known = self._of_rows
        if known is None or known[0] is not here or known[1] != members:
            from models.training import SiteSums  # torch and opacus: seconds that a refused plan need not wait for

            rows = here.of(members)
            known = here, members, rows, SiteSums(self._space, rows, float(gradient_clip(self._space)))
            self._of_rows = known
        return known

    def _measured(self, run: str, event: str, state: bytes) -> NDArray[np.int64]:
        """The exact histogram of a measure."""
        from models.measures import measure

        here, _, rows, _ = self._members_rows(run)
        trait = event.removeprefix(FAIRNESS) if event.startswith(FAIRNESS) else None
        stated = {} if trait is None else {trait: self._source(run).stated(trait, here.employees)}
        return measure(event, self._space, rows, state, stated)

    def _unsaid(self, run: str, work: Callable[[], Result]) -> Result:
        """The result of work on rows, or a refusal that does not say what was wrong with them (rule 6)."""
        try:
            return work()
        except Exception as error:
            logger.error(
                "run %s at %s: %s", run, self._site.name, error if isinstance(error, KithError) else type(error)
            )
            raise Refused(f"site {self._site.name!r}: its rows can not be used; its own log says why") from None

    def _receipt(self, request: Request, plan: Plan, state: str, charge: Charge, values: bytes, noise: str) -> bytes:
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
            noise=noise,
            code=code_digest(),
            issued_at=int(time.time()),
            contribution=hashlib.sha256(values).hexdigest(),
        )
        return sign_receipt(receipt, self._signer)


def _weights(event: GaussianSum, state: bytes) -> NDArray[np.float64]:
    """The state of a gradient (rule 7)."""
    if len(state) != 8 * event.coordinates:
        raise InputError(f"state: expected {8 * event.coordinates} bytes, got {len(state)}")
    weights = np.frombuffer(state, dtype="<f8").astype(np.float64)
    if not (np.abs(weights) <= LARGEST_WEIGHT).all():  # false for NaN
        raise InputError(f"state: expected weights within ±{LARGEST_WEIGHT:g}, got another, NaN or infinity")
    return weights


@cache
def guard_at(folder: Path) -> Guard:
    """The guard of the site in `folder`, one per process, so that it stays warm over a run."""
    return EmbeddedGuard(load_site(folder))
