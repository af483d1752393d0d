"""Two sources disagree about a person: it blocks, whichever came first, until somebody answerable settles it."""

import itertools
import json
import uuid
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from privacy.errors import InputError, Refused, VerificationFailed
from records import schema
from records.access import erase
from records.facts import Fact
from records.ingest import ingest
from records.reconcile import blocked, open_items, opened, settle
from records.registry import load_registry
from records.store import create_store, instant
from tests.postgresql import own_database

NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
REGISTRY = load_registry()
WHY = "The signed contract is what counts."
people = (f"{number:032x}" for number in itertools.count(1))


@pytest.fixture(scope="module")
def sqlite_store(tmp_path_factory):
    store = create_store(tmp_path_factory.mktemp("sqlite") / "north", "North")
    yield store
    store.close()


@pytest.fixture(scope="module")
def postgresql_store(tmp_path_factory):
    with own_database() as url:
        store = create_store(tmp_path_factory.mktemp("postgresql") / "north", "North", database=url)
        yield store
        store.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request):
    return request.getfixturevalue(f"{request.param}_store")


@pytest.fixture
def store(sqlite_store):
    return sqlite_store


class Hire:
    """One candidate who became an employee, as both systems tell it."""

    def __init__(self, store):
        self.store = store
        self.candidate, self.employee = next(people), next(people)

    def ats(self, day="2026-07-01", item="R-1", **changes):
        offer = {"req_id": item, "outcome": "accepted", "offer_pay": 103_000, "offer_level": "senior"}
        return self._take("ats", Fact("application", self.candidate, item, day, offer | changes, 0))

    def hris(self, day="2026-09-01", pay=103_000, pay_day=None, **changes):
        record = {"candidate_key": self.candidate, "start_month": "2026-09", "level_band": "senior"} | changes
        facts = [Fact("person", self.employee, "", day, record, 0)]
        if pay is not None:
            facts.append(Fact("comp_band", self.employee, "", pay_day or day, {"annual_pay": pay}, 0))
        return self._take("hris", *facts)

    def _take(self, source, *facts):
        return ingest(self.store, REGISTRY, source, "test", uuid.uuid4().hex, facts, NOW)

    def settle(self, take, reason=WHY, by="hr-7"):
        (item,) = self.items()
        settle(self.store, item.number, take, by, reason, NOW)

    def items(self):
        return [item for item in open_items(self.store) if item.subject == self.employee]

    def pay(self):
        return self._newest(schema.comp_band, "annual_pay")

    def level(self):
        return self._newest(schema.person, "level_band")

    def _newest(self, table, name):
        rows = sa.select(table.c[name]).where(table.c.subject == self.employee).order_by(table.c.valid_from.desc())
        with self.store.reading() as connection:
            return connection.execute(rows.limit(1)).scalar()

    def is_blocked(self):
        with self.store.reading() as connection:
            return self.employee in blocked(connection)


@pytest.fixture
def hire(store):
    return Hire(store)


def last_log(store):
    with store.reading() as connection:
        newest = sa.select(schema.log_entry.c.document).order_by(schema.log_entry.c.number.desc()).limit(1)
        return connection.execute(newest).scalar_one()


@pytest.mark.parametrize("first", ["ats", "hris"])
@pytest.mark.parametrize(("taken", "paid"), [("held", 103_000), ("came", 130_000)])
def test_an_offer_of_103_000_against_a_record_of_130_000_blocks_until_it_is_settled(either, first, taken, paid):
    hire = Hire(either)
    steps = [hire.ats, lambda: hire.hris(pay=130_000)]
    found = [step().reconciliations for step in (steps if first == "ats" else steps[::-1])]
    assert found == [0, 1]
    (item,) = hire.items()
    assert (item.column, item.held, item.came) == ("comp_band.annual_pay", 103_000, 130_000)
    assert (item.candidate, item.valid_from) == (hire.candidate, "2026-09-01")
    assert hire.is_blocked()
    assert hire.pay() == 130_000
    hire.settle(taken)
    assert not hire.is_blocked()
    assert hire.pay() == paid
    told = json.loads(last_log(either))
    assert (told["event"], told["taken"], told["why"]) == ("settled", taken, either.pseudonyms.digest(WHY.encode()))
    assert WHY not in last_log(either)
    assert "hr-7" not in last_log(either)
    assert hire.hris(pay=130_000).reconciliations == 0
    assert (hire.pay(), hire.is_blocked()) == (paid, False)
    with either.reading() as connection:
        either.check_log(connection)


def test_an_offer_that_the_record_keeps_opens_nothing(hire):
    hire.ats(offer_start="2026-09")
    assert hire.hris().reconciliations == 0
    assert not hire.is_blocked()


def test_pay_level_and_start_are_compared_each(hire):
    hire.ats(offer_start="2026-08", offer_level="lead")
    assert hire.hris(pay=130_000).reconciliations == 3
    assert sorted(item.column for item in hire.items()) == [
        "comp_band.annual_pay", "person.level_band", "person.start_month",
    ]  # fmt: skip


def test_a_person_waits_until_the_last_item_is_settled(hire):
    hire.ats(offer_level="lead")
    hire.hris(pay=130_000)
    for left, item in zip([1, 0], hire.items(), strict=True):
        assert hire.is_blocked()
        settle(hire.store, item.number, "held", "hr-7", WHY, NOW)
        assert len(hire.items()) == left
    assert not hire.is_blocked()
    assert (hire.pay(), hire.level()) == (103_000, "lead")


def test_pay_that_comes_in_a_later_batch_is_compared(hire):
    hire.ats()
    assert hire.hris(pay=None).reconciliations == 0
    assert hire.hris(pay=130_000).reconciliations == 1


@pytest.mark.parametrize("outcome", ["pending", "declined", "rejected", "withdrawn"])
def test_an_offer_that_was_not_accepted_is_not_compared_until_it_is(hire, outcome):
    hire.ats(outcome=outcome)
    assert hire.hris(pay=130_000).reconciliations == 0
    assert hire.ats(day="2026-08-01", outcome="accepted").reconciliations == 1


def test_the_newest_accepted_offer_counts(hire):
    hire.ats(day="2026-03-01", item="R-0", offer_pay=90_000)
    hire.ats()
    assert hire.hris(pay=103_000).reconciliations == 0


def test_what_an_offer_does_not_state_is_not_compared(hire):
    hire.ats(offer_pay=None, offer_level=None)
    assert hire.hris(pay=130_000).reconciliations == 0


def test_pay_of_later_years_need_not_repeat_the_offer(hire):
    hire.ats(day="2026-01-15")
    assert hire.hris(start_month="2026-02", day="2026-02-01", pay=130_000, pay_day="2026-06-01").reconciliations == 0
    assert hire.hris(start_month="2026-02", day="2026-02-01", pay=130_000, pay_day="2026-05-31").reconciliations == 1


def test_a_raise_after_the_first_months_opens_nothing(hire):
    hire.ats(day="2026-01-15")
    hire.hris(start_month="2026-02", day="2026-02-01", pay=103_000)
    assert hire.hris(start_month="2026-02", day="2026-11-01", pay=110_000, level_band="lead").reconciliations == 0


def test_the_same_difference_opens_one_item_and_another_value_a_second(hire):
    hire.ats()
    assert hire.hris(pay=130_000).reconciliations == 1
    assert hire.hris(pay=130_000, fte=1).reconciliations == 0
    assert hire.hris(pay=131_000).reconciliations == 1
    assert sorted(item.came for item in hire.items()) == [130_000, 131_000]


def test_values_are_sealed_in_the_database_bound_to_their_place_and_in_no_log(hire):
    hire.ats()
    hire.hris(pay=130_000)
    table = schema.reconciliation
    with hire.store.reading() as connection:
        row = connection.execute(sa.select(table).where(table.c.subject == hire.employee)).mappings().one()
        logged = "".join(connection.scalars(sa.select(schema.log_entry.c.document)))
    assert not any(figure in str(dict(row)) for figure in ("103000", "130000"))
    assert not any(figure in logged for figure in ("103000", "130000", hire.employee))
    assert not any(figure in repr(hire.items()) for figure in ("103000", "130000"))
    assert opened(hire.store, row)["held"] == 103_000
    for moved in ({"subject": "0" * 32}, {"column": "person.fte"}, {"held": row["came"]}):
        with pytest.raises(VerificationFailed):
            opened(hire.store, {**row, **moved})


def test_settling_by_the_record_survives_what_the_source_says_next_month(hire):
    hire.ats()
    hire.hris(pay=130_000)
    hire.settle("held")
    found = hire.hris(pay=130_000, pay_day="2026-10-01")
    assert (found.reconciliations, hire.pay()) == (1, 103_000)
    assert hire.is_blocked()
    hire.settle("came")
    assert hire.pay() == 130_000
    assert hire.hris(pay=140_000, pay_day="2026-11-01").reconciliations == 0
    assert hire.pay() == 140_000


def test_a_corrected_value_that_is_settled_for_the_source_is_corrected_no_more(hire):
    hire.hris()
    with hire.store.writing() as connection:
        pin = {"subject": hire.employee, "column": "comp_band.annual_pay", "item": "", "valid_from": "2026-09-01"}
        connection.execute(sa.insert(schema.correction).values(**pin, at=instant(NOW)))
    assert hire.hris(pay=99_000).reconciliations == 1
    hire.settle("came")
    assert hire.pay() == 99_000
    assert hire.hris(pay=98_000).reconciliations == 0
    assert hire.pay() == 98_000


def test_settling_moves_the_versions_that_carried_the_value_over(hire):
    hire.ats(offer_level="lead")
    hire.hris()
    hire.hris(day="2026-10-01", pay=None, level_band=None, fte=0.5)
    hire.settle("held")
    assert hire.level() == "lead"


def test_nothing_comes_back_of_a_record_that_is_gone(hire):
    hire.ats()
    hire.hris(pay=130_000)
    with hire.store.writing() as connection:
        connection.execute(sa.delete(schema.comp_band).where(schema.comp_band.c.subject == hire.employee))
    hire.settle("held")
    assert hire.pay() is None
    assert not hire.is_blocked()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"number": 10**9}, "item: expected"),
        ({"take": "neither"}, "take: expected"),
        ({"by": " "}, "by: expected"),
        ({"by": "x" * 121}, "by: expected"),
        ({"reason": ""}, "reason: expected"),
        ({"reason": "x" * 501}, "reason: expected"),
        ({"reason": "a\nb"}, "reason: expected"),
        ({"reason": "the contract says 103,000"}, "reason: expected"),
        ({"reason": "not 130 000.00 a year"}, "reason: expected"),
    ],
)
def test_a_settlement_that_is_none_is_refused_and_changes_nothing(hire, change, message):
    hire.ats()
    hire.hris(pay=130_000)
    (item,) = hire.items()
    asked = {"number": item.number, "take": "held", "by": "hr-7", "reason": WHY} | change
    before = hire.store.revision()
    with pytest.raises(InputError, match=message):
        settle(hire.store, **asked, now=NOW)
    assert (hire.store.revision(), hire.is_blocked(), hire.pay()) == (before, True, 130_000)


def test_nobody_settles_twice(hire):
    hire.ats()
    hire.hris(pay=130_000)
    (item,) = hire.items()
    settle(hire.store, item.number, "held", "hr-7", WHY, NOW)
    with pytest.raises(Refused, match="settled"):
        settle(hire.store, item.number, "came", "hr-8", WHY, NOW)
    assert hire.pay() == 103_000


def test_an_item_is_plain_json(hire):
    hire.ats()
    hire.hris(pay=130_000)
    document = json.loads(json.dumps(hire.items()[0].to_document()))
    assert (document["held"], document["came"], document["column"]) == (103_000, 130_000, "comp_band.annual_pay")


def test_who_settled_and_why_are_sealed_and_go_with_an_erasure(store):
    first, second = Hire(store), Hire(store)
    first.ats()
    first.hris(pay=130_000)
    why = "Jane Canary phoned about it"
    first.settle("held", why)
    query = sa.select(schema.reconciliation).where(schema.reconciliation.c.subject == first.employee)
    with store.reading() as connection:
        shown = opened(store, connection.execute(query).mappings().one())
    assert (shown["settled_by"], shown["settled_why"]) == ("hr-7", why)
    erase(store, first.employee, NOW)
    assert not any(b"Jane Canary" in path.read_bytes() for path in store.folder.iterdir())
    second.ats()
    second.hris(pay=130_000)
    second.settle("held")
    assert second.pay() == 103_000


def test_both_accepted_offers_of_somebody_who_came_back_are_compared(either):
    again = Hire(either)
    again.ats("2026-01-01", "R-0", offer_level="lead")
    again.hris("2026-02-01", start_month="2026-02")
    again.candidate = next(people)
    again.ats(offer_pay=110_000)
    again.hris(pay=120_000)
    assert {(item.column, item.valid_from) for item in again.items()} == {
        ("person.level_band", "2026-02-01"),
        ("comp_band.annual_pay", "2026-09-01"),
    }


@pytest.mark.parametrize("number", [0, -1, 2**31, 2**70])
def test_a_number_that_no_item_can_have_is_refused(either, number):
    with pytest.raises(InputError, match="number of a disagreement"):
        settle(either, number, "held", "hr-7", WHY, NOW)
