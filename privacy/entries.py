"""The entries of a ledger: each one leaf of canonical JSON in the site's Merkle log.

Amounts are mu² as exact decimal strings. `at` (UTC seconds) is there for people to read: no rule looks at it. No entry
holds a number of people, a statistic or anything else that data decided; a `cohort` is the salted digest of
`privacy.marks`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from privacy import amounts, canonical, fields
from privacy.budget import Budget
from privacy.errors import InputError

MAX_LEAF: Final = 65_536


@dataclass(frozen=True, slots=True)
class Opened:
    """The first entry, and only it: whose ledger this is, and its first budget.

    `marks` is the fingerprint of the key of its marks (`MarkKey.fingerprint`), null where no site holds it to one.
    """

    kind: ClassVar[str] = "open"
    site: str
    origin: str
    budget: Budget
    at: int
    marks: str | None = None


@dataclass(frozen=True, slots=True)
class Decided:
    """The officers' next budget: the signed decision (`privacy.budget`), in base64."""

    kind: ClassVar[str] = "budget"
    decision: str
    at: int


@dataclass(frozen=True, slots=True)
class Reserved:
    """The whole cost of a plan is set aside for a run, for everyone in the cohort.

    `budget` is the number of the budget that allows it, `group` the budget's group of the use case.
    """

    kind: ClassVar[str] = "reserve"
    run: str
    plan: str
    use_case: str
    group: str
    budget: int
    mu2: str
    cohort: str
    at: int


@dataclass(frozen=True, slots=True)
class Charged:
    """One release is paid for by everyone in the cohort; written before the data is read.

    `index` counts the event's releases, `attempt` the charges of this release (both from 0); `state` is the sha256 of
    what the coordinator sent. Up to and with this entry, whoever was in which cohort: `spent` is everything charged in
    this period, `group_spent` that of the run's group, `lifetime` that of all periods.
    """

    kind: ClassVar[str] = "charge"
    run: str
    plan: str
    event: str
    index: int
    attempt: int
    state: str
    mu2: str
    cohort: str
    spent: str
    group_spent: str
    lifetime: str
    at: int


@dataclass(frozen=True, slots=True)
class Settled:
    """What left under the charge at position `charge`: sha256 of the contribution and of its receipt."""

    kind: ClassVar[str] = "settle"
    charge: int
    contribution: str
    receipt: str
    at: int


@dataclass(frozen=True, slots=True)
class Ended:
    """A run is over: what it reserved and never charged is free again."""

    kind: ClassVar[str] = "end"
    run: str
    at: int


Entry = Opened | Decided | Reserved | Charged | Settled | Ended
_KINDS: Final[dict[str, type[Entry]]] = {cls.kind: cls for cls in (Opened, Decided, Reserved, Charged, Settled, Ended)}
_NAMES: Final = {kind: tuple(field.name for field in dataclasses.fields(cls)) for kind, cls in _KINDS.items()}


def to_leaf(entry: Entry) -> bytes:
    """Canonical JSON of an entry."""
    document = {"kind": entry.kind, **{name: getattr(entry, name) for name in _NAMES[entry.kind]}}
    if isinstance(entry, Opened):
        return canonical.to_bytes({**document, "budget": entry.budget.to_document()})
    return _flat(document)


def from_leaf(leaf: bytes, where: str) -> Entry:
    """The entry that `to_leaf` wrote.

    Raises:
        InputError: for anything else, another writing of the same entry included.
    """
    document = canonical.from_bytes(leaf, where, MAX_LEAF)
    cls = _KINDS.get(str(document.get("kind"))) if isinstance(document, dict) else None
    if cls is None:
        raise InputError(f"{where}: expected an entry of kind {', '.join(_KINDS)}, got otherwise")
    fields.exactly(document, ("kind", *_NAMES[cls.kind]), where)
    entry = cls(*(read(document[name], where + at) for name, at, read in _READERS[cls.kind]))
    if to_leaf(entry) != leaf:
        raise InputError(f"{where}: expected canonical JSON, got another writing")
    return entry


def _flat(document: dict[str, Any]) -> bytes:
    """As `canonical.to_bytes`, and faster: of strings and whole numbers under ASCII names Python's is the same."""
    if not all(
        type(one) is str or (type(one) is int and abs(one) <= canonical.MAX_INTEGER) for one in document.values()
    ):
        raise InputError("entry: expected strings and whole numbers below 2**53, got others")
    try:
        return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode("utf-8")
    except UnicodeEncodeError:
        raise InputError("entry: expected Unicode text, got a lone surrogate") from None


def _text(value: Any, where: str) -> Any:
    return fields.text(value, where)


def _decision(value: Any, where: str) -> Any:
    fields.from_base64(fields.text(value, where, MAX_LEAF), where)
    return value


def _amount(value: Any, where: str) -> Any:
    amounts.check_text(value, where)
    return value


def _digest_or_none(value: Any, where: str) -> Any:
    return None if value is None else fields.digest(value, where)


_READ: Final[dict[str, Callable[[Any, str], Any]]] = {
    **dict.fromkeys(("index", "attempt", "charge", "at"), fields.whole),
    **dict.fromkeys(("plan", "state", "cohort", "contribution", "receipt"), fields.digest),
    **dict.fromkeys(("mu2", "spent", "group_spent", "lifetime"), _amount),
    "decision": _decision,
    "marks": _digest_or_none,
}
"""What reads a field of that name; text, if none."""
_BUDGETS: Final[dict[str, Callable[[Any, str], Any]]] = {
    Opened.kind: Budget.from_document,
    Reserved.kind: fields.whole,
}
_READERS: Final = {
    kind: tuple((name, f", {name}", _BUDGETS[kind] if name == "budget" else _READ.get(name, _text)) for name in names)
    for kind, names in _NAMES.items()
}
