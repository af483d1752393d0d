"""The entries of a ledger: each one leaf of canonical JSON in the site's Merkle log.

Amounts are mu² as exact decimal strings. `at` (UTC seconds) is there for people to read: no rule looks at it. No entry
holds a number of people, a statistic or anything else that data decided.
"""

from __future__ import annotations

import dataclasses
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Final

from privacy import amounts, canonical, fields, plan
from privacy.errors import InputError

MAX_LEAF: Final = 16_384


@dataclass(frozen=True, slots=True)
class Opened:
    """The first entry, and only it: whose ledger this is, and what each employee may be charged in all.

    `delta` is the delta at which the site reads its cap as an epsilon.
    """

    kind: ClassVar[str] = "open"
    site: str
    origin: str
    cap: str
    delta: str
    at: int


@dataclass(frozen=True, slots=True)
class Reserved:
    """The whole cost of a plan is set aside for a run."""

    kind: ClassVar[str] = "reserve"
    run: str
    plan: str
    mu2: str
    at: int


@dataclass(frozen=True, slots=True)
class Charged:
    """One release is paid for; written before the data is read.

    `index` counts the event's releases, `attempt` the charges of this release (both from 0); `state` is the sha256 of
    what the coordinator sent; `spent` is everything charged in this ledger up to and with this entry.
    """

    kind: ClassVar[str] = "charge"
    run: str
    plan: str
    event: str
    index: int
    attempt: int
    state: str
    mu2: str
    spent: str
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


Entry = Opened | Reserved | Charged | Settled | Ended
_KINDS: Final[dict[str, type[Entry]]] = {cls.kind: cls for cls in (Opened, Reserved, Charged, Settled, Ended)}
_WHOLE: Final = frozenset({"index", "attempt", "charge", "at"})
_DIGESTS: Final = frozenset({"plan", "state", "contribution", "receipt"})
_AMOUNTS: Final = frozenset({"cap", "mu2", "spent"})


def to_leaf(entry: Entry) -> bytes:
    """Canonical JSON of an entry."""
    return canonical.to_bytes({"kind": entry.kind, **asdict(entry)})


def from_leaf(leaf: bytes, where: str) -> Entry:
    """The entry that `to_leaf` wrote.

    Raises:
        InputError: for anything else, another writing of the same entry included.
    """
    document = canonical.from_bytes(leaf, where, MAX_LEAF)
    cls = _KINDS.get(str(document.get("kind"))) if isinstance(document, dict) else None
    if cls is None:
        raise InputError(f"{where}: expected an entry of kind {', '.join(_KINDS)}, got otherwise")
    fields.exactly(document, ("kind", *(field.name for field in dataclasses.fields(cls))), where)
    entry = cls(**{name: _field(name, value, where) for name, value in document.items() if name != "kind"})
    if to_leaf(entry) != leaf:
        raise InputError(f"{where}: expected canonical JSON, got another writing")
    return entry


def _field(name: str, value: Any, where: str) -> Any:
    where = f"{where}, {name}"
    if name in _WHOLE:
        return fields.whole(value, where)
    if name in _DIGESTS:
        return fields.digest(value, where)
    if name in _AMOUNTS:
        amounts.from_text(value, where)
    if name == "delta":
        plan.decimal(value, where)
    return fields.text(value, where)
