from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy import amounts
from privacy.errors import InputError
from privacy.plan import GaussianSum

STEPS = st.integers(1, 2**53 - 1)


@given(sensitivity=STEPS, noise=STEPS)
def test_a_release_is_never_charged_less_than_it_costs_nor_much_more(sensitivity: int, noise: int) -> None:
    event = GaussianSum("event", 1, 1, 0, sensitivity, noise)
    exact, charged = event.mu_squared_once, amounts.once(event)
    assert exact <= charged <= exact * (1 + Fraction(1, 10**17))
    assert amounts.from_text(amounts.to_text(charged), "amount") == charged


@pytest.mark.parametrize(
    "text", ["", "-1", "1.0", "01", "+1", "1e1", "1E-7", " 1", "1_0", "NaN", "Infinity", "٣", "9" * 65]
)
def test_other_writings_of_an_amount_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        amounts.from_text(text, "amount")


@pytest.mark.parametrize("value", [Fraction(1, 3), Fraction(-1), Fraction(1, 10**80)])
def test_amounts_without_an_exact_writing_are_refused(value: Fraction) -> None:
    with pytest.raises(InputError, match="mu²"):
        amounts.to_text(value)


@given(st.text("0123456789.-+ ٣", max_size=8))
def test_an_amount_is_read_only_in_the_one_writing(text: str) -> None:
    try:
        value = amounts.from_text(text, "amount")
    except InputError:
        try:
            again = amounts.to_text(Fraction(text))
        except (ValueError, InputError):
            return
        assert again != text
        return
    assert amounts.to_text(value) == text
