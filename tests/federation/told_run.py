"""A run as its log tells it, second by second, made without any site."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from federation.run_log import RunLog

Told = tuple[float, str, dict[str, Any]]
"""When, what, and the facts as `RunLog.add` takes them."""
SITES = ("Nord", "Ost Logistik GmbH", "Süd", "West", "Zentrale")
RELEASES = 13
BEGAN = 1_700_000_000.0
STEP = 2.0
"""Seconds of one release."""
DEADLINE = 60.0


def started(sites: Sequence[str] = SITES, at: float = BEGAN) -> Told:
    facts = {
        "run": "retention-ab12cd34",
        "plan": "5" * 64,
        "use_case": "retention",
        "trust": "secure-sum",
        "sites": list(sites),
        "releases": RELEASES,
        "epsilon": "1",
        "delta": "0.00001",
        "deadline": DEADLINE,
    }
    return at, "started", facts


def release(number: int, sites: Sequence[str], at: float, absent: str = "") -> list[Told]:
    """One release of the gradient, from the first request on; `absent` is silent."""
    of = {"event": "gradient", "index": number}
    told: list[Told] = [(at, "phase", {"phase": "release", **of, "deadline": DEADLINE})]
    for site in sites:
        if site != absent:
            told.append((at + 0.5, "reply", {"site": site, "phase": "release", "seconds": 0.5}))
    if absent:
        told.append((at + STEP, "absent", {"site": absent, "reason": "silent", **of}))
    count = len(sites) - bool(absent)
    facts = {"done": number + 1, "of": RELEASES, "sites": count, "bytes": 1_000 * count, **of}
    return [*told, (at + STEP, "released", facts)]


def told_run(releases: int, sites: Sequence[str] = SITES, absent_from: int = -1) -> list[Told]:
    """A run from its beginning through so many releases; the first site is not in number `absent_from`."""
    told = [started(sites)]
    for number in range(releases):
        told += release(number, sites, BEGAN + STEP * number, sites[0] if number == absent_from else "")
    return told


def write(folder: Path, told: Sequence[Told]) -> None:
    """Put it into a log, with the clock at each event."""
    moments = iter([at for at, _, _ in told])
    with RunLog(folder, lambda: next(moments)) as log:
        for _, what, facts in told:
            log.add(what, **facts)
