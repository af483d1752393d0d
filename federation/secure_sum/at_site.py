"""A site's side of its secure sums. It answers the coordinator, and trusts it with nothing.

Rules:
    1. A run has one plan, one list of participants (those who advertised keys) and, out of these, one list of sites of
       the sum (those whose shares came here), each of at least as many sites as the plan asks for. All are as first
       shown; every later answer holds to them.
    2. Participants' keys count as `adverts` says; shares that were sealed for another list of participants than the one
       shown here are refused by their sender's name. Shares that do not open are their sender's fault and no reason to
       stop: masks need none, and what is missing to unmask the others make up for.
    3. The masks of a release serve exactly one vector of values.
    4. In a release a site answers for one list of survivors: it signs no other, and gives shares for no other.
    5. That list is of sites of the sum, at least as many as the plan asks for, and has the site itself on it, which has
       masked its values before.
    6. Shares are given for a list of all sites of the sum as it is; for any other only under as many of its own sites'
       signatures as the plan asks for.
    7. By rules 4 and 6 nobody is given both, the share of a site's seed and the share of its mask key, of one release.
    8. What is decided is on disk before it is told. A question asked again gets the same answer, also after a crash;
       one that goes against an answer given is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from federation.secure_sum import sealed_bags, survivors
from federation.secure_sum.adverts import Advert, Participants, read_participants, sign_advert
from federation.secure_sum.inbox import Inbox
from federation.secure_sum.masks import Masked, masks_of
from federation.secure_sum.releases import place_of, plan_digest, point_of, releases
from federation.secure_sum.site_secrets import SiteSecrets, key_share, seed_share
from federation.secure_sum.sum_store import SumStore
from privacy.errors import InputError, Refused, VerificationFailed
from privacy.plan import Plan
from privacy.signing import Signer, Verifier

Sites = Mapping[str, Verifier]


class SumAtSite:
    """One site's side of one run's sum. All that it knows is in its store: it can be made anew at any moment."""

    def __init__(self, run: str, plan: Plan, site: str, root: bytes, signer: Signer, store: SumStore) -> None:
        """Of a run whose root stands in the store (`SumsAtSite.advert`)."""
        self._run, self.plan, self._site, self._signer, self._store = run, plan, site, signer, store
        self._secrets = SiteSecrets(root, len(releases(plan)))
        self._decided: dict[str, bytes] = {}
        self._own_bag = b""

    def advert(self) -> bytes:
        """The site's public keys for the run, signed."""
        return sign_advert(self._own, self._signer)

    def shares(self, adverts: Sequence[bytes], sites: Sites) -> Mapping[str, bytes]:
        """For each other participant, by name, its shares of this site's secrets, sealed for it.

        Args:
            adverts: of all participants.
            sites: the enrolled keys of the plan's sites, by name.

        Raises:
            KithError: if the adverts are not of participants, or of others than those shown before (rules 1 and 2).
        """
        participants = read_participants(adverts, self._run, self.plan, sites)
        if participants.adverts.get(self._site) != self._own:
            raise VerificationFailed(f"{self._where}, participants: expected this site's own keys, got others or none")
        self._hold("participants", participants.to_bytes())  # rule 1
        others = [name for name in participants.adverts if name != self._site]
        bags = self._bags(participants)
        self._own_bag = bags[self._site]
        return {
            name: sealed_bags.seal_bag(bags[name], participants, self._site, name, self._secrets.sealing)
            for name in others
        }

    @property
    def accepted(self) -> bool:
        """Whether others' shares have come, so that values can be masked."""
        return "_inbox" in self.__dict__ or self._store.read(self._run, "inbox") is not None

    def accept(self, inbox: Mapping[str, bytes]) -> None:
        """Take what the other sites of the sum have sealed for this one, by name; they and this one make up the sum.

        Raises:
            Refused: if they are too few, or not those of before (rule 1).
            VerificationFailed: if a sender was shown another list of participants (rule 2).
            InputError: if it is malformed.
        """
        participants = self._participants
        if self._site in inbox or not set(inbox) <= set(participants.adverts):
            raise InputError(f"{self._where}, shares: expected those of other participants, got others")
        if len(inbox) + 1 < self.plan.replies_at_least:  # rule 1
            least = self.plan.replies_at_least - 1
            raise Refused(f"{self._where}, shares: expected those of {least} others at least, got {len(inbox)}")
        for name in sorted(inbox):
            sealed_bags.check_bag(inbox[name], participants, name)  # rule 2
        came = Inbox.digest_of(inbox)
        if not self.accepted:
            own, sealing = self._own_bag or self._bags(participants)[self._site], self._secrets.sealing
            bags = {self._site: own}
            for name in sorted(inbox):
                with suppress(VerificationFailed):  # rule 2
                    bags[name] = sealed_bags.open_bag(inbox[name], participants, name, self._site, sealing)
            self._hold("inbox", Inbox(tuple(sorted({*inbox, self._site})), came, bags).to_bytes())  # rule 1
        if self._inbox.came != came:
            raise Refused(f"{self._where}, shares: expected those of before, got others")  # rule 1

    def mask(self, event: str, index: int, values: NDArray[np.int64]) -> Masked:
        """The values of a release under their masks, uint64 modulo 2**64. The values are not kept.

        Raises:
            InputError: if the plan has no such release, or the values are not what it says.
            Refused: before `accept`, and for other values than before (rule 3).
        """
        place, size = place_of(self.plan, event, index), self.plan.event(event).coordinates
        if values.dtype != np.int64 or values.shape != (size,):
            raise InputError(f"{self._where}, {event} {index}: expected {size} int64 values, got others")
        sites = self._sites
        self._decide(_about("mask", event, index), hashlib.sha256(values.astype("<i8").tobytes()).digest())  # rule 3
        masks = masks_of(self._run, plan_digest(self.plan), event, index, sites, size)
        others = {name: self._participants.adverts[name].masks[place] for name in sites if name != self._site}
        masked = values.view(np.uint64) + masks.of_site(self._site, self._secrets.seed(place))
        masked += masks.of_pairs(self._site, self._secrets.mask_key(place), others)
        return masked

    def has_masked(self, event: str, index: int) -> bool:
        """Whether a release's masks have been used (rule 3)."""
        masked = _about("mask", event, index)
        return masked in self._decided or self._store.read(self._run, masked) is not None

    def agree(self, event: str, index: int, survived: tuple[str, ...]) -> bytes:
        """The site's signature under a list of those whose values have arrived.

        Raises:
            InputError, Refused: if the list may not be signed (rules 4 and 5).
        """
        return survivors.sign(self._stand_by(event, index, survived), self._signer)

    def unmask(
        self, event: str, index: int, survived: tuple[str, ...], signatures: Mapping[str, bytes], sites: Sites
    ) -> tuple[Mapping[str, bytes], Mapping[str, bytes]]:
        """The shares held here of the survivors' seeds, and of the mask keys of the sum's other sites, by name.

        Args:
            event: of the release.
            index: of the release, from 0.
            survived: whose values have arrived, in order of name.
            signatures: those of survivors under this list; none where all sites of the sum survived.
            sites: the enrolled keys of the plan's sites, by name.

        Raises:
            InputError, Refused: if no shares may be given for the list (rules 4 to 6).
        """
        place = place_of(self.plan, event, index)
        self._check_list(event, index, survived)
        if survived != self._sites:  # rule 6
            listed = survivors.statement(self._run, plan_digest(self.plan), event, index, survived)
            of_survivors = {name: sites[name] for name in survived if name in sites}
            enough = self.plan.replies_at_least
            signed = survivors.count(listed, signatures, of_survivors, enough)
            if signed < enough:
                raise Refused(
                    f"{self._where}, {event} {index}: expected {enough} signatures of survivors, got {signed}"
                )
        self._stand_by(event, index, survived)
        bags = self._inbox.bags
        seeds = {name: seed_share(bags[name], place) for name in survived if name in bags}
        keys = {name: key_share(bags[name], place) for name in self._sites if name not in survived and name in bags}
        return seeds, keys

    def _stand_by(self, event: str, index: int, survived: tuple[str, ...]) -> bytes:
        """The statement of a list that this site stands by from now on (rule 4)."""
        self._check_list(event, index, survived)
        listed = survivors.statement(self._run, plan_digest(self.plan), event, index, survived)
        self._decide(_about("survivors", event, index), hashlib.sha256(listed).digest())
        return listed

    def _check_list(self, event: str, index: int, survived: tuple[str, ...]) -> None:
        """Rule 5."""
        where = f"{self._where}, {event[:80]} {index}"
        place_of(self.plan, event, index)
        if list(survived) != sorted(set(survived)) or not set(survived) <= set(self._sites):
            raise InputError(f"{where}, survivors: expected sites of the sum in order, got others")
        least = self.plan.replies_at_least
        if len(survived) < least:
            raise Refused(f"{where}, survivors: expected {least} at least, got {len(survived)}")
        if self._site not in survived:
            raise Refused(f"{where}, survivors: expected this site among them, got a list without it")
        if not self.has_masked(event, index):
            raise Refused(f"{where}, survivors: expected this site's values to have been masked, got none yet")

    def _bags(self, participants: Participants) -> dict[str, bytes]:
        points = tuple(point_of(self.plan, name) for name in participants.adverts)
        return dict(zip(participants.adverts, self._secrets.bags(points, self.plan.replies_at_least), strict=True))

    @cached_property
    def _own(self) -> Advert:
        return self._secrets.advert(self._run, self.plan, self._site)

    @cached_property
    def _participants(self) -> Participants:
        """As they were held (rule 1)."""
        return Participants.from_bytes(self._held("participants", "shown the participants"))

    @cached_property
    def _inbox(self) -> Inbox:
        return Inbox.from_bytes(self._held("inbox", "given the others' shares"))

    @property
    def _sites(self) -> tuple[str, ...]:
        """Those of the sum, in order."""
        return self._inbox.sites

    def _held(self, what: str, missing: str) -> bytes:
        body = self._store.read(self._run, what)
        if body is None:
            raise Refused(f"{self._where}: expected to be {missing} before, got nothing yet")
        return body

    def _hold(self, what: str, body: bytes) -> None:
        """Rule 8."""
        if self._store.first(self._run, what, body) != body:
            raise Refused(f"{self._where}, {what:.100}: expected the same as before, got another")

    def _decide(self, what: str, digest: bytes) -> None:
        """As `_hold`; what was decided never changes, so it is looked up once."""
        if self._decided.get(what) != digest:
            self._hold(what, digest)
            self._decided[what] = digest

    @property
    def _where(self) -> str:
        return f"secure sum at {self._site!r:.80}"


def _about(what: str, event: str, index: int) -> str:
    return f"{what} {index} {event}"
