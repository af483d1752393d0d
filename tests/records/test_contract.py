"""Contracts: what they hold, and that what is no contract is refused in one line."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from privacy.errors import InputError
from records.contract import (
    BinaryLabel,
    CategoryColumn,
    Contract,
    Moment,
    NumberColumn,
    NumberLabel,
    OrderedColumn,
    TextColumn,
    load_contract,
    parse_contract,
)


def test_a_contract_says_what_each_column_is(contract: Contract) -> None:
    assert contract.purpose == "retention"
    assert contract.label == BinaryLabel("left", ("yes",), ("no",))
    assert contract.site.names == ("Alder", "Birch", "Cedar")
    assert [site.people_at_most for site in contract.site.sites] == [200, 200, 100]
    assert contract.columns == (
        NumberColumn("hours", 0.0, 60.0, "hours", True, False, "retention"),
        OrderedColumn("grade", ("low", "medium", "high"), True, False, "retention"),
        CategoryColumn("job", ("clerk", "driver", "nurse"), True, False, "retention"),
        CategoryColumn("gender", ("f", "m"), False, True, "retention"),
        TextColumn("note", False, "retention"),
    )
    assert [column.name for column in contract.features] == ["hours", "grade", "job"]
    assert contract.unconfirmed == ()


def test_marks_to_confirm_are_listed_by_place(contract_text: str) -> None:
    marked = contract_text.replace('kind = "number"', 'kind = "number"\nconfirm = true')
    marked = marked.replace('column = "company"', 'column = "company"\nconfirm = true')
    marked = marked.replace('kind = "text"', 'kind = "text"\nconfirm = false')
    assert parse_contract("confirm = true\n" + marked).unconfirmed == ("site", "columns.hours", "purpose")


def test_a_label_may_be_a_number(contract_text: str) -> None:
    text = contract_text.replace(
        'kind = "binary"\npositive = ["yes"]\nnegative = ["no"]', 'kind = "number"\nlow = 0\nhigh = 12.5\nunit = "h"'
    )
    assert parse_contract(text).label == NumberLabel("left", 0.0, 12.5, "h")


MOMENT = "\n[moment]\nas_of = 2025-09-30\nhorizon_months = 12\n"


def test_a_contract_may_name_the_moment_as_which_records_are_read(contract_text: str) -> None:
    assert parse_contract(contract_text).moment is None
    assert parse_contract(contract_text + MOMENT).moment == Moment(date(2025, 9, 30), 12)
    assert parse_contract(contract_text + MOMENT + "confirm = true\n").unconfirmed == ("moment",)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("= 2025-09-30", '= "2025-09-30"', "a date (without quotes) from 1900 to 2200, got another str"),
        ("= 2025-09-30", "= 2025-09-30T00:00:00Z", "a date (without quotes)"),
        ("= 2025-09-30", "= 1066-10-14", "from 1900 to 2200"),
        ("= 2025-09-30", "= 2025-02-30", "expected TOML"),
        ("= 2025-09-30", "= 2025-09-29", "'moment.as_of': expected the last day of a month, got another day"),
        ("= 2025-09-30", "= 2024-02-28", "the last day of a month"),
        ("as_of = 2025-09-30", "", "a date (without quotes) from 1900 to 2200, got nothing"),
        ("= 12", "= 0", "a whole number from 1 to 60, got 0"),
        ("= 12", "= 61", "a whole number from 1 to 60, got 61"),
        ("= 12", "= 1.5", "a whole number from 1 to 60, got 1.5"),
        ("= 12", "= nan", "a finite number"),
        ("= 12", "= true", "a finite number, got True"),
        ("horizon_months = 12", "", "a finite number, got nothing"),
        ("= 12", "= 12\nzone = 1", "only keys that a contract knows"),
        ("[moment]", "[[moment]]", "a table, got a list of 1"),
    ],
)
def test_a_moment_is_a_day_and_a_bounded_horizon(contract_text: str, old: str, new: str, expected: str) -> None:
    assert old in MOMENT
    with pytest.raises(InputError) as caught:
        parse_contract(contract_text + MOMENT.replace(old, new), "people.toml")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


WRONG = {
    "protected trait as feature": (
        "train = false\nprotected = true",
        "train = true\nprotected = true",
        "protected traits are never features",
    ),
    "text as feature": ('kind = "text"', 'kind = "text"\ntrain = true', "free text and identifiers are never features"),
    "label as feature": ("[columns.hours]", "[columns.left]", "no entry for the label, the site or the employee key"),
    "site as feature": ("[columns.hours]", "[columns.company]", "no entry for the label"),
    "label is the site": ('column = "left"', 'column = "company"', "three different columns"),
    "unknown key": ('unit = "hours"', 'unit = "hours"\nbins = 3', "only keys that a contract knows"),
    "unknown key at the top": (
        'purpose = "retention"',
        'purpose = "retention"\nowner = "x"',
        "only keys that a contract knows",
    ),
    "unknown kind": ('kind = "ordered"', 'kind = "date"', "one of number, category, ordered, text"),
    "low above high": ("low = 0", "low = 61", "more than low (61)"),
    "low equals high": ("low = 0", "low = 60", "more than low (60)"),
    "infinite bound": ("high = 60", "high = inf", "a finite number, got a number beyond them all"),
    "NaN bound": ("high = 60", "high = nan", "a finite number"),
    "huge bound": ("high = 60", "high = 0x" + "f" * 5000, "a finite number, got a number beyond them all"),
    "bound as text": ("high = 60", 'high = "60"', "a finite number, got another str"),
    "bound as truth": ("high = 60", "high = true", "a finite number"),
    "no bound": ("high = 60\n", "", "a finite number, got nothing"),
    "train left out": ('unit = "hours"\ntrain = true', 'unit = "hours"', "true or false, got nothing"),
    "train as number": ('unit = "hours"\ntrain = true', 'unit = "hours"\ntrain = 1', "true or false, got 1"),
    "no values": ('values = ["f", "m"]', "values = []", "a list of 1 to 500 texts, got a list of 0"),
    "too many values": ('values = ["f", "m"]', f"values = {[str(n) for n in range(501)]}", "got a list of 501"),
    "value twice": ('values = ["f", "m"]', 'values = ["f", "f"]', "distinct texts"),
    "value as number": ('values = ["f", "m"]', "values = [1, 2]", "printable texts"),
    "value with outer spaces": ('values = ["f", "m"]', 'values = ["f ", "m"]', "without outer spaces"),
    "value both positive and negative": (
        'negative = ["no"]',
        'negative = ["no", "yes"]',
        "no value that is also positive",
    ),
    "no label": ("[label]", "[lable]", "'label': expected a table, got nothing"),
    "sites of nobody": ('"Cedar" = 100', '"Cedar" = 0', "a whole number from 1 to 1000000000, got 0"),
    "sites of half a person": ('"Cedar" = 100', '"Cedar" = 1.5', "a whole number from 1"),
    "missing site not declared": (
        'column = "company"',
        'column = "company"\nmissing = "none"',
        "a site that people_at_most names",
    ),
    "no features": ("train = true", "train = false", "at least one column with train = true"),
    "broken TOML": ("[columns.hours]", "[columns.hours", "expected TOML, got something else at line"),
    "table twice": ("[columns.grade]", "[columns.hours]", "expected TOML"),
    "deep nesting": ("low = 0", "low = " + "[" * 50_000, "expected TOML"),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_what_is_no_contract_ends_in_one_clear_line(contract_text: str, name: str) -> None:
    old, new, expected = WRONG[name]
    assert old in contract_text
    with pytest.raises(InputError) as caught:
        parse_contract(contract_text.replace(old, new), "people.toml")
    assert expected in str(caught.value)
    assert str(caught.value).startswith("people.toml")
    assert "\n" not in str(caught.value)


def test_a_table_given_as_a_contract_is_refused_without_a_word_of_it(csv: Callable[..., Path]) -> None:
    with pytest.raises(InputError) as caught:
        load_contract(csv("Kanarienvogel,pay\nKanarienvogel,7\n"))
    assert "expected TOML" in str(caught.value)
    assert "Kanarienvogel" not in str(caught.value)


def test_a_contract_file_is_bounded_and_utf8(csv: Callable[..., Path], contract_text: str, tmp_path: Path) -> None:
    assert load_contract(csv(contract_text, "c.toml")) == parse_contract(contract_text)
    with pytest.raises(InputError, match="at most 1048576 bytes"):
        load_contract(csv(contract_text + "#" * 2**20, "c.toml"))
    with pytest.raises(InputError, match="another encoding"):
        load_contract(csv(contract_text.replace("Alder", "Ålder").encode("latin-1"), "c.toml"))
    with pytest.raises(InputError, match="a readable contract, got FileNotFoundError"):
        load_contract(tmp_path / "none.toml")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80))
@example("a = 1" + "9" * 5000)
@example("a = 2024-13-45")
@example("[[label]]\n[[site]]\npurpose='x'")
def test_arbitrary_text_is_refused_as_a_contract(text: str) -> None:
    with pytest.raises(InputError):
        parse_contract(text)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    line=st.integers(0, 200),
    value=st.one_of(
        st.sampled_from(["true", "inf", "nan", "-1", "1e300", '""', "[]", "{}", "[[]]", "1979-05-27", '"x"', '["x"]']),
        st.integers(-(2**70), 2**70).map(str),
    ),
)
def test_any_value_in_any_place_is_a_contract_or_an_input_error(contract_text: str, line: int, value: str) -> None:
    lines = (contract_text + MOMENT).splitlines()
    place = line % len(lines)
    key, equals, _ = lines[place].partition(" = ")
    lines[place] = f"{key}{equals}{value}"
    try:
        outcome = f"{len(parse_contract(chr(10).join(lines)).features)} features"
    except InputError as error:
        outcome = str(error)
    assert outcome != "0 features"
    assert "\n" not in outcome


def test_a_key_of_many_dots_is_refused_in_no_time() -> None:
    with pytest.raises(InputError, match="expected keys of at most 64 dots"):
        parse_contract("a." * 200_000 + "a = 1")
