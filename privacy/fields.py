"""Reading the fields of a document that came from outside: exactly what is expected, or `InputError`."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection
from typing import Any, Final

from privacy.errors import InputError

MAX_TEXT: Final = 1_000
MAX_WHOLE: Final = 2**53 - 1
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


def exactly(value: Any, names: Collection[str], where: str) -> dict[str, Any]:
    """`value` as an object with these keys and no others."""
    if not isinstance(value, dict) or set(value) != set(names):
        raise InputError(f"{where}: expected an object with exactly {', '.join(names)}, got otherwise")
    return value


def items(value: Any, where: str) -> list[Any]:
    """`value` as an array."""
    if not isinstance(value, list):
        raise InputError(f"{where}: expected an array, got {type(value).__name__}")
    return value


def text(value: Any, where: str, max_length: int = MAX_TEXT) -> str:
    """`value` as a string of 1 to `max_length` characters."""
    if not isinstance(value, str) or not 1 <= len(value) <= max_length:
        raise InputError(f"{where}: expected a string of 1 to {max_length} characters, got otherwise")
    return value


def digest(value: Any, where: str) -> str:
    """`value` as a SHA-256 in 64 lower-case hexadecimal digits."""
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise InputError(f"{where}: expected 64 lower-case hexadecimal digits, got otherwise")
    return value


def whole(value: Any, where: str) -> int:
    """`value` as a whole number from 0 to 2**53 - 1."""
    if type(value) is not int or not 0 <= value <= MAX_WHOLE:
        raise InputError(f"{where}: expected a whole number from 0 to {MAX_WHOLE}, got otherwise")
    return value


def from_base64(value: Any, where: str) -> bytes:
    """The bytes of standard base64 in its one canonical writing (padding bits zero, no white space)."""
    try:
        data = base64.b64decode(value, validate=True) if isinstance(value, str) else None
    except (binascii.Error, ValueError):
        data = None
    if data is None or to_base64(data) != value:
        raise InputError(f"{where}: expected canonical base64, got otherwise")
    return data


def to_base64(data: bytes) -> str:
    """Standard base64 with padding."""
    return base64.b64encode(data).decode("ascii")
