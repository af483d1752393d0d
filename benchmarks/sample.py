"""The made-up group of five subsidiaries on disk, ready to train together."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

from federation.group import create_group
from federation.run_settings import Settings
from federation.site import create_site
from privacy.budget import first_budget
from privacy.key_folder import ROOTS_FILE
from records.sample.group import write_sample_group

DELTA: Final = Decimal("0.00001")
USE_CASE: Final = "retention"
CAP: Final = Decimal(1000)
"""mu² that each site allows: enough for all runs of a benchmark."""


@dataclass(frozen=True, slots=True)
class MadeUp:
    """Where the coordinator's folder, the pinned keys and the sites' folders are."""

    group: Path
    keys: Path
    sites: tuple[Path, ...]


def made_up(folder: Path) -> MadeUp:
    """Write the group under `folder`."""
    sample = write_sample_group(folder / "exports")
    budget = first_budget(CAP, DELTA, (USE_CASE,))
    places = [
        create_site(folder / "sites" / str(n), site.name, site.table, sample.contract, budget)
        for n, site in enumerate(sample.sites)
    ]
    create_group(folder / "group", sample.contract, places)
    return MadeUp(folder / "group", folder / "group" / ROOTS_FILE, tuple(place.folder for place in places))


def settings(run: str, rounds: int) -> Settings:
    """A retention run at epsilon 1."""
    return Settings(run, USE_CASE, Decimal(1), DELTA, "local", rounds)
