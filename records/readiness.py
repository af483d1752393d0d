"""What a table is worth before anything is trained on it: who is in it, what is missing, what looks wrong.

Every figure here is exact and without noise. It is the view of whoever holds the table already, for their own terminal;
it is no release, and must not leave the site.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from records.contract import BinaryLabel, Contract, TextColumn
from records.draft import names_a_key
from records.minimize import MinimizedRows, check_comparable, minimized_rows
from records.table import Table, listed

READY: Final = "ready"
RESERVED: Final = "ready with reservations"
REFUSED: Final = "refuse"
Verdict = Literal["ready", "ready with reservations", "refuse"]

PEOPLE_AT_LEAST: Final = 100
"""Below this many people in all, noise that hides one of them leaves nothing to learn."""
FEW_PEOPLE: Final = 2_000
SMALL_SITE: Final = 50
MUCH_MISSING: Final = 0.5
MUCH_CLIPPED: Final = 0.01
MANY_COPIES: Final = 0.01
RARE_LABEL: Final = 0.01
LEAK: Final = 0.97
LEAK_ROWS: Final = 60
LEAK_BINS: Final = 20


@dataclass(frozen=True, slots=True)
class SiteReadiness:
    """A site as it stands in the table.

    Attributes:
        name: the site.
        rows: its labelled rows.
        people: its employees.
        people_at_most: the bound that the contract declares.
        label: mean of the label, from 0 to 1; None without rows.
    """

    name: str
    rows: int
    people: int
    people_at_most: int
    label: float | None


@dataclass(frozen=True, slots=True)
class ColumnReadiness:
    """A training column as it stands in the table.

    Attributes:
        name: the column.
        missing: share of missing cells, from 0 to 1.
        clipped: cells outside the public bounds.
        decides: how well the column alone tells the label on rows it was not fitted to: the AUC, or R² of a number.
    """

    name: str
    missing: float
    clipped: int
    decides: float


@dataclass(frozen=True, slots=True)
class Readiness:
    """The whole picture, with its verdict and the reasons for it.

    Attributes:
        source: the table.
        rows: labelled rows.
        unlabelled: rows left out for want of a label.
        people: employees in those rows.
        label: mean of the label, from 0 to 1.
        copies: rows equal to an earlier one in every column of the table.
        sites: every site of the contract (or the one asked for).
        columns: every training column.
        undeclared: columns of the table that the contract does not name, and that nobody reads.
        keys: columns that name the same person in several rows, by the look of them, and are not the employee key.
        unconfirmed: places of the contract that a person has still to confirm.
        verdict: "ready", "ready with reservations" or "refuse".
        reasons: why, gravest first; empty when ready.
    """

    source: str
    rows: int
    unlabelled: int
    people: int
    label: float
    copies: int
    sites: tuple[SiteReadiness, ...]
    columns: tuple[ColumnReadiness, ...]
    undeclared: tuple[str, ...]
    keys: tuple[str, ...]
    unconfirmed: tuple[str, ...]
    verdict: Verdict
    reasons: tuple[str, ...]

    def render(self) -> tuple[tuple[str, str], ...]:
        """Pairs of what and how much, for a table on a terminal."""
        head = [
            ("verdict", self.verdict),
            *(("", reason) for reason in self.reasons),
            ("rows", f"{self.rows:,} labelled, {self.unlabelled:,} without a label, {self.copies:,} copies"),
            ("people", f"{self.people:,}"),
            ("label", f"{self.label:.3f} on average"),
        ]
        sites = [
            (f"site {site.name}", f"{site.people:,} people of at most {site.people_at_most:,}, {_mean(site.label)}")
            for site in self.sites
        ]
        columns = [
            (
                f"column {column.name}",
                f"{column.missing:.1%} missing, {column.clipped:,} outside bounds, alone {column.decides:.2f}",
            )
            for column in self.columns
        ]
        return (*head, *sites, *columns)

    def to_document(self) -> dict[str, Any]:
        """The same as plain data for JSON; shares and scores are fractions."""
        return asdict(self)


def check(contract: Contract, table: Table, site: str | None = None) -> Readiness:
    """Holds a table against a contract.

    Args:
        contract: what the table should be.
        table: rows of several sites, or of `site` alone.
        site: the one site to look at; None looks at all and expects rows of at least two, and of both classes.

    Raises:
        InputError: if the table does not fit the contract at all.
    """
    rows = minimized_rows(table, contract, None if site is None else [site])
    if site is None:
        check_comparable(rows, table.source)
    sites = tuple(_site(rows, contract, name) for name in ([site] if site is not None else rows.site_names))
    group = rows.twin if contract.employee is None else rows.employee
    columns = tuple(
        ColumnReadiness(column.name, _missing(rows, column.name), rows.clipped.get(column.name, 0), alone)
        for column in contract.features
        for alone in [_decides(rows, column.name, group, isinstance(contract.label, BinaryLabel))]
    )
    people = len(np.unique(rows.employee))
    copies = len(rows) - len(np.unique(rows.twin))
    grave = _grave(people, sites)
    keys = _repeated_keys(table, contract)
    reasons = [*grave, *_reservations(rows, contract, sites, columns, keys, people, copies)]
    return Readiness(
        source=table.source,
        rows=len(rows),
        unlabelled=rows.unlabelled,
        people=people,
        label=float(rows.label.mean()),
        copies=copies,
        sites=sites,
        columns=columns,
        keys=keys,
        undeclared=_undeclared(table, contract),
        unconfirmed=contract.unconfirmed,
        verdict=REFUSED if grave else RESERVED if reasons else READY,
        reasons=tuple(reasons),
    )


def _grave(people: int, sites: Sequence[SiteReadiness]) -> list[str]:
    """Reasons that refuse a table."""
    reasons = []
    if len(sites) > 1 and people < PEOPLE_AT_LEAST:
        reasons.append(f"{people} people in all: noise that hides one of fewer than {PEOPLE_AT_LEAST} hides everything")
    over = [site.name for site in sites if site.people > site.people_at_most]
    if over:
        reasons.append(f"more people than the contract's people_at_most: {listed(over, 10)}")
    return reasons


def _reservations(
    rows: MinimizedRows,
    contract: Contract,
    sites: Sequence[SiteReadiness],
    columns: Sequence[ColumnReadiness],
    keys: Sequence[str],
    people: int,
    copies: int,
) -> list[str]:
    """Reasons to look again."""
    mean = float(rows.label.mean())
    leaks = [column.name for column in columns if column.decides > LEAK]
    small = [site.name for site in sites if 0 < site.people < SMALL_SITE]
    absent = [site.name for site in sites if not site.people]
    empty = [column.name for column in columns if column.missing > MUCH_MISSING]
    outside = [column.name for column in columns if column.clipped > MUCH_CLIPPED * len(rows)]
    checks = (
        (leaks, f"may leak the label, which each nearly decides alone: {listed(leaks, 10)}"),
        (keys, f"may be the employee key, without which each row counts as another person: {listed(keys, 10)}"),
        (contract.unconfirmed, f"not confirmed by a person: {listed(contract.unconfirmed, 10)}"),
        (len(np.unique(rows.label)) < 2, "all rows have the same label"),
        (
            isinstance(contract.label, BinaryLabel) and 0 < min(mean, 1 - mean) < RARE_LABEL,
            f"one class makes up less than {RARE_LABEL:.0%} of the rows",
        ),
        (
            PEOPLE_AT_LEAST <= people < FEW_PEOPLE and len(sites) > 1,
            f"{people:,} people in all: at small budgets the right answer may be to abstain",
        ),
        (small, f"fewer than {SMALL_SITE} people: {listed(small, 10)}"),
        (absent, f"sites of the contract without rows: {listed(absent, 10)}"),
        (empty, f"more than {MUCH_MISSING:.0%} missing: {listed(empty, 10)}"),
        (outside, f"more than {MUCH_CLIPPED:.0%} outside the public bounds: {listed(outside, 10)}"),
        (
            copies > MANY_COPIES * len(rows),
            f"{copies:,} rows are copies of others: kept on one side of a split, but the label may be worth less",
        ),
        (rows.unlabelled, f"{rows.unlabelled:,} rows without a label are left out"),
    )
    return [reason for applies, reason in checks if applies]


def _site(rows: MinimizedRows, contract: Contract, name: str) -> SiteReadiness:
    here = rows.site == rows.site_names.index(name)
    bound = next(site.people_at_most for site in contract.site.sites if site.name == name)
    count = int(here.sum())
    people = len(np.unique(rows.employee[here]))
    return SiteReadiness(name, count, people, bound, float(rows.label[here].mean()) if count else None)


def _missing(rows: MinimizedRows, name: str) -> float:
    gone = np.isnan(rows.numbers[name]) if name in rows.numbers else rows.codes[name] < 0
    return float(gone.mean())


def _undeclared(table: Table, contract: Contract) -> tuple[str, ...]:
    declared = {contract.label.column, contract.site.column, contract.employee}
    declared |= {column.name for column in contract.columns}
    return tuple(name for name in table.frame.columns if name not in declared)


def _repeated_keys(table: Table, contract: Contract) -> tuple[str, ...]:
    """Columns that look like a key with several rows each, if the contract names no employee key."""
    if contract.employee is not None:
        return ()
    names = [column.name for column in contract.columns if isinstance(column, TextColumn) and names_a_key(column.name)]
    return tuple(
        name for name in names if name in table.frame and 1 < 1.5 * table.frame[name].nunique() < len(table.frame)
    )


def _decides(rows: MinimizedRows, name: str, group: npt.NDArray[np.int64], binary: bool) -> float:
    """How well the means of the label per value, of one half of the groups, tell the label in the other half.

    AUC for a binary label, R² for a number; half each way, the lower of the two. Nothing (0.5 or 0) on few rows.
    """
    bins = _bins(rows, name)
    first = group % 2 == 0
    scores = [_told(bins, rows.label, fit, binary) for fit in (first, ~first)]
    return min(scores)


def _bins(rows: MinimizedRows, name: str) -> npt.NDArray[np.int64]:
    """A column's values as at most a few hundred groups; missing is one of them."""
    if name in rows.codes:
        return rows.codes[name] + 1
    values = rows.numbers[name]
    present = values[~np.isnan(values)]
    if not len(present):
        return np.zeros(len(values), dtype=np.int64)
    edges = np.unique(np.quantile(present, np.linspace(0, 1, LEAK_BINS + 1)[1:-1]))
    bins = np.searchsorted(edges, values, side="right") + 1
    return np.where(np.isnan(values), 0, bins).astype(np.int64)


def _told(
    bins: npt.NDArray[np.int64], label: npt.NDArray[np.float64], fit: npt.NDArray[np.bool_], binary: bool
) -> float:
    """AUC or R² on the rows outside `fit`."""
    test = ~fit
    nothing = 0.5 if binary else 0.0
    if min(fit.sum(), test.sum()) < LEAK_ROWS / 2 or len(np.unique(label[test])) < 2:
        return nothing
    size = int(bins.max()) + 1
    count = np.bincount(bins[fit], minlength=size)
    total = np.bincount(bins[fit], weights=label[fit], minlength=size)
    guess = ((total + label[fit].mean()) / (count + 1))[bins[test]]
    if not binary:
        spread = float(np.var(label[test]))
        return max(0.0, 1 - float(np.mean((label[test] - guess) ** 2)) / spread)
    return _auc(guess, label[test])


def _auc(score: npt.NDArray[np.float64], label: npt.NDArray[np.float64]) -> float:
    """Area under the ROC curve: the share of (1, 0) pairs in the right order, ties counting half."""
    values, inverse = np.unique(score, return_inverse=True)
    ones = np.bincount(inverse, weights=label, minlength=len(values))
    zeros = np.bincount(inverse, weights=1 - label, minlength=len(values))
    below = np.cumsum(zeros) - zeros
    return float(np.sum(ones * (below + zeros / 2)) / (ones.sum() * zeros.sum()))


def _mean(label: float | None) -> str:
    return "no rows" if label is None else f"label {label:.3f} on average"
