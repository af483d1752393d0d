"""A site's policy: what it says, who may say it, and that nobody who asks can loosen it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.guard import Guard
from federation.opening_hours import Hours
from federation.policy import Approver, Policy, Review, default_policy
from federation.policy_file import MAX_BYTES, POLICY_FILE, load_policy, read_policy, write_policy
from federation.run_settings import Settings
from federation.sealed import open_reply, seal_request
from federation.site import load_site
from federation.site_keys import coordinators
from federation.training_run import plan_run
from federation.wire import Contribute, Refusal
from models.planning import SECOND_MOMENTS
from privacy.errors import InputError, KithError, Refused
from privacy.plan import FLOAT64, LOCAL, SECURE_SUM, Plan
from privacy.signing import create_key, verifier
from tests.federation.guards import ALWAYS
from tests.federation.tiny_group import TinyGroup, tiny_group
from tests.small_group import budget, settings

MONDAY = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
POLICY = default_policy(budget())
ALMOST = timedelta(seconds=1)


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> TinyGroup:
    return tiny_group(tmp_path_factory.mktemp("group"))


@pytest.fixture(scope="module")
def plan(group: TinyGroup) -> Plan:
    return plan_run(group.load(), settings(measures=("evaluation", "head-count")))


@pytest.fixture(scope="module")
def summed(group: TinyGroup) -> Plan:
    return plan_run(group.load(), of_trust(SECURE_SUM))


def of_trust(trust: str) -> Settings:
    return replace(settings(), trust=trust)


# What it says


def test_the_default_allows_both_trusts_and_exact_noise_alone(plan: Plan, summed: Plan) -> None:
    POLICY.check(plan, MONDAY, [])
    POLICY.check(summed, MONDAY, [])
    with pytest.raises(Refused, match="float64"):
        POLICY.check(replace(plan, mechanism=FLOAT64), MONDAY, [])


LIMITS: dict[str, Callable[[Plan], Policy]] = {
    "use_cases": lambda _: replace(POLICY, use_cases=("growth",)),
    "trusts": lambda plan: replace(POLICY, trusts=(SECURE_SUM if plan.trust == LOCAL else LOCAL,)),
    "measures": lambda _: replace(POLICY, measures=("head-count",)),
    "largest_clip": lambda plan: replace(POLICY, largest_clip=str(float(plan.clip) - 0.001)),
    "largest_mu2": lambda plan: replace(POLICY, largest_mu2=str(round(float(plan.mu_squared) * 0.999, 9))),
    "least_noise": lambda plan: replace(POLICY, least_noise=str(round(least_noise(plan) * 1.001, 9))),
    "least_replies": lambda plan: replace(POLICY, least_replies=plan.replies_at_least + 1),
    "runs_per_week": lambda _: replace(POLICY, runs_per_week=0),
    "hours": lambda _: replace(POLICY, hours=(Hours.from_text("Tue-Sun 00:00-24:00"),)),
}


def least_noise(plan: Plan) -> float:
    return float(min(Fraction(event.noise, event.sensitivity) for event in plan.events))


@pytest.mark.parametrize("limit", LIMITS)
def test_a_plan_beyond_one_limit_is_refused_naming_it(plan: Plan, limit: str) -> None:
    with pytest.raises(Refused, match=f"policy, {limit}: expected"):
        LIMITS[limit](plan).check(plan, MONDAY, [])


def test_a_plan_exactly_at_its_limits_is_served(plan: Plan) -> None:
    at = replace(POLICY, largest_clip=plan.clip, least_replies=plan.replies_at_least, runs_per_week=1)
    at = replace(at, largest_mu2=str(float(plan.mu_squared) * 1.000001), least_noise=str(least_noise(plan) * 0.999999))
    at.check(plan, MONDAY, [])


def test_a_secure_sum_must_hold_against_as_many_sites_as_the_policy_says(plan: Plan, summed: Plan) -> None:
    strict = replace(POLICY, least_colluding=summed.colluding + 1)
    strict.check(plan, MONDAY, [])  # where all the noise is added here nobody's collusion matters
    with pytest.raises(Refused, match="least_colluding"):
        strict.check(summed, MONDAY, [])


def test_a_fairness_measure_is_allowed_by_name_or_all_together(plan: Plan) -> None:
    fair = replace(plan, events=(*plan.events, replace(plan.events[-1], name="fairness-sex")))
    names = ("evaluation", "head-count")
    for allowed in ("fairness-*", "fairness-sex"):
        replace(POLICY, measures=(*names, allowed)).check(fair, MONDAY, [])
    with pytest.raises(Refused, match=r"measures.*fairness-sex"):
        replace(POLICY, measures=(*names, "fairness-age_band")).check(fair, MONDAY, [])


def test_runs_are_counted_over_any_seven_days_and_a_clock_put_back_gives_none_away(plan: Plan) -> None:
    twice = replace(POLICY, runs_per_week=2)
    week = timedelta(days=7)
    twice.check(plan, MONDAY, [MONDAY - ALMOST, MONDAY - week])
    for started in ([MONDAY, MONDAY - week + ALMOST], [MONDAY + week, MONDAY + week]):
        with pytest.raises(Refused, match="runs_per_week"):
            twice.check(plan, MONDAY, started)


@pytest.mark.parametrize(
    ("local", "served"),
    [
        ("2026-11-23T07:00:00+01:00", True),
        ("2026-11-23T06:59:59+01:00", False),
        ("2026-11-23T18:59:59+01:00", True),
        ("2026-11-23T19:00:00+01:00", False),
        ("2026-11-22T12:00:00+01:00", False),  # a Sunday
        ("2026-11-28T09:00:00+01:00", True),  # Saturday morning
        ("2026-07-20T05:00:00+00:00", True),  # seven o'clock in summer
        ("2026-11-23T06:00:00+00:00", True),  # seven o'clock in winter
        ("2026-11-23T05:00:00+00:00", False),
    ],
)
def test_hours_go_by_the_sites_own_clock(plan: Plan, local: str, served: bool) -> None:
    hours = tuple(map(Hours.from_text, ("Mon-Fri 07:00-19:00", "Sat 08:00-12:00")))
    policy = replace(POLICY, hours=hours, time_zone="Europe/Zurich")
    if served:
        policy.check(plan, datetime.fromisoformat(local), [])
    else:
        with pytest.raises(Refused, match=r"hours: expected Mon-Fri 07:00-19:00, Sat 08:00-12:00 \(Europe/Zurich\)"):
            policy.check(plan, datetime.fromisoformat(local), [])


@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 1440), st.integers(0, 1440))
def test_hours_are_read_as_they_were_written(first: int, last: int, begin: int, end: int) -> None:
    if first <= last and begin < end:
        hours = Hours(first, last, begin, end)
        assert Hours.from_text(str(hours)) == hours
    else:
        with pytest.raises(InputError):
            Hours(first, last, begin, end)


@given(st.text(max_size=30))
def test_other_hours_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="hours"):
        Hours.from_text(text)


@pytest.mark.parametrize("text", ["Fri-Mon 07:00-08:00", "Mon 08:00-08:00", "Mon 07:00-08:60", "Mon 7:00-8:00", "٣"])
def test_hours_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="hours"):
        Hours.from_text(text)


@pytest.mark.parametrize(
    ("review", "before", "needed"),
    [
        (Review(0), False, 0),
        (Review(2), True, 2),
        (Review(1, "new"), False, 1),
        (Review(1, "new"), True, 0),
        (Review(2, "above", "0.01"), True, 2),
        (Review(2, "above", "0.99"), False, 0),
    ],
)
def test_how_many_must_see_a_plan_first(plan: Plan, review: Review, before: bool, needed: int) -> None:
    people = tuple(Approver(name, key) for name, key in (("A", KEY_A), ("B", KEY_B)))
    assert replace(POLICY, review=review, approvers=people).approvals_needed(plan, before) == needed


# The file

KEY_A = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"  # RFC 8032, test 1
KEY_B = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"  # and 2


def test_a_policy_is_read_as_it_was_written(tmp_path: Path) -> None:
    policy = Policy(
        use_cases=("retention", "growth"),
        coordinators=("ab" * 32,),
        trusts=(SECURE_SUM,),
        measures=(),
        float64=True,
        largest_clip="2.5",
        largest_mu2="0.071",
        least_noise="12.5",
        least_people=30,
        least_replies=4,
        least_colluding=2,
        runs_per_week=3,
        hours=(Hours.from_text("Mon-Fri 07:00-19:00"),),
        time_zone="Europe/Zurich",
        review=Review(2, "above", "0.5"),
        approvers=(Approver('Ana "the" officer\n', KEY_A), Approver("Bo", KEY_B)),
    )
    write_policy(tmp_path / POLICY_FILE, policy)
    assert load_policy(tmp_path / POLICY_FILE) == policy
    assert (tmp_path / POLICY_FILE).stat().st_mode & 0o777 == 0o600


def test_a_new_site_has_a_policy_and_a_site_without_one_is_none(tmp_path: Path) -> None:
    site = tiny_group(tmp_path).sites[0]
    assert site.policy == default_policy(budget("10"))
    (site.folder / POLICY_FILE).unlink()
    with pytest.raises(InputError, match=POLICY_FILE):
        load_site(site.folder)


def test_a_policy_that_others_may_write_is_not_read(tmp_path: Path) -> None:
    write_policy(tmp_path / POLICY_FILE, POLICY)
    for mode in (0o620, 0o602):
        (tmp_path / POLICY_FILE).chmod(mode)
        with pytest.raises(InputError, match="only its owner may write"):
            load_policy(tmp_path / POLICY_FILE)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"use_cases": None}, "use_cases"),
        ({"use_cases": "retention"}, "use_cases"),
        ({"use_cases": [1]}, "use_cases"),
        ({"largest_mu": "0.1"}, "only"),
        ({"largest_mu2": 0.1}, "largest_mu2"),
        ({"largest_mu2": "-1"}, "largest_mu2"),
        ({"largest_mu2": "inf"}, "largest_mu2"),
        ({"least_people": "3"}, "least_people"),
        ({"least_people": True}, "least_people"),
        ({"runs_per_week": -1}, "runs_per_week"),
        ({"trusts": ["everybody"]}, "trusts"),
        ({"coordinators": ["anybody"]}, "coordinators"),
        ({"float64": "yes"}, "float64"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"time_zone": "../../etc/passwd"}, "time_zone"),
        ({"time_zone": 3}, "time_zone"),
        ({"hours": ["always"]}, "hours"),
        ({"approvals": 2}, "approvals"),
        ({"approvals": {"needed": 3}}, "needed"),
        ({"approvals": {"needed": True}}, "needed"),
        ({"approvals": {"of": "some"}}, "of"),
        ({"approvals": {"above": "1"}}, "above"),
        ({"approvals": {"needed": 1}}, "approvers"),
        ({"approvals": {"nedeed": 1}}, "only"),
        ({"approvers": [{"name": "A", "public": KEY_A}, {"name": "A", "public": KEY_B}]}, "different names"),
        ({"approvers": [{"name": "A", "public": KEY_A}, {"name": "B", "public": KEY_A}]}, "different keys"),
        ({"approvers": [{"name": "A", "public": "00" * 32}]}, "public key"),
        ({"approvers": [{"name": "A"}]}, "approvers"),
        ({"approvers": {}}, "approvers"),
    ],
    ids=str,
)
def test_what_is_no_policy_is_refused(change: dict[str, Any], expected: str) -> None:
    document = {"use_cases": ["retention"], **change}
    with pytest.raises(InputError, match=expected):
        read_policy({name: value for name, value in document.items() if value is not None})


@given(st.binary(max_size=200) | st.just(b"a = " + b"[" * 5_000) | st.just(b"#" * (MAX_BYTES + 1)))
def test_bytes_that_are_no_policy_are_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("p") / POLICY_FILE
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(InputError, match=POLICY_FILE):
        load_policy(path)


# Nobody who asks can loosen it


def allow(site_folder: Path, **changes: Any) -> None:
    path = site_folder / POLICY_FILE
    policy = replace(load_policy(path), **changes)
    path.unlink()
    write_policy(path, policy)


def ask(guard: Guard, group: TinyGroup, request: Contribute) -> Any:
    sites = {site.name: verifier(site.signer.public) for site in group.sites}
    sealed = seal_request(request, group.load().signer, ALWAYS)
    return open_reply(guard.answer(sealed), sealed, sites)[1]


def test_a_limit_that_is_tightened_holds_from_the_next_request_on(tmp_path: Path) -> None:
    group = tiny_group(tmp_path)
    plan = plan_run(group.load(), settings())
    guard = Guard(group.sites[0])
    request = Contribute("run-1", plan.to_bytes(), SECOND_MOMENTS, 0, b"")
    assert not isinstance(ask(guard, group, request), Refusal)
    allow(group.sites[0].folder, largest_mu2="0.001")
    refused = ask(guard, group, request)
    assert isinstance(refused, Refusal)
    assert refused.reason.startswith("policy, largest_mu2: expected at most 0.001")


def test_a_plan_that_brings_a_policy_of_its_own_is_no_plan(plan: Plan) -> None:
    from privacy import canonical

    document = canonical.from_bytes(plan.to_bytes(), "plan")
    for extra in ({"policy": {"largest_mu2": "1000"}}, {"largest_mu2": "1000"}):
        with pytest.raises(InputError, match="exactly the fields of a plan"):
            Plan.from_bytes(canonical.to_bytes({**document, **extra}))


def test_a_request_that_names_a_policy_or_a_folder_is_no_request(tmp_path: Path) -> None:
    from federation import wire
    from privacy import canonical, dsse
    from privacy.fields import to_base64

    group = tiny_group(tmp_path)
    request = {
        "kind": "Contribute",
        "run": "r",
        "plan": to_base64(b"x"),
        "event": "e",
        "index": 0,
        "state": "",
        "inbox": {},
    }
    for extra in ({"policy": "[approvals]"}, {"site": "/tmp"}, {"now": 0}):
        data = canonical.to_bytes({**request, **extra})
        with pytest.raises(InputError):
            wire.from_bytes(data, wire.Request, "request")
        envelope = dsse.sign(data, group.load().signer, payload_type="application/vnd.kith.request+json").to_bytes()
        sites = {site.name: verifier(site.signer.public) for site in group.sites}
        _, reply = open_reply(Guard(group.sites[0]).answer(envelope), envelope, sites)
        assert isinstance(reply, Refusal)


def test_only_the_coordinators_that_the_policy_names_are_heard(tmp_path: Path) -> None:
    group = tiny_group(tmp_path)
    site, keyid = group.sites[0], group.load().signer.keyid
    assert set(coordinators(site)) == {keyid}
    allow(site.folder, coordinators=(keyid,))
    assert set(coordinators(site)) == {keyid}
    for others in (("ab" * 32,), ()):
        allow(site.folder, coordinators=others)
        assert not coordinators(site)
        plan = plan_run(group.load(), settings())
        reply = ask(Guard(site), group, Contribute("run-1", plan.to_bytes(), SECOND_MOMENTS, 0, b""))
        assert isinstance(reply, Refusal)
        assert "known key" in reply.reason


def test_a_key_that_the_group_does_not_know_starts_nothing_even_if_the_policy_names_it(tmp_path: Path) -> None:
    """A policy can only narrow what the key list allows."""
    group = tiny_group(tmp_path)
    site, stranger = group.sites[0], create_key(tmp_path / "stranger.pem")
    allow(site.folder, coordinators=("group", stranger.keyid))
    plan = plan_run(group.load(), settings())
    sealed = seal_request(Contribute("run-1", plan.to_bytes(), SECOND_MOMENTS, 0, b""), stranger, ALWAYS)
    sites = {one.name: verifier(one.signer.public) for one in group.sites}
    _, reply = open_reply(Guard(site).answer(sealed), sealed, sites)
    assert isinstance(reply, Refusal)


def test_too_few_people_are_refused_in_the_words_of_any_other_failure(tmp_path: Path) -> None:
    group = tiny_group(tmp_path)
    site = group.sites[0]
    plan = plan_run(group.load(), settings())
    allow(site.folder, least_people=25)  # there are 24
    reply = ask(Guard(site), group, Contribute("run-1", plan.to_bytes(), SECOND_MOMENTS, 0, b""))
    assert isinstance(reply, Refusal)
    assert reply.reason == f"site {site.name!r}: its rows can not be used; its own log says why"
    ledger = site.open_ledger()
    assert (ledger.head().size, ledger.totals.held) == (1, 0)
    ledger.close()
    allow(site.folder, least_people=24)
    reply = ask(Guard(site), group, Contribute("run-2", plan.to_bytes(), SECOND_MOMENTS, 0, b""))
    assert not isinstance(reply, Refusal)


@pytest.mark.parametrize(
    "limit", ["use_cases", "trusts", "largest_clip", "largest_mu2", "least_noise", "least_replies"]
)
def test_a_plan_beyond_the_policy_is_refused_although_every_source_of_rows_would_fail(
    tmp_path: Path, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is read: whatever opens the rows would raise another error, and the file is not even there."""
    opened: list[object] = []
    monkeypatch.setattr("federation.computing.source_of", lambda *given: opened.append(given))
    group = tiny_group(tmp_path)
    site, plan = group.sites[0], plan_run(group.load(), settings())
    site.source.unlink()
    strict = LIMITS[limit](plan)
    if limit == "use_cases":
        strict = replace(strict, use_cases=("growth",))
    (site.folder / POLICY_FILE).unlink()
    write_policy(site.folder / POLICY_FILE, strict)
    reply = ask(Guard(site), group, Contribute("run-1", plan.to_bytes(), SECOND_MOMENTS, 0, b""))
    assert isinstance(reply, Refusal)
    assert limit in reply.reason
    assert not opened


def test_every_error_of_a_policy_is_kiths_own() -> None:
    with pytest.raises(KithError):
        Policy(use_cases=(), approvers=(Approver("A", "zz"),))
