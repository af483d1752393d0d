"""A run from plan to release: exchange the plan's releases, learn, measure, certify, and put everything into one place.

The same function serves an in-process grid and a real fleet. The release directory appears whole or not at all.

Rules:
    1. What can not be certified is not begun: cost, audit, prior release and the place to write to are looked at before
       any site is asked for anything.
    2. All that the sites give out is an event of the plan, measures included; nothing else of theirs is in a release.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Final

import numpy as np
from flwr.serverapp import Grid
from numpy.typing import NDArray

from federation.basis import Basis
from federation.closing import Closed
from federation.code_digest import code_digest
from federation.environment import versions
from federation.group import Group
from federation.rounds import Rounds, Verified
from models.features import LOGISTIC, FeatureSpace
from models.measure_reading import measures_document
from models.measures import Scale, state_of
from models.optimiser import Fit, learn
from models.planning import ROUNDS, TRAINING, plan_at_epsilon
from models.release import card_document, weights_bytes
from models.use_case import load_use_case
from privacy import canonical, release_files
from privacy.certificate import (
    NO_TUNING,
    AuditSummary,
    Certificate,
    KeysUsed,
    Mechanism,
    account,
    issue,
    side_outputs,
)
from privacy.errors import InputError
from privacy.plan import FLOAT64, Plan

NOT_COVERED: Final = (
    "what the group's records say about everybody, also about people who were never in them",
    "an administrator of a site, or code with the rights of its guard, who reads the table or the site's key there",
    "a coordinator whose code the site runs: here the Flower app holds the guard, so the site must install it itself",
    "a site that signs what it did not do",
    "a ledger that was rewritten before any other site had seen it, or with every witness's help",
    "weights that were not computed from the released sums: they are the coordinator's word",
    "that a table could not be used, and how long an answer took",
    "people who are at two sites at once: their charges at the two add up, and neither ledger knows of the other",
    "figures that a demonstration or an evaluation shows beside a release without noise",
)

FLOATING: Final = "the arithmetic of floating-point noise, which the accounting takes for exact"

RUN_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Settings:
    """What a run is to do. What it may do is decided at each site.

    Attributes:
        run: the run's id.
        use_case: the purpose.
        epsilon, delta: budget of the run for each employee, measures included.
        trust: "local".
        rounds: gradient sums.
        measures: what is measured at the end, out of `models.planning.measures_offered`.
        float64: whether to ask for floating-point noise, which sites must allow and certificates tell.
        audit: file of an audit of exactly this plan (`kith audit --json`), to go into the release.
        prior: directory of the release that this one follows.
    """

    run: str
    use_case: str
    epsilon: Decimal
    delta: Decimal
    trust: str
    rounds: int = ROUNDS
    measures: tuple[str, ...] = ()
    float64: bool = False
    audit: Path | None = None
    prior: Path | None = None

    def __post_init__(self) -> None:
        """Refuse a run id that is no plain name: it becomes a folder's.

        Raises:
            InputError: for any other id.
        """
        if not RUN_ID.fullmatch(self.run):
            raise InputError(f"run id: expected up to 100 letters, digits, . _ or -, got {self.run!r:.60}")


def plan_run(group: Group, settings: Settings) -> Plan:
    """The plan of a run over all sites of the group's contract.

    Raises:
        InputError: if the contract is for another purpose, or the budget is none.
        Refused: if the trust asked for can not be had.
    """
    if group.contract.purpose != settings.use_case:
        raise InputError(
            f"use case: expected {group.contract.purpose!r}, the contract's, got {settings.use_case!r:.60}"
        )
    space = FeatureSpace.from_contract(group.contract)
    bounds = {site.name: site.people_at_most for site in group.contract.site.sites}
    asked = (settings.epsilon, settings.delta, settings.trust, settings.rounds, settings.measures)
    plan = plan_at_epsilon(space, bounds, settings.use_case, *asked)
    return replace(plan, mechanism=FLOAT64) if settings.float64 else plan


def train(
    grid: Grid, group: Group, settings: Settings, out: Path, progress: Progress = lambda _what, _done, _of: None
) -> Path:
    """Run the plan over `grid` and write the release to `out`/release, which is returned.

    Args:
        grid: Flower's connection to the sites.
        group: contract, keys and the coordinator's signer.
        settings: the run.
        out: the run's folder, `runs/<run id>`.
        progress: told what has been done, of how much.

    Raises:
        InputError: if `out` already holds a release.
        KithError: whatever a site refuses with, or a reply that does not verify; nothing is then written.
    """
    plan = plan_run(group, settings)
    basis = Basis.of(group, plan, settings.audit, settings.prior)  # rule 1
    partial = _place_for(out)
    space = FeatureSpace.from_contract(group.contract)
    rounds = Rounds(grid, settings.run, plan, group.keys)
    kept: dict[str, list[Verified]] = {site.name: [] for site in plan.sites}
    steps = sum(event.times for event in plan.events) + 1

    def ask(event: str, index: int, state: bytes) -> Mapping[str, NDArray[np.int64]]:
        found = rounds.contributions(event, index, state)
        for name, contribution in found.items():
            kept[name].append(contribution)
        progress(event, sum(len(of_site) for of_site in kept.values()) // len(kept), steps)
        return {name: found[name].sum for name in sorted(found)}

    fit = learn(plan, space, lambda event, n, weights: ask(event, n, b"" if weights is None else _state(weights)))
    measured = _measured(plan, space, settings, fit, ask)
    closed = rounds.close(group.lists)
    release = _write(partial, _certified(group, settings, basis, fit, measured, kept, closed))
    progress("certified", steps, steps)
    return release


def _measured(
    plan: Plan,
    space: FeatureSpace,
    settings: Settings,
    fit: Fit,
    ask: Callable[[str, int, bytes], Mapping[str, NDArray[np.int64]]],
) -> bytes | None:
    """measures.json of the plan's measures, each asked for once; None if it has none."""
    names = [event.name for event in plan.events if event.name not in TRAINING]
    if not names:
        return None
    scale = Scale.of(fit, load_use_case(settings.use_case)) if space.link == LOGISTIC else None
    sums = {name: ask(name, 0, b"" if scale is None else state_of(name, scale)) for name in names}
    return canonical.to_bytes(measures_document(plan, sums, scale))


def _state(weights: NDArray[np.float64]) -> bytes:
    return weights.astype("<f8").tobytes()


def _certified(
    group: Group,
    settings: Settings,
    basis: Basis,
    fit: Fit,
    measured: bytes | None,
    kept: Mapping[str, list[Verified]],
    closed: Mapping[str, Closed],
) -> dict[str, bytes]:
    """All files of the release, certificate included."""
    plan = basis.plan
    names = tuple(site.name for site in plan.sites)
    card = card_document(fit, FeatureSpace.from_contract(group.contract), load_use_case(settings.use_case), names)
    files = {
        release_files.PLAN: plan.to_bytes(),
        release_files.CARD: canonical.to_bytes(card),
        release_files.MODEL: weights_bytes(fit),
        release_files.KEYS: group.keys_file,
    }
    for name, optional in ((release_files.AUDIT, basis.audit), (release_files.MEASURES, measured)):
        if optional is not None:
            files[name] = optional
    for n, name in enumerate(names):
        files[release_files.receipts(n)] = b"".join(one.envelope + b"\n" for one in kept[name])
        files[release_files.ledger(n)] = closed[name].excerpt.to_bytes()
    sources = {one.receipt.noise for of_site in kept.values() for one in of_site}
    keyids = {name: key.keyid for name, key in group.keys.trusted().sites.items()}
    certificate = Certificate(
        run=settings.run,
        contract=group.contract_digest,
        mechanism=Mechanism.of(plan),
        cost=basis.cost,
        accounts=tuple(
            account(site, keyids[site.name], closed[site.name].verified, closed[site.name].witnesses)
            for site in plan.sites
        ),
        tuning=NO_TUNING,
        side_outputs=side_outputs(plan),
        audit=AuditSummary.of(basis.audit) if basis.audit is not None else None,
        noise=", ".join(sorted(sources)),
        code=code_digest(),
        environment=versions(),
        image=basis.image,
        coordinator=group.signer.keyid,
        keys=KeysUsed(group.keys.number, release_files.sha256(group.keys_file)),
        prior=basis.prior,
        issued_at=int(time.time()),
        not_covered=NOT_COVERED if plan.mechanism != FLOAT64 else (*NOT_COVERED, FLOATING),
    )
    files[release_files.CERTIFICATE] = issue(certificate, release_files.subjects(files), group.signer)
    return files


def _place_for(out: Path) -> Path:
    """An empty folder beside the release's final place, made before anything is charged.

    Raises:
        InputError: if there is a release already, or the folder can not be made.
    """
    if (out / "release").exists():
        raise InputError(f"run folder {out}: expected none with a release in it, got one")
    partial = out / "release.partial"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"run folder {out}: expected a folder to write to, got {error.strerror}") from None
    return partial


def _write(partial: Path, files: Mapping[str, bytes]) -> Path:
    """Write all files to `partial` and rename it: a release is whole or not there."""
    for name, data in files.items():
        (partial / name).parent.mkdir(exist_ok=True)
        with (partial / name).open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    return partial.rename(partial.with_name("release"))
