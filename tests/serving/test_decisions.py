"""Four eyes: high stakes need two people, the second blind to the first. And two at once never both win."""

import json
import threading

import pytest

from serving import decisions
from serving.database import Store
from serving.decisions import DecideRequest
from serving.identity import Identity, Role
from serving.problems import Problem
from serving.recommendations import Desk
from tests.serving.conftest import row

REASON = "Both the figures and the talk with the team say so."


def person(name, role=Role.REVIEWER):
    return Identity(name, frozenset({role}), "North")


def wish(decision="approve", reason=REASON):
    return DecideRequest(decision=decision, reason_code="other", reason=reason)


@pytest.fixture(params=["sqlite", "postgresql"])
def desk(request):
    store = Store(request.getfixturevalue(f"{request.param}_url"))
    yield Desk({}, store)
    store.close()


def put(desk, stakes):
    with desk.store.writing() as session:
        session.add(row("a" * 32, stakes=stakes))
    return "a" * 32


def decide(desk, who, decision="approve", etag='"1"'):
    return decisions.decide(desk, person(who), "a" * 32, wish(decision), etag)


def test_high_stakes_need_two_different_people(desk):
    put(desk, "high")
    first, etag = decide(desk, "ann")
    assert (first.status, first.decisions_made) == ("proposed", 1)
    with pytest.raises(Problem) as refused:
        decide(desk, "ann", etag=etag)
    assert refused.value.name == "already-decided"
    second, _ = decide(desk, "bob", etag=etag)
    assert second.status == "approved"


@pytest.mark.parametrize(("one", "other"), [("approve", "decline"), ("decline", "approve"), ("decline", "decline")])
def test_one_no_is_a_no_but_only_once_both_have_decided(desk, one, other):
    put(desk, "high")
    first, etag = decide(desk, "ann", one)
    assert first.status == "proposed"
    assert decide(desk, "bob", other, etag)[0].status == "declined"


@pytest.mark.parametrize("who", [person("bob"), person("eve", Role.AUDITOR), person("pat", Role.HR_PARTNER)])
def test_the_first_decision_is_hidden_from_everybody_else_until_the_second(desk, who):
    id = put(desk, "high")
    _, etag = decide(desk, "ann", "decline")
    seen, _ = decisions.one(desk, who, id)
    assert (seen.decisions, seen.decisions_made) == ([], 1)
    assert REASON not in json.dumps(seen.model_dump())
    assert [made.decided_by for made in decisions.one(desk, person("ann"), id)[0].decisions] == ["ann"]
    decide(desk, "bob", etag=etag)
    assert [made.decided_by for made in decisions.one(desk, who, id)[0].decisions] == ["ann", "bob"]


def test_an_asker_of_two_roles_does_not_see_the_item_after_the_first_of_two_decisions(desk):
    id = put(desk, "high")
    _, etag = decide(desk, "ann")
    asker = Identity("portal", frozenset({Role.APPLICATION, Role.REVIEWER}), "North")
    with pytest.raises(Problem) as refused:
        decisions.one(desk, asker, id)
    assert refused.value.name == "separation-of-duties"
    decide(desk, "bob", etag=etag)
    assert decisions.one(desk, asker, id)[0].status == "approved"


def test_two_people_at_once_never_both_decide(desk):
    put(desk, "medium")
    outcomes, together = [], threading.Barrier(4)

    def attempt(who):
        together.wait()
        try:
            outcomes.append(decide(desk, who)[0].status)
        except Problem as problem:
            outcomes.append(problem.name)

    threads = [threading.Thread(target=attempt, args=(f"person-{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("approved") == 1
    assert set(outcomes) <= {"approved", "changed-meanwhile", "already-decided"}


def test_a_decision_on_a_version_seen_before_another_decision_is_refused(desk):
    put(desk, "high")
    decide(desk, "ann")
    with pytest.raises(Problem) as refused:
        decide(desk, "bob", etag='"1"')
    assert refused.value.name == "changed-meanwhile"


def test_a_refused_decision_leaves_no_trace(desk):
    id = put(desk, "medium")
    with pytest.raises(Problem):
        decide(desk, "ann", etag='"9"')
    item, etag = decisions.one(desk, person("ann"), id)
    assert (item.status, item.decisions_made, etag) == ("proposed", 0, '"1"')
