"""The picture of spending as one SVG document: it stands alone, speaks, and needs no colour.

No script, no font, no reference to anything outside; title and description say in words what is shown; the cap is
dashed and labelled, not only red; readable on a light and on a dark page.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final
from xml.sax.saxutils import escape

from privacy.spending_picture import Spending, course_of, figure, moments, printable

_WIDTH: Final = 720
_TOP: Final = 12
_PANEL: Final = 260
_LEFT: Final = 72
_RIGHT: Final = 700
_PLOT: Final = (44, 204)
"""Top and bottom of the plot within a panel."""
_STYLE: Final = (
    "svg{font:13px system-ui,sans-serif}"
    ".page{fill:#ffffff}.ink{fill:#1f2937}.soft{fill:#4b5563;font-size:11px}.strong{fill:#1f2937;font-weight:600}"
    ".axis{stroke:#6b7280;fill:none}.reset{stroke:#6b7280;stroke-dasharray:2 3;fill:none}"
    ".area{fill:#1d4ed8;fill-opacity:.18}.line{stroke:#1d4ed8;stroke-width:2;fill:none}"
    ".cap{stroke:#b91c1c;stroke-width:1.5;stroke-dasharray:7 4;fill:none}.capword{fill:#b91c1c;font-size:11px}"
    "@media (prefers-color-scheme:dark){"
    ".page{fill:#111827}.ink,.strong{fill:#f3f4f6}.soft{fill:#d1d5db}"
    ".axis,.reset{stroke:#9ca3af}.area{fill:#93c5fd}.line{stroke:#93c5fd}"
    ".cap{stroke:#fca5a5}.capword{fill:#fca5a5}}"
)


def svg(pictures: Sequence[Spending]) -> str:
    """All sites' pictures below one another as one SVG document."""
    height = _TOP + len(pictures) * _PANEL
    summary = ". ".join(one.summary for one in pictures)
    panels = "".join(_panel(one, _TOP + n * _PANEL) for n, one in enumerate(pictures))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img"'
        ' aria-labelledby="title summary">\n'
        '<title id="title">Privacy charged over time, per employee</title>\n'
        f'<desc id="summary">{_text(summary)}. A step line of the mu² charged to everybody in each period, with the'
        " cap as a dashed line; it falls to zero where a period begins.</desc>\n"
        f"<style>{_STYLE}</style>\n"
        f'<rect class="page" width="{_WIDTH}" height="{height}"/>\n{panels}</svg>\n'
    )


def _panel(spending: Spending, top: int) -> str:
    course = course_of(spending)
    high, low = top + _PLOT[0], top + _PLOT[1]

    def x(share: float) -> str:
        return f"{_LEFT + share * (_RIGHT - _LEFT):.1f}"

    def y(value: float) -> str:
        return f"{low - value / course.top * (low - high):.1f}"

    line = _stairs([(step.at, step.spent) for step in course.steps], x, y)
    caps = _stairs([(step.at, step.cap) for step in course.steps], x, y)
    cap = course.steps[-1].cap
    first, last = moments(course)
    parts = [
        f'<text class="strong" x="{_LEFT}" y="{top + 14}">{_text(spending.site)}</text>',
        f'<text class="soft" x="{_LEFT}" y="{top + 31}">{_text(_after_site(spending))}</text>',
        f'<path class="area" d="{line} L{x(1)} {low} L{_LEFT} {low} Z"/>',
        f'<path class="line" d="{line}"/>',
        f'<path class="cap" d="{caps}"/>',
        f'<text class="capword" x="{_RIGHT}" y="{float(y(cap)) - 5:.1f}" text-anchor="end">cap {figure(cap)}</text>',
        f'<path class="axis" d="M{_LEFT} {high} V{low} H{_RIGHT}"/>',
        *(_tick(value, y) for value in _ticks(course.top)),
    ]
    taken = 0.0
    for at, label in course.periods:
        if at:
            parts.append(f'<path class="reset" d="M{x(at)} {high} V{low}"/>')
        if float(x(at)) >= taken:
            words = _text(f"period {label}")
            parts.append(f'<text class="soft" x="{float(x(at)) + 3:.1f}" y="{low + 15}">{words}</text>')
            taken = float(x(at)) + 8 + 6.5 * len(words)
    parts.append(f'<text class="soft" x="{_LEFT}" y="{low + 32}">{first}</text>')
    if last != first:
        parts.append(f'<text class="soft" x="{_RIGHT}" y="{low + 32}" text-anchor="end">{last}</text>')
    return "<g>" + "\n".join(parts) + "</g>\n"


def _stairs(places: Sequence[tuple[float, float]], x: Callable[[float], str], y: Callable[[float], str]) -> str:
    """A step line through (share of time, value), to the right edge."""
    parts = [f"M{x(places[0][0])} {y(places[0][1])}"]
    for at, value in places[1:]:
        parts.append(f"H{x(at)} V{y(value)}")
    return "".join([*parts, f"H{x(1)}"])


def _ticks(top: float) -> list[float]:
    """Round values from 0 on, at most six."""
    rough = max(top / 4, 1e-300)  # a denormal quarter has no logarithm
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= rough)
    return [n * step for n in range(6) if n * step < top]


def _tick(value: float, y: Callable[[float], str]) -> str:
    place = float(y(value))
    return (
        f'<path class="axis" d="M{_LEFT - 4} {place:.1f}H{_LEFT}"/>'
        f'<text class="soft" x="{_LEFT - 8}" y="{place + 4:.1f}" text-anchor="end">{figure(value)}</text>'
    )


def _after_site(spending: Spending) -> str:
    return spending.summary.removeprefix(f"{spending.site}: ")


def _text(text: str) -> str:
    return escape(printable(text))
