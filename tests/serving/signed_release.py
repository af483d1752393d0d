"""Releases of two sites with a real model of made-up weights, signed and charged like any other."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np

from models.features import ChoiceFeature, FeatureSpace, NumberFeature
from models.optimiser import Fit
from models.release import card_document, weights_bytes
from models.scorer import AdditiveScorer
from models.use_case import load_use_case
from privacy import canonical, fields, key_list, release_files
from privacy.trust_roots import PinnedKeys
from records.contract import BinaryLabel, parse_contract
from records.registry import load_registry
from records.registry_contract import contract_text
from tests.privacy import small_release
from tests.privacy.fixed_signer import FixedSigner
from tests.privacy.small_release import Group

SITE, OTHER_SITE = small_release.SITES
SPACE = FeatureSpace(
    label=BinaryLabel("left", ("yes",), ("no",)),
    employee=None,
    features=(
        NumberFeature("tenure_years", 0.0, 40.0, "years"),
        NumberFeature("overtime_hours", 0.0, 80.0, "hours"),
        ChoiceFeature("work_mode", ("onsite", "hybrid", "remote"), False),
    ),
)


def registered_space() -> FeatureSpace:
    """That of the contract which the registry makes for retention."""
    text = contract_text(load_registry(), "retention", {SITE: 100, OTHER_SITE: 100}, date(2026, 1, 31), 6)
    return FeatureSpace.from_contract(parse_contract(text))


def write_release(path: Path, seed: int = 7, space: FeatureSpace = SPACE) -> Path:
    """The release directory at `path`, with weights that tell people clearly apart."""
    folder = path.parent / f"{path.name}-ledgers"
    folder.mkdir(parents=True)
    group = Group(folder)
    plan = small_release.plan(features=space.digest)
    files = group.train("run-1", plan)
    fit = _fit(seed, space)
    files[release_files.CARD] = canonical.to_bytes(
        card_document(fit, space, load_use_case("retention"), small_release.SITES)
    )
    files[release_files.MODEL] = weights_bytes(fit)
    certificate = group.certificate("run-1", plan, files)
    return small_release.write(group.certified(files, certificate), path)


def roots_of_another(release: Path, path: Path) -> Path:
    """A roots file at `path` that pins the release's group under a root key that did not sign its keys."""
    pinned = PinnedKeys.of(key_list.open_key_list((release / release_files.KEYS).read_bytes()))
    path.write_bytes(replace(pinned, roots=(fields.to_base64(FixedSigner(101).public),)).to_bytes())
    return path


def _fit(seed: int, space: FeatureSpace) -> Fit:
    random = np.random.default_rng(seed)
    d = space.width
    typical = np.zeros(d)
    typical[0] = 1.0
    shared = AdditiveScorer(space, random.normal(0, 1.5, d), np.full(d, 1e-4), np.eye(d), typical)
    personal = {site: replace(shared, weights=shared.weights + random.normal(0, 0.3, d)) for site in (SITE, OTHER_SITE)}
    return Fit(shared, personal, 0.3, 1.0)
