"""Logs that say what failed and where in the code, never on which value.

Exception texts and tracebacks of third parties repeat what they choked on: pydantic the input, SQL drivers the
parameters, JSON readers the key. In this service that is personal data.
"""

from __future__ import annotations

import logging
import traceback
from types import TracebackType
from typing import Final

_LOGGERS: Final = ("", "bentoml", "circus", "uvicorn", "uvicorn.error", "fastapi", "alembic", "sqlalchemy")
_FRAMES: Final = 6


class ValueFree(logging.Filter):
    """Replaces an exception in a log record by its type and the innermost places it passed."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep every record, without its exception."""
        if record.exc_info:
            kind, _, trace = record.exc_info
            record.exc_text = described(kind, trace)
            record.exc_info = None
        return True


def described(kind: type[BaseException] | None, trace: TracebackType | None) -> str:
    """One line: the exception's type and the innermost places in the code, outermost first."""
    frames = traceback.extract_tb(trace)[-_FRAMES:]
    return f"{kind.__name__ if kind else 'Exception'} at " + " > ".join(
        f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}" for frame in frames
    )


def install() -> None:
    """Filter every handler that is configured now; again is harmless."""
    for name in _LOGGERS:
        for handler in logging.getLogger(name).handlers:
            if not any(isinstance(present, ValueFree) for present in handler.filters):
                handler.addFilter(ValueFree())
