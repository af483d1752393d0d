"""Recommendations, decisions, and the rules of `serving.database` as triggers."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

FIXED = (
    "number, id, use_case, site, employee, requested_by, stakes, decisions_needed, inputs, explanation, actions,"
    " model_digest, certificate_digest, idempotency_key, request_digest, created_at"
)
# Asked before the statement, so that SQLite's INSERT OR REPLACE can not put a row in another's place.
# Each rule: name, table, the statement it is asked for, the condition that breaks it.
MADE = "(SELECT count(*) FROM decisions d WHERE d.recommendation_id = OLD.id)"
DECLINED = "(SELECT count(*) FROM decisions d WHERE d.recommendation_id = OLD.id AND d.outcome = 'decline')"
RULES = (
    (
        "rule_1_beginning",
        "recommendations",
        "INSERT",
        "NEW.status NOT IN ('proposed', 'abstained', 'ready') OR (NEW.status = 'ready' AND NEW.stakes <> 'low')"
        " OR (NEW.status = 'proposed' AND NEW.stakes = 'low') OR NEW.version <> 1"
        " OR EXISTS (SELECT 1 FROM recommendations r WHERE r.id = NEW.id OR r.number = NEW.number"
        " OR r.idempotency_key = NEW.idempotency_key)",
    ),
    (
        "rule_2_leaving_proposed",
        "recommendations",
        "UPDATE OF status",
        "NEW.status <> OLD.status AND (OLD.status <> 'proposed' OR NEW.status NOT IN ('approved', 'declined')"
        f" OR {MADE} < OLD.decisions_needed OR (NEW.status = 'approved') <> ({DECLINED} = 0))",
    ),
    ("rule_3_fixed", "recommendations", f"UPDATE OF {FIXED}", "TRUE"),
    ("rule_3_decisions_stay", "decisions", "UPDATE", "TRUE"),
    ("rule_3_decisions_are_kept", "decisions", "DELETE", "TRUE"),
    ("rule_3_decisions_are_not_emptied", "decisions", "TRUNCATE", "TRUE"),
    (
        "rule_4_who_decides",
        "decisions",
        "INSERT",
        "NOT EXISTS (SELECT 1 FROM recommendations r WHERE r.id = NEW.recommendation_id AND r.status = 'proposed'"
        " AND NEW.decided_by <> r.requested_by AND NEW.decided_by <> r.employee)"
        " OR EXISTS (SELECT 1 FROM decisions d WHERE d.number = NEW.number"
        " OR (d.recommendation_id = NEW.recommendation_id AND d.decided_by = NEW.decided_by))",
    ),
)


def upgrade() -> None:
    """Create both tables and their rules."""
    op.create_table(
        "recommendations",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("use_case", sa.Text, nullable=False),
        sa.Column("site", sa.Text, nullable=False, index=True),
        sa.Column("employee", sa.Text, nullable=False),
        sa.Column("requested_by", sa.Text, nullable=False),
        sa.Column("stakes", sa.Text, nullable=False),
        sa.Column("decisions_needed", sa.Integer, nullable=False),
        sa.Column("status", sa.Text, nullable=False, index=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("inputs", sa.Text, nullable=False),
        sa.Column("explanation", sa.Text, nullable=False),
        sa.Column("actions", sa.Text, nullable=False),
        sa.Column("model_digest", sa.Text, nullable=False),
        sa.Column("certificate_digest", sa.Text, nullable=False),
        sa.Column("idempotency_key", sa.Text, unique=True),
        sa.Column("request_digest", sa.Text, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.CheckConstraint("status IN ('proposed', 'abstained', 'ready', 'approved', 'declined')", name="known_status"),
        sa.CheckConstraint(
            "(stakes = 'low' AND decisions_needed = 0) OR (stakes = 'medium' AND decisions_needed = 1)"
            " OR (stakes = 'high' AND decisions_needed = 2)",
            name="stakes_decide",
        ),
    )
    op.create_table(
        "decisions",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("recommendation_id", sa.Text, sa.ForeignKey("recommendations.id"), nullable=False),
        sa.Column("decided_by", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("reason_code", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("decided_at", sa.Text, nullable=False),
        sa.UniqueConstraint("recommendation_id", "decided_by", name="once_per_person"),
        sa.CheckConstraint("outcome IN ('approve', 'decline')", name="known_outcome"),
        sa.CheckConstraint("length(reason) >= 20", name="reason_given"),
    )
    create = {"sqlite": _sqlite_rule, "postgresql": _postgresql_rule}[op.get_bind().dialect.name]
    for rule in RULES:
        for statement in create(*rule):
            op.execute(statement)


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
        f" RAISE EXCEPTION '{name} is broken' USING ERRCODE = 'check_violation'; END IF; RETURN NEW; END $$",
        f"CREATE TRIGGER {name} BEFORE {when} ON {table} FOR EACH {each} EXECUTE FUNCTION {name}()",
    )
