"""The demonstration: a made-up group's exports become records, train together, and are measured as nobody else may be.

Nothing of the measuring is charged to anybody: figures computed without noise on the people themselves would be a
release of their own, and are shown here because these people do not exist. The models are measured on others drawn
from the same truth, who are in no site's records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import numpy as np

from federation.embedded import run_embedded
from federation.group import create_group
from federation.run_settings import Settings
from federation.site import Site, create_site
from federation.training_run import Progress
from models.evaluation import auc, fit_noisy, fit_pooled
from models.explanation import explain
from models.features import GRID, FeatureSpace
from models.planning import EVALUATION, HEAD_COUNT, gradient_clip, plan_at_epsilon
from models.release import SHARED, Release, read_release
from models.training import SiteSums
from privacy.accounting import mu_squared_for
from privacy.budget import first_budget
from privacy.certificate import Certificate, open_certificate
from privacy.errors import Refused
from privacy.fields import to_base64
from privacy.key_folder import ROOTS_FILE
from privacy.measures_file import GROUP, Figure, Measures
from privacy.plan import written
from privacy.randomness import secure_source
from privacy.release_files import CERTIFICATE
from privacy.release_files import MEASURES as MEASURES_FILE
from privacy.signing import create_key
from records.contract import Contract, load_contract
from records.intake import ingest_file
from records.minimize import MinimizedRows, minimized_rows
from records.registry import load_registry
from records.sample.exports import SampleExports, SiteExports, write_sample_exports
from records.sample.group import write_sample_group
from records.snapshot import features_of, snapshot
from records.store import create_store, open_store
from records.table import Table, joined, read_table

USE_CASE: Final = "retention"
EPSILON: Final = Decimal("1")
DELTA: Final = Decimal("0.00001")
YEARLY_EPSILON: Final = Decimal("3")
"""Each made-up site's budget is the mu² of this epsilon for every employee and year."""
MEASURES: Final = (EVALUATION, HEAD_COUNT)
OFFICERS: Final = 2
"""Of each site: together they decide its next budget."""
OTHERS: Final = 4
"""How many further groups are drawn to measure on, each as large as the one that trains."""
RECORDS: Final = "records"


@dataclass(frozen=True)
class SiteIntake:
    """What became of one site's exports.

    Attributes:
        rows: read from its exports.
        facts: written to its store.
        quarantined: rows that did not get in, by reason.
        people: in the rows that may be used for the use case.
        left_out: people who are in the records and not in those rows, by reason.
        folder: its records.
    """

    site: str
    rows: int
    facts: int
    quarantined: Mapping[str, int]
    people: int
    left_out: Mapping[str, int]
    folder: Path


@dataclass(frozen=True)
class SiteFigures:
    """One site's line of the demonstration's table; AUC on people who are in no records, without noise.

    Attributes:
        without_budget: people whose own budget did not hold the run; a site is told this and tells nobody.
    """

    site: str
    people: int
    without_budget: int
    mu2: str
    epsilon: str
    auc_local: float
    auc_federated: float
    auc_personal: float
    auc_pooled_without_privacy: float


@dataclass(frozen=True)
class Demonstrated:
    """What a demonstration leaves: a release, the keys to pin, its figures, and a person to recommend something for.

    `measured` is what the release's own measures.json says of the group: with noise, charged, and fit to be shown.
    """

    run: str
    folder: Path
    release: Path
    keys: Path
    certificate: Certificate
    intake: tuple[SiteIntake, ...]
    sites: tuple[SiteFigures, ...]
    measured: tuple[Figure, ...]
    person: dict[str, Any]

    @property
    def records(self) -> list[Path]:
        """The sites' records folders."""
        return [site.folder for site in self.intake]

    def to_document(self) -> dict[str, Any]:
        """The JSON of `kith demo --json`, without the service's part."""
        cost = self.certificate.cost
        return {
            "run": self.run,
            "release": str(self.release),
            "epsilon": cost.epsilon,
            "delta": cost.delta,
            "mu2": cost.mu2,
            "intake": [asdict(site) | {"folder": str(site.folder)} for site in self.intake],
            "sites": [asdict(site) for site in self.sites],
            "measured": [asdict(figure) for figure in self.measured],
            "figures": "AUC on made-up people who are in no records; only a demonstration may show it uncharged",
        }


def demonstrate(folder: Path, run: str, seed: int, progress: Progress) -> Demonstrated:
    """Export, take in, train under differential privacy and measure a made-up group, all under `folder`.

    Raises:
        KithError: whatever goes wrong in the run; `folder` must not hold an earlier one.
    """
    progress("writing the made-up group's exports", 1, 1)
    exports = write_sample_exports(folder / "exports", seed, datetime.now(UTC).date())
    contract = load_contract(exports.contract)
    taken = [_taken_in(site, folder / "sites" / str(n), contract, progress) for n, site in enumerate(exports.sites)]
    intake, tables = tuple(site for site, _ in taken), [table for _, table in taken]
    release, keys, certificate, without_budget = _trained(folder, run, exports, intake, progress)
    model = read_release(release)
    others = _others(folder / "others", seed, contract)
    rows = minimized_rows(joined(tables, "sample group"), contract)
    figures = _measured(rows, contract, model, others, certificate, without_budget, progress)
    told = Measures.from_bytes((release / MEASURES_FILE).read_bytes())
    measured = tuple(figure for figure in told.figures if figure.scope == GROUP)
    person = _person(model, contract, rows, tables, intake)
    return Demonstrated(run, folder, release, keys, certificate, intake, figures, measured, person)


def _taken_in(exports: SiteExports, folder: Path, contract: Contract, progress: Progress) -> tuple[SiteIntake, Table]:
    """One site's exports through their connectors into its own records, and the rows that may be used."""
    registry, now = load_registry(), datetime.now(UTC)
    place = folder / RECORDS
    store = create_store(place, exports.name)
    counted: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for done, feed in enumerate(exports.feeds, start=1):
        progress(f"taking in {exports.name}: {feed.path.name}", done, len(exports.feeds))
        found = ingest_file(store, registry, feed.mapping, feed.path, feed.as_of, now)
        counted.update(rows=found.rows, facts=found.written)
        reasons.update(found.reasons)
    usable = snapshot(store, registry, contract, now)
    store.close()
    site = SiteIntake(
        site=exports.name,
        rows=counted["rows"],
        facts=counted["facts"],
        quarantined=dict(reasons),
        people=len(usable.table.frame),
        left_out=dict(usable.left_out),
        folder=place,
    )
    return site, usable.table


def _trained(
    folder: Path, run: str, exports: SampleExports, intake: tuple[SiteIntake, ...], progress: Progress
) -> tuple[Path, Path, Certificate, dict[str, int]]:
    """A release of the whole group, the keys to pin, the certificate, and who had no budget left, by site."""
    contract = exports.contract.resolve()
    places = [_made(folder, n, site, contract) for n, site in enumerate(intake)]
    group = create_group(folder / "group", contract, places)
    settings = Settings(run, USE_CASE, EPSILON, DELTA, "local", measures=MEASURES)
    release = run_embedded(folder / "group", [site.folder for site in places], settings, folder, progress)
    certificate, _ = open_certificate((release / CERTIFICATE).read_bytes(), group.keys.trusted().coordinator)
    without_budget = {}
    for site in places:
        with closing(site.open_ledger()) as ledger:
            without_budget[site.name] = ledger.reservation(run).left_out
    return release, folder / "group" / ROOTS_FILE, certificate, without_budget


def _made(folder: Path, n: int, intake: SiteIntake, contract: Path) -> Site:
    """A site over the records that were taken in, under a budget for this year that two officers can renew."""
    keys = folder / "officers" / str(n)
    keys.mkdir(parents=True)
    officers = [to_base64(create_key(keys / f"{number}.pem").public) for number in range(1, OFFICERS + 1)]
    cap = Decimal(written(mu_squared_for(YEARLY_EPSILON, DELTA)))
    year = str(datetime.now(UTC).year)
    budget = first_budget(cap, DELTA, (USE_CASE,), year, officers)
    return create_site(intake.folder.parent, intake.site, intake.folder.resolve(), contract, budget)


def _others(folder: Path, seed: int, contract: Contract) -> MinimizedRows:
    """People drawn from the same truth who are in no site's records."""
    groups = [write_sample_group(folder / str(n), seed + 1000 + n) for n in range(OTHERS)]
    tables = [read_table(site.table) for group in groups for site in group.sites]
    return minimized_rows(joined(tables, "people who are in no records"), contract)


def _measured(
    rows: MinimizedRows,
    contract: Contract,
    model: Release,
    others: MinimizedRows,
    certificate: Certificate,
    without_budget: Mapping[str, int],
    progress: Progress,
) -> tuple[SiteFigures, ...]:
    space = FeatureSpace.from_contract(contract)
    clip = float(gradient_clip(space))
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
                without_budget=without_budget[site.name],
                mu2=certificate.cost.mu2,
                epsilon=certificate.cost.epsilon,
                **{name: round(auc(others.label[here], score), 4) for name, score in scores.items()},
            )
        )
    return tuple(figures)


def _person(
    model: Release, contract: Contract, rows: MinimizedRows, tables: list[Table], intake: tuple[SiteIntake, ...]
) -> dict[str, Any]:
    """The request body for the made-up person of the largest site whom its model scored highest as of its day.

    It is somebody who is still there and of whom the model does not abstain today: else there is nothing to decide.
    Features are read from the site's records when they are needed, so the body names the person and nothing else.
    """
    largest = max(contract.site.sites, key=lambda site: site.people_at_most).name
    here = rows.take(rows.site == contract.site.names.index(largest))
    order = np.argsort(-model.scorers[largest].scores(model.space.design(here)))
    keys = joined(tables, "sample group").column("employee_key")
    columns = [feature.column for feature in model.space.features]
    store = open_store(next(site.folder for site in intake if site.site == largest))
    try:
        for position in order:
            subject = str(keys.iloc[int(here.row[position])])
            try:
                known = features_of(store, load_registry(), USE_CASE, subject, datetime.now(UTC))
            except Refused:  # has left since
                continue
            told = explain(model.scorers[largest], {column: known[column] for column in columns}, model.use_case)
            if told.abstained is None:
                return {"use_case": USE_CASE, "site": largest, "employee": subject}
    finally:
        store.close()
    raise Refused(f"{largest}: expected somebody of whom the model tells anything today, got nobody")
