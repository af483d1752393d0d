from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy import canonical, entries, fields
from privacy.budget import sign_decision
from privacy.entries import Charged, Decided, Ended, Entry, Opened, Reserved, Settled
from privacy.errors import InputError
from tests.privacy.small_ledger import budget, next_period
from tests.privacy.small_release import NOW, OFFICERS

HASH = "0123456789abcdef" * 4
DECISION = sign_decision(next_period(budget()), HASH, *OFFICERS[:2])
ONE_OF_EACH: dict[str, Entry] = {
    "open": Opened("North", "kith/North", budget(), NOW, HASH),
    "budget": Decided(fields.to_base64(DECISION), NOW),
    "reserve": Reserved("run-1", HASH, "retention", "all", 0, "0.375", HASH, NOW),
    "charge": Charged("run-1", HASH, "gradient", 1, 0, HASH, "0.0625", HASH, "0.3125", "0.3125", "1.3125", NOW),
    "settle": Settled(2, HASH, HASH, NOW),
    "end": Ended("run-1", NOW),
}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize("kind", ONE_OF_EACH)
def test_the_bytes_of_each_kind_of_entry_are_these(kind: str, golden: Callable[[str, bytes], None]) -> None:
    entry = ONE_OF_EACH[kind]
    leaf = entries.to_leaf(entry)
    golden(f"entry-{kind}.json", leaf)
    assert entries.from_leaf(leaf, "entry") == entry
    assert canonical.from_bytes(leaf, "entry")["kind"] == entry.kind == kind


@given(st.binary(max_size=200))
def test_arbitrary_leaves_are_refused_without_a_traceback(leaf: bytes) -> None:
    with pytest.raises(InputError):
        entries.from_leaf(leaf, "entry")


@given(st.sampled_from(sorted(ONE_OF_EACH)), st.data())
def test_an_entry_with_another_value_anywhere_is_read_as_that_or_refused(kind: str, data: st.DataObject) -> None:
    document = canonical.from_bytes(entries.to_leaf(ONE_OF_EACH[kind]), "entry")
    inside = document["budget"] if kind == "open" and data.draw(st.booleans()) else document
    inside[data.draw(st.sampled_from(sorted(inside)))] = data.draw(VALUES)
    leaf = b""
    try:
        leaf = canonical.to_bytes(document)
        entry = entries.from_leaf(leaf, "entry")
    except InputError:
        return
    assert entries.to_leaf(entry) == leaf


@given(st.text(min_size=1, max_size=20), st.integers(0, 2**53 - 1))
def test_entries_are_written_as_rfc_8785_says_whatever_their_text(run: str, at: int) -> None:
    for entry in (Ended(run, at), Charged(run, HASH, run, at, 0, HASH, "1", HASH, "1", "1", "1", at)):
        document = {"kind": entry.kind, **asdict(entry)}
        assert entries.to_leaf(entry) == canonical.to_bytes(document)


@pytest.mark.parametrize("entry", [Ended("\ud800", 0), Ended("run", 2**53), Ended("run", 0.5), Ended(b"run", 0)])  # type: ignore[arg-type]
def test_what_canonical_json_does_not_know_is_never_written(entry: Entry) -> None:
    with pytest.raises(InputError):
        entries.to_leaf(entry)


def test_an_opening_entry_may_name_no_key_of_marks() -> None:
    entry = Opened("North", "kith/North", budget(), NOW)
    assert b'"marks":null' in entries.to_leaf(entry)
    assert entries.from_leaf(entries.to_leaf(entry), "entry") == entry


@pytest.mark.parametrize("kind", ONE_OF_EACH)
def test_a_field_more_or_fewer_is_refused(kind: str) -> None:
    document = canonical.from_bytes(entries.to_leaf(ONE_OF_EACH[kind]), "entry")
    for changed in ({**document, "more": 1}, {name: value for name, value in document.items() if name != "at"}):
        with pytest.raises(InputError, match="exactly"):
            entries.from_leaf(canonical.to_bytes(changed), "entry")


@pytest.mark.parametrize("kind", ONE_OF_EACH)
def test_another_writing_of_an_entry_is_refused(kind: str) -> None:
    leaf = entries.to_leaf(ONE_OF_EACH[kind])
    with pytest.raises(InputError, match="another writing"):
        entries.from_leaf(leaf.replace(b",", b", ", 1), "entry")


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("charge", "mu2", "0.50"),
        ("charge", "spent", "-1"),
        ("charge", "lifetime", "1e3"),
        ("charge", "group_spent", 1),
        ("charge", "state", HASH.upper()),
        ("charge", "cohort", HASH[:-1]),
        ("charge", "index", -1),
        ("charge", "attempt", True),
        ("reserve", "run", ""),
        ("reserve", "budget", "0"),
        ("reserve", "at", 2**53),
        ("settle", "charge", 0.5),
        ("budget", "decision", "eA"),
        ("open", "budget", {}),
        ("open", "marks", ""),
    ],
    ids=lambda value: str(value)[:20],
)
def test_fields_of_another_kind_are_refused(kind: str, field: str, value: object) -> None:
    document = {**canonical.from_bytes(entries.to_leaf(ONE_OF_EACH[kind]), "entry"), field: value}
    leaf = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()  # which writes any number
    with pytest.raises(InputError):
        entries.from_leaf(leaf, "entry")


def test_no_entry_of_a_run_has_a_place_for_a_number_of_people() -> None:
    names = {name for kind, names in entries._NAMES.items() if kind != "open" for name in names}
    whole = {"index", "attempt", "charge", "at", "budget"}
    text = {"decision", "run", "plan", "use_case", "group", "mu2", "cohort", "event", "state", "spent", "group_spent"}
    assert names == whole | text | {"lifetime", "contribution", "receipt"}
