"""A release of two sites with a real model of made-up weights, signed and charged like any other."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from models.features import ChoiceFeature, FeatureSpace, NumberFeature
from models.optimiser import Fit
from models.release import card_document, weights_bytes
from models.scorer import AdditiveScorer
from models.use_case import load_use_case
from privacy import canonical, release_files
from records.contract import BinaryLabel
from tests.privacy import small_release
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


def write_release(path: Path, seed: int = 7) -> Path:
    """The release directory at `path`, with weights that tell people clearly apart."""
    folder = path.parent / f"{path.name}-ledgers"
    folder.mkdir(parents=True)
    group = Group(folder)
    plan = small_release.plan(features=SPACE.digest)
    files = group.train("run-1", plan)
    fit = _fit(seed)
    files[release_files.CARD] = canonical.to_bytes(
        card_document(fit, SPACE, load_use_case("retention"), small_release.SITES)
    )
    files[release_files.MODEL] = weights_bytes(fit)
    certificate = group.certificate("run-1", plan, files)
    return small_release.write(group.certified(files, certificate), path)


def _fit(seed: int) -> Fit:
    random = np.random.default_rng(seed)
    d = SPACE.width
    typical = np.zeros(d)
    typical[0] = 1.0
    shared = AdditiveScorer(SPACE, random.normal(0, 1.5, d), np.full(d, 1e-4), np.eye(d), typical)
    personal = {site: replace(shared, weights=shared.weights + random.normal(0, 0.3, d)) for site in (SITE, OTHER_SITE)}
    return Fit(shared, personal, 0.3)
