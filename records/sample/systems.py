"""What the five subsidiaries' personnel systems export of their people: their own columns, words and writings.

Four of them collect far more than any purpose of Kith's asks for (birth dates, blood groups, who smokes). That is what
such exports look like; the mapping files say what is read, and nothing else is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import Any, Final

from records.sample.files import Sheet
from records.sample.people import SamplePerson

PEOPLE_SCHEMA: Final = "urn:ietf:params:scim:schemas:core:2.0:User"
ENTERPRISE: Final = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
EMPLOYMENT: Final = "urn:kith:scim:schemas:1.0:Employment"

HALDEN_JOBS: Final = {
    "administration": "Office Administrator",
    "care": "Occupational Nurse",
    "engineering": "Process Engineer",
    "finance": "Accounts Clerk",
    "logistics": "Warehouse Operative",
    "production": "Machine Operator",
    "sales": "Sales Representative",
}
NORRVIK_JOBS: Final = {
    "administration": "Administrasjon",
    "care": "Bedriftshelse",
    "engineering": "Teknikk",
    "finance": "Økonomi",
    "logistics": "Lager og transport",
    "production": "Produksjon",
    "sales": "Salg",
}
BRIGHTMOOR_JOBS: Final = {
    "administration": "Administration - BC",
    "care": "Care Homes - BC",
    "engineering": "Estates - BC",
    "finance": "Accounts - BC",
    "logistics": "Dispatch - BC",
    "production": "Kitchens - BC",
    "sales": "Family Liaison - BC",
}
CALDER_JOBS: Final = {
    "administration": "Office Services",
    "care": "Wellbeing Services",
    "engineering": "Data & Technology",
    "finance": "Advisory",
    "logistics": "Facilities",
    "production": "Publishing",
    "sales": "Client Development",
}
EXITS: Final = ("voluntary", "involuntary", "retirement", "end_of_term")
GRADES: Final = {"entry": "G1", "skilled": "G2", "senior": "G3", "lead": "G4"}
TITLES: Final = {"entry": "Associate", "skilled": "Consultant", "senior": "Senior Consultant", "lead": "Principal"}


def day_first(day: date | None) -> str:
    """DD/MM/YYYY, as much of Europe writes a day."""
    return f"{day:%d/%m/%Y}" if day else ""


def month_first(day: date | None) -> str:
    """MM/DD/YYYY, as the United States write a day."""
    return f"{day:%m/%d/%Y}" if day else ""


def decimal_comma(number: str) -> str:
    """A number as it is written with a decimal comma."""
    return number.replace(".", ",")


def orangehrm(people: Iterable[SamplePerson]) -> Sheet:
    """Halden Precision Works: `hs_hr_employee` as OrangeHRM keeps it; the site uses three custom fields."""
    sheet = Sheet(
        (
            *("emp_number", "employee_id", "emp_lastname", "emp_firstname", "emp_smoker", "ethnic_race_code"),
            *("emp_birthday", "nation_code", "emp_gender", "emp_marital_status", "emp_ssn_num", "emp_dri_lice_num"),
            *("emp_military_service", "emp_status", "job_title", "work_station", "emp_street1", "city_code"),
            *("emp_mobile", "emp_work_email", "sal_grd_code", "joined_date", "custom1", "custom2", "custom3"),
        )
    )
    stations = {"hybrid": "Mixed", "on site": "Plant", "remote": "Home"}
    genders = {"male": "1", "female": "2", "not stated": ""}
    for place, person in enumerate(people, start=1):
        number = int(person.number)
        commute = person.cell("commute_minutes") and f"{person.cell('commute_minutes')},0"
        sheet.add(
            person.number,
            *(place, person.number, person.surname, person.given, number % 3 % 2, number % 6),
            *(day_first(_birthday(person)), "GB", genders[person.cell("gender")], ("Single", "Married")[number % 2]),
            *(f"{number:09d}", f"DL{number}", ("", "Served")[number % 9 == 0], "Full-Time Permanent"),
            *(HALDEN_JOBS[person.cell("job_family")], stations[person.cell("work_mode")], f"{number % 90} Mill Lane"),
            *("Halden", f"+44 7700 {number:06d}", f"{_login(person)}@halden.example"),
            *(GRADES[person.cell("job_level")], day_first(person.joined), commute, day_first(person.promoted)),
            "Full time",
        )
    return sheet


def odoo(people: Iterable[SamplePerson]) -> Sheet:
    """Norrvik Logistics: an Odoo export to Excel, one row per `hr.version`; registration numbers came as numbers.

    A version starts with the employment or with a new manager. The rows stand as they were keyed in: the newest
    version of every tenth person came first.
    """
    sheet = Sheet(
        (
            *("Registration Number", "Employee Name", "Version/Effective Date", "Department", "Job Grade"),
            *("Grade Since", "Manager/Registration Number", "Contract/Start Date", "Work Location Type"),
            *("Commute (min)", "Timezone", "Language", "Applicant/Reference", "Gender", "Date of Birth"),
            *("Place of Birth", "Private Phone", "Emergency Contact", "Certificate Level", "Visa No", "Children"),
        )
    )
    for person in people:
        versions = person.managers if int(person.number) % 10 else person.managers[::-1]
        for since, manager in versions:
            sheet.add(person.number, *odoo_row(person, since, int(manager)))
    return sheet


def odoo_row(person: SamplePerson, since: date, manager: int | None, applicant: str | None = None) -> list[Any]:
    """One `hr.version` of a person."""
    number = int(person.number)
    places = {"hybrid": "Kombinert", "on site": "Terminal", "remote": "Hjemmekontor"}
    genders = {"male": "Mann", "female": "Kvinne", "not stated": None}
    return [
        *(number, f"{person.given} {person.surname}", since, NORRVIK_JOBS[person.cell("job_family")]),
        *(GRADES[person.cell("job_level")], person.promoted, manager, person.joined),
        *(places[person.cell("work_mode")], _whole(person.cell("commute_minutes")), "Europe/Oslo", "nb_NO"),
        *(applicant, genders[person.cell("gender")], _birthday(person), "Norrvik", f"+47 {number:08d}"),
        *(f"{person.given} {person.surname}", "Bachelor", None, number % 4),
    ]


def frappe(people: Iterable[SamplePerson], as_of: date) -> Sheet:
    """Brightmoor Care: the Employee doctype of Frappe HR on a day; half the days were keyed in as MM/DD/YYYY."""
    sheet = Sheet(
        (
            *("ID", "Employee Number", "First Name", "Last Name", "Full Name", "Gender", "Date of Birth"),
            *("Date of Joining", "Status", "Company", "Department", "Grade", "Grade Since", "Reports to", "Branch"),
            *("Employment Type", "Work Mode", "Commute Minutes", "Marital Status", "Blood Group", "Health Details"),
            *("Passport Number", "Bank A/C No.", "Person To Be Contacted", "Emergency Phone"),
        )
    )
    modes = {"hybrid": "Hybrid", "on site": "In the home", "remote": "Remote"}
    for person in people:
        number = int(person.number)
        written = month_first if number % 2 else date.isoformat
        sheet.add(
            person.number,
            *(f"HR-EMP-{person.number}", person.number, person.given, person.surname),
            *(f"{person.given} {person.surname}", person.cell("gender").capitalize(), written(_birthday(person))),
            *(written(person.joined), "Active" if person.there_after(as_of) else "Left", "Brightmoor Care"),
            *(BRIGHTMOOR_JOBS[person.cell("job_family")], person.cell("job_level").capitalize()),
            *(written(person.promoted), person.manager, "Moor Lane", "Full-time", modes[person.cell("work_mode")]),
            *(person.cell("commute_minutes"), "Married", ("A+", "O-", "B+")[number % 3], "seasonal allergy"),
            *(f"P{number:07d}", f"{number:012d}", f"{person.given} {person.surname}", f"+44 7700 {number:06d}"),
        )
    return sheet


def scim(people: Sequence[SamplePerson], as_of: date) -> dict[str, Any]:
    """Tessera Software: a SCIM 2.0 list of Users, with the enterprise extension and Kith's own for employment."""
    return {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": len(people),
        "startIndex": 1,
        "itemsPerPage": len(people),
        "Resources": [scim_user(person, as_of) for person in people],
    }


def scim_user(person: SamplePerson, as_of: date) -> dict[str, Any]:
    """One User resource as an identity system exports it on a day."""
    login = f"{_login(person)}.{int(person.number)}"
    employment = {
        "hireDate": person.joined.isoformat(),
        "employmentType": "permanent",
        "jobFamily": person.cell("job_family"),
        "level": person.cell("job_level"),
        "levelSince": person.promoted.isoformat(),
        "workMode": person.cell("work_mode"),
        "workTimezone": "Europe/Berlin",
        "commuteMinutes": _whole(person.cell("commute_minutes")),
    }
    return {
        "schemas": [PEOPLE_SCHEMA, ENTERPRISE, EMPLOYMENT],
        "id": f"00000000-0000-4000-8000-{int(person.number):012d}",
        "externalId": person.number,
        "userName": f"{login}@tessera.example",
        "name": {"givenName": person.given, "familyName": person.surname},
        "displayName": f"{person.given} {person.surname}",
        "emails": [{"value": f"{login}@tessera.example", "type": "work", "primary": True}],
        "phoneNumbers": [{"value": f"+49 30 {int(person.number):06d}", "type": "mobile"}],
        "locale": "de-DE",
        "timezone": "Europe/Berlin",
        "active": person.there_after(as_of),
        ENTERPRISE: {
            "employeeNumber": person.number,
            "costCenter": "4400",
            "organization": "Tessera Software",
            "manager": {"value": person.manager, "displayName": "Team lead"},
        },
        EMPLOYMENT: {name: value for name, value in employment.items() if value is not None},
    }


def workday(people: Iterable[SamplePerson]) -> Sheet:
    """Calder Quay Advisory: a custom report of Workday, exported as Parquet with real dates and numbers."""
    sheet = Sheet(
        (
            *("Employee_ID", "Worker", "Hire_Date", "Original_Hire_Date", "Job_Family_Group", "Management_Level"),
            *("Time_in_Job_Profile_Start_Date", "Supervisory_Organization", "Cost_Center", "Location", "Worker_Type"),
            *("FTE", "Manager_ID", "Work_Arrangement", "Commute_Minutes", "Gender", "Date_of_Birth", "Religion"),
            "Citizenship_Status",
        )
    )
    modes = {"hybrid": "Flexible", "on site": "Office_Based", "remote": "Remote"}
    for person in people:
        sheet.add(
            person.number,
            *(person.number, f"{person.given} {person.surname}", person.joined, person.joined),
            *(CALDER_JOBS[person.cell("job_family")], TITLES[person.cell("job_level")], person.promoted),
            *("Advisory (Quay)", "CC-100", "Calder Quay", "Employee", 1.0, person.manager),
            *(modes[person.cell("work_mode")], _whole(person.cell("commute_minutes"))),
            *(person.cell("gender").title(), _birthday(person), "Declined to state", "Citizen"),
        )
    return sheet


def managers(people: Iterable[SamplePerson], columns: tuple[str, str, str], day: Callable[[date], str]) -> Sheet:
    """Who led whom since when: the number, the day and the manager's number under a system's own names."""
    sheet = Sheet(columns)
    for person in people:
        for since, manager in person.managers:
            sheet.add(person.number, person.number, day(since), manager)
    return sheet


def exits(
    people: Iterable[SamplePerson], columns: tuple[str, ...], reasons: tuple[str, ...], day: Callable[[date], str]
) -> Sheet:
    """Everyone whose employment ended: number, last day, reason (a system's words for EXITS), and a note."""
    words = dict(zip(EXITS, reasons, strict=True))
    sheet = Sheet(columns)
    for person in people:
        if person.ended and person.exit:
            note = f"{person.given} {person.surname} told their manager why"
            sheet.add(person.number, person.number, day(person.ended), words[person.exit], note)
    return sheet


def _whole(text: str) -> int | None:
    return int(text) if text else None


def _birthday(person: SamplePerson) -> date:
    number = int(person.number)
    return date(person.joined.year - 18 - number % 20, number % 12 + 1, number % 28 + 1)


def _login(person: SamplePerson) -> str:
    return f"{person.given}.{person.surname}".lower()
