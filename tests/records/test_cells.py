"""Cells: what reads in one way only, and that all else is refused without a word of what it held."""

import math
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.errors import InputError
from records.cells import NumberFormat, Unreadable, code, folded, hours, trimmed
from records.days import Calendar

DAYS = ("DD/MM/YYYY", "MM/DD/YYYY")


@pytest.mark.parametrize(
    ("decimal", "thousands", "text", "value"),
    [
        (".", "", "1234.5", 1234.5),
        (".", "", "-0.5", -0.5),
        (".", "", ".5", 0.5),
        (".", "", " 7 ", 7),
        (".", "", "1.2E+05", 120000),
        (",", "", "1,5", 1.5),
        (",", ".", "1.234.567,8", 1234567.8),
        (",", ".", "1234,5", 1234.5),
        (",", " ", "1\u00a0234,5", 1234.5),
        (".", ",", "1,234", 1234),
        (".", "'", "1'234.5", 1234.5),
    ],
)
def test_numbers_are_read_in_the_declared_writing(decimal: str, thousands: str, text: str, value: float) -> None:
    assert NumberFormat(decimal, thousands).read(text) == value


@pytest.mark.parametrize(
    ("decimal", "thousands", "text"),
    [
        (".", "", "1,5"),
        (",", "", "1.5"),
        (",", ".", "1.5"),
        (".", ",", "12,34"),
        (".", ",", "1,2345"),
        (".", "", "nan"),
        (".", "", "inf"),
        (".", "", "1e999"),
        (".", "", "1_0"),
        (".", "", "१"),
        (".", "", "12 %"),
        (".", "", "£5"),
        (".", "", ""),
        (".", "", "9" * 41),
    ],
)
def test_another_writing_of_a_number_is_refused(decimal: str, thousands: str, text: str) -> None:
    with pytest.raises(Unreadable):
        NumberFormat(decimal, thousands).read(text)


def test_scaling_is_decimal() -> None:
    assert NumberFormat().read("1.1", Decimal(100)) == 110
    assert NumberFormat().read("0.07", Decimal(100)) == 7


@pytest.mark.parametrize(
    ("text", "value"),
    [("PT1H30M", 1.5), ("P1D", 24), ("P2W", 336), ("PT90M", 1.5), ("PT0.5H", 0.5), ("PT36S", 0.01), ("P1DT12H", 36)],
)
def test_durations_become_hours(text: str, value: float) -> None:
    assert hours(text) == value


@pytest.mark.parametrize("text", ["P1Y", "P1M", "PT", "P", "PT1.5H30M", "1H", "-PT1H", "P1W2D", "PT1H ago", "P1DT"])
def test_durations_without_a_fixed_length_are_refused(text: str) -> None:
    with pytest.raises(Unreadable):
        hours(text)


@pytest.mark.parametrize(
    ("form", "text", "day"),
    [
        ("DD/MM/YYYY", "13/02/2016", "2016-02-13"),
        ("MM/DD/YYYY", "02/13/2016", "2016-02-13"),
        ("DD.MM.YY", "4.04.15", "2015-04-04"),
        ("DD.MM.YY", "1.1.69", "1969-01-01"),
        ("DD-MON-YY", "21-Apr -16", "2016-04-21"),
        ("DD MON YYYY", "3 September 2016", "2016-09-03"),
        ("DD – MON-YY", "25 – Apr-16", "2016-04-25"),
        ("DD.MM.YYYY & hh.mm AM", "28.8.2016 & 10.30 AM", "2016-08-28"),
        ("YYYYMMDD", "20160213", "2016-02-13"),
        ("iso", "2016-02-13", "2016-02-13"),
        ("iso", "2016-02-13T23:30:00-05:00", "2016-02-13"),
        ("excel", "42413", "2016-02-13"),
        ("excel", "42413.75", "2016-02-13"),
        ("excel", "59", "1900-02-28"),
        ("excel", "61", "1900-03-01"),
        ("excel-1904", "40951", "2016-02-13"),
        ("unix", "1455321600", "2016-02-13"),
        ("unix-ms", "1455321600000", "2016-02-13"),
    ],
)
def test_days_are_read_by_the_declared_format(form: str, text: str, day: str) -> None:
    assert Calendar((form,)).day(text) == day


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("DD/MM/YYYY", "13/13/2016"),
        ("DD/MM/YYYY", "30/02/2016"),
        ("DD/MM/YYYY", "13.02.2016"),
        ("DD/MM/YY", "13/02/2016"),
        ("DD/MM/YYYY", "42413"),
        ("DD MON YY", "12 Foo 16"),
        ("excel", "60"),
        ("excel", "0"),
        ("excel", "999999"),
        ("unix", "42413"),
        ("YYYYMMDD", "2016213"),
        ("iso", "2016-2-13"),
        ("iso", "2016-02"),
        ("iso", "1066-10-14"),
        ("iso", "2016-02-13T25:00"),
        ("iso", "0000-00-00"),
        ("DD.MM.YYYY hh.mm AM", "28.8.2016 13.30 PM"),
    ],
)
def test_what_no_format_reads_is_refused(form: str, text: str) -> None:
    with pytest.raises(Unreadable):
        Calendar((form,)).day(text)


def test_a_day_that_two_formats_read_differently_is_ambiguous() -> None:
    both = Calendar(DAYS)
    assert both.day("13/02/2016") == "2016-02-13"
    assert both.day("05/05/2016") == "2016-05-05"
    assert both.month("03/03/2016") == "2016-03"
    with pytest.raises(Unreadable, match="ambiguous"):
        both.day("04/12/2016")


@settings(max_examples=80, deadline=None)
@given(st.dates(date(1900, 1, 1), date(2199, 12, 31)))
def test_a_day_is_read_back_or_ambiguous(day: date) -> None:
    try:
        assert Calendar(DAYS).day(f"{day:%d/%m/%Y}") == day.isoformat()
    except Unreadable:
        assert day.day <= 12
        assert day.day != day.month


def test_months_are_read_of_months_and_days() -> None:
    calendar = Calendar(("MM/YYYY", "MON YYYY", "DD.MM.YYYY"))
    assert [calendar.month(text) for text in ("03/2016", "Mar 2016", "2016-03", "31.03.2016")] == ["2016-03"] * 4
    with pytest.raises(Unreadable, match="a month"):
        calendar.day("03/2016")


def test_days_beyond_the_plausible_range_are_refused() -> None:
    calendar = Calendar((), None, date(2014, 1, 15), date(2016, 12, 31))
    assert calendar.day("2014-01-15") == "2014-01-15"
    assert calendar.month("2014-01") == "2014-01"
    for text in ("2014-01-14", "2017-01-01"):
        with pytest.raises(Unreadable, match="plausible"):
            calendar.day(text)
    with pytest.raises(Unreadable, match="plausible"):
        calendar.month("2017-01")


def test_instants_are_written_in_utc() -> None:
    oslo = Calendar(("unix", "DD.MM.YYYY HH:mm"), "Europe/Oslo")
    assert oslo.instant("2026-03-02T14:00:00+01:00") == "2026-03-02T13:00:00Z"
    assert oslo.instant("2026-03-02T14:00:00.999Z") == "2026-03-02T14:00:00Z"
    assert oslo.instant("2.3.2026 14:00") == "2026-03-02T13:00:00Z"
    assert oslo.instant("1455321600") == "2016-02-13T00:00:00Z"
    assert oslo.day("2026-03-02T23:30:00Z") == "2026-03-03"


def test_a_local_time_without_a_zone_and_a_day_without_a_time_are_no_instants() -> None:
    with pytest.raises(Unreadable, match="no time zone is declared"):
        Calendar().instant("2026-03-02T14:00")
    with pytest.raises(Unreadable, match="got a date"):
        Calendar((), "Europe/Oslo").instant("2026-03-02")


def test_local_times_that_the_clocks_skipped_or_showed_twice_are_refused() -> None:
    oslo = Calendar((), "Europe/Oslo")
    assert oslo.instant("2026-03-29T01:59:59") == "2026-03-29T00:59:59Z"
    with pytest.raises(Unreadable, match="skipped"):
        oslo.instant("2026-03-29T02:30:00")
    assert oslo.instant("2026-10-25T01:59:59") == "2026-10-24T23:59:59Z"
    with pytest.raises(Unreadable, match="twice"):
        oslo.instant("2026-10-25T02:30:00")
    assert oslo.instant("2026-10-25T02:30:00+02:00") == "2026-10-25T00:30:00Z"


@settings(max_examples=80, deadline=None)
@given(
    st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)),
    st.sampled_from(["Europe/Oslo", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]),
)
def test_a_local_time_that_is_read_is_the_one_the_clocks_showed(local: datetime, zone: str) -> None:
    local = local.replace(microsecond=0)
    try:
        moment = datetime.fromisoformat(Calendar((), zone).instant(local.isoformat()))
    except Unreadable:
        around = {(local + timedelta(hours=h)).replace(tzinfo=ZoneInfo(zone)).utcoffset() for h in (-4, 4)}
        assert len(around) == 2  # the clocks changed
    else:
        assert moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == local
        assert moment.tzinfo == UTC


@pytest.mark.parametrize(
    "form",
    [
        "",
        "DD/MM",
        "YYYY",
        "DD/MM/YYYY/YY",
        "DD/MM/YYYY HH",
        "DD/MM/YYYY hh:mm",
        "MM/YYYY HH:mm",
        "DDxMMxYYYY",
        "%d/%m/%Y",
        "DD/MM/YYYY" * 9,
        "(DD+MM)*YYYY!ss",
        "DD\n/MM/YYYY",
    ],
)
def test_a_format_that_means_nothing_is_refused(form: str) -> None:
    with pytest.raises(InputError, match="dates: expected formats"):
        Calendar((form,))


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../../etc/passwd", "/etc/localtime", "Europe", "x" * 99])
def test_a_zone_that_there_is_not_is_refused(zone: str) -> None:
    with pytest.raises(InputError, match="IANA"):
        Calendar((), zone)


def test_codes_are_trimmed_and_printable() -> None:
    assert code("  a \u00a0 b\n") == "a b"
    assert folded(" Straße\tX ") == "strasse x"
    for text in ("a\0b", "a\u202eb", "x" * 201, "\ud800"):
        with pytest.raises(Unreadable):
            code(text)


texts = st.one_of(
    st.text(max_size=60),
    st.text(alphabet="0123456789.,:/-+TZPDHMSW Ee'&AMpJanFebé\u00a0", max_size=30),
)
READS = [
    NumberFormat().read,
    NumberFormat(",", ".").read,
    NumberFormat(",", " ").read,
    hours,
    code,
    Calendar(("DD/MM/YYYY", "excel", "unix", "unix-ms", "DD MON YY", "YYYYMMDD"), "Europe/Oslo").day,
    Calendar(("MM/DD/YY", "MM.YYYY", "excel-1904"), "Asia/Kolkata").month,
    Calendar(("DD-MM-YYYY hh:mm:ss AM", "unix-ms", "excel"), "America/New_York").instant,
]


@settings(max_examples=200, deadline=None)
@given(text=texts, read=st.sampled_from(READS))
def test_any_text_is_a_typed_value_or_unreadable_in_words_that_do_not_hold_it(text: str, read: object) -> None:
    value: object = "2000-01"
    words = ""
    try:
        value = read(text)  # type: ignore[operator]
    except Unreadable as reason:
        words = str(reason)
    assert len(trimmed(text)) <= 8 or trimmed(text) not in words
    if isinstance(value, float):
        assert math.isfinite(value)
    elif read is not code:
        assert re.fullmatch(r"(19|2[01])\d\d-\d\d(-\d\d(T\d\d:\d\d:\d\dZ)?)?", str(value))
