"""Imports from S3: where the images of a ListFaces export lie."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add the column."""
    op.add_column("albums", sa.Column("template", sa.Text(), nullable=True))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("albums", "template")
