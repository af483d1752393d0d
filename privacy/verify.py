"""Whether a release is what its certificate says: numbered checks, offline, without torch.

Rules, by the number of their check:
    1. files: the release holds exactly its files, regular ones, of bounded size; each is read once.
    2. keys: keys.json gives every party a key of its own. If keys are pinned, each must be the pinned one; if not, the
       verdict says that the keys are self-asserted: the release is then of one piece, whoever made it.
    3. certificate: signed by the coordinator's key, alone, over every other file; it names something as not covered.
    4. digests: every other file has the digest that the certificate states.
    5. plan: well formed, the one that the certificate names, with the certificate's mechanism, sites and keys.
    6. receipts: every site signed exactly one receipt for each release of each event, of this run and plan, for the
       same state at all sites; second moments are computed at no state.
    7. noise: every contribution got its noise from the operating system's secure source.
    8. ledger: each site signed its checkpoint, as the certificate has it; every charge shown is in its log, of this run
       and plan, and every receipt is of one of them. A charge without a receipt is a repeated one (after a crash): of a
       release that has a receipt, for the same state; it counts. None is left out: the attempts at a release are
       0, 1, ... in order of position, and its receipt is of the last.
    9. spending: at each site, what was charged is at least the plan's mu², before + charged = after <= cap, and after
       and cap are the ledger's own. The ledger's total rises with every charge shown by its mu², and by more only where
       other entries lie between, which may be other runs' charges: these are part of before.
   10. epsilon: the closed form gives the figures that the certificate states, or they are `ROUNDING` above it.
   11. second accountant: dp-accounting's PLD gives the epsilon that the certificate states for it, and it is within
       PLD_AGREES of the closed form. (PLD is pessimistic by its discretization, a closed form is not.)
   12. discretization: what discrete noise adds to delta is stated, and epsilon holds at delta with it included.
   13. model: the card is of the plan's use case and feature space; safetensors with exactly the tensors of card and
       plan, float64, finite, variances not negative.
   14. trust: the certificate claims the plan's trust, and it is one whose receipts are checked here.

A check is "not reached" if one it builds on has not passed. Nothing here needs the network, a clock or a random number.

What is not shown, whatever passes:
    - that the weights were computed from the released sums. Receipts bind the digests of the sums; the weights are the
      coordinator's word.
    - that a site really added its noise, read the table it should, or ran the code whose digest it states. A signature
      shows who claimed what.
    - that the ledger is the site's only one. An older copy, or a new one in the place of a deleted one, signs as well;
      only a checkpoint kept from earlier shows the difference (`Ledger.verify`).
    - when anything happened: times are the parties' own clocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from privacy import accounting, amounts, canonical, fields, merkle, randomness, release_files
from privacy.certificate import Certificate, Mechanism, SiteAccount, open_certificate
from privacy.cost import Cost, cost_of
from privacy.entries import Charged
from privacy.errors import InputError, KithError, VerificationFailed
from privacy.ledger_excerpt import LedgerExcerpt, VerifiedExcerpt
from privacy.plan import Plan
from privacy.receipt import Receipt, open_receipt
from privacy.trust_roots import TrustRoots
from privacy.verdict import FAIL, NOT_REACHED, PASS, Check, Verdict

PLD_AGREES: Final = 0.01
"""Relative difference allowed between the two accountants; plus `PLD_SLACK`, which matters for tiny epsilons only."""
PLD_SLACK: Final = 0.002
ROUNDING: Final = Decimal("0.000002")
"""Two steps of a stated epsilon, upwards only: another machine's libm may round the last digit otherwise."""
MU_FLOAT: Final = 1e-6
"""Relative slack where delta is recomputed from a stated (rounded) epsilon in floating point."""
STATELESS: Final = "second-moments"
"""The event whose releases are computed at no state: theirs is the sha256 of nothing."""
PINNED: Final = "keys: pinned - held against the keys that you gave"
SELF_ASSERTED: Final = "keys: self-asserted - the release is of one piece, whoever made it; pin keys with --keys"
"""What a person is told beside a verdict, with and without pinned keys."""


def verify_release(path: Path, pinned: Path | None = None) -> Verdict:
    """Check the release at `path` by the rules above, against the keys in the file `pinned` if given.

    Raises:
        InputError: if `path` is no directory or `pinned` no file of keys. Whatever the release holds ends in a verdict.
    """
    if not path.is_dir():
        raise InputError(f"release {path}: expected a directory, got none")
    roots = TrustRoots.read(pinned) if pinned else None
    return _run(_Evidence(lambda: release_files.read(path), roots))


def verify_files(files: dict[str, bytes], pinned: TrustRoots | None = None) -> Verdict:
    """The same checks over files already read by `release_files.read`, so that a reader uses the bytes it verified."""
    return _run(_Evidence(lambda: files, pinned))


class _Evidence:
    """What the checks have established so far; each check may use what those it builds on have set."""

    files: dict[str, bytes]
    keys: TrustRoots
    certificate: Certificate
    digests: dict[str, str]
    plan: Plan
    receipts: list[list[Receipt]]
    ledgers: list[VerifiedExcerpt]
    cost: Cost

    def __init__(self, read: Callable[[], dict[str, bytes]], pinned: TrustRoots | None) -> None:
        self.read = read
        self.pinned = pinned

    @property
    def sites(self) -> list[str]:
        return [site.name for site in self.plan.sites]


def _files(evidence: _Evidence) -> str:
    evidence.files = evidence.read()
    return f"{len(evidence.files)} files, exactly those of a release"


def _keys(evidence: _Evidence) -> str:
    evidence.keys = TrustRoots.from_bytes(evidence.files[release_files.KEYS], release_files.KEYS)
    if evidence.pinned is None:
        return "self-asserted: the release brings its own keys; pin them to know whose it is"
    evidence.keys.check_against(evidence.pinned)
    return f"the coordinator's and {len(evidence.keys.sites)} sites' keys are the pinned ones"


def _certificate(evidence: _Evidence) -> str:
    coordinator = evidence.keys.coordinator
    envelope = evidence.files[release_files.CERTIFICATE]
    evidence.certificate, evidence.digests = open_certificate(envelope, coordinator)
    _equal("certificate, coordinator", coordinator.keyid, evidence.certificate.coordinator)
    return f"run {evidence.certificate.run}, signed by {coordinator.keyid[:16]}"


def _digests(evidence: _Evidence) -> str:
    covered = {name: data for name, data in evidence.files.items() if name != release_files.CERTIFICATE}
    if set(covered) != set(evidence.digests):
        name = min(set(covered) ^ set(evidence.digests))
        raise VerificationFailed(f"{name[:80]}: expected the certificate to cover exactly the release's files")
    for name, data in covered.items():
        _equal(f"{name}, sha256", evidence.digests[name], release_files.sha256(data))
    return f"{len(covered)} files have the certificate's digests"


def _plan(evidence: _Evidence) -> str:
    plan, certificate = Plan.from_bytes(evidence.files[release_files.PLAN]), evidence.certificate
    _equal("plan, digest", certificate.mechanism.plan, plan.digest)
    _equal("plan, mechanism", certificate.mechanism, Mechanism.of(plan))
    names = [site.name for site in plan.sites]
    _equal("plan, sites and the certificate's accounts", [one.site for one in certificate.accounts], names)
    _equal("plan, sites and keys.json", sorted(evidence.keys.sites), names)
    _equal("plan, number of sites and receipts", set(release_files.names(len(names))), set(evidence.files))
    for account in certificate.accounts:
        _equal(f"keyid of {account.site}", evidence.keys.sites[account.site].keyid, account.keyid)
    evidence.plan = plan
    return f"{plan.digest[:16]}: {sum(event.times for event in plan.events)} releases at each of {len(names)} sites"


def _receipts(evidence: _Evidence) -> str:
    plan = evidence.plan
    expected = [(event.name, index) for event in plan.events for index in range(event.times)]
    evidence.receipts = [_site_receipts(evidence, n, site, expected) for n, site in enumerate(evidence.sites)]
    for of_release in zip(*evidence.receipts, strict=True):
        for one, other in pairwise(of_release):
            _equal(f"{other.site}, {other.event} {other.index}, state", one.state, other.state)
    return f"{len(expected)} from each site, of this run and plan, for the same states"


def _site_receipts(evidence: _Evidence, n: int, site: str, expected: list[tuple[str, int]]) -> list[Receipt]:
    name = release_files.receipts(n)
    lines = evidence.files[name].split(b"\n")
    if lines.pop() != b"" or len(lines) != len(expected):
        raise VerificationFailed(f"{name}: expected {len(expected)} lines, got {len(lines)} or an unended one")
    result = []
    for number, (line, (event, index)) in enumerate(zip(lines, expected, strict=True), start=1):
        where = f"{name}, line {number}"
        one = open_receipt(line, evidence.keys.sites[site], where)
        _equal(f"{where}, release", (site, event, index), (one.site, one.event, one.index))
        _equal(f"{where}, run and plan", (evidence.certificate.run, evidence.plan.digest), (one.run, one.plan))
        _equal(f"{where}, mu2", amounts.to_text(amounts.once(evidence.plan.event(event))), one.mu2)
        if event == STATELESS:
            _equal(f"{where}, state (of nothing)", release_files.sha256(b""), one.state)
        result.append(one)
    return result


def _noise(evidence: _Evidence) -> str:
    _equal("certificate, noise", randomness.OS, evidence.certificate.noise)
    for one in (receipt for of_site in evidence.receipts for receipt in of_site):
        _equal(f"{one.site}, {one.event} {one.index}, noise", randomness.OS, one.noise)
    return "the operating system's secure source, at every site and release"


def _ledger(evidence: _Evidence) -> str:
    evidence.ledgers = [_site_ledger(evidence, n, account) for n, account in enumerate(evidence.certificate.accounts)]
    repeated = sum(len(shown.charges) for shown in evidence.ledgers) - sum(map(len, evidence.receipts))
    return f"{len(evidence.ledgers)} checkpoints signed, every charge included; {repeated} repeated charges"


def _site_ledger(evidence: _Evidence, n: int, account: SiteAccount) -> VerifiedExcerpt:
    name = release_files.ledger(n)
    excerpt = LedgerExcerpt.from_bytes(evidence.files[name], name)
    shown = excerpt.verified(account.site, evidence.keys.sites[account.site])
    _equal(f"{name}, checkpoint", (account.size, account.root), (shown.head.size, shown.head.root.hex()))
    attempts = {(one.event, one.index): list[int]() for one in evidence.receipts[n]}
    for position, entry in shown.charges.items():
        where, release = f"{name}, charge at {position}", (entry.event, entry.index)
        if release not in attempts:
            raise VerificationFailed(f"{where}: expected a release of the plan, got another")
        _equal(f"{where}, run and plan", (evidence.certificate.run, evidence.plan.digest), (entry.run, entry.plan))
        _equal(f"{where}, attempt", len(attempts[release]), entry.attempt)
        attempts[release].append(position)
    leaves = {proof.position: proof.leaf for proof in excerpt.charges}
    for receipt in evidence.receipts[n]:
        where, positions = f"{name}, {receipt.event} {receipt.index}", attempts[receipt.event, receipt.index]
        _equal(f"{where}, last charge", receipt.position, positions[-1] if positions else "none")
        _equal(f"{where}, leaf", receipt.leaf, merkle.leaf_hash(leaves[receipt.position]).hex())
        for entry in (shown.charges[position] for position in positions):
            _equal(f"{where}, state and mu2", (receipt.state, receipt.mu2), (entry.state, entry.mu2))
    return shown


def _spending(evidence: _Evidence) -> str:
    for account, shown in zip(evidence.certificate.accounts, evidence.ledgers, strict=True):
        where = f"{account.site}, mu²"
        charges = list(shown.charges.values())
        charged = sum((Fraction(one.mu2) for one in charges), Fraction(0))
        before, after = Fraction(account.spent_before), Fraction(account.spent_after)
        if charged < evidence.plan.mu_squared:
            raise VerificationFailed(f"{where}: expected at least the plan's to be charged, got less")
        _check_totals(where, shown.charges)
        _equal(f"{where}, before + charged = after", amounts.to_text(before + charged), account.spent_after)
        _equal(f"{where}, after, by the ledger", charges[-1].spent, account.spent_after)
        _equal(f"{where}, cap, by the ledger", shown.opened.cap, account.cap)
        if after > Fraction(account.cap):
            raise VerificationFailed(f"{where}: expected at most the cap {account.cap}, got {account.spent_after}")
    return f"at least {evidence.certificate.cost.mu2} charged at every site, within its cap"


def _check_totals(where: str, charges: Mapping[int, Charged]) -> None:
    """That the ledger's totals rise as rule 9 says, from 0 at its opening entry on."""
    totals = [(0, Fraction(0)), *((position, Fraction(one.spent)) for position, one in charges.items())]
    for (earlier, before), (position, after) in pairwise(totals):
        beyond = after - before - Fraction(charges[position].mu2)
        if beyond < 0 or (beyond and position == earlier + 1):
            raise VerificationFailed(f"{where}: expected the total at {position} to rise by its charge, got otherwise")


def _epsilon(evidence: _Evidence) -> str:
    evidence.cost, stated = cost_of(evidence.plan), evidence.certificate.cost
    expected = evidence.cost
    _equal("certificate, mu2", expected.mu2, stated.mu2)
    _equal("certificate, delta", evidence.plan.delta, stated.delta)
    _close("certificate, epsilon", expected.epsilon, stated.epsilon)
    _close("certificate, epsilon_replace_one", expected.epsilon_replace_one, stated.epsilon_replace_one)
    _equal(
        "certificate, deltas of epsilons", [delta for delta, _ in expected.epsilons], [d for d, _ in stated.epsilons]
    )
    for (delta, epsilon), (_, claimed) in zip(expected.epsilons, stated.epsilons, strict=True):
        _close(f"certificate, epsilon at {delta}", epsilon, claimed)
    return f"epsilon {stated.epsilon} at delta {stated.delta} (replace-one {stated.epsilon_replace_one})"


def _second_accountant(evidence: _Evidence) -> str:
    stated, computed = evidence.certificate.cost, evidence.cost
    _close("certificate, epsilon_pld", computed.epsilon_pld, stated.epsilon_pld)
    closed, second = float(computed.epsilon), float(computed.epsilon_pld)
    if abs(closed - second) > PLD_AGREES * closed + PLD_SLACK:
        raise VerificationFailed(f"epsilon: expected both accountants to agree, got {closed} and {second} (PLD)")
    return f"PLD {stated.epsilon_pld}, closed form {stated.epsilon}: agree within {PLD_AGREES:.0%} + {PLD_SLACK}"


def _discretization(evidence: _Evidence) -> str:
    plan, stated = evidence.plan, evidence.certificate.cost
    if Decimal(stated.discretization_delta) < Decimal(evidence.cost.discretization_delta) * Decimal("0.999"):
        expected = evidence.cost.discretization_delta
        raise VerificationFailed(f"discretization: expected {expected}, got {stated.discretization_delta}")
    continuous = accounting.delta_of(float(stated.epsilon), math.sqrt(plan.mu_squared))
    if continuous + float(stated.discretization_delta) > float(plan.delta) * (1 + MU_FLOAT):
        raise VerificationFailed(
            f"discretization: expected it within delta {plan.delta}, got more at the stated epsilon"
        )
    return f"{stated.discretization_delta} of delta {plan.delta}, included in epsilon"


def _model(evidence: _Evidence) -> str:
    from safetensors.numpy import load  # numpy's alone: this must not bring torch

    card = canonical.from_bytes(evidence.files[release_files.CARD], release_files.CARD)
    if not isinstance(card, dict) or not isinstance(card.get("sites"), list | dict):
        raise VerificationFailed('card.json: expected an object with "width" and "sites", got otherwise')
    width = fields.whole(card.get("width"), "card.json, width")
    plan = evidence.plan
    _equal("card.json, use_case", plan.use_case, card.get("use_case"))
    space = release_files.sha256(canonical.to_bytes(card.get("features")))
    _equal("card.json, features (their digest)", plan.features, space)
    _equal("card.json, sites", evidence.sites, sorted(card["sites"]))
    try:
        tensors: dict[str, Any] = load(evidence.files[release_files.MODEL])
    except Exception as error:  # the library's own exception types differ between its versions
        raise VerificationFailed(f"{release_files.MODEL}: expected safetensors, got {type(error).__name__}") from None
    models = ["", *(f"/{site}" for site in evidence.sites)]
    vectors = {"typical", *(f"{kind}{model}" for kind in ("weights", "variances") for model in models)}
    shapes = {"basis": (width, width), **dict.fromkeys(vectors, (width,))}
    _equal(f"{release_files.MODEL}, tensors", set(shapes), set(tensors))
    for name, tensor in tensors.items():
        _equal(f"{release_files.MODEL}, {name}", ("float64", shapes[name]), (str(tensor.dtype), tensor.shape))
        finite = bool((abs(tensor) < math.inf).all())  # also false for NaN
        if not finite or (name.startswith("variances") and (tensor < 0).any()):
            raise VerificationFailed(f"{release_files.MODEL}, {name}: expected finite numbers, variances from 0 on")
    return f"{len(tensors)} tensors over {width} coordinates, finite"


def _trust(evidence: _Evidence) -> str:
    _equal("certificate, trust", evidence.plan.trust, evidence.certificate.mechanism.trust)
    if evidence.plan.trust != "local":
        raise VerificationFailed(
            f"trust: expected 'local', all that this version can show, got {evidence.plan.trust!r}"
        )
    return "local: each site states that it added all of its noise before anything left it"


@dataclass(frozen=True, slots=True)
class _Rule:
    number: int
    name: str
    check: Callable[[_Evidence], str]
    builds_on: tuple[int, ...]


_RULES: Final = (
    _Rule(1, "files", _files, ()),
    _Rule(2, "keys", _keys, (1,)),
    _Rule(3, "certificate", _certificate, (2,)),
    _Rule(4, "digests", _digests, (3,)),
    _Rule(5, "plan", _plan, (4,)),
    _Rule(6, "receipts", _receipts, (5,)),
    _Rule(7, "noise", _noise, (6,)),
    _Rule(8, "ledger", _ledger, (6,)),
    _Rule(9, "spending", _spending, (8,)),
    _Rule(10, "epsilon", _epsilon, (5,)),
    _Rule(11, "second accountant", _second_accountant, (10,)),
    _Rule(12, "discretization", _discretization, (10,)),
    _Rule(13, "model", _model, (5,)),
    _Rule(14, "trust", _trust, (5,)),
)


def _run(evidence: _Evidence) -> Verdict:
    checks: list[Check] = []
    for rule in _RULES:
        missing = [number for number in rule.builds_on if not checks[number - 1].passed]
        state, detail = (NOT_REACHED, f"builds on check {missing[0]}") if missing else _outcome(rule, evidence)
        checks.append(Check(rule.number, rule.name, state, detail))
    return Verdict(tuple(checks))


def _outcome(rule: _Rule, evidence: _Evidence) -> tuple[str, str]:
    try:
        return PASS, rule.check(evidence)
    except KithError as error:
        return FAIL, str(error)
    except Exception as error:  # whatever a hostile release provokes is a failed check, never a traceback
        return FAIL, f"{rule.name}: expected a well-formed release, got {type(error).__name__} while checking"


def _equal(what: str, expected: object, got: object) -> None:
    if expected != got:
        raise VerificationFailed(f"{what}: expected {_short(expected)}, got {_short(got)}")


def _close(what: str, expected: str, got: str) -> None:
    if not 0 <= Decimal(got) - Decimal(expected) <= ROUNDING:
        raise VerificationFailed(f"{what}: expected {expected}, got {got}")


def _short(value: object) -> str:
    text = str(sorted(value) if isinstance(value, set) else value)
    return text if len(text) <= 160 else f"{text[:157]}..."
