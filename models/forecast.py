"""What a plan can be expected to learn, before a run: a public rule, and no record is read.

The same plan is run, as `models.evaluation` runs it, on made-up people (`models.planted_twin`): as many as the public
bounds on head counts say, with a planted effect of stated strength, at all sites together and at each site alone. So a
forecast costs no privacy, and everybody gets the same one from the same contract and budget: seeds are fixed, and the
noise is a seeded source's.

What is left out, and how it is made up for:
    many people    at most MOST_ROWS are drawn. People, bounds and noise are then scaled by one factor, which keeps the
                   signal to the noise as it is; the chance of who is drawn weighs more than it would.
    many sites     beyond MOST_SITES they are put together, alike with alike in size, with as much noise as all of
                   their own together.
    secure-sum     the sum of the sites put together has the noise that the shares of all sites have together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final, TypeVar

import numpy as np

from models.evaluation import fit_noisy, fit_pooled
from models.features import GRID, LOGISTIC, FeatureSpace
from models.planning import TRAINING, sharing
from models.planted_twin import PlantedTwin
from models.training import SiteSums
from privacy.accounting import mu_squared_for
from privacy.errors import InputError
from privacy.plan import LOCAL, MIN_SECURE_SITES, SECURE_SUM, Plan, SiteBound
from privacy.randomness import seeded_source

USEFUL: Final = 0.5
"""Share of what there is to know (the AUC above one half, or the variance explained) that a useful model recovers.
Below one half more is lost than learned: most of how it ranks two people is then noise, and somebody is treated by
it."""
LEAST_KNOWN: Final = 1e-3
"""Where the best possible model is no better than chance by this much, there is nothing to know."""
SEEDS: Final = 3
SEEDS_FOR_FEW: Final = 10
FEW: Final = 3_000
"""With so few people a figure depends more on who was drawn, and takes less time: more groups are made up."""
MOST_ROWS: Final = 12_000
MOST_ROWS_ALONE: Final = 5_000
MOST_CELLS: Final = 1_500_000
"""Rows times coordinates of a run: keeps a forecast to seconds and some hundred MiB."""
MOST_SITES: Final = 10
EPSILONS: Final = ("0.1", "0.2", "0.3", "0.5", "1", "1.5", "2", "3", "4", "6", "8", "10")
"""Budgets that are tried where a plan learns nothing useful. Beyond 10 a guarantee says little."""
TIMES_PEOPLE: Final = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)

Progress = Callable[[str], None]
Size = tuple[int, int]
"""A site's people and the public bound on them."""
Candidate = TypeVar("Candidate")


@dataclass(frozen=True, slots=True)
class Forecast:
    """Expected figures, each a mean over some made-up groups: AUC, or R² for a number.

    Attributes:
        metric: "AUC" or "R²".
        chance: of a model that tells nothing.
        best: of the best possible model, as planted: `planted_twin.BEST_AUC` or `BEST_R2`, where columns can tell it.
        without_privacy: of a pooled model without noise.
        federated: of the group's model.
        spread: standard deviation of `federated` over the made-up groups.
        alone: by site, of a model from its own people at the same budget.
        notes: what was left out.
    """

    metric: str
    chance: float
    best: float
    without_privacy: float
    federated: float
    spread: float
    alone: Mapping[str, float]
    notes: tuple[str, ...]

    def recovered(self, figure: float) -> float:
        """Share of what there is to know, at least 0, that a model of this figure has."""
        known = self.best - self.chance
        return max(0.0, (figure - self.chance) / known) if known > LEAST_KNOWN else 0.0

    def is_useful(self, figure: float) -> bool:
        """Whether a model of this figure recovers at least the share USEFUL."""
        return self.recovered(figure) >= USEFUL  # as `useful_from` has it, but for a table that tells nothing

    @property
    def useful_from(self) -> float:
        """The smallest useful figure."""
        return self.chance + USEFUL * (self.best - self.chance)


@dataclass(frozen=True, slots=True)
class Help:
    """What would make a plan useful, each alone; None where nothing that was tried does.

    Attributes:
        epsilon: the smallest of EPSILONS at which it is useful.
        people: of all sites together, about, at the plan's own budget.
        masks: whether adding up under masks would do, with as many sites as there are.
    """

    epsilon: str | None
    people: int | None
    masks: bool


def forecast(
    space: FeatureSpace,
    plan: Plan,
    people: Mapping[str, int] | None = None,
    progress: Progress = lambda _: None,
) -> Forecast:
    """What `plan` is expected to learn.

    Args:
        space: the plan's public feature space.
        plan: its sites' bounds are what the coordinator weighs by.
        people: stated head counts of some sites, public ones; else a site has as many as its bound.
        progress: told in a few words what is being done.

    Raises:
        InputError: for a head count of a site that the plan has not, or not from 1 to the site's bound.
    """
    sizes = _head_counts(plan, people)
    together = _Together.of(space, plan, sizes, plan.trust, MOST_ROWS)
    federated, pooled, best = [], [], []
    alone: dict[Size, list[float]] = {size: [] for size in _representatives(sizes.values())}
    seeds = _seeds(sizes)
    for seed in seeds:
        progress(f"made-up group {seed + 1} of {len(seeds)}")
        twin = PlantedTwin(space, seed)
        federated.append(together.noisy(twin, seed))
        pooled.append(together.without_privacy(twin))
        best.append(twin.best)
        for size, figures in alone.items():
            site = _Together.of(space, plan, {"": size}, LOCAL, MOST_ROWS_ALONE)
            figures.append(federated[-1] if len(sizes) == 1 else site.noisy(twin, seed))
    means = {size: float(np.mean(figures)) for size, figures in alone.items()}
    return Forecast(
        metric="AUC" if space.link == LOGISTIC else "R²",
        chance=_chance(space),
        best=float(np.mean(best)),
        without_privacy=float(np.mean(pooled)),
        federated=float(np.mean(federated)),
        spread=float(np.std(federated, ddof=1)),
        alone={name: means[_nearest(size, means)] for name, size in sizes.items()},
        notes=(*together.notes, *_note_on_alone(len(alone), len(set(sizes.values())))),
    )


def what_would_help(
    space: FeatureSpace,
    plan: Plan,
    epsilon: Decimal,
    people: Mapping[str, int] | None = None,
    progress: Progress = lambda _: None,
) -> Help:
    """Which larger budget, how many people, or whether masks would make a plan useful, by the same simulation.

    `epsilon` is what the plan was made for.

    Raises:
        InputError: as `forecast`.
    """
    sizes = _head_counts(plan, people)
    twins = [PlantedTwin(space, seed) for seed in _seeds(sizes)]
    chance = _chance(space)
    wanted = chance + USEFUL * (float(np.mean([twin.best for twin in twins])) - chance)

    def useful(noise: float = 1.0, times: int = 1, under: str = plan.trust) -> bool:
        grown = {name: (size * times, bound * times) for name, (size, bound) in sizes.items()}
        together = _Together.of(space, _with_noise(plan, noise), grown, under, MOST_ROWS)
        return float(np.mean([together.noisy(twin, seed) for seed, twin in enumerate(twins)])) >= wanted

    delta = Decimal(plan.delta)
    larger = [text for text in EPSILONS if Decimal(text) > epsilon]
    asked = mu_squared_for(epsilon, delta)
    noises = {text: math.sqrt(asked / mu_squared_for(Decimal(text), delta)) for text in larger}
    progress("which budget would do")
    budget = _first(larger, lambda text: useful(noise=noises[text]))
    progress("how many people would do")
    times = _first(TIMES_PEOPLE, lambda times: useful(times=times))
    progress("whether masks would do")
    masks = plan.trust == LOCAL and len(sizes) >= MIN_SECURE_SITES and useful(under=SECURE_SUM)
    return Help(budget, None if times is None else times * sum(size for size, _ in sizes.values()), masks)


@dataclass(frozen=True)
class _Together:
    """A plan over made-up sites "0", "1", …, at a size that takes seconds."""

    space: FeatureSpace
    plan: Plan
    people: tuple[int, ...]
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        space: FeatureSpace,
        plan: Plan,
        sizes: Mapping[str, Size],
        trust: str,
        most_rows: int,
    ) -> _Together:
        """The plan over sites of these (people, bound), put together and scaled where they are many."""
        notes = []
        ordered = sorted(sizes.values())
        count = min(len(ordered), MOST_SITES)
        parts = [ordered[part[0] : part[-1] + 1] for part in np.array_split(np.arange(len(ordered)), count)]
        if count < len(ordered):
            notes.append(f"{len(ordered)} sites were put together to {count}")
        noise = math.sqrt(len(ordered) / count)
        if trust == SECURE_SUM:  # of one site: its share in the plan, over its share among those put together
            noise *= math.sqrt(_shares(count) / _shares(len(ordered)))
        people = [sum(size for size, _ in part) for part in parts]
        bounds = [sum(bound for _, bound in part) for part in parts]
        rows = max(count, min(most_rows, MOST_CELLS // space.width))
        scale = min(1.0, rows / sum(people))
        if scale < 1:
            notes.append(f"{sum(people):,} people were scaled to about {rows:,}, and the noise with them")
        sites = [SiteBound(f"{n:02}", max(1, round(bound * scale))) for n, bound in enumerate(bounds)]
        replies, colluding = sharing(count, trust)
        scaled = replace(
            _with_noise(plan, noise * scale),
            trust=trust,
            sites=tuple(sites),
            replies_at_least=replies,
            colluding=colluding,
        )
        return cls(space, scaled, tuple(max(1, round(size * scale)) for size in people), tuple(notes))

    def without_privacy(self, twin: PlantedTwin) -> float:
        """Figure of a pooled model without noise."""
        people = twin.people(self.people).rows
        weights = fit_pooled(self.space, self.space.design(people), people.label)
        return twin.figure(twin.design @ weights / 2.0**GRID)

    def noisy(self, twin: PlantedTwin, seed: int) -> float:
        """Figure of the group's model under the plan's noise."""
        people = twin.people(self.people).rows
        sums = {
            name: SiteSums(self.space, people.take(people.site == n), float(self.plan.clip))
            for n, name in enumerate(people.site_names)
        }
        fit = fit_noisy(self.plan, self.space, sums, seeded_source(seed))
        return twin.figure(fit.shared.scores(twin.design))


def _shares(sites: int) -> int:
    """Sites whose shares of noise make up the whole, of so many that add up."""
    replies, colluding = sharing(sites, SECURE_SUM)
    return replies - colluding


def _seeds(sizes: Mapping[str, Size]) -> range:
    return range(SEEDS_FOR_FEW if sum(size for size, _ in sizes.values()) <= FEW else SEEDS)


def _chance(space: FeatureSpace) -> float:
    """Figure of a model that tells nothing."""
    return 0.5 if space.link == LOGISTIC else 0.0


def _note_on_alone(tried: int, sizes: int) -> tuple[str, ...]:
    return () if tried == sizes else (f"{tried} of {sizes} sizes of sites were tried alone; others are as the nearest",)


def _with_noise(plan: Plan, factor: float) -> Plan:
    """The plan's training events at so much of their noise; its measures teach nothing."""
    training = [event for event in plan.events if event.name in TRAINING]
    return replace(plan, events=tuple(replace(one, noise=max(1, round(one.noise * factor))) for one in training))


def _head_counts(plan: Plan, people: Mapping[str, int] | None) -> dict[str, Size]:
    """Of each site: people and bound."""
    sizes = {site.name: (site.people_at_most, site.people_at_most) for site in plan.sites}
    for name, stated in (people or {}).items():
        if name not in sizes:
            raise InputError(f"people: expected one of the plan's sites, got {name!r:.80}")
        bound = sizes[name][1]
        if not 1 <= stated <= bound:
            raise InputError(f"people of {name!r:.80}: expected 1 to its public bound {bound}, got {stated}")
        sizes[name] = stated, bound
    return sizes


def _representatives(sizes: Collection[Size]) -> list[Size]:
    """At most MOST_SITES of the different sizes, from the smallest to the largest."""
    different = sorted(set(sizes))
    places = np.linspace(0, len(different) - 1, min(MOST_SITES, len(different)))
    return [different[round(place)] for place in places]


def _nearest(size: Size, among: Collection[Size]) -> Size:
    """The one whose head count is the nearest as a ratio."""
    return min(among, key=lambda other: (abs(math.log(other[0] / size[0])), other))


def _first(candidates: Sequence[Candidate], works: Callable[[Candidate], bool]) -> Candidate | None:
    """The first candidate that works, where all after one that works do; found by halving."""
    low, high = 0, len(candidates)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if works(candidates[middle]) else (middle + 1, high)
    return candidates[low] if low < len(candidates) else None
