"""What Prometheus sees of runs: figures of their logs, computed when it asks. Nothing about a person is in a log."""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from federation.metrics_server import metrics_server
from federation.run_folders import Runs
from federation.run_state import LATE, STATUSES, RunState

RECENT: Final = 86_400.0
"""Seconds for which a run that ended is still told of in detail; it counts in `kith_runs` for ever."""
BUCKETS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 3600.0, math.inf)
"""Seconds that a release takes."""


class RunsCollector:
    """The figures of all runs in a folder."""

    def __init__(self, folder: Path) -> None:
        """The folder in which run folders are made.

        Raises:
            InputError: if there is none.
        """
        self._runs, self._turn = Runs(folder), threading.Lock()

    def describe(self) -> Iterator[Metric]:
        """Nothing: what there is depends on the runs."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """All figures, by the logs as they are now."""
        with self._turn:
            states = self._runs.states()
        counts = Counter(state.status for state in states.values())
        yield _gauge("kith_runs", "Runs in the folder.", ("status",), {(one,): counts[one] for one in STATUSES})
        since = time.time() - RECENT
        yield from _details({name: one for name, one in states.items() if one.ended is None or one.last >= since})


def serve_runs(folder: Path, host: str, port: int) -> AbstractContextManager[str]:
    """Serve the figures of a folder's runs: `metrics_server` of them.

    Raises:
        InputError: if there is no such folder; on entering, if nothing can be served at that address.
    """
    registry = CollectorRegistry()
    registry.register(RunsCollector(folder))
    return metrics_server(registry, host, port, "--listen")


def _details(states: Mapping[str, RunState]) -> Iterator[Metric]:
    run = ("run",)
    per_run = {(name,): state for name, state in states.items()}
    of_sites = [((name, site.name), site) for name, state in states.items() for site in state.sites]
    yield _gauge(
        "kith_run_status",
        "1 for what a run is at, else 0.",
        ("run", "status"),
        {(name, one): int(state.status == one) for name, state in states.items() for one in STATUSES},
    )
    for name, words, values in (
        ("releases", "Releases that the run will make.", {key: one.releases for key, one in per_run.items()}),
        ("releases_done", "Releases that are made.", {key: one.done for key, one in per_run.items()}),
        ("budget_spent_ratio", "Share of the run's budget charged.", {key: one.spent for key, one in per_run.items()}),
        ("resumed", "Times that the run was gone on with.", {key: one.resumed for key, one in per_run.items()}),
        ("last_event_timestamp_seconds", "Time of its last event.", {key: one.last for key, one in per_run.items()}),
        (
            "late_sites",
            "Sites that are past half of their deadline.",
            {key: sum(site.state == LATE for site in one.sites) for key, one in per_run.items()},
        ),
    ):
        yield _gauge(f"kith_run_{name}", words, run, values)
    yield _gauge(
        "kith_run_epsilon",
        "Budget of the run for each employee, at delta.",
        ("run", "use_case", "trust", "delta"),
        {(name, one.use_case, one.trust, one.delta): float(one.epsilon or 0) for name, one in states.items()},
    )
    yield _histogram(states)
    received = {key: one.bytes for key, one in per_run.items()}
    yield _counter("kith_run_received_bytes", "Bytes of contributions that came in.", run, received)
    site = ("run", "site")
    replies = {key: one.replies for key, one in of_sites}
    yield _counter("kith_run_replies", "Replies of a site.", site, replies)
    contributed = {key: one.contributions for key, one in of_sites}
    yield _gauge("kith_run_contributions", "Releases that a site contributed to.", site, contributed)
    slow = {key: one.seconds for key, one in of_sites if one.seconds is not None}
    yield _gauge("kith_run_last_reply_seconds", "What a site's last reply took.", site, slow)
    absences = {(*key, why): count for key, one in of_sites for why, count in one.absences.items()}
    yield _gauge("kith_run_absences", "Releases that a site is not in.", (*site, "reason"), absences)


def _gauge(name: str, words: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> Metric:
    return _filled(GaugeMetricFamily(name, words, labels=labels), values)


def _counter(name: str, words: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> Metric:
    return _filled(CounterMetricFamily(name, words, labels=labels), values)


def _filled(family: Any, values: Mapping[Any, float]) -> Metric:
    """The family with these values, by the labels' values in order."""
    for key, value in values.items():
        family.add_metric(list(key), value)
    return family  # type: ignore[no-any-return]


def _histogram(states: Mapping[str, RunState]) -> Metric:
    family = HistogramMetricFamily("kith_run_release_seconds", "Seconds that a release took.", labels=["run"])
    for name, state in states.items():
        counts = Counter(bisect_left(BUCKETS, seconds) for seconds in state.release_seconds)
        upto = [(_bound(bound), sum(counts[n] for n in range(k + 1))) for k, bound in enumerate(BUCKETS)]
        family.add_metric([name], upto, math.fsum(state.release_seconds))
    return family


def _bound(bound: float) -> str:
    return "+Inf" if math.isinf(bound) else str(bound)
