"""What a site says, under its signature, of how its own ledger goes on from heads of it that others hold.

Rules:
    1. A statement counts only under the key of the log's site, and only for the run and the log that it names. What it
       says can then be held against that site, and whoever passes it on can add nothing.
    2. A continuation names the whole head that is held. Nobody knows its root before the log has come so far: that a
       site has no proof says that it is behind a head which it has had, however early it was asked.
    3. A statement is read in one writing only, of bounded size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from privacy import canonical, checkpoint, dsse, fields
from privacy.checkpoint import Checkpoint
from privacy.dsse import Envelope
from privacy.errors import InputError, VerificationFailed
from privacy.signing import Signer, Verifier

PAYLOAD_TYPE: Final = "application/vnd.kith.consistency+json"
MAX_CONTINUATIONS: Final = 1_000
MAX_PROOF: Final = 63  # c2sp.org/tlog-witness, "add-checkpoint"
MAX_BYTES: Final = 8 * 2**20
"""Of one statement in its envelope: as many continuations with the longest proofs."""
_HASH: Final = 32


@dataclass(frozen=True, slots=True)
class Continuation:
    """How a log, at the size at which it is shown, goes together with a head of it that somebody holds.

    Attributes:
        now: the size at which it is shown.
        held: the head that is held; it may be the larger one.
        proof: of consistency between the two; nothing if the log has not come as far as the head that is held.
    """

    now: int
    held: Checkpoint
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """What a site says of its own log in one run.

    Attributes:
        run: the run's id.
        log: the log's origin.
        continuations: in the order in which they were asked for.
    """

    run: str
    log: str
    continuations: tuple[Continuation, ...]

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        continuations = [
            {"held": one.held.to_text(), "now": one.now, "proof": [fields.to_base64(part) for part in one.proof]}
            for one in self.continuations
        ]
        return canonical.to_bytes({"continuations": continuations, "log": self.log, "run": self.run})

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Statement:
        """What `to_bytes` wrote.

        Raises:
            InputError: for anything else, or too many or too long proofs (rule 3).
        """
        document = fields.exactly(canonical.from_bytes(data, where, MAX_BYTES), ("continuations", "log", "run"), where)
        items = fields.items(document["continuations"], where)
        if len(items) > MAX_CONTINUATIONS:
            raise InputError(f"{where}: expected at most {MAX_CONTINUATIONS} proofs, got {len(items)}")
        statement = cls(
            fields.text(document["run"], f"{where}, run"),
            fields.text(document["log"], f"{where}, log"),
            tuple(_continuation(one, where) for one in items),
        )
        if statement.to_bytes() != data:
            raise InputError(f"{where}: expected the canonical writing, got another")
        return statement


def sign_statement(statement: Statement, site: Signer) -> bytes:
    """The DSSE envelope of a statement."""
    return dsse.sign(statement.to_bytes(), site, payload_type=PAYLOAD_TYPE).to_bytes()


def open_statement(data: bytes, run: str, log: str, verifier: Verifier) -> Statement:
    """What the site with that key said of its log in a run.

    Raises:
        InputError: if `data` is no statement (rule 3).
        VerificationFailed: if that key did not sign it, or it is of another run or log (rule 1).
    """
    where = f"proofs of {log:.60}"
    envelope = Envelope.from_bytes(data, where, MAX_BYTES)
    statement = Statement.from_bytes(dsse.verify(envelope, verifier, payload_type=PAYLOAD_TYPE, where=where), where)
    if (statement.run, statement.log) != (run, log):
        raise VerificationFailed(f"{where}: expected a statement of this run and log, got another's")
    return statement


def _continuation(value: Any, where: str) -> Continuation:
    document = fields.exactly(value, ("held", "now", "proof"), where)
    proof = tuple(fields.from_base64(one, where) for one in fields.items(document["proof"], where))
    if len(proof) > MAX_PROOF or any(len(one) != _HASH for one in proof):
        raise InputError(f"{where}: expected at most {MAX_PROOF} hashes of {_HASH} bytes to a proof, got otherwise")
    held = Checkpoint.from_text(fields.text(document["held"], where, checkpoint.MAX_BYTES))
    return Continuation(fields.whole(document["now"], where), held, proof)
