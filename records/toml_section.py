"""Reading a TOML file key by key, so that what nobody asked for is refused. Bytes, depth, lists, texts are bounded."""

from __future__ import annotations

import re
import tomllib
from typing import Any, Final

from privacy.errors import InputError
from records.cells import trimmed
from records.table import MAX_NAME, is_shown

MAX_BYTES: Final = 2**17
MAX_DEPTH: Final = 6
MAX_ENTRIES: Final = 2_000
MAX_DOTS: Final = 64
"""In a key: `tomllib` takes time that grows with the square of a dotted key's length, minutes for 100 KB of it."""
_LONG_KEY: Final = re.compile(rf"""(?<![\w"'-])(?:[\w"'-]++[ \t]*+\.[ \t]*+){{{MAX_DOTS + 1}}}""")


def parse_toml(data: bytes, where: str) -> Section:
    """The document written in `data`.

    Raises:
        InputError: if it is not TOML in UTF-8, too large or too deep; the message holds nothing of it but a place.
    """
    if len(data) > MAX_BYTES:
        raise InputError(f"{where}: expected at most {MAX_BYTES} bytes, got more")
    try:
        document = load_toml(data.decode("utf-8-sig"), where)
    except UnicodeDecodeError:
        raise InputError(f"{where}: expected UTF-8 text, got another encoding") from None
    _check_depth(document, where)
    return Section(document, where)


def load_toml(text: str, where: str) -> dict[str, Any]:
    """What a TOML text of bounded length holds, in a time that grows with its length.

    Raises:
        InputError: if it is not TOML; `tomllib`'s own words may quote the text, so only the place is passed on.
    """
    if _LONG_KEY.search(text):
        raise InputError(f"{where}: expected keys of at most {MAX_DOTS} dots, got a longer one")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError, OverflowError) as error:
        place = re.search(r"at line \d+, column \d+", str(error))
        raise InputError(f"{where}: expected TOML, got something else{f' {place.group()}' if place else ''}") from None


class Section:
    """A table of the file that is read key by key; every reader raises InputError for what is not as it says."""

    def __init__(self, fields: Any, where: str) -> None:
        """Start reading `fields`, which must be a table; `where` names it in messages."""
        self.where = where
        if not isinstance(fields, dict):
            raise InputError(f"{where}: expected a table, got {type(fields).__name__}")
        self._fields = dict(fields)

    def fail(self, key: str, expected: str) -> InputError:
        """An error about a key, without what came."""
        return InputError(f"{self.where}, {key!r:.80}: expected {expected}, got otherwise")

    def has(self, key: str) -> bool:
        """Whether the key is there and was not read yet."""
        return key in self._fields

    def take(self, key: str) -> Any:
        """What the key holds, None if it is absent."""
        return self._fields.pop(key, None)

    def text(self, key: str, longest: int = MAX_NAME) -> str:
        """Printable text."""
        if is_text(value := self.take(key), longest):
            return str(value)
        raise self.fail(key, f"printable text of 1 to {longest} characters")

    def name(self, key: str) -> str:
        """A cell's name, written as the readers write it."""
        return trimmed(self.text(key))

    def optional_name(self, key: str) -> str | None:
        """A cell's name, or None if the key is absent."""
        return self.name(key) if self.has(key) else None

    def choice(self, key: str, known: tuple[str, ...]) -> str:
        """One of the known texts."""
        if isinstance(value := self.take(key), str) and value in known:
            return value
        raise self.fail(key, f"one of {', '.join(map(repr, known))}")

    def texts(self, key: str, blank: bool = False) -> tuple[str, ...]:
        """A list of distinct texts, trimmed; one text stands for a list of it. With `blank`, "" may be among them."""
        value = self.take(key)
        value = [value] if isinstance(value, str) else value
        if (
            isinstance(value, list)
            and 1 <= len(value) <= MAX_ENTRIES
            and all(is_text(item, MAX_NAME) or (blank and item == "") for item in value)
            and len({trimmed(item) for item in value}) == len(value)
        ):
            return tuple(trimmed(item) for item in value)
        raise self.fail(key, f"1 to {MAX_ENTRIES} distinct printable texts of at most {MAX_NAME} characters")

    def whole(self, key: str, high: int) -> int:
        """A whole number from 1 to `high`."""
        value = self.take(key)
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= high:
            return value
        raise self.fail(key, f"a whole number from 1 to {high}")

    def flag(self, key: str) -> bool:
        """True or false; false if the key is absent."""
        if isinstance(value := self._fields.pop(key, False), bool):
            return value
        raise self.fail(key, "true or false")

    def section(self, key: str) -> Section:
        """The table of that name; an empty one if the key is absent."""
        return Section(self._fields.pop(key, {}), f"{self.where}, {key!r:.80}")

    def names(self) -> list[str]:
        """The keys that were not read yet, at most `MAX_ENTRIES`."""
        if len(self._fields) > MAX_ENTRIES:
            raise InputError(f"{self.where}: expected at most {MAX_ENTRIES} entries, got {len(self._fields)}")
        return list(self._fields)

    def close(self) -> None:
        """Refuses what is left."""
        for key in self._fields:
            raise InputError(f"{self.where}: expected only keys that a mapping knows, got {key!r:.80}")


def _check_depth(value: object, where: str) -> None:
    level, depth = [value], 0
    while level := [child for item in level for child in _children(item)]:
        depth += 1
        if depth > MAX_DEPTH or len(level) > MAX_ENTRIES * 10:
            raise InputError(f"{where}: expected at most {MAX_DEPTH} levels and {MAX_ENTRIES * 10} entries, got more")


def _children(item: object) -> list[Any]:
    return list(item.values()) if isinstance(item, dict) else item if isinstance(item, list) else []


def is_text(value: object, longest: int) -> bool:
    """Whether this is printable text that is not blank."""
    return isinstance(value, str) and bool(value.strip()) and len(value) <= longest and is_shown(value)
