"""Whether a run may go on at a site at this moment: by the policy's hours, how often, and who has seen its plan.

Rules:
    1. Only a plan within the policy's limits comes here (`federation.acceptance`); it is shown to the site's people
       whether anybody must approve it or not.
    2. A run starts once as many approvers as the policy says have approved it, within the hours, and not too often.
    3. A run that has started still needs its approvals, by the policy of that moment, and the hours: what was refused
       or tightened meanwhile holds. How often runs start is not asked again.
    4. Nothing of anybody's is read for it.
"""

from __future__ import annotations

from datetime import datetime

from federation.approvals import REFUSED, WAITING, Approvals, Shown, Waiting
from federation.policy import NEW, Policy
from federation.site import Site
from privacy.errors import Refused
from privacy.plan import Plan


class Admission:
    """What a guard asks before each answer that rests on a plan."""

    def __init__(self, site: Site) -> None:
        """Nothing is opened yet.

        Args:
            site: whose policy it is.
        """
        self._site = site
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
            Waiting: if people must see the plan first.
            Refused: if one of them refused it, or the policy does not let it run now.
        """
        policy = self._site.policy
        shown = self.approvals.show(run, plan, coordinator, policy.approvers, now)
        needed = approvals_needed(policy, self.approvals, shown)
        state = shown.state(needed)
        if state == REFUSED:
            raise Refused(f"plan {plan.digest[:16]}: the site's people have refused it")
        if state == WAITING:
            raise Waiting(
                f"plan {plan.digest[:16]}: waits for approval by {needed} at the site, so far {shown.approvals}"
            )
        if shown.started is not None:  # rule 3
            policy.check_hours(now)
            return
        policy.check(plan, now, self.approvals.starts())
        self.approvals.start(run, now)


def approvals_needed(policy: Policy, approvals: Approvals, shown: Shown) -> int:
    """How many approvals a run of this plan needs by this policy."""
    most = policy.review.needed
    before = policy.review.of == NEW and approvals.approved_before(shown, most, policy.approvers)
    return policy.approvals_needed(shown.plan, before)
