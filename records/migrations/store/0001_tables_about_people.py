"""The tables about people, the store's own books, and the rules that keep two of them append-only."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

TEXTS = {
    "person": "org_unit location_country job_family level_band employment_type work_mode start_month level_since"
    " end_month exit_type manager_key candidate_key work_tz working_pattern locale",
    "skill_evidence": "skill_id evidence",
    "preference": "kind value expires_at",
    "learning_event": "course_id verb score_band",
    "schedule_busy": "start_utc end_utc",
    "interview": "req_id slot_utc interview_type location confirmed accepted attended",
    "application": "req_id job_family stage outcome consent_to_keep offer_level offer_start",
    "onboarding_item": "task due_week done_week",
    "work_pattern_week": "",
    "pulse": "question",
    "performance_fact": "cycle goal_status",
    "comp_band": "last_change_month",
    "outcome": "use_case outcome",
}
NUMBERS = {
    "person": "fte commute_minutes",
    "skill_evidence": "level",
    "learning_event": "duration_hours",
    "interview": "tz_offset_hours lead_days reschedules",
    "application": "offer_pay",
    "onboarding_item": "helpful",
    "work_pattern_week": "overtime_hours after_hours_share meeting_hours leave_days",
    "pulse": "likert",
    "performance_fact": "rating",
    "comp_band": "compa_ratio annual_pay",
}
CONSENT_STATES = "state IN ('informed', 'given', 'withdrawn', 'objected', 'objection_withdrawn')"

ERASING = "EXISTS (SELECT 1 FROM erasing e WHERE e.subject = OLD.subject)"
# Each rule: name, table, the statement it is asked for, the condition that breaks it.
RULES = (
    ("consent_event_stays", "consent_event", "UPDATE", "TRUE"),
    ("consent_event_is_kept", "consent_event", "DELETE", f"NOT {ERASING}"),
    ("consent_event_is_not_emptied", "consent_event", "TRUNCATE", "TRUE"),
    ("log_entry_stays", "log_entry", "UPDATE", "TRUE"),
    ("log_entry_is_kept", "log_entry", "DELETE", "TRUE"),
    ("log_entry_is_not_emptied", "log_entry", "TRUNCATE", "TRUE"),
)
# SQLite's INSERT OR REPLACE deletes the row in its way without asking the rules for DELETE.
SQLITE_REPLACEMENTS = (
    "CREATE TRIGGER log_entry_is_not_replaced BEFORE INSERT ON log_entry"
    " WHEN EXISTS (SELECT 1 FROM log_entry e WHERE e.number = NEW.number OR e.digest = NEW.digest)"
    " BEGIN SELECT RAISE(ABORT, 'log_entry_is_not_replaced is broken'); END",
    "CREATE TRIGGER consent_event_is_not_replaced BEFORE INSERT ON consent_event"
    " WHEN EXISTS (SELECT 1 FROM consent_event e WHERE e.number = NEW.number AND e.receipt <> NEW.receipt)"
    " BEGIN SELECT RAISE(ABORT, 'consent_event_is_not_replaced is broken'); END",
    # The same receipt is the same event come again: it goes unheard, so that ON CONFLICT DO NOTHING works.
    "CREATE TRIGGER consent_event_comes_once BEFORE INSERT ON consent_event"
    " WHEN EXISTS (SELECT 1 FROM consent_event e WHERE e.receipt = NEW.receipt)"
    " BEGIN SELECT RAISE(IGNORE); END",
)


def upgrade() -> None:
    """Create the tables and their rules."""
    _batch()
    for name in TEXTS:
        _facts(name)
    _consent_event()
    _faults()
    _erasure()
    _books()
    _connectors()
    create = {"sqlite": _sqlite_rule, "postgresql": _postgresql_rule}[op.get_bind().dialect.name]
    for rule in RULES:
        for statement in create(*rule):
            op.execute(statement)
    if create is _sqlite_rule:
        for statement in SQLITE_REPLACEMENTS:
            op.execute(statement)


def _number() -> sa.Column[object]:
    return sa.Column("number", sa.Integer, primary_key=True, autoincrement=True)


def _text(name: str, unique: bool | None = None, index: bool | None = None) -> sa.Column[object]:
    return sa.Column(name, sa.Text, nullable=False, unique=unique, index=index)


def _whole(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.Integer, nullable=False)


def _of_batch() -> sa.Column[object]:
    return sa.Column("batch", sa.Integer, sa.ForeignKey("batch.number"), nullable=False, index=True)


def _batch() -> None:
    op.create_table(
        "batch",
        _number(),
        _text("digest", unique=True),
        *(_text(name) for name in ("source", "connector", "came_at")),
        *(_whole(name) for name in ("rows", "written", "unchanged", "quarantined", "left_out")),
    )


def _facts(name: str) -> None:
    op.create_table(
        name,
        _number(),
        *(_text(column) for column in ("subject", "item", "valid_from")),
        *(sa.Column(column, sa.Text) for column in TEXTS[name].split()),
        *(sa.Column(column, sa.Float) for column in NUMBERS.get(name, "").split()),
        _text("stated"),
        _text("recorded_at"),
        _of_batch(),
        sa.UniqueConstraint("subject", "item", "valid_from", name=f"{name}_version"),
    )


def _consent_event() -> None:
    op.create_table(
        "consent_event",
        _number(),
        _text("subject", index=True),
        _text("purpose"),
        _text("state"),
        _whole("notice_version"),
        *(_text(name) for name in ("locale", "channel", "at", "recorded_at", "receipt")),
        sa.UniqueConstraint("receipt", name="consent_event_once"),
        sa.CheckConstraint(CONSENT_STATES, name="consent_event_state"),
    )


def _faults() -> None:
    op.create_table(
        "quarantine",
        _number(),
        _of_batch(),
        _whole("place"),
        _text("column"),
        _text("reason"),
        sa.Column("subject", sa.Text, index=True),
    )
    op.create_table(
        "reconciliation",
        _number(),
        _text("subject", index=True),
        sa.Column("candidate", sa.Text),
        *(_text(name) for name in ("column", "item", "valid_from", "held", "came", "reason", "opened_at")),
        *(sa.Column(name, sa.Text) for name in ("settled_at", "settled_by", "settled_why", "taken")),
        sa.Index("reconciliation_open", "subject", "settled_at"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "correction",
        _number(),
        _text("subject", index=True),
        *(_text(name) for name in ("column", "item", "valid_from", "at")),
    )


def _erasure() -> None:
    op.create_table("tombstone", sa.Column("mark", sa.Text, primary_key=True), _text("at"))
    op.create_table("erasing", sa.Column("subject", sa.Text, primary_key=True))


def _books() -> None:
    op.create_table(
        "log_entry",
        _number(),
        *(_text(name) for name in ("at", "document", "previous")),
        _text("digest", unique=True),
    )
    books = op.create_table("revision", sa.Column("only", sa.Integer, primary_key=True), _whole("count"))
    op.bulk_insert(books, [{"only": 1, "count": 0}])


def _connectors() -> None:
    op.create_table(
        "scim_user",
        sa.Column("id", sa.Text, primary_key=True),
        _text("subject", index=True),
        _text("user_name", unique=True),
        sa.Column("external_id", sa.Text, index=True),
        _text("sealed"),
        _whole("version"),
        _text("created"),
        _text("modified"),
    )
    op.create_table(
        "statement",
        sa.Column("id", sa.Text, primary_key=True),
        _text("body"),
        _text("subject", index=True),
        _whole("voided"),
        _text("stored_at"),
    )


def _sqlite_rule(name: str, table: str, when: str, broken: str) -> tuple[str, ...]:
    if when == "TRUNCATE":  # SQLite has no such statement
        return ()
    return (
        f"CREATE TRIGGER {name} BEFORE {when} ON {table} WHEN {broken}"
        f" BEGIN SELECT RAISE(ABORT, '{name} is broken'); END",
    )


def _postgresql_rule(name: str, table: str, when: str, broken: str) -> tuple[str, ...]:
    each = "STATEMENT" if when == "TRUNCATE" else "ROW"
    return (
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF {broken} THEN"
        f" RAISE EXCEPTION '{name} is broken' USING ERRCODE = 'check_violation'; END IF;"
        f" RETURN {'OLD' if when == 'DELETE' else 'NEW'}; END $$",
        f"CREATE TRIGGER {name} BEFORE {when} ON {table} FOR EACH {each} EXECUTE FUNCTION {name}()",
    )
