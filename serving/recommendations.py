"""From one employee's features to a recommendation, and the explanation of it.

Rules
1. Recommendation, exact inputs, explanation and digests are stored in one transaction, before anything is answered.
2. The stored explanation is what is told later, bit for bit; its terms sum to the score.
3. Whoever asked learns no score, band, suggestion or evidence while a decision is awaited, nor ever where the system
   abstained, whatever their roles: the explanation and the item are refused to them. That it abstained they learn.
4. An application gets an explanation only of what was approved, or needed no decision.
5. The same idempotency key and request give the same answer; the same key with another request is refused.
6. Where the service has the site's records, they are what is recommended from (`site_records`): a person who may not
   be recommended for now is not, whatever was answered before, and what was is shown to auditors alone.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictStr
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models.explanation import Explanation, explain
from models.use_case import UseCase
from privacy.errors import InputError
from records.store import Store as Records
from serving import database, site_records
from serving.database import Recommendation, Store
from serving.identity import Identity, Role
from serving.problems import Problem
from serving.verified_model import VerifiedModel

DECISIONS_NEEDED: Final[Mapping[str, int]] = {"low": 0, "medium": 1, "high": 2}
ABSTAINED: Final = "What is known does not carry a recommendation. Others who may see why can ask /v1/explain."
_MAX_COLUMNS: Final = 500
_ROUNDING: Final = 1e-9
_KEY: Final = re.compile(r"[\x21-\x7e]{1,128}")

Value = StrictFloat | Annotated[StrictStr, Field(max_length=500)] | None
Id = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class Strict(BaseModel):
    """A body with exactly its fields, whose errors do not repeat what came in."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class RecommendRequest(Strict):
    """Whom to recommend something for, and what is known about them."""

    use_case: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
    site: Annotated[str, Field(min_length=1, max_length=200)]
    employee: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$", description="a pseudonym, never a name")]
    features: Annotated[
        dict[str, Value] | None,
        Field(max_length=_MAX_COLUMNS, description="by column, null if unknown; only where the site keeps no records"),
    ] = None


class ProposedAction(BaseModel):
    """Something that may be done."""

    id: str
    title: str


class RecommendAnswer(BaseModel):
    """That a recommendation exists, and where it is decided."""

    id: str
    status: str
    decision: str
    reason: str | None = None
    actions: list[ProposedAction] | None = None


class ExplainRequest(Strict):
    """Which recommendation to explain."""

    id: Id


class Reason(BaseModel):
    """One column's exact term."""

    column: str
    points: float
    direction: str
    words: str


class ExplainAnswer(BaseModel):
    """Why: `intercept` and the terms' points sum to `score`."""

    id: str
    use_case: str
    site: str
    status: str
    score: float
    intercept: float
    terms: list[Reason]
    interval: tuple[float, float]
    band: str
    abstained: str | None
    actions: list[ProposedAction]
    cannot_see: list[str]
    model: str
    certificate: str


@dataclass(frozen=True, slots=True)
class Desk:
    """What answers are made of: the verified models by use case, the store, and the records of sites by name."""

    models: Mapping[str, VerifiedModel]
    store: Store
    records: Mapping[str, Records] = field(default_factory=dict)


def recommend(desk: Desk, identity: Identity, request: RecommendRequest, key: str | None = None) -> RecommendAnswer:
    """Make, store and acknowledge a recommendation.

    Raises:
        Problem: for a site that is not the token's, an unknown use case, a person whose records may not be used,
            features that do not fit, or a reused key.
    """
    if not identity.reaches(request.site):
        raise Problem("forbidden", "Expected the site that the token is for.")
    model = desk.models.get(request.use_case)
    if model is None or not request.site or request.site not in model.release.scorers:
        raise Problem("unknown-use-case", f"Expected one of {', '.join(desk.models)}, and one of its sites.")
    features = site_records.features_now(desk.records, model, request.site, request.employee, request.features)
    key_digest = _key_digest(identity, key)
    digest = hashlib.sha256(_json(request.model_dump()).encode()).hexdigest()
    if (earlier := _answered(desk.store, key_digest, digest)) is not None:
        return earlier
    row = _row(model, identity, request, features)
    row.idempotency_key, row.request_digest = key_digest, digest
    try:
        with desk.store.writing() as session:
            session.add(row)
    except IntegrityError:
        # The same key may have been stored since we looked; anything else is an error of ours.
        if (earlier := _answered(desk.store, key_digest, digest)) is None:
            raise
        return earlier
    return _answer(row)


def explanation_of(desk: Desk, identity: Identity, request: ExplainRequest) -> ExplainAnswer:
    """The explanation stored with a recommendation (rules 2, 3 and 4).

    Raises:
        Problem: not-found for an id the token does not reach; forbidden where rule 4 or the use case says no;
            separation-of-duties where rule 3 does; consent-missing where rule 6 does.
    """
    with desk.store.reading() as session:
        row = find(session, identity, request.id)
        if identity.is_only(Role.APPLICATION) and row.status not in ("approved", "ready"):
            raise Problem("forbidden", "An application gets explanations of what has been approved.")
        check_not_the_askers(row, identity)
        told = json.loads(row.explanation)
        people = identity.roles - {Role.APPLICATION, Role.AUDITOR}
        if people and not people & set(told["visible_to"]):
            raise Problem("forbidden", f"This use case is visible to {', '.join(told['visible_to'])}.")
        check_shown(desk, row, identity)
        return ExplainAnswer(
            **{name: told[name] for name in told if name != "visible_to"},
            id=row.id,
            use_case=row.use_case,
            site=row.site,
            status=row.status,
            actions=json.loads(row.actions),
            model=row.model_digest,
            certificate=row.certificate_digest,
        )


def find(session: Session, identity: Identity, id: str) -> Recommendation:
    """The recommendation, if the identity's site reaches it.

    Raises:
        Problem: not-found, the same for what does not exist and what is another site's.
    """
    row = session.scalar(select(Recommendation).where(Recommendation.id == id))
    if row is None or not identity.reaches(row.site):
        raise Problem("not-found", "Expected the id of a recommendation of the token's site.")
    return row


def check_not_the_askers(row: Recommendation, identity: Identity) -> None:
    """Refuse what is still proposed, or was abstained from, to whoever asked for it (rule 3).

    Raises:
        Problem: separation-of-duties.
    """
    if row.status in ("proposed", "abstained") and identity.subject == row.requested_by:
        raise Problem("separation-of-duties", "Expected somebody else than who asked, unless others have decided.")


def check_shown(desk: Desk, row: Recommendation, identity: Identity) -> None:
    """Refuse what the person's records may not be used for now, but to an auditor (rule 6).

    Raises:
        Problem: consent-missing.
    """
    if Role.AUDITOR not in identity.roles:
        site_records.check_usable(desk.records, row.site, row.use_case, row.employee)


def _row(
    model: VerifiedModel, identity: Identity, request: RecommendRequest, features: Mapping[str, Any]
) -> Recommendation:
    """Everything there is to store about a new recommendation (rule 1)."""
    use_case = model.release.use_case
    try:
        explanation = explain(model.release.scorers[request.site], features, use_case)
    except InputError as error:
        raise Problem("unusable-features", f"{error}.") from None
    _check_sum(explanation)
    return Recommendation(
        id=uuid.uuid4().hex,
        use_case=use_case.name,
        site=request.site,
        employee=request.employee,
        requested_by=identity.subject,
        stakes=use_case.stakes,
        decisions_needed=DECISIONS_NEEDED[use_case.stakes],
        status=_first_status(use_case, explanation),
        version=1,
        inputs=_json(features),
        explanation=_json(_told(explanation, use_case, features)),
        actions=_json(_actions(use_case, explanation)),
        model_digest=model.model_digest,
        certificate_digest=model.certificate_digest,
        created_at=database.now(),
    )


def _first_status(use_case: UseCase, explanation: Explanation) -> str:
    if explanation.abstained is not None:
        return "abstained"
    return "ready" if use_case.stakes == "low" else "proposed"


def _actions(use_case: UseCase, explanation: Explanation) -> list[dict[str, str]]:
    """What to propose: nothing after an abstention."""
    if explanation.abstained is not None:
        return []
    raising = [reason.column for reason in explanation.terms if reason.direction == "raises"]
    return [{"id": action.id, "title": action.title} for action in use_case.actions_for(raising)]


def _told(explanation: Explanation, use_case: UseCase, features: Mapping[str, Any]) -> dict[str, Any]:
    """The explanation as stored, with what the system can not see about this person and at all."""
    missing = sorted(reason.column for reason in explanation.terms if features.get(reason.column) is None)
    not_recorded = [f"not recorded for this person: {', '.join(missing)}"] if missing else []
    return asdict(explanation) | {
        "cannot_see": [*use_case.not_seen, *not_recorded],
        "visible_to": list(use_case.visible_to),
    }


def _check_sum(explanation: Explanation) -> None:
    """Rule 2: an explanation that does not add up is never stored."""
    total = math.fsum([explanation.intercept, *(reason.points for reason in explanation.terms)])
    if not abs(total - explanation.score) <= _ROUNDING:
        raise ArithmeticError("explanation: expected terms that sum to the score")


def _answer(row: Recommendation) -> RecommendAnswer:
    """What the asker may know (rule 3), the same at every repetition (rule 5)."""
    status = "proposed" if row.status in ("approved", "declined") else row.status
    return RecommendAnswer(
        id=row.id,
        status=status,
        decision=f"/v1/decisions/{row.id}",
        reason=ABSTAINED if status == "abstained" else None,
        actions=json.loads(row.actions) if status == "ready" else None,
    )


def _answered(store: Store, key_digest: str | None, digest: str) -> RecommendAnswer | None:
    """The answer given earlier under this key (rule 5)."""
    if key_digest is None:
        return None
    with store.reading() as session:
        row = session.scalar(select(Recommendation).where(Recommendation.idempotency_key == key_digest))
        if row is None:
            return None
        if row.request_digest != digest:
            raise Problem("idempotency-conflict", "Expected a new Idempotency-Key for another request.")
        return _answer(row)


def _key_digest(identity: Identity, key: str | None) -> str | None:
    """Keys are the asker's own: two askers may use the same one. Stored hashed, since they are free text."""
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise Problem("invalid-request", "Expected an Idempotency-Key of 1 to 128 visible ASCII characters.")
    return hashlib.sha256(f"{identity.subject}\n{identity.site}\n{key}".encode()).hexdigest()


def _json(value: Any) -> str:
    """JSON that gives every float back bit for bit (shortest round-trip representation)."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
