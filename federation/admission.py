"""Whether a run may go on at a site at this moment: by the policy's hours, how often, and who has seen its plan.

Rules:
    1. Only a plan within the policy's limits comes here (`federation.acceptance`), under a run id that is a plain name,
       as people read both. They are shown it whether anybody must approve it or not: once it waits for them, or starts.
       What the policy would not let start at this moment is not put before them.
    2. A run starts once as many approvers as the policy says have approved it, within the hours, and not too often. All
       of that is asked until the ledger knows the run, and it has started when the guard is about to reserve for it: a
       request that comes to nothing is no start that could be kept for later.
    3. A run that has started still needs its approvals, by the policy of that moment, and the hours: what was refused
       or tightened meanwhile holds. How often runs start is not asked again.
    4. Nothing of anybody's is read for it.
"""

from __future__ import annotations

from datetime import datetime

from federation.approvals import APPROVED, REFUSED, WAITING, Approvals, Shown, Waiting
from federation.policy import NEW, Policy
from federation.run_settings import RUN_ID
from federation.site import Site
from privacy.errors import InputError, Refused
from privacy.ledger import Ledger
from privacy.plan import Plan


class Admission:
    """What a guard asks before each answer that rests on a plan."""

    def __init__(self, site: Site, ledger: Ledger) -> None:
        """The queue is not opened yet.

        Args:
            site: whose policy it is.
            ledger: the site's, which knows the runs that have started.
        """
        self._site, self._ledger = site, ledger
        self._opened: Approvals | None = None

    @property
    def approvals(self) -> Approvals:
        """The site's queue."""
        if self._opened is None:
            self._opened = Approvals(self._site.folder, self._site.name)
        return self._opened

    def admit(self, run: str, plan: Plan, coordinator: str, now: datetime) -> None:
        """Return if this run may start, or go on.

        Args:
            run: its id.
            plan: that the site serves (rule 1).
            coordinator: id of the key that asked.
            now: aware.

        Raises:
            InputError: if the run id is none.
            Waiting: if people must see the plan first.
            Refused: if one of them refused it, or the policy does not let it run now.
        """
        if not RUN_ID.fullmatch(run):  # rule 1
            raise InputError(f"run id: expected up to 100 letters, digits, . _ or -, got {run!r:.60}")
        policy = self._site.policy
        known = self.approvals.find(run, plan, coordinator, policy.approvers)
        shown = known or Shown.of(run, plan, coordinator, now)
        needed = approvals_needed(policy, self.approvals, shown)
        state = shown.state(needed)
        if state == REFUSED:
            raise Refused(f"plan {plan.digest[:16]}: the site's people have refused it")
        if known is None or state == APPROVED:
            self._check_moment(policy, run, plan, now)
        if known is None and state == WAITING:
            self.approvals.wait(shown)
        if state == WAITING:
            raise Waiting(
                f"plan {plan.digest[:16]}: waits for approval by {needed} at the site, so far {shown.approvals}"
            )

    def start(self, run: str, plan: Plan, coordinator: str, now: datetime) -> None:
        """Keep that an admitted run starts now (rule 2); arguments as for `admit`.

        Raises:
            Refused: if the policy does not let it start any more.
        """
        policy = self._site.policy
        shown = Shown.of(run, plan, coordinator, now)
        self.approvals.start(shown, now, lambda others: policy.check(plan, now, others))

    def _check_moment(self, policy: Policy, run: str, plan: Plan, now: datetime) -> None:
        if self._ledger.knows(run):  # rule 3
            policy.check_hours(now)
        else:  # rule 2
            policy.check(plan, now, self.approvals.starts(but=run))


def approvals_needed(policy: Policy, approvals: Approvals, shown: Shown) -> int:
    """How many approvals a run of this plan needs by this policy."""
    most = policy.review.needed
    before = policy.review.of == NEW and approvals.approved_before(shown, most, policy.approvers)
    return policy.approvals_needed(shown.plan, before)
