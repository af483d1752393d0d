"""Marks: how a ledger knows employees without their numbers, and cohorts: the employees on whom a charge falls.

A mark is HMAC-SHA256 (RFC 2104) of the employee number under a key of the site, cut to 128 bits. The key lies beside
the site's other keys, outside the ledger's database. A cohort stands in the log as a salted digest of its marks:
whoever is shown the digest learns neither who is in it nor how many, nor whether two cohorts are the same.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from privacy import secret_files
from privacy.errors import InputError

MARK_BYTES: Final = 16
SALT_BYTES: Final = 32
MAX_EMPLOYEE: Final = 1_000
MAX_MARKS: Final = 10_000_000
"""Most employees in one cohort."""
_MARK: Final = b"kith employee mark v1\0"
_KEY: Final = b"kith mark key v1\0"
_COHORT: Final = b"kith cohort v1\0"

Marks = frozenset[bytes]


@dataclass(frozen=True, slots=True)
class MarkKey:
    """The site's key for marks: 32 bytes that nobody else may know."""

    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse a key of another length.

        Raises:
            InputError: if it is not 32 bytes.
        """
        if not isinstance(self.key, bytes) or len(self.key) != secret_files.KEY_BYTES:
            raise InputError(f"mark key: expected {secret_files.KEY_BYTES} bytes, got otherwise")

    @classmethod
    def create(cls, path: Path) -> MarkKey:
        """A new random key in a new file (mode 0600, on disk before this returns).

        Raises:
            InputError: if `path` exists or can not be written.
        """
        secret_files.create_secret(path)
        return cls.read(path)

    @classmethod
    def read(cls, path: Path) -> MarkKey:
        """The key in a file.

        Raises:
            InputError: if the file is missing, open to others than its owner, or holds anything but one key.
        """
        return cls(secret_files.read_secret(path))

    def mark(self, employee: str) -> bytes:
        """The 16 bytes for an employee number; numbers that differ in any character are different employees.

        Raises:
            InputError: if it is no text of 1 to 1,000 characters.
        """
        if not isinstance(employee, str) or not 1 <= len(employee) <= MAX_EMPLOYEE:
            raise InputError(f"employee number: expected text of 1 to {MAX_EMPLOYEE} characters, got otherwise")
        try:
            number = employee.encode("utf-8")
        except UnicodeEncodeError:
            raise InputError("employee number: expected Unicode text, got a lone surrogate") from None
        return hmac.digest(self.key, _MARK + number, "sha256")[:MARK_BYTES]

    @property
    def fingerprint(self) -> str:
        """What a ledger knows the key by (64 hexadecimal digits); it says nothing of the key or of any mark."""
        return hmac.digest(self.key, _KEY, "sha256").hex()


def marks_of(marks: Collection[bytes], where: str) -> Marks:
    """A set of marks from outside.

    Raises:
        InputError: if one is not 16 bytes, or they are too many.
    """
    if len(marks) > MAX_MARKS:
        raise InputError(f"{where}: expected at most {MAX_MARKS} marks, got more")
    result = frozenset(marks)
    if not all(isinstance(mark, bytes) and len(mark) == MARK_BYTES for mark in result):
        raise InputError(f"{where}: expected marks of {MARK_BYTES} bytes, got otherwise")
    return result


def joined(marks: Marks) -> bytes:
    """The marks in ascending order, one after another."""
    return b"".join(sorted(marks))


def split(data: bytes, where: str) -> Marks:
    """The marks that `joined` wrote.

    Raises:
        InputError: for anything else, another order included.
    """
    marks = frozenset(data[start : start + MARK_BYTES] for start in range(0, len(data), MARK_BYTES))
    if joined(marks) != data or len(data) != MARK_BYTES * len(marks):
        raise InputError(f"{where}: expected marks in ascending order, got otherwise")
    return marks


def cohort_digest(salt: bytes, marks: Marks) -> str:
    """What the log says of a cohort: sha256 (hex) of a random salt of 32 bytes and the sorted marks."""
    return joined_digest(salt, joined(marks))


def joined_digest(salt: bytes, data: bytes) -> str:
    """The same of marks as `joined` gives them.

    Raises:
        InputError: if the salt has another length.
    """
    if len(salt) != SALT_BYTES:
        raise InputError(f"cohort salt: expected {SALT_BYTES} bytes, got {len(salt)}")
    return hashlib.sha256(_COHORT + salt + data).hexdigest()
