"""Protected traits, sealed to the auditor."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the vault's one table."""
    op.create_table(
        "protected",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("audit_key", sa.Text, nullable=False, index=True),
        sa.Column("sealed", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("recorded_at", sa.Text, nullable=False),
        sa.UniqueConstraint("audit_key", "source", name="protected_once"),
    )
