"""What a release answers to an evaluator of a differential privacy guarantee: 14 questions after NIST SP 800-226.

NIST SP 800-226 (Near, Darais, Lefkovitz & Howarth, March 2025) puts epsilon and its unit on top of a pyramid, then what
can undermine them (algorithm, trust, side channels, utility), then the collection of data. The questions are put in our
words. Each is answered

    pass        the checks that bear on it passed, and the certificate states something that answers it;
    fail        a check that bears on it failed, or what is stated is a bad answer;
    not stated  nothing in the release answers it, or what would was not reached.

Nothing here decides whether a release is valid: `privacy.verify` does. No figure of a certificate is repeated under a
question whose checks did not pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from privacy.certificate import NO_TUNING, Certificate, Mechanism
from privacy.plan import DISCRETE, LOCAL, UNIT
from privacy.verdict import FAIL, NOT_STATED, PASS, Answer, Check, visible

DELTA_TIMES_PEOPLE: Final = Fraction(1, 10)
"""A delta is small where delta times the people who may be there is at most this."""

Outcome = tuple[str, str]
"""State and evidence."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question, the names of the checks that bear on it, and what a certificate that passed them answers."""

    words: str
    checks: tuple[str, ...]
    answer: Callable[[Certificate], Outcome]


def answers(checks: Sequence[Check], certificate: Certificate | None) -> tuple[Answer, ...]:
    """The answer to each question, in order.

    Args:
        checks: all checks of the release.
        certificate: what the coordinator signed, if a certificate was opened.
    """
    by_name = {check.name: check for check in checks}
    found = [(one.words, *_outcome(one, by_name, certificate)) for one in QUESTIONS]
    return tuple(Answer(n, words, state, visible(said)) for n, (words, state, said) in enumerate(found, start=1))


def _outcome(question: Question, checks: Mapping[str, Check], certificate: Certificate | None) -> Outcome:
    bearing = [checks[name] for name in question.checks]
    for check in bearing:
        if check.state == FAIL:
            return FAIL, f"check {check.number} ({check.name}) failed"
    missing = [check for check in bearing if not check.passed]
    if missing or certificate is None:
        return NOT_STATED, f"check {(missing or bearing)[0].number} ({(missing or bearing)[0].name}) was not reached"
    return question.answer(certificate)


def _definition(certificate: Certificate) -> Outcome:
    cost, people = certificate.cost, sum(one.people_at_most for one in certificate.accounts)
    evidence = f"mu-GDP with mu² = {cost.mu2}, so (epsilon, delta) = ({cost.epsilon}, {cost.delta})"
    expected = Fraction(cost.delta) * people
    told = f"delta times the {people:,} people there may be is {float(expected):.2g}"
    state = PASS if expected <= DELTA_TIMES_PEOPLE else FAIL
    return state, f"{evidence}; {told}, which should be at most {float(DELTA_TIMES_PEOPLE):g}"


def _unit(certificate: Certificate) -> Outcome:
    ran, cost = certificate.mechanism, certificate.cost
    return (PASS if ran.unit == UNIT else FAIL), (
        f"the {ran.unit}, all records together, {ran.neighbours}; replaced by another: epsilon"
        f" {cost.epsilon_replace_one}; at two sites at once: {cost.epsilon_two_sites}"
    )


def _composition(certificate: Certificate) -> Outcome:
    releases = sum(event.times for event in certificate.mechanism.events)
    evidence = f"{releases} releases at each of {len(certificate.accounts)} sites, each charged and signed for"
    if certificate.absences:
        evidence += f", but for {len(certificate.absences)} that a site is not in"
    others = ", ".join(certificate.side_outputs) or "none"
    state = PASS if certificate.tuning == NO_TUNING else NOT_STATED
    return state, f"{evidence}; side outputs: {others}; tuning: {certificate.tuning}"


def _clipping(certificate: Certificate) -> Outcome:
    evidence = f"gradients are clipped to {certificate.mechanism.clip}, and every event states its sensitivity"
    if certificate.audit is None:
        return NOT_STATED, f"{evidence}; no audit shows whether the code keeps to it"
    told = f"{evidence}; the coordinator states {certificate.audit.runs:,} audited trainings, which do not refute it"
    if not Fraction(certificate.audit.epsilon):
        return NOT_STATED, f"{told}, but the attack found nothing at all, so it could not have"
    return PASS, told


def _sampling(certificate: Certificate) -> Outcome:
    sampled = [f"{event.name} at rate {event.rate}" for event in certificate.mechanism.events if event.rate != "1"]
    if not sampled:
        return PASS, "nobody is sampled: everybody takes part in every release, so nothing is assumed of a sampler"
    told = f"Poisson, each employee by an own coin: {', '.join(sampled)}; charged in ledgers as if unsampled"
    return NOT_STATED, f"{told}; epsilon rests on it, and no receipt says that a site drew so"


def _noise(certificate: Certificate) -> Outcome:
    ran, added = certificate.mechanism.mechanism, certificate.cost.discretization_delta
    if ran == DISCRETE:
        shared = "" if _alone(certificate) else ", and that it is a sum of the sites' shares,"
        return PASS, f"{ran}, source {certificate.noise!r}; that it is discrete{shared} is in delta ({added})"
    return NOT_STATED, f"{ran}, source {certificate.noise!r}: how far float64 is from a Gaussian is not bounded"


def _accountants(certificate: Certificate) -> Outcome:
    cost = certificate.cost
    return PASS, (
        f"{cost.accountant}: {cost.epsilon}; {cost.second_accountant}: {cost.epsilon_second}; both computed here anew"
    )


def against(ran: Mechanism) -> str:
    """What a secure sum hides from whom, and on what that rests."""
    shares, together = ran.replies_at_least - ran.colluding, ran.colluding
    return (
        f"the coordinator and up to {together} colluding site{'s' if together > 1 else ''} see no other site's own sum,"
        f" even if the coordinator lies about who replied; {ran.replies_at_least} sites or more are in every sum, and"
        f" each adds 1/{shares} of the noise's variance, so that {shares} honest ones make up the whole"
    )


def _trust(certificate: Certificate) -> Outcome:
    ran = certificate.mechanism
    if ran.trust == LOCAL:
        return PASS, (
            f"{ran.trust}: a site adds all of its noise before anything leaves it, so it needs to trust no other site"
            " and not the coordinator; each site says so, with its own key"
        )
    return PASS, (
        f"{ran.trust}: {against(ran)}; a site trusts the others, but for {ran.colluding}, to add their shares, and its"
        " own code to mask; a sum's value is the coordinator's word, as receipts bind masked values"
    )


def _side_channels(certificate: Certificate) -> Outcome:
    others = ", ".join(certificate.side_outputs)
    beyond = f"beyond the model: {others}, with noise and charged" if others else "nothing beyond the model"
    return PASS, f"{beyond}; what timing and refusals tell is not covered, like {_not_covered(certificate)}"


def _not_covered(certificate: Certificate) -> str:
    count = len(certificate.not_covered)
    return f"{count} points that the certificate names" if count > 1 else "what the certificate names"


def _utility(certificate: Certificate) -> Outcome:
    told = [name for name in certificate.side_outputs if name == "evaluation" or name.startswith("fairness")]
    if not told:
        return NOT_STATED, "no accuracy and no comparison of groups was measured with noise and charged"
    signed = "the sums are signed by the sites, what was read from them is" if _alone(certificate) else "both are"
    return PASS, (
        f"measures.json, from {', '.join(told)}: sums, and figures with intervals that hold the noise, or why there are"
        f" none; {signed} the coordinator's word"
    )


def _alone(certificate: Certificate) -> bool:
    """Whether what leaves a site needs no other site's noise."""
    return certificate.mechanism.trust == LOCAL


def _exhaustion(certificate: Certificate) -> Outcome:
    closest = max(certificate.accounts, key=lambda one: Fraction(one.worst_after) / Fraction(one.cap))
    return PASS, (
        "whoever can not pay for a whole plan is left out before anything is read, and a charge comes before its"
        f" release; worst off at {closest.site}: {closest.worst_after} of {closest.cap} mu²"
    )


def _collection(certificate: Certificate) -> Outcome:
    return NOT_STATED, (
        f"what is collected, who may read it and how long it is kept is in the contract (sha256"
        f" {certificate.contract[:16]}...), not here"
    )


def _meaning(certificate: Certificate) -> Outcome:
    mu = math.sqrt(Fraction(certificate.cost.mu2))
    right = 0.5 * math.erfc(-mu / math.sqrt(8))
    words = "whoever guesses from all that left whether somebody took part, with even odds before, is right at most"
    words += f" {right:.1%} of the time; but for delta, odds change at most"
    words += f" {math.exp(float(certificate.cost.epsilon)):,.3g}-fold"
    if certificate.audit is not None:
        words += f"; an attack proved at least epsilon {certificate.audit.epsilon}"
    return PASS, words


def _period(certificate: Certificate) -> Outcome:
    shown = [f"{one.site}: {one.label} (number {one.period})" for one in certificate.accounts]
    few = ", ".join(shown[:3]) + (", ..." if len(shown) > 3 else "")
    told = f"{few}; only a decision that two officers sign opens the next, and lifetime totals go on"
    if unseen := [one.site for one in certificate.accounts if one.budget > 1]:
        whose = f"who may sign for {unseen[0]}{' and others' if unseen[1:] else ''} is in an earlier decision"
        return NOT_STATED, f"{told}; {whose}, which is not shown: kith ledger verify at the site checks it"
    return PASS, told


QUESTIONS: Final = (
    Question("Which definition, and is delta small?", ("epsilon", "discretization"), _definition),
    Question("Whom does it protect: which unit, which neighbours?", ("plan", "epsilon"), _unit),
    Question("Are all releases composed?", ("receipts", "spending", "side outputs"), _composition),
    Question("Is sensitivity bounded, and is clipping done?", ("plan", "audit"), _clipping),
    Question("Does what is assumed of sampling hold?", ("plan",), _sampling),
    Question("Where does noise come from, and is it safe from floating point?", ("noise", "discretization"), _noise),
    Question("Does an independent accountant agree?", ("epsilon", "second accountant"), _accountants),
    Question("Who is trusted with what?", ("trust", "receipts"), _trust),
    Question("What else leaves a site?", ("side outputs", "spending"), _side_channels),
    Question("Are utility and bias reported?", ("side outputs",), _utility),
    Question("What happens when a budget runs out?", ("budget", "spending"), _exhaustion),
    Question("Is collection, access and retention of data in order?", ("certificate",), _collection),
    Question("What does epsilon mean for a person?", ("epsilon", "audit"), _meaning),
    Question("Over which period does the budget hold, and who resets it?", ("budget", "ledger"), _period),
)
