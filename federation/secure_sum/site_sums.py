"""All secure sums of a site, by run: what a guard asks. The rules are those of `at_site`."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.secure_sum.at_site import Sites, SumAtSite
from federation.secure_sum.masks import Masked
from federation.secure_sum.releases import releases
from federation.secure_sum.shamir import RandomBytes
from federation.secure_sum.sum_store import SumStore
from privacy import canonical, fields
from privacy.errors import Refused
from privacy.key_agreement import KEY_BYTES
from privacy.plan import Plan
from privacy.signing import Signer

_RUNS_IN_MEMORY: Final = 8


class SumsAtSite:
    """All secure sums of a site, by run."""

    def __init__(
        self,
        site: str,
        signer: Signer,
        store: SumStore,
        sites: Callable[[], Sites],
        random_bytes: RandomBytes = secrets.token_bytes,
    ) -> None:
        """Nothing is read yet.

        Args:
            site: the site's name.
            signer: its enrolled key.
            store: what it has decided.
            sites: gives the enrolled keys of all sites, by name, as they are now.
            random_bytes: the secure source; another in tests only.
        """
        self._site, self._signer, self._store, self._sites, self._random = site, signer, store, sites, random_bytes
        self._runs: OrderedDict[str, SumAtSite] = OrderedDict()

    def advert(self, run: str, plan: Plan) -> bytes:
        """As `SumAtSite.advert`: begins the run unless it has begun.

        Raises:
            Refused: for another plan than before (rule 1), one without a secure sum, or a run that has ended.
        """
        releases(plan)
        if self._site not in {one.name for one in plan.sites}:
            raise Refused(f"plan sites: expected {self._site!r:.80} among them, got others")
        root = fields.to_base64(self._random(KEY_BYTES))
        document = canonical.to_bytes({"plan": plan.to_bytes().decode("utf-8"), "root": root})
        self._store.first(run, "root", document)
        return self._of(run, plan).advert()

    def plan(self, run: str) -> Plan:
        """The plan of a run whose sum goes on here.

        Raises:
            Refused: if there is no such run.
        """
        return self._of(run).plan

    def shares(self, run: str, plan: Plan, adverts: Sequence[bytes]) -> Mapping[str, bytes]:
        """As `SumAtSite.shares`."""
        return self._of(run, plan).shares(adverts, self._sites())

    def ready(self, run: str, plan: Plan, inbox: Mapping[str, bytes]) -> None:
        """Return if values can be masked: `inbox` was accepted, or is now. It may be empty if one was before.

        Raises:
            KithError: as `SumAtSite.accept`.
        """
        known = self._of(run, plan)
        if inbox or not known.accepted:
            known.accept(inbox)

    def has_masked(self, run: str, event: str, index: int) -> bool:
        """As `SumAtSite.has_masked`."""
        return self._of(run).has_masked(event, index)

    def mask(self, run: str, event: str, index: int, values: NDArray[np.int64]) -> Masked:
        """As `SumAtSite.mask`."""
        return self._of(run).mask(event, index, values)

    def agree(self, run: str, event: str, index: int, survived: tuple[str, ...]) -> bytes:
        """As `SumAtSite.agree`."""
        return self._of(run).agree(event, index, survived)

    def unmask(
        self, run: str, event: str, index: int, survived: tuple[str, ...], signatures: Mapping[str, bytes]
    ) -> tuple[Mapping[str, bytes], Mapping[str, bytes]]:
        """As `SumAtSite.unmask`."""
        return self._of(run).unmask(event, index, survived, signatures, self._sites())

    def forget(self, run: str) -> None:
        """End a run here: its secrets are gone, and it is never begun again."""
        self._runs.pop(run, None)
        self._store.forget(run)

    def _of(self, run: str, plan: Plan | None = None) -> SumAtSite:
        """The sum of a run that has begun here, under this plan."""
        known = self._runs.get(run) or self._read(run)
        if plan is not None and plan != known.plan:
            raise Refused(f"run {run!r:.80}: expected the plan of before, got another")  # rule 1
        self._runs[run] = known
        while len(self._runs) > _RUNS_IN_MEMORY:
            self._runs.popitem(last=False)
        return known

    def _read(self, run: str) -> SumAtSite:
        body = self._store.read(run, "root")
        if body is None:
            raise Refused(f"run {run!r:.80}: expected one whose secure sum goes on here, got another")
        document = canonical.from_bytes(body, f"run {run!r:.80}")
        plan = Plan.from_bytes(document["plan"].encode("utf-8"))
        root = fields.from_base64(document["root"], f"run {run!r:.80}")
        return SumAtSite(run, plan, self._site, root, self._signer, self._store)
