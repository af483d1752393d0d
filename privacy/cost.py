"""All figures of a plan's cost that a certificate states, from the plan alone.

Every epsilon holds at its delta for the mechanism as it runs. What discrete noise adds to delta
(`privacy.accounting.total_variation`) is taken off the delta before epsilon is computed; where that would be more than
a thousandth of it, the figure is the zero-concentrated bound, which the discrete Gaussian meets without any addition
(Canonne, Kamath & Steinke 2020, Thm. 4 and Prop. 12) and which is a few percent larger. A sum of sites' discrete
Gaussians meets it with an addition (Kairouz, Liu & Steinke 2021, Prop. 14) that is far below a figure's last digit.

Figures about somebody replaced and about several people who leave together do not use sampling: with each person's
chance held fixed, k of them move a sum by at most k times the sensitivity, so k * mu bounds them. A finer bound for
replacing under sampling is left out on purpose: dp-accounting 0.6.0's Rényi accountant takes no account of the doubled
sensitivity there (google/differential-privacy #378), so there would be nothing sound to compare it with.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Decimal
from fractions import Fraction
from itertools import accumulate, islice
from typing import Final

from privacy import accounting, amounts, loss_distribution, other_accountants
from privacy.accounting import CLOSED_FORM, PLD, RDP
from privacy.errors import InputError, Refused
from privacy.plan import MAX_ROUNDS, SECURE_SUM, Plan

DELTAS: Final = ("0.001", "0.0001", "0.00001", "0.000001", "0.0000001")
"""Where epsilon is stated beside the plan's own delta."""
LEAVERS: Final = (2, 3, 5)
"""People who leave, or are found out, together."""
RELEASES: Final = (12, 24)
"""How many such plans one after the other: two years of a run a month."""
NEGLIGIBLE: Final = Fraction(1, 1000)
"""The share of a delta that discrete noise may take up; a plan that needs more has too coarse a grid."""
MAX_POINTS: Final = 8 * 10**6
"""Points of loss distributions that a plan's figures may take: ten seconds or so. A stranger's plan takes no more."""
PLACES: Final = 20
"""Places of a sampled plan at which its growth is computed; between them the next one's figure is stated."""
TOO_LARGE: Final = f">{accounting.MAX_EPSILON:g}"


@dataclass(frozen=True, slots=True)
class Cost:
    """Decimal strings throughout. Add-remove neighbours unless said otherwise.

    An epsilon above 700 is written ">700"; `epsilon` and `epsilon_second` never are.

    Attributes:
        mu2: what each employee is charged.
        delta: where every epsilon is stated that names no delta of its own.
        discretization_delta: what discrete noise adds to delta; already in `epsilon` and `epsilon_second`.
        accountant: how `epsilon` was computed: the closed form, or loss distributions for a plan with sampling.
        epsilon: the plan's cost.
        second_accountant: how `epsilon_second` was computed.
        epsilon_second: the same cost by an independent bound.
        epsilon_replace_one: one employee's records replaced by another's (mu doubled).
        epsilon_two_sites: somebody employed at two sites of the run. Under `local` each has its own noise: every
            release twice (2 mu²). Under a secure sum both are in one sum with one noise, as two people are (4 mu²).
        epsilons: (delta, epsilon) at each of `DELTAS`, largest delta first.
        leavers: (k, epsilon) for k people together (k times mu).
        releases: (n, epsilon) after n plans like this one about the same people.
        cumulative: epsilon after each release of the plan, in order; of the first `MAX_ROUNDS` if there are more.
    """

    mu2: str
    delta: str
    discretization_delta: str
    accountant: str
    epsilon: str
    second_accountant: str
    epsilon_second: str
    epsilon_replace_one: str
    epsilon_two_sites: str
    epsilons: tuple[tuple[str, str], ...]
    leavers: tuple[tuple[int, str], ...]
    releases: tuple[tuple[int, str], ...]
    cumulative: tuple[str, ...]


def cost_of(plan: Plan) -> Cost:
    """The cost of `plan`: exactly these figures for exactly this plan, on every machine to the last digit but one.

    Raises:
        InputError: if discrete noise takes up over a thousandth of the plan's delta, the plan's epsilon is above 700,
            or its sampled releases are so different that it takes too much work: such a plan is not run.
    """
    with loss_distribution.bounded(MAX_POINTS):
        return _cost_of(plan)


def _cost_of(plan: Plan) -> Cost:
    delta = Decimal(plan.delta)
    added = accounting.discretization_delta(plan)
    if Fraction(added) > NEGLIGIBLE * Fraction(delta):
        allowed = f"discrete noise to add at most a thousandth of delta {delta}"
        raise InputError(f"epsilon: expected {allowed}, got {float(added):.3g}: ask for a smaller epsilon")
    inner = delta - added
    return Cost(
        mu2=amounts.to_text(amounts.total(plan)),
        delta=plan.delta,
        discretization_delta=str(added),
        accountant=PLD if plan.sampled else CLOSED_FORM,
        epsilon=_text(accounting.epsilon_of(plan, inner)),
        second_accountant=RDP if plan.sampled else PLD,
        epsilon_second=_second(plan, inner),
        epsilon_replace_one=_figure(plan, delta, people=2),
        epsilon_two_sites=_two_sites(plan, delta),
        epsilons=tuple((text, _figure(plan, Decimal(text))) for text in DELTAS),
        leavers=tuple((people, _figure(plan, delta, people=people)) for people in LEAVERS),
        releases=tuple((copies, _figure(plan, delta, copies=copies)) for copies in RELEASES),
        cumulative=tuple(_cumulative(plan, inner)),
    )


def certify_cost(plan: Plan) -> Cost:
    """`cost_of(plan)`, after accountants written by others have agreed with it (`privacy.other_accountants`).

    Seconds, above all for the first call: it loads dp-accounting. To be called before a run and when it is certified.

    Raises:
        InputError: as `cost_of`.
        Refused: if dp-accounting, or for a plan with sampling prv-accountant, finds another epsilon.
    """
    cost = cost_of(plan)
    inner = Decimal(cost.delta) - Decimal(cost.discretization_delta)
    other_accountants.check_agreement(plan, inner, Decimal(cost.epsilon))
    check_second(cost)
    return cost


def check_second(cost: Cost) -> None:
    """See that the two accountants of a cost agree (`accounting.agree`).

    Raises:
        Refused: if they do not.
    """
    if not accounting.agree(Decimal(cost.epsilon), cost.second_accountant, Decimal(cost.epsilon_second)):
        expected = f"{cost.accountant} and {cost.second_accountant} to agree"
        raise Refused(f"epsilon: expected {expected}, got {cost.epsilon} and {cost.epsilon_second}")


def _second(plan: Plan, delta: Decimal) -> str:
    by = accounting.epsilon_by_rdp if plan.sampled else accounting.epsilon_by_loss
    return _text(by(plan, delta))


def _figure(plan: Plan, delta: Decimal, copies: int = 1, people: int = 1) -> str:
    """Epsilon at `delta` of `copies` of the plan for `people` together."""
    try:
        distance = copies * accounting.total_variation(plan)
        rough = accounting.epsilon_of(plan, delta * (1 - Decimal(float(NEGLIGIBLE))), copies, people)
        added = distance * Fraction(1 + math.exp(rough))
        if added <= NEGLIGIBLE * Fraction(delta):
            return _text(accounting.epsilon_of(plan, delta - Decimal(float(added)), copies, people))
        return _text(accounting.epsilon_by_zcdp(copies * people**2 * plan.mu_squared, delta))
    except accounting.TooLarge:
        return TOO_LARGE


def _two_sites(plan: Plan, delta: Decimal) -> str:
    return _figure(plan, delta, people=2) if plan.trust == SECURE_SUM else _figure(plan, delta, copies=2)


def _cumulative(plan: Plan, delta: Decimal) -> Iterator[str]:
    """Epsilon after each release; the delta that the whole plan's discrete noise takes up is taken off each."""
    if not plan.sampled:
        once = (event.mu_squared_once for event in plan.events for _ in range(event.times))
        yield from (_text(accounting.epsilon(spent, delta)) for spent in islice(accumulate(once), MAX_ROUNDS))
        return
    count = min(len(plan.releases), MAX_ROUNDS)
    apart = math.ceil(count / PLACES)
    for start in range(0, count, apart):
        after = min(start + apart, count)
        part = replace(plan, events=accounting.first(plan, after))
        yield from [_text(accounting.epsilon_of(part, delta))] * (after - start)


def _text(value: Decimal) -> str:
    return format(value.quantize(accounting.EPSILON_STEP, rounding=ROUND_CEILING), "f")
