"""Kith's requests and replies as Flower records, and back. Whatever came over the network is checked here first."""

from __future__ import annotations

from typing import Final

from flwr.app import ConfigRecord, RecordDict

from federation.guard import Contribution, Request
from privacy.errors import InputError

RECORD: Final = "kith"
MAX_BYTES: Final = 512 * 2**20
"""Of one field of a message."""


def request_record(request: Request) -> RecordDict:
    """A request as the content of a Flower message."""
    fields = {"run": request.run, "plan": request.plan, "event": request.event}
    return RecordDict({RECORD: ConfigRecord({**fields, "index": request.index, "state": request.state})})


def read_request(content: RecordDict) -> Request:
    """The request in a Flower message.

    Raises:
        InputError: if there is none.
    """
    record = _record(content, {"run": str, "plan": bytes, "event": str, "index": int, "state": bytes})
    return Request(record["run"], record["plan"], record["event"], record["index"], record["state"])


def contribution_record(contribution: Contribution) -> RecordDict:
    """A contribution as the content of a Flower message."""
    return RecordDict({RECORD: ConfigRecord({"values": contribution.values, "receipt": contribution.receipt})})


def read_contribution(content: RecordDict) -> Contribution:
    """The contribution in a Flower message.

    Raises:
        InputError: if there is none.
    """
    record = _record(content, {"values": bytes, "receipt": bytes})
    return Contribution(record["values"], record["receipt"])


def finish_record(run: str) -> RecordDict:
    """The request to end a run."""
    return RecordDict({RECORD: ConfigRecord({"run": run})})


def read_finish(content: RecordDict) -> str:
    """The run to end.

    Raises:
        InputError: if there is none.
    """
    return str(_record(content, {"run": str})["run"])


def excerpt_record(excerpt: bytes, site: str) -> RecordDict:
    """A ledger excerpt as the content of a Flower message, with the site that it is said to be of."""
    return RecordDict({RECORD: ConfigRecord({"excerpt": excerpt, "site": site})})


def read_excerpt(content: RecordDict) -> tuple[bytes, str]:
    """The ledger excerpt in a Flower message and its site's name, both unverified.

    Raises:
        InputError: if there is none.
    """
    record = _record(content, {"excerpt": bytes, "site": str})
    return record["excerpt"], record["site"]


def _record(content: RecordDict, types: dict[str, type]) -> ConfigRecord:
    record = content.config_records.get(RECORD)
    if record is None or set(record) != set(types):
        raise InputError(f"message: expected a record {RECORD!r} with {', '.join(types)}, got otherwise")
    for name, kind in types.items():
        value = record[name]
        if type(value) is not kind or (isinstance(value, str | bytes) and len(value) > MAX_BYTES):
            raise InputError(f"message, {name}: expected {kind.__name__} of at most {MAX_BYTES} bytes, got otherwise")
    return record
