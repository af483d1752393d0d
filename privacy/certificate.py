"""The signed statement of what a release cost, to whom: the coordinator's signature over all other files of a release.

It states no count of people and nothing else that data decided: its figures follow from the plan and the ledgers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from privacy import amounts, fields, statement
from privacy.cost import Cost
from privacy.errors import InputError
from privacy.ledger_excerpt import VerifiedExcerpt
from privacy.plan import GaussianSum, Plan, decimal
from privacy.signing import Signer, Verifier
from privacy.statement import Statement, Subject


@dataclass(frozen=True, slots=True)
class SiteAccount:
    """What the worst-off employee of a site had spent and has spent now, and the site's tree head then.

    Attributes:
        site: name of the site.
        keyid: the site's key.
        cap: most mu² that the site's ledger charges anyone.
        spent_before: mu² charged apart from this run.
        spent_after: mu² charged with it.
        size: entries in the site's ledger at its checkpoint.
        root: the checkpoint's root hash (hex).
    """

    site: str
    keyid: str
    cap: str
    spent_before: str
    spent_after: str
    size: int
    root: str


@dataclass(frozen=True, slots=True)
class Mechanism:
    """What ran, as the plan has it."""

    use_case: str
    plan: str
    unit: str
    neighbours: str
    mechanism: str
    trust: str
    events: tuple[GaussianSum, ...]

    @classmethod
    def of(cls, plan: Plan) -> Mechanism:
        """The mechanism of `plan`; `plan` is its digest there."""
        return cls(plan.use_case, plan.digest, plan.unit, plan.neighbours, plan.mechanism, plan.trust, plan.events)


@dataclass(frozen=True, slots=True)
class Certificate:
    """The facts that a coordinator signs.

    Attributes:
        run: id of the run.
        mechanism: what ran.
        cost: what it cost each employee.
        accounts: one per site, in the plan's order.
        noise: name of the source of noise of all sites.
        code: sha256 (hex) of the coordinator's code.
        coordinator: the coordinator's keyid.
        issued_at: UTC seconds by the coordinator's clock.
        not_covered: what the statement does not protect against, in words; never empty.
    """

    run: str
    mechanism: Mechanism
    cost: Cost
    accounts: tuple[SiteAccount, ...]
    noise: str
    code: str
    coordinator: str
    issued_at: int
    not_covered: tuple[str, ...]


_NAMES: Final = tuple(field.name for field in dataclasses.fields(Certificate))


def account(site: str, keyid: str, excerpt: VerifiedExcerpt) -> SiteAccount:
    """A site's account at its checkpoint: what was spent after the run's last charge, and without the run's charges."""
    charges = list(excerpt.charges.values())
    after = amounts.from_text(charges[-1].spent, f"ledger of {site}")
    before = after - sum((Fraction(one.mu2) for one in charges), Fraction(0))
    figures = (excerpt.opened.cap, amounts.to_text(before), amounts.to_text(after))
    return SiteAccount(site, keyid, *figures, excerpt.head.size, excerpt.head.root.hex())


def issue(certificate: Certificate, subjects: Sequence[Subject], signer: Signer) -> bytes:
    """certificate.dsse.json: the certificate over the release's other files (`release_files.subjects`).

    Raises:
        InputError: if the signer is not the coordinator that the certificate names.
    """
    if signer.keyid != certificate.coordinator:
        raise InputError(f"certificate: expected signer {certificate.coordinator[:16]}, got {signer.keyid[:16]}")
    predicate = dataclasses.asdict(certificate)
    predicate["cost"]["epsilons"] = dict(certificate.cost.epsilons)
    return statement.seal(Statement(tuple(subjects), statement.CERTIFICATE, predicate), signer)


def open_certificate(data: bytes, verifier: Verifier) -> tuple[Certificate, dict[str, str]]:
    """The certificate signed by that key, and the sha256 (hex) of every file it covers, by name.

    Raises:
        InputError: if `data` is no certificate.
        VerificationFailed: if that key did not sign exactly it.
    """
    where = "certificate"
    opened = statement.unseal(data, verifier, statement.CERTIFICATE, where)
    document = fields.exactly(dict(opened.predicate), _NAMES, where)
    certificate = Certificate(
        run=fields.text(document["run"], f"{where}, run", 200),
        mechanism=_mechanism(document["mechanism"], f"{where}, mechanism"),
        cost=_cost(document["cost"], f"{where}, cost"),
        accounts=tuple(_account(one, f"{where}, accounts") for one in fields.items(document["accounts"], where)),
        noise=fields.text(document["noise"], f"{where}, noise", 200),
        code=fields.digest(document["code"], f"{where}, code"),
        coordinator=fields.digest(document["coordinator"], f"{where}, coordinator"),
        issued_at=fields.whole(document["issued_at"], f"{where}, issued_at"),
        not_covered=_not_covered(document["not_covered"], f"{where}, not_covered"),
    )
    return certificate, {one.name: one.sha256 for one in opened.subjects}


def _not_covered(value: Any, where: str) -> tuple[str, ...]:
    words = tuple(fields.text(one, where) for one in fields.items(value, where))
    if not words:
        raise InputError(f"{where}: expected something that the statement does not cover, got nothing")
    return words


def _mechanism(value: Any, where: str) -> Mechanism:
    names = [field.name for field in dataclasses.fields(Mechanism)]
    document = fields.exactly(value, names, where)
    events = tuple(_event(one, f"{where}, events") for one in fields.items(document["events"], where))
    texts = {name: fields.text(document[name], f"{where}, {name}") for name in names if name != "events"}
    return Mechanism(**texts, events=events)


def _event(value: Any, where: str) -> GaussianSum:
    document = fields.exactly(value, [field.name for field in dataclasses.fields(GaussianSum)], where)
    fields.text(document["name"], where)
    return GaussianSum(**document)


def _cost(value: Any, where: str) -> Cost:
    names = [field.name for field in dataclasses.fields(Cost)]
    document = fields.exactly(value, names, where)
    epsilons = document["epsilons"]
    if not isinstance(epsilons, Mapping):
        raise InputError(f"{where}, epsilons: expected an object, got otherwise")
    numbers = {name: _number(document[name], f"{where}, {name}") for name in names if name != "epsilons"}
    pairs = [(_number(delta, where), _number(epsilon, where)) for delta, epsilon in epsilons.items()]
    return Cost(**numbers, epsilons=tuple(sorted(pairs, key=lambda pair: decimal(pair[0], where), reverse=True)))


def _account(value: Any, where: str) -> SiteAccount:
    document = fields.exactly(value, [field.name for field in dataclasses.fields(SiteAccount)], where)
    for name in ("cap", "spent_before", "spent_after"):
        amounts.from_text(document[name], f"{where}, {name}")
    fields.text(document["site"], f"{where}, site", 200)
    for name in ("keyid", "root"):
        fields.digest(document[name], f"{where}, {name}")
    fields.whole(document["size"], f"{where}, size")
    return SiteAccount(**document)


def _number(value: Any, where: str) -> str:
    decimal(value, where)
    return str(value)
