"""What a guard's process does before it opens anything, and how it tells what it does."""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Final

PR_SET_DUMPABLE: Final = 4
PR_SET_NO_NEW_PRIVS: Final = 38
FRAMES: Final = 6
OURS: Final = "kith"


def harden() -> None:
    """Keep what the process holds to itself, as far as the system lets it (Linux).

    New files are its user's alone. No memory is written to disk if it ends badly; no process, its own user's others
    included, reads its memory or environment or attaches to it; and nothing that it starts gains rights.
    """
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, AttributeError):
        system = ctypes.CDLL(None, use_errno=True)
        system.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
        system.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


class JsonLines(logging.Formatter):
    """One JSON object a line.

    Only Kith's own words are kept: those of other libraries, and of errors that nobody foresaw, may hold a person's
    value, so of these there are the kind and the place alone.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record; `extra={"facts": {...}}` adds fields to it."""
        line: dict[str, Any] = {"at": round(record.created, 3), "level": record.levelname.lower(), "from": record.name}
        if record.name.split(".")[0] == OURS:
            line["what"] = record.getMessage()
        else:
            line["where"] = f"{Path(record.pathname).name}:{record.lineno}"
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            frames = traceback.extract_tb(record.exc_info[2])[-FRAMES:]
            line["frames"] = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames]
        return json.dumps(line | getattr(record, "facts", {}))


def compute_alone() -> None:
    """One thread for the sums over people, unless the environment says otherwise; before torch is loaded.

    Several wait for each other in busy loops, which takes longer than it saves where the machine has other work.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def log_to_stderr() -> None:
    """Write every record from "info" on as a JSON line, and no library's but from "warning" on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger(OURS).setLevel(logging.INFO)
    logging.captureWarnings(True)


def warm() -> None:
    """Load what contributions are computed with, seconds that the first one then need not wait for."""
    began = time.monotonic()
    from models import measures, training

    del measures, training
    logging.getLogger("kith.guard.server").info(
        "warm", extra={"facts": {"seconds": round(time.monotonic() - began, 1)}}
    )
