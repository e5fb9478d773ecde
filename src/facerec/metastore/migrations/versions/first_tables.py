"""The first tables: collections, faces, users, deletions, tags, client tokens, access keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "access_keys",
        sa.Column("access_key_id", sa.String(length=128), nullable=False),
        sa.Column("label", sa.String(length=255), nullable=False),
        sa.Column("sealed_secret", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("access_key_id", name="pk_access_keys"),
    )
    op.create_table(
        "client_tokens",
        sa.Column("operation", sa.String(length=64), nullable=False),
        sa.Column("token", sa.String(length=64), nullable=False),
        sa.Column("parameters", sa.LargeBinary(length=32), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("operation", "token", name="pk_client_tokens"),
    )
    op.create_index("ix_client_tokens_created_at", "client_tokens", ["created_at"])
    op.create_table(
        "collections",
        sa.Column("key", _KEY, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=True),
        sa.Column("pack", sa.String(length=255), nullable=False),
        sa.Column("contract_id", sa.String(length=255), nullable=False),
        sa.Column("model_version", sa.String(length=64), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("face_count", sa.BigInteger(), nullable=False),
        sa.Column("user_count", sa.BigInteger(), nullable=False),
        sa.Column("change_number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_collections"),
        sa.UniqueConstraint("name", name="uq_collections_name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "meta",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_meta"),
    )
    op.create_table(
        "deletions",
        sa.Column("collection_key", _KEY, nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("row_key", _KEY, nullable=False),
        sa.ForeignKeyConstraint(["collection_key"], ["collections.key"], name="fk_deletions_collection_key"),
        sa.PrimaryKeyConstraint("collection_key", "kind", "number", name="pk_deletions"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tags",
        sa.Column("collection_key", _KEY, nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("value", sa.String(length=256), nullable=False),
        sa.ForeignKeyConstraint(["collection_key"], ["collections.key"], name="fk_tags_collection_key"),
        sa.PrimaryKeyConstraint("collection_key", "name", name="pk_tags"),
    )
    op.create_table(
        "users",
        sa.Column("key", _KEY, nullable=False),
        sa.Column("collection_key", _KEY, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.String(length=128), nullable=False),
        sa.Column("face_count", sa.Integer(), nullable=False),
        sa.Column("scale", sa.Double(), nullable=True),
        sa.Column("codes", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["collection_key"], ["collections.key"], name="fk_users_collection_key"),
        sa.PrimaryKeyConstraint("key", name="pk_users"),
        sa.UniqueConstraint("collection_key", "user_id", name="uq_users_collection_key_user_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_users_collection_key_number", "users", ["collection_key", "number"])
    op.create_table(
        "faces",
        sa.Column("key", _KEY, nullable=False),
        sa.Column("collection_key", _KEY, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("face_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("image_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("external_image_id", sa.String(length=255), nullable=True),
        sa.Column("box", sa.LargeBinary(length=16), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=False),
        sa.Column("user_key", _KEY, nullable=True),
        sa.Column("scale", sa.Double(), nullable=False),
        sa.Column("codes", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["collection_key"], ["collections.key"], name="fk_faces_collection_key"),
        sa.ForeignKeyConstraint(["user_key"], ["users.key"], name="fk_faces_user_key"),
        sa.PrimaryKeyConstraint("key", name="pk_faces"),
        sa.UniqueConstraint("collection_key", "face_id", name="uq_faces_collection_key_face_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_faces_collection_key_image_id", "faces", ["collection_key", "image_id"])
    op.create_index("ix_faces_collection_key_number", "faces", ["collection_key", "number"])
    op.create_index(
        "ix_faces_user_key",
        "faces",
        ["user_key"],
        sqlite_where=sa.text("user_key IS NOT NULL"),
        postgresql_where=sa.text("user_key IS NOT NULL"),
    )


def downgrade() -> None:
    """Drop them, and everything stored."""
    op.drop_index(
        "ix_faces_user_key",
        table_name="faces",
        sqlite_where=sa.text("user_key IS NOT NULL"),
        postgresql_where=sa.text("user_key IS NOT NULL"),
    )
    op.drop_index("ix_faces_collection_key_number", table_name="faces")
    op.drop_index("ix_faces_collection_key_image_id", table_name="faces")
    op.drop_table("faces")
    op.drop_index("ix_users_collection_key_number", table_name="users")
    op.drop_table("users")
    op.drop_table("tags")
    op.drop_table("deletions")
    op.drop_table("meta")
    op.drop_table("collections")
    op.drop_index("ix_client_tokens_created_at", table_name="client_tokens")
    op.drop_table("client_tokens")
    op.drop_table("access_keys")
