"""A SuperNode that asks for messages as often as a run needs it: Flower's own program, with `federation.fleet.waits`.

Its arguments are those of `flower-supernode`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from flwr.supercore import heartbeat
from flwr.supernode import fleet_http_connection
from flwr.supernode import start_client_internal as node_loop
from flwr.supernode.cli.flower_supernode import flower_supernode

from federation.fleet.layout import SIGN
from federation.fleet.waits import Waits, shorten_backoff

NO_MESSAGE: Final = 3
"""What Flower's loop sleeps when no message waits; shorter sleeps of it are for a reply of its own app."""
REPLY: Final = 0.05
"""Seconds between two looks for an app's reply: it is in this process's memory."""
HEARTBEAT: Final = 10
"""Seconds, the least that a SuperLink takes (30 is Flower's choice): a node that ended counts as gone after twice that,
and an exchange need not wait for it any longer."""


class Clock:
    """Stands in for the module `time` in the node's loop, which uses its `sleep` alone."""

    def __init__(self, waits: Waits, sign: Path | None) -> None:
        """With these waits in place of Flower's; `sign` is written once the SuperLink has let the node in."""
        self._waits, self._sign = waits, sign

    def sleep(self, seconds: float) -> None:
        """Wait for a message, or for the app's reply to one that came."""
        if self._sign is not None:
            self._sign.write_text(str(os.getpid()), encoding="ascii")
            self._sign = None
        if seconds < NO_MESSAGE:
            self._waits.came()
            time.sleep(min(seconds, REPLY))
        else:
            time.sleep(min(seconds, self._waits.seconds))


def shorten_waits() -> None:
    """Put the waits into Flower's loop."""
    sign = os.environ.get(SIGN)
    node_loop.__dict__["time"] = Clock(Waits(), Path(sign) if sign else None)
    for module in (heartbeat, fleet_http_connection):
        if not hasattr(module, "HEARTBEAT_DEFAULT_INTERVAL"):
            raise RuntimeError(f"expected Flower 1.41's {module.__name__}, got another")
        module.__dict__["HEARTBEAT_DEFAULT_INTERVAL"] = HEARTBEAT
    shorten_backoff()


if __name__ == "__main__":
    shorten_waits()
    flower_supernode()
