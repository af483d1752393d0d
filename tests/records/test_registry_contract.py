"""Contracts out of the registry, and contracts that ask for more than it gives."""

from datetime import date
from typing import Any

import pytest

from privacy.errors import InputError, KithError, Refused
from records.contract import BinaryLabel, Moment, parse_contract
from records.registry import Registry, load_registry
from records.registry_contract import check_contract, contract_text
from records.sample.group import CONTRACT

PEOPLE = {"Halden Precision Works": 3500, "Norrvik Logistics": 1500}
DAY = date(2025, 9, 30)


@pytest.fixture
def registry() -> Registry:
    return load_registry()


@pytest.fixture
def text(registry: Registry) -> str:
    return contract_text(registry, "retention", PEOPLE, DAY, 12)


def test_the_registrys_contract_is_the_sample_groups_but_for_the_protected_column(text: str) -> None:
    made, declared = parse_contract(text), parse_contract(CONTRACT)
    assert made.features == declared.features
    assert made.columns == made.features
    assert (made.purpose, made.employee, made.label) == (declared.purpose, declared.employee, declared.label)
    assert made.label == BinaryLabel("left", ("yes",), ("no",))
    assert made.site.column == "subsidiary"
    assert {site.name: site.people_at_most for site in made.site.sites} == PEOPLE
    assert made.moment == Moment(DAY, 12)
    assert made.unconfirmed == ()


def test_a_contract_says_from_which_registry_it_comes_and_is_the_same_every_time(text: str, registry: Registry) -> None:
    assert registry.digest in text.splitlines()[0]
    assert text == contract_text(registry, "retention", dict(PEOPLE), DAY, 12)
    assert text.endswith("\n")


def test_site_names_and_columns_are_written_safely(registry: Registry) -> None:
    odd = {'a "b" \\ [c]\u00a0#d': 7, "Ærlig & Sønner": 8}
    made = parse_contract(contract_text(registry, "retention", odd, DAY, 1, site_column='the "site".column'))
    assert {site.name: site.people_at_most for site in made.site.sites} == odd
    assert made.site.column == 'the "site".column'


@pytest.mark.parametrize(
    "change",
    [
        {"purpose": "learning"},
        {"purpose": "gossip"},
        {"people_at_most": {}},
        {"people_at_most": {"a": 0}},
        {"people_at_most": {"a": 1.5}},
        {"people_at_most": {"a": float("nan")}},
        {"people_at_most": {"a": 10**400}},
        {"people_at_most": {"a": None}},
        {"people_at_most": {"a": "7"}},
        {"people_at_most": {7: 7}},
        {"people_at_most": {"": 7}},
        {"people_at_most": {"a\nb": 7}},
        {"people_at_most": {"\ud800": 7}},
        {"people_at_most": 7},
        {"people_at_most": "ab"},
        {"as_of": "2025-09-30"},
        {"as_of": None},
        {"as_of": date(1066, 10, 14)},
        {"horizon_months": 0},
        {"horizon_months": 61},
        {"horizon_months": "12"},
        {"horizon_months": b"12"},
        {"site_column": "left"},
        {"site_column": "employee_key"},
        {"site_column": "work_mode"},
        {"site_column": ""},
        {"site_column": None},
    ],
    ids=str,
)
def test_what_is_no_contract_is_an_input_error(registry: Registry, change: dict[str, Any]) -> None:
    given: dict[str, Any] = {"purpose": "retention", "people_at_most": PEOPLE, "as_of": DAY, "horizon_months": 12}
    with pytest.raises(InputError):
        contract_text(registry, **{**given, **change})


def test_a_contract_may_ask_for_less(registry: Registry, text: str) -> None:
    check_contract(registry, parse_contract(CONTRACT))  # with a protected column, which does not train
    for less in (
        text.replace('[columns.pulse]\nkind = "ordered"', '[columns.pulse]\nkind = "ordered"\nprotected = false'),
        text.replace("[moment]\nas_of = 2025-09-30\nhorizon_months = 12\n", ""),
        text[: text.index("[columns.commute_minutes]")],
    ):
        assert less != text
        check_contract(registry, parse_contract(less))


MORE = {
    "a feature that is not registered": ("[columns.tenure_years]", "[columns.shoe_size]", "'columns.shoe_size'"),
    "a column instead of its feature": ("[columns.pulse]", '[columns."pulse.likert"]', "'columns.pulse.likert'"),
    "wider bounds": ("high = 32", "high = 40", "the registered kind and bounds"),
    "narrower bounds": ("low = 70", "low = 80", "the registered kind and bounds"),
    "a step": ("high = 96", "high = 96\nstep = 1", "the registered kind and bounds"),
    "another unit": ('"minutes"', '"hours"', "the registered kind and bounds"),
    "another value": ('"hybrid"', '"on the moon"', "the registered kind and bounds"),
    "another order": ('    "entry",\n    "skilled",', '    "skilled",\n    "entry",', "the registered kind and bounds"),
    "another kind": ('[columns.pulse]\nkind = "ordered"', '[columns.pulse]\nkind = "category"', "the registered kind"),
    "another label": ('column = "left"', 'column = "promoted"', "expected the registered label 'left'"),
    "another meaning of the label": ('positive = [\n    "yes",', 'positive = [\n    "quit",', "the registered label"),
    "a numeric label": (
        'kind = "binary"\npositive = [\n    "yes",\n]\nnegative = [\n    "no",\n]',
        'kind = "number"\nlow = 0\nhigh = 1',
        "the registered label",
    ),
    "a column of another purpose": (
        'unit = "minutes"',
        'unit = "minutes"\npurpose = "wellbeing"',
        "registered to train for retention",
    ),
}


@pytest.mark.parametrize("name", list(MORE))
def test_a_contract_may_not_ask_for_more_or_for_something_else(registry: Registry, text: str, name: str) -> None:
    old, new, expected = MORE[name]
    assert old in text
    with pytest.raises(Refused) as caught:
        check_contract(registry, parse_contract(text.replace(old, new, 1)))
    assert expected in str(caught.value)


@pytest.mark.parametrize("purpose", ["learning", "gossip"])
def test_a_contract_for_what_has_no_registered_label_is_refused(registry: Registry, text: str, purpose: str) -> None:
    with pytest.raises(KithError, match="expected"):
        check_contract(registry, parse_contract(text.replace('purpose = "retention"', f'purpose = "{purpose}"')))


def test_categories_are_the_same_in_any_order(registry: Registry, text: str) -> None:
    other = text.replace('    "hybrid",\n    "on site",', '    "on site",\n    "hybrid",')
    assert other != text
    check_contract(registry, parse_contract(other))


def test_a_horizon_that_outlives_what_is_kept_is_refused() -> None:
    """Course hours are kept for 26 months: a window of 12, a horizon of 12 and 2 more fill them."""
    registry = load_registry()
    contract_text(registry, "retention", {"Norrvik": 100}, date(2025, 1, 31), 12)
    with pytest.raises(Refused, match=r"learning_event.duration_hours, kept for 26 months"):
        contract_text(registry, "retention", {"Norrvik": 100}, date(2025, 1, 31), 13)
