"""The figures of a site's report: who is known and learned from, and what is known of them, each with what it costs.

They are exact and without noise, for whoever holds the records already.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from privacy.errors import InputError, VerificationFailed
from records.consent import OBJECTED, UNKNOWN, WITHDRAWN, Answer, may_use_all
from records.contract import BinaryLabel, Contract
from records.derive import months_after
from records.reconcile import blocked
from records.registry import Basis, Feature, Registry
from records.registry_contract import EMPLOYEE
from records.report_sources import SourceReport, source_reports
from records.snapshot import ERASED, NOT_ALLOWED, NOT_EMPLOYED, RECONCILIATION, Snapshot, snapshot
from records.store import Store

WORTH_TELLING: Final = 0.005
NOT_TOLD: Final = "not told of this use"
NOT_AGREED: Final = "not agreed to this use"
NO_LABEL: Final = "no label when the horizon ends"
NEXT_TO_NOTHING: Final = "next to nothing"
WORDS: Final = {
    WITHDRAWN: "withdrew",
    OBJECTED: "objected",
    NOT_ALLOWED: "may not be used",
    RECONCILIATION: "two sources disagree, HR decides",
    NOT_EMPLOYED: "not employed on the day",
    ERASED: "erased",
}
"""Why people are left out, in words."""
NOBODY: Final = frozenset({WORDS[NOT_EMPLOYED], WORDS[ERASED]})
"""Who is left out for these reasons is nobody that could be learned from."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """People from whom nothing is learned, for one reason.

    Attributes:
        reason: in words.
        people: how many.
        costs: what is lost by that, in words.
    """

    reason: str
    people: int
    costs: str


@dataclass(frozen=True, slots=True)
class FeatureReport:
    """One training feature.

    Attributes:
        name: as in the contract.
        column: what it is derived from.
        sources: which may deliver that.
        known: share of usable people of whom it is known, from 0 to 1.
        closed: share of whom it may not be read: no consent, or an older notice.
        unstated: share of whom it may be read, and is not stated.
        costs: what that costs, in words.
    """

    name: str
    column: str
    sources: tuple[str, ...]
    known: float
    closed: float
    unstated: float
    costs: str


@dataclass(frozen=True, slots=True)
class Figures:
    """What is known of a site's records for a use case.

    Attributes:
        site: whose records.
        purpose: the use case.
        on: the day of the report.
        as_of, until: days at which features and label are read.
        people: whom the records know, the erased left out.
        usable: of them, whose records may be used.
        labelled: of those, with a label: from whom will be learned.
        people_at_most: the contract's public bound.
        label_is: what the label tells, as "left = yes".
        label: share of the labelled of whom that is so, from 0 to 1; None without any.
        left_out: everybody else, by reason, most people first.
        waiting: people about whom two sources disagree.
        intact: whether the records' log is as it was written.
        sources: every source that has delivered.
        features: every training feature.
    """

    site: str
    purpose: str
    on: date
    as_of: date
    until: date
    people: int
    usable: int
    labelled: int
    people_at_most: int
    label_is: str
    label: float | None
    left_out: tuple[LeftOut, ...]
    waiting: int
    intact: bool
    sources: tuple[SourceReport, ...]
    features: tuple[FeatureReport, ...]


def figures_of(
    store: Store, registry: Registry, contract: Contract, now: datetime, found: Snapshot | None = None
) -> Figures:
    """Looks at the store for the contract's use case; `found` spares reading a snapshot again.

    Raises:
        KithError: as `snapshot` does.
    """
    if contract.employee is None:  # what is closed is told person by person
        contract, found = replace(contract, employee=EMPLOYEE), None
    found = found or snapshot(store, registry, contract, now)
    today = now.astimezone(UTC).date()
    with store.reading() as connection:
        answers = may_use_all(connection, registry, contract.purpose, now)
        sources = source_reports(connection, today)
        waiting = len(blocked(connection))
        intact = _intact(store, connection)
    as_of, until = _moment(contract)
    positive = contract.label.positive if isinstance(contract.label, BinaryLabel) else ()
    label = found.table.frame[contract.label.column]
    usable, labelled = len(label), int(label.notna().sum())
    left_out = _left_out(_by_reason(found.left_out, answers), usable, labelled, until)
    return Figures(
        site=store.site,
        purpose=contract.purpose,
        on=today,
        as_of=as_of,
        until=until,
        people=labelled + sum(group.people for group in left_out if group.reason != WORDS[ERASED]),
        usable=usable,
        labelled=labelled,
        people_at_most=next(site.people_at_most for site in contract.site.sites if site.name == store.site),
        label_is=f"{contract.label.column} = {' or '.join(positive)}",
        label=float(label.isin(positive).sum()) / labelled if labelled else None,
        left_out=left_out,
        waiting=waiting,
        intact=intact,
        sources=sources,
        features=tuple(
            _feature(registry.feature(column.name), contract, found, answers) for column in contract.features
        ),
    )


def _moment(contract: Contract) -> tuple[date, date]:
    """The days at which features and label are read."""
    moment = contract.moment
    assert moment is not None  # noqa: S101 - snapshot() has refused a contract without one
    return moment.as_of, months_after(moment.as_of, moment.horizon_months)


def _intact(store: Store, connection: Connection) -> bool:
    try:
        store.check_log(connection)
    except (InputError, VerificationFailed):  # an anchor that is gone proves as little as one that fails
        return False
    return True


def _by_reason(left_out: Mapping[str, int], answers: Mapping[str, Answer]) -> dict[str, int]:
    """Who is in no row, by reason; of who may not be used, by what they said."""
    refused = Counter(_said(answer) for answer in answers.values() if not answer)
    if refused.total() != left_out.get(NOT_ALLOWED, 0):  # somebody spoke since the rows were read
        refused = Counter({WORDS[NOT_ALLOWED]: left_out.get(NOT_ALLOWED, 0)})
    return {**refused, **{WORDS[reason]: count for reason, count in left_out.items() if reason != NOT_ALLOWED}}


def _said(answer: Answer) -> str:
    if answer.state == UNKNOWN:
        return NOT_AGREED if answer.basis is Basis.CONSENT else NOT_TOLD
    return WORDS.get(answer.state, WORDS[NOT_ALLOWED])


def _left_out(reasons: Mapping[str, int], usable: int, labelled: int, until: date) -> tuple[LeftOut, ...]:
    """Everybody from whom nothing is learned.

    The noise of a sum does not shrink with it, so a share `s` of the people lost makes noise against signal what it is
    at epsilon times 1 - s (mu is proportional to signal over noise, and epsilon nearly so).
    """
    unlabelled = NO_LABEL if labelled else f"no label before {until + timedelta(days=1)}"
    groups = {**reasons, unlabelled: usable - labelled}
    everybody = labelled + sum(count for reason, count in groups.items() if reason not in NOBODY)
    return tuple(
        LeftOut(reason, count, "nothing" if reason in NOBODY else _cost_of(count / everybody, labelled))
        for reason, count in sorted(groups.items(), key=lambda group: (-group[1], group[0]))
        if count
    )


def _cost_of(share: float, labelled: int) -> str:
    """What is lost with a share of the people who could be learned from, if `labelled` are left."""
    if not labelled:
        return "all that could be learned"
    return f"noise as if epsilon were {share:.1%} smaller" if share >= WORTH_TELLING else NEXT_TO_NOTHING


def _feature(feature: Feature, contract: Contract, found: Snapshot, answers: Mapping[str, Answer]) -> FeatureReport:
    cells = found.table.frame[feature.name]
    keys = found.table.frame[contract.employee or EMPLOYEE]
    since = max(feature.since, feature.column.since)
    people = max(len(cells), 1)
    known = float(cells.notna().sum()) / people
    closed = sum(1 for key in keys if key not in answers or not answers[key].covers(feature.basis, since)) / people
    unstated = max(0.0, len(cells) / people - known - closed)
    without = closed + unstated
    return FeatureReport(
        name=feature.name,
        column=feature.column.name,
        sources=feature.column.sources,
        known=known,
        closed=closed,
        unstated=unstated,
        costs=f"{without:.1%} do without it" if without >= WORTH_TELLING else NEXT_TO_NOTHING,
    )
