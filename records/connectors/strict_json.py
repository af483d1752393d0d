"""JSON from outside: bounded, in UTF-8 (with or without its mark), every key once, finite numbers, Unicode texts."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from privacy.errors import InputError


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one document may take.

    Attributes:
        size: bytes.
        depth: objects and arrays inside one another.
        parts: brackets and commas, also those in texts: there are no more values than that, each of which takes far
            more memory than the two bytes that can write it.
    """

    size: int
    depth: int
    parts: int


def read_json(data: bytes, where: str, bounds: Bounds) -> Any:
    """The value that is written in `data`; a fraction that is whole is an int.

    Raises:
        InputError: saying what was expected at `where`.
    """
    if len(data) > bounds.size:
        raise InputError(f"{where}: expected at most {bounds.size} bytes, got {len(data)}")
    if (parts := sum(map(data.count, (b"{", b"[", b",")))) > bounds.parts:
        raise InputError(f"{where}: expected at most {bounds.parts} brackets and commas, got {parts}")
    try:
        value = _DECODER.decode(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise InputError(f"{where}: expected JSON in UTF-8, finite numbers and every key once, got other") from None
    _check_depth(value, where, bounds.depth)
    if b"\\u" in data:  # the only way to write a lone surrogate, once UTF-8 is well formed
        _check_unicode(value, where)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _finite(text: str) -> float | int:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _no_constant(_: str) -> NoReturn:
    raise ValueError


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object, parse_float=_finite, parse_constant=_no_constant)


def _check_depth(value: Any, where: str, depth: int) -> None:
    level = [value]
    for _ in range(depth + 1):
        level = [part for outer in level for part in _containers(outer)]
        if not level:
            return
    raise InputError(f"{where}: expected at most {depth} levels, got more")


def _containers(value: Any) -> list[Any]:
    """The objects and arrays in an object or array."""
    inner: Iterable[Any] = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [part for part in inner if isinstance(part, dict | list)]


def _check_unicode(value: Any, where: str) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"{where}: expected Unicode text, got a lone surrogate") from None
