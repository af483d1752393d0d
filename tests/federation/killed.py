"""A warm process that forks children which run and run at tiny sites, until somebody kills them: see test_kill.

It reads a line for each child, writes the child's process id, and then how it ended. A child goes on with the run that
the one before it left, and writes down every contribution, on disk, before it hands it on.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from itertools import count
from pathlib import Path
from typing import Any

from federation.embedded import run_embedded
from federation.guard import Guard
from federation.wire import Contribute, Contribution
from privacy.dsse import Envelope
from privacy.randomness import secure_source
from tests.small_group import settings

SENT = "sent.jsonl"
ROUNDS = 3


def main(folder: Path) -> None:
    warm()
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                work(folder)
            finally:
                os._exit(1)
        print(child, flush=True)
        print(os.waitpid(child, 0)[1], flush=True)


def warm() -> None:
    """Load what takes seconds to load; open nothing that a child must not share."""
    import dp_accounting.pld  # noqa: F401

    import models.measure_reading
    import models.training  # noqa: F401

    secure_source()


def work(folder: Path) -> None:
    log = os.open(folder / SENT, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    contribute = Guard.contribute

    def written_down(guard: Guard, request: Contribute) -> Contribution:
        found = contribute(guard, request)
        os.write(log, json.dumps(line(guard.name, request, found)).encode() + b"\n")
        os.fsync(log)
        return found

    Guard.contribute = written_down  # type: ignore[method-assign]
    sites = sorted((folder / "sites").iterdir())
    for number in count():
        out = folder / "runs" / str(number)
        if not (out / "release").exists():
            run_embedded(folder / "group", sites, settings(f"run-{number}", rounds=ROUNDS), out)


def line(site: str, request: Contribute, found: Contribution) -> dict[str, Any]:
    receipt = json.loads(Envelope.from_bytes(found.receipt, "receipt").payload)["predicate"]
    return {
        "site": site,
        "run": request.run,
        "event": request.event,
        "index": request.index,
        "position": receipt["position"],
        "leaf": receipt["leaf"],
        "values": hashlib.sha256(found.values).hexdigest(),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
