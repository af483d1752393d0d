"""The release that is forged, and the list of all forgeries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from privacy import key_list, release_files
from privacy.budget import Budget, sign_decision
from privacy.certificate import KeysUsed, Mechanism
from privacy.key_list import KeyList
from privacy.plan import GaussianSum, Plan
from tests.privacy.forging import (
    Files,
    Shown,
    certificate_of,
    certified,
    signed_payload,
    signed_statement,
)
from tests.privacy.small_release import (
    HEADS,
    MASKED_SITES,
    OFFICERS,
    RUN,
    SITES,
    Group,
    absent,
    audit,
    budget,
    masked_plan,
    measures,
    plan,
    releases_of,
)

MEASURED = plan(events=(*plan().events, HEADS))
CERTIFICATE, KEYS = release_files.CERTIFICATE, release_files.KEYS


@dataclass(frozen=True)
class Scene:
    """A release with everything in it, and releases of other runs to take pieces from.

    Attributes:
        group: the group, on its second run.
        files: that run's release: with side output, audit, prior and witnesses.
        earlier: the first run's release.
        crashed: another group whose first site charged every release twice, and its release.
        decided: another group whose first site's budget follows a decision of two officers, and its release.
        absent: another group whose second site was charged for the last gradient in vain, and its release.
        masked: four sites under a secure sum, the last of which never replied, and their release.
    """

    group: Group
    files: Files
    earlier: Files
    crashed: tuple[Group, Files]
    decided: tuple[Group, Files]
    absent: tuple[Group, Files]
    masked: tuple[Group, Files]

    def certified(self, changed: Files | None = None, **changes: Any) -> Files:
        return certified(self.group, {**self.files, **(changed or {})}, **changes)

    def costed(self, **changes: Any) -> Files:
        return self.certified(cost=replace(certificate_of(self.group, self.files).cost, **changes))

    def accounted(self, **changes: Any) -> Files:
        first, second = certificate_of(self.group, self.files).accounts
        return self.certified(accounts=(replace(first, **changes), second))

    def payload(self, change: Callable[[bytes], bytes]) -> Files:
        return signed_payload(self.group, self.files, change)

    def statement(self, change: Callable[[dict[str, Any]], object]) -> Files:
        return signed_statement(self.group, self.files, change)

    def replanned(self, forged: Plan) -> Files:
        """Everything that the coordinator can redo for another plan: the plan, all digests, the whole certificate."""
        named = {release_files.PLAN: forged.to_bytes(), release_files.MEASURES: measures(forged, SITES)}
        files = {**self.files, **named}
        old = certificate_of(self.group, self.files)
        changes = {"mechanism": Mechanism.of(forged), "audit": None}
        del files[release_files.AUDIT]
        accounts = tuple(
            replace(one, people_at_most=site.people_at_most)
            for one, site in zip(old.accounts, forged.sites, strict=False)
        )
        cost = self.group.certificate(RUN, forged, self.files).cost if len(forged.sites) == 2 else old.cost
        return certified(self.group, files, **changes, accounts=accounts, cost=cost)


def decided_budget() -> Budget:
    return replace(budget(), number=1, period=1, label="2027", cap="3", groups=budget().groups, reason="a new year")


def made(folder: Callable[[str], Path]) -> Scene:
    """The scene, with ledgers in folders of these names."""
    group = Group(folder("group"))
    earlier = group.train("run-0", plan())
    files = group.train(RUN, MEASURED, prior=earlier[CERTIFICATE], audit=audit(MEASURED))
    crashed = Group(folder("crashed"))
    twice = {(0, event.name, index) for event in plan().events for index in range(event.times)}
    decided = Group(folder("decided"))
    ledger = decided.sites[0].ledger
    ledger.decide(sign_decision(decided_budget(), ledger.id, *OFFICERS[:2]))
    local, masked = Group(folder("absent")), Group(folder("masked"), names=MASKED_SITES)
    gone = absent(MASKED_SITES[-1], *releases_of(masked_plan()))
    return Scene(
        group,
        files,
        earlier,
        (crashed, crashed.train(RUN, plan(), crashes=frozenset(twice))),
        (decided, decided.train(RUN, plan())),
        (local, local.train(RUN, MEASURED, away=absent(SITES[1], ("gradient", 1)), in_vain=True)),
        (masked, masked.train(RUN, masked_plan(), away=gone)),
    )


Forgery = Callable[[Scene], Files | Shown]
FORGERIES: list[tuple[int, Forgery]] = []


def refused_by(check: int) -> Callable[[Forgery], Forgery]:
    """The number of the check that must refuse the forgery."""

    def register(forgery: Forgery) -> Forgery:
        FORGERIES.append((check, forgery))
        return forgery

    return register


def swapped(files: Files, one: str, other: str) -> Files:
    return {**files, one: files[other], other: files[one]}


def halved() -> tuple[GaussianSum, ...]:
    return tuple(replace(event, noise=event.noise // 2) for event in MEASURED.events)


def new_folder(scene: Scene, name: str) -> Path:
    """A folder of its own for another group."""
    folder = scene.group.folder / name
    folder.mkdir()
    return folder


def spoil(name: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda tensors: tensors.__setitem__(name, np.asarray(value))


def listed(scene: Scene) -> KeyList:
    return scene.group.key_list


def under(scene: Scene, data: bytes, number: int = 0) -> Files:
    """The release with another keys.json that the certificate, signed anew, goes along with."""
    return scene.certified({KEYS: data}, keys=KeysUsed(number, release_files.sha256(data)))


def b64(signer: Any) -> str:
    return key_list.fields.to_base64(signer.public)
