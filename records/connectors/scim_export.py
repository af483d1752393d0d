"""Files of SCIM users: a ListResponse, a list of Users, or one User a line, as identity systems export them.

What the mapping does not read is dropped unread, as it is by the service provider.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Final

from scim2_models import Resource, SCIMException

from privacy.errors import InputError
from records.connectors.scim_errors import value_free
from records.connectors.scim_records import record_of, worded
from records.connectors.scim_resources import ENTERPRISE, NUMBER, POLICY, Advertised, advertised
from records.connectors.strict_json import Bounds, read_json
from records.facts import Fault
from records.mapping import Mapping as MappedSource

LIST: Final = Bounds(64 * 2**20, depth=16, parts=2_000_000)
"""A list is read as a whole; Users by the line are read line by line, however many there are."""
LINE: Final = Bounds(2**20, depth=16, parts=50_000)
MAX_USERS: Final = 20_000_000
_NO_USER: Final = "expected a SCIM User, got something else"

Record = Mapping[str, str | None]


def records_of(path: str | Path, mapping: MappedSource) -> Iterator[tuple[int, Record | Fault]]:
    """The users of a file, numbered from 0, as records of a mapping, or why one of them can not be read.

    A manager's `id` becomes an employee number where the file holds that User. Whoever is not active, without a stated
    last day, ended on the day of the last change, if the file tells it.

    Raises:
        InputError: now or while iterating, if the file can not be read, or is neither a list of Users nor lines of
            them.
    """
    path = Path(path)
    where = f"{str(path)!r:.300}"
    if mapping.kind != "scim":
        raise InputError(f'{mapping.where}: expected kind = "scim" for a file of users, got {mapping.kind!r}')
    return _records(path, _described(mapping.cells), where)


@lru_cache(maxsize=64)
def _described(cells: frozenset[str]) -> Advertised:
    return advertised(cells, {})


def _records(path: Path, described: Advertised, where: str) -> Iterator[tuple[int, Record | Fault]]:
    numbers: dict[str, str] = {}
    for _, user in _users(path, described, where):
        if user is not None and user.id and user[NUMBER]:
            numbers[user.id] = str(user[NUMBER])
    for place, user in _users(path, described, where):
        if user is None:
            yield place, Fault(place, "", _NO_USER)
        else:
            yield place, record_of(user, described.cells, numbers.get, _changed(user))


def _users(path: Path, described: Advertised, where: str) -> Iterator[tuple[int, Resource[Any] | None]]:
    try:
        with path.open("rb") as file:
            for place, value in _values(file, where):
                if place >= MAX_USERS:
                    raise InputError(f"{where}: expected at most {MAX_USERS} users, got more")
                yield place, _user(value, described)
    except OSError as error:
        raise InputError(f"{where}: expected a readable file, got {type(error).__name__}") from None


def _values(file: IO[bytes], where: str) -> Iterator[tuple[int, Any]]:
    """The JSON of each user; of a line that is none, None."""
    first = _line(file, where)
    head = _parsed(first)
    file.seek(0)
    if not isinstance(head, dict) or _resources(head) is not None:
        yield from enumerate(_listed(file, where))
        return
    place = 0
    while line := _line(file, where):
        if line.strip():
            yield place, _parsed(line)
            place += 1


def _listed(file: IO[bytes], where: str) -> list[Any]:
    value = read_json(file.read(LIST.size + 1), f"{where}: a list, where Users are not one a line", LIST)
    if isinstance(value, dict):
        resources = _resources(value)
        value = [value] if resources is None else resources
    if not isinstance(value, list):
        raise InputError(f"{where}: expected a ListResponse, a list of Users or one User a line, got something else")
    return value


def _line(file: IO[bytes], where: str) -> bytes:
    line = file.readline(LINE.size + 1)
    if len(line) > LINE.size and file.tell() == len(line):
        return b""  # a list in one line
    if len(line) > LINE.size:
        raise InputError(f"{where}: expected lines of at most {LINE.size} bytes, got a longer one")
    return line


def _parsed(line: bytes) -> Any:
    try:
        return read_json(line, "line", LINE)
    except InputError:
        return None


def _resources(document: dict[str, Any]) -> Any:
    return next((value for key, value in document.items() if key.lower() == "resources"), None)


def _user(value: Any, described: Advertised) -> Resource[Any] | None:
    if not isinstance(value, dict) or not any(key.lower() == "username" or key == ENTERPRISE for key in value):
        return None
    try:
        with value_free():
            return described.model.model_validate(worded(value), scim_policy=POLICY)
    except SCIMException:
        return None


def _changed(user: Resource[Any]) -> date | None:
    return user.meta.last_modified.date() if user.meta and user.meta.last_modified else None
