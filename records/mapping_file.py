"""A mapping file, read: what `records/mapping.py` compiles against the registry.

Nothing here knows the registry. A pattern is a row of characters and [classes], each followed by {n} if it
is to come n times; one of them may say {m,n}. So it takes time linear in the text.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Final

from privacy.errors import InputError
from records.cells import DECIMALS, THOUSANDS, NumberFormat, folded, trimmed
from records.days import FIRST_YEAR, LAST_YEAR, Calendar
from records.table import MAX_NAME, is_shown
from records.text_rows import ENCODINGS, SEPARATORS
from records.toml_section import MAX_BYTES, MAX_ENTRIES, Section, is_text, parse_toml

MAX_FACTS: Final = 100
MAX_QUERY: Final = 20_000
MAX_WIDTH: Final = 40
MAX_REPEAT: Final = 100
MAX_SCALE: Final = 1e6
KINDS: Final = ("table", "sql", "scim", "xapi", "calendar")
MISSING: Final = ("NA", "N/A", "#N/A", "<NA>", "null", "?")
"""Writings of a missing cell where `read.missing` names no others; compared without case. A blank cell always is."""
CONSENT: Final = ("purpose", "state", "notice_version", "at", "locale", "channel")

_ATOM: Final = re.compile(r"(\[(?:[A-Za-z0-9]-[A-Za-z0-9]|[A-Za-z0-9 _./:#])+-?\]|[A-Za-z0-9 _./:#-])(\{[0-9,]+\})?")
_REPEAT: Final = re.compile(r"\{([0-9]{1,3})(,)?([0-9]{1,3})?\}")


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How a source writes; `[read]`."""

    encoding: str = "utf-8"
    separator: str | None = None
    sheet: str | None = None
    numbers: NumberFormat = NumberFormat()
    calendar: Calendar = field(default_factory=Calendar)
    timezone: str | None = None
    missing: frozenset[str] = frozenset(folded(text) for text in ("", *MISSING))
    url_from: str | None = None
    query: str | None = None


@dataclass(frozen=True, slots=True)
class Form:
    """Where a column's value comes from: the cell `cell`, or `always`.

    Attributes:
        values: by folded cell, the only ones that are known ("" stands for a missing one); None if cells are read by
            the column's kind.
        bands: where an ordered column's values part: a number below the first of them is the first value, and so on.
        lenient: whether a cell that can not be read counts as missing.
        optional: whether a source may lack the cell's column.
    """

    cell: str | None
    always: str | float | None = None
    values: Mapping[str, str | float] | None = None
    lenient: bool = False
    bands: tuple[float, ...] = ()
    scale: Decimal = Decimal(1)
    optional: bool = False


@dataclass(frozen=True, slots=True)
class PersonForm:
    """Whose a row is; `pattern` is compiled by `re`."""

    cell: str
    subject: str
    width: int
    pattern: re.Pattern[str] | None


@dataclass(frozen=True, slots=True)
class When:
    """Which rows a fact is read from: those whose cell, folded, is one of `values`."""

    cell: str
    values: frozenset[str]


@dataclass(frozen=True, slots=True)
class FactsForm:
    """One `[[facts]]`; `where` names it in messages."""

    table: str
    when: When | None
    item: tuple[str, ...]
    valid_from: str | None
    columns: Mapping[str, Form]
    where: str


@dataclass(frozen=True, slots=True)
class MappingFile:
    """All of a mapping file. `digest` is the SHA-256 of its bytes, hexadecimal."""

    source: str
    kind: str
    read: ReadOptions
    person: PersonForm
    valid_from: str | None
    facts: tuple[FactsForm, ...]
    protected: Mapping[str, Form]
    consent: Mapping[str, Form]
    ignored: frozenset[str]
    where: str
    digest: str


def read_mapping_file(path: Path) -> MappingFile:
    """The mapping in a file.

    Raises:
        InputError: if it can not be read, is too large or no mapping.
    """
    where = f"{str(path)!r:.300}"
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise InputError(f"{where}: expected a readable mapping, got {type(error).__name__}") from None
    return parse_mapping_file(data, where)


def parse_mapping_file(data: bytes, where: str = "mapping") -> MappingFile:
    """The mapping written in `data`.

    Raises:
        InputError: saying what was expected and where.
    """
    return _mapping(parse_toml(data, where), where, hashlib.sha256(data).hexdigest())


def _mapping(top: Section, where: str, digest: str) -> MappingFile:
    source, kind = top.text("source"), top.choice("kind", KINDS)
    blocks = top.take("facts") or []
    if not isinstance(blocks, list) or len(blocks) > MAX_FACTS:
        raise top.fail("facts", f"at most {MAX_FACTS} tables [[facts]]")
    valid_from = top.section("valid_from")
    ignore = top.section("ignore")
    mapping = MappingFile(
        source,
        kind,
        _read(top.section("read"), kind),
        _person(top.section("person")),
        valid_from.optional_name("column"),
        tuple(_facts(Section(block, f"{where}, facts {place}")) for place, block in enumerate(blocks, 1)),
        _forms(top.section("protected")),
        _consent(top.section("consent")) if top.has("consent") else MappingProxyType({}),
        frozenset(ignore.texts("columns")) if ignore.has("columns") else frozenset(),
        where,
        digest,
    )
    for section in (valid_from, ignore, top):
        section.close()
    if not (mapping.facts or mapping.protected or mapping.consent):
        raise top.fail("facts", "at least one of [[facts]], [protected] and [consent]")
    return mapping


def _read(section: Section, kind: str) -> ReadOptions:
    sql = kind == "sql"
    if sql != section.has("query") or sql != section.has("url_from"):
        raise section.fail("query", 'url_from and query where kind is "sql", and only there')
    timezone = section.optional_name("timezone")
    calendar = _calendar(section, timezone)
    url_from = section.text("url_from") if sql else None
    if url_from and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", url_from):
        raise section.fail("url_from", "the name of an environment variable")
    options = ReadOptions(
        section.choice("encoding", ENCODINGS) if section.has("encoding") else "utf-8",
        section.choice("separator", (*SEPARATORS, "|")) if section.has("separator") else None,
        section.text("sheet") if section.has("sheet") else None,
        _numbers(section),
        calendar,
        timezone,
        frozenset(folded(text) for text in ("", *(_missing(section)))),
        url_from,
        _query(section) if sql else None,
    )
    section.close()
    return options


def _missing(section: Section) -> tuple[str, ...]:
    return section.texts("missing", blank=True) if section.has("missing") else MISSING


def _query(section: Section) -> str:
    query = section.take("query")
    if isinstance(query, str) and query.strip() and len(query) <= MAX_QUERY and "\0" not in query:
        return query
    raise section.fail("query", f"text of at most {MAX_QUERY} characters")


def _numbers(section: Section) -> NumberFormat:
    decimal = section.choice("decimal", DECIMALS) if section.has("decimal") else "."
    thousands = section.choice("thousands", THOUSANDS) if section.has("thousands") else ""
    if decimal == thousands:
        raise section.fail("thousands", "another sign than the decimal one")
    return NumberFormat(decimal, thousands)


def _calendar(section: Section, zone: str | None) -> Calendar:
    formats = section.texts("dates") if section.has("dates") else ()
    earliest = _plain_day(section, "earliest", date(FIRST_YEAR, 1, 1))
    latest = _plain_day(section, "latest", date(LAST_YEAR, 12, 31))
    try:
        return Calendar(formats, zone, earliest, latest)
    except InputError as error:
        raise InputError(f"{section.where}, {error}") from None


def _plain_day(section: Section, key: str, default: date) -> date:
    day = section.take(key) if section.has(key) else default
    if isinstance(day, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", day):
        try:
            day = date.fromisoformat(day)
        except ValueError:
            day = None
    if type(day) is date and FIRST_YEAR <= day.year <= LAST_YEAR:  # a datetime is a date too
        return day
    raise section.fail(key, f"a day from {FIRST_YEAR} to {LAST_YEAR}")


def _person(section: Section) -> PersonForm:
    subject = "candidate" if section.has("candidate") else "employee"
    form = PersonForm(
        section.name("candidate" if subject == "candidate" else "number"),
        subject,
        section.whole("width", MAX_WIDTH) if section.has("width") else 0,
        _pattern(section) if section.has("pattern") else None,
    )
    section.close()
    return form


def _pattern(section: Section) -> re.Pattern[str]:
    """The pattern, translated; at most one part of it varies in length."""
    text, place, varying, parts = section.text("pattern", 200), 0, 0, []
    while place < len(text) and (atom := _ATOM.match(text, place)):
        place = atom.end()
        repeat = _REPEAT.fullmatch(atom[2] or "{1}")
        low, high = (int(repeat[1]), int(repeat[3] or repeat[1])) if repeat else (1, 0)
        if not low <= high <= MAX_REPEAT or (repeat and bool(repeat[2]) != bool(repeat[3])):
            break
        varying += low < high
        parts.append(f"{atom[1] if len(atom[1]) > 1 else re.escape(atom[1])}{{{low},{high}}}")
    else:
        if place == len(text) and varying <= 1:
            try:
                return re.compile("".join(parts))
            except re.error:  # a class from z to a
                pass
    raise section.fail("pattern", "characters and [classes], each with {n} or at most one with {m,n}")


def _facts(section: Section) -> FactsForm:
    form = FactsForm(
        section.text("table"),
        _when(section.section("when")) if section.has("when") else None,
        section.texts("item") if section.has("item") else (),
        section.optional_name("valid_from"),
        _forms(section.section("columns")),
        section.where,
    )
    section.close()
    if not form.columns:
        raise section.fail("columns", "at least one column")
    return form


def _when(section: Section) -> When:
    when = When(section.name("column"), frozenset(folded(text) for text in section.texts("values")))
    section.close()
    return when


def _consent(section: Section) -> Mapping[str, Form]:
    forms = _forms(section)
    if unknown := [name for name in forms if name not in CONSENT]:
        raise section.fail(unknown[0], f"only {', '.join(CONSENT)}")
    if missing := [name for name in CONSENT[:4] if name not in forms]:
        raise section.fail(missing[0], "a column's form")
    return forms


def _forms(section: Section) -> Mapping[str, Form]:
    return MappingProxyType({name: _form(section.section(name)) for name in section.names()})


def _form(section: Section) -> Form:
    if section.has("always"):
        form = Form(None, _scalar(section, section.take("always")))
    else:
        form = Form(
            section.name("from"),
            None,
            _values(section) if section.has("values") else None,
            section.has("otherwise") and section.choice("otherwise", ("quarantine", "missing")) == "missing",
            _bands(section) if section.has("bands") else (),
            _scale(section),
            section.flag("optional"),
        )
    section.close()
    return form


def _scale(section: Section) -> Decimal:
    value = section.take("scale") if section.has("scale") else 1
    if isinstance(value, int | float) and not isinstance(value, bool) and 1 / MAX_SCALE <= abs(value) <= MAX_SCALE:
        return Decimal(str(value))
    raise section.fail("scale", f"a number from {1 / MAX_SCALE:g} to {MAX_SCALE:g}, or below 0 likewise")


def _bands(section: Section) -> tuple[float, ...]:
    value = section.take("bands")
    if isinstance(value, list) and 1 <= len(value) <= MAX_ENTRIES:
        bounds = [_scalar(section, bound) for bound in value]
        numbers = tuple(bound for bound in bounds if isinstance(bound, float))
        if len(numbers) == len(bounds) and all(one < other for one, other in pairwise(numbers)):
            return numbers
    raise section.fail("bands", "a list of numbers, each above the one before")


def _values(section: Section) -> Mapping[str, str | float]:
    entries = section.take("values")
    if not isinstance(entries, dict) or not 1 <= len(entries) <= MAX_ENTRIES:
        raise section.fail("values", f"a table of 1 to {MAX_ENTRIES} cells and what they mean")
    found: dict[str, str | float] = {}
    for cell, value in entries.items():
        if len(cell) > MAX_NAME or not is_shown(cell) or folded(cell) in found:
            raise section.fail("values", "printable cells that differ by more than case and blanks")
        found[folded(cell)] = "" if value == "" else _scalar(section, value)
    return MappingProxyType(found)


def _scalar(section: Section, value: object) -> str | float:
    if is_text(value, MAX_NAME):
        return trimmed(str(value))
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e15:
        return float(value)
    raise section.fail("value", "printable text or a finite number")
