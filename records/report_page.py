"""The report on a site's records as one HTML page: no script, nothing from elsewhere, every figure also as text."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from jinja2 import Environment, StrictUndefined

from privacy.errors import InputError
from records.report import Report

TEMPLATE: Final = Path(__file__).with_name("report_page.html.j2")


def page(report: Report) -> str:
    """The whole page: the same text for the same report."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(count=_count, share=_share, stacked=_stacked, months=_months)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(report=report, rows=sum(one.rows for one in report.sources))


def write_page(report: Report, path: Path) -> None:
    """Write the page, readable by its owner alone: its figures are exact, and about few people.

    Raises:
        InputError: if the path can not be written.
    """
    content = page(report)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)  # before anything is in it, also where the file was there
            file.truncate()
            file.write(content)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "none"
        raise InputError(f"{str(path)!r:.300}: expected a file that can be written, got {reason}") from None


def _count(number: int) -> str:
    return f"{number:,}"


def _share(share: float) -> str:
    return f"{share:.1%}"


def _stacked(values: Sequence[float], whole: float = 1.0) -> list[tuple[float, float]]:
    """Where each part of a stacked bar begins and how wide it is, in percent of the whole."""
    placed = []
    start = 0.0
    for value in values:
        width = 100 * value / whole if whole else 0.0
        placed.append((round(start, 3), round(width, 3)))
        start += width
    return placed


def _months(months: Mapping[str, int]) -> list[tuple[str, int, float]]:
    """Month, facts, and the height of its bar in percent of the highest."""
    most = max(months.values(), default=0) or 1
    return [(month, facts, round(100 * facts / most, 1)) for month, facts in months.items()]
