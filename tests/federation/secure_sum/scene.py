"""A run's secure sum with real parts: sites with stores on disk, and an honest coordinator between them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from federation.secure_sum.at_coordinator import SumOfRun
from federation.secure_sum.site_sums import SumsAtSite
from federation.secure_sum.sum_store import SumStore
from federation.wire import Unmasked
from models.planning import sharing
from privacy.key_agreement import Keystream
from privacy.plan import SECURE_SUM, GaussianSum, Plan, SiteBound
from privacy.signing import Signer, Verifier, verifier
from tests.privacy.fixed_signer import FixedSigner

RUN = "run"
MOMENTS = GaussianSum("second-moments", 1, 5, 20, 2**21, 2**23)
GRADIENT = GaussianSum("gradient", 2, 3, 24, 2**25, 2**28)
Sums = Mapping[str, NDArray[np.int64]]


def plan_of(sites: int, colluding: int = 1, least: int | None = None, events: Sequence[GaussianSum] = ()) -> Plan:
    """A plan of so many sites; the public rule's threshold unless it is given."""
    return Plan(
        use_case="retention",
        features="ab" * 32,
        trust=SECURE_SUM,
        delta="0.00001",
        clip="2",
        sites=tuple(SiteBound(f"site {n:04}", 100) for n in range(sites)),
        events=tuple(events) or (MOMENTS, GRADIENT),
        replies_at_least=sharing(sites, SECURE_SUM)[0] if least is None else least,
        colluding=colluding,
    )


def random_of(*names: object) -> Callable[[int], bytes]:
    """A source of bytes that is the same in every test."""
    return Keystream(hashlib.sha256(repr(names).encode()).digest()).read


def values_of(plan: Plan, event: str, seed: int = 0) -> Sums:
    """Each site's values of a release."""
    rng = np.random.Generator(np.random.PCG64(seed))
    size = plan.event(event).coordinates
    return {site.name: rng.integers(-(2**50), 2**50, size) for site in plan.sites}


@dataclass
class Scene:
    """Sites of a plan, and what has come to their coordinator."""

    plan: Plan
    folder: Path
    seed: object = 0
    sums: dict[str, SumsAtSite] = field(default_factory=dict)
    starts: int = 0

    def __post_init__(self) -> None:
        self.names = tuple(site.name for site in self.plan.sites)
        self.signers: dict[str, Signer] = {name: FixedSigner(n % 250 + 1) for n, name in enumerate(self.names)}
        self.keys: dict[str, Verifier] = {name: verifier(one.public) for name, one in self.signers.items()}
        self.coordinator = SumOfRun(RUN, self.plan, self.keys, random_of("coordinator"))
        for name in self.names:
            self.open(name)

    def open(self, name: str) -> SumsAtSite:
        """A site's process, started anew on what it has on disk: other randomness, nothing in memory."""
        self.starts += 1
        store = SumStore(self.folder / name / "sums.sqlite")
        source = random_of(self.seed, name, self.starts)
        self.sums[name] = SumsAtSite(name, self.signers[name], store, lambda: self.keys, source)
        return self.sums[name]

    def set_up(self, advertising: Collection[str] = (), sharing: Collection[str] = ()) -> None:
        """Keys and shares of these sites (of all if none are named), carried by an honest coordinator."""
        adverts = {name: self.sums[name].advert(RUN, self.plan) for name in advertising or self.names}
        shown = self.coordinator.advertised(adverts)
        self.coordinator.shared({name: self.sums[name].shares(RUN, self.plan, shown) for name in sharing or adverts})
        for name in self.coordinator.roster:
            self.ready(name)

    def ready(self, name: str) -> None:
        self.sums[name].ready(RUN, self.plan, self.coordinator.inboxes[name])

    def masked(self, event: str, index: int, values: Sums, sites: Collection[str]) -> dict[str, NDArray[np.uint64]]:
        return {name: self.sums[name].mask(RUN, event, index, values[name]) for name in sites}

    def signatures(self, event: str, index: int, survived: tuple[str, ...]) -> dict[str, bytes]:
        """None where everybody survived."""
        if survived == self.coordinator.roster:
            return {}
        return {name: self.sums[name].agree(RUN, event, index, survived) for name in survived}

    def unmask(
        self, name: str, event: str, index: int, survived: tuple[str, ...], signed: Mapping[str, bytes]
    ) -> Unmasked:
        return Unmasked(*self.sums[name].unmask(RUN, event, index, survived, signed))

    def replies(
        self, event: str, index: int, survived: tuple[str, ...], sites: Collection[str] = ()
    ) -> dict[str, Unmasked]:
        """What these survivors (all if none are named) answer."""
        signed = self.signatures(event, index, survived)
        return {name: self.unmask(name, event, index, survived, signed) for name in sites or survived}


def made(folder: Path, sites: int = 3, **options: object) -> Scene:
    """A scene of so many sites, with everything shared out."""
    scene = Scene(plan_of(sites, **options), folder)  # type: ignore[arg-type]
    scene.set_up()
    return scene


def summed(values: Sums, sites: Collection[str]) -> NDArray[np.int64]:
    total: NDArray[np.int64] = sum(values[name] for name in sites)  # type: ignore[assignment]
    return total
