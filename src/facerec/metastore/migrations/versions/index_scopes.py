"""Scopes: where, in a vector store outside the database, the vectors of a collection are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "index_scopes",
        sa.Column("token", sa.String(length=32), nullable=False),
        sa.Column("store", sa.String(length=255), nullable=False),
        sa.Column("collection_key", _KEY, nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("contract_id", sa.String(length=255), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("token", name="pk_index_scopes"),
    )
    op.create_index(
        "ix_index_scopes_store_collection_key_kind", "index_scopes", ["store", "collection_key", "kind"]
    )


def downgrade() -> None:
    """Drop it: the stores are built anew, and what they hold has to be removed by hand."""
    op.drop_table("index_scopes")
