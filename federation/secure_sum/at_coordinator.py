"""The coordinator's side of a run's secure sum: it carries what sites say to each other, and takes the masks off sums.

Rules:
    1. Keys and shares that are not what a site could honestly have sent leave that site out of the sum, by name.
    2. A sum is unmasked with the replies of as many sites as the plan asks for; with fewer nothing is learned of it.
    3. A seed counts only if its site committed to it, a mask key only if the site advertised its public half. One that
       can not be restored makes the sum unusable, and its owner is named.
    4. What is kept of a run does not change once all shares have come: it is written once, and good for every crash.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from federation.secure_sum import sealed_bags, survivors
from federation.secure_sum.adverts import Advert, Participants, commitment, participants_of, read_advert
from federation.secure_sum.masks import Masked, masks_of
from federation.secure_sum.releases import place_of, plan_digest, point_of
from federation.secure_sum.restoring import Check, Restored, Shares, restore
from federation.secure_sum.shamir import SHARE_BYTES, RandomBytes
from federation.wire import Unmasked
from privacy import fields
from privacy.errors import InputError, Refused, VerificationFailed
from privacy.key_agreement import AgreementKey
from privacy.plan import Plan
from privacy.signing import Verifier

_DOCUMENT: Final = ("adverts", "inboxes", "roster")


class SumOfRun:
    """A run's secure sum, as its coordinator has it.

    Attributes:
        roster: the sites of the sum, in order, once their shares have come.
        inboxes: what goes to each of them, by name: the others' sealed shares, by sender.
        faults: what was wrong with the keys or shares of sites that are left out, by name.
    """

    def __init__(
        self, run: str, plan: Plan, sites: Mapping[str, Verifier], random_bytes: RandomBytes = secrets.token_bytes
    ) -> None:
        """Nothing has come yet.

        Args:
            run: the run's id.
            plan: its plan.
            sites: the enrolled key of each site, by name.
            random_bytes: a source of uniform bytes that no site knows beforehand.
        """
        self._run, self._plan, self._sites, self._random = run, plan, sites, random_bytes
        self._adverts: dict[str, bytes] = {}
        self._read: dict[str, Advert] = {}
        self._participants = Participants({})
        self.roster: tuple[str, ...] = ()
        self.inboxes: Mapping[str, Mapping[str, bytes]] = {}

    # Keys and shares

    def check_advert(self, site: str, advert: bytes) -> Advert:
        """A site's public keys.

        Raises:
            KithError: if they are not its own for this run and plan.
        """
        found = read_advert(advert, self._run, self._plan, self._sites)
        if found.site != site:
            raise VerificationFailed(f"advert of {site!r:.80}: expected its own keys, got another site's")
        return found

    def advertised(self, found: Mapping[str, bytes]) -> tuple[bytes, ...]:
        """The adverts to be shown to all participants, in order of name, of those that have come, by site.

        Raises:
            KithError: if one is not as `check_advert` says.
            Refused: if they are too few (rule 1).
        """
        self._read = {site: self.check_advert(site, found[site]) for site in sorted(found)}
        self._adverts = {site: found[site] for site in self._read}
        self._participants = participants_of(self._read.values(), self._plan)
        return tuple(self._adverts.values())

    def check_shares(self, site: str, sealed: Mapping[str, bytes]) -> None:
        """Return if these may be what a participant has sealed for the others. Whether they open, only those see.

        Raises:
            KithError: if they are not one for each other participant, of this list of participants.
        """
        participants = self._participants
        if site not in participants.adverts or set(sealed) != set(participants.adverts) - {site}:
            raise InputError(f"shares of {site!r:.80}: expected one for each other participant, got others")
        for bag in sealed.values():
            sealed_bags.check_bag(bag, participants, site)

    def shared(self, found: Mapping[str, Mapping[str, bytes]]) -> None:
        """Fix the sites of the sum: those whose shares have come, by name.

        Raises:
            KithError: if some are not as `check_shares` says.
            Refused: if they are too few (rule 1).
        """
        for site in found:
            self.check_shares(site, found[site])
        if len(found) < self._plan.replies_at_least:
            raise Refused(f"shares: expected those of {self._plan.replies_at_least} sites, got {len(found)}")
        self.roster = tuple(sorted(found))
        self.inboxes = {
            site: {sender: found[sender][site] for sender in self.roster if sender != site} for site in self.roster
        }

    # Sums

    def check_agreed(self, site: str, event: str, index: int, survived: tuple[str, ...], signature: bytes) -> None:
        """Return if a site signed this list of survivors of a release.

        Raises:
            VerificationFailed: if it did not.
        """
        digest = plan_digest(self._plan)
        survivors.verify(survivors.statement(self._run, digest, event, index, survived), self._sites[site], signature)

    def check_unmasked(self, survived: tuple[str, ...], told: Unmasked) -> None:
        """Return if a reply has the form of shares for this list of survivors.

        Raises:
            InputError: if it has not.
        """
        dropped = set(self.roster) - set(survived)
        if not set(told.seeds) <= set(survived) or not set(told.keys) <= dropped:
            raise InputError("shares: expected those of survivors' seeds and of the others' keys, got others")
        if any(len(share) != SHARE_BYTES for share in (*told.seeds.values(), *told.keys.values())):
            raise InputError(f"shares: expected {SHARE_BYTES} bytes each, got others")

    def unmasked(
        self, event: str, index: int, masked: Mapping[str, Masked], replies: Mapping[str, Unmasked]
    ) -> tuple[NDArray[np.int64] | None, Mapping[str, str]]:
        """The sum of a release over those whose masked values have arrived.

        Args:
            event: of the release.
            index: of the release, from 0.
            masked: the survivors' values under masks, by name; all that were named when shares were asked for.
            replies: what survivors answered when asked for shares, by name.

        Returns:
            The sum, or None if it can not be unmasked (rule 3), and what was wrong, by the site that did it.

        Raises:
            InputError: for a release or values that are not the plan's.
            Refused: for fewer survivors or usable replies than the plan asks for: nothing is learned (rule 2).
        """
        place, survived = place_of(self._plan, event, index), tuple(sorted(masked))
        self._check_masked(event, masked)
        faults, usable = {}, {}
        for site in sorted(set(replies) & set(survived)):
            try:
                self.check_unmasked(survived, replies[site])
                usable[site] = {**replies[site].seeds, **replies[site].keys}
            except InputError as error:
                faults[site] = str(error)
        least = self._plan.replies_at_least
        if len(usable) < least:
            raise Refused(f"{event} {index}: expected the shares of {least} sites, got {len(usable)}")  # rule 2
        points = {site: point_of(self._plan, site) for site in usable}
        restored = restore(usable, points, self._checks(place, survived), least, self._random)
        faults |= self._faults(restored, usable)
        if len(restored.secrets) < len(self.roster):
            return None, faults
        return self._total(event, index, masked, restored.secrets), faults

    def _check_masked(self, event: str, masked: Mapping[str, Masked]) -> None:
        if not set(masked) <= set(self.roster):
            raise InputError(f"{event}: expected values of sites of the sum, got another's")
        if len(masked) < self._plan.replies_at_least:
            raise Refused(f"{event}: expected values of {self._plan.replies_at_least} sites, got {len(masked)}")
        size = self._plan.event(event).coordinates
        if any(values.dtype != np.uint64 or values.shape != (size,) for values in masked.values()):
            raise InputError(f"{event}: expected {size} uint64 values of each site, got others")

    def _checks(self, place: int, survived: tuple[str, ...]) -> Mapping[str, Check]:
        """Rule 3."""

        def seed_of(advert: Advert) -> Check:
            return lambda seed: commitment(seed) == advert.commitments[place]

        def key_of(advert: Advert) -> Check:
            return lambda key: AgreementKey(key).public == advert.masks[place]

        return {site: (seed_of if site in survived else key_of)(self._read[site]) for site in self.roster}

    def _faults(self, restored: Restored, told: Shares) -> dict[str, str]:
        """What was wrong, by site. Where no share is to spare, nobody can tell who dealt from who told it wrong."""
        faults = {}
        for owner in self.roster:
            if owner not in restored.secrets:
                silent = ", ".join(name for name in sorted(told) if owner not in told[name])
                without = f"; {silent} told no share of it" if silent else ""
                faults[owner] = (
                    f"its secret can not be restored: it dealt wrong shares, or others told them wrong{without}"
                )
        for replier, owners in restored.wrong.items():
            faults[replier] = f"its shares of {len(owners)} sites' secrets are wrong"
            if len(owners) <= self._plan.colluding:
                faults[replier] += f", unless they were dealt wrong by {', '.join(sorted(owners))}"
        return faults

    def _total(
        self, event: str, index: int, masked: Mapping[str, Masked], secrets: Mapping[str, bytes]
    ) -> NDArray[np.int64]:
        place, size = place_of(self._plan, event, index), self._plan.event(event).coordinates
        masks = masks_of(self._run, plan_digest(self._plan), event, index, self.roster, size)
        total = np.zeros(size, dtype=np.uint64)
        for site, values in masked.items():
            total += values
            total -= masks.of_site(site, secrets[site])
        public = {site: self._read[site].masks[place] for site in masked}
        for site in self.roster:
            if site not in masked:  # what it would have added for the survivors, which they have added the negative of
                total += masks.of_pairs(site, AgreementKey(secrets[site]), public)
        return total.view(np.int64)

    # Checkpoints

    def to_document(self) -> dict[str, Any]:
        """For a checkpoint, after `shared` (rule 4). No secrets."""
        return {
            "adverts": {site: fields.to_base64(advert) for site, advert in self._adverts.items()},
            "inboxes": {
                site: {sender: fields.to_base64(bag) for sender, bag in inbox.items()}
                for site, inbox in self.inboxes.items()
            },
            "roster": list(self.roster),
        }

    @classmethod
    def from_document(
        cls,
        document: Any,
        run: str,
        plan: Plan,
        sites: Mapping[str, Verifier],
        random_bytes: RandomBytes = secrets.token_bytes,
    ) -> SumOfRun:
        """What `to_document` wrote.

        Raises:
            KithError: for anything else, or keys that do not count.
        """
        where = "checkpoint of the secure sum"
        try:
            fields.exactly(document, _DOCUMENT, where)
            found = cls(run, plan, sites, random_bytes)
            found.advertised({site: fields.from_base64(one, where) for site, one in document["adverts"].items()})
            found.inboxes = {
                site: {sender: fields.from_base64(bag, where) for sender, bag in inbox.items()}
                for site, inbox in document["inboxes"].items()
            }
            found.roster = tuple(document["roster"])
        except (AttributeError, TypeError, ValueError):
            raise InputError(f"{where}: expected one, got otherwise") from None
        if not set(found.roster) <= set(found._read) or set(found.inboxes) != set(found.roster):
            raise InputError(f"{where}: expected the sites of the sum and what goes to them, got otherwise")
        return found
