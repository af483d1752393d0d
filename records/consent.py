"""Whether a person's data may be used for a purpose, now; and the record of what they said about it.

Rules:
 1. Events are only ever added. A withdrawal or an objection counts from the moment it is on record, whatever time it
    bears: no clock that is wrong or runs backwards can delay it.
 2. What permits (being told, agreeing, taking an objection back) counts once its own time has come, not before.
 3. Agreeing lifts a withdrawal or an objection, and taking an objection back lifts an objection, if recorded after it
    and dated after it. An older permission that arrives late overrides nothing, and at the same second the no stands.
 4. An agreement stands if it lifts every withdrawal and objection there is.
 5. Where the basis is consent, a purpose is allowed while an agreement stands; where it is legitimate interest or a
    contract, once the person was told and while nothing unlifted speaks against it; a legal obligation always.
 6. What rests on consent inside a purpose is read only while an agreement stands, and nothing is read that the notice
    told (or agreed to) did not name yet.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, insert, select

from privacy.canonical import to_bytes
from privacy.errors import InputError, Refused
from records.facts import Said
from records.registry import Basis, Purpose, Registry
from records.schema import consent_event, person, tombstone
from records.store import Store, instant
from records.subjects import is_subject, require_known

INFORMED, GIVEN, WITHDRAWN, OBJECTED, LIFTED = "informed", "given", "withdrawn", "objected", "objection_withdrawn"
STATES: Final = frozenset({INFORMED, GIVEN, WITHDRAWN, OBJECTED, LIFTED})
UNKNOWN: Final = "unknown"
"""State of a person who has said nothing that counts, and was told nothing."""
RESTRICTS: Final = frozenset({WITHDRAWN, OBJECTED})
_INSTANT: Final = "%Y-%m-%dT%H:%M:%SZ"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/ -]{0,63}", re.ASCII)

_WORDS: Final = {
    UNKNOWN: "you have not been told about this use, so nothing about you is used for it.",
    INFORMED: "you were told about this use (version {version} of the notice) and have not objected."
    " You can object at any time.",
    GIVEN: "you agreed to this use (version {version} of the notice). You can withdraw at any time.",
    WITHDRAWN: "you withdrew. Nothing about you is used for this unless you agree again.",
    OBJECTED: "you objected. Nothing about you is used for this unless you take the objection back.",
    LIFTED: "you have not agreed to this use since you last said no, so nothing about you is used for it.",
    "asked": "this use needs your agreement, and you have not given it, so nothing about you is used for it.",
    "contract": "this use is part of your contract, and you were told about it (version {version} of the notice).",
    "law": "the law obliges your employer to this use, so it does not depend on your agreement.",
}


@dataclass(frozen=True, slots=True)
class Event:
    """What of a consent event decides: its place on record, its state, the notice it speaks of, and its own time."""

    number: int
    state: str
    notice_version: int
    at: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether one person's data may be used for one purpose, and why. True if it may.

    Attributes:
        allowed: the answer.
        basis: the purpose's legal basis.
        state: "informed", "given", "withdrawn", "objected" or "unknown": how things stand with the person.
        notice_version: the newest notice the person was told of (where the basis is consent: agreed to), or None.
        because: why, in a sentence to the person.
        decided_by: number of the event that decides, or None if it is the want of one, or the law.
        agreed_to: the newest notice that a standing agreement speaks of, or None if none stands.
    """

    allowed: bool
    basis: Basis
    state: str
    notice_version: int | None
    because: str
    decided_by: int | None
    agreed_to: int | None = None

    def __bool__(self) -> bool:
        return self.allowed

    def to_document(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    def covers(self, basis: Basis, since: int) -> bool:
        """Whether what rests on this basis, and is named by the notice from version `since` on, may be read."""
        told = self.agreed_to if basis is Basis.CONSENT else self.notice_version
        return self.allowed and told is not None and since <= told  # rule 6


def may_use(connection: Connection, registry: Registry, subject: str, purpose: str, now: datetime) -> Answer:
    """The answer for one person.

    Raises:
        InputError: for a purpose that is not registered, or a time without a zone.
    """
    return decide(_events(connection, subject, purpose), registry.purpose(purpose), instant(now))


def may_use_all(connection: Connection, registry: Registry, purpose: str, now: datetime) -> dict[str, Answer]:
    """The answers for every employee in the store and everybody who said something about the purpose, by subject.

    Raises:
        InputError: for a purpose that is not registered, or a time without a zone.
    """
    asked, moment = registry.purpose(purpose), instant(now)
    said: defaultdict[str, list[Event]] = defaultdict(list)
    columns = consent_event.c
    query = select(columns.subject, columns.number, columns.state, columns.notice_version, columns.at)
    for subject, *event in connection.execute(query.where(columns.purpose == purpose).order_by(columns.number)):
        said[subject].append(Event(*event))
    employees = connection.scalars(select(person.c.subject).distinct())
    silent = decide((), asked, moment)
    answers = {subject: silent for subject in employees if subject not in said}
    return answers | {subject: decide(events, asked, moment) for subject, events in said.items()}


def decide(events: Sequence[Event], purpose: Purpose, now: str) -> Answer:
    """The answer that one person's events about a purpose give at the instant `now`.

    Args:
        events: in the order in which they were recorded.
        purpose: the purpose asked for.
        now: an instant as the store writes it.
    """
    if purpose.basis is Basis.LEGAL_OBLIGATION:  # rule 5
        return _answer(purpose, True, UNKNOWN, None, None, None, "law")
    counted = [event for event in events if event.state in RESTRICTS or event.at <= now]  # rules 1, 2
    standing = _standing(counted)
    told = _newest(event for event in counted if event.state in (INFORMED, GIVEN))
    agreed = _newest(standing)
    if against := _unlifted(counted):
        return _answer(purpose, False, against.state, told, against, None, against.state)
    if standing:
        version = agreed if purpose.basis is Basis.CONSENT else told
        return _answer(purpose, True, GIVEN, version, standing[-1], agreed, GIVEN)
    if purpose.basis is Basis.CONSENT:
        said_no = any(event.state in RESTRICTS for event in counted)
        return _answer(purpose, False, UNKNOWN, None, None, None, LIFTED if said_no else "asked")
    if told is None:
        return _answer(purpose, False, UNKNOWN, None, None, None, UNKNOWN)
    telling = next(event for event in reversed(counted) if event.state in (INFORMED, GIVEN))
    words = "contract" if purpose.basis is Basis.CONTRACT else INFORMED
    return _answer(purpose, True, INFORMED, told, telling, None, words)


def record(store: Store, registry: Registry, said: Said, now: datetime, *, unknown: bool = False) -> int:
    """Puts on record what a person said just now, and returns the event's number; said again, it changes nothing.

    Args:
        store: where.
        registry: of purposes.
        said: by whom, and what.
        now: aware.
        unknown: also of somebody whom the records do not know yet.

    Raises:
        InputError: for an event that is not as the registry and the store's writing ask, or is nobody's.
        Refused: if the person's data was erased.
    """
    check(registry, said)
    moment = instant(now)
    with store.writing() as connection:
        mark = store.pseudonyms.mark(said.subject)
        if connection.scalar(select(tombstone.c.mark).where(tombstone.c.mark == mark)) is not None:
            raise Refused("consent: this person's data was erased and nothing about them is stored")
        if not unknown:
            require_known(store, connection, said.subject)
        if (number := _number(connection, said)) is not None:
            before = _events(connection, said.subject, said.purpose)
            if said.state not in RESTRICTS or any(event.number == number for event in _still_against(before)):
                return number
            # A no that was lifted since, said again by a clock that went back: it has to count as a new one (rule 1).
            said = replace(said, at=max(event.at for event in before))
            if (number := _number(connection, said)) is not None:
                return number
        values = {**_written(said), "recorded_at": moment, "receipt": receipt(said)}
        number = connection.execute(insert(consent_event).values(values).returning(consent_event.c.number)).scalar_one()
        document = {"event": "said", "purpose": said.purpose, "state": said.state}
        store.log(connection, document, now, said=store.digest_of([receipt(said)]))
        return int(number)


def receipt(said: Said) -> str:
    """SHA-256 of the canonical event, by which it is known again."""
    return hashlib.sha256(to_bytes(_written(said))).hexdigest()


def check(registry: Registry, said: Said) -> None:
    """Refuses an event that can not be put on record.

    Raises:
        InputError: naming the field.
    """
    newest = registry.purpose(said.purpose).notice_version
    version = said.notice_version
    whole = isinstance(version, int) and not isinstance(version, bool)
    _expect(is_subject(said.subject), "subject", "a pseudonym")
    _expect(said.state in STATES, "state", f"one of {', '.join(sorted(STATES))}")
    _expect(whole and 1 <= version <= newest, "notice_version", f"a whole number from 1 to {newest}")
    for field in ("locale", "channel"):
        value = getattr(said, field)
        _expect(isinstance(value, str) and _NAME.fullmatch(value), field, "at most 64 letters, digits, blanks, _.:/-")
    _expect(_is_instant(said.at), "at", "an instant YYYY-MM-DDTHH:MM:SSZ")


def _expect(holds: object, field: str, expected: str) -> None:
    if not holds:
        raise InputError(f"consent event, {field}: expected {expected}, got another")


def _is_instant(text: object) -> bool:
    try:
        return isinstance(text, str) and datetime.strptime(text, _INSTANT).strftime(_INSTANT) == text
    except ValueError:
        return False


def _written(said: Said) -> dict[str, str | int]:
    """The event's own columns: where in a source it stood is not part of it."""
    return {name: value for name, value in asdict(said).items() if name != "place"}


def _number(connection: Connection, said: Said) -> int | None:
    query = select(consent_event.c.number).where(consent_event.c.receipt == receipt(said))
    return connection.scalar(query)


def _events(connection: Connection, subject: str, purpose: str) -> list[Event]:
    columns = consent_event.c
    query = select(columns.number, columns.state, columns.notice_version, columns.at)
    of_person = query.where(columns.subject == subject, columns.purpose == purpose).order_by(columns.number)
    return [Event(*row) for row in connection.execute(of_person)]


def _still_against(events: Sequence[Event]) -> list[Event]:
    """The withdrawals and objections that nothing lifts (rule 3), newest on record first."""
    against = []
    agreed = taken_back = ""  # the latest times among what was recorded after the event at hand
    for event in reversed(events):
        if event.state == GIVEN:
            agreed = max(agreed, event.at)
        elif event.state == LIFTED:
            taken_back = max(taken_back, event.at)
        elif event.state in RESTRICTS:
            lifted = agreed > event.at or (event.state == OBJECTED and taken_back > event.at)
            against += [] if lifted else [event]
    return against


def _unlifted(events: Sequence[Event]) -> Event | None:
    """Of what nothing lifts, the one recorded last."""
    return next(iter(_still_against(events)), None)


def _standing(events: Sequence[Event]) -> list[Event]:
    """The agreements that lift every withdrawal and objection (rule 4), in order of record."""
    said_no = [event for event in events if event.state in RESTRICTS]
    last, latest = (max(e.number for e in said_no), max(e.at for e in said_no)) if said_no else (-1, "")
    return [event for event in events if event.state == GIVEN and event.number > last and event.at > latest]


def _newest(events: Iterable[Event]) -> int | None:
    return max((event.notice_version for event in events), default=None)


def _answer(
    purpose: Purpose,
    allowed: bool,
    state: str,
    version: int | None,
    decides: Event | None,
    agreed_to: int | None,
    words: str,
) -> Answer:
    because = f"{purpose.title}: {_WORDS[words].format(version=version)}"
    return Answer(allowed, purpose.basis, state, version, because, decides.number if decides else None, agreed_to)
