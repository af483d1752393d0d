"""The checks of a release against its receipts and the sites' ledgers; `privacy.verify` has their rules, by number."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from itertools import pairwise
from typing import Final

from privacy import amounts, checkpoint, merkle, plan, randomness, release_files
from privacy.certificate import SiteAccount, account
from privacy.entries import Charged
from privacy.errors import VerificationFailed
from privacy.ledger_excerpt import LedgerExcerpt, VerifiedExcerpt
from privacy.receipt import Receipt, open_receipt
from privacy.verify_evidence import Evidence, equal

Release = tuple[str, int]
"""The name of an event of the plan, and which of its releases."""
STATELESS: Final = "second-moments"
"""The event whose releases are computed at no state: theirs is the sha256 of nothing."""


def receipts(evidence: Evidence) -> str:
    """Rule 6."""
    expected = [(event.name, index) for event in evidence.plan.events for index in range(event.times)]
    away = _absent(evidence, expected)
    evidence.receipts = [_receipts_of(evidence, n, site, away) for n, site in enumerate(evidence.contributors)]
    states: dict[Release, str] = {}
    for one in (receipt for of_site in evidence.receipts for receipt in of_site):
        first = states.setdefault((one.event, one.index), one.state)
        equal(f"{one.site}, {one.event} {one.index}, state", first, one.state)
    evidence.states = {release: states[release] for release in expected}
    told = f"{len(expected)} from each site, of this run and plan, for the same states"
    if missing := len(evidence.certified.absences):
        names = sorted({one.site for one in evidence.certified.absences})
        return f"{told}; but for {missing} absences, of {', '.join(names)[:160]}"
    return told


def _absent(evidence: Evidence, expected: list[Release]) -> Mapping[Release, frozenset[str]]:
    """By release, the sites that the certificate calls absent, once these are such as rule 6 says."""
    sites = evidence.sites
    away = {release: set[str]() for release in expected}
    for one in evidence.certified.absences:
        away[one.event, one.index].add(one.site)
    for (event, index), missing in away.items():
        equal(f"absences from {event} {index}, sites that the plan has not", set(), missing - set(sites))
        if len(missing) == len(sites):
            raise VerificationFailed(f"{event} {index}: expected a site that was not absent, got none")
    nowhere = [site for site in sites if all(site in missing for missing in away.values())]
    accounted = [site for site in sites if site not in nowhere]
    equal("accounts, of the sites that are not absent from every release", accounted, evidence.contributors)
    return {release: frozenset(missing) for release, missing in away.items()}


def _receipts_of(evidence: Evidence, n: int, site: str, away: Mapping[Release, frozenset[str]]) -> list[Receipt]:
    name = release_files.receipts(n)
    expected = [release for release, missing in away.items() if site not in missing]
    lines = evidence.files[name].split(b"\n")
    if lines.pop() != b"" or len(lines) != len(expected):
        raise VerificationFailed(f"{name}: expected {len(expected)} lines, got {len(lines)} or an unended one")
    result = []
    for number, (line, (event, index)) in enumerate(zip(lines, expected, strict=True), start=1):
        where = f"{name}, line {number}"
        one = open_receipt(line, evidence.keys.sites[site], where)
        equal(f"{where}, release", (site, event, index), (one.site, one.event, one.index))
        run = evidence.certified.run, evidence.certified.mechanism.plan  # its digest: made anew it costs much, for many
        equal(f"{where}, run and plan", run, (one.run, one.plan))
        equal(f"{where}, mu2", amounts.to_text(amounts.once(evidence.plan.event(event))), one.mu2)
        if event == STATELESS:
            equal(f"{where}, state (of nothing)", release_files.sha256(b""), one.state)
        result.append(one)
    return result


def noise(evidence: Evidence) -> str:
    """Rule 7."""
    source = randomness.SOURCES[evidence.plan.mechanism]
    equal("certificate, noise", source, evidence.certified.noise)
    for one in (receipt for of_site in evidence.receipts for receipt in of_site):
        equal(f"{one.site}, {one.event} {one.index}, noise", source, one.noise)
    if evidence.plan.mechanism == plan.FLOAT64:
        return "float64 noise from the operating system's secure bits, which this plan allows: see question 6"
    return "the operating system's secure source, at every site and release"


def ledger(evidence: Evidence) -> str:
    """Rule 8."""
    accounts = evidence.certified.accounts
    names = [release_files.ledger(n) for n in range(len(accounts))]
    evidence.excerpts = [LedgerExcerpt.from_bytes(evidence.files[name], name) for name in names]
    evidence.ledgers = [_ledger_of(evidence, n, account) for n, account in enumerate(accounts)]
    beyond = sum(len(shown.charges) for shown in evidence.ledgers) - sum(map(len, evidence.receipts))
    return f"{len(evidence.ledgers)} checkpoints signed, every charge included; {beyond} repeated or in vain"


def _ledger_of(evidence: Evidence, n: int, account: SiteAccount) -> VerifiedExcerpt:
    name, excerpt, certified = release_files.ledger(n), evidence.excerpts[n], evidence.certified
    run = certified.run, certified.mechanism.plan
    shown = excerpt.verified(account.site, evidence.keys.sites[account.site])
    equal(f"{name}, checkpoint", (account.size, account.root), (shown.head.size, shown.head.root.hex()))
    equal(f"{name}, reservation's run and plan", run, (shown.reserved.run, shown.reserved.plan))
    attempts = _attempts(evidence, name, shown)
    leaves = {proof.position: proof.leaf for proof in excerpt.charges}
    for receipt in evidence.receipts[n]:
        where, positions = f"{name}, {receipt.event} {receipt.index}", attempts[receipt.event, receipt.index]
        equal(f"{where}, last charge", receipt.position, positions[-1] if positions else "none")
        equal(f"{where}, leaf", receipt.leaf, merkle.leaf_hash(leaves[receipt.position]).hex())
    for (event, index), positions in attempts.items():
        asked = evidence.states[event, index], amounts.to_text(amounts.once(evidence.plan.event(event)))
        for entry in (shown.charges[position] for position in positions):
            equal(f"{name}, {event} {index}, state and mu2", asked, (entry.state, entry.mu2))
    return shown


def _attempts(evidence: Evidence, name: str, shown: VerifiedExcerpt) -> dict[Release, list[int]]:
    """By release of the plan, where its charges are in a site's ledger, once they are in order."""
    attempts = {release: list[int]() for release in evidence.states}
    cohort = shown.reserved.cohort
    for position, entry in shown.charges.items():
        where, release = f"{name}, charge at {position}", (entry.event, entry.index)
        if release not in attempts:
            raise VerificationFailed(f"{where}: expected a release of the plan, got another")
        equal(f"{where}, attempt", len(attempts[release]), entry.attempt)
        if not entry.attempt:
            equal(f"{where}, cohort", cohort, entry.cohort)
        cohort = entry.cohort
        attempts[release].append(position)
    return attempts


def spending(evidence: Evidence) -> str:
    """Rule 9."""
    for n, (stated, shown) in enumerate(zip(evidence.certified.accounts, evidence.ledgers, strict=True)):
        where = f"{stated.site}, mu²"
        given = (evidence.plan.event(one.event).mu_squared_once for one in evidence.receipts[n])
        if _charged(shown) < sum(given, Fraction(0)):
            raise VerificationFailed(f"{where}: expected at least what it gave to be charged, got less")
        _check_totals(where, evidence.excerpts[n], shown)
        computed = account(evidence.bounds[stated.site], stated.keyid, shown, stated.witnesses)
        for name in ("total", "worst", "group"):
            for when in (f"{name}_before", f"{name}_after"):
                equal(f"{where}, {when}, by the ledger", getattr(computed, when), getattr(stated, when))
        equal(f"{where}, lifetime, by the ledger", computed.lifetime, stated.lifetime)
    mu2 = evidence.certified.cost.mu2
    return f"every site charged for all that it gave, {mu2} for the whole plan, as its ledger has it"


def _check_totals(where: str, excerpt: LedgerExcerpt, shown: VerifiedExcerpt) -> None:
    """That the ledger's totals rise as rule 9 says."""
    start = _start_of_period(excerpt, shown)
    kinds = {"lifetime": 0, "spent": start, "group_spent": start}
    for kind, begins in kinds.items():
        totals = [(position, Fraction(getattr(one, kind))) for position, one in shown.charges.items()]
        known = totals if begins is None else [(begins, Fraction(0)), *totals]
        _check_rises(f"{where}, {kind}", known, shown.charges)
    for position, one in shown.charges.items():
        least, of_group, in_period, ever = map(Fraction, (one.mu2, one.group_spent, one.spent, one.lifetime))
        if not least <= of_group <= in_period <= ever or (not shown.budget.period and in_period != ever):
            raise VerificationFailed(
                f"{where} at {position}: expected charge <= group <= period <= lifetime, got otherwise"
            )
    if _between(shown.charges, "lifetime") != _between(shown.charges, "spent"):
        raise VerificationFailed(f"{where}: expected period and lifetime to rise alike during a run, got otherwise")


def _start_of_period(excerpt: LedgerExcerpt, shown: VerifiedExcerpt) -> int | None:
    """Where the period's total was 0 for sure: at the opening entry, or at a decision that opened the period."""
    if not shown.budget.period:
        return 0
    every_decision_opened_one = shown.budget.period == shown.budget.number
    return excerpt.budget.position if excerpt.budget and every_decision_opened_one else None


def _check_rises(where: str, totals: list[tuple[int, Fraction]], charges: Mapping[int, Charged]) -> None:
    for (earlier, before), (position, after) in pairwise(totals):
        beyond = after - before - Fraction(charges[position].mu2)
        if beyond < 0 or (beyond and position == earlier + 1):
            raise VerificationFailed(f"{where}: expected the total at {position} to rise by its charge, got otherwise")


def _between(charges: Mapping[int, Charged], kind: str) -> Fraction:
    """By how much a total rose from the run's first charge to its last."""
    shown = list(charges.values())
    return Fraction(getattr(shown[-1], kind)) - Fraction(getattr(shown[0], kind))


def budget(evidence: Evidence) -> str:
    """Rule 15."""
    whole = amounts.total(evidence.plan)
    for stated, shown in zip(evidence.certified.accounts, evidence.ledgers, strict=True):
        where, reserved = f"budget of {stated.site}", shown.reserved
        equal(f"{where}, use case", evidence.plan.use_case, reserved.use_case)
        equal(f"{where}, reserved mu²", amounts.to_text(whole), reserved.mu2)
        computed = account(evidence.bounds[stated.site], stated.keyid, shown, stated.witnesses)
        for name in ("budget", "period", "label", "group", "cap", "group_cap", "people_at_most"):
            equal(f"{where}, {name}", getattr(computed, name), getattr(stated, name))
        charged = max(whole, _charged(shown))
        for name in ("cap", "group_cap"):
            if charged > Fraction(getattr(computed, name)):
                raise VerificationFailed(
                    f"{where}: expected a run within the {name}, got {amounts.to_text(charged)} mu²"
                )
    decided = sum(bool(shown.budget.number) for shown in evidence.ledgers)
    return f"the run is within every site's caps, in all and for its purpose; {decided} by officers' decision"


def _charged(shown: VerifiedExcerpt) -> Fraction:
    """What the run's charges come to, repeated ones included."""
    return sum((Fraction(one.mu2) for one in shown.charges.values()), Fraction(0))


def witnesses(evidence: Evidence) -> str:
    """Rule 16."""
    alone = []
    origins = {checkpoint.origin_of(name): name for name in evidence.sites}
    keys = {origin: evidence.keys.sites[name] for origin, name in origins.items()}
    for n, stated in enumerate(evidence.certified.accounts):
        head = evidence.ledgers[n].head
        found = checkpoint.witnesses(evidence.excerpts[n].checkpoint, head, keys)
        signed = sorted(origins[name] for name, _ in found)
        equal(f"checkpoint of {stated.site}, signed also by", signed, list(stated.witnesses))
        alone += [stated.site] if not signed else []
    if alone:
        return f"nobody else holds the checkpoint of {', '.join(alone)[:120]}: only its own signature is there"
    fewest = min(len(one.witnesses) for one in evidence.certified.accounts)
    return f"every checkpoint is held by at least {fewest} other site{'s' if fewest > 1 else ''}"
