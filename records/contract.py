"""The contract: what each column of a table is, what it may be used for, and the public bounds it is read by.

Rules:
 1. Nothing is learned from a column that the contract does not name, or does not mark `train = true`.
 2. Protected traits are never features.
 3. Free text and identifiers are never features.
 4. The label, the site and the employee key are never features.
 5. Bounds, values and head counts are declared here, in public, and never computed when a table is used. What a
    draft took from data carries `confirm = true` until a person has taken the mark away.

A contract is a TOML file:

    purpose = "retention"
    employee = "employee_key"           # if an employee may have several rows

    [label]
    column = "left"
    kind = "binary"                     # or "number" with low, high and unit
    positive = ["yes"]
    negative = ["no"]

    [site]
    column = "subsidiary"
    missing = "(missing)"               # the site of rows without one; without this line they are refused
    [site.people_at_most]
    "Halden Precision" = 3500

    [moment]                            # if rows are drawn from a site's records
    as_of = 2025-09-30                  # the day as which they are read, the last of a month
    horizon_months = 12                 # how long after it the label is known

    [columns.overtime_hours]
    kind = "number"                     # or "category" or "ordered" with values, or "text"
    low = 0
    high = 32
    unit = "hours"
    step = 1                            # if it takes only such steps from low to high, like a rating
    train = true
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Final

from privacy.errors import InputError
from privacy.plan import SiteBound
from records.table import MAX_NAME, is_shown
from records.text_rows import MAX_COLUMNS
from records.toml_section import load_toml

MAX_BYTES: Final = 2**20
MAX_VALUES: Final = 500
MAX_VALUE: Final = 200
MAX_SITES: Final = 10_000
MAX_PEOPLE: Final = 10**9
MAX_NUMBER: Final = 1e100
FIRST_YEAR: Final = 1900
LAST_YEAR: Final = 2200
MAX_HORIZON_MONTHS: Final = 60


@dataclass(frozen=True, slots=True)
class NumberColumn:
    """A quantity between public bounds, low < high, in `unit` ("" if none is declared).

    `step` divides the range into the only values it takes, such as the marks of a rating; 0 if it takes any.
    """

    name: str
    low: float
    high: float
    unit: str
    train: bool
    protected: bool
    purpose: str
    step: float = 0.0
    kind: ClassVar[str] = "number"


@dataclass(frozen=True, slots=True)
class CategoryColumn:
    """One of the declared values, in no order."""

    name: str
    values: tuple[str, ...]
    train: bool
    protected: bool
    purpose: str
    kind: ClassVar[str] = "category"


@dataclass(frozen=True, slots=True)
class OrderedColumn:
    """One of the declared values, lowest first."""

    name: str
    values: tuple[str, ...]
    train: bool
    protected: bool
    purpose: str
    kind: ClassVar[str] = "ordered"


@dataclass(frozen=True, slots=True)
class TextColumn:
    """Free text or an identifier: known to be there, never read."""

    name: str
    protected: bool
    purpose: str
    train: ClassVar[bool] = False
    kind: ClassVar[str] = "text"


Column = NumberColumn | CategoryColumn | OrderedColumn | TextColumn


@dataclass(frozen=True, slots=True)
class BinaryLabel:
    """A label of two sides, each with the values that mean it."""

    column: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    kind: ClassVar[str] = "binary"


@dataclass(frozen=True, slots=True)
class NumberLabel:
    """A quantity to predict, between public bounds, low < high."""

    column: str
    low: float
    high: float
    unit: str
    kind: ClassVar[str] = "number"


Label = BinaryLabel | NumberLabel


@dataclass(frozen=True, slots=True)
class SiteColumn:
    """Which column says where a person works, and the declared bound on each site's head count.

    Attributes:
        column: name of the column.
        sites: every site that takes part, in order of name.
        missing: the site of rows without one (a name in `sites`), or None if such rows are refused.
    """

    column: str
    sites: tuple[SiteBound, ...]
    missing: str | None

    @property
    def names(self) -> tuple[str, ...]:
        """The sites' names, in order."""
        return tuple(site.name for site in self.sites)


@dataclass(frozen=True, slots=True)
class Moment:
    """As when a site's records are read: features as of the last day of a month, the label 1 to 60 months after it."""

    as_of: date
    horizon_months: int


@dataclass(frozen=True, slots=True)
class Contract:
    """What may be learned from a table of people, and by which public bounds.

    Attributes:
        purpose: the use case.
        label: what is to be predicted.
        site: where each row belongs.
        employee: the column that names a row's employee, or None if every row is another one.
        columns: all declared columns, in the file's order.
        unconfirmed: the places ("label", "site", "columns.age") that a person has still to confirm.
        moment: as when rows are drawn from a site's records, or None for a table that is given.
    """

    purpose: str
    label: Label
    site: SiteColumn
    employee: str | None
    columns: tuple[Column, ...]
    unconfirmed: tuple[str, ...]
    moment: Moment | None = None

    @property
    def features(self) -> tuple[NumberColumn | CategoryColumn | OrderedColumn, ...]:
        """The columns that may train, in the file's order (rules 1 to 3)."""
        return tuple(column for column in self.columns if not isinstance(column, TextColumn) and column.train)


def load_contract(path: str | Path) -> Contract:
    """The contract in a TOML file.

    Raises:
        InputError: if the file can not be read or is no contract.
    """
    where = f"{str(path)!r:.300}"
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise InputError(f"{where}: expected a readable contract, got {type(error).__name__}") from None
    if len(data) > MAX_BYTES:
        raise InputError(f"{where}: expected a contract of at most {MAX_BYTES} bytes, got more")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{where}: expected UTF-8 text, got another encoding") from None
    return parse_contract(text, where)


def parse_contract(text: str, where: str = "contract") -> Contract:
    """The contract that `text` writes in TOML.

    Raises:
        InputError: saying what was expected and where, also for a key that means nothing.
    """
    if len(text) > MAX_BYTES:
        raise InputError(f"{where}: expected at most {MAX_BYTES} characters, got {len(text)}")
    return _contract(_Section(load_toml(text, where), where, "", []))


class _Section:
    """A TOML table that is read key by key; what nobody asked for is refused by `close`."""

    def __init__(self, fields: dict[str, Any], where: str, name: str, unconfirmed: list[str]) -> None:
        self._fields = dict(fields)
        self._where = where
        self._name = name
        self.unconfirmed = unconfirmed

    def fail(self, key: str, expected: str, got: str) -> InputError:
        place = ".".join(part for part in (self._name, f"{key:.80}") if part) or "contract"
        return InputError(f"{self._where}, {place!r}: expected {expected}, got {got}")

    def has(self, key: str) -> bool:
        return key in self._fields

    def text(self, key: str, longest: int = MAX_VALUE, default: str | None = None) -> str:
        value = self._fields.pop(key, default)
        if isinstance(value, str) and (value or default == "") and _is_name(value, longest):
            return value
        raise self.fail(key, f"printable text of at most {longest} characters without outer spaces", _came(value))

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        value = self._fields.pop(key, None)
        if isinstance(value, str) and value in choices:
            return value
        raise self.fail(key, f"one of {', '.join(choices)}", _came(value))

    def flag(self, key: str, default: bool | None = None) -> bool:
        value = self._fields.pop(key, default)
        if isinstance(value, bool):
            return value
        raise self.fail(key, "true or false", _came(value))

    def number(self, key: str) -> float:
        value = self._fields.pop(key, None)
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_NUMBER:
            return float(value)
        raise self.fail(key, "a finite number", _came(value))

    def day(self, key: str) -> date:
        value = self._fields.pop(key, None)
        if isinstance(value, date) and not isinstance(value, datetime) and FIRST_YEAR <= value.year <= LAST_YEAR:
            return value
        raise self.fail(key, f"a date (without quotes) from {FIRST_YEAR} to {LAST_YEAR}", _came(value))

    def bounds(self) -> tuple[float, float]:
        low, high = self.number("low"), self.number("high")
        if not (low < high and math.isfinite(high - low)):
            raise self.fail("high", f"more than low ({low:g})", _came(high))
        return low, high

    def step(self, low: float, high: float) -> float:
        if not self.has("step"):
            return 0.0
        step = self.number("step")
        steps = (high - low) / step if step > 0 else 0.0
        if round(steps) < 1 or abs(steps - round(steps)) > 1e-9 * steps:
            raise self.fail("step", f"a number above 0 that divides {high - low:g}, high less low", _came(step))
        return step

    def values(self, key: str) -> tuple[str, ...]:
        value = self._fields.pop(key, None)
        if not isinstance(value, list) or not 1 <= len(value) <= MAX_VALUES:
            raise self.fail(key, f"a list of 1 to {MAX_VALUES} texts", _came(value))
        if not all(isinstance(item, str) and item and _is_name(item, MAX_VALUE) for item in value):
            raise self.fail(key, f"printable texts of at most {MAX_VALUE} characters without outer spaces", "others")
        if len(set(value)) != len(value):
            raise self.fail(key, "distinct texts", "one twice")
        return tuple(value)

    def section(self, key: str) -> _Section:
        value = self._fields.pop(key, None)
        if not isinstance(value, dict):
            raise self.fail(key, "a table", _came(value))
        name = f"{self._name}.{key:.80}" if self._name else key
        return _Section(value, self._where, name, self.unconfirmed)

    def names(self, most: int) -> list[str]:
        names = list(self._fields)
        if not 1 <= len(names) <= most:
            raise self.fail("", f"1 to {most} entries", str(len(names)))
        return names

    def close(self) -> None:
        """Notes the mark of what is to be confirmed, and refuses what is left."""
        if self.flag("confirm", default=False):
            self.unconfirmed.append(self._name or "purpose")
        for key in self._fields:
            raise self.fail(key, "only keys that a contract knows", "another")


def _came(value: object) -> str:
    """What came, for a message; never a text."""
    if value is None:
        return "nothing"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, int | float):
        return repr(value) if abs(value) < MAX_NUMBER else "a number beyond them all"
    return "a table" if isinstance(value, dict) else f"another {type(value).__name__}"


def _is_name(text: str, longest: int) -> bool:
    return len(text) <= longest and text == text.strip() and is_shown(text)


def _contract(top: _Section) -> Contract:
    purpose = top.text("purpose")
    employee = top.text("employee", MAX_NAME) if top.has("employee") else None
    label = _label(top.section("label"))
    site = _site(top.section("site"))
    moment = _moment(top.section("moment")) if top.has("moment") else None
    section = top.section("columns")
    columns = tuple(_column(name, section.section(name), purpose) for name in section.names(MAX_COLUMNS))
    for name in (label.column, site.column, employee):
        if any(column.name == name for column in columns):  # rule 4
            raise section.fail(str(name), "no entry for the label, the site or the employee key", "one")
    if len({label.column, site.column, employee}) < 3:
        raise top.fail("label, site, employee", "three different columns", "one twice")
    top.close()
    contract = Contract(purpose, label, site, employee, columns, tuple(top.unconfirmed), moment)
    if not contract.features:
        raise section.fail("", "at least one column with train = true", "none")
    return contract


def _label(section: _Section) -> Label:
    column = section.text("column", MAX_NAME)
    label: Label
    if section.choice("kind", ("binary", "number")) == "binary":
        label = BinaryLabel(column, section.values("positive"), section.values("negative"))
        if set(label.positive) & set(label.negative):
            raise section.fail("negative", "no value that is also positive", "one")
    else:
        low, high = section.bounds()
        label = NumberLabel(column, low, high, section.text("unit", default=""))
    section.close()
    return label


def _moment(section: _Section) -> Moment:
    as_of, months = section.day("as_of"), section.number("horizon_months")
    if (as_of + timedelta(1)).day != 1:  # records say the month of an exit
        raise section.fail("as_of", "the last day of a month", "another day")
    if not 1 <= months <= MAX_HORIZON_MONTHS or months != int(months):
        raise section.fail("horizon_months", f"a whole number from 1 to {MAX_HORIZON_MONTHS}", _came(months))
    section.close()
    return Moment(as_of, int(months))


def _site(section: _Section) -> SiteColumn:
    column = section.text("column", MAX_NAME)
    missing = section.text("missing") if section.has("missing") else None
    people = section.section("people_at_most")
    sites = tuple(_site_bound(people, name) for name in sorted(people.names(MAX_SITES)))
    if missing is not None and missing not in {site.name for site in sites}:
        raise section.fail("missing", "a site that people_at_most names", "another")
    section.close()
    return SiteColumn(column, sites, missing)


def _site_bound(people: _Section, name: str) -> SiteBound:
    bound = people.number(name)
    if not name or not _is_name(name, MAX_VALUE):
        raise people.fail(
            name, f"a printable site name of at most {MAX_VALUE} characters without outer spaces", "another"
        )
    if not 1 <= bound <= MAX_PEOPLE or bound != int(bound):
        raise people.fail(name, f"a whole number from 1 to {MAX_PEOPLE}", _came(bound))
    return SiteBound(name, int(bound))


def _column(name: str, section: _Section, purpose: str) -> Column:
    if not name or not _is_name(name, MAX_NAME):
        raise section.fail(
            "", f"a printable column name of at most {MAX_NAME} characters without outer spaces", "another"
        )
    kind = section.choice("kind", ("number", "category", "ordered", "text"))
    protected = section.flag("protected", default=False)
    train = section.flag("train", default=False if kind == "text" else None)
    purpose = section.text("purpose", default=purpose)
    if train and protected:  # rule 2
        raise section.fail("train", "false: protected traits are never features", "true")
    if train and kind == "text":  # rule 3
        raise section.fail("train", "false: free text and identifiers are never features", "true")
    column: Column
    if kind == "number":
        low, high = section.bounds()
        step = section.step(low, high)
        column = NumberColumn(name, low, high, section.text("unit", default=""), train, protected, purpose, step)
    elif kind == "category":
        column = CategoryColumn(name, section.values("values"), train, protected, purpose)
    elif kind == "ordered":
        column = OrderedColumn(name, section.values("values"), train, protected, purpose)
    else:
        column = TextColumn(name, protected, purpose)
    section.close()
    return column
