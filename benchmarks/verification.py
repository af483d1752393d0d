"""`kith verify` as an officer runs it: a whole process, against its limit, and where its time goes."""

from __future__ import annotations

import json
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.measure import Progress, Report, Spread, by_turns, child, timed
from benchmarks.sample import MadeUp, made_up, settings
from federation.embedded import run_embedded
from models.planning import ROUNDS

LIMIT: Final = 1.5
"""Seconds that verifying may take."""
INSIDE: Final = """
import json, sys, time
clock = [time.perf_counter()]
from pathlib import Path
from privacy.verify import verify_release
clock.append(time.perf_counter())
for turn in range(2):
    verdict = verify_release(Path(sys.argv[1]), Path(sys.argv[2]))
    clock.append(time.perf_counter())
assert verdict.failed is None, verdict.failed
took = [after - before for before, after in zip(clock, clock[1:])]
print(json.dumps({"importing": took[0], "first": took[1], "again": took[2], "torch": "torch" in sys.modules}))
"""
"""The verifier in a process of its own: what importing it takes, and two calls; the first also loads safetensors."""
INSIDE_PARTS: Final = {
    "importing": "inside: import privacy.verify",
    "first": "inside: verify_release, first call",
    "again": "inside: verify_release, second call",
}


def run(quick: bool, progress: Progress) -> Report:
    """Verify a release of five sites, made for the purpose."""
    with tempfile.TemporaryDirectory(prefix="kith-bench-") as name:
        progress("making a release")
        made = made_up(Path(name))
        release = run_embedded(made.group, made.sites, settings("to-verify", ROUNDS), Path(name) / "run")
        return _measured(release, made, 2 if quick else 11, progress)


def _measured(release: Path, made: MadeUp, turns: int, progress: Progress) -> Report:
    inside: list[dict[str, Any]] = []
    processes = {
        "python -c pass": ("-c", "pass"),
        "import kith (the command line)": ("-c", "import kith"),
        "kith verify, whole": ("-m", "kith", "verify", str(release), "--keys", str(made.keys)),
    }
    processor: dict[str, list[float]] = {what: [] for what in processes}
    work: dict[str, Callable[[], object]] = {
        what: lambda what=what: processor[what].append(timed(lambda: child(*processes[what]), _children))
        for what in processes
    }
    work["inside"] = lambda: inside.append(json.loads(child("-c", INSIDE, str(release), str(made.keys))))
    seconds = by_turns(work, turns, progress)
    del seconds["inside"]
    for part, what in INSIDE_PARTS.items():
        seconds[what] = [one[part] for one in inside[1:]]  # the first turn does not count
    return _report(release, seconds, {what: taken[1:] for what, taken in processor.items()}, inside[0]["torch"])


def _children() -> float:
    """User and system time of processes that have ended: it hardly depends on what else the machine does."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _report(
    release: Path, seconds: dict[str, list[float]], processor: dict[str, list[float]], torch_loaded: bool
) -> Report:
    files = [path for path in release.rglob("*") if path.is_file()]
    rows, figures = [], {}
    for what, taken in seconds.items():
        time, share = Spread.of(taken), Spread.of([one / LIMIT for one in taken])
        busy = Spread.of(processor[what]) if what in processor else None
        rows.append((what, time.shown(1e3), share.shown(100, " %"), busy.shown(1e3) if busy else ""))
        figures[what] = {"seconds": time.to_document(), "of_limit": share.to_document()}
        if busy:
            figures[what]["processor_seconds"] = busy.to_document()
    return Report(
        title=f"kith verify: {len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.2f} MB, five sites",
        columns=("", "ms", f"share of the limit of {LIMIT:g} s", "processor, ms"),
        rows=tuple(rows),
        notes=(f"torch was {'loaded' if torch_loaded else 'not loaded'}.",),
        figures={"limit_seconds": LIMIT, "torch_loaded": torch_loaded, **figures},
    )
