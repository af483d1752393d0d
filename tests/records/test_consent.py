"""Consent and objection: what counts, from when on, whatever the clock does; and that every answer explains itself."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import DatabaseError

from privacy.errors import InputError, KithError, Refused
from records import consent
from records.consent import Event, decide, may_use, may_use_all
from records.facts import Said
from records.registry import Basis, load_registry
from records.schema import consent_event, tombstone
from records.store import instant
from tests.records.made_up_store import fact, new_store, put

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ANN, BOB = "a" * 32, "b" * 32
STATES = ("informed", "given", "withdrawn", "objected", "objection_withdrawn")
NO = ("withdrawn", "objected")


def with_versions(version):
    """The packaged registry with all notices of the purposes at this version."""
    registry = load_registry()
    purposes = {name: replace(purpose, notice_version=version) for name, purpose in registry.purposes.items()}
    return replace(registry, purposes=MappingProxyType(purposes))


REGISTRY = with_versions(3)
record = partial(consent.record, unknown=True)


@pytest.fixture
def store(tmp_path):
    with new_store(tmp_path / "records") as store:
        yield store


def said(state, at=NOW, subject=ANN, purpose="retention", version=1, **changes):
    at = at if isinstance(at, str) else instant(at)
    return Said(subject, purpose, state, version, changes.get("locale", "en"), changes.get("channel", "app"), at, 0)


def tell(store, state, at=NOW, recorded=None, **changes):
    return record(store, REGISTRY, said(state, at, **changes), recorded or (at if isinstance(at, datetime) else NOW))


def ask(store, now=NOW, subject=ANN, purpose="retention"):
    with store.reading() as connection:
        return may_use(connection, REGISTRY, subject, purpose, now)


def hours(count):
    return NOW + timedelta(hours=count)


def events(*states):
    """Events a second apart, in order."""
    return [Event(n, state, 1, f"2026-01-01T00:00:{n:02}Z") for n, state in enumerate(states, start=1)]


def state_after(purpose, *states):
    return decide(events(*states), REGISTRY.purpose(purpose), "2026-02-01T00:00:00Z")


# What the states mean


@pytest.mark.parametrize(
    ("purpose", "states", "allowed", "state"),
    [
        ("retention", (), False, "unknown"),
        ("retention", ("informed",), True, "informed"),
        ("retention", ("given",), True, "given"),
        ("retention", ("informed", "objected"), False, "objected"),
        ("retention", ("informed", "objected", "informed"), False, "objected"),
        ("retention", ("informed", "objected", "objection_withdrawn"), True, "informed"),
        ("retention", ("informed", "objected", "given"), True, "given"),
        ("retention", ("informed", "withdrawn"), False, "withdrawn"),
        ("retention", ("informed", "withdrawn", "objection_withdrawn"), False, "withdrawn"),
        ("retention", ("informed", "withdrawn", "given"), True, "given"),
        ("retention", ("objection_withdrawn",), False, "unknown"),
        ("routing", ("informed",), True, "informed"),
        ("routing", ("informed", "objected"), False, "objected"),
        ("workload", ("informed",), False, "unknown"),
        ("workload", ("given",), True, "given"),
        ("workload", ("given", "withdrawn"), False, "withdrawn"),
        ("workload", ("given", "objected", "objection_withdrawn"), False, "unknown"),
        ("workload", ("given", "withdrawn", "given"), True, "given"),
        ("access", (), True, "unknown"),
        ("access", ("objected",), True, "unknown"),
    ],
)
def test_what_was_said_decides_by_the_purpose_s_basis(purpose, states, allowed, state):
    answer = state_after(purpose, *states)
    assert (bool(answer), answer.state, answer.basis) == (allowed, state, REGISTRY.purpose(purpose).basis)


def test_no_purpose_answers_yes_by_default_but_what_the_law_obliges_to():
    silent = {name for name in REGISTRY.purposes if state_after(name)}
    assert silent == {n for n, purpose in REGISTRY.purposes.items() if purpose.basis is Basis.LEGAL_OBLIGATION}


@pytest.mark.parametrize("purpose", ["retention", "workload", "routing", "access"])
@pytest.mark.parametrize("states", [(), ("informed",), ("given",), ("given", "objected"), ("given", "withdrawn")])
def test_an_answer_explains_itself_to_the_person_it_is_about(purpose, states):
    answer = state_after(purpose, *states)
    assert answer.because.startswith(f"{REGISTRY.purpose(purpose).title}: ")
    assert "you" in answer.because
    assert answer.because.endswith(".")
    assert "{" not in answer.because
    assert "None" not in answer.because
    assert ("nothing about you" in answer.because.lower()) == (not answer)


def test_an_answer_names_the_event_that_decided():
    assert state_after("retention", "informed", "objected", "informed").decided_by == 2
    assert state_after("retention", "informed", "objected", "objection_withdrawn", "informed").decided_by == 4
    assert state_after("workload", "given", "withdrawn", "given").decided_by == 3
    assert state_after("retention").decided_by is None


# The clock


def test_a_withdrawal_counts_at_the_next_read(store):
    tell(store, "informed")
    assert ask(store)
    tell(store, "objected")
    assert not ask(store)


@pytest.mark.parametrize("state", NO)
@pytest.mark.parametrize("offset", [-10_000, -1, 0, 1, 10_000])
@pytest.mark.parametrize("purpose", ["retention", "workload"])
def test_a_no_counts_whatever_time_it_bears(store, state, offset, purpose):
    tell(store, "given", purpose=purpose)
    tell(store, state, hours(offset), NOW, purpose=purpose)
    assert not ask(store, purpose=purpose)
    assert not ask(store, hours(-20_000), purpose=purpose)
    assert not ask(store, hours(20_000), purpose=purpose)


def test_a_clock_that_went_back_does_not_delay_a_withdrawal(store):
    tell(store, "given", hours(5))
    tell(store, "withdrawn", hours(2))
    assert not ask(store, hours(2))
    assert not ask(store, hours(6))


def test_a_withdrawal_said_again_after_the_clock_went_back_counts_again(store):
    first = tell(store, "withdrawn", NOW)
    tell(store, "given", hours(1))
    assert ask(store, hours(1))
    again = tell(store, "withdrawn", NOW)
    assert again != first
    assert not ask(store, hours(1))
    assert tell(store, "withdrawn", NOW) == again


def test_an_agreement_from_the_future_waits_for_its_time(store):
    tell(store, "given", hours(5), NOW)
    assert not ask(store, hours(4))
    assert ask(store, hours(5))
    assert not ask(store, hours(4))


@pytest.mark.parametrize("late", ["given", "informed", "objection_withdrawn"])
@pytest.mark.parametrize("state", NO)
def test_an_older_permission_that_arrives_late_overrides_nothing(store, late, state):
    tell(store, "informed", hours(-9))
    tell(store, state, hours(-1))
    tell(store, late, hours(-2), NOW)
    assert not ask(store)


@pytest.mark.parametrize("order", [("given", "withdrawn"), ("withdrawn", "given")])
def test_in_the_same_second_the_no_stands(store, order):
    for state in order:
        tell(store, state)
    assert not ask(store)


def test_a_no_that_arrives_after_a_newer_yes_counts_until_a_new_yes(store):
    tell(store, "given", hours(-1))
    tell(store, "withdrawn", hours(-2), NOW)
    assert not ask(store)
    tell(store, "given", hours(1))
    assert ask(store, hours(1))


# What may be read


def test_consent_inside_a_purpose_is_read_while_an_agreement_stands():
    informed, given = state_after("retention", "informed"), state_after("retention", "given")
    assert informed.covers(Basis.LEGITIMATE_INTEREST, 1)
    assert not informed.covers(Basis.CONSENT, 1)
    assert given.covers(Basis.CONSENT, 1)
    back = state_after("retention", "given", "objected", "objection_withdrawn")
    assert back.covers(Basis.CONTRACT, 1)
    assert not back.covers(Basis.CONSENT, 1)


def test_nothing_is_covered_that_the_notice_told_did_not_name():
    told = [Event(1, "given", 1, "2026-01-01T00:00:00Z"), Event(2, "informed", 2, "2026-01-02T00:00:00Z")]
    answer = decide(told, REGISTRY.purpose("retention"), "2026-02-01T00:00:00Z")
    assert (answer.notice_version, answer.agreed_to) == (2, 1)
    assert answer.covers(Basis.LEGITIMATE_INTEREST, 2)
    assert not answer.covers(Basis.LEGITIMATE_INTEREST, 3)
    assert answer.covers(Basis.CONSENT, 1)
    assert not answer.covers(Basis.CONSENT, 2)


def test_a_refusal_covers_nothing():
    assert not state_after("retention", "given", "withdrawn").covers(Basis.CONTRACT, 1)


# The property, against the rules read word by word


@st.composite
def histories(draw):
    said = draw(st.lists(st.tuples(st.sampled_from(STATES), st.integers(1, 3), st.integers(0, 6)), max_size=7))
    return [Event(n, state, version, f"2026-01-01T00:00:0{at}Z") for n, (state, version, at) in enumerate(said)]


def oracle(history, basis, now):
    """(allowed, standing agreements) by the rules of records.consent, one quantifier after the other."""
    counts = [e for e in history if e.state in NO or e.at <= now]

    def lifts(yes, no):
        able = {"withdrawn": ("given",), "objected": ("given", "objection_withdrawn")}[no.state]
        return yes.state in able and yes.number > no.number and yes.at > no.at

    against = [no for no in counts if no.state in NO]
    unlifted = [no for no in against if not any(lifts(yes, no) for yes in counts)]
    standing = [yes for yes in counts if yes.state == "given" and all(lifts(yes, no) for no in against)]
    told = [e for e in counts if e.state in ("informed", "given")]
    if basis is Basis.LEGAL_OBLIGATION:
        return True, []
    return (bool(standing) if basis is Basis.CONSENT else bool(told) and not unlifted), standing


@settings(max_examples=400, deadline=None)
@given(histories(), st.sampled_from(["retention", "workload", "routing", "access"]), st.integers(0, 6))
def test_the_answer_is_what_the_rules_say_word_by_word(history, purpose, second):
    purpose, now = REGISTRY.purpose(purpose), f"2026-01-01T00:00:0{second}Z"
    answer = decide(history, purpose, now)
    allowed, standing = oracle(history, purpose.basis, now)
    assert answer.allowed == allowed
    assert answer.agreed_to == max((event.notice_version for event in standing), default=None)


@settings(max_examples=200, deadline=None)
@given(
    histories(), st.sampled_from(NO), st.integers(0, 6), st.integers(0, 6), st.sampled_from(["retention", "workload"])
)
def test_no_history_outlives_a_no_that_comes_last(history, state, at, second, purpose):
    last = Event(len(history), state, 1, f"2026-01-01T00:00:0{at}Z")
    assert not decide([*history, last], REGISTRY.purpose(purpose), f"2026-01-01T00:00:0{second}Z")


@settings(max_examples=200, deadline=None)
@given(histories(), st.sampled_from(STATES), st.integers(0, 6), st.integers(0, 6))
def test_what_is_dated_no_later_than_a_standing_no_changes_no_answer(history, state, at, second):
    purpose, now = REGISTRY.purpose("retention"), f"2026-01-01T00:00:0{second}Z"
    before = decide(history, purpose, now)
    late = Event(len(history), state, 1, f"2026-01-01T00:00:0{at}Z")
    blocking = [e for e in history if e.number == before.decided_by and e.state in NO]
    if blocking and late.at <= blocking[0].at:
        assert not decide([*history, late], purpose, now)


# The record


def test_the_same_event_twice_is_one_event(store):
    assert tell(store, "given") == tell(store, "given")
    with store.reading() as connection:
        assert connection.scalar(select(func.count()).select_from(consent_event)) == 1


def test_a_channel_may_have_a_name_of_words(store):
    tell(store, "given", channel="command line", locale="nb-NO")
    assert ask(store)


def test_events_can_not_be_changed(store):
    tell(store, "withdrawn")
    with pytest.raises((DatabaseError, KithError)), store.writing() as connection:
        connection.execute(update(consent_event).values(state="given"))
    assert not ask(store)


@pytest.mark.parametrize(
    "wrong",
    [
        {"purpose": "profiling"},
        {"state": "agreed"},
        {"version": 0},
        {"version": 4},
        {"version": True},
        {"version": 1.0},
        {"subject": "Ann Lee"},
        {"subject": ""},
        {"locale": ""},
        {"locale": "x" * 99},
        {"channel": "app\n"},
        {"at": "yesterday"},
        {"at": "2026-02-30T00:00:00Z"},
        {"at": "2026-06-01T12:00:00+02:00"},
        {"at": "2026-6-1T12:00:00Z"},
    ],
)
def test_an_event_that_is_not_as_asked_is_refused_without_its_values(store, wrong):
    with pytest.raises(InputError) as refused:
        tell(store, **{"state": "given", "recorded": NOW, **wrong})
    assert "Ann" not in str(refused.value)


def test_a_time_without_a_zone_and_a_purpose_nobody_registered_are_refused(store):
    with pytest.raises(InputError, match="time zone"):
        ask(store, datetime(2026, 6, 1))
    with pytest.raises(InputError, match="registry"):
        ask(store, purpose="profiling")


def test_nothing_is_recorded_about_somebody_who_was_erased(store):
    with store.writing() as connection:
        connection.execute(insert(tombstone).values(mark=store.pseudonyms.mark(ANN), at=instant(NOW)))
    with pytest.raises(Refused, match="erased"):
        tell(store, "given")
    assert not ask(store)


def test_the_answers_for_everybody_are_the_answers_for_each(store):
    for subject, states in ((ANN, ("given", "objected")), (BOB, ("informed",))):
        for hour, state in enumerate(states):
            tell(store, state, hours(hour), subject=subject)
    tell(store, "given", subject="c" * 32, purpose="workload")
    with store.reading() as connection:
        everybody = may_use_all(connection, REGISTRY, "retention", hours(3))
    assert everybody == {subject: ask(store, hours(3), subject) for subject in (ANN, BOB)}
    assert [bool(everybody[subject]) for subject in (ANN, BOB)] == [False, True]


def test_a_mistyped_number_is_nobody_s_objection(store):
    put(store, fact("person", ANN, "2026-01-01", fte=1.0))
    with pytest.raises(InputError, match="leading zeros"):
        consent.record(store, REGISTRY, said("objected", subject=BOB), NOW)
    assert consent.record(store, REGISTRY, said("objected"), NOW)
