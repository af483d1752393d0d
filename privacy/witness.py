"""What a site has seen of the other sites' ledgers: the last checkpoint of each, and proof of any that went back on it.

witnessed/<sha256 of the origin>.note            the last note accepted of a log
witnessed/conflicts/<sha256 of the origin>.json  both notes of a log that shrank or forked, until somebody resolves it
witnessed/resolved/<the same>-<n>.json           the same afterwards; never deleted

Rules:
    1. Only a note that the log's own key signed is looked at: anybody can forge another, so it is evidence of nothing.
    2. The first note of a log is taken as it comes. Later ones must be proved to extend the one held (RFC 9162 section
       2.1.4.2); the same size and root again are fine. Of one of another size nothing is known until the log's site has
       said how it goes together with the very head that is held (`privacy.consistency`): until then it is not judged.
    3. A smaller one of which the site has proved that the one held extends it is merely old. It is not judged either,
       since a witness speaks of the largest that it has seen.
    4. A smaller one without such a proof has shrunk: the site has said that it has none. Both notes are kept as
       evidence, and its statement. So with a larger one without a proof, and one of the same size with another root,
       which needs no statement. Whoever passes notes on can not make a site sign what is not so.
    5. Evidence is on disk before the refusal is raised. While a log is in conflict no note of it is accepted.
    6. A note replaces another in one step, and is on disk before `accept` returns: nothing is cosigned that a crash
       could make a witness forget. Comparing and replacing are under one lock.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from privacy import canonical, checkpoint, consistency, fields, merkle
from privacy.atomic_files import replace_file
from privacy.checkpoint import Checkpoint
from privacy.consistency import Continuation
from privacy.errors import InputError, VerificationFailed
from privacy.signing import Verifier, sync_directory

UNKNOWN: Final = "unknown"
OLDER: Final = "older"
SHRUNK: Final = "shrunk"
FORKED: Final = "forked"
UNPROVEN: Final = "unproven"
_MAX_EVIDENCE: Final = 2 * (consistency.MAX_BYTES + 4 * checkpoint.MAX_BYTES)


class NotJudged(VerificationFailed):
    """A note that is not held, without anything being known against its log (rules 2 and 3): ask its site again."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Evidence: two notes that one log's key signed and that do not go together.

    Attributes:
        origin: the log.
        kind: "shrunk" (the later is smaller), "forked" (one size, two roots), or "unproven" (larger, but its site has
            proved something else than that it extends the one held).
        held: the note that was accepted before.
        shown: the note that came then.
        statement: what its site said and signed of the two (`consistency.sign_statement`); nothing of one size, or of
            the ledger of the site itself that keeps this.
    """

    origin: str
    kind: str
    held: str
    shown: str
    statement: bytes

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        statement = fields.to_base64(self.statement)
        return canonical.to_bytes(
            {"origin": self.origin, "kind": self.kind, "held": self.held, "shown": self.shown, "statement": statement}
        )

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Conflict:
        """What `to_bytes` wrote.

        Raises:
            InputError: for anything else.
        """
        names = ("origin", "kind", "held", "shown", "statement")
        document = fields.exactly(canonical.from_bytes(data, where, _MAX_EVIDENCE), names, where)
        return cls(
            origin=fields.text(document["origin"], f"{where}, origin"),
            kind=fields.text(document["kind"], f"{where}, kind"),
            held=fields.text(document["held"], f"{where}, held", checkpoint.MAX_BYTES),
            shown=fields.text(document["shown"], f"{where}, shown", checkpoint.MAX_BYTES),
            statement=fields.from_base64(document["statement"], f"{where}, statement"),
        )


class WitnessBook:
    """The folder where a site keeps what it has seen. Made when something is first kept."""

    def __init__(self, folder: Path) -> None:
        """Of what is kept in `folder`, if it exists."""
        self.folder = folder

    def held(self) -> Mapping[str, Checkpoint]:
        """The last checkpoint accepted of each log, by origin, in order."""
        notes = map(checkpoint.read_unverified, self.notes().values())
        return {one.origin: one for one in notes}

    def notes(self) -> Mapping[str, str]:
        """The last note accepted of each log, by origin, in order: to be shown to others.

        Raises:
            InputError: if a file is not as it was written.
        """
        found = {}
        for path in self.folder.glob("*.note"):
            note = _read_text(path)
            origin = checkpoint.read_unverified(note).origin
            if path.name != _name(origin) + ".note":
                raise InputError(f"{path}: expected the note of the log that its name is of, got another's")
            found[origin] = note
        return dict(sorted(found.items()))

    def accept(
        self,
        note: str,
        origin: str,
        verifier: Verifier,
        continuations: Sequence[Continuation] = (),
        statement: bytes = b"",
    ) -> Checkpoint:
        """The checkpoint in `note`, now held as the last of log `origin`.

        Args:
            note: as shown by whoever brings it.
            origin: the log (`checkpoint.origin_of(site)`).
            verifier: the log's key.
            continuations: how the log goes on from what was held: as its site has said in `statement`, which the caller
                has opened; of the caller's own ledger, what it found there itself.
            statement: kept as evidence.

        Raises:
            InputError: if the note is malformed, or the disk does not take it: what was held is still held.
            NotJudged: if it is older, or nothing is said of what is held by now (c2sp.org/tlog-witness, "409
                Conflict"); nothing is kept.
            VerificationFailed: if another key signed it, or it is another log's (nothing is kept); if it does not
                extend what is held (evidence is kept); if the log is in conflict.
        """
        head = checkpoint.open_note(note, origin, verifier)  # rule 1
        with self._locked():
            if self._evidence(origin).exists():  # rule 5
                raise VerificationFailed(f"log {origin}: expected no conflict about it, got one that nobody resolved")
            path = self.folder / f"{_name(origin)}.note"
            before = _read_text(path) if path.exists() else None
            if before is not None:
                held = checkpoint.read_unverified(before)
                if held == head:
                    return head
                kind = _kind(held, head, continuations)
                if kind == UNKNOWN:  # rule 2
                    raise NotJudged(f"log {origin}: expected its site's word since {held.size} entries, got none")
                if kind == OLDER:  # rule 3
                    raise NotJudged(f"log {origin}: expected {held.size} entries or more, got its older {head.size}")
                if kind:  # rule 4
                    kept = self._keep(Conflict(origin, kind, before, note, statement))
                    what = f"expected {held.size} entries and more after them, got {head.size} without a proof"
                    raise VerificationFailed(f"log {origin} {kind}: {what}; {kept}")
            replace_file(path, note.encode("utf-8"))  # rule 6
        return head

    def conflicts(self) -> tuple[str, ...]:
        """The logs that are in conflict, in order."""
        return tuple(sorted(one.origin for one in map(_read_conflict, self._folder("conflicts").glob("*.json"))))

    def conflict(self, origin: str) -> Conflict:
        """The evidence against a log.

        Raises:
            InputError: if there is none.
        """
        return _read_conflict(self._evidence(origin))

    def resolve(self, origin: str, forget: bool = False) -> None:
        """End a conflict by a person's decision; the evidence is moved to `resolved/`.

        Args:
            origin: the log.
            forget: also drop the note held, so that the log's next one is taken as a first. Otherwise the log must
                again extend it.

        Raises:
            InputError: if the log is not in conflict.
        """
        with self._locked():
            evidence = self.conflict(origin)
            done = self._folder("resolved")
            done.mkdir(mode=0o700, exist_ok=True)
            number = sum(1 for _ in done.glob(f"{_name(origin)}-*.json"))
            replace_file(done / f"{_name(origin)}-{number}.json", evidence.to_bytes())
            if forget:
                (self.folder / f"{_name(origin)}.note").unlink(missing_ok=True)
                sync_directory(self.folder)
            self._evidence(origin).unlink()
            sync_directory(self._folder("conflicts"))

    def _keep(self, conflict: Conflict) -> str:
        """Put evidence on disk (rule 5). Returns what became of it; the log is refused either way."""
        path = self._evidence(conflict.origin)
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            sync_directory(self.folder)
            replace_file(path, conflict.to_bytes())
        except (OSError, InputError):
            return "the evidence could not be written"
        return f"both notes are kept in {path}"

    def _folder(self, name: str) -> Path:
        return self.folder / name

    def _evidence(self, origin: str) -> Path:
        return self._folder("conflicts") / f"{_name(origin)}.json"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise InputError(f"{self.folder}: expected a folder that can be written, got {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _kind(held: Checkpoint, head: Checkpoint, continuations: Sequence[Continuation]) -> str:
    """How `head` goes back on `held`; "" if it extends it (rules 2 to 4)."""
    if head.size == held.size:
        return FORKED
    proof = next((one.proof for one in continuations if (one.now, one.held) == (head.size, held)), None)  # rule 2
    if proof is None:
        return UNKNOWN
    older, newer, fine, fault = (head, held, OLDER, SHRUNK) if head.size < held.size else (held, head, "", UNPROVEN)
    try:
        merkle.verify_consistency(older.size, newer.size, proof, older.root, newer.root)
    except VerificationFailed:
        return fault
    return fine


def _name(origin: str) -> str:
    return hashlib.sha256(origin.encode("utf-8")).hexdigest()


def _read_conflict(path: Path) -> Conflict:
    return Conflict.from_bytes(_read_text(path, _MAX_EVIDENCE).encode("utf-8"), str(path))


def _read_text(path: Path, most: int = 4 * checkpoint.MAX_BYTES) -> str:
    try:
        with path.open("rb") as file:
            return file.read(most + 1).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a readable file, got {type(error).__name__}") from None
