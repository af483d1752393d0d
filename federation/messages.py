"""Kith's requests and replies as Flower records, and back. Whatever came over the network is checked here first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from flwr.app import ConfigRecord, RecordDict

from federation.guard import Contribution, Request
from federation.witnessing import Shown, Span
from privacy.errors import InputError

RECORD: Final = "kith"
MAX_BYTES: Final = 512 * 2**20
"""Of one text or bytes of a message."""
MAX_ITEMS: Final = 1_000_000
"""In one list of a message."""


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


def finished_record(excerpt: bytes, site: str, held: Mapping[str, int]) -> RecordDict:
    """A ledger excerpt, the site that it is said to be of, and the sizes it holds of other logs, by origin."""
    fields = {"excerpt": excerpt, "site": site, "origins": list(held), "sizes": list(held.values())}
    return RecordDict({RECORD: ConfigRecord(fields)})


def read_finished(content: RecordDict) -> tuple[str, bytes, Mapping[str, int]]:
    """The site's name, the excerpt, and sizes by origin; all of it unverified.

    Raises:
        InputError: if there is none.
    """
    record = _record(content, {"excerpt": bytes, "site": str, "origins": [str], "sizes": [int]})
    return record["site"], record["excerpt"], dict(_together(record, "origins", "sizes"))


def consistency_record(spans: Sequence[Span]) -> RecordDict:
    """The request to prove spans of ledgers; each site looks for its own."""
    columns = {"sites": [one.site for one in spans], "now": [one.now for one in spans]}
    return RecordDict({RECORD: ConfigRecord({**columns, "held": [one.held for one in spans]})})


def read_spans(content: RecordDict) -> tuple[Span, ...]:
    """The spans to prove.

    Raises:
        InputError: if there are none.
    """
    record = _record(content, {"sites": [str], "now": [int], "held": [int]})
    return tuple(Span(*one) for one in _together(record, "sites", "now", "held"))


def proofs_record(site: str, proofs: Sequence[bytes]) -> RecordDict:
    """A site's proofs, in the order of its spans."""
    return RecordDict({RECORD: ConfigRecord({"site": site, "proofs": list(proofs)})})


def read_proofs(content: RecordDict) -> tuple[str, tuple[bytes, ...]]:
    """A site's name and its proofs, unverified.

    Raises:
        InputError: if there are none.
    """
    record = _record(content, {"site": str, "proofs": [bytes]})
    return record["site"], tuple(record["proofs"])


def witness_record(lists: Sequence[bytes], shown: Sequence[Shown]) -> RecordDict:
    """The key lists, and notes with their proofs."""
    proofs = [(n, size, proof) for n, one in enumerate(shown) for size, proof in one.proofs.items()]
    fields: dict[str, Any] = {"lists": list(lists), "notes": [one.note for one in shown]}
    for place, name in enumerate(("places", "held", "proofs")):
        fields[name] = [one[place] for one in proofs]
    return RecordDict({RECORD: ConfigRecord(fields)})


def read_shown(content: RecordDict) -> tuple[tuple[bytes, ...], tuple[Shown, ...]]:
    """The key lists and the notes with their proofs.

    Raises:
        InputError: if there are none.
    """
    record = _record(content, {"lists": [bytes], "notes": [str], "places": [int], "held": [int], "proofs": [bytes]})
    proofs: list[dict[int, bytes]] = [{} for _ in record["notes"]]
    for place, held, proof in _together(record, "places", "held", "proofs"):
        if not 0 <= place < len(proofs):
            raise InputError(f"message, places: expected below {len(proofs)}, got {place}")
        proofs[place][held] = proof
    shown = tuple(Shown(note, of_note) for note, of_note in zip(record["notes"], proofs, strict=True))
    return tuple(record["lists"]), shown


def cosigned_record(site: str, notes: Sequence[str]) -> RecordDict:
    """The notes of the other sites, in the order in which they were shown."""
    return RecordDict({RECORD: ConfigRecord({"site": site, "notes": list(notes)})})


def read_cosigned(content: RecordDict) -> tuple[str, tuple[str, ...]]:
    """A witness's name and the notes that it gave back, unverified.

    Raises:
        InputError: if there are none.
    """
    record = _record(content, {"site": str, "notes": [str]})
    return record["site"], tuple(record["notes"])


def _together(record: Mapping[str, Any], *names: str) -> Iterator[tuple[Any, ...]]:
    """Columns of one length, row by row."""
    if len({len(record[name]) for name in names}) != 1:
        raise InputError(f"message: expected as many {', '.join(names)}, got otherwise")
    return zip(*(record[name] for name in names), strict=True)


def _record(content: RecordDict, types: Mapping[str, type | list[type]]) -> Mapping[str, Any]:
    """The fields of Kith's record; a list stands for a list of that type."""
    record = content.config_records.get(RECORD)
    if record is None or set(record) != set(types):
        raise InputError(f"message: expected a record {RECORD!r} with {', '.join(types)}, got otherwise")
    for name, kind in types.items():
        value: Any = record[name]
        several = isinstance(kind, list)
        items, wanted = (value, kind[0]) if isinstance(kind, list) else ([value], kind)
        if type(items) is not list or len(items) > MAX_ITEMS or not all(_is(one, wanted) for one in items):
            what = f"at most {MAX_ITEMS} {wanted.__name__}" if several else wanted.__name__
            raise InputError(f"message, {name}: expected {what} of at most {MAX_BYTES} bytes, got otherwise")
    return record


def _is(value: object, kind: type) -> bool:
    return type(value) is kind and not (isinstance(value, str | bytes) and len(value) > MAX_BYTES)
