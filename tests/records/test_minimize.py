"""What reaches a model, what can not, and how a table that does not fit is refused."""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privacy.errors import InputError
from records.contract import Contract, NumberLabel, parse_contract
from records.minimize import MinimizedRows, check_comparable, minimized_rows
from records.table import Table

CANARY = "Kanarienvogel 4711"


def with_cell(table: Table, column: str, row: int, cell: str | None) -> Table:
    frame = table.frame.copy()
    frame.loc[row, column] = cell
    return Table(frame, table.source)


def test_rows_become_the_contracts_own_numbers(table: Table, contract: Contract) -> None:
    rows = minimized_rows(table, contract)
    frame = table.frame
    assert len(rows) == 300
    assert rows.numbers["hours"].tolist() == frame["hours"].astype(float).tolist()
    assert [("low", "medium", "high")[code] for code in rows.codes["grade"]] == frame["grade"].tolist()
    assert [("clerk", "driver", "nurse")[code] for code in rows.codes["job"]] == frame["job"].tolist()
    assert [rows.site_names[site] for site in rows.site] == frame["company"].tolist()
    assert rows.label.tolist() == (frame["left"] == "yes").astype(float).tolist()
    assert rows.row.tolist() == rows.employee.tolist() == rows.twin.tolist() == list(range(300))


def test_protected_and_undeclared_columns_can_not_be_reached(table: Table, contract: Contract) -> None:
    rows = minimized_rows(table, contract)
    assert set(rows.numbers) == {"hours"}
    assert set(rows.codes) == {"grade", "job"}
    swapped = Table(table.frame.assign(gender="not even declared", note="other", extra="new"), table.source)
    other = minimized_rows(swapped, contract)
    for name in ("label", "raw_label", "site", "employee", "row"):
        np.testing.assert_array_equal(getattr(other, name), getattr(rows, name))
    for name in rows.codes:
        np.testing.assert_array_equal(other.codes[name], rows.codes[name])
    with pytest.raises(TypeError):
        rows.codes["gender"] = rows.site  # type: ignore[index]
    with pytest.raises(ValueError, match="read-only"):
        rows.label[0] = 1


def test_missing_cells_numbers_beyond_the_bounds_and_rows_without_label(table: Table, contract: Contract) -> None:
    table = with_cell(table, "hours", 0, None)
    table = with_cell(table, "hours", 1, "61.5")
    table = with_cell(table, "hours", 2, "-3")
    table = with_cell(table, "job", 3, None)
    table = with_cell(table, "left", 4, None)
    rows = minimized_rows(table, contract)
    assert np.isnan(rows.numbers["hours"][0])
    assert rows.numbers["hours"][1:3].tolist() == [60.0, 0.0]
    assert rows.codes["job"][3] == -1
    assert rows.row.tolist() == [*range(4), *range(5, 300)]
    assert (rows.clipped["hours"], rows.unlabelled) == (2, 1)


REFUSED = {
    "unknown category": (
        "job",
        CANARY,
        "expected one of 'clerk', 'driver', 'nurse', got 1 other values, first in row 7",
    ),
    "unknown level": ("grade", CANARY, "expected one of 'low', 'medium', 'high', got 1 other values, first in row 7"),
    "unknown site": (
        "company",
        CANARY,
        "expected one of 'Alder', 'Birch', 'Cedar', got 1 other values, first in row 7",
    ),
    "no site": ("company", None, "expected a site in every row (or the contract's site.missing), got 1 missing cells"),
    "unknown label": ("left", CANARY, "expected one of 'no', 'yes', got 1 other values, first in row 7"),
    "text for a number": ("hours", CANARY, "expected numbers or empty cells, got 1 cells of text, first in row 7"),
    "NaN": ("hours", "NaN", "expected finite numbers or empty cells, got 1 cells of NaN or infinity, first in row 7"),
    "infinity": ("hours", "inf", "expected finite numbers or empty cells, got 1 cells of NaN or infinity"),
    "too large a number": ("hours", "1e999", "expected finite numbers or empty cells, got 1 cells of NaN or infinity"),
    "decimal comma": ("hours", "7,5", "expected numbers or empty cells, got 1 cells of text, first in row 7"),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_a_cell_that_the_contract_does_not_foresee_stops_everything(
    table: Table, contract: Contract, name: str
) -> None:
    column, cell, expected = REFUSED[name]
    with pytest.raises(InputError) as caught:
        minimized_rows(with_cell(table, column, 7, cell), contract)
    assert f"people, column '{column}': {expected}" in str(caught.value)
    assert CANARY not in str(caught.value)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    column=st.sampled_from(["company", "hours", "grade", "job", "left"]),
    row=st.integers(0, 299),
    noise=st.text(max_size=9),
)
def test_no_error_holds_a_cells_content(table: Table, contract: Contract, column: str, row: int, noise: str) -> None:
    secret = f"Kanarienvogel{noise}"
    with pytest.raises(InputError) as caught:
        minimized_rows(with_cell(table, column, row, secret), contract)
    assert "Kanarienvogel" not in str(caught.value)
    assert f"row {row}" in str(caught.value)


@pytest.mark.parametrize("column", ["company", "hours", "grade", "job", "left"])
def test_a_missing_column_is_named(table: Table, contract: Contract, column: str) -> None:
    with pytest.raises(InputError, match=f"expected a column '{column}', got"):
        minimized_rows(Table(table.frame.drop(columns=column), "people"), contract)


def test_columns_that_do_not_train_may_be_absent(table: Table, contract: Contract) -> None:
    assert len(minimized_rows(Table(table.frame.drop(columns=["gender", "note"]), "people"), contract)) == 300


def test_only_the_sites_asked_for_are_read(table: Table, contract: Contract) -> None:
    rows = minimized_rows(table, contract, ["Birch"])
    assert set(rows.site) == {1}
    assert rows.site_names == ("Alder", "Birch", "Cedar")
    assert rows.row.tolist() == np.flatnonzero(table.frame["company"] == "Birch").tolist()
    with pytest.raises(InputError, match="got another"):
        minimized_rows(table, contract, ["Elm"])


def test_rows_without_a_site_go_to_the_declared_one(table: Table, contract_text: str) -> None:
    contract = parse_contract(contract_text.replace('column = "company"', 'column = "company"\nmissing = "Cedar"'))
    rows = minimized_rows(with_cell(table, "company", 9, None), contract)
    assert rows.site[9] == 2


def test_a_number_label_is_scaled_and_clipped_by_its_public_bounds(table: Table, contract: Contract) -> None:
    table = Table(table.frame.assign(left="5"), "people")
    table = with_cell(with_cell(table, "left", 0, "30"), "left", 1, None)
    rows = minimized_rows(table, replace(contract, label=NumberLabel("left", 0.0, 20.0, "h")))
    assert rows.raw_label[:2].tolist() == [30.0, 5.0]
    assert rows.label[:2].tolist() == [1.0, 0.25]
    assert (rows.clipped["left"], rows.unlabelled) == (1, 1)


def keyed(table: Table, contract: Contract, keys: list[str | None]) -> tuple[Table, Contract]:
    frame = table.frame.assign(key=pd.Series(keys, dtype="str"))
    return Table(frame, "people"), replace(contract, employee="key")


def test_rows_of_an_employee_share_a_group(table: Table, contract: Contract) -> None:
    frame = table.frame.sort_values("company", ignore_index=True)
    sizes = frame.groupby("company").cumcount()
    keys = [f"{company}-{number // 3}" for company, number in zip(frame["company"], sizes, strict=True)]
    rows = minimized_rows(*keyed(Table(frame, "people"), contract, list(keys)))
    assert len(np.unique(rows.employee)) == len(set(keys))
    assert rows.employee[0] == rows.employee[2] != rows.employee[3]


def test_an_employee_at_two_sites_or_without_a_key_is_refused(table: Table, contract: Contract) -> None:
    with pytest.raises(InputError, match="all rows of an employee at one site, got") as caught:
        minimized_rows(*keyed(table, contract, [CANARY] * 300))
    assert CANARY not in str(caught.value)
    with pytest.raises(InputError, match="an employee key in every row, got 1 missing cells, first in row 299"):
        minimized_rows(*keyed(table, contract, [*map(str, range(299)), None]))


def test_copies_are_twins_by_every_column_of_the_table(table: Table, contract: Contract) -> None:
    frame = pd.concat(
        [table.frame, table.frame.iloc[[5]], table.frame.iloc[[6]].assign(note="else")], ignore_index=True
    )
    rows = minimized_rows(Table(frame, "people"), contract)
    assert rows.twin[300] == rows.twin[5]
    assert rows.twin[301] not in rows.twin[:301]


def test_taking_rows_takes_all_of_them(table: Table, contract: Contract) -> None:
    rows = minimized_rows(table, contract)
    some = rows.take([4, 2])
    assert some.row.tolist() == [4, 2]
    assert some.numbers["hours"].tolist() == rows.numbers["hours"][[4, 2]].tolist()
    assert some.codes["job"].tolist() == rows.codes["job"][[4, 2]].tolist()
    assert len(rows.take(rows.site == 1)) == int((rows.site == 1).sum())


def only(rows: MinimizedRows, mask: Callable[[MinimizedRows], np.ndarray]) -> MinimizedRows:
    return rows.take(mask(rows))


def test_one_site_and_one_class_are_refused_where_sites_learn_together(table: Table, contract: Contract) -> None:
    rows = minimized_rows(table, contract)
    check_comparable(rows, "people")
    with pytest.raises(InputError, match="people: expected rows of at least two sites, got those of one"):
        check_comparable(only(rows, lambda r: r.site == 0), "people")
    with pytest.raises(InputError, match="people: expected labels of at least two classes, got one class only"):
        check_comparable(only(rows, lambda r: r.label == 0), "people")


def test_a_table_without_any_label_is_refused(table: Table, contract: Contract) -> None:
    frame = table.frame.assign(left=pd.Series([None] * 300, dtype="str"))
    with pytest.raises(InputError, match="expected a label in some row, got none"):
        minimized_rows(Table(frame, "people"), contract)


def test_twenty_thousand_people_take_well_under_a_second(table: Table, contract: Contract) -> None:
    large = Table(pd.concat([table.frame] * 67, ignore_index=True), "people")
    start = time.perf_counter()
    minimized_rows(large, contract)
    assert time.perf_counter() - start < 1.0
