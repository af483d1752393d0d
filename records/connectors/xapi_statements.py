"""xAPI statements into the store: each once, none changed, and none that was voided.

Rules
1. A statement that came before with the same body changes nothing; with another body it is a conflict.
2. From a request all statements are taken in, or none: a conflict, an id twice or one misshapen statement refuses it.
   From a file each line stands alone: what is wrong with one is quarantined with its reason.
3. A voided statement leaves no fact, also if it comes after the one that voids it. One that voids another can not be
   voided itself.
4. What was taken in is known again by its id and keyed digests; what was quarantined is not, and may come again.
5. Of a person who was erased nothing is stored, not even that a statement came.
6. Statements, their facts and what is known of them change in one transaction.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, insert, select, update

from privacy.databases import Undo
from privacy.errors import InputError, Refused
from records.connectors.strict_json import read_json
from records.connectors.xapi_reading import BOUNDS, Statement, is_same, read_statement
from records.connectors.xapi_shapes import Misshapen
from records.facts import Fact, Fault, Incoming
from records.ingest import Ingested, ingest
from records.mapping import Mapping
from records.registry import Registry
from records.schema import FACTS, revision, statement, tombstone
from records.store import Store, instant
from records.text_rows import MAX_FILE_BYTES
from records.versions import rows_of

CONNECTOR: Final = "xapi"
BLOCK: Final = 1_000
"""Statements of a file that are taken in together."""
MAX_LINE: Final = 2**20
MAX_LINES: Final = 10_000_000
STANDS, VOIDED, VOIDS = 0, 1, 2
"""States of a statement; a placeholder without a body is voided before it came."""
_CONFLICT: Final = "expected the statement that came with this id before, got another body"
_TWICE: Final = "expected an id once in a request, got it twice"
_NO_ACTIVITY: Final = "expected an activity that somebody learned from, got another object"
_VOIDS_VOIDING: Final = "expected a statement that does not void another itself, got one that does"


class StatementError(InputError):
    """A statement that refuses its request."""

    def __init__(self, place: int, column: str, reason: str) -> None:
        """`place` counts from 0; `column` is the property, "" for the statement as a whole; `reason` holds no value."""
        super().__init__(f"statements[{place}]{'.' if column else ''}{column}: {reason}")


class Conflict(Refused):
    """A statement came with the id of another one."""


def records_of(path: Path, mapping: Mapping) -> Iterator[tuple[int, Any]]:
    """The lines of a JSON Lines file (gzip if its name ends in .gz): their numbers from 0, and what they hold.

    A blank line holds nothing. A line that is no JSON is a fault, and does not stop the rest. Nothing of the mapping is
    needed; it is here as in every connector.

    Raises:
        InputError: if the file can not be read, or has too many lines or bytes (unpacked).
    """
    where = f"{path.name!r:.200}"
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            for place in itertools.count():
                line = file.readline(MAX_LINE + 1)
                if not line:
                    return
                if place >= MAX_LINES or file.tell() > MAX_FILE_BYTES:
                    raise InputError(
                        f"{where}: expected at most {MAX_LINES} lines of {MAX_FILE_BYTES} bytes in all, got more"
                    )
                if line.strip():
                    yield place, _line(line, place)
                while len(line) > MAX_LINE and not line.endswith(b"\n") and file.tell() <= MAX_FILE_BYTES:
                    line = file.readline(MAX_LINE + 1)  # the rest of a line that was too long
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{where}: expected JSON lines, got {type(error).__name__}") from None


def ingest_statements(
    store: Store,
    registry: Registry,
    mapping: Mapping,
    statements: Iterable[tuple[int, Any]],
    now: datetime,
    whole: bool = False,
) -> Ingested:
    """Take statements in.

    Args:
        store: of the site.
        registry: what may be known.
        mapping: of kind "xapi".
        statements: numbered from 0, each as JSON has it, or the fault that its reader found.
        now: aware.
        whole: all or none, as in a request; else each by itself, as from a file (rule 2).

    Raises:
        StatementError: if `whole` and one of them is misshapen, or an id comes twice.
        Conflict: if `whole` and one of them came before with another body.
    """
    source = iter(statements)
    blocks = [list(source)] if whole else iter(lambda: list(itertools.islice(source, BLOCK)), [])
    total = Ingested(None, mapping.source, 0, 0, 0, 0, 0, 0, True, {})
    for block in blocks:
        batch = _Batch(store, registry, mapping, now, whole)
        batch.read(block)
        total = _together(total, batch.write())
    return total


@dataclass(frozen=True, slots=True)
class _Read:
    """A statement, what its mapping made of it, and whose it is ("" if that can not be told)."""

    statement: Statement
    incoming: list[Incoming]
    subject: str

    @property
    def is_kept(self) -> bool:
        """Whether it will be known again (rule 4)."""
        return self.statement.voids is not None or any(isinstance(one, Fact) for one in self.incoming)


class _Batch:
    """Statements on their way into the store together."""

    def __init__(self, store: Store, registry: Registry, mapping: Mapping, now: datetime, whole: bool) -> None:
        self._store = store
        self._registry = registry
        self._mapping = mapping
        self._now = now
        self._whole = whole
        self._digest = hashlib.sha256(mapping.digest.encode())
        self._faults: list[Fault] = []
        self._read: dict[str, _Read] = {}
        self._rows = 0
        self._again = 0

    def read(self, block: Iterable[tuple[int, Any]]) -> None:
        """Check statements, and hand them to the mapping."""
        pseudonyms, today = self._store.pseudonyms, self._now.date()
        for place, value in block:
            self._rows += 1
            if isinstance(value, Fault):
                self._refuse(place, value.column, value.reason)
                continue
            try:
                found = read_statement(value, place, self._mapping.cells, pseudonyms, self._now)
            except Misshapen as misshapen:
                self._refuse(place, misshapen.property, misshapen.expected)
                continue
            self._digest.update(f"{found.id} {found.body}\n".encode())
            if held := self._read.get(found.id):
                self._twice(found, held.statement)
                continue
            incoming = self._mapping.incoming(found.cells, place, pseudonyms, today)
            subject = (incoming[0].subject or "") if incoming else ""
            self._read[found.id] = _Read(found, self._own(found, incoming, subject), subject)

    def _own(self, found: Statement, incoming: list[Incoming], subject: str) -> list[Incoming]:
        """What the mapping made of a statement, told apart by the statement's id."""
        if incoming and found.voids is None and not found.is_about_activity:
            return [Fault(found.place, "object.objectType", _NO_ACTIVITY, subject or None)]
        item = self._store.pseudonyms.item("xapi", found.id)
        return [replace(one, item=item) if isinstance(one, Fact) else one for one in incoming]

    def write(self) -> Ingested:
        """Bring everything into the store (rule 6)."""
        with self._store.writing() as connection:
            taken, changed = self._settle(connection)
            if not changed:
                raise Undo
        return taken

    def _refuse(self, place: int, column: str, reason: str) -> None:
        """Rule 2."""
        if self._whole:
            raise StatementError(place, column, reason)
        self._faults.append(Fault(place, column, reason))
        self._digest.update(f"{place} {column} {reason}\n".encode())

    def _twice(self, found: Statement, held: Statement) -> None:
        if self._whole:
            raise StatementError(found.place, "id", _TWICE)
        if is_same(found.body, held.body):
            self._again += 1
        else:
            self._conflict(found)

    def _conflict(self, found: Statement) -> None:
        """Rule 1."""
        if self._whole:
            raise Conflict(f"statements[{found.place}].id: {_CONFLICT}")
        self._faults.append(Fault(found.place, "id", _CONFLICT))

    def _settle(self, connection: Connection) -> tuple[Ingested, bool]:
        """What became of the statements, and whether anything changed."""
        known = self._known(connection)
        new = [one for one in self._read.values() if self._is_new(one.statement, known)]
        erased = self._erased(connection, new)
        voiding = [one for one in new if one.statement.voids and self._may_void(one.statement, new, known)]
        refused = {one.statement.id for one in new if one.statement.voids} - {one.statement.id for one in voiding}
        new = [one for one in new if one.statement.id not in refused]
        voided = {str(one.statement.voids) for one in voiding}
        voided |= {one.statement.id for one in new if one.statement.id in known and not one.statement.voids}
        rows = [self._row(one, voided) for one in new if one.is_kept and one.subject not in erased]
        spoken = {one.statement.id for one in new if one.subject in erased} | {row["id"] for row in rows}
        placeholders = [self._placeholder(id) for id in sorted(voided - spoken - known.keys())]
        removed = self._void(connection, [known[id] for id in voided & known.keys() if known[id].voided == STANDS])
        self._keep(connection, rows, placeholders, known)
        speaking = [one for one in new if not one.statement.voids and one.statement.id not in voided and one.incoming]
        incoming = [thing for one in speaking for thing in one.incoming]
        self._digest.update(str(sorted(one.statement.place for one in new if one.subject in erased)).encode())
        taken = self._ingest(connection, sorted([*self._faults, *incoming], key=_place), is_new=bool(rows))
        if removed or placeholders:
            self._store.log(connection, {"event": "voided", "statements": removed + len(placeholders)}, self._now)
        silent = len(new) - len(speaking) - len(voiding)
        counted = replace(
            taken,
            rows=self._rows,
            written=taken.written + len(voiding),
            unchanged=taken.unchanged + silent + self._again,
        )
        return counted, bool(rows or placeholders or removed or not taken.already)

    def _known(self, connection: Connection) -> dict[str, Row[Any]]:
        """The statements that these are, or void, as far as they came before."""
        ids = set(self._read) | {one.statement.voids for one in self._read.values() if one.statement.voids}
        return {row.id: row for row in rows_of(connection, statement.c, statement.c.id, ids)}

    def _is_new(self, found: Statement, known: dict[str, Row[Any]]) -> bool:
        """Whether a statement did not come before (rule 1)."""
        row = known.get(found.id)
        if row is None or not row.body:
            return True
        if is_same(found.body, row.body):
            self._again += 1
        else:
            self._conflict(found)
        return False

    def _erased(self, connection: Connection, new: Iterable[_Read]) -> set[str]:
        """Rule 5."""
        if connection.execute(select(tombstone.c.mark).limit(1)).first() is None:
            return set()
        marks = {self._store.pseudonyms.mark(one.subject): one.subject for one in new if one.subject}
        return {marks[mark] for (mark,) in rows_of(connection, [tombstone.c.mark], tombstone.c.mark, marks)}

    def _may_void(self, found: Statement, new: Iterable[_Read], known: dict[str, Row[Any]]) -> bool:
        """Whether what a statement voids does not void another (rule 3)."""
        target = str(found.voids)
        among = any(one.statement.id == target and one.statement.voids for one in new)
        if among or (target in known and known[target].voided == VOIDS):
            self._refuse(found.place, "object.id", _VOIDS_VOIDING)
            return False
        return True

    def _row(self, one: _Read, voided: Collection[str]) -> dict[str, Any]:
        state = VOIDS if one.statement.voids else VOIDED if one.statement.id in voided else STANDS
        found = {"id": one.statement.id, "body": one.statement.body, "subject": one.subject}
        return {**found, "voided": state, "stored_at": instant(self._now)}

    def _placeholder(self, id: str) -> dict[str, Any]:
        return {"id": id, "body": "", "subject": "", "voided": VOIDED, "stored_at": instant(self._now)}

    def _void(self, connection: Connection, rows: Sequence[Row[Any]]) -> int:
        """Remove the facts of statements that stood (rule 3), and count these."""
        for row in rows:
            item = self._store.pseudonyms.item("xapi", row.id)
            for table in FACTS.values():
                connection.execute(delete(table).where(table.c.subject == row.subject, table.c.item == item))
            connection.execute(update(statement).where(statement.c.id == row.id).values(voided=VOIDED))
        return len(rows)

    def _keep(
        self,
        connection: Connection,
        rows: Sequence[dict[str, Any]],
        placeholders: Sequence[dict[str, Any]],
        known: Collection[str],
    ) -> None:
        for row in rows:
            if row["id"] in known:  # a placeholder
                connection.execute(update(statement).where(statement.c.id == row["id"]).values(row))
        if added := [*(row for row in rows if row["id"] not in known), *placeholders]:
            connection.execute(insert(statement), added)

    def _ingest(self, connection: Connection, incoming: Sequence[Incoming], is_new: bool) -> Ingested:
        if not incoming:
            return Ingested(None, self._mapping.source, 0, 0, 0, 0, 0, 0, True, {})
        taken = self._as_batch(connection, incoming)
        if taken.already and is_new:  # what came before was forgotten since, with its person, say
            count = connection.execute(select(revision.c.count)).scalar_one()
            self._digest.update(str(count).encode())
            taken = self._as_batch(connection, incoming)
        return taken

    def _as_batch(self, connection: Connection, incoming: Sequence[Incoming]) -> Ingested:
        digest, source = self._store.pseudonyms.digest(self._digest.digest()), self._mapping.source
        return ingest(
            self._store, self._registry, source, CONNECTOR, digest, incoming, self._now, connection=connection
        )


def _place(thing: Incoming) -> int:
    return thing.place


def _together(one: Ingested, other: Ingested) -> Ingested:
    reasons = MappingProxyType(dict(Counter(one.reasons) + Counter(other.reasons)))
    return Ingested(
        other.batch if other.batch is not None else one.batch,
        one.source,
        one.rows + other.rows,
        one.written + other.written,
        one.unchanged + other.unchanged,
        one.quarantined + other.quarantined,
        one.left_out + other.left_out,
        one.reconciliations + other.reconciliations,
        one.already and other.already,
        reasons,
    )


def _line(line: bytes, place: int) -> Any:
    if len(line) > MAX_LINE:
        return Fault(place, "", f"expected a line of at most {MAX_LINE} bytes, got a longer one")
    try:
        return read_json(line, "line", BOUNDS)
    except InputError as error:
        return Fault(place, "", str(error).removeprefix("line: "))
