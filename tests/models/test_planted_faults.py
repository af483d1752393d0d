"""Faults planted in what a site releases: each check passes the honest code and fails on the fault it is for.

Checks of what one employee changes are exact: the noise is the same on both sides and cancels. Checks of noise are
statistics, and say how often they err.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.features import FeatureSpace
from models.optimiser import learn
from models.planning import GRADIENT, SECOND_MOMENTS, plan_at_epsilon
from models.pooling import Part
from models.training import SiteSums
from privacy.mechanisms import gaussian_sum
from privacy.plan import DISCRETE, Plan
from privacy.randomness import Integers, NoiseSource, secure_source, seeded_source
from records.minimize import MinimizedRows
from tests.models.spaces import category, number, rows_of, space_of
from tests.privacy.test_randomness import centred, scale_is, unrelated

VALUES = [f"value {n}" for n in range(18)]
SPACE = space_of(number("hours"), *(category(f"column {n}", *VALUES) for n in range(5)))
"""Wide enough for statistics of one run's noise, with a bound R on rows that few come near."""
SITES = ("North", "South")
PEOPLE_AT_MOST = {"North": 500, "South": 200}
Vector = NDArray[np.float64]
Contribute = Callable[[FeatureSpace, Plan, MinimizedRows, str, Vector | None], Integers]
"""The exact sum of an event that a site would release of these rows, at these weights."""


def plan_of(people: Mapping[str, int] = PEOPLE_AT_MOST) -> Plan:
    return plan_at_epsilon(SPACE, people, "retention", Decimal(1), Decimal("0.00001"), "local")


def people(count: int, seed: int = 0) -> MinimizedRows:
    random = np.random.default_rng(seed)
    cells = {f"column {n}": random.integers(0, 18, count) for n in range(5)}
    return rows_of({"hours": random.uniform(0, 10, count), **cells}, random.random(count) < 0.3)


def joined(rows: MinimizedRows, label: float, hours: float = 10.0, many: int = 1) -> MinimizedRows:
    """The rows and one more employee, with `many` rows at the corner of the space."""
    cells = {name: np.concatenate([codes, np.full(many, 17)]) for name, codes in rows.codes.items()}
    numbers = {"hours": np.concatenate([rows.numbers["hours"], np.full(many, hours)])}
    newcomer = np.full(many, rows.employee.max() + 1)
    labels = np.concatenate([rows.label, np.full(many, label)])
    return rows_of({**numbers, **cells}, labels, np.concatenate([rows.employee, newcomer]))


def honest(space: FeatureSpace, plan: Plan, rows: MinimizedRows, event: str, weights: Vector | None) -> Integers:
    sums = SiteSums(space, rows, float(plan.clip))
    return sums.second_moments() if weights is None else sums.gradient(weights)


# --- what one employee changes -----------------------------------------------------------------------------


def states() -> Iterator[tuple[str, Vector | None]]:
    """What a site may be asked: moments, and gradients where people are predicted one half, or surely one of two."""
    yield SECOND_MOMENTS, None
    for sure in (0.0, 8.0, -8.0):
        weights = np.zeros(SPACE.width)
        weights[0] = sure
        yield GRADIENT, weights


def one_employee_moves_it_within_the_sensitivity(contribute: Contribute) -> bool:
    """Whether an outlier who joins moves what leaves by at most the plan's sensitivity, in exact integers."""
    plan, rows = plan_of(), people(60)
    for event, weights in states():
        moved = plan.event(event)
        for more in (joined(rows, 0.0), joined(rows, 1.0), joined(rows, 1.0, hours=0.0, many=7)):
            leaves = [
                gaussian_sum(moved, contribute(SPACE, plan, either, event, weights), seeded_source(1), b"release")
                for either in (rows, more)
            ]
            if sum((int(a) - int(b)) ** 2 for a, b in zip(*leaves, strict=True)) > moved.sensitivity**2:
                return False
    return True


def without_clip(space: FeatureSpace, plan: Plan, rows: MinimizedRows, event: str, weights: Vector | None) -> Integers:
    sums = SiteSums(space, rows, 2.0**20)
    return sums.second_moments() if weights is None else sums.gradient(weights)


def divided_by_true_count(
    space: FeatureSpace, plan: Plan, rows: MinimizedRows, event: str, weights: Vector | None
) -> Integers:
    """The mean, scaled by the public bound: at a full site it is the sum, and all of it depends on the count."""
    exact = honest(space, plan, rows, event, weights).astype(np.float64)
    return np.rint(exact / len(np.unique(rows.employee)) * PEOPLE_AT_MOST["North"]).astype(np.int64)


def clipped_by_row(
    space: FeatureSpace, plan: Plan, rows: MinimizedRows, event: str, weights: Vector | None
) -> Integers:
    """Every row an employee of its own."""
    return honest(space, plan, replace(rows, employee=np.arange(len(rows.employee))), event, weights)


def standardised_on_site(
    space: FeatureSpace, plan: Plan, rows: MinimizedRows, event: str, weights: Vector | None
) -> Integers:
    """Hours brought to the site's own range, as a scaler fitted on the site would."""
    hours = rows.numbers["hours"] * (5.0 / rows.numbers["hours"].max())
    return honest(space, plan, replace(rows, numbers={"hours": hours}), event, weights)


def test_no_employee_moves_what_leaves_by_more_than_the_sensitivity() -> None:
    assert one_employee_moves_it_within_the_sensitivity(honest)


@pytest.mark.parametrize("planted", [without_clip, divided_by_true_count, clipped_by_row, standardised_on_site])
def test_a_fault_by_which_one_employee_moves_more_is_caught(planted: Contribute) -> None:
    assert not one_employee_moves_it_within_the_sensitivity(planted)


# --- noise over a whole run --------------------------------------------------------------------------------

Noises = Mapping[tuple[str, str, int], Integers]


def noise_of_a_run(sources: Mapping[str, NoiseSource], label: str = "{site}/{event}/{index}") -> tuple[Plan, Noises]:
    """What is left of a run's releases when the exact sums are taken away."""
    plan, found = plan_of(), {}
    sums = {site: SiteSums(SPACE, people(80, seed), float(plan.clip)) for seed, site in enumerate(SITES)}

    def ask(event: str, index: int, weights: Vector | None) -> list[Part]:
        answers = []
        for site in SITES:
            exact = sums[site].second_moments() if weights is None else sums[site].gradient(weights)
            named = label.format(site=site, event=event, index=index).encode()
            answers.append(Part((site,), gaussian_sum(plan.event(event), exact, sources[site], named)))
            found[site, event, index] = answers[-1].sum - exact
        return answers

    learn(plan, SPACE, ask)
    return plan, found


def right_scale(plan: Plan, noises: Noises) -> bool:
    """Chi-square on the variance and a test of the mean, over all draws of a run in units of their plan's deviation.

    n is about 12,500. A right source fails with probability below 1e-8; by `scale_is`, whose statistic's deviation is
    1.3 % of n, a scale off by 10 % passes with probability Phi(-7) < 1e-11.
    """
    draws = np.concatenate([noise / plan.event(event).noise for (_, event, _), noise in noises.items()])
    assert len(draws) > 10_000
    return scale_is(draws, 1.0) and centred(draws, 1.0)


def fresh(noises: Noises) -> bool:
    """Whether no two releases of a run, of one site or two, share noise: every pair's correlation below 6/sqrt(n).

    n is at least 90 (a gradient), and there are some 300 pairs: right sources fail with probability below 1e-6.
    Noise used twice has correlation 1 and is caught with certainty; moments and gradients are compared where both are.
    """
    return all(unrelated(one[: len(other)], other[: len(one)]) for one, other in combinations(list(noises.values()), 2))


def sources_of(make: Callable[[], NoiseSource]) -> Mapping[str, NoiseSource]:
    return {site: make() for site in SITES}


@dataclass(frozen=True)
class Scaled:
    """A planted fault: noise of another deviation than was asked for."""

    factor: float
    name: str = "scaled"
    mechanism: str = DISCRETE

    def gaussian(self, size: int, deviation: int, label: bytes) -> Integers:
        return secure_source().gaussian(size, round(self.factor * deviation), label)


@dataclass(frozen=True)
class Kept:
    """A planted fault: noise drawn once for each length, and given again."""

    name: str = "kept"
    mechanism: str = DISCRETE
    drawn: dict[int, Integers] = field(default_factory=dict)

    def gaussian(self, size: int, deviation: int, label: bytes) -> Integers:
        if size not in self.drawn:
            self.drawn[size] = secure_source().gaussian(size, deviation, label)
        return self.drawn[size]


def test_a_runs_noise_has_the_plans_scale_and_is_fresh_at_every_release_and_site() -> None:
    plan, noises = noise_of_a_run(sources_of(secure_source))
    assert len(noises) == 2 * sum(event.times for event in plan.events)
    assert right_scale(plan, noises)
    assert fresh(noises)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_scale_off_by_a_tenth_in_a_run_is_caught(factor: float) -> None:
    assert not right_scale(*noise_of_a_run(sources_of(lambda: Scaled(factor))))


def test_one_site_of_two_with_half_of_the_noise_is_caught() -> None:
    assert not right_scale(*noise_of_a_run({"North": secure_source(), "South": Scaled(0.5)}))


def test_noise_drawn_once_for_all_rounds_is_caught() -> None:
    plan, noises = noise_of_a_run(sources_of(Kept))
    assert right_scale(plan, noises), "its scale alone does not give it away"
    assert not fresh(noises)


def test_two_sites_with_the_same_noise_are_caught() -> None:
    shared = seeded_source(1)
    assert fresh(noise_of_a_run({site: shared for site in SITES})[1]), "different labels are different noise"
    assert not fresh(noise_of_a_run({site: shared for site in SITES}, "{event}/{index}")[1])


def test_one_label_for_all_releases_is_no_danger_with_the_systems_source() -> None:
    assert fresh(noise_of_a_run(sources_of(secure_source), "same")[1])
    assert not fresh(noise_of_a_run(sources_of(lambda: seeded_source(1)), "same")[1])


# --- what the coordinator does with it ---------------------------------------------------------------------


def asked_for(plan: Plan) -> list[bytes]:
    """The weights at which a coordinator asks, given the same releases whatever the plan."""
    random, asked = np.random.default_rng(3), []

    def ask(event: str, index: int, weights: Vector | None) -> list[Part]:
        asked.append(b"" if weights is None else weights.tobytes())
        length, size = plan.event(event).coordinates, 2.0 ** plan.event(event).grid
        return [Part((site,), np.rint(random.normal(0, 20 * size, length)).astype(np.int64)) for site in SITES]

    learn(plan, SPACE, ask)
    return asked


def nothing_but_releases_moves_the_requests(plan_for: Callable[[Mapping[str, MinimizedRows]], Plan]) -> bool:
    """Whether an employee who joins changes no request, once the releases are held fixed."""
    rows = {site: people(80, seed) for seed, site in enumerate(SITES)}
    more = {**rows, "South": joined(rows["South"], 1.0)}
    return asked_for(plan_for(rows)) == asked_for(plan_for(more))


def test_what_a_coordinator_asks_depends_on_releases_and_public_bounds_alone() -> None:
    assert nothing_but_releases_moves_the_requests(lambda _: plan_of())


def test_sites_weighed_by_their_true_head_counts_are_caught() -> None:
    def planted(rows: Mapping[str, MinimizedRows]) -> Plan:
        return plan_of({site: len(np.unique(one.employee)) for site, one in rows.items()})

    assert not nothing_but_releases_moves_the_requests(planted)


def test_the_outlier_of_these_tests_is_one() -> None:
    """Its row reaches the bound R, and its gradient the clip: a check with a meek newcomer would show nothing."""
    plan, rows = plan_of(), people(60)
    weights = np.zeros(SPACE.width)
    weights[0] = 8.0
    one, other = (honest(SPACE, plan, either, GRADIENT, weights) for either in (rows, joined(rows, 0.0)))
    moved = math.sqrt(sum((int(a) - int(b)) ** 2 for a, b in zip(one, other, strict=True)))
    assert moved > 0.99 * plan.event(GRADIENT).sensitivity
