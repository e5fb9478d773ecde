"""The queue of jobs, and the jobs that were set aside."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Make both tables."""
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    kind = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")
    unique_key = sa.String(255).with_variant(sa.String(255, collation="C"), "postgresql")
    op.create_table(
        "jobs",
        sa.Column("key", key, nullable=False),
        sa.Column("kind", kind, nullable=False),
        sa.Column("unique_key", unique_key),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("queued_at", sa.Double(), nullable=False),
        sa.Column("ready_at", sa.Double(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("receipt", sa.String(32)),
        sa.Column("reason", sa.String(500)),
        sa.PrimaryKeyConstraint("key", name="pk_jobs"),
        sa.UniqueConstraint("kind", "unique_key", name="uq_jobs_kind_unique_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_jobs_priority", "jobs", ["priority", "key"])
    op.create_table(
        "jobs_set_aside",
        sa.Column("key", key, nullable=False, autoincrement=False),
        sa.Column("kind", kind, nullable=False),
        sa.Column("unique_key", unique_key),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("set_aside_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_jobs_set_aside"),
    )


def downgrade() -> None:
    """Drop them, and the jobs."""
    op.drop_table("jobs_set_aside")
    op.drop_index("ix_jobs_priority", "jobs")
    op.drop_table("jobs")
