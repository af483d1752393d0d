from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_squared_error as sklearn_mse
from sklearn.metrics import roc_auc_score

from models.evaluation import (
    MODELS,
    Evaluation,
    Predictions,
    added_up,
    auc,
    evaluate,
    figures_of,
    held_out,
    mean_squared_error,
)
from privacy.errors import InputError
from privacy.randomness import seeded_source
from records.contract import Contract
from records.minimize import MinimizedRows
from tests.models.spaces import QUANTITY, category, contract_of, number, rows_of

DELTA = Decimal("0.00001")
SITES = ("East", "North", "South")


@given(st.lists(st.tuples(st.booleans(), st.integers(-4, 4)), min_size=2, max_size=60))
def test_auc_equals_scikit_learns_ties_included(pairs: list[tuple[bool, int]]) -> None:
    label = np.array([float(one) for one, _ in pairs])
    score = np.array([value / 3 for _, value in pairs])
    assume(0 < label.sum() < len(label))
    assert auc(label, score) == pytest.approx(roc_auc_score(label, score), abs=1e-12)


@pytest.mark.parametrize("label", [np.zeros(5), np.ones(5), np.zeros(0)])
def test_auc_of_one_class_is_not_defined(label: np.ndarray) -> None:
    assert np.isnan(auc(label, np.arange(len(label), dtype=np.float64)))


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(-5, 5)), min_size=1, max_size=30))
def test_squared_error_equals_scikit_learns(pairs: list[tuple[float, float]]) -> None:
    label, score = np.array(pairs).T
    assert mean_squared_error(label, score) == pytest.approx(sklearn_mse(label, score), abs=1e-12)


def predictions_of(site: Any, label: Any, score: Any) -> Predictions:
    labels = np.asarray(label, dtype=np.float64)
    scores = {model: np.asarray(score, dtype=np.float64) for model in MODELS}
    return Predictions(0, np.arange(len(labels)), np.asarray(site), labels, labels, scores)


def test_the_figure_within_sites_weighs_them_by_their_pairs() -> None:
    """North ranks 1 of 1 pairs right and South 1 of 4; across sites everything is upside down."""
    one = predictions_of([1, 1, 2, 2, 2, 2], [0, 1, 0, 0, 1, 1], [8, 9, 2, 4, 1, 3])
    figures = figures_of(one, "federated", SITES, "auc")
    assert figures.sites == {"North": 1.0, "South": 0.25}
    assert figures.within == pytest.approx((1 * 1.0 + 4 * 0.25) / 5)
    assert figures.overall == pytest.approx(roc_auc_score(one.label, one.scores["federated"]))


def test_a_site_of_one_class_does_not_enter_the_figure_within_sites() -> None:
    one = predictions_of([1, 1, 2, 2], [0, 1, 1, 1], [0.1, 0.9, 0.5, 0.6])
    figures = figures_of(one, "federated", SITES, "auc")
    assert figures.within == 1.0
    assert np.isnan(figures.sites["South"])


# --- who is held out -------------------------------------------------------------------------------------------------


@st.composite
def tables(draw: st.DrawFn) -> MinimizedRows:
    """Employees with several rows, or rows of their own of which some are copies."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    people, several = draw(st.integers(4, 60)), draw(st.booleans())
    site_of = random.integers(0, 3, people)
    rows_each = random.integers(1, 5, people)
    group = np.repeat(np.arange(people), rows_each)
    n = len(group)
    cells = {"hours": random.uniform(0, 10, n)}
    each = np.arange(n)
    employee, twin = (group, each) if several else (each, group)
    order = random.permutation(n)
    rows = rows_of(cells, random.integers(0, 2, n), employee, site_of[group], SITES, twin)
    return rows.take(order)


@given(tables(), st.integers(0, 5))
@settings(deadline=None)
def test_nobody_is_on_both_sides_and_no_copy_is(rows: MinimizedRows, seed: int) -> None:
    mask = held_out(rows, seed)
    for groups in (rows.employee, rows.twin if len(np.unique(rows.employee)) == len(rows) else rows.employee):
        assert not set(groups[mask]) & set(groups[~mask])


@given(tables(), st.integers(0, 5))
@settings(deadline=None)
def test_about_a_quarter_of_every_site_is_held_out(rows: MinimizedRows, seed: int) -> None:
    mask = held_out(rows, seed)
    group = rows.twin if len(np.unique(rows.employee)) == len(rows) else rows.employee
    for site in np.unique(rows.site):
        here = rows.site == site
        whole, out = len(np.unique(group[here])), len(np.unique(group[here & mask]))
        assert abs(out - whole / 4) <= 0.5


def test_a_seed_fixes_the_split_and_another_changes_it(group_rows: MinimizedRows) -> None:
    assert np.array_equal(held_out(group_rows, 3), held_out(group_rows, 3))
    assert not np.array_equal(held_out(group_rows, 3), held_out(group_rows, 4))


def test_the_split_does_not_look_at_labels_or_features(group_rows: MinimizedRows) -> None:
    other = replace(group_rows, label=1 - group_rows.label, numbers={}, codes={})
    assert np.array_equal(held_out(group_rows, 3), held_out(other, 3))


# --- the four models -------------------------------------------------------------------------------------------------

CONTRACT = contract_of(number("hours"), category("job", "a", "b", "c"), sites=SITES)


def people_at(
    counts: Mapping[str, int], seed: int = 0, slope: float = 0.5, names: tuple[str, ...] = SITES
) -> MinimizedRows:
    random = np.random.default_rng(seed)
    site = np.repeat([names.index(name) for name in counts], list(counts.values()))
    hours = random.uniform(0, 10, len(site))
    label = random.random(len(site)) < 1 / (1 + np.exp(-slope * (hours - 5)))
    cells = {"hours": hours, "job": random.integers(0, 3, len(site))}
    return rows_of(cells, label, site=site, site_names=names)


def evaluated(rows: MinimizedRows, contract: Contract = CONTRACT, stated: str = "8", **more: Any) -> Evaluation:
    settings: dict[str, Any] = {"trust": "local", "seeds": [0], "noise": seeded_source(1), **more}
    return evaluate(contract, rows, Decimal(stated), DELTA, **settings)


ROWS = people_at({"East": 200, "North": 400, "South": 300})


@pytest.fixture(scope="module")
def usual() -> Evaluation:
    return evaluated(ROWS, seeds=[0, 1])


def test_every_held_out_row_is_scored_by_all_four_models(usual: Evaluation) -> None:
    for seed, one in zip((0, 1), usual.predictions, strict=True):
        mask = held_out(ROWS, seed)
        assert one.row.tolist() == ROWS.row[mask].tolist()
        assert one.label.tolist() == ROWS.label[mask].tolist()
        assert one.site.tolist() == ROWS.site[mask].tolist()
        assert set(one.scores) == set(MODELS)
        assert all(len(s) == mask.sum() and np.isfinite(s).all() and np.std(s) > 0 for s in one.scores.values())


def test_the_figures_are_those_of_the_predictions(usual: Evaluation) -> None:
    for model in MODELS:
        each = [roc_auc_score(one.label, one.scores[model]) for one in usual.predictions]
        assert usual.mean(model) == pytest.approx(np.mean(each), abs=1e-12)
        assert usual.spread(model) == pytest.approx(np.std(each, ddof=1), abs=1e-12)
        assert usual.mean(model) > 0.75
        at_north = [
            roc_auc_score(one.label[one.site == 1], one.scores[model][one.site == 1]) for one in usual.predictions
        ]
        assert usual.site_mean(model, "North") == pytest.approx(np.mean(at_north), abs=1e-12)


def test_the_same_seeds_and_noise_give_the_same_scores(usual: Evaluation) -> None:
    again = evaluated(ROWS, seeds=[0, 1])
    for one, other in zip(usual.predictions, again.predictions, strict=True):
        assert all(one.scores[model].tobytes() == other.scores[model].tobytes() for model in MODELS)


def test_noise_of_another_source_gives_other_scores_but_the_same_split(usual: Evaluation) -> None:
    other = evaluated(ROWS, noise=seeded_source(2)).predictions[0]
    assert np.array_equal(other.row, usual.predictions[0].row)
    assert not np.array_equal(other.scores["federated"], usual.predictions[0].scores["federated"])
    assert np.array_equal(other.scores["pooled"], usual.predictions[0].scores["pooled"]), "pooled has no noise"


def test_a_site_alone_learns_from_its_own_people_only(usual: Evaluation) -> None:
    elsewhere = ROWS.site != SITES.index("North")
    turned = np.where(elsewhere, 1 - ROWS.label, ROWS.label)
    other = evaluated(replace(ROWS, label=turned, raw_label=turned)).predictions[0]
    before, here = usual.predictions[0], usual.predictions[0].site == SITES.index("North")
    assert other.scores["local_only"][here].tobytes() == before.scores["local_only"][here].tobytes()
    assert not np.allclose(other.scores["local_only"][~here], before.scores["local_only"][~here])
    assert not np.allclose(other.scores["federated"][here], before.scores["federated"][here])


def test_held_out_people_teach_nothing(usual: Evaluation) -> None:
    turned = np.where(held_out(ROWS, 0), 1 - ROWS.label, ROWS.label)
    other = evaluated(replace(ROWS, label=turned, raw_label=turned)).predictions[0]
    assert all(np.array_equal(other.scores[m], usual.predictions[0].scores[m]) for m in MODELS)


def test_the_plan_is_that_of_declared_bounds_and_not_of_true_counts(usual: Evaluation) -> None:
    assert [(site.name, site.people_at_most) for site in usual.plan.sites] == [(name, 5000) for name in SITES]
    assert usual.people == {"East": 200, "North": 400, "South": 300}


def test_more_budget_learns_more() -> None:
    noisy, clear = (evaluated(ROWS, stated=stated).mean("federated") for stated in ("0.01", "8"))
    assert noisy < clear - 0.05


def test_sites_below_the_floor_are_left_out() -> None:
    rows = people_at({"East": 20, "North": 400, "South": 300})
    result = evaluated(rows, min_site=50)
    assert result.site_names == ("North", "South")
    assert [site.name for site in result.plan.sites] == ["North", "South"]
    assert SITES.index("East") not in result.predictions[0].site
    with pytest.raises(InputError, match="at least one with 500 people"):
        evaluated(rows, min_site=500)


def test_employees_count_once_against_the_floor_however_many_rows_they_have() -> None:
    rows = people_at({"East": 60, "North": 400, "South": 300})
    employee = np.where(rows.site == 0, rows.row % 10, rows.row)
    assert evaluated(replace(rows, employee=employee), min_site=20).site_names == ("North", "South")


@pytest.mark.parametrize("people", [1, 2])
def test_a_site_too_small_to_hold_anybody_out_has_no_figure_of_its_own(people: int) -> None:
    result = evaluated(people_at({"East": people, "North": 400, "South": 300}))
    assert result.people["East"] == people
    assert np.isnan(result.site_mean("federated", "East"))
    assert result.mean("federated") > 0.7


def test_one_class_in_the_table_is_refused() -> None:
    rows = replace(ROWS, label=np.zeros(len(ROWS)), raw_label=np.zeros(len(ROWS)))
    with pytest.raises(InputError, match="label 'left': expected both labels in the table, got one"):
        evaluated(rows)


def test_one_class_among_those_who_are_left_is_refused() -> None:
    label = np.where(ROWS.site == 0, ROWS.label, 0.0)
    with pytest.raises(InputError, match="both labels"):
        evaluated(replace(ROWS, label=label, raw_label=label), min_site=250)


def test_under_a_secure_sum_many_small_sites_learn_more_than_each_under_its_own_noise() -> None:
    names = tuple(f"site {n:02}" for n in range(12))
    rows = people_at(dict.fromkeys(names, 60), names=names)
    contract = contract_of(number("hours"), category("job", "a", "b", "c"), sites=names)
    both = {t: evaluated(rows, contract, "0.3", trust=t, seeds=[0, 1, 2]) for t in ("local", "secure-sum")}
    assert both["secure-sum"].mean("federated") > both["local"].mean("federated") + 0.02
    for one in both["secure-sum"].predictions:
        assert one.scores["personal"] == pytest.approx(one.scores["federated"]), "no site has terms of its own"
    alone = [result.predictions[0].scores["local_only"] for result in both.values()]
    assert np.isfinite(alone[1]).all()


def test_a_secure_sum_of_fewer_than_three_sites_is_refused() -> None:
    with pytest.raises(InputError, match="at least 3 for a secure sum, got 2"):
        evaluated(people_at({"East": 20, "North": 400, "South": 300}), trust="secure-sum", min_site=50)


def test_one_draw_has_the_noise_of_all_sites_shares() -> None:
    """Deviations: each share is rounded up to a step, and so is their sum; more shares than protect are there."""
    plan = evaluated(ROWS, trust="secure-sum").plan
    assert plan.noise_shares == 2
    for event in plan.events:
        share = plan.at_site(event).noise
        whole = added_up(plan, event.name, 3).noise
        assert (whole - 1) ** 2 < 3 * share**2 <= whole**2
        assert whole**2 >= event.noise**2 * 3 / 2


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_another_share_may_be_held_out(share: float) -> None:
    result = evaluated(ROWS, share=share)
    assert len(result.predictions[0].row) == pytest.approx(share * len(ROWS), abs=3)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.2, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(InputError, match="held-out share: expected more than 0"):
        evaluated(ROWS, share=share)


def test_a_quantity_is_evaluated_by_its_squared_error() -> None:
    contract = contract_of(number("hours"), category("job", "a", "b", "c"), label=QUANTITY, sites=SITES)
    random = np.random.default_rng(8)
    raw = np.clip(2 + 0.6 * ROWS.numbers["hours"] + random.normal(0, 0.5, len(ROWS)), 0, 10)
    result = evaluated(replace(ROWS, label=raw / 10, raw_label=raw), contract)
    one = result.predictions[0]
    spread = float(np.var(one.label))
    assert result.metric == "mse"
    assert one.raw_label == pytest.approx(10 * one.label)
    for model in MODELS:
        assert result.mean(model) == pytest.approx(sklearn_mse(one.label, one.scores[model]), abs=1e-12)
    assert result.mean("pooled") < 0.2 * spread
    assert result.mean("federated") < 0.5 * spread
    assert result.mean("federated", "within") == pytest.approx(result.mean("federated"), rel=1e-9), "weighed by rows"


def test_progress_names_the_seed_and_never_a_person() -> None:
    told: list[str] = []
    evaluated(ROWS, seeds=[5], progress=told.append)
    assert told[0] == "seed 5: federated"
    assert any("site 3 of 3" in text for text in told)
