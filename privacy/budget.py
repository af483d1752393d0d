"""What a site's officers allow: mu² per employee and period, in all and by group of purposes, decided by two of them.

Rules:
    1. A budget counts from 0, the opening entry's, without gaps. The next one is signed by at least two different
       officers whom the current one names, for this ledger and no other; a ledger that names no officers keeps its
       first budget for ever.
    2. A period ends by a decision only: the next budget is of the same period or the one after it, never of another.
    3. A use case is in one group at most; one in none is refused.
    4. Within a period no group disappears and no cap falls below what may have been charged under it already: so the
       smaller of cap and charged total bounds every employee at any time (`check_follows`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from privacy import amounts, canonical, dsse, fields, plan, signing
from privacy.errors import InputError, Refused, VerificationFailed
from privacy.signing import Signer
from privacy.statement import Statement, Subject

DECISION: Final = "urn:kith:budget-decision:v1"
SUBJECT: Final = "ledger"
MAX_CAP: Final = Decimal(1_000_000)
MAX_GROUPS: Final = 64
MAX_USE_CASES: Final = 64
MIN_OFFICERS: Final = 2
MAX_OFFICERS: Final = 16
MAX_NAME: Final = 200
MAX_BYTES: Final = 16_384
"""Of a budget's canonical JSON."""
MAX_DECISION: Final = 32_768


@dataclass(frozen=True, slots=True)
class PurposeGroup:
    """Use cases that share a cap: most mu² per employee and period for all of them together."""

    name: str
    cap: str
    use_cases: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse what is no group.

        Raises:
            InputError: naming the field.
        """
        where = f"budget group {fields.text(self.name, 'budget group name', MAX_NAME)!r}"
        _cap(self.cap, where)
        for use_case in self.use_cases:
            fields.text(use_case, f"{where}, use case", MAX_NAME)
        if not 1 <= len(self.use_cases) <= MAX_USE_CASES:
            raise InputError(f"{where}: expected 1 to {MAX_USE_CASES} use cases, got otherwise")
        if len(set(self.use_cases)) != len(self.use_cases):
            raise InputError(f"{where}: expected every use case once, got one twice")


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be charged to each employee until the next decision.

    Attributes:
        number: 0 in the opening entry, then 1, 2, ... without gaps.
        period: 0, 1, ...; the next one is a reset of what counts, visible and signed.
        label: of the period, for people: "2026".
        delta: where the site reads mu² as an epsilon.
        cap: most mu² per employee and period, in all.
        groups: use cases by purpose, each group with a cap of its own.
        officers: raw Ed25519 public keys in base64, 0 or 2 to 16; two of them sign the next budget.
        reason: why this was decided.
    """

    number: int
    period: int
    label: str
    delta: str
    cap: str
    groups: tuple[PurposeGroup, ...]
    officers: tuple[str, ...]
    reason: str

    def __post_init__(self) -> None:
        """Refuse what is no budget.

        Raises:
            InputError: naming the field.
        """
        fields.whole(self.number, "budget number")
        fields.whole(self.period, "budget period")
        fields.text(self.label, "budget label", MAX_NAME)
        fields.text(self.reason, "budget reason")
        if not 0 < plan.decimal(self.delta, "budget delta") < 1:
            raise InputError("budget delta: expected more than 0 and less than 1, got otherwise")
        _cap(self.cap, "budget")
        names = [group.name for group in self.groups]
        if not 1 <= len(set(names)) == len(names) <= MAX_GROUPS:
            raise InputError(f"budget groups: expected 1 to {MAX_GROUPS} with distinct names, got otherwise")
        use_cases = [use_case for group in self.groups for use_case in group.use_cases]
        if len(set(use_cases)) != len(use_cases):  # rule 3
            raise InputError("budget groups: expected every use case in one group, got one in two")
        if len(set(self.officers)) != len(self.officers) or len(self.officers) not in _OFFICERS:
            raise InputError(
                f"budget officers: expected none or {MIN_OFFICERS} to {MAX_OFFICERS} different, got others"
            )
        for officer in self.officers:
            signing.verifier(fields.from_base64(officer, "budget officer"))
        if len(canonical.to_bytes(self.to_document())) > MAX_BYTES:
            raise InputError(f"budget: expected at most {MAX_BYTES} bytes, got more")

    def group_of(self, use_case: str) -> PurposeGroup:
        """The group that a use case is in.

        Raises:
            Refused: if it is in none (rule 3).
        """
        for group in self.groups:
            if use_case in group.use_cases:
                return group
        raise Refused(f"use case {use_case!r:.80}: expected one that the budget allows, got another (budget rule 3)")

    def group(self, name: str) -> PurposeGroup | None:
        """The group of that name, if there is one."""
        return next((group for group in self.groups if group.name == name), None)

    def to_document(self) -> dict[str, Any]:
        """For canonical JSON."""
        return {
            "number": self.number,
            "period": self.period,
            "label": self.label,
            "delta": self.delta,
            "cap": self.cap,
            "groups": [
                {"name": group.name, "cap": group.cap, "use_cases": list(group.use_cases)} for group in self.groups
            ],
            "officers": list(self.officers),
            "reason": self.reason,
        }

    @classmethod
    def from_document(cls, value: Any, where: str = "budget") -> Budget:
        """The budget that `to_document` wrote.

        Raises:
            InputError: for anything else.
        """
        names = ("number", "period", "label", "delta", "cap", "groups", "officers", "reason")
        document = fields.exactly(value, names, where)
        groups = tuple(_group(one, f"{where}, groups") for one in fields.items(document["groups"], f"{where}, groups"))
        officers = tuple(
            fields.text(one, f"{where}, officer") for one in fields.items(document["officers"], f"{where}, officers")
        )
        return cls(**{**document, "groups": groups, "officers": officers})


@dataclass(frozen=True, slots=True)
class Decision:
    """What a signed decision says, its signatures not judged: the next budget, of which ledger, and who signed."""

    budget: Budget
    ledger: str
    keyids: tuple[str, ...]


def first_budget(
    cap: Decimal,
    delta: Decimal,
    use_cases: Sequence[str],
    label: str = "1",
    officers: Sequence[str] = (),
    groups: Sequence[PurposeGroup] | None = None,
    reason: str = "the ledger was opened",
) -> Budget:
    """The budget that a ledger opens with: number 0 of period 0.

    One group, "all", with the cap in all, unless `groups` are given (`use_cases` are then not looked at).

    Raises:
        InputError: if the cap is not from 0 to 1,000,000 with at most 20 decimals, the delta not between 0 and 1.
    """
    if not (cap.is_finite() and 0 <= cap <= MAX_CAP and cap == round(cap, 20)):
        raise InputError(f"budget cap: expected mu² from 0 to {MAX_CAP} with at most 20 decimals, got {cap!s:.40}")
    if not (delta.is_finite() and 0 < delta < 1 and delta == round(delta, 20)):
        raise InputError(f"budget delta: expected between 0 and 1 with at most 20 decimals, got {delta!s:.40}")
    most = amounts.to_text(Fraction(cap))
    chosen = (PurposeGroup("all", most, tuple(use_cases)),) if groups is None else tuple(groups)
    return Budget(0, 0, label, format(delta, "f"), most, chosen, tuple(officers), reason)


def sign_decision(budget: Budget, ledger: str, *signers: Signer) -> bytes:
    """The decision that `budget` follows in the ledger of that id, in a DSSE envelope, signed by these officers."""
    subject = Subject(SUBJECT, fields.digest(ledger, "ledger id"))
    return dsse.sign(Statement((subject,), DECISION, budget.to_document()).to_bytes(), *signers).to_bytes()


def add_signature(decision: bytes, signer: Signer) -> bytes:
    """The decision with one more signature, of an officer at another place.

    Raises:
        InputError: if it is no decision.
        Refused: if that officer has signed it already.
    """
    read = read_decision(decision)
    if signer.keyid in read.keyids:
        raise Refused("decision: expected a signature of another officer, got one who has signed already")
    envelope = dsse.Envelope.from_bytes(decision, "decision")
    added = dsse.sign(envelope.payload, signer).signatures
    return dsse.Envelope(envelope.payload_type, envelope.payload, (*envelope.signatures, *added)).to_bytes()


def read_decision(decision: bytes) -> Decision:
    """What a decision says; no signature is checked here.

    Raises:
        InputError: if it is no decision in its one writing.
        VerificationFailed: for another writing of the same envelope, or another kind of statement.
    """
    if len(decision) > MAX_DECISION:
        raise InputError(f"decision: expected at most {MAX_DECISION} bytes, got {len(decision)}")
    envelope = dsse.Envelope.from_bytes(decision, "decision")
    statement = Statement.from_bytes(envelope.payload, "decision")
    if statement.predicate_type != DECISION:
        raise VerificationFailed(f"decision: expected {DECISION}, got {statement.predicate_type[:80]!r}")
    if len(statement.subjects) != 1 or statement.subjects[0].name != SUBJECT:
        raise InputError(f"decision: expected one subject, {SUBJECT!r}, got otherwise")
    keyids = tuple(one.keyid for one in envelope.signatures)
    return Decision(Budget.from_document(dict(statement.predicate), "decision"), statement.subjects[0].sha256, keyids)


def open_decision(decision: bytes, current: Budget, ledger: str) -> Budget:
    """The budget that follows `current` in the ledger of that id.

    Raises:
        InputError: if it is no decision.
        VerificationFailed: if it is for another ledger or does not follow, or was not signed by at least two officers
            of `current`, each once and nobody else (rules 1 and 2).
    """
    read = read_decision(decision)
    if read.ledger != ledger:
        raise VerificationFailed(
            f"decision: expected one for ledger {ledger[:16]}, got {read.ledger[:16]} (budget rule 1)"
        )
    officers = {one.keyid: one for one in map(_verifier, current.officers)}
    if (
        len(set(read.keyids)) != len(read.keyids)
        or len(read.keyids) < MIN_OFFICERS
        or not set(read.keyids) <= set(officers)
    ):
        raise VerificationFailed(
            f"decision: expected signatures of {MIN_OFFICERS} or more different officers of the current budget, each "
            "once and of nobody else, got otherwise (budget rule 1)"
        )
    dsse.verify(
        dsse.Envelope.from_bytes(decision, "decision"), *(officers[one] for one in read.keyids), where="decision"
    )
    follows = read.budget.number == current.number + 1
    if not follows or read.budget.period not in (current.period, current.period + 1):
        raise VerificationFailed(
            f"decision: expected budget {current.number + 1} of period {current.period} or {current.period + 1}, got "
            f"{read.budget.number} of {read.budget.period} (budget rules 1 and 2)"
        )
    return read.budget


def check_follows(new: Budget, current: Budget, spent: Fraction, group_spent: Mapping[str, Fraction]) -> None:
    """Return if `new` takes nothing back that its own period has been charged (rule 4).

    `spent` and `group_spent` are what was charged in the current period, in all and by name of group.

    Raises:
        Refused: naming what does not hold.
    """
    if new.period != current.period:
        return
    if new.label != current.label:
        raise Refused("decision: expected the label of the period, got another (budget rule 2)")
    _check_cap("in all", new.cap, current.cap, spent)
    for old in current.groups:
        group = new.group(old.name)
        if group is None:
            raise Refused(f"decision, group {old.name!r:.80}: expected it to last its period, got none (budget rule 4)")
        _check_cap(f"of group {old.name!r:.80}", group.cap, old.cap, group_spent.get(old.name, Fraction(0)))


_OFFICERS: Final = (0, *range(MIN_OFFICERS, MAX_OFFICERS + 1))


def _check_cap(what: str, new: str, current: str, spent: Fraction) -> None:
    least = min(amounts.from_text(current, "budget cap"), spent)
    if amounts.from_text(new, "budget cap") < least:
        raise Refused(
            f"decision, cap {what}: expected at least {amounts.to_text(least)}, which someone may have been charged in "
            f"this period, got {new}; a lower cap needs a new period (budget rule 4)"
        )


def _cap(text: str, where: str) -> None:
    if amounts.from_text(text, f"{where}, cap") > MAX_CAP:
        raise InputError(f"{where}, cap: expected mu² from 0 to {MAX_CAP}, got more")


def _group(value: Any, where: str) -> PurposeGroup:
    document = fields.exactly(value, ("name", "cap", "use_cases"), where)
    return PurposeGroup(**{**document, "use_cases": tuple(fields.items(document["use_cases"], where))})


def _verifier(officer: str) -> signing.Verifier:
    return signing.verifier(fields.from_base64(officer, "budget officer"))
