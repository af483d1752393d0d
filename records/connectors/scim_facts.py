"""What provisioning says of a person, as facts: read by the site's mapping, checked before anything is stored.

Rules
1. A value that may not be stored refuses the whole request, and the refusal names the attribute.
2. A person whose account goes, or who gets another number, has left: on the last day stated, else today.
3. An end that provisioning told is taken back when provisioning says that the same employment goes on: a fact says so,
   as any other does, so that a corrected end is disputed. It takes a beginning that was stated, now or before.
4. Nothing is said of somebody who was erased, nor kept of them as somebody's manager.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Final

from scim2_models import InvalidValueException
from sqlalchemy import Connection, select

from privacy.pseudonyms import Pseudonyms
from records.cell_plans import BadCell
from records.connectors.scim_profile import Profile
from records.connectors.scim_records import begun
from records.connectors.scim_resources import EMPLOYMENT, ENDED, NUMBER
from records.facts import Fact, Fault, Incoming
from records.schema import batch, person, tombstone

_EXIT: Final = f"{EMPLOYMENT}:exitType"

Record = Mapping[str, str | None]


def subject_of(record: Record, profile: Profile, pseudonyms: Pseudonyms) -> str:
    """Whose record it is, "" if it has no number.

    Raises:
        InvalidValueException: if the number is none.
    """
    try:
        return profile.subject(record, pseudonyms)
    except BadCell as bad:
        raise _refused(bad.column, bad.reason) from None


def said(record: Record, profile: Profile, pseudonyms: Pseudonyms, today: date) -> list[Incoming]:
    """What a record says, true from today or from the later beginning of the employment.

    Raises:
        InvalidValueException: if one of its values may not be stored (rule 1).
    """
    incoming = profile.incoming(record, pseudonyms, max(today, begun(record)))
    for one in incoming:
        if isinstance(one, Fault):  # rule 1
            raise _refused(one.column, one.reason)
    return incoming


def gone(record: Record, profile: Profile, pseudonyms: Pseudonyms, today: date) -> list[Incoming]:
    """That the person of a record has left (rule 2)."""
    last = max(today, begun(record))
    farewell = {NUMBER: record.get(NUMBER), _EXIT: record.get(_EXIT), ENDED: record.get(ENDED) or last.isoformat()}
    found = profile.incoming(farewell, pseudonyms, last)
    return [one for one in found if not isinstance(one, Fault)]


def end_taken_back(
    connection: Connection, subject: str, record: Record, connector: str, said: list[Incoming], today: date
) -> list[Incoming]:
    """What a record says, with the end of the person's last employment taken back if it goes on (rule 3).

    Args:
        connection: of a writing transaction.
        subject: whose record it is.
        record: what provisioning says now.
        connector: whose word may be taken back.
        said: what the record says, as `said` gives it.
        today: when it is said.
    """
    versions = connection.execute(
        select(person.c.valid_from, person.c.start_month, person.c.end_month, batch.c.connector)
        .join(batch, batch.c.number == person.c.batch)
        .where(person.c.subject == subject)
        .order_by(person.c.valid_from)
    ).all()
    last = versions[-1] if versions else None
    if record.get(ENDED) or last is None or last.end_month is None:
        return said
    if last.end_month <= begun(record).isoformat()[:7] != last.start_month:  # another employment
        return said
    told = next(one for one in versions if (one.start_month, one.end_month) == (last.start_month, last.end_month))
    if told.connector != connector:
        return said
    day = max(today, begun(record), date.fromisoformat(last.valid_from)).isoformat()
    ofday = (one for one in said if isinstance(one, Fact) and (one.table, one.valid_from) == (person.name, day))
    fact = next(ofday, Fact(person.name, subject, "", day, {}, 0))
    start = fact.values.get("start_month") or last.start_month
    goes_on = replace(fact, values={**fact.values, "start_month": start, "end_month": None})
    return [*(one for one in said if one is not fact), goes_on]


def is_erased(connection: Connection, subject: str, pseudonyms: Pseudonyms) -> bool:
    """Whether somebody was erased (rule 4)."""
    mark = tombstone.c.mark == pseudonyms.mark(subject)
    return bool(subject) and connection.execute(select(tombstone.c.mark).where(mark)).first() is not None


def _refused(attribute: str, reason: str) -> InvalidValueException:
    return InvalidValueException(detail=f"{attribute or 'user'}: {reason}")
