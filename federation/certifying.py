"""A run's release as files: what was learned and the proof of what it cost, under the coordinator's signature."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final

from federation.basis import Basis
from federation.closing import Closed
from federation.code_digest import code_digest
from federation.environment import versions
from federation.group import Group
from federation.released import Released
from federation.run_settings import Settings
from models.features import FeatureSpace
from models.optimiser import Fit
from models.release import card_document, weights_bytes
from models.use_case import load_use_case
from privacy import canonical, release_files
from privacy.certificate import (
    NO_TUNING,
    Absence,
    AuditSummary,
    Certificate,
    KeysUsed,
    Mechanism,
    account,
    issue,
    side_outputs,
)
from privacy.plan import FLOAT64, SECURE_SUM, Plan
from privacy.receipt import open_receipt
from privacy.signing import Verifier

NOT_COVERED: Final = (
    "what the group's records say about everybody, also about people who were never in them",
    "an administrator of a site, or code with the rights of its guard, who reads the table or the site's key there",
    "a guard in one process with the Flower app, as in a trial on one machine: who ships the app reads what it reads",
    "a site that signs what it did not do",
    "a ledger that was rewritten before any other site had seen it, or with every witness's help",
    "weights that were not computed from the released sums: they are the coordinator's word",
    "that a table could not be used, and how long an answer took",
    "people at two sites at once, beyond the epsilon that is stated for them: neither ledger knows of the other",
    "figures that a demonstration or an evaluation shows beside a release without noise",
)

SHARED: Final = (
    "more than the colluding sites that the mechanism names, together with the coordinator",
    "sites that leave out their share of the noise: everybody's protection is then so much less",
    "that the sum under masks is the one that the model was learned from: it is the coordinator's word",
)
"""Under a secure sum."""
FLOATING: Final = "the arithmetic of floating-point noise, which the accounting takes for exact"

MAX_FAULTS: Final = 100
"""That a certificate tells of."""


def certified(
    group: Group,
    settings: Settings,
    basis: Basis,
    fit: Fit,
    measured: bytes | None,
    released: Sequence[Released],
    closed: Mapping[str, Closed],
) -> dict[str, bytes]:
    """All files of the release, certificate included."""
    plan = basis.plan
    sites = [site for site in plan.sites if site.name in closed]
    card = card_document(
        fit,
        FeatureSpace.from_contract(group.contract),
        load_use_case(settings.use_case),
        tuple(site.name for site in plan.sites),
    )
    files = {
        release_files.PLAN: plan.to_bytes(),
        release_files.CARD: canonical.to_bytes(card),
        release_files.MODEL: weights_bytes(fit),
        release_files.KEYS: group.keys_file,
    }
    for name, optional in ((release_files.AUDIT, basis.audit), (release_files.MEASURES, measured)):
        if optional is not None:
            files[name] = optional
    for n, site in enumerate(sites):
        mine = [one.receipts[site.name] for one in released if site.name in one.receipts]
        files[release_files.receipts(n)] = b"".join(receipt + b"\n" for receipt in mine)
        files[release_files.ledger(n)] = closed[site.name].excerpt.to_bytes()
    keys = group.keys.trusted().sites
    certificate = Certificate(
        run=settings.run,
        contract=group.contract_digest,
        mechanism=Mechanism.of(plan),
        cost=basis.cost,
        accounts=tuple(
            account(site, keys[site.name].keyid, closed[site.name].verified, closed[site.name].witnesses)
            for site in sites
        ),
        absences=tuple(
            Absence(name, one.event, one.index, one.absent[name]) for one in released for name in sorted(one.absent)
        ),
        tuning=NO_TUNING,
        side_outputs=side_outputs(plan),
        audit=AuditSummary.of(basis.audit) if basis.audit is not None else None,
        noise=", ".join(sorted(_sources(released, keys))),
        code=code_digest(),
        environment=versions(),
        image=basis.image,
        coordinator=group.signer.keyid,
        keys=KeysUsed(group.keys.number, release_files.sha256(group.keys_file)),
        prior=basis.prior,
        issued_at=int(time.time()),
        not_covered=_not_covered(plan, released),
    )
    files[release_files.CERTIFICATE] = issue(certificate, release_files.subjects(files), group.signer)
    return files


def _sources(released: Sequence[Released], keys: Mapping[str, Verifier]) -> set[str]:
    """Names of the sources of noise, as receipts have them."""
    return {open_receipt(data, keys[name]).noise for one in released for name, data in one.receipts.items()}


def _not_covered(plan: Plan, released: Sequence[Released]) -> tuple[str, ...]:
    """What the certificate does not protect against, and what went wrong."""
    faults = (
        f"{one.event} {one.index}: {name or 'a site that nobody can name'}: {fault}"[:500]
        for one in released
        for name, fault in sorted(one.faults.items())
    )
    floating = (FLOATING,) if plan.mechanism == FLOAT64 else ()
    shared = SHARED if plan.trust == SECURE_SUM else ()
    return (*NOT_COVERED, *shared, *floating, *islice(faults, MAX_FAULTS))
