"""Flower's fixed waits, made shorter: between them a message lies about for seconds in which nobody does anything.

Flower 1.41 has literal sleeps that no setting reaches: 3 s in a SuperNode that finds no message, .5 s while it waits
for its app's reply, 1 s where somebody finds a message before its objects. Here they are bounded from outside, in the
processes that `federation.fleet` starts; a test holds the places against the installed version. Stock Flower processes
work with these just as well, only later.

Polling costs the SuperLink a few milliseconds each time. So a node asks often only while a run is going on.
"""

from __future__ import annotations

import time
from typing import Final

from flwr.supercore.inflatable import inflatable_utils

BRISK: Final = 0.2
"""Seconds between two questions while a run is going on."""
LOCAL: Final = 0.1
"""The same between processes of one site, where a question costs less."""
IDLE: Final = 1.0
"""Seconds between two questions otherwise."""
LINGER: Final = 60.0
"""Seconds after the last message in which a run counts as going on."""
BACKOFF: Final = 0.05
"""Seconds until one asks again for an object whose message is there already."""


class Waits:
    """How long to wait until the next question."""

    def __init__(self, brisk: float = BRISK) -> None:
        """Nothing has come yet."""
        self._brisk, self._last = brisk, -LINGER

    def came(self) -> None:
        """Something came: ask often for a while."""
        self._last = time.monotonic()

    @property
    def seconds(self) -> float:
        """Until the next question."""
        return self._brisk if time.monotonic() - self._last < LINGER else IDLE


def shorten_backoff() -> None:
    """Let whoever finds a message before its objects ask again soon."""
    defaults = inflatable_utils.pull_objects.__kwdefaults__
    if defaults is None or "initial_backoff" not in defaults:
        raise RuntimeError("expected Flower 1.41's pull_objects, got another")
    defaults["initial_backoff"] = BACKOFF
