"""Times of the week, as a site's policy writes them: "Mon-Fri 07:00-19:00"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from privacy.errors import InputError

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY: Final = "|".join(DAYS)
_WRITTEN: Final = re.compile(rf"({_DAY})(?:-({_DAY}))? (\d\d):(\d\d)-(\d\d):(\d\d)", re.ASCII)
_MINUTES: Final = 24 * 60


@dataclass(frozen=True)
class Hours:
    """The same minutes of several days in a row.

    Attributes:
        first, last: days, 0 for Monday, the last included.
        begin, end: minutes since midnight, the end not included.
    """

    first: int
    last: int
    begin: int
    end: int

    def __post_init__(self) -> None:
        """Refuse what does not begin before it ends: a night is written as an evening and a morning.

        Raises:
            InputError: saying so.
        """
        if not 0 <= self.first <= self.last < len(DAYS) or not 0 <= self.begin < self.end <= _MINUTES:
            raise InputError("policy, hours: expected times that begin before they end within a week, got otherwise")

    @classmethod
    def from_text(cls, text: str) -> Hours:
        """The hours that `str` gives.

        Raises:
            InputError: for anything else.
        """
        found = _WRITTEN.fullmatch(text)
        if found is None or max(int(found[4]), int(found[6])) > 59:
            raise InputError(f"policy, hours: expected such as 'Mon-Fri 07:00-19:00', got {text!r:.60}")
        first, last = DAYS.index(found[1]), DAYS.index(found[2] or found[1])
        return cls(first, last, *(60 * int(found[n]) + int(found[n + 1]) for n in (3, 5)))

    def __str__(self) -> str:
        days = DAYS[self.first] + (f"-{DAYS[self.last]}" if self.last > self.first else "")
        return f"{days} {_clock(self.begin)}-{_clock(self.end)}"

    def holds(self, local: datetime) -> bool:
        """Whether a moment, by the site's own clock, is within them."""
        return self.first <= local.weekday() <= self.last and self.begin <= 60 * local.hour + local.minute < self.end


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
