"""What a site's Prometheus sees of its guard: requests, times, and where the site's people stand as a whole.

The figures are the site's own. They are served on this machine's loopback addresses alone, and none but the times
depends on how many people there are, who they are, or whether anybody was left out.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import logging
import time
from collections import Counter as Counts
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from federation.admission import approvals_needed
from federation.approvals import APPROVED, REFUSED, WAITING, Approvals
from federation.site import Site
from federation.wire import Message, Refusal
from privacy.errors import InputError
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

    def answered(self, peer: str, request: bytes, reply: bytes, seconds: float) -> None:
        """See `guard_server.Watch`."""
        asked, given = _payload(request), _payload(reply)
        given = _json(given.get("reply"))
        kind, outcome = _kind(asked), _kind(given)
        outcome = WAITS if outcome == Refusal.__name__ and given.get("waiting") is True else outcome
        self._requests.labels(kind, outcome).inc()
        self._seconds.labels(kind).observe(seconds)
        self._last.labels(kind).set(time.time())
        facts: dict[str, Any] = {
            "kind": kind,
            "outcome": outcome,
            **{name: str(asked[name])[:SHOWN] for name in ("run", "event", "index") if name in asked},
            **({"reason": str(given["reason"])[:SHOWN]} if "reason" in given else {}),
            "peer": peer,
            "seconds": round(seconds, 4),
            "received": len(request),
            "sent": len(reply),
        }
        logger.info("answered", extra={"facts": facts})

    def turned_away(self, why: str) -> None:
        """See `guard_server.Watch`."""
        self._turned_away.labels(why).inc()
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


@contextmanager
def metrics_server(registry: CollectorRegistry, host: str, port: int) -> Iterator[str]:
    """Serve a registry for as long as the block lasts; the URL.

    Args:
        registry: what is served.
        host: a loopback address.
        port: TCP port; 0 for any free one.

    Raises:
        InputError: if the address is none of this machine's loopback, or nothing can be served there.
    """
    try:
        if not ipaddress.ip_address(host).is_loopback:
            raise ValueError
        server, thread = start_http_server(port, host, registry)
    except (OSError, ValueError, OverflowError):
        raise InputError(f"--metrics: expected a free port at a loopback address, got {host!r:.60} {port}") from None
    try:
        yield f"http://{f'[{host}]' if ':' in host else host}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _payload(envelope: bytes) -> dict[str, Any]:
    """What an envelope says, for the log alone: its signature is not looked at here."""
    return _json(_json(envelope, encoded=False).get("payload"))


def _json(data: Any, encoded: bool = True) -> dict[str, Any]:
    try:
        found = json.loads(base64.b64decode(data) if encoded else data)
    except (ValueError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _kind(message: Mapping[str, Any]) -> str:
    kind = message.get("kind")
    return kind if isinstance(kind, str) and kind in Message.kinds else UNREADABLE
