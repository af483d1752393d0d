"""The report on a site's records as tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.table import Table
from rich.text import Text

from records.quarantine import Held
from records.report import Report

REASONS_SHOWN: Final = 5
_COLOURS: Final = {"ready": "green", "ready with reservations": "yellow", "refuse": "red"}


def tables(report: Report) -> tuple[Table, ...]:
    """Verdict, people, sources, what did not get in (if anything), and features, in that order."""
    held = [line for one in report.sources for line in one.reasons]
    return (
        _verdict(report),
        _people(report),
        _sources(report),
        *([_quarantine(held)] if held else []),
        _features(report),
    )


def _verdict(report: Report) -> Table:
    shown = Table(
        "",
        "",
        title=Text(f"{report.site}: records for {report.purpose}, on {report.on}", "table.title"),
        show_header=False,
    )
    shown.add_row("verdict", Text(report.verdict, style=_COLOURS[report.verdict]))
    for reason in report.reasons:
        shown.add_row("", Text(reason, style=_COLOURS["refuse"] if reason in report.refusals else ""))
    shown.add_row("read", f"features as of {report.as_of}, label as of {report.until}")
    rate = "nobody has one" if report.label is None else f"{report.label_is} for {report.label:.1%}"
    shown.add_row("label", Text(rate))
    return shown


def _people(report: Report) -> Table:
    counts = f"{report.people:,} known, {report.usable:,} usable, at most {report.people_at_most:,} by contract"
    shown = Table(title=counts)
    shown.add_column("people", overflow="fold")
    shown.add_column("", justify="right")
    shown.add_column("what that costs", overflow="fold")
    shown.add_row("learned from", f"{report.labelled:,}", "")
    for group in report.left_out:
        shown.add_row(Text(group.reason), f"{group.people:,}", Text(group.costs))
    return shown


def _sources(report: Report) -> Table:
    shown = Table(title="What the sources delivered")
    shown.add_column("source", no_wrap=True)
    for name in ("rows", "facts", "known before", "late", "quarantined", "left out", "newest fact", "days old"):
        shown.add_column(name, justify="right", min_width=max(map(len, name.split())))
    for one in report.sources:
        counts = (one.rows, one.written, one.unchanged, one.late, one.quarantined, one.left_out)
        age = str(one.age) if one.fresh_days is None else f"{one.age}/{one.fresh_days}"
        aged = Text(age, style="yellow" if one.stale else "")
        shown.add_row(one.source, *(f"{count:,}" for count in counts), one.newest or "–", aged)
    return shown


def _quarantine(held: Sequence[Held]) -> Table:
    shown = Table("source", title="Why rows did not get in")
    shown.add_column("column", overflow="fold")
    shown.add_column("rows", justify="right")
    shown.add_column("reason", overflow="fold")
    shown.add_column("first rows")
    lines = sorted(held, key=lambda line: -line.rows)
    for line in lines[:REASONS_SHOWN]:
        places = ", ".join(map(str, line.places))
        shown.add_row(line.source, Text(line.column or "(row)"), f"{line.rows:,}", Text(line.reason), places)
    if len(lines) > REASONS_SHOWN:
        shown.add_row("", "", "", f"and {len(lines) - REASONS_SHOWN} more reasons: kith records quarantine")
    return shown


def _features(report: Report) -> Table:
    shown = Table(title=f"What is known of the {report.usable:,} usable people")
    shown.add_column("feature", no_wrap=True)
    shown.add_column("from")
    for name in ("known", "closed", "not stated"):
        shown.add_column(name, justify="right")
    shown.add_column("what that costs", overflow="fold")
    for one in report.features:
        shares = (one.known, one.closed, one.unstated)
        shown.add_row(one.name, ", ".join(one.sources), *(f"{share:.1%}" for share in shares), Text(one.costs))
    return shown
