"""A site's users as its SCIM clients keep them: sealed accounts, and the facts that they say of people.

Rules
1. Of an account only the advertised attributes are kept, sealed; it is found by keyed digests of its names.
2. A user name and an employee number have one account at most.
3. An account, its version and its facts change together or not at all.
4. A change that changes nothing leaves the version as it is and writes nothing.
5. A request that names a version changes that version only.
6. Every account has a subject, so that it is exported, erased and expired with its person: that of its number, of the
   number that it had last, or else one of its own, under which nothing else is known.
7. A number of somebody who was erased is refused as one that is taken: an answer of its own would tell who was.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

from scim2_models import (
    Context,
    InvalidValueException,
    NotFoundException,
    PatchOp,
    PreconditionFailedException,
    Resource,
    SearchRequest,
    TooManyException,
    UniquenessException,
)
from sqlalchemy import Connection, Row, delete, func, insert, select

from privacy.databases import Undo
from privacy.errors import InputError
from records.connectors import scim_facts as facts
from records.connectors.scim_errors import value_free
from records.connectors.scim_filter import bounded, indexed_form, look_up
from records.connectors.scim_profile import Profile
from records.connectors.scim_records import record_of, with_whole_manager, worded
from records.connectors.scim_resources import CORE, ENTERPRISE, MANAGER, MAX_PAGE, NUMBER, POLICY, of
from records.facts import Incoming
from records.ingest import ingest
from records.registry import load_registry
from records.schema import scim_user
from records.store import Store, instant

DEFAULT_PAGE: Final = 100
MAX_SCANNED: Final = 10_000
"""Accounts that one query may open. Beyond, it has to name a user name, an external id or an id."""
MAX_OPERATIONS: Final = 100
MAX_PATH: Final = 1_000
MAX_TEXT: Final = 1_000
CONNECTOR: Final = "scim"
_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Payload = Mapping[str, Any]
"""A request's body."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of what a query found.

    Attributes:
        total: how many it found altogether.
        start: place of the first of `users` among them, from 1.
        users: at most `MAX_PAGE`.
    """

    total: int
    start: int
    users: list[Resource[Any]]


class Users:
    """The users of a store, for one request."""

    def __init__(self, store: Store, profile: Profile, base: str, now: datetime) -> None:
        """`base`: the address that resources are located under; `now`: the time, aware."""
        self._store = store
        self._profile = profile
        self._model = profile.advertised.model
        self._base = base
        self._now = now

    def create(self, payload: Payload) -> Resource[Any]:
        """A new account.

        Raises:
            SCIMException: if the payload is none, an attribute's value may not be stored, or a name or number is
                taken.
        """
        user = self._read(payload, Context.RESOURCE_CREATION_REQUEST)
        with self._store.writing() as connection:
            return self._settle(connection, str(uuid.uuid4()), user, None)

    def get(self, id: str) -> Resource[Any]:
        """The account of an id. Raises NotFoundException if there is none."""
        with self._store.reading() as connection:
            return self._opened(self._row(connection, id))

    def replace(self, id: str, payload: Payload, version: str | None) -> Resource[Any]:
        """The account with all its attributes replaced.

        Args:
            id: of the account.
            payload: the attributes; those that it lacks are taken away.
            version: as `If-Match` names versions, None for any.

        Raises:
            SCIMException: as `create` does, or if there is no such account or version.
        """
        user = self._read(payload, Context.RESOURCE_REPLACEMENT_REQUEST)
        return self._change(id, version, lambda _: user)

    def patch(self, id: str, payload: Payload, version: str | None) -> Resource[Any]:
        """The account after the operations of a PATCH, all of them or none; raises as `replace` does."""
        operations = self._operations(payload)

        def patched(user: Resource[Any]) -> Resource[Any]:
            with value_free():
                operations.patch(user, scim_policy=POLICY)
            return user

        return self._change(id, version, patched)

    def delete(self, id: str, version: str | None) -> None:
        """Deprovision: the account goes, and the person has left.

        Raises:
            SCIMException: if there is no such account or version.
        """
        with self._store.writing() as connection:
            row = self._row(connection, id, version)
            record = self._record(connection, self._opened(row))
            farewell = facts.gone(record, self._profile, self._store.pseudonyms, self._today)
            connection.execute(delete(scim_user).where(scim_user.c.id == id))
            self._ingest(connection, id, row.version + 1, record, farewell)

    def search(self, query: Payload) -> Page:
        """What a query finds: `filter`, `sortBy`, `sortOrder`, `startIndex` and `count` as RFC 7644 defines them.

        Raises:
            SCIMException: if the query is none, or would have to open more than `MAX_SCANNED` accounts.
        """
        request = self._query(query)
        first, count = request.start_index_0 or 0, DEFAULT_PAGE if request.count is None else request.count
        count = min(count, MAX_PAGE)
        with self._store.reading() as connection:
            if request.filter is None and request.sort_by is None:
                total = self._count(connection)
                rows = connection.execute(_IN_ORDER.offset(min(first, total)).limit(count)).all()
                return Page(total, first + 1, [self._opened(row) for row in rows])
            users = [self._opened(row) for row in self._candidates(connection, request)]
        found = request.sort(user for user in users if request.filter is None or request.filter.match(user))
        return Page(len(found), first + 1, found[first : first + count])

    @staticmethod
    def is_version(user: Resource[Any], named: str | None) -> bool:
        """Whether a header that names versions (`If-Match`, `If-None-Match`) names this one."""
        tag = str(user.meta.version) if user.meta else ""
        return named is not None and any(_bare(part) in ("*", _bare(tag)) for part in named.split(","))

    @property
    def _today(self) -> date:
        return self._now.astimezone(UTC).date()

    def _change(self, id: str, version: str | None, changed: Callable[[Resource[Any]], Resource[Any]]) -> Resource[Any]:
        with self._store.writing() as connection:
            row = self._row(connection, id, version)
            user = self._opened(row)  # what remains if nothing changes
            user = self._settle(connection, id, changed(self._opened(row)), row)
        return user

    def _read(self, payload: Payload, context: Context) -> Resource[Any]:
        with value_free():
            return self._model.model_validate(worded(payload), scim_ctx=context, scim_policy=POLICY)

    def _operations(self, payload: Payload) -> PatchOp[Any]:
        key = next((key for key in payload if key.lower() == "operations"), "Operations")
        given = payload.get(key)
        if isinstance(given, list) and len(given) > MAX_OPERATIONS:
            raise InputError(f"body: expected at most {MAX_OPERATIONS} operations, got {len(given)}")
        operations = [with_whole_manager(one) for one in given] if isinstance(given, list) else given
        with value_free():
            message = {**payload, key: worded(operations)}
            found: PatchOp[Any] = of(PatchOp, self._model).model_validate(
                message, scim_ctx=Context.RESOURCE_PATCH_REQUEST, scim_policy=POLICY
            )
        if any(len(one.path or "") > MAX_PATH for one in found.operations or []):
            raise InputError(f"path: expected at most {MAX_PATH} characters, got more")
        return found

    def _query(self, query: Payload) -> SearchRequest[Any]:
        named = {key: value for key, value in query.items() if key.lower() not in ("attributes", "excludedattributes")}
        expression = next((value for key, value in named.items() if key.lower() == "filter"), None)
        with value_free():
            if isinstance(expression, str):
                bounded(expression, self._model)
            message = of(SearchRequest, self._model)
            found: SearchRequest[Any] = message.model_validate(named, scim_ctx=Context.SEARCH_REQUEST)
        return found

    def _candidates(self, connection: Connection, request: SearchRequest[Any]) -> list[Row[Any]]:
        """The accounts among which are all that a filter means."""
        found = look_up(request.filter.ast) if request.filter else None
        if found is not None:
            column = {"id": scim_user.c.id, "userName": scim_user.c.user_name, "externalId": scim_user.c.external_id}
            value = found.value if found.attribute == "id" else self._index(found.attribute, found.value)
            if found.attribute == "id" and not _ID.fullmatch(found.value):
                return []
            return list(connection.execute(_IN_ORDER.where(column[found.attribute] == value)))
        if (count := self._count(connection)) > MAX_SCANNED:
            raise TooManyException(detail=f"filter: expected to open at most {MAX_SCANNED} users, got {count}")
        return list(connection.execute(_IN_ORDER))

    def _count(self, connection: Connection) -> int:
        return int(connection.execute(select(func.count()).select_from(scim_user)).scalar_one())

    def _row(self, connection: Connection, id: str, version: str | None = None) -> Row[Any]:
        found = connection.execute(select(scim_user).where(scim_user.c.id == id)).first() if _ID.fullmatch(id) else None
        if found is None:
            raise NotFoundException(detail="path: expected the id of a user, got another")
        if version is not None and not self.is_version(self._opened(found), version):  # rule 5
            raise PreconditionFailedException(detail="If-Match: expected the user's version, got another")
        return found

    def _opened(self, row: Row[Any]) -> Resource[Any]:
        document = json.loads(self._store.sealer.open(row.sealed, row.id))
        meta = {
            "resourceType": "User",
            "created": row.created,
            "lastModified": row.modified,
            "location": f"{self._base}/Users/{row.id}",
            "version": f'W/"{row.version}"',
        }
        return self._model.model_validate({**document, "id": row.id, "meta": meta}, scim_policy=POLICY)

    def _settle(self, connection: Connection, id: str, user: Resource[Any], row: Row[Any] | None) -> Resource[Any]:
        """Keep an account as it is to be, with what it says of its person (rule 3)."""
        profile, pseudonyms, today = self._profile, self._store.pseudonyms, self._today
        record = self._record(connection, user)
        if facts.is_erased(connection, profile.manager(record, pseudonyms), pseudonyms):
            user[f"{ENTERPRISE}:manager"] = record[MANAGER] = None
        document = _document(user)
        before = self._opened(row) if row is not None else None
        if before is not None and document == _document(before):  # rule 4
            raise Undo
        subject = facts.subject_of(record, profile, pseudonyms)
        incoming: list[Incoming] = []
        if before is not None and row is not None and row.subject != subject:
            incoming += facts.gone(self._record(connection, before), profile, pseudonyms, today)
        if subject:
            said = facts.said(record, profile, pseudonyms, today)
            incoming += facts.end_taken_back(connection, subject, record, CONNECTOR, said, today)
        kept = self._kept(id, user, document, subject, row)
        self._check_free(connection, kept, numbered=bool(subject))
        connection.execute(delete(scim_user).where(scim_user.c.id == id))
        connection.execute(insert(scim_user).values(**kept))
        self._ingest(connection, id, kept["version"], record, incoming)
        return self._opened(self._row(connection, id))

    def _kept(
        self, id: str, user: Resource[Any], document: dict[str, Any], subject: str, row: Row[Any] | None
    ) -> dict[str, Any]:
        """The row of an account (rules 1 and 6); `subject` is "" for one without a number."""
        external = user.external_id
        last = row.subject if row is not None else self._store.pseudonyms.index("scim.account", id)
        return {
            "id": id,
            "subject": subject or last,
            "user_name": self._index("userName", user["userName"]),
            "external_id": self._index("externalId", external) if external else None,
            "sealed": self._store.sealer.seal(json.dumps(document).encode(), id),
            "version": row.version + 1 if row is not None else 1,
            "created": row.created if row is not None else instant(self._now),
            "modified": instant(self._now),
        }

    def _check_free(self, connection: Connection, kept: Mapping[str, Any], numbered: bool) -> None:
        """Refuse a user name or a number that another account has (rules 2 and 7)."""
        others = select(scim_user).where(scim_user.c.id != kept["id"])
        if connection.execute(others.where(scim_user.c.user_name == kept["user_name"])).first():
            raise _taken("userName")
        same = connection.execute(others.where(scim_user.c.subject == kept["subject"]))
        erased = facts.is_erased(connection, kept["subject"], self._store.pseudonyms)
        if numbered and (erased or any(self._opened(other)[NUMBER] for other in same)):
            raise _taken(NUMBER)

    def _record(self, connection: Connection, user: Resource[Any]) -> dict[str, str | None]:
        def number_of(manager: str) -> str | None:
            if not _ID.fullmatch(manager.lower()):
                return None
            row = connection.execute(select(scim_user).where(scim_user.c.id == manager.lower())).first()
            return self._opened(row)[NUMBER] if row is not None else None

        return record_of(user, self._profile.advertised.cells, number_of, self._today)

    def _ingest(
        self, connection: Connection, id: str, version: int, record: Mapping[str, str | None], incoming: list[Incoming]
    ) -> None:
        if not incoming:
            return
        mapping, pseudonyms = self._profile.mapping, self._store.pseudonyms
        digest = pseudonyms.digest(json.dumps([id, version, mapping.digest, record]).encode())
        done = ingest(
            self._store, load_registry(), mapping.source, CONNECTOR, digest, incoming, self._now, connection=connection
        )
        if done.quarantined:
            raise InvalidValueException(detail=f"user: {next(iter(done.reasons), 'expected other values')}")

    def _index(self, attribute: str, value: str) -> str:
        return self._store.pseudonyms.index(f"scim.{attribute}", indexed_form(attribute, value))


def _taken(name: str) -> UniquenessException:
    return UniquenessException(detail=f"{name}: expected one that no other user has, got another's")


_IN_ORDER: Final = select(scim_user).order_by(scim_user.c.created, scim_user.c.id)


def _document(user: Resource[Any]) -> dict[str, Any]:
    """What is kept of an account: the advertised attributes."""
    if not str(user["userName"]).strip():
        raise InvalidValueException(detail="userName: expected a name, got blanks")
    document: dict[str, Any] = user.model_dump()
    kept = {key: value for key, value in document.items() if key not in ("id", "meta", "schemas")}
    if any(len(text) > MAX_TEXT for text in _texts(kept)):
        raise InvalidValueException(detail=f"user: expected texts of at most {MAX_TEXT} characters, got a longer one")
    return {"schemas": [CORE, *(key for key in kept if key.startswith("urn:"))], **kept}


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for inner in value.values() for text in _texts(inner)]
    return [value] if isinstance(value, str) else []


def _bare(tag: str) -> str:
    return tag.strip().removeprefix("W/")
