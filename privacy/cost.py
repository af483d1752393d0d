"""All figures of a plan's cost that a certificate states, from the plan alone.

Every epsilon holds at its delta for the mechanism as it runs: what the discrete noise adds to delta (see
`privacy.accounting.discretization_delta`) is taken off the delta before epsilon is computed. Amounts are per employee.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final

from privacy import accounting, amounts
from privacy.errors import InputError
from privacy.plan import Plan

DELTAS: Final = ("0.001", "0.0001", "0.00001", "0.000001", "0.0000001")
"""Where epsilon is stated beside the plan's own delta."""
NEGLIGIBLE: Final = Fraction(1, 1000)
"""The share of a delta that discrete noise may take up; a plan that needs more has too coarse a grid."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Decimal strings throughout.

    Attributes:
        mu2: what each employee is charged.
        delta: where `epsilon`, `epsilon_pld` and `epsilon_replace_one` are stated.
        discretization_delta: what discrete noise adds to delta; already in the epsilons.
        epsilon: add-remove neighbours, closed form.
        epsilon_pld: add-remove neighbours, by dp-accounting's PLD.
        epsilon_replace_one: one employee's records replaced by another's (mu doubled), closed form.
        epsilons: (delta, epsilon) by the closed form, at those of `DELTAS` that the grid is fine enough for.
    """

    mu2: str
    delta: str
    discretization_delta: str
    epsilon: str
    epsilon_pld: str
    epsilon_replace_one: str
    epsilons: tuple[tuple[str, str], ...]


def cost_of(plan: Plan) -> Cost:
    """The cost of `plan`.

    Raises:
        InputError: if discretization takes up over a thousandth of delta at one of the epsilons, or if one of them is
            above 700.
    """
    delta = Decimal(plan.delta)
    added = accounting.discretization_delta(plan)
    _check_negligible(Fraction(added), delta)
    inner = delta - added
    return Cost(
        mu2=amounts.to_text(amounts.total(plan)),
        delta=plan.delta,
        discretization_delta=str(added),
        epsilon=_text(accounting.epsilon(plan.mu_squared, inner)),
        epsilon_pld=_text(accounting.epsilon_by_pld(plan, inner)),
        epsilon_replace_one=_text(_epsilon_at(plan, 4 * plan.mu_squared, delta)),
        epsilons=tuple((text, _text(_epsilon_at(plan, plan.mu_squared, Decimal(text)))) for text in _deltas(plan)),
    )


def _deltas(plan: Plan) -> list[str]:
    return [text for text in DELTAS if _added(plan, plan.mu_squared, Decimal(text)) <= NEGLIGIBLE * Fraction(text)]


def _epsilon_at(plan: Plan, mu_squared: Fraction, delta: Decimal) -> Decimal:
    added = _added(plan, mu_squared, delta)
    _check_negligible(added, delta)
    return accounting.epsilon(mu_squared, delta - Decimal(float(added)))


def _added(plan: Plan, mu_squared: Fraction, delta: Decimal) -> Fraction:
    stated = float(accounting.epsilon(mu_squared, delta * (1 - Decimal(float(NEGLIGIBLE)))))
    return accounting.total_variation(plan) * Fraction(1 + math.exp(stated))


def _check_negligible(added: Fraction, delta: Decimal) -> None:
    if added > NEGLIGIBLE * Fraction(delta):
        allowed = f"discrete noise to add at most a thousandth of delta {delta}"
        raise InputError(f"epsilon: expected {allowed}, got {float(added):.3g}: ask for a smaller epsilon")


def _text(value: Decimal) -> str:
    return format(value, "f")
