"""A run on a fleet: submitted by an operator, watched by its log, and told apart from one that Flower lost."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from federation.fleet.bundle import bundle, packed
from federation.fleet.control import Control, control
from federation.fleet.layout import Fleet
from federation.fleet.making import OPERATOR
from federation.run_settings import Settings
from federation.run_state import FAILED, FINISHED, INTERRUPTED, RunState
from federation.run_view import watch
from federation.server_app import config_of
from privacy.errors import Refused

LOOK: Final = 3.0
"""Seconds between two questions whether Flower still has the run."""
ENDED: Final = "finished"


@dataclass(frozen=True)
class Started:
    """A run that was submitted.

    Attributes:
        flower: Flower's id of it.
        folder: the run's, which holds its log and then its release.
        began: seconds since 1970, at the coordinator.
    """

    flower: int
    folder: Path
    began: float


def start(fleet: Fleet, settings: Settings) -> Started:
    """Submit a run, or the rest of one, through the proxy.

    Raises:
        Refused: if the operator is not let in, or the run does not start.
    """
    folder = fleet.runs / settings.run
    config = config_of(settings, fleet.coordinator / "group", folder)
    began = time.time()
    with control(f"{fleet.host}:{fleet.port}", fleet.operators / OPERATOR) as asked:
        return Started(asked.start(packed(bundle(config)), config), folder, began)


def follow(fleet: Fleet, started: Started) -> Path:
    """Show the run until it ends; the release.

    Raises:
        Refused: if it ends without one, with the reason as far as it is known.
    """
    with control(f"{fleet.host}:{fleet.port}", fleet.operators / OPERATOR) as asked:
        over = _Over(asked, started)
        state = watch(started.folder, over, since=started.began)
    if state.status == FINISHED:
        return started.folder / "release"
    reason = state.reason if state.status == FAILED and state.reason else over.reason
    raise Refused(f"run {started.folder.name}: {reason or 'ended without a release'} (go on with --resume)")


class _Over:
    """Whether a run has ended: its log says so, or nobody writes it any more, or Flower has lost it.

    While the SuperLink is down nothing has ended: its ServerApp waits for it.
    """

    def __init__(self, asked: Control, started: Started) -> None:
        self._asked, self._started = asked, started
        self._next = time.monotonic() + LOOK
        self.reason = ""

    def __call__(self, state: RunState) -> bool:
        if state.last >= self._started.began and (state.ended is not None or state.status == INTERRUPTED):
            return True
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + LOOK
        try:
            status, how = self._asked.status(self._started.flower)
        except Refused as error:  # the SuperLink may be coming back
            self.reason = str(error)
            return False
        self.reason = f"Flower ended it: {how or status}" if status == ENDED else ""
        return status == ENDED
