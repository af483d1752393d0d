"""What people are told: complete for every purpose, true to the registry, and readable."""

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped,unused-ignore]

from privacy.errors import InputError
from records import notices
from records import registry as registry_module
from records.notices import ROLES, notice_document, notice_text, transparency_document, transparency_text
from records.prohibited import TOPICS
from records.registry import Basis, Registry, load_registry, parse_registry
from tests.records.test_registry import PACKAGED

PURPOSES = tuple(load_registry().purposes)
USE_CASES = sorted((Path(__file__).parents[2] / "models" / "use_cases").glob("*.toml"))


@pytest.fixture
def registry() -> Registry:
    return load_registry()


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("purpose", PURPOSES)
def test_a_notice_names_every_column_and_feature_of_its_purpose_and_no_other(registry: Registry, purpose: str) -> None:
    columns = {name for name, column in registry.columns.items() if purpose in column.purposes}
    features = {name for name, feature in registry.features.items() if purpose in feature.purposes}
    document = notice_document(registry, purpose)
    assert {item["column"] for item in document["held"]} == columns
    assert {item["feature"] for item in document["derived"]} == features
    text = notice_text(registry, purpose)
    assert set(re.findall(r"\[([a-z0-9_.]+)\]", text)) == columns | features
    for name in columns:
        assert flat(registry.notices[registry.column(name).notice].text) in flat(text)


@pytest.mark.parametrize("purpose", PURPOSES)
def test_a_notice_says_why_on_which_ground_who_sees_it_how_long_and_how_to_stop(
    registry: Registry, purpose: str
) -> None:
    asked = registry.purpose(purpose)
    text = flat(notice_text(registry, purpose))
    document = notice_document(registry, purpose)
    assert flat(registry.notices[asked.notice].text) in text
    assert flat(asked.balancing) in text
    assert flat(document["basis_in_words"]) in text
    assert flat(document["how_to_stop"]) in text
    assert flat(document["rights"]) in text
    assert f"version {asked.notice_version}" in text
    for column in registry.columns_for(purpose):
        assert f"{column.retention_months} months" in text
        assert all(ROLES[role] in text for role in column.visible_to)
    assert all(use in text for use in asked.prohibited_for)


def test_what_needs_consent_says_so_where_the_purpose_does_not(registry: Registry) -> None:
    held = {item["column"]: item for item in notice_document(registry, "retention")["held"]}
    assert held["pulse.likert"]["basis"] == "consent"
    assert held["person.start_month"]["basis"] == "legitimate_interest"
    assert flat(notice_text(registry, "retention")).count("Only with your consent.") == 5  # 3 columns, 2 features
    everything = notice_document(registry, "wellbeing")["held"]
    assert {item["basis"] for item in everything} == {"consent"}


@pytest.mark.parametrize("purpose", PURPOSES)
def test_the_way_out_fits_the_ground(registry: Registry, purpose: str) -> None:
    way = notice_document(registry, purpose)["how_to_stop"]
    basis = registry.purpose(purpose).basis
    assert ("may withdraw" in way) == (basis is Basis.CONSENT)
    assert ("may object" in way) == (basis is Basis.LEGITIMATE_INTEREST)
    assert ("can not object" in way) == (basis in (Basis.CONTRACT, Basis.LEGAL_OBLIGATION))


def test_what_is_estimated_is_said_where_people_are_told(registry: Registry) -> None:
    assert "whether an employment ends (person.end_month) as voluntary" in flat(notice_text(registry, "retention"))
    assert notice_document(registry, "learning")["estimated"] is None
    assert notice_document(registry, "retention", "candidate")["estimated"] is None


def test_candidates_and_employees_are_told_what_concerns_them(registry: Registry) -> None:
    for subject in ("employee", "candidate"):
        held = notice_document(registry, "scheduling", subject)["held"]
        assert held
        assert {item["about"] for item in held} == {subject}
    page = transparency_document(registry, "candidate")
    assert {notice["purpose"] for notice in page["purposes"]} == {"scheduling", "hire_continuity", "access"}


def test_the_page_holds_every_notice_and_what_is_never_held(registry: Registry) -> None:
    page, text = transparency_document(registry), flat(transparency_text(registry))
    shown = {item["column"] for notice in page["purposes"] for item in notice["held"]}
    assert shown == {name for name, column in registry.columns.items() if column.subject == "employee"}
    assert all(flat(registry.purpose(notice["purpose"]).title) in text for notice in page["purposes"])
    assert [item["what"] for item in page["never_held"]] == [topic.topic for topic in TOPICS]
    assert all(topic.topic in text for topic in TOPICS)
    assert page["registry"] == registry.digest


def test_documents_are_json_and_text_fits_a_terminal(registry: Registry) -> None:
    page = transparency_document(registry)
    assert json.loads(json.dumps(page)) == page
    text = transparency_text(registry)
    assert all(len(line) <= 100 for line in text.splitlines())
    assert text.endswith("\n")


def test_a_new_version_of_a_notice_shows(registry: Registry) -> None:
    document = yaml.safe_load(PACKAGED)
    document["notices"]["retention"].update(version=2, changed="2027-01-01")
    document["columns"]["pulse.likert"]["purposes"] = ["retention"]
    document["columns"]["pulse.likert"]["since"] = 2
    data = json.dumps(document, default=str).encode()
    newer = notice_document(parse_registry(data), "retention")
    assert newer["version"] == 2
    assert {item["column"] for item in newer["held"] if item["since_version"] == 2} == {"pulse.likert"}


def test_unknown_purposes_and_subjects_are_input_errors(registry: Registry) -> None:
    with pytest.raises(InputError):
        notice_document(registry, "gossip")
    for subject in ("manager", "", 3, []):
        with pytest.raises(InputError, match="employee, candidate"):
            notice_text(registry, "retention", subject)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="employee, candidate"):
            transparency_text(registry, subject)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", USE_CASES, ids=lambda path: path.stem)
def test_every_live_use_case_is_told_with_all_it_reads_and_rules_out(registry: Registry, path: Path) -> None:
    case = tomllib.loads(path.read_text(encoding="utf-8"))
    notice = notice_document(registry, case["name"])
    told = {item["feature"] for item in notice["derived"]}
    assert {column for action in case["actions"] for column in action["when"]} <= told
    assert set(case["prohibited_for"]) <= set(notice["never_used_for"])
    for feature in registry.features_for(case["name"], "serve"):
        assert set(case["visible_to"]) <= set(feature.column.visible_to) or feature.name == "manager_changes"


def test_every_role_and_source_has_words(registry: Registry) -> None:
    assert set(notices.ROLES) == set(registry_module.ROLES)
    assert set(notices.SOURCES) == set(registry.sources)


def test_there_are_live_use_cases() -> None:
    assert USE_CASES
