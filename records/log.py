"""The store's log: an append-only chain of entries, each naming the digest of the one before.

Rules, held by `check` against whoever can write to the database
1. Entries are numbered 1, 2, 3 … without a gap.
2. Each names the digest of the one before; the first names 64 zeros.
3. Each digest is the SHA-256 of the canonical JSON of number, time, document and previous digest.
4. The entry that the anchor names, a file outside the database, is still there: the end can not be cut off, nor the
   chain computed anew.
5. Each carries, as `consent`, a sum of keyed digests of all consent events on record then (`Store.digest_of`): one that
   was taken away or added without an entry is missed. Without the key nobody can compute another.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, insert, select

from privacy import canonical, fields
from privacy.errors import InputError, VerificationFailed
from records.schema import log_entry

START: Final = "0" * 64
MAX_DOCUMENT: Final = 64 * 2**10
_MAX_ANCHOR: Final = 1_000
_WHERE: Final = "log"
_CONSENT: Final = "consent"
_MODULUS: Final = 2**128
_SUM: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry of a chain: its number, 0 for none, and its digest."""

    number: int
    digest: str


EMPTY: Final = Head(0, START)


def append(connection: Connection, document: Mapping[str, Any], at: str, said: int = 0) -> Head:
    """Write an entry; the caller's transaction holds the only write lock.

    Args:
        connection: of that transaction.
        document: what happened.
        at: when, as the store writes it.
        said: by how much the sum of the consent events' digests has changed since the last entry (rule 5).

    Raises:
        InputError: if the document is no JSON without fractions, or larger than `MAX_DOCUMENT`.
    """
    total = (_consent(connection) + said) % _MODULUS
    content = canonical.to_bytes({**document, _CONSENT: f"{total:032x}"})
    if len(content) > MAX_DOCUMENT:
        raise InputError(f"{_WHERE}: expected a document of at most {MAX_DOCUMENT} bytes, got {len(content)}")
    last = head(connection)
    entry = {"number": last.number + 1, "at": at, "document": content.decode(), "previous": last.digest}
    new = Head(last.number + 1, _digest(entry))
    connection.execute(insert(log_entry).values(**entry, digest=new.digest))
    return new


def head(connection: Connection) -> Head:
    """The last entry."""
    newest = select(log_entry.c.number, log_entry.c.digest).order_by(log_entry.c.number.desc()).limit(1)
    row = connection.execute(newest).one_or_none()
    return EMPTY if row is None else Head(row.number, row.digest)


def check(connection: Connection, anchor: Head, said: int) -> int:
    """The number of entries, if every one of them is as it was written, and so are the consent events.

    Args:
        connection: that sees one state.
        anchor: what the anchor's file names.
        said: the sum of the consent events' digests.

    Raises:
        VerificationFailed: naming the first entry that is not.
    """
    last = EMPTY
    anchored = anchor == EMPTY
    for row in connection.execute(select(log_entry).order_by(log_entry.c.number)).yield_per(1_000).mappings():
        entry = {name: row[name] for name in ("number", "at", "document", "previous")}
        number = last.number + 1
        if row["number"] != number:  # rule 1
            raise VerificationFailed(f"{_WHERE}: expected entry {number}, got another in its place")
        if row["previous"] != last.digest:  # rule 2
            raise VerificationFailed(f"{_WHERE}: expected entry {number} to name the one before, got another digest")
        if row["digest"] != _digest(entry):  # rule 3
            raise VerificationFailed(f"{_WHERE}: expected entry {number} as it was written, got a changed one")
        last = Head(number, row["digest"])
        anchored = anchored or last == anchor
    if not anchored:  # rule 4
        raise VerificationFailed(
            f"{_WHERE}: expected entry {anchor.number} as the anchor names it, got none or another"
        )
    if said % _MODULUS != _consent(connection):  # rule 5
        raise VerificationFailed(f"{_WHERE}: expected the consent events of its last entry, got others")
    return last.number


def holds(connection: Connection, anchor: Head) -> bool:
    """Whether the entry that the anchor names is there."""
    named = select(log_entry.c.digest).where(log_entry.c.number == anchor.number)
    return anchor == EMPTY or connection.execute(named).scalar() == anchor.digest


def read_anchor(path: Path) -> Head:
    """The head that the anchor's file names.

    Raises:
        InputError: if there is no such file, or it holds anything else.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_ANCHOR)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected the log's anchor, got {type(error).__name__}") from None
    named = fields.exactly(canonical.from_bytes(data, str(path)), ("number", "digest"), str(path))
    return Head(fields.whole(named["number"], str(path)), fields.digest(named["digest"], str(path)))


def create_anchor(path: Path) -> None:
    """The anchor of a log without entries.

    Raises:
        OSError: if the file can not be written.
    """
    _replace(path, EMPTY)


def raise_anchor(path: Path, new: Head) -> None:
    """Name a newer head, on disk before this returns; a crash leaves the old or the new one.

    Writers whose commits were in order may come here out of order: whichever comes last, the newest head stays.

    Raises:
        OSError: if the file can not be written.
        InputError: if the file is none.
    """
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if read_anchor(path).number < new.number:
            _replace(path, new)
    finally:
        os.close(folder)


def _replace(path: Path, new: Head) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        file.write(canonical.to_bytes({"number": new.number, "digest": new.digest}))
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(path)


def _consent(connection: Connection) -> int:
    """The sum that the last entry carries."""
    newest = select(log_entry.c.document).order_by(log_entry.c.number.desc()).limit(1)
    document = connection.execute(newest).scalar()
    if document is None:
        return 0
    last = canonical.from_bytes(document.encode(), _WHERE)
    total = last.get(_CONSENT) if isinstance(last, dict) else None
    if not isinstance(total, str) or not _SUM.fullmatch(total):
        raise VerificationFailed(f"{_WHERE}: expected its last entry as it was written, got a changed one")
    return int(total, 16)


def _digest(entry: Mapping[str, Any]) -> str:
    try:
        return hashlib.sha256(canonical.to_bytes(dict(entry))).hexdigest()
    except InputError:  # a row that was never written by `append`
        return ""
