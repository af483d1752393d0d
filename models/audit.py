"""The empirical audit: many trainings on a made-up twin of a site, and an attacker who looks for one employee.

The twin's people are drawn from the public bounds of the feature space: no record is read, and a site's cost does not
depend on who works there. The canary is the worst case. It has the lowest value of every column, which nobody else
has: its row is as long as a row may be, and most of its coordinates are its own. Its label is the rare one, so its
gradient reaches the clip round after round.

What runs is what a site and a coordinator run: `models.planning`, `models.training.SiteSums`,
`privacy.mechanisms.gaussian_sum` and `models.optimiser.learn`. Only the noise differs: rounded Gaussians from a seeded
source, because exact ones would take hours, and an audit that can be repeated can be checked. How far that is from the
discrete Gaussian is bounded by `privacy.accounting.total_variation` and stated.

Under a secure sum the twin stands for all honest sites: an attacker with colluding sites takes their sums and their
noise off the total, and is left with one sum and the noise of `Plan.noise_shares` sites, which is the event's (or a
little more, each share being rounded up).

Two attacks:
    releases       white box: knows the code, the canary and everybody else, and sees all noisy sums. It takes the
                   others' exact sums off and projects what is left on the canary's contribution, each sum by its
                   noise: the best linear statistic, and the best of all under Gaussian noise. Its bound is stated.
    final model    sees the shared weights alone, and reads the canary's score on the coordinates that are its own.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.audit_faults import fault_of
from models.features import GRID, LOGISTIC, FeatureSpace, NumberFeature
from models.optimiser import learn
from models.planning import SECOND_MOMENTS, plan_at_epsilon
from models.pooling import Part
from models.training import SiteSums
from privacy import canonical
from privacy.audit import FEWEST_RUNS, MOST_RUNS, AuditResult, Scores, attacks_of, runs_for
from privacy.errors import InputError
from privacy.mechanisms import gaussian_sum
from privacy.plan import LOCAL, Plan, SiteBound
from privacy.randomness import seeded_source
from records.contract import Contract
from records.minimize import MinimizedRows

TWIN: Final = "twin"
ATTACKS: Final = ("releases", "final model")
RARE: Final = 0.05
"""Share of the twin's people with label 1, which is the canary's; of a number's range, the part that labels are in."""
ABOVE: Final = 0.3
"""The twin's people are above this share of every range: out of the canary's bins, the widest of which is a quarter."""
PEOPLE: Final = (200, 3000)
PEOPLE_PER_MU: Final = 80
"""The twin has this many people over mu, within PEOPLE: enough for the model to learn through the noise that the
canary's label is rare. With fewer its gradient would fall short of the clip."""
CHUNK: Final = 50
"""Trainings that a worker does at once."""
THREADS: Final = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

Vector = NDArray[np.float64]
Integers = NDArray[np.int64]
Progress = Callable[[int, int], None]
Job = tuple[bytes, bytes, int, str | None]
"""Feature space, plan, seed and fault, as `trainings` takes them."""
Scored = list[tuple[float, ...]]
"""Scores of some runs, one per attack."""


def run_audit(
    contract: Contract,
    use_case: str,
    epsilon: Decimal,
    delta: Decimal,
    trust: str,
    runs: int | None = None,
    seed: int = 0,
    fault: str | None = None,
    progress: Progress = lambda done, of: None,
    workers: int = 2,
) -> AuditResult:
    """Audit the plan that the public rule makes from a contract and a budget, in `workers` processes.

    Raises:
        InputError: for a budget, delta, trust, number of runs or fault that can not be.
    """
    space = FeatureSpace.from_contract(contract)
    bounds = {site.name: site.people_at_most for site in contract.site.sites}
    plan = plan_at_epsilon(space, bounds, use_case, epsilon, delta, trust)
    with worker_pool(workers) as pool:
        return audit_plan(pool, space, plan, runs, seed, fault, progress)


def audit_plan(
    pool: Executor,
    space: FeatureSpace,
    plan: Plan,
    runs: int | None = None,
    seed: int = 0,
    fault: str | None = None,
    progress: Progress = lambda done, of: None,
) -> AuditResult:
    """Train `runs` times on a twin of one site of the plan, and bound the plan's epsilon from below.

    Args:
        pool: where to train; see `worker_pool`.
        space: the plan's public feature space.
        plan: what is claimed; its sites are replaced by the twin, which changes neither sums, nor noise, nor cost.
        runs: trainings, an even number, half of them with the canary; None for `privacy.audit.runs_for`.
        seed: of the twin and the noise, 0 or more; it alone decides the result, but for the last bits of floats.
        fault: name of a fault to plant, from `models.audit_faults`.
        progress: told how many trainings are done, and of how many.

    Raises:
        InputError: for a number of runs, a seed or a fault that can not be.
    """
    fault_of(fault)
    if seed < 0:
        raise InputError(f"audit seed: expected 0 or more, got {seed}")
    runs = runs_for(plan) if runs is None else runs
    if not FEWEST_RUNS <= runs <= MOST_RUNS or runs % 2:
        raise InputError(f"audit runs: expected an even number from {FEWEST_RUNS} to {MOST_RUNS}, got {runs}")
    plan = on_twin(plan)
    progress(0, runs)
    scores = np.empty((runs, len(ATTACKS)))
    done = 0
    for first, part in _parts(pool, (canonical.to_bytes(space.to_document()), plan.to_bytes(), seed, fault), runs):
        scores[first : first + len(part)] = part
        done += len(part)
        progress(done, runs)
    by_attack = [(name, Scores(column[0::2], column[1::2])) for name, column in zip(ATTACKS, scores.T, strict=True)]
    attacks = attacks_of(by_attack, Decimal(plan.delta))
    return AuditResult(plan, attacks, runs, seed, seeded_source(seed).name, fault)


@contextmanager
def worker_pool(workers: int) -> Iterator[Executor]:
    """So many processes, each with one thread: they share the cores, and small matrices gain nothing from more."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    spawn = multiprocessing.get_context("spawn")  # threads do not survive a fork
    pool = ProcessPoolExecutor(workers, spawn, signal.signal, (signal.SIGINT, signal.SIG_IGN))  # Ctrl-C is the parent's
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        for name in THREADS:
            del os.environ[name]
        os.environ.update({name: value for name, value in before.items() if value is not None})


def on_twin(plan: Plan) -> Plan:
    """The plan with a twin as its only site, which adds all of the noise: what is seen of it, under either trust.

    Its head count is decided by the plan's cost alone.
    """
    fewest, most = PEOPLE
    people = min(most, max(fewest, math.ceil(PEOPLE_PER_MU / math.sqrt(plan.mu_squared))))
    return replace(plan, trust=LOCAL, sites=(SiteBound(TWIN, people),), replies_at_least=1, colluding=0)


def twin_rows(space: FeatureSpace, people: int, seed: int) -> MinimizedRows:
    """A made-up site of `people`, one row each, and the canary as the last row. Nobody has a value of the canary's."""
    random = np.random.default_rng([seed, people])
    numbers, codes = {}, {}
    for feature in space.features:
        if isinstance(feature, NumberFeature):
            place = np.append(_places(feature.levels, people, random), 0.0)
            numbers[feature.column] = feature.low + place * (feature.high - feature.low)
        else:
            last = len(feature.values) - 1
            drawn = np.rint(_places(last + 1, people, random) * last).astype(np.int64) if last else np.full(people, -1)
            codes[feature.column] = np.append(drawn, 0)
    each = np.arange(people + 1, dtype=np.int64)
    label = random.random(people) < RARE if space.link == LOGISTIC else random.uniform(0.0, RARE, people)
    labels = np.append(label, 1.0)
    return MinimizedRows(
        numbers=MappingProxyType(numbers),
        codes=MappingProxyType(codes),
        label=labels,
        raw_label=labels,
        site=np.zeros_like(each),
        site_names=(TWIN,),
        employee=each,
        row=each,
        twin=each,
        clipped=MappingProxyType({}),
        unlabelled=0,
    )


class Experiment:
    """One twin, with and without its canary, trained again and again under one plan."""

    def __init__(self, space: FeatureSpace, plan: Plan, seed: int, fault: str | None) -> None:
        """Make the twin, the sums of its two sites and what the attackers know of them."""
        planted = fault_of(fault)
        people = plan.sites[0].people_at_most
        rows = twin_rows(space, people, seed)
        clip = planted.clip(float(plan.clip))
        self._space, self._plan = space, planted.plan(plan)
        self._noise = planted.noise(seeded_source(seed))
        self._everybody = SiteSums(space, rows, clip)
        self._others = SiteSums(space, rows.take(np.arange(people)), clip)
        design = space.design(rows) / 2.0**GRID
        self._canary = design[people]
        self._own = np.where((design[:people] == 0).all(axis=0), self._canary, 0.0)
        self._moments_of_others = self._others.second_moments()
        self._moments_of_canary = self._everybody.second_moments() - self._moments_of_others

    def run(self, number: int) -> tuple[float, ...]:
        """Train once, with the canary if `number` is odd, and return each attack's score."""
        site = self._everybody if number % 2 else self._others
        seen = 0.0

        def ask(event: str, index: int, weights: Vector | None) -> Sequence[Part]:
            nonlocal seen
            exact = site.second_moments() if weights is None else site.gradient(weights)
            label = f"{number}/{event}/{index}".encode()
            noisy = gaussian_sum(self._plan.event(event), exact, self._noise, label)
            others = exact if site is self._others else self._without_canary(weights)
            seen += self._evidence(event, noisy - others)
            return [Part((TWIN,), noisy)]

        fit = learn(self._plan, self._space, ask)
        return seen, float(fit.shared.weights @ self._own)

    def _without_canary(self, weights: Vector | None) -> Integers:
        return self._moments_of_others if weights is None else self._others.gradient(weights)

    def _evidence(self, event: str, rest: Integers) -> float:
        """Log-likelihood ratio of a release less the others' sum, up to a constant: noise alone, or the canary too."""
        released = self._plan.event(event)
        if event == SECOND_MOMENTS:
            shift: Vector = self._moments_of_canary.astype(np.float64)
        else:  # its label is 1, so its residual is below zero
            shift = -self._canary * (released.sensitivity / float(np.linalg.norm(self._canary)))
        return float(rest @ shift) / float(released.noise) ** 2


def trainings(space: bytes, plan: bytes, seed: int, fault: str | None, first: int, last: int) -> Scored:
    """What a worker does: scores of the runs from `first` to before `last`; `space` and `plan` in canonical JSON."""
    place = FeatureSpace.from_document(canonical.from_bytes(space, "feature space"))
    experiment = Experiment(place, Plan.from_bytes(plan), seed, fault)
    return [experiment.run(number) for number in range(first, last)]


def _parts(pool: Executor, job: Job, runs: int) -> Iterator[tuple[int, Scored]]:
    """Scores of all runs, part by part as they are done, each with its first run's number."""
    waiting: dict[Future[Scored], int] = {
        pool.submit(trainings, *job, first, min(first + CHUNK, runs)): first for first in range(0, runs, CHUNK)
    }
    for done in as_completed(waiting):
        yield waiting[done], done.result()


def _places(levels: int, people: int, random: np.random.Generator) -> Vector:
    """Places in [ABOVE, 1]; of `levels` steps, if there are any, one of those beyond it."""
    if not levels:
        return random.uniform(ABOVE, 1.0, people)
    return random.integers(math.floor(ABOVE * (levels - 1)) + 1, levels, people) / (levels - 1)
