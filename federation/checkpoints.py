"""What a run has by now, on disk, so that it goes on after a crash: documents by name, each whole or not there.

Rules:
    1. A document is on disk before `save` returns, in place of the one before it in one step.
    2. It is read back only if name and content are those that were saved: damage is refused, never gone on with.
    3. Names are plain: none leads out of the folder, and none is a file that a crash left half written.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from privacy import canonical, fields
from privacy.atomic_files import replace_file
from privacy.errors import InputError
from privacy.signing import sync_directory

MAX_BYTES: Final = 256 * 2**20
"""Of one document, as written."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_SUFFIX: Final = ".json"
_FIELDS: Final = ("document", "name", "sha256")
_PARTIAL: Final = re.compile(r"\.[0-9a-f]{16}\.partial")


class Checkpoints:
    """The documents of one folder, for its one writer and whoever reads."""

    def __init__(self, folder: Path) -> None:
        """The folder need not be there yet."""
        self._folder, self._ready = folder, False

    def save(self, name: str, document: Any) -> None:
        """Keep a document of canonical JSON under a name, in place of what was there; on disk when this returns.

        Raises:
            InputError: if the name is not plain (rule 3), the document is not canonical JSON of at most `MAX_BYTES`, or
                it can not be written; the one before it is then still there.
        """
        path = self._path(name)
        content = canonical.to_bytes({"document": document, "name": name, "sha256": _digest(name, document)})
        if len(content) > MAX_BYTES:
            raise InputError(f"checkpoint {name}: expected at most {MAX_BYTES} bytes, got {len(content)}")
        self._make_ready()
        replace_file(path, content)  # rule 1

    def load(self, name: str) -> Any:
        """The document that was last saved under the name; None if none was.

        Raises:
            InputError: if the name is not plain, or what lies there is not what was saved (rule 2).
        """
        path = self._path(name)
        content = _read(path)
        if content is None:
            return None
        wrapped = fields.exactly(canonical.from_bytes(content, str(path), MAX_BYTES), _FIELDS, str(path))
        document = wrapped["document"]
        whole = (wrapped["name"], wrapped["sha256"]) == (name, _digest(name, document))
        if not whole or canonical.to_bytes(wrapped) != content:  # rule 2
            raise InputError(f"{path}: expected the document that was saved under this name, got another")
        return document

    def _path(self, name: str) -> Path:
        if not isinstance(name, str) or not _NAME.fullmatch(name):  # rule 3
            raise InputError("checkpoint: expected a name of 1 to 100 letters, digits and ._-, got otherwise")
        return self._folder / f"{name}{_SUFFIX}"

    def _files(self) -> Iterator[str]:
        try:
            yield from (path.name for path in self._folder.iterdir())
        except FileNotFoundError:
            return
        except OSError as error:
            raise InputError(f"{self._folder}: expected a folder of checkpoints, got {error.strerror}") from None

    def _make_ready(self) -> None:
        """Make the folder, and take away what a writer that crashed left half written."""
        if self._ready:
            return
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_directory(self._folder.parent)
        except OSError as error:
            raise InputError(f"{self._folder}: expected a folder to write to, got {error.strerror}") from None
        for file in self._files():
            if _PARTIAL.fullmatch(file):
                with suppress(OSError):
                    (self._folder / file).unlink()
        self._ready = True


def _digest(name: str, document: Any) -> str:
    return hashlib.sha256(canonical.to_bytes([name, document])).hexdigest()


def _read(path: Path) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
                raise InputError(f"{path}: expected a file of at most {MAX_BYTES} bytes, got otherwise")
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: expected a checkpoint that can be read, got {error.strerror}") from None
