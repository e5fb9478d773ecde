"""What VECTOR_STORE=pgvector keeps goes before the tables that it is derived from.

The store makes it where it is opened, with an extension that no other store needs: see
`facerec.vectors.pgvector_tables`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Nothing: only the store knows that it is wanted."""


def downgrade() -> None:
    """Drop the store's schema and its triggers on our tables: older versions know nothing of them."""
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        name = f"{connection.scalar(sa.text('SELECT current_schema()'))}_vectors"
        quoted = connection.dialect.identifier_preparer.quote_identifier(name)
        op.execute(f"DROP SCHEMA IF EXISTS {quoted} CASCADE")
