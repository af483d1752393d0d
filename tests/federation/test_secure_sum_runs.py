"""Whole runs under a secure sum, with sites that drop out, lie or come back, and a coordinator that dies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from federation import wire
from federation.guard import Guard
from federation.rounds import Rounds
from federation.run_settings import Settings
from federation.secure_sum.adverts import Participants
from federation.secure_sum.at_coordinator import SumOfRun
from federation.secure_sum.at_site import SumAtSite
from federation.secure_sum.site_secrets import BAG_BYTES
from federation.site import load_site
from federation.training_run import plan_run, train
from federation.wire import Advertise, Agree, Contribute, Request, Unmask
from models.planning import GRADIENT, SECOND_MOMENTS
from models.release import read_release
from privacy import amounts
from privacy.certificate import GARBAGE, SILENT, Absence, Certificate, open_certificate
from privacy.errors import InputError, Refused
from privacy.randomness import OS_FLOAT64, SEEDED
from privacy.verify import verify_release
from tests.federation.tiny_fleet import TinyFleet, opened, says
from tests.federation.tiny_group import TinyGroup, tiny_group
from tests.small_group import settings

FIVE = ("East", "Middle", "North", "South", "West")
When = Callable[[Request], bool]


@pytest.fixture
def group(tmp_path: Path) -> TinyGroup:
    return tiny_group(tmp_path, names=FIVE)


def secure(rounds: int) -> Settings:
    return replace(settings(rounds=rounds), trust="secure-sum", deadline=1.0)


def trained(fleet: TinyFleet, group: TinyGroup, out: Path, rounds: int = 3) -> Path:
    return train(fleet, group.load(), secure(rounds=rounds), out)


def certified(release: Path, group: TinyGroup) -> Certificate:
    """The certificate of a release that verifies."""
    verdict = verify_release(release, group.group / "roots.json")
    assert verdict.ok, verdict.failed
    data = (release / "certificate.dsse.json").read_bytes()
    return open_certificate(data, group.load().keys.trusted().coordinator)[0]


def spent(group: TinyGroup) -> dict[str, tuple[Fraction, int]]:
    """What each site's people were charged, and by how many charges."""
    found = {}
    for site in group.sites:
        ledger = site.open_ledger()
        found[site.name] = ledger.totals.spent, ledger.head().size
        ledger.close()
    return found


def silent_when(fleet: TinyFleet, name: str, when: When, *, does_it: bool) -> None:
    """From a site nothing comes where `when` says so, whether it does what it was asked or not."""
    node, ask = fleet.nodes[name], fleet.nodes[name].ask

    def answer(request: bytes) -> bytes:
        node.silent = when(opened(request))
        return ask(request) if does_it or not node.silent else b""

    node.ask = answer


def release_of(request: Request) -> tuple[str, int] | None:
    return (request.event, request.index) if isinstance(request, Contribute | Agree | Unmask) else None


def test_a_run_under_a_secure_sum_verifies_and_has_no_model_of_any_site_alone(group: TinyGroup, tmp_path: Path) -> None:
    release = trained(TinyFleet(group), group, tmp_path / "run")
    certificate = certified(release, group)
    assert certificate.mechanism.trust == "secure-sum"
    assert (certificate.mechanism.replies_at_least, certificate.mechanism.colluding) == (4, 1)
    assert not certificate.absences
    model = read_release(release)
    shared = model.scorers[""].weights
    assert all(np.array_equal(scorer.weights, shared) for scorer in model.scorers.values())


def test_no_exchange_is_spent_on_agreeing_where_nobody_dropped_out(group: TinyGroup, tmp_path: Path) -> None:
    fleet = TinyFleet(group)
    trained(fleet, group, tmp_path / "run")
    kinds = [type(request).__name__ for request in fleet.nodes["West"].asked]
    assert kinds == ["Advertise", "Share", *(["Contribute", "Unmask"] * 4), "Finish", "Witness"]


@pytest.mark.parametrize("does_it", [False, True], ids=["before masking", "after masking, on the way"])
def test_a_site_whose_contribution_does_not_arrive_is_left_out_of_that_sum_alone(
    group: TinyGroup, tmp_path: Path, does_it: bool
) -> None:
    fleet = TinyFleet(group)
    silent_when(
        fleet,
        "Middle",
        lambda asked: isinstance(asked, Contribute) and asked.event == GRADIENT and asked.index == 1,
        does_it=does_it,
    )
    certificate = certified(trained(fleet, group, tmp_path / "run"), group)
    assert certificate.absences == (Absence("Middle", GRADIENT, 1, SILENT),)
    assert any(isinstance(request, Agree) for request in fleet.nodes["West"].asked)
    charges = spent(group)
    assert (charges["Middle"][0] == charges["West"][0]) == does_it  # what was computed was charged


def test_a_site_that_is_gone_once_its_contribution_has_arrived_is_in_the_sum(group: TinyGroup, tmp_path: Path) -> None:
    fleet = TinyFleet(group)
    silent_when(fleet, "East", lambda asked: isinstance(asked, Unmask), does_it=False)
    assert not certified(trained(fleet, group, tmp_path / "run"), group).absences


def test_below_the_threshold_nobody_unmasks_and_the_run_goes_on_when_the_sites_are_back(
    group: TinyGroup, tmp_path: Path
) -> None:
    fleet = TinyFleet(group)
    for name in ("North", "South"):
        silent_when(fleet, name, lambda asked: release_of(asked) == (GRADIENT, 0), does_it=True)
    with pytest.raises(Refused, match="North, South"):
        trained(fleet, group, tmp_path / "run")
    assert not any(isinstance(r, Unmask) and r.event == GRADIENT for n in fleet.nodes.values() for r in n.asked)
    after = spent(group)
    certificate = certified(trained(TinyFleet(group), group, tmp_path / "run"), group)
    assert not certificate.absences
    whole = Fraction(certificate.cost.mu2)
    assert all(total == whole for total, _ in spent(group).values())
    assert all(total < whole for total, _ in after.values())


def test_a_coordinator_that_dies_before_unmasking_unmasks_the_same_sum_later(
    group: TinyGroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knew of four contributions when it died; all five sites are there when it goes on."""
    fleet = TinyFleet(group)
    silent_when(fleet, "Middle", lambda asked: release_of(asked) == (GRADIENT, 2), does_it=True)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    ask_survivors = Rounds._ask_survivors

    def dies_in_the_last(rounds: Rounds, what: str, asked: Request, *rest: object) -> object:
        if what == "unmasking" and release_of(asked) == (GRADIENT, 2):
            die()
        return ask_survivors(rounds, what, asked, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(Rounds, "_ask_survivors", dies_in_the_last)
        with pytest.raises(KeyboardInterrupt):
            trained(fleet, group, tmp_path / "run")
    before = spent(group)
    certificate = certified(trained(TinyFleet(group), group, tmp_path / "run"), group)
    assert certificate.absences == (Absence("Middle", GRADIENT, 2, SILENT),)
    assert {name: total for name, (total, _) in spent(group).items()} == {name: t for name, (t, _) in before.items()}


def test_a_coordinator_that_dies_while_shares_are_dealt_goes_on_with_the_same_participants(
    group: TinyGroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = TinyFleet(group)
    silent_when(fleet, "East", lambda asked: isinstance(asked, Advertise), does_it=False)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(SumOfRun, "shared", die)
        with pytest.raises(KeyboardInterrupt):
            trained(fleet, group, tmp_path / "run")
    certificate = certified(trained(TinyFleet(group), group, tmp_path / "run"), group)
    assert {(one.site, one.reason) for one in certificate.absences} == {("East", SILENT)}


def test_a_guard_that_is_started_anew_between_two_releases_goes_on_in_the_sum(group: TinyGroup, tmp_path: Path) -> None:
    fleet = TinyFleet(group)
    node, seen = fleet.nodes["South"], []

    def answer(request: bytes) -> bytes:
        seen.append(opened(request))
        return Guard(load_site(group.sites[3].folder)).answer(request)

    node.ask = answer
    assert not certified(trained(fleet, group, tmp_path / "run"), group).absences
    assert len(seen) == 12


def masked_with(fleet: TinyFleet, name: str, event: str, garbage: Callable[[bytes], bytes]) -> None:
    """A site whose guard has somebody else's hands in its masked values, under a receipt that it signs."""
    sums = fleet.guards[name]._sums
    mask = sums.mask

    def spoiled(run: str, asked: str, index: int, values: np.ndarray) -> np.ndarray:
        found = mask(run, asked, index, values)
        return np.frombuffer(garbage(found.tobytes()), dtype=np.uint64) if asked == event and index == 0 else found

    sums.mask = spoiled  # type: ignore[method-assign]


def test_garbage_under_masks_makes_a_gradient_unusable_and_is_told_in_the_certificate(
    group: TinyGroup, tmp_path: Path
) -> None:
    fleet, random = TinyFleet(group), np.random.default_rng(3)
    masked_with(fleet, "North", GRADIENT, lambda data: random.bytes(len(data)))
    certificate = certified(trained(fleet, group, tmp_path / "run", rounds=5), group)
    assert any("gradient 0: a site that nobody can name" in one for one in certificate.not_covered)


def test_a_site_that_deals_garbage_for_gradients_ends_the_run_by_name_before_it_costs_everybody_all(
    group: TinyGroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = SumAtSite._bags

    def bags(sums: SumAtSite, participants: Participants) -> dict[str, bytes]:
        found = real(sums, participants)
        if sums._site != "East":
            return found
        return {to: bag if to == "East" else bag[:BAG_BYTES] + bytes(len(bag) - BAG_BYTES) for to, bag in found.items()}

    monkeypatch.setattr(SumAtSite, "_bags", bags)
    for _ in range(2):
        with pytest.raises(Refused, match=r"gradient 1: .*East: its secret can not be restored"):
            trained(TinyFleet(group), group, tmp_path / "run", rounds=6)
    assert any("gradient 0 can not be used: East" in one for one in caplog.messages)
    site = group.sites[0]
    plan = plan_run(group.load(), secure(rounds=6))
    charged = sum((amounts.once(plan.event(event)) for event, _ in plan.releases[:3]), Fraction(0))
    assert site.open_ledger().totals.lifetime == charged


@pytest.mark.parametrize("trust", ["local", "secure-sum"])
@pytest.mark.parametrize("name", [SEEDED, OS_FLOAT64, "x" * 300])
def test_a_site_that_says_other_noise_than_the_plans_is_left_out_and_the_release_verifies(
    group: TinyGroup, tmp_path: Path, trust: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = TinyFleet(group)
    monkeypatch.setattr(fleet.guards["East"]._noise, "name", name, raising=False)
    release = train(fleet, group.load(), replace(secure(rounds=4), trust=trust), tmp_path / "run")
    absent = {(one.site, one.reason) for one in certified(release, group).absences}
    assert absent == {("East", GARBAGE)}


@pytest.mark.parametrize("module", ["checkpoints", "wire"])
@pytest.mark.parametrize("trust", ["local", "secure-sum"])
def test_a_plan_too_large_to_carry_or_keep_is_refused_before_anybody_is_charged(
    group: TinyGroup, tmp_path: Path, trust: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"federation.{module}.MAX_BYTES", 2_000)
    with pytest.raises(InputError, match="plan: expected"):
        train(TinyFleet(group), group.load(), replace(secure(rounds=4), trust=trust), tmp_path / "run")
    assert not any(charged for charged, _ in spent(group).values())


def test_garbage_under_the_first_sums_masks_ends_the_run_in_words(group: TinyGroup, tmp_path: Path) -> None:
    fleet, random = TinyFleet(group), np.random.default_rng(3)
    masked_with(fleet, "North", SECOND_MOMENTS, lambda data: random.bytes(len(data)))
    with pytest.raises(Refused, match="garbage under its masks"):
        trained(fleet, group, tmp_path / "run")


def test_masked_values_of_another_length_are_garbage_by_name_and_the_others_go_on(
    group: TinyGroup, tmp_path: Path
) -> None:
    fleet = TinyFleet(group)
    masked_with(fleet, "West", GRADIENT, lambda data: data[:-8])
    certificate = certified(trained(fleet, group, tmp_path / "run"), group)
    assert certificate.absences == (Absence("West", GRADIENT, 0, GARBAGE),)


def test_a_site_that_says_something_else_than_its_keys_is_left_out_of_the_whole_run(
    group: TinyGroup, tmp_path: Path
) -> None:
    fleet = TinyFleet(group)
    fleet.nodes["South"].ask = says(group.sites[3].signer, wire.Advertised(b"no keys"))
    certificate = certified(trained(fleet, group, tmp_path / "run"), group)
    assert [one.site for one in certificate.accounts] == [name for name in FIVE if name != "South"]
    assert {(one.site, one.reason) for one in certificate.absences} == {("South", GARBAGE)}
    assert len(certificate.absences) == 4
