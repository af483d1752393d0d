"""The guard's rules, by their attacks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from federation.group import load_group
from federation.guard import Contribution, EmbeddedGuard, Request
from federation.site import Site, load_site
from federation.training_run import plan_run
from models.planning import GRADIENT, SECOND_MOMENTS
from privacy import amounts
from privacy.budget import PurposeGroup, first_budget
from privacy.errors import BudgetExceeded, InputError, KithError, Refused
from privacy.ledger import Ledger
from privacy.ledger_excerpt import LedgerExcerpt
from privacy.plan import FLOAT64, GaussianSum, Plan
from privacy.receipt import open_receipt
from privacy.signing import verifier
from tests.federation.tiny_group import TinyGroup, tiny_group
from tests.small_group import DELTA, budget, settings, small_group


@pytest.fixture
def group(tmp_path: Path) -> TinyGroup:
    return tiny_group(tmp_path)


@pytest.fixture
def plan(group: TinyGroup) -> Plan:
    return plan_run(load_group(group.group), settings())


def moments(plan: Plan, run: str = "run-1") -> Request:
    return Request(run, plan.to_bytes(), SECOND_MOMENTS, 0, b"")


def gradient(plan: Plan, weights: np.ndarray, index: int = 0) -> Request:
    return Request("run-1", plan.to_bytes(), GRADIENT, index, weights.astype("<f8").tobytes())


def entries(site: Site) -> int:
    ledger = site.open_ledger()
    size = ledger.head().size
    ledger.close()
    return size


def test_a_contribution_is_noisy_charged_and_signed_under_its_receipt(group: TinyGroup, plan: Plan) -> None:
    site = group.sites[0]
    answer = EmbeddedGuard(site).contribute(moments(plan))
    receipt = open_receipt(answer.receipt, verifier(site.signer.public))
    ledger = site.open_ledger()
    assert receipt.contribution == hashlib.sha256(answer.values).hexdigest()
    assert (receipt.site, receipt.run, receipt.event, receipt.noise) == (site.name, "run-1", SECOND_MOMENTS, "os")
    assert ledger.totals.spent > 0
    assert len(answer.values) == 8 * plan.event(SECOND_MOMENTS).coordinates


def test_a_repeated_request_gets_the_same_bytes_and_no_new_charge(group: TinyGroup, plan: Plan) -> None:
    site = group.sites[0]
    first = EmbeddedGuard(site).contribute(moments(plan))
    size = entries(site)
    again = EmbeddedGuard(load_site(site.folder)).contribute(moments(plan))  # as after a restart of the guard
    assert again == first
    assert entries(site) == size


def test_the_same_release_at_another_state_is_refused_before_anything_is_charged(group: TinyGroup, plan: Plan) -> None:
    site, d = group.sites[0], plan.event(GRADIENT).coordinates
    guard = EmbeddedGuard(site)
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


def shared_noise(plan: Plan) -> Plan:
    return replace(plan, trust="secure-sum")


def without_this_site(plan: Plan) -> Plan:
    return replace(plan, sites=plan.sites[1:])


@pytest.mark.parametrize(
    "lie",
    [
        halved_sensitivity,
        coarser_grid,
        another_event,
        larger_clip,
        another_space,
        another_purpose,
        shared_noise,
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
        EmbeddedGuard(site).contribute(moments(lie(plan)))
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
        EmbeddedGuard(site).contribute(moments(ask(plan)))
    assert entries(site) == 1


def test_a_use_case_in_no_purpose_group_is_refused_before_anything_is_read_or_written(tmp_path: Path) -> None:
    group = tiny_group(tmp_path, allowed=first_budget(Decimal(10), DELTA, ("growth",)))
    site = group.sites[0]
    with (site.folder / "site.toml").open(encoding="utf-8") as file:
        text = file.read().replace("growth", "retention")  # the site's file allows it, its officers do not
    (site.folder / "site.toml").write_text(text, encoding="utf-8")
    site.source.unlink()
    with pytest.raises(Refused, match="retention"):
        EmbeddedGuard(load_site(site.folder)).contribute(moments(plan_run(group.load(), settings())))
    assert entries(site) == 1


def test_a_plan_over_budget_is_refused_before_data_is_read_with_what_is_left_and_what_was_asked(tmp_path: Path) -> None:
    group = tiny_group(tmp_path, allowed=budget("0.01"))
    plan = plan_run(load_group(group.group), settings())
    site = group.sites[0]
    site.source.unlink()
    with pytest.raises(BudgetExceeded, match=r"0\.01") as refusal:
        EmbeddedGuard(site).contribute(moments(plan))
    assert "0.0718" in str(refusal.value)  # mu² of epsilon 1 at delta 1e-5
    assert entries(site) == 1


def test_a_group_of_purposes_has_a_cap_of_its_own(tmp_path: Path) -> None:
    tight = (PurposeGroup("leaving", "0.01", ("retention",)), PurposeGroup("growing", "1", ("growth",)))
    group = tiny_group(tmp_path, allowed=first_budget(Decimal(1), DELTA, (), groups=tight))
    site = group.sites[0]
    with pytest.raises(BudgetExceeded, match=r"0\.01"):
        EmbeddedGuard(site).contribute(moments(plan_run(group.load(), settings())))
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
    guard = EmbeddedGuard(site)
    guard.contribute(moments(plan))
    size = entries(site)
    d = plan.event(GRADIENT).coordinates
    padded = state * d if state and len(state) == 8 and np.isnan(np.frombuffer(state)).any() else state
    with pytest.raises(InputError, match="state"):
        guard.contribute(Request("run-1", plan.to_bytes(), GRADIENT, 0, padded))
    assert entries(site) == size


def test_the_charge_is_on_disk_before_anything_is_computed_from_the_rows(
    group: TinyGroup, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    site = group.sites[0]
    monkeypatch.setattr("models.training.SiteSums.__init__", fail)
    with pytest.raises(Refused):
        EmbeddedGuard(site).contribute(moments(plan))
    ledger = site.open_ledger()
    assert ledger.totals.spent > 0


def test_rows_that_can_not_be_read_reserve_and_charge_nothing(group: TinyGroup, plan: Plan) -> None:
    site = group.sites[0]
    site.source.unlink()
    with pytest.raises(Refused):
        EmbeddedGuard(site).contribute(moments(plan))
    assert entries(site) == 1


def test_a_repeated_request_is_answered_although_the_rows_are_gone(group: TinyGroup, plan: Plan) -> None:
    site = group.sites[0]
    first = EmbeddedGuard(site).contribute(moments(plan))
    site.source.unlink()
    assert EmbeddedGuard(site).contribute(moments(plan)) == first


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
    guards = [EmbeddedGuard(one) for one in (site, without)]
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
        guard = EmbeddedGuard(site)
        answers = [
            guard.contribute(moments(plan)),
            guard.contribute(gradient(plan, np.zeros(plan.event(GRADIENT).coordinates))),
        ]
        receipts = [open_receipt(answer.receipt, verifier(site.signer.public)) for answer in answers]
        finished = guard.finish("run-1")
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
    guard = EmbeddedGuard(site)
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
    guard = EmbeddedGuard(group.sites[0])
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
    guard = EmbeddedGuard(site)
    guard.contribute(moments(plan))
    size_before = entries(site)
    with pytest.raises(InputError, match="state"):
        guard.contribute(gradient(plan, np.resize([size, -size], d)))
    assert entries(site) == size_before


def test_a_request_out_of_order_reserves_nothing(group: TinyGroup, plan: Plan) -> None:
    site, d = group.sites[0], plan.event(GRADIENT).coordinates
    with pytest.raises(Refused):
        EmbeddedGuard(site).contribute(gradient(plan, np.zeros(d), index=2))
    assert entries(site) == 1


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
        EmbeddedGuard(site).contribute(moments(plan))
    assert str(refusal.value) == f"site {site.name!r}: its rows can not be used; its own log says why"


def test_a_site_without_a_labelled_row_answers_like_any_other(group: TinyGroup, plan: Plan) -> None:
    """One person or none: an error in one case and an answer in the other would tell them apart with certainty."""
    site = group.sites[0]
    frame = pd.read_csv(site.source, dtype=str)
    frame["left"] = ""
    frame.to_csv(site.source, index=False)
    guard = EmbeddedGuard(site)
    d = plan.event(GRADIENT).coordinates
    assert len(guard.contribute(moments(plan)).values) == 8 * plan.event(SECOND_MOMENTS).coordinates
    assert len(guard.contribute(gradient(plan, np.zeros(d))).values) == 8 * d


def test_every_run_reads_the_table_anew(tmp_path: Path) -> None:
    """Whoever has left the table since the last run is not in the next one, however warm the guard is."""
    group = small_group(tmp_path, cap="5")
    plan = plan_run(load_group(group.group), settings(epsilon="5"))
    site = next(site for site in group.sites if site.name == "Brightmoor Care")
    guard = EmbeddedGuard(site)
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
        EmbeddedGuard(site).contribute(moments(plan))
    assert canary not in str(error.value)


def test_a_missing_ledger_is_not_taken_for_an_empty_one(group: TinyGroup, plan: Plan) -> None:
    (group.sites[0].folder / "ledger.sqlite").unlink()
    with pytest.raises(InputError):
        EmbeddedGuard(group.sites[0])


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
        EmbeddedGuard(replace(group.sites[0], noise="numpy"))


def test_the_ledger_of_a_run_verifies(group: TinyGroup, plan: Plan) -> None:
    guard = EmbeddedGuard(group.sites[0])
    guard.contribute(moments(plan))
    guard.finish("run-1")
    Ledger.open(group.sites[0].folder / "ledger.sqlite").verify()
