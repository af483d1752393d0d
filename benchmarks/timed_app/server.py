"""Times exchanges: under `Strategy.start` as a user would write it, or by pushing and pulling oneself."""

import json
import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

POLL = 0.1
app = ServerApp()


class Timed(FedAvg):
    """Federated averaging that notes when each exchange began.

    Attributes:
        began: the moments, by a monotonic clock.
    """

    def __init__(self, sites: int) -> None:
        """With every one of so many sites in each exchange."""
        super().__init__(fraction_evaluate=0.0, min_available_nodes=sites, min_train_nodes=sites)
        self.began: list[float] = []

    def configure_train(self, *args: object, **kwargs: object) -> Iterable[Message]:
        """Begin an exchange."""
        self.began.append(time.monotonic())
        return super().configure_train(*args, **kwargs)  # type: ignore[arg-type]


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Once all sites are there, time exchanges as the run's configuration says, into the file that it names."""
    sites, exchanges = int(context.run_config["sites"]), int(context.run_config["exchanges"])
    while len(list(grid.get_node_ids())) < sites:
        time.sleep(POLL)
    by_hand = context.run_config["loop"] == "own"
    taken = _own(grid, exchanges) if by_hand else _strategy(grid, sites, exchanges)
    Path(str(context.run_config["out"])).write_text(json.dumps(taken), encoding="utf-8")


def _strategy(grid: Grid, sites: int, exchanges: int) -> list[float]:
    timed = Timed(sites)
    timed.start(grid=grid, initial_arrays=ArrayRecord([np.zeros(200)]), num_rounds=exchanges)
    marks = [*timed.began, time.monotonic()]
    return [b - a for a, b in pairwise(marks)]


def _own(grid: Grid, exchanges: int) -> list[float]:
    nodes, taken = list(grid.get_node_ids()), []
    for number in range(exchanges):
        began = time.monotonic()
        content = [RecordDict({"record": ConfigRecord({"body": bytes([number]) * 2000})}) for _ in nodes]
        waiting = set(
            grid.push_messages([Message(one, node, "query") for one, node in zip(content, nodes, strict=True)])
        )
        while waiting:
            for reply in grid.pull_messages(list(waiting)):
                if reply.has_error():
                    raise RuntimeError(reply.error.reason)
                waiting.discard(reply.metadata.reply_to_message_id)
            time.sleep(POLL if waiting else 0)
        taken.append(time.monotonic() - began)
    return taken
