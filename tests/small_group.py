"""A small made-up group on disk for tests: site folders with tables, ledgers and keys, and the coordinator's folder."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from federation.group import create_group
from federation.run_settings import Settings
from federation.site import Site, create_site
from privacy.budget import Budget, first_budget
from privacy.plan import LOCAL
from privacy.randomness import OS
from records.sample.group import Truth, write_sample_group

SMALL = ("Calder Quay Advisory", "Tessera Software", "Brightmoor Care")
"""The three smallest subsidiaries of the sample group: 60, 220 and 600 people."""
DELTA = Decimal("0.00001")
USE_CASES = ("retention",)


@dataclass(frozen=True)
class SmallGroup:
    sites: tuple[Site, ...]
    group: Path
    contract: Path
    truth: Truth

    @property
    def folders(self) -> list[Path]:
        return [site.folder for site in self.sites]


def small_group(folder: Path, noise: str = OS, cap: str = "1", names: tuple[str, ...] = SMALL) -> SmallGroup:
    sample = write_sample_group(folder / "exports")
    left_out = [site.name for site in sample.sites if site.name not in names]
    lines = sample.contract.read_text(encoding="utf-8").splitlines()
    contract = folder / "contract.toml"
    contract.write_text(
        "\n".join(line for line in lines if not line.startswith(tuple(f'"{name}"' for name in left_out))) + "\n"
    )
    sites = tuple(
        create_site(folder / "sites" / str(n), site.name, site.table, contract, budget(cap), noise)
        for n, site in enumerate(site for site in sample.sites if site.name in names)
    )
    create_group(folder / "group", contract, sites)
    return SmallGroup(sites, folder / "group", contract, sample.truth)


def budget(cap: str = "1") -> Budget:
    return first_budget(Decimal(cap), DELTA, USE_CASES)


def settings(run: str = "run-1", epsilon: str = "1", rounds: int = 3, trust: str = LOCAL, **options: Any) -> Settings:
    return Settings(run, "retention", Decimal(epsilon), DELTA, trust, rounds, **options)
