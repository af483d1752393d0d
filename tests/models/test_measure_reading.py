from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm

from models import measure_reading
from models.evaluation import auc
from models.measure_reading import (
    SITES_READ,
    WIDEST,
    Histogram,
    Reading,
    area,
    binned_auc,
    count,
    evaluation,
    fairness,
    measures_document,
)
from models.measures import Scale, measure, state_of
from models.planning import EVALUATION, HEAD_COUNT, SCORE_BINS, plan_at_epsilon, traits
from models.pooling import Part
from privacy import canonical
from privacy.errors import InputError
from privacy.measures_file import FIGURES, Measures
from privacy.mechanisms import gaussian_sum
from privacy.plan import LOCAL, SECURE_SUM, Plan
from privacy.randomness import seeded_source
from tests.models.spaces import category, number, rows_of, space_of

Vector = NDArray[np.float64]
SCALE = Scale(np.zeros(1), 0.0, 1.0, 0.5)
AT_EPSILON_1 = 16.8
"""Deviation of a measure's noise at one site, in people, at epsilon 1 and delta 1e-5 with the default share."""


def reading(found: tuple[Reading, ...], of: str, name: str) -> Reading:
    return next(one for one in found if (one.of, one.name) == (of, name))


def within(found: Reading, truth: float) -> bool:
    assert found.low is not None
    assert found.high is not None
    return found.low <= truth <= found.high


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


class Scores:
    """People whose scores are normal within each label, on the scale above, with the truth about their bins."""

    def __init__(self, rate: float, apart: float) -> None:
        self.rate, self.apart = rate, apart
        self._spread = np.sqrt(1 + rate * (1 - rate) * apart**2)
        edges = np.concatenate([[-np.inf], SCALE.edges, [np.inf]]) * self._spread
        negative, positive = np.diff(norm.cdf(edges + rate * apart)), np.diff(norm.cdf(edges - (1 - rate) * apart))
        self.cells = np.stack([(1 - rate) * negative, rate * positive])
        """(2, 8) shares of people."""

    def draw(self, people: int, random: np.random.Generator) -> Vector:
        """(2, 8) counts of that many people drawn at random."""
        return random.multinomial(people, self.cells.ravel()).reshape(2, SCORE_BINS).astype(np.float64)


# --- area under the curve ------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, SCORE_BINS - 1)), min_size=2, max_size=60))
def test_the_area_is_the_rank_statistic_with_bins_as_ties(people: list[tuple[int, int]]) -> None:
    label, place = (np.array(values) for values in zip(*people, strict=True))
    if len(set(label.tolist())) == 2:
        cells = np.zeros((2, SCORE_BINS))
        np.add.at(cells, (label, place), 1.0)
        assert binned_auc(cells) == pytest.approx(auc(label.astype(float), place.astype(float)))


def test_eight_bins_lose_little_of_the_area() -> None:
    for apart in (0.5, 1.0, 1.5):
        exact = norm.cdf(apart / np.sqrt(2))
        assert exact - 0.011 < binned_auc(Scores(0.2, apart).cells) < exact


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fifth of the bootstrap's draws: intervals that are a little less exact, in a fraction of the time."""
    monkeypatch.setattr(measure_reading, "DRAWS", 400)


def coverage(truth: Scores, people: int, noise: float, told: float, seed: int, trials: int = 400) -> float:
    """How often the AUC's interval holds the truth; `told` is the noise that the reading is told of."""
    random = generator(seed)
    true, held = float(binned_auc(truth.cells)), []
    for _ in range(trials):
        noisy = truth.draw(people, random) + random.normal(0.0, noise, (2, SCORE_BINS))
        found = area(Histogram(noisy, told, random, apart=1))
        held.append(within(found, true))
    return float(np.mean(held))


CASES = {
    "noise before all": (5_000, 37.0),
    "large group": (20_000, 45.0),
    "people before all": (4_000, 1.0),
    "one small site, large budget": (1_200, 5.0),
}


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize(("people", "noise"), CASES.values(), ids=CASES.keys())
def test_the_areas_interval_holds_the_truth_as_often_as_it_says(people: int, noise: float) -> None:
    """With 400 trials the observed coverage of an exact 95 % interval has deviation .011; the band is 3 of them."""
    assert 0.917 < coverage(Scores(0.2, 1.0), people, noise, noise, seed=11) < 0.985


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize(("people", "noise"), [(3_000, 37.0), (1_000, 16.8), (60, 16.8)])
def test_it_does_so_too_where_the_value_is_mostly_not_told(people: int, noise: float) -> None:
    """Those intervals are wide, up to all that an AUC can be: they hold at least as often."""
    assert coverage(Scores(0.2, 1.0), people, noise, noise, seed=21) > 0.917


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize(("people", "noise"), list(CASES.values())[:2], ids=list(CASES)[:2])
def test_the_same_check_fails_where_an_interval_ignores_half_of_the_noise(people: int, noise: float) -> None:
    assert coverage(Scores(0.2, 1.0), people, noise, noise / 2, seed=12) < 0.9


@pytest.mark.usefixtures("few_draws")
def test_the_same_check_fails_where_an_interval_ignores_that_people_are_a_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Certain(np.random.Generator):
        def poisson(self, lam: Any = 1.0, size: Any = None) -> Any:
            return np.broadcast_to(lam, size)

    monkeypatch.setattr(f"{__name__}.generator", lambda seed=0: Certain(np.random.PCG64(seed)))
    assert coverage(Scores(0.2, 1.0), 4_000, 1.0, 1.0, seed=13) < 0.5


def test_the_area_at_epsilon_1_is_nearly_unbiased() -> None:
    """Mean of 400 noisy areas: its own deviation is .003."""
    truth, random = Scores(0.2, 1.0), generator(14)
    values = []
    for _ in range(400):
        noisy = truth.draw(5_000, random) + random.normal(0.0, 2.2 * AT_EPSILON_1, (2, SCORE_BINS))
        values.append(float(binned_auc(noisy)))
    assert np.mean(values) == pytest.approx(binned_auc(truth.cells), abs=0.012)


def test_at_sixty_people_nothing_is_told_of_the_area_but_that_it_can_be_anything() -> None:
    random = generator(22)
    noisy = Scores(0.2, 1.0).draw(60, random) + random.normal(0.0, AT_EPSILON_1, (2, SCORE_BINS))
    found = area(Histogram(noisy, AT_EPSILON_1, random, apart=1))
    assert (found.value, found.low, found.high) == (None, 0.0, 1.0)
    assert found.why == "fewer people than 3 deviations of the noise"


# --- calibration -------------------------------------------------------------------------------------------


def test_observed_and_predicted_shares_are_told_of_all_and_of_both_halves() -> None:
    cells = Scores(0.3, 1.0).cells * 50_000
    found = evaluation(cells, 0.5, SCALE, generator())
    for name, part in (("all", slice(None)), ("lower half", slice(0, 4)), ("upper half", slice(4, None))):
        here = cells[:, part]
        observed = here[1].sum() / here.sum()
        predicted = here.sum(axis=0) @ SCALE.predicted[part] / here.sum()
        for figure, value in (("observed", observed), ("predicted", predicted)):
            assert reading(found, name, figure).value == pytest.approx(value)
        assert reading(found, name, "observed-minus-predicted").value == pytest.approx(observed - predicted)


@pytest.mark.usefixtures("few_draws")
def test_the_intervals_of_shares_hold_the_truth_as_often_as_they_say() -> None:
    truth, random, held = Scores(0.25, 1.0), generator(15), []
    for _ in range(400):
        noisy = truth.draw(6_000, random) + random.normal(0.0, 2.2 * AT_EPSILON_1, (2, SCORE_BINS))
        found = reading(evaluation(noisy, 2.2 * AT_EPSILON_1, SCALE, random), "lower half", "observed")
        held.append(within(found, truth.cells[1, :4].sum() / truth.cells[:, :4].sum()))
    assert 0.917 < np.mean(held) < 0.985


# --- counts ------------------------------------------------------------------------------------------------


def test_a_counts_interval_is_that_of_its_noise_within_what_is_public() -> None:
    found = count("all", 200.0, 10.0, 1000)
    assert (found.value, found.low, found.high) == pytest.approx((200.0, 180.4, 219.6), abs=0.01)
    assert count("all", -12.0, 10.0, 1000).value == 0.0
    assert count("all", 1012.0, 10.0, 1000).high == 1000.0


# --- fairness ----------------------------------------------------------------------------------------------

VALUES = ("one", "two", "three")


def shares(selected: tuple[float, ...], people: tuple[float, ...], rate: float = 0.2) -> Vector:
    """(V, 2, 2) people of each value, of whom a share is selected, whatever their label."""
    labels = np.array([1 - rate, rate])
    return np.array([n * np.outer([1 - s, s], labels) for s, n in zip(selected, people, strict=True)])


def test_shares_and_ratios_are_those_of_the_table() -> None:
    cells = shares((0.5, 0.25, 0.4), (40_000, 30_000, 20_000))
    found = fairness(cells, 0.5, VALUES, 10**6, generator())
    assert [reading(found, value, "selected").value for value in VALUES] == pytest.approx([0.5, 0.25, 0.4])
    assert [reading(found, value, "selected-of-positive").value for value in VALUES] == pytest.approx([0.5, 0.25, 0.4])
    assert [reading(found, value, "people").value for value in VALUES] == pytest.approx([40_000, 30_000, 20_000])
    ratios = [reading(found, value, "selected-ratio") for value in VALUES]
    assert [ratio.value for ratio in ratios] == pytest.approx([1.0, 0.5, 0.8])
    assert (ratios[0].low, ratios[0].high) == pytest.approx((1.0, 1.0)), "a value against itself is certain"
    assert within(ratios[1], 0.5)


@pytest.mark.usefixtures("few_draws")
def test_the_ratios_interval_holds_the_truth_as_often_as_it_says() -> None:
    random, held = generator(16), []
    truth = shares((0.5, 0.3, 0.2), (4_000, 2_500, 1_500))
    for _ in range(400):
        noisy = random.poisson(truth) + random.normal(0.0, AT_EPSILON_1, truth.shape)
        found = reading(fairness(noisy, AT_EPSILON_1, VALUES, 10**5, random), "two", "selected-ratio")
        held.append(within(found, 0.6))
    assert 0.917 < np.mean(held) < 0.985


def test_a_tiny_group_is_not_measurable_and_its_noisy_count_is_told() -> None:
    cells = shares((0.5, 0.5, 0.5), (5_000, 4_000, 30)) + generator(17).normal(0.0, AT_EPSILON_1, (3, 2, 2))
    found = fairness(cells, AT_EPSILON_1, VALUES, 10**5, generator())
    share, ratio = (reading(found, "three", name) for name in ("selected", "selected-ratio"))
    assert (share.value, share.low, share.high) == (None, 0.0, 1.0)
    assert "fewer people than 3 deviations" in (share.why or "")
    assert (ratio.value, ratio.low, ratio.high, ratio.why) == (
        *(None, None, None),
        "its share selected is not measurable",
    )
    assert reading(found, "three", "people").value is not None
    assert reading(found, "one", "selected").value is not None


def test_a_share_whose_interval_is_too_wide_is_not_told() -> None:
    """Well above three deviations of noise, and still wider than ±0.1: the interval is there."""
    cells = shares((0.5, 0.5, 0.5), (5_000, 5_000, 150))
    found = reading(fairness(cells, 10.0, VALUES, 10**5, generator()), "three", "selected")
    assert (found.value, found.why) == (None, "the interval is wider than ±0.1")
    assert within(found, 0.5)
    assert (found.high or 0) - (found.low or 0) > 2 * WIDEST["selected"]


def test_where_no_share_is_measurable_no_ratio_is() -> None:
    found = fairness(shares((0.5, 0.5, 0.5), (20, 20, 20)), AT_EPSILON_1, VALUES, 100, generator())
    assert all(reading(found, value, "selected-ratio").why for value in VALUES)


@pytest.mark.usefixtures("few_draws")
@given(st.integers(0, 2**32), st.floats(0.0, 60.0), st.floats(0.1, 200.0))
def test_whatever_the_noise_a_reading_is_a_number_or_a_reason_with_an_interval(
    seed: int, people: float, deviation: float
) -> None:
    random = generator(seed)
    noisy = random.normal(people, deviation, (2, SCORE_BINS))
    table = random.normal(people, deviation, (3, 2, 2))
    for one in evaluation(noisy, deviation, SCALE, random) + fairness(table, deviation, VALUES, 10**4, random):
        assert one.name in FIGURES
        assert (one.value is None) == (one.why is not None)
        if one.low is not None:
            numbers = [one.low, *([] if one.value is None else [one.value]), one.high]
            assert numbers == sorted(numbers)  # type: ignore[type-var]
            assert np.isfinite(numbers).all()  # type: ignore[arg-type]
        else:
            assert (one.name, one.high) == ("selected-ratio", None)


# --- the document ------------------------------------------------------------------------------------------

SPACE = space_of(number("hours"), category("job", *"abc"))
PEOPLE = {"North": 2000, "South": 100}
MEASURES = (EVALUATION, HEAD_COUNT, "fairness-sex")
SEXES = traits()["sex"]


THREE = {"East": 50, **PEOPLE}
Sums = dict[str, list[Part]]


def plan_of(
    measures: tuple[str, ...] = MEASURES,
    people: dict[str, int] | None = None,
    epsilon: str = "8",
    trust: str = LOCAL,
) -> Plan:
    return plan_at_epsilon(
        SPACE, people or PEOPLE, "retention", Decimal(epsilon), Decimal("0.00001"), trust, measures=measures
    )


def sums_of(plan: Plan, scale: Scale) -> Sums:
    """Noisy sums of made-up people: 1500 in the north, 8 elsewhere; under a secure sum added up."""
    random, noise = generator(18), seeded_source(19)
    found: Sums = {}
    for site in plan.sites:
        n = 1500 if site.name == "North" else 8
        cells = {"hours": random.uniform(0, 10, n), "job": random.integers(0, 3, n)}
        rows = rows_of(cells, random.random(n) < 0.3)
        stated = {"sex": random.integers(0, 2, n)}
        for event in plan.events[2:]:
            exact = measure(event.name, SPACE, rows, state_of(event.name, scale), stated)
            noisy = gaussian_sum(plan.at_site(event), exact, noise, f"{site.name}{event.name}".encode())
            found.setdefault(event.name, []).append(Part((site.name,), noisy))
    return found if plan.trust == LOCAL else {event: [added(parts)] for event, parts in found.items()}


def added(parts: list[Part]) -> Part:
    return Part(tuple(part.sites[0] for part in parts), np.asarray(sum(part.sum for part in parts)))


@pytest.fixture(scope="module")
def scale() -> Scale:
    return Scale(generator(20).normal(0.0, 0.5, SPACE.width), -0.2, 0.6, 0.1)


def test_a_document_holds_every_figure_of_the_group_and_of_every_site(scale: Scale) -> None:
    plan = plan_of()
    document = measures_document(plan, sums_of(plan, scale), scale)
    found = Measures.from_bytes(canonical.to_bytes(document))
    told = {(one.event, one.scope, one.of, one.name) for one in found.figures}
    for scope in ("group", "site/North", "site/South"):
        assert (EVALUATION, scope, "all", "auc") in told
        assert (HEAD_COUNT, scope, "all", "people") in told
        assert {("fairness-sex", scope, value, "selected-ratio") for value in SEXES} <= told
    by = {(one.scope, one.of, one.name): one for one in found.figures if one.event != "fairness-sex"}
    assert by["site/South", "all", "auc"].why is not None, "eight people"
    assert (
        float(by["site/North", "all", "people"].low or 0) <= 1500 <= float(by["site/North", "all", "people"].high or 0)
    )


def test_the_same_sums_are_read_the_same(scale: Scale) -> None:
    plan = plan_of()
    sums = sums_of(plan, scale)
    assert measures_document(plan, sums, scale) == measures_document(plan, sums, scale)


def test_heads_alone_are_counted_without_a_scale() -> None:
    plan = plan_of((HEAD_COUNT,))
    sums = {HEAD_COUNT: [Part((site,), np.array([10 * 2**20])) for site in PEOPLE]}
    document = measures_document(plan, sums, None)
    assert document["scale"] is None
    assert [(figure["scope"], figure["value"]) for figure in document["figures"]] == [
        ("group", "20.0"),
        ("site/North", "10.0"),
        ("site/South", "10.0"),
    ]


def test_single_sites_are_not_read_in_groups_of_very_many() -> None:
    plan = plan_of((HEAD_COUNT,), {f"site {n:03}": 100 for n in range(SITES_READ + 1)})
    sums = {HEAD_COUNT: [Part((site.name,), np.array([2**20])) for site in plan.sites]}
    assert [figure["scope"] for figure in measures_document(plan, sums, None)["figures"]] == ["group"]


def test_the_order_in_which_sites_replied_is_not_in_the_document(scale: Scale) -> None:
    plan = plan_of()
    sums = sums_of(plan, scale)
    turned = {event: parts[::-1] for event, parts in reversed(sums.items())}
    assert measures_document(plan, sums, scale) == measures_document(plan, turned, scale)


def test_a_group_with_a_site_absent_is_read_without_it() -> None:
    """Two thirds of three sites and one is all of them; of five, four."""
    people = {name: 100 for name in ("East", "Middle", "North", "South", "West")}
    plan = plan_of((HEAD_COUNT,), people)
    noise = plan.event(HEAD_COUNT).noise
    sums = {HEAD_COUNT: [Part((site,), np.array([10 * 2**20])) for site in list(people)[1:]]}
    document = measures_document(plan, sums, None)
    assert [part["sites"] for part in document["sums"][HEAD_COUNT]] == [["Middle"], ["North"], ["South"], ["West"]]
    assert "site/East" not in {figure["scope"] for figure in document["figures"]}
    group = document["figures"][0]
    away = 1.96 * 2 * noise / 2**20
    assert (group["scope"], group["value"]) == ("group", "40.0")
    assert float(group["high"]) == pytest.approx(min(40 + away, 400), abs=0.1)


def test_under_a_secure_sum_the_group_alone_is_read_and_with_less_noise(scale: Scale) -> None:
    plan, apart = plan_of(people=THREE, trust=SECURE_SUM), plan_of(people=THREE)
    document = measures_document(plan, sums_of(plan, scale), scale)
    assert {figure["scope"] for figure in document["figures"]} == {"group"}
    assert [part["sites"] for part in document["sums"][EVALUATION]] == [["East", "North", "South"]]
    found = Measures.from_bytes(canonical.to_bytes(document))

    def heads(measures: Measures) -> tuple[float, float]:
        (one,) = (one for one in measures.figures if (one.event, one.scope) == (HEAD_COUNT, "group"))
        return float(one.low or 0), float(one.high or 0)

    low, high = heads(found)
    assert low <= 1516 <= high
    wide = heads(Measures.from_bytes(canonical.to_bytes(measures_document(apart, sums_of(apart, scale), scale))))
    shares = plan.noise_shares
    assert high - low == pytest.approx((wide[1] - wide[0]) / shares**0.5, abs=0.2), (
        "two sites' shares make up the noise"
    )


def renamed(parts: list[Part], *names: str) -> list[Part]:
    return [Part((name,), part.sum) for name, part in zip(names, parts, strict=True)]


FAULTS: dict[str, Callable[[Sums], object]] = {
    "a measure is missing": lambda sums: sums.pop(EVALUATION),
    "another measure": lambda sums: sums.update({"gradient": sums[EVALUATION]}),
    "a site is missing": lambda sums: sums[EVALUATION].pop(),
    "a site too many": lambda sums: sums[EVALUATION].append(Part(("East",), sums[EVALUATION][0].sum)),
    "another site": lambda sums: sums.update({EVALUATION: renamed(sums[EVALUATION], "North", "East")}),
    "a site twice": lambda sums: sums.update({EVALUATION: renamed(sums[EVALUATION], "North", "North")}),
    "two sites in one part": lambda sums: sums.update({EVALUATION: [added(sums[EVALUATION])]}),
    "another length": lambda sums: sums.update(
        {EVALUATION: [sums[EVALUATION][0], Part(("South",), sums[EVALUATION][1].sum[:-1])]}
    ),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_sums_that_are_not_the_plans_are_refused(fault: Callable[[Sums], object], scale: Scale) -> None:
    plan = plan_of()
    sums = sums_of(plan, scale)
    fault(sums)
    with pytest.raises(InputError, match="expected"):
        measures_document(plan, sums, scale)


def test_scores_without_a_scale_and_a_plan_without_measures_are_refused(scale: Scale) -> None:
    plan = plan_of()
    with pytest.raises(InputError, match="expected the scale"):
        measures_document(plan, sums_of(plan, scale), None)
    with pytest.raises(InputError, match="expected a plan with at least one"):
        measures_document(plan_of(()), {}, None)
