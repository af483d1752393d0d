"""What the coordinator and a guard say to each other, as bytes. Whatever came over a network is checked here first.

A message is the canonical JSON of {"kind": its class's name, and its fields}; bytes are base64. It is read in this one
writing only: exactly these fields, of these types, bounded in size. What it says is not checked here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, TypeVar, get_args, get_origin, get_type_hints

from privacy import canonical, fields
from privacy.errors import InputError

MAX_BYTES: Final = 64 * 2**20
"""Of one message: in base64 twice, as a reply is, it fits `sealed.MAX_BYTES`."""
MAX_ITEMS: Final = 100_000
"""In one list or mapping of a message."""
MAX_TEXT: Final = 1 << 16
"""Characters of one text of a message; checkpoints are texts."""


@dataclass(frozen=True)
class Message:
    """Any of the messages below."""

    kinds: ClassVar[dict[str, type[Message]]] = {}

    def __init_subclass__(cls, abstract: bool = False) -> None:
        """Make the class known under its name, unless no message is of it alone."""
        if not abstract:
            Message.kinds[cls.__name__] = cls


@dataclass(frozen=True)
class Request(Message, abstract=True):
    """What the coordinator asks of a site. Every request is of one run.

    Attributes:
        run: the run's id.
    """

    run: str


@dataclass(frozen=True)
class Advertise(Request):
    """Look at a plan with a secure sum and make keys for it. Answered with `Advertised`.

    Attributes:
        plan: canonical bytes of the plan.
    """

    plan: bytes


@dataclass(frozen=True)
class Share(Request):
    """Share out what others need to unmask. Answered with `Shares`.

    Attributes:
        plan: canonical bytes of the plan.
        adverts: the signed adverts of everybody who answered, in order of name.
    """

    plan: bytes
    adverts: tuple[bytes, ...]


@dataclass(frozen=True)
class Contribute(Request):
    """One release of a plan. Answered with `Contribution`.

    Attributes:
        plan: canonical bytes of the plan.
        event, index: which release of the plan.
        state: what the release is computed at: nothing for moments and head-counts, little-endian float64 weights for
            gradients, a `models.measures.Scale` for measures of scores.
        inbox: with the first release under a secure sum: what each site of the sum has sealed for this one, by name.
    """

    plan: bytes
    event: str
    index: int
    state: bytes
    inbox: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Agree(Request):
    """Sign a list of those whose contributions to a release have arrived. Answered with `Agreed`.

    Asked for only where somebody's has not: for a release to which all contributed no agreement is needed.
    """

    event: str
    index: int
    survivors: tuple[str, ...]


@dataclass(frozen=True)
class Unmask(Request):
    """Give the shares by which a release's sum over the survivors can be unmasked. Answered with `Unmasked`.

    Attributes:
        survivors: whose contributions have arrived, in order of name.
        signatures: what sites have signed of that list, by name; none where everybody of the sum survived.
    """

    event: str
    index: int
    survivors: tuple[str, ...]
    signatures: Mapping[str, bytes]


@dataclass(frozen=True)
class Finish(Request):
    """End the run, and show what it was charged. Answered with `Finished`."""


@dataclass(frozen=True)
class Prove(Request):
    """Prove that logs continue what others have seen of them, row by row. Answered with `Proofs`, of one's own log.

    Attributes:
        sizes: at which logs were shown.
        held: heads of them that others hold, as `Checkpoint.to_text` writes them; they name the log.
    """

    sizes: tuple[int, ...]
    held: tuple[str, ...]


@dataclass(frozen=True)
class Witness(Request):
    """Hold the others' checkpoints from now on, and cosign them. Answered with `Cosigned`.

    Attributes:
        lists: signed key lists, the one in force last.
        notes: the checkpoints, one of each site.
        statements: for each note, what its site said of its log in this run (`privacy.consistency`); nothing if it was
            not asked.
    """

    lists: tuple[bytes, ...]
    notes: tuple[str, ...]
    statements: tuple[bytes, ...]


@dataclass(frozen=True)
class Advertised(Message):
    """A site's public keys for a run's secure sum, signed by the site."""

    advert: bytes


@dataclass(frozen=True)
class Shares(Message):
    """What a site has sealed for each other one, by name."""

    sealed: Mapping[str, bytes]


@dataclass(frozen=True)
class Contribution(Message):
    """What leaves: little-endian int64 grid steps, with noise or under masks, and the DSSE receipt that binds them."""

    values: bytes
    receipt: bytes


@dataclass(frozen=True)
class Agreed(Message):
    """A site's signature under a list of survivors."""

    signature: bytes


@dataclass(frozen=True)
class Unmasked(Message):
    """A site's shares of the survivors' own masks' seeds, and of the others' keys, by name."""

    seeds: Mapping[str, bytes]
    keys: Mapping[str, bytes]


@dataclass(frozen=True)
class Finished(Message):
    """At a run's end: the ledger's excerpt, and the heads that the site holds of other sites' logs, as in `Prove`."""

    excerpt: bytes
    held: tuple[str, ...]


@dataclass(frozen=True)
class Proofs(Message):
    """What a site says of its own log, signed, to be passed on as it is: `privacy.consistency`."""

    statement: bytes


@dataclass(frozen=True)
class Cosigned(Message):
    """The other sites' notes, in the order in which they were shown."""

    notes: tuple[str, ...]


@dataclass(frozen=True)
class Refusal(Message):
    """That a request is not served, and why, in words that may leave.

    Attributes:
        reason: one line.
        waiting: whether it is only not served yet: a person at the site must see the plan first.
    """

    reason: str
    waiting: bool = False


Kind = TypeVar("Kind", bound=Message)


def to_bytes(message: Message) -> bytes:
    """The message's one writing.

    Raises:
        InputError: if it holds what can not be written, or is too long.
    """
    written = {name: _written(getattr(message, name)) for name in _fields(type(message))}
    data = canonical.to_bytes({"kind": type(message).__name__, **written})
    if len(data) > MAX_BYTES:
        raise InputError(f"{type(message).__name__}: expected at most {MAX_BYTES} bytes, got {len(data)}")
    return data


def from_bytes(data: bytes, expected: type[Kind], where: str) -> Kind:
    """The message of `expected`'s kind that `to_bytes` wrote.

    Raises:
        InputError: for anything else.
    """
    document = canonical.from_bytes(data, where, MAX_BYTES)
    name = document.pop("kind", None) if isinstance(document, dict) else None
    kind = Message.kinds.get(name) if isinstance(name, str) else None
    if kind is None or not issubclass(kind, expected):
        raise InputError(f"{where}: expected a message {expected.__name__}, got another")
    hints = _fields(kind)
    fields.exactly(document, list(hints), where)
    message = kind(**{name: _read(document[name], hint, f"{where}, {name}") for name, hint in hints.items()})
    if to_bytes(message) != data:
        raise InputError(f"{where}: expected the canonical writing, got another")
    return message


def _fields(kind: type[Message]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _written(value: Any) -> Any:
    if isinstance(value, bytes):
        return fields.to_base64(value)
    if isinstance(value, Mapping):
        return {key: _written(one) for key, one in value.items()}
    return [_written(one) for one in value] if isinstance(value, tuple) else value


def _read(value: Any, hint: Any, where: str) -> Any:
    origin = get_origin(hint)
    if origin is tuple:
        items = fields.items(value, where)
        _bounded(len(items), where)
        return tuple(_read(one, get_args(hint)[0], where) for one in items)
    if origin is not None:  # a mapping of texts to something
        if not isinstance(value, dict):
            raise InputError(f"{where}: expected an object, got otherwise")
        _bounded(len(value), where)
        return {_text(key, where): _read(one, get_args(hint)[1], where) for key, one in value.items()}
    if hint is bytes:
        return fields.from_base64(value, where)
    if hint is int:
        return fields.whole(value, where)
    if hint is str:
        return _text(value, where)
    if type(value) is not hint:
        raise InputError(f"{where}: expected {hint.__name__}, got otherwise")
    return value


def _bounded(count: int, where: str) -> None:
    if count > MAX_ITEMS:
        raise InputError(f"{where}: expected at most {MAX_ITEMS} items, got {count}")


def _text(value: Any, where: str) -> str:
    return fields.text(value, where, MAX_TEXT)
