"""mu² as exact decimals: what is charged, written and added up without any rounding after the first.

One release of an event costs its mu² rounded up to 18 significant digits (`plan.written`); a plan costs the sum of its
releases so rounded. A written amount is therefore never below the true one, and sums of them are exact.
"""

from __future__ import annotations

import re
from decimal import Context, Decimal, Inexact
from fractions import Fraction
from typing import Final

from privacy.errors import InputError
from privacy.plan import GaussianSum, Plan, written

MAX_CHARACTERS: Final = 64
_PLAIN: Final = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]*[1-9])?")
_EXACT: Final = Context(prec=200, traps=[Inexact])


def once(event: GaussianSum) -> Fraction:
    """What one release of `event` is charged."""
    return Fraction(Decimal(written(event.mu_squared_once)))


def total(plan: Plan) -> Fraction:
    """What all releases of `plan` are charged together; at least `plan.mu_squared`."""
    return sum((event.times * once(event) for event in plan.events), Fraction(0))


def to_text(value: Fraction) -> str:
    """The exact decimal, without exponent or trailing zeros.

    Raises:
        InputError: for a value below 0, or without an exact decimal of at most 64 characters.
    """
    try:
        quotient = _EXACT.divide(Decimal(value.numerator), Decimal(value.denominator))
    except Inexact:
        raise InputError("mu²: expected an exact decimal, got a fraction without one") from None
    result = format(quotient.normalize(_EXACT), "f")
    if value < 0 or len(result) > MAX_CHARACTERS:
        raise InputError(f"mu²: expected 0 or more in at most {MAX_CHARACTERS} characters, got otherwise")
    return result


def from_text(text: str, where: str) -> Fraction:
    """The amount that `to_text` wrote.

    Raises:
        InputError: for anything else, another writing of the same amount included.
    """
    check_text(text, where)
    return Fraction(Decimal(text))


def check_text(text: str, where: str) -> None:
    """Return if `to_text` may have written that.

    Raises:
        InputError: if not.
    """
    if not isinstance(text, str) or len(text) > MAX_CHARACTERS or not _PLAIN.fullmatch(text):
        raise InputError(f"{where}: expected a plain decimal from 0 on without trailing zeros, got otherwise")
