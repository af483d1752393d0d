"""Whoever carries the messages, with as many sites on its side as the plan says, learns a sum of the others or nothing.

The argument is in docs/secure-sum.md. Here (1) coordinators that ask whatever they like are let loose on real sites,
and what they then know of masks is solved for what it tells of values; (2) a view is shown to be the same, byte for
byte, for other values with the same sum, once masks that nobody can know are taken as random, as the argument does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import event as note
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.secure_sum import survivors
from federation.secure_sum.at_site import SumAtSite
from federation.secure_sum.masks import Masked, Masks
from privacy.errors import KithError
from privacy.plan import GaussianSum, Plan
from tests.federation.secure_sum.scene import RUN, Scene, made, plan_of, values_of

ONE = GaussianSum("gradient", 1, 2, 24, 2**25, 2**28)
OF = ("gradient", 0)
Names = tuple[str, ...]
_runs = count()


@dataclass
class Knowledge:
    """What a coordinator with the last `plan.colluding` sites on its side gets out of one release of a run.

    Attributes:
        sums: by honest site, the sites of the sum that it was told of.
        seeds, keys: by honest site, who gave a share of its seed and of its mask key.
    """

    plan: Plan
    sums: Mapping[str, Names]
    seeds: dict[str, set[str]] = field(default_factory=dict)
    keys: dict[str, set[str]] = field(default_factory=dict)

    @property
    def honest(self) -> Names:
        return tuple(site.name for site in self.plan.sites)[: -self.plan.colluding]

    def learned(self) -> list[Names]:
        """The sites in each of the independent sums of values that can be had of all masked values.

        Each honest site's masked values are its values, its own mask unless its seed is known, and a mask for each
        honest other of its sum unless either's key is known. Those that are not known are random and independent, so
        what can be had is what remains of combinations in which they cancel out.
        """
        seeds = {name for name in self.honest if len(self.seeds[name]) >= self.plan.replies_at_least}
        keys = {name for name in self.honest if len(self.keys[name]) >= self.plan.replies_at_least}
        columns: dict[object, int] = {}
        entries: list[tuple[int, object, int]] = []
        for row, name in enumerate(self.honest):
            if name not in seeds:
                entries.append((row, name, 1))
            for other in set(self.sums[name]) & set(self.honest) - {name}:
                if not {name, other} & keys:
                    entries.append((row, (*sorted((name, other)), self.sums[name]), 1 if name < other else -1))
        for _, column, _ in entries:
            columns.setdefault(column, len(columns))
        matrix = np.zeros((len(self.honest), len(columns)))
        for row, column, value in entries:
            matrix[row, columns[column]] = value
        left, singular, _ = np.linalg.svd(matrix)
        rank = int((singular > 1e-9).sum())
        free = left[:, rank:].T
        return [tuple(np.array(self.honest)[np.abs(one) > 1e-9]) for one in free]


def played(
    scene: Scene,
    sums: Mapping[str, Names],
    signing: Mapping[str, Sequence[Names]],
    asking: Mapping[str, Sequence[Names]],
) -> Knowledge:
    """What is known after one release of a new run in which the coordinator does as it likes.

    Args:
        scene: whose last sites are on the coordinator's side.
        sums: the sites of the sum that each honest site is told of.
        signing: lists that each honest site is asked to sign, one after the other; the others sign all.
        asking: lists that each honest site is then asked to unmask.
    """
    run, plan = f"run {next(_runs)}", scene.plan
    known = Knowledge(plan, sums)
    adverts = [scene.sums[name].advert(run, plan) for name in scene.names]
    shares = {name: scene.sums[name].shares(run, plan, adverts) for name in scene.names}
    for name in known.honest:
        scene.sums[name].ready(run, plan, {other: shares[other][name] for other in sums[name] if other != name})
        scene.sums[name].mask(run, *OF, np.zeros(2, dtype=np.int64))
    signed: dict[Names, dict[str, bytes]] = {}
    for name, lists in signing.items():
        for survived in lists:
            with suppress(KithError):
                signed.setdefault(survived, {})[name] = scene.sums[name].agree(run, *OF, survived)
    bad = scene.names[len(known.honest) :]
    known.seeds = {name: set(bad) for name in known.honest}
    known.keys = {name: set(bad) for name in known.honest}
    for name, lists in asking.items():
        for survived in lists:
            with suppress(KithError):
                statement = survivors.statement(run, plan.digest, *OF, survived)
                theirs = {one: survivors.sign(statement, scene.signers[one]) for one in bad}
                all_signed = {**signed.get(survived, {}), **theirs}
                seeds, keys = scene.sums[name].unmask(run, *OF, survived, all_signed)
                for owner in set(seeds) & set(known.honest):
                    known.seeds[owner].add(name)
                for owner in set(keys) & set(known.honest):
                    known.keys[owner].add(name)
    return known


def lists_of(names: Names, least: int, with_: str = "") -> st.SearchStrategy[Names]:
    return st.sets(st.sampled_from(names), min_size=least).map(
        lambda some: tuple(sorted({*some, *([with_] * bool(with_))}))
    )


@pytest.fixture(scope="module", params=[(4, 3, 1), (7, 5, 2), (5, 4, 2)], ids=str)
def scene(request: pytest.FixtureRequest, folder: Path) -> Scene:
    """So many sites, so many replies, so many sites on the coordinator's side."""
    sites, least, colluding = request.param
    return Scene(plan_of(sites, colluding, least, [ONE]), folder / str(request.param))


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_a_coordinator_that_asks_what_it_likes_learns_one_sum_of_enough_sites_or_nothing(
    scene: Scene, data: st.DataObject
) -> None:
    least, honest = scene.plan.replies_at_least, scene.names[: -scene.plan.colluding]
    everybody = st.just(scene.names)
    sums = {name: data.draw(st.one_of(everybody, lists_of(scene.names, least, name))) for name in honest}
    stories = data.draw(st.lists(st.one_of(everybody, lists_of(scene.names, least)), min_size=1, max_size=3))
    told = st.lists(st.sampled_from(stories), max_size=3)
    known = played(scene, sums, {name: data.draw(told) for name in honest}, {name: data.draw(told) for name in honest})
    for name in honest:
        assert len(known.seeds[name]) < least or len(known.keys[name]) < least
    learned = known.learned()
    note(f"sums learned: {len(learned)}")
    assert len(learned) <= 1
    assert all(len(sites) >= least - scene.plan.colluding for sites in learned)


def test_an_honest_coordinator_learns_the_sum_of_all_or_of_the_survivors(scene: Scene) -> None:
    honest = scene.names[: -scene.plan.colluding]
    sums = dict.fromkeys(honest, scene.names)
    whole = {name: [scene.names] for name in honest}
    assert played(scene, sums, {}, whole).learned() == [honest]
    if len(scene.names) > scene.plan.replies_at_least:
        survived = scene.names[1:]
        some = {name: [survived] for name in honest}
        assert played(scene, sums, some, some).learned() == [honest[1:]]


def test_sites_that_answered_for_two_lists_would_give_a_site_away(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the first test would find if rule 4 of `at_site` were not kept."""
    monkeypatch.setattr(SumAtSite, "_decide", lambda *_: None)
    monkeypatch.setattr(SumAtSite, "_check_list", lambda *_: None)
    honest, survived = scene.names[: -scene.plan.colluding], scene.names[1:]
    both = {name: [scene.names, survived] for name in honest}
    known = played(scene, dict.fromkeys(honest, scene.names), both, both)
    assert len(known.seeds[honest[0]]) >= scene.plan.replies_at_least <= len(known.keys[honest[0]])
    assert len(known.learned()) == 2


def test_lists_without_signatures_would_tell_the_sum_of_too_few(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What rule 6 is for. Every site is told another list, none too short: six are left out by seven others each."""
    scene = Scene(plan_of(16, 4, 11, [ONE]), folder / "mixture")
    monkeypatch.setattr(survivors, "count", lambda *_: scene.plan.replies_at_least)
    left_out, rest = scene.names[:6], scene.names[6:12]
    told: dict[str, list[Names]] = {}
    for spared, other in zip(left_out, rest, strict=True):
        story = tuple(name for name in scene.names if name not in left_out or name == spared)
        told |= {spared: [story], other: [story]}
    known = played(scene, dict.fromkeys(told, scene.names), {}, told)
    assert known.learned() == [rest]
    assert len(rest) < scene.plan.replies_at_least - scene.plan.colluding


# The same view


@dataclass
class View:
    """All that a coordinator and the sites on its side see of one release, and what it comes to."""

    said: list[Any]
    total: list[int]


def view(folder: Path, values: Mapping[str, np.ndarray], hidden: Mapping[object, Masked]) -> View:
    """Five sites; the last is on the coordinator's side, and the fourth is said to have dropped out.

    Args:
        folder: for the sites' stores.
        values: of each site.
        hidden: masks that nobody can know: of pairs of honest survivors, and the dropped site's own.
    """
    scene = Scene(plan_of(5, events=[ONE]), folder)
    survived = (*scene.names[:3], scene.names[4])
    with pytest.MonkeyPatch.context() as patch:
        of_pair, of_site = Masks.of_pair, Masks.of_site

        def pair(self: Masks, site: str, other: str, *keys: Any) -> Masked:
            mask = hidden.get(tuple(sorted((site, other))))
            return of_pair(self, site, other, *keys) if mask is None else mask if site < other else np.negative(mask)

        def own(self: Masks, site: str, seed: bytes) -> Masked:
            return hidden[site] if site in hidden else of_site(self, site, seed)

        patch.setattr(Masks, "of_pair", pair)
        patch.setattr(Masks, "of_site", own)
        scene.set_up()
        masked = scene.masked(*OF, values, scene.names)
    signed = scene.signatures(*OF, survived)
    replies = scene.replies(*OF, survived)
    total, faults = scene.coordinator.unmasked(*OF, {name: masked[name] for name in survived}, replies)
    assert total is not None
    told = (
        scene.coordinator.to_document(),
        {name: one.tolist() for name, one in masked.items()},
        signed,
        replies,
        faults,
    )
    return View([*told, scene.sums[scene.names[4]]._of(RUN)._secrets.root], total.tolist())


def test_other_values_with_the_same_sum_give_the_very_same_view(folder: Path) -> None:
    """As often as one view comes about for some values, it does for any others: masks are shifted by the difference."""
    names = plan_of(5).sites[0].name, plan_of(5).sites[1].name, plan_of(5).sites[2].name, plan_of(5).sites[3].name
    rng = np.random.Generator(np.random.PCG64(1))
    pairs = [(names[0], names[1]), (names[0], names[2]), (names[1], names[2])]
    hidden: dict[object, Masked] = {one: rng.integers(0, 2**64, 2, dtype=np.uint64) for one in (*pairs, names[3])}
    values = dict(values_of(plan_of(5, events=[ONE]), "gradient"))
    first, second, dropped = (rng.integers(-(2**60), 2**60, 2) for _ in range(3))
    others = {
        **values,
        names[0]: values[names[0]] + first,
        names[1]: values[names[1]] + second,
        names[2]: values[names[2]] - first - second,
        names[3]: dropped,
    }
    shifted = {
        **hidden,
        pairs[1]: hidden[pairs[1]] - first.view(np.uint64),
        pairs[2]: hidden[pairs[2]] - second.view(np.uint64),
        names[3]: hidden[names[3]] + (values[names[3]] - dropped).view(np.uint64),
    }
    one, another = view(folder / "one", values, hidden), view(folder / "another", others, shifted)
    assert one == another
    assert one.total == sum(values[name] for name in (*names[:3], "site 0004")).tolist()
    assert view(folder / "no sum", {**others, names[0]: values[names[0]]}, shifted) != one


def test_told_secrets_of_one_release_say_nothing_of_another(folder: Path) -> None:
    """Each release has keys and seeds of its own: none is told twice, and none is made of another."""
    scene = made(folder / "own keys", 3)
    told: set[bytes] = set()
    for name in scene.names:
        secrets = scene.sums[name]._of(RUN)._secrets
        told |= {secrets._piece(place) for place in range(1 + 2 * secrets.count)}
    assert len(told) == 3 * (1 + 2 * 3)
