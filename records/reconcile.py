"""Where two sources disagree about a person: found, kept sealed, blocking until somebody answerable settles it.

Rules
1. An accepted offer and the record of the employment that came of it are compared by the candidate's key, in whichever
   order they arrive: pay, level and first month, as the record has them in the first `STARTING_MONTHS`.
2. A source that speaks against a corrected value does not overwrite it.
3. A difference is never resolved silently: it opens an item, and the person's rows wait until it is settled.
4. The same difference opens one item, however often it comes, also after it was settled.
5. Values are sealed; logs, messages and reasons hold none of them.
6. Whoever settles says which side is right, who they are and why. Who and why stand sealed in the item, and go with
   it when the person is erased; the log names the item, the side, and a keyed digest of the reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from sqlalchemy import Connection, Select, Table, delete, insert, select, update

from privacy.errors import InputError, Refused
from privacy.sealing import Sealer
from records import schema
from records.facts import Value
from records.schema import FACTS, application, comp_band, correction, person, reconciliation
from records.versions import NOTHING, Key, Row, corrected_in, merged, read, rows_of, write

if TYPE_CHECKING:
    from records.store import Store

STARTING_MONTHS: Final = 3
ACCEPTED: Final = "accepted"
OFFER: Final = "the record differs from the accepted offer"
CORRECTED: Final = "a source speaks against a corrected value"
MAX_BY: Final = 120
MAX_REASON: Final = 500
MAX_NUMBER: Final = 2**31 - 1
BLOCK: Final = 1_000
"""People whose offers are compared at a time."""
_SEALED: Final = ("held", "came", "settled_by", "settled_why")
_CENT: Final = 0.005
_COMPARED: Final = (
    ("offer_pay", comp_band, "annual_pay"),
    ("offer_level", person, "level_band"),
    ("offer_start", person, "start_month"),
)


@dataclass(frozen=True, slots=True)
class OpenItem:
    """A disagreement that waits to be settled.

    Attributes:
        number: by which to settle it.
        subject: the employee.
        candidate: who they were as a candidate, if an offer differs.
        column: "table.column" of the record.
        item: which of several facts of the table.
        valid_from: from when on the record says so.
        held: what the store holds, or the offer said.
        came: what the record, or the source that came, says.
        reason: what disagrees.
        opened_at: when it was found.
    """

    number: int
    subject: str
    candidate: str | None
    column: str
    item: str
    valid_from: str
    held: Value = field(repr=False)
    came: Value = field(repr=False)
    reason: str
    opened_at: str

    def to_document(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Difference:
    """Two values of one cell of the record; `candidate` is set where an offer differs."""

    subject: str
    candidate: str | None
    column: str
    item: str
    valid_from: str
    held: Value = field(repr=False)
    came: Value = field(repr=False)

    @property
    def cell(self) -> tuple[str, str, str, str]:
        """Which cell of which version it is about."""
        return self.subject, self.column, self.item, self.valid_from


def blocked(connection: Connection) -> set[str]:
    """Subjects whose rows may not be used until an item is settled (rule 3)."""
    return set(connection.scalars(select(reconciliation.c.subject).where(reconciliation.c.settled_at.is_(None))))


def open_items(store: Store) -> list[OpenItem]:
    """What waits to be settled, oldest first, opened for whoever is to settle it."""
    with store.reading() as connection:
        waiting = select(reconciliation).where(reconciliation.c.settled_at.is_(None)).order_by(reconciliation.c.number)
        return [_opened(store.sealer, row) for row in connection.execute(waiting).mappings()]


def opened(store: Store, row: Mapping[Any, Any]) -> dict[str, Value]:
    """What is sealed in a row of `reconciliation`, by column: both values, and who settled it and why."""
    cell = _cell(row)
    return {name: None if row[name] is None else _open(store.sealer, name, cell, row[name]) for name in _SEALED}


def settle(store: Store, number: int, take: Literal["held", "came"] | str, by: str, reason: str, now: datetime) -> None:
    """Settles an item: the side that was taken holds, and the item keeps who decided and why (rule 6).

    Of an offer, "held" writes the offer's value into the record as a correction, "came" leaves the record as it is. Of
    a corrected value, "held" leaves it, "came" writes what the source says.

    Args:
        store: whose item it is.
        number: the item's.
        take: "held" or "came".
        by: who decides: an account, not a name.
        reason: why, without the values.
        now: aware.

    Raises:
        InputError: for an unknown item, side, or a reason that is missing, too long or repeats a value.
        Refused: if it is settled already.
    """
    from records.store import instant

    by, reason = _said(by, "by", MAX_BY), _said(reason, "reason", MAX_REASON)
    if take not in ("held", "came"):
        raise InputError("take: expected held or came, got another")
    with store.writing() as connection:
        item = _item(connection, store.sealer, number)
        if any(_repeats(text, value) for text in (by, reason) for value in (item.held, item.came)):  # rule 5
            raise InputError("reason: expected words without the values themselves, got one of them")
        at = instant(now)
        if (take == "held") == (item.candidate is not None):
            _put(connection, store, item, item.held if take == "held" else item.came, at)
        cell = (item.subject, item.column, item.item, item.valid_from)
        said = {"settled_by": by, "settled_why": reason}
        sealed = {name: _seal(store.sealer, name, cell, text) for name, text in said.items()}
        closed = {"settled_at": at, "taken": take, **sealed}
        connection.execute(update(reconciliation).where(reconciliation.c.number == number).values(closed))
        why = store.pseudonyms.digest(reason.encode())
        document = {"event": "settled", "item": number, "column": item.column, "taken": take, "why": why}
        store.log(connection, document, now)


def open_differences(connection: Connection, sealer: Sealer, found: Iterable[Difference], why: str, at: str) -> int:
    """Opens an item for every difference that has none yet (rule 4), and gives their number."""
    by_cell = {(difference.cell, repr(difference.came)): difference for difference in found}
    subjects = {difference.subject for difference in by_cell.values()}
    columns = list(reconciliation.columns)
    known = {
        (item.subject, item.column, item.item, item.valid_from, repr(item.came))
        for row in rows_of(connection, columns, reconciliation.c.subject, subjects)
        for item in [_opened(sealer, row._mapping)]
    }
    rows = [
        {
            "subject": new.subject,
            "candidate": new.candidate,
            "column": new.column,
            "item": new.item,
            "valid_from": new.valid_from,
            "held": _seal(sealer, "held", new.cell, new.held),
            "came": _seal(sealer, "came", new.cell, new.came),
            "reason": why,
            "opened_at": at,
        }
        for (cell, came), new in by_cell.items()
        if (*cell, came) not in known
    ]
    if rows:
        connection.execute(insert(reconciliation), rows)
    return len(rows)


def compare_offers(connection: Connection, sealer: Sealer, batch: int, at: str) -> int:
    """Compares the accepted offers that a batch touched with the records (rule 1), and gives the items it opened."""
    accepted = select(application.c.number).where(application.c.outcome == ACCEPTED).limit(1)
    if connection.execute(accepted).first() is None:
        return 0
    pairs = sorted(
        {(subject, candidate) for query in _touched(batch) for subject, candidate in connection.execute(query)}
    )
    opened = 0
    for start in range(0, len(pairs), BLOCK):
        found = _differences(connection, pairs[start : start + BLOCK])
        opened += open_differences(connection, sealer, found, OFFER, at)
    return opened


def _touched(batch: int) -> Iterator[Select[Any]]:
    """Employees and the candidates they were, of whose record, pay or application the batch wrote something."""
    hired = select(person.c.subject, person.c.candidate_key).where(person.c.candidate_key.is_not(None)).distinct()
    yield hired.where(person.c.batch == batch)
    yield hired.where(person.c.subject.in_(select(comp_band.c.subject).where(comp_band.c.batch == batch)))
    yield hired.where(person.c.candidate_key.in_(select(application.c.subject).where(application.c.batch == batch)))


def _differences(connection: Connection, pairs: Sequence[tuple[str, str]]) -> list[Difference]:
    """`pairs` are of an employee and a candidate they were: somebody who came back was several."""
    offers = _accepted(connection, {candidate for _, candidate in pairs})
    subjects = {subject for subject, _ in pairs}
    people = _by_subject(connection, person, subjects)
    pays = _by_subject(connection, comp_band, subjects)
    found = []
    for subject, candidate in pairs:
        offer = offers.get(candidate)
        hired = next((row for row in people.get(subject, []) if row["candidate_key"] == candidate), None)
        if offer is None or hired is None:
            continue
        for said, table, name in _COMPARED:
            rows = [hired] if table is person else pays.get(subject, [])
            told = (row for row in rows if row[name] is not None and (name == "start_month" or _early(row, hired)))
            row = next(told, None)
            if row is None or offer[said] is None:
                continue
            if not _same(offer[said], row[name]):
                column = f"{table.name}.{name}"
                held, came = offer[said], row[name]
                found.append(Difference(subject, candidate, column, row["item"], row["valid_from"], held, came))
    return found


def _accepted(connection: Connection, candidates: set[str]) -> dict[str, Row]:
    """The newest accepted offer of each candidate."""
    newest: dict[Key, Row] = {}
    for row in _rows(connection, application, candidates):
        newest[row["subject"], row["item"]] = row
    accepted = [row for row in newest.values() if row["outcome"] == ACCEPTED]
    return {row["subject"]: row for row in sorted(accepted, key=lambda row: str(row["valid_from"]))}


def _by_subject(connection: Connection, table: Table, subjects: set[str]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in _rows(connection, table, subjects):
        found.setdefault(row["subject"], []).append(row)
    return found


def _rows(connection: Connection, table: Table, subjects: set[str]) -> list[Row]:
    """All versions of these subjects, oldest first."""
    rows = rows_of(connection, list(table.columns), table.c.subject, subjects)
    return sorted((dict(row._mapping) for row in rows), key=lambda row: (row["valid_from"], row["item"]))


def _early(row: Row, hired: Row) -> bool:
    """Whether a version tells of the first months; others, also of an employment before, need not repeat the offer."""
    start = hired["start_month"]
    return start is None or abs(_month(row["valid_from"]) - _month(start)) <= STARTING_MONTHS


def _month(text: str) -> int:
    return int(text[:4]) * 12 + int(text[5:7])


def _same(offered: Value, recorded: Value) -> bool:
    if isinstance(offered, str) or isinstance(recorded, str):
        return str(offered) == str(recorded)
    return abs((offered or 0.0) - (recorded or 0.0)) < _CENT


def _put(connection: Connection, store: Store, item: OpenItem, value: Value, at: str) -> None:
    """Writes the side that was taken into the record, where the person's record still is."""
    table = FACTS[item.column.partition(".")[0]]
    name = item.column.partition(".")[2]
    key = (item.subject, item.item)
    held = read(connection, table, [(*key, item.valid_from)]).get(key, {})
    if not held:
        return
    batch = {
        "digest": store.pseudonyms.digest(f"settled {item.number}".encode()),
        "source": "kith",
        "connector": "reconciliation",
        "came_at": at,
        **dict.fromkeys(("unchanged", "quarantined", "left_out"), 0),
        **dict.fromkeys(("rows", "written"), 1),
    }
    number = connection.execute(insert(schema.batch).values(batch).returning(schema.batch.c.number)).scalar_one()
    frame = {"recorded_at": at, "batch": number}
    corrected = corrected_in(connection, table, {item.subject}).get(key, NOTHING)
    write(connection, table, merged(table, key, held, {item.valid_from: {name: value}}, frame, corrected))
    pin = {"subject": item.subject, "column": item.column, "item": item.item, "valid_from": item.valid_from}
    connection.execute(delete(correction).filter_by(**pin))
    if item.candidate is not None:
        connection.execute(insert(correction).values(**pin, at=at))


def _item(connection: Connection, sealer: Sealer, number: int) -> OpenItem:
    wanted = select(reconciliation).where(reconciliation.c.number == (number if 0 < number <= MAX_NUMBER else 0))
    row = connection.execute(wanted).mappings().one_or_none()
    if row is None:
        raise InputError("item: expected the number of a disagreement, got another")
    if row["settled_at"] is not None:
        raise Refused(f"item {number}: expected one that is open, got one that was settled")
    return _opened(sealer, row)


def _opened(sealer: Sealer, row: Mapping[Any, Any]) -> OpenItem:
    values = {name: row[name] for name in OpenItem.__dataclass_fields__}
    sides = {side: _open(sealer, side, _cell(row), row[side]) for side in ("held", "came")}
    return OpenItem(**{**values, **sides})


def _cell(row: Mapping[Any, Any]) -> tuple[str, ...]:
    return tuple(row[name] for name in ("subject", "column", "item", "valid_from"))


def _seal(sealer: Sealer, name: str, cell: Sequence[str], value: Value) -> str:
    return sealer.seal(json.dumps(value).encode(), _about(name, cell))


def _open(sealer: Sealer, name: str, cell: Sequence[str], sealed: str) -> Value:
    value: Value = json.loads(sealer.open(sealed, _about(name, cell)))
    return value


def _about(name: str, cell: Sequence[str]) -> str:
    """What a sealed value belongs to: it opens in no other place."""
    return json.dumps(["reconciliation", name, *cell])


def _said(text: str, where: str, most: int) -> str:
    text = text.strip()
    if not text or len(text) > most or not text.isprintable():
        raise InputError(f"{where}: expected a printable text of at most {most} characters, got none or another")
    return text


def _repeats(text: str, value: Value) -> bool:
    """Whether a text holds a value, however it groups the digits."""
    shown = f"{value:g}" if isinstance(value, float) and abs(value) < 1e6 else str(value)
    needle = re.sub(r"\W", "", shown).lower()
    return value is not None and len(needle) > 1 and needle in re.sub(r"[^\w]", "", text).lower()
