"""Days, months and instants, as sources write them.

Rules:
 1. A cell is read by the declared formats; where two of them read it differently, it is ambiguous and not read.
 2. A local time is an instant only in a declared time zone, and only if its clocks showed it exactly once.
 3. Reasons never hold what a cell holds.

Formats are written with YYYY, YY (69 to 99: 1969 to 1999, else 2000 to 2068), MM, DD (one digit or two), MON (Jan or
January), HH, mm, ss, or hh with AM, and signs between them, around which blanks do not matter. Five have names: "iso"
(which is always read), "excel" and "excel-1904" (serial days), "unix" and "unix-ms" (seconds, milliseconds since 1970).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

from privacy.errors import InputError
from records.cells import Unreadable, trimmed
from records.table import is_shown

MAX_FORMAT: Final = 40
FIRST_YEAR: Final = 1900
LAST_YEAR: Final = 2199

_ISO: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})(?:-([0-9]{2})(?:[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,][0-9]{1,9})?)?"
    r" ?(Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?)?"
)
_SERIAL: Final = re.compile(r"([0-9]{1,6})(?:[.,]([0-9]{1,15}))?")
_EPOCH: Final = re.compile(r"[0-9]{9,13}(?:\.[0-9]{1,9})?")
_TOKEN: Final = re.compile(r"YYYY|YY|MON|MM|DD|HH|hh|mm|ss|AM")
_PATTERNS: Final = {
    "YYYY": "[0-9]{4}",
    "YY": "[0-9]{2}",
    "MON": "[A-Za-z]{3,9}",
    "MM": "[0-9]{1,2}",
    "DD": "[0-9]{1,2}",
    "HH": "[0-9]{1,2}",
    "hh": "[0-9]{1,2}",
    "mm": "[0-9]{2}",
    "ss": "[0-9]{2}",
    "AM": r"[AaPp]\.?[Mm]\.?",
}
_MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)


@dataclass(frozen=True, slots=True)
class Month:
    """A month of a year, where no day was written."""

    year: int
    month: int


Reading = date | Month
"""What one format reads: a month, a day, a local time (naive datetime) or an instant (aware datetime)."""


class Calendar:
    """How a source writes days and times."""

    def __init__(
        self,
        formats: Sequence[str] = (),
        zone: str | None = None,
        earliest: date = date(FIRST_YEAR, 1, 1),
        latest: date = date(LAST_YEAR, 12, 31),
    ) -> None:
        """Prepare the readers.

        Args:
            formats: of days, as the module's head explains.
            zone: IANA name of the time zone of local times, or None if they are not to be read.
            earliest: first day that is plausible.
            latest: last day that is plausible.

        Raises:
            InputError: if a format or the zone means nothing.
        """
        self._readers = [_reader(name) for name in dict.fromkeys(("iso", *formats))]
        self._zone = _zone(zone) if zone else None
        self._earliest, self._latest = earliest, latest

    def day(self, text: str) -> str:
        """The day, YYYY-MM-DD: of an instant in the calendar's zone, or in the offset it is written with.

        Raises:
            Unreadable: if no format reads a day, two read different ones (rule 1), or it is not plausible.
        """
        return self._only(text, self._day_of)

    def month(self, text: str) -> str:
        """The month, YYYY-MM, of a month, a day or a time.

        Raises:
            Unreadable: as for `day`.
        """
        return self._only(text, self._month_of)

    def instant(self, text: str) -> str:
        """The instant, YYYY-MM-DDTHH:MM:SSZ; fractions of a second are cut off.

        Raises:
            Unreadable: as for `day`, for a day without a time, and by rule 2.
        """
        return self._only(text, self._instant_of)

    def _only(self, text: str, write: Callable[[Reading], str]) -> str:
        cell = trimmed(text)
        found = {write(reading) for reader in self._readers for reading in reader(cell)}
        if len(found) > 1:  # rule 1
            raise Unreadable("ambiguous: two of the declared formats read it differently")
        if not found:
            raise Unreadable("expected a date in one of the declared formats, got other text")
        return found.pop()

    def _day_of(self, reading: Reading) -> str:
        if isinstance(reading, Month):
            raise Unreadable("expected a day, got a month")
        if isinstance(reading, datetime):
            reading = (reading.astimezone(self._zone) if self._zone and reading.tzinfo else reading).date()
        return self._plausible(reading).isoformat()

    def _month_of(self, reading: Reading) -> str:
        if isinstance(reading, Month):
            first = date(reading.year, reading.month, 1)
            if self._earliest.replace(day=1) <= first <= self._latest:
                return first.isoformat()[:7]
            raise Unreadable("expected a month within the plausible range, got another")
        return self._day_of(reading)[:7]

    def _instant_of(self, reading: Reading) -> str:
        if not isinstance(reading, datetime):
            raise Unreadable("expected a time of day, got a date")
        if reading.tzinfo is None:
            reading = self._placed(reading)
        moment = reading.astimezone(UTC)
        self._plausible(moment.date())
        return f"{moment:%Y-%m-%dT%H:%M:%SZ}"

    def _placed(self, local: datetime) -> datetime:
        """The instant that the zone's clocks showed this time at (rule 2)."""
        if self._zone is None:
            raise Unreadable("expected a time with an offset (no time zone is declared), got a local time")
        first, second = (local.replace(tzinfo=self._zone, fold=fold) for fold in (0, 1))
        if first.astimezone(UTC).astimezone(self._zone).replace(tzinfo=None) != local:
            raise Unreadable("expected a time that the clocks showed, got one that they skipped")
        if first.utcoffset() != second.utcoffset():
            raise Unreadable("ambiguous: the clocks showed this local time twice")
        return first

    def _plausible(self, day: date) -> date:
        if not self._earliest <= day <= self._latest:
            raise Unreadable("expected a day within the plausible range, got another")
        return day


Reader = Callable[[str], Iterator[Reading]]


def _reader(name: str) -> Reader:
    named: dict[str, Reader] = {
        "iso": _iso,
        "excel": _excel,
        "excel-1904": _excel_1904,
        "unix": lambda text: _epoch(text, 1),
        "unix-ms": lambda text: _epoch(text, 1_000),
    }
    return named.get(name) or _written(name)


def _zone(name: str) -> ZoneInfo:
    try:
        if not re.fullmatch(r"[A-Za-z0-9_+/-]{1,60}", name):
            raise ValueError
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        raise InputError("timezone: expected an IANA time zone such as Europe/Oslo, got another name") from None


def _iso(text: str) -> Iterator[Reading]:
    if not (match := _ISO.fullmatch(text)):
        return
    year, month, day, hour, minute, second, offset = match.groups()
    yield from _made(int(year), int(month), day, hour, minute, second, offset)


def _made(
    year: int, month: int, day: str | None, hour: str | None, minute: str | None, second: str | None, offset: str | None
) -> Iterator[Reading]:
    """The month, day, local time or instant of these numbers, if there is one."""
    try:
        whole = date(year, month, int(day or 1))
        moment = time(int(hour or 0), int(minute or 0), int(second or 0), tzinfo=_offset(offset))
    except ValueError:
        return
    if not FIRST_YEAR <= year <= LAST_YEAR:
        return
    if day is None:
        yield Month(year, month)
    else:
        yield whole if hour is None else datetime.combine(whole, moment)


def _offset(text: str | None) -> timezone | None:
    if text is None or text == "Z":
        return UTC if text else None
    digits = text[1:].replace(":", "").ljust(4, "0")
    if int(digits[:2]) > 14 or int(digits[2:]) > 59:
        raise ValueError
    minutes = int(digits[:2]) * 60 + int(digits[2:])
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))


def _excel(text: str) -> Iterator[Reading]:
    """Serial 60 is the 29 February 1900, which never was; all before it are counted from one day later."""
    if (match := _SERIAL.fullmatch(text)) and (serial := int(match[1])) not in (0, 60):
        yield from _serial(date(1899, 12, 31 if serial < 60 else 30), serial, match[2])


def _excel_1904(text: str) -> Iterator[Reading]:
    if match := _SERIAL.fullmatch(text):
        yield from _serial(date(1904, 1, 1), int(match[1]), match[2])


def _serial(origin: date, days: int, fraction: str | None) -> Iterator[Reading]:
    day = origin + timedelta(days=days)
    if day.year > LAST_YEAR:
        return
    if not fraction or not int(fraction):
        yield day
    else:
        yield datetime.combine(day, time()) + timedelta(seconds=round(float(f"0.{fraction}") * 86_400))


def _epoch(text: str, per_second: int) -> Iterator[Reading]:
    """Instants from 1973 on: shorter numbers are taken for other things."""
    if _EPOCH.fullmatch(text):
        seconds = Decimal(text) / per_second
        if 100_000_000 <= seconds < 7_258_118_400:
            yield datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(seconds))


def _written(name: str) -> Reader:
    """The reader of a format that is written in tokens.

    Raises:
        InputError: if it does not say year and month exactly once, or a time without its minutes or half of the day.
    """
    pattern = _compiled(name)

    def read(text: str) -> Iterator[Reading]:
        if match := pattern.fullmatch(text):
            yield from _from_parts(match.groupdict())

    return read


def _compiled(name: str) -> re.Pattern[str]:
    tokens = _TOKEN.findall(name)
    kinds = sorted(token for token in tokens if token not in ("DD", "ss"))
    months = (["MM"], ["MON"])
    clocks: tuple[list[str], ...] = ([], ["HH", "mm"], ["AM", "hh", "mm"])
    known = [sorted([*month, *clock, year]) for month in months for clock in clocks for year in ("YY", "YYYY")]
    between = _TOKEN.split(name)
    if (
        len(name) > MAX_FORMAT
        or kinds not in known
        or len(set(tokens)) < len(tokens)
        or ("DD" not in tokens and len(tokens) > 2)
        or ("ss" in tokens and "mm" not in tokens)
        or any(character.isalnum() or not is_shown(character) for part in between for character in part)
    ):
        raise InputError(
            "dates: expected formats such as DD/MM/YYYY, DD.MM.YY HH:mm, MON YYYY, iso, excel, unix, got another"
        )
    joined = any(not part for part in between[1:-1])  # without signs between, digits need fixed widths
    pattern = _literal(between[0])
    for token, after in zip(tokens, between[1:], strict=True):
        digits = "[0-9]{2}" if joined and _PATTERNS[token] == "[0-9]{1,2}" else _PATTERNS[token]
        pattern += f"(?P<{token}>{digits}){_literal(after)}"
    return re.compile(pattern)


def _literal(text: str) -> str:
    """A pattern for the signs between tokens, blanks around them left free."""
    if text and not text.strip():
        return " "
    return "".join(f" ?{re.escape(character)} ?" for character in text if not character.isspace())


def _from_parts(parts: dict[str, str]) -> Iterator[Reading]:
    year = int(parts["YYYY"]) if "YYYY" in parts else _century(int(parts["YY"]))
    month = _month_number(parts["MON"]) if "MON" in parts else int(parts["MM"])
    hour = parts.get("HH")
    if "hh" in parts:
        if not 1 <= int(parts["hh"]) <= 12:
            return
        hour = str(int(parts["hh"]) % 12 + (12 if parts["AM"][0] in "Pp" else 0))
    yield from _made(year, month, parts.get("DD"), hour, parts.get("mm"), parts.get("ss"), None)


def _century(two: int) -> int:
    return 2000 + two if two < 69 else 1900 + two


def _month_number(name: str) -> int:
    """1 to 12 for an English name or its first three letters (also "Sept"), 0 for another word."""
    lower = "sep" if name.lower() == "sept" else name.lower()
    return next((number for number, month in enumerate(_MONTHS, 1) if lower in (month, month[:3])), 0)
