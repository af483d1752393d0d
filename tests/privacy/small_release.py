"""A complete release of a few sites, made without any model code: fixed keys, a fixed clock, seeded contributions, and
employees who are nothing but marks. Under a secure sum a seeded contribution stands for a masked one."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from privacy import amounts, canonical, checkpoint, fields, key_list, randomness, release_files, signing
from privacy.budget import Budget, first_budget
from privacy.certificate import (
    NO_TUNING,
    SILENT,
    Absence,
    AuditSummary,
    Certificate,
    KeysUsed,
    Mechanism,
    SiteAccount,
    account,
    issue,
    side_outputs,
)
from privacy.cost import cost_of
from privacy.key_list import KeyList
from privacy.ledger import Charge, Ledger
from privacy.ledger_excerpt import LedgerExcerpt
from privacy.measures_file import Measures, NoisySum, groups_of, measures_of
from privacy.party_names import COORDINATOR, site_party
from privacy.plan import LOCAL, SECURE_SUM, GaussianSum, Plan, SiteBound
from privacy.receipt import Receipt, sign_receipt
from privacy.signing import Signer
from privacy.trust_roots import PinnedKeys, TrustRoots
from tests.privacy.fixed_signer import FixedSigner

NOW = 1_763_000_000
WIDTH = 3
SITES = ("North", "South & West")
MASKED_SITES = ("East", "North", "South & West", "West")
RUN = "run-1"
CAP = Decimal("2")
DELTA = Decimal("0.00001")
GROUP = "Small group"
CONTRACT = b'purpose = "retention"\n'
CODE = hashlib.sha256(b"code").hexdigest()


ROOT = FixedSigner(100)
OFFICERS = (FixedSigner(110), FixedSigner(111), FixedSigner(112))
FEATURES = {"features": "of a test"}
HEADS = GaussianSum("head-count", 1, 1, 20, 2**20, 2**24)
"""A side output, for plans that have one."""


def card(sites: list[str]) -> dict[str, object]:
    return {"use_case": "retention", "features": FEATURES, "width": WIDTH, "sites": sites}


def clock() -> int:
    return NOW


def plan(**changes: object) -> Plan:
    """Three releases of WIDTH-dimensional sums; mu² = 1/4 + 2/16."""
    base = Plan(
        use_case="retention",
        features=hashlib.sha256(canonical.to_bytes(FEATURES)).hexdigest(),
        trust="local",
        delta="0.00001",
        clip="1",
        sites=tuple(SiteBound(name, 100) for name in SITES),
        events=(
            GaussianSum("second-moments", 1, WIDTH * WIDTH, 20, 2**21, 2**22),
            GaussianSum("gradient", 2, WIDTH, 20, 2**20, 2**22),
        ),
        replies_at_least=1,
    )
    return replace(base, **changes)


def masked_plan(**changes: object) -> Plan:
    """The same releases and a head-count as secure sums of three or more of four sites, one of which may collude."""
    sites = tuple(SiteBound(name, 100) for name in MASKED_SITES)
    shared = {"trust": SECURE_SUM, "sites": sites, "replies_at_least": 3, "colluding": 1}
    return plan(**{**shared, "events": (*plan().events, HEADS), **changes})


def absent(site: str, *releases: tuple[str, int], reason: str = SILENT) -> tuple[Absence, ...]:
    """The absences of a site from these releases (event, index)."""
    return tuple(Absence(site, event, index, reason) for event, index in releases)


def releases_of(plan: Plan) -> tuple[tuple[str, int], ...]:
    """Every release (event, index) of a plan, in order."""
    return tuple((event.name, index) for event in plan.events for index in range(event.times))


def marks(site: str, people: int = 5) -> frozenset[bytes]:
    """Employees of a site, as its ledger knows them."""
    return frozenset(hashlib.sha256(f"{site} {n}".encode()).digest()[:16] for n in range(people))


def budget(cap: Decimal = CAP) -> Budget:
    """What the sites' ledgers open with."""
    officers = sorted(fields.to_base64(officer.public) for officer in OFFICERS)
    return first_budget(cap, DELTA, ("retention", "mentoring"), label="2026", officers=officers)


def state_of(event: str, index: int) -> str:
    state = f"state {event} {index}".encode() if event == "gradient" else b""
    return hashlib.sha256(state).hexdigest()


def values_of(site: str, event: GaussianSum, index: int) -> bytes:
    """What leaves a site in one release, from a seed instead of people."""
    seed = struct.unpack("<Q", hashlib.sha256(f"{site} {event.name} {index}".encode()).digest()[:8])[0]
    return np.random.default_rng(seed).integers(-9, 9, event.coordinates).astype("<i8").tobytes()


@dataclass
class Site:
    """A site as its guard would be: a key, a ledger, and contributions from a seed instead of people."""

    name: str
    signer: Signer
    ledger: Ledger
    noise: str = randomness.OS

    def contribute(self, run: str, plan: Plan, event: str, index: int, crash: bool = False) -> bytes | None:
        """The receipt for one release; after a crash, nothing but the charge."""
        charge = self.ledger.charge(run, plan, event, index, state_of(event, index))
        if charge.answered or crash:
            return charge.answered.receipt if charge.answered else None
        values = values_of(self.name, plan.event(event), index)
        receipt = sign_receipt(self.receipt(run, plan, event, index, charge, values), self.signer)
        self.ledger.settle(charge, values, receipt)
        return receipt

    def receipt(self, run: str, plan: Plan, event: str, index: int, charge: Charge, values: bytes) -> Receipt:
        return Receipt(
            site=self.name,
            run=run,
            plan=plan.digest,
            event=event,
            index=index,
            state=state_of(event, index),
            mu2=amounts.to_text(amounts.once(plan.event(event))),
            position=charge.position,
            leaf=charge.leaf_hash,
            noise=self.noise,
            code=CODE,
            issued_at=NOW,
            contribution=hashlib.sha256(values).hexdigest(),
        )


@dataclass
class Group:
    """A coordinator and its sites, whose ledgers live in `folder`, under a key list that one root signed."""

    folder: Path
    coordinator: Signer = field(default_factory=lambda: FixedSigner(1))
    noise: str = randomness.OS
    root: Signer = ROOT
    budget: Budget = field(default_factory=budget)
    names: tuple[str, ...] = SITES

    def __post_init__(self) -> None:
        self.sites = [
            Site(
                name,
                FixedSigner(n + 2),
                Ledger.create(self.folder / f"{n}.ledger", name, self.budget, clock=clock),
                self.noise,
            )
            for n, name in enumerate(self.names)
        ]

    @property
    def key_list(self) -> KeyList:
        parties = {COORDINATOR: self.coordinator.public}
        parties |= {site_party(site.name): site.signer.public for site in self.sites}
        return key_list.first_list(GROUP, [self.root.public], 1, parties, NOW)

    @property
    def roots(self) -> TrustRoots:
        return TrustRoots.of(self.coordinator, {site.name: site.signer for site in self.sites})

    @property
    def pinned(self) -> PinnedKeys:
        """What an officer who knows the group's root key pins."""
        return PinnedKeys.of(self.key_list)

    def train(
        self,
        run: str,
        plan: Plan,
        crashes: frozenset[tuple[int, str, int]] = frozenset(),
        prior: bytes | None = None,
        audit: bytes | None = None,
        witnessed: bool = True,
        away: Collection[Absence] = (),
        in_vain: bool = False,
    ) -> dict[str, bytes]:
        """All files of the release of a run.

        Args:
            run: id of the run.
            plan: what is released.
            crashes: releases (site, event, index) that were charged twice.
            prior: certificate file of the release before.
            audit: audit.json.
            witnessed: whether each site cosigns the other's checkpoint.
            away: who is not in which release, in the certificate's order.
            in_vain: whether they were charged all the same.
        """
        gone = {(one.site, one.event, one.index) for one in away}
        present = [site for site in self.sites if {(site.name, *one) for one in releases_of(plan)} - gone]
        files = {
            release_files.PLAN: plan.to_bytes(),
            release_files.CARD: canonical.to_bytes(card([site.name for site in self.sites])),
            release_files.MODEL: weights([site.name for site in self.sites]),
            release_files.KEYS: key_list.sign_key_list(self.key_list, self.root),
        }
        if audit is not None:
            files[release_files.AUDIT] = audit
        if measures_of(plan):
            files[release_files.MEASURES] = measures(plan, [site.name for site in self.sites], away)
        for n, site in enumerate(present):
            site.ledger.reserve(run, plan, marks(site.name))
            lines = []
            for event, index in releases_of(plan):
                missing = (site.name, event, index) in gone
                if (n, event, index) in crashes or (missing and in_vain):
                    site.contribute(run, plan, event, index, crash=True)
                if not missing:
                    lines.append((site.contribute(run, plan, event, index) or b"") + b"\n")
            site.ledger.end(run)
            files[release_files.receipts(n)] = b"".join(lines)
            excerpt = site.ledger.excerpt(run, site.signer)
            files[release_files.ledger(n)] = (self.witnessed(excerpt) if witnessed else excerpt).to_bytes()
        return self.certified(files, self.certificate(run, plan, files, prior, away))

    def witnessed(self, excerpt: LedgerExcerpt) -> LedgerExcerpt:
        """A site's excerpt, its checkpoint cosigned by every other site."""
        note, own = excerpt.checkpoint, self.site_of(excerpt)
        for other in (site for site in self.sites if site is not own):
            note = checkpoint.cosign(note, checkpoint.origin_of(other.name), other.signer, NOW)
        return replace(excerpt, checkpoint=note)

    def site_of(self, excerpt: LedgerExcerpt) -> Site:
        """Whose ledger an excerpt is of."""
        return {checkpoint.origin_of(site.name): site for site in self.sites}[excerpt.checkpoint.split("\n")[0]]

    def certificate(
        self,
        run: str,
        plan: Plan,
        files: Mapping[str, bytes],
        prior: bytes | None = None,
        absences: Collection[Absence] = (),
    ) -> Certificate:
        audit = files.get(release_files.AUDIT)
        return Certificate(
            run=run,
            contract=hashlib.sha256(CONTRACT).hexdigest(),
            mechanism=Mechanism.of(plan),
            cost=cost_of(plan),
            accounts=self.accounts(plan, files),
            absences=tuple(absences),
            tuning=NO_TUNING,
            side_outputs=side_outputs(plan),
            audit=None if audit is None else AuditSummary.of(audit),
            noise=self.noise,
            code=CODE,
            environment={"python": "3.11.0", "numpy": "2.0.0"},
            image=None,
            coordinator=self.coordinator.keyid,
            keys=KeysUsed(self.key_list.number, release_files.sha256(files[release_files.KEYS])),
            prior=None if prior is None else release_files.sha256(prior),
            issued_at=NOW,
            not_covered=("what a site's own staff can read", "how long an answer took"),
        )

    def certified(self, files: Mapping[str, bytes], certificate: Certificate) -> dict[str, bytes]:
        """The files, with this certificate over them as they are."""
        envelope = issue(certificate, release_files.subjects(files), self.coordinator)
        return {**files, release_files.CERTIFICATE: envelope}

    def accounts(self, plan: Plan, files: Mapping[str, bytes]) -> tuple[SiteAccount, ...]:
        """What the sites' excerpts say, as they are in `files`."""
        result = []
        origins = {checkpoint.origin_of(site.name): site for site in self.sites}
        bounds = {bound.name: bound for bound in plan.sites}
        for n in range(sum(name.startswith("ledger/") for name in files)):
            name = release_files.ledger(n)
            excerpt = LedgerExcerpt.from_bytes(files[name], name)
            site = self.site_of(excerpt)
            shown = excerpt.verified(site.name, signing.verifier(site.signer.public))
            others = {o: signing.verifier(s.signer.public) for o, s in origins.items() if s is not site}
            held = checkpoint.witnesses(excerpt.checkpoint, shown.head, others)
            result.append(
                account(bounds[site.name], site.signer.keyid, shown, [origins[origin].name for origin, _ in held])
            )
        return tuple(result)


def weights(sites: list[str], change: Callable[[dict[str, np.ndarray]], None] | None = None) -> bytes:
    """model.safetensors, after `change` has had its way with the tensors."""
    models = ("", *(f"/{site}" for site in sites))
    tensors = {f"weights{model}": np.arange(WIDTH, dtype=np.float64) for model in models}
    tensors |= {f"variances{model}": np.ones(WIDTH) for model in models}
    tensors |= {"typical": np.ones(WIDTH), "basis": np.eye(WIDTH)}
    if change:
        change(tensors)
    return save(tensors)


def measures(plan: Plan, sites: Sequence[str], away: Collection[Absence] = ()) -> bytes:
    """measures.json: the head-counts as they left the sites, or what they add up to, and no figure read from them."""

    def total(event: GaussianSum, group: tuple[str, ...]) -> NoisySum:
        values = [struct.unpack(f"<{event.coordinates}q", values_of(site, event, 0)) for site in group]
        return NoisySum(group, tuple(map(sum, zip(*values, strict=True))))

    sums = {}
    for event in measures_of(plan):
        gone = {one.site for one in away if one.event == event.name}
        groups = groups_of(plan, [site for site in sites if site not in gone])
        sums[event.name] = tuple(total(event, group) for group in groups)
    return canonical.to_bytes(Measures(plan.digest, None, sums, ()).to_document())


def audit(
    plan: Plan, runs: int = 2_000, errors: tuple[int, int] = (350, 350), fault: str | None = None, seed: int = 7
) -> bytes:
    """audit.json of an attack with so many false positives and false negatives, in 800 guesses of either kind."""
    from privacy.audit import FALSE_ALARM, Attack, AuditResult, Guesses, epsilon_of, held_out

    delta, guesses = Decimal(plan.delta), Guesses(*errors, runs // 2 - held_out(runs // 2))
    attack = Attack(
        name="releases",
        guesses=guesses,
        direct=Decimal("0.000000"),
        gdp_rates=epsilon_of(guesses.mu_by_rates(), delta),
        gdp_guesses=epsilon_of(guesses.mu_by_guesses(), delta),
        mu=guesses.mu_by_guesses(),
        mu_sure=guesses.mu_by_guesses(1 - FALSE_ALARM),
    )
    on_twin = replace(plan, trust=LOCAL, sites=(SiteBound("twin", 200),), replies_at_least=1, colluding=0)
    return canonical.to_bytes(AuditResult(on_twin, (attack,), runs, seed, "seeded-for-tests", fault).to_document())


def write(files: Mapping[str, bytes], path: Path) -> Path:
    """The release directory at `path`."""
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path
