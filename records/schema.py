"""The tables of a site's store: fifteen about people (one of them in the vault), and the store's own books.

Every table about people but `consent_event` has the same frame: one fact of one person (`subject`), told apart by
`item` where a person has several, as it is true from `valid_from` on. What was true on a day is the version with the
latest `valid_from` up to it. A column that is NULL was not stated.

Writing: days are YYYY-MM-DD, months YYYY-MM, instants YYYY-MM-DDTHH:MM:SSZ, all as text, which sorts as time does.
Which values a column may take, for what and for how long, is the registry's business (`records/registry.yaml`).
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()
"""The store."""
vault_metadata = MetaData()
"""The vault: another database, another key."""

batch = Table(
    "batch",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("digest", Text, nullable=False, unique=True),  # SHA-256 of what came and of the mapping it came through
    Column("source", Text, nullable=False),
    Column("connector", Text, nullable=False),
    Column("came_at", Text, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("written", Integer, nullable=False),
    Column("unchanged", Integer, nullable=False),
    Column("quarantined", Integer, nullable=False),
    Column("left_out", Integer, nullable=False),  # of people who were erased, or past their time
)


def _facts(name: str, *columns: Column[object]) -> Table:
    """A table about people with the common frame."""
    return Table(
        name,
        metadata,
        Column("number", Integer, primary_key=True, autoincrement=True),
        Column("subject", Text, nullable=False),
        Column("item", Text, nullable=False),
        Column("valid_from", Text, nullable=False),
        *columns,
        Column(
            "stated", Text, nullable=False
        ),  # columns that this version states itself, by blanks; the others it carried over
        Column("recorded_at", Text, nullable=False),
        Column("batch", ForeignKey("batch.number"), nullable=False, index=True),
        UniqueConstraint("subject", "item", "valid_from", name=f"{name}_version"),
    )


def _texts(*names: str) -> list[Column[object]]:
    return [Column(name, Text) for name in names]


def _numbers(*names: str) -> list[Column[object]]:
    return [Column(name, Float) for name in names]


person = _facts(
    "person",  # item: ""
    *_texts("org_unit", "location_country", "job_family", "level_band", "employment_type", "work_mode"),
    *_texts("start_month", "level_since", "end_month", "exit_type", "manager_key", "candidate_key"),
    *_texts("work_tz", "working_pattern", "locale"),
    *_numbers("fte", "commute_minutes"),
)
skill_evidence = _facts(
    "skill_evidence", *_texts("skill_id", "evidence"), *_numbers("level")
)  # item: skill_id/evidence
preference = _facts("preference", *_texts("kind", "value", "expires_at"))  # item: kind
learning_event = _facts(  # item: the event's own id, hashed
    "learning_event", *_texts("course_id", "verb", "score_band"), *_numbers("duration_hours")
)
schedule_busy = _facts("schedule_busy", *_texts("start_utc", "end_utc"))  # item: start_utc
interview = _facts(  # subject: a candidate; item: requisition and round
    "interview",
    *_texts("req_id", "slot_utc", "interview_type", "location", "confirmed", "accepted", "attended"),
    *_numbers("tz_offset_hours", "lead_days", "reschedules"),
)
application = _facts(  # subject: a candidate; item: req_id
    "application",
    *_texts("req_id", "job_family", "stage", "outcome", "consent_to_keep", "offer_level", "offer_start"),
    *_numbers("offer_pay"),
)
onboarding_item = _facts(
    "onboarding_item", *_texts("task", "due_week", "done_week"), *_numbers("helpful")
)  # item: task
work_pattern_week = _facts(  # item: ""; valid_from: the week's Sunday
    "work_pattern_week", *_numbers("overtime_hours", "after_hours_share", "meeting_hours", "leave_days")
)
pulse = _facts("pulse", *_texts("question"), *_numbers("likert"))  # item: question
performance_fact = _facts("performance_fact", *_texts("cycle", "goal_status"), *_numbers("rating"))  # item: cycle
comp_band = _facts("comp_band", *_texts("last_change_month"), *_numbers("compa_ratio", "annual_pay"))  # item: ""
outcome = _facts("outcome", *_texts("use_case", "outcome"))  # item: the recommendation's id

consent_event = Table(
    "consent_event",  # append-only: triggers refuse changes, and deletion outside an erasure
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("subject", Text, nullable=False, index=True),
    Column("purpose", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("notice_version", Integer, nullable=False),
    Column("locale", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("at", Text, nullable=False),
    Column("recorded_at", Text, nullable=False),
    Column("receipt", Text, nullable=False),  # SHA-256 of the canonical event
    UniqueConstraint("receipt", name="consent_event_once"),
    CheckConstraint(
        "state IN ('informed', 'given', 'withdrawn', 'objected', 'objection_withdrawn')", name="consent_event_state"
    ),
)

protected = Table(
    "protected",
    vault_metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("audit_key", Text, nullable=False, index=True),  # another HMAC key than the store's
    Column("sealed", Text, nullable=False),  # HPKE to the auditor's public key, base64
    Column("source", Text, nullable=False),
    Column("recorded_at", Text, nullable=False),
    UniqueConstraint("audit_key", "source", name="protected_once"),
)

FACTS: Final = {
    table.name: table
    for table in (
        person,
        skill_evidence,
        preference,
        learning_event,
        schedule_busy,
        interview,
        application,
        onboarding_item,
        work_pattern_week,
        pulse,
        performance_fact,
        comp_band,
        outcome,
    )
}
"""Tables with the common frame, by name."""
STATES: Final = frozenset(
    {
        "person",
        "skill_evidence",
        "preference",
        "interview",
        "application",
        "onboarding_item",
        "performance_fact",
        "comp_band",
    }
)
"""Tables of states: a new version carries over what it does not state. The others hold events, each on its own."""
CANDIDATES: Final = frozenset({"application", "interview"})
"""Tables whose subject is a candidate."""
FRAME: Final = frozenset({"number", "subject", "item", "valid_from", "stated", "recorded_at", "batch"})

quarantine = Table(
    "quarantine",  # a row that did not get in: where it stands and why, never what it held
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("batch", ForeignKey("batch.number"), nullable=False, index=True),
    Column("place", Integer, nullable=False),  # the row's number in its source, from 0
    Column("column", Text, nullable=False),  # of the source; "" for the row as a whole
    Column("reason", Text, nullable=False),
    Column("subject", Text, index=True),  # where it is known whose row it was
)
reconciliation = Table(
    "reconciliation",  # two sources disagree on a person's fact; blocking until HR settles it
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("subject", Text, nullable=False, index=True),
    Column("candidate", Text),
    Column("column", Text, nullable=False),  # "table.column" of the record
    Column("item", Text, nullable=False),
    Column("valid_from", Text, nullable=False),
    Column("held", Text, nullable=False),  # sealed: what the store holds or the offer said
    Column("came", Text, nullable=False),  # sealed: what the new record says
    Column("reason", Text, nullable=False),
    Column("opened_at", Text, nullable=False),
    Column("settled_at", Text),
    Column("settled_by", Text),  # sealed
    Column("settled_why", Text),  # sealed
    Column("taken", Text),  # "held" or "came"
    Index("reconciliation_open", "subject", "settled_at"),
    sqlite_autoincrement=True,  # the log and batches name an item by its number, which no other may get
)
correction = Table(
    "correction",  # a fact that its employee had corrected: a source may not silently undo it
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("subject", Text, nullable=False, index=True),
    Column("column", Text, nullable=False),
    Column("item", Text, nullable=False),
    Column("valid_from", Text, nullable=False),
    Column("at", Text, nullable=False),
)
tombstone = Table(
    "tombstone",  # whom nothing may be stored about again; a hash of a hash, which names nobody
    metadata,
    Column("mark", Text, primary_key=True),
    Column("at", Text, nullable=False),
)
erasing = Table(
    "erasing",  # open only inside the transaction that erases; what lets consent events go
    metadata,
    Column("subject", Text, primary_key=True),
)
log_entry = Table(
    "log_entry",  # append-only, each entry naming the digest of the one before
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("at", Text, nullable=False),
    Column("document", Text, nullable=False),  # canonical JSON; counts and digests, no person's value
    Column("previous", Text, nullable=False),
    Column("digest", Text, nullable=False, unique=True),
)
revision = Table(
    "revision",  # one row, counted up by every transaction that writes: tells readers whether to read again
    metadata,
    Column("only", Integer, primary_key=True),
    Column("count", Integer, nullable=False),
)
scim_user = Table(
    "scim_user",
    metadata,
    Column("id", Text, primary_key=True),
    Column("subject", Text, nullable=False, index=True),
    Column("user_name", Text, nullable=False, unique=True),  # HMAC of the lower-cased name
    Column("external_id", Text, index=True),  # HMAC
    Column("sealed", Text, nullable=False),  # the resource, AES-256-GCM
    Column("version", Integer, nullable=False),
    Column("created", Text, nullable=False),
    Column("modified", Text, nullable=False),
)
statement = Table(
    "statement",  # xAPI statements that came: enough to know one again
    metadata,
    Column("id", Text, primary_key=True),
    Column("body", Text, nullable=False),  # HMAC of the canonical statement
    Column("subject", Text, nullable=False, index=True),
    Column("voided", Integer, nullable=False),
    Column("stored_at", Text, nullable=False),
)
