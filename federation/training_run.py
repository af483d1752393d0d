"""A run from plan to release: exchange the plan's releases, learn, measure, certify, and put everything into one place.

The same function serves an in-process grid and a real fleet. The release directory appears whole or not at all.

Rules:
    1. What can not be certified is not begun: cost, audit, prior release and the place to write to are looked at before
       any site is asked for anything.
    2. All that the sites give out is an event of the plan, measures included; nothing else of theirs is in a release.
    3. A run goes on from what its folder holds only under the very settings and plan that it began with.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from flwr.serverapp import Grid
from numpy.typing import NDArray

from federation import checkpoints, wire
from federation.basis import Basis
from federation.certifying import certified
from federation.checkpoints import Checkpoints
from federation.closing import Closing
from federation.exchange import Exchanges
from federation.group import Group
from federation.released import Released
from federation.rounds import Rounds
from federation.run_log import RunLog
from federation.run_settings import SETTINGS, Settings
from federation.secure_sum.site_secrets import BAG_BYTES
from models.features import LOGISTIC, FeatureSpace
from models.measure_reading import measures_document
from models.measures import Scale, state_of
from models.optimiser import Fit, learn
from models.planning import TRAINING, plan_at_epsilon
from models.pooling import Part
from models.use_case import load_use_case
from privacy import canonical
from privacy.atomic_files import replace_file
from privacy.errors import InputError, KithError
from privacy.plan import FLOAT64, SECURE_SUM, Plan
from privacy.receipt import Receipt, open_receipt
from privacy.signing import Verifier

CHECKPOINTS: Final = "checkpoints"
BASE64: Final = 4 / 3
REST: Final = 2_000
"""Bytes that a site takes up beside its numbers, in a message or a checkpoint: names and a receipt."""

Progress = Callable[[str, int, int], None]


def plan_run(group: Group, settings: Settings) -> Plan:
    """The plan of a run over all sites of the group's contract.

    Raises:
        InputError: if the contract is for another purpose, the budget is none, the sites are too few for the trust, or
            a release is too large.
    """
    if group.contract.purpose != settings.use_case:
        raise InputError(
            f"use case: expected {group.contract.purpose!r}, the contract's, got {settings.use_case!r:.60}"
        )
    space = FeatureSpace.from_contract(group.contract)
    bounds = {site.name: site.people_at_most for site in group.contract.site.sites}
    asked = (settings.epsilon, settings.delta, settings.trust, settings.rounds, settings.measures)
    plan = plan_at_epsilon(space, bounds, settings.use_case, *asked)
    _check_size(plan)
    return replace(plan, mechanism=FLOAT64) if settings.float64 else plan


def _check_size(plan: Plan) -> None:
    """That every release can be carried in a message, and kept in a checkpoint (rule 1)."""
    sites, vector = len(plan.sites), BASE64 * 8 * max(event.coordinates for event in plan.events) + REST
    if vector > wire.MAX_BYTES:
        raise InputError(f"plan: expected releases of at most {wire.MAX_BYTES} bytes, got one of {vector:.0f}")
    kept = sites * vector
    if plan.trust == SECURE_SUM:
        kept = max(kept, sites**2 * (BASE64 * BAG_BYTES * len(plan.releases) + 200))
    if kept > checkpoints.MAX_BYTES:
        raise InputError(f"plan: expected to keep at most {checkpoints.MAX_BYTES} bytes at once, got {kept:.0f}")


def train(
    grid: Grid, group: Group, settings: Settings, out: Path, progress: Progress = lambda _what, _done, _of: None
) -> Path:
    """Run the plan over `grid`, or go on with it, and write the release to `out`/release, which is returned.

    Args:
        grid: Flower's connection to the sites.
        group: contract, keys and the coordinator's signer.
        settings: the run.
        out: the run's folder, `runs/<run id>`.
        progress: told what has been done, of how much.

    Raises:
        InputError: if `out` already holds a release, or a run with other settings.
        KithError: whatever a site refuses with, if too few reply; no release is then written, and the run can be gone
            on with.
    """
    plan = plan_run(group, settings)
    basis = Basis.of(group, plan, settings.audit, settings.prior)  # rule 1
    with RunLog(out) as log:
        partial = _place_for(out)
        _begin(out, settings, plan, group.contract_digest)  # rule 3
        try:
            return _run(grid, group, settings, basis, partial, log, progress)
        except KithError as error:
            log.add("failed", reason=str(error))
            raise


def _run(
    grid: Grid, group: Group, settings: Settings, basis: Basis, partial: Path, log: RunLog, progress: Progress
) -> Path:
    plan, space = basis.plan, FeatureSpace.from_contract(group.contract)
    sites = _enrolled(plan, group)
    exchanges = Exchanges(grid, group.signer, sites, log, settings.deadline)
    rounds = Rounds(exchanges, Checkpoints(partial.parent / CHECKPOINTS), log, settings.run, plan)
    _announce(log, settings, basis, rounds.done)
    released: list[Released] = []
    steps = len(plan.releases) + 1

    def ask(event: str, index: int, state: bytes) -> Sequence[Part]:
        released.append(rounds.release(event, index, state))
        progress(event, len(released), steps)
        return released[-1].parts

    fit = learn(plan, space, lambda event, n, weights: ask(event, n, b"" if weights is None else _state(weights)))
    measured = _measured(plan, space, settings, fit, ask)
    closed = Closing(exchanges, settings.run, plan, _receipts(released, sites), group.lists).closed()
    log.add("phase", phase="certifying")
    release = _write(partial, certified(group, settings, basis, fit, measured, released, closed))
    log.add("finished", release=str(release))
    progress("certified", steps, steps)
    return release


def _receipts(released: Sequence[Released], sites: Mapping[str, Verifier]) -> Mapping[str, Sequence[Receipt]]:
    """The receipts of each site that has contributed, in order of release."""
    found = {
        name: [open_receipt(one.receipts[name], key) for one in released if name in one.receipts]
        for name, key in sites.items()
    }
    return {name: receipts for name, receipts in found.items() if receipts}


def _enrolled(plan: Plan, group: Group) -> Mapping[str, Verifier]:
    """The keys of the plan's sites, by name.

    Raises:
        InputError: if one has no active key.
    """
    enrolled = group.keys.trusted().sites
    unknown = [site.name for site in plan.sites if site.name not in enrolled]
    if unknown:
        raise InputError(f"plan sites: expected enrolled ones, got {unknown[0]!r:.80} without a key in keys.json")
    return {site.name: enrolled[site.name] for site in plan.sites}


def _begin(out: Path, settings: Settings, plan: Plan, contract: str) -> None:
    """Write down what the run is to do, or see that it is what it was begun with (rule 3)."""
    begun = canonical.to_bytes({"settings": settings.to_document(), "plan": plan.digest, "contract": contract})
    path = out / SETTINGS
    if not path.exists():
        replace_file(path, begun)
    elif path.read_bytes() != begun:
        raise InputError(f"run folder {out}: expected the settings that its run was begun with, got others")


def _announce(log: RunLog, settings: Settings, basis: Basis, done: int) -> None:
    plan = basis.plan
    log.add(
        "started",
        run=settings.run,
        plan=plan.digest,
        use_case=plan.use_case,
        trust=plan.trust,
        sites=[site.name for site in plan.sites],
        releases=len(plan.releases),
        epsilon=basis.cost.epsilon,
        delta=plan.delta,
        deadline=settings.deadline,
    )
    if done:
        log.add("resumed", done=done)


def _measured(
    plan: Plan,
    space: FeatureSpace,
    settings: Settings,
    fit: Fit,
    ask: Callable[[str, int, bytes], Sequence[Part]],
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
