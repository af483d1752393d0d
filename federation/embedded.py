"""An in-process Flower `Grid`: the same ServerApp and ClientApps as on a real fleet, in one process, without Ray.

Each node is a ClientApp with its own context. Messages are handled when they are pushed, one after another, and
replies wait to be pulled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from federation.group import load_group
from federation.guard import Guard
from federation.messenger import messenger
from federation.run_settings import Settings
from federation.server_app import config_of, server_app
from federation.site import load_site
from federation.training_run import Progress
from privacy.errors import InputError

RUN = 1
SERVER = 1


class InProcessGrid(Grid):
    """A grid over ClientApps in this process; one run per process at a time, as Flower's task identity asks."""

    def __init__(self, app: ClientApp, sites: Iterable[Path]) -> None:
        """One node per site folder, in order, numbered from 2."""
        self._app = app
        self._contexts: Mapping[int, Context] = {
            SERVER + number: Context(
                run_id=RUN,
                node_id=SERVER + number,
                node_config={"site": str(folder)},
                state=RecordDict(),
                run_config={},
            )
            for number, folder in enumerate(sites, start=1)
        }
        self._replies: dict[str, Message] = {}
        self._run = Run.create_empty(RUN)
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, RUN, SERVER

    def set_run(self, run: Run) -> None:
        """Take over a run's description."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run's description."""
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """A message from the server to a node."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """All nodes."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Hand each message to its node and keep the reply."""
        return [self._deliver(message) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Replies to these messages that have not been pulled before."""
        return [self._replies.pop(identity) for identity in message_ids if identity in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Push and pull; every reply is there at once, so `timeout` never passes."""
        del timeout
        return self.pull_messages(self.push_messages(messages))

    def _deliver(self, message: Message) -> str:
        identity = message.object_id
        message.metadata.__dict__["_message_id"] = identity  # else replies name no message; Flower does it in transit
        context = self._contexts[message.metadata.dst_node_id]
        try:
            reply = self._app(message=message, context=context)
        except Exception as error:  # a node that fails answers with an error, as flwr-clientapp does
            reply = Message(Error(code=2, reason=type(error).__name__), reply_to=message)
        self._replies[identity] = reply
        return identity


def embedded_grid(sites: Iterable[Path]) -> InProcessGrid:
    """A grid whose nodes ask a guard in this process each.

    Raises:
        InputError: if a folder is no site's, or what its guard needs is not there.
    """
    guards = {str(folder): Guard(load_site(folder)) for folder in sites}
    return InProcessGrid(messenger(lambda context: guards[str(context.node_config["site"])].answer), map(Path, guards))


def run_embedded(
    group: Path,
    sites: Iterable[Path],
    settings: Settings,
    out: Path,
    progress: Progress = lambda _what, _done, _of: None,
) -> Path:
    """Run the Flower ServerApp and one ClientApp per site folder in this process; the release's directory.

    Raises:
        InputError: if the folders are not those of the group's sites, each once.
        KithError: as `federation.training_run.train`.
    """
    folders = list(sites)
    names = sorted(load_site(folder).name for folder in folders)
    expected = sorted(load_group(group).contract.site.names)
    if names != expected:
        raise InputError(f"sites: expected each of {', '.join(expected)} once, got {', '.join(names) or 'none'}")
    config = config_of(settings, group, out)
    context = Context(run_id=RUN, node_id=SERVER, node_config={}, state=RecordDict(), run_config=config)
    server_app(progress)(embedded_grid(folders), context)
    return out / "release"
