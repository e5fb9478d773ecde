"""Faces that end: when a face was stored, when it ends, and how long a collection keeps its own.

Also up to which change a collection has forgotten what was removed.
"""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_INHERITED = sa.text("expires_at IS NULL")
_OWN = sa.text("expires_at IS NOT NULL")


def upgrade() -> None:
    """Add the columns and indexes. Faces that are there count as stored now: nobody knows since when.

    As a default of the column, which costs no writing of the rows.
    """
    op.add_column("collections", sa.Column("face_ttl", sa.BigInteger(), nullable=True))
    op.add_column("collections", sa.Column("pruned_to", sa.BigInteger(), nullable=False, server_default="0"))
    now = str(int(time.time()))
    op.add_column("faces", sa.Column("stored_at", sa.BigInteger(), nullable=False, server_default=now))
    op.add_column("faces", sa.Column("expires_at", sa.BigInteger(), nullable=True))
    for column, rows in (("stored_at", _INHERITED), ("expires_at", _OWN)):
        op.create_index(
            f"ix_faces_collection_key_{column}",
            "faces",
            ["collection_key", column],
            sqlite_where=rows,
            postgresql_where=rows,
        )


def downgrade() -> None:
    """Drop them: no face ends any more."""
    for column, rows in (("expires_at", _OWN), ("stored_at", _INHERITED)):
        op.drop_index(
            f"ix_faces_collection_key_{column}",
            table_name="faces",
            sqlite_where=rows,
            postgresql_where=rows,
        )
    op.drop_column("faces", "expires_at")
    op.drop_column("faces", "stored_at")
    op.drop_column("collections", "pruned_to")
    op.drop_column("collections", "face_ttl")
