"""Files that are replaced in one step: after a crash or on a full disk there is the old content or the new, whole."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from privacy.errors import InputError
from privacy.signing import sync_directory


def replace_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write `content` at `path` in place of what is there, on disk before this returns.

    Raises:
        InputError: if it can not be written; what was at `path` is still there.
    """
    partial = path.with_name(f".{secrets.token_hex(8)}.partial")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise
        sync_directory(path.parent)
    except OSError as error:
        raise InputError(f"{path}: expected a file that can be written, got {error.strerror}") from None
