"""Times by turns, ratios by pairs, memory in a process of its own.

Machines differ and are shared, so a time alone says little. What is compared runs by turns (A B A B …) in one process,
each ratio is taken within one turn, and the median over the turns is stated with its quartiles.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

ROOT: Final = Path(__file__).resolve().parent.parent

Progress = Callable[[str], None]
Clock = Callable[[], float]


class Skipped(Exception):  # noqa: N818  (not an error: the reason why a subject was not measured)
    """A subject can not be measured here; the message says why."""


@dataclass(frozen=True, slots=True)
class Report:
    """A subject's table for people, and its figures for programs (JSON-able)."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    figures: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles of some measurements."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        low, median, high = (float(q) for q in np.quantile(np.asarray(values), (0.25, 0.5, 0.75)))
        return cls(median, low, high, len(values))

    def shown(self, scale: float = 1.0, unit: str = "") -> str:
        """Median (low–high), each times `scale`."""
        median, low, high = (_three_digits(scale * value) for value in (self.median, self.low, self.high))
        return f"{median}{unit} ({low}–{high})"

    def to_document(self) -> dict[str, float]:
        """For the figures."""
        return {name: float(f"{value:.6g}") if name != "count" else value for name, value in asdict(self).items()}


def by_turns(
    work: Mapping[str, Callable[[], object]],
    turns: int,
    progress: Progress,
    what: str = "",
    clock: Clock = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds that each piece of work took, turn by turn, after one turn that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(turns + 1):
        progress(f"{what}turn {turn} of {turns}" if turn else f"{what}warming up")
        for name, one in work.items():
            taken = timed(one, clock)
            if turn:
                seconds[name].append(taken)
    return seconds


def timed(work: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    """Seconds that a piece of work takes, by a clock of the wall or of the processor."""
    began = clock()
    work()
    return clock() - began


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Ours over theirs, turn by turn."""
    return Spread.of([a / b for a, b in zip(ours, theirs, strict=True)])


def child(*arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """What a Python process of its own prints, started in the project's root; its errors are this process's."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


def memory_in_child(module: str, name: str) -> tuple[float, float] | None:
    """MiB that work `name` of `module` holds before it runs, and adds at its peak; None where they can not be read.

    Large blocks go back to the system when freed (the threshold is fixed), so one that was freed before is not mistaken
    for memory that the work did not need.
    """
    told = json.loads(child("-m", "benchmarks.memory", module, name, environment={"MALLOC_MMAP_THRESHOLD_": "65536"}))
    return None if told is None else (told["holds"], told["adds"])


def _three_digits(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - int(np.floor(np.log10(abs(value)))) if value else 2)}f}"
