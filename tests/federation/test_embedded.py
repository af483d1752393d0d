"""A whole run in one process: Flower's apps over the in-process grid, to a release that verifies."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load

from federation.embedded import run_embedded
from federation.group import load_group
from federation.policy_file import POLICY_FILE, write_policy
from federation.run_log import read_log
from federation.training_run import plan_run
from models.planning import MOMENTS_SHARE
from models.release import read_release
from privacy import canonical
from privacy.accounting import mu_squared_for
from privacy.certificate import open_certificate
from privacy.errors import InputError, Refused, VerificationFailed
from privacy.ledger import Ledger
from privacy.signing import create_key
from privacy.verify import verify_release
from tests.federation.tiny_group import TinyGroup, tiny_group
from tests.privacy import small_release
from tests.small_group import DELTA, SmallGroup, settings, small_group

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[SmallGroup, Path]:
    folder = tmp_path_factory.mktemp("trained")
    group = small_group(folder)
    return group, run_embedded(group.group, group.folders, settings(), folder / "run-1")


def balances(group: SmallGroup | TinyGroup) -> list[tuple[Fraction, Fraction]]:
    result = []
    for site in group.sites:
        ledger = site.open_ledger()
        result.append((ledger.totals.spent, ledger.totals.held))
        ledger.close()
    return result


def test_a_run_ends_in_a_release_that_verifies_against_pinned_keys(trained: tuple[SmallGroup, Path]) -> None:
    group, release = trained
    for pinned in ("roots.json", "keys.json"):
        verdict = verify_release(release, group.group / pinned, contract=group.contract)
        assert verdict.ok, verdict.failed


def test_a_release_holds_a_model_for_the_group_and_each_site(trained: tuple[SmallGroup, Path]) -> None:
    group, release = trained
    model = read_release(release)
    assert set(model.scorers) == {"", *(site.name for site in group.sites)}
    assert all(np.isfinite(scorer.weights).all() for scorer in model.scorers.values())


def test_keys_of_another_group_are_refused(trained: tuple[SmallGroup, Path], tmp_path: Path) -> None:
    stranger = small_group(tmp_path)
    verdict = verify_release(trained[1], stranger.group / "roots.json")
    assert verdict.failed is not None
    assert verdict.failed.name == "keys"


def test_no_file_of_a_release_holds_a_true_head_count(trained: tuple[SmallGroup, Path]) -> None:
    """60, 220 and 600 people: as JSON numbers they would stand between delimiters."""
    _, release = trained
    for path in release.rglob("*.json*"):
        text = path.read_text(encoding="utf-8")
        assert not any(f'":{count}{end}' in text for count in (60, 220, 600) for end in ",}]"), path


def test_a_second_run_of_the_same_plan_composes_with_the_first_in_the_ledger(tmp_path: Path) -> None:
    group = small_group(tmp_path)
    first = run_embedded(group.group, group.folders, settings("run-1"), tmp_path / "run-1")
    once = balances(group)
    second = run_embedded(group.group, group.folders, settings("run-2"), tmp_path / "run-2")
    assert balances(group) == [(2 * spent, Fraction(0)) for spent, _ in once]
    assert verify_release(first).ok
    assert verify_release(second).ok


def test_a_coordinator_that_died_after_the_last_message_finishes_its_paid_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = small_group(tmp_path)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("federation.training_run.certified", die)
        with pytest.raises(KeyboardInterrupt):
            run_embedded(group.group, group.folders, settings(), tmp_path / "run-1")
    spent = balances(group)
    release = run_embedded(group.group, group.folders, settings(), tmp_path / "run-1")
    assert balances(group) == spent
    assert verify_release(release).ok


def test_a_run_folder_that_can_not_be_written_costs_nothing(tmp_path: Path) -> None:
    group = small_group(tmp_path)
    with pytest.raises(InputError, match="/proc/kith"):
        run_embedded(group.group, group.folders, settings(), Path("/proc/kith"))
    assert balances(group) == [(0, 0)] * 3


def test_sites_that_are_not_the_contracts_are_refused_before_anything_is_charged(tmp_path: Path) -> None:
    group = small_group(tmp_path)
    for folders in (group.folders[:2], [*group.folders[:2], group.folders[0]], []):
        with pytest.raises(InputError, match="each of"):
            run_embedded(group.group, folders, settings(), tmp_path / "run-1")
    assert balances(group) == [(0, 0)] * 3


@pytest.mark.parametrize("run", ["../../x", "", "a/b", "x" * 101, ".hidden", "a b"])
def test_a_run_id_that_is_no_plain_name_is_refused(run: str) -> None:
    with pytest.raises(InputError, match="run id"):
        settings(run)


def test_a_run_that_costs_more_than_anybodys_budget_is_refused_and_costs_nothing(tmp_path: Path) -> None:
    group = small_group(tmp_path, cap="0.05")
    with pytest.raises(Refused, match=r"0\.05"):
        run_embedded(group.group, group.folders, settings(), tmp_path / "run")
    assert balances(group) == [(0, 0)] * 3
    assert not (tmp_path / "run" / "release").exists()


def test_where_everybodys_budget_is_spent_the_next_run_is_noise_alone_and_looks_like_any_other(tmp_path: Path) -> None:
    group = small_group(tmp_path, cap="0.1")  # holds one run of mu² .072
    releases = [run_embedded(group.group, group.folders, settings(f"run-{n}"), tmp_path / f"run-{n}") for n in range(2)]
    assert all(verify_release(release).ok for release in releases)
    shapes = [sorted(path.relative_to(release) for path in release.rglob("*")) for release in releases]
    assert shapes[0] == shapes[1]
    for site in group.sites:
        ledger = site.open_ledger()
        assert ledger.totals.spent > Fraction("0.1")  # the sum of all charges, which bounds everybody
        (mark, *_) = ledger.members("run-0")
        assert ledger.balance_of(mark).spent <= Fraction("0.1")
        assert ledger.members("run-1") == frozenset()
        ledger.close()


def test_a_seeded_noise_source_gives_the_same_weights_and_no_valid_release(tmp_path: Path) -> None:
    weights = []
    for name in ("one", "other"):
        group = small_group(tmp_path / name, noise="seeded-for-tests:5")
        release = run_embedded(group.group, group.folders, settings(), tmp_path / name / "run")
        weights.append((release / "model.safetensors").read_bytes())
        verdict = verify_release(release)
        assert verdict.failed is not None
        assert verdict.failed.name == "noise"
    assert weights[0] == weights[1]


def test_two_runs_with_secure_noise_differ(trained: tuple[SmallGroup, Path], tmp_path: Path) -> None:
    group = small_group(tmp_path)
    release = run_embedded(group.group, group.folders, settings(), tmp_path / "run")
    one, other = (load((path / "model.safetensors").read_bytes()) for path in (trained[1], release))
    assert not np.array_equal(one["weights"], other["weights"])


def test_a_finished_run_folder_is_not_overwritten(trained: tuple[SmallGroup, Path]) -> None:
    group, release = trained
    with pytest.raises(InputError, match="run folder"):
        run_embedded(group.group, group.folders, settings("run-9"), release.parent)
    assert read_log(release.parent)[-1].what == "finished"


KILLED = """
import os, signal, sys
from pathlib import Path
from privacy import ledger
steps = int(sys.argv[2])
seen = 0
def on_step(step):
    global seen
    seen += 1
    if seen == steps:
        os.kill(os.getpid(), signal.SIGKILL)
opened = ledger.Ledger.open.__func__
ledger.Ledger.open = classmethod(lambda cls, address: opened(cls, address, on_step=on_step))
from federation.embedded import run_embedded
from tests.small_group import settings
base = Path(sys.argv[1])
run_embedded(base / "group", sorted((base / "sites").iterdir()), settings(), base / "run-1")
"""


@pytest.mark.slow
@pytest.mark.parametrize("steps", [2, 13, 31, 44, 52, 58])
def test_killing_the_process_in_a_run_never_lowers_what_was_spent(tmp_path: Path, steps: int) -> None:
    """kill -9 at a step of some ledger's write; afterwards the same run goes on, and what was charged stays charged."""
    group = small_group(tmp_path)
    died = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(steps)], cwd=ROOT, check=False)
    assert died.returncode == -signal.SIGKILL
    after_kill = balances(group)
    for site in group.sites:
        Ledger.open(site.folder / "ledger.sqlite").verify()
    released = run_embedded(group.group, group.folders, settings(), tmp_path / "run-1")
    assert all(now[0] >= before[0] for now, before in zip(balances(group), after_kill, strict=True))
    assert verify_release(released).ok


def test_the_certificate_tells_contract_environment_keys_and_witnesses(trained: tuple[SmallGroup, Path]) -> None:
    group, release = trained
    known = load_group(group.group)
    certificate, _ = open_certificate(
        (release / "certificate.dsse.json").read_bytes(), known.keys.trusted().coordinator
    )
    assert certificate.contract == hashlib.sha256(group.contract.read_bytes()).hexdigest()
    assert {"python", "torch", "opacus", "opendp", "flwr", "dp-accounting"} <= set(certificate.environment)
    assert (certificate.keys.number, certificate.prior, certificate.audit, certificate.image) == (0, None, None, None)
    names = sorted(site.name for site in group.sites)
    for account in certificate.accounts:
        assert list(account.witnesses) == [name for name in names if name != account.site]
        assert account.worst_after == account.total_after == certificate.cost.mu2


def test_measures_are_events_of_the_same_budget_and_a_file_of_the_release(tmp_path: Path) -> None:
    group = tiny_group(tmp_path)
    asked = settings(measures=("head-count", "evaluation"))
    release = run_embedded(group.group, group.folders, asked, tmp_path / "run")
    verdict = verify_release(release, group.group / "roots.json")
    assert verdict.ok, verdict.failed
    told = canonical.from_bytes((release / "measures.json").read_bytes(), "measures")
    assert {figure["event"] for figure in told["figures"]} == {"head-count", "evaluation"}
    assert all(0 < spent <= mu_squared_for(Decimal(1), DELTA) for spent, _ in balances(group))


def test_a_release_names_the_prior_one_and_refuses_one_that_does_not_verify(tmp_path: Path) -> None:
    group = tiny_group(tmp_path)
    first = run_embedded(group.group, group.folders, settings("run-1"), tmp_path / "run-1")
    second = run_embedded(group.group, group.folders, settings("run-2", prior=first), tmp_path / "run-2")
    assert verify_release(second, group.group / "keys.json", prior=first).ok
    before = balances(group)
    card = second / "card.json"
    card.write_bytes(card.read_bytes().replace(b"people", b"People", 1))
    with pytest.raises(VerificationFailed, match="prior release"):
        run_embedded(group.group, group.folders, settings("run-3", prior=second), tmp_path / "run-3")
    with pytest.raises(InputError, match="prior release"):
        run_embedded(group.group, group.folders, settings("run-4", prior=tmp_path / "none"), tmp_path / "run-4")
    assert balances(group) == before


def test_an_audit_of_exactly_the_plan_goes_into_the_release_and_another_is_refused(tmp_path: Path) -> None:
    group = tiny_group(tmp_path)
    told = tmp_path / "audit.json"
    audited = json.loads(small_release.audit(plan_run(group.load(), settings())))
    told.write_text(json.dumps(audited, indent=2), encoding="utf-8")  # as `kith audit --json` prints it
    release = run_embedded(group.group, group.folders, settings(audit=told), tmp_path / "run-1")
    verdict = verify_release(release, group.group / "roots.json")
    assert verdict.ok, verdict.failed
    assert json.loads((release / "audit.json").read_bytes()) == audited
    before = balances(group)
    with pytest.raises(VerificationFailed, match=r"audit\.json"):
        run_embedded(group.group, group.folders, settings("run-2", rounds=4, audit=told), tmp_path / "run-2")
    assert balances(group) == before


def test_floating_point_noise_is_served_where_the_site_allows_it_and_the_release_says_so(tmp_path: Path) -> None:
    group = tiny_group(tmp_path)
    with pytest.raises(Refused, match="float64"):
        run_embedded(group.group, group.folders, settings(float64=True), tmp_path / "run-1")
    assert balances(group) == [(0, 0)] * 3
    for site in group.sites:
        allowing = replace(site.policy, float64=True)
        (site.folder / POLICY_FILE).unlink()
        write_policy(site.folder / POLICY_FILE, allowing)
    release = run_embedded(group.group, group.folders, settings(float64=True), tmp_path / "run-1")
    verdict = verify_release(release, group.group / "roots.json")
    assert verdict.ok, verdict.failed
    assert "float64" in str(verdict.to_document())


def test_a_run_of_a_group_whose_coordinators_key_is_another_is_refused(tmp_path: Path) -> None:
    group = tiny_group(tmp_path)
    (group.group / "coordinator.pem").unlink()
    create_key(group.group / "coordinator.pem")
    with pytest.raises(VerificationFailed, match=r"coordinator"):
        run_embedded(group.group, group.folders, settings(), tmp_path / "run")


def test_the_plan_spends_on_moments_what_the_public_rule_says(trained: tuple[SmallGroup, Path]) -> None:
    from privacy.plan import Plan

    plan = Plan.from_bytes((trained[1] / "plan.json").read_bytes())
    share = plan.event("second-moments").mu_squared / plan.mu_squared
    assert abs(float(share) - float(MOMENTS_SHARE)) < 1e-6


def test_a_runs_folder_holds_settings_log_checkpoints_and_release_and_nothing_partial(
    trained: tuple[SmallGroup, Path],
) -> None:
    names = sorted(path.name for path in trained[1].parent.iterdir())
    assert names == ["checkpoints", "events.jsonl", "release", "settings.json"]
