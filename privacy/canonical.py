"""One writing of JSON, and a reader that accepts no other shape of data.

Writing is RFC 8785 (JSON Canonicalization Scheme) through the `rfc8785` library. Numbers other than whole
numbers are refused on both sides: they travel as decimal strings, so that no reader's floating point decides
what was signed.
"""

from __future__ import annotations

import json
from typing import Any, Final, NoReturn

import rfc8785

from privacy.errors import InputError

MAX_BYTES: Final = 64 * 2**20
MAX_DEPTH: Final = 32
MAX_INTEGER: Final = 2**53 - 1


def to_bytes(value: Any) -> bytes:
    """Canonical UTF-8 bytes of objects, arrays, strings, booleans, null and whole numbers below 2**53.

    Raises:
        InputError: for anything else, a float above all. Whole numbers from 2**53 on are written as strings by the
            caller.
    """
    _check(value, 0)
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise InputError(f"canonical JSON: {type(error).__name__}") from None


def from_bytes(data: bytes, where: str, max_bytes: int = MAX_BYTES) -> Any:
    """The value written in `data`; objects as dict, arrays as list.

    Refuses duplicate keys, fractions and exponents, NaN and infinities, lone surrogates, invalid UTF-8, more
    than `max_bytes` bytes and more than 32 levels. White space and key order are free: compare with `to_bytes` where
    the writing itself matters.

    Raises:
        InputError: saying what was expected at `where`.
    """
    if len(data) > max_bytes:
        raise InputError(f"{where}: expected at most {max_bytes} bytes of JSON, got {len(data)}")
    try:
        value = json.loads(
            data.decode("utf-8", errors="strict"),
            object_pairs_hook=lambda pairs: _object(pairs, where),
            parse_float=lambda _: _no_fraction(where),
            parse_constant=lambda _: _no_fraction(where),
        )
    except (ValueError, RecursionError):
        raise InputError(f"{where}: expected UTF-8 JSON, got something else") from None
    _check(value, 0, where)
    return value


def _object(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise InputError(f"{where}: expected every key once, got one twice")
    return result


def _no_fraction(where: str) -> NoReturn:
    raise InputError(f"{where}: expected whole numbers and decimal strings, got a fraction, exponent or NaN")


def _check(value: Any, depth: int, where: str = "canonical JSON") -> None:
    if depth > MAX_DEPTH:
        raise InputError(f"{where}: expected at most {MAX_DEPTH} levels, got more")
    if isinstance(value, dict):
        for key, item in value.items():
            _check_text(key, where)
            _check(item, depth + 1, where)
    elif isinstance(value, list | tuple):
        for item in value:
            _check(item, depth + 1, where)
    elif isinstance(value, str):
        _check_text(value, where)
    elif isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise InputError(f"{where}: expected whole numbers below 2**53, got a larger one")
    elif value is not None:
        raise InputError(f"{where}: expected JSON without fractions, got {type(value).__name__}")


def _check_text(text: Any, where: str) -> None:
    if not isinstance(text, str):
        raise InputError(f"{where}: expected strings as keys, got {type(text).__name__}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"{where}: expected Unicode text, got a lone surrogate") from None
