"""Keys of two kinds, with scopes, limits, an end and rotation. Those that exist may do what they could."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

_COLUMNS = ("kind", "scope", "collections", "rate", "expires_at", "previous_secret", "previous_until")


def upgrade() -> None:
    """Add the columns."""
    for column in (
        sa.Column("kind", sa.String(length=8), nullable=False, server_default="aws"),
        sa.Column("scope", sa.String(length=8), nullable=False, server_default="admin"),
        sa.Column("collections", sa.Text(), nullable=False, server_default=""),
        sa.Column("rate", sa.String(length=16), nullable=True),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.Column("previous_secret", sa.LargeBinary(), nullable=True),
        sa.Column("previous_until", sa.Double(), nullable=True),
    ):
        op.add_column("access_keys", column)


def downgrade() -> None:
    """Drop them. Keys that could do less than everything, or are of the other kind, are revoked."""
    op.execute(
        "UPDATE access_keys SET revoked_at = created_at WHERE revoked_at IS NULL AND "
        "(kind <> 'aws' OR scope <> 'admin' OR collections <> '' OR expires_at IS NOT NULL)"
    )
    for column in reversed(_COLUMNS):
        op.drop_column("access_keys", column)
