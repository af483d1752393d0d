"""What a site's records are worth for a use case before anything is trained on them: source by source, and in all.

Every figure here is exact and without noise. It is the view of whoever holds the records already; it is no release, and
must not leave the site.

Rules of the verdict
1. Refuse what can not be trained on: a horizon that is not over, too few people to learn from, more people than the
   contract's public bound, a source whose rows do not fit its mapping, a log that was tampered with.
2. Reserve where the records will train, and what is wrong with them costs something: say what.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Final

from records.contract import Contract
from records.readiness import READY, REFUSED, RESERVED, SMALL_SITE, Verdict
from records.registry import Registry
from records.report_figures import NOBODY, Figures, figures_of
from records.report_sources import UNFIT_AT_MOST
from records.snapshot import Snapshot
from records.store import Store

PEOPLE_AT_LEAST: Final = 20
"""Below this many labelled people at a site, whoever is among them is most of what the site says."""
MUCH_QUARANTINED: Final = 0.02
MUCH_MISSING: Final = 0.5
MUCH_UNLABELLED: Final = 0.05
MUCH_LATE: Final = 0.05
MANY_LEFT_OUT: Final = 0.2
RARE_LABEL: Final = 0.01


@dataclass(frozen=True, slots=True)
class Report(Figures):
    """The figures with their verdict.

    Attributes:
        verdict: "ready", "ready with reservations" or "refuse".
        refusals: why it refuses; empty unless it does.
        reasons: why it is not simply ready, refusals first; empty when it is.
    """

    verdict: Verdict
    refusals: tuple[str, ...]
    reasons: tuple[str, ...]

    def to_document(self) -> dict[str, Any]:
        """Plain data for JSON; shares are fractions."""
        days = {name: getattr(self, name).isoformat() for name in ("on", "as_of", "until")}
        return asdict(self) | days


def report_on(
    store: Store, registry: Registry, contract: Contract, now: datetime, found: Snapshot | None = None
) -> Report:
    """Looks at the store for the contract's use case; `found` spares reading a snapshot again.

    Raises:
        KithError: as `snapshot` does.
    """
    figures = figures_of(store, registry, contract, now, found)
    refusals = (*_refused_rows(figures), *_refused_sources(figures))
    reasons = (*refusals, *_reserved_rows(figures), *_reserved_sources(figures))
    verdict: Verdict = REFUSED if refusals else RESERVED if reasons else READY
    seen = {field.name: getattr(figures, field.name) for field in fields(Figures)}
    return Report(**seen, verdict=verdict, refusals=refusals, reasons=reasons)


def people_words(count: int) -> str:
    """A number of people in words."""
    return "1 person" if count == 1 else f"{count:,} people"


def _refused_rows(found: Figures) -> list[str]:
    """Rule 1, of the rows and the log."""
    reasons = []
    if not found.intact:
        reasons.append("the records' log was tampered with (kith records check says where)")
    if found.until >= found.on:
        first = found.until + timedelta(days=1)
        reasons.append(f"the horizon ends on {found.until}: nobody's label is known before {first}")
    elif found.labelled < PEOPLE_AT_LEAST:
        reasons.append(
            f"{found.labelled} labelled people whose records may be used: expected at least {PEOPLE_AT_LEAST}, since"
            " whoever is one of so few is most of what they say"
        )
    if found.usable > found.people_at_most:
        bound = f"{found.people_at_most:,}, the contract's public bound"
        reasons.append(f"{people_words(found.usable)} whose records may be used: expected at most {bound}")
    return reasons


def _refused_sources(found: Figures) -> list[str]:
    """Rule 1, of the sources."""
    return [
        f"source {one.source}: {one.unfit:.1%} of its rows did not fit its mapping, of at most {UNFIT_AT_MOST:.0%}"
        for one in found.sources
        if one.unfit > UNFIT_AT_MOST
    ]


def _reserved_rows(found: Figures) -> list[str]:
    """Rule 2, of the rows."""
    reasons = []
    kept_out = sum(group.people for group in found.left_out if group.reason not in NOBODY)
    without = found.usable - found.labelled
    if found.labelled and kept_out > MANY_LEFT_OUT * (found.labelled + kept_out):
        reasons.append(f"nothing is learned from {kept_out:,} of {people_words(found.labelled + kept_out)}")
    if found.waiting:
        waits = "waits" if found.waiting == 1 else "wait"
        reasons.append(
            f"{people_words(found.waiting)} {waits} for HR to settle what two sources say (kith records disagreements)"
        )
    if PEOPLE_AT_LEAST <= found.labelled < SMALL_SITE:
        reasons.append(f"{found.labelled} labelled people: fewer than {SMALL_SITE}")
    if found.label is not None and not RARE_LABEL <= found.label <= 1 - RARE_LABEL:
        reasons.append(f"{found.label_is} for {found.label:.1%} of the people: too one-sided to learn much from")
    if found.labelled and without > MUCH_UNLABELLED * found.usable:
        reasons.append(f"{people_words(without)} of {found.usable:,} have no label when the horizon ends")
    reasons += [
        f"feature {one.name}: known of {one.known:.1%} of the people"
        for one in found.features
        if found.usable and one.known < MUCH_MISSING
    ]
    return reasons


def _reserved_sources(found: Figures) -> list[str]:
    """Rule 2, of the sources."""
    reasons = [
        f"source {one.source}: {one.quarantined_share:.1%} of the rows that ever came are in quarantine"
        for one in found.sources
        if one.quarantined_share > MUCH_QUARANTINED and one.unfit <= UNFIT_AT_MOST
    ]
    reasons += [
        f"source {one.source}: its newest delivery is {one.age} days old, of at most {one.fresh_days}"
        for one in found.sources
        if one.stale
    ]
    reasons += [
        f"source {one.source}: {one.late:,} facts came after newer ones"
        for one in found.sources
        if one.late > MUCH_LATE * max(one.written, 1)
    ]
    return reasons
