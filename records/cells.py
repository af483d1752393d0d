"""Cells: what a source wrote, as typed values. What does not read in one way only is not read at all.

A number is a decimal writing in the declared decimal and grouping signs, and nothing else. Days and times are read by
`records/days.py`. Reasons never hold what a cell holds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from records.table import is_shown

MAX_CELL: Final = 1_000
MAX_CODE: Final = 200
MAX_NUMBER_TEXT: Final = 40
DECIMALS: Final = (".", ",")
THOUSANDS: Final = ("", ".", ",", " ", "'")

_DURATION: Final = re.compile(
    r"P(?:(?P<W>[0-9]{1,6}(?:[.,][0-9]{1,9})?)W|(?:(?P<D>[0-9]{1,6}(?:[.,][0-9]{1,9})?)D)?"
    r"(?:T(?:(?P<H>[0-9]{1,6}(?:[.,][0-9]{1,9})?)H)?(?:(?P<M>[0-9]{1,9}(?:[.,][0-9]{1,9})?)M)?"
    r"(?:(?P<S>[0-9]{1,9}(?:[.,][0-9]{1,9})?)S)?)?)"
)
_SECONDS: Final = {"W": 604_800, "D": 86_400, "H": 3_600, "M": 60, "S": 1}


class Unreadable(ValueError):  # noqa: N818 - it says what a cell is; whoever asked decides whether that is an error
    """A cell that can not be read; the text says why and holds nothing of the cell."""


def trimmed(text: str) -> str:
    """The text without outer blanks, inner runs of them (also no-break spaces and line breaks) made one space."""
    return " ".join(text.split())


def folded(text: str) -> str:
    """The text by which values are compared: trimmed, and without case."""
    return trimmed(text).casefold()


def code(text: str) -> str:
    """A code or category as it is written, trimmed.

    Raises:
        Unreadable: if it is longer than `MAX_CODE` or holds a character that can not be seen.
    """
    found = trimmed(text)
    if len(found) > MAX_CODE or not (found.isprintable() or is_shown(found)):
        raise Unreadable(f"expected printable text of at most {MAX_CODE} characters, got other")
    return found


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """How a source writes numbers: its decimal sign, and the sign between groups of three digits ("" for none)."""

    decimal: str = "."
    thousands: str = ""

    def read(self, text: str, scale: Decimal = Decimal(1)) -> float:
        """The number in a cell times `scale`, multiplied as decimals.

        Raises:
            Unreadable: for any other text, also for NaN, infinity and numbers in two lengths of groups.
        """
        found = trimmed(text)
        if len(found) > MAX_NUMBER_TEXT or not _number_pattern(self.decimal, self.thousands).fullmatch(found):
            raise Unreadable("expected a number in the declared writing, got other text")
        if self.thousands:
            found = found.replace(self.thousands, "")
        return float(Decimal(found.replace(self.decimal, ".")) * scale)


def _number_pattern(decimal: str, thousands: str) -> re.Pattern[str]:
    """Compiled by `re`, which remembers it."""
    whole = rf"[0-9]{{1,3}}(?:{re.escape(thousands)}[0-9]{{3}})+|[0-9]+" if thousands else "[0-9]+"
    point = re.escape(decimal)
    return re.compile(rf"[+-]?(?:(?:{whole})(?:{point}[0-9]*)?|{point}[0-9]+)(?:[eE][+-]?[0-9]{{1,2}})?")


def hours(text: str) -> float:
    """The hours of an ISO 8601 duration in weeks, or in days, hours, minutes and seconds (a day has 24 hours).

    Raises:
        Unreadable: for other text, for years and months, which have no fixed length, and for a fraction of any unit
            but the smallest.
    """
    match = _DURATION.fullmatch(text.strip())
    parts = {unit: amount for unit, amount in match.groupdict().items() if amount} if match else {}
    whole = list(parts.values())[:-1]
    if not parts or any("." in amount or "," in amount for amount in whole) or text.strip().endswith("T"):
        raise Unreadable("expected an ISO 8601 duration without years and months, got other text")
    seconds = sum(Decimal(amount.replace(",", ".")) * _SECONDS[unit] for unit, amount in parts.items())
    return float(seconds / 3_600)
