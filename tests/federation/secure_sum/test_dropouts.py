"""The sum is exact whoever drops out, down to the threshold; below it there is none."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.wire import Unmasked
from privacy.errors import Refused
from tests.federation.secure_sum.scene import GRADIENT, GaussianSum, Scene, made, plan_of, summed, values_of

SITES, LEAST, RELEASES = 7, 5, 400
LONG = GaussianSum("gradient", RELEASES, 2, 24, 2**25, 2**28)
NUMBERS = st.lists(st.integers(-(2**61), 2**61), min_size=2, max_size=2)
_release = count()


@pytest.fixture(scope="module")
def scene(folder: Path) -> Scene:
    return made(folder, SITES, colluding=2, events=(LONG,))


def some(names: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.sets(st.sampled_from(names)).map(lambda chosen: tuple(sorted(chosen)))


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_the_sum_is_exact_for_every_dropout_above_the_threshold_and_refused_below(
    scene: Scene, data: st.DataObject
) -> None:
    """Sites stop before masking, after it, before signing and before unmasking; values are as large as they may be."""
    index = next(_release)
    values = {name: np.array(data.draw(NUMBERS)) // SITES for name in scene.names}
    began = data.draw(some(scene.names), "masked")
    arrived = data.draw(some(began), "of these arrived") if began else ()
    if len(arrived) < LEAST:
        for name in arrived:
            scene.sums[name].mask("run", "gradient", index, values[name])
            with pytest.raises(Refused, match="expected 5 at least"):
                scene.sums[name].agree("run", "gradient", index, arrived)
        return
    masked = scene.masked("gradient", index, values, began)
    masked = {name: masked[name] for name in arrived}
    signing = data.draw(some(arrived), "signed")
    answering = data.draw(some(arrived), "answered")
    everybody = arrived == scene.names
    signed = {} if everybody else {name: scene.sums[name].agree("run", "gradient", index, arrived) for name in signing}
    if not everybody and len(signed) < LEAST:
        for name in answering:
            with pytest.raises(Refused, match="expected 5 signatures"):
                scene.unmask(name, "gradient", index, arrived, signed)
        return
    replies = {name: scene.unmask(name, "gradient", index, arrived, signed) for name in answering}
    if len(replies) < LEAST:
        with pytest.raises(Refused, match="shares of 5 sites"):
            scene.coordinator.unmasked("gradient", index, masked, replies)
        return
    total, faults = scene.coordinator.unmasked("gradient", index, masked, replies)
    assert total is not None
    assert total.tolist() == summed(values, arrived).tolist()
    assert faults == {}


@pytest.mark.parametrize("advertising", [5, 6, 7])
@pytest.mark.parametrize("sharing", [5, 6, 7])
def test_sites_may_drop_out_while_keys_are_made(folder: Path, advertising: int, sharing: int) -> None:
    if sharing > advertising:
        return
    scene = Scene(plan_of(SITES, colluding=2), folder / f"{advertising} {sharing}")
    scene.set_up(scene.names[:advertising], scene.names[:sharing])
    values = values_of(scene.plan, "gradient")
    for index, gone in enumerate((0, sharing - LEAST)):
        survived = scene.names[gone:sharing]
        masked = scene.masked("gradient", index, values, survived)
        total, _ = scene.coordinator.unmasked("gradient", index, masked, scene.replies("gradient", index, survived))
        assert total is not None
        assert (total == summed(values, survived)).all()


def test_with_too_few_keys_or_shares_nothing_begins(folder: Path) -> None:
    scene = Scene(plan_of(SITES, colluding=2), folder / "few")
    adverts = {name: scene.sums[name].advert("run", scene.plan) for name in scene.names}
    few = {name: adverts[name] for name in scene.names[:4]}
    with pytest.raises(Refused, match="those of 5 sites at least, got 4"):
        scene.coordinator.advertised(few)
    with pytest.raises(Refused, match="those of 5 sites at least, got 4"):
        scene.sums[scene.names[0]].shares("run", scene.plan, tuple(few.values()))
    shown = scene.coordinator.advertised(adverts)
    shares = {name: scene.sums[name].shares("run", scene.plan, shown) for name in scene.names[:4]}
    with pytest.raises(Refused, match="those of 5 sites, got 4"):
        scene.coordinator.shared(shares)
    scene.sums[scene.names[6]].shares("run", scene.plan, shown)
    inbox = {name: shares[name][scene.names[6]] for name in scene.names[:3]}
    with pytest.raises(Refused, match="those of 4 others at least, got 3"):
        scene.sums[scene.names[6]].ready("run", scene.plan, inbox)
    with pytest.raises(Refused, match="given the others' shares"):
        scene.sums[scene.names[6]].mask("run", "gradient", 0, values_of(scene.plan, "gradient")[scene.names[6]])


def test_a_site_that_missed_a_release_takes_part_in_the_next(folder: Path) -> None:
    scene = Scene(plan_of(5), folder / "back")
    scene.set_up()
    values = values_of(scene.plan, "gradient")
    for index, survived in enumerate((scene.names[1:], scene.names)):
        masked = scene.masked("gradient", index, values, survived)
        total, _ = scene.coordinator.unmasked("gradient", index, masked, scene.replies("gradient", index, survived))
        assert total is not None
        assert (total == summed(values, survived)).all()


def test_unmasking_fewer_than_the_threshold_is_refused_whatever_is_replied(scene: Scene) -> None:
    nothing = {name: Unmasked({}, {}) for name in scene.names}
    with pytest.raises(Refused, match="values of 5 sites, got 0"):
        scene.coordinator.unmasked("gradient", 0, {}, nothing)


def test_the_largest_sums_come_out_right(folder: Path) -> None:
    """At the edges of what a plan may sum: nothing is lost to the modulus."""
    scene = Scene(plan_of(3, events=(GRADIENT,)), folder / "large")
    scene.set_up()
    edge = np.array([2**62 - 1, -(2**62) + 1, 0])
    values = {scene.names[0]: edge, scene.names[1]: np.array([1, -1, 0]), scene.names[2]: np.zeros(3, dtype=np.int64)}
    masked = scene.masked("gradient", 0, values, scene.names)
    total, _ = scene.coordinator.unmasked("gradient", 0, masked, scene.replies("gradient", 0, scene.names))
    assert total is not None
    assert total.tolist() == [2**62, -(2**62), 0]
