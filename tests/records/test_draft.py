"""Drafted contracts: what they make of a table, and that they fit the table they were drawn from."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.errors import InputError
from records.contract import BinaryLabel, Contract, NumberLabel, parse_contract
from records.draft import draft_contract, names_a_key
from records.minimize import minimized_rows
from records.table import Table, read_table


def people(rows: int = 400, **columns: Sequence[str | None]) -> Table:
    """A table of three sites and a label, with these columns beside them (repeated to length)."""
    frame = {
        "site": [("Alder", "Birch", "Cedar")[n % 3] for n in range(rows)],
        "left": ["1" if n % 5 == 0 else "0" for n in range(rows)],
        "spare": [str(n % 7) for n in range(rows)],
    }
    frame |= {name: [values[n % len(values)] for n in range(rows)] for name, values in columns.items()}
    return Table(pd.DataFrame({name: pd.Series(cells, dtype="str") for name, cells in frame.items()}), "people")


def drafted(table: Table, **more: object) -> Contract:
    contract = parse_contract(draft_contract(table, "left", "site", **more))  # type: ignore[arg-type]
    assert len(minimized_rows(table, contract)) > 0
    return contract


def column(table: Table, name: str) -> object:
    return next(column for column in drafted(table).columns if column.name == name)


def test_a_draft_marks_everything_it_took_from_the_data() -> None:
    table = people(job=["a", "b", "c"], note=[f"note {n}" for n in range(400)])
    contract = drafted(table)
    assert contract.unconfirmed == ("label", "site", "columns.spare", "columns.job")
    assert [found.name for found in contract.columns] == ["spare", "job", "note"]


@pytest.mark.parametrize(
    ("cells", "low", "high"),
    [
        (["1", "336", "40"], 0, 350),
        (["0.448", "0.949", "0.5"], 0.4, 1.0),
        (["1009", "19999", "5000"], 0, 20000),
        (["1", "2", "5"], 1, 5),
        (["-7.3", "8.1", "0"], -8, 10),
        (["100.1", "100.2", "100.3"], 100.1, 100.3),
        (["1e6", "3e6", "9e6"], 1e6, 9e6),
    ],
)
def test_bounds_are_round_and_hold_the_data(cells: list[str], low: float, high: float) -> None:
    found = column(people(x=cells), "x")
    assert (found.kind, found.train) == ("number", True)  # type: ignore[attr-defined]
    assert (found.low, found.high) == pytest.approx((low, high))  # type: ignore[attr-defined]


def test_a_few_wild_numbers_do_not_set_the_bounds() -> None:
    cells = [str(20 + n % 30) for n in range(399)] + ["1000000"]
    found = column(people(hours=cells), "hours")
    assert found.high == 50  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "order",
    [
        ["<1", "1", "2", "10", "20", ">20"],
        ["<10", "10/49", "50-99", "100-500", "500-999", "1000-4999", "5000-9999", "10000+"],
        ["1-5", "6-25", "26-100", "100-500", "500-1000", "More than 1000"],
        ["0-10%", "10-20", "20-30%", "90-100%"],
        ["under 1 year", "1 year", "2 years", "over 2 years"],
        ["$0-50k", "$50k-100k", "$100k+"],
        ["low", "medium", "high"],
        ["Never", "Rarely", "Sometimes", "Often"],
        ["Non-Travel", "Travel_Rarely", "Travel_Frequently"],
        ["Primary School", "High School", "Graduate", "Masters", "Phd"],
        ["strongly disagree", "disagree", "neutral", "agree", "strongly agree"],
    ],
)
def test_values_that_say_their_order_are_ordered(order: list[str]) -> None:
    shuffled = random.Random(3).sample(order, len(order))
    found = column(people(x=shuffled), "x")
    assert (found.kind, found.train) == ("ordered", True)  # type: ignore[attr-defined]
    assert list(found.values) == order  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "cells",
    [["b", "a", "c"], ["1", "0"], ["1", ">4", "never"], ["1 a", "1 b", "2 c"], ["red", "low", "high"], ["yes", "no"]],
)
def test_other_values_are_categories_in_alphabetical_order(cells: list[str]) -> None:
    found = column(people(x=cells), "x")
    assert (found.kind, list(found.values)) == ("category", sorted(cells))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("employee_id", [str(1000 + 3 * n) for n in range(400)]),
        ("EmployeeNumber", [str(n) for n in range(400)]),
        ("anything", [str(50_000 + n) for n in range(400)]),
        ("badge", [f"{random.Random(n).randrange(10**7, 10**8)}" for n in range(400)]),
        ("contact", [f"p{n}@example.org" for n in range(400)]),
        ("contact", [f"p{n % 5}@example.org" for n in range(400)]),
        ("ID", [str(n % 40) for n in range(400)]),
        ("comment", [f"words {n % 100}" for n in range(400)]),
        ("started", ["2020-01-31", "2021-05-01", "2022-07-09"]),
        ("started", ["13.02.2015", "03/06/16", "01.01.2016"]),
        ("constant", ["80"]),
        ("empty", [None]),
        ("lines", ["a\nb", "c\nd"]),
    ],
)
def test_identifiers_free_text_dates_and_constants_do_not_train(name: str, cells: list[str | None]) -> None:
    found = column(people(**{name: cells}), name)
    assert (found.kind, found.train) == ("text", False)  # type: ignore[attr-defined]


def test_text_among_numbers_is_told() -> None:
    text = draft_contract(people(pay=[*map(str, range(1000, 1099)), "unknown"]), "left", "site")
    assert '[columns."pay"]  # numbers, but for 4 cells of text' in text


def test_pay_is_no_identifier_though_nearly_everyone_has_another() -> None:
    cells = [str(int(pay)) for pay in np.random.default_rng(0).uniform(20_000, 200_000, 400)]
    assert column(people(pay=cells), "pay").kind == "number"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "name",
    ["gender", "Sex", "Age", "age_band", "DateOfBirth", "race", "Ethnicity", "Religion", "disability", "MaritalStatus",
     "nationality", "native-country", "is_pregnant_pregnancy", "sexual_orientation", "union_member", "health_score",
     "Body mass index", "Over18", "Social smoker"],
)  # fmt: skip
def test_protected_traits_are_marked_and_do_not_train(name: str) -> None:
    found = column(people(**{name: ["a", "b"]}), name)
    assert (found.protected, found.train) == (True, False)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "name", ["average_monthly_hours", "percentage", "Essex_office", "trace_count", "job_family", "reunion", "wage"]
)
def test_names_that_only_contain_such_a_word_are_not_protected(name: str) -> None:
    assert not column(people(**{name: ["a", "b"]}), name).protected  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("cells", "positive", "negative"),
    [
        (["0", "1"], ("1",), ("0",)),
        (["1.0", "0.0", "1.0", "1.0"], ("1.0",), ("0.0",)),
        (["No", "Yes", "NO", "yes"], ("Yes", "yes"), ("NO", "No")),
        (["stayed", "left"], ("left",), ("stayed",)),
        (["gone", "here", "here"], ("gone",), ("here",)),
        (["Pass", "Fail", "Pass", "Distinction", "Pass", "Fail"], ("Distinction",), ("Fail", "Pass")),
    ],
)
def test_the_label_has_a_positive_side(cells: list[str], positive: tuple[str], negative: tuple[str]) -> None:
    assert drafted(people(left=cells)).label == BinaryLabel("left", positive, negative)


def test_a_label_of_many_numbers_is_a_number() -> None:
    assert drafted(people(left=[str(n) for n in range(15)])).label == NumberLabel("left", 0.0, 14.0, "")


def test_sites_get_rounded_bounds_and_a_name_for_missing_ones() -> None:
    contract = drafted(people(site=["Alder"] * 9 + ["Birch"] * 3 + [None]))
    assert contract.site.missing == "(missing)"
    assert {site.name: site.people_at_most for site in contract.site.sites} == {
        "(missing)": 30,
        "Alder": 300,
        "Birch": 100,
    }


def test_sites_count_employees_not_rows() -> None:
    table = people(site=["Alder"] * 200 + ["Birch"] * 200, key=[str(n // 10) for n in range(400)])
    contract = drafted(table, employee="key")
    assert [site.people_at_most for site in contract.site.sites] == [20, 20]
    assert contract.employee == "key"


def test_dropped_columns_have_no_entry() -> None:
    text = draft_contract(people(job=["a", "b"], pay=["1", "2", "3"]), "left", "site", drop=["job"])
    assert [found.name for found in parse_contract(text).columns] == ["spare", "pay"]
    assert '# dropped: "job"' in text


def test_names_and_values_of_any_writing_survive() -> None:
    odd = ['say "hi"', "back\\slash", "üñí", "a = b # c", "[x]", "'", "no\u00a0break"]
    table = people(site=odd, **{'od.d "name" #\\': odd})
    contract = drafted(table)
    assert set(contract.site.names) == set(odd)
    assert set(contract.columns[-1].values) == set(odd)  # type: ignore[union-attr]


REFUSED: dict[str, tuple[dict[str, Sequence[str | None]], dict[str, object], str]] = {
    "no label column": ({}, {"label": "target"}, "expected a column 'target', got 'site', 'left', 'spare'"),
    "no site column": ({}, {"site": "plant"}, "expected a column 'plant'"),
    "no employee column": ({}, {"employee": "key"}, "expected a column 'key'"),
    "no such column to drop": ({}, {"drop": ["x"]}, "expected a column 'x'"),
    "label as site": ({}, {"site": "left"}, "different columns as label, site, employee and drop"),
    "label dropped": ({}, {"drop": ["left"]}, "different columns"),
    "one site": ({"site": ["Kanarienvogel"]}, {}, "expected 2 to 10000 sites, got 1"),
    "one class": ({"left": ["Kanarienvogel"]}, {}, "expected at least two classes, got one"),
    "one class in two writings": ({"left": ["Kanarienvogel", "KANARIENVOGEL"]}, {}, "at least two classes, got one"),
    "no label in any row": ({"left": [None]}, {}, "at least two classes, got empty cells only"),
    "a label of free text": ({"left": [f"Kanarienvogel {n}" for n in range(50)]}, {}, "got 50 different texts"),
    "NaN": ({"x": ["1", "2", "3", "NaN"]}, {}, "column 'x': expected finite numbers or empty cells, got 100 cells"),
    "infinity": ({"x": ["1", "2", "3", "inf"]}, {}, "first in row 3"),
    "nothing to learn from": ({"spare": [f"{n} Kanarienvogel words" for n in range(400)]}, {}, "one column with train"),
    "an employee at two sites": ({"key": ["Kanarienvogel"]}, {"employee": "key"}, "rows of an employee at one site"),
    "site names of control characters": ({"site": ["Kanarienvogel\n", "b"]}, {}, "printable values"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(REFUSED))
def test_a_table_that_can_not_be_learned_from_ends_in_one_clear_line(name: str) -> None:
    columns, arguments, expected = REFUSED[name]
    with pytest.raises(InputError) as caught:
        draft_contract(people(**columns), **{"label": "left", "site": "site", **arguments})  # type: ignore[arg-type]
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "kanarienvogel" not in str(caught.value).lower()


@pytest.mark.parametrize(("name", "key"), [("employee_key", True), ("E-Mail", True), ("ID", True), ("hidden", False)])
def test_names_of_keys(name: str, key: bool) -> None:
    assert names_a_key(name) is key


cells = st.one_of(
    st.none(),
    st.text(max_size=12),
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(str),
    st.sampled_from(["low", "high", "<1", "1-2", "10%", "2020-01-01", "1e300"]),
)
numbers = st.one_of(st.integers().map(str), st.floats(allow_nan=False, allow_infinity=False).map(str))


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.lists(cells, min_size=1, max_size=8), st.lists(numbers, min_size=3, max_size=8)))
def test_any_column_is_drafted_into_a_contract_that_fits(values: list[str | None]) -> None:
    stripped = [value.strip() or None if value is not None else None for value in values]
    if any(value and value.lower().lstrip("+-") in ("nan", "inf", "infinity") for value in stripped):
        return
    drafted(people(60, x=stripped))


def test_a_table_read_from_disk_is_drafted_and_minimized_with_no_edits(csv: Callable[..., Path]) -> None:
    lines = ["No;Plant;Hours;Size;Sex;Left"]
    lines += [
        f"{n};P{n % 4};{20 + n % 17};{('<10', '10-49', '50+')[n % 3]};{'fm'[n % 2]};{n % 4 // 3}" for n in range(200)
    ]
    table = read_table(csv("\n".join(lines)))
    contract = parse_contract(draft_contract(table, "Left", "Plant"))
    assert [found.name for found in contract.features] == ["Hours", "Size"]
    assert len(minimized_rows(table, contract)) == 200
