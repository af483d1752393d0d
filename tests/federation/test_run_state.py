"""How a run stands by its log: at every moment of a good run, and after all that may go wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from federation.run_events import Event, event_line, read_event
from federation.run_state import (
    ABSENT,
    AWAITED,
    FAILED,
    FINISHED,
    IDLE,
    INTERRUPTED,
    LATE,
    REPLIED,
    RUNNING,
    SLACK,
    STATUSES,
    WAITING,
    RunState,
    SiteState,
)
from tests.federation.test_run_log import events
from tests.federation.told_run import BEGAN, DEADLINE, RELEASES, SITES, STEP, Told, release, started, told_run


def state(told: Sequence[Told], after: float = 0.0, alive: bool | None = True) -> RunState:
    """The state so many seconds after the last event."""
    found = [read_event(event_line(*one)[:-1]) for one in told]
    read = [one for one in found if one is not None]
    assert len(read) == len(told)
    return RunState.of(read, (told[-1][0] if told else BEGAN) + after, alive)


def site(of: RunState, name: str) -> SiteState:
    return next(one for one in of.sites if one.name == name)


def phase(name: str, at: float, **facts: Any) -> Told:
    return at, "phase", {"phase": name, **facts}


def reply(name: str, at: float, of: str = "release") -> Told:
    return at, "reply", {"site": name, "phase": of, "seconds": 0.5}


def absent(name: str, at: float, reason: str = "silent", **facts: Any) -> Told:
    return at, "absent", {"site": name, "reason": reason, **facts}


FIRST = {"event": "gradient", "index": 0}


def test_before_the_first_event_nothing_is_known() -> None:
    found = state([])
    assert (found.status, found.run, found.sites, found.elapsed, found.left) == (RUNNING, "", (), 0.0, None)


def test_a_run_at_its_beginning() -> None:
    found = state([started()], after=3)
    assert (found.run, found.status, found.phase) == ("retention-ab12cd34", RUNNING, "")
    assert (found.done, found.releases, found.spent, found.elapsed, found.left) == (0, RELEASES, 0.0, 3.0, None)
    assert {one.state for one in found.sites} == {IDLE}
    assert tuple(one.name for one in found.sites) == SITES


def test_who_has_replied_who_is_awaited_and_who_is_late() -> None:
    told = [started(), phase("release", BEGAN, **FIRST), reply("Nord", BEGAN)]
    found = state(told, after=DEADLINE / 2)
    assert (found.event, found.index, found.phase_elapsed) == ("gradient", 0, DEADLINE / 2)
    assert {one.name: one.state for one in found.sites} == {**dict.fromkeys(SITES, AWAITED), "Nord": REPLIED}
    found = state(told, after=DEADLINE / 2 + 1)
    assert {one.name: one.state for one in found.sites} == {**dict.fromkeys(SITES, LATE), "Nord": REPLIED}
    assert site(found, "Nord").seconds == 0.5


def test_a_phase_may_have_its_own_deadline() -> None:
    found = state([started(), phase("keys", BEGAN, deadline=2.0)], after=1.5)
    assert (found.deadline, site(found, "Nord").state) == (2.0, LATE)


def test_who_did_not_contribute_is_absent_while_the_sum_is_unmasked() -> None:
    told = [started(), phase("release", BEGAN, **FIRST), *(reply(name, BEGAN) for name in SITES[1:])]
    found = state([*told, phase("unmasking", BEGAN + 60, **FIRST), reply("Süd", BEGAN + 61, "unmasking")])
    expected = {**dict.fromkeys(SITES, AWAITED), "Nord": ABSENT, "Süd": REPLIED}
    assert {one.name: one.state for one in found.sites} == expected
    assert site(found, "Süd").contributions == 1


def test_absences_are_counted_by_reason_and_a_release_later_the_site_is_awaited_again() -> None:
    told = told_run(3, absent_from=1)
    found = state(told)
    assert (site(found, "Nord").contributions, site(found, "Nord").absences) == (2, {"silent": 1})
    assert (site(found, "West").contributions, site(found, "West").absences) == (3, {})
    told = [*told, phase("release", BEGAN + 10, event="gradient", index=3)]
    assert site(state(told), "Nord").state == AWAITED
    assert site(state([*told, absent("Nord", BEGAN + 11, event="gradient", index=3)]), "Nord").state == ABSENT


def test_a_site_that_is_out_of_the_whole_run_is_absent_until_it_answers() -> None:
    told = [started(), phase("keys", BEGAN), absent("Nord", BEGAN + 60), phase("release", BEGAN + 61, **FIRST)]
    assert site(state(told), "Nord").state == ABSENT
    assert site(state(told), "Nord").why == "silent"
    assert site(state([*told, reply("Nord", BEGAN + 62)]), "Nord").state == REPLIED


def test_a_reply_that_turns_out_to_be_garbage_is_no_contribution() -> None:
    told = [started(), phase("release", BEGAN, **FIRST), reply("Nord", BEGAN + 1)]
    found = state([*told, absent("Nord", BEGAN + 2, "garbage", **FIRST)])
    assert (site(found, "Nord").contributions, site(found, "Nord").absences) == (0, {"garbage": 1})


def test_a_late_reply_of_an_earlier_phase_changes_nobodys_state() -> None:
    found = state([started(), phase("unmasking", BEGAN, **FIRST), reply("Nord", BEGAN + 1, "release")])
    assert (site(found, "Nord").state, site(found, "Nord").replies) == (ABSENT, 1)
    assert site(found, "Nord").contributions == 0


def test_progress_bytes_and_time_left() -> None:
    found = state(told_run(4))
    assert (found.done, found.spent, found.bytes) == (4, 4 / RELEASES, 4 * 5_000)
    assert found.release_seconds == (STEP,) * 4
    assert found.left == STEP * (RELEASES - 4)
    assert state(told_run(4), after=STEP / 2).left == STEP * (RELEASES - 4) - STEP / 2
    assert state(told_run(4), after=1_000).left == STEP * (RELEASES - 5)
    assert state(told_run(RELEASES)).left == 0.0


def test_what_is_charged_is_told_by_the_log_where_it_tells() -> None:
    *told, (at, what, facts) = told_run(4)
    assert state([*told, (at, what, {**facts, "spent": "0.75"})]).spent == 0.75
    assert state([*told, (at, what, {**facts, "spent": "7"})]).spent == 1.0


def test_a_run_that_ended_says_how() -> None:
    told = told_run(RELEASES)
    at = told[-1][0] + 1
    found = state([*told, (at, "finished", {"release": "runs/x/release"})], after=1_000_000, alive=None)
    assert (found.status, found.release, found.ended, found.elapsed) == (FINISHED, "runs/x/release", at, at - BEGAN)
    assert found.left is None
    found = state([*told, (at, "failed", {"reason": "too few"})], after=1_000_000, alive=False)
    assert (found.status, found.reason, found.event) == (FAILED, "too few", "")


def test_a_run_waits_while_a_person_at_a_site_must_see_the_plan_and_goes_on_with_its_reply() -> None:
    waits = [started(), phase("release", BEGAN, **FIRST), (BEGAN + 1, "waiting", {"site": "Nord"})]
    found = state([*waits, reply("West", BEGAN + 2)])
    assert (found.status, found.phase, found.event) == (WAITING, "release", FIRST["event"])
    assert (site(found, "Nord").state, site(found, "West").state) == (WAITING, REPLIED)
    assert site(found, "West").contributions == 1
    for end in (reply("Nord", BEGAN + 3), absent("Nord", BEGAN + 3, **FIRST), phase("closing", BEGAN + 3)):
        assert state([*waits, end]).status == RUNNING


def test_a_run_that_says_nothing_past_its_deadline_is_interrupted_where_nobody_knows_better() -> None:
    told = told_run(4)
    assert state(told, DEADLINE + SLACK, alive=None).status == RUNNING
    assert state(told, DEADLINE + SLACK + 1, alive=None).status == INTERRUPTED
    assert state(told, 1_000_000, alive=True).status == RUNNING
    found = state(told, 0.1, alive=False)
    assert (found.status, found.ended) == (INTERRUPTED, told[-1][0])
    assert {one.state for one in found.sites} == {IDLE}


def test_a_resumed_run_counts_every_release_once() -> None:
    """The coordinator dies in release 3, in which one site was absent so far, and goes on an hour later."""
    of = {"event": "gradient", "index": 3}
    first = [*told_run(3), phase("release", BEGAN + 6, **of), reply("West", BEGAN + 7), absent("Nord", BEGAN + 7, **of)]
    later = BEGAN + 3_600
    resumed = [started(at=later), (later, "resumed", {"done": 3})]
    found = state([*first, *resumed])
    assert (found.status, found.done, found.resumed) == (RUNNING, 3, 1)
    found = state([*first, *resumed, *release(3, SITES, later)])
    assert (found.done, found.resumed, found.bytes) == (4, 1, 4 * 5_000)
    assert [one.contributions for one in found.sites] == [4] * 5
    assert site(found, "Nord").absences == {}
    assert found.release_seconds == (STEP,) * 4  # not the hour in between


def test_a_failed_run_that_goes_on_is_running() -> None:
    told: list[Told] = [started(), phase("keys", BEGAN), (BEGAN + 1, "failed", {"reason": "too few"})]
    found = state([*told, started(at=BEGAN + 2)])
    assert (found.status, found.reason, found.resumed, found.phase) == (RUNNING, "", 1, "")


def test_names_that_are_not_the_plans_are_not_counted() -> None:
    told = [started(), phase("release", BEGAN, **FIRST), reply("Mallory", BEGAN), absent("Mallory", BEGAN, **FIRST)]
    assert tuple(one.name for one in state(told).sites) == SITES


def test_as_json_it_has_the_same_names() -> None:
    document = json.loads(json.dumps(state(told_run(3, absent_from=1)).to_document()))
    assert document["sites"][0]["absences"] == {"silent": 1}
    assert (document["done"], document["release_seconds"]) == (3, [STEP] * 3)


@given(st.lists(events(), max_size=12), st.floats(0, 1e12), st.sampled_from((None, True, False)))
def test_any_events_in_any_order_make_a_state(told: list[Event], now: float, alive: bool | None) -> None:
    found = RunState.of(told, now, alive)
    assert found.status in STATUSES
    assert 0.0 <= found.spent <= 1.0
    assert found.elapsed >= 0
    assert found.phase_elapsed >= 0
    assert found.left is None or math.isfinite(found.left)
    assert len({one.name for one in found.sites}) == len(found.sites)
    json.dumps(found.to_document(), allow_nan=False)
