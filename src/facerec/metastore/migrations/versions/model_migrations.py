"""Migrations to another model: the twin of a collection, where faces came from, and how far each has come."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the columns and tables."""
    op.add_column("collections", sa.Column("twin_key", _KEY, nullable=True))
    op.add_column("faces", sa.Column("source", sa.String(length=255), nullable=True))
    op.create_table(
        "model_migrations",
        sa.Column("new_key", _KEY, autoincrement=False, nullable=False),
        sa.Column("old_key", _KEY, nullable=False),
        sa.Column("old_pack", sa.Text(), nullable=False),
        sa.Column("new_pack", sa.Text(), nullable=False),
        sa.Column("images", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.Column("share", sa.Double(), nullable=False),
        sa.Column("same_best", sa.BigInteger(), nullable=False),
        sa.Column("other_best", sa.BigInteger(), nullable=False),
        sa.Column("old_alone", sa.BigInteger(), nullable=False),
        sa.Column("new_alone", sa.BigInteger(), nullable=False),
        sa.Column("neither", sa.BigInteger(), nullable=False),
        sa.Column("difference", sa.Double(), nullable=False),
        sa.Column("distance", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["new_key"], ["collections.key"], name="fk_model_migrations_new_key"),
        sa.PrimaryKeyConstraint("new_key", name="pk_model_migrations"),
    )
    op.create_table(
        "migration_failures",
        sa.Column("new_key", _KEY, autoincrement=False, nullable=False),
        sa.Column("face_key", _KEY, autoincrement=False, nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["new_key"], ["model_migrations.new_key"], name="fk_migration_failures_new_key"
        ),
        sa.PrimaryKeyConstraint("new_key", "face_key", name="pk_migration_failures"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Drop them. What a migration has embedded so far is removed, as if it had been aborted."""
    op.execute("UPDATE collections SET name = NULL WHERE name LIKE '~%'")
    op.drop_table("migration_failures")
    op.drop_table("model_migrations")
    op.drop_column("faces", "source")
    op.drop_column("collections", "twin_key")
