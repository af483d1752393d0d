"""What a plan is expected to learn: more with more people and budget, the same for everybody, near what is measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import pytest

from models import forecast as module
from models.evaluation import added_up, evaluate
from models.features import FeatureSpace
from models.forecast import EPSILONS, TIMES_PEOPLE, Forecast, Help, forecast, what_would_help
from models.planning import HEAD_COUNT, plan_at_epsilon
from privacy.errors import InputError
from privacy.plan import SECURE_SUM, Plan
from privacy.randomness import seeded_source
from records.contract import Contract
from records.minimize import MinimizedRows
from tests.models.spaces import QUANTITY, category, number, ordered, space_of

SPACE = space_of(number("hours"), number("mark", 1.0, 5.0, step=1.0), ordered("grade", "low", "middle", "high"))
DELTA = Decimal("0.00001")
GROUP = {"Large": 900, "Middle": 600, "Small": 60}


def plan_of(people: Mapping[str, int], epsilon: str, space: FeatureSpace = SPACE, **more: object) -> Plan:
    settings: dict[str, Any] = {"trust": "local", **more}
    return plan_at_epsilon(space, people, "retention", Decimal(epsilon), DELTA, **settings)


@pytest.fixture(scope="module", autouse=True)
def _fewer_made_up_groups() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SEEDS_FOR_FEW", 3)
        yield


@pytest.fixture(scope="module")
def of_group() -> Forecast:
    return forecast(SPACE, plan_of(GROUP, "1"))


def test_everybody_gets_the_same_forecast(of_group: Forecast) -> None:
    assert forecast(SPACE, plan_of(GROUP, "1")) == of_group


def test_together_beats_alone_and_a_larger_site_beats_a_smaller(of_group: Forecast) -> None:
    alone = of_group.alone
    assert of_group.federated > alone["Large"] > alone["Middle"] > alone["Small"]
    assert of_group.best >= of_group.without_privacy > of_group.federated


def test_a_small_site_is_useless_alone_where_the_group_is_not(of_group: Forecast) -> None:
    assert of_group.is_useful(of_group.federated)
    assert not of_group.is_useful(of_group.alone["Small"])
    assert of_group.recovered(of_group.useful_from) == pytest.approx(module.USEFUL)
    assert of_group.recovered(of_group.chance - 0.1) == 0


def test_a_larger_budget_teaches_more() -> None:
    figures = [forecast(SPACE, plan_of({"Only": 400}, epsilon)).federated for epsilon in ("0.1", "0.5", "3")]
    assert figures == sorted(figures)
    assert figures[-1] - figures[0] > 0.05


def test_a_site_by_itself_is_the_group() -> None:
    found = forecast(SPACE, plan_of({"Only": 500}, "1"))
    assert found.alone == {"Only": found.federated}


def test_stated_head_counts_below_the_bound_teach_less_than_the_bound(of_group: Forecast) -> None:
    stated = forecast(SPACE, plan_of(GROUP, "1"), {"Large": 200})
    assert stated.federated < of_group.federated
    assert stated.alone["Large"] < of_group.alone["Large"]
    assert stated.alone["Small"] == of_group.alone["Small"]


@pytest.mark.parametrize(
    "people", [{"Elsewhere": 5}, {"Large": 0}, {"Large": 901}], ids=["another site", "nobody", "above the bound"]
)
def test_head_counts_that_contradict_the_plan_are_refused(people: dict[str, int]) -> None:
    with pytest.raises(InputError, match="people"):
        forecast(SPACE, plan_of(GROUP, "1"), people)


def test_masks_help_many_sites_and_change_nothing_for_a_site_alone() -> None:
    many = {f"site {n:02}": 120 for n in range(10)}
    local, masked = (forecast(SPACE, plan_of(many, "0.3", trust=trust)) for trust in ("local", "secure-sum"))
    assert masked.federated > local.federated + 0.03
    assert masked.alone == local.alone


def test_sites_put_together_under_masks_have_the_noise_of_all_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of({f"site {n:02}": 60 for n in range(30)}, "0.5", trust="secure-sum")
    sizes = {site.name: (60, 60) for site in plan.sites}
    together = module._Together.of(SPACE, plan, sizes, SECURE_SUM, module.MOST_ROWS)
    assert len(together.plan.sites) == module.MOST_SITES
    for event in plan.events:
        whole = added_up(plan, event.name, 30).noise
        assert added_up(together.plan, event.name, module.MOST_SITES).noise == pytest.approx(whole, rel=1e-6)


def test_people_and_noise_scaled_together_give_about_the_same_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of({"Only": 6000}, "0.2")
    whole = forecast(SPACE, plan)
    monkeypatch.setattr(module, "MOST_ROWS", 2000)
    scaled = forecast(SPACE, plan)
    assert not whole.notes
    assert "6,000 people were scaled to about 2,000" in scaled.notes[0]
    assert scaled.federated == pytest.approx(whole.federated, abs=0.01)
    unscaled = forecast(SPACE, plan_of({"Only": 2000}, "0.2"))
    assert unscaled.federated < scaled.federated - 0.01  # had the noise not been scaled, it would be this


def test_sites_put_together_give_about_the_same_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    many = plan_of({f"site {n:02}": 50 + 20 * n for n in range(8)}, "1")
    monkeypatch.setattr(module, "MOST_SITES", 8)
    one_by_one = forecast(SPACE, many)
    monkeypatch.setattr(module, "MOST_SITES", 4)
    together = forecast(SPACE, many)
    assert any("8 sites were put together to 4" in note for note in together.notes)
    assert together.federated == pytest.approx(one_by_one.federated, abs=0.03)
    assert set(together.alone) == set(one_by_one.alone)
    assert len(set(together.alone.values())) <= 4


def test_a_million_people_lose_almost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 4000)
    found = forecast(SPACE, plan_of({"Only": 1_000_000}, "0.5"))
    assert found.federated == pytest.approx(found.without_privacy, abs=0.003)


def test_measures_take_their_share_and_teach_nothing() -> None:
    with_measure = plan_of({"Only": 400}, "0.5", measures=(HEAD_COUNT,))
    plain = forecast(SPACE, plan_of({"Only": 400}, "0.5"))
    assert forecast(SPACE, with_measure).federated < plain.federated


def test_a_number_is_forecast_as_the_share_of_its_variance() -> None:
    space = space_of(number("hours"), label=QUANTITY)
    found = forecast(space, plan_of({"Only": 20_000}, "3", space))
    assert (found.metric, found.chance) == ("R²", 0.0)
    assert found.is_useful(found.federated)
    assert found.federated < found.best


def test_what_would_help_is_the_first_step_that_does() -> None:
    people = {"North": 60, "South": 60}
    plan = plan_of(people, "0.3")
    assert not _useful(plan)
    found = what_would_help(SPACE, plan, Decimal("0.3"))
    assert found.epsilon in EPSILONS
    assert _useful(plan_of(people, str(found.epsilon)))
    below = EPSILONS[EPSILONS.index(str(found.epsilon)) - 1]
    assert Decimal(below) <= Decimal("0.3") or not _useful(plan_of(people, below))
    assert found.people is not None
    times = found.people // 120
    assert times in TIMES_PEOPLE
    assert _useful(plan_of({name: n * times for name, n in people.items()}, "0.3"))
    assert not found.masks, "two sites can not add up under masks"


@pytest.mark.long
def test_masks_are_said_to_help_where_the_forecast_under_masks_is_useful() -> None:
    people = {f"site {n}": 60 for n in range(8)}
    found = what_would_help(SPACE, plan_of(people, "0.2"), Decimal("0.2"))
    assert found.masks == _useful(plan_of(people, "0.2", trust="secure-sum"))


def test_where_nothing_helps_it_says_so() -> None:
    space = space_of(category("team", "red", "green"))  # at a budget of next to nothing
    found = what_would_help(space, plan_of({"Only": 1}, "0.001", space), Decimal("10"))
    assert found == Help(None, None, masks=False)


def _useful(plan: Plan) -> bool:
    found = forecast(SPACE, plan)
    return found.is_useful(found.federated)


@pytest.mark.long
@pytest.mark.parametrize("epsilon", ["0.5", "3"])
def test_a_forecast_is_near_what_is_measured_on_people_it_knows_nothing_of(
    epsilon: str, group_rows: MinimizedRows, group_contract: Contract
) -> None:
    """The sample group has effects, sites and correlations of its own making."""
    measured = evaluate(group_contract, group_rows, Decimal(epsilon), DELTA, "local", range(2), seeded_source(0))
    trained = {name: round(0.75 * people) for name, people in measured.people.items()}
    expected = forecast(FeatureSpace.from_contract(group_contract), measured.plan, trained)
    assert expected.federated == pytest.approx(measured.mean("federated"), abs=0.05)
