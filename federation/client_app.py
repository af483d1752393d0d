"""The Flower ClientApp: a messenger between the coordinator and the site's guard. It opens nothing itself.

The site is named by the SuperNode's own `--node-config 'site="/path/to/folder"'`, never by the run. Every error
leaves as one line of Kith's own, which holds no person's value; of anything unforeseen only the type's name leaves,
because Flower would send the text of an exception to the server.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp

from federation import messages
from federation.guard import Guard, guard_at
from privacy.errors import InputError, KithError

REFUSED: Final = 1000
"""Code of an error reply that carries a reason in Kith's words."""

app = ClientApp()


@app.train()
def contribute(message: Message, context: Context) -> Message:
    """Pass one request to the guard and its sealed bytes back."""

    def answer(guard: Guard) -> RecordDict:
        return messages.contribution_record(guard.contribute(messages.read_request(message.content)))

    return _answer(message, context, answer)


@app.query()
def finish(message: Message, context: Context) -> Message:
    """End the run at this site and fetch the ledger's proof of it."""

    def answer(guard: Guard) -> RecordDict:
        finished = guard.finish(messages.read_finish(message.content))
        return messages.finished_record(finished.excerpt, guard.name, finished.held)

    return _answer(message, context, answer)


@app.query("consistency")
def consistency(message: Message, context: Context) -> Message:
    """Fetch proofs that the site's ledger continues what other sites have seen of it."""

    def answer(guard: Guard) -> RecordDict:
        return messages.proofs_record(guard.name, guard.prove(messages.read_spans(message.content)))

    return _answer(message, context, answer)


@app.query("witness")
def witness(message: Message, context: Context) -> Message:
    """Show the site the other sites' checkpoints, and fetch its cosignatures."""

    def answer(guard: Guard) -> RecordDict:
        return messages.cosigned_record(guard.name, guard.witness(*messages.read_shown(message.content)))

    return _answer(message, context, answer)


def _answer(message: Message, context: Context, work: Callable[[Guard], RecordDict]) -> Message:
    try:
        return Message(work(guard_at(_folder(context))), reply_to=message)
    except KithError as error:
        return Message(Error(code=REFUSED, reason=str(error)), reply_to=message)
    except Exception as error:  # its text may hold a person's value
        return Message(Error(code=REFUSED, reason=f"site: unforeseen {type(error).__name__}"), reply_to=message)


def _folder(context: Context) -> Path:
    folder = context.node_config.get("site")
    if not isinstance(folder, str) or not folder:
        raise InputError('node config: expected site="/path/to/the/site\'s/folder", got none')
    return Path(folder)
