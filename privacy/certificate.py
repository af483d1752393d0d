"""The signed statement of what a release cost, to whom: the coordinator's signature over all other files of a release.

It states no count of people and nothing else that data decided: its figures follow from the plan and the ledgers. What
only the coordinator can say (which contract, which code, in which environment) is its word, and `privacy.verify` says
so. Every number is a whole one or a decimal string in one writing; a certificate is read only as it was written.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from privacy import amounts, canonical, fields, statement
from privacy import certificate_fields as read
from privacy.cost import Cost
from privacy.errors import InputError
from privacy.ledger_excerpt import VerifiedExcerpt
from privacy.measures_file import measures_of
from privacy.plan import GaussianSum, Plan, SiteBound, decimal
from privacy.signing import Signer, Verifier
from privacy.statement import Statement, Subject

NO_TUNING: Final = "none: settings follow a public rule"
"""What `tuning` says where no setting was chosen by looking at data."""
SILENT: Final = "silent"
"""Nothing came from the site before the deadline."""
FAILED: Final = "failed"
"""What came told of a failure on the way: of the site's Flower node, or of its guard's socket."""
REFUSED: Final = "refused"
"""The site's guard refused, in a reply that it signed."""
GARBAGE: Final = "garbage"
"""What came was no reply that the site's key signed, or not one to what it was asked."""
REASONS: Final = (SILENT, FAILED, REFUSED, GARBAGE)
MAX_ABSENCES: Final = 100_000


@dataclass(frozen=True, slots=True)
class Absence:
    """A release that a site of the plan is not in, and why: the coordinator's word.

    Attributes:
        site: name of the site.
        event: which statistic of the plan.
        index: which of its releases, from 0.
        reason: one of `REASONS`.
    """

    site: str
    event: str
    index: int
    reason: str


@dataclass(frozen=True, slots=True)
class SiteAccount:
    """What a site's ledger had charged before this run's charges, and with them. All amounts are mu².

    Attributes:
        site: name of the site.
        keyid: the site's key.
        people_at_most: the declared bound on its head count, never the true count.
        budget: number of the budget that the run was reserved under; 0 is the ledger's first.
        period: period of that budget, from 0: a new one is a reset of what counts against the cap.
        label: what the period is called, e.g. "2026".
        group: the purpose group that the use case is charged to.
        cap: most that anyone is charged in the period.
        group_cap: most that anyone is charged in the period for uses of that group.
        total_before, total_after: everything charged in the period; nobody was charged more.
        worst_before, worst_after: of the worst-off employee: the total, or the cap if that is less.
        group_before, group_after: everything charged in the period for uses of that group.
        lifetime: everything charged over all periods, with this run.
        size: entries in the site's ledger at its checkpoint.
        root: the checkpoint's root hash (hex).
        witnesses: the other sites that signed this checkpoint, in order: they hold it.
    """

    site: str
    keyid: str
    people_at_most: int
    budget: int
    period: int
    label: str
    group: str
    cap: str
    group_cap: str
    total_before: str
    total_after: str
    worst_before: str
    worst_after: str
    group_before: str
    group_after: str
    lifetime: str
    size: int
    root: str
    witnesses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mechanism:
    """What ran, as the plan has it.

    `replies_at_least` and `colluding` say against whom a secure sum holds; see `privacy.plan.Plan`.
    """

    use_case: str
    plan: str
    unit: str
    neighbours: str
    mechanism: str
    trust: str
    clip: str
    replies_at_least: int
    colluding: int
    events: tuple[GaussianSum, ...]

    @classmethod
    def of(cls, plan: Plan) -> Mechanism:
        """The mechanism of `plan`; `plan` is its digest there."""
        of_run = (plan.unit, plan.neighbours, plan.mechanism, plan.trust, plan.clip)
        return cls(plan.use_case, plan.digest, *of_run, plan.replies_at_least, plan.colluding, plan.events)


@dataclass(frozen=True, slots=True)
class AuditSummary:
    """What an audit of the plan showed; the whole of it is the release's audit.json.

    Attributes:
        epsilon: lower bound that the stated attack proves, at the plan's delta.
        confidence: of that bound.
        attack: name of the stated attack.
        bound: the form of the bound.
        runs: trainings.
        seed: of the audit's made-up people and noise.
        refuted: whether the plan costs more than it claims.
        sha256: of audit.json (hex).
    """

    epsilon: str
    confidence: str
    attack: str
    bound: str
    runs: int
    seed: int
    refuted: bool
    sha256: str

    @classmethod
    def of(cls, data: bytes) -> AuditSummary:
        """The summary of audit.json, as it is there: whether it is so is for the verifier.

        Raises:
            InputError: if `data` holds no audit.
        """
        where = "audit.json"
        document = canonical.from_bytes(data, where)
        try:
            stated = document["lower_bound"]
            facts = {name: stated[name] for name in ("epsilon", "confidence", "attack", "bound")}
            facts |= {"runs": document["runs"], "seed": document["twin"]["seed"], "refuted": document["refuted"]}
        except (KeyError, TypeError):
            raise InputError(f"{where}: expected an audit with a lower bound, got otherwise") from None
        return _audit({**facts, "sha256": hashlib.sha256(data).hexdigest()}, where)


@dataclass(frozen=True, slots=True)
class KeysUsed:
    """The key list that a release carries: its number, and the sha256 (hex) of keys.json."""

    number: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Certificate:
    """The facts that a coordinator signs.

    Attributes:
        run: id of the run.
        contract: sha256 (hex) of the group's contract.toml.
        mechanism: what ran.
        cost: what it cost each employee.
        accounts: one for each site that is in at least one release, in the plan's order.
        absences: the releases that sites are not in, in the plan's order of events, then by index, then by site.
        tuning: how settings were chosen; `NO_TUNING`, or what was charged for it.
        side_outputs: names of the plan's measures, events beyond the model's own, in the plan's order.
        audit: what an empirical audit showed, or None if there was none.
        noise: name of the source of noise of all sites.
        code: sha256 (hex) of the coordinator's code.
        environment: versions of what computed it, by name (python, torch, ...).
        image: digest of the container, "sha256:" and 64 hexadecimal digits, or None outside one.
        coordinator: the coordinator's keyid.
        keys: the key list of the release.
        prior: sha256 (hex) of the prior release's certificate file, or None for a first one.
        issued_at: UTC seconds by the coordinator's clock.
        not_covered: what the statement does not protect against, in words; never empty.
    """

    run: str
    contract: str
    mechanism: Mechanism
    cost: Cost
    accounts: tuple[SiteAccount, ...]
    absences: tuple[Absence, ...]
    tuning: str
    side_outputs: tuple[str, ...]
    audit: AuditSummary | None
    noise: str
    code: str
    environment: Mapping[str, str]
    image: str | None
    coordinator: str
    keys: KeysUsed
    prior: str | None
    issued_at: int
    not_covered: tuple[str, ...]


def side_outputs(plan: Plan) -> tuple[str, ...]:
    """Names of the plan's events that are not for the model itself, in order."""
    return tuple(event.name for event in measures_of(plan))


def account(bound: SiteBound, keyid: str, excerpt: VerifiedExcerpt, witnesses: Collection[str]) -> SiteAccount:
    """A site's account at its checkpoint: what was charged with the run's last charge, and without the run's charges.

    Args:
        bound: the site and its declared bound, as the plan has them.
        keyid: of the site's key.
        excerpt: what the site showed of its ledger.
        witnesses: the other sites that signed its checkpoint.
    """
    last = list(excerpt.charges.values())[-1]
    charged = sum((Fraction(one.mu2) for one in excerpt.charges.values()), Fraction(0))
    budget, group = excerpt.budget, excerpt.budget.group_of(excerpt.reserved.use_case)
    total, of_group, cap = Fraction(last.spent), Fraction(last.group_spent), Fraction(budget.cap)
    return SiteAccount(
        site=bound.name,
        keyid=keyid,
        people_at_most=bound.people_at_most,
        budget=budget.number,
        period=budget.period,
        label=budget.label,
        group=group.name,
        cap=budget.cap,
        group_cap=group.cap,
        total_before=amounts.to_text(total - charged),
        total_after=last.spent,
        worst_before=amounts.to_text(min(cap, total - charged)),
        worst_after=amounts.to_text(min(cap, total)),
        group_before=amounts.to_text(of_group - charged),
        group_after=last.group_spent,
        lifetime=last.lifetime,
        size=excerpt.head.size,
        root=excerpt.head.root.hex(),
        witnesses=tuple(sorted(witnesses)),
    )


def issue(certificate: Certificate, subjects: Sequence[Subject], signer: Signer) -> bytes:
    """certificate.dsse.json: the certificate over the release's other files (`release_files.subjects`).

    Raises:
        InputError: if the signer is not the coordinator that the certificate names.
    """
    if signer.keyid != certificate.coordinator:
        raise InputError(f"certificate: expected signer {certificate.coordinator[:16]}, got {signer.keyid[:16]}")
    predicate = dataclasses.asdict(dataclasses.replace(certificate, environment=dict(certificate.environment)))
    predicate["cost"] = read.cost_document(certificate.cost)
    return statement.seal(Statement(tuple(subjects), statement.CERTIFICATE, predicate), signer)


def open_certificate(data: bytes, verifier: Verifier) -> tuple[Certificate, dict[str, str]]:
    """The certificate signed by that key, and the sha256 (hex) of every file it covers, by name.

    Raises:
        InputError: if `data` is no certificate.
        VerificationFailed: if that key did not sign exactly it.
    """
    where = "certificate"
    opened = statement.unseal(data, verifier, statement.CERTIFICATE, where)
    document = fields.exactly(dict(opened.predicate), read.names(Certificate), where)
    keys = fields.exactly(document["keys"], read.names(KeysUsed), f"{where}, keys")
    mechanism = _mechanism(document["mechanism"], f"{where}, mechanism")
    certificate = Certificate(
        run=fields.text(document["run"], f"{where}, run", read.MAX_NAME),
        contract=fields.digest(document["contract"], f"{where}, contract"),
        mechanism=mechanism,
        cost=read.cost(document["cost"], f"{where}, cost"),
        accounts=tuple(_account(one, f"{where}, accounts") for one in fields.items(document["accounts"], where)),
        absences=_absences(document["absences"], mechanism, f"{where}, absences"),
        tuning=fields.text(document["tuning"], f"{where}, tuning"),
        side_outputs=read.texts(document["side_outputs"], f"{where}, side_outputs"),
        audit=None if document["audit"] is None else _audit(document["audit"], f"{where}, audit"),
        noise=fields.text(document["noise"], f"{where}, noise", read.MAX_NAME),
        code=fields.digest(document["code"], f"{where}, code"),
        environment=read.environment(document["environment"], f"{where}, environment"),
        image=None if document["image"] is None else read.image(document["image"], f"{where}, image"),
        coordinator=fields.digest(document["coordinator"], f"{where}, coordinator"),
        keys=KeysUsed(
            fields.whole(keys["number"], f"{where}, keys, number"), fields.digest(keys["sha256"], f"{where}, keys")
        ),
        prior=None if document["prior"] is None else fields.digest(document["prior"], f"{where}, prior"),
        issued_at=fields.whole(document["issued_at"], f"{where}, issued_at"),
        not_covered=read.texts(document["not_covered"], f"{where}, not_covered"),
    )
    if not certificate.not_covered:
        raise InputError(f"{where}, not_covered: expected something that the statement does not cover, got nothing")
    return certificate, {one.name: one.sha256 for one in opened.subjects}


def _mechanism(value: Any, where: str) -> Mechanism:
    names = read.names(Mechanism)
    document = fields.exactly(value, names, where)
    events = tuple(read.event(one, f"{where}, events") for one in fields.items(document["events"], where))
    for name in ("replies_at_least", "colluding"):
        fields.whole(document[name], f"{where}, {name}")
    for name in (name for name in names if name not in ("events", "replies_at_least", "colluding")):
        fields.text(document[name], f"{where}, {name}")
    return Mechanism(**{**document, "events": events})


def _absences(value: Any, mechanism: Mechanism, where: str) -> tuple[Absence, ...]:
    """Each once and in their one order."""
    listed = fields.items(value, where)
    if len(listed) > MAX_ABSENCES:
        raise InputError(f"{where}: expected at most {MAX_ABSENCES}, got {len(listed)}")
    found = tuple(_absence(one, where) for one in listed)
    place = {event.name: number for number, event in enumerate(mechanism.events)}
    if not all(one.event in place and one.index < mechanism.events[place[one.event]].times for one in found):
        raise InputError(f"{where}: expected releases of the mechanism, got another")
    order = [(place[one.event], one.index, one.site) for one in found]
    if order != sorted(set(order)):
        raise InputError(f"{where}: expected each once, in order of event, index and site, got otherwise")
    return found


def _absence(value: Any, where: str) -> Absence:
    document = fields.exactly(value, read.names(Absence), where)
    for name in ("site", "event"):
        fields.text(document[name], f"{where}, {name}", read.MAX_NAME)
    fields.whole(document["index"], f"{where}, index")
    if document["reason"] not in REASONS:
        raise InputError(f"{where}, reason: expected one of {', '.join(REASONS)}, got another")
    return Absence(**document)


def _account(value: Any, where: str) -> SiteAccount:
    names = read.names(SiteAccount)
    document = fields.exactly(value, names, where)
    witnesses = read.texts(document["witnesses"], f"{where}, witnesses")
    if list(witnesses) != sorted(set(witnesses)):
        raise InputError(f"{where}, witnesses: expected distinct names in order, got otherwise")
    for name in ("people_at_most", "budget", "period", "size"):
        fields.whole(document[name], f"{where}, {name}")
    for name in ("keyid", "root"):
        fields.digest(document[name], f"{where}, {name}")
    for name in ("site", "label", "group"):
        fields.text(document[name], f"{where}, {name}", read.MAX_NAME)
    for name in _AMOUNTS:
        amounts.from_text(document[name], f"{where}, {name}")
    return SiteAccount(**{**document, "witnesses": witnesses})


_AMOUNTS: Final = (
    *("cap", "group_cap", "lifetime"),
    *(f"{whose}_{when}" for whose in ("total", "worst", "group") for when in ("before", "after")),
)


def _audit(value: Any, where: str) -> AuditSummary:
    document = fields.exactly(value, read.names(AuditSummary), where)
    for name in ("epsilon", "confidence"):
        decimal(document[name], f"{where}, {name}")
    for name in ("attack", "bound"):
        fields.text(document[name], f"{where}, {name}", read.MAX_NAME)
    for name in ("runs", "seed"):
        fields.whole(document[name], f"{where}, {name}")
    fields.digest(document["sha256"], f"{where}, sha256")
    if type(document["refuted"]) is not bool:
        raise InputError(f"{where}, refuted: expected true or false, got otherwise")
    return AuditSummary(**document)
