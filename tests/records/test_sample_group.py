"""The made-up group: five unlike subsidiaries whose truth is known."""

from pathlib import Path

import numpy as np
import pytest

from privacy.errors import InputError
from records.contract import Contract, load_contract
from records.minimize import minimized_rows
from records.readiness import check
from records.sample.group import COLUMNS, SampleGroup, write_sample_group
from records.table import Table, joined, read_table


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> SampleGroup:
    return write_sample_group(tmp_path_factory.mktemp("sample"))


@pytest.fixture(scope="module")
def shared(group: SampleGroup) -> Contract:
    return load_contract(group.contract)


@pytest.fixture(scope="module")
def tables(group: SampleGroup) -> dict[str, Table]:
    return {site.name: read_table(site.table) for site in group.sites}


def auc(score: np.ndarray, label: np.ndarray) -> float:
    order = score[label == 1][:, None] - score[label == 0][None, :]
    return float((order > 0).mean() + (order == 0).mean() / 2)


def test_five_sites_of_the_promised_sizes_fit_one_confirmed_contract(
    group: SampleGroup, shared: Contract, tables: dict[str, Table]
) -> None:
    assert [site.people for site in group.sites] == [3000, 1400, 600, 220, 60]
    assert shared.unconfirmed == ()
    assert set(shared.site.names) == set(tables)
    found = check(shared, joined(list(tables.values()), "group"))
    assert (found.verdict, found.reasons) == ("ready", ())
    assert 0.12 < found.label < 0.20
    assert found.undeclared == ()


def test_the_protected_column_is_there_and_is_not_used(shared: Contract, tables: dict[str, Table]) -> None:
    for table in tables.values():
        assert table.frame["gender"].nunique() > 1
    gender = next(column for column in shared.columns if column.name == "gender")
    assert (gender.protected, gender.train) == (True, False)
    rows = minimized_rows(next(iter(tables.values())), shared)
    assert "gender" not in {*rows.numbers, *rows.codes}
    assert {column.name for column in shared.features} == set(COLUMNS)


def test_some_cells_are_missing_and_no_key_comes_twice(tables: dict[str, Table]) -> None:
    frame = joined(list(tables.values()), "group").frame
    assert 0.05 < frame["pulse"].isna().mean() < 0.2
    assert frame["left"].notna().all()
    assert frame["employee_key"].is_unique


def test_labels_follow_the_truth(group: SampleGroup, shared: Contract, tables: dict[str, Table]) -> None:
    odds = np.concatenate([group.truth.log_odds(table.frame, name) for name, table in tables.items()])
    label = np.concatenate([minimized_rows(table, shared).label for table in tables.values()])
    risk = 1 / (1 + np.exp(-odds))
    assert 0.79 < auc(odds, label) < 0.86
    for low, high in ((0.0, 0.1), (0.1, 0.3), (0.3, 1.0)):
        here = (risk >= low) & (risk < high)
        error = np.sqrt((risk * (1 - risk))[here].sum()) / here.sum()
        assert abs(label[here].mean() - risk[here].mean()) < 4 * error


def test_log_odds_are_the_sum_of_the_terms(group: SampleGroup, tables: dict[str, Table]) -> None:
    for name, table in tables.items():
        first = table.frame.iloc[:5]
        total = [
            sum(group.truth.term(column, None if value != value else value, name) for column, value in row.items())
            for row in first[list(COLUMNS)].to_dict("records")
        ]
        difference = group.truth.log_odds(first, name) - total
        np.testing.assert_allclose(difference, difference[0], atol=1e-9)


def test_terms_have_the_told_shapes(group: SampleGroup) -> None:
    term = group.truth.term
    assert term("months_since_promotion", "0") < term("months_since_promotion", "36")
    assert term("months_since_promotion", "36") == term("months_since_promotion", "90")
    assert term("overtime_hours", "1") == term("overtime_hours", "8") < term("overtime_hours", "20")
    assert term("tenure_years", "1") > term("tenure_years", "10") < term("tenure_years", "30")
    assert term("pulse", "1") > term("pulse", "5")
    assert term("pulse", None) == 0.3


def test_some_sites_have_an_effect_of_their_own(group: SampleGroup) -> None:
    term = group.truth.term
    assert term("commute_minutes", "80", "Norrvik Logistics") > term("commute_minutes", "80") + 0.5
    assert term("commute_minutes", "80", "Halden Precision Works") == term("commute_minutes", "80")
    assert term("work_mode", "on site", "Tessera Software") > term("work_mode", "on site") + 0.5
    assert term("training_days", "14", "Brightmoor Care") < term("training_days", "14") - 0.5


def test_sites_are_unlike_each_other(tables: dict[str, Table]) -> None:
    remote = {name: (table.frame["work_mode"] == "remote").mean() for name, table in tables.items()}
    assert remote["Tessera Software"] > 5 * remote["Halden Precision Works"]
    leave = {name: (table.frame["left"] == "yes").mean() for name, table in tables.items()}
    assert max(leave.values()) > 1.7 * min(leave.values())
    assert len({table.frame["job_family"].mode()[0] for table in tables.values()}) == 5


def test_the_same_seed_writes_the_same_bytes(group: SampleGroup, tmp_path: Path) -> None:
    again = write_sample_group(tmp_path / "a")
    other = write_sample_group(tmp_path / "b", seed=8)
    for old, same, new in zip(group.sites, again.sites, other.sites, strict=True):
        assert old.table.read_bytes() == same.table.read_bytes() != new.table.read_bytes()


def test_unknown_columns_and_sites_are_refused(group: SampleGroup, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="another column"):
        group.truth.term("shoe_size", "7")
    with pytest.raises(InputError, match="expected a site of"):
        group.truth.term("pulse", "3", "Elsewhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="a folder to write to"):
        write_sample_group(tmp_path / "file")
