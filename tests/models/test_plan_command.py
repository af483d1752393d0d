"""`kith plan` as an officer meets it: before a run, from a contract and perhaps a site's own ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from models import forecast, planted_twin
from models.features import FeatureSpace
from models.plan_command import app
from models.planning import plan_at_epsilon
from privacy.accounting import mu_squared_for
from privacy.amounts import to_text
from privacy.budget import first_budget
from privacy.errors import InputError, KithError, Refused
from privacy.ledger import Ledger
from privacy.plan import written as written_amount
from records.contract import load_contract

CONTRACT = """
purpose = "retention"
[label]
column = "left"
kind = "binary"
positive = ["yes"]
negative = ["no"]
[site]
column = "site"
[site.people_at_most]
North = {north}
South = {south}
[columns.hours]
kind = "number"
low = 0
high = 10
train = true
[columns.grade]
kind = "ordered"
values = ["low", "middle", "high"]
train = true
"""
AT_ONE = ("--epsilon", "1", "--delta", "0.00001")


@pytest.fixture(scope="module", autouse=True)
def _smaller_made_up_groups() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"SEEDS": 2, "SEEDS_FOR_FEW": 2}.items():
            patch.setattr(forecast, name, value)
        patch.setattr(planted_twin, "MEASURED_ON", 1000)
        yield


@pytest.fixture
def contract(tmp_path: Path) -> Path:
    return written(tmp_path, 900, 40)


def written(folder: Path, north: int, south: int) -> Path:
    path = folder / "contract.toml"
    path.write_text(CONTRACT.format(north=north, south=south), encoding="utf-8")
    return path


def plan(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def told(*arguments: str | Path) -> dict[str, Any]:
    done = plan(*arguments, "--json")
    assert done.exit_code == 0, done.exception
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def failed(*arguments: str | Path) -> KithError:
    error = plan(*arguments).exception
    assert isinstance(error, KithError)
    return error


def test_it_says_what_each_site_pays_and_what_can_be_learned(contract: Path) -> None:
    document = told("--contract", contract, *AT_ONE, "--runs-per-period", "4")
    assert document["verdict"] == "goes"
    north, south = document["sites"]
    assert (north["site"], north["people_at_most"]) == ("North", 900)
    assert float(north["epsilon"]) == pytest.approx(1, abs=1e-4)
    assert float(north["epsilon"]) < float(north["epsilon_two_sites"]) < float(north["epsilon_replace_one"])
    assert document["per_period"]["runs"] == 4
    assert float(document["per_period"]["mu2"]) == pytest.approx(4 * float(north["mu2"]))
    # Four times mu² is twice mu, as for somebody replaced.
    assert float(document["per_period"]["epsilon"]) == pytest.approx(float(north["epsilon_replace_one"]), rel=1e-4)
    assert north["alone"] > south["alone"]
    assert not south["alone_useful"]
    assert "South (40 people)" in " ".join(document["remarks"])


def test_a_person_reads_the_same_at_80_columns(contract: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = told("--contract", contract, *AT_ONE)
    monkeypatch.setattr("models.plan_command.console", _narrow)
    lines = plan("--contract", contract, *AT_ONE).stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-1] == "goes"
    assert any("South" in line and "40" in line for line in lines)
    assert any(f"{document['forecast']['federated']:.3f}" in line for line in lines)


def _narrow() -> Any:
    from rich.console import Console

    return Console(width=80)


def test_where_nothing_useful_can_be_learned_it_refuses_and_computes_what_would_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast, "SEEDS_FOR_FEW", 10)  # of noise alone, two groups may look useful
    few = written(tmp_path, 60, 1)
    error = failed("--contract", few, "--epsilon", "0.3", "--delta", "0.00001")
    assert isinstance(error, Refused)
    assert error.exit_code == 1
    assert "61 people at epsilon 0.3: nothing useful can be learned" in str(error)
    done = plan("--contract", few, "--epsilon", "0.3", "--delta", "0.00001", "--json")
    document = json.loads(done.stdout)
    assert document["verdict"] == "refused"
    helps = document["would_help"]
    assert f"epsilon {helps['epsilon']}" in str(error)
    assert f"about {helps['people']:,} people" in str(error)
    enough = told("--contract", few, "--epsilon", helps["epsilon"], "--delta", "0.00001")
    assert enough["verdict"] == "goes"


def test_a_plan_for_masks_costs_the_same_and_says_what_masks_need(contract: Path) -> None:
    of_three = contract.with_name("of_three.toml")
    of_three.write_text(contract.read_text().replace("[columns.hours]", "West = 500\n[columns.hours]"))
    document = told("--contract", of_three, *AT_ONE, "--trust", "secure-sum")
    assert document["verdict"] == "goes"
    assert any("sums of at least 3 of 3 sites" in remark for remark in document["remarks"])
    local = told("--contract", of_three, *AT_ONE)
    assert document["cost"]["mu2"] == local["cost"]["mu2"]
    assert document["forecast"]["federated"] > local["forecast"]["federated"]


def test_a_plan_for_masks_over_two_sites_is_refused(contract: Path) -> None:
    error = plan("--contract", contract, *AT_ONE, "--trust", "secure-sum").exception
    assert isinstance(error, InputError)
    assert "at least 3 for a secure sum, got 2" in str(error)


def test_a_measure_is_part_of_the_plan_at_the_same_cost(contract: Path) -> None:
    document = told("--contract", contract, *AT_ONE, "--measure", "head-count", "--rounds", "5")
    assert {"name": "head-count", "times": 1} in document["events"]
    assert {"name": "gradient", "times": 5} in document["events"]
    assert float(document["cost"]["epsilon"]) <= 1


def test_stated_people_are_what_the_forecast_counts_and_the_bound_stays(contract: Path) -> None:
    north = told("--contract", contract, *AT_ONE, "--people", "North=300")["sites"][0]
    assert (north["people_at_most"], north["people_in_forecast"]) == (900, 300)


def test_a_group_folder_stands_for_its_contract(contract: Path) -> None:
    assert told("--group", contract.parent, *AT_ONE) == told("--contract", contract, *AT_ONE)


@pytest.fixture
def ledger(contract: Path) -> Iterator[Ledger]:
    """North's, with a cap that holds two runs at epsilon 1."""
    cap = Decimal(written_amount(mu_squared_for(Decimal("1.5"), Decimal("0.00001"))))
    opened = Ledger.create(
        contract.parent / "ledger.sqlite", "North", first_budget(cap, Decimal("0.00001"), ("retention",), label="2026")
    )
    yield opened
    opened.close()


def account(contract: Path, ledger: Ledger) -> dict[str, Any]:
    """What the plan would meet at North."""
    del ledger
    document = told("--contract", contract, *AT_ONE, "--ledger", contract.parent / "ledger.sqlite")
    assert document["sites"][1]["account"] is None
    found: dict[str, Any] = document["sites"][0]["account"]
    return found


def test_a_ledger_at_hand_says_where_its_worst_off_employee_would_stand(contract: Path, ledger: Ledger) -> None:
    found = account(contract, ledger)
    assert (found["label"], found["group"], found["left_out"]) == ("2026", "all", "nobody")
    assert (found["worst_off_before"], found["runs_held_by_cap"], found["runs_left_to_worst_off"]) == ("0", 2, 2)
    assert Decimal(found["worst_off_after"]) == pytest.approx(Decimal("0.0718"), abs=Decimal("0.0002"))


def test_who_was_in_everything_is_left_out_once_the_cap_does_not_hold_another_run(
    contract: Path, ledger: Ledger
) -> None:
    spent = _two_runs(contract, ledger)
    found = account(contract, ledger)
    assert found["worst_off_before"] == to_text(spent)
    assert (found["runs_held_by_cap"], found["runs_left_to_worst_off"]) == (2, 0)
    assert found["worst_off_after"] == found["cap"]
    assert "who was in everything" in found["left_out"]
    lines = plan("--contract", contract, *AT_ONE, "--ledger", contract.parent / "ledger.sqlite").stdout
    assert "North: left out would be whoever has more than" in lines
    assert lines.splitlines()[-1] == "goes"  # others still learn, and are charged


def test_a_plan_that_no_cap_holds_is_refused(contract: Path, ledger: Ledger) -> None:
    place = contract.parent / "ledger.sqlite"
    error = failed("--contract", contract, "--epsilon", "2", "--delta", "0.00001", "--ledger", place)
    assert isinstance(error, Refused)
    assert "more than the cap" in str(error)
    assert ledger.head().size == 1


def test_more_runs_than_the_cap_holds_are_remarked_on(contract: Path, ledger: Ledger) -> None:
    place = contract.parent / "ledger.sqlite"
    document = told("--contract", contract, *AT_ONE, "--ledger", place, "--runs-per-period", "5")
    assert any("whoever was in the first 2 is left out of the others" in remark for remark in document["remarks"])


def test_one_ledger_twice_and_a_ledger_of_another_group_are_refused(contract: Path, ledger: Ledger) -> None:
    place = contract.parent / "ledger.sqlite"
    assert isinstance(failed("--contract", contract, *AT_ONE, "--ledger", place, "--ledger", place), InputError)
    other = contract.parent / "other.sqlite"
    Ledger.create(other, "Elsewhere", ledger.budget).close()
    assert isinstance(failed("--contract", contract, *AT_ONE, "--ledger", other), InputError)


def _two_runs(contract: Path, ledger: Ledger) -> Fraction:
    """Charge two runs at epsilon 1 in full, to the same three people."""
    agreed = load_contract(contract)
    bounds = {site.name: site.people_at_most for site in agreed.site.sites}
    made = plan_at_epsilon(
        FeatureSpace.from_contract(agreed), bounds, "retention", Decimal(1), Decimal("0.00001"), "local", 1
    )
    for run in ("first", "second"):
        ledger.reserve(run, made, [bytes([n]) * 16 for n in range(3)])
        for event in made.events:
            ledger.settle(ledger.charge(run, made, event.name, 0, "0" * 64), b"values", b"receipt")
        ledger.end(run)
    return ledger.totals.spent


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param((*AT_ONE,), id="no contract"),
        pytest.param(("--contract", "{c}", "--group", "{g}", *AT_ONE), id="two contracts"),
        pytest.param(("--contract", "{g}/nowhere.toml", *AT_ONE), id="no such file"),
        pytest.param(("--contract", "{c}", "--epsilon", "0", "--delta", "0.1"), id="no budget"),
        pytest.param(("--contract", "{c}", "--epsilon", "one", "--delta", "0.1"), id="no number"),
        pytest.param(("--contract", "{c}", *AT_ONE, "--trust", "faith"), id="unknown trust"),
        pytest.param(("--contract", "{c}", *AT_ONE, "--use-case", "promotion"), id="another purpose"),
        pytest.param(("--contract", "{c}", *AT_ONE, "--measure", "salaries"), id="unknown measure"),
        pytest.param(("--contract", "{c}", *AT_ONE, "--people", "North"), id="no head count"),
        pytest.param(("--contract", "{c}", *AT_ONE, "--people", "North=901"), id="above the bound"),
        pytest.param(("--contract", "{c}", *AT_ONE, "--people", "East=9"), id="another site"),
        pytest.param(("--contract", "{c}", *AT_ONE, "--ledger", "{g}/nowhere.sqlite"), id="no ledger"),
        pytest.param(("--contract", "{c}", *AT_ONE, "--site", "{g}"), id="no site's folder"),
    ],
)
def test_bad_input_ends_with_one_line_and_exit_2(contract: Path, arguments: tuple[str, ...]) -> None:
    error = failed(*(argument.format(c=contract, g=contract.parent) for argument in arguments))
    assert isinstance(error, InputError)
    assert error.exit_code == 2
    assert "\n" not in str(error)
