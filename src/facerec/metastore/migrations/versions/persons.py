"""Persons: what is kept with a user beside its faces, and how good the picture of a face was."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the columns; users that are there were made nobody knows when."""
    op.add_column("users", sa.Column("metadata", sa.Text(), nullable=True))
    op.add_column("users", sa.Column("created_at", sa.Double(), nullable=True))
    op.add_column("users", sa.Column("updated_at", sa.Double(), nullable=True))
    op.add_column("users", sa.Column("version", sa.BigInteger(), nullable=False, server_default="1"))
    op.add_column("faces", sa.Column("quality", sa.SmallInteger(), nullable=True))


def downgrade() -> None:
    """Drop them, with what was kept there."""
    op.drop_column("faces", "quality")
    for column in ("version", "updated_at", "created_at", "metadata"):
        op.drop_column("users", column)
