"""`kith verify` as an officer runs it: a whole process, against the limit of two seconds, and where its time goes."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, Final

from benchmarks.measure import Progress, Report, Spread, by_turns, child, ratio
from benchmarks.sample import MadeUp, made_up, settings
from federation.embedded import run_embedded
from models.planning import ROUNDS

LIMIT: Final = 2.0
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
"""The verifier in a process of its own: what importing it takes, and two calls; the first also loads the accountant."""


def run(quick: bool, progress: Progress) -> Report:
    """Verify a release of five sites, made for the purpose."""
    with tempfile.TemporaryDirectory(prefix="kith-bench-") as name:
        progress("making a release")
        made = made_up(Path(name))
        release = run_embedded(made.group, made.sites, settings("to-verify", ROUNDS), Path(name) / "run")
        return _measured(release, made, 2 if quick else 11, progress)


def _measured(release: Path, made: MadeUp, turns: int, progress: Progress) -> Report:
    inside: list[dict[str, Any]] = []
    work = {
        "python -c pass": lambda: child("-c", "pass"),
        "import kith (the command line)": lambda: child("-c", "import kith"),
        "kith verify, whole": lambda: child("-m", "kith", "verify", str(release), "--keys", str(made.keys)),
        "inside": lambda: inside.append(json.loads(child("-c", INSIDE, str(release), str(made.keys)))),
    }
    seconds = by_turns(work, turns, progress)
    del seconds["inside"], inside[0]
    for part, what in (
        ("importing", "inside: import privacy.verify"),
        ("first", "inside: verify_release, first call (loads dp-accounting)"),
        ("again", "inside: verify_release, second call"),
    ):
        seconds[what] = [one[part] for one in inside]
    limit = [LIMIT] * turns
    files = [path for path in release.rglob("*") if path.is_file()]
    figures = {
        what: {"seconds": Spread.of(taken).to_document(), "of_limit": ratio(taken, limit).to_document()}
        for what, taken in seconds.items()
    }
    return Report(
        title=f"kith verify: {len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.2f} MB, five sites",
        columns=("", "ms", f"share of the limit of {LIMIT:g} s"),
        rows=tuple(
            (what, Spread.of(taken).shown(1e3), ratio(taken, limit).shown(100, " %")) for what, taken in seconds.items()
        ),
        notes=(f"torch was {'loaded' if any(one['torch'] for one in inside) else 'not loaded'}.",),
        figures={"limit_seconds": LIMIT, "torch_loaded": any(one["torch"] for one in inside), **figures},
    )
