"""in-toto Statement v1 (github.com/in-toto/attestation, spec/v1/statement.md), with sha256 digests only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from privacy import canonical, dsse, fields
from privacy.errors import InputError, VerificationFailed
from privacy.signing import Signer, Verifier

TYPE: Final = "https://in-toto.io/Statement/v1"
RECEIPT: Final = "urn:kith:receipt:v1"
CERTIFICATE: Final = "urn:kith:privacy-certificate:v3"
MAX_SUBJECTS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Subject:
    """A thing the statement is about: its name and the sha256 (hex) of its bytes."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Statement:
    """What is claimed (`predicate`, of kind `predicate_type`) about the subjects."""

    subjects: tuple[Subject, ...]
    predicate_type: str
    predicate: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical.to_bytes(
            {
                "_type": TYPE,
                "subject": [{"name": one.name, "digest": {"sha256": one.sha256}} for one in self.subjects],
                "predicateType": self.predicate_type,
                "predicate": dict(self.predicate),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes, where: str = "statement") -> Statement:
        """The statement that `to_bytes` wrote.

        Raises:
            InputError: for anything else: another type, other fields, a subject twice, another writing.
        """
        names = ("_type", "subject", "predicateType", "predicate")
        document = fields.exactly(canonical.from_bytes(data, where), names, where)
        subjects = tuple(_subject(one, where) for one in fields.items(document["subject"], f"{where}, subject"))
        if document["_type"] != TYPE or not isinstance(document["predicate"], dict):
            raise InputError(f"{where}: expected {TYPE} with a predicate, got otherwise")
        if not 1 <= len({one.name for one in subjects}) == len(subjects) <= MAX_SUBJECTS:
            raise InputError(f"{where}, subject: expected 1 to {MAX_SUBJECTS} distinct names, got otherwise")
        predicate_type = fields.text(document["predicateType"], f"{where}, predicateType")
        statement = cls(subjects, predicate_type, document["predicate"])
        if statement.to_bytes() != data:
            raise InputError(f"{where}: expected canonical JSON, got another writing")
        return statement


def seal(statement: Statement, signer: Signer) -> bytes:
    """The statement in a signed DSSE envelope."""
    return dsse.sign(statement.to_bytes(), signer).to_bytes()


def unseal(data: bytes, verifier: Verifier, predicate_type: str, where: str) -> Statement:
    """The statement of that predicate type, signed by that key.

    Raises:
        InputError: if `data` is no envelope around a statement.
        VerificationFailed: if the signature or the predicate type is another.
    """
    statement = Statement.from_bytes(dsse.verify(dsse.Envelope.from_bytes(data, where), verifier, where=where), where)
    if statement.predicate_type != predicate_type:
        raise VerificationFailed(f"{where}: expected {predicate_type}, got {statement.predicate_type[:80]!r}")
    return statement


def _subject(value: object, where: str) -> Subject:
    document = fields.exactly(value, ("name", "digest"), f"{where}, subject")
    digest = fields.exactly(document["digest"], ("sha256",), f"{where}, digest")
    return Subject(fields.text(document["name"], f"{where}, name"), fields.digest(digest["sha256"], f"{where}, sha256"))
