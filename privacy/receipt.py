"""A site's signature under one contribution: what left, for which release of which run, and where it was charged."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Final

from privacy import amounts, fields, statement
from privacy.errors import InputError
from privacy.signing import Signer, Verifier
from privacy.statement import Statement, Subject

SUBJECT: Final = "contribution"
_WHOLE: Final = frozenset({"index", "position", "issued_at"})
_DIGESTS: Final = frozenset({"plan", "state", "leaf", "code", "contribution"})


@dataclass(frozen=True, slots=True)
class Receipt:
    """The facts that a site signs.

    Attributes:
        site: name of the site.
        run: id of the run.
        plan: digest of the plan.
        event: which statistic of the plan.
        index: which of its releases, from 0.
        state: sha256 (hex) of the state that the coordinator sent.
        mu2: what each employee was charged, as `privacy.amounts` writes it.
        position: the charge's position in the site's ledger.
        leaf: the charge's Merkle leaf hash (hex).
        noise: name of the source of noise.
        code: sha256 (hex) of the code that ran, as the site measured it.
        issued_at: UTC seconds by the site's clock.
        contribution: sha256 (hex) of the bytes that left; the statement's subject.
    """

    site: str
    run: str
    plan: str
    event: str
    index: int
    state: str
    mu2: str
    position: int
    leaf: str
    noise: str
    code: str
    issued_at: int
    contribution: str


_NAMES: Final = tuple(field.name for field in dataclasses.fields(Receipt))


def sign_receipt(receipt: Receipt, signer: Signer) -> bytes:
    """The receipt in a DSSE envelope, canonical JSON without a line end."""
    predicate = dataclasses.asdict(receipt)
    subject = Subject(SUBJECT, predicate.pop("contribution"))
    return statement.seal(Statement((subject,), statement.RECEIPT, predicate), signer)


def open_receipt(data: bytes, verifier: Verifier, where: str = "receipt") -> Receipt:
    """The receipt that the site with that key signed.

    Raises:
        InputError: if `data` is no receipt.
        VerificationFailed: if that key did not sign exactly it.
    """
    opened = statement.unseal(data, verifier, statement.RECEIPT, where)
    if len(opened.subjects) != 1 or opened.subjects[0].name != SUBJECT or "contribution" in opened.predicate:
        raise InputError(f"{where}: expected one subject, {SUBJECT!r}, got otherwise")
    document = {**opened.predicate, "contribution": opened.subjects[0].sha256}
    fields.exactly(document, _NAMES, where)
    return Receipt(**{name: _field(name, document[name], f"{where}, {name}") for name in _NAMES})


def _field(name: str, value: Any, where: str) -> Any:
    if name in _WHOLE:
        return fields.whole(value, where)
    if name in _DIGESTS:
        return fields.digest(value, where)
    if name == "mu2":
        amounts.from_text(value, where)
    return fields.text(value, where, 200)
