"""Files that are written in one step: after a crash or on a full disk there is all of the new content or none."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from privacy.errors import InputError
from privacy.signing import sync_directory


def replace_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write `content` at `path` in place of what is there, on disk before this returns.

    Raises:
        InputError: if it can not be written; what was at `path` is still there.
    """
    try:
        _put(path, content, mode, Path.replace)
    except OSError as error:
        raise InputError(f"{path}: expected a file that can be written, got {error.strerror}") from None


def new_file(path: Path, content: bytes, mode: int) -> None:
    """Write `content` at `path`, where nothing may be, on disk before this returns.

    Raises:
        InputError: if something is there, or it can not be written.
    """
    try:
        _put(path, content, mode, os.link)  # unlike a rename, it fails where there is one
    except OSError as error:
        raise InputError(f"{path}: expected a new file that can be written, got {error.strerror}") from None


def _put(path: Path, content: bytes, mode: int, place: Callable[[Path, Path], Any]) -> None:
    """Write a file beside `path`, and `place` it there once all of it is on disk."""
    partial = path.with_name(f".{secrets.token_hex(8)}.partial")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        place(partial, path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
    sync_directory(path.parent)
