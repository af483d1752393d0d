"""The demonstration's federation: a made-up group trains together, and is measured as only made-up people may be.

Nothing of the measuring is charged to anybody: figures computed without noise on the people themselves would be a
release of their own, and are shown here because these people do not exist. The models are measured on others drawn
from the same truth, who are in no site's table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import numpy as np

from federation.embedded import run_embedded
from federation.group import KEYS_FILE, create_group
from federation.site import create_site
from federation.training_run import Settings
from models.evaluation import auc, fit_noisy, fit_pooled
from models.features import GRID, FeatureSpace
from models.planning import gradient_clip, plan_at_epsilon
from models.release import SHARED, Release, read_release
from models.training import SiteSums
from privacy.accounting import mu_squared_for
from privacy.certificate import Certificate, open_certificate
from privacy.plan import written
from privacy.randomness import secure_source
from privacy.release_files import CERTIFICATE
from privacy.trust_roots import TrustRoots
from records.contract import Contract, load_contract
from records.minimize import MinimizedRows, minimized_rows
from records.sample_group import SampleGroup, write_sample_group
from records.table import joined, read_table

USE_CASE: Final = "retention"
EPSILON: Final = Decimal("1")
DELTA: Final = Decimal("0.00001")
YEARLY_EPSILON: Final = Decimal("3")
"""Each made-up site's ledger is capped at the mu² of this epsilon."""
OTHERS: Final = 4
"""How many further groups are drawn to measure on, each as large as the one that trains."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class SiteFigures:
    """One site's line of the demonstration's table; AUC on people who are in no table, without noise."""

    site: str
    people: int
    mu2: str
    epsilon: str
    auc_local: float
    auc_federated: float
    auc_personal: float
    auc_pooled_without_privacy: float


@dataclass(frozen=True)
class Demonstrated:
    """What a demonstration leaves: a release, the keys to pin, its figures, and a person to recommend something for."""

    run: str
    folder: Path
    release: Path
    keys: Path
    certificate: Certificate
    sites: tuple[SiteFigures, ...]
    person: dict[str, Any]

    def to_document(self) -> dict[str, Any]:
        """The JSON of `kith demo --json`, without the service's part."""
        cost = self.certificate.cost
        return {
            "run": self.run,
            "release": str(self.release),
            "epsilon": cost.epsilon,
            "delta": cost.delta,
            "mu2": cost.mu2,
            "sites": [asdict(site) for site in self.sites],
            "figures": "AUC on made-up people who are in no site's table; only a demonstration may show them uncharged",
        }


def demonstrate(folder: Path, run: str, seed: int, progress: Progress) -> Demonstrated:
    """Make the sample group under `folder`, train it embedded under differential privacy, and measure what came out.

    Raises:
        KithError: whatever goes wrong in the run; `folder` must not hold an earlier one.
    """
    sample = write_sample_group(folder / "exports", seed)
    contract = load_contract(sample.contract)
    cap = Decimal(written(mu_squared_for(YEARLY_EPSILON, DELTA)))
    places = [
        create_site(folder / "sites" / str(n), site.name, site.table.resolve(), sample.contract.resolve(), cap, DELTA)
        for n, site in enumerate(sample.sites)
    ]
    create_group(folder / "group", sample.contract, places)
    settings = Settings(run, USE_CASE, EPSILON, DELTA, "local")
    release = run_embedded(folder / "group", [site.folder for site in places], settings, folder, progress)
    keys = folder / "group" / KEYS_FILE
    coordinator = TrustRoots.read(keys).coordinator
    certificate, _ = open_certificate((release / CERTIFICATE).read_bytes(), coordinator)
    model = read_release(release)
    others = _others(folder / "others", seed, contract)
    figures = _measured(sample, contract, model, others, certificate, progress)
    return Demonstrated(run, folder, release, keys, certificate, figures, _person(model, contract, others))


def _others(folder: Path, seed: int, contract: Contract) -> MinimizedRows:
    """People drawn from the same truth who are in no site's table."""
    groups = [write_sample_group(folder / str(n), seed + 1000 + n) for n in range(OTHERS)]
    tables = [read_table(site.table) for group in groups for site in group.sites]
    return minimized_rows(joined(tables, "people who are in no table"), contract)


def _measured(
    sample: SampleGroup,
    contract: Contract,
    model: Release,
    others: MinimizedRows,
    certificate: Certificate,
    progress: Progress,
) -> tuple[SiteFigures, ...]:
    space = FeatureSpace.from_contract(contract)
    clip = float(gradient_clip(space))
    rows = minimized_rows(joined([read_table(site.table) for site in sample.sites], "sample group"), contract)
    pooled = fit_pooled(space, space.design(rows), rows.label)
    design = space.design(others)
    noise = secure_source()
    figures = []
    for done, site in enumerate(contract.site.sites, start=1):
        progress(f"measuring {site.name}", done, len(contract.site.sites))
        own = rows.take(rows.site == contract.site.names.index(site.name))
        plan = plan_at_epsilon(space, {site.name: site.people_at_most}, USE_CASE, EPSILON, DELTA, "local")
        alone = fit_noisy(plan, space, {site.name: SiteSums(space, own, clip)}, noise)
        here = others.site == others.site_names.index(site.name)
        scores = {
            "auc_local": alone.shared.scores(design[here]),
            "auc_federated": model.scorers[SHARED].scores(design[here]),
            "auc_personal": model.scorers[site.name].scores(design[here]),
            "auc_pooled_without_privacy": design[here] @ pooled / 2.0**GRID,
        }
        figures.append(
            SiteFigures(
                site=site.name,
                people=len(np.unique(own.employee)),
                mu2=certificate.cost.mu2,
                epsilon=certificate.cost.epsilon,
                **{name: round(auc(others.label[here], score), 4) for name, score in scores.items()},
            )
        )
    return tuple(figures)


def _person(model: Release, contract: Contract, others: MinimizedRows) -> dict[str, Any]:
    """The request body for the made-up person whom the largest site's model scores highest."""
    largest = max(contract.site.sites, key=lambda site: site.people_at_most).name
    here = others.take(others.site == others.site_names.index(largest))
    best = int(np.argmax(model.scorers[largest].scores(model.space.design(here))))
    features: dict[str, Any] = {}
    for column in contract.features:
        if column.name in here.numbers:
            number = float(here.numbers[column.name][best])
            features[column.name] = None if np.isnan(number) else number
        else:
            code = int(here.codes[column.name][best])
            features[column.name] = None if code < 0 else column.values[code]
    return {"use_case": USE_CASE, "site": largest, "employee": "made-up-person-1", "features": features}
