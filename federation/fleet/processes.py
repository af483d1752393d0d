"""Processes of this host that outlive the command that started them, and are known again by more than their number.

Rules:
    1. A process is ours only if its number and the moment it began (from the kernel, with the boot's id) are those
       that were written down: a number that was given to somebody else's process is nobody's of ours.
    2. Only ours are signalled: the process and those of its group, which it leads.
    3. A process gets the environment that its part names and nothing else: a fleet's app code must not find there what
       the operator's shell has. The guard's alone names all of it, for a ledger's address may be there.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from privacy.atomic_files import replace_file
from privacy.errors import InputError, KithError

GRACE: Final = 10.0
"""Seconds for a process to end by itself once asked to."""
_MAX_BYTES: Final = 4096
_PROC: Final = Path("/proc")


@dataclass(frozen=True)
class Program:
    """What is started.

    Attributes:
        command: the program and its arguments; nothing secret, for anybody can read them.
        environment: all of its environment.
        folder: where it runs.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path


@dataclass(frozen=True)
class Place:
    """Where it is written down which process a part is, and what it says.

    Attributes:
        run: folder of the numbers.
        log: folder of the logs.
        name: the part's.
    """

    run: Path
    log: Path
    name: str

    @property
    def file(self) -> Path:
        """Of the number."""
        return self.run / f"{self.name}.json"

    @property
    def log_file(self) -> Path:
        """Of what it says."""
        return self.log / f"{self.name}.log"


def start(program: Program, place: Place) -> int:
    """Start a program in a session of its own, unless it runs; its process's number.

    Raises:
        InputError: if it can not be started.
    """
    running = pid_of(place)
    if running is not None:
        return running
    for folder in (place.run, place.log):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        log = os.open(place.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            process = subprocess.Popen(  # noqa: S603 - the command is ours
                program.command,
                env=dict(program.environment),
                cwd=program.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                umask=0o077,
            )
        finally:
            os.close(log)
    except OSError as error:
        raise InputError(f"{place.name}: expected to start {program.command[0]}, got {error.strerror}") from None
    began = _began(process.pid)
    if began is not None:
        replace_file(place.file, json.dumps({"pid": process.pid, "began": began}).encode())
    return process.pid


def pid_of(place: Place) -> int | None:
    """The number of the part's process, or None if it does not run (rule 1)."""
    try:
        written = json.loads(place.file.read_bytes()[:_MAX_BYTES])
        pid, began = int(written["pid"]), str(written["began"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return pid if _began(pid) == began else None


def stop(places: Sequence[Place], grace: float = GRACE) -> int:
    """End the parts' processes and their groups (rule 2), all at once; how many ran.

    Raises:
        KithError: if one can not be ended.
    """
    running = [(place, pid) for place in places if (pid := pid_of(place)) is not None]
    for number in (signal.SIGTERM, signal.SIGKILL):
        for place, pid in running:
            if pid_of(place) == pid:
                _signal(pid, number)
        ends = time.monotonic() + grace
        while (left := [place for place, _ in running if pid_of(place) is not None]) and time.monotonic() < ends:
            time.sleep(0.05)
    for place in places:
        if place in left:
            raise KithError(f"{place.name}: expected its process to end, it goes on")
        place.file.unlink(missing_ok=True)
    return len(running)


def tell(place: Place, number: signal.Signals) -> None:
    """Send a signal to the part's process alone, if it runs."""
    pid = pid_of(place)
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def last_lines(place: Place, number: int = 3) -> str:
    """What a part said last, in one line."""
    try:
        with place.log_file.open("rb") as file:
            file.seek(max(0, place.log_file.stat().st_size - _MAX_BYTES))
            lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines()]
    except OSError:
        return ""
    return " | ".join([line for line in lines if line][-number:])


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)  # it leads its own group


def _began(pid: int) -> str | None:
    """The boot and the tick of it at which a process began; None if there is none or it only waits to be buried."""
    try:
        told = (_PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
    after_name = told.rpartition(")")[2].split()
    return None if after_name[0] in "ZX" else f"{boot} {after_name[19]}"
