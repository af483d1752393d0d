"""Runs `kith` as another user: `python -m tests.federation.dropped USER guard serve ...`, started by root.

Everything is loaded, and a small run gone through, before the rights are given up: Python itself may lie where the
other user can not read it.
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

import kith
from federation import guard_commands, guard_listeners, guard_metrics, guard_process, guard_server, plan_words  # noqa: F401
from federation.guard import Guard
from federation.training_run import plan_run
from federation.wire import Contribute, Finish
from models.planning import GRADIENT, SECOND_MOMENTS
from tests.federation.guards import keys_of, opened
from tests.federation.hostile_app import become
from tests.federation.tiny_group import tiny_group
from tests.small_group import settings


def warm() -> None:
    """Load what a run loads, over a group that is thrown away."""
    guard_process.warm()
    with tempfile.TemporaryDirectory() as folder:
        group = tiny_group(Path(folder))
        plan = plan_run(group.load(), settings())
        guard = Guard(group.sites[0])
        moments = Contribute("run-1", plan.to_bytes(), SECOND_MOMENTS, 0, b"")
        weights = np.zeros(plan.event(GRADIENT).coordinates).astype("<f8").tobytes()
        for request in (moments, replace(moments, event=GRADIENT, state=weights), Finish("run-1")):
            opened(guard.answer, group.load().signer, keys_of(group.sites), request)


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    warm()
    become(int(sys.argv[1]))
    sys.argv = ["kith", *sys.argv[2:]]
    kith.main()
