"""What a site's Prometheus sees of its guard: requests, times, and where the site's people stand as a whole.

The figures are the site's own. They are served on this machine's loopback addresses alone, and none but the times
depends on how many people there are, who they are, or whether anybody was left out.
"""

from __future__ import annotations

import logging
import time
from collections import Counter as Counts
from collections.abc import Iterator
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from federation.admission import approvals_needed
from federation.approvals import APPROVED, REFUSED, WAITING, Approvals
from federation.guard_server import CROWD
from federation.sealed import Answered
from federation.site import Site
from federation.wire import Refusal
from privacy.ledger import Ledger

BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
UNREADABLE: Final = "unreadable"
WAITS: Final = "Waiting"
SHOWN: Final = 200
"""Characters of a request's words that are logged."""
logger = logging.getLogger("kith.guard.server")


class GuardMetrics:
    """Counts and logs what a server does: its `Watch`."""

    def __init__(self) -> None:
        """All at nothing."""
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "kith_guard_requests",
            "Requests by kind, and by what was answered.",
            ("kind", "outcome"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "kith_guard_request_seconds", "Seconds of work.", ("kind",), buckets=BUCKETS, registry=self.registry
        )
        self._turned_away = Counter(
            "kith_guard_turned_away", "Connections without an answer.", ("why",), registry=self.registry
        )
        self._last = Gauge(
            "kith_guard_last_answer_timestamp_seconds", "Time of the last answer.", ("kind",), registry=self.registry
        )

    def answered(self, peer: str, received: int, answered: Answered, seconds: float) -> None:
        """See `guard_server.Watch`."""
        asked, told = answered.asked, answered.told
        kind = UNREADABLE if asked is None else type(asked).__name__
        refusal = told if isinstance(told, Refusal) else None
        outcome = WAITS if refusal is not None and refusal.waiting else type(told).__name__
        self._requests.labels(kind, outcome).inc()
        self._seconds.labels(kind).observe(seconds)
        self._last.labels(kind).set(time.time())
        facts: dict[str, Any] = {
            "kind": kind,
            "outcome": outcome,
            **{name: str(getattr(asked, name))[:SHOWN] for name in ("run", "event", "index") if hasattr(asked, name)},
            **({} if refusal is None else {"reason": refusal.reason[:SHOWN]}),
            "peer": peer,
            "seconds": round(seconds, 4),
            "received": received,
            "sent": len(answered.sealed),
        }
        logger.info("answered", extra={"facts": facts})

    def turned_away(self, why: str) -> None:
        """See `guard_server.Watch`."""
        self._turned_away.labels(why).inc()
        if why != CROWD:  # which strangers may bring about as often as they like: it would fill the site's disk
            logger.warning("turned away", extra={"facts": {"why": why}})


class SiteCollector:
    """Where a site stands, looked up when Prometheus asks."""

    def __init__(self, site: Site, ledger: Ledger, approvals: Approvals) -> None:
        """Over open files, which stay open."""
        self._site, self._ledger, self._approvals = site, ledger, approvals

    def describe(self) -> Iterator[Metric]:
        """Nothing: what there is depends on the site."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """All figures of this moment."""
        budget, totals = self._ledger.budget, self._ledger.totals
        mu2 = GaugeMetricFamily("kith_guard_mu2", "mu² per employee in this period.", labels=("group", "what"))
        for group, *amounts in (
            ("", budget.cap, totals.spent, totals.held),
            *(
                (one.name, one.cap, totals.spent_by_group.get(one.name, 0), totals.held_by_group.get(one.name, 0))
                for one in budget.groups
            ),
        ):
            for what, amount in zip(("cap", "spent", "held"), amounts, strict=True):
                mu2.add_metric((group, what), float(amount))
        yield mu2
        yield GaugeMetricFamily("kith_guard_open_runs", "Runs that hold budget.", value=len(self._ledger.open_runs))
        policy = self._site.policy
        shown = self._approvals.shown(policy.approvers)
        states = Counts(one.state(approvals_needed(policy, self._approvals, one)) for one in shown)
        plans = GaugeMetricFamily("kith_guard_plans", "Plans that were shown to the site.", labels=("state",))
        for state in (WAITING, APPROVED, REFUSED):
            plans.add_metric((state,), states[state])
        yield plans
        started = [one.started.timestamp() for one in shown if one.started is not None]
        yield GaugeMetricFamily(
            "kith_guard_last_run_timestamp_seconds",
            "When a run last started; 0 for never.",
            value=max(started, default=0),
        )
