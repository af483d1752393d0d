"""Forged absences, and forged promises of who replied and who may collude."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from privacy import canonical, release_files
from privacy.certificate import FAILED, Absence, Mechanism
from privacy.cost import cost_of
from privacy.entries import Charged, Entry
from privacy.measures_file import Figure
from privacy.plan import LOCAL, Plan
from tests.privacy.forgeries.scene import Scene, new_folder, refused_by
from tests.privacy.forging import (
    Files,
    Shown,
    certificate_of,
    certified,
    replaced,
    rewritten,
    signed_statement,
)
from tests.privacy.small_release import (
    MASKED_SITES,
    RUN,
    SITES,
    Group,
    absent,
    masked_plan,
    measures,
    plan,
    releases_of,
)


def made_absent(scene: Scene, *absences: Absence, **changes: Any) -> Shown:
    """The release of the group in which one site was absent once, under these absences."""
    group, files = scene.absent
    return Shown(certified(group, files, absences=absences, **changes), group.pinned)


def made_masked(scene: Scene, changed: Files, **changes: Any) -> Shown:
    """The release of the secure sum, with these files, under a certificate signed anew."""
    group, files = scene.masked
    return Shown(certified(group, {**files, **changed}, **changes), group.pinned)


ONCE = absent(SITES[1], ("gradient", 1))


@refused_by(6)
def absence_left_out__by_coordinator(scene: Scene) -> Shown:
    return made_absent(scene)


@refused_by(6)
def absence_of_another_release__by_coordinator(scene: Scene) -> Shown:
    return made_absent(scene, *absent(SITES[1], ("gradient", 0)))


@refused_by(6)
def absence_of_another_site__by_coordinator(scene: Scene) -> Shown:
    return made_absent(scene, *absent(SITES[0], ("gradient", 1)))


@refused_by(6)
def absence_invented_beside_a_receipt__by_coordinator(scene: Scene) -> Shown:
    return made_absent(scene, *absent(SITES[0], ("gradient", 0)), *ONCE)


@refused_by(6)
def absence_of_a_site_that_the_plan_has_not__by_coordinator(scene: Scene) -> Shown:
    return made_absent(scene, *absent("Elsewhere", ("gradient", 1)), *ONCE)


@refused_by(6)
def a_release_that_nobody_gave__by_everyone(scene: Scene) -> Shown:
    group = Group(new_folder(scene, "nobody"))
    gone = [*absent(SITES[0], ("gradient", 1)), *ONCE]
    return Shown(group.train(RUN, plan(), away=gone), group.pinned)


@refused_by(6)
def account_of_a_site_that_was_never_there__by_coordinator(scene: Scene) -> Shown:
    group, files = scene.absent
    gone = [Absence(SITES[1], event, index, FAILED) for event, index in releases_of(plan_of(files))]
    emptied = {**files, release_files.receipts(1): b""}
    return Shown(certified(group, emptied, absences=tuple(gone)), group.pinned)


@refused_by(6)
def account_left_out_of_a_site_that_was_there__by_coordinator(scene: Scene) -> Shown:
    group, files = scene.absent
    gone = {release_files.receipts(1), release_files.ledger(1)}
    rest = {name: data for name, data in files.items() if name not in gone}
    accounts = certificate_of(group, files).accounts[:1]
    return Shown(certified(group, rest, accounts=accounts), group.pinned)


@refused_by(6)
def site_that_was_never_there_named_once_less__by_coordinator(scene: Scene) -> Shown:
    return made_masked(scene, {}, absences=certificate_of(*scene.masked).absences[1:])


def listed(name: str, check: int, change: Callable[[list[Any]], object]) -> None:
    """The absences of the secure sum in another writing."""

    def forgery(scene: Scene) -> Shown:
        group, files = scene.masked
        forged = signed_statement(group, files, lambda one: change(one["predicate"]["absences"]))
        return Shown(forged, group.pinned)

    forgery.__name__ = f"absences_{name}__by_coordinator"
    refused_by(check)(forgery)


listed("for_an_unknown_reason", 3, lambda found: found[0].update(reason="on leave"))
listed("without_a_reason", 3, lambda found: found[0].pop("reason"))
listed("for_several_reasons", 3, lambda found: found[0].update(reason=["silent", "failed"]))
listed("with_one_twice", 3, lambda found: found.insert(0, found[0]))
listed("with_one_for_two_reasons", 3, lambda found: found.insert(1, {**found[0], "reason": "failed"}))
listed("in_another_order", 3, lambda found: found.reverse())
listed("of_a_release_beyond_the_plan", 3, lambda found: found[-1].update(index=1))
listed("of_an_event_beyond_the_plan", 3, lambda found: found[-1].update(event="salaries"))
listed("of_a_negative_release", 3, lambda found: found[0].update(index=-1))


@refused_by(14)
def too_few_replies__by_everyone(scene: Scene) -> Shown:
    group = Group(new_folder(scene, "few"))
    return Shown(group.train(RUN, plan(replies_at_least=2), away=ONCE), group.pinned)


@refused_by(14)
def too_few_in_a_secure_sum__by_everyone(scene: Scene) -> Shown:
    group = Group(new_folder(scene, "two"), names=MASKED_SITES)
    gone = [*absent(MASKED_SITES[0], ("gradient", 1)), *absent(MASKED_SITES[3], ("gradient", 1))]
    return Shown(group.train(RUN, masked_plan(), away=gone), group.pinned)


@refused_by(8)
def log_rewritten_with_a_charge_in_vain_for_another_state__by_everyone(scene: Scene) -> Shown:
    return vain(scene, state="0" * 64)


@refused_by(8)
def log_rewritten_with_a_charge_in_vain_at_another_price__by_everyone(scene: Scene) -> Shown:
    return vain(scene, mu2="0.01")


def vain(scene: Scene, **changes: Any) -> Shown:
    """The release after the absent site's charge for what it never gave was changed in its log."""
    group, files = scene.absent

    def change(_: int, entry: Entry) -> Entry:
        in_vain = isinstance(entry, Charged) and (entry.event, entry.index) == ("gradient", 1)
        return replace(entry, **changes) if in_vain else entry

    return Shown(rewritten(group, files, change, n=1), group.pinned)


# Who replied and who may collude


def plan_of(files: Files) -> Plan:
    return Plan.from_bytes(files[release_files.PLAN])


def promised(name: str, **changes: Any) -> None:
    """Other numbers in the certificate alone; in the plan too; and with everything redone that needs no site."""

    def alone(scene: Scene) -> Shown:
        ran = certificate_of(*scene.masked).mechanism
        return made_masked(scene, {}, mechanism=replace(ran, **changes))

    def redone(scene: Scene) -> Shown:
        forged = replace(plan_of(scene.masked[1]), **changes)
        again = {release_files.PLAN: forged.to_bytes(), release_files.MEASURES: measures(forged, MASKED_SITES[:3])}
        return made_masked(scene, again, mechanism=Mechanism.of(forged), cost=cost_of(forged))

    alone.__name__ = f"{name}_in_the_certificate_alone__by_coordinator"
    redone.__name__ = f"{name}_and_everything_redone__by_coordinator"
    refused_by(5)(alone)
    refused_by(6)(redone)


promised("more_replies", replies_at_least=4)
promised("more_colluding", replies_at_least=4, colluding=2)
promised("local_trust", trust=LOCAL, colluding=0)


def unsafe(name: str, old: str, new: str) -> None:
    """A plan of a secure sum that does not hold, which the certificate goes along with in its mechanism's digest."""

    def forgery(scene: Scene) -> Shown:
        group, files = scene.masked
        data = replaced(files[release_files.PLAN], old, new)
        ran = replace(certificate_of(group, files).mechanism, plan=release_files.sha256(data))
        return made_masked(scene, {release_files.PLAN: data}, mechanism=ran)

    forgery.__name__ = f"secure_sum_{name}__by_coordinator"
    refused_by(5)(forgery)


unsafe("that_a_lie_about_dropouts_opens", '"colluding":1', '"colluding":2')
unsafe("without_a_colluding_site", '"colluding":1', '"colluding":0')
unsafe("of_more_replies_than_sites", '"replies_at_least":3', '"replies_at_least":5')
unsafe("of_two_thirds_of_the_replies", '"replies_at_least":3', '"replies_at_least":2')
unsafe("with_floating_point_noise", '"discrete-gaussian-on-grid"', '"float64-gaussian-on-grid"')


# Measures of a secure sum


def summed(name: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Other measures of the secure sum, whose digest the certificate states."""

    def forgery(scene: Scene) -> Shown:
        document = canonical.from_bytes(scene.masked[1][release_files.MEASURES], "measures")
        change(document)
        return made_masked(scene, {release_files.MEASURES: canonical.to_bytes(document)})

    forgery.__name__ = f"measures_of_a_secure_sum_{name}__by_coordinator"
    refused_by(17)(forgery)


def one_by_one(document: dict[str, Any]) -> None:
    """As if each site had given a sum of its own."""
    (together,) = document["sums"]["head-count"]
    document["sums"]["head-count"] = [{**together, "sites": [site]} for site in together["sites"]]


def a_single_site_s(document: dict[str, Any]) -> None:
    figure = Figure("head-count", f"site/{MASKED_SITES[1]}", "all", "people", "5.0", "1.0", "9.0", None)
    document["figures"].append({name: getattr(figure, name) for name in Figure.__slots__})


summed("with_a_site_that_never_replied", lambda one: one["sums"]["head-count"][0]["sites"].append(MASKED_SITES[3]))
summed("with_a_site_left_out", lambda one: one["sums"]["head-count"][0]["sites"].pop())
summed("with_sites_in_another_order", lambda one: one["sums"]["head-count"][0]["sites"].reverse())
summed("with_a_site_twice", lambda one: one["sums"]["head-count"][0]["sites"].insert(0, MASKED_SITES[0]))
summed("twice", lambda one: one["sums"]["head-count"].append(one["sums"]["head-count"][0]))
summed("site_by_site", one_by_one)
summed("with_a_figure_of_a_single_site", a_single_site_s)
summed("of_no_cells", lambda one: one["sums"]["head-count"][0]["values"].clear())
