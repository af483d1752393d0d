"""The folders of runs, and how each run in them stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from federation.run_events import MAX_NAME, Event
from federation.run_log import FILE, LogReader, is_written
from federation.run_state import Fold, RunState
from privacy.errors import InputError

MAX_RUNS: Final = 10_000
"""In one folder."""


class Following:
    """A run's log that is read on as it grows, and the state that it makes."""

    def __init__(self, folder: Path) -> None:
        """Begin with the log's first line.

        Raises:
            InputError: if the folder holds no log.
        """
        self._folder, self._reader, self._fold = folder, LogReader(folder), Fold()

    def new(self) -> Iterator[Event]:
        """Events since the last call; each is in the state once it is taken.

        Raises:
            InputError: if the log can not be read.
        """
        for event in self._reader.new():
            self._fold.add(event)
            yield event

    def state(self, now: float | None = None) -> RunState:
        """How the run stands by the events taken so far.

        Raises:
            InputError: if the log can not be read.
        """
        return self._fold.state(now, is_written(self._folder))


class Runs:
    """All runs of a folder."""

    def __init__(self, folder: Path) -> None:
        """The folder in which run folders are made.

        Raises:
            InputError: if there is none.
        """
        if not folder.is_dir():
            raise InputError(f"{folder}: expected a folder of runs, got none")
        self._folder = folder
        self._followed: dict[str, Following] = {}

    def states(self, now: float | None = None) -> Mapping[str, RunState]:
        """How each run stands, by its folder's name, the one that began last at the end.

        A folder without a log is none of a run; a log that can not be read is left out.

        Raises:
            InputError: if the folder can not be read, or holds too many.
        """
        names = self._names()
        self._followed = {name: one for name, one in self._followed.items() if name in names}
        found = {name: state for name in names if (state := self._state(name, now)) is not None}
        return dict(sorted(found.items(), key=lambda item: (item[1].began, item[0])))

    def _names(self) -> set[str]:
        try:
            names = {path.parent.name for path in self._folder.glob(f"*/{FILE}")}
        except OSError as error:
            raise InputError(f"{self._folder}: expected a folder that can be read, got {error.strerror}") from None
        if len(names) > MAX_RUNS:
            raise InputError(f"{self._folder}: expected at most {MAX_RUNS} runs, got {len(names)}")
        return {name for name in names if _is_plain(name)}

    def _state(self, name: str, now: float | None) -> RunState | None:
        try:
            following = self._followed.get(name) or Following(self._folder / name)
            self._followed[name] = following
            for _ in following.new():
                pass
            return following.state(now)
        except InputError:
            return None


def run_folder(runs: Path, name: str) -> Path:
    """The folder of a run, by its id.

    Raises:
        InputError: if the id is no plain name, or there is no such run.
    """
    if not _is_plain(name):
        raise InputError(f"run: expected the name of a folder in {runs}, got {ascii(name)[:60]}")
    folder = runs / name
    if not folder.is_dir():
        raise InputError(f"run: expected one of those in {runs}, got {name!r:.60}")
    if not (folder / FILE).is_file():
        raise InputError(f"{folder}: expected a run's folder, got one without {FILE}")
    return folder


def _is_plain(name: str) -> bool:
    fits = 1 <= len(name) <= MAX_NAME and name.isprintable() and name not in (".", "..")
    return fits and "/" not in name
