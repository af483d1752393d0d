"""Whether a release is what its certificate says: numbered checks, offline, without torch.

Rules, by the number of their check:
    1. files: the release holds exactly its files, regular ones, of bounded size; each is read once.
    2. keys: keys.json is a key list that enough of its own roots signed. If roots or a list are pinned, the pin vouches
       for it (`privacy.trust_roots`): it is of these roots, and uses no key that the pinned list revokes. If not, the
       verdict says that the keys are self-asserted: the release is then of one piece, whoever made it.
    3. certificate: signed by the coordinator's active key, alone, over every other file; it names that key and that
       list, and something as not covered. It is read in one writing only.
    4. digests: every other file has the digest that the certificate states.
    5. plan: well formed, the one that the certificate names, with the certificate's mechanism and keys; accounts are of
       some of its sites, in its order; the gradient's sensitivity covers the clip.
    6. receipts: for each release of each event, every site of the plan signed exactly one receipt, or the certificate
       calls it absent; never both, and never neither. A site has an account if and only if it is in a release. Receipts
       are of this run and plan, for the same state at all sites; second moments are computed at no state.
    7. noise: every contribution got its noise from the plan's one source: the operating system's secure bits.
    8. ledger: each site signed its checkpoint, as the certificate has it; opening, budget, reservation and every charge
       shown are in its log, the charges after the reservation, of this run and plan; every receipt is of one of them.
       A charge without a receipt is a repeated one (after a crash), or of a release that the site was then absent from:
       for the same state; it counts. None is left out: the attempts at a release are 0, 1, ... in order of position,
       and its receipt is of the last. The charges fall on the cohort of the reservation; only a repeated one may change
       it.
    9. spending: at each site, what was charged is at least the mu² of the releases that it is in, before + charged =
       after, and the certificate's totals are the ledger's own: of the purpose group, of the period, and over all
       periods, each at most the next. They rise with every charge shown by its mu², and by more only where other
       entries lie between, which may be other runs' charges: these are part of before. The worst-off employee had
       min(cap, total).
   10. epsilon: the plan gives the figures that the certificate states, or they are `ROUNDING` above it.
   11. second accountant: an independent one, computed here, agrees, and is about what the certificate states for it.
   12. discretization: what discrete noise adds to delta is stated, and epsilon holds at delta with it included.
   13. model: the card is of the plan's use case and feature space; safetensors with exactly the tensors of card and
       plan, float64, finite, variances not negative.
   14. trust: in every release are at least as many sites as the plan requires (`replies_at_least`). Under a secure sum
       their shares of the noise, less those of the `colluding`, make up the whole; a plan in which the two numbers
       would let a coordinator unmask another sum by lying about who dropped out is none (5).
   15. budget: the run was reserved under the budget that the site shows from its log, at the plan's whole cost, for a
       purpose group that has the plan's use case; that cost, and what the run was charged with repeated charges, is
       within the caps of budget and group.
   16. witnesses: the plan's other sites that signed a site's checkpoint are exactly those that the certificate names.
   17. side outputs: the plan's events beyond the model's are those that the certificate names; measures.json is there
       if and only if there are some, and its sums are over the sites with receipts for them, taken at the released
       weights; a sum of a single site is the one that its receipt names; no setting was tuned on data.
   18. audit: there is none, or it is of this plan, without a planted fault, with the bounds that its counts give; it
       does not refute the plan, and the certificate sums it up.
   19. prior: if the prior release is given, the certificate names its certificate, and no ledger is behind it.
   20. contract: if the contract is given, the certificate names it.

A check is "not reached" if one it builds on has not passed. Nothing here needs the network, a clock or a random number.

What is not shown, whatever passes:
    - that the weights, and the figures in measures.json, were computed from the released sums. Receipts bind the
      digests of what left each site; what was made of it is the coordinator's word. So are the code's digest, the
      environment, and the counts of an audit.
    - what the sums were, under a secure sum: receipts bind masked values, which alone say nothing. The sum is the
      coordinator's word, in measures.json too.
    - that a site really added its noise, read the table it should, or ran the code whose digest it states. A signature
      shows who claimed what. Under a secure sum the noise is shared: a site that leaves out its share weakens the
      protection of everybody's people. What is stated holds while no more sites do than are called colluding.
    - why a site was absent, and that it was: the reason is the coordinator's word. What an absent site was charged in
      vain is in its own ledger, and here only if it has an account.
    - that the ledger is the site's only one, unless other sites hold its checkpoints (16): they would notice.
    - that two officers signed a budget that follows an earlier decision: their keys are in the budget before, which is
      not shown. `kith ledger verify` at the site checks it.
    - when anything happened: times are the parties' own clocks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

from privacy import dsse, fields, release_files, verify_cost, verify_ledgers, verify_model
from privacy.certificate import AuditSummary, Certificate, KeysUsed, Mechanism, open_certificate
from privacy.errors import InputError, KithError, VerificationFailed
from privacy.key_list import open_key_list
from privacy.party_names import COORDINATOR
from privacy.plan import LOCAL, Plan
from privacy.questions import against, answers
from privacy.signing import verifier
from privacy.trust_roots import PinnedKeys
from privacy.verdict import FAIL, NOT_REACHED, PASS, Check, Verdict, visible
from privacy.verify_evidence import Evidence, equal

PINNED: Final = "keys: pinned - held against the keys that you gave"
SELF_ASSERTED: Final = "keys: self-asserted - the release is of one piece, whoever made it; pin keys with --keys"
"""What a person is told beside a verdict, with and without pinned keys."""
MAX_CONTRACT: Final = 16 * 2**20
CLIPPED: Final = "gradient"


def verify_release(
    path: Path, pinned: Path | None = None, prior: Path | None = None, contract: Path | None = None
) -> Verdict:
    """Check the release at `path` by the rules above.

    Args:
        path: the release's directory.
        pinned: file of roots or of a key list that you got by another way.
        prior: directory of the release before this one, which you verified then.
        contract: the group's contract.toml.

    Raises:
        InputError: if an argument is not what it should be. Whatever the release holds ends in a verdict.
    """
    if not path.is_dir():
        raise InputError(f"release {path}: expected a directory, got none")
    return _run(
        Evidence(
            read=lambda: release_files.read(path),
            pinned=_pinned(pinned) if pinned else None,
            prior=_given(prior / release_files.CERTIFICATE, "prior release") if prior else None,
            contract=_given(contract, "contract") if contract else None,
        )
    )


def verify_files(
    files: Mapping[str, bytes],
    pinned: PinnedKeys | None = None,
    prior: bytes | None = None,
    contract: bytes | None = None,
) -> Verdict:
    """The same checks over files already read by `release_files.read`, so that a reader uses the bytes it verified.

    `prior` is the prior release's certificate file, `contract` the contract file, if they are there.
    """
    return _run(Evidence(read=lambda: files, pinned=pinned, prior=prior, contract=contract))


def _pinned(path: Path) -> PinnedKeys:
    try:
        return PinnedKeys.read(path)
    except VerificationFailed as error:  # it is the officer's own argument that can not be used, not the release
        raise InputError(str(error)) from None


def _given(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONTRACT + 1)
    except OSError as error:
        raise InputError(f"{what} {path}: expected a readable file, got {error.strerror}") from None
    if len(data) > MAX_CONTRACT:
        raise InputError(f"{what} {path}: expected at most {MAX_CONTRACT} bytes, got more")
    return data


def _files(evidence: Evidence) -> str:
    evidence.files = evidence.read()
    return f"{len(evidence.files)} files, exactly those of a release"


def _keys(evidence: Evidence) -> str:
    listed, pinned = open_key_list(evidence.files[release_files.KEYS], release_files.KEYS), evidence.pinned
    evidence.key_list, evidence.keys = listed, listed.trusted()
    if pinned is None:
        return "self-asserted: the release brings its own keys; pin them to know whose it is"
    pinned.check(listed, release_files.KEYS)
    by = "roots" if pinned.known is None else "list"
    return f"list number {listed.number} of {len(evidence.keys.sites)} sites, which the pinned {by} vouch for"


def _certificate(evidence: Evidence) -> str:
    coordinator = evidence.keys.coordinator
    certificate, evidence.digests = open_certificate(evidence.files[release_files.CERTIFICATE], coordinator)
    equal("certificate, coordinator", coordinator.keyid, certificate.coordinator)
    listed = KeysUsed(evidence.key_list.number, release_files.sha256(evidence.files[release_files.KEYS]))
    equal("certificate, keys", listed, certificate.keys)
    evidence.certificate = certificate
    return f"run {certificate.run!r}, signed by {coordinator.keyid[:16]}"


def _digests(evidence: Evidence) -> str:
    covered = {name: data for name, data in evidence.files.items() if name != release_files.CERTIFICATE}
    if set(covered) != set(evidence.digests):
        name = min(set(covered) ^ set(evidence.digests))
        raise VerificationFailed(f"{name[:80]}: expected the certificate to cover exactly the release's files")
    for name, data in covered.items():
        equal(f"{name}, sha256", evidence.digests[name], release_files.sha256(data))
    return f"{len(covered)} files have the certificate's digests"


def _plan(evidence: Evidence) -> str:
    plan, certificate = Plan.from_bytes(evidence.files[release_files.PLAN]), evidence.certified
    equal("plan, digest", certificate.mechanism.plan, plan.digest)
    equal("plan, mechanism", certificate.mechanism, Mechanism.of(plan))
    names, accounted = [site.name for site in plan.sites], [one.site for one in certificate.accounts]
    some = [name for name in names if name in set(accounted)]
    equal("certificate, accounts: some of the plan's sites, in order", some, accounted)
    equal("plan, sites without a key in keys.json", set(), set(names) - set(evidence.keys.sites))
    present = set(evidence.files) - release_files.OPTIONAL
    equal("certificate, number of accounts and of receipts", set(release_files.names(len(accounted))), present)
    for account in certificate.accounts:
        equal(f"keyid of {account.site}", evidence.keys.sites[account.site].keyid, account.keyid)
    for event in plan.events:
        if event.name == CLIPPED and event.sensitivity < Fraction(plan.clip) * 2**event.grid:
            raise VerificationFailed(f"plan, {event.name}: expected a sensitivity that covers the clip, got a smaller")
    evidence.plan = plan
    releases, fewest = len(plan.releases), plan.replies_at_least
    of = f"{fewest} to {len(names)}" if fewest < len(names) else f"all {len(names)}"
    return f"{plan.digest[:16]}: {releases} releases, each of {of} sites"


def _trust(evidence: Evidence) -> str:
    plan = evidence.plan
    replies = Counter((one.event, one.index) for of_site in evidence.receipts for one in of_site)
    for (event, index), sites in replies.items():
        if sites < plan.replies_at_least:
            raise VerificationFailed(f"{event} {index}: expected {plan.replies_at_least} sites or more, got {sites}")
    if plan.trust == LOCAL:
        return "local: each site states that it added all of its noise before anything left it"
    return f"{plan.trust}: {against(evidence.certified.mechanism)}"


def _audit(evidence: Evidence) -> str:
    stated, data = evidence.certified.audit, evidence.files.get(release_files.AUDIT)
    if data is None or stated is None:
        equal("audit.json is there, as the certificate says", stated is not None, data is not None)
        return "none: nothing but the proof speaks for the code"
    from privacy.verify_audit import check_audit  # brings SciPy, for releases with an audit only

    check_audit(data, evidence.plan)
    equal("certificate, audit", AuditSummary.of(data), stated)
    claim = evidence.certified.cost.epsilon
    return f"{stated.runs:,} trainings prove epsilon of at least {stated.epsilon}, and do not refute {claim}"


def _prior(evidence: Evidence) -> str:
    named = evidence.certified.prior
    if evidence.prior is None:
        return f"{named[:16]}: named, not held against a release" if named else "none: stated to be the first"
    equal("certificate, prior", release_files.sha256(evidence.prior), named)
    before = {one.site: one for one in _prior_certificate(evidence, evidence.prior).accounts}
    for n, account in enumerate(evidence.certified.accounts):
        earlier, where = before.get(account.site), f"ledger of {account.site}, since the prior release"
        charged = sum(Fraction(one.mu2) for one in evidence.ledgers[n].charges.values())
        if earlier is None:
            continue
        if account.size <= earlier.size or Fraction(account.lifetime) - charged < Fraction(earlier.lifetime):
            raise VerificationFailed(f"{where}: expected one that went on, got one that is behind")
    return f"{(named or '')[:16]}: the release that you gave, and every ledger has gone on since"


def _prior_certificate(evidence: Evidence, data: bytes) -> Certificate:
    """The prior certificate, by whichever key of the coordinator signed it: the certificate names its bytes."""
    signed_by = [one.keyid for one in dsse.Envelope.from_bytes(data, "prior certificate").signatures]
    for key in evidence.key_list.keys:
        if key.party == COORDINATOR and [key.keyid] == signed_by:
            return open_certificate(data, verifier(fields.from_base64(key.public, "keys.json")))[0]
    raise VerificationFailed("prior certificate: expected one by a key of the coordinator in keys.json, got another")


def _contract(evidence: Evidence) -> str:
    named = evidence.certified.contract
    if evidence.contract is None:
        return f"{named[:16]}: named, not held against a file"
    equal("certificate, contract", release_files.sha256(evidence.contract), named)
    return f"{named[:16]}: the contract that you gave"


@dataclass(frozen=True, slots=True)
class _Rule:
    number: int
    name: str
    check: Callable[[Evidence], str]
    builds_on: tuple[int, ...]


_RULES: Final = (
    _Rule(1, "files", _files, ()),
    _Rule(2, "keys", _keys, (1,)),
    _Rule(3, "certificate", _certificate, (2,)),
    _Rule(4, "digests", _digests, (3,)),
    _Rule(5, "plan", _plan, (4,)),
    _Rule(6, "receipts", verify_ledgers.receipts, (5,)),
    _Rule(7, "noise", verify_ledgers.noise, (6,)),
    _Rule(8, "ledger", verify_ledgers.ledger, (6,)),
    _Rule(9, "spending", verify_ledgers.spending, (8,)),
    _Rule(10, "epsilon", verify_cost.epsilon, (5,)),
    _Rule(11, "second accountant", verify_cost.second_accountant, (10,)),
    _Rule(12, "discretization", verify_cost.discretization, (10,)),
    _Rule(13, "model", verify_model.model, (5,)),
    _Rule(14, "trust", _trust, (6,)),
    _Rule(15, "budget", verify_ledgers.budget, (8,)),
    _Rule(16, "witnesses", verify_ledgers.witnesses, (8,)),
    _Rule(17, "side outputs", verify_model.side_outputs_declared, (6, 13)),
    _Rule(18, "audit", _audit, (5,)),
    _Rule(19, "prior", _prior, (8,)),
    _Rule(20, "contract", _contract, (4,)),
)


def _run(evidence: Evidence) -> Verdict:
    checks: list[Check] = []
    for rule in _RULES:
        missing = [number for number in rule.builds_on if not checks[number - 1].passed]
        state, detail = (NOT_REACHED, f"builds on check {missing[0]}") if missing else _outcome(rule, evidence)
        checks.append(Check(rule.number, rule.name, state, visible(detail)))
    certificate = evidence.certificate
    return Verdict(
        checks=tuple(checks),
        answers=answers(checks, certificate),
        epsilon=certificate.cost.epsilon if certificate else None,
        delta=certificate.cost.delta if certificate else None,
        keys=PINNED if evidence.pinned else SELF_ASSERTED,
    )


def _outcome(rule: _Rule, evidence: Evidence) -> tuple[str, str]:
    try:
        return PASS, rule.check(evidence)
    except KithError as error:
        return FAIL, str(error)
    except Exception as error:  # whatever a hostile release provokes is a failed check, never a traceback
        return FAIL, f"{rule.name}: expected a well-formed release, got {type(error).__name__} while checking"
