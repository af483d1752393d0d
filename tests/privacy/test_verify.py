"""What a valid release is, and how a verdict comes about; `test_tampering` has what is refused, and by which check."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import key_list, release_files
from privacy.accounting import EPSILON_STEP
from privacy.budget import sign_decision
from privacy.errors import InputError
from privacy.ledger import Ledger
from privacy.party_names import COORDINATOR
from privacy.plan import FLOAT64, GaussianSum, Plan
from privacy.trust_roots import PinnedKeys
from privacy.verdict import Verdict
from privacy.verify import PINNED, SELF_ASSERTED, verify_files, verify_release
from tests.privacy.fixed_signer import FixedSigner
from tests.privacy.forging import Files, certificate_of, certified
from tests.privacy.small_release import (
    CONTRACT,
    HEADS,
    NOW,
    OFFICERS,
    ROOT,
    RUN,
    SITES,
    Group,
    audit,
    budget,
    marks,
    plan,
    write,
)

ROOT_OF_TREE = Path(__file__).parents[2]
CERTIFICATE, KEYS = release_files.CERTIFICATE, release_files.KEYS


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Group:
    return Group(tmp_path_factory.mktemp("group"))


@pytest.fixture(scope="module")
def files(group: Group) -> Files:
    return group.train(RUN, plan())


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A release with every file that there may be."""
    wanted = plan(events=(*plan().events, HEADS))
    return Group(tmp_path_factory.mktemp("measured")).train(RUN, wanted, audit=audit(wanted))


def failed(verdict: Verdict) -> int:
    assert not verdict.ok
    assert verdict.failed is not None
    return verdict.failed.number


def detail(verdict: Verdict) -> str:
    assert verdict.failed is not None
    return verdict.failed.detail


def found(verdict: Verdict, name: str) -> str:
    """What a check that passed has found."""
    (check,) = (check for check in verdict.checks if check.name == name)
    assert check.passed, check
    return check.detail


# A good release


def test_a_release_passes_every_check(group: Group, files: Files, tmp_path: Path) -> None:
    (pinned := tmp_path / "roots.json").write_bytes(group.pinned.to_bytes())
    (contract := tmp_path / "contract.toml").write_bytes(CONTRACT)
    verdict = verify_release(write(files, tmp_path / "release"), pinned, contract=contract)
    assert verdict.ok, verdict.rows()
    assert [check.number for check in verdict.checks] == list(range(1, 21))
    assert verdict.keys == PINNED
    assert verdict.line == "valid: epsilon = 2.501740 at delta = 0.00001 per employee"
    assert verdict.to_document()["failed"] is None
    assert json.loads(json.dumps(verdict.to_document()))["ok"] is True


def test_a_release_with_an_audit_and_measures_passes_and_says_what_they_show(measured: Files) -> None:
    verdict = verify_files(measured)
    assert verdict.ok, verdict.rows()
    assert "2,000 trainings prove epsilon of at least 0.76" in found(verdict, "audit")
    assert found(verdict, "side outputs").startswith("head-count: sums as the receipts have them")


def test_keys_that_nobody_pinned_are_called_self_asserted(files: Files) -> None:
    verdict = verify_files(files)
    assert "self-asserted" in found(verdict, "keys")
    assert verdict.keys == SELF_ASSERTED


def test_a_second_run_states_what_the_first_had_spent_and_names_its_release(tmp_path: Path) -> None:
    group = Group(tmp_path)
    first = group.train("first", plan())
    second = group.train("second", plan(), prior=first[CERTIFICATE])
    verdict = verify_files(second, group.pinned, prior=first[CERTIFICATE])
    assert verdict.ok, verdict.rows()
    assert "every ledger has gone on since" in found(verdict, "prior")
    assert "named, not held against" in found(verify_files(second), "prior")
    assert "stated to be the first" in found(verify_files(first), "prior")
    for account in certificate_of(group, second).accounts:
        assert (account.total_before, account.total_after, account.lifetime) == ("0.375", "0.75", "0.75")


def test_a_prior_release_under_a_key_that_was_rotated_since_still_counts(tmp_path: Path) -> None:
    group = Group(tmp_path)
    first = group.train("first", plan())
    second = group.train("second", plan(), prior=first[CERTIFICATE])
    new = replace_coordinator(group, FixedSigner(55))
    listed = key_list.rotated(group.key_list, COORDINATOR, FixedSigner(55).public, NOW)
    data = key_list.sign_key_list(listed, ROOT)
    old = certificate_of(group, second)
    keys = replace(old.keys, number=1, sha256=release_files.sha256(data))
    again = new.certified({**second, KEYS: data}, replace(old, coordinator=FixedSigner(55).keyid, keys=keys))
    verdict = verify_files(again, group.pinned, prior=first[CERTIFICATE])
    assert verdict.ok, verdict.rows()


def replace_coordinator(group: Group, signer: FixedSigner) -> Group:
    """The same group and ledgers under another coordinator's key."""
    other = Group.__new__(Group)
    other.__dict__.update(group.__dict__, coordinator=signer)
    return other


def test_a_charge_repeated_after_a_crash_is_accepted_and_counts(tmp_path: Path) -> None:
    group = Group(tmp_path)
    released = group.train(RUN, plan(), crashes=frozenset({(0, "gradient", 1)}))
    verdict = verify_files(released, group.pinned)
    assert verdict.ok, verdict.rows()
    assert "1 repeated" in found(verdict, "ledger")
    assert [one.total_after for one in certificate_of(group, released).accounts] == ["0.4375", "0.375"]


def test_charges_of_another_run_in_between_belong_to_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = Group(tmp_path)
    site = group.sites[0]
    site.ledger.reserve("other", plan(), marks(site.name))
    alone = site.contribute

    def after_the_other(run: str, *release: Any) -> bytes | None:
        alone("other", *release)
        return alone(run, *release)

    monkeypatch.setattr(site, "contribute", after_the_other)
    released = group.train(RUN, plan())
    verdict = verify_files(released, group.pinned)
    assert verdict.ok, verdict.rows()
    account = certificate_of(group, released).accounts[0]
    assert (account.total_before, account.total_after) == ("0.375", "0.75")


def test_a_run_whose_totals_are_beyond_the_cap_is_valid_and_its_worst_off_have_the_cap(tmp_path: Path) -> None:
    group = Group(tmp_path, budget=budget(Decimal("0.5")))
    group.train("first", plan())
    released = group.train("second", plan())  # whoever was in the first is left out of it
    verdict = verify_files(released, group.pinned)
    assert verdict.ok, verdict.rows()
    for account in certificate_of(group, released).accounts:
        assert (account.total_after, account.worst_before, account.worst_after) == ("0.75", "0.375", "0.5")


def with_earlier(folder: Path, cap: str, people: int) -> Group:
    """A group in whose first site so many of five people have already paid for one run of the plan."""
    folder.mkdir()
    group = Group(folder, budget=budget(Decimal(cap)))
    site = group.sites[0]
    site.ledger.reserve("earlier", plan(), marks(site.name, people))
    for event in plan().events:
        for index in range(event.times):
            site.contribute("earlier", plan(), event.name, index)
    site.ledger.end("earlier")
    return group


def test_how_many_were_left_out_is_nowhere_in_a_release(tmp_path: Path) -> None:
    def accounts(people: int) -> list[dict[str, Any]]:
        group = with_earlier(tmp_path / str(people), "0.5", people)
        found: list[dict[str, Any]] = certificate_of_files(group.train(RUN, plan()))["accounts"]
        assert group.sites[0].ledger.reservation(RUN).left_out == people
        return [{name: value for name, value in one.items() if name != "root"} for one in found]

    assert accounts(0) == accounts(2) == accounts(5)


def test_who_can_not_pay_for_a_repeated_charge_is_left_out_and_the_release_is_valid(tmp_path: Path) -> None:
    group = with_earlier(tmp_path / "group", "0.8", people=2)
    released = group.train(RUN, plan(), crashes=frozenset({(0, "gradient", 0)}))
    assert len(group.sites[0].ledger.members(RUN)) == 3
    verdict = verify_files(released, group.pinned)
    assert verdict.ok, verdict.rows()
    account = certificate_of(group, released).accounts[0]
    assert (account.total_after, account.worst_after) == ("0.8125", "0.8")


def certificate_of_files(files: Files) -> dict[str, Any]:
    payload = json.loads(files[CERTIFICATE])["payload"]
    predicate: dict[str, Any] = json.loads(key_list.fields.from_base64(payload, "payload"))["predicate"]
    return predicate


def test_a_new_period_starts_from_zero_and_the_lifetime_goes_on(tmp_path: Path) -> None:
    group = Group(tmp_path)
    group.train("first", plan())
    next_year = replace(group.budget, number=1, period=1, label="2027", reason="a new year")
    for site in group.sites:
        site.ledger.decide(sign_decision(next_year, site.ledger.id, *OFFICERS[1:]))
    released = group.train("second", plan())
    verdict = verify_files(released, group.pinned)
    assert verdict.ok, verdict.rows()
    assert "2 by officers' decision" in found(verdict, "budget")
    for account in certificate_of(group, released).accounts:
        assert (account.label, account.budget, account.period) == ("2027", 1, 1)
        assert (account.total_before, account.total_after, account.lifetime) == ("0", "0.375", "0.75")


def test_who_holds_a_checkpoint_is_told_and_so_is_who_does_not(tmp_path: Path, files: Files) -> None:
    assert found(verify_files(files), "witnesses") == "every checkpoint is held by at least 1 other site"
    alone = Group(tmp_path).train(RUN, plan(), witnessed=False)
    assert "nobody else holds the checkpoint of North, South & West" in found(verify_files(alone), "witnesses")


@pytest.mark.parametrize("rate", ["0.5"])
def test_a_sampled_plan_is_verified_by_loss_distributions_and_charged_without_sampling(
    tmp_path: Path, rate: str
) -> None:
    group = Group(tmp_path)
    sampled = plan(events=tuple(replace(event, rate=rate) for event in plan().events))
    released = group.train(RUN, sampled)
    verdict = verify_files(released, group.pinned)
    assert verdict.ok, verdict.rows()
    certificate = certificate_of(group, released)
    assert Decimal(certificate.cost.epsilon) < Decimal("2.5")
    assert {one.total_after for one in certificate.accounts} == {"0.375"}


def test_float64_noise_is_verified_and_called_so(tmp_path: Path) -> None:
    group = Group(tmp_path, noise="os-float64")
    verdict = verify_files(group.train(RUN, plan(mechanism=FLOAT64)), group.pinned)
    assert verdict.ok, verdict.rows()
    assert "float64" in found(verdict, "noise")
    assert verdict.answers[5].state == "not stated"


def test_a_key_list_may_know_more_sites_than_a_plan(group: Group, files: Files) -> None:
    listed = key_list.rotated(group.key_list, "site/Later", FixedSigner(9).public, NOW)
    data = key_list.sign_key_list(listed, ROOT)
    keys = replace(certificate_of(group, files).keys, number=1, sha256=release_files.sha256(data))
    verdict = verify_files(certified(group, {**files, KEYS: data}, keys=keys), group.pinned)
    assert verdict.ok, verdict.rows()


# What verifying takes


def test_verifying_imports_nothing_heavy_and_scipy_only_for_an_audit(
    files: Files, measured: Files, tmp_path: Path
) -> None:
    heavy = ("torch", "pandas", "opacus", "flwr", "bentoml", "dp_accounting", "sqlalchemy", "models", "records")
    script = (
        "import sys, pathlib; from privacy.verify import verify_release\n"
        "assert verify_release(pathlib.Path(sys.argv[1])).ok\n"
        f"print([name for name in {(*heavy, 'scipy')} if name in sys.modules])"
    )

    def loaded(files: Files, name: str) -> str:
        command = [sys.executable, "-c", script, str(write(files, tmp_path / name))]
        return subprocess.run(command, check=True, cwd=ROOT_OF_TREE, capture_output=True, text=True).stdout.strip()

    assert loaded(files, "without") == "[]"
    assert loaded(measured, "with") == "['scipy']"


# One byte changed

CHECKS_OF = {CERTIFICATE: {3}, KEYS: {2, 3, 4}}


def flipped(files: Files, name: str, position: int, mask: int) -> Files:
    data = bytearray(files[name])
    data[position] ^= mask
    return {**files, name: bytes(data)}


@pytest.mark.parametrize("name", [*release_files.names(len(SITES)), *sorted(release_files.OPTIONAL)])
def test_one_byte_changed_anywhere_is_refused_and_the_check_named(measured: Files, name: str) -> None:
    step = max(1, len(measured[name]) // 150)
    for position in range(0, len(measured[name]), step):
        verdict = verify_files(flipped(measured, name, position, 1 << position % 8))
        assert failed(verdict) in CHECKS_OF.get(name, {4}), (position, verdict.rows())
        if failed(verdict) == 4:
            assert detail(verdict).startswith(f"{name}, sha256")


@given(data=st.data())
@settings(max_examples=50)
def test_no_change_of_a_byte_is_accepted(measured: Files, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(measured)))
    position = data.draw(st.integers(0, len(measured[name]) - 1))
    assert not verify_files(flipped(measured, name, position, data.draw(st.integers(1, 255)))).ok


CONTENTS = {
    "nothing": b"",
    "a line end": b"\n",
    "an object": b"{}",
    "an array": b"[]",
    "null": b"null",
    "no UTF-8": b"\xff\xfe",
    "deep": b"[" * 5000,
    "a long number": b"9" * 9000,
}


@pytest.mark.parametrize("name", [*release_files.names(len(SITES)), *sorted(release_files.OPTIONAL)])
@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
def test_any_other_content_is_a_failed_check_and_no_traceback(
    group: Group, measured: Files, name: str, content: bytes
) -> None:
    assert not verify_files({**measured, name: content}).ok
    if name != CERTIFICATE:
        verdict = verify_files(certified(group, {**measured, name: content}))
        assert not verdict.ok
        assert "while checking" not in detail(verdict), "a check that met this input unprepared"


# Arguments


def test_arguments_that_are_not_what_they_should_be_are_input_errors(files: Files, tmp_path: Path) -> None:
    release, absent = write(files, tmp_path / "release"), tmp_path / "absent"
    with pytest.raises(InputError, match="directory"):
        verify_release(absent)
    with pytest.raises(InputError, match="keys"):
        verify_release(release, absent)
    with pytest.raises(InputError, match="prior"):
        verify_release(release, prior=absent)
    with pytest.raises(InputError, match="contract"):
        verify_release(release, contract=absent)


def test_a_release_signed_anew_by_strangers_is_valid_and_refused_only_by_pinned_keys(
    group: Group, files: Files, tmp_path: Path
) -> None:
    strangers = Group(tmp_path, coordinator=FixedSigner(9), root=FixedSigner(99))
    forged = strangers.train(RUN, plan())
    assert verify_files(forged).ok
    assert failed(verify_files(forged, group.pinned)) == 2


def test_a_whole_list_can_be_pinned_and_an_older_list_is_fine_while_its_keys_are(group: Group, files: Files) -> None:
    newer = key_list.rotated(group.key_list, "site/Later", FixedSigner(9).public, NOW)
    pinned = PinnedKeys.from_bytes(key_list.sign_key_list(newer, ROOT), "pinned")
    assert verify_files(files, pinned).ok


# A verdict


def test_a_refused_release_says_which_check_and_what_it_claims(group: Group, files: Files) -> None:
    verdict = verify_files(certified(group, files, run="run-2"))
    assert verdict.line == (
        "REFUSED by check 6 (receipts): it claims epsilon = 2.501740 at delta = 0.00001 per employee"
    )
    assert verdict.to_document()["failed"] == 6
    assert [check.state for check in verdict.checks if check.number in (7, 8, 9, 15, 16, 19)] == ["not reached"] * 6


def test_no_cost_is_repeated_that_no_coordinator_signed(files: Files) -> None:
    payload = json.loads(files[CERTIFICATE])
    payload["signatures"] = []
    verdict = verify_files({**files, CERTIFICATE: json.dumps(payload).encode()})
    assert verdict.line == "REFUSED by check 3 (certificate): no certificate that states an epsilon"
    assert "2.501740" not in json.dumps(verdict.to_document())


def test_a_look_alike_is_shown_by_its_code_points(group: Group, files: Files) -> None:
    sites = tuple(replace(one, name=one.name.replace("o", "\N{CYRILLIC SMALL LETTER O}")) for one in plan().sites)
    forged = plan(sites=tuple(sorted(sites, key=lambda one: one.name)))
    verdict = verify_files(group.certified({**files, "plan.json": forged.to_bytes()}, certificate_of(group, files)))
    assert "\N{CYRILLIC SMALL LETTER O}" not in json.dumps(verdict.to_document(), ensure_ascii=False)


@pytest.mark.parametrize("name", ["epsilon", "epsilon_replace_one", "epsilon_two_sites", "epsilons"])
def test_an_epsilon_rounded_down_is_refused_and_two_steps_up_are_not(group: Group, files: Files, name: str) -> None:
    cost = certificate_of(group, files).cost

    def shifted(steps: int) -> Verdict:
        def shift(epsilon: str) -> str:
            return str(Decimal(epsilon) + steps * EPSILON_STEP)

        stated = getattr(cost, name)
        changed = shift(stated) if isinstance(stated, str) else tuple((delta, shift(one)) for delta, one in stated)
        return verify_files(certified(group, files, cost=replace(cost, **{name: changed})))

    assert failed(shifted(-1)) == 10
    assert shifted(2).ok
    assert failed(shifted(3)) == 10


@pytest.mark.parametrize(("share", "accepted"), [("0.9995", True), ("1.0005", True), ("0.99", False), ("1.01", False)])
def test_the_second_accountant_may_be_another_versions_but_not_another(
    group: Group, files: Files, share: str, accepted: bool
) -> None:
    cost = certificate_of(group, files).cost
    told = format((Decimal(cost.epsilon_second) * Decimal(share)).quantize(EPSILON_STEP), "f")
    verdict = verify_files(certified(group, files, cost=replace(cost, epsilon_second=told)))
    assert verdict.ok if accepted else failed(verdict) == 11


def test_the_two_accountants_are_compared(group: Group, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    cost = replace(certificate_of(group, files).cost, epsilon_second="2.400000")
    monkeypatch.setattr("privacy.verify_cost.cost_of", lambda plan: cost)
    verdict = verify_files(certified(group, files, cost=cost))
    assert failed(verdict) == 11
    assert "agree" in detail(verdict)


def test_a_plan_too_coarse_for_its_delta_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = Group(tmp_path)
    cost = certificate_of(group, group.train("fine", plan())).cost
    monkeypatch.setattr("tests.privacy.small_release.cost_of", lambda plan: cost)
    coarse = plan(clip="0.5", events=(GaussianSum("gradient", 1, 3, 0, 1, 4),))
    assert failed(verify_files(group.train("coarse", coarse))) == 10


def test_a_run_that_nobody_could_pay_for_is_valid(tmp_path: Path) -> None:
    group = Group(tmp_path, budget=budget(Decimal("0.375")))
    group.train("first", plan())
    assert verify_files(group.train("second", plan()), group.pinned).ok


def test_a_ledger_of_a_site_that_was_reopened_gives_the_same_release(tmp_path: Path) -> None:
    group = Group(tmp_path)
    group.train("first", plan())
    for n, site in enumerate(group.sites):
        site.ledger.close()
        site.ledger = Ledger.open(tmp_path / f"{n}.ledger", clock=lambda: NOW)
    assert verify_files(group.train("second", plan()), group.pinned).ok


def test_control_characters_in_a_run_s_id_are_shown_by_their_code_points(group: Group, files: Files) -> None:
    verdict = verify_files(certified(group, files, run="run\x1b[2K\u202e"), group.pinned)
    said = " ".join(check.detail for check in verdict.checks)
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert "x1b" in said


def test_a_plan_is_not_digested_anew_for_every_receipt(
    group: Group, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[None] = []
    digest = Plan.to_bytes
    monkeypatch.setattr(Plan, "to_bytes", lambda self: made.append(None) or digest(self))
    assert verify_files(files, group.pinned).ok
    assert len(made) < sum(data.count(b"\n") for name, data in files.items() if name.startswith("receipts/"))
