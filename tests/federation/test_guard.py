"""The guard's rules, by their attacks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from federation.group import load_group
from federation.guard import Contribution, EmbeddedGuard, Request
from federation.site import Site, load_site
from federation.training_run import plan_run
from models.planning import GRADIENT, SECOND_MOMENTS
from privacy.errors import BudgetExceeded, InputError, KithError, Refused
from privacy.ledger import Ledger
from privacy.plan import GaussianSum, Plan
from privacy.receipt import open_receipt
from privacy.signing import verifier
from tests.small_group import SmallGroup, settings, small_group


@pytest.fixture
def group(tmp_path: Path) -> SmallGroup:
    return small_group(tmp_path)


@pytest.fixture
def plan(group: SmallGroup) -> Plan:
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


def test_a_contribution_is_noisy_charged_and_signed_under_its_receipt(group: SmallGroup, plan: Plan) -> None:
    site = group.sites[0]
    answer = EmbeddedGuard(site).contribute(moments(plan))
    receipt = open_receipt(answer.receipt, verifier(site.signer.public))
    ledger = site.open_ledger()
    assert receipt.contribution == hashlib.sha256(answer.values).hexdigest()
    assert (receipt.site, receipt.run, receipt.event, receipt.noise) == (site.name, "run-1", SECOND_MOMENTS, "os")
    assert ledger.spent > 0
    assert len(answer.values) == 8 * plan.event(SECOND_MOMENTS).coordinates


def test_a_repeated_request_gets_the_same_bytes_and_no_new_charge(group: SmallGroup, plan: Plan) -> None:
    site = group.sites[0]
    first = EmbeddedGuard(site).contribute(moments(plan))
    size = entries(site)
    again = EmbeddedGuard(load_site(site.folder)).contribute(moments(plan))  # as after a restart of the guard
    assert again == first
    assert entries(site) == size


def test_the_same_release_at_another_state_is_refused_before_anything_is_charged(group: SmallGroup, plan: Plan) -> None:
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
    group: SmallGroup, plan: Plan, lie: Callable[[Plan], Plan]
) -> None:
    site = next(site for site in group.sites if site.name == plan.sites[0].name)
    size = entries(site)
    site.source.unlink()  # whatever opened it would say so
    with pytest.raises(Refused, match="plan"):
        EmbeddedGuard(site).contribute(moments(lie(plan)))
    assert entries(site) == size


def test_a_plan_over_budget_is_refused_before_data_is_read_with_what_is_left_and_what_was_asked(tmp_path: Path) -> None:
    group = small_group(tmp_path, cap="0.01")
    plan = plan_run(load_group(group.group), settings())
    site = group.sites[0]
    site.source.unlink()
    with pytest.raises(BudgetExceeded, match=r"0\.01") as refusal:
        EmbeddedGuard(site).contribute(moments(plan))
    assert "0.0718" in str(refusal.value)  # mu² of epsilon 1 at delta 1e-5
    assert entries(site) == 1


@pytest.mark.parametrize(
    "state",
    [b"", b"\0" * 8, np.array([np.nan]).tobytes(), b"x" * 999],
    ids=["none", "too short", "nan", "no float64"],
)
def test_a_state_that_is_no_weights_is_refused_before_anything_is_charged(
    group: SmallGroup, plan: Plan, state: bytes
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


def test_the_charge_is_on_disk_before_the_table_is_opened(group: SmallGroup, plan: Plan) -> None:
    site = group.sites[0]
    site.source.unlink()
    with pytest.raises(Refused):
        EmbeddedGuard(site).contribute(moments(plan))
    ledger = site.open_ledger()
    assert ledger.spent > 0


def test_the_noise_is_there(group: SmallGroup, plan: Plan) -> None:
    """Two runs of one plan at one state differ by noise of the plan's scale: sd of the difference is sqrt(2) times it.

    4,000 and more coordinates: the estimate's own deviation is below 1.2 %, so 10 % off is over 8 deviations away.
    """
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
    group: SmallGroup, plan: Plan, size: float
) -> None:
    """Weights of opposite signs on chosen bins would make NaN of exactly the rows that hold both: an oracle."""
    site, d = group.sites[0], plan.event(GRADIENT).coordinates
    guard = EmbeddedGuard(site)
    guard.contribute(moments(plan))
    size_before = entries(site)
    with pytest.raises(InputError, match="state"):
        guard.contribute(gradient(plan, np.resize([size, -size], d)))
    assert entries(site) == size_before


def test_a_request_out_of_order_reserves_nothing(group: SmallGroup, plan: Plan) -> None:
    site, d = group.sites[0], plan.event(GRADIENT).coordinates
    with pytest.raises(Refused):
        EmbeddedGuard(site).contribute(gradient(plan, np.zeros(d), index=2))
    assert entries(site) == 1


@pytest.mark.parametrize("fault", ["missing", "unknown category", "missing column", "not a table"])
def test_whatever_is_wrong_with_the_table_the_same_words_leave(group: SmallGroup, plan: Plan, fault: str) -> None:
    site = group.sites[0]
    text = site.source.read_text(encoding="utf-8")
    if fault == "missing":
        site.source.unlink()
    elif fault == "unknown category":
        site.source.write_text(text.replace("remote", "moon", 1), encoding="utf-8")
    elif fault == "missing column":
        site.source.write_text(text.replace("overtime_hours", "hours", 1), encoding="utf-8")
    else:
        site.source.write_bytes(b"\0" * 100)
    with pytest.raises(Refused) as refusal:
        EmbeddedGuard(site).contribute(moments(plan))
    assert str(refusal.value) == f"site {site.name!r}: its rows can not be used; its own log says why"


def test_a_site_without_a_labelled_row_answers_like_any_other(group: SmallGroup, plan: Plan) -> None:
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


def test_an_error_names_no_value_of_a_person(group: SmallGroup, plan: Plan) -> None:
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


def test_a_missing_ledger_is_not_taken_for_an_empty_one(group: SmallGroup, plan: Plan) -> None:
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
        "\xff",
    ],
)
def test_a_malformed_site_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "site.toml").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"site\.toml"):
        load_site(tmp_path)


def test_an_unknown_noise_source_is_refused(group: SmallGroup) -> None:
    with pytest.raises(InputError, match="noise"):
        EmbeddedGuard(replace(group.sites[0], noise="numpy"))


def test_the_ledger_of_a_run_verifies(group: SmallGroup, plan: Plan) -> None:
    guard = EmbeddedGuard(group.sites[0])
    guard.contribute(moments(plan))
    guard.finish("run-1")
    Ledger.open(group.sites[0].folder / "ledger.sqlite").verify()
