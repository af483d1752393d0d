"""What is told of rows that did not get in: how many, where and why, and nothing of what they held."""

import json

import pytest

from records.facts import Fact, Fault
from records.ingest import ingest
from records.quarantine import SHOWN_PLACES, Held, held
from tests.records.made_up_store import NOW, REGISTRY, new_store, subject

DAY = "expected a date in one of the declared formats, got other text"
SECRET = "beekeeping"


@pytest.fixture(params=["sqlite", "postgresql"])
def store(tmp_path, request):
    with new_store(tmp_path / "records", request.param) as made:
        yield made


def take(store, digest, *incoming, source="hris", connector="table"):
    ingest(store, REGISTRY, source, connector, digest, incoming, NOW)


def test_nothing_is_held_at_first(store):
    take(store, "good", Fact("person", subject(1), "", "2026-01-01", {"level_band": "entry"}, 0))
    assert held(store) == ()


def test_rows_are_counted_by_source_column_and_reason_most_first(store):
    take(store, "one", *(Fault(place, "Joined", DAY) for place in range(10, 13)), Fault(20, "", "too many cells"))
    take(store, "two", Fault(0, "Left", DAY), Fault(1, "Left", DAY))
    take(store, "three", Fault(0, "Joined", DAY), source="lms", connector="xapi")
    assert held(store) == (
        Held("hris", "table", "Joined", DAY, 3, (11, 12, 13)),
        Held("hris", "table", "Left", DAY, 2, (1, 2)),
        Held("hris", "table", "", "too many cells", 1, (21,)),
        Held("lms", "xapi", "Joined", DAY, 1, (1,)),
    )


def test_the_first_rows_are_named_and_the_others_counted(store):
    take(store, "one", *(Fault(place, "Joined", DAY) for place in reversed(range(0, 300, 3))))
    take(store, "two", *(Fault(place, "Joined", DAY) for place in range(50)))
    (line,) = held(store)
    assert line.rows == 150
    assert line.places == (1, 4, 7, 10, 13)
    assert len(line.places) == SHOWN_PLACES


def test_what_did_not_fit_is_not_told(store):
    take(store, "one", Fact("person", subject(1), "", "2026-01-01", {"job_family": SECRET}, 4))
    (line,) = held(store)
    told = json.dumps(line.to_document())
    assert (line.column, line.rows, line.places) == ("person.job_family", 1, (5,))
    assert SECRET not in told
    assert subject(1) not in told
