from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from privacy.certificate import AuditSummary, Certificate, Mechanism
from privacy.plan import FLOAT64
from privacy.questions import QUESTIONS, answers
from privacy.verdict import FAIL, NOT_REACHED, NOT_STATED, PASS, Answer, Check, Verdict
from privacy.verify import _RULES
from tests.privacy.small_release import HEADS, masked_plan, plan
from tests.privacy.test_certificate import ACCOUNT, CERTIFICATE, COST

NAMES = [rule.name for rule in _RULES]
STATED = replace(CERTIFICATE, audit=None)


def checks(**states: str) -> list[Check]:
    """Every check passed but those named, with _ for a space."""
    named = {name.replace("_", " "): state for name, state in states.items()}
    assert set(named) <= set(NAMES)
    return [Check(n, name, named.get(name, PASS), "what was found") for n, name in enumerate(NAMES, start=1)]


def answer(number: int, stated: Certificate | None = STATED, /, **states: str) -> Answer:
    return answers(checks(**states), stated)[number - 1]


def with_plan(**changes: Any) -> Certificate:
    return replace(STATED, mechanism=Mechanism.of(plan(**changes)))


def test_there_are_14_questions_in_order_and_each_bears_on_checks_that_there_are() -> None:
    assert [one.number for one in answers(checks(), STATED)] == list(range(1, 15))
    for question in QUESTIONS:
        assert question.checks
        assert set(question.checks) <= set(NAMES)


@pytest.mark.parametrize("number", range(1, 15))
def test_a_question_fails_with_each_check_that_bears_on_it(number: int) -> None:
    for name in QUESTIONS[number - 1].checks:
        found = answer(number, **{name.replace(" ", "_"): FAIL})
        assert found.state == FAIL
        assert f"({name}) failed" in found.evidence


@pytest.mark.parametrize("number", range(1, 15))
def test_a_question_is_open_while_a_check_that_bears_on_it_was_not_reached(number: int) -> None:
    for name in QUESTIONS[number - 1].checks:
        found = answer(number, **{name.replace(" ", "_"): NOT_REACHED})
        assert found.state == NOT_STATED
        assert f"({name}) was not reached" in found.evidence


@pytest.mark.parametrize("number", range(1, 15))
def test_without_a_certificate_nothing_is_answered(number: int) -> None:
    assert answer(number, None).state == NOT_STATED


def test_no_answer_repeats_a_figure_that_its_checks_refused() -> None:
    for one in answers([replace(check, state=FAIL) for check in checks()], STATED):
        assert COST.epsilon not in one.evidence
        assert one.state == FAIL


@pytest.mark.parametrize(("people", "state"), [(9_999, PASS), (10_000, PASS), (10_001, FAIL)])
def test_delta_is_small_where_it_is_at_most_a_tenth_of_one_in_all_who_may_be_there(people: int, state: str) -> None:
    accounts = (replace(ACCOUNT, people_at_most=1), replace(ACCOUNT, people_at_most=people - 1))
    found = answer(1, replace(STATED, accounts=accounts))
    assert found.state == state
    assert f"{people:,} people" in found.evidence


def test_a_true_certificate_may_have_a_bad_answer() -> None:
    found = answers(checks(), replace(STATED, accounts=(replace(ACCOUNT, people_at_most=10**9),)))
    verdict = Verdict(tuple(checks()), found, "2.5", "0.00001", "")
    assert verdict.ok
    assert verdict.to_document()["questions"][0]["state"] == FAIL


def test_the_unit_is_told_with_its_neighbours_and_the_cost_of_being_replaced_and_at_two_sites() -> None:
    found = answer(2)
    assert found.state == PASS
    for part in ("employee", "add-remove", COST.epsilon_replace_one, COST.epsilon_two_sites):
        assert part in found.evidence


def test_side_outputs_and_tuning_are_part_of_what_is_composed() -> None:
    assert "side outputs: none" in answer(3).evidence
    found = answer(3, replace(STATED, side_outputs=("evaluation",), tuning="20 runs"))
    assert found.state == NOT_STATED
    assert "evaluation" in found.evidence


def test_clipping_is_shown_by_an_audit_alone() -> None:
    assert answer(4).state == NOT_STATED
    audited = AuditSummary("1.2", "0.95", "releases", "gdp-guesses", 2_000, 7, False, "0" * 64)
    assert answer(4, replace(STATED, audit=audited)).state == PASS
    assert answer(4, replace(STATED, audit=replace(audited, epsilon="0.000000"))).state == NOT_STATED


def test_a_rate_below_one_is_told_event_by_event() -> None:
    assert "nobody is sampled" in answer(5).evidence
    sampled = tuple(replace(event, rate="0.25") for event in plan().events[1:])
    found = answer(5, with_plan(events=(plan().events[0], *sampled)))
    assert "gradient at rate 0.25" in found.evidence
    assert "second-moments at" not in found.evidence
    assert found.state == NOT_STATED, "no receipt says that a site drew by chance"


def test_float64_noise_is_not_called_safe_from_floating_point() -> None:
    assert answer(6).state == PASS
    assert answer(6, with_plan(mechanism=FLOAT64)).state == NOT_STATED


def test_a_head_count_alone_reports_neither_utility_nor_bias() -> None:
    assert answer(10).state == NOT_STATED
    assert answer(10, replace(STATED, side_outputs=(HEADS.name,))).state == NOT_STATED
    assert answer(10, replace(STATED, side_outputs=("fairness-sex",))).state == PASS


def test_the_worst_off_of_all_sites_is_told() -> None:
    better = replace(ACCOUNT, site="East", worst_after="0.5")
    assert "worst off at North: 2 of 2" in answer(11, replace(STATED, accounts=(better, ACCOUNT))).evidence


def test_what_the_contract_says_is_not_stated_here() -> None:
    assert answer(12).state == NOT_STATED
    assert STATED.contract[:16] in answer(12).evidence


def test_epsilon_is_told_as_what_somebody_who_guesses_gains() -> None:
    certificate = replace(STATED, cost=replace(COST, mu2="1", epsilon="1.000000"))
    found = answer(13, certificate)
    right = 0.5 * (1 + math.erf(0.5 / math.sqrt(2)))  # Phi(mu / 2)
    assert f"{right:.1%}" in found.evidence
    assert "2.72-fold" in found.evidence


def test_periods_are_told_site_by_site_and_shortened_for_many() -> None:
    assert answer(14).evidence.startswith("North: 2027 (number 1);")
    accounts = tuple(replace(ACCOUNT, site=f"Site {n}") for n in range(50))
    found = answer(14, replace(STATED, accounts=accounts)).evidence
    assert "Site 2" in found
    assert "Site 3" not in found


def test_whose_officers_signed_a_later_decision_is_not_called_shown() -> None:
    for number, state in ((0, PASS), (1, PASS), (2, NOT_STATED)):
        assert answer(14, replace(STATED, accounts=(replace(ACCOUNT, budget=number),))).state == state


@pytest.mark.parametrize("text", ["\x1b[2K", "\u202e", "\n", "\u05d0", "\u0336", "\u200b", "\u3164"])
def test_no_words_of_a_certificate_change_how_the_rest_is_shown(text: str) -> None:
    said = answer(14, replace(STATED, accounts=(replace(ACCOUNT, label=f"2{text}7"),))).evidence
    assert text not in said
    assert f"\\u{ord(text[0]):04x}" in said


# Under a secure sum

SHARED = replace(STATED, mechanism=Mechanism.of(masked_plan()), side_outputs=(HEADS.name, "evaluation"))


def test_who_is_trusted_with_what_is_another_answer_under_a_secure_sum() -> None:
    alone, together = answer(8).evidence, answer(8, SHARED).evidence
    assert "needs to trust no other site and not the coordinator" in alone
    assert "needs to trust no other" not in together
    for part in ("up to 1 colluding site", "3 sites or more", "1/2 of the noise's variance", "coordinator's word"):
        assert part in together, part
    assert answer(8, SHARED).state == PASS


def test_sums_under_masks_are_not_called_signed() -> None:
    alone = replace(STATED, side_outputs=("evaluation",))
    assert "the sums are signed by the sites" in answer(10, alone).evidence
    assert "signed" not in answer(10, SHARED).evidence
    assert "both are the coordinator's word" in answer(10, SHARED).evidence


def test_shared_noise_is_called_shared() -> None:
    assert "shares" not in answer(6).evidence
    assert "a sum of the sites' shares" in answer(6, SHARED).evidence


def test_absences_are_part_of_what_is_composed() -> None:
    assert "but for 1 that a site is not in" in answer(3).evidence
    assert "but for" not in answer(3, replace(STATED, absences=())).evidence
