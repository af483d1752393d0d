"""Reading a registry's YAML: plain maps, lists and scalars, each key once, and nothing that YAML can do beyond.

Read event by event, so that no construct is built before it was allowed: no anchors, aliases, tags, merge keys or
second documents; bytes, depth and count are bounded. Plain `true`, `false` and numbers are what they look like, every
other scalar is text: `no`, `on` and 2026-11-01 are not guessed at.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

import yaml  # type: ignore[import-untyped,unused-ignore]

from privacy.errors import InputError
from records.table import is_shown

MAX_BYTES: Final = 2**19
MAX_DEPTH: Final = 8
MAX_NODES: Final = 50_000
MAX_TEXT: Final = 4_000
MAX_NAME: Final = 80
MAX_ITEMS: Final = 500
MAX_NUMBER: Final = 1e15
MOST_SHOWN: Final = 20

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,15})?", re.ASCII)
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)?", re.ASCII)


def read_bytes(path: Path, where: str) -> bytes:
    """The bytes of a file of at most `MAX_BYTES`.

    Raises:
        InputError: if it can not be read or is larger.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise InputError(f"{where}: expected a readable registry, got {type(error).__name__}") from None
    if len(data) > MAX_BYTES:
        raise InputError(f"{where}: expected at most {MAX_BYTES} bytes, got more")
    return data


def parse_yaml(data: bytes, where: str) -> Any:
    """The one document written in `data`: dict, list, str, float, int or bool.

    Raises:
        InputError: for everything that this module's head refuses, naming the line.
    """
    if len(data) > MAX_BYTES:
        raise InputError(f"{where}: expected at most {MAX_BYTES} bytes, got {len(data)}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{where}: expected UTF-8 text, got another encoding") from None
    try:
        return _Reader(yaml.parse(text, Loader=_LOADER), where).document()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        raise InputError(f"{where}{place}: expected YAML, got something else") from None


class _Reader:
    """Builds the tree of one document from its events."""

    def __init__(self, events: Iterator[Any], where: str) -> None:
        self._events = events
        self._where = where
        self._nodes = 0

    def document(self) -> Any:
        next(self._events)  # the stream's start
        if not isinstance(start := next(self._events), yaml.DocumentStartEvent):
            raise self._fail(start, "one document", "none")
        value = self._value(next(self._events), 1)
        next(self._events)  # the document's end
        if not isinstance(after := next(self._events), yaml.StreamEndEvent):
            raise self._fail(after, "one document", "several")
        return value

    def _value(self, event: Any, depth: int) -> Any:
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            raise self._fail(event, f"at most {MAX_DEPTH} levels and {MAX_NODES} values", "more")
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise self._fail(event, "no anchors and aliases", "one")
        if event.tag is not None:
            raise self._fail(event, "no tags", "one")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        return self._map(depth) if isinstance(event, yaml.MappingStartEvent) else self._list(depth)

    def _map(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._value(event, depth + 1)
            if not isinstance(key, str):
                raise self._fail(event, "text as a key", type(key).__name__)
            if key in found or key == "<<":
                raise self._fail(event, "every key once and no merge keys", "another")
            found[key] = self._value(next(self._events), depth + 1)
        return found

    def _list(self, depth: int) -> list[Any]:
        found = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            found.append(self._value(event, depth + 1))
        return found

    def _scalar(self, event: Any) -> str | float | bool:
        text = str(event.value)
        if event.style:  # quoted, or a block
            return text
        if text in ("true", "false"):
            return text == "true"
        if _NUMBER.fullmatch(text):
            return float(text) if "." in text else int(text)
        return text

    def _fail(self, event: Any, expected: str, got: str) -> InputError:
        return InputError(f"{self._where}, line {event.start_mark.line + 1}: expected {expected}, got {got}")


class Section:
    """A map that is read key by key; what nobody asked for is refused by `close`.

    Every reader takes its key out and raises InputError for what it does not expect there.
    """

    def __init__(self, fields: Any, where: str) -> None:
        """Begins to read `fields`; `where` opens every message."""
        self.where = where
        if not isinstance(fields, dict):
            raise InputError(f"{where}: expected a map, got {_came(fields)}")
        self._fields = dict(fields)

    def fail(self, key: str, expected: str, got: str) -> InputError:
        """The error to raise about `key`, naming where it stands."""
        return InputError(f"{self.where}, {key[:MAX_NAME]!r}: expected {expected}, got {got}")

    def has(self, key: str) -> bool:
        """Whether `key` is there and was not read yet."""
        return key in self._fields

    def text(self, key: str, longest: int = MAX_TEXT) -> str:
        """Printable text without outer blanks."""
        value = self._fields.pop(key, None)
        if isinstance(value, str) and _is_text(value, longest):
            return value
        raise self.fail(key, f"printable text of 1 to {longest} characters", _came(value))

    def choice(self, key: str, known: Collection[str]) -> str:
        """One of the known words."""
        value = self._fields.pop(key, None)
        if isinstance(value, str) and value in known:
            return value
        raise self.fail(key, f"one of {_some(known)}", _came(value))

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of distinct printable texts, at least one."""
        value = self._fields.pop(key, None)
        if not isinstance(value, list) or not 1 <= len(value) <= MAX_ITEMS:
            raise self.fail(key, f"a list of 1 to {MAX_ITEMS} texts", _came(value))
        if not all(isinstance(item, str) and _is_text(item, MAX_NAME) for item in value):
            raise self.fail(key, f"printable texts of 1 to {MAX_NAME} characters (numbers in quotes)", "others")
        if len(set(value)) < len(value):
            raise self.fail(key, "distinct texts", "one twice")
        return tuple(value)

    def choices(self, key: str, known: Collection[str]) -> tuple[str, ...]:
        """A list of distinct known words, at least one."""
        found = self.texts(key)
        if unknown := [item for item in found if item not in known]:
            raise self.fail(key, f"some of {_some(known)}", repr(unknown[0]))
        return found

    def flag(self, key: str) -> bool:
        """`true` or `false`."""
        value = self._fields.pop(key, None)
        if isinstance(value, bool):
            return value
        raise self.fail(key, "true or false", _came(value))

    def number(self, key: str) -> float:
        """A finite number."""
        value = self._fields.pop(key, None)
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_NUMBER:
            return float(value)
        raise self.fail(key, f"a number within ±{MAX_NUMBER:g}", _came(value))

    def whole(self, key: str, low: int, high: int) -> int:
        """A whole number from `low` to `high`."""
        value = self._fields.pop(key, None)
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise self.fail(key, f"a whole number from {low} to {high}", _came(value))

    def bounds(self) -> tuple[float, float, float]:
        """`low`, `high` and `step` (0 if there is none), low < high and the step dividing what lies between."""
        low, high = self.number("low"), self.number("high")
        if low >= high:
            raise self.fail("high", f"more than low ({low:g})", _came(high))
        step = self.number("step") if self.has("step") else 0.0
        if step and not (step > 0 and math.isclose((high - low) / step, round((high - low) / step), abs_tol=1e-9)):
            raise self.fail("step", f"a number above 0 that divides {high - low:g}", _came(step))
        return low, high, step

    def section(self, key: str) -> Section:
        """The map under `key`."""
        return Section(self._fields.pop(key, None), f"{self.where}, {key[:MAX_NAME]!r}")

    def sections(self) -> dict[str, Section]:
        """All that is left as named sections; names are lower-case words with underscores and at most one dot."""
        if not 1 <= len(self._fields) <= MAX_ITEMS:
            raise InputError(f"{self.where}: expected 1 to {MAX_ITEMS} entries, got {len(self._fields)}")
        for name in self._fields:
            if len(name) > MAX_NAME or not _NAME.fullmatch(name):
                raise self.fail("", f"names of at most {MAX_NAME} letters a to z, digits, _ and one dot", "another")
        return {name: self.section(name) for name in list(self._fields)}

    def close(self) -> None:
        """Refuses what is left."""
        for key in self._fields:
            raise self.fail(key, "only keys that a registry knows", "another")


def _some(known: Collection[str]) -> str:
    """The words to choose from, cut to a readable number."""
    more = f" and {len(known) - MOST_SHOWN} more" if len(known) > MOST_SHOWN else ""
    return ", ".join(list(known)[:MOST_SHOWN]) + more


def _is_text(text: str, longest: int) -> bool:
    return 1 <= len(text) <= longest and text == text.strip() and is_shown(text)


def _came(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, bool | int | float):
        return f"{value:g}" if isinstance(value, float) else str(value)
    return "a map" if isinstance(value, dict) else f"another {type(value).__name__}"
