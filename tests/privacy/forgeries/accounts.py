"""Forged accounts, cosignatures and figures of cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

from privacy import checkpoint, key_list
from tests.privacy.forgeries.scene import (
    Scene,
    refused_by,
)
from tests.privacy.forging import (
    Files,
    certificate_of,
    excerpt_of,
    with_excerpt,
)
from tests.privacy.small_release import (
    NOW,
    SITES,
)

# Accounts


def stated(name: str, check: int, **changes: Any) -> None:
    """The first site's account, stated otherwise than its ledger has it."""

    def forgery(scene: Scene) -> Files:
        return scene.accounted(**changes)

    forgery.__name__ = f"account_{name}__by_coordinator"
    refused_by(check)(forgery)


stated("of_a_smaller_log", 8, size=3)
stated("of_another_root", 8, root="0" * 64)
stated("with_less_before", 9, total_before="0")
stated("with_less_after", 9, total_after="0.5")
stated("with_less_before_and_after", 9, total_before="0", total_after="0.37890625")
stated("with_the_worst_off_better_off", 9, worst_after="0.1")
stated("with_the_worst_off_better_off_before", 9, worst_before="0")
stated("with_less_for_the_group", 9, group_after="0.5")
stated("with_less_for_the_group_before", 9, group_before="0")
stated("with_a_shorter_life", 9, lifetime="0.5")
stated("with_a_higher_cap", 15, cap="9")
stated("with_a_higher_cap_of_the_group", 15, group_cap="9")
stated("of_another_group", 15, group="research")
stated("of_another_label", 15, label="2027")
stated("of_another_period", 15, period=1)
stated("of_another_budget", 15, budget=1)
stated("of_more_people_than_declared", 15, people_at_most=9_000)
stated("with_a_witness_who_did_not_sign", 16, witnesses=("East", SITES[1]))
stated("with_itself_as_witness", 16, witnesses=SITES)
stated("with_a_witness_left_out", 16, witnesses=())


@refused_by(16)
def cosignature_removed__by_coordinator(scene: Scene) -> Files:
    excerpt = excerpt_of(scene.files, 0)
    body, _, signatures = excerpt.checkpoint.partition("\n\n")
    own = signatures.split("\n")[0]
    return with_excerpt(scene.group, scene.files, 0, replace(excerpt, checkpoint=f"{body}\n\n{own}\n"))


@refused_by(16)
def cosignature_of_another_checkpoint__by_coordinator(scene: Scene) -> Files:
    new, old = excerpt_of(scene.files, 0), excerpt_of(scene.earlier, 0)
    lines = new.checkpoint.splitlines(keepends=True)
    forged = "".join([*lines[:-1], old.checkpoint.splitlines(keepends=True)[-1]])
    return with_excerpt(scene.group, scene.files, 0, replace(new, checkpoint=forged))


@refused_by(16)
def cosignature_by_the_coordinator_in_a_site_s_name__by_coordinator(scene: Scene) -> Files:
    new = excerpt_of(scene.files, 0)
    own = "".join(new.checkpoint.splitlines(keepends=True)[:-1])
    forged = checkpoint.cosign(own, checkpoint.origin_of(SITES[1]), scene.group.coordinator, NOW)
    return with_excerpt(scene.group, scene.files, 0, replace(new, checkpoint=forged))


@refused_by(16)
def cosignature_at_another_time__by_coordinator(scene: Scene) -> Files:
    new = excerpt_of(scene.files, 0)
    line = new.checkpoint.splitlines()[-1]
    raw = bytearray(key_list.fields.from_base64(line.rsplit(" ", 1)[1], "line"))
    raw[11] ^= 1  # the last byte of the time, after the key's id
    moved = line.rsplit(" ", 1)[0] + " " + key_list.fields.to_base64(bytes(raw))
    return with_excerpt(scene.group, scene.files, 0, replace(new, checkpoint=new.checkpoint.replace(line, moved)))


# Cost


def cost(name: str, check: int, change: Callable[[Any], dict[str, Any]]) -> None:
    """Another figure of the cost."""

    def forgery(scene: Scene) -> Files:
        return scene.costed(**change(certificate_of(scene.group, scene.files).cost))

    forgery.__name__ = f"{name}__by_coordinator"
    refused_by(check)(forgery)


def lowered(text: str, steps: int = 1) -> str:
    """A stated epsilon, so many of its last digits lower."""
    return f"{Decimal(text) - steps * Decimal('0.000001'):f}"


def lower_first(pairs: tuple[tuple[Any, str], ...]) -> tuple[tuple[Any, str], ...]:
    return ((pairs[0][0], lowered(pairs[0][1])), *pairs[1:])


cost("epsilon_understated_by_one_digit", 10, lambda one: {"epsilon": lowered(one.epsilon)})
cost("epsilon_overstated_by_three_digits", 10, lambda one: {"epsilon": lowered(one.epsilon, -3)})
cost("epsilon_called_beyond_700", 3, lambda one: {"epsilon": ">700"})
cost("mu2_understated", 10, lambda one: {"mu2": "0.3"})
cost("delta_changed", 10, lambda one: {"delta": "0.0001"})
cost("delta_in_another_writing", 10, lambda one: {"delta": "1E-5"})
cost("replace_one_understated", 10, lambda one: {"epsilon_replace_one": lowered(one.epsilon_replace_one)})
cost("two_sites_understated", 10, lambda one: {"epsilon_two_sites": lowered(one.epsilon_two_sites)})
cost("epsilon_at_another_delta_understated", 10, lambda one: {"epsilons": lower_first(one.epsilons)})
cost("epsilons_left_out", 10, lambda one: {"epsilons": one.epsilons[1:]})
cost("leavers_understated", 10, lambda one: {"leavers": lower_first(one.leavers)})
cost("leavers_left_out", 10, lambda one: {"leavers": ()})
cost("many_releases_understated", 10, lambda one: {"releases": lower_first(one.releases)})
cost("many_releases_of_another_number", 10, lambda one: {"releases": ((2, one.releases[0][1]), *one.releases[1:])})
cost("cumulative_understated", 10, lambda one: {"cumulative": (lowered(one.cumulative[0]), *one.cumulative[1:])})
cost("cumulative_cut_off", 10, lambda one: {"cumulative": one.cumulative[:-1]})
cost("accountant_renamed", 10, lambda one: {"accountant": "advanced composition"})
cost("second_accountant_renamed", 11, lambda one: {"second_accountant": "another"})
cost("second_accountant_understated", 11, lambda one: {"epsilon_second": lowered(one.epsilon_second, 10_000)})
cost("discretization_denied", 12, lambda one: {"discretization_delta": "0"})
cost("discretization_beyond_delta", 12, lambda one: {"discretization_delta": "0.001000"})
