"""Four eyes: high stakes need two people, the second blind to the first. And two at once never both win."""

import json
import threading

import pytest

from serving import decisions
from serving.database import Store
from serving.decisions import DecideRequest
from serving.identity import Identity, Role
from serving.problems import Problem
from tests.serving.conftest import row

REASON = "Both the figures and the talk with the team say so."


def person(name, role=Role.REVIEWER):
    return Identity(name, frozenset({role}), "North")


def wish(decision="approve", reason=REASON):
    return DecideRequest(decision=decision, reason_code="other", reason=reason)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request):
    store = Store(request.getfixturevalue(f"{request.param}_url"))
    yield store
    store.close()


def put(store, stakes):
    with store.writing() as session:
        session.add(row("a" * 32, stakes=stakes))
    return "a" * 32


def decide(store, who, decision="approve", etag='"1"'):
    return decisions.decide(store, person(who), "a" * 32, wish(decision), etag)


def test_high_stakes_need_two_different_people(store):
    put(store, "high")
    first, etag = decide(store, "ann")
    assert (first.status, first.decisions_made) == ("proposed", 1)
    with pytest.raises(Problem) as refused:
        decide(store, "ann", etag=etag)
    assert refused.value.name == "already-decided"
    second, _ = decide(store, "bob", etag=etag)
    assert second.status == "approved"


@pytest.mark.parametrize(("one", "other"), [("approve", "decline"), ("decline", "approve"), ("decline", "decline")])
def test_one_no_is_a_no_but_only_once_both_have_decided(store, one, other):
    put(store, "high")
    first, etag = decide(store, "ann", one)
    assert first.status == "proposed"
    assert decide(store, "bob", other, etag)[0].status == "declined"


@pytest.mark.parametrize("who", [person("bob"), person("eve", Role.AUDITOR), person("pat", Role.HR_PARTNER)])
def test_the_first_decision_is_hidden_from_everybody_else_until_the_second(store, who):
    id = put(store, "high")
    _, etag = decide(store, "ann", "decline")
    seen, _ = decisions.one(store, who, id)
    assert (seen.decisions, seen.decisions_made) == ([], 1)
    assert REASON not in json.dumps(seen.model_dump())
    assert [made.decided_by for made in decisions.one(store, person("ann"), id)[0].decisions] == ["ann"]
    decide(store, "bob", etag=etag)
    assert [made.decided_by for made in decisions.one(store, who, id)[0].decisions] == ["ann", "bob"]


def test_an_asker_of_two_roles_does_not_see_the_item_after_the_first_of_two_decisions(store):
    id = put(store, "high")
    _, etag = decide(store, "ann")
    asker = Identity("portal", frozenset({Role.APPLICATION, Role.REVIEWER}), "North")
    with pytest.raises(Problem) as refused:
        decisions.one(store, asker, id)
    assert refused.value.name == "separation-of-duties"
    decide(store, "bob", etag=etag)
    assert decisions.one(store, asker, id)[0].status == "approved"


def test_two_people_at_once_never_both_decide(store):
    put(store, "medium")
    outcomes, together = [], threading.Barrier(4)

    def attempt(who):
        together.wait()
        try:
            outcomes.append(decide(store, who)[0].status)
        except Problem as problem:
            outcomes.append(problem.name)

    threads = [threading.Thread(target=attempt, args=(f"person-{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("approved") == 1
    assert set(outcomes) <= {"approved", "changed-meanwhile", "already-decided"}


def test_a_decision_on_a_version_seen_before_another_decision_is_refused(store):
    put(store, "high")
    decide(store, "ann")
    with pytest.raises(Problem) as refused:
        decide(store, "bob", etag='"1"')
    assert refused.value.name == "changed-meanwhile"


def test_a_refused_decision_leaves_no_trace(store):
    id = put(store, "medium")
    with pytest.raises(Problem):
        decide(store, "ann", etag='"9"')
    item, etag = decisions.one(store, person("ann"), id)
    assert (item.status, item.decisions_made, etag) == ("proposed", 0, '"1"')
