"""Tokens taken back before their time: a file of their ids (`jti`) beside the JWKS file of the token keys.

Rules
1. The file is UTF-8 text with one id a line; `#` begins a comment. No file: nothing was taken back.
2. It is read again whenever it has changed. While it can not be read, no token is good.
3. An id has no dot and no `#`, so it is neither taken for a token nor for a comment.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import jwt

from privacy.errors import InputError

FILE: Final = "revoked-tokens.txt"
_MAX_BYTES: Final = 2**20
_ID: Final = re.compile(r"[\w:@+/=~-]{1,128}", re.ASCII)


class Revoked:
    """The ids in the file beside a JWKS file, as they are at each question."""

    def __init__(self, keys: Path) -> None:
        """Read the file beside `keys`.

        Raises:
            InputError: if there is one and it can not be read.
        """
        self._path = keys.with_name(FILE)
        self._seen: tuple[int, ...] | None = None
        self._ids: frozenset[str] = frozenset()
        self.holds("")

    def holds(self, id: str) -> bool:
        """Whether the token of this id was taken back.

        Raises:
            InputError: if the file has changed and can not be read (rule 2).
        """
        if (now := _state_of(self._path)) != self._seen:
            self._ids = _ids(self._path)
            self._seen = now
        return id in self._ids


def is_id(id: object) -> bool:
    """Whether a token of this id could be taken back (rule 3)."""
    return isinstance(id, str) and _ID.fullmatch(id) is not None


def token_id(text: str) -> str:
    """The id that is given as it is, or in a token.

    Raises:
        InputError: if it is neither.
    """
    try:
        # Nobody is let in by this, so the token need not be good any more.
        id = jwt.decode(text, options={"verify_signature": False})["jti"] if "." in text else text
    except (jwt.PyJWTError, KeyError):
        id = None
    if not is_id(id):
        raise InputError("revoke: expected a token or a token's id, got neither")
    return str(id)


def revoke(keys: Path, text: str) -> str:
    """Take back a token, given itself or by its id, from services with this JWKS file; again changes nothing.

    Returns:
        The token's id.

    Raises:
        InputError: if it is neither, there is no such JWKS file, or the file beside it can not be used.
    """
    id, path = token_id(text), keys.with_name(FILE)
    if not keys.is_file():
        raise InputError(f"token keys: expected a JWKS file at {keys}, got none")
    if id not in _ids(path):
        begin = "\n" if _text(path)[-1:] not in ("", "\n") else ""
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{begin}{id}\n")
        except OSError as error:
            raise _unusable(path, error.strerror) from None
    return id


def _ids(path: Path) -> frozenset[str]:
    lines = (line.partition("#")[0].strip() for line in _text(path).split("\n"))
    ids = frozenset(line for line in lines if line)
    if not all(map(is_id, ids)):
        raise _unusable(path, "a line with something else")
    return ids


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise _unusable(path, f"more than {_MAX_BYTES} bytes")
        return data.decode()
    except FileNotFoundError:
        return ""  # rule 1
    except OSError as error:
        raise _unusable(path, error.strerror) from None
    except UnicodeDecodeError:
        raise _unusable(path, "another encoding") from None


def _state_of(path: Path) -> tuple[int, ...]:
    """What differs after a change; asked before reading, so that a change meanwhile is seen at the next question."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise _unusable(path, error.strerror) from None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _unusable(path: Path, got: str | None) -> InputError:
    return InputError(f"revoked tokens: expected a file with one token id a line at {path}, got {got}")
