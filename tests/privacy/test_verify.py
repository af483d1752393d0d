from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy import amounts, canonical, checkpoint, entries, merkle, release_files
from privacy.accounting import EPSILON_STEP
from privacy.certificate import Certificate, open_certificate
from privacy.checkpoint import Checkpoint
from privacy.entries import Charged
from privacy.errors import InputError
from privacy.ledger_excerpt import LedgerExcerpt, Proof
from privacy.ledger_file import LedgerFile
from privacy.plan import GaussianSum, Plan
from privacy.receipt import open_receipt, sign_receipt
from privacy.trust_roots import TrustRoots
from privacy.verdict import Verdict
from privacy.verify import verify_files, verify_release
from tests.privacy.small_release import RUN, SITES, FixedSigner, Group, card, plan, weights, write

ROOT = Path(__file__).parents[2]
Files = dict[str, bytes]


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Group:
    return Group(tmp_path_factory.mktemp("group"))


@pytest.fixture(scope="module")
def files(group: Group) -> Files:
    return group.train(RUN, plan())


def certified(group: Group, files: Files, **changes: object) -> Files:
    """The files under a certificate that the coordinator has changed and signed again."""
    certificate, _ = open_certificate(files[release_files.CERTIFICATE], group.roots.coordinator)
    return group.certified(files, replace(certificate, **changes))


def certificate_of(group: Group, files: Files) -> Certificate:
    return open_certificate(files[release_files.CERTIFICATE], group.roots.coordinator)[0]


def failed(verdict: Verdict) -> int:
    assert not verdict.ok
    assert verdict.failed is not None
    return verdict.failed.number


def detail(verdict: Verdict) -> str:
    assert verdict.failed is not None
    return verdict.failed.detail


# A good release


def test_a_release_passes_every_check(group: Group, files: Files, tmp_path: Path) -> None:
    pinned = tmp_path / "pinned.json"
    pinned.write_bytes(group.roots.to_bytes())
    verdict = verify_release(write(files, tmp_path / "release"), pinned)
    assert verdict.ok, verdict.rows()
    assert [check.number for check in verdict.checks] == list(range(1, 15))
    assert "pinned" in verdict.checks[1].detail
    assert verdict.to_document()["failed"] is None
    assert json.loads(json.dumps(verdict.to_document()))["ok"] is True


def test_keys_that_nobody_pinned_are_called_self_asserted(files: Files) -> None:
    assert "self-asserted" in verify_files(files).checks[1].detail


def test_a_second_run_states_what_the_first_had_spent(tmp_path: Path) -> None:
    group = Group(tmp_path)
    group.train("first", plan())
    second = group.train("second", plan())
    assert verify_files(second, group.roots).ok
    accounts = certificate_of(group, second).accounts
    assert {(one.spent_before, one.spent_after) for one in accounts} == {("0.375", "0.75")}


def test_a_charge_repeated_after_a_crash_is_accepted_and_counts(tmp_path: Path) -> None:
    group = Group(tmp_path)
    released = group.train(RUN, plan(), crashes=frozenset({(0, "gradient", 1)}))
    verdict = verify_files(released, group.roots)
    assert verdict.ok, verdict.rows()
    assert "1 repeated" in verdict.checks[7].detail
    assert [one.spent_after for one in certificate_of(group, released).accounts] == ["0.4375", "0.375"]


def test_charges_of_another_run_in_between_belong_to_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = Group(tmp_path)
    site = group.sites[0]
    site.ledger.reserve("other", plan())
    alone = site.contribute

    def after_the_other(run: str, *release: Any) -> bytes | None:
        alone("other", *release)
        return alone(run, *release)

    monkeypatch.setattr(site, "contribute", after_the_other)
    released = group.train(RUN, plan())
    verdict = verify_files(released, group.roots)
    assert verdict.ok, verdict.rows()
    account = certificate_of(group, released).accounts[0]
    assert (account.spent_before, account.spent_after) == ("0.375", "0.75")


def test_verifying_imports_no_models_and_no_torch(files: Files, tmp_path: Path) -> None:
    write(files, tmp_path / "release")
    script = (
        "import sys, pathlib; from privacy.verify import verify_release\n"
        "assert verify_release(pathlib.Path(sys.argv[1])).ok\n"
        "assert not {'torch', 'pandas', 'opacus', 'flwr', 'bentoml', 'models', 'records'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "release")], check=True, cwd=ROOT)


# One byte changed

CHECKS_OF = {release_files.CERTIFICATE: {3}, release_files.KEYS: {2, 3, 4}}


def flipped(files: Files, name: str, position: int, mask: int) -> Files:
    data = bytearray(files[name])
    data[position] ^= mask
    return {**files, name: bytes(data)}


@pytest.mark.parametrize("name", release_files.names(len(SITES)))
def test_one_byte_changed_anywhere_is_refused_and_the_check_named(group: Group, files: Files, name: str) -> None:
    step = 1 if len(files[name]) < 2000 else 3
    for position in range(0, len(files[name]), step):
        verdict = verify_files(flipped(files, name, position, 1 << position % 8))
        assert failed(verdict) in CHECKS_OF.get(name, {4}), (position, verdict.rows())
        if failed(verdict) == 4:
            assert detail(verdict).startswith(f"{name}, sha256")


@given(data=st.data())
def test_no_change_of_a_byte_is_accepted(files: Files, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(files)))
    position = data.draw(st.integers(0, len(files[name]) - 1))
    assert not verify_files(flipped(files, name, position, data.draw(st.integers(1, 255)))).ok


@pytest.mark.parametrize("name", release_files.names(len(SITES)))
@pytest.mark.parametrize("content", [b"", b"\n", b"{}", b"[]", b"null", b"\xff\xfe", b"[" * 5000, b"9" * 9000])
def test_any_other_content_is_a_failed_check_and_no_traceback(
    group: Group, files: Files, name: str, content: bytes
) -> None:
    assert not verify_files({**files, name: content}).ok
    if name != release_files.CERTIFICATE:
        verdict = verify_files(certified(group, {**files, name: content}))
        assert not verdict.ok
        assert "while checking" not in detail(verdict), "a check that met this input unprepared"


# Files


def test_files_that_are_missing_extra_or_not_regular_fail_the_first_check(files: Files, tmp_path: Path) -> None:
    def fails(change: Callable[[Path], object], match: str) -> None:
        release = write(files, tmp_path / match.replace("/", "-"))
        change(release)
        verdict = verify_release(release)
        assert failed(verdict) == 1
        assert match in detail(verdict)
        assert {check.state for check in verdict.checks[1:]} == {"not reached"}

    fails(lambda path: (path / "notes.txt").touch(), "'notes.txt' too many")
    fails(lambda path: (path / "receipts/2.jsonl").touch(), "'ledger/2.json' missing")
    fails(lambda path: (path / "receipts/extra").mkdir(), "'receipts/extra' too many")
    fails(lambda path: (path / "card.json").unlink(), "'card.json' missing")
    fails(lambda path: (path / "ledger/1.json").unlink(), "'ledger/1.json' missing")
    fails(
        lambda path: _replace(path / "card.json", lambda at: at.symlink_to("plan.json")),
        "card.json: expected a regular",
    )
    fails(lambda path: _replace(path / "plan.json", os.mkfifo), "plan.json: expected a regular")
    fails(lambda path: _replace(path / "keys.json", Path.mkdir), "keys.json: expected a regular")


def _replace(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def test_a_linked_folder_is_refused(files: Files, tmp_path: Path) -> None:
    release = write(files, tmp_path / "release")
    (release / "ledger").rename(tmp_path / "elsewhere")
    (release / "ledger").symlink_to(tmp_path / "elsewhere")
    assert failed(verify_release(release)) == 1


def test_arguments_that_are_no_release_or_no_keys_are_input_errors(files: Files, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="directory"):
        verify_release(tmp_path / "absent")
    with pytest.raises(InputError, match="keys"):
        verify_release(write(files, tmp_path / "release"), tmp_path / "absent")


# Another signer


def test_a_release_signed_anew_by_another_coordinator_fails_only_against_pinned_keys(
    group: Group, files: Files, tmp_path: Path
) -> None:
    stranger = Group(tmp_path, coordinator=FixedSigner(9))
    forged = stranger.train(RUN, plan())
    assert verify_files(forged).ok
    assert failed(verify_files(forged, group.roots)) == 2


def test_a_site_that_is_not_pinned_is_refused(group: Group, files: Files) -> None:
    known = TrustRoots.of(group.coordinator, {SITES[0]: group.sites[0].signer})
    verdict = verify_files(files, known)
    assert failed(verdict) == 2
    assert SITES[1] in detail(verdict)


def test_a_certificate_by_a_site_is_refused(group: Group, files: Files) -> None:
    impostor = Group.__new__(Group)
    impostor.__dict__.update(group.__dict__, coordinator=group.sites[0].signer)
    forged = impostor.certified(files, replace(certificate_of(group, files), coordinator=impostor.coordinator.keyid))
    assert failed(verify_files(forged)) == 3


# A coordinator that signs what is not so


def test_a_certificate_of_another_run_is_refused(group: Group, files: Files) -> None:
    assert failed(verify_files(certified(group, files, run="run-2"))) == 6


def test_a_certificate_replayed_over_another_runs_files_is_refused(tmp_path: Path) -> None:
    group = Group(tmp_path)
    first, second = group.train("first", plan()), group.train("second", plan())
    replayed = {**second, release_files.CERTIFICATE: first[release_files.CERTIFICATE]}
    assert failed(verify_files(replayed)) == 4


def test_another_plan_than_the_one_that_ran_is_refused(group: Group, files: Files) -> None:
    noisier = plan(events=tuple(replace(event, noise=2 * event.noise) for event in plan().events))
    other = {**files, release_files.PLAN: noisier.to_bytes()}
    assert failed(verify_files(certified(group, other))) == 5
    claimed = group.certificate(RUN, noisier, files)
    assert failed(verify_files(group.certified(other, claimed))) == 6


def test_a_mechanism_that_is_not_the_plans_is_refused(group: Group, files: Files) -> None:
    mechanism = certificate_of(group, files).mechanism
    for change in ({"trust": "secure-sum"}, {"unit": "site"}, {"events": mechanism.events[:1]}, {"use_case": "other"}):
        assert failed(verify_files(certified(group, files, mechanism=replace(mechanism, **change)))) == 5


def lines_of(files: Files, n: int) -> list[bytes]:
    return files[release_files.receipts(n)].splitlines(keepends=True)


SWAPS: dict[str, Callable[[list[bytes], list[bytes]], list[bytes]]] = {
    "missing": lambda own, other: own[:-1],
    "none": lambda own, other: [],
    "twice": lambda own, other: [*own, own[-1]],
    "one instead of another": lambda own, other: [own[0], own[1], own[1]],
    "another order": lambda own, other: own[::-1],
    "another site's": lambda own, other: [*own[:2], other[2]],
    "unended": lambda own, other: [*own[:2], own[2][:-1]],
    "empty line": lambda own, other: [*own[:2], b"\n"],
}


@pytest.mark.parametrize("swap", SWAPS.values(), ids=SWAPS.keys())
def test_receipts_missing_repeated_or_swapped_are_refused(
    group: Group, files: Files, swap: Callable[[list[bytes], list[bytes]], list[bytes]]
) -> None:
    swapped = b"".join(swap(lines_of(files, 0), lines_of(files, 1)))
    verdict = verify_files(certified(group, {**files, release_files.receipts(0): swapped}))
    assert failed(verdict) == 6
    assert "receipts/0.jsonl" in detail(verdict)


def with_receipt(group: Group, files: Files, line: int = 0, **changes: object) -> Files:
    """The release after the first site signed one receipt anew with these changes."""
    lines, site = lines_of(files, 0), group.sites[0]
    receipt = open_receipt(lines[line][:-1], group.roots.sites[site.name])
    lines[line] = sign_receipt(replace(receipt, **changes), site.signer) + b"\n"
    return certified(group, {**files, release_files.receipts(0): b"".join(lines)})


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"run": "run-0"}, 6),
        ({"plan": "0" * 64}, 6),
        ({"mu2": "0.2"}, 6),
        ({"state": "0" * 64}, 6),
        ({"state": "0" * 64, "line": 1}, 6),
        ({"noise": "seeded-for-tests"}, 7),
        ({"position": 4}, 8),
        ({"position": 1}, 8),
        ({"leaf": "0" * 64}, 8),
    ],
)
def test_receipts_that_say_something_else_are_refused(
    group: Group, files: Files, change: dict[str, object], check: int
) -> None:
    assert failed(verify_files(with_receipt(group, files, **change))) == check


def test_second_moments_computed_at_a_state_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.privacy.small_release.state_of", lambda event, index: "0" * 64)
    verdict = verify_files(Group(tmp_path).train(RUN, plan()))
    assert failed(verdict) == 6
    assert "state (of nothing)" in detail(verdict)


def test_seeded_noise_is_refused(group: Group, tmp_path: Path) -> None:
    seeded = Group(tmp_path, noise="seeded-for-tests")
    released = seeded.train(RUN, plan())
    assert failed(verify_files(released)) == 7
    assert failed(verify_files(certified(seeded, released, noise="os"))) == 7


def test_ledgers_that_do_not_show_the_charges_are_refused(group: Group, files: Files) -> None:
    name = release_files.ledger(0)
    document = canonical.from_bytes(files[name], name)

    def fails(change: dict[str, object], other: str | None = None) -> None:
        data = canonical.to_bytes({**document, **change}) if other is None else files[other]
        assert failed(verify_files(certified(group, {**files, name: data}))) == 8

    charges = document["charges"]
    fails({"charges": charges[:-1]})
    fails({"charges": charges[::-1]})
    fails({"charges": [*charges, charges[-1]]})
    fails({"charges": [{**charges[0], "index": 3}, *charges[1:]]})
    fails({"charges": [{**charges[0], "proof": charges[1]["proof"]}, *charges[1:]]})
    fails({"charges": [{**charges[0], "leaf": charges[1]["leaf"]}, *charges[1:]]})
    fails({"open": charges[0]})
    fails({"size": document["size"] + 1})
    fails({"checkpoint": document["checkpoint"].replace("kith/North", "kith/Nord")})
    fails({}, other=release_files.ledger(1))


# A coordinator that hides repeated charges


def charges_of(group: Group, files: Files) -> tuple[LedgerExcerpt, dict[int, Charged]]:
    """What the first site shows of its ledger, and its charges by position."""
    name, site = release_files.ledger(0), group.sites[0]
    excerpt = LedgerExcerpt.from_bytes(files[name], name)
    return excerpt, excerpt.verified(site.name, group.roots.sites[site.name]).charges


def hiding(group: Group, files: Files, hidden: Callable[[Charged], bool]) -> Files:
    """The release without the proofs of these charges of the first site; what they cost is moved to before the run."""
    excerpt, charges = charges_of(group, files)
    shown = tuple(proof for proof in excerpt.charges if not hidden(charges[proof.position]))
    first, second = certificate_of(group, files).accounts
    charged = sum((Fraction(charges[proof.position].mu2) for proof in shown), Fraction(0))
    account = replace(first, spent_before=amounts.to_text(Fraction(first.spent_after) - charged))
    forged = {**files, release_files.ledger(0): replace(excerpt, charges=shown).to_bytes()}
    return certified(group, forged, accounts=(account, second))


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Group, Files]:
    """A group whose first site charged every release twice, and the release."""
    group = Group(tmp_path_factory.mktemp("crashed"))
    releases = {(0, event.name, index) for event in plan().events for index in range(event.times)}
    return group, group.train(RUN, plan(), crashes=frozenset(releases))


@pytest.mark.parametrize(
    "hidden",
    [
        lambda charge: charge.attempt == 0,
        lambda charge: charge.attempt == 1,
        lambda charge: (charge.event, charge.index, charge.attempt) == ("second-moments", 0, 0),
        lambda charge: (charge.event, charge.index, charge.attempt) == ("gradient", 1, 0),
        lambda charge: (charge.event, charge.index) == ("gradient", 1),
    ],
    ids=["all first attempts", "all second attempts", "the first of all", "the last repeated", "a whole release"],
)
def test_repeated_charges_moved_to_before_the_run_are_refused(
    crashed: tuple[Group, Files], hidden: Callable[[Charged], bool]
) -> None:
    group, files = crashed
    assert verify_files(files, group.roots).ok
    assert failed(verify_files(hiding(group, files, hidden), group.roots)) == 8


def test_a_receipt_of_an_earlier_attempt_is_refused(crashed: tuple[Group, Files]) -> None:
    group, files = crashed
    excerpt, _ = charges_of(group, files)
    earlier = excerpt.charges[0]
    moved = with_receipt(group, files, position=earlier.position, leaf=merkle.leaf_hash(earlier.leaf).hex())
    verdict = verify_files(moved)
    assert failed(verdict) == 8
    assert "last charge" in detail(verdict)


def with_totals(group: Group, files: Files, totals: Sequence[str]) -> Files:
    """The release after the first site wrote its ledger anew with these totals, and signed everything again."""
    site = group.sites[0]
    excerpt, charges = charges_of(group, files)
    leaves = dict(LedgerFile(group.folder / "0.ledger").leaves())
    for (position, charge), total in zip(charges.items(), totals, strict=True):
        leaves[position] = entries.to_leaf(replace(charge, spent=total))
    tree = merkle.Tree.of([merkle.leaf_hash(leaf) for leaf in leaves.values()])
    head = Checkpoint(checkpoint.origin_of(site.name), tree.size, tree.root())
    opened, *proofs = (Proof(leaves[at], at, tree.inclusion(at)) for at in (0, *charges))
    forged = {
        **files,
        release_files.ledger(0): replace(
            excerpt, checkpoint=checkpoint.sign(head, site.signer), opened=opened, charges=tuple(proofs)
        ).to_bytes(),
    }
    for line, data in enumerate(lines_of(files, 0)):
        position = open_receipt(data[:-1], group.roots.sites[site.name]).position
        forged = with_receipt(group, forged, line, leaf=merkle.leaf_hash(leaves[position]).hex())
    first, second = certificate_of(group, files).accounts
    charged = sum((Fraction(charge.mu2) for charge in charges.values()), Fraction(0))
    before = amounts.to_text(Fraction(totals[-1]) - charged)
    account = replace(first, spent_before=before, spent_after=totals[-1], root=tree.root().hex())
    return certified(group, forged, accounts=(account, second))


HONEST = ("0.25", "0.5", "0.5625", "0.625", "0.6875", "0.75")


@pytest.mark.parametrize(
    "totals",
    [
        ("0.25", "0.5", "0.5625", "0.625", "0.6875", "0.8"),
        ("0.25", "0.5", "0.6", "0.625", "0.6875", "0.75"),
        ("0.2", "0.5", "0.5625", "0.625", "0.6875", "0.75"),
    ],
    ids=["more between neighbours", "less than charged", "less than the first charge"],
)
def test_totals_that_do_not_rise_by_what_was_charged_are_refused(
    crashed: tuple[Group, Files], totals: tuple[str, ...]
) -> None:
    group, files = crashed
    assert verify_files(with_totals(group, files, HONEST)).ok
    verdict = verify_files(with_totals(group, files, totals))
    assert failed(verdict) == 9
    assert "to rise by its charge" in detail(verdict)


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"size": 1}, 8),
        ({"root": "0" * 64}, 8),
        ({"cap": "3"}, 9),
        ({"cap": "0.25"}, 9),
        ({"spent_before": "0.1"}, 9),
        ({"spent_after": "0.3"}, 9),
        ({"spent_before": "0.1", "spent_after": "0.475"}, 9),
        ({"keyid": FixedSigner(1).keyid}, 5),
        ({"site": "Nord"}, 5),
    ],
)
def test_accounts_that_are_not_the_ledgers_are_refused(
    group: Group, files: Files, change: dict[str, object], check: int
) -> None:
    first, second = certificate_of(group, files).accounts
    assert failed(verify_files(certified(group, files, accounts=(replace(first, **change), second)))) == check


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"mu2": "0.3"}, 10),
        ({"delta": "0.0001"}, 10),
        ({"epsilon": "1"}, 10),
        ({"epsilon": "3"}, 10),
        ({"epsilon_replace_one": "2.5"}, 10),
        ({"epsilons": ()}, 10),
        ({"epsilon_pld": "2.4"}, 11),
        ({"discretization_delta": "0"}, 12),
        ({"discretization_delta": "0.001"}, 12),
    ],
)
def test_figures_that_do_not_follow_from_the_plan_are_refused(
    group: Group, files: Files, change: dict[str, object], check: int
) -> None:
    cost = certificate_of(group, files).cost
    assert failed(verify_files(certified(group, files, cost=replace(cost, **change)))) == check


@pytest.mark.parametrize("name", ["epsilon", "epsilon_replace_one", "epsilon_pld", "epsilons"])
def test_an_epsilon_rounded_down_is_refused_and_two_steps_up_are_not(group: Group, files: Files, name: str) -> None:
    cost = certificate_of(group, files).cost

    def shifted(steps: int) -> Verdict:
        def shift(epsilon: str) -> str:
            return str(Decimal(epsilon) + steps * EPSILON_STEP)

        stated = getattr(cost, name)
        changed = shift(stated) if isinstance(stated, str) else tuple((delta, shift(one)) for delta, one in stated)
        return verify_files(certified(group, files, cost=replace(cost, **{name: changed})))

    assert failed(shifted(-1)) in (10, 11)
    assert shifted(2).ok
    assert failed(shifted(3)) in (10, 11)


def test_a_certificate_that_claims_to_cover_everything_is_refused(group: Group, files: Files) -> None:
    assert failed(verify_files(certified(group, files, not_covered=()))) == 3


def test_trust_is_told_as_what_the_sites_state(files: Files) -> None:
    assert verify_files(files).checks[13].detail.startswith("local: each site states that")


def test_the_two_accountants_are_compared(group: Group, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(plan: Plan, delta: Decimal) -> Decimal:
        return Decimal("2.4")

    monkeypatch.setattr("privacy.accounting.epsilon_by_pld", wrong)
    cost = replace(certificate_of(group, files).cost, epsilon_pld="2.4")
    verdict = verify_files(certified(group, files, cost=cost))
    assert failed(verdict) == 11
    assert "agree" in detail(verdict)


def spoil(name: str, value: object) -> Callable[[dict[str, np.ndarray]], None]:
    return lambda tensors: tensors.__setitem__(name, np.asarray(value))


@pytest.mark.parametrize(
    "change",
    [
        spoil("weights", [1.0, 2.0, np.nan]),
        spoil("weights/North", [1.0, 2.0, np.inf]),
        spoil("variances", [1.0, 2.0, -1.0]),
        spoil("weights", [1.0, 2.0]),
        spoil("weights", [[1.0, 2.0, 3.0]]),
        spoil("basis", np.ones(3)),
        spoil("typical", [0.0, -np.inf, 0.0]),
        spoil("weights", np.ones(3, dtype=np.float32)),
        spoil("site/Elsewhere", np.ones(3)),
        lambda tensors: tensors.pop("variances/North"),
    ],
)
def test_weights_that_are_none_are_refused(
    group: Group, files: Files, change: Callable[[dict[str, np.ndarray]], None]
) -> None:
    verdict = verify_files(certified(group, {**files, release_files.MODEL: weights(list(SITES), change)}))
    assert failed(verdict) == 13


@pytest.mark.parametrize(
    "wrong",
    [
        {**card(list(SITES)), "width": 4},
        card(["North"]),
        {"width": 3},
        [],
        {**card(list(SITES)), "features": {"features": "of another"}},
        {**card(list(SITES)), "use_case": "dismissal"},
    ],
)
def test_cards_that_do_not_fit_weights_and_plan_are_refused(group: Group, files: Files, wrong: object) -> None:
    changed = {**files, release_files.CARD: canonical.to_bytes(wrong)}
    assert failed(verify_files(certified(group, changed))) == 13


def test_a_trust_that_this_version_can_not_show_is_refused(tmp_path: Path) -> None:
    group = Group(tmp_path)
    assert failed(verify_files(group.train(RUN, plan(trust="secure-sum")))) == 14


def test_a_plan_too_coarse_for_its_delta_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = Group(tmp_path)
    cost = certificate_of(group, group.train("fine", plan())).cost
    monkeypatch.setattr("tests.privacy.small_release.cost_of", lambda plan: cost)
    coarse = plan(events=(GaussianSum("gradient", 1, 3, 0, 1, 4),))
    assert failed(verify_files(group.train("coarse", coarse))) == 10
