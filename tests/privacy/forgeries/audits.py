"""Forged audits, and what an officer kept from earlier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from privacy import canonical, release_files
from privacy.certificate import AuditSummary
from tests.privacy.forgeries.scene import (
    CERTIFICATE,
    MEASURED,
    Scene,
    halved,
    new_folder,
    refused_by,
)
from tests.privacy.forging import (
    Files,
    Shown,
    certificate_of,
    certified,
)
from tests.privacy.small_release import (
    CONTRACT,
    Group,
    audit,
    plan,
)

# The audit


def audited(name: str, data: Callable[[bytes], bytes], **changes: Any) -> None:
    """Another audit, which the certificate sums up."""

    def forgery(scene: Scene) -> Files:
        made = data(scene.files[release_files.AUDIT])
        return scene.certified({release_files.AUDIT: made}, audit=replace(AuditSummary.of(made), **changes))

    forgery.__name__ = f"audit_{name}__by_coordinator"
    refused_by(18)(forgery)


def edited(**changes: Any) -> Callable[[bytes], bytes]:
    return lambda data: canonical.to_bytes({**canonical.from_bytes(data, "audit"), **changes})


def raised(data: bytes) -> bytes:
    """An audit whose stated bound is higher than its counts give."""
    document = canonical.from_bytes(data, "audit")
    document["lower_bound"]["epsilon"] = "2.400000"
    return canonical.to_bytes(document)


def fewer_errors(data: bytes) -> bytes:
    document = canonical.from_bytes(data, "audit")
    document["attacks"][0]["false_positives"] = 300
    return canonical.to_bytes(document)


audited("of_another_plan", lambda data: audit(plan()))
audited("of_a_plan_with_half_the_noise", lambda data: audit(replace(MEASURED, events=halved())))
audited("with_a_planted_fault", lambda data: audit(MEASURED, fault="missing-clip"))
audited("with_a_raised_bound", raised)
audited("with_fewer_errors_than_its_bounds_have", fewer_errors)
audited("that_refutes", lambda data: audit(MEASURED, errors=(50, 50)))
audited(
    "that_refutes_and_denies_it", lambda data: edited(refuted=False)(audit(MEASURED, errors=(50, 50))), refuted=False
)
audited("with_more_errors_than_guesses", lambda data: audit(MEASURED, errors=(801, 0)))
audited("of_another_number_of_runs", edited(runs=4_000))
audited("of_hardly_any_runs", lambda data: audit(MEASURED, runs=20, errors=(1, 1)))
audited("without_attacks", edited(attacks=[]))
audited("of_another_confidence", edited(false_alarm_at_most="0.5"))
audited("with_a_word_more", edited(approved=True))
audited("in_another_writing", lambda data: data + b"\n")
audited("summed_up_wrongly", lambda data: data, epsilon="2.400000")
audited("summed_up_as_another_attack", lambda data: data, attack="final model")
audited("summed_up_with_more_runs", lambda data: data, runs=90_000)


@refused_by(18)
def audit_claimed_and_not_there__by_coordinator(scene: Scene) -> Files:
    return certified(scene.group, scene.earlier, audit=certificate_of(scene.group, scene.files).audit)


@refused_by(18)
def audit_there_and_not_claimed__by_coordinator(scene: Scene) -> Files:
    return scene.certified(audit=None)


# What the officer kept


@refused_by(19)
def prior_changed__by_coordinator(scene: Scene) -> Shown:
    return Shown(scene.certified(prior="0" * 64), scene.group.pinned, scene.earlier[CERTIFICATE])


@refused_by(19)
def prior_denied__by_coordinator(scene: Scene) -> Shown:
    return Shown(scene.certified(prior=None), scene.group.pinned, scene.earlier[CERTIFICATE])


@refused_by(19)
def an_older_release_in_the_place_of_a_newer(scene: Scene) -> Shown:
    return Shown(scene.earlier, scene.group.pinned, scene.files[CERTIFICATE])


@refused_by(19)
def ledgers_put_back_to_before_the_prior_release__by_everyone(scene: Scene) -> Shown:
    again = Group(new_folder(scene, "put back"))
    prior = scene.files[CERTIFICATE]
    return Shown(again.train("run-3", plan(), prior=prior), again.pinned, prior)


@refused_by(20)
def another_contract(scene: Scene) -> Shown:
    return Shown(scene.files, scene.group.pinned, contract=CONTRACT + b"# loosened")
