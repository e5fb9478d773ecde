"""Imports of persons through the job queue: manifests, and the entries of each."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "person_imports",
        sa.Column("key", _KEY, nullable=False),
        sa.Column("import_id", _name(64), nullable=False),
        sa.Column("manifest", sa.Text(), nullable=False),
        sa.Column("review", sa.String(16), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("last_number", sa.BigInteger(), nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("key", name="pk_person_imports"),
        sa.UniqueConstraint("import_id", name="uq_person_imports_import_id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "person_import_entries",
        sa.Column("import_key", _KEY, autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("person_id", _name(128), nullable=False),
        sa.Column("images", sa.Text(), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=True),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("queued", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String(255), nullable=True),
        sa.Column("pictures", sa.SmallInteger(), nullable=False, server_default="0"),
        sa.Column("refused", sa.Text(), nullable=False, server_default="[]"),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("import_key", "number", name="pk_person_import_entries"),
        sa.ForeignKeyConstraint(
            ["import_key"], ["person_imports.key"], name="fk_person_import_entries_import_key_person_imports"
        ),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_person_import_entries_import_key_state", "person_import_entries", ["import_key", "state"]
    )
    op.create_index("ix_person_import_entries_person_id", "person_import_entries", ["person_id"])
    op.create_index(
        "ix_person_import_entries_unqueued",
        "person_import_entries",
        ["import_key", "number"],
        sqlite_where=sa.text("queued = 0"),
        postgresql_where=sa.text("NOT queued"),
    )


def downgrade() -> None:
    """Remove the tables."""
    op.drop_table("person_import_entries")
    op.drop_table("person_imports")


def _name(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")
