"""The guard's rules, by their attacks."""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from federation import sealed, site_keys, wire
from federation.group import load_group
from federation.guard import UNSAID, Guard
from federation.guard_process import JsonLines
from federation.policy_file import POLICY_FILE, write_policy
from federation.site import SUMS_FILE, Site, load_site
from federation.training_run import plan_run
from federation.wire import Advertise, Contribute, Contribution, Finish, Message, Refusal
from models.planning import GRADIENT, SECOND_MOMENTS
from privacy import amounts, canonical, dsse, key_folder, key_list
from privacy.balance import MAX_ATTEMPTS
from privacy.budget import PurposeGroup, first_budget
from privacy.errors import BudgetExceeded, InputError, KithError, Refused
from privacy.ledger import Ledger
from privacy.ledger_excerpt import LedgerExcerpt
from privacy.party_names import COORDINATOR
from privacy.plan import FLOAT64, SECURE_SUM, GaussianSum, Plan, SiteBound
from privacy.receipt import open_receipt
from privacy.signing import create_key, signer_from_uri, verifier
from tests.federation.guards import ALWAYS, payload_of
from tests.federation.tiny_group import PEOPLE, TinyGroup, tiny_group, write_table
from tests.small_group import DELTA, budget, settings, small_group


@pytest.fixture
def group(tmp_path: Path) -> TinyGroup:
    return tiny_group(tmp_path)


@pytest.fixture
def plan(group: TinyGroup) -> Plan:
    return plan_run(load_group(group.group), settings())


def moments(plan: Plan, run: str = "run-1") -> Contribute:
    return Contribute(run, plan.to_bytes(), SECOND_MOMENTS, 0, b"")


def gradient(plan: Plan, weights: np.ndarray, index: int = 0) -> Contribute:
    return Contribute("run-1", plan.to_bytes(), GRADIENT, index, weights.astype("<f8").tobytes())


def entries(site: Site) -> int:
    ledger = site.open_ledger()
    size = ledger.head().size
    ledger.close()
    return size


def test_a_contribution_is_noisy_charged_and_signed_under_its_receipt(group: TinyGroup, plan: Plan) -> None:
    site = group.sites[0]
    answer = Guard(site).contribute(moments(plan))
    receipt = open_receipt(answer.receipt, verifier(site.signer.public))
    ledger = site.open_ledger()
    assert receipt.contribution == hashlib.sha256(answer.values).hexdigest()
    assert (receipt.site, receipt.run, receipt.event, receipt.noise) == (site.name, "run-1", SECOND_MOMENTS, "os")
    assert ledger.totals.spent > 0
    assert len(answer.values) == 8 * plan.event(SECOND_MOMENTS).coordinates


def test_a_repeated_request_gets_the_same_bytes_and_no_new_charge(group: TinyGroup, plan: Plan) -> None:
    site = group.sites[0]
    first = Guard(site).contribute(moments(plan))
    size = entries(site)
    again = Guard(load_site(site.folder)).contribute(moments(plan))  # as after a restart of the guard
    assert again == first
    assert entries(site) == size


def test_the_same_release_at_another_state_is_refused_before_anything_is_charged(group: TinyGroup, plan: Plan) -> None:
    site, d = group.sites[0], plan.event(GRADIENT).coordinates
    guard = Guard(site)
    guard.contribute(moments(plan))
    guard.contribute(gradient(plan, np.zeros(d)))
    size = entries(site)
    with pytest.raises(Refused):
        guard.contribute(gradient(plan, np.ones(d)))
    assert entries(site) == size


def halved_sensitivity(plan: Plan) -> Plan:
    return replace(plan, events=tuple(replace(e, sensitivity=e.sensitivity // 2) for e in plan.events))


def coarser_grid(plan: Plan) -> Plan:
    return replace(plan, events=tuple(replace(e, grid=e.grid - 1) for e in plan.events))


def another_event(plan: Plan) -> Plan:
    return replace(plan, events=(*plan.events, GaussianSum("raw-rows", 1, 10, 0, 1, 10**6)))


def larger_clip(plan: Plan) -> Plan:
    return replace(plan, clip="1000")


def another_space(plan: Plan) -> Plan:
    return replace(plan, features="0" * 64)


def another_purpose(plan: Plan) -> Plan:
    return replace(plan, use_case="dismissal")


def without_this_site(plan: Plan) -> Plan:
    return replace(plan, sites=plan.sites[1:], replies_at_least=2)


def with_a_site_of_no_group(plan: Plan) -> Plan:
    sites = (*plan.sites, SiteBound("Zeta\n  leaves      1 number, once", 10))
    return replace(plan, sites=sites)


def at_a_delta_that_makes_any_cost_look_like_nothing(plan: Plan) -> Plan:
    return replace(plan, delta="0.9")


@pytest.mark.parametrize(
    "lie",
    [
        with_a_site_of_no_group,
        at_a_delta_that_makes_any_cost_look_like_nothing,
        halved_sensitivity,
        coarser_grid,
        another_event,
        larger_clip,
        another_space,
        another_purpose,
        without_this_site,
    ],
)
def test_a_plan_that_is_not_the_sites_own_mechanism_is_refused_before_anything_is_written(
    group: TinyGroup, plan: Plan, lie: Callable[[Plan], Plan]
) -> None:
    site = next(site for site in group.sites if site.name == plan.sites[0].name)
    size = entries(site)
    site.source.unlink()  # whatever opened it would say so
    with pytest.raises(Refused, match="plan"):
        Guard(site).contribute(moments(lie(plan)))
    assert entries(site) == size


def sampled(plan: Plan) -> Plan:
    return replace(plan, events=tuple(replace(event, rate="0.5") for event in plan.events))


def float64(plan: Plan) -> Plan:
    return replace(plan, mechanism=FLOAT64)


@pytest.mark.parametrize("ask", [sampled, float64])
def test_sampling_and_floating_point_noise_are_refused_with_the_reason(
    group: TinyGroup, plan: Plan, ask: Callable[[Plan], Plan]
) -> None:
    site = group.sites[0]
    with pytest.raises(Refused, match=r"sampling|float64"):
        Guard(site).contribute(moments(ask(plan)))
    assert entries(site) == 1


def test_a_use_case_in_no_purpose_group_is_refused_before_anything_is_read_or_written(tmp_path: Path) -> None:
    group = tiny_group(tmp_path, allowed=first_budget(Decimal(10), DELTA, ("growth",)))
    site = group.sites[0]
    with (site.folder / "site.toml").open(encoding="utf-8") as file:
        text = file.read().replace("growth", "retention")  # the site's file allows it, its officers do not
    (site.folder / "site.toml").write_text(text, encoding="utf-8")
    site.source.unlink()
    with pytest.raises(Refused, match="retention"):
        Guard(load_site(site.folder)).contribute(moments(plan_run(group.load(), settings())))
    assert entries(site) == 1


def test_a_plan_over_budget_is_refused_before_data_is_read_with_what_is_left_and_what_was_asked(tmp_path: Path) -> None:
    group = tiny_group(tmp_path, allowed=budget("0.01"))
    plan = plan_run(load_group(group.group), settings())
    site = group.sites[0]
    site.source.unlink()
    with pytest.raises(BudgetExceeded, match=r"0\.01") as refusal:
        Guard(site).contribute(moments(plan))
    assert "0.0718" in str(refusal.value)  # mu² of epsilon 1 at delta 1e-5
    assert entries(site) == 1


def test_a_group_of_purposes_has_a_cap_of_its_own(tmp_path: Path) -> None:
    tight = (PurposeGroup("leaving", "0.01", ("retention",)), PurposeGroup("growing", "1", ("growth",)))
    group = tiny_group(tmp_path, allowed=first_budget(Decimal(1), DELTA, (), groups=tight))
    site = group.sites[0]
    with pytest.raises(BudgetExceeded, match=r"0\.01"):
        Guard(site).contribute(moments(plan_run(group.load(), settings())))
    assert entries(site) == 1


@pytest.mark.parametrize(
    "state",
    [b"", b"\0" * 8, np.array([np.nan]).tobytes(), b"x" * 999],
    ids=["none", "too short", "nan", "no float64"],
)
def test_a_state_that_is_no_weights_is_refused_before_anything_is_charged(
    group: TinyGroup, plan: Plan, state: bytes
) -> None:
    site = group.sites[0]
    guard = Guard(site)
    guard.contribute(moments(plan))
    size = entries(site)
    d = plan.event(GRADIENT).coordinates
    padded = state * d if state and len(state) == 8 and np.isnan(np.frombuffer(state)).any() else state
    with pytest.raises(InputError, match="state"):
        guard.contribute(Contribute("run-1", plan.to_bytes(), GRADIENT, 0, padded))
    assert entries(site) == size


def test_the_charge_is_on_disk_before_anything_is_computed_from_the_rows(
    group: TinyGroup, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    site = group.sites[0]
    monkeypatch.setattr("models.training.SiteSums.__init__", fail)
    with pytest.raises(Refused):
        Guard(site).contribute(moments(plan))
    ledger = site.open_ledger()
    assert ledger.totals.spent > 0


def spoil(site: Site) -> None:
    """A table with a value that the contract does not know."""
    text = site.source.read_text(encoding="utf-8")
    site.source.write_text(text.replace("office", "moon", 1), encoding="utf-8")


def test_a_release_that_fails_at_the_rows_costs_a_few_charges_and_not_the_periods_whole_budget(
    group: TinyGroup, plan: Plan
) -> None:
    site, request = group.sites[0], gradient(plan, np.zeros(plan.event(GRADIENT).coordinates))
    Guard(site).contribute(moments(plan))
    spoil(site)
    guard = Guard(site)  # which reads the table anew
    for _ in range(MAX_ATTEMPTS):
        with pytest.raises(Refused, match="its own log says why"):
            guard.contribute(request)
    size = entries(site)
    for _ in range(20):
        with pytest.raises(Refused, match="attempt 4 at release 'gradient' 0: expected at most 3 charges"):
            guard.contribute(request)
    assert entries(site) == size
    ledger = site.open_ledger()
    assert ledger.totals.spent <= MAX_ATTEMPTS * amounts.total(plan)
    ledger.verify()
    ledger.close()


def test_a_release_whose_rows_are_put_right_is_still_made(group: TinyGroup, plan: Plan) -> None:
    site = group.sites[0]
    kept = site.source.read_text(encoding="utf-8")
    Guard(site).contribute(moments(plan))
    spoil(site)
    guard = Guard(site)
    request = gradient(plan, np.zeros(plan.event(GRADIENT).coordinates))
    for _ in range(MAX_ATTEMPTS - 1):
        with pytest.raises(Refused, match="its own log says why"):
            guard.contribute(request)
    site.source.write_text(kept, encoding="utf-8")
    assert isinstance(guard.contribute(request), Contribution)


def test_where_people_have_become_too_few_a_run_that_has_started_stops_in_the_words_of_any_failure(
    group: TinyGroup, plan: Plan
) -> None:
    site = group.sites[0]
    policy, size = replace(site.policy, least_people=PEOPLE), entries(site)
    (site.folder / POLICY_FILE).unlink()
    write_policy(site.folder / POLICY_FILE, policy)
    Guard(site).contribute(moments(plan))
    write_table(site.source, site.name, range(PEOPLE - 1))
    guard = Guard(site)
    for request in (gradient(plan, np.zeros(plan.event(GRADIENT).coordinates)), moments(plan, "run-2")):
        with pytest.raises(Refused) as refusal:
            guard.contribute(request)
        assert str(refusal.value) == f"site {site.name!r}: its rows can not be used; its own log says why"
    assert entries(site) == size + 4  # reserved, charged, settled; and the gradient's charge, before its rows were used


def test_a_run_that_made_its_keys_and_never_reserved_is_forgotten_when_it_is_finished(group: TinyGroup) -> None:
    site = group.sites[0]
    plan = plan_run(group.load(), replace(settings(), trust=SECURE_SUM))
    guard = Guard(site)
    guard.advertise(Advertise("run-1", plan.to_bytes()))
    with pytest.raises(Refused, match="expected an open run"):
        guard.finish(Finish("run-1"))
    with sqlite3.connect(site.folder / SUMS_FILE) as kept:
        assert kept.execute("SELECT run, what, body FROM decisions").fetchall() == [("run-1", "ended", b"")]
        with pytest.raises(Refused, match="expected an open run"):
            guard.finish(Finish("never-begun"))
        assert kept.execute("SELECT count(*) FROM decisions").fetchone() == (1,)
    with pytest.raises(Refused, match="has ended here"):
        guard.advertise(Advertise("run-1", plan.to_bytes()))


def test_rows_that_can_not_be_read_reserve_and_charge_nothing(group: TinyGroup, plan: Plan) -> None:
    site = group.sites[0]
    site.source.unlink()
    with pytest.raises(Refused):
        Guard(site).contribute(moments(plan))
    assert entries(site) == 1


def test_a_repeated_request_is_answered_although_the_rows_are_gone(group: TinyGroup, plan: Plan) -> None:
    site = group.sites[0]
    first = Guard(site).contribute(moments(plan))
    site.source.unlink()
    assert Guard(site).contribute(moments(plan)) == first


def spend(site: Site, plan: Plan, employees: Iterable[str]) -> None:
    """Charge these employees, and nobody else, for another run."""
    ledger = site.open_ledger()
    ledger.reserve("before", plan, [site.marks.mark(employee) for employee in employees])
    ledger.charge("before", plan, SECOND_MOMENTS, 0, hashlib.sha256(b"").hexdigest())
    ledger.end("before")
    ledger.close()


def tiny_site(folder: Path, keep: Callable[[int], bool] = lambda _: True, repeats: int = 0) -> tuple[Site, Plan]:
    """A site of those people whose number is kept, whose budget holds one run and so many charges more."""
    plan = plan_run(tiny_group(folder / "to-plan").load(), settings())
    most = amounts.total(plan) + repeats * max(map(amounts.once, plan.events))
    allowed = first_budget(Decimal(amounts.to_text(most)), DELTA, ("retention",))
    group = tiny_group(folder, "seeded-for-tests:5", allowed)
    site = group.sites[0]
    lines = site.source.read_text(encoding="utf-8").splitlines()
    kept = [line for n, line in enumerate(lines[1:]) if keep(n)]
    site.source.write_text("\n".join([lines[0], *kept]) + "\n", encoding="utf-8")
    return site, plan_run(group.load(), settings())


def test_whoevers_budget_is_spent_is_left_out_of_every_round_and_everybody_else_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With the same noise, leaving three people out gives the bytes of a site that never had them."""
    site, plan = tiny_site(tmp_path / "spent")
    without, _ = tiny_site(tmp_path / "without", lambda n: n not in (3, 5, 8))
    spend(site, plan, ("3", "5", "8"))
    guards = [Guard(one) for one in (site, without)]
    zeros = np.zeros(plan.event(GRADIENT).coordinates)
    for request in (moments(plan), gradient(plan, zeros)):
        one, other = (guard.contribute(request).values for guard in guards)
        assert one == other
    ledger = site.open_ledger()
    assert ledger.members("run-1") == {site.marks.mark(str(n)) for n in range(24) if n not in (3, 5, 8)}
    assert ledger.balance_of(site.marks.mark("3")).held == 0
    assert "3 people are left out" in caplog.text  # in the site's own log


@pytest.mark.parametrize("gone", [0, 1, 24], ids=["nobody", "one", "everybody"])
def test_what_leaves_does_not_tell_that_anybody_was_left_out(tmp_path: Path, gone: int) -> None:
    """All but the sum and digests: the same fields, numbers and lengths as where nobody was."""
    seen = []
    for name, left_out in (("plain", 0), ("other", gone)):
        site, plan = tiny_site(tmp_path / name)
        spend(site, plan, [str(n) for n in range(left_out)])
        guard = Guard(site)
        answers = [
            guard.contribute(moments(plan)),
            guard.contribute(gradient(plan, np.zeros(plan.event(GRADIENT).coordinates))),
        ]
        receipts = [open_receipt(answer.receipt, verifier(site.signer.public)) for answer in answers]
        finished = guard.finish(Finish("run-1"))
        excerpt = LedgerExcerpt.from_bytes(finished.excerpt, "ledger").verified(site.name, verifier(site.signer.public))
        shown = [replace(entry, cohort="", at=0) for entry in (excerpt.reserved, *excerpt.charges.values())]
        seen.append(
            (
                [replace(one, leaf="", contribution="", issued_at=0) for one in receipts],
                [len(answer.values) for answer in answers],
                [len(answer.receipt) for answer in answers],
                shown,
                (excerpt.head.size, len(finished.excerpt), finished.held),
            )
        )
    assert seen[0] == seen[1]


def test_a_repeated_charge_goes_on_without_those_who_can_not_afford_it(tmp_path: Path) -> None:
    """After a crash between charge and settlement a release is charged again, beside what was reserved."""
    site, plan = tiny_site(tmp_path, repeats=1)
    spend(site, plan, ["7"])  # their budget holds the run now, and no repeat
    guard = Guard(site)
    guard.contribute(moments(plan))
    ledger = site.open_ledger()
    request = gradient(plan, np.zeros(plan.event(GRADIENT).coordinates))
    ledger.charge("run-1", plan, GRADIENT, 0, hashlib.sha256(request.state).hexdigest())  # and then the site died
    assert len(ledger.members("run-1")) == 24
    guard.contribute(request)
    assert ledger.members("run-1") == {site.marks.mark(str(n)) for n in range(24) if n != 7}
    ledger.close()


def test_the_noise_is_there(tmp_path: Path) -> None:
    """Two runs of one plan at one state differ by noise of the plan's scale: sd of the difference is sqrt(2) times it.

    4,000 and more coordinates: the estimate's own deviation is below 1.2 %, so 10 % off is over 8 deviations away.
    """
    group = small_group(tmp_path)
    plan = plan_run(load_group(group.group), settings())
    guard = Guard(group.sites[0])
    one, other = (guard.contribute(moments(plan, run)) for run in ("run-1", "run-2"))
    difference = numbers(one) - numbers(other)
    assert difference.size > 4000
    expected = plan.event(SECOND_MOMENTS).noise * 2**0.5
    assert abs(difference.std() / expected - 1) < 0.1


def numbers(contribution: Contribution) -> np.ndarray:
    return np.frombuffer(contribution.values, dtype="<i8").astype(float)


@pytest.mark.parametrize("size", [1.7e308, 1e6, -257.0], ids=["overflow", "huge", "just outside"])
def test_weights_chosen_to_overflow_in_one_persons_row_are_refused_before_anything_is_charged(
    group: TinyGroup, plan: Plan, size: float
) -> None:
    """Weights of opposite signs on chosen bins would make NaN of exactly the rows that hold both: an oracle."""
    site, d = group.sites[0], plan.event(GRADIENT).coordinates
    guard = Guard(site)
    guard.contribute(moments(plan))
    size_before = entries(site)
    with pytest.raises(InputError, match="state"):
        guard.contribute(gradient(plan, np.resize([size, -size], d)))
    assert entries(site) == size_before


def test_a_site_may_come_later_than_the_first_release_and_not_go_back(group: TinyGroup, plan: Plan) -> None:
    site, d = group.sites[0], plan.event(GRADIENT).coordinates
    guard = Guard(site)
    late = guard.contribute(gradient(plan, np.zeros(d), index=1))
    assert open_receipt(late.receipt, verifier(site.signer.public)).index == 1
    size = entries(site)
    for earlier in (moments(plan), gradient(plan, np.zeros(d), index=0)):
        with pytest.raises(Refused, match="order"):
            guard.contribute(earlier)
    assert entries(site) == size
    guard.contribute(gradient(plan, np.zeros(d), index=2))


# What comes from outside


def asked(guard: Guard, request: bytes, site: Site) -> Message:
    """What a guard answers, opened as the coordinator opens it."""
    name, told = sealed.open_reply(guard.answer(request), request, {site.name: verifier(site.signer.public)})
    assert name == site.name
    return told


def by_another_site(group: TinyGroup, request: Contribute) -> bytes:
    return sealed.seal_request(request, group.sites[1].signer, ALWAYS)


def by_the_site_itself(group: TinyGroup, request: Contribute) -> bytes:
    return sealed.seal_request(request, group.sites[0].signer, ALWAYS)


def by_the_groups_root(group: TinyGroup, request: Contribute) -> bytes:
    return sealed.seal_request(request, signer_from_uri(f"file:{group.group / 'root-1.pem'}"), ALWAYS)


def by_a_stranger(group: TinyGroup, request: Contribute) -> bytes:
    return sealed.seal_request(request, create_key(group.group / "stranger.pem"), ALWAYS)


def by_nobody(group: TinyGroup, request: Contribute) -> bytes:
    del group
    return dsse.Envelope(sealed.REQUEST, payload_of(wire.to_bytes(request)), ()).to_bytes()


def unsealed(group: TinyGroup, request: Contribute) -> bytes:
    del group
    return wire.to_bytes(request)


def under_another_type(group: TinyGroup, request: Contribute) -> bytes:
    return dsse.sign(payload_of(wire.to_bytes(request)), group.load().signer).to_bytes()


def altered(group: TinyGroup, request: Contribute) -> bytes:
    envelope = dsse.sign(payload_of(wire.to_bytes(request)), group.load().signer, payload_type=sealed.REQUEST)
    return replace(envelope, payload=payload_of(wire.to_bytes(replace(request, run="run-2")))).to_bytes()


@pytest.mark.parametrize(
    "seal",
    [
        by_another_site,
        by_the_site_itself,
        by_the_groups_root,
        by_a_stranger,
        by_nobody,
        unsealed,
        under_another_type,
        altered,
    ],
)
def test_nobody_but_the_coordinator_makes_a_site_reserve_or_read_anything(
    group: TinyGroup, plan: Plan, seal: Callable[[TinyGroup, Contribute], bytes]
) -> None:
    site = group.sites[0]
    site.source.unlink()
    told = asked(Guard(site), seal(group, moments(plan)), site)
    assert isinstance(told, Refusal)
    assert "rows" not in told.reason
    assert not told.waiting
    assert entries(site) == 1


def test_the_coordinators_request_is_answered_and_the_same_again_with_the_same_values(
    group: TinyGroup, plan: Plan
) -> None:
    site = group.sites[0]
    guard, request = Guard(site), sealed.seal_request(moments(plan), group.load().signer, ALWAYS)
    first = asked(guard, request, site)
    assert isinstance(first, Contribution)
    assert asked(guard, request, site) == first
    assert asked(Guard(load_site(site.folder)), request, site) == first


def test_the_same_release_asked_for_in_another_exchange_gets_the_same_and_is_charged_once(
    group: TinyGroup, plan: Plan
) -> None:
    """A run that is gone on with seals anew, until another time: what counts is what is asked."""
    site, signer = group.sites[0], group.load().signer
    guard = Guard(site)
    first = asked(guard, sealed.seal_request(moments(plan), signer, ALWAYS), site)
    size = entries(site)
    assert isinstance(first, Contribution)
    assert asked(guard, sealed.seal_request(moments(plan), signer, ALWAYS + 1), site) == first
    assert entries(site) == size


def test_a_request_that_the_coordinator_has_given_up_is_neither_served_nor_charged_200_days_later(
    group: TinyGroup, plan: Plan
) -> None:
    site, now = group.sites[0], datetime.now(UTC)
    request = sealed.seal_request(moments(plan), group.load().signer, int(now.timestamp()) + 60)
    told = asked(Guard(site, clock=lambda: now + timedelta(days=200)), request, site)
    assert isinstance(told, Refusal)
    assert "not_after" in told.reason
    assert entries(site) == 1
    assert isinstance(asked(Guard(site, clock=lambda: now), request, site), Contribution)


def test_a_refusal_does_not_say_where_the_sites_files_are_and_its_log_does(
    group: TinyGroup, plan: Plan, caplog: pytest.LogCaptureFixture
) -> None:
    site = group.sites[0]
    guard, request = Guard(site), sealed.seal_request(moments(plan), group.load().signer, ALWAYS)
    for name in (POLICY_FILE, "keys.json"):
        path = site.folder / name
        kept = path.read_bytes()
        path.write_bytes(b"what")
        assert asked(guard, request, site) == Refusal(UNSAID)
        assert str(path) in caplog.messages[-1]
        path.write_bytes(kept)
    assert isinstance(asked(guard, request, site), Contribution)


@settings_of_hypothesis(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200))
def test_whatever_comes_a_guard_answers_with_a_signed_refusal(group: TinyGroup, data: bytes) -> None:
    site = group.sites[0]
    assert isinstance(asked(Guard(site), data, site), Refusal)


def test_a_request_of_no_kind_that_a_guard_serves_is_refused(group: TinyGroup) -> None:
    site = group.sites[0]
    for document in ({"kind": "Request", "run": "run-1"}, {"kind": "Message"}, {"kind": "Refusal", "reason": "x"}):
        payload = payload_of(canonical.to_bytes(document))
        request = dsse.sign(payload, group.load().signer, payload_type=sealed.REQUEST).to_bytes()
        told = asked(Guard(site), request, site)
        assert isinstance(told, Refusal)
        assert "message" in told.reason


def test_an_unforeseen_error_leaves_as_its_type_alone(
    group: TinyGroup, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> object:
        raise ZeroDivisionError("salary 103000 of employee 17")

    site = group.sites[0]
    monkeypatch.setattr(Guard, "contribute", broken)
    told = asked(Guard(site), sealed.seal_request(moments(plan), group.load().signer, ALWAYS), site)
    assert isinstance(told, Refusal)
    assert "ZeroDivisionError" in told.reason
    assert "103000" not in told.reason


def test_a_coordinator_whose_key_was_replaced_starts_nothing(group: TinyGroup, plan: Plan) -> None:
    site, old = group.sites[0], group.load().signer
    root = signer_from_uri(f"file:{group.group / 'root-1.pem'}")
    (group.group / "coordinator.pem").unlink()
    new = create_key(group.group / "coordinator.pem")
    following = key_list.rotated(key_folder.in_force(group.group), COORDINATOR, new.public, 1_800_000_000)
    assert key_folder.propose(group.group, following, root).in_force
    site_keys.accept(site, group.load().lists)
    guard = Guard(site)
    assert isinstance(asked(guard, sealed.seal_request(moments(plan), old, ALWAYS), site), Refusal)
    assert entries(site) == 1
    assert isinstance(asked(guard, sealed.seal_request(moments(plan), new, ALWAYS), site), Contribution)


@pytest.mark.parametrize("fault", ["missing", "unknown category", "missing column", "not a table"])
def test_whatever_is_wrong_with_the_table_the_same_words_leave(group: TinyGroup, plan: Plan, fault: str) -> None:
    site = group.sites[0]
    text = site.source.read_text(encoding="utf-8")
    if fault == "missing":
        site.source.unlink()
    elif fault == "unknown category":
        site.source.write_text(text.replace("office", "moon", 1), encoding="utf-8")
    elif fault == "missing column":
        site.source.write_text(text.replace("hours", "minutes", 1), encoding="utf-8")
    else:
        site.source.write_bytes(b"\0" * 100)
    with pytest.raises(Refused) as refusal:
        Guard(site).contribute(moments(plan))
    assert str(refusal.value) == f"site {site.name!r}: its rows can not be used; its own log says why"


def test_a_site_without_a_labelled_row_answers_like_any_other(group: TinyGroup, plan: Plan) -> None:
    """One person or none: an error in one case and an answer in the other would tell them apart with certainty."""
    site = group.sites[0]
    frame = pd.read_csv(site.source, dtype=str)
    frame["left"] = ""
    frame.to_csv(site.source, index=False)
    guard = Guard(site)
    d = plan.event(GRADIENT).coordinates
    assert len(guard.contribute(moments(plan)).values) == 8 * plan.event(SECOND_MOMENTS).coordinates
    assert len(guard.contribute(gradient(plan, np.zeros(d))).values) == 8 * d


def test_every_run_reads_the_table_anew(tmp_path: Path) -> None:
    """Whoever has left the table since the last run is not in the next one, however warm the guard is."""
    group = small_group(tmp_path, cap="5")
    plan = plan_run(load_group(group.group), settings(epsilon="5"))
    site = next(site for site in group.sites if site.name == "Brightmoor Care")
    guard = Guard(site)
    guard.contribute(moments(plan))
    frame = pd.read_csv(site.source, dtype=str)
    frame.head(10).to_csv(site.source, index=False)
    event = plan.event(SECOND_MOMENTS)
    count = numbers(guard.contribute(moments(plan, "run-2")))[0] / 2.0**event.grid
    deviation = event.noise / 2.0**event.grid
    assert len(frame) - 10 > 12 * deviation  # the next line tells 10 people from 600
    assert abs(count - 10) < 6 * deviation


def test_an_error_names_no_value_of_a_person(group: TinyGroup, plan: Plan) -> None:
    site = group.sites[0]
    lines = site.source.read_text(encoding="utf-8").splitlines()
    canary = "canary-value-of-a-person"
    lines[3] = ",".join(
        canary if n == len(lines[3].split(",")) - 2 else cell for n, cell in enumerate(lines[3].split(","))
    )
    site.source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(KithError) as error:
        Guard(site).contribute(moments(plan))
    assert canary not in str(error.value)


def test_a_line_of_the_log_is_one_line_of_ascii_whatever_a_request_said() -> None:
    facts = {"run": "nightly\x1b[0m\n\u202e\u2028", "reason": "a\x9bb"}
    record = logging.makeLogRecord({"name": "kith.guard.server", "msg": "answered\u202e", "facts": facts})
    line = JsonLines().format(record)
    assert line.isascii()
    assert line.isprintable()


def test_a_missing_ledger_is_not_taken_for_an_empty_one(group: TinyGroup, plan: Plan) -> None:
    (group.sites[0].folder / "ledger.sqlite").unlink()
    with pytest.raises(InputError):
        Guard(group.sites[0])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name = 3",
        'name = "a"',
        'name = "a"\nsource = "t"\ncontract = "c"\nuse_cases = ["r"]\nnoise = "os"\nextra = 1',
        'name = "a"\nsource = "t"\ncontract = "c"\nuse_cases = ["r"]\nnoise = "os"\nfloat64 = "true"',
        'name = "a"\nsource = "t"\ncontract = "c"\nuse_cases = ["r"]\nnoise = "os"\nledger = ""',
        "\xff",
    ],
)
def test_a_malformed_site_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "site.toml").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"site\.toml"):
        load_site(tmp_path)


def test_an_unknown_noise_source_is_refused(group: TinyGroup) -> None:
    with pytest.raises(InputError, match="noise"):
        Guard(replace(group.sites[0], noise="numpy"))


def test_the_ledger_of_a_run_verifies(group: TinyGroup, plan: Plan) -> None:
    guard = Guard(group.sites[0])
    guard.contribute(moments(plan))
    guard.finish(Finish("run-1"))
    Ledger.open(group.sites[0].folder / "ledger.sqlite").verify()
