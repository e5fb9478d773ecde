"""Imports: albums of the entries of a manifest, whose faces go into a collection that is there."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add the columns; albums that are there have collections of their own names."""
    op.add_column("albums", sa.Column("collection", sa.String(255), nullable=False, server_default=""))
    op.add_column(
        "albums", sa.Column("collection_created_at", sa.Double(), nullable=False, server_default="0")
    )
    op.add_column("albums", sa.Column("manifest", sa.Text(), nullable=True))
    op.execute("UPDATE albums SET collection = coalesce(album_id, ''), collection_created_at = created_at")


def downgrade() -> None:
    """Drop them; imports become albums."""
    for column in ("manifest", "collection_created_at", "collection"):
        op.drop_column("albums", column)
