"""Hiring at Norrvik Logistics in the months before a day: applications, interviews, and who then came.

Everyone who accepted an offer is in the personnel and pay exports as the offer said, but one: 103,000 a year was
offered, and the new record says 130,000.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import numpy as np

from records.sample.activity import annual_pay
from records.sample.files import Sheet
from records.sample.people import SamplePerson
from records.sample.systems import GRADES, NORRVIK_JOBS

OFFERED: Final = 103_000
RECORDED: Final = 130_000
STAGES: Final = ("Applied", "Screening", "Interview", "Offer")
APPLICATIONS: Final = 160
HIRES: Final = 8


@dataclass(frozen=True, slots=True)
class Hire:
    """Someone who accepted an offer: the new record, the candidate's reference, and the pay offered and recorded."""

    person: SamplePerson
    candidate: str
    offered: int
    recorded: int


def hires(people: Sequence[SamplePerson], today: date, random: np.random.Generator) -> list[Hire]:
    """Who came in the last weeks, with the features of people who are there already and numbers of their own.

    The first is the one whose pay was recorded wrong.
    """
    taken = {person.number for person in people}
    free = [f"{number:06d}" for number in random.choice(np.arange(101, 99_999), 3 * HIRES, replace=False)]
    numbers = [number for number in free if number not in taken]
    found = []
    for place, row in enumerate(random.choice(len(people), HIRES, replace=False)):
        joined = today - timedelta(int(random.integers(3, 25)))
        like = people[row]
        person = replace(
            like,
            key="",
            number=numbers[place],
            joined=joined,
            promoted=joined,
            managers=((joined, like.manager),),
            ended=None,
            exit=None,
            standing="given",
        )
        offered, recorded = (annual_pay(person), annual_pay(person)) if place else (OFFERED, RECORDED)
        found.append(Hire(person, f"C-{9000 + place}", offered, recorded))
    return found


def applications(taken: Sequence[Hire], today: date, random: np.random.Generator) -> Sheet:
    """The applicant tracking system's list of applications: most said no to, some open, the hires' accepted."""
    sheet = Sheet(
        (
            *("Candidate ID", "Candidate", "E-mail", "Requisition", "Department", "Stage", "Disposition"),
            *("Stage entered", "Keep data", "Offer p.a.", "Offer start", "Offer grade", "Race/Ethnicity (EEO)"),
        )
    )
    for number in range(APPLICATIONS):
        family = str(random.choice(tuple(NORRVIK_JOBS)))
        stage = int(random.choice(4, p=(0.35, 0.3, 0.3, 0.05)))
        disposition = str(random.choice(("Rejected", "Withdrew", "Open"), p=(0.6, 0.1, 0.3)))
        entered = today - timedelta(int(random.integers(5, 120)))
        candidate = f"C-{1000 + number}"
        sheet.add(
            candidate,
            *(candidate, f"Candidate {number}", f"c{number}@mail.example", _requisition(family)),
            *(NORRVIK_JOBS[family], STAGES[stage], disposition, entered, ("no", "yes")[number % 2]),
            *(None, None, None, "Declined to state"),
        )
    for hire in taken:
        person = hire.person
        family = person.cell("job_family")
        sheet.add(
            hire.candidate,
            *(hire.candidate, f"{person.given} {person.surname}", "c@mail.example", _requisition(family)),
            *(NORRVIK_JOBS[family], "Hired", "Accepted", person.joined - timedelta(30), "yes"),
            *(hire.offered, person.joined, GRADES[person.cell("job_level")], "Declined to state"),
        )
    return sheet


def interviews(listed: Sheet, random: np.random.Generator) -> Sheet:
    """The interviews of everyone who got that far; slots are local times of the site without an offset."""
    sheet = Sheet(
        (
            *("Candidate ID", "Requisition", "Round", "Slot", "Format", "Site", "Candidate UTC offset"),
            *("Days ahead", "Moved", "Confirmed", "Accepted", "Showed up", "Notes"),
        )
    )
    for row, candidate in zip(listed.rows, listed.owners, strict=True):
        if row[listed.place("Stage")] not in ("Interview", "Offer", "Hired"):
            continue
        entered = row[listed.place("Stage entered")]
        assert isinstance(entered, date)  # noqa: S101 - written so by `applications`
        start = datetime.combine(entered, time(int(random.integers(8, 16)), 30), UTC)
        shows = random.random() < 0.8
        sheet.add(
            candidate,
            *(candidate, row[listed.place("Requisition")], 1, f"{start:%Y-%m-%d %H:%M}"),
            *(("Video", "On site")[int(random.integers(2))], "Norrvik", int(random.integers(-1, 3))),
            *(int(random.integers(1, 15)), int(random.integers(0, 3)), "Y", "Y", "Y" if shows else "N", "Was nervous"),
        )
    return sheet


def _requisition(family: str) -> str:
    return f"REQ-{tuple(NORRVIK_JOBS).index(family) + 1:03d}"
