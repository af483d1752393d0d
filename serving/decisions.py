"""People decide: proposed → approved or declined, and no other way out.

Rules (the database keeps 1, 3, 4 and 6 as well, see `serving.database`)
1. Nothing leaves proposed without as many decisions as its stakes ask for: medium one, high two different people's.
2. A decision says why: a reason code, and at least 20 characters in the decider's own words. Declining asks the same.
3. Nobody decides on their own request or on themselves.
4. Nobody decides twice, and nobody after the end.
5. Whoever decides names the version they saw (If-Match); if it has changed since, they look again.
6. Approved means that all approved.
7. Until all decisions are in, each is shown to whoever made it and nobody else: the second is blind to the first.
8. Until then, and for good if the system abstained, whoever asked for the recommendation does not see the item (rule 3
   of `serving.recommendations`). The list, which shows no evidence and no actions to anybody, has it for them too.
9. Where the service has the site's records, an item is decided on only while they may be used for its person and
   purpose: an objection or an erasure stops it. While they may not, auditors alone see more of it than the list has.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, StringConstraints
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from serving import database, site_records
from serving.database import Decision, Recommendation, Store
from serving.identity import EVERY_SITE, Identity
from serving.problems import Problem
from serving.recommendations import Desk, ProposedAction, Strict, Value, check_not_the_askers, check_shown, find

ReasonCode = Literal[
    "evidence-supports",
    "employee-asked",
    "evidence-too-weak",
    "data-is-wrong",
    "context-the-system-cannot-see",
    "not-appropriate",
    "other",
]
Status = Literal["proposed", "abstained", "ready", "approved", "declined"]
_ETAGS: Final = re.compile(r'\s*"\d{1,9}"\s*(,\s*"\d{1,9}"\s*)*')


class DecideRequest(Strict):
    """One person's decision and why (rule 2)."""

    decision: Literal["approve", "decline"]
    reason_code: ReasonCode
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=20, max_length=2000)]


class DecisionMade(BaseModel):
    """A decision on record."""

    decided_by: str
    decision: str
    reason_code: str
    reason: str
    decided_at: str


class Item(BaseModel):
    """A recommendation in the list: no score, no suggestion, nothing to anchor on."""

    id: str
    number: int
    use_case: str
    site: str
    employee: str
    stakes: str
    status: str
    created_at: str
    decisions_needed: int
    decisions_made: int


class ItemDetail(Item):
    """A recommendation to decide on: the evidence, what is proposed, and what was decided so far as one may see it."""

    evidence: dict[str, Value]
    actions: list[ProposedAction]
    decisions: list[DecisionMade]


class ItemList(BaseModel):
    """A page of items, newest first; `next` is the `before` of the next page."""

    items: list[Item]
    next: int | None


def listed(store: Store, identity: Identity, status: str | None, before: int | None, limit: int) -> ItemList:
    """One page of what the identity's site reaches."""
    query = select(Recommendation).order_by(Recommendation.number.desc()).limit(limit + 1)
    if identity.site != EVERY_SITE:
        query = query.where(Recommendation.site == identity.site)
    if status is not None:
        query = query.where(Recommendation.status == status)
    if before is not None:
        query = query.where(Recommendation.number < before)
    with store.reading() as session:
        rows = session.scalars(query).all()
        page = [Item(**_summary(row)) for row in rows[:limit]]
    return ItemList(items=page, next=page[-1].number if len(rows) > limit else None)


def one(desk: Desk, identity: Identity, id: str) -> tuple[ItemDetail, str]:
    """One item and its entity tag.

    Raises:
        Problem: not-found, separation-of-duties (rule 8), consent-missing (rule 9).
    """
    with desk.store.reading() as session:
        row = find(session, identity, id)
        check_not_the_askers(row, identity)
        check_shown(desk, row, identity)
        return _detail(row, identity), row.etag


def decide(
    desk: Desk, identity: Identity, id: str, request: DecideRequest, if_match: str | None
) -> tuple[ItemDetail, str]:
    """Record a decision and, if it is the last one needed, its consequence, in one transaction.

    Raises:
        Problem: not-found, separation-of-duties (rule 3), not-awaiting-decision or already-decided (rule 4),
            precondition-required or changed-meanwhile (rule 5), consent-missing (rule 9).
    """
    with desk.store.writing() as session:
        row = find(session, identity, id)
        _check_may_decide(row, identity)
        site_records.check_usable(desk.records, row.site, row.use_case, row.employee)  # rule 9
        _take(session, row, if_match)
        session.add(
            Decision(
                recommendation_id=row.id,
                decided_by=identity.subject,
                outcome=request.decision,
                reason_code=request.reason_code,
                reason=request.reason,
                decided_at=database.now(),
            )
        )
        session.flush()
        session.expire(row)
        if len(row.decisions) >= row.decisions_needed:
            row.status = "approved" if all(made.outcome == "approve" for made in row.decisions) else "declined"
            session.flush()
        return _detail(row, identity), row.etag


def _check_may_decide(row: Recommendation, identity: Identity) -> None:
    if identity.subject in (row.requested_by, row.employee):  # rule 3
        raise Problem("separation-of-duties", "Expected somebody who neither asked for this nor is its subject.")
    if row.status in ("abstained", "ready"):
        raise Problem("not-awaiting-decision", "Expected an item with status proposed.")
    if row.status != "proposed" or any(made.decided_by == identity.subject for made in row.decisions):  # rule 4
        raise Problem("already-decided", "Expected an item that is still proposed and that you have not decided on.")


def _take(session: Session, row: Recommendation, if_match: str | None) -> None:
    """Claim the next version (rule 5); on PostgreSQL this also locks the row until the transaction ends."""
    if if_match is None:
        raise Problem("precondition-required", "Expected If-Match with the ETag of the item you looked at.")
    if not _ETAGS.fullmatch(if_match) or row.etag not in {tag.strip() for tag in if_match.split(",")}:
        raise Problem("changed-meanwhile", "Expected the item's current ETag in If-Match.")
    seen = (Recommendation.id == row.id) & (Recommendation.version == row.version)
    taken = session.execute(
        update(Recommendation)
        .where(seen & (Recommendation.status == "proposed"))
        .values(version=row.version + 1)
        .execution_options(synchronize_session=False)
    )
    if taken.rowcount != 1:  # type: ignore[attr-defined]
        raise Problem("changed-meanwhile", "Expected the item's current ETag in If-Match.")


def _summary(row: Recommendation) -> dict[str, Any]:
    same = ("id", "number", "use_case", "site", "employee", "stakes", "status", "created_at", "decisions_needed")
    return {name: getattr(row, name) for name in same} | {"decisions_made": len(row.decisions)}


def _detail(row: Recommendation, identity: Identity) -> ItemDetail:
    """With the decisions that this person may see (rule 7)."""
    complete = row.status != "proposed"
    shown = [made for made in row.decisions if complete or made.decided_by == identity.subject]
    return ItemDetail(
        **_summary(row),
        evidence=json.loads(row.inputs),
        actions=json.loads(row.actions),
        decisions=[
            DecisionMade(
                decided_by=made.decided_by,
                decision=made.outcome,
                reason_code=made.reason_code,
                reason=made.reason,
                decided_at=made.decided_at,
            )
            for made in shown
        ],
    )
