"""Albums: their images, and the prefixes in S3 that more of them come from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "albums",
        sa.Column("key", _KEY, nullable=False),
        sa.Column("album_id", _name(255), nullable=True),
        sa.Column("title", sa.String(255), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("image_number", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("listing_number", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("awaited", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("told", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("notice_at", sa.Double(), nullable=False, server_default="0"),
        sa.Column("notice_attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("key", name="pk_albums"),
        sa.UniqueConstraint("album_id", name="uq_albums_album_id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "album_images",
        sa.Column("album_key", _KEY, autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.LargeBinary(16), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=True),
        sa.Column("external_id", sa.String(255), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("queued", sa.Boolean(), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), nullable=False, server_default="0"),
        sa.Column("reason", sa.String(255), nullable=True),
        sa.Column("faces", sa.SmallInteger(), nullable=False, server_default="0"),
        sa.Column("image_id", sa.LargeBinary(16), nullable=True),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["album_key"], ["albums.key"], name="fk_album_images_album_key"),
        sa.PrimaryKeyConstraint("album_key", "number", name="pk_album_images"),
        sa.UniqueConstraint("album_key", "digest", name="uq_album_images_album_key_digest"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_album_images_album_key_state_number", "album_images", ["album_key", "state", "number"]
    )
    _partial_index("unqueued", "number", "queued = 0", "NOT queued")
    for column in ("image_id", "finished_at"):
        _partial_index(column, column, f"{column} IS NOT NULL", f"{column} IS NOT NULL")
    op.create_table(
        "album_listings",
        sa.Column("album_key", _KEY, autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("bucket", sa.String(63), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("after", sa.Text(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("queued", sa.Boolean(), nullable=False),
        sa.Column("objects", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("found", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("reason", sa.String(255), nullable=True),
        sa.ForeignKeyConstraint(["album_key"], ["albums.key"], name="fk_album_listings_album_key"),
        sa.PrimaryKeyConstraint("album_key", "number", name="pk_album_listings"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Drop them; the faces stay in the albums' collections."""
    op.drop_table("album_listings")
    op.drop_table("album_images")
    op.drop_table("albums")


def _partial_index(name: str, column: str, sqlite: str, postgresql: str) -> None:
    op.create_index(
        f"ix_album_images_{name}",
        "album_images",
        ["album_key", column],
        sqlite_where=sa.text(sqlite),
        postgresql_where=sa.text(postgresql),
    )


def _name(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")
