"""A run from plan to release: exchange the plan's releases, learn, certify, and put everything into one directory.

The same function serves an in-process grid and a real fleet. The release directory appears whole or not at all.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

import numpy as np
from flwr.serverapp import Grid
from numpy.typing import NDArray

from federation.code_digest import code_digest
from federation.group import Group
from federation.rounds import Rounds, Verified
from models.features import FeatureSpace
from models.optimiser import Fit, learn
from models.planning import ROUNDS, plan_at_epsilon
from models.release import card_document, weights_bytes
from models.use_case import load_use_case
from privacy import canonical, release_files
from privacy.certificate import Certificate, Mechanism, account, issue
from privacy.cost import cost_of
from privacy.errors import InputError
from privacy.ledger_excerpt import VerifiedExcerpt
from privacy.plan import Plan
from privacy.randomness import OS

NOT_COVERED: Final = (
    "what the group's records say about everybody, also about people who were never in them",
    "an administrator of a site, or code with the rights of its guard, who reads the table or the site's key there",
    "a coordinator whose code the site runs: here the Flower app holds the guard, so the site must install it itself",
    "a site that signs what it did not do, or replaces its ledger by an older or a new one",
    "weights that were not computed from the released sums: they are the coordinator's word",
    "that a table could not be used, and how long an answer took",
    "people who are at two sites at once: their charges at the two add up, and neither ledger knows of the other",
    "figures that a demonstration or an evaluation shows beside a release without noise",
)

RUN_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Settings:
    """What a run is to do. What it may do is decided at each site."""

    run: str
    use_case: str
    epsilon: Decimal
    delta: Decimal
    trust: str
    rounds: int = ROUNDS

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
    plan = plan_at_epsilon(
        space, bounds, settings.use_case, settings.epsilon, settings.delta, settings.trust, settings.rounds
    )
    cost_of(plan)  # what can not be certified is not begun
    return plan


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
    partial = _place_for(out)
    plan = plan_run(group, settings)
    space = FeatureSpace.from_contract(group.contract)
    rounds = Rounds(grid, settings.run, plan, group.keys)
    kept: dict[str, list[Verified]] = {site.name: [] for site in plan.sites}
    steps = sum(event.times for event in plan.events) + 1

    def ask(event: str, index: int, weights: NDArray[np.float64] | None) -> Mapping[str, NDArray[np.int64]]:
        found = rounds.contributions(event, index, b"" if weights is None else weights.astype("<f8").tobytes())
        for name, contribution in found.items():
            kept[name].append(contribution)
        progress(event, sum(len(of_site) for of_site in kept.values()) // len(kept), steps)
        return {name: found[name].sum for name in sorted(found)}

    fit = learn(plan, space, ask)
    excerpts = rounds.excerpts()
    release = _write(partial, _certified(group, settings, plan, fit, kept, excerpts))
    progress("certified", steps, steps)
    return release


def _certified(
    group: Group,
    settings: Settings,
    plan: Plan,
    fit: Fit,
    kept: Mapping[str, list[Verified]],
    excerpts: Mapping[str, tuple[bytes, VerifiedExcerpt]],
) -> dict[str, bytes]:
    """All files of the release, certificate included."""
    sites = tuple(site.name for site in plan.sites)
    card = card_document(fit, FeatureSpace.from_contract(group.contract), load_use_case(settings.use_case), sites)
    files = {
        release_files.PLAN: plan.to_bytes(),
        release_files.CARD: canonical.to_bytes(card),
        release_files.MODEL: weights_bytes(fit),
        release_files.KEYS: group.keys.to_bytes(),
    }
    for n, site in enumerate(sites):
        files[release_files.receipts(n)] = b"".join(one.envelope + b"\n" for one in kept[site])
        files[release_files.ledger(n)] = excerpts[site][0]
    sources = {one.receipt.noise for of_site in kept.values() for one in of_site}
    certificate = Certificate(
        run=settings.run,
        mechanism=Mechanism.of(plan),
        cost=cost_of(plan),
        accounts=tuple(account(site, group.keys.sites[site].keyid, excerpts[site][1]) for site in sites),
        noise=OS if sources == {OS} else ", ".join(sorted(sources)),
        code=code_digest(),
        coordinator=group.signer.keyid,
        issued_at=int(time.time()),
        not_covered=NOT_COVERED,
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
