"""The sample group as its systems would export it: files of many kinds, with their defects, and what they make.

For each of the five subsidiaries, the exports that its personnel, pay, learning, survey and timekeeping systems and its
consent desk would write. Ingested in order through their mapping files, they give (nearly) the table that
`write_sample_group` writes: the same people, features and labels, but for who was not told, objected, or was struck by
a planted defect. Those are counted, so that it can be seen that each was found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from privacy.errors import InputError
from records.contract import parse_contract
from records.registry import load_registry
from records.registry_contract import contract_text
from records.sample.group import CONTRACT, PROFILES, Truth, sample_tables
from records.sample.people import sample_people
from records.sample.sites import WRITERS, Feed, SiteWriter
from records.sample.timeline import HORIZON_MONTHS, Timeline


@dataclass(frozen=True, slots=True)
class SiteExports:
    """One subsidiary's exports.

    Attributes:
        people: how many are employed as of the contract's day, as the site declares.
        feeds: in the order to ingest them.
        number_of: the employee number by `employee_key` of the sample table.
        standing_of: by number, one of `records.sample.people.STANDINGS`.
        spoiled: numbers of the people whom a planted defect keeps from coming out as they are in the sample table.
    """

    name: str
    folder: Path
    people: int
    feeds: tuple[Feed, ...]
    number_of: Mapping[str, str]
    standing_of: Mapping[str, str]
    spoiled: frozenset[str]


@dataclass(frozen=True, slots=True)
class SampleExports:
    """The exports of the made-up group, the contract that reads them, and the truth behind them."""

    sites: tuple[SiteExports, ...]
    contract: Path
    truth: Truth


def write_sample_exports(folder: Path, seed: int, today: date) -> SampleExports:
    """Writes the exports of the five subsidiaries and their contract.toml: the same bytes for the same seed and day.

    Args:
        folder: made if it is not there; one folder per site goes into it.
        seed: of the sample group and of all that is added to it.
        today: the day of writing, by which everything is dated: see `records.sample.timeline`.

    Raises:
        InputError: if the folder can not be written to, or `today` is no day from FIRST_DAY to LAST_DAY.
    """
    days = Timeline(today)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sites = []
        for place, (profile, frame) in enumerate(zip(PROFILES, sample_tables(seed), strict=True)):
            people = sample_people(place, frame, seed, days)
            writer = SiteWriter(folder / Path(profile.file).stem, profile.name, people, [seed, place], days)
            WRITERS[place](writer)
            sites.append(_site(writer))
        contract = folder / "contract.toml"
        contract.write_text(_contract_text(days), encoding="utf-8", newline="\n")
    except OSError as error:
        raise InputError(f"{str(folder)!r}: expected a folder to write to, got {type(error).__name__}") from None
    return SampleExports(tuple(sites), contract, Truth())


def _site(writer: SiteWriter) -> SiteExports:
    return SiteExports(
        writer.name,
        writer.folder,
        len(writer.present),
        tuple(writer.feeds),
        {person.key: person.number for person in writer.people if person.key},
        {person.number: person.standing for person in writer.people},
        frozenset(writer.spoiler.spoiled),
    )


def _contract_text(days: Timeline) -> str:
    """The group's contract, from the registry, with the sample group's head counts and moment."""
    bounds = {site.name: site.people_at_most for site in parse_contract(CONTRACT).site.sites}
    return contract_text(load_registry(), "retention", bounds, days.as_of, HORIZON_MONTHS)
