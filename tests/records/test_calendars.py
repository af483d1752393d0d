"""Calendars: when people are busy, told right across zones and exceptions; and nothing else of their meetings."""

import time
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from privacy.errors import InputError
from records.connectors import calendars
from records.connectors.calendar_times import calendars_of
from records.connectors.calendars import ingest_calendars, records_of
from records.facts import Fault
from records.mapping import load_mapping, parse_mapping
from records.registry import load_registry
from records.schema import metadata, quarantine, schedule_busy, tombstone
from records.store import Store, instant
from tests.records.store_folder import KINDS, store_of_kind

NOW = datetime(2026, 3, 25, 12, tzinfo=UTC)
REGISTRY = load_registry()
MAPPING = load_mapping("calendar", REGISTRY)
OSLO = "TZID=Europe/Oslo"
SOON = ("DTSTART:20260326T090000Z", "DTEND:20260326T100000Z")
TEXT = """
source = "calendar"
kind = "calendar"
{read}
[person]
number = "{person}"
[[facts]]
table = "schedule_busy"
when = {{ column = "status", values = {statuses} }}
valid_from = "day"
[facts.columns]
start_utc = {{ from = "start_utc" }}
end_utc = {{ from = "end_utc" }}
"""


def mapping(read="", person="file name", statuses='["busy"]'):
    return parse_mapping(TEXT.format(read=read, person=person, statuses=statuses).encode(), REGISTRY)


def event(*lines):
    return "\n".join(("BEGIN:VEVENT", *lines, "END:VEVENT"))


def calendar(*parts, head=()):
    return "\n".join(("BEGIN:VCALENDAR", *head, *parts, "END:VCALENDAR\n")).replace("\n", "\r\n").encode()


@pytest.fixture
def read(tmp_path):
    """Read one calendar: ((start, end) of the busy times, (column, reason) of the faults)."""

    def reading(data, using=MAPPING, name="004711.ics", now=NOW):
        (tmp_path / name).write_bytes(data)
        found = list(records_of(tmp_path / name, using, now))
        busy = [(one["start_utc"][:16], one["end_utc"][:16]) for _, one in found if not isinstance(one, Fault)]
        return busy, [(one.column, one.reason) for _, one in found if isinstance(one, Fault)]

    return reading


def busy_of(read, *lines, **more):
    busy, faults = read(calendar(event(*lines)), **more)
    assert faults == []
    return busy


def fault_of(read, *lines, **more):
    busy, [fault] = read(calendar(event(*lines)), **more)
    assert busy == []
    return fault


@pytest.fixture(params=KINDS)
def store(request, tmp_path):
    with store_of_kind(request.param, tmp_path / "store") as made:
        yield made


@pytest.fixture
def sqlite(tmp_path):
    with store_of_kind("sqlite", tmp_path / "store") as made:
        yield made


def rows(store, table=schedule_busy):
    with store.reading() as connection:
        return connection.execute(sa.select(table)).all()


class TestTimes:
    def test_a_meeting_in_utc(self, read):
        assert busy_of(read, *SOON) == [("2026-03-26T09:00", "2026-03-26T10:00")]

    def test_a_weekly_meeting_follows_the_clock_of_its_zone_over_the_change(self, read):
        lines = (f"DTSTART;{OSLO}:20260319T090000", f"DTEND;{OSLO}:20260319T100000", "RRULE:FREQ=WEEKLY;COUNT=3")
        assert [start for start, _ in busy_of(read, *lines)] == [
            "2026-03-19T08:00",
            "2026-03-26T08:00",
            "2026-04-02T07:00",
        ]

    def test_start_and_end_may_lie_in_different_zones(self, read):
        flight = ("DTSTART;TZID=Europe/London:20260326T090000", f"DTEND;{OSLO}:20260326T120000")
        assert busy_of(read, *flight) == [("2026-03-26T09:00", "2026-03-26T11:00")]

    def test_a_time_that_the_clocks_skip_is_read_with_the_offset_before(self, read):
        lines = (f"DTSTART;{OSLO}:20260329T023000", "DURATION:PT1H")
        assert busy_of(read, *lines) == [("2026-03-29T01:30", "2026-03-29T02:30")]

    def test_a_duration_in_days_lasts_calendar_days(self, read):
        lines = (f"DTSTART;{OSLO}:20260328T120000", "DURATION:P1D")
        assert busy_of(read, *lines) == [("2026-03-28T11:00", "2026-03-29T10:00")]

    @pytest.mark.parametrize("tzid", ["W. Europe Standard Time", "/freeassociation.sourceforge.net/Europe/Oslo"])
    def test_other_names_of_zones_are_understood(self, read, tzid):
        assert busy_of(read, f"DTSTART;TZID={tzid}:20260326T090000", "DURATION:PT1H") == [
            ("2026-03-26T08:00", "2026-03-26T09:00")
        ]

    def test_a_day_without_a_time_lasts_as_long_as_that_day_in_the_calendars_zone(self, read):
        data = calendar(event("DTSTART;VALUE=DATE:20260329"), head=("X-WR-TIMEZONE:Europe/Oslo",))
        assert read(data) == ([("2026-03-28T23:00", "2026-03-29T22:00")], [])

    def test_a_day_without_a_time_takes_the_mappings_zone_if_the_calendar_has_none(self, read):
        using = mapping(read='[read]\ntimezone = "Asia/Tokyo"')
        assert busy_of(read, "DTSTART;VALUE=DATE:20260401", using=using) == [("2026-03-31T15:00", "2026-04-01T15:00")]

    def test_a_day_without_a_time_and_a_zone_is_refused(self, read):
        column, reason = fault_of(read, "DTSTART;VALUE=DATE:20260329")
        assert column == "DTSTART"
        assert "X-WR-TIMEZONE" in reason

    @pytest.mark.parametrize(
        "lines",
        [
            ("DTSTART:20260326T090000", "DTEND:20260326T100000"),
            (SOON[0], "DTEND:20260326T100000"),
            (*SOON, "RRULE:FREQ=DAILY;COUNT=2", "EXDATE:20260327T090000"),
            (*SOON, "RDATE:20260328T090000"),
            (*SOON, "UID:1", "RECURRENCE-ID:20260326T090000"),
        ],
    )
    @pytest.mark.parametrize("using", [MAPPING, mapping(read='[read]\ntimezone = "Europe/Oslo"')])
    def test_floating_times_are_refused(self, read, lines, using):
        assert "floating" in fault_of(read, *lines, using=using)[1]

    def test_a_zone_that_only_the_file_defines_is_refused_and_its_definition_never_run(self, read):
        zone = ("BEGIN:VTIMEZONE", "TZID:Ours", "BEGIN:STANDARD", "DTSTART:19000101T000000", "TZOFFSETFROM:+0100")
        bomb = (*zone, "TZOFFSETTO:+0200", "RRULE:FREQ=SECONDLY", "END:STANDARD", "END:VTIMEZONE")
        began = time.process_time()
        _, [(column, reason)] = read(calendar(*bomb, event("DTSTART;TZID=Ours:20260326T090000", "DURATION:PT1H")))
        assert (column, "tz database" in reason) == ("DTSTART", True)
        assert time.process_time() - began < 2

    def test_an_end_before_the_start_is_refused(self, read):
        assert fault_of(read, SOON[0], "DTEND:20260326T080000Z")[0] == "DTEND"

    def test_a_moment_keeps_nobody_busy(self, read):
        assert busy_of(read, SOON[0]) == []

    def test_only_whole_days_of_the_window_are_read(self, read):
        leave = ("DTSTART:20260101T000000Z", "DTEND:20261231T000000Z")
        assert busy_of(read, *leave) == [("2026-03-18T00:00", "2026-05-24T00:00")]
        assert busy_of(read, "DTSTART:20260601T090000Z", "DURATION:PT1H") == []

    def test_a_meeting_from_before_the_window_reaches_into_it(self, read):
        lines = ("DTSTART:20200101T120000Z", "DURATION:P2D", "RRULE:FREQ=YEARLY;BYMONTH=3;BYMONTHDAY=17")
        assert busy_of(read, *lines) == [("2026-03-18T00:00", "2026-03-19T12:00")]


class TestRepetition:
    SERIES = ("UID:a", f"DTSTART;{OSLO}:20260323T090000", f"DTEND;{OSLO}:20260323T100000", "RRULE:FREQ=DAILY;COUNT=4")

    def starts(self, read, *parts):
        busy, faults = read(calendar(*parts))
        assert faults == []
        return [start[5:] for start, _ in busy]

    def test_left_out_dates_in_another_zone_and_writing(self, read):
        left_out = ("EXDATE:20260324T080000Z", f"EXDATE;{OSLO}:20260325T090000,20260401T090000")
        assert self.starts(read, event(*self.SERIES, *left_out)) == ["03-23T08:00", "03-26T08:00"]

    def test_a_left_out_day_leaves_out_what_starts_on_it(self, read):
        parts = calendar(event(*self.SERIES, "EXDATE;VALUE=DATE:20260324"), head=("X-WR-TIMEZONE:Europe/Oslo",))
        assert len(read(parts)[0]) == 3

    def test_further_dates_and_periods(self, read):
        more = (f"RDATE;{OSLO}:20260401T110000", "RDATE;VALUE=PERIOD:20260402T090000Z/PT15M")
        busy, _ = read(calendar(event(*self.SERIES, *more)))
        assert busy[4:] == [("2026-04-01T09:00", "2026-04-01T10:00"), ("2026-04-02T09:00", "2026-04-02T09:15")]

    def test_one_occurrence_is_moved(self, read):
        moved = event("UID:a", "RECURRENCE-ID:20260324T080000Z", "DTSTART:20260324T140000Z", "DURATION:PT1H")
        expected = ["03-23T08:00", "03-24T14:00", "03-25T08:00", "03-26T08:00"]
        assert self.starts(read, event(*self.SERIES), moved) == expected
        assert self.starts(read, moved, event(*self.SERIES)) == expected

    def test_one_occurrence_is_cancelled(self, read):
        off = event("UID:a", "RECURRENCE-ID:20260324T080000Z", "DTSTART:20260324T080000Z", "STATUS:CANCELLED")
        assert self.starts(read, event(*self.SERIES), off) == ["03-23T08:00", "03-25T08:00", "03-26T08:00"]

    def test_a_moved_occurrence_without_its_series_counts(self, read):
        moved = event("UID:a", "RECURRENCE-ID:20260324T080000Z", "DTSTART:20260324T140000Z", "DURATION:PT1H")
        assert self.starts(read, moved) == ["03-24T14:00"]

    def test_a_range_of_occurrences_is_refused(self, read):
        lines = ("UID:a", "RECURRENCE-ID;RANGE=THISANDFUTURE:20260324T080000Z", "DTSTART:20260324T140000Z")
        assert fault_of(read, *lines)[0] == "RECURRENCE-ID"

    def test_the_newest_writing_of_an_event_counts(self, read):
        old = event("UID:a", "SEQUENCE:1", *SOON)
        new = event("UID:a", "SEQUENCE:2", "DTSTART:20260326T140000Z", "DURATION:PT1H")
        assert self.starts(read, old, new) == self.starts(read, new, old) == ["03-26T14:00"]

    def test_until_counts_in_the_zone_of_the_event(self, read):
        lines = (f"DTSTART;{OSLO}:20260323T003000", "DURATION:PT15M", "RRULE:FREQ=DAILY;UNTIL=20260324T233000Z")
        assert [start for start, _ in busy_of(read, *lines)][-1] == "2026-03-24T23:30"

    def test_a_series_from_long_ago_costs_nothing(self, read):
        series = [
            event(f"UID:{n}", f"DTSTART;{OSLO}:19800107T090000", "DURATION:PT1H", "RRULE:FREQ=WEEKLY")
            for n in range(200)
        ]
        began = time.process_time()
        busy, faults = read(calendar(*series))
        assert (len(busy), faults) == (9, [])
        assert time.process_time() - began < 2

    @pytest.mark.parametrize(
        "rule",
        [
            "FREQ=SECONDLY",
            "FREQ=MINUTELY;COUNT=999999999",
            "FREQ=HOURLY;INTERVAL=1",
            "FREQ=DAILY;BYHOUR=" + ",".join(map(str, range(24))) + ";BYMINUTE=0,1,2",
            "FREQ=DAILY;INTERVAL=0",
            "FREQ=YEARLY;COUNT=-1",
            "FREQ=WEEKLY;BYDAY=2MO",
            "FREQ=DAILY;RSCALE=HEBREW",
            "FREQ=DAILY,WEEKLY",
            "FREQ=DAILY;COUNT=999999999;BYDAY=" + ",".join(["MO"] * 5_000),
        ],
    )
    def test_bombs_and_nonsense_end_quickly_as_faults(self, read, rule):
        began = time.process_time()
        assert fault_of(read, *SOON, f"RRULE:{rule}")[0] == "RRULE"
        assert time.process_time() - began < 1

    def test_thousands_of_birthdays_are_no_bomb(self, read):
        days = [
            event(f"UID:{n}", "DTSTART:19500401T100000Z", "DURATION:PT1H", "RRULE:FREQ=YEARLY") for n in range(3_000)
        ]
        assert read(calendar(*days)) == ([("2026-04-01T10:00", "2026-04-01T11:00")], [])

    def test_rules_that_never_come_true_end_quickly(self, read):
        never = [
            event(f"UID:{n}", *SOON[:1], "DURATION:PT1H", f"RRULE:FREQ={f};BYMONTH=2;BYMONTHDAY=30;COUNT=99999999")
            for n, f in enumerate(("DAILY", "WEEKLY", "MONTHLY", "YEARLY") * 25)
        ]
        began = time.process_time()
        read(calendar(*never))
        assert time.process_time() - began < 3

    def test_long_lists_of_days_cost_no_more_than_short_ones(self, read):
        weekdays = ",".join([*["MO"] * 100, *(f"{n}{day}" for n in range(-46, 47) if n for day in ("TU", "SU"))])
        rule = f"RRULE:FREQ=YEARLY;COUNT=999999999;BYDAY={weekdays};BYYEARDAY=" + ",".join(map(str, range(1, 367)))
        began = time.process_time()
        _, faults = read(calendar(event("DTSTART:19000102T090000Z", "DURATION:PT1H", rule)))
        assert faults == []
        assert time.process_time() - began < 2

    def test_places_among_many_moments_are_no_bomb(self, read):
        hours = ",".join(map(str, range(24)))
        rule = f"RRULE:FREQ=DAILY;COUNT=999999999;BYHOUR={hours};BYMINUTE=0,30;BYSETPOS=1"
        began = time.process_time()
        _, faults = read(calendar(event("DTSTART:19000102T090000Z", "DURATION:PT1H", rule)))
        assert [column for column, _ in faults] == ["RRULE"]
        assert time.process_time() - began < 2

    def test_many_dense_rules_share_one_budget(self, read):
        hours = ",".join(map(str, range(24)))
        often = f"RRULE:FREQ=DAILY;BYHOUR={hours}"
        dense = [event(f"UID:{n}", "DTSTART:20200101T000000Z", "DURATION:PT1M", often) for n in range(300)]
        began = time.process_time()
        busy, faults = read(calendar(*dense))
        assert len(busy) == 24 * 67
        assert {column for column, _ in faults} == {"RRULE"}
        assert time.process_time() - began < 10


class TestWhoIsBusy:
    @pytest.mark.parametrize(
        "mark",
        [
            "STATUS:CANCELLED",
            "TRANSP:TRANSPARENT",
            "transp:transparent",
            "X-MICROSOFT-CDO-BUSYSTATUS:FREE",
            "ATTENDEE;PARTSTAT=DECLINED:mailto:004711@corp.example",
            "ATTENDEE;PARTSTAT=declined:mailto:somebody@corp.example",
        ],
    )
    def test_what_keeps_nobody_busy(self, read, mark):
        assert busy_of(read, *SOON, mark) == []

    def test_somebody_elses_refusal_does_not_free_the_owner(self, read):
        answers = (
            "ATTENDEE;PARTSTAT=DECLINED:mailto:a@x.example",
            "ATTENDEE;PARTSTAT=ACCEPTED:mailto:004711@x.example",
        )
        assert len(busy_of(read, *SOON, *answers)) == 1

    def test_a_calendar_that_cancels(self, read):
        assert read(calendar(event("UID:a", *SOON), head=("METHOD:CANCEL",))) == ([], [])

    def test_free_busy_lists(self, read):
        lists = (
            "FREEBUSY:20260326T090000Z/PT1H,20260326T120000Z/20260326T130000Z",
            "FREEBUSY;FBTYPE=BUSY-UNAVAILABLE:20260327T090000Z/PT1H",
            "FREEBUSY;FBTYPE=FREE:20260328T090000Z/PT1H",
            "FREEBUSY;FBTYPE=BUSY-TENTATIVE:20260329T090000Z/PT1H",
        )
        found = calendar("BEGIN:VFREEBUSY", *lists, "END:VFREEBUSY")
        assert [start[5:] for start, _ in read(found)[0]] == [
            "03-26T09:00",
            "03-26T12:00",
            "03-27T09:00",
            "03-29T09:00",
        ]

    @pytest.mark.parametrize(
        "mark", ["STATUS:TENTATIVE", "X-MICROSOFT-CDO-BUSYSTATUS:TENTATIVE", "ATTENDEE;PARTSTAT=TENTATIVE:mailto:x@y"]
    )
    @pytest.mark.parametrize(("statuses", "facts"), [('["busy"]', 0), ('["busy", "tentative"]', 1)])
    def test_tentative_times_count_as_the_mapping_says(self, sqlite, tmp_path, mark, statuses, facts):
        (tmp_path / "1.ics").write_bytes(calendar(event(*SOON, mark)))
        ingest_calendars(sqlite, REGISTRY, mapping(statuses=statuses), tmp_path / "1.ics", NOW)
        assert len(rows(sqlite)) == facts

    def test_what_is_taken_for_sure_is_not_also_tentative(self, read):
        maybe = event("DTSTART:20260326T080000Z", "DTEND:20260326T110000Z", "STATUS:TENTATIVE")
        busy, _ = read(calendar(event(*SOON), maybe))
        assert busy == [
            ("2026-03-26T09:00", "2026-03-26T10:00"),
            ("2026-03-26T08:00", "2026-03-26T09:00"),
            ("2026-03-26T10:00", "2026-03-26T11:00"),
        ]

    def test_overlapping_meetings_are_one_busy_time(self, read):
        other = event("DTSTART:20260326T093000Z", "DTEND:20260326T113000Z")
        next_one = event("DTSTART:20260326T113000Z", "DTEND:20260326T120000Z")
        assert read(calendar(event(*SOON), other, next_one))[0] == [("2026-03-26T09:00", "2026-03-26T12:00")]

    def test_the_person_from_a_property_of_the_calendar_merged_over_files(self, tmp_path):
        using = mapping(person="X-EMPLOYEE")
        for name, hour in (("a", 9), ("b", 10)):
            one = event(f"DTSTART:20260326T{hour:02}0000Z", "DURATION:PT1H")
            (tmp_path / f"{name}.ics").write_bytes(calendar(one, head=("X-EMPLOYEE:004711",)))
        [(_, record)] = records_of(tmp_path, using, NOW)
        assert record["X-EMPLOYEE"] == "004711"
        assert record["end_utc"] == "2026-03-26T11:00:00Z"

    def test_the_person_from_the_organizer(self, tmp_path):
        (tmp_path / "x.ics").write_bytes(calendar(event(*SOON, "ORGANIZER;CN=Ann Berg:MAILTO:004711@corp.example")))
        [(_, record)] = records_of(tmp_path / "x.ics", mapping(person="ORGANIZER"), NOW)
        assert record["ORGANIZER"] == "004711@corp.example"


class TestFiles:
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\r\n",
            b"<html>",
            calendar(event(*SOON))[:-20],
            b"BEGIN:VEVENT\r\nEND:VEVENT\r\n",
            calendar("BEGIN:VEVENT", "END:VTODO"),
            b"END:VCALENDAR",
            "BEGIN:VCALENDAR\r\nEND:VCALENDAR".encode("utf-16"),
            b"BEGIN:VCALENDAR\r\n" + b"BEGIN:VEVENT\r\n" * 5_000,
            calendar(event("RDATE:" + "20260326T090000Z," * 10_000)),
            calendar(*["BEGIN:VEVENT\nEND:VEVENT"] * 20_001),
        ],
    )
    def test_a_file_that_is_no_whole_calendar_is_one_fault(self, read, data):
        busy, faults = read(data)
        assert (busy, [column for column, _ in faults]) == ([], [""])

    def test_a_calendar_too_large_is_one_fault(self, read):
        assert "16777216 bytes" in read(calendar(event(*SOON)) + b" " * 2**24)[1][0][1]

    def test_one_bad_event_and_one_bad_file_stop_nothing(self, tmp_path):
        (tmp_path / "1.ics").write_bytes(calendar(event("DTSTART:nonsense"), event(*SOON)))
        (tmp_path / "2.ics").write_bytes(b"\xff\xfe broken")
        (tmp_path / "3.ICS").write_bytes(calendar(event(*SOON)))
        (tmp_path / "notes.txt").write_text("not a calendar")
        found = list(records_of(tmp_path, MAPPING, NOW))
        assert [(place, isinstance(one, Fault)) for place, one in found] == [
            (0, True),
            (0, False),
            (2, True),
            (3, False),
        ]

    def test_several_calendars_in_one_file_and_folded_lines(self, read):
        folded = calendar(event(*SOON)).replace(b"DTSTART:", b"DTST\r\n ART\r\n\t:")
        assert read(b"\xef\xbb\xbf" + folded + b"\r\n" + calendar(event(SOON[0], "DURATION:PT2H")))[0] == [
            ("2026-03-26T09:00", "2026-03-26T11:00")
        ]

    def test_nothing_to_read_is_an_error(self, tmp_path):
        with pytest.raises(InputError, match=r"1 to 20000 .ics files"):
            list(records_of(tmp_path, MAPPING, NOW))
        with pytest.raises(InputError, match="a file or a folder"):
            list(records_of(tmp_path / "none", MAPPING, NOW))

    @pytest.mark.parametrize("using", [datetime(2026, 1, 1), NOW])
    def test_a_window_without_bounds_is_refused(self, tmp_path, using):
        (tmp_path / "1.ics").write_bytes(calendar())
        with pytest.raises(InputError, match="366 days"):
            list(records_of(tmp_path / "1.ics", MAPPING, using, back=7, ahead=60 if using.tzinfo is None else 367))


class TestInTheStore:
    def test_busy_times_get_in_and_the_same_file_changes_nothing(self, store, tmp_path):
        path = tmp_path / "004711.ics"
        path.write_bytes(calendar(event(*SOON), event("DTSTART:20260327T0900")))
        taken = ingest_calendars(store, REGISTRY, MAPPING, path, NOW)
        assert (taken.written, taken.quarantined, taken.already) == (1, 1, False)
        [row] = rows(store)
        assert (row.subject, row.start_utc, row.end_utc, row.valid_from) == (
            store.pseudonyms.person("004711"),
            "2026-03-26T09:00:00Z",
            "2026-03-26T10:00:00Z",
            "2026-03-26",
        )
        before = store.revision()
        again = ingest_calendars(store, REGISTRY, MAPPING, path, NOW + timedelta(hours=1))
        assert (again.already, again.written, store.revision()) == (True, 0, before)
        assert len(rows(store, quarantine)) == 1

    def test_a_meeting_called_off_keeps_nobody_busy_and_comes_back_if_it_does(self, store, tmp_path):
        path, other = tmp_path / "004711.ics", tmp_path / "004712.ics"
        for one in (path, other):
            one.write_bytes(calendar(event(*SOON)))
            ingest_calendars(store, REGISTRY, MAPPING, one, NOW)
        path.write_bytes(calendar())
        assert ingest_calendars(store, REGISTRY, MAPPING, path, NOW).written == 1
        assert {row.subject for row in rows(store)} == {store.pseudonyms.person("004712")}
        path.write_bytes(calendar(event(*SOON)))
        assert ingest_calendars(store, REGISTRY, MAPPING, path, NOW).written == 1
        assert len(rows(store)) == 2

    def test_no_writer_waits_while_files_are_read(self, sqlite, tmp_path, monkeypatch):
        (tmp_path / "004711.ics").write_bytes(calendar(event(*SOON)))
        done = []

        def reading(*given):
            yield from calendars_of(*given)
            done.append("read")

        def writing(store, writes=Store.writing):
            done.append("write")
            return writes(store)

        monkeypatch.setattr(calendars, "calendars_of", reading)
        monkeypatch.setattr(Store, "writing", writing)
        assert ingest_calendars(sqlite, REGISTRY, MAPPING, tmp_path / "004711.ics", NOW).written == 1
        assert done == ["read", "write"]

    def test_a_file_that_can_not_be_read_removes_nothing(self, sqlite, tmp_path):
        path = tmp_path / "004711.ics"
        for data in (calendar(event(*SOON)), calendar(event(*SOON))[:-15]):
            path.write_bytes(data)
            ingest_calendars(sqlite, REGISTRY, MAPPING, path, NOW)
        assert len(rows(sqlite)) == 1

    def test_days_outside_the_window_are_left_alone(self, sqlite, tmp_path):
        path = tmp_path / "004711.ics"
        path.write_bytes(calendar(event(*SOON)))
        ingest_calendars(sqlite, REGISTRY, MAPPING, path, NOW)
        path.write_bytes(calendar(event("DTSTART:20260410T090000Z", "DURATION:PT1H")))
        ingest_calendars(sqlite, REGISTRY, MAPPING, path, NOW + timedelta(days=10))
        assert len(rows(sqlite)) == 2

    def test_nothing_is_stored_of_who_was_erased(self, sqlite, tmp_path):
        subject = sqlite.pseudonyms.person("004711")
        with sqlite.writing() as connection:
            connection.execute(sa.insert(tombstone).values(mark=sqlite.pseudonyms.mark(subject), at=instant(NOW)))
        (tmp_path / "004711.ics").write_bytes(calendar(event(*SOON)))
        taken = ingest_calendars(sqlite, REGISTRY, MAPPING, tmp_path / "004711.ics", NOW)
        assert (taken.written, taken.left_out) == (0, 1)
        assert rows(sqlite) == []

    def test_no_word_of_a_meeting_reaches_the_disk(self, sqlite, tmp_path):
        secret = "Zebra-Kündigung"
        names = (
            "SUMMARY",
            "DESCRIPTION",
            "LOCATION",
            "CATEGORIES",
            "CONTACT",
            "COMMENT",
            "UID",
            "URL",
            "ATTACH",
            "X-ALT",
        )
        texts = [f"{name}:{secret}" for name in names]
        people = [
            f"ATTENDEE;CN={secret}:mailto:{secret}@x.example",
            f'ORGANIZER;CN="{secret}":mailto:{secret}@x.example',
        ]
        alarm = ("BEGIN:VALARM", f"DESCRIPTION:{secret}", "END:VALARM")
        todo = ("BEGIN:VTODO", f"SUMMARY:{secret}", *SOON, "END:VTODO")
        bad = event(f"DTSTART;TZID={secret}:20260326T090000", f"RRULE:{secret}", f"STATUS:{secret}")
        broken = event(f"{secret}", f"DTSTART:{secret}", f"EXDATE;{secret}")
        head = (f"X-WR-CALNAME:{secret}", f"X-WR-CALDESC:{secret}", f"PRODID:{secret}")
        data = calendar(event(*texts, *people, *SOON, *alarm), bad, broken, *todo, head=head)
        (tmp_path / "004711.ics").write_bytes(data)
        taken = ingest_calendars(sqlite, REGISTRY, MAPPING, tmp_path / "004711.ics", NOW)
        assert (taken.written, taken.quarantined) == (1, 2)
        with sqlite.reading() as connection:
            dump = repr([connection.execute(sa.select(table)).all() for table in metadata.sorted_tables])
        files = b"".join(file.read_bytes() for file in sqlite.folder.rglob("*") if file.is_file())
        for word in (secret, "Zebra", "004711"):
            assert word not in dump
            assert word.encode() not in files
