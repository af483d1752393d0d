"""The JSON that a SCIM client or file may send: bounded, without duplicate keys, and Unicode throughout."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, Final, NoReturn

from privacy.errors import InputError

MAX_DEPTH: Final = 16
MAX_VALUES: Final = 5_000
"""Values in a message: each key of a PATCH is parsed as a path."""


def parsed(data: bytes | str, where: str) -> dict[str, Any]:
    """The object that a message writes; fractions are floats.

    Raises:
        InputError: as `parsed_value` does, for any other value, and for more than `MAX_VALUES` of them in one another.
    """
    value = parsed_value(data, where)
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected a JSON object, got {type(value).__name__}")
    if (count := sum(map(len, _levels(value)))) > MAX_VALUES:
        raise InputError(f"{where}: expected at most {MAX_VALUES} values, got {count}")
    return value


def parsed_value(data: bytes | str, where: str) -> Any:
    """The value that `data` writes.

    Raises:
        InputError: for anything but one JSON value in UTF-8 of at most `MAX_DEPTH` levels, with every key once, finite
            numbers and no lone surrogate.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise InputError(f"{where}: expected JSON in UTF-8 with every key once, got something else") from None
    _check(value, where)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError
    return result


def _no_constant(_: str) -> NoReturn:
    raise ValueError


def _check(value: Any, where: str) -> None:
    for depth, level in enumerate(_levels(value), 1):
        if depth > MAX_DEPTH:
            raise InputError(f"{where}: expected at most {MAX_DEPTH} levels, got more")
        for text in _texts(level):
            _check_text(text, where)
        if any(isinstance(item, float) and not math.isfinite(item) for item in level):
            raise InputError(f"{where}: expected finite numbers, got another")


def _levels(value: Any) -> Iterator[list[Any]]:
    """The value, the values in it, the values in those, and so on."""
    level = [value]
    while level:
        yield level
        level = [inner for item in level for inner in _inside(item)]


def _texts(level: list[Any]) -> Iterator[str]:
    for item in level:
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            yield from item


def _inside(item: Any) -> list[Any]:
    if isinstance(item, dict):
        return list(item.values())
    return item if isinstance(item, list) else []


def _check_text(text: str, where: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"{where}: expected Unicode text, got a lone surrogate") from None
