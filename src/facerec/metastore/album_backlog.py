"""The images of albums that wait, and for which no job was queued yet."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from facerec.metastore.albums import AlbumKey
from facerec.metastore.tables import album_images, album_listings


def unqueued(connection: sa.Connection, key: AlbumKey, limit: int) -> list[int]:
    """Numbers of up to `limit` images that wait and for which no job was queued."""
    query = sa.select(album_images.c.number).where(
        album_images.c.album_key == key, sa.not_(album_images.c.queued)
    )
    return list(connection.scalars(query.order_by(album_images.c.number).limit(limit)))


def mark_queued(connection: sa.Connection, key: AlbumKey, numbers: Sequence[int]) -> None:
    """Note that jobs were queued for these images."""
    connection.execute(
        album_images.update()
        .where(album_images.c.album_key == key, album_images.c.number.in_(numbers))
        .values(queued=True)
    )


def with_unqueued(connection: sa.Connection) -> list[AlbumKey]:
    """Albums that have images or listings for which no job was queued."""
    keys: set[int] = set()
    for table in (album_images, album_listings):
        query = sa.select(table.c.album_key).where(sa.not_(table.c.queued)).distinct()
        keys.update(connection.scalars(query))
    return [AlbumKey(key) for key in sorted(keys)]
