"""Features and labels from versions: each derivation against a reading of its words, and nothing from the future."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from records.derive import derived, employed, labels, months_after, versions_of
from records.registry import load_registry

REGISTRY = load_registry()
AS_OF = date(2026, 3, 15)
ANN, BOB, CARL = "a" * 32, "b" * 32, "c" * 32


def versions(table, *rows, as_of=AS_OF):
    """Versions of one table from (subject, valid_from, {column: value}, item) rows, in any order."""
    fields = sorted({name for row in rows for name in row[2]})
    cells = [(row[0], row[3] if len(row) > 3 else "", row[1], *(row[2].get(name) for name in fields)) for row in rows]
    return versions_of({table: fields}, {table: sorted(cells, key=lambda row: row[2])}, as_of)


def read(feature, found, readable=None):
    """{subject: value} of a feature, of those who have one."""
    may = np.array([readable is None or subject in readable for subject in found.subjects], dtype=bool)
    values = zip(found.subjects, derived(found, feature, may).tolist(), strict=True)
    return {subject: value for subject, value in values if value is not None and value == value}


def of(name, found, readable=None):
    return read(REGISTRY.feature(name), found, readable)


def people(*rows, as_of=AS_OF):
    """Versions of `person` from (subject, valid_from, start, end, exit) rows."""
    names = ("start_month", "end_month", "exit_type")
    stated = [(subject, day, dict(zip(names, values, strict=True))) for subject, day, *values in rows]
    return versions("person", *stated, as_of=as_of)


def there(found):
    return [subject for subject, is_there in zip(found.subjects, employed(found), strict=True) if is_there]


# Derivations


def test_the_latest_is_the_version_of_the_latest_day():
    found = versions(
        "person",
        (ANN, "2025-01-01", {"work_mode": "on site"}),
        (ANN, "2026-01-01", {"work_mode": "remote"}),
        (BOB, "2024-01-01", {"work_mode": "hybrid"}),
    )
    assert of("work_mode", found) == {ANN: "remote", BOB: "hybrid"}


def test_what_a_state_s_last_version_does_not_hold_is_not_known():
    found = versions("person", (ANN, "2025-01-01", {"work_mode": "remote"}), (ANN, "2026-01-01", {"work_mode": None}))
    assert of("work_mode", found) == {}


def test_what_an_event_does_not_state_was_stated_before():
    rows = [(ANN, "2025-06-01", {"likert": 2.0}, "engagement"), (ANN, "2026-01-01", {"likert": None}, "engagement")]
    assert of("pulse", versions("pulse", *rows)) == {ANN: "2"}


def test_a_rating_becomes_the_text_of_its_step_of_the_right_question_in_the_window():
    found = versions(
        "pulse",
        (ANN, "2025-03-15", {"likert": 1.0}, "engagement"),
        (BOB, "2025-03-16", {"likert": 2.0}, "engagement"),
        (BOB, "2026-01-01", {"likert": 5.0}, "pay"),
        (CARL, "2025-06-01", {"likert": 2.0}, "engagement"),
        (CARL, "2025-12-01", {"likert": 4.0}, "engagement"),
    )
    assert of("pulse", found) == {BOB: "2", CARL: "4"}


def test_a_text_outside_the_public_values_is_no_value():
    assert of("work_mode", versions("person", (ANN, "2025-01-01", {"work_mode": "on the moon"}))) == {}


def test_tenure_and_months_are_counted_from_the_month():
    found = versions("person", (ANN, "2020-01-01", {"start_month": "2020-09", "level_since": "2025-12"}))
    assert of("tenure_years", found) == {ANN: 5.5}
    assert of("months_since_promotion", found) == {ANN: 3.0}


def test_what_is_announced_has_not_happened():
    found = versions(
        "person", (ANN, "2026-01-01", {"level_since": "2026-04"}), (BOB, "2026-01-01", {"level_since": "2026-03"})
    )
    assert of("months_since_promotion", found) == {BOB: 0.0}


def test_training_is_added_up_over_a_year_and_missing_for_whoever_has_none_at_all():
    found = versions(
        "learning_event",
        (ANN, "2025-03-15", {"duration_hours": 80.0}, "too old"),
        (ANN, "2025-03-16", {"duration_hours": 8.0}, "one"),
        (ANN, "2026-03-15", {"duration_hours": 4.0}, "two"),
        (BOB, "2024-01-01", {"duration_hours": 8.0}, "too old"),
    )
    assert of("training_days", found) == {ANN: 1.5, BOB: 0.0}


def test_overtime_is_the_mean_of_the_weeks_of_three_months():
    weeks = [(ANN, day, {"overtime_hours": hours}) for day, hours in (("2025-12-15", 30.0), ("2026-01-05", 4.0))]
    found = versions("work_pattern_week", *weeks, (ANN, "2026-02-02", {"overtime_hours": 8.0}))
    assert of("overtime_hours", found) == {ANN: 6.0}


def test_a_change_of_manager_is_one_between_two_that_are_known():
    rows = [("2022-01-01", "x"), ("2023-06-01", "y"), ("2024-01-01", "y"), ("2025-01-01", None), ("2025-06-01", "z")]
    found = versions(
        "person", *((ANN, day, {"manager_key": key}) for day, key in rows), (BOB, "2020-01-01", {"manager_key": "x"})
    )
    assert of("manager_changes", found) == {ANN: 2.0, BOB: 0.0}


def test_a_change_in_the_window_counts_against_the_version_before_the_window():
    rows = ((ANN, "2020-01-01", {"manager_key": "x"}), (ANN, "2025-01-01", {"manager_key": "y"}))
    assert of("manager_changes", versions("person", *rows)) == {ANN: 1.0}


def test_facts_are_counted():
    feature = replace(REGISTRY.feature("training_days"), derive="count", scale=1.0)
    rows = [(ANN, day, {"duration_hours": 1.0}, day) for day in ("2024-01-01", "2025-06-01", "2026-01-01")]
    assert read(feature, versions("learning_event", *rows)) == {ANN: 2.0}


def test_a_number_stands_on_its_public_steps():
    feature = replace(REGISTRY.feature("commute_minutes"), step=5.0)
    found = versions("person", (ANN, "2025-01-01", {"commute_minutes": 33.0}))
    assert read(feature, found) == {ANN: 35.0}


@pytest.mark.parametrize("name", [feature.name for feature in REGISTRY.features.values()])
def test_of_nobody_there_is_nothing(name):
    column = REGISTRY.feature(name).column
    nobody = versions_of({column.table: [column.field]}, {column.table: []}, AS_OF)
    assert len(derived(nobody, REGISTRY.feature(name), np.zeros(0, dtype=bool))) == 0


@pytest.mark.parametrize("name", [feature.name for feature in REGISTRY.features.values()])
def test_only_facts_of_whoever_may_be_read_are_read(name):
    column = REGISTRY.feature(name).column
    value = {"number": 3.0, "month": "2025-01", "key": "f" * 32}.get(column.kind) or column.values[0]
    rows = [(subject, "2026-02-01", {column.field: value}, "engagement") for subject in (ANN, BOB)]
    found = versions(column.table, *rows)
    assert set(of(name, found)) == {ANN, BOB}
    assert set(of(name, found, {BOB})) == {BOB}
    assert of(name, found, set()) == {}


# Against a reading of the words, one person and one fact at a time

DAYS = st.integers(0, 900).map(lambda count: (AS_OF - timedelta(days=count)).isoformat())
FACTS = st.lists(st.tuples(st.sampled_from([ANN, BOB]), DAYS, st.one_of(st.none(), st.integers(0, 3))), max_size=12)


def read_by_hand(facts, derive, months):
    """{subject: value}: the facts of a person in order of time, counted by hand."""
    found, after = {}, months_after(AS_OF, -months).isoformat()
    for subject in {fact[0] for fact in facts}:
        stated = [
            (day, value)
            for name, day, value in sorted(facts, key=lambda f: f[1])
            if name == subject and value is not None
        ]
        recent = [value for day, value in stated if day > after]
        changes = sum(day > after and value != stated[n - 1][1] for n, (day, value) in enumerate(stated) if n)
        if derive in ("latest", "mean") and recent:
            found[subject] = recent[-1] if derive == "latest" else round(sum(recent) / len(recent), 6)
        if derive in ("sum", "count", "changes") and stated:
            found[subject] = {"sum": sum(recent), "count": len(recent), "changes": changes}[derive]
    return found


@settings(max_examples=150, deadline=None)
@given(FACTS, st.sampled_from(["latest", "sum", "mean", "count", "changes"]), st.sampled_from([1, 6, 24]))
def test_a_derivation_is_what_its_words_say(facts, derive, months):
    unique = list({(subject, day): (subject, day, value) for subject, day, value in facts}.values())
    feature = replace(REGISTRY.feature("overtime_hours"), derive=derive, window_months=months)
    found = versions("work_pattern_week", *((s, day, {"overtime_hours": v}) for s, day, v in unique))
    if unique:
        assert read(feature, found) == pytest.approx(read_by_hand(unique, derive, months))


# Employment and the label

MARCH, SEPTEMBER = date(2026, 3, 31), date(2026, 9, 30)


def label_of(*stated):
    """The label of somebody from (valid_from, start, end, exit) versions, all that is known by the year's end."""
    found = people(*((ANN, *version) for version in stated), as_of=date(2026, 12, 31))
    return labels(found, REGISTRY.purpose("retention").label, MARCH, SEPTEMBER).tolist()[0]


@pytest.mark.parametrize("told", ["2026-01-01", "2026-09-30", "2026-12-31"])
@pytest.mark.parametrize(
    ("end", "exit_type", "label"),
    [
        (None, None, "no"),
        ("2026-02", "voluntary", None),
        ("2026-03", "voluntary", None),
        ("2026-04", "voluntary", "yes"),
        ("2026-09", "voluntary", "yes"),
        ("2026-10", "voluntary", "no"),
        ("2026-08", "involuntary", None),
        ("2026-08", "retirement", None),
        ("2026-08", None, None),
        ("2026-10", "involuntary", "no"),
    ],
)
def test_the_label_says_who_left_of_their_own_will_in_the_months_of_the_horizon(told, end, exit_type, label):
    assert label_of((told, "2020-01", end, exit_type)) == label
    assert label_of(("2024-01-01", "2020-01", None, None), (told, "2020-01", end, exit_type)) == label


def test_a_label_is_told_of_as_many_months_as_the_horizon_has():
    ends = [f"{year}-{month:02}" for year in (2025, 2026, 2027) for month in range(1, 13)]
    assert [label_of(("2026-01-01", "2020-01", end, "voluntary")) for end in ends].count("yes") == 6


def test_who_came_back_is_there():
    assert label_of(("2025-06-01", "2025-06", "2025-01", "voluntary")) == "no"
    assert label_of(("2025-01-01", "2020-01", "2025-01", "voluntary"), ("2025-06-01", "2025-06", None, None)) == "no"
    assert there(people((ANN, "2025-06-01", "2025-06", "2025-01", "voluntary"))) == [ANN]


def test_who_was_away_on_the_day_has_no_label_whatever_came_after():
    left = ("2026-02-01", "2020-01", "2026-02", "voluntary")
    assert label_of(left, ("2026-05-01", "2026-05", None, None)) is None
    assert label_of(left, ("2026-05-01", "2026-05", "2026-07", "voluntary")) is None


@pytest.mark.parametrize(("exit_type", "label"), [("voluntary", "yes"), ("involuntary", None)])
def test_who_left_within_the_horizon_and_came_back_still_left(exit_type, label):
    versions = [
        ("2026-01-01", "2020-01", None, None),
        ("2026-05-01", "2020-01", "2026-05", exit_type),
        ("2026-08-01", "2026-08", None, None),
    ]
    assert label_of(*versions) == label
    assert label_of(*versions, ("2026-11-01", "2026-08", "2026-11", "retirement")) == label


def test_an_end_that_was_put_off_beyond_the_horizon_is_none():
    announced = ("2026-04-01", "2020-01", "2026-05", "voluntary")
    assert label_of(announced, ("2026-05-01", "2020-01", "2027-05", "voluntary")) == "no"
    assert label_of(announced, ("2026-05-01", "2020-02", "2027-05", "voluntary")) == "no"


@pytest.mark.parametrize("start", ["2020-01", "2020-02", "2019-12", None])
def test_an_exit_that_was_taken_back_is_none_also_if_the_start_was_corrected_with_it(start):
    announced = ("2026-01-01", "2020-01", "2026-08", "voluntary")
    assert label_of(announced, ("2026-05-01", start, None, None)) == "no"
    back = ("2026-11-01", "2026-11", None, None)
    left = ("2026-10-01", "2020-01", "2026-10", "voluntary")
    assert label_of(announced, ("2026-05-01", start, None, None), left, back) == "no"


def test_the_versions_of_others_confirm_nothing():
    found = people(
        (ANN, "2026-04-01", "2020-01", "2026-05", "voluntary"),
        (BOB, "2026-04-02", "2020-01", "2026-05", "voluntary"),
        (BOB, "2026-06-01", "2020-01", None, None),
        (CARL, "2026-07-01", "2026-07", None, None),
        as_of=date(2026, 12, 31),
    )
    assert labels(found, REGISTRY.purpose("retention").label, MARCH, SEPTEMBER).tolist() == ["yes", "no", "no"]


@pytest.mark.parametrize(
    ("start", "end", "is_there"),
    [
        ("2020-01", None, True),
        (None, None, True),
        ("2026-03", None, True),
        ("2026-04", None, False),
        ("2020-01", "2026-02", False),
        ("2020-01", "2026-03", True),
        (None, "2026-02", False),
    ],
)
def test_employed_is_whoever_started_and_has_not_ended(start, end, is_there):
    assert there(people((ANN, "2026-01-01", start, end, None))) == [ANN] * is_there


@pytest.mark.parametrize(
    ("day", "months", "then"),
    [
        (date(2026, 1, 31), 1, date(2026, 2, 28)),
        (date(2026, 2, 28), 1, date(2026, 3, 31)),
        (date(2026, 2, 27), 1, date(2026, 3, 27)),
        (date(2026, 1, 30), 1, date(2026, 2, 28)),
        (date(2024, 12, 15), -12, date(2023, 12, 15)),
        (date(2026, 3, 15), 10, date(2027, 1, 15)),
    ],
)
def test_months_are_counted_from_day_to_day_and_from_last_to_last(day, months, then):
    assert months_after(day, months) == then
