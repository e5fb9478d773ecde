"""PostgreSQL alone: names in the order of their bytes, and how tables that change much are kept compact."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_NAMES = (
    ("access_keys", "access_key_id", 128),
    ("client_tokens", "operation", 64),
    ("client_tokens", "token", 64),
    ("collections", "name", 255),
    ("leases", "name", 128),
    ("meta", "name", 64),
    ("tags", "name", 128),
    ("users", "user_id", 128),
)

_STORAGE: dict[str, dict[str, float]] = {
    # A collection's row is written anew at each change: on a page with room, and without its indexes.
    "collections": {"fillfactor": 20},
    # A face is written anew when it becomes a user's. At 2 % of such rows, and not at 20 %, their room is
    # given to the next ones: a face has to cost less than 1 KB.
    "faces": {"autovacuum_vacuum_scale_factor": 0.02},
    "users": {"autovacuum_vacuum_scale_factor": 0.02},
}


def upgrade() -> None:
    """Set both."""
    if op.get_context().dialect.name != "postgresql":
        return
    for table, column, length in _NAMES:
        op.alter_column(table, column, type_=sa.String(length, collation="C"))
    for table, parameters in _STORAGE.items():
        values = ", ".join(f"{name} = {value}" for name, value in parameters.items())
        op.execute(f"ALTER TABLE {table} SET ({values})")


def downgrade() -> None:
    """Back to PostgreSQL's own choices."""
    if op.get_context().dialect.name != "postgresql":
        return
    for table, parameters in _STORAGE.items():
        op.execute(f"ALTER TABLE {table} RESET ({', '.join(parameters)})")
    for table, column, length in _NAMES:
        op.alter_column(table, column, type_=sa.String(length))
