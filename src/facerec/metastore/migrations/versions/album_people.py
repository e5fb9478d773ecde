"""People of albums: who they are, which faces are theirs, and which are said not to be."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables; albums that are there are behind, and get people with the next look."""
    op.create_table(
        "album_people",
        sa.Column("key", _KEY, nullable=False),
        sa.Column("album_key", _KEY, nullable=False),
        sa.Column("person_id", sa.LargeBinary(16), nullable=False),
        sa.Column("name", sa.String(255), nullable=True),
        sa.Column("hidden", sa.Boolean(), nullable=False),
        sa.Column("confirmed", sa.Boolean(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["album_key"], ["albums.key"], name="fk_album_people_album_key"),
        sa.PrimaryKeyConstraint("key", name="pk_album_people"),
        sa.UniqueConstraint("album_key", "person_id", name="uq_album_people_album_key_person_id"),
        sqlite_autoincrement=True,
    )
    for table, of_face in (
        ("album_person_faces", ("face_key",)),
        ("album_person_exclusions", ("person_key", "face_key")),
    ):
        more = (sa.Column("fitness", sa.Float(), nullable=False),) if table == "album_person_faces" else ()
        op.create_table(
            table,
            sa.Column("face_key", _KEY, autoincrement=False, nullable=False),
            sa.Column("person_key", _KEY, autoincrement=False, nullable=False),
            *more,
            sa.ForeignKeyConstraint(
                ["face_key"], ["faces.key"], name=f"fk_{table}_face_key", ondelete="CASCADE"
            ),
            sa.ForeignKeyConstraint(["person_key"], ["album_people.key"], name=f"fk_{table}_person_key"),
            sa.PrimaryKeyConstraint(*of_face, name=f"pk_{table}"),
            sqlite_with_rowid=False,
        )
    op.create_index(
        "ix_album_person_faces_person_key_fitness", "album_person_faces", ["person_key", "fitness"]
    )
    op.create_index("ix_album_person_exclusions_face_key", "album_person_exclusions", ["face_key"])
    for column in ("people_version", "people_number"):
        op.add_column("albums", sa.Column(column, sa.BigInteger(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Drop them, with the names that people were given."""
    for column in ("people_number", "people_version"):
        op.drop_column("albums", column)
    for table in ("album_person_exclusions", "album_person_faces", "album_people"):
        op.drop_table(table)
