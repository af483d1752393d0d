"""Keys in files: 32 random bytes as one line of base64, in a file that nobody but its owner may read."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from privacy.atomic_files import new_file
from privacy.errors import InputError
from privacy.fields import from_base64, to_base64

KEY_BYTES: Final = 32
_MAX_FILE: Final = 1_000


def create_secret(path: Path) -> None:
    """A new random key, on disk before this returns (mode 0600).

    Raises:
        InputError: if `path` exists or can not be written.
    """
    write_new(path, to_base64(os.urandom(KEY_BYTES)) + "\n")


def read_secret(path: Path) -> bytes:
    """The 32 bytes of a secret key.

    Raises:
        InputError: if the file is missing, open to others than its owner, or holds anything but one key.
    """
    return _read(path, forbidden=0o077)


def read_public(path: Path) -> bytes:
    """The 32 bytes of a public key, which others may read but not write.

    Raises:
        InputError: if the file is missing, writable by others than its owner, or holds anything but one key.
    """
    return _read(path, forbidden=0o022)


def write_new(path: Path, content: str, mode: int = 0o600) -> None:
    """A new file of this text, whole and on disk before this returns.

    Raises:
        InputError: if `path` exists or can not be written.
    """
    try:
        new_file(path, content.encode("utf-8"), mode)
    except ValueError:  # a path or a text that can not be encoded
        raise InputError(f"{path}: expected a new file that can be written, got something else") from None


def _read(path: Path, forbidden: int) -> bytes:
    try:
        # O_NONBLOCK: a pipe in the file's place must not hold us up.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_mode & forbidden:
                mode = oct(stat.S_IMODE(status.st_mode))
                raise InputError(f"key {path}: expected a file for its owner alone, got mode {mode}")
            text = file.read(_MAX_FILE).decode("ascii")
    except (OSError, ValueError) as error:
        raise InputError(f"key {path}: expected a file with a key, got {_what(error)}") from None
    key = from_base64(text.strip(), f"key {path}")
    if len(key) != KEY_BYTES:
        raise InputError(f"key {path}: expected {KEY_BYTES} bytes, got {len(key)}")
    return key


def _what(error: OSError | ValueError) -> str:
    """What went wrong, without the words of an error that may quote the file."""
    return (isinstance(error, OSError) and error.strerror) or "something else"
