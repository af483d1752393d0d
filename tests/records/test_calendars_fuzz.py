"""No calendar, however it is written, ends the reader with anything but busy times, faults and one kind of error."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

from dateutil import rrule
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privacy.errors import InputError
from records.connectors.calendar_events import Window
from records.connectors.calendar_times import merged, without
from records.connectors.calendars import records_of
from records.connectors.recurrence import WEEKDAYS, Budget, occurrences, parse_rule
from records.facts import Fault
from records.mapping import load_mapping
from records.registry import load_registry

NOW = datetime(2026, 3, 25, 12, tzinfo=UTC)
MAPPING = load_mapping("calendar", load_registry())
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

times = st.sampled_from(
    [
        *("20260325T100000Z", "20260325T100000", "20260325", "00010101T000000Z", "99991231T235959Z", "20260230"),
        *("-P1D", "PT", "P1W", "PT1H", "P99999999D", "20260325T100000Z/PT1H", "20260325T100000Z/20200101T000000Z"),
        *("", ",", "20260325,20260326T10", "24:00", "20260325T250000Z", "20260329T023000"),
    ]
)
parameters = st.sampled_from(
    [
        *("", ";TZID=Europe/Oslo", ";TZID=../../etc/passwd", ";TZID=", ";VALUE=DATE", ";VALUE=PERIOD", ";TZID=Nowhere"),
        *(";RANGE=THISANDFUTURE", ';TZID="a;b:c"', ";FBTYPE=BUSY-TENTATIVE", ";PARTSTAT=DECLINED", ";=", ";X"),
    ]
)
rules = st.lists(
    st.sampled_from(
        [
            *("FREQ=DAILY", "FREQ=SECONDLY", "FREQ=YEARLY", "FREQ=MONTHLY", "FREQ=WEEKLY", "FREQ=", "INTERVAL=0"),
            *("INTERVAL=99999999999", "COUNT=-1", "COUNT=99999999", "UNTIL=20260401", "UNTIL=20260401T000000Z"),
            *("UNTIL=x", "BYDAY=MO,-1SU", "BYDAY=99MO", "BYMONTH=2", "BYMONTHDAY=30", "BYMONTHDAY=-1", "BYHOUR=1,2,3"),
            *("BYSETPOS=-1", "BYSETPOS=366", "BYWEEKNO=53", "BYYEARDAY=-366", "WKST=SU", "WKST=9", "RSCALE=HEBREW"),
            *("BYSECOND=" + ",".join(map(str, range(60))), "BYMINUTE=" + ",".join(map(str, range(60))), "BYHOUR=25"),
        ]
    ),
    max_size=5,
).map(";".join)
names = st.sampled_from(
    [
        *("DTSTART", "DTEND", "DURATION", "RDATE", "EXDATE", "RECURRENCE-ID", "FREEBUSY", "ATTENDEE", "UID"),
        *("STATUS", "SEQUENCE", "TRANSP", "X-WR-TIMEZONE", "EXRULE", "SUMMARY", "X-MICROSOFT-CDO-BUSYSTATUS"),
    ]
)
properties = st.one_of(
    st.tuples(names, parameters, st.one_of(times, st.text(max_size=20))).map(lambda p: f"{p[0]}{p[1]}:{p[2]}"),
    rules.map("RRULE:{}".format),
    st.text(max_size=40),
)
marks = st.sampled_from(
    [
        *("BEGIN:VCALENDAR", "END:VCALENDAR", "BEGIN:VEVENT", "END:VEVENT", "BEGIN:VFREEBUSY", "END:VFREEBUSY"),
        *("BEGIN:VTIMEZONE", "END:VTIMEZONE", "BEGIN:", "END", "begin:vevent"),
    ]
)
events = st.lists(properties, max_size=8).map(lambda lines: ["BEGIN:VEVENT", *lines, "END:VEVENT"])
busy = st.lists(properties, max_size=4).map(lambda lines: ["BEGIN:VFREEBUSY", *lines, "END:VFREEBUSY"])
whole = st.lists(st.one_of(events, busy), max_size=4).map(
    lambda parts: "\r\n".join(["BEGIN:VCALENDAR", *(line for part in parts for line in part), "END:VCALENDAR", ""])
)


def read(path, data: bytes):
    path.write_bytes(data)
    found = list(records_of(path, MAPPING, NOW))
    for _, one in found:
        if isinstance(one, Fault):
            assert one.reason.isprintable()
        else:
            assert one["start_utc"] < one["end_utc"]
    return found


@FUZZ
@given(data=st.binary(max_size=300))
def test_bytes(tmp_path, data):
    read(tmp_path / "1.ics", data)


@FUZZ
@given(lines=st.lists(st.one_of(marks, properties), max_size=12))
def test_lines_in_any_order(tmp_path, lines):
    read(tmp_path / "1.ics", "\r\n".join(lines).encode("utf-8", "surrogatepass"))


@settings(FUZZ, max_examples=400)
@given(text=whole)
def test_whole_calendars_of_odd_events(tmp_path, text):
    assert len(read(tmp_path / "1.ics", text.encode("utf-8", "surrogatepass"))) <= 20_000


FREQUENCIES = {"DAILY": rrule.DAILY, "WEEKLY": rrule.WEEKLY, "MONTHLY": rrule.MONTHLY, "YEARLY": rrule.YEARLY}


@st.composite
def simple_rules(draw):
    """Rules that RFC 5545 and dateutil understand alike."""
    frequency = draw(st.sampled_from(sorted(FREQUENCIES)))
    parts = {"FREQ": [frequency], "INTERVAL": [draw(st.integers(1, 4))], "WKST": [draw(st.sampled_from(WEEKDAYS))]}
    if draw(st.booleans()):
        parts["BYMONTH"] = draw(st.lists(st.integers(1, 12), min_size=1, max_size=3))
    ordinals = st.sampled_from([-5, -2, -1, 1, 2, 5]) if frequency in ("MONTHLY", "YEARLY") else st.none()
    numbered = draw(st.booleans())
    weekdays = draw(st.lists(st.tuples(ordinals if numbered else st.none(), st.sampled_from(WEEKDAYS)), max_size=3))
    if weekdays:
        parts["BYDAY"] = [f"{ordinal or ''}{name}" for ordinal, name in weekdays]
    if frequency != "WEEKLY" and draw(st.booleans()):
        parts["BYMONTHDAY"] = draw(st.lists(st.sampled_from([1, 15, 28, 29, 30, 31, -1, -2, -31]), min_size=1))
    if frequency == "YEARLY" and draw(st.booleans()):
        parts["BYYEARDAY"] = draw(st.lists(st.sampled_from([1, 60, 100, 365, 366, -1, -366]), min_size=1))
    if frequency == "YEARLY" and weekdays and not numbered and draw(st.booleans()):
        parts["BYWEEKNO"] = draw(st.lists(st.sampled_from([1, 2, 20, 52, 53, -1]), min_size=1))
    if draw(st.booleans()):
        parts["BYHOUR"] = draw(st.lists(st.integers(0, 23), min_size=1, max_size=2))
    if frequency != "WEEKLY" and draw(st.booleans()):  # dateutil counts places from the start of the first week on
        parts["BYSETPOS"] = draw(st.lists(st.sampled_from([1, 2, -1, -2]), min_size=1))
    if draw(st.booleans()):
        parts["COUNT"] = [draw(st.integers(1, 40))]
    elif draw(st.booleans()):
        parts["UNTIL"] = [draw(st.datetimes(datetime(2020, 1, 1), datetime(2024, 1, 1)))]
    return parts


def expected(parts, start, first, last):
    byday = []
    for text in parts.get("BYDAY", []):
        weekday = getattr(rrule, text[-2:])
        byday.append(weekday(int(text[:-2])) if text[:-2] else weekday)
    rule = rrule.rrule(
        FREQUENCIES[parts["FREQ"][0]],
        start,
        parts["INTERVAL"][0],
        WEEKDAYS.index(parts["WKST"][0]),
        parts.get("COUNT", [None])[0],
        parts.get("UNTIL", [None])[0],
        bysetpos=parts.get("BYSETPOS"),
        bymonth=parts.get("BYMONTH"),
        bymonthday=parts.get("BYMONTHDAY"),
        byyearday=parts.get("BYYEARDAY"),
        byweekno=parts.get("BYWEEKNO"),
        byweekday=byday or None,
        byhour=parts.get("BYHOUR"),
    )
    end = datetime.combine(last, datetime.max.time())
    found = []
    for moment in rule:
        if moment > end:
            break
        if moment.date() >= first:
            found.append(moment)
    return found


@settings(max_examples=80, deadline=None)
@given(
    parts=simple_rules(),
    start=st.datetimes(datetime(2020, 1, 1), datetime(2022, 12, 31)).map(lambda at: at.replace(microsecond=0)),
    first=st.dates(date(2020, 1, 1), date(2024, 1, 1)),
    days=st.integers(0, 400),
)
def test_rules_repeat_as_in_dateutil(parts, start, first, days):
    last = first + timedelta(days)
    found = list(occurrences(parse_rule(parts), start, first, last, Budget(10**7)))
    assert found == expected(parts, start, first, last)


@settings(max_examples=300, deadline=None)
@given(
    parts=st.fixed_dictionaries(
        {},
        optional={
            "FREQ": st.lists(st.sampled_from([*FREQUENCIES, "HOURLY", "", "daily", 3]), max_size=2),
            "INTERVAL": st.lists(st.integers(-2, 10**12), max_size=2),
            "COUNT": st.lists(st.one_of(st.integers(-2, 10**12), st.text(max_size=2)), max_size=2),
            "UNTIL": st.lists(st.one_of(st.dates(), st.datetimes(), st.integers()), max_size=2),
            "BYDAY": st.lists(st.text(max_size=4), max_size=3),
            "BYMONTH": st.lists(st.integers(-20, 20), max_size=30),
            "BYSETPOS": st.lists(st.integers(-400, 400), max_size=9),
            "X": st.just([]),
        },
    ),
    start=st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)),
)
def test_rules_that_make_no_sense(parts, start):
    try:
        rule = parse_rule(parts)
        assert len(list(occurrences(rule, start, date(2026, 1, 1), date(2026, 3, 1), Budget(20_000)))) <= 20_000
    except InputError:
        pass


moments = st.integers(0, 50).map(lambda hours: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=hours))
spans = st.lists(st.tuples(moments, moments).filter(lambda span: span[0] < span[1]), max_size=8)


def hours_of(some):
    return {
        start + timedelta(hours=n) for start, end in some for n in range(int((end - start).total_seconds() // 3600))
    }


@given(spans)
def test_merging_keeps_every_hour_and_leaves_gaps_between(some):
    found = merged(some)
    assert hours_of(found) == hours_of(some)
    assert all(one[1] < other[0] for one, other in pairwise(found))


@given(spans, spans)
def test_taking_away_leaves_exactly_the_rest(some, taken):
    assert hours_of(without(merged(some), merged(taken))) == hours_of(some) - hours_of(taken)


@given(spans)
def test_a_window_keeps_what_is_inside(some):
    window = Window(datetime(2026, 1, 1, 10, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
    inside = [part for span in some for part in window.cut(*span)]
    assert hours_of(inside) == {hour for hour in hours_of(some) if window.first <= hour < window.last}
