"""A real and very messy table, through a mapping file alone: every row ends mapped or quarantined with a reason."""

from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from privacy.pseudonyms import Pseudonyms
from records.connectors.tables import records_of
from records.facts import Fact, Fault
from records.mapping import load_mapping
from records.registry import load_registry

ROWS = 1_233
AMBIGUOUS = "ambiguous: two of the declared formats read it differently"
BEYOND = "expected a day within the plausible range, got another"
UNKNOWN = "expected one of the values that the mapping lists, got another"


def test_every_interview_is_mapped_or_quarantined(
    real: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    registry, pseudonyms = load_registry(), Pseudonyms(b"k" * 32, "Chennai")
    mapping = load_mapping("interview_attendance", registry)
    records = records_of(real("interview_attendance/Interview.csv"), mapping)
    assert [unknown.name for unknown in records.unknown] == [f"(column {place})" for place in range(24, 29)]
    facts: list[Fact] = []
    faults: Counter[tuple[str, str]] = Counter()
    for place, record in records:
        (found,) = mapping.incoming(record, place, pseudonyms, date(2026, 1, 1))
        assert found.place == place
        if isinstance(found, Fault):
            faults[found.column, found.reason] += 1
        else:
            assert isinstance(found, Fact)
            facts.append(found)
    assert len(facts) + faults.total() == ROWS
    assert faults == {
        ("Date of Interview", AMBIGUOUS): 120,  # 04/12/16 is a day in April or in December
        ("Date of Interview", BEYOND): 7,  # 12.04.2017 to 12.04.2023, dragged down a column
        ("Expected Attendance", UNKNOWN): 2,  # a time of day stands where the answer should
    }
    assert {fact.table for fact in facts} == {"interview"}
    assert len({fact.subject for fact in facts}) == len(facts) == 1_104
    attended = Counter(fact.values["attended"] for fact in facts)
    assert set(attended) == {"yes", "no"}
    for fact in facts:
        for name, value in fact.values.items():
            assert value is None or registry.column(f"interview.{name}").problem(value) is None
    with capsys.disabled():
        print(f"\n{ROWS} interviews: {len(facts)} mapped ({dict(attended)} attended), {faults.total()} quarantined:")
        for (column, reason), count in faults.most_common():
            print(f"  {count} in {column!r}: {reason}")
