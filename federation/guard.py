"""The site's side of a run. It alone opens the site's records, ledger and keys, and what it returns may leave.

Rules:
    1. A request is served only under the signature of a coordinator whom the site lets start runs, and a plan only if
       it is one that this site serves at all (`federation.acceptance`), and serves now (`federation.admission`): at
       each request, those that unmask a sum included.
    2. What is refused is refused before anything is written, and as far as it can be before anything is read.
    3. The whole plan is reserved in the ledger at its first release here. Who is there then, and whose own budget holds
       the plan, are its members: nobody else's rows enter any of its releases, whoever comes later.
    4. Every contribution is charged to the members, on disk, before anything is computed from their rows. No rows are
       kept from one run to another, nor after a run's end, nor once the records that they were read from have changed.
    5. A repeated request gets the same bytes and no new charge.
    6. What leaves is a sum with its noise, under masks where the noise is shared, and the site's signature under it. It
       does not depend on whether anybody was left out, but for the sum itself; how many were is for the site alone.
       Before rows are read an error leaves in words; from then on all that leaves of any failure is that there was one,
       since its words would depend on the rows. That there was one still does: a site looks at its records (`kith
       records report`) before it takes part.
    7. The state is the coordinator's word: weights outside the public range are refused before anything is charged.
    8. While a ledger, the site's own or another's, is known to have shrunk or forked (`federation.witnessing`), nothing
       is contributed.
    9. Under a secure sum nothing is charged before the site has shared out what others need to unmask, and no mask
       serves twice: a release that was masked and lost in a crash is not made again (`federation.secure_sum`).
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, TypeVar

from federation import sealed, witnessing
from federation.acceptance import check_plan
from federation.admission import Admission
from federation.approvals import Waiting
from federation.code_digest import code_digest
from federation.computing import Computing
from federation.sealed import Answered
from federation.secure_sum.site_sums import SumsAtSite
from federation.secure_sum.sum_store import SumStore
from federation.site import SUMS_FILE, Site
from federation.site_keys import coordinators, site_keys
from federation.wire import (
    Advertise,
    Advertised,
    Agree,
    Agreed,
    Contribute,
    Contribution,
    Cosigned,
    Finish,
    Finished,
    Message,
    Proofs,
    Prove,
    Refusal,
    Request,
    Share,
    Shares,
    Unmask,
    Unmasked,
    Witness,
)
from privacy import amounts
from privacy.errors import InputError, KithError, Refused
from privacy.ledger import Charge, Ledger
from privacy.mechanisms import gaussian_sum
from privacy.plan import DISCRETE, SECURE_SUM, Plan
from privacy.receipt import Receipt, sign_receipt
from records.contract import load_contract

UNSAID: Final = "site: something of its own is not as it should be; its own log says what"
_PLACE: Final = re.compile(r"(?<!\w)/\S")
"""Where a path begins that is no part of a longer word."""

logger = logging.getLogger("kith.guard")
Result = TypeVar("Result")


class Guard:
    """A site's guard: the one interface between its data and the rest of the world.

    `answer` is what others call; the methods behind it, one for each kind of request, raise Kith's errors.
    """

    def __init__(self, site: Site, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Open what a run needs before data: ledger, key, contract and noise source.

        Args:
            site: whose it is.
            clock: the time, aware, by which the policy's hours go.
        """
        self._site, self._clock = site, clock
        self._ledger: Ledger = site.open_ledger()
        self._signer = site.signer
        self._noise = site.noise_source()
        self._contract = load_contract(site.contract)
        self._admission = Admission(site, self._ledger)
        self._computing = Computing(site, self._contract)
        self._sums = SumsAtSite(site.name, self._signer, SumStore(site.folder / SUMS_FILE), lambda: site_keys(site))

    @property
    def name(self) -> str:
        """The site's name."""
        return self._site.name

    def answer(self, request: bytes) -> bytes:
        """The sealed reply to a sealed request: `answered`'s."""
        return self.answered(request).sealed

    def answered(self, request: bytes) -> Answered:
        """What comes of a sealed request (`federation.sealed`); a refusal where it is not served.

        No word of an unforeseen error leaves: it may hold a person's value. Nor does where a file of the site is.
        """
        asked: Request | None = None
        told: Message
        try:
            asked = sealed.open_request(request, coordinators(self._site), int(self._clock().timestamp()))  # rule 1
            told = self._reply(asked)
        except KithError as error:
            told = Refusal(_sayable(str(error))[:1000], isinstance(error, Waiting))
        except Exception as error:
            logger.exception("unforeseen")
            told = Refusal(f"site: unforeseen {type(error).__name__}")
        return Answered(asked, told, sealed.seal_reply(told, request, self._signer))

    def _reply(self, asked: Request) -> Message:
        match asked:
            case Contribute():
                return self.contribute(asked)
            case Advertise():
                return self.advertise(asked)
            case Share():
                return self.share(asked)
            case Agree():
                return self.agree(asked)
            case Unmask():
                return self.unmask(asked)
            case Finish():
                return self.finish(asked)
            case Prove():
                return self.prove(asked)
            case Witness():
                return self.witness(asked)
            case _:
                raise InputError("request: expected one of a kind that a guard serves, got another")

    def contribute(self, request: Contribute) -> Contribution:
        """Answer one release of a plan.

        Raises:
            KithError: if the request can not or may not be served; the message may leave.
        """
        plan = self._accepted(request.run, Plan.from_bytes(request.plan))
        event = plan.event(request.event)
        compute = self._computing.of_release(event, request.state)  # rule 7
        witnessing.hold_own(self._site, self._ledger)  # rule 8
        witnessing.refuse_if_in_conflict(self._site)
        state = hashlib.sha256(request.state).hexdigest()
        if plan.trust == SECURE_SUM:
            self._sums.ready(request.run, plan, request.inbox)  # rule 9
            self._check_not_lost(request)
        self._reserve(request.run, plan)  # rule 3
        charge = self._ledger.charge(request.run, plan, request.event, request.index, state)  # rule 4
        if charge.answered is not None:  # rule 5
            return Contribution(charge.answered.values, charge.answered.receipt)
        exact = self._unsaid(request.run, lambda: compute(request.run, self._ledger.members(request.run)))
        label = f"{self._site.name}\0{plan.digest}\0{request.event}\0{request.index}".encode()
        noise = self._noise if plan.mechanism == DISCRETE else self._site.noise_source(plan.mechanism)
        noisy = gaussian_sum(plan.at_site(event), exact, noise, label, plan.mechanism)  # rule 6
        values = noisy.astype("<i8").tobytes()
        if plan.trust == SECURE_SUM:
            values = self._sums.mask(request.run, request.event, request.index, noisy).astype("<u8").tobytes()  # rule 9
        receipt = self._receipt(request, plan, state, charge, values, noise.name)
        self._ledger.settle(charge, values, receipt)
        witnessing.hold_own(self._site, self._ledger)
        return Contribution(values, receipt)

    def advertise(self, request: Advertise) -> Advertised:
        """Make keys for a plan with a secure sum."""
        plan = self._accepted(request.run, Plan.from_bytes(request.plan))
        return Advertised(self._sums.advert(request.run, plan))

    def share(self, request: Share) -> Shares:
        """Share out what others need to unmask."""
        plan = self._accepted(request.run, Plan.from_bytes(request.plan))
        return Shares(self._sums.shares(request.run, plan, request.adverts))

    def agree(self, request: Agree) -> Agreed:
        """Sign a list of those whose contributions have arrived."""
        self._accepted(request.run, self._sums.plan(request.run))
        return Agreed(self._sums.agree(request.run, request.event, request.index, request.survivors))

    def unmask(self, request: Unmask) -> Unmasked:
        """Give the shares by which the sum over a release's survivors can be unmasked."""
        self._accepted(request.run, self._sums.plan(request.run))
        seeds, keys = self._sums.unmask(
            request.run, request.event, request.index, request.survivors, request.signatures
        )
        return Unmasked(seeds, keys)

    def finish(self, request: Finish) -> Finished:
        """End a run: the ledger's excerpt that proves its charges, and what the site holds of other sites' logs."""
        self._computing.forget()
        self._sums.forget(request.run)  # first: a run that made its keys and never reserved has nothing to end below
        self._ledger.end(request.run)
        witnessing.hold_own(self._site, self._ledger)
        excerpt = self._ledger.excerpt(request.run, self._signer).to_bytes()
        return Finished(excerpt, witnessing.heads_of_others(self._site))

    def prove(self, request: Prove) -> Proofs:
        """Say how the site's ledger continues what others have seen of it: `federation.witnessing.prove`."""
        return Proofs(witnessing.prove(self._ledger, self._signer, request))

    def witness(self, request: Witness) -> Cosigned:
        """Look at the other sites' checkpoints and cosign them: `federation.witnessing.witness`."""
        return Cosigned(witnessing.witness(self._site, request, int(time.time())))

    def _accepted(self, run: str, plan: Plan) -> Plan:
        """The plan of a run, if this site serves it (rule 1)."""
        check_plan(plan, self._site, self._contract.purpose, self._computing.space, self._ledger.budget)
        self._admission.admit(run, plan, self._coordinator, self._clock())
        return plan

    @property
    def _coordinator(self) -> str:
        """Id of the key that requests are signed with."""
        return next(iter(coordinators(self._site)), "")

    def _reserve(self, run: str, plan: Plan) -> None:
        """Reserve the plan for those who are there, unless it is (rule 3)."""
        if self._ledger.knows(run):
            self._ledger.reserve(run, plan, ())  # which refuses another plan
            return
        self._computing.source(run).check(plan)
        marks = self._unsaid(run, lambda: self._computing.rows(run).marks)
        self._admission.start(run, plan, self._coordinator, self._clock())
        found = self._ledger.reserve(run, plan, marks)
        if found.left_out:  # rule 6: in the site's own log and ledger, and in no reply
            logger.warning(
                "run %s at %s: %d people are left out, as their budget does not hold the plan",
                *(run, self._site.name, found.left_out),
            )

    def _check_not_lost(self, request: Contribute) -> None:
        """Refuse before a release is charged again that could not be masked again (rule 9)."""
        release = request.run, request.event, request.index
        if self._sums.has_masked(*release) and not self._ledger.settled(*release):
            raise Refused(f"{request.event} {request.index}: expected one not masked yet, got one lost in a crash")

    def _unsaid(self, run: str, work: Callable[[], Result]) -> Result:
        """The result of work on rows, or a refusal that does not say what was wrong with them (rule 6)."""
        try:
            return work()
        except Exception as error:
            logger.error(
                "run %s at %s: %s", run, self._site.name, error if isinstance(error, KithError) else type(error)
            )
            raise Refused(f"site {self._site.name!r}: its rows can not be used; its own log says why") from None

    def _receipt(self, request: Contribute, plan: Plan, state: str, charge: Charge, values: bytes, noise: str) -> bytes:
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


def _sayable(words: str) -> str:
    """An error's words, unless they say where a file of the site is: these are for its own log."""
    if _PLACE.search(words) is None:
        return words
    logger.error("not said to the coordinator: %s", words)
    return UNSAID
