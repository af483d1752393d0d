"""A complete release of two sites, made without any model code: fixed keys, a fixed clock, seeded contributions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from safetensors.numpy import save

from privacy import amounts, canonical, randomness, release_files, signing
from privacy.certificate import Certificate, Mechanism, SiteAccount, account, issue
from privacy.cost import cost_of
from privacy.ledger import Charge, Ledger
from privacy.ledger_excerpt import LedgerExcerpt
from privacy.plan import GaussianSum, Plan, SiteBound
from privacy.receipt import Receipt, sign_receipt
from privacy.signing import Signer
from privacy.trust_roots import TrustRoots

NOW = 1_763_000_000
WIDTH = 3
SITES = ("North", "South & West")
RUN = "run-1"
CAP = Decimal("2")


@dataclass(frozen=True)
class FixedSigner:
    """An Ed25519 key made of one byte's value, 32 times."""

    seed: int

    @property
    def _key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(bytes([self.seed]) * 32)

    @property
    def public(self) -> bytes:
        return self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @property
    def keyid(self) -> str:
        return signing.keyid(self.public)

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)


FEATURES = {"features": "of a test"}


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
    )
    return replace(base, **changes)


def state_of(event: str, index: int) -> str:
    state = b"" if event == "second-moments" else f"state {event} {index}".encode()
    return hashlib.sha256(state).hexdigest()


@dataclass
class Site:
    """A site as its guard would be: a key, a ledger, and contributions from a seed instead of people."""

    name: str
    signer: Signer
    ledger: Ledger
    noise: str = randomness.OS

    def contribute(self, run: str, plan: Plan, event: str, index: int, crash: bool = False) -> bytes | None:
        """The receipt for one release; after a crash, nothing but the charge."""
        state = state_of(event, index)
        charge = self.ledger.charge(run, plan, event, index, state)
        if charge.answered or crash:
            return charge.answered.receipt if charge.answered else None
        values = np.random.default_rng(index).integers(-9, 9, plan.event(event).coordinates).astype("<i8").tobytes()
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
            code=hashlib.sha256(b"code").hexdigest(),
            issued_at=NOW,
            contribution=hashlib.sha256(values).hexdigest(),
        )


@dataclass
class Group:
    """A coordinator and its sites, whose ledgers live in `folder`."""

    folder: Path
    coordinator: Signer = field(default_factory=lambda: FixedSigner(1))
    noise: str = randomness.OS

    def __post_init__(self) -> None:
        self.sites = [
            Site(
                name, FixedSigner(n + 2), Ledger.create(self.folder / f"{n}.ledger", name, CAP, clock=clock), self.noise
            )
            for n, name in enumerate(SITES)
        ]

    @property
    def roots(self) -> TrustRoots:
        return TrustRoots.of(self.coordinator, {site.name: site.signer for site in self.sites})

    def train(self, run: str, plan: Plan, crashes: frozenset[tuple[int, str, int]] = frozenset()) -> dict[str, bytes]:
        """All files of the release of a run; `crashes` names releases (site, event, index) that were charged twice."""
        files = {
            release_files.PLAN: plan.to_bytes(),
            release_files.CARD: canonical.to_bytes(card([site.name for site in self.sites])),
            release_files.MODEL: weights([site.name for site in self.sites]),
            release_files.KEYS: self.roots.to_bytes(),
        }
        for n, site in enumerate(self.sites):
            site.ledger.reserve(run, plan)
            lines = []
            for event in plan.events:
                for index in range(event.times):
                    if (n, event.name, index) in crashes:
                        site.contribute(run, plan, event.name, index, crash=True)
                    receipt = site.contribute(run, plan, event.name, index)
                    lines.append((receipt or b"") + b"\n")
            site.ledger.end(run)
            files[release_files.receipts(n)] = b"".join(lines)
            files[release_files.ledger(n)] = site.ledger.excerpt(run, site.signer).to_bytes()
        return self.certified(files, self.certificate(run, plan, files))

    def certificate(self, run: str, plan: Plan, files: Mapping[str, bytes]) -> Certificate:
        return Certificate(
            run=run,
            mechanism=Mechanism.of(plan),
            cost=cost_of(plan),
            accounts=tuple(self._account(n, site, run, files) for n, site in enumerate(self.sites)),
            noise=self.noise,
            code=hashlib.sha256(b"code").hexdigest(),
            coordinator=self.coordinator.keyid,
            issued_at=NOW,
            not_covered=("what a site's own staff can read",),
        )

    def certified(self, files: Mapping[str, bytes], certificate: Certificate) -> dict[str, bytes]:
        """The files, with this certificate over them as they are."""
        envelope = issue(certificate, release_files.subjects(files), self.coordinator)
        return {**files, release_files.CERTIFICATE: envelope}

    def _account(self, n: int, site: Site, run: str, files: Mapping[str, bytes]) -> SiteAccount:
        name = release_files.ledger(n)
        excerpt = LedgerExcerpt.from_bytes(files[name], name)
        return account(site.name, site.signer.keyid, excerpt.verified(site.name, signing.verifier(site.signer.public)))


def weights(sites: list[str], change: Callable[[dict[str, np.ndarray]], None] | None = None) -> bytes:
    """model.safetensors, after `change` has had its way with the tensors."""
    models = ("", *(f"/{site}" for site in sites))
    tensors = {f"weights{model}": np.arange(WIDTH, dtype=np.float64) for model in models}
    tensors |= {f"variances{model}": np.ones(WIDTH) for model in models}
    tensors |= {"typical": np.ones(WIDTH), "basis": np.eye(WIDTH)}
    if change:
        change(tensors)
    return save(tensors)


def write(files: Mapping[str, bytes], path: Path) -> Path:
    """The release directory at `path`."""
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path
