"""The log of a run: what happened when, one JSON line for each event, for those who watch it now or look at it later.

Rules:
    1. A log takes only events as `federation.run_events` has them: nothing about a person.
    2. One process writes at a time; a second one is refused while the first lives, however that one ends.
    3. A writer that dies in the middle of a line leaves a torn one. Readers pass over it, and over all else that is no
       event; the next writer begins on a new line.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from federation.run_events import MAX_LINE, Event, event_line, read_event
from privacy.errors import InputError, Refused

FILE: Final = "events.jsonl"
_WAIT: Final = 1.0
"""Seconds that a writer waits for its place: readers hold the file for a moment to see whether it is written."""
_CHUNK: Final = 1 << 20


class RunLog:
    """The log of a run's folder, open for its one writer. Threads may share it."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        """Begin the log, or go on with it; the folder is made if there is none.

        Raises:
            InputError: if it can not be written.
            Refused: if another process is writing it (rule 2).
        """
        self._path, self._clock, self._turn = folder / FILE, clock, threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file = os.open(self._path, flags, 0o644)
        except OSError as error:
            raise self._unusable(error) from None
        if not _locked(self._file, fcntl.LOCK_EX, _WAIT):  # rule 2
            os.close(self._file)
            raise Refused(f"{self._path}: expected a run that no other process is at, got one that is going on")
        size = os.fstat(self._file).st_size
        self._torn = size > 0 and os.pread(self._file, 1, size - 1) != b"\n"  # rule 3

    def add(self, what: str, **facts: Any) -> None:
        """Write one event; whoever reads the log sees it when this returns.

        Times are given in seconds as numbers, decimals as text or `Decimal`, several names as a list or tuple. A
        failure's reason and a release's path may be any text: it is put on one line and cut.

        Raises:
            InputError: if it has no such shape (rule 1), or can not be written.
        """
        line = event_line(self._clock(), what, facts)
        with self._turn:
            self._append(b"\n" + line if self._torn else line)  # rule 3

    def close(self) -> None:
        """Let another process write."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def _append(self, data: bytes) -> None:
        self._torn = True
        while data:
            try:
                data = data[os.write(self._file, data) :]
            except OSError as error:
                raise self._unusable(error) from None
        self._torn = False

    def _unusable(self, error: OSError) -> InputError:
        return InputError(f"{self._path}: expected a log that can be written, got {error.strerror}")


class LogReader:
    """What a log says, from its beginning on, for as long as somebody reads.

    Attributes:
        damaged: lines so far that are no event.
    """

    def __init__(self, folder: Path) -> None:
        """Read the log of a run's folder, from its first line.

        Raises:
            InputError: if there is no log.
        """
        self._path, self._offset, self._rest, self._too_long = folder / FILE, 0, b"", False
        self.damaged = 0
        with _opened(self._path):
            pass

    def new(self) -> Iterator[Event]:
        """Events whose lines were finished since the last call.

        Raises:
            InputError: if the log can not be read.
        """
        with _opened(self._path) as file:
            os.lseek(file, self._offset, os.SEEK_SET)
            while chunk := os.read(file, _CHUNK):
                self._offset += len(chunk)
                yield from self._events(chunk)

    def _events(self, chunk: bytes) -> Iterator[Event]:
        *lines, rest = (self._rest + chunk).split(b"\n")
        self._rest = rest
        for line in lines:
            event = None if self._too_long else read_event(line)
            self._too_long = False
            if event is not None:
                yield event
            elif line:
                self.damaged += 1
        if len(self._rest) > MAX_LINE:
            self._rest, self._too_long = b"too long", True


def read_log(folder: Path) -> tuple[Event, ...]:
    """All events of a run's folder so far.

    Raises:
        InputError: if it has no log, or one that can not be read.
    """
    return tuple(LogReader(folder).new())


def is_written(folder: Path) -> bool:
    """Whether a process has the folder's log open for writing: whether the run is alive on this machine.

    Raises:
        InputError: if there is no log, or it can not be read.
    """
    with _opened(folder / FILE) as file:
        return not _locked(file, fcntl.LOCK_SH, 0)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(f"{path}: expected a run's log, got {error.strerror}") from None
    try:
        if not os.path.isfile(file):  # noqa: PTH113 - of the open file, not of what lies at its name by now
            raise InputError(f"{path}: expected a run's log, got no file")
        yield file
    finally:
        os.close(file)


def _locked(file: int, how: int, wait: float) -> bool:
    """Lock an open file; the lock goes with its last descriptor."""
    ends = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= ends:
                return False
            time.sleep(0.02)
        else:
            return True
