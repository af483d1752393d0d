"""Whom a pseudonym names: how one is written, which tables name it, and whether the records know it at all."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from sqlalchemy import ColumnElement, Connection, Table, or_, select, true

from privacy.errors import InputError
from records.schema import (
    FACTS,
    consent_event,
    correction,
    log_entry,
    person,
    quarantine,
    reconciliation,
    scim_user,
    statement,
    tombstone,
)
from records.store import Store

KEYS: Final = (person.c.manager_key, person.c.candidate_key)
"""Where a person's row names another subject."""
TRACES: Final = (*FACTS.values(), consent_event, quarantine, reconciliation, correction, scim_user, statement)
"""Every table about subjects."""
_SUBJECT: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)


def is_subject(value: object) -> bool:
    """Whether it is written as a pseudonym."""
    return isinstance(value, str) and _SUBJECT.fullmatch(value) is not None


def check_subject(subject: object) -> None:
    """Return if it is written as a pseudonym.

    Raises:
        InputError: if not.
    """
    if not is_subject(subject):
        raise InputError("subject: expected a pseudonym of 32 hexadecimal digits, got otherwise")


def about(table: Table, subjects: Collection[str]) -> ColumnElement[bool]:
    """Which rows of one of `TRACES` are about one of the subjects."""
    names = [table.c.subject, *([table.c.candidate] if table is reconciliation else [])]
    return or_(*(name.in_(subjects) for name in names))


def as_candidates(connection: Connection, subject: str) -> list[str]:
    """As whom a person applied, by their record and by what differed from their offers."""
    links = [(person, person.c.candidate_key), (reconciliation, reconciliation.c.candidate)]
    found = {key for table, link in links for key in connection.scalars(select(link).where(table.c.subject == subject))}
    return sorted(found - {None, subject})


def knows(store: Store, connection: Connection, subject: str) -> bool:
    """Whether any table or the log knows a subject, also as somebody who was erased.

    The vault is not asked: what makes rows must not be able to reach it, and recording consent asks here.
    """
    mark = store.pseudonyms.mark(subject)
    conditions = [
        *(about(table, [subject]) for table in TRACES),
        *(key == subject for key in KEYS),
        tombstone.c.mark == mark,
        log_entry.c.document.contains(mark),
    ]
    return any(connection.scalar(select(true()).where(condition).limit(1)) for condition in conditions)


def require_known(store: Store, connection: Connection, subject: str) -> None:
    """Return if the records know a subject: a number that was mistyped must not pass for a person.

    Raises:
        InputError: if they know nobody of it.
    """
    if not knows(store, connection, subject):
        raise InputError(
            "number: expected the number of somebody whom the records know, as the exports write it"
            " (leading zeros included), got nobody's"
        )
