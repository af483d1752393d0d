"""The made-up people behind the sample group's exports: each row of a sample table given a number and a past.

The past is chosen so that reading it as of the timeline's day gives the row back: the day of joining gives the tenure,
the managers of the three years before it their changes, and so on. Nobody here exists; the names are invented and
sound like it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import pairwise
from typing import Final

import numpy as np
import pandas as pd

from records.sample.timeline import Timeline, months_before

EXECUTIVES: Final = tuple(f"{number:06d}" for number in range(1, 9))
"""Numbers of the group's executives: they lead every site's leads and are in no site's own exports."""

GIVEN: Final = ("Aavi", "Bríd", "Cymbe", "Dørte", "Elowyn", "Fjóla", "Gwil", "Høgni", "Ilsabé", "Jorvi", "Kätlin")
SURNAMES: Final = (
    "Aldermoss",
    "Brindlewick",
    "Corvensø",
    "Dunnquill",
    "Ebberström",
    "Fennimarsh",
    "Gorsebury",
    "Hallowdün",
    "Inkelthwaite",
    "Jarrowfen",
    "Kestrelgård",
    "Larkhöllow",
)
"""Invented, and found nowhere else, so that a search for them in a store proves that no name got in."""

STANDINGS: Final[Mapping[str, float]] = {
    "given": 0.905,  # was told, and agreed to what needs consent
    "informed": 0.04,  # was told; pulse and overtime stay unread
    "untold": 0.03,
    "objected": 0.015,
    "withdrawn": 0.007,
    "returned": 0.003,  # objected, and took it back
}
"""What people said of the use of their records for retention, as shares."""


@dataclass(frozen=True, slots=True)
class SamplePerson:
    """One made-up employee.

    Attributes:
        key: `employee_key` of the sample table; "" for people who are in no table (`exit` says why).
        number: the employee number, six digits.
        cells: the row of the sample table, None where missing.
        joined: first day of work.
        promoted: since when at the present level.
        managers: (from, manager's number), in order of time, each differing from the one before.
        ended: last day of work, or None.
        exit: "voluntary", "involuntary", "retirement" or "end_of_term", or None.
        standing: one of STANDINGS.
    """

    key: str
    number: str
    given: str
    surname: str
    cells: Mapping[str, str | None]
    joined: date
    promoted: date
    managers: tuple[tuple[date, str], ...]
    ended: date | None
    exit: str | None
    standing: str

    def cell(self, column: str) -> str:
        """The cell of the sample table as it is written there, "" where missing."""
        return self.cells[column] or ""

    @property
    def manager(self) -> str:
        """Number of the present manager."""
        return self.managers[-1][1]

    def there_after(self, day: date) -> bool:
        """Whether the employment outlasts the day."""
        return self.ended is None or self.ended > day


def sample_people(site: int, frame: pd.DataFrame, seed: int, days: Timeline) -> list[SamplePerson]:
    """The people of a sample table, in its order, and after them some who are in none.

    About 1 % more left within the year for a reason that is no label, and 0.5 % had left before it.

    Args:
        site: position in `records.sample.group.PROFILES`.
        frame: that site's sample table.
        seed: the same people for the same seed and day.
        days: what their pasts are dated by.
    """
    random = np.random.default_rng([seed, site, 1])
    rows = [{name: cell if isinstance(cell, str) else None for name, cell in row.items()} for row in _records(frame)]
    others, gone = max(1, round(0.01 * len(rows))), max(1, round(0.005 * len(rows)))
    known = len(rows)
    rows += [rows[place] for place in random.integers(0, known, others + gone)]
    numbers = [f"{number:06d}" for number in random.choice(np.arange(101, 99_999), len(rows), replace=False)]
    leads = [number for number, row in zip(numbers[:known], rows, strict=False) if row["job_level"] == "lead"]
    people = [_person(row, number, leads, days, random) for row, number in zip(rows, numbers, strict=True)]
    for place in range(known, len(rows)):
        people[place] = _without_label(people[place], place >= known + others, days.as_of, random)
    return people


def _records(frame: pd.DataFrame) -> list[dict[str, object]]:
    return [{str(name): cell for name, cell in row.items()} for row in frame.to_dict("records")]


def _person(
    row: Mapping[str, str | None], number: str, leads: Sequence[str], days: Timeline, random: np.random.Generator
) -> SamplePerson:
    months = round(float(row["tenure_years"] or 0) * 12)
    joined = months_before(days.as_of, months, 1 if months == 0 else int(random.integers(1, 29)))
    superiors = EXECUTIVES if row["job_level"] == "lead" else [lead for lead in leads if lead != number]
    leaves = row["left"] == "yes"
    return SamplePerson(
        key=row["employee_key"] or "",
        number=number,
        given=GIVEN[random.integers(len(GIVEN))],
        surname=SURNAMES[random.integers(len(SURNAMES))],
        cells=row,
        joined=joined,
        promoted=months_before(days.as_of, int(row["months_since_promotion"] or 0), int(random.integers(1, 29))),
        managers=_managers(joined, int(row["manager_changes"] or 0), superiors, days, random),
        ended=days.as_of + timedelta(int(random.integers(5, 360))) if leaves else None,
        exit="voluntary" if leaves else None,
        standing=str(random.choice(tuple(STANDINGS), p=tuple(STANDINGS.values()))),
    )


def _managers(
    joined: date, changes: int, superiors: Sequence[str], days: Timeline, random: np.random.Generator
) -> tuple[tuple[date, str], ...]:
    """As many changes as asked for within the three years before as_of, none on the first day."""
    first = max(joined, days.first_managers)
    earliest = max(first + timedelta(1), days.first_change)
    after = np.sort(random.choice((days.as_of - earliest).days, changes, replace=False))
    steps = random.integers(1, len(superiors), changes)
    chosen = np.cumsum([random.integers(len(superiors)), *steps]) % len(superiors)
    dates = [first, *(earliest + timedelta(int(count)) for count in after)]
    return tuple((day, superiors[place]) for day, place in zip(dates, chosen, strict=True))


def _without_label(person: SamplePerson, gone: bool, as_of: date, random: np.random.Generator) -> SamplePerson:
    """The same past, and an end that gives no label: another reason, or before as_of."""
    count = timedelta(int(random.integers(5, 300 if gone else 360)))  # who left two years before today is past all time
    ended = as_of - count if gone else as_of + count
    exits = ("voluntary", "involuntary") if gone else ("involuntary", "retirement", "end_of_term")
    joined = min(person.joined, ended)
    managers = tuple((min(since, ended), manager) for since, manager in person.managers)
    kept = managers[:1] + tuple(later for earlier, later in pairwise(managers) if later[0] > earlier[0])
    return replace(
        person, key="", joined=joined, managers=kept, ended=ended, exit=str(random.choice(exits)), standing="given"
    )
