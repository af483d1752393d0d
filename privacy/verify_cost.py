"""The checks of what a certificate says a plan costs. Their rules are in `privacy.verify`, by number."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Final

from privacy import accounting
from privacy.cost import cost_of
from privacy.errors import VerificationFailed
from privacy.verify_evidence import Evidence, close, equal

DISCRETIZATION_AGREES: Final = Decimal("0.001")
"""Relative difference allowed in what discrete noise adds to delta, which is stated to four digits."""
SECOND_STATED: Final = Decimal("0.001")
"""Relative difference allowed in the second accountant's figure: another version of Kith may round on a finer grid."""
MU_FLOAT: Final = 1e-6
"""Relative slack where delta is recomputed from a stated (rounded) epsilon in floating point."""
TABLES: Final = ("epsilons", "leavers", "releases")


def epsilon(evidence: Evidence) -> str:
    """Rule 10."""
    evidence.cost, stated = cost_of(evidence.plan), evidence.certified.cost
    expected = evidence.cost
    equal("certificate, mu2", expected.mu2, stated.mu2)
    equal("certificate, delta", evidence.plan.delta, stated.delta)
    equal("certificate, accountant", expected.accountant, stated.accountant)
    for name in ("epsilon", "epsilon_replace_one", "epsilon_two_sites"):
        close(f"certificate, {name}", getattr(expected, name), getattr(stated, name))
    for name in TABLES:
        _table(f"certificate, {name}", getattr(expected, name), getattr(stated, name))
    _table("certificate, cumulative", tuple(enumerate(expected.cumulative)), tuple(enumerate(stated.cumulative)))
    return f"epsilon {stated.epsilon} at delta {stated.delta} (replace-one {stated.epsilon_replace_one})"


def _table(where: str, expected: tuple[tuple[object, str], ...], stated: tuple[tuple[object, str], ...]) -> None:
    equal(f"{where}, stated at", [at for at, _ in expected], [at for at, _ in stated])
    for (at, computed), (_, claimed) in zip(expected, stated, strict=True):
        close(f"{where}, {at}", computed, claimed)


def second_accountant(evidence: Evidence) -> str:
    """Rule 11."""
    stated, computed = evidence.certified.cost, evidence.cost
    equal("certificate, second_accountant", computed.second_accountant, stated.second_accountant)
    first, second, told = map(Decimal, (computed.epsilon, computed.epsilon_second, stated.epsilon_second))
    if not accounting.agree(first, computed.second_accountant, second):
        raise VerificationFailed(f"epsilon: expected both accountants to agree, got {first} and {second}")
    if abs(told - second) > second * SECOND_STATED + accounting.SLACK:
        raise VerificationFailed(f"certificate, epsilon_second: expected about {second}, got {told}")
    return f"{stated.accountant} {stated.epsilon}, {stated.second_accountant} {stated.epsilon_second}: they agree"


def discretization(evidence: Evidence) -> str:
    """Rule 12."""
    plan, stated, computed = evidence.plan, evidence.certified.cost, evidence.cost
    added, expected = Decimal(stated.discretization_delta), Decimal(computed.discretization_delta)
    if abs(added - expected) > expected * DISCRETIZATION_AGREES:
        raise VerificationFailed(f"discretization: expected {expected}, got {added}")
    if not plan.sampled:  # else no closed form tells delta, and check 10 has it included
        continuous = accounting.delta_of(float(stated.epsilon), math.sqrt(plan.mu_squared))
        if continuous + float(added) > float(plan.delta) * (1 + MU_FLOAT):
            raise VerificationFailed(f"discretization: expected it within delta {plan.delta}, got more at epsilon")
    return f"{added} of delta {plan.delta}, included in epsilon"
