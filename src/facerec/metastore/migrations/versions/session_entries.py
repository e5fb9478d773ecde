"""What is remembered for minutes: sessions, rates, results."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "session_entries",
        sa.Column("kind", _name(64), nullable=False),
        sa.Column("key", _name(255), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "key", name="pk_session_entries"),
    )
    op.create_index("ix_session_entries_expires_at", "session_entries", ["expires_at"])


def downgrade() -> None:
    """Drop it: sessions under way are begun anew then."""
    op.drop_table("session_entries")


def _name(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")
