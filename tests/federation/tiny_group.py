"""A group so small that a run takes a moment: a few sites of two dozen made-up people, a handful of coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from federation.group import Group, create_group, load_group
from federation.site import Site, create_site
from privacy.budget import Budget
from privacy.randomness import OS
from tests.small_group import budget

NAMES = ("North", "South", "West")
FIVE = ("East", "Middle", "North", "South", "West")
"""Of these a release needs four."""
PEOPLE = 24
CONTRACT = """
purpose = "retention"
employee = "who"
[label]
column = "left"
kind = "binary"
positive = ["yes"]
negative = ["no"]
[site]
column = "site"
[site.people_at_most]
{people}
[columns.hours]
kind = "number"
low = 0
high = 10
unit = "hours"
train = true
[columns.place]
kind = "category"
values = ["home", "office"]
train = true
"""


@dataclass(frozen=True)
class TinyGroup:
    sites: tuple[Site, ...]
    group: Path

    @property
    def folders(self) -> list[Path]:
        return [site.folder for site in self.sites]

    def load(self) -> Group:
        return load_group(self.group)


def tiny_group(
    folder: Path,
    noise: str = OS,
    allowed: Budget | None = None,
    ledger: str = "",
    names: tuple[str, ...] = NAMES,
) -> TinyGroup:
    folder.mkdir(parents=True, exist_ok=True)
    contract = folder / "contract.toml"
    people = "\n".join(f"{name} = 60" for name in names)
    contract.write_text(CONTRACT.replace("{people}", people), encoding="utf-8")
    sites = tuple(
        _site(folder, n, name, contract, noise, allowed or budget("10"), ledger) for n, name in enumerate(names)
    )
    create_group(folder / "group", contract, sites)
    return TinyGroup(sites, folder / "group")


def write_table(path: Path, site: str, people: range) -> None:
    """Whoever works long hours leaves."""
    lines = [f"{n},{site},{'yes' if n % 10 > 6 else 'no'},{n % 10},{('home', 'office')[n % 2]}" for n in people]
    path.write_text("\n".join(["who,site,left,hours,place", *lines]) + "\n", encoding="utf-8")


def _site(folder: Path, n: int, name: str, contract: Path, noise: str, allowed: Budget, ledger: str) -> Site:
    table = folder / f"{name}.csv"
    write_table(table, name, range(100 * n, 100 * n + PEOPLE))
    return create_site(folder / "sites" / str(n), name, table, contract, allowed, noise, ledger)
