"""The files that each of the five subsidiaries of the sample group exports, in the order in which they are ingested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np

from records.sample import activity as activity
from records.sample import hiring as hiring
from records.sample import systems as systems
from records.sample.calendars import calendar
from records.sample.defects import Spoiler
from records.sample.files import Sheet, write_json, write_lines, write_parquet, write_text, write_workbook
from records.sample.people import SamplePerson
from records.sample.timeline import Timeline, clocks_forward

MAPPINGS: Final = Path(__file__).parent / "mappings"
FEW: Final = 100
"""Files of fewer rows get fewer kinds of defects: each strikes one person at least."""


@dataclass(frozen=True, slots=True)
class Feed:
    """One export.

    Attributes:
        path: a file, or a folder of calendars.
        mapping: what to read it through: a mapping file of the group's own, or the name of a ready one.
        kind: what it tells of, such as "people" or "pay".
        as_of: the day whose state it shows; None if its rows say since when they hold.
        expected_quarantine: rows that were planted to end in quarantine, by kind of defect.
        repaired: rows that were planted to be read all the same, by kind of defect.
    """

    path: Path
    mapping: Path | str
    kind: str
    as_of: date | None
    expected_quarantine: Mapping[str, int]
    repaired: Mapping[str, int]


class SiteWriter:
    """Writes one site's files and keeps the list of them."""

    def __init__(
        self, folder: Path, name: str, people: Sequence[SamplePerson], seed: Sequence[int], days: Timeline
    ) -> None:
        """Makes the folder; `people` is everyone who ever worked there."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.name, self.people, self.days = folder, name, people, days
        self.present = [person for person in people if person.there_after(days.as_of)]
        self.random = np.random.default_rng([*seed, 2])
        self.spoiler = Spoiler(np.random.default_rng([*seed, 3]))
        self.feeds: list[Feed] = []

    def path(self, name: str) -> Path:
        """Where a file goes."""
        return self.folder / name

    def feed(self, name: str, mapping: str, kind: str, as_of: date | None = None) -> None:
        """Notes a file that was written, with the defects that were planted since the last."""
        own = MAPPINGS / f"{mapping}.toml"
        reading = own if own.is_file() else mapping
        self.feeds.append(Feed(self.path(name), reading, kind, as_of, *self.spoiler.taken()))

    def common(self) -> None:
        """What the group's own survey, timekeeping and consent desk export of every site."""
        spoiler, days = self.spoiler, self.days
        off = (days.weeks[0] + timedelta(7)).isoformat()
        answers = activity.survey(self.present, days, self.random)
        spoiler.repeat(answers, "value out of range", {"wave": off, "answer": "9"})
        spoiler.repeat(answers, "duplicate row", {})
        write_text(self.path("pulse.csv"), answers)
        self.feed("pulse.csv", "pulse", "pulse")
        weeks = activity.weeks(self.present, days, self.random)
        spoiler.repeat(weeks, "value out of range", {"week_starting": off, "overtime_hours": "168.5"})
        spoiler.repeat(weeks, "bad date", {"week_starting": f"{days.as_of:%G-W%V}", "overtime_hours": "2.0"})
        write_text(self.path("timekeeping.csv"), weeks)
        self.feed("timekeeping.csv", "timekeeping", "overtime")
        told = [person for person in self.people if person.there_after(days.told.date())]
        said = activity.consents(told, days, "nb-NO" if self.name.startswith("Norrvik") else "en-GB")
        spoiler.repeat(said, "unknown value", {"event": "maybe"})
        spoiler.repeat(said, "local time without offset", {"event": "informed", "at": f"{days.last_raise} 09:00"})
        write_text(self.path("consent.csv"), said)
        self.feed("consent.csv", "consent", "consent")

    def statements(self, host: str) -> None:
        """What a learning system that speaks xAPI exports, one statement per line."""
        lines = list(activity.statements(self.present, self.days, host, self.random))
        if len(lines) > FEW:
            lines += self._odd_statements(lines, host)
        write_lines(self.path("statements.jsonl"), lines)
        self.feed("statements.jsonl", "xapi", "learning")

    def _odd_statements(self, lines: Sequence[Mapping[str, Any]], host: str) -> list[dict[str, Any]]:
        """Statements that come again, come again changed, name nobody, or say no time zone."""
        again, changed, nobody, zoneless = (dict(lines[int(place)]) for place in self.random.integers(0, len(lines), 4))
        changed["object"] = {"id": f"https://{host}/course/another-one"}
        nobody |= {"id": "00000000-0000-4000-8000-000000000001", "actor": {"mbox": "mailto:someone@halden.example"}}
        zoneless |= {"id": "00000000-0000-4000-8000-000000000002", "timestamp": f"{self.days.survey}T10:00:00"}
        self.spoiler.note("duplicate row", 1, repaired=True)
        for kind in ("statement changed", "e-mail address as identifier", "local time without offset"):
            self.spoiler.note(kind, 1)
        return [again, changed, nobody, zoneless]


def halden(site: SiteWriter) -> None:
    """OrangeHRM, in Latin-1 with semicolons; a learning system that speaks xAPI."""
    style: dict[str, Any] = {"separator": ";", "encoding": "latin-1"}
    spoiler, day = site.spoiler, systems.day_first
    led = systems.managers(site.people, ("erep_sub_emp_number", "erep_from", "erep_sup_emp_number"), day)
    _cycle(site, led)
    spoiler.spoil(led, "bad date", "erep_from", "31/02/2021")
    write_text(site.path("hs_hr_emp_reportto.csv"), led, **style)
    site.feed("hs_hr_emp_reportto.csv", "halden-managers", "managers")
    people = systems.orangehrm(site.people)
    spoiler.spoil(people, "bad date", "joined_date", "31/02/2011")
    spoiler.spoil(people, "unknown value", "job_title", "Keeper of the bees")
    spoiler.soil(people, "lost zeros", "employee_id", lambda number: str(int(number)))
    spoiler.soil(people, "missing in words", "custom1", lambda _: "N/A", empty=True)
    spoiler.repeat(people, "duplicate row", {})
    spoiler.repeat(people, "duplicate rehire", {"joined_date": "01/03/1999"})
    write_text(site.path("hs_hr_employee.csv"), people, **style)
    site.feed("hs_hr_employee.csv", "halden-people", "people", site.days.as_of)
    columns = ("employee_id", "ebsal_basic_salary", "custom_compa", "ebsal_changed")
    pay = activity.pay(site.present, site.days, columns, systems.decimal_comma)
    spoiler.spoil(pay, "no number", "custom_compa", "about 1")
    write_text(site.path("hs_hr_emp_basicsalary.csv"), pay, **style)
    site.feed("hs_hr_emp_basicsalary.csv", "halden-pay", "pay", site.days.as_of)
    site.statements("lms.halden.example")
    site.common()
    reasons = ("Resigned", "Dismissed", "Retired", "Contract ended")
    ended = systems.exits(site.people, ("employee_id", "termination_date", "reason", "note"), reasons, day)
    spoiler.spoil(ended, "future termination", "termination_date", "01/01/2199")
    spoiler.spoil(ended, "bad date", "termination_date", "soon")
    write_text(site.path("ohrm_emp_termination.csv"), ended, **style)
    site.feed("ohrm_emp_termination.csv", "halden-exits", "exits")


def _cycle(site: SiteWriter, led: Sheet) -> None:
    """Two leads, each of whom the other leads in the end; who changed managers how often stays as it was.

    Nothing finds it: it can not be told which of the rows is wrong, so they are read as they are.
    """
    one, other = [person for person in site.present if person.cell("job_level") == "lead" and len(person.managers) > 1][
        :2
    ]
    for person, leader in ((one, other), (other, one)):
        last = max(row for row, owner in enumerate(led.owners) if owner == person.number)
        led.rows[last][-1] = leader.number
    site.spoiler.spare(one.number, other.number)
    site.spoiler.note("manager cycle", 2, repaired=True)


def norrvik(site: SiteWriter) -> None:
    """Odoo, exported to Excel; Moodle; an applicant tracking system."""
    spoiler = site.spoiler
    people = systems.odoo(site.people)
    spoiler.note("lost zeros", len(people.rows), repaired=True)
    spoiler.spoil(people, "bad date", "Contract/Start Date", "ukjent")
    spoiler.spoil(people, "unknown value", "Department", "Birøkt")
    spoiler.soil(people, "missing in words", "Commute (min)", lambda _: "N/A", empty=True)
    spoiler.repeat(people, "duplicate row", {})
    write_workbook(site.path("employees.xlsx"), people, "hr.version")
    site.feed("employees.xlsx", "norrvik-people", "people")
    _payroll(site)
    done = activity.completions(site.present, site.days, site.random)
    spoiler.repeat(done, "bad date", {"time": "0", "hours": 8.0})
    write_text(site.path("course_completions.csv"), done)
    site.feed("course_completions.csv", "moodle-completions", "learning")
    site.common()
    reasons = ("Sagt opp selv", "Oppsagt", "Pensjon", "Midlertidig")
    columns = ("Registration Number", "Departure Date", "Departure Reason", "Additional Information")
    ended = systems.exits(site.people, columns, reasons, date.isoformat)
    spoiler.spoil(ended, "future termination", "Departure Date", "2199-01-01")
    write_text(site.path("departures.csv"), ended)
    site.feed("departures.csv", "norrvik-exits", "exits")
    _hiring(site)


def _hiring(site: SiteWriter) -> None:
    """The applicant tracking system's tables, then the records of those who came."""
    days = site.days
    taken = hiring.hires(site.present, days.today, site.random)
    applied = hiring.applications(taken, days.today, site.random)
    met = hiring.interviews(applied, site.random)
    site.spoiler.repeat(applied, "unknown value", {"Requisition": "REQ-999", "Stage": "Ghosted"})
    write_text(site.path("applications.csv"), applied)
    site.feed("applications.csv", "norrvik-applications", "applications")
    site.spoiler.repeat(met, "skipped local time", {"Round": 2, "Slot": f"{clocks_forward(days.today)} 02:30"})
    write_text(site.path("interviews.csv"), met)
    site.feed("interviews.csv", "norrvik-interviews", "interviews")
    people = systems.odoo([])
    for hire in taken:
        since, manager = hire.person.managers[-1]
        people.add(hire.person.number, *systems.odoo_row(hire.person, since, int(manager), hire.candidate))
    write_workbook(site.path("new-employees.xlsx"), people, "hr.version")
    site.feed("new-employees.xlsx", "norrvik-people", "people")
    came = [hire.person for hire in taken]
    pay = activity.pay(came, days, activity.PAYROLL, str)
    for row, hire in zip(pay.rows, taken, strict=True):
        row[1] = hire.recorded
    write_text(site.path("new-payroll.csv"), pay)
    site.feed("new-payroll.csv", "payroll", "pay", days.today)
    write_text(site.path("new-consent.csv"), activity.consents(came, days, "nb-NO"))
    site.feed("new-consent.csv", "consent", "consent")


def brightmoor(site: SiteWriter) -> None:
    """Frappe HR, with a byte order mark; the history of managers came after the people."""
    spoiler = site.spoiler
    people = systems.frappe(site.people, site.days.as_of)
    spoiler.spoil(people, "bad date", "Date of Joining", "02/30/2019")
    spoiler.spoil(people, "unknown value", "Department", "Beehives - BC")
    spoiler.soil(people, "missing in words", "Commute Minutes", lambda _: "N/A", empty=True)
    spoiler.soil(people, "lost zeros", "Employee Number", lambda number: str(int(number)))
    write_text(site.path("Employee.csv"), people, encoding="utf-8-sig")
    site.feed("Employee.csv", "brightmoor-people", "people", site.days.as_of)
    led = systems.managers(site.people, ("Employee Number", "From Date", "Reports to"), systems.month_first)
    spoiler.note("retroactive change", len(led.rows), repaired=True)
    write_text(site.path("Employee Internal Work History.csv"), led, encoding="utf-8-sig")
    site.feed("Employee Internal Work History.csv", "brightmoor-managers", "managers")
    _payroll(site)
    site.statements("learning.brightmoor.example")
    site.common()
    reasons = ("Resignation", "Dismissal", "Retirement", "Term over")
    columns = ("Employee Number", "Relieving Date", "Reason for Leaving", "Feedback")
    ended = systems.exits(site.people, columns, reasons, systems.month_first)
    spoiler.repeat(ended, "duplicate row", {})
    write_text(site.path("Employee Separation.csv"), ended, encoding="utf-8-sig")
    site.feed("Employee Separation.csv", "brightmoor-exits", "exits")


def tessera(site: SiteWriter) -> None:
    """An identity system that speaks SCIM, BambooHR for pay and job history, a learning system that speaks xAPI."""
    spoiler = site.spoiler
    users = systems.scim(site.people, site.days.as_of)
    nameless, stranger = (users["Resources"][int(place)] for place in (3, 7))
    for user in (nameless, stranger):
        spoiler.spoiled.add(number := user[systems.ENTERPRISE]["employeeNumber"])
        spoiler.spare(number)
    del nameless[systems.ENTERPRISE]["employeeNumber"]
    stranger[systems.EMPLOYMENT]["jobFamily"] = "beekeeping"
    spoiler.note("no employee number", 1)
    spoiler.note("unknown value", 1)
    write_json(site.path("scim-users.json"), users)
    site.feed("scim-users.json", "scim", "people", site.days.as_of)
    led = systems.managers(site.people, ("employeeNumber", "date", "reportsTo"), date.isoformat)
    write_text(site.path("jobInfo.tsv"), led, separator="\t")
    site.feed("jobInfo.tsv", "tessera-managers", "managers")
    pay = activity.pay(site.present, site.days, ("employeeNumber", "payRate", "compaRatio", "lastChanged"), str)
    spoiler.spoil(pay, "no number", "compaRatio", "on par")
    write_text(site.path("compensation.tsv"), pay, separator="\t")
    site.feed("compensation.tsv", "tessera-pay", "pay", site.days.as_of)
    site.statements("lms.tessera.example")
    site.common()
    reasons = ("Resignation", "Termination", "Retired", "Contract")
    columns = ("employeeNumber", "terminationDate", "terminationType", "notes")
    ended = systems.exits(site.people, columns, reasons, date.isoformat)
    write_text(site.path("employmentStatus.tsv"), ended, separator="\t")
    site.feed("employmentStatus.tsv", "tessera-exits", "exits")


def calder(site: SiteWriter) -> None:
    """Reports of Workday, in Parquet and CSV; Moodle; everyone's calendar, since they all interview."""
    spoiler = site.spoiler
    people = systems.workday(site.people)
    spoiler.spoil(people, "unknown value", "Job_Family_Group", "Apiculture")
    write_parquet(site.path("workers.parquet"), people)
    site.feed("workers.parquet", "calder-people", "people", site.days.as_of)
    led = systems.managers(site.people, ("Employee_ID", "Effective_Date", "Manager_ID"), date.isoformat)
    write_text(site.path("manager_history.csv"), led)
    site.feed("manager_history.csv", "calder-managers", "managers")
    _payroll(site)
    write_text(site.path("course_completions.csv"), activity.completions(site.present, site.days, site.random))
    site.feed("course_completions.csv", "moodle-completions", "learning")
    site.common()
    reasons = ("Voluntary", "Involuntary", "Retirement", "Term")
    columns = ("Employee_ID", "Termination_Date", "Primary_Termination_Reason", "Termination_Comment")
    ended = systems.exits(site.people, columns, reasons, date.isoformat)
    write_text(site.path("terminations.csv"), ended)
    site.feed("terminations.csv", "calder-exits", "exits")
    _calendars(site)


def _calendars(site: SiteWriter) -> None:
    """One calendar per person of the sample table, named by employee number; one holds a time without zone."""
    folder = site.path("calendars")
    folder.mkdir(exist_ok=True)
    for place, person in enumerate(person for person in site.present if person.key):
        (folder / f"{person.number}.ics").write_bytes(calendar(person, site.days.today, site.random, place == 5))
    site.spoiler.note("local time without offset", 1)
    site.feed("calendars", "calendar", "calendars")


def _payroll(site: SiteWriter) -> None:
    """Pay as the group's payroll provider exports it."""
    pay = activity.pay(site.present, site.days, activity.PAYROLL, str)
    if len(pay.rows) > FEW:
        site.spoiler.spoil(pay, "no number", "Compa Ratio", "on par")
    write_text(site.path("payroll.csv"), pay)
    site.feed("payroll.csv", "payroll", "pay", site.days.as_of)


WRITERS: Final = (halden, norrvik, brightmoor, tessera, calder)
"""In the order of `records.sample.group.PROFILES`."""
