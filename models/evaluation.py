"""What federation would give on a table at a budget, measured on held-out people.

Per seed, a share of every site's people is held out (whole employees; copies of one row stay on one side) and four
models are fitted to the others: the federated one, each site's personal one, each site's alone at the same budget,
and all rows pooled without privacy. Noise comes from the source passed in; seeds only choose the split. Nothing is
tuned on the held-out people, and the figures themselves are computed without noise: they are for whoever may see the
whole table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from models.features import GRID, LOGISTIC, FeatureSpace
from models.optimiser import Fit, learn
from models.planning import plan_at_epsilon
from models.pooling import Part
from models.training import SiteSums
from privacy.errors import InputError
from privacy.mechanisms import gaussian_sum
from privacy.plan import LOCAL, GaussianSum, Plan
from privacy.randomness import NoiseSource
from records.contract import Contract
from records.minimize import MinimizedRows

HELD_OUT: Final = 0.25
"""Share of every site's people that models are measured on, unless another is asked for."""
MODELS: Final = ("federated", "personal", "local_only", "pooled")
POOLED_PRIOR: Final = 1.0
"""Prior variance of a weight in the pooled model without privacy."""
NEWTON_STEPS: Final = 25

Vector = NDArray[np.float64]
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Predictions:
    """Scores of one seed's held-out rows; arrays of equal length, scores by model name."""

    seed: int
    row: NDArray[np.int64]
    site: NDArray[np.int64]
    label: Vector
    raw_label: Vector
    scores: Mapping[str, Vector]


@dataclass(frozen=True)
class Figures:
    """One model's figures on one seed: AUC for a 0/1 label, mean squared error of the scaled label for a number.

    `within` is the mean over sites, weighed by pairs of unlike labels (AUC) or rows (error); NaN where no site has
    both labels.
    """

    overall: float
    within: float
    sites: Mapping[str, float]


@dataclass(frozen=True)
class Evaluation:
    """All seeds' predictions and figures, with the plan they were made under.

    Attributes:
        site_names: sites that take part.
        all_names: every site of the contract; `Predictions.site` are positions in it.
        people: of each site that takes part, training and held out.
    """

    plan: Plan
    metric: str
    site_names: tuple[str, ...]
    all_names: tuple[str, ...]
    people: Mapping[str, int]
    predictions: tuple[Predictions, ...]
    figures: tuple[Mapping[str, Figures], ...]

    def mean(self, model: str, which: str = "overall") -> float:
        """Mean over seeds of a model's "overall" or "within" figure."""
        return float(np.mean([getattr(seed[model], which) for seed in self.figures]))

    def spread(self, model: str, which: str = "overall") -> float:
        """Standard deviation over seeds (n - 1); 0 for one seed."""
        values = [getattr(seed[model], which) for seed in self.figures]
        return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0

    def site_mean(self, model: str, site: str) -> float:
        """Mean over seeds of a model's figure at one site; NaN where it has never been defined."""
        values = [seed[model].sites.get(site, float("nan")) for seed in self.figures]
        known = [value for value in values if not np.isnan(value)]
        return float(np.mean(known)) if known else float("nan")


def evaluate(
    contract: Contract,
    rows: MinimizedRows,
    epsilon: Decimal,
    delta: Decimal,
    trust: str,
    seeds: Sequence[int],
    noise: NoiseSource,
    min_site: int = 1,
    progress: Progress = lambda _: None,
    share: float = HELD_OUT,
) -> Evaluation:
    """Fit and score all four models for each seed.

    Args:
        contract: what the columns are; its declared head-count bounds are the plan's.
        rows: the whole table, minimized.
        epsilon: budget of the run for every employee.
        delta: where epsilon is stated.
        trust: "local", or "secure-sum": the group's model is then of the sum, and the personal ones are the group's.
        seeds: of the splits.
        noise: source of the noise.
        min_site: sites with fewer people are left out.
        progress: told in a few words what is being done.
        share: of every site's people, held out; above 0 and below 1.

    Raises:
        InputError: if no site is large enough, only one label is left, or `share` is none.
    """
    if not 0 < share < 1:
        raise InputError(f"held-out share: expected more than 0 and less than 1, got {share:g}")
    space = FeatureSpace.from_contract(contract)
    rows, people = _large_enough(rows, min_site)
    bounds = {site.name: site.people_at_most for site in contract.site.sites if site.name in people}
    plan = plan_at_epsilon(space, bounds, contract.purpose, epsilon, delta, trust)
    if space.link == LOGISTIC and len(np.unique(rows.label)) < 2:
        raise InputError(f"label {contract.label.column!r}: expected both labels in the table, got one")
    design = space.design(rows)
    predictions = []
    for seed in seeds:

        def told(text: str, seed: int = seed) -> None:
            progress(f"seed {seed}: {text}")

        predictions.append(_one_seed(space, plan, rows, design, held_out(rows, seed, share), seed, noise, told))
    metric = "auc" if space.link == LOGISTIC else "mse"
    figures = tuple({m: figures_of(p, m, rows.site_names, metric) for m in MODELS} for p in predictions)
    return Evaluation(plan, metric, tuple(people), rows.site_names, people, tuple(predictions), figures)


def fit_noisy(plan: Plan, space: FeatureSpace, sums: Mapping[str, SiteSums], noise: NoiseSource) -> Fit:
    """Run the plan's releases over in-memory sites, as a federation would, and return what it learns.

    Under a secure sum the noise of all sites is drawn at once: a discrete Gaussian of the deviation that their shares
    have together, rounded up to a whole step. From the sum of as many shares it is no further than
    `privacy.accounting.total_variation` states, and it takes the time of one site's noise.
    """

    def ask(event: str, index: int, weights: Vector | None) -> Sequence[Part]:
        exact = {
            name: site.second_moments() if weights is None else site.gradient(weights) for name, site in sums.items()
        }
        label = "" if weights is None else f"{index}/"
        if plan.trust == LOCAL:
            return [
                Part((name,), gaussian_sum(plan.event(event), own, noise, f"{label}{name}".encode()))
                for name, own in exact.items()
            ]
        total = np.sum(list(exact.values()), axis=0)
        return [Part(tuple(exact), gaussian_sum(added_up(plan, event, len(exact)), total, noise, label.encode()))]

    return learn(plan, space, ask)


def added_up(plan: Plan, event: str, sites: int) -> GaussianSum:
    """The plan's event as `sites` that add up release it: with the noise of all their shares, rounded up."""
    share = plan.at_site(plan.event(event)).noise
    return replace(plan.event(event), noise=math.isqrt(sites * share * share - 1) + 1)


def fit_pooled(space: FeatureSpace, design: NDArray[np.int64], label: Vector) -> Vector:
    """(d,) weights of the same model on all rows, without privacy: Newton's method under a N(0, 1) prior."""
    rows = design / 2.0**GRID
    weights = np.zeros(space.width)
    for _ in range(NEWTON_STEPS if space.link == LOGISTIC else 1):
        scores = rows @ weights
        mean = 1 / (1 + np.exp(-scores)) if space.link == LOGISTIC else scores
        curvature = mean * (1 - mean) if space.link == LOGISTIC else np.ones_like(mean)
        hessian = (rows * curvature[:, None]).T @ rows + np.eye(space.width) / POOLED_PRIOR
        step = np.linalg.solve(hessian, rows.T @ (mean - label) + weights / POOLED_PRIOR)
        weights = weights - step
        if np.abs(step).max() < 1e-8:
            break
    return weights


def figures_of(predictions: Predictions, model: str, site_names: Sequence[str], metric: str) -> Figures:
    """A model's figures on one seed."""
    measure = auc if metric == "auc" else mean_squared_error
    scores = predictions.scores[model]
    sites, weights = {}, {}
    for index, name in enumerate(site_names):
        here = predictions.site == index
        if not here.any():
            continue
        label = predictions.label[here]
        sites[name] = measure(label, scores[here])
        weights[name] = float(label.sum() * (1 - label).sum()) if metric == "auc" else float(here.sum())
    known = {name: value for name, value in sites.items() if not np.isnan(value)}
    total = sum(weights[name] for name in known)
    within = sum(known[name] * weights[name] for name in known) / total if total else float("nan")
    return Figures(measure(predictions.label, scores), within, sites)


def auc(label: Vector, score: Vector) -> float:
    """Area under the ROC curve (Mann-Whitney, ties count half); NaN where only one label occurs."""
    positive = label > 0.5
    n1, n0 = int(positive.sum()), int((~positive).sum())
    if not n1 or not n0:
        return float("nan")
    return float((rankdata(score)[positive].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))


def mean_squared_error(label: Vector, score: Vector) -> float:
    """Mean squared difference on the scaled label."""
    return float(np.mean((label - score) ** 2))


def held_out(rows: MinimizedRows, seed: int, share: float = HELD_OUT) -> NDArray[np.bool_]:
    """(n,) whether each row is held out: a share of every site's employees; copies of a row stay together."""
    generator = np.random.default_rng(seed)
    group = _joined(rows.employee, rows.twin)
    mask = np.zeros(len(group), dtype=bool)
    for site in np.unique(rows.site):
        groups = np.unique(group[rows.site == site])
        chosen = generator.permutation(groups)[: round(share * len(groups))]
        mask |= np.isin(group, chosen) & (rows.site == site)
    return mask


def _joined(employee: NDArray[np.int64], twin: NDArray[np.int64]) -> NDArray[np.int64]:
    """Groups that keep every employee whole, and copies together where each row is an employee of its own."""
    return twin if len(np.unique(employee)) == len(employee) else employee


def _one_seed(
    space: FeatureSpace,
    plan: Plan,
    rows: MinimizedRows,
    design: NDArray[np.int64],
    test: NDArray[np.bool_],
    seed: int,
    noise: NoiseSource,
    progress: Progress,
) -> Predictions:
    clip = float(plan.clip)
    names = [site.name for site in plan.sites]
    index = {name: rows.site_names.index(name) for name in names}
    sums = {name: SiteSums(space, rows.take(~test & (rows.site == index[name])), clip) for name in names}
    progress("federated")
    fit = fit_noisy(plan, space, sums, noise)
    scores = {model: np.zeros(int(test.sum())) for model in MODELS}
    scores["federated"] = fit.shared.scores(design[test])
    for done, name in enumerate(names):
        here = rows.site[test] == index[name]
        progress(f"alone, site {done + 1} of {len(names)}")
        alone = fit_noisy(_alone(plan, name), space, {name: sums[name]}, noise)
        scores["personal"][here] = fit.personal[name].scores(design[test][here])
        scores["local_only"][here] = alone.shared.scores(design[test][here])
    progress("pooled, without privacy")
    pooled = fit_pooled(space, design[~test], rows.label[~test])
    scores["pooled"] = design[test] @ pooled / 2.0**GRID
    return Predictions(seed, rows.row[test], rows.site[test], rows.label[test], rows.raw_label[test], scores)


def _alone(plan: Plan, site: str) -> Plan:
    """The plan with one site, which adds all of the noise."""
    only = tuple(bound for bound in plan.sites if bound.name == site)
    return replace(plan, trust=LOCAL, sites=only, replies_at_least=1, colluding=0)


def _large_enough(rows: MinimizedRows, min_site: int) -> tuple[MinimizedRows, dict[str, int]]:
    people = {name: len(np.unique(rows.employee[rows.site == index])) for index, name in enumerate(rows.site_names)}
    kept = {name: n for name, n in people.items() if n >= max(1, min_site)}
    if not kept:
        raise InputError(f"sites: expected at least one with {min_site} people, got none")
    wanted = [rows.site_names.index(name) for name in kept]
    return rows.take(np.isin(rows.site, wanted)), kept
