"""Where the worst-off employee stands, and whom a plan would leave out: arithmetic on totals, in exact fractions."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.budget import Budget, PurposeGroup, first_budget
from privacy.errors import Refused
from privacy.standing import Account, Standing, epsilon_of

GROUPS = (PurposeGroup("people", "1.5", ("retention",)), PurposeGroup("pay", "0.5", ("pay",)))
BUDGET: Budget = first_budget(Decimal(2), Decimal("0.00001"), (), label="2026", groups=GROUPS)

amounts = st.fractions(0, 10, max_denominator=1000)


def standing(spent: str = "0", held: str = "0", people: str = "0", people_held: str = "0") -> Standing:
    """A site whose group "people" was charged and holds so much, and all purposes so much."""
    groups = {
        "people": Account(Fraction("1.5"), Fraction(people), Fraction(people_held)),
        "pay": Account(Fraction("0.5"), Fraction(0), Fraction(0)),
    }
    whole = Account(Fraction(2), Fraction(spent), Fraction(held))
    return Standing("North", BUDGET, whole, groups, Fraction(spent), {})


@given(cap=amounts, spent=amounts, held=amounts, asked=amounts.filter(bool))
def test_what_is_left_holds_as_many_runs_as_fit_and_not_one_more(
    cap: Fraction, spent: Fraction, held: Fraction, asked: Fraction
) -> None:
    account = Account(cap, spent, held)
    fresh, more = account.runs(asked)
    assert fresh * asked <= cap < (fresh + 1) * asked
    assert more * asked <= account.left < (more + 1) * asked
    assert account.worst_off <= account.after(asked) <= max(cap, account.worst_off)
    if more:
        assert spent + held + more * asked <= cap


def test_nobody_is_left_out_where_the_plan_fits_whoever_was_in_everything() -> None:
    prospect = standing(spent="1", people="1").prospect(Fraction("0.5"), "retention")
    assert (prospect.left_out, prospect.runs) == ("nobody", (3, 1))


def test_the_group_s_cap_leaves_people_out_before_the_cap_in_all_does() -> None:
    prospect = standing(spent="1.2", people="1.2").prospect(Fraction("0.5"), "retention")
    assert prospect.allowed
    assert not prospect.everybody
    assert prospect.left_out == (
        "whoever has more than 1 mu² charged for group people in period 2026, as who was in everything has; all others"
        " take part"
    )


def test_the_cap_in_all_counts_other_purposes_too() -> None:
    prospect = standing(spent="1.8").prospect(Fraction("0.5"), "retention")
    assert "more than 1.5 mu² charged for all purposes" in prospect.left_out


def test_what_open_runs_hold_counts_as_charged() -> None:
    prospect = standing(held="1.5", people_held="1.5").prospect(Fraction("0.5"), "retention")
    assert "held by open runs" in prospect.left_out
    assert prospect.runs == (3, 0)


def test_a_plan_above_a_cap_is_refused_to_everybody() -> None:
    prospect = standing().prospect(Fraction("0.6"), "pay")
    assert not prospect.allowed
    assert prospect.left_out.startswith("everybody")
    assert prospect.runs == (0, 0)


def test_a_purpose_in_no_group_is_refused() -> None:
    with pytest.raises(Refused):
        standing().prospect(Fraction("0.1"), "promotion")


def test_an_epsilon_is_stated_for_any_amount() -> None:
    assert epsilon_of(Fraction(0), "0.00001") == "0"
    assert epsilon_of(Fraction(10**5), "0.00001") == ">700"
    assert Decimal(epsilon_of(Fraction("0.0719"), "0.00001")) == pytest.approx(Decimal(1), abs=Decimal("0.001"))
