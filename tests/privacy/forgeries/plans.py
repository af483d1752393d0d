"""Forged files under an honest certificate, and forged plans."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from privacy import release_files
from privacy.certificate import Mechanism
from privacy.plan import SiteBound
from tests.privacy.forgeries.scene import (
    CERTIFICATE,
    MEASURED,
    Scene,
    halved,
    new_folder,
    refused_by,
    spoil,
    swapped,
)
from tests.privacy.forging import (
    Files,
    Shown,
    certificate_of,
    replaced,
)
from tests.privacy.small_release import (
    RUN,
    SITES,
    Group,
    audit,
    plan,
    weights,
)

# Digests: files under a certificate that nobody signed anew


@refused_by(4)
def certificate_of_the_earlier_release_replayed(scene: Scene) -> Files:
    return {**scene.files, CERTIFICATE: scene.earlier[CERTIFICATE]}


@refused_by(4)
def weights_replaced(scene: Scene) -> Files:
    return {**scene.files, release_files.MODEL: weights(list(SITES), spoil("weights", [9.0, 9.0, 9.0]))}


@refused_by(4)
def card_with_a_space(scene: Scene) -> Files:
    return {**scene.files, release_files.CARD: scene.files[release_files.CARD] + b" "}


@refused_by(4)
def receipts_of_two_sites_swapped(scene: Scene) -> Files:
    return swapped(scene.files, release_files.receipts(0), release_files.receipts(1))


@refused_by(4)
def audit_removed(scene: Scene) -> Files:
    return {name: data for name, data in scene.files.items() if name != release_files.AUDIT}


@refused_by(4)
def audit_of_another_plan_slipped_in(scene: Scene) -> Files:
    return {**scene.files, release_files.AUDIT: audit(plan())}


@refused_by(4)
def a_file_that_the_certificate_leaves_out__by_coordinator(scene: Scene) -> Files:
    return scene.statement(lambda one: one["subject"].pop(0))


@refused_by(4)
def a_file_that_is_not_there_in_the_certificate__by_coordinator(scene: Scene) -> Files:
    return scene.statement(lambda one: one["subject"].append({"name": "more", "digest": {"sha256": "0" * 64}}))


# The plan


@refused_by(5)
def noise_halved_in_the_plan_alone__by_coordinator(scene: Scene) -> Files:
    return scene.certified({release_files.PLAN: replace(MEASURED, events=halved()).to_bytes()})


@refused_by(5)
def noise_halved_in_the_certificate_alone__by_coordinator(scene: Scene) -> Files:
    mechanism = certificate_of(scene.group, scene.files).mechanism
    return scene.certified(mechanism=replace(mechanism, events=halved()))


@refused_by(5)
def clip_changed_in_the_certificate_alone__by_coordinator(scene: Scene) -> Files:
    return scene.certified(mechanism=replace(certificate_of(scene.group, scene.files).mechanism, clip="0.5"))


@refused_by(5)
def unit_changed_in_the_certificate_alone__by_coordinator(scene: Scene) -> Files:
    return scene.certified(mechanism=replace(certificate_of(scene.group, scene.files).mechanism, unit="site"))


@refused_by(5)
def key_of_another_in_an_account__by_coordinator(scene: Scene) -> Files:
    return scene.accounted(keyid=scene.group.coordinator.keyid)


@refused_by(5)
def accounts_in_another_order__by_coordinator(scene: Scene) -> Files:
    return scene.certified(accounts=certificate_of(scene.group, scene.files).accounts[::-1])


@refused_by(5)
def an_account_left_out__by_coordinator(scene: Scene) -> Files:
    return scene.certified(accounts=certificate_of(scene.group, scene.files).accounts[:1])


@refused_by(5)
def site_with_a_cyrillic_letter__by_coordinator(scene: Scene) -> Files:
    return renamed(scene, "N\N{CYRILLIC SMALL LETTER O}rth")


@refused_by(5)
def site_in_decomposed_letters__by_coordinator(scene: Scene) -> Files:
    return renamed(scene, "No\N{COMBINING DIAERESIS}rth")


@refused_by(5)
def site_with_a_zero_width_space__by_coordinator(scene: Scene) -> Files:
    return renamed(scene, "North\N{ZERO WIDTH SPACE}")


def renamed(scene: Scene, name: str) -> Files:
    """The release with its first site under another name, in plan and certificate."""
    forged = replace(MEASURED, sites=tuple(sorted((SiteBound(name, 100), MEASURED.sites[1]), key=lambda one: one.name)))
    accounts = certificate_of(scene.group, scene.files).accounts
    by_name = sorted((replace(accounts[0], site=name), accounts[1]), key=lambda one: one.site)
    changed = {release_files.PLAN: forged.to_bytes()}
    return scene.certified(changed, mechanism=Mechanism.of(forged), accounts=tuple(by_name))


def plan_bytes(name: str, change: Callable[[bytes], bytes]) -> None:
    """plan.json in other bytes, whose digest the certificate states."""

    def forgery(scene: Scene) -> Files:
        return scene.certified({release_files.PLAN: change(scene.files[release_files.PLAN])})

    forgery.__name__ = f"plan_{name}__by_coordinator"
    refused_by(5)(forgery)


plan_bytes("with_a_byte_order_mark", lambda data: b"\xef\xbb\xbf" + data)
plan_bytes("with_crlf", lambda data: data + b"\r\n")
plan_bytes("with_a_key_twice", lambda data: replaced(data, '"clip":"1"', '"clip":"9","clip":"1"'))
plan_bytes("with_a_space", lambda data: replaced(data, '"clip":"1"', '"clip": "1"'))
plan_bytes("with_a_fraction", lambda data: replaced(data, '"people_at_most":100', '"people_at_most":100.0'))
plan_bytes("with_an_exponent", lambda data: replaced(data, '"people_at_most":100', '"people_at_most":1e2'))
plan_bytes("with_2_to_the_53", lambda data: replaced(data, '"people_at_most":100', f'"people_at_most":{2**53}'))
plan_bytes("with_10_to_the_400", lambda data: replaced(data, '"people_at_most":100', f'"people_at_most":{10**400}'))
plan_bytes("with_nan", lambda data: replaced(data, '"people_at_most":100', '"people_at_most":NaN'))
plan_bytes("with_deep_nesting", lambda data: replaced(data, '"clip":"1"', f'"clip":{"[" * 9_999}{"]" * 9_999}'))
plan_bytes("with_a_rate_of_1_0", lambda data: replaced(data, '"rate":"1"', '"rate":"1.0"'))
plan_bytes("with_a_rate_above_1", lambda data: replaced(data, '"rate":"1"', '"rate":"2"'))
plan_bytes("without_noise", lambda data: replaced(data, f'"noise":{2**22}', '"noise":0'))
plan_bytes("with_a_clip_that_is_none", lambda data: replaced(data, '"clip":"1"', '"clip":"Infinity"'))
plan_bytes("with_replaced_neighbours", lambda data: replaced(data, "add-remove", "zero-out"))
plan_bytes("of_an_unknown_mechanism", lambda data: replaced(data, "discrete-gaussian-on-grid", "laplace"))


@refused_by(5)
def a_clip_beyond_the_sensitivity__by_everyone(scene: Scene) -> Shown:
    group = Group(new_folder(scene, "clip"))
    return Shown(group.train(RUN, plan(clip="1.000001")), group.pinned)
