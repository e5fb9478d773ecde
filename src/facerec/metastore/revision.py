"""At which migration a database is, and the code: told without Alembic, which takes a moment to load."""

from __future__ import annotations

import sqlalchemy as sa

NEWEST = "0019"
"""Revision of the last migration, which leads to `tables`."""


def revision_of(connection: sa.Connection) -> str | None:
    """The revision of a database; None: it has no tables."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    number = sa.column("version_num", sa.String)
    return connection.scalar(sa.select(number).select_from(sa.table("alembic_version")))
