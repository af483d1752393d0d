from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy import budget as budgets
from privacy import canonical, dsse, fields
from privacy.budget import (
    Budget,
    PurposeGroup,
    add_signature,
    check_follows,
    first_budget,
    open_decision,
    sign_decision,
)
from privacy.errors import InputError, KithError, Refused, VerificationFailed
from privacy.statement import Statement, Subject
from tests.privacy.fixed_signer import FixedSigner
from tests.privacy.small_ledger import budget, following, next_period, two_groups
from tests.privacy.small_release import DELTA, OFFICERS
from tests.privacy.test_entries import VALUES

LEDGER = "ab" * 32
CURRENT = budget()
NEXT = next_period(CURRENT)
DECISION = sign_decision(NEXT, LEDGER, *OFFICERS[:2])
NOTHING = Fraction(0)


def test_a_first_budget_has_one_group_of_all_use_cases_with_the_cap_in_all() -> None:
    made = first_budget(Decimal("0.5"), DELTA, ["retention", "mentoring"])
    assert (made.number, made.period, made.cap, made.officers) == (0, 0, "0.5", ())
    assert made.groups == (PurposeGroup("all", "0.5", ("retention", "mentoring")),)
    assert made.group_of("mentoring").name == "all"


def test_a_use_case_in_no_group_is_refused() -> None:
    with pytest.raises(Refused, match=r"'gossip'.*rule 3"):
        CURRENT.group_of("gossip")


@pytest.mark.parametrize("cap", ["-1", "NaN", "Infinity", "1000001", "1E-21"])
def test_caps_that_are_no_budget_are_refused(cap: str) -> None:
    with pytest.raises(InputError, match="cap"):
        first_budget(Decimal(cap), DELTA, ["retention"])


@pytest.mark.parametrize("delta", ["0", "1", "-0.1", "NaN", "1E-21"])
def test_deltas_that_are_none_are_refused(delta: str) -> None:
    with pytest.raises(InputError, match="delta"):
        first_budget(Decimal(1), Decimal(delta), ["retention"])


GROUP = CURRENT.groups[0]
MALFORMED: dict[str, dict[str, object]] = {
    "a negative number": {"number": -1},
    "a truth value as period": {"period": True},
    "an empty label": {"label": ""},
    "no reason": {"reason": ""},
    "no group": {"groups": ()},
    "two groups of one name": {"groups": (GROUP, replace(GROUP, use_cases=("other",)))},
    "a use case in two groups": {"groups": (GROUP, replace(GROUP, name="two"))},
    "one officer": {"officers": CURRENT.officers[:1]},
    "an officer twice": {"officers": CURRENT.officers[:1] * 2},
    "seventeen officers": {"officers": tuple(fields.to_base64(FixedSigner(n).public) for n in range(17))},
    "an officer who is no key": {"officers": (CURRENT.officers[0], fields.to_base64(bytes(31)))},
    "a cap with an exponent": {"cap": "1e0"},
    "too many bytes": {"groups": tuple(PurposeGroup(str(n), "1", (f"{n}" * 100,)) for n in range(10, 64))},
}


@pytest.mark.parametrize("changes", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_no_budget_is_refused(changes: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "MAX_BYTES", 4_000)
    with pytest.raises(InputError):
        replace(CURRENT, **changes)


@given(st.sampled_from(sorted(CURRENT.to_document())), VALUES)
def test_a_document_with_another_value_anywhere_is_that_budget_or_refused(name: str, value: object) -> None:
    document = {**CURRENT.to_document(), name: value}
    try:
        read = Budget.from_document(document)
    except InputError:
        return
    assert read.to_document() == document


@given(VALUES, st.sampled_from(["name", "cap", "use_cases"]), VALUES)
def test_a_group_with_another_value_anywhere_is_that_group_or_refused(group: object, name: str, value: object) -> None:
    for one in (group, {**CURRENT.to_document()["groups"][0], name: value}):
        document = {**CURRENT.to_document(), "groups": [one]}
        try:
            read = Budget.from_document(document)
        except InputError:
            continue
        assert read.to_document() == document


# Decisions


def test_two_officers_decide_the_next_budget(golden: Callable[[str, bytes], None]) -> None:
    golden("budget-decision.dsse.json", DECISION)
    assert open_decision(DECISION, CURRENT, LEDGER) == NEXT


def test_all_three_officers_may_sign_and_in_any_order() -> None:
    assert open_decision(sign_decision(NEXT, LEDGER, *reversed(OFFICERS)), CURRENT, LEDGER) == NEXT


def test_a_second_officer_adds_a_signature_elsewhere() -> None:
    alone = sign_decision(NEXT, LEDGER, OFFICERS[2])
    with pytest.raises(VerificationFailed, match="2 or more"):
        open_decision(alone, CURRENT, LEDGER)
    both = add_signature(alone, OFFICERS[0])
    assert open_decision(both, CURRENT, LEDGER) == NEXT
    with pytest.raises(Refused, match="another officer"):
        add_signature(both, OFFICERS[0])


def resigned(*officers: FixedSigner, subject: Subject | None = None, kind: str = budgets.DECISION) -> bytes:
    statement = Statement((subject or Subject("ledger", LEDGER),), kind, NEXT.to_document())
    return dsse.sign(statement.to_bytes(), *officers).to_bytes()


def broken_signature() -> bytes:
    envelope = dsse.Envelope.from_bytes(DECISION)
    first, second = envelope.signatures
    wrong = replace(second, signature=bytes(64))
    return replace(envelope, signatures=(first, wrong)).to_bytes()


def other_payload() -> bytes:
    envelope = dsse.Envelope.from_bytes(DECISION)
    return replace(envelope, payload=envelope.payload.replace(b'"cap":"1"', b'"cap":"9"')).to_bytes()


FORGED: dict[str, Callable[[], bytes]] = {
    "one officer signs twice": lambda: resigned(OFFICERS[0], OFFICERS[0]),
    "one officer and a stranger": lambda: resigned(OFFICERS[0], FixedSigner(9)),
    "two officers and a stranger": lambda: resigned(*OFFICERS[:2], FixedSigner(9)),
    "nobody": resigned,
    "a broken signature": broken_signature,
    "another cap under the signatures": other_payload,
    "another ledger": lambda: sign_decision(NEXT, "cd" * 32, *OFFICERS[:2]),
    "the same number again": lambda: sign_decision(replace(NEXT, number=0), LEDGER, *OFFICERS[:2]),
    "a number skipped": lambda: sign_decision(replace(NEXT, number=2), LEDGER, *OFFICERS[:2]),
    "a period skipped": lambda: sign_decision(replace(NEXT, period=2), LEDGER, *OFFICERS[:2]),
    "another kind of statement": lambda: resigned(*OFFICERS[:2], kind="urn:kith:other:v1"),
    "another kind of subject": lambda: resigned(*OFFICERS[:2], subject=Subject("model", LEDGER)),
    "another writing": lambda: DECISION.replace(b",", b", ", 1),
    "cut": lambda: DECISION[:-1],
    "too long": lambda: DECISION + b" " * budgets.MAX_DECISION,
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED.keys())
def test_forged_decisions_are_refused(forge: Callable[[], bytes]) -> None:
    with pytest.raises((VerificationFailed, InputError)):
        open_decision(forge(), CURRENT, LEDGER)


def test_a_period_can_not_be_taken_back() -> None:
    second = open_decision(DECISION, CURRENT, LEDGER)
    with pytest.raises(VerificationFailed, match="of period 1 or 2"):
        open_decision(sign_decision(following(second, period=0), LEDGER, *OFFICERS[:2]), second, LEDGER)


def test_officers_whom_the_current_budget_does_not_name_decide_nothing() -> None:
    handed_over = replace(NEXT, officers=CURRENT.officers[1:])
    gone = next(one for one in OFFICERS if fields.to_base64(one.public) == CURRENT.officers[0])
    others = [one for one in OFFICERS if one is not gone]
    after = next_period(handed_over)
    with pytest.raises(VerificationFailed, match="nobody else"):
        open_decision(sign_decision(after, LEDGER, gone, others[0]), handed_over, LEDGER)
    assert open_decision(sign_decision(after, LEDGER, *others), handed_over, LEDGER) == after


def test_a_ledger_without_officers_keeps_its_first_budget() -> None:
    alone = first_budget(Decimal(1), DELTA, ["retention"])
    with pytest.raises(VerificationFailed, match="rule 1"):
        open_decision(sign_decision(next_period(alone), LEDGER, *OFFICERS[:2]), alone, LEDGER)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_no_decision(data: bytes) -> None:
    with pytest.raises(KithError):
        open_decision(data, CURRENT, LEDGER)


# What may follow within a period


def test_within_a_period_a_cap_never_falls_below_what_somebody_may_have_been_charged() -> None:
    current = two_groups("1", "0.5", "0.5")
    spent = {"keep": Fraction(1, 4), "grow": NOTHING}
    lower = following(current, cap="0.25")
    check_follows(lower, current, Fraction(1, 4), spent)
    with pytest.raises(Refused, match=r"cap in all.*at least 0\.25"):
        check_follows(following(current, cap="0.2"), current, Fraction(1, 4), spent)
    keep, grow = current.groups
    check_follows(following(current, groups=(keep, replace(grow, cap="0"))), current, Fraction(1, 4), spent)
    with pytest.raises(Refused, match=r"cap of group 'keep'.*at least 0\.25"):
        check_follows(following(current, groups=(replace(keep, cap="0.1"), grow)), current, Fraction(1, 4), spent)


def test_where_more_was_charged_in_all_than_anyone_s_cap_the_cap_can_not_fall() -> None:
    with pytest.raises(Refused, match="at least 1"):
        check_follows(following(CURRENT, cap="0.9"), CURRENT, Fraction(7), {"all": Fraction(7)})


def test_within_a_period_no_group_disappears_and_the_label_stays() -> None:
    current = two_groups("1", "0.5", "0.5")
    with pytest.raises(Refused, match="last its period"):
        check_follows(following(current, groups=current.groups[:1]), current, NOTHING, {})
    with pytest.raises(Refused, match="label"):
        check_follows(following(current, label="2027"), current, NOTHING, {})


def test_a_new_period_may_have_other_caps_and_groups() -> None:
    current = two_groups("1", "0.5", "0.5")
    new = next_period(current, cap="0.1", groups=(PurposeGroup("new", "0.1", ("onboarding",)),))
    check_follows(new, current, Fraction(9), {"keep": Fraction(9)})
    assert canonical.to_bytes(new.to_document())
