"""Tags of a collection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from facerec.domain import Collection
from facerec.metastore.tables import tags


def read(connection: sa.Connection, collection: Collection) -> dict[str, str]:
    """Every tag, in the order of names."""
    query = (
        sa.select(tags.c.name, tags.c.value)
        .where(tags.c.collection_key == collection.key)
        .order_by(tags.c.name)
    )
    return {row.name: row.value for row in connection.execute(query)}


def put(connection: sa.Connection, collection: Collection, values: Mapping[str, str]) -> None:
    """Set tags; those of the same name are replaced, others stay."""
    remove(connection, collection, values)
    if values:
        connection.execute(
            tags.insert(),
            [
                {"collection_key": collection.key, "name": name, "value": value}
                for name, value in values.items()
            ],
        )


def remove(connection: sa.Connection, collection: Collection, names: Iterable[str]) -> None:
    """Remove the tags of these names; unknown names are a no-op."""
    connection.execute(
        tags.delete().where(tags.c.collection_key == collection.key, tags.c.name.in_(list(names)))
    )
