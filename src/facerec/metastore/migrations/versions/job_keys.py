"""Keys of the open jobs of a queue outside the database."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "job_keys",
        sa.Column(
            "kind", sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "unique_key",
            sa.String(255).with_variant(sa.String(255, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "unique_key", name="pk_job_keys"),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("job_keys")
