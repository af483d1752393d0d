"""The public rule that turns a feature space, head-count bounds and a budget into a plan. No data enters it.

Second moments once, then ROUNDS gradient sums at the current weights, then the measures that were asked for, each once
and at the final weights (`models.measures`). Every measure takes MEASURE_SHARE of the run's mu², so that the epsilon
asked for covers all that leaves; moments and gradients divide the rest between them.

The clip is half of the public bound R on a row's norm: residuals are seldom above one half, and half the clip is half
the noise. Both choices, and the split between moments and gradients, were made on ds_jobchange, hr_comma_sep and
ibm_attrition together (docs/adr/0004) and are fixed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.features import GRID, LINEAR, LOGISTIC, FeatureSpace
from privacy.accounting import mu_squared_for
from privacy.errors import InputError
from privacy.plan import SECURE_SUM, TRUSTS, GaussianSum, Plan, SiteBound

ROUNDS: Final = 12
MOMENTS_SHARE: Final = Fraction(1, 4)
"""Share of mu² spent on the second moments."""
KEPT_BACK: Final = Fraction(2, 10**6)
"""Share of mu² kept back under an epsilon: epsilon is stated rounded up, and with what discrete noise adds to delta."""
CLIP_SHARE: Final = {LOGISTIC: 0.5, LINEAR: 0.25}
"""The gradient clip as a share of the public row norm R, by link."""
RESIDUAL_GRID: Final = 18
GRADIENT_GRID: Final = GRID + RESIDUAL_GRID
MOMENTS_GRID: Final = 2 * GRID + 12
"""Finer than the sums themselves: discrete noise is then nearer to the closed form's."""
LARGEST_WEIGHT: Final = 256.0
"""States beyond this are refused: they serve no model, and an overflow in one row would undo the clip."""
WEIGHT_STEP: Final = 2.0**-24
"""Scores are computed from weights on this grid. They are then sums of at most R² <= 2001 features of 2**-10 times such
weights, below 2**53 of their steps: exact in float64, in any order."""

SECOND_MOMENTS: Final = "second-moments"
GRADIENT: Final = "gradient"
TRAINING: Final = (SECOND_MOMENTS, GRADIENT)
"""The events of every plan, in order; measures follow."""

EVALUATION: Final = "evaluation"
HEAD_COUNT: Final = "head-count"
FAIRNESS: Final = "fairness-"
"""Followed by the name of a trait of the vault, e.g. "fairness-sex"."""
MEASURE_SHARE: Final = Fraction(1, 20)
"""Share of the run's mu² spent on each measure."""
MEASURE_GRID: Final = 20
"""One employee is 2**20 steps: shares of several rows lose at most a millionth to truncation for each row."""
SCORE_BINS: Final = 8
"""Bins of the evaluation: more would lose less to ties and take noise in proportion to their root."""
SIDES: Final = 2
"""Labels, and decisions."""


@dataclass(frozen=True)
class Shape:
    """What a feature space fixes about a released sum: all but how often and with how much noise."""

    name: str
    coordinates: int
    grid: int
    sensitivity: int

    @classmethod
    def of(cls, event: GaussianSum) -> Shape:
        """The shape of a plan's event."""
        return cls(event.name, event.coordinates, event.grid, event.sensitivity)


def measures_offered(space: FeatureSpace) -> tuple[str, ...]:
    """Every measure that a plan over this space may hold, in the order in which plans hold them.

    All but the head-count set scores against labels of two sides; where the label is a number they are not offered.
    """
    if space.link != LOGISTIC:
        return (HEAD_COUNT,)
    return (EVALUATION, HEAD_COUNT, *(FAIRNESS + trait for trait in traits()))


def traits() -> Mapping[str, tuple[str, ...]]:
    """The vault's traits with their values, as the packaged registry declares them in public."""
    from records.registry import VAULT, load_registry  # a store's schema, which no plan without such a measure needs

    columns = load_registry().columns.values()
    return {column.field: column.values for column in columns if column.table == VAULT and column.values}


def mechanism(space: FeatureSpace, measures: Sequence[str] = ()) -> tuple[Shape, ...]:
    """The sums of a plan with these measures, in order: what a site is prepared to release, and nothing else.

    Second moments and gradients always; then each measure, an integer histogram over employees that one of them
    moves by at most one whole in L2 (`models.measures`).

    Raises:
        InputError: for a measure that is not offered over this space, one twice, or another order.
    """
    offered = measures_offered(space)
    if list(measures) != [name for name in offered if name in measures]:
        raise InputError(f"measures: expected some of {', '.join(offered)}, each once, in this order, got otherwise")
    pairs = space.width * (space.width + 1) // 2
    sensitivity = gradient_sensitivity(gradient_clip(space))
    return (
        Shape(SECOND_MOMENTS, pairs, MOMENTS_GRID, moments_sensitivity(space)),
        Shape(GRADIENT, space.width, GRADIENT_GRID, sensitivity),
        *(Shape(name, _cells(name), MEASURE_GRID, 2**MEASURE_GRID) for name in measures),
    )


def make_plan(
    space: FeatureSpace,
    people_at_most: Mapping[str, int],
    use_case: str,
    mu_squared: Fraction,
    delta: Decimal,
    trust: str,
    rounds: int = ROUNDS,
    measures: Sequence[str] = (),
) -> Plan:
    """The plan of one run that costs each employee at most `mu_squared`.

    Args:
        space: the public feature space.
        people_at_most: declared public head-count bound of each site.
        use_case: the purpose.
        mu_squared: budget of the run for every employee.
        delta: where epsilon will be stated.
        trust: "local", or "secure-sum": the noise is then shared, as `sharing` says.
        rounds: gradient sums; the public rule's number unless something is being tested.
        measures: names out of `measures_offered`, in any order.

    Raises:
        InputError: for no site, an unknown trust, a secure sum of fewer than three sites, a budget of zero, or a
            measure that is unknown or named twice.
    """
    replies_at_least, colluding = sharing(len(people_at_most), trust)
    if mu_squared <= 0:
        raise InputError("budget: expected mu² above 0, got none")
    offered = measures_offered(space)
    unknown = [name for name in measures if name not in offered]
    if unknown:
        raise InputError(f"measures: expected some of {', '.join(offered)}, got {unknown[0]!r:.60}")
    shapes = mechanism(space, sorted(measures, key=offered.index))
    costs = {name: mu_squared * share for name, share in shares(measures).items()}
    events = tuple(
        GaussianSum(
            name=shape.name,
            times=times,
            coordinates=shape.coordinates,
            grid=shape.grid,
            sensitivity=shape.sensitivity,
            noise=_noise(shape.sensitivity, times, costs[shape.name]),
        )
        for shape in shapes
        for times in (rounds if shape.name == GRADIENT else 1,)
    )
    return Plan(
        use_case=use_case,
        features=space.digest,
        trust=trust,
        delta=str(delta),
        clip=str(gradient_clip(space)),
        sites=tuple(SiteBound(name, people_at_most[name]) for name in sorted(people_at_most)),
        events=events,
        replies_at_least=replies_at_least,
        colluding=colluding,
    )


def shares(measures: Sequence[str]) -> Mapping[str, Fraction]:
    """Share of a run's mu² by event: MEASURE_SHARE for each measure, MOMENTS_SHARE of the rest for the moments."""
    rest = 1 - len(measures) * MEASURE_SHARE
    training = {SECOND_MOMENTS: rest * MOMENTS_SHARE, GRADIENT: rest * (1 - MOMENTS_SHARE)}
    return training | dict.fromkeys(measures, MEASURE_SHARE)


def sharing(sites: int, trust: str) -> tuple[int, int]:
    """The public rule for who must reply and who may collude: two thirds of the sites and one, and a tenth of them.

    With n sites, t = 2n/3 + 1 replies and c < n/3 colluding sites, 2t > n + c: a coordinator that lies about who
    replied learns no other sum (Bonawitz et al. 2017, Thm. 6.5). More colluding sites take more noise from each: the
    shares of t - c sites are to protect everybody.

    Returns:
        (replies_at_least, colluding) of a plan.

    Raises:
        InputError: for an unknown trust.
    """
    if trust not in TRUSTS:
        raise InputError(f"trust: expected one of {', '.join(TRUSTS)}, got {trust!r:.40}")
    return sites * 2 // 3 + 1, max(1, sites // 10) if trust == SECURE_SUM else 0


def plan_at_epsilon(
    space: FeatureSpace,
    people_at_most: Mapping[str, int],
    use_case: str,
    epsilon: Decimal,
    delta: Decimal,
    trust: str,
    rounds: int = ROUNDS,
    measures: Sequence[str] = (),
) -> Plan:
    """The plan whose stated epsilon at `delta` is at most `epsilon`; else as `make_plan`."""
    budget = mu_squared_for(epsilon, delta) * (1 - KEPT_BACK)
    return make_plan(space, people_at_most, use_case, budget, delta, trust, rounds, measures)


def gradient_clip(space: FeatureSpace) -> Decimal:
    """The public rule's clip, as a decimal of 6 places."""
    return Decimal(f"{CLIP_SHARE[space.link] * space.radius:.6f}")


def gradient_sensitivity(clip: Decimal) -> int:
    """Steps by which one employee can move the gradient sum: the clip on its grid, rounded up."""
    return math.ceil(Fraction(clip) * 2**GRADIENT_GRID)


def moments_sensitivity(space: FeatureSpace) -> int:
    """Steps by which one employee can move the second moments' upper triangle: sqrt((R⁴ + R²) / 2), rounded up."""
    squared = space.squared_radius
    return math.isqrt((squared * squared + squared) * 2 ** (2 * MOMENTS_GRID) // 2) + 1


def upper_triangle(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """(d(d+1)/2,) entries on and above the diagonal, row by row."""
    return matrix[np.triu_indices(len(matrix))]


def from_upper_triangle(entries: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """The symmetric (d, d) matrix with these entries on and above its diagonal."""
    matrix = np.zeros((width, width))
    matrix[np.triu_indices(width)] = entries
    return matrix + np.triu(matrix, 1).T


def _cells(measure: str) -> int:
    """Coordinates of a measure's histogram."""
    if measure == HEAD_COUNT:
        return 1
    if measure == EVALUATION:
        return SCORE_BINS * SIDES
    return len(traits()[measure.removeprefix(FAIRNESS)]) * SIDES * SIDES


def _noise(sensitivity: int, times: int, mu_squared: Fraction) -> int:
    """Smallest whole deviation, in steps, for which `times` releases cost at most `mu_squared`."""
    return math.isqrt(math.ceil(times * sensitivity * sensitivity / mu_squared)) + 1
