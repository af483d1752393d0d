"""Forged receipts, and plans that never ran: they have none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from privacy import release_files
from privacy.plan import SiteBound
from tests.privacy.forgeries.scene import (
    MEASURED,
    Scene,
    halved,
    new_folder,
    refused_by,
    swapped,
)
from tests.privacy.forging import (
    Files,
    Shown,
    certificate_of,
    certified,
    lines_of,
    with_lines,
    with_receipt,
)
from tests.privacy.small_release import (
    RUN,
    SITES,
    Group,
    plan,
)


def replan(scene: Scene, **changes: object) -> Files:
    return scene.replanned(replace(MEASURED, **changes))


@refused_by(6)
def noise_halved_and_everything_redone__by_coordinator(scene: Scene) -> Files:
    return replan(scene, events=halved())


@refused_by(6)
def rate_changed_and_everything_redone__by_coordinator(scene: Scene) -> Files:
    return replan(scene, events=tuple(replace(event, rate="0.5") for event in MEASURED.events))


@refused_by(6)
def clip_changed_and_everything_redone__by_coordinator(scene: Scene) -> Files:
    return replan(scene, clip="0.5")


@refused_by(6)
def delta_changed_and_everything_redone__by_coordinator(scene: Scene) -> Files:
    return replan(scene, delta="0.0001")


@refused_by(6)
def delta_in_another_writing_and_everything_redone__by_coordinator(scene: Scene) -> Files:
    return replan(scene, delta="1E-5")


@refused_by(6)
def people_at_most_changed_and_everything_redone__by_coordinator(scene: Scene) -> Files:
    return replan(scene, sites=tuple(SiteBound(name, 9_000) for name in SITES))


@refused_by(6)
def use_case_changed_and_everything_redone__by_coordinator(scene: Scene) -> Files:
    return replan(scene, use_case="mentoring")


@refused_by(6)
def float64_noise_and_everything_redone__by_coordinator(scene: Scene) -> Files:
    return replan(scene, mechanism="float64-gaussian-on-grid")


@refused_by(6)
def a_site_removed_and_everything_redone__by_coordinator(scene: Scene) -> Files:
    forged = replace(MEASURED, sites=MEASURED.sites[:1])
    gone = (release_files.receipts(1), release_files.ledger(1))
    files = {name: data for name, data in scene.replanned(forged).items() if name not in gone}
    accounts = certificate_of(scene.group, scene.files).accounts[:1]
    return certified(scene.group, files, accounts=accounts)


@refused_by(6)
def another_run__by_coordinator(scene: Scene) -> Files:
    return scene.certified(run="run-2")


@refused_by(6)
def receipts_swapped_between_sites__by_coordinator(scene: Scene) -> Files:
    names = release_files.receipts(0), release_files.receipts(1)
    return certified(scene.group, swapped(scene.files, *names))


@refused_by(6)
def receipts_of_the_earlier_run__by_coordinator(scene: Scene) -> Files:
    return with_lines(scene.group, scene.files, 0, [*lines_of(scene.earlier, 0), lines_of(scene.files, 0)[-1]])


def lines(name: str, change: Callable[[list[bytes], list[bytes]], list[bytes]]) -> None:
    """The first site's receipts, from its own and the other's."""

    def forgery(scene: Scene) -> Files:
        own, other = lines_of(scene.files, 0), lines_of(scene.files, 1)
        return with_lines(scene.group, scene.files, 0, change(own, other))

    forgery.__name__ = f"receipts_{name}__by_coordinator"
    refused_by(6)(forgery)


lines("swapped_within_a_site", lambda own, other: [own[0], own[2], own[1], own[3]])
lines("with_one_dropped", lambda own, other: own[:-1])
lines("dropped", lambda own, other: [])
lines("with_one_doubled", lambda own, other: [*own, own[-1]])
lines("with_one_in_the_place_of_another", lambda own, other: [own[0], own[1], own[1], own[3]])
lines("with_one_of_another_site", lambda own, other: [*own[:3], other[3]])
lines("unended", lambda own, other: [*own[:3], own[3][:-1]])
lines("with_an_empty_line", lambda own, other: [*own, b"\n"])
lines("with_crlf", lambda own, other: [line[:-1] + b"\r\n" for line in own])
lines("with_a_byte_order_mark", lambda own, other: [b"\xef\xbb\xbf", *own])
lines("with_a_space", lambda own, other: [b" ", *own])


def receipt(name: str, check: int, line: int = 1, **changes: object) -> None:
    """One receipt of the first site, signed anew with these changes."""

    def forgery(scene: Scene) -> Files:
        return with_receipt(scene.group, scene.files, line, **changes)

    forgery.__name__ = f"receipt_{name}__by_site"
    refused_by(check)(forgery)


receipt("of_another_run", 6, run="run-0")
receipt("of_another_plan", 6, plan=plan().digest)
receipt("of_another_site", 6, site=SITES[1])
receipt("of_a_release_beyond_the_plan", 6, index=2)
receipt("with_mu2_understated", 6, mu2="0.01")
receipt("at_another_state_than_the_others", 6, state="0" * 64)
receipt("of_second_moments_at_a_state", 6, line=0, state="0" * 64)
receipt("with_seeded_noise", 7, noise="seeded-for-tests")
receipt("with_float64_noise", 7, noise="os-float64")
receipt("of_a_charge_that_is_not_there", 8, position=10_000)
receipt("of_another_charge", 8, position=1)
receipt("with_another_leaf", 8, leaf="0" * 64)


@refused_by(6)
def receipt_signed_by_the_coordinator_for_a_site__by_coordinator(scene: Scene) -> Files:
    return with_receipt(scene.group, scene.files, 1, signer=scene.group.coordinator)


@refused_by(6)
def receipt_signed_by_another_site__by_site(scene: Scene) -> Files:
    return with_receipt(scene.group, scene.files, 1, signer=scene.group.sites[1].signer)


@refused_by(7)
def seeded_noise_called_secure__by_everyone(scene: Scene) -> Shown:
    group = Group(new_folder(scene, "seeded"), noise="seeded-for-tests")
    return Shown(certified(group, group.train(RUN, plan()), noise="os"), group.pinned)


@refused_by(7)
def noise_of_another_name__by_coordinator(scene: Scene) -> Files:
    return scene.certified(noise="hardware")
