from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import nullcontext
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from models import audit as module
from models.audit import Experiment, audit_plan, on_twin, run_audit, trainings, twin_rows, worker_pool
from models.audit_command import app
from models.audit_faults import FAULTS, NO_CLIP, fault_of
from models.evaluation import added_up
from models.features import ONE, FeatureSpace
from models.planning import GRADIENT, SECOND_MOMENTS, plan_at_epsilon
from models.training import SiteSums
from privacy import canonical
from privacy.audit import AuditResult
from privacy.errors import InputError, Refused
from privacy.plan import Plan
from privacy.randomness import seeded_source
from records.contract import BinaryLabel, Contract, NumberLabel
from tests.models.spaces import BINARY, QUANTITY, category, contract_of, contracts, number, ordered, space_of

COLUMNS = (number("hours"), number("mark", 1.0, 5.0, step=1.0), ordered("grade", "low", "middle", "high"))
SPACE = space_of(*COLUMNS)
DELTA = Decimal("0.00001")
RUNS = 240


def plan_at(claim: str, space: FeatureSpace = SPACE, rounds: int = 5) -> Plan:
    return plan_at_epsilon(space, {"North": 5000}, "retention", Decimal(claim), DELTA, "local", rounds)


def job(plan: Plan, seed: int = 0) -> tuple[bytes, bytes, int, None]:
    return canonical.to_bytes(SPACE.to_document()), on_twin(plan).to_bytes(), seed, None


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    with worker_pool(2) as workers:
        yield workers


@pytest.fixture(scope="module")
def sound(pool: Executor) -> AuditResult:
    return audit_plan(pool, SPACE, plan_at("8"), RUNS)


@settings(max_examples=60, deadline=None)
@given(contract=contracts(), people=st.integers(1, 40), seed=st.integers(0, 99))
def test_the_canary_is_as_long_as_a_row_may_be_and_shares_only_lines(
    contract: Contract, people: int, seed: int
) -> None:
    space = FeatureSpace.from_contract(contract)
    design = space.design(twin_rows(space, people, seed))
    canary, others = design[-1], design[:-1]
    assert len(others) == people
    assert int(canary @ canary) == space.squared_radius * ONE**2
    shared = (canary != 0) & (others != 0).any(axis=0)
    lines = len(space.features)
    assert int(shared.sum()) <= 1 + lines  # the intercept, and one line per column


@pytest.mark.parametrize("label", [BINARY, QUANTITY])
@pytest.mark.parametrize("claim", ["1", "8"])
def test_the_canary_reaches_the_sensitivity_in_every_sum(label: BinaryLabel | NumberLabel, claim: str) -> None:
    space = space_of(*COLUMNS, label=label)
    plan = on_twin(plan_at(claim, space))
    people = plan.sites[0].people_at_most
    alone = SiteSums(space, twin_rows(space, people, 0).take([people]), float(plan.clip))
    reached: list[float] = []

    class Watched(Experiment):
        def _evidence(self, event: str, rest: np.ndarray) -> float:
            return 0.0

        def _without_canary(self, weights: np.ndarray | None) -> np.ndarray:
            if weights is not None:
                reached.append(float(np.linalg.norm(alone.gradient(weights))) / plan.event(GRADIENT).sensitivity)
            return super()._without_canary(weights)

    experiment = Watched(space, plan, 0, None)
    for turn in (1, 3, 5):
        experiment.run(turn)
    moments = float(np.linalg.norm(alone.second_moments().astype(float))) / plan.event(SECOND_MOMENTS).sensitivity
    assert 0.999 < moments <= 1
    assert len(reached) == 3 * 5
    assert np.mean(reached) > 0.98
    assert max(reached) <= 1


def test_the_attack_on_the_releases_sees_all_that_the_plan_costs(pool: Executor) -> None:
    """Its score is a log-likelihood ratio: N(0, mu²) without the canary and N(mu², mu²) with it."""
    plan = plan_at("8")
    mu2 = float(plan.mu_squared)
    parts = [pool.submit(trainings, *job(plan), first, first + 100) for first in range(0, 240, 60)]
    seen = np.concatenate([part.result() for part in parts])[:, 0]
    absent, present = seen[0::2] / math.sqrt(mu2), seen[1::2] / math.sqrt(mu2)
    assert abs(absent.mean()) < 4 / math.sqrt(120)
    assert abs(present.mean() - math.sqrt(mu2)) < 4 / math.sqrt(120)
    for part in (absent, present):
        assert 1 - 4 / math.sqrt(240) < part.std(ddof=1) < 1 + 4 / math.sqrt(240)


def test_the_default_mechanism_is_not_refuted_and_most_of_its_claim_is_shown(sound: AuditResult) -> None:
    assert not sound.refuted
    assert Decimal("0.6") * sound.claim < sound.lower_bound < Decimal("1.2") * sound.claim
    assert [attack.name for attack in sound.attacks] == ["releases", "final model"]
    assert 0 < sound.attacks[1].gdp_guesses < sound.lower_bound
    assert sound.noise == "seeded-for-tests"


@pytest.mark.parametrize(("fault", "runs"), [("accountant-reset", 200), ("missing-clip", 500), ("halved-noise", 240)])
def test_a_planted_fault_is_caught(fault: str, runs: int, sound: AuditResult, pool: Executor) -> None:
    result = audit_plan(pool, SPACE, plan_at("8"), runs, fault=fault)
    assert result.refuted
    assert result.fault == fault
    assert result.claim == sound.claim
    assert result.lower_bound > result.claim


def test_a_number_as_label_is_audited_too(pool: Executor) -> None:
    space = space_of(*COLUMNS, label=QUANTITY)
    result = audit_plan(pool, space, plan_at("8", space), 200)
    assert not result.refuted
    assert result.lower_bound > result.claim / 2


def test_each_fault_breaks_one_thing() -> None:
    plan, clip = plan_at("3"), 1.25
    for name, fault in FAULTS.items():
        source = fault.noise(seeded_source(1))
        broken = {
            "accountant-reset": fault.plan(plan) != plan,
            "missing-clip": fault.clip(clip) != clip,
            "noise": (source.gaussian(9, 1000, b"a") != seeded_source(1).gaussian(9, 1000, b"a")).any(),
        }
        meant = "noise" if name in ("halved-noise", "shared-by-all") else name
        assert [what for what, is_so in broken.items() if is_so] == [meant]
    reset = FAULTS["accountant-reset"].plan(plan)
    assert reset.event(SECOND_MOMENTS) == plan.event(SECOND_MOMENTS)
    once = reset.event(GRADIENT).mu_squared_once
    assert float(once) == pytest.approx(float(plan.event(GRADIENT).mu_squared), rel=1e-6)
    assert FAULTS["missing-clip"].clip(clip) == NO_CLIP > SPACE.radius
    halved = FAULTS["halved-noise"].noise(seeded_source(1)).gaussian(9, 1000, b"a")
    assert (halved == seeded_source(1).gaussian(9, 500, b"a")).all()
    shared = FAULTS["shared-by-all"].noise(seeded_source(1)).gaussian(9, 1000, b"a")
    assert (shared == seeded_source(1).gaussian(9, math.isqrt(1000 * 1000 * (67 - 10) // 100), b"a")).all()
    assert fault_of(None).plan(plan) == plan


def test_who_trains_what_changes_nothing(sound: AuditResult, pool: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 70)
    told: list[tuple[int, int]] = []
    result = audit_plan(pool, SPACE, plan_at("8"), RUNS, progress=lambda done, of: told.append((done, of)))
    assert result.to_document() == sound.to_document()
    assert (told[0], told[-1]) == ((0, RUNS), (RUNS, RUNS))
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_other_seeds_give_other_twins_and_noise() -> None:
    assert (twin_rows(SPACE, 50, 0).numbers["hours"] != twin_rows(SPACE, 50, 2).numbers["hours"]).any()
    plan = plan_at("8")
    assert trainings(*job(plan), 0, 2) == trainings(*job(plan), 0, 2)
    assert trainings(*job(plan), 0, 1) != trainings(*job(plan, seed=1), 0, 1)
    assert trainings(*job(plan), 0, 1) != trainings(*job(plan), 2, 3)


def test_the_twins_size_follows_the_claim_and_the_plans_sites_do_not_matter() -> None:
    sizes = [on_twin(plan_at(claim)).sites[0].people_at_most for claim in ("8", "1", "0.1", "0.01")]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (200, 3000)
    elsewhere = plan_at_epsilon(SPACE, {"A": 9, "B": 10**6}, "retention", Decimal(8), DELTA, "local", 5)
    assert on_twin(elsewhere) == on_twin(plan_at("8"))


def test_the_pool_leaves_the_environment_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with worker_pool(1):
        assert os.environ["OMP_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "1"
    assert os.environ["OMP_NUM_THREADS"] == "3"
    assert "MKL_NUM_THREADS" not in os.environ


@pytest.mark.parametrize(
    "asked", [{"runs": 301}, {"runs": 0}, {"runs": 198}, {"runs": 10**9}, {"fault": "none such"}, {"seed": -1}]
)
def test_what_can_not_be_is_refused_before_any_training(asked: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_parts", None)
    with worker_pool(1) as idle, pytest.raises(InputError, match="expected"):
        audit_plan(idle, SPACE, plan_at("8"), **{"runs": 200, **asked})


def test_a_secure_sum_of_two_sites_is_refused() -> None:
    with pytest.raises(InputError, match="at least 3 for a secure sum"):
        run_audit(contract_of(*COLUMNS), "retention", Decimal(1), DELTA, "secure-sum")


@pytest.mark.long
def test_under_a_secure_sum_the_twin_has_the_noise_of_the_honest_sites(pool: Executor) -> None:
    """Ten sites, seven of whom must reply, one of whom may collude: the noise of six shares is what protects."""
    plan = plan_at_epsilon(SPACE, {f"site {n}": 9 for n in range(10)}, "retention", Decimal(8), DELTA, "secure-sum")
    twin = on_twin(plan)
    assert plan.noise_shares == 6
    for event in plan.events:
        assert twin.event(event.name) == event
        assert event.noise <= added_up(plan, event.name, 6).noise < event.noise * (1 + 1e-6)
    sound = audit_plan(pool, SPACE, plan, 200)
    assert not sound.refuted
    assert audit_plan(pool, SPACE, plan, 1500, fault="shared-by-all").refuted


CONTRACT = """
purpose = "retention"
[label]
column = "left"
kind = "binary"
positive = ["yes"]
negative = ["no"]
[site]
column = "site"
[site.people_at_most]
"North" = 5000
[columns.mark]
kind = "number"
low = 1
high = 5
step = 1
train = true
"""


@pytest.fixture
def contract(tmp_path: Path) -> Path:
    path = tmp_path / "contract.toml"
    path.write_text(CONTRACT)
    return path


def test_the_command_reads_a_contract_alone_and_fails_where_the_claim_is_refuted(
    contract: Path, pool: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "worker_pool", lambda workers: nullcontext(pool))
    asked = ["--contract", str(contract), "--epsilon", "8", "--delta", "0.00001", "--runs", "200"]
    caught = CliRunner().invoke(app, [*asked, "--fault", "accountant-reset", "--json"])
    assert isinstance(caught.exception, Refused)
    document = json.loads(caught.stdout)
    assert document["refuted"] is True
    assert (document["runs"], document["fault"]) == (200, "accountant-reset")
    assert document["mechanism"]["events"][1]["times"] == 12


def test_the_command_shows_what_was_proved_beside_the_claim(
    contract: Path, sound: AuditResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "run_audit", lambda *_: sound)
    done = CliRunner().invoke(app, ["--contract", str(contract), "--epsilon", "8", "--delta", "0.00001"])
    assert done.exit_code == 0
    words = " ".join(done.stdout.split())
    assert f"Claimed: epsilon {sound.claim}" in words
    assert f"at least {sound.lower_bound:.4f}" in words
    assert f"not refuted after {RUNS} trainings" in words


@pytest.mark.parametrize(
    "wrong",
    [["--epsilon", "0"], ["--delta", "2"], ["--epsilon", "x"], ["--fault", "x"], ["--runs", "7"], ["--contract", "no"]],
)
def test_the_command_refuses_bad_arguments_in_words(contract: Path, wrong: list[str]) -> None:
    asked = {"--contract": str(contract), "--epsilon": "8", "--delta": "0.00001", "--runs": "200"}
    asked |= dict([wrong])
    done = CliRunner().invoke(app, [part for pair in asked.items() for part in pair])
    assert isinstance(done.exception, InputError)
    assert "expected" in str(done.exception)


def test_a_category_of_one_value_leaves_the_others_without_it() -> None:
    space = space_of(category("only", "a"))
    design = space.design(twin_rows(space, 5, 0))
    assert (design[:5, 1] == 0).all()
    assert design[5, 1] == ONE
