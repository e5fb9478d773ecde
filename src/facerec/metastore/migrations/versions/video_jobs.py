"""Videos that are, or were, looked at, and what was found in them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Make both tables."""
    name = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")
    state = sa.String(16).with_variant(sa.String(16, collation="C"), "postgresql")
    op.create_table(
        "video_jobs",
        sa.Column("job_id", name, nullable=False),
        sa.Column("operation", sa.String(32), nullable=False),
        sa.Column("state", state, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("node", sa.String(32)),
        sa.Column("collection_name", sa.String(255)),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("all_attributes", sa.Boolean(), nullable=False),
        sa.Column("job_tag", sa.String(1024)),
        sa.Column("topic", sa.String(1024)),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double()),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("progress_ms", sa.BigInteger(), nullable=False),
        sa.Column("message", sa.Text()),
        sa.Column("metadata", sa.Text()),
        sa.Column("entries", sa.BigInteger(), nullable=False),
        sa.Column("result", sa.LargeBinary()),
        sa.Column("notice_at", sa.Double()),
        sa.Column("notice_attempts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", name="pk_video_jobs"),
    )
    op.create_index("ix_video_jobs_state", "video_jobs", ["state"])
    op.create_table(
        "video_parts",
        sa.Column("job_id", name, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("entries", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "number", name="pk_video_parts"),
        sa.ForeignKeyConstraint(["job_id"], ["video_jobs.job_id"], name="fk_video_parts_job_id"),
    )


def downgrade() -> None:
    """Drop them, and all results."""
    op.drop_table("video_parts")
    op.drop_index("ix_video_jobs_state", "video_jobs")
    op.drop_table("video_jobs")
