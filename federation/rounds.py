"""The releases of a run, asked of the sites of its plan, under either trust, and kept so that a crash loses none.

Rules:
    1. A reply counts only as `federation.exchange` and `federation.receiving` say. A release holds with as many sites
       as the plan asks for at least; with fewer the run stops, to be gone on with.
    2. A release is on disk before the next one is asked for. Whoever goes on after a crash asks for no release again
       that is there, and for the next one at the same state as before: guards answer with the same bytes.
    3. Under a secure sum, whose contributions have arrived is on disk before anybody is asked to unmask: no site is
       asked to unmask two different sums of one release, which it would refuse.
    4. A sum under masks that can not be an honest one is not used: some site sent garbage. Of gradients there are
       others; without the second moments or a measure the run stops, and after two such gradients in a row, so that
       nobody makes all sites pay for nothing. Who can be named is.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any, Final

import numpy as np

from federation.checkpoints import Checkpoints
from federation.exchange import Exchanges, Replies, Reply
from federation.receiving import Verified, check_range, seeded_among, verified
from federation.released import Released
from federation.run_log import RunLog
from federation.secure_sum.at_coordinator import SumOfRun
from federation.wire import (
    Advertise,
    Advertised,
    Agree,
    Agreed,
    Contribute,
    Kind,
    Message,
    Request,
    Share,
    Shares,
    Unmask,
    Unmasked,
)
from models.planning import GRADIENT
from models.pooling import Part
from privacy import fields
from privacy.certificate import GARBAGE
from privacy.errors import InputError, Refused
from privacy.plan import SECURE_SUM, Plan

ADVERTS: Final = "secure-sum-keys"
"""Checkpoint of the keys that a secure sum's sites have made."""
SUM: Final = "secure-sum"
"""Checkpoint of what a secure sum's sites have shared out."""


logger = logging.getLogger("kith.rounds")


class Rounds:
    """The releases of one run."""

    def __init__(self, exchanges: Exchanges, checkpoints: Checkpoints, log: RunLog, run: str, plan: Plan) -> None:
        """Nothing is asked yet."""
        self._exchanges, self._checkpoints, self._log, self._run, self._plan = exchanges, checkpoints, log, run, plan
        self._bytes = plan.to_bytes()
        self._releases = plan.releases
        self._sum: SumOfRun | None = None
        self._apart: Mapping[str, str] = {}
        self._delivered: set[str] = set()
        self._last_was_void = False

    @property
    def done(self) -> int:
        """Releases that are on disk."""
        return sum(self._checkpoints.load(_name(place)) is not None for place in range(len(self._releases)))

    def release(self, event: str, index: int, state: bytes) -> Released:
        """One release, from disk or from the sites.

        Raises:
            Refused: if too few sites take part, or by rule 4.
            InputError: if what is on disk was computed at another state.
        """
        place, asked = self._releases.index((event, index)), Contribute(self._run, self._bytes, event, index, state)
        digest = hashlib.sha256(state).hexdigest()
        known = self._checkpoints.load(_name(place))
        if known is not None:  # rule 2
            found = Released.from_document(known, f"checkpoint {_name(place)}")
            if (found.event, found.index, found.state) != (event, index, digest):
                raise InputError(f"checkpoint {_name(place)}: expected {event} {index} at this state, got another")
            self._last_was_void = not found.parts
            return found
        found = self._masked(place, asked) if self._plan.trust == SECURE_SUM else self._plain(asked)
        self._checkpoints.save(_name(place), found.to_document())  # rule 2
        self._last_was_void = not found.parts
        self._tell(place, found)
        return found

    def _plain(self, asked: Contribute) -> Released:
        """A release of which every site's own noisy sum is told."""
        replies = self._contributions(asked)
        parts = tuple(Part((site,), one.values.astype(np.int64)) for site, one in replies.found.items())
        return self._released(asked, parts, replies.found, replies.absent, {})

    def _contributions(self, asked: Contribute | Mapping[str, Contribute]) -> Replies[Verified]:
        one = asked if isinstance(asked, Contribute) else next(iter(asked.values()))

        def read(site: str, told: Message) -> Verified:
            return verified(site, told, one, self._plan, self._exchanges.sites[site])

        least = self._plan.replies_at_least
        replies = self._exchanges.ask("release", asked, read, least, (one.event, one.index))
        if not (seeded := seeded_among(replies.found)):
            return replies
        found = {site: reply for site, reply in replies.found.items() if site not in seeded}
        named = f"{one.event} {one.index}: expected noise that nobody can compute, got seeded of {', '.join(seeded)}"
        if len(found) < least:
            raise Refused(f"{named:.600}")
        logger.warning("%s", named)
        return Replies(found, {**replies.absent, **dict.fromkeys(seeded, GARBAGE)})

    # Under a secure sum

    def _masked(self, place: int, asked: Contribute) -> Released:
        """A release of which only the sum over its sites is told."""
        summing = self._sum_of_run()
        masked, absent = self._arrived(place, asked, summing)
        survivors = tuple(sorted(masked))
        of = asked.event, asked.index
        signatures: Mapping[str, bytes] = {}
        if survivors != summing.roster:

            def agreed(site: str, told: Message) -> bytes:
                signature = _is(Agreed, site, told).signature
                summing.check_agreed(site, *of, survivors, signature)
                return signature

            signatures = self._ask_survivors("agreeing", Agree(self._run, *of, survivors), survivors, of, agreed)

        def unmasked(site: str, told: Message) -> Unmasked:
            reply = _is(Unmasked, site, told)
            summing.check_unmasked(survivors, reply)
            return reply

        unmask = Unmask(self._run, *of, survivors, signatures)
        replies = self._ask_survivors("unmasking", unmask, survivors, of, unmasked)
        values = {site: np.asarray(one.values, dtype=np.uint64) for site, one in masked.items()}
        total, faults = summing.unmasked(*of, values, replies)
        if total is None:
            return self._released(asked, (), masked, absent, self._void(asked, faults))
        try:
            check_range(total, survivors, self._plan.event(asked.event), self._plan)
        except InputError:
            spoiled = {"": "its sum was out of range: a site has sent garbage under its masks"}
            return self._released(asked, (), masked, absent, self._void(asked, {**spoiled, **faults}))
        return self._released(asked, (Part(survivors, total),), masked, absent, faults)

    def _void(self, asked: Contribute, faults: Mapping[str, str]) -> Mapping[str, str]:
        """What was wrong with a sum that is not used, if the run can go on without it (rule 4)."""
        told = [f"{site or 'nobody can tell which site'}: {fault}" for site, fault in sorted(faults.items())]
        for one in told:
            logger.warning("%s %d can not be used: %s", asked.event, asked.index, one)
        if asked.event != GRADIENT or self._last_was_void:
            raise Refused(
                f"{asked.event} {asked.index}: expected a sum that can be used, got none: {'; '.join(told):.600}"
            )
        return faults

    def _arrived(
        self, place: int, asked: Contribute, summing: SumOfRun
    ) -> tuple[Mapping[str, Verified], Mapping[str, str]]:
        """Whose masked contributions to a release have arrived, for good (rule 3)."""
        name, state = f"{_name(place)}-masked", hashlib.sha256(asked.state).hexdigest()
        if (known := self._checkpoints.load(name)) is None:
            inboxes = {site: {} if site in self._delivered else summing.inboxes[site] for site in summing.roster}
            replies = self._contributions({site: replace(asked, inbox=inbox) for site, inbox in inboxes.items()})
            self._delivered |= set(replies.found)
            known = {
                "arrived": {site: _written(one) for site, one in replies.found.items()},
                "absent": dict(replies.absent) | dict(self._apart),
                "state": state,
            }
            self._checkpoints.save(name, known)
        if known["state"] != state:  # rule 2
            raise InputError(f"checkpoint {name}: expected {asked.event} {asked.index} at this state, got another")
        return {site: _read(one, name) for site, one in sorted(known["arrived"].items())}, known["absent"]

    def _sum_of_run(self) -> SumOfRun:
        """The run's secure sum, once its sites have shared out what others need to unmask.

        After a crash everybody is asked once more: by their answers the coordinator learns which node is which site.
        """
        if self._sum is not None:
            return self._sum
        least, made = self._plan.replies_at_least, SumOfRun(self._run, self._plan, self._exchanges.sites)

        def advert(site: str, told: Message) -> bytes:
            found = _is(Advertised, site, told).advert
            made.check_advert(site, found)
            return found

        def shares(site: str, told: Message) -> Mapping[str, bytes]:
            found = _is(Shares, site, told).sealed
            made.check_shares(site, found)
            return found

        keys = self._exchanges.ask("keys", Advertise(self._run, self._bytes), advert, least)
        known = self._checkpoints.load(SUM)
        if known is None:
            advertised = self._advertised(keys)
            adverts = {site: fields.from_base64(one, ADVERTS) for site, one in advertised["adverts"].items()}
            share = Share(self._run, self._bytes, made.advertised(adverts))
            shared = self._exchanges.ask("shares", dict.fromkeys(adverts, share), shares, least)
            made.shared(shared.found)
            known = {"sum": made.to_document(), "absent": {**shared.absent, **advertised["absent"]}}
            self._checkpoints.save(SUM, known)
        self._sum = SumOfRun.from_document(known["sum"], self._run, self._plan, self._exchanges.sites)
        self._apart = known["absent"]
        return self._sum

    def _advertised(self, keys: Replies[bytes]) -> Any:
        """Whose keys have come, for good: sites hold to the list of participants that they are first shown."""
        if (known := self._checkpoints.load(ADVERTS)) is None:
            adverts = {site: fields.to_base64(advert) for site, advert in keys.found.items()}
            known = {"adverts": adverts, "absent": dict(keys.absent)}
            self._checkpoints.save(ADVERTS, known)
        return known

    def _ask_survivors(
        self,
        what: str,
        asked: Request,
        survivors: tuple[str, ...],
        of: tuple[str, int],
        read: Callable[[str, Message], Reply],
    ) -> Mapping[str, Reply]:
        """What those whose contributions have arrived answer."""
        least = self._plan.replies_at_least
        return self._exchanges.ask(what, dict.fromkeys(survivors, asked), read, least, of).found

    # What a release has come to

    def _released(
        self,
        asked: Contribute,
        parts: tuple[Part, ...],
        found: Mapping[str, Verified],
        absent: Mapping[str, str],
        faults: Mapping[str, str],
    ) -> Released:
        return Released(
            event=asked.event,
            index=asked.index,
            state=hashlib.sha256(asked.state).hexdigest(),
            parts=parts,
            receipts={site: one.receipt for site, one in found.items()},
            absent={name: absent[name] for name in sorted(absent)},
            faults=faults,
            size=sum(one.values.nbytes + len(one.receipt) for one in found.values()),
        )

    def _tell(self, place: int, found: Released) -> None:
        of = {"event": found.event, "index": found.index}
        for site, reason in found.absent.items():
            self._log.add("absent", site=site, reason=reason, **of)
        self._log.add(
            "released",
            done=place + 1,
            of=len(self._releases),
            sites=len(found.receipts),
            bytes=found.size,
            spent=f"{self._spent(place):.6f}",
            **of,
        )

    def _spent(self, place: int) -> float:
        """Share of the plan's mu² that is charged with the release at a place."""
        once = [self._plan.event(event).mu_squared_once for event, _ in self._releases]
        return float(sum(once[: place + 1], Fraction(0)) / sum(once, Fraction(0)))


def _name(place: int) -> str:
    return f"release-{place:04d}"


def _is(kind: type[Kind], site: str, told: Message) -> Kind:
    if not isinstance(told, kind):
        raise InputError(f"reply of {site!r:.80}: expected {kind.__name__}, got another")
    return told


def _written(one: Verified) -> dict[str, str]:
    values = fields.to_base64(np.asarray(one.values, dtype="<u8").tobytes())
    return {"values": values, "receipt": fields.to_base64(one.receipt), "noise": one.noise}


def _read(document: Any, where: str) -> Verified:
    values = np.frombuffer(fields.from_base64(document["values"], where), dtype="<u8").astype(np.uint64)
    return Verified(values, fields.from_base64(document["receipt"], where), document["noise"])
