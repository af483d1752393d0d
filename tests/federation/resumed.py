"""A warm process that forks coordinators which kill themselves at a step of a run: see test_resume.

It reads a line of JSON for each child and writes, as one, how the child ended and how many steps it took.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.federation.killed import warm

STEPS = "steps.json"


class Steps:
    """What a coordinator writes or hears, one after another; at its last one it dies."""

    def __init__(self, last: int, told: Path) -> None:
        """Die at step `last`, counted from 1; never, at 0."""
        self._last, self._told, self._names = last, told, list[str]()

    def take(self, name: str) -> None:
        self._names.append(name)
        if len(self._names) == self._last:
            os.kill(os.getpid(), signal.SIGKILL)

    def end(self) -> None:
        self._told.write_text(json.dumps(self._names), encoding="utf-8")

    def around(self, name: str, work: Callable[..., Any], after: bool = True) -> Callable[..., Any]:
        def stepping(*given: Any, **named: Any) -> Any:
            detail = f"{name} {given[1]}" if len(given) > 1 and isinstance(given[1], str) else name
            self.take(f"before {detail}")
            done = work(*given, **named)
            if after:
                self.take(f"after {detail}")
            return done

        return stepping


def run(folder: Path, trust: str, last: int) -> None:
    """Begin the run of a group in `folder`, or go on with it, as one process does until it dies."""
    from federation import checkpoints, exchange, run_log
    from federation.embedded import run_embedded
    from tests.small_group import settings

    steps = Steps(last, folder / STEPS)
    exchange.POLL, exchange.LOOK = 0.01, 0.05
    run_log.RunLog.add = steps.around("log", run_log.RunLog.add, after=False)  # type: ignore[method-assign]
    checkpoints.Checkpoints.save = steps.around("save", checkpoints.Checkpoints.save)  # type: ignore[method-assign]
    checkpoints.replace_file = steps.around("replace", checkpoints.replace_file, after=False)  # type: ignore[assignment]
    Path.rename = steps.around("rename", Path.rename)  # type: ignore[method-assign]
    sites = sorted((folder / "sites").iterdir())
    asked = settings(trust=trust, rounds=2, deadline=5.0)
    run_embedded(folder / "group", sites, asked, folder / "runs" / "run-1")
    steps.end()


def main() -> None:
    warm()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                run(**{name: Path(told) if name == "folder" else told for name, told in json.loads(line).items()})
                os._exit(0)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(1)
        print(os.waitpid(child, 0)[1], flush=True)


if __name__ == "__main__":
    main()
