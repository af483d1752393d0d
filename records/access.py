"""What a person may ask of the records: to see everything, to have it corrected, to have it erased.

Rules:
 1. Everything that is held about a person is shown, from every table, what is sealed opened, with its source; of the
    vault, which nobody here can read, whether it holds something.
 2. A corrected value is checked as any other, and pinned: a source that says otherwise opens a disagreement. As whom
    a person applied can not be corrected: it would cut them off from their applications, or lend them another's.
 3. An erasure takes every trace, also those in other people's records, from tables, files and the vault, and leaves a
    tombstone: a hash of a pseudonym, by which nothing about the person is stored again until they are readmitted.
 4. The log names a person by that hash alone, and never holds a value.
 5. A number that the records do not know is a mistyped one, and refused. Only an erasure may be asked for ahead.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, Table, delete, insert, or_, select, update

from privacy.errors import InputError, Refused
from records.consent import may_use
from records.dossier import Dossier
from records.reconcile import opened
from records.registry import Column, Registry
from records.schema import (
    FACTS,
    batch,
    consent_event,
    correction,
    erasing,
    log_entry,
    person,
    reconciliation,
    scim_user,
    tombstone,
)
from records.snapshot import read_features
from records.store import Store, instant
from records.subjects import KEYS, TRACES, about, as_candidates, check_subject, require_known
from records.vault import open_vault
from records.versions import NOTHING, corrected_in, merged, read, write

CANDIDATE_KEY: Final = "person.candidate_key"
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,15}(?:\.[0-9]{1,15})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure took.

    Attributes:
        rows: deleted rows by table.
        references: cells in other people's rows that named the person.
        in_vault: whether the vault held something.
        log: digest of the log's entry, or None if the person was erased before and nothing had come since.
    """

    rows: Mapping[str, int]
    references: int
    in_vault: bool
    log: str | None

    def to_document(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def everything_about(store: Store, registry: Registry, subject: str, now: datetime) -> Dossier:
    """Everything that is held about an employee or a candidate; of an employee, also as the candidate they were.

    Raises:
        InputError: if `subject` is no pseudonym, or nobody's.
    """
    check_subject(subject)
    with store.reading() as connection:
        require_known(store, connection, subject)  # rule 5
        subjects = [subject, *as_candidates(connection, subject)]
        tables = {table.name: _shown(connection, store, table, subjects) for table in TRACES}
        tables[log_entry.name] = _logged(connection, store, subjects)
        uses = [_use(connection, registry, purpose, subject, now) for purpose in registry.purposes]
    held = {name: rows for name, rows in tables.items() if rows}
    return Dossier(store.site, subject, instant(now), held, uses, _in_vault(store, subjects))


def correct(
    store: Store,
    registry: Registry,
    subject: str,
    column: str,
    item: str,
    valid_from: str | None,
    value: str | float,
    now: datetime,
) -> None:
    """Puts a value right in the version that holds from `valid_from` on, or in the latest, and pins it there.

    Later versions that carried the wrong value over are put right too. A number may come as text.

    Raises:
        InputError: if the column is not registered, the value may not stand there, there is no such version, or the
            subject is nobody's.
        Refused: if the column is the vault's, or says as whom a person applied.
    """
    check_subject(subject)
    registered = registry.column(column)
    if registered.table not in FACTS:  # rule 1
        raise Refused(f"correct: {column} is in the vault, which nobody here can read or change")
    if column == CANDIDATE_KEY:  # rule 2
        raise Refused(f"correct: {column} says as whom a person applied, which its source alone can put right")
    value = _checked(registered, value)
    table = FACTS[registered.table]
    with store.writing() as connection:
        require_known(store, connection, subject)  # rule 5
        day = _day(connection, table, subject, item, valid_from)
        key = (subject, item)
        pinned = corrected_in(connection, table, [subject]).get(key, NOTHING)
        versions = read(connection, table, [(*key, day)])[key]
        write(connection, table, merged(table, key, versions, {day: {registered.field: value}}, {}, pinned))
        pin = {"subject": subject, "column": column, "item": item, "valid_from": day}
        connection.execute(delete(correction).filter_by(**pin))
        connection.execute(insert(correction).values(**pin, at=instant(now)))
        store.log(connection, {"event": "corrected", "column": column, "person": store.pseudonyms.mark(subject)}, now)


def erase(store: Store, subject: str, now: datetime, *, unknown: bool = False) -> Erased:
    """Takes every trace of an employee, also as the candidate they were, or of a candidate; again, what came since.

    Args:
        store: from which.
        subject: whose.
        now: aware.
        unknown: also of somebody whom nothing knows, so that nothing about them is ever stored.

    Raises:
        InputError: if `subject` is no pseudonym, or nobody's and not meant to be.
        KithError: if a database does not answer: then the store is as it was; or if readers do not make way for the
            files to be rewritten: then all is deleted, but its bytes are not gone yet. Either way ask again.
    """
    check_subject(subject)
    with store.writing() as connection:
        if not unknown:
            require_known(store, connection, subject)  # rule 5
        subjects = [subject, *as_candidates(connection, subject)]
        connection.execute(insert(erasing), [{"subject": name} for name in subjects])
        references = _forget_references(connection, store, subjects)
        said = connection.scalars(select(consent_event.c.receipt).where(about(consent_event, subjects))).all()
        rows = {table.name: _delete(connection, table, subjects) for table in TRACES}
        rows = {name: count for name, count in rows.items() if count}
        connection.execute(delete(erasing))
        new = _bury(connection, store, subjects, now)
        in_vault = _forget_traits(store, subjects)
        digest = None
        if rows or references or new or in_vault:
            counts = {"rows": rows, "references": references, "in_vault": in_vault}
            document = {"event": "erased", "person": store.pseudonyms.mark(subject), **counts}
            digest = store.log(connection, document, now, said=-store.digest_of(said))  # rules 3, 4
    _purge(store)
    return Erased(rows, references, in_vault, digest)


def readmit(store: Store, subject: str, now: datetime) -> None:
    """Lifts the tombstone of a subject, so that sources may speak of them again.

    The person returns with the next export that differs from those that came: one that came already is known by its
    digest and changes nothing, so what only older exports said does not return.

    Raises:
        InputError: if `subject` is no pseudonym, or was not erased.
    """
    check_subject(subject)
    mark = store.pseudonyms.mark(subject)
    with store.writing() as connection:
        if not connection.execute(delete(tombstone).where(tombstone.c.mark == mark)).rowcount:
            raise InputError("readmit: expected a person who was erased, got another")
        store.log(connection, {"event": "readmitted", "person": mark}, now)  # rule 4


def _shown(connection: Connection, store: Store, table: Table, subjects: Sequence[str]) -> list[dict[str, Any]]:
    """A table's rows about the subjects, with their source instead of the batch's number (rule 1)."""
    query = select(table).where(about(table, subjects))
    if "batch" in table.c:
        query = query.add_columns(batch.c.source, batch.c.connector).join(batch, batch.c.number == table.c.batch)
    rows = connection.execute(query.order_by(*table.primary_key.columns)).mappings()
    return [_opened(store, table, row) for row in rows]


def _opened(store: Store, table: Table, row: RowMapping) -> dict[str, Any]:
    shown = {name: value for name, value in row.items() if name not in ("number", "batch")}
    if table is reconciliation:
        shown |= opened(store, row)
    if table is scim_user:
        shown["sealed"] = json.loads(store.sealer.open(row["sealed"], row["id"]))
    return shown


def _logged(connection: Connection, store: Store, subjects: Sequence[str]) -> list[dict[str, Any]]:
    """The log's entries about the subjects."""
    marks = [store.pseudonyms.mark(subject) for subject in subjects]
    named = or_(*(log_entry.c.document.contains(mark) for mark in marks))
    rows = connection.execute(select(log_entry.c.at, log_entry.c.document).where(named).order_by(log_entry.c.number))
    return [{"at": at, "document": document} for at, document in rows]


def _use(connection: Connection, registry: Registry, purpose: str, subject: str, now: datetime) -> dict[str, Any]:
    """The answer for one purpose, and what is derived for it today."""
    answer = may_use(connection, registry, subject, purpose, now)
    features = {feature.name: feature for use in ("serve", "train") for feature in registry.features_for(purpose, use)}
    derived = read_features(connection, features.values(), answer, subject, now.date()) if answer and features else None
    return {"purpose": purpose, **answer.to_document(), "features": derived or {}}


def _in_vault(store: Store, subjects: Iterable[str]) -> bool:
    vault = open_vault(store)
    try:
        return any(vault.holds(subject) for subject in subjects)
    finally:
        vault.close()


def _forget_traits(store: Store, subjects: Sequence[str]) -> bool:
    """Takes the subjects from the vault; whether it held something."""
    vault = open_vault(store)
    try:
        return any([vault.forget(subject) for subject in subjects])
    finally:
        vault.close()


def _purge(store: Store) -> None:
    """Leaves none of the deleted bytes in any file, also those of an erasure that was cut off.

    It waits for readers, and so comes after the commit: meanwhile others may write.
    """
    store.purge()
    vault = open_vault(store)
    try:
        vault.purge()
    finally:
        vault.close()


def _checked(column: Column, value: str | float) -> str | float:
    """The value as the column writes it."""
    if column.kind == "number" and isinstance(value, str):
        if not _NUMBER.fullmatch(value):
            raise InputError(f"{column.name}: expected a number, got another text")
        value = float(value)
    if problem := column.problem(value):  # rule 2
        raise InputError(f"{column.name}: {problem}, got another")
    return value


def _day(connection: Connection, table: Table, subject: str, item: str, valid_from: str | None) -> str:
    """The day of the version asked for."""
    query = select(table.c.valid_from).where(table.c.subject == subject, table.c.item == item)
    days = list(connection.scalars(query.order_by(table.c.valid_from)))
    if not days or valid_from not in (None, *days):
        raise InputError(f"correct: expected the day of a version that is held, got none of the {len(days)} there are")
    return valid_from or days[-1]


def _forget_references(connection: Connection, store: Store, subjects: Sequence[str]) -> int:
    """Takes the subjects out of other people's records, plain and sealed; how many there were (rule 3)."""
    named = 0
    for key in KEYS:
        others = update(person).where(key.in_(subjects), person.c.subject.not_in(subjects))
        named += connection.execute(others.values({key.name: None})).rowcount
    about_keys = select(reconciliation).where(reconciliation.c.column.in_([f"person.{key.name}" for key in KEYS]))
    for row in connection.execute(about_keys).mappings().all():
        if {opened(store, row)[side] for side in ("held", "came")} & set(subjects):
            connection.execute(delete(reconciliation).where(reconciliation.c.number == row["number"]))
            named += 1
    return named + _forget_manager(connection, store, subjects)


def _forget_manager(connection: Connection, store: Store, subjects: Sequence[str]) -> int:
    """Takes the subjects out of other people's SCIM accounts, which name a manager by account or employee number."""
    named = 0
    mine = set(connection.scalars(select(scim_user.c.id).where(scim_user.c.subject.in_(subjects))))
    for row in connection.execute(select(scim_user).where(scim_user.c.subject.not_in(subjects))).mappings().all():
        document = json.loads(store.sealer.open(row["sealed"], row["id"]))
        for extension in document.values():
            manager = extension.get("manager") if isinstance(extension, dict) else None
            number = str(manager.get("value") or "").strip() if isinstance(manager, dict) else ""
            if number and (number in mine or store.pseudonyms.person(number) in subjects):
                del extension["manager"]
                sealed = store.sealer.seal(json.dumps(document).encode(), row["id"])
                changed = {"sealed": sealed, "version": row["version"] + 1}
                connection.execute(update(scim_user).where(scim_user.c.id == row["id"]).values(changed))
                named += 1
    return named


def _delete(connection: Connection, table: Table, subjects: Sequence[str]) -> int:
    return connection.execute(delete(table).where(about(table, subjects))).rowcount


def _bury(connection: Connection, store: Store, subjects: Sequence[str], now: datetime) -> bool:
    """Puts up the tombstones that are not there yet (rule 3); whether there were any."""
    marks = {store.pseudonyms.mark(subject) for subject in subjects}
    there = set(connection.scalars(select(tombstone.c.mark).where(tombstone.c.mark.in_(marks))))
    new = [{"mark": mark, "at": instant(now)} for mark in sorted(marks - there)]
    if new:
        connection.execute(insert(tombstone), new)
    return bool(new)
