from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from numpy.typing import NDArray

from models.evaluation import auc, fit_noisy, fit_pooled
from models.features import ONE, FeatureSpace
from models.optimiser import SPREAD, WARM_UP, Fit, Optimiser, learn
from models.planning import GRADIENT, LARGEST_WEIGHT, SECOND_MOMENTS, plan_at_epsilon
from models.pooling import Part
from models.scorer import AdditiveScorer
from models.training import SiteSums
from privacy.errors import InputError
from privacy.mechanisms import gaussian_sum
from privacy.plan import LOCAL, TRUSTS, Plan
from privacy.randomness import seeded_source
from records.contract import Contract
from records.minimize import MinimizedRows
from records.sample.group import COLUMNS, SampleGroup
from tests.models.spaces import QUANTITY, category, contract_of, number, rows_of, space_of

DELTA = Decimal("0.00001")
SOMEBODY: Mapping[str, float | str | None] = {
    "tenure_years": 1.0,
    "months_since_promotion": 20.0,
    "overtime_hours": 12.0,
    "commute_minutes": 30.0,
    "training_days": 4.0,
    "pay_against_market": 98.0,
    "manager_changes": 1.0,
    "pulse": "2",
    "work_mode": "on site",
    "job_level": "skilled",
    "job_family": "production",
}
"""An employee of the sample group with nothing missing."""
SPACE = space_of(number("hours"), category("job", "a", "b", "c"))


def prior_of(space: FeatureSpace) -> float:
    """Standard deviation expected of a weight."""
    return SPREAD[space.link] / space.radius


def plan_for(space: FeatureSpace, people: Mapping[str, int], stated: str, rounds: int = 12) -> Plan:
    return plan_at_epsilon(space, people, "retention", Decimal(stated), DELTA, "local", rounds)


def site_sums(space: FeatureSpace, rows: MinimizedRows, plan: Plan) -> dict[str, SiteSums]:
    return {
        site.name: SiteSums(space, rows.take(rows.site == rows.site_names.index(site.name)), float(plan.clip))
        for site in plan.sites
    }


def fitted(space: FeatureSpace, rows: MinimizedRows, people: Mapping[str, int], stated: str, seed: int = 1) -> Fit:
    plan = plan_for(space, people, stated)
    return fit_noisy(plan, space, site_sums(space, rows, plan), seeded_source(seed))


def apart(sums: Mapping[str, NDArray[np.int64]]) -> list[Part]:
    """One part for each site."""
    return [Part((name,), own) for name, own in sums.items()]


def bounds_of(contract: Contract) -> dict[str, int]:
    return {site.name: site.people_at_most for site in contract.site.sites}


@pytest.fixture(scope="module")
def generous(group_space: FeatureSpace, group_rows: MinimizedRows, group_contract: Contract) -> Fit:
    """Epsilon 100: nearly no noise."""
    return fitted(group_space, group_rows, bounds_of(group_contract), "100")


@pytest.fixture(scope="module")
def usual(group_space: FeatureSpace, group_rows: MinimizedRows, group_contract: Contract) -> Fit:
    return fitted(group_space, group_rows, bounds_of(group_contract), "8")


def test_with_a_huge_budget_it_learns_what_pooled_rows_would_teach(
    generous: Fit, group_space: FeatureSpace, group_rows: MinimizedRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pooled under the same prior: the scores agree person by person, and so does the AUC."""
    monkeypatch.setattr("models.evaluation.POOLED_PRIOR", prior_of(group_space) ** 2)
    design = group_space.design(group_rows)
    pooled = design @ fit_pooled(group_space, design, group_rows.label) / ONE
    federated = generous.shared.scores(design)
    assert np.corrcoef(pooled, federated)[0, 1] > 0.99
    assert auc(group_rows.label, federated) == pytest.approx(auc(group_rows.label, pooled), abs=0.003)


def test_the_truth_behind_the_sample_group_is_found_at_epsilon_8(
    usual: Fit, group: SampleGroup, group_contract: Contract
) -> None:
    """Along each strong column the learned term follows the term that the labels were drawn from."""
    strong = ("tenure_years", "months_since_promotion", "overtime_hours", "pay_against_market", "pulse")
    for column in group_contract.features:
        if column.name not in strong:
            continue
        if column.kind == "number":
            values: list[float | str] = [float(v) for v in np.linspace(column.low, column.high, 17)[:-1] + 0.5]
        else:
            values = list(column.values)
        learned = [term_of(usual.shared, column.name, value) for value in values]
        true = [group.truth.term(column.name, str(value)) for value in values]
        assert np.corrcoef(learned, true)[0, 1] > 0.7, column.name


def test_a_column_that_says_nothing_is_found_to_say_nothing(usual: Fit, group: SampleGroup) -> None:
    """The spread of a learned term over its values is ordered like the truth's, from job level to overtime."""
    values = {"job_level": ("entry", "skilled", "senior", "lead"), "pulse": ("1", "2", "3", "4", "5")}
    spread = {c: np.ptp([term_of(usual.shared, c, v) for v in values[c]]) for c in values}
    assert spread["job_level"] < spread["pulse"]
    assert set(usual.shared.space.slices) == set(COLUMNS)


def term_of(scorer: AdditiveScorer, column: str, value: float | str) -> float:
    return next(term.points for term in scorer.terms({column: value}) if term.column == column)


def test_the_typical_row_is_the_average_row(
    generous: Fit, group_space: FeatureSpace, group_rows: MinimizedRows
) -> None:
    average = group_space.design(group_rows).mean(axis=0) / ONE
    assert generous.shared.typical[0] == 1.0
    assert np.abs(generous.shared.typical - average).max() < 0.01


def test_the_uncertainty_shrinks_with_the_budget_and_never_ends(
    usual: Fit, group_space: FeatureSpace, group_rows: MinimizedRows, group_contract: Contract
) -> None:
    little = fitted(group_space, group_rows, bounds_of(group_contract), "0.5")
    assert 0.1 < usual.shared.deviation(SOMEBODY) < 0.8 * little.shared.deviation(SOMEBODY)
    assert (usual.shared.variances > 0).all()
    assert (usual.shared.variances <= prior_of(usual.shared.space) ** 2 * (1 + 1e-9)).all()


def test_the_stated_uncertainty_is_about_the_spread_over_noise(
    group_space: FeatureSpace, group_rows: MinimizedRows, group_contract: Contract, usual: Fit
) -> None:
    """Fits on the same people with fresh noise differ less than stated: the deviation counts few people too."""
    scores = [
        relative(fitted(group_space, group_rows, bounds_of(group_contract), "8", seed).shared, SOMEBODY)
        for seed in range(2, 4)
    ]
    assert 0 < np.std([*scores, relative(usual.shared, SOMEBODY)], ddof=1) < 1.5 * usual.shared.deviation(SOMEBODY)


def relative(scorer: AdditiveScorer, values: Mapping[str, float | str | None]) -> float:
    return scorer.score(values) - scorer.intercept


# --- sites of unlike size and unlike truth ---------------------------------------------------------------------------


def two_sites(people: tuple[int, int], slopes: tuple[float, float], seed: int = 0) -> MinimizedRows:
    """Sites in which hours raise (or lower) the odds by a slope of their own."""
    random = np.random.default_rng(seed)
    site = np.repeat([0, 1], people)
    hours = random.uniform(0, 10, len(site))
    log_odds = np.where(site == 0, *slopes) * (hours - 5)
    cells = {"hours": hours, "job": random.integers(0, 3, len(site))}
    return rows_of(cells, random.random(len(site)) < 1 / (1 + np.exp(-log_odds)), site=site)


def within(fit: Fit, rows: MinimizedRows) -> dict[str, float]:
    """AUC within each site of the shared and the personal scorer, the smaller one of the two sites."""
    design = SPACE.design(rows)
    result = {}
    for model in ("shared", "personal"):
        scores = np.zeros(len(rows))
        for index, name in enumerate(rows.site_names):
            here = rows.site == index
            scorer = fit.shared if model == "shared" else fit.personal[name]
            scores[here] = scorer.scores(design[here])
        result[model] = min(auc(rows.label[rows.site == k], scores[rows.site == k]) for k in (0, 1))
    return result


def test_sites_with_opposite_truths_get_personal_models_that_tell_them_apart() -> None:
    people = {"North": 1500, "South": 1000}
    fit = fitted(SPACE, two_sites((1500, 1000), (0.4, -0.4)), people, "8")
    held_out = within(fit, two_sites((1500, 1000), (0.4, -0.4), seed=1))
    assert fit.strength > 0
    assert held_out["personal"] > 0.7
    assert held_out["shared"] < 0.6


def test_sites_with_one_truth_are_not_told_apart() -> None:
    people = {"North": 1500, "South": 1000}
    fit = fitted(SPACE, two_sites((1500, 1000), (0.4, 0.4)), people, "8")
    held_out = within(fit, two_sites((1500, 1000), (0.4, 0.4), seed=1))
    assert fit.strength <= 0.1
    assert held_out["personal"] > held_out["shared"] - 0.02


def unlike_sites(people: int, seed: int = 0) -> MinimizedRows:
    """Twenty sites of a quantity with one slope and a level of their own; at each, most are of one of twenty jobs."""
    random = np.random.default_rng(seed)
    levels = np.random.default_rng(0).normal(0, 0.08, 20)
    site = np.repeat(np.arange(20), people)
    own = random.random(len(site)) < 0.9
    job = np.where(own, site, random.integers(0, 20, len(site)))
    hours = random.uniform(0, 10, len(site))
    label = np.clip(0.3 + 0.04 * hours + levels[site] + random.normal(0, 0.1, len(site)), 0, 1)
    names = tuple(f"site {n:02}" for n in range(20))
    return rows_of({"hours": hours, "job": job}, label, site=site, site_names=names)


@pytest.mark.parametrize("stated", ["1", "6", "50"])
def test_a_site_whose_people_are_unlike_the_others_is_not_taken_for_one_of_another_truth(stated: str) -> None:
    """Its own curvature is far from its share of the group's: a step computed from the share would overshoot."""
    space = space_of(number("hours"), category("job", *(f"job {n}" for n in range(20))), label=QUANTITY)
    fit = fitted(space, unlike_sites(100), dict.fromkeys(unlike_sites(1).site_names, 100), stated)
    held_out = unlike_sites(30, seed=1)
    design = space.design(held_out)
    error = {model: 0.0 for model in ("shared", "personal")}
    for index, name in enumerate(held_out.site_names):
        here = held_out.site == index
        for model, scorer in (("shared", fit.shared), ("personal", fit.personal[name])):
            error[model] += float(np.sum((scorer.scores(design[here]) - held_out.label[here]) ** 2)) / len(held_out)
    assert error["personal"] < error["shared"] * 1.02
    assert stated == "1" or error["personal"] < 0.014, "0.01 is noise"


def test_where_noise_drowns_the_differences_a_site_keeps_the_shared_weights() -> None:
    fit = fitted(SPACE, two_sites((60, 40), (0.4, -0.4)), {"North": 60, "South": 40}, "0.1")
    assert np.abs(fit.personal["South"].weights - fit.shared.weights).max() < 0.1


def test_a_small_site_can_not_flip_what_a_large_one_has_learned() -> None:
    """Twenty people of the opposite truth leave the weights of two thousand as good as they were."""
    people = {"North": 2000, "South": 20}
    fit = fitted(SPACE, two_sites((2000, 20), (0.4, -0.4)), people, "1")
    rows = two_sites((2000, 20), (0.4, 0.4), seed=1)
    assert auc(rows.label, fit.shared.scores(SPACE.design(rows))) > 0.7


@pytest.mark.parametrize("stated", ["0.5", "8"])
def test_the_noise_of_a_small_site_can_not_flip_what_a_large_one_has_learned(stated: str) -> None:
    """Whatever noise the small site draws, the group's scores rank the large site's people as before.

    Its noise is as large as the large site's, and weighed by what its twenty people are worth.
    """
    people = {"North": 3000, "South": 20}
    rows = two_sites((3000, 20), (0.4, 0.4))
    plan = plan_for(SPACE, people, stated)
    sums = site_sums(SPACE, rows, plan)
    design = SPACE.design(rows)
    ranks = []
    for seed in range(3):
        sources = {"North": seeded_source(0), "South": seeded_source(100 + seed)}
        ranks.append(auc(rows.label, run(plan, sums, sources).shared.scores(design)))
    assert min(ranks) > 0.7
    assert np.ptp(ranks) < 0.02


def run(plan: Plan, sums: Mapping[str, SiteSums], sources: Mapping[str, object]) -> Fit:
    """As `fit_noisy`, with a source of noise of each site's own."""
    optimiser = Optimiser(plan, SPACE)
    moments, gradient = plan.event(SECOND_MOMENTS), plan.event(GRADIENT)
    optimiser.receive_moments(
        apart({name: gaussian_sum(moments, site.second_moments(), sources[name], b"m") for name, site in sums.items()})
    )
    for index in range(gradient.times):
        noisy = {
            name: gaussian_sum(gradient, site.gradient(optimiser.weights), sources[name], b"%d" % index)
            for name, site in sums.items()
        }
        optimiser.receive_gradients(apart(noisy))
    return optimiser.fit()


def one_large_site(small: int, seed: int = 0) -> MinimizedRows:
    """1,500 people at the first site and five at each of the small ones, of one truth."""
    random = np.random.default_rng(seed)
    site = np.concatenate([np.zeros(1500, dtype=np.int64), np.repeat(np.arange(1, small + 1), 5)])
    hours = random.uniform(0, 10, len(site))
    label = random.random(len(site)) < 1 / (1 + np.exp(-0.4 * (hours - 5)))
    names = tuple(f"site {n:02}" for n in range(small + 1))
    return rows_of({"hours": hours, "job": random.integers(0, 3, len(site))}, label, site=site, site_names=names)


def test_the_noise_of_thirty_tiny_sites_does_not_drown_a_large_one() -> None:
    """Each adds as much noise as the large site. Counted alike, they take the AUC from .76 to between .35 and .72."""
    held_out = one_large_site(0, seed=9)
    design = SPACE.design(held_out)
    for seed in range(2):
        ranks = []
        for small in (0, 30):
            rows = one_large_site(small)
            people = {name: 5 if n else 1500 for n, name in enumerate(rows.site_names)}
            ranks.append(auc(held_out.label, fitted(SPACE, rows, people, "0.2", 3 + seed).shared.scores(design)))
        assert ranks[1] > ranks[0] - 0.02


def test_a_quantity_is_learned_through_the_linear_link() -> None:
    random = np.random.default_rng(3)
    space = FeatureSpace.from_contract(contract_of(number("hours"), label=QUANTITY))
    hours = random.uniform(0, 10, 2000)
    label = np.clip(0.2 + 0.06 * hours + random.normal(0, 0.1, 2000), 0, 1)
    rows = rows_of({"hours": hours}, label, site=np.arange(2000) % 2)
    fit = fitted(space, rows, {"North": 1000, "South": 1000}, "8")
    for at in (1.0, 5.0, 9.0):
        assert fit.shared.score({"hours": at}) == pytest.approx(0.2 + 0.06 * at, abs=0.05)


# --- what is refused, and what must not matter -----------------------------------------------------------------------


@pytest.fixture
def started() -> tuple[Optimiser, dict[str, NDArray[np.int64]], dict[str, NDArray[np.int64]]]:
    """An optimiser with sums that it would take."""
    plan = plan_for(SPACE, {"North": 300, "South": 200}, "8")
    sums = site_sums(SPACE, two_sites((300, 200), (0.4, 0.4)), plan)
    moments = {name: site.second_moments() for name, site in sums.items()}
    gradients = {name: site.gradient(np.zeros(SPACE.width)) for name, site in sums.items()}
    return Optimiser(plan, SPACE), moments, gradients


@pytest.mark.parametrize("event", ["moments", "gradients"])
@pytest.mark.parametrize("spoil", ["missing", "short", "matrix", "unknown", "twice", "together", "none"])
def test_parts_that_are_not_those_of_a_release_are_refused(started: tuple, event: str, spoil: str) -> None:
    optimiser, moments, gradients = started
    sums = moments if event == "moments" else gradients
    if event == "gradients":
        optimiser.receive_moments(apart(moments))
    north, south = apart(sums)
    expected, spoiled = {
        "missing": ("at least 2 sites, got 1", [north]),
        "short": ("of site 'South': expected", [north, Part(("South",), south.sum[:-1])]),
        "matrix": ("of site 'South': expected", [north, Part(("South",), south.sum[:, None])]),
        "unknown": ("sites of the plan", [north, south, Part(("East",), south.sum)]),
        "twice": ("different sites", [north, south, Part(("South",), south.sum)]),
        "together": ("one part for each site", [Part(("North", "South"), north.sum)]),
        "none": ("at least 2 sites, got 0", []),
    }[spoil]
    with pytest.raises(InputError, match=expected):
        optimiser.receive_moments(spoiled) if event == "moments" else optimiser.receive_gradients(spoiled)


def test_the_order_in_which_sites_answer_does_not_matter(started: tuple) -> None:
    optimiser, moments, gradients = started
    other = Optimiser(plan_for(SPACE, {"South": 200, "North": 300}, "8"), SPACE)
    optimiser.receive_moments(apart(moments))
    other.receive_moments(apart(moments)[::-1])
    optimiser.receive_gradients(apart(gradients))
    other.receive_gradients(apart(gradients)[::-1])
    assert optimiser.weights.tobytes() == other.weights.tobytes()


def test_a_fit_without_a_round_is_refused(started: tuple) -> None:
    optimiser, moments, _ = started
    optimiser.receive_moments(apart(moments))
    with pytest.raises(InputError, match="at least one round"):
        optimiser.fit()


def test_one_round_is_enough_for_a_fit(started: tuple) -> None:
    optimiser, moments, gradients = started
    optimiser.receive_moments(apart(moments))
    optimiser.receive_gradients(apart(gradients))
    assert np.isfinite(optimiser.fit().shared.weights).all()


def test_a_plan_for_another_space_is_refused() -> None:
    plan = plan_for(SPACE, {"North": 300}, "8")
    with pytest.raises(InputError, match="digest of this feature space"):
        Optimiser(replace(plan, features="0" * 64), SPACE)


# --- sites that are missing, and sums of many ------------------------------------------------------------------------

MANY = {f"site {n:02}": 60 + 20 * n for n in range(12)}


def many_sites(seed: int = 0) -> MinimizedRows:
    """Twelve sites of one truth, as large as their bounds."""
    random = np.random.default_rng(seed)
    site = np.repeat(np.arange(len(MANY)), list(MANY.values()))
    hours = random.uniform(0, 10, len(site))
    label = random.random(len(site)) < 1 / (1 + np.exp(-0.4 * (hours - 6)))
    cells = {"hours": hours, "job": random.integers(0, 3, len(site))}
    return rows_of(cells, label, site=site, site_names=tuple(MANY))


def away(name: str, event: str, index: int) -> bool:
    """Three of twelve sites, other ones each time; nine are enough."""
    return (index + 5 * (event == GRADIENT) + int(name[-2:])) % 4 == 0


def fit_with(trust: str, missing: Callable[[str, str, int], bool], stated: str = "1", seed: int = 1) -> Fit:
    """A run over `MANY` in which sites are missing from releases."""
    plan = plan_at_epsilon(SPACE, MANY, "retention", Decimal(stated), DELTA, trust)
    sums, source = site_sums(SPACE, many_sites(), plan), seeded_source(seed)

    def ask(event: str, index: int, weights: NDArray[np.float64] | None) -> list[Part]:
        there = {name: site for name, site in sums.items() if not missing(name, event, index)}
        parts = []
        for name, site in there.items():
            exact = site.second_moments() if weights is None else site.gradient(weights)
            label = f"{name}/{event}/{index}".encode()
            parts.append(Part((name,), gaussian_sum(plan.at_site(plan.event(event)), exact, source, label)))
        if trust == LOCAL or not parts:
            return parts
        return [Part(tuple(there), np.sum([part.sum for part in parts], axis=0))]

    return learn(plan, SPACE, ask)


def nobody(name: str, event: str, index: int) -> bool:
    del name, event, index
    return False


@pytest.mark.parametrize("trust", TRUSTS)
def test_sites_missing_from_some_releases_cost_little(trust: str) -> None:
    held_out = many_sites(seed=9)
    design = SPACE.design(held_out)
    whole, partly = (fit_with(trust, missing).shared for missing in (nobody, away))
    ranks = [auc(held_out.label, scorer.scores(design)) for scorer in (whole, partly)]
    assert ranks[1] > ranks[0] - 0.01 > 0.7
    assert partly.scores(design).mean() == pytest.approx(whole.scores(design).mean(), abs=0.25), "same base rate"


@pytest.mark.parametrize("trust", TRUSTS)
def test_without_noise_missing_sites_of_one_truth_change_next_to_nothing(trust: str) -> None:
    whole, partly = (fit_with(trust, missing, "100") for missing in (nobody, away))
    design = SPACE.design(many_sites(seed=9))
    assert np.corrcoef(whole.shared.scores(design), partly.shared.scores(design))[0, 1] > 0.99


def test_noise_under_masks_is_smaller_and_so_is_the_stated_uncertainty() -> None:
    local, masked = (fit_with(trust, nobody, "0.3") for trust in TRUSTS)
    design = SPACE.design(many_sites(seed=9)) / ONE
    spread = [float(np.mean((design @ fit.shared.basis) ** 2 @ fit.shared.variances)) for fit in (local, masked)]
    assert spread[1] < spread[0]


def test_more_missing_sites_are_more_uncertainty() -> None:
    whole, partly = (fit_with("secure-sum", missing).shared for missing in (nobody, away))
    assert partly.variances.sum() > whole.variances.sum() * 0.99


def test_under_masks_no_site_has_terms_of_its_own() -> None:
    fit = fit_with("secure-sum", away)
    assert set(fit.personal) == set(MANY)
    assert all(scorer is fit.shared for scorer in fit.personal.values())
    assert (fit.strength, fit.level) == (0.0, 0.0)


def test_a_site_that_never_came_after_the_warm_up_has_the_shared_weights_and_is_less_sure() -> None:
    fit = fit_with("local", lambda name, event, index: name == "site 03" and event == GRADIENT and index >= WARM_UP)
    lost, shared = fit.personal["site 03"], fit.shared
    assert lost.weights.tobytes() == shared.weights.tobytes()
    assert (lost.variances >= shared.variances).all()


def test_a_site_without_moments_is_learned_from_its_gradients() -> None:
    fit = fit_with("local", lambda name, event, _: name == "site 11" and event == SECOND_MOMENTS, "30")
    design = SPACE.design(many_sites(seed=9))
    assert np.corrcoef(fit.personal["site 11"].scores(design), fit.shared.scores(design))[0, 1] > 0.9


@pytest.mark.parametrize("trust", TRUSTS)
def test_gradients_that_could_not_be_had_are_passed_over(trust: str) -> None:
    fit = fit_with(trust, lambda _, event, index: event == GRADIENT and index % 3 == 1)
    held_out = many_sites(seed=9)
    assert auc(held_out.label, fit.shared.scores(SPACE.design(held_out))) > 0.7


def test_a_run_of_steps_without_evidence_is_refused() -> None:
    with pytest.raises(InputError, match=f"gradient: expected at least {WARM_UP + 1} releases, got {WARM_UP}"):
        fit_with("secure-sum", lambda _, event, index: event == GRADIENT and index >= WARM_UP)


def test_moments_that_could_not_be_had_are_refused() -> None:
    with pytest.raises(InputError, match="second-moments: expected"):
        fit_with("secure-sum", lambda name, event, index: event == SECOND_MOMENTS)


def test_two_parts_under_masks_are_refused() -> None:
    plan = plan_at_epsilon(SPACE, MANY, "retention", Decimal(1), DELTA, "secure-sum")
    sums = np.zeros(plan.event(SECOND_MOMENTS).coordinates, dtype=np.int64)
    names = tuple(MANY)
    with pytest.raises(InputError, match="one part of all sites, got 2"):
        Optimiser(plan, SPACE).receive_moments([Part(names[:6], sums), Part(names[6:], sums)])


@pytest.mark.parametrize("stated", ["0.01", "1", "100"])
def test_sums_of_noise_alone_give_weights_that_sites_still_accept(stated: str) -> None:
    """Nobody at work at any site: the run goes on, and no weight comes near what a site would refuse."""
    plan = plan_for(SPACE, {"North": 300, "South": 200}, stated)
    none = two_sites((1, 1), (0, 0)).take(np.zeros(2, dtype=bool))
    nobody = {name: SiteSums(SPACE, none, float(plan.clip)) for name in ("North", "South")}
    for seed in range(3):
        fit = fit_noisy(plan, SPACE, nobody, seeded_source(seed))
        assert np.abs(fit.shared.weights).max() < LARGEST_WEIGHT / 16
        assert np.isfinite(fit.shared.variances).all()
