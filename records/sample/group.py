"""A made-up group of five subsidiaries, with the truth known.

No person behind these rows exists. Whether an employee leaves is drawn from a log-odds that is a sum of terms, one
per column, most of them bent; some subsidiaries bend a term further, which only a model of their own can find. A
missing cell has a term of its own (0 where none is named), so that `Truth` is exact for the table as written.
Subsidiaries differ in jobs, tenure, pay, overtime, remote work and how many leave.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from privacy.errors import InputError
from records.table import as_numbers

Floats = npt.NDArray[np.float64]
Bend = tuple[tuple[float, float], ...]
"""Points (value, log-odds) of a curve that is straight in between and level beyond its ends."""

JOBS: Final = ("administration", "care", "engineering", "finance", "logistics", "production", "sales")
LEVELS: Final = ("entry", "skilled", "senior", "lead")
MODES: Final = ("hybrid", "on site", "remote")
GENDERS: Final = ("female", "male", "not stated")

CURVES: Final[Mapping[str, Bend]] = MappingProxyType(
    {
        "tenure_years": ((0, 0.95), (2, 0.8), (6, -0.55), (12, -0.65), (18, -0.35), (32, 0.75)),
        "months_since_promotion": ((0, -0.8), (36, 0.65), (96, 0.65)),
        "overtime_hours": ((0, -0.4), (8, -0.4), (24, 1.6), (32, 1.8)),
        "commute_minutes": ((0, -0.35), (30, -0.2), (90, 0.7), (120, 0.8)),
        "training_days": ((0, 0.5), (8, -0.4), (16, -0.45)),
        "pay_against_market": ((70, 1.1), (95, 0.3), (105, -0.35), (130, -0.6)),
        "manager_changes": ((0, -0.2), (1, 0.0), (3, 0.75), (6, 0.9)),
    }
)
STEPS: Final[Mapping[str, Mapping[str, float]]] = MappingProxyType(
    {
        "pulse": {"1": 1.25, "2": 0.65, "3": 0.0, "4": -0.45, "5": -0.85},
        "work_mode": {"hybrid": -0.2, "on site": 0.2, "remote": 0.0},
        "job_level": {"entry": 0.25, "skilled": 0.0, "senior": -0.15, "lead": -0.2},
        "job_family": {
            "administration": -0.15,
            "care": 0.2,
            "engineering": 0.05,
            "finance": -0.05,
            "logistics": 0.15,
            "production": 0.0,
            "sales": 0.3,
        },
    }
)
MISSING_TERMS: Final[Mapping[str, float]] = MappingProxyType({"pulse": 0.3})
COLUMNS: Final = (*CURVES, *STEPS)


@dataclass(frozen=True, slots=True)
class SampleSite:
    """One subsidiary of the sample group: its name, its table as CSV, and how many people work there."""

    name: str
    table: Path
    people: int


@dataclass(frozen=True, slots=True)
class Truth:
    """The log-odds of leaving from which the sample group's labels were drawn, whatever the seed."""

    def term(self, column: str, value: str | None, site: str | None = None) -> float:
        """What one cell adds to the log-odds, in the group as a whole or at a site.

        Raises:
            InputError: for a column or site that the truth does not know.
        """
        return float(self._terms(pd.Series([value], dtype="str"), column, site)[0])

    def log_odds(self, frame: pd.DataFrame, site: str) -> Floats:
        """Log-odds of leaving (n,) of the rows of one site's table, cells as text.

        Raises:
            InputError: for a missing column or an unknown site.
        """
        total = np.full(len(frame), _profile(site).base)
        for column in COLUMNS:
            if column not in frame.columns:
                raise InputError(f"sample group: expected a column {column!r}, got none")
            total += self._terms(frame[column], column, site)
        return total

    def _terms(self, cells: pd.Series[Any], column: str, site: str | None) -> Floats:
        own = _profile(site).own.get(column, ()) if site is not None else ()
        missing = cells.isna().to_numpy(dtype=bool)
        if column in CURVES:
            numbers = as_numbers(cells).values
            terms = _bent(numbers, CURVES[column])
            if own:
                terms = terms + _bent(numbers, tuple(own))
        elif column in STEPS:
            extra = dict(own)
            points = {value: point + extra.get(value, 0.0) for value, point in STEPS[column].items()}
            terms = np.array([points.get(str(cell), 0.0) for cell in cells], dtype=np.float64)
        else:
            raise InputError(f"sample group: expected one of {', '.join(COLUMNS)}, got another column")
        terms[missing] = MISSING_TERMS.get(column, 0.0)
        return terms


@dataclass(frozen=True, slots=True)
class SampleGroup:
    """The files of the made-up group, and the truth behind them."""

    sites: tuple[SampleSite, ...]
    contract: Path
    truth: Truth


@dataclass(frozen=True, slots=True)
class _Profile:
    """How a subsidiary differs. Shares follow the order of JOBS, LEVELS, MODES and GENDERS.

    `own` bends a column's term further: points of a curve, or (value, log-odds) pairs.
    """

    name: str
    file: str
    people: int
    base: float
    jobs: tuple[float, ...]
    levels: tuple[float, ...]
    modes: tuple[float, ...]
    genders: tuple[float, ...]
    tenure: float
    overtime: float
    commute: float
    pay: float
    training: float
    pulse: float
    own: Mapping[str, Any]


PROFILES: Final = (
    _Profile(
        name="Halden Precision Works",
        file="halden-precision-works.csv",
        people=3000,
        base=-2.2,
        jobs=(0.10, 0.00, 0.22, 0.04, 0.10, 0.48, 0.06),
        levels=(0.30, 0.42, 0.20, 0.08),
        modes=(0.22, 0.72, 0.06),
        genders=(0.29, 0.69, 0.02),
        tenure=9.0,
        overtime=6.0,
        commute=32.0,
        pay=100.0,
        training=3.5,
        pulse=3.3,
        own=MappingProxyType({}),
    ),
    _Profile(
        name="Norrvik Logistics",
        file="norrvik-logistics.csv",
        people=1400,
        base=-2.9,
        jobs=(0.08, 0.00, 0.04, 0.03, 0.76, 0.03, 0.06),
        levels=(0.55, 0.30, 0.11, 0.04),
        modes=(0.10, 0.87, 0.03),
        genders=(0.24, 0.73, 0.03),
        tenure=4.0,
        overtime=9.0,
        commute=45.0,
        pay=95.0,
        training=2.0,
        pulse=3.0,
        own=MappingProxyType({"commute_minutes": ((0, -0.6), (20, -0.5), (75, 0.9), (120, 1.1))}),
    ),
    _Profile(
        name="Brightmoor Care",
        file="brightmoor-care.csv",
        people=600,
        base=-2.5,
        jobs=(0.12, 0.78, 0.01, 0.03, 0.04, 0.00, 0.02),
        levels=(0.38, 0.40, 0.17, 0.05),
        modes=(0.08, 0.90, 0.02),
        genders=(0.79, 0.18, 0.03),
        tenure=6.0,
        overtime=8.0,
        commute=28.0,
        pay=93.0,
        training=5.0,
        pulse=3.2,
        own=MappingProxyType({"training_days": ((0, 0.7), (6, -0.6), (16, -0.9))}),
    ),
    _Profile(
        name="Tessera Software",
        file="tessera-software.csv",
        people=220,
        base=-2.1,
        jobs=(0.08, 0.00, 0.66, 0.06, 0.00, 0.00, 0.20),
        levels=(0.18, 0.34, 0.34, 0.14),
        modes=(0.42, 0.14, 0.44),
        genders=(0.33, 0.61, 0.06),
        tenure=3.5,
        overtime=5.0,
        commute=38.0,
        pay=104.0,
        training=4.5,
        pulse=3.5,
        own=MappingProxyType({"work_mode": (("hybrid", -0.1), ("on site", 1.2), ("remote", -0.5))}),
    ),
    _Profile(
        name="Calder Quay Advisory",
        file="calder-quay-advisory.csv",
        people=60,
        base=-2.2,
        jobs=(0.15, 0.00, 0.05, 0.55, 0.00, 0.00, 0.25),
        levels=(0.20, 0.30, 0.32, 0.18),
        modes=(0.60, 0.25, 0.15),
        genders=(0.45, 0.50, 0.05),
        tenure=5.0,
        overtime=11.0,
        commute=40.0,
        pay=108.0,
        training=6.0,
        pulse=3.4,
        own=MappingProxyType({}),
    ),
)

CONTRACT: Final = """\
# The contract of the made-up group. Bounds, values and head counts were chosen by hand; none was taken from a table.
purpose = "retention"
employee = "employee_key"

[label]
column = "left"
kind = "binary"
positive = ["yes"]
negative = ["no"]

[site]
column = "subsidiary"
[site.people_at_most]
"Brightmoor Care" = 700
"Calder Quay Advisory" = 80
"Halden Precision Works" = 3500
"Norrvik Logistics" = 1500
"Tessera Software" = 250

[columns.tenure_years]
kind = "number"
low = 0
high = 32
unit = "years"
train = true

[columns.months_since_promotion]
kind = "number"
low = 0
high = 96
unit = "months"
train = true

[columns.overtime_hours]
kind = "number"
low = 0
high = 32
unit = "hours a week"
train = true

[columns.commute_minutes]
kind = "number"
low = 0
high = 120
unit = "minutes"
train = true

[columns.training_days]
kind = "number"
low = 0
high = 16
unit = "days a year"
train = true

[columns.pay_against_market]
kind = "number"
low = 70
high = 130
unit = "percent"
train = true

[columns.manager_changes]
kind = "number"
low = 0
high = 6
unit = "in three years"
train = true

[columns.pulse]
kind = "ordered"
values = ["1", "2", "3", "4", "5"]
train = true

[columns.work_mode]
kind = "category"
values = ["hybrid", "on site", "remote"]
train = true

[columns.job_level]
kind = "ordered"
values = ["entry", "skilled", "senior", "lead"]
train = true

[columns.job_family]
kind = "category"
values = ["administration", "care", "engineering", "finance", "logistics", "production", "sales"]
train = true

[columns.gender]  # protected: it is in the tables, and never reaches a model
kind = "category"
values = ["female", "male", "not stated"]
train = false
protected = true
"""


def write_sample_group(folder: Path, seed: int = 7) -> SampleGroup:
    """Writes five CSV tables and one contract.toml into `folder`, the same bytes for the same seed.

    Raises:
        InputError: if the folder can not be written to.
    """
    truth = Truth()
    sites = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        contract = folder / "contract.toml"
        contract.write_text(CONTRACT, encoding="utf-8", newline="\n")
        for profile, frame in zip(PROFILES, sample_tables(seed), strict=True):
            path = folder / profile.file
            frame.to_csv(path, index=False, lineterminator="\n", encoding="utf-8")
            sites.append(SampleSite(profile.name, path, len(frame)))
    except OSError as error:
        raise InputError(f"{str(folder)!r}: expected a folder to write to, got {type(error).__name__}") from None
    return SampleGroup(tuple(sites), contract, truth)


def sample_tables(seed: int = 7) -> list[pd.DataFrame]:
    """The tables that `write_sample_group` writes, in the order of PROFILES, cells as text."""
    truth = Truth()
    return [_people(profile, truth, np.random.default_rng([seed, place])) for place, profile in enumerate(PROFILES)]


def _people(profile: _Profile, truth: Truth, random: np.random.Generator) -> pd.DataFrame:
    """The table of one subsidiary, cells as text."""
    count = profile.people
    tenure = np.minimum(random.gamma(1.3, profile.tenure / 1.3, count), 32.0)
    promotion = np.minimum(random.gamma(1.6, 20.0, count), 12 * tenure + random.uniform(0, 3, count))
    overtime = random.gamma(1.1, profile.overtime / 1.1, count)
    pay = random.normal(profile.pay, 9.0, count) + 0.3 * np.minimum(tenure, 10) - 1.5
    tired = 0.06 * (overtime - profile.overtime) - 0.02 * (pay - profile.pay)
    pulse = np.clip(np.round(random.normal(profile.pulse - tired, 1.0)), 1, 5).astype(int)
    frame = pd.DataFrame(
        {
            "employee_key": [random.bytes(8).hex() for _ in range(count)],
            "subsidiary": profile.name,
            "gender": random.choice(GENDERS, count, p=profile.genders),
            "job_family": random.choice(JOBS, count, p=profile.jobs),
            "job_level": random.choice(LEVELS, count, p=profile.levels),
            "work_mode": random.choice(MODES, count, p=profile.modes),
            "tenure_years": _written(tenure, 1),
            "months_since_promotion": _written(promotion, 0),
            "overtime_hours": _written(np.minimum(overtime, 40.0), 1),
            "commute_minutes": _written(np.minimum(random.gamma(2.2, profile.commute / 2.2, count), 150.0), 0),
            "training_days": _written(random.gamma(1.4, profile.training / 1.4, count) * 2, 0, halved=True),
            "pay_against_market": _written(pay, 0),
            "manager_changes": _written(np.minimum(random.poisson(0.9, count), 7), 0),
            "pulse": pulse.astype(str),
        },
        dtype="str",
    )
    for column, share in (("pulse", 0.12), ("commute_minutes", 0.04), ("training_days", 0.03)):
        frame.loc[random.random(count) < share, column] = None
    leaves = random.random(count) < 1 / (1 + np.exp(-truth.log_odds(frame, profile.name)))
    frame["left"] = np.where(leaves, "yes", "no")
    return frame


def _written(values: npt.NDArray[Any], places: int, halved: bool = False) -> list[str]:
    """Numbers as an export would write them."""
    rounded = np.round(values) / 2 if halved else values
    return [f"{value:.{1 if halved else places}f}" for value in rounded]


def _bent(values: Floats, points: Bend) -> Floats:
    places, heights = zip(*points, strict=True)
    return np.asarray(np.interp(values, places, heights), dtype=np.float64)


def _profile(site: str) -> _Profile:
    for profile in PROFILES:
        if profile.name == site:
            return profile
    raise InputError(f"sample group: expected a site of {', '.join(p.name for p in PROFILES)}, got another")
