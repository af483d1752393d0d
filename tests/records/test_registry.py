"""The column registry: what the packaged one says, what a value may be, and that nothing less than all of it loads."""

import copy
import hashlib
import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped,unused-ignore]
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.errors import InputError
from records import registry_file
from records.contract import CategoryColumn, NumberColumn, OrderedColumn, parse_contract
from records.registry import Basis, Registry, load_registry, parse_registry, stricter
from records.registry_file import parse_yaml
from records.sample.group import CONTRACT
from records.schema import CANDIDATES, FACTS, FRAME

PACKAGED = resources.files("records").joinpath("registry.yaml").read_bytes()
DOCUMENT: dict[str, Any] = parse_yaml(PACKAGED, "registry")
COLUMN_FIELDS = (
    *("kind", "purposes", "basis", "sensitivity", "sources", "train", "serve", "visible_to"),
    *("retention_months", "retention_from", "notice", "since"),
)
FEATURE_FIELDS = ("column", "derive", "kind", "purposes", "basis", "train", "serve", "notice", "since")
PURPOSE_FIELDS = ("title", "basis", "notice", "balancing")
NOTICE_FIELDS = ("version", "changed", "text")
LABEL_FIELDS = ("name", "column", "derive", "reason", "counted", "positive", "negative")


def written(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()  # JSON is YAML


def changed(change: Callable[[Any], Any]) -> bytes:
    document = copy.deepcopy(DOCUMENT)
    change(document)
    return written(document)


def refusal(data: bytes) -> str:
    with pytest.raises(InputError) as caught:
        parse_registry(data, "r.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def registry() -> Registry:
    return load_registry()


def test_every_column_of_the_store_is_registered_and_nothing_else(registry: Registry) -> None:
    held = {f"{table.name}.{c.name}" for table in FACTS.values() for c in table.columns if c.name not in FRAME}
    vault = {f"protected.{trait}" for trait in ("sex", "race_ethnicity", "age_band_40", "disability_voluntary")}
    assert set(registry.columns) == held | vault
    for column in registry.columns.values():
        assert column.subject == ("candidate" if column.table in CANDIDATES else "employee")


def test_the_vaults_traits_reach_nobody_but_the_auditor(registry: Registry) -> None:
    for column in registry.columns.values():
        vault = column.table == "protected"
        assert (column.sensitivity == "P3") == vault
        assert vault or not column.special_category
        if vault:
            assert (column.train, column.serve, column.purposes) == (False, False, ("equity_audit",))
            assert column.visible_to == ("auditor",)
    assert registry.column("protected.race_ethnicity").special_category
    assert registry.column("protected.disability_voluntary").special_category
    assert not any(feature.column.table == "protected" for feature in registry.features.values())
    assert [column.table for column in registry.columns_for("equity_audit")] == ["protected"] * 4


def test_what_training_reads_for_retention_is_what_the_sample_groups_contract_declares(registry: Registry) -> None:
    declared = parse_contract(CONTRACT)
    features = registry.features_for("retention", "train")
    assert [feature.name for feature in features] == [column.name for column in declared.features]
    for feature, column in zip(features, declared.features, strict=True):
        assert feature.kind == column.kind
        if isinstance(column, NumberColumn):
            assert (feature.low, feature.high, feature.unit) == (column.low, column.high, column.unit)
        elif isinstance(column, OrderedColumn):
            assert feature.values == column.values
        else:
            assert isinstance(column, CategoryColumn)
            assert set(feature.values) == set(column.values)


def test_what_is_intimate_needs_consent_wherever_it_is_used(registry: Registry) -> None:
    needing = {feature.name for feature in registry.features.values() if feature.basis is Basis.CONSENT}
    assert needing == {"overtime_hours", "pulse"}
    assert {name for name, purpose in registry.purposes.items() if purpose.basis is Basis.CONSENT} == {
        "workload",
        "wellbeing",
    }
    assert all(
        column.basis is Basis.CONSENT for column in registry.columns_for("wellbeing") if column.table != "outcome"
    )


def test_a_manager_sees_nothing_confidential_but_performance(registry: Registry) -> None:
    seen = {c.table for c in registry.columns.values() if "manager" in c.visible_to and c.sensitivity in ("P2", "P3")}
    assert seen == {"performance_fact"}


def test_managers_are_counted_and_never_learned(registry: Registry) -> None:
    changes = registry.feature("manager_changes")
    assert (changes.column.train, changes.column.serve, changes.train, changes.derive) == (
        False,
        False,
        True,
        "changes",
    )


def test_the_label_of_retention_counts_those_who_chose_to_leave(registry: Registry) -> None:
    rule = registry.purpose("retention").label
    assert rule is not None
    assert (rule.name, rule.column.name, rule.reason.name) == ("left", "person.end_month", "person.exit_type")
    assert (rule.counted, rule.positive, rule.negative) == (("voluntary",), "yes", "no")
    assert [purpose.name for purpose in registry.purposes.values() if purpose.label] == ["retention"]


def test_the_digest_is_that_of_the_file_and_the_packaged_registry_is_read_once(
    registry: Registry, tmp_path: Path
) -> None:
    assert registry.digest == hashlib.sha256(PACKAGED).hexdigest()
    assert load_registry() is registry
    path = tmp_path / "own.yaml"
    path.write_bytes(PACKAGED + b"# ours\n")
    own = load_registry(path)
    assert own.columns == registry.columns
    assert own.digest != registry.digest


def test_a_registry_can_not_be_changed_once_it_is_loaded(registry: Registry) -> None:
    for entries in (registry.columns, registry.features, registry.purposes, registry.notices):
        with pytest.raises(TypeError):
            entries["x"] = None  # type: ignore[index]


def test_unknown_names_are_input_errors(registry: Registry) -> None:
    for ask in (registry.column, registry.feature, registry.purpose, registry.columns_for):
        for name in ("gossip", "", "person", None, 3, [], "x" * 10_000):
            with pytest.raises(InputError) as caught:
                ask(name)  # type: ignore[arg-type]
            assert len(str(caught.value)) < 400
    with pytest.raises(InputError, match="train or serve"):
        registry.features_for("retention", "sell")  # type: ignore[arg-type]


GOOD = {
    "person.commute_minutes": (0, 600.0, 45, 12.5),
    "pulse.likert": (1, 5.0),
    "person.start_month": ("1900-01", "2024-02", "2200-12"),
    "onboarding_item.due_week": ("2024-02-29",),
    "interview.slot_utc": ("2024-02-29T23:59:59Z",),
    "person.manager_key": ("0123456789abcdef" * 2,),
    "person.org_unit": ("HR-EU/12", "Süd_3", "a" * 80),
    "person.work_tz": ("Europe/Oslo", "Etc/GMT+5", "America/Argentina/Buenos_Aires"),
    "person.locale": ("nb-NO",),
    "learning_event.course_id": ("https://lms.example/course/view.php?id=7", "42"),
    "person.location_country": ("NO", "DE"),
    "person.work_mode": ("on site",),
    "learning_event.score_band": ("below 50",),
}
BAD = {
    "person.commute_minutes": (-1, 601, float("nan"), float("inf"), True, "45", 10**400),
    "pulse.likert": (0, 6, 2.5, "3"),
    "person.start_month": (
        "1899-12",
        "2201-01",
        "2024-13",
        "2024-00",
        "2024-1",
        "2024-01-01",
        " 2024-01",
        "٢٠٢٤-٠١",
        "",
    ),
    "onboarding_item.due_week": ("2023-02-29", "2024-02", "29/02/2024", "2024-02-29\n", "2024-W09-4", 45000),
    "interview.slot_utc": ("2024-02-29T24:00:00Z", "2024-02-29T10:00:00", "2024-02-29T10:00:60Z", "2024-02-29"),
    "person.manager_key": ("0123456789ABCDEF" * 2, "12345", "g" * 32, ""),
    "person.org_unit": (
        "Eva Braun",
        "eva@firm.example",
        "a" * 81,
        "eva%40firm",
        "a\u200bb",
        "a\nb",
        "",
        "-x",
        "\ud800",
    ),
    "person.location_country": ("no", "Norway", "false"),
    "person.work_mode": ("On site", "", "remote "),
    "learning_event.score_band": ("50", 50),
}


@pytest.mark.parametrize("name", list(GOOD))
def test_values_that_a_column_takes(registry: Registry, name: str) -> None:
    assert [registry.column(name).problem(value) for value in GOOD[name]] == [None] * len(GOOD[name])


@pytest.mark.parametrize("name", list(BAD))
def test_values_that_are_not_stored_are_refused_without_being_repeated(registry: Registry, name: str) -> None:
    for value in BAD[name]:
        problem = registry.column(name).problem(value)  # type: ignore[arg-type]
        assert problem is not None, value
        assert problem.startswith("expected")
        assert len(str(value)) < 4 or str(value) not in problem


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(), st.floats(), st.integers(), st.booleans(), st.none(), st.lists(st.text())))
def test_any_value_at_all_has_an_answer(value: Any) -> None:
    answers = {column.problem(value) for column in load_registry().columns.values()}
    assert any(answers)
    if not isinstance(value, str):
        text_columns = [column for column in load_registry().columns.values() if column.kind != "number"]
        assert all(column.problem(value) for column in text_columns)


def every_mandatory_place() -> list[tuple[str, ...]]:
    places = [("columns", name, field) for name in DOCUMENT["columns"] for field in COLUMN_FIELDS]
    places += [("features", name, field) for name in DOCUMENT["features"] for field in FEATURE_FIELDS]
    places += [("purposes", name, field) for name in DOCUMENT["purposes"] for field in PURPOSE_FIELDS]
    places += [("notices", name, field) for name in DOCUMENT["notices"] for field in NOTICE_FIELDS]
    for table in ("columns", "features"):
        for name, entry in DOCUMENT[table].items():
            ranged = {"number": ("low", "high", "unit"), "ordered": ("values",), "category": ("values",)}
            places += [(table, name, field) for field in ranged.get(entry["kind"], ())]
    return places + [("purposes", "retention", "label", field) for field in LABEL_FIELDS]


def without(document: Any, place: tuple[str, ...]) -> Any:
    """A copy that shares all but the maps on the way to the removed entry."""
    copied = dict(document)
    if len(place) == 1:
        del copied[place[0]]
    else:
        copied[place[0]] = without(document[place[0]], place[1:])
    return copied


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(every_mandatory_place()))
def test_no_mandatory_field_can_be_left_out(place: tuple[str, ...]) -> None:
    message = refusal(written(without(DOCUMENT, place)))
    assert place[-1] in message


def test_one_entry_of_each_sort_can_miss_none_of_its_fields() -> None:
    chosen = ("person.commute_minutes", "tenure_years", "retention", "learning")
    places = [place for place in every_mandatory_place() if place[1] in chosen]
    assert len(places) > 40
    for place in places:
        assert place[-1] in refusal(written(without(DOCUMENT, place)))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([(table, name) for table in ("columns", "notices") for name in DOCUMENT[table]]))
def test_no_column_and_no_notice_can_be_left_out(place: tuple[str, ...]) -> None:
    refusal(written(without(DOCUMENT, place)))


def into(table: str, name: str, **fields: Any) -> Callable[[Any], None]:
    return lambda document: document[table].setdefault(name, {}).update(fields)


def added(name: str, like: str = "person.org_unit", **fields: Any) -> Callable[[Any], None]:
    return lambda document: document["columns"].update({name: {**document["columns"][like], **fields}})


def added_feature(name: str, like: str, **fields: Any) -> Callable[[Any], None]:
    return lambda document: document["features"].update({name: {**document["features"][like], **fields}})


WRONG: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a column that the store does not have": (added("person.shoe_size"), "a column of the store"),
    "a table that the store does not have": (added("gossip.topic"), "a column of the store"),
    "the frame of a table": (added("person.subject"), "a column of the store"),
    "a prohibited column": (added("person.emp_smoker"), "got 'emp_smoker', smoking: it is a special category"),
    "a prohibited trait in the vault": (
        added("protected.religion", "protected.sex"),
        "religion and belief: it is a special category of personal data (GDPR Art. 9(1))",
    ),
    "a prohibited feature": (added_feature("health_score", "pulse"), "health: it is a special category"),
    "a protected trait outside the vault": (added("person.gender"), "known to the auditor's vault alone"),
    "an unknown key": (into("columns", "person.fte", colour="red"), "'colour': expected only keys"),
    "an unknown table": (lambda d: d.update(extra={}), "'extra': expected only keys"),
    "an unknown kind": (into("columns", "person.fte", kind="text"), "expected one of number, ordered"),
    "an unknown purpose": (into("columns", "person.fte", purposes=["fun"]), "expected some of retention"),
    "no purpose": (into("columns", "person.fte", purposes=[]), "a list of 1 to 500"),
    "a purpose twice": (into("columns", "person.fte", purposes=["workload", "workload"]), "distinct texts"),
    "an unknown basis": (into("columns", "person.fte", basis="curiosity"), "expected one of consent"),
    "an unknown source": (into("columns", "person.fte", sources=["rumour"]), "expected some of hris"),
    "an unknown role": (into("columns", "person.fte", visible_to=["self", "press"]), "expected some of self"),
    "a column that its person may not see": (into("columns", "person.fte", visible_to=["manager"]), "expected self"),
    "kept for ever": (into("columns", "person.fte", retention_months=0), "a whole number from 1 to 600"),
    "kept for centuries": (into("columns", "person.fte", retention_months=601), "a whole number from 1 to 600"),
    "kept for half a month": (into("columns", "person.fte", retention_months=0.5), "a whole number"),
    "kept from the moon's age": (into("columns", "person.fte", retention_from="moon"), "expected one of exit"),
    "a truth as a number": (into("columns", "person.fte", train=1), "expected true or false, got 1"),
    "low above high": (into("columns", "person.fte", low=2), "more than low (2)"),
    "an endless number": (into("columns", "person.fte", high=1e300), "a number within"),
    "a step that does not divide": (into("columns", "pulse.likert", step=3), "that divides 4"),
    "a step backwards": (into("columns", "pulse.likert", step=-1), "that divides 4"),
    "bounds of a category": (into("columns", "person.work_mode", low=0), "'low': expected only keys"),
    "values of a month": (into("columns", "person.start_month", values=["2024-01"]), "'values': expected only"),
    "a value twice": (into("columns", "person.work_mode", values=["remote", "remote"]), "distinct texts"),
    "values that are not text": (into("columns", "person.work_mode", values=[1, 2]), "printable texts"),
    "P3 outside the vault": (into("columns", "person.fte", sensitivity="P3"), "P3 in the vault and nowhere else"),
    "P1 in the vault": (into("columns", "protected.sex", sensitivity="P1"), "P3 in the vault and nowhere else"),
    "a special category outside": (into("columns", "person.fte", special_category=True), "in the vault alone"),
    "training on the vault": (into("columns", "protected.sex", train=True), "nothing of the vault"),
    "serving from the vault": (into("columns", "protected.sex", serve=True), "nothing of the vault"),
    "the vault for another purpose": (into("columns", "protected.sex", purposes=["retention"]), "equity_audit for"),
    "the vault for a manager": (into("columns", "protected.sex", visible_to=["manager"]), "for the auditor alone"),
    "a feature out of the vault": (added_feature("trait", "work_mode", column="protected.sex"), "outside the vault"),
    "training on a pseudonym": (into("columns", "person.manager_key", train=True), "false for a column of kind key"),
    "training on a code": (into("columns", "person.org_unit", train=True), "false for a column of kind code"),
    "training on an instant": (into("columns", "schedule_busy.end_utc", train=True), "of kind instant"),
    "a feature of no column": (added_feature("trait", "work_mode", column="person.mood"), "expected one of person."),
    "a feature for a purpose its column lacks": (
        into("features", "work_mode", purposes=["wellbeing"]),
        "expected purposes of person.work_mode, got wellbeing",
    ),
    "training on what may not train": (
        added_feature("exits", "work_mode", column="person.exit_type", values=["voluntary"]),
        "expected false, as person.exit_type may not",
    ),
    "a pseudonym as a feature": (into("features", "manager_changes", derive="latest"), "expected false, as"),
    "counting the facts of what may not train": (into("features", "manager_changes", derive="count"), "expected false"),
    "a feature on a weaker ground": (
        into("features", "pulse", basis="legitimate_interest"),
        "no weaker ground than consent of pulse.likert",
    ),
    "months since a number": (into("features", "pay_against_market", derive="months_since"), "a month or a day"),
    "the sum of months": (added_feature("odd", "training_days", column="person.start_month"), "expected a number"),
    "a sum without a window": (lambda d: d["features"]["training_days"].pop("window_months"), "window_months for"),
    "a window beyond what is kept": (into("features", "overtime_hours", window_months=19), "expected at most 18"),
    "a category out of a number": (into("features", "pulse", kind="category"), "the steps of the column"),
    "steps that are not the column's": (into("features", "pulse", values=["1", "5"]), "the steps of the column"),
    "values that are not the column's": (into("features", "work_mode", values=["remote", "moon"]), "the values of"),
    "a feature beyond its column's bounds": (into("features", "commute_minutes", high=700), "0 to 600 when scaled"),
    "a wrong scale": (into("features", "pay_against_market", scale=0.01), "0.1 to 5 when scaled"),
    "a scale of nothing": (into("features", "pay_against_market", scale=0), "a number above 0"),
    "a feature with a dot": (added_feature("a.b", "work_mode"), "without a dot"),
    "a name with blanks": (added_feature("a b", "work_mode"), "names of at most 80 letters"),
    "a notice that has no text": (into("columns", "person.fte", notice="nowhere"), "got 'nowhere'"),
    "an empty notice": (into("notices", "retention", text=""), "printable text"),
    "a notice of blanks": (into("notices", "retention", text="   "), "printable text"),
    "a notice that nothing names": (into("notices", "lonely", version=1, changed="2026-01-01", text="x"), "'lonely'"),
    "a notice of another calendar": (into("notices", "retention", changed="1.1.2026"), "a day YYYY-MM-DD"),
    "a purpose without a notice": (into("purposes", "retention", notice="nowhere"), "expected one of retention"),
    "a column newer than its notice": (into("columns", "person.fte", since=2), "expected since of at most 1, got 2"),
    "a feature newer than its notice": (into("features", "pulse", since=2), "expected since of at most 1, got 2"),
    "a label of what is no month": (
        lambda d: d["purposes"]["retention"]["label"].update(column="person.exit_type"),
        "a month that has the purpose",
    ),
    "a label without its purpose": (
        lambda d: d["columns"]["person.end_month"].update(purposes=["access"]),
        "a month that has the purpose",
    ),
    "a label that counts the unknown": (
        lambda d: d["purposes"]["retention"]["label"].update(counted=["fired"]),
        "values of person.exit_type",
    ),
    "a label of one side": (
        lambda d: d["purposes"]["retention"]["label"].update(negative="yes"),
        "two different sides",
    ),
    "another derivation of the label": (
        lambda d: d["purposes"]["retention"]["label"].update(derive="guess"),
        "one of ended_within",
    ),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_what_breaks_a_rule_does_not_load(name: str) -> None:
    change, expected = WRONG[name]
    assert expected in refusal(changed(change))


def test_the_unchanged_document_does_load() -> None:
    assert parse_registry(written(DOCUMENT)).columns == load_registry().columns


SOURCE = PACKAGED.decode()
YAML_WRONG = {
    "a key twice": (
        SOURCE.replace("    basis: consent\n", "    basis: consent\n    basis: contract\n", 1),
        "every key once",
    ),
    "a table twice": (SOURCE + "sources: [hris]\n", "every key once"),
    "an anchor": (SOURCE.replace("sources: [", "sources: &all [", 1), "no anchors"),
    "an alias": ("sources: *all\n", "no anchors"),
    "a merge": ("a:\n  <<: {b: c}\n", "no merge keys"),
    "a tag": (SOURCE.replace("sources: [", "sources: !!set [", 1), "no tags"),
    "an object": ("!!python/object/apply:os.system ['true']", "no tags"),
    "two documents": (SOURCE + "---\na: b\n", "one document, got several"),
    "nothing": ("", "one document, got none"),
    "a list": ("[1, 2]", "expected a map"),
    "a scalar": ("hello", "expected a map"),
    "a number as a key": ("1: 2", "text as a key, got int"),
    "a map as a key": ("{a: b}: c", "text as a key, got dict"),
    "broken": ("a: [", "expected YAML"),
    "tabs": ("a:\n\t- b", "expected YAML"),
    "deep": ("[" * 100_000, "at most 8 levels"),
    "deep maps": ("{a: " * 10_000, "at most 8 levels"),
    "wide": ("[" + "1," * 60_000 + "]", "50000 values"),
    "a control character": ("a: \x07", "expected YAML"),
}


@pytest.mark.parametrize("name", list(YAML_WRONG))
def test_what_yaml_can_do_beyond_is_refused(name: str) -> None:
    text, expected = YAML_WRONG[name]
    assert text != SOURCE
    assert expected in refusal(text.encode())


@pytest.mark.parametrize("name", list(YAML_WRONG))
def test_yamls_reader_without_its_c_library_refuses_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_file, "_LOADER", yaml.SafeLoader)
    text, expected = YAML_WRONG[name]
    assert expected in refusal(text.encode())


def test_bytes_are_bounded_and_utf8(tmp_path: Path) -> None:
    assert "another encoding" in refusal(PACKAGED + "ø".encode("latin-1"))
    assert "at most 524288 bytes" in refusal(PACKAGED + b"#" * registry_file.MAX_BYTES)
    path = tmp_path / "large.yaml"
    path.write_bytes(PACKAGED + b"#" * registry_file.MAX_BYTES)
    with pytest.raises(InputError, match="at most 524288 bytes"):
        load_registry(path)
    for bad in (tmp_path / "none.yaml", tmp_path, tmp_path / "a\0b"):
        with pytest.raises(InputError, match="a readable registry"):
            load_registry(bad)


def test_words_and_days_are_not_guessed_at() -> None:
    read = parse_yaml(b"a: [no, on, NO, 2026-11-20, 1_000, 0o17, 1e3, .inf, null, ~, 12:30, true, -1.5, 007]", "r")
    assert read["a"] == [
        *("no", "on", "NO", "2026-11-20", "1_000", "0o17", "1e3", ".inf", "null", "~", "12:30", True, -1.5, "007"),
    ]


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
)
def test_arbitrary_bytes_are_no_registry(data: bytes) -> None:
    refusal(data)


SCALARS = st.one_of(
    st.text(max_size=12),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.booleans(),
    st.sampled_from(["person.fte", "P3"]),
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
)
TABLES = ("columns", "features", "purposes", "notices")


def outcome_of(data: bytes) -> str:
    """ "loads" with every column of the store, or "refused" in one short line."""
    try:
        loaded = parse_registry(data)
    except InputError as error:
        return "refused" if len(str(error)) < 2_000 and "\n" not in str(error) else str(error)
    return "loads" if loaded.columns.keys() >= set(STORED) else "loads without a column"


STORED = [name for name in DOCUMENT["columns"] if not name.startswith("protected.")]


@settings(max_examples=150, deadline=None)
@given(data=st.data(), tree=TREES)
def test_any_structure_in_any_place_is_a_registry_or_an_input_error(data: st.DataObject, tree: Any) -> None:
    table = data.draw(st.sampled_from(TABLES))
    name = data.draw(st.sampled_from(sorted(DOCUMENT[table])))
    field = data.draw(st.sampled_from([*sorted(DOCUMENT[table][name]), "extra"]))
    place = data.draw(st.sampled_from([(table,), (table, name), (table, name, field), ("sources",)]))
    document = copy.deepcopy(DOCUMENT)
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = tree
    assert outcome_of(written(document)) in ("loads", "refused")


@settings(max_examples=60, deadline=None)
@given(position=st.integers(0, len(SOURCE) - 1), piece=st.text(max_size=4), cut=st.integers(0, 4))
def test_the_file_with_a_slip_of_the_pen_is_a_registry_or_an_input_error(position: int, piece: str, cut: int) -> None:
    text = SOURCE[:position] + piece + SOURCE[position + cut :]
    assert outcome_of(text.encode("utf-8", "surrogatepass")) in ("loads", "refused")


@pytest.mark.parametrize("one", list(Basis))
@pytest.mark.parametrize("other", list(Basis))
def test_the_stricter_ground_counts(one: Basis, other: Basis) -> None:
    assert stricter(one, other) is stricter(other, one)
    assert stricter(one, other).covers(one)
    assert stricter(one, other).covers(other)
    assert stricter(one, Basis.CONSENT) is Basis.CONSENT
