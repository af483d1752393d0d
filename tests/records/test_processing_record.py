"""The record of processing: every purpose and column of the registry, none besides, and Markdown that stays a table."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.errors import InputError
from records.processing_record import UNSTATED, processing_document, processing_markdown
from records.registry import Registry, load_registry, parse_registry
from tests.records.test_registry import changed, into

USE_CASES = sorted((Path(__file__).parents[2] / "models" / "use_cases").glob("*.toml"))


@pytest.fixture
def registry() -> Registry:
    return load_registry()


def test_every_purpose_and_column_is_recorded_and_none_besides(registry: Registry) -> None:
    record = processing_document(registry)
    assert [activity["purpose"] for activity in record["activities"]] == list(registry.purposes)
    for activity in record["activities"]:
        columns = {name for name, column in registry.columns.items() if activity["purpose"] in column.purposes}
        assert {column["column"] for column in activity["columns"]} == columns
        assert columns
    recorded = {column["column"] for activity in record["activities"] for column in activity["columns"]}
    assert recorded == set(registry.columns)
    assert json.loads(json.dumps(record)) == record


@pytest.mark.parametrize("path", USE_CASES, ids=lambda path: path.stem)
def test_every_live_use_case_is_an_activity_with_all_its_columns(registry: Registry, path: Path) -> None:
    case = tomllib.loads(path.read_text(encoding="utf-8"))
    activity = {a["purpose"]: a for a in processing_document(registry)["activities"]}[case["name"]]
    used = {column for action in case["actions"] for column in action["when"]}
    assert used <= set(activity["trained_from"]) & set(activity["served_from"])
    sources = {registry.feature(name).column.name for name in activity["trained_from"]}
    assert sources <= {column["column"] for column in activity["columns"]}


def test_an_activity_says_what_article_30_asks_for(registry: Registry) -> None:
    activities = {activity["purpose"]: activity for activity in processing_document(registry)["activities"]}
    retention, audit = activities["retention"], activities["equity_audit"]
    assert retention["data_subjects"] == ["employees"]
    assert retention["basis"] == "legitimate_interest"
    assert retention["balancing"] == registry.purpose("retention").balancing
    assert set(retention["recipients"]) == {"manager", "reviewer", "hr_partner"}
    assert audit["recipients"] == ["auditor"]
    assert (retention["special_categories"], audit["special_categories"]) == (False, True)
    assert activities["scheduling"]["data_subjects"] == ["employees", "candidates"]
    pulse = next(column for column in retention["columns"] if column["column"] == "pulse.likert")
    assert (pulse["basis"], pulse["erased_after_months"], pulse["counted_from"]) == ("consent", 26, "valid_from")


def test_the_site_states_who_it_is(registry: Registry) -> None:
    assert processing_document(registry)["controller"] == UNSTATED
    assert processing_document(registry, "Halden AS, Halden", "dpo@halden.example")["controller"] == "Halden AS, Halden"
    assert "Halden AS" in processing_markdown(registry, "Halden AS")
    for bad in ("", "a\nb", "x" * 501, 7, "\u202eevil"):
        with pytest.raises(InputError, match="printable text"):
            processing_document(registry, bad)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="data protection officer"):
            processing_markdown(registry, "Halden", bad)  # type: ignore[arg-type]


def rows_of(markdown: str) -> list[list[str]]:
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]


def test_markdown_holds_a_row_per_column_of_each_purpose(registry: Registry) -> None:
    markdown = processing_markdown(registry)
    names = re.findall(r"^\| `([a-z0-9_.]+)`", markdown, flags=re.MULTILINE)
    assert sorted(names) == sorted(name for name, c in registry.columns.items() for _ in c.purposes)
    assert markdown.count("\n## ") == len(registry.purposes) + 3
    assert {len(row) for row in rows_of(markdown)} == {8}


@settings(max_examples=40, deadline=None)
@given(
    st.text(st.sampled_from("a|`*_[]()<>#!&\\~ x"), min_size=1, max_size=30).filter(lambda text: text == text.strip())
)
def test_no_text_of_the_registry_breaks_out_of_its_cell(text: str) -> None:
    registry = parse_registry(changed(into("notices", "person.fte", text=text)))
    markdown = processing_markdown(registry, text)
    assert {len(row) for row in rows_of(markdown)} == {8}
    assert not re.search(r"(?<!\\)<", markdown)
