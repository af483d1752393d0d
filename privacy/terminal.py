"""The one place that decides how wide a table is: the terminal's width, or 140 columns where there is none."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def console() -> Console:
    """Standard output for tables and words."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 140)
