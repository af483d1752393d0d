"""The releases of a run, by what a site may send, who may be missing, and what may happen to the run's folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from federation import exchange, sealed, wire
from federation.embedded import run_embedded
from federation.policy_file import POLICY_FILE, write_policy
from federation.receiving import DEVIATIONS, check_range
from federation.run_log import read_log
from federation.run_settings import Settings, begun
from federation.training_run import plan_run, train
from federation.wire import Contribute, Contribution, Finish, Request
from models.planning import GRADIENT, SECOND_MOMENTS
from privacy import amounts
from privacy.certificate import FAILED, GARBAGE, REFUSED, SILENT, Absence, Certificate, open_certificate
from privacy.errors import InputError, Refused
from privacy.plan import LOCAL, SECURE_SUM, Plan
from privacy.receipt import Receipt, open_receipt, sign_receipt
from privacy.signing import verifier
from privacy.verify import verify_release
from tests.federation.tiny_fleet import TinyFleet, opened, rounds_of, says
from tests.federation.tiny_group import FIVE, TinyGroup, tiny_group
from tests.small_group import settings

UNDER_EITHER_TRUST = pytest.mark.parametrize("trust", [LOCAL, SECURE_SUM])


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("POLL", 0.01), ("LOOK", 0.05), ("AGAIN", 0.1), ("PERSON", 0.1)):
        monkeypatch.setattr(exchange, name, seconds)


@pytest.fixture
def group(tmp_path: Path) -> TinyGroup:
    return tiny_group(tmp_path, names=FIVE)


@pytest.fixture
def trust() -> str:
    return LOCAL


@pytest.fixture
def wanted(trust: str) -> Settings:
    return settings(rounds=2, deadline=1.0, trust=trust)


@pytest.fixture
def plan(group: TinyGroup, wanted: Settings) -> Plan:
    return plan_run(group.load(), wanted)


@pytest.fixture
def fleet(group: TinyGroup) -> TinyFleet:
    return TinyFleet(group)


def spends(group: TinyGroup) -> dict[str, Fraction]:
    """What each site has been charged."""
    found = {}
    for site in group.sites:
        ledger = site.open_ledger()
        found[site.name] = ledger.totals.spent
        ledger.close()
    return found


def certificate(group: TinyGroup, release: Path) -> Certificate:
    data = (release / "certificate.dsse.json").read_bytes()
    return open_certificate(data, group.load().keys.trusted().coordinator)[0]


# What a contribution must be

Change = Callable[[Contribution, Contribute, TinyGroup], Contribution]


def other_values(told: Contribution, asked: Contribute, group: TinyGroup) -> Contribution:
    return replace(told, values=bytes([told.values[0] ^ 1]) + told.values[1:])


def signed(change: Callable[[Receipt], Receipt]) -> Change:
    """The receipt changed, and signed again by the site."""

    def resign(told: Contribution, asked: Contribute, group: TinyGroup) -> Contribution:
        receipt = open_receipt(told.receipt, verifier(group.sites[0].signer.public))
        return replace(told, receipt=sign_receipt(change(receipt), group.sites[0].signer))

    return resign


def receipt_by_another_key(told: Contribution, asked: Contribute, group: TinyGroup) -> Contribution:
    receipt = open_receipt(told.receipt, verifier(group.sites[0].signer.public))
    return replace(told, receipt=sign_receipt(receipt, group.sites[1].signer))


def of_another_site(told: Contribution, asked: Contribute, group: TinyGroup) -> Contribution:
    return TinyFleet(group).guards[FIVE[1]].contribute(asked)


def too_short(told: Contribution, asked: Contribute, group: TinyGroup) -> Contribution:
    return with_values(group, told, told.values[:-8])


def no_whole_numbers(told: Contribution, asked: Contribute, group: TinyGroup) -> Contribution:
    return with_values(group, told, told.values + b"\0")


def with_values(group: TinyGroup, told: Contribution, values: bytes) -> Contribution:
    """Other values, rightly signed by the first site."""
    signer = group.sites[0].signer
    receipt = open_receipt(told.receipt, verifier(signer.public))
    return Contribution(values, sign_receipt(replace(receipt, contribution=hashlib.sha256(values).hexdigest()), signer))


def one_value(value: int) -> Change:
    def change(told: Contribution, asked: Contribute, group: TinyGroup) -> Contribution:
        return with_values(group, told, np.array([value], dtype="<i8").tobytes() + told.values[8:])

    return change


@pytest.mark.parametrize(
    "change",
    [
        other_values,
        receipt_by_another_key,
        of_another_site,
        too_short,
        no_whole_numbers,
        signed(lambda receipt: replace(receipt, site=FIVE[1])),
        signed(lambda receipt: replace(receipt, run="run-0")),
        signed(lambda receipt: replace(receipt, plan="0" * 64)),
        signed(lambda receipt: replace(receipt, index=1)),
        signed(lambda receipt: replace(receipt, event=GRADIENT)),
        signed(lambda receipt: replace(receipt, state="0" * 64)),
        one_value(2**63 - 1),
        one_value(-(2**63)),
        one_value(2**56),
    ],
    ids=[
        *("other values", "receipt by another key", "of another site", "too short", "no whole numbers"),
        *("another site", "another run", "another plan", "another index", "another event", "another state"),
        *("largest value", "smallest value", "beyond all people and noise"),
    ],
)
def test_what_a_site_can_not_have_sent_honestly_is_its_garbage_and_the_others_make_the_release(
    group: TinyGroup, plan: Plan, fleet: TinyFleet, tmp_path: Path, change: Change
) -> None:
    first = group.sites[0]

    def told(request: Request) -> wire.Message:
        assert isinstance(request, Contribute)
        return change(fleet.guards[first.name].contribute(request), request, group)

    fleet.nodes[first.name].ask = says(first.signer, told)
    found = rounds_of(fleet, group, plan, tmp_path / "run").release(SECOND_MOMENTS, 0, b"")
    assert found.absent == {first.name: GARBAGE}
    assert list(found.receipts) == [name for name in sorted(FIVE) if name != first.name]
    assert [part.sites for part in found.parts] == [(name,) for name in found.receipts]


def test_another_reply_than_a_contribution_is_garbage(
    group: TinyGroup, plan: Plan, fleet: TinyFleet, tmp_path: Path
) -> None:
    fleet.nodes["West"].ask = says(group.sites[-1].signer, wire.Proofs(b""))
    assert rounds_of(fleet, group, plan, tmp_path / "run").release(SECOND_MOMENTS, 0, b"").absent == {"West": GARBAGE}


def test_whatever_an_honest_site_sends_is_within_its_range(plan: Plan) -> None:
    """All people at the bound, and noise that no run of the world would draw."""
    event, (site, *_) = plan.event(GRADIENT), plan.sites
    most = site.people_at_most * event.sensitivity + DEVIATIONS * event.noise
    for value in (most, -most):
        check_range(np.full(event.coordinates, value), [site.name], event, plan)
        check_range(np.full(event.coordinates, 2 * value), [site.name, plan.sites[1].name], event, plan)
    for value in (most + 1, -most - 1):
        with pytest.raises(InputError, match="1 sites"):
            check_range(np.array([0, value]), [site.name], event, plan)


def test_garbage_of_too_many_sites_stops_the_run_naming_them(
    group: TinyGroup, plan: Plan, fleet: TinyFleet, tmp_path: Path
) -> None:
    for site in group.sites[:2]:
        fleet.nodes[site.name].ask = says(site.signer, wire.Proofs(b""))
    with pytest.raises(Refused, match=r"release: expected replies of 4 sites, got 3, none of East, Middle: .*another"):
        rounds_of(fleet, group, plan, tmp_path / "run").release(SECOND_MOMENTS, 0, b"")
    assert not list((tmp_path / "run").rglob("release-*"))


# What the run's folder holds


def test_a_release_that_is_on_disk_is_not_asked_for_again(
    group: TinyGroup, plan: Plan, fleet: TinyFleet, tmp_path: Path
) -> None:
    first = rounds_of(fleet, group, plan, tmp_path / "run").release(SECOND_MOMENTS, 0, b"")
    for node in fleet.nodes.values():
        node.silent, node.asked = True, []
    rounds = rounds_of(fleet, group, plan, tmp_path / "run")
    again = rounds.release(SECOND_MOMENTS, 0, b"")
    assert rounds.done == 1
    assert not any(node.asked for node in fleet.nodes.values())
    assert again.to_document() == first.to_document()
    assert all(np.array_equal(one.sum, other.sum) for one, other in zip(first.parts, again.parts, strict=True))


def test_a_release_on_disk_that_was_computed_at_another_state_is_refused(
    group: TinyGroup, plan: Plan, fleet: TinyFleet, tmp_path: Path
) -> None:
    rounds = rounds_of(fleet, group, plan, tmp_path / "run")
    d = plan.event(GRADIENT).coordinates
    rounds.release(GRADIENT, 0, np.zeros(d).tobytes())
    with pytest.raises(InputError, match="at this state"):
        rounds.release(GRADIENT, 0, np.ones(d).tobytes())


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def of_another_release(path: Path) -> None:
    path.write_bytes(path.with_name("release-0001.json").read_bytes())


@pytest.mark.parametrize("damage", [flipped, cut, of_another_release])
def test_a_damaged_checkpoint_is_refused_and_costs_nothing(
    group: TinyGroup, plan: Plan, fleet: TinyFleet, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    rounds = rounds_of(fleet, group, plan, tmp_path / "run")
    rounds.release(SECOND_MOMENTS, 0, b"")
    rounds.release(GRADIENT, 0, np.zeros(plan.event(GRADIENT).coordinates).tobytes())
    before = spends(group)
    damage(tmp_path / "run" / "checkpoints" / "release-0000.json")
    with pytest.raises(InputError, match="release-0000"):
        rounds_of(fleet, group, plan, tmp_path / "run").release(SECOND_MOMENTS, 0, b"")
    assert spends(group) == before


# Whole runs of which some sites are not always there


def at(event: str, index: int = 0) -> Callable[[Request], bool]:
    return lambda asked: isinstance(asked, Contribute) and (asked.event, asked.index) == (event, index)


def at_the_end(asked: Request) -> bool:
    return isinstance(asked, Finish)


def lose_replies(fleet: TinyFleet, name: str, when: Callable[[Request], bool]) -> None:
    """The site answers, and nobody hears it."""
    node = fleet.nodes[name]

    def ask(request: bytes) -> bytes:
        node.silent = when(node.asked[-1])
        return fleet.guards[name].answer(request)

    node.ask = ask


def fail(fleet: TinyFleet, name: str, when: Callable[[Request], bool]) -> None:
    """The site's guard is never asked."""
    node = fleet.nodes[name]

    def ask(request: bytes) -> bytes:
        if when(node.asked[-1]):
            raise ConnectionError
        return fleet.guards[name].answer(request)

    node.ask = ask


@UNDER_EITHER_TRUST
def test_a_run_with_a_site_that_misses_a_release_and_comes_back_is_certified_with_its_absence(
    group: TinyGroup, plan: Plan, fleet: TinyFleet, tmp_path: Path, wanted: Settings
) -> None:
    fail(fleet, "West", at(GRADIENT, 0))
    release = train(fleet, group.load(), wanted, tmp_path / "run-1")
    verdict = verify_release(release, group.group / "roots.json")
    assert verdict.ok, verdict.failed
    assert certificate(group, release).absences == (Absence("West", GRADIENT, 0, FAILED),)
    once, all_ = amounts.once(plan.event(GRADIENT)), amounts.total(plan)
    assert spends(group) == {name: all_ - (once if name == "West" else 0) for name in FIVE}
    told = [event.facts for event in read_log(tmp_path / "run-1") if event.what == "absent"]
    assert told == [{"site": "West", "reason": FAILED, "event": GRADIENT, "index": 0}]


@UNDER_EITHER_TRUST
def test_a_site_whose_reply_was_lost_is_charged_once_for_what_nobody_got(
    group: TinyGroup, plan: Plan, fleet: TinyFleet, tmp_path: Path, wanted: Settings
) -> None:
    lose_replies(fleet, "West", at(GRADIENT, 1))
    release = train(fleet, group.load(), wanted, tmp_path / "run-1")
    verdict = verify_release(release, group.group / "roots.json")
    assert verdict.ok, verdict.failed
    assert certificate(group, release).absences == (Absence("West", GRADIENT, 1, SILENT),)
    assert spends(group) == dict.fromkeys(FIVE, amounts.total(plan))


@UNDER_EITHER_TRUST
def test_a_site_that_comes_after_the_first_release_takes_part_from_then_on(
    group: TinyGroup, plan: Plan, fleet: TinyFleet, tmp_path: Path, wanted: Settings
) -> None:
    fail(fleet, "East", at(SECOND_MOMENTS))
    release = train(fleet, group.load(), wanted, tmp_path / "run-1")
    verdict = verify_release(release, group.group / "roots.json")
    assert verdict.ok, verdict.failed
    found = certificate(group, release)
    assert [(one.site, one.event) for one in found.absences] == [("East", SECOND_MOMENTS)]
    assert [account.site for account in found.accounts] == list(FIVE)


@UNDER_EITHER_TRUST
def test_a_site_that_is_never_there_has_no_account_and_is_charged_nothing(
    group: TinyGroup, plan: Plan, fleet: TinyFleet, tmp_path: Path, wanted: Settings
) -> None:
    fleet.nodes["Middle"].online = False
    release = train(fleet, group.load(), wanted, tmp_path / "run-1")
    verdict = verify_release(release, group.group / "roots.json")
    assert verdict.ok, verdict.failed
    found = certificate(group, release)
    assert [account.site for account in found.accounts] == [name for name in FIVE if name != "Middle"]
    assert {one.site for one in found.absences} == {"Middle"}
    assert {one.reason for one in found.absences} == {SILENT}
    assert spends(group)["Middle"] == 0


@UNDER_EITHER_TRUST
def test_a_site_that_refuses_is_named_in_its_own_words_and_the_others_go_on(
    group: TinyGroup, fleet: TinyFleet, tmp_path: Path, wanted: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    south = group.sites[3]
    tighter = replace(south.policy, largest_mu2="0.01")
    (south.folder / POLICY_FILE).unlink()
    write_policy(south.folder / POLICY_FILE, tighter)
    release = train(fleet, group.load(), wanted, tmp_path / "run-1")
    verdict = verify_release(release, group.group / "roots.json")
    assert verdict.ok, verdict.failed
    assert {(one.site, one.reason) for one in certificate(group, release).absences} == {("South", REFUSED)}
    assert "South: policy, largest_mu2: expected at most 0.01" in caplog.text
    assert spends(group)["South"] == 0


@UNDER_EITHER_TRUST
def test_a_run_that_lost_too_many_sites_goes_on_later_and_charges_nobody_twice(
    group: TinyGroup, plan: Plan, fleet: TinyFleet, tmp_path: Path, wanted: Settings
) -> None:
    """One of the two was charged for the release that did not come about; it is answered with the same bytes."""
    lose_replies(fleet, "West", at(GRADIENT, 1))
    fail(fleet, "East", at(GRADIENT, 1))
    with pytest.raises(Refused, match="expected replies of 4 sites, got 3"):
        train(fleet, group.load(), wanted, tmp_path / "run-1")
    assert [event.what for event in read_log(tmp_path / "run-1")][-1] == "failed"
    release = run_embedded(group.group, group.folders, wanted, tmp_path / "run-1")
    verdict = verify_release(release, group.group / "roots.json")
    assert verdict.ok, verdict.failed
    assert certificate(group, release).absences == ()
    assert spends(group) == dict.fromkeys(FIVE, amounts.total(plan))
    assert {"resumed", "finished"} <= {event.what for event in read_log(tmp_path / "run-1")}


@UNDER_EITHER_TRUST
def test_a_run_whose_site_is_gone_at_the_end_is_closed_once_it_is_back(
    group: TinyGroup, plan: Plan, fleet: TinyFleet, tmp_path: Path, wanted: Settings
) -> None:
    """Nobody else can show what it was charged."""
    fail(fleet, "West", at_the_end)
    with pytest.raises(Refused, match="closing: expected replies of 5 sites, got 4, none of West"):
        train(fleet, group.load(), wanted, tmp_path / "run-1")
    fleet.nodes["West"].ask = fleet.guards["West"].answer
    asked = {name: len(node.asked) for name, node in fleet.nodes.items()}
    release = train(fleet, group.load(), wanted, tmp_path / "run-1")
    assert verify_release(release, group.group / "roots.json").ok
    for name, node in fleet.nodes.items():
        assert not any(isinstance(one, Contribute) for one in node.asked[asked[name] :])
    assert spends(group) == dict.fromkeys(FIVE, amounts.total(plan))


@pytest.mark.parametrize(
    "other",
    [{"epsilon": "0.5"}, {"rounds": 3}, {"run": "run-2"}, {"measures": ("head-count",)}],
    ids=lambda other: next(iter(other)),
)
def test_a_run_goes_on_only_under_the_settings_that_it_began_with(
    group: TinyGroup, fleet: TinyFleet, tmp_path: Path, wanted: Settings, other: dict[str, object]
) -> None:
    for name in ("East", "West"):
        fail(fleet, name, at(SECOND_MOMENTS))
    with pytest.raises(Refused):
        train(fleet, group.load(), wanted, tmp_path / "run")
    before = spends(group)
    kinds = {"run": "run-1", "rounds": 2, "deadline": 1.0, **other}
    with pytest.raises(InputError, match="settings that its run was begun with"):
        train(fleet, group.load(), settings(**kinds), tmp_path / "run")  # type: ignore[arg-type]
    assert spends(group) == before
    assert begun(tmp_path / "run", 1.0) == wanted


def test_a_run_goes_on_under_another_deadline(
    group: TinyGroup, fleet: TinyFleet, tmp_path: Path, wanted: Settings
) -> None:
    for name in ("East", "West"):
        fail(fleet, name, at(SECOND_MOMENTS))
    with pytest.raises(Refused):
        train(fleet, group.load(), wanted, tmp_path / "run")
    release = run_embedded(group.group, group.folders, replace(wanted, deadline=5.0), tmp_path / "run")
    assert verify_release(release, group.group / "roots.json").ok


# Garbage that masks hide


def mask_garbage(group: TinyGroup, fleet: TinyFleet, when: Callable[[Request], bool]) -> None:
    """The first site sends other values than its own, rightly signed."""
    guard, site = fleet.guards[FIVE[0]], group.sites[0]
    keys = {site.name: verifier(site.signer.public)}

    def ask(request: bytes) -> bytes:
        answer, asked = guard.answer(request), opened(request)
        told = sealed.open_reply(answer, request, keys)[1]
        if not (when(asked) and isinstance(told, Contribution)):
            return answer
        garbage = (np.frombuffer(told.values, dtype="<u8") + np.uint64(2**62)).astype("<u8").tobytes()
        return sealed.seal_reply(with_values(group, told, garbage), request, site.signer)

    fleet.nodes[site.name].ask = ask


@pytest.mark.parametrize("trust", [SECURE_SUM])
def test_a_gradient_that_masked_garbage_spoiled_is_not_used_and_the_certificate_says_so(
    group: TinyGroup, fleet: TinyFleet, tmp_path: Path, wanted: Settings
) -> None:
    mask_garbage(group, fleet, at(GRADIENT, 0))
    release = train(fleet, group.load(), replace(wanted, rounds=6), tmp_path / "run-1")
    verdict = verify_release(release, group.group / "roots.json")
    assert verdict.ok, verdict.failed
    told = certificate(group, release).not_covered
    assert any("gradient 0: a site that nobody can name: its sum was out of range" in line for line in told)


@pytest.mark.parametrize("trust", [SECURE_SUM])
def test_second_moments_that_masked_garbage_spoiled_end_the_run(
    group: TinyGroup, fleet: TinyFleet, tmp_path: Path, wanted: Settings
) -> None:
    mask_garbage(group, fleet, at(SECOND_MOMENTS))
    for _ in range(2):
        with pytest.raises(Refused, match="garbage under its masks"):
            train(fleet, group.load(), wanted, tmp_path / "run-1")
    assert not (tmp_path / "run-1" / "release").exists()
