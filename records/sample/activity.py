"""What the other systems of the five subsidiaries export: learning, surveys, working time, pay and consent."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

import numpy as np

from records.sample.files import Cell, Sheet
from records.sample.people import SamplePerson
from records.sample.timeline import Timeline, year_before

COURSES: Final = (
    *("safety-at-work", "forklift-basics", "data-protection", "first-aid", "leading-a-team", "spreadsheets"),
    *("giving-feedback", "planning-a-shift", "customer-talks", "quality-circle", "english-b2", "negotiation"),
)
VERBS: Final = "http://adlnet.gov/expapi/verbs/"
LEARNING_DAYS: Final = 350
MONTH_DAYS: Final = 27
MOST_OVERTIME: Final = 40.0
MIDPOINTS: Final = {"entry": 31_000, "skilled": 42_000, "senior": 58_000, "lead": 84_000}
"""What the market pays a year at each level, in the site's own money."""


PAYROLL: Final = ("Employee Number", "Annual Base Pay", "Compa Ratio", "Last Change")
"""Columns of the group's payroll provider."""


def annual_pay(person: SamplePerson) -> int:
    """A year's pay in whole hundreds: the market's for the level, times the place against it."""
    return MIDPOINTS[person.cell("job_level")] * int(person.cell("pay_against_market")) // 10_000 * 100


@dataclass(frozen=True, slots=True)
class Completion:
    """A course that was completed, with the hours it is credited with."""

    course: str
    when: datetime
    hours: float
    score: float


def learning(person: SamplePerson, days: Timeline, random: np.random.Generator) -> list[Completion]:
    """The courses of the year before as_of, whose hours add up to eight a day of training, and as much in one since.

    Nothing for people whose training is unknown; an older course for those who trained on no day of that year.
    """
    if not person.cell("training_days"):
        return []
    halves = round(2 * float(person.cell("training_days")))
    if not halves:
        return _completed([2], days.learned_before, MONTH_DAYS, random)
    done = _completed(_split(halves, random), year_before(days.as_of), LEARNING_DAYS, random)
    if person.there_after(days.today):
        done += _completed([halves], year_before(days.today), LEARNING_DAYS, random)
    return done


def _completed(halves: Sequence[int], first: datetime, days: int, random: np.random.Generator) -> list[Completion]:
    """Courses of so many half days each, on one of so many days."""
    courses = random.choice(len(COURSES), len(halves), replace=False)
    return [
        Completion(
            COURSES[course],
            first + timedelta(int(random.integers(days)), minutes=int(random.integers(600))),
            4.0 * part,
            round(float(random.uniform(0.55, 1.0)), 2),
        )
        for course, part in zip(courses, halves, strict=True)
    ]


def _split(halves: int, random: np.random.Generator) -> list[int]:
    """Half days of a few courses, at least one each."""
    parts = 1 + min(3, halves // 4) + halves // 20
    cuts = np.sort(random.choice(max(1, halves - 1), parts - 1, replace=False)) + 1
    return [int(part) for part in np.diff([0, *cuts, halves])]


def statements(
    people: Iterable[SamplePerson], days: Timeline, host: str, random: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Statements (xAPI) of a learning system that follows cmi5, with the employee number as the account's name."""
    for person in people:
        for completion in learning(person, days, random):
            yield statement(person, host, completion)


def statement(person: SamplePerson, host: str, done: Completion) -> dict[str, Any]:
    """The statement that a course was completed."""
    course, hours = done.course, int(done.hours)
    name = f"{host}/{person.number}/{course}/{done.when.isoformat()}"
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, name)),
        "actor": {
            "objectType": "Agent",
            "name": f"{person.given} {person.surname}",
            "account": {"homePage": f"https://{host}", "name": person.number},
        },
        "verb": {"id": f"{VERBS}completed", "display": {"en": "completed"}},
        "object": {"id": f"https://{host}/course/{course}", "definition": {"name": {"en": course.replace("-", " ")}}},
        "timestamp": done.when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "result": {
            "completion": True,
            "success": True,
            "score": {"scaled": done.score},
            "duration": f"PT{hours}H" if hours % 8 else f"PT{hours * 60}M",
        },
    }


def completions(people: Iterable[SamplePerson], days: Timeline, random: np.random.Generator) -> Sheet:
    """Moodle's course completion report with the credited hours; times are seconds since 1970."""
    sheet = Sheet(("idnumber", "fullname", "email", "course", "status", "time", "hours", "grade", "lastip"))
    for person in people:
        for done in learning(person, days, random):
            sheet.add(
                person.number,
                *(person.number, f"{person.given} {person.surname}", f"{person.number}@moodle.example", done.course),
                *("Completed", int(done.when.timestamp()), done.hours, f"{100 * done.score:.0f}", "192.0.2.1"),
            )
    return sheet


def survey(people: Iterable[SamplePerson], days: Timeline, random: np.random.Generator) -> Sheet:
    """The pulse survey: one row per answer, of three waves; few said in the first what they said in the others."""
    sheet = Sheet(("respondent", "wave", "question", "answer", "comment"))
    for person in people:
        if person.cell("pulse"):
            for wave, answer in _answers(person, days, random):
                comment = f"Ask {person.surname} how they are" if random.random() < 0.05 else ""
                sheet.add(person.number, person.number, wave.isoformat(), "ENG1", answer, comment)
    return sheet


def _answers(person: SamplePerson, days: Timeline, random: np.random.Generator) -> Iterator[tuple[date, int]]:
    """The answer that counts as_of; a fifth gave an earlier one, and who is still there one like it since."""
    answer = int(person.cell("pulse"))
    if random.random() < 0.2:
        yield days.earlier_survey, int(random.integers(1, 6))
    yield days.survey, answer
    if person.there_after(days.today):
        yield days.recent_survey, min(5, max(1, answer + int(random.integers(-1, 2))))


def weeks(people: Iterable[SamplePerson], days: Timeline, random: np.random.Generator) -> Sheet:
    """Overtime per week from timekeeping; the weeks' mean is the person's, as_of and, for who is still there, today."""
    sheet = Sheet(("badge", "week_starting", "overtime_hours", "first_punch", "last_punch"))
    for person in people:
        mean = float(person.cell("overtime_hours"))
        spread = round(float(random.uniform(0, 0.5)) * min(mean, MOST_OVERTIME - mean), 1)
        worked = list(zip(days.weeks, (mean - spread, mean, mean + spread), strict=True))
        if person.there_after(days.today):
            worked += zip(days.recent_weeks, (mean + spread, mean - spread), strict=True)
        for monday, hours in worked:
            sheet.add(person.number, person.number, monday.isoformat(), f"{hours:.1f}", "07:58", "17:12")
    return sheet


def pay(
    people: Iterable[SamplePerson], days: Timeline, columns: tuple[str, str, str, str], ratio: Callable[[str], Cell]
) -> Sheet:
    """Pay: number, a year's pay, its ratio to the market's and the month of the last raise, by a system's names."""
    sheet = Sheet((*columns, "IBAN"))
    for person in people:
        share = f"{int(person.cell('pay_against_market')) / 100:.2f}"
        raised = max(days.last_raise, person.joined)
        sheet.add(person.number, person.number, annual_pay(person), ratio(share), f"{raised:%Y-%m}", "XX00 0000")
    return sheet


def consents(people: Iterable[SamplePerson], days: Timeline, locale: str) -> Sheet:
    """What people were told of the use of their records for retention, the first day if they came later, and said."""
    sheet = Sheet(("employee", "purpose", "event", "notice", "language", "channel", "at"))
    for person in people:
        start = max(days.told, datetime.combine(person.joined, time(9), UTC))
        for count, said in _SAID[person.standing]:
            at = start + timedelta(count, minutes=int(person.number) % 30)
            sheet.add(
                person.number,
                *(person.number, "retention", said, 1, locale, "portal", at.isoformat().replace("+00:00", "Z")),
            )
    return sheet


_SAID: Final[Mapping[str, tuple[tuple[int, str], ...]]] = {
    "given": ((0, "informed"), (2, "agreed")),
    "informed": ((0, "informed"),),
    "untold": (),
    "objected": ((0, "informed"), (2, "agreed"), (90, "objection")),
    "withdrawn": ((0, "informed"), (2, "agreed"), (120, "agreement withdrawn")),
    "returned": ((0, "informed"), (2, "agreed"), (60, "objection"), (75, "objection withdrawn")),
}
"""Days after the notice, and what was said then, by standing."""
