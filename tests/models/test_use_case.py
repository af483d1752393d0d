from __future__ import annotations

from decimal import Decimal
from importlib import resources

import pytest

from models.use_case import STAKES, load_use_case, parse_use_case, use_case_names
from privacy.errors import InputError
from records.contract import Contract
from records.sample.group import COLUMNS

TEXT = resources.files("models.use_cases").joinpath("retention.toml").read_text(encoding="utf-8")


def test_retention_is_declared_with_its_rules() -> None:
    case = load_use_case("retention")
    assert case.stakes in STAKES
    assert case.stakes != "low", "somebody decides before a retention prompt reaches anybody"
    assert {"pay", "promotion", "discipline", "termination"} <= set(case.prohibited_for)
    assert case.elevated == Decimal("1.5")
    assert case.not_seen


def test_every_declared_use_case_loads_under_its_own_name() -> None:
    assert "retention" in use_case_names()
    for name in use_case_names():
        assert load_use_case(name).name == name


def test_its_actions_name_only_columns_that_the_sample_group_has(group_contract: Contract) -> None:
    features = {column.name for column in group_contract.features}
    named = {column for action in load_use_case("retention").actions for column in action.when}
    assert named <= features
    assert features == set(COLUMNS)


def test_a_column_that_raises_the_risk_leads_to_an_action_of_its_own(group_contract: Contract) -> None:
    case = load_use_case("retention")
    without = [c.name for c in group_contract.features if case.actions_for([c.name])[0].when == ()]
    assert without == ["job_level"]


@pytest.mark.parametrize("name", ["", "promotion", "../use_cases/retention", "retention.toml", "/etc/passwd", "\0"])
def test_an_undeclared_use_case_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="use case: expected one of retention"):
        load_use_case(name)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param('stakes = "medium"', 'stakes = "none"', id="unknown stakes"),
        pytest.param('stakes = "medium"', "", id="no stakes"),
        pytest.param('stakes = "medium"', "stakes = 2", id="stakes of a number"),
        pytest.param('name = "retention"', 'name = "retention"\nfairness = true', id="unknown field"),
        pytest.param('elevated = "1.5"', 'elevated = "0.9"', id="elevated below typical"),
        pytest.param('low = "0.67"', 'low = "1.1"', id="low above typical"),
        pytest.param('low = "0.67"', 'low = "0"', id="low of nothing"),
        pytest.param('low = "0.67"', "low = 0.67", id="a band as a float"),
        pytest.param('elevated = "1.5"', 'elevated = "NaN"', id="a band that is NaN"),
        pytest.param('elevated = "1.5"', "", id="no band"),
        pytest.param("when = []", 'when = ["pulse"]', id="no fallback"),
        pytest.param('id = "check-in"', "", id="an action without an id"),
        pytest.param("[bands]", "[bands", id="no TOML"),
        pytest.param('name = "retention"', "not_seen_too = 1", id="no name"),
    ],
)
def test_a_file_that_is_not_exactly_a_use_case_is_refused(old: str, new: str) -> None:
    assert old in TEXT
    with pytest.raises(InputError, match=r"^case\.toml"):
        parse_use_case(TEXT.replace(old, new), "case.toml")


def test_a_file_of_any_length_is_not_read() -> None:
    with pytest.raises(InputError, match="at most 65536 characters"):
        parse_use_case(TEXT + "#" * 65536, "case.toml")
