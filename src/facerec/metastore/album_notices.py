"""The ends of albums' work that are to be told: of which albums, and how often that was tried."""

from __future__ import annotations

import sqlalchemy as sa

from facerec.metastore.albums import AlbumKey
from facerec.metastore.items import ItemState
from facerec.metastore.tables import album_images, album_listings, albums

_AWAITED = sa.and_(albums.c.awaited != albums.c.told, albums.c.album_id.is_not(None))


def await_end(connection: sa.Connection, key: AlbumKey) -> None:
    """Have the end of an album's work told, once nothing of it waits any more."""
    awaited = albums.update().where(albums.c.key == key)
    connection.execute(awaited.values(awaited=albums.c.awaited + 1, notice_at=0.0, notice_attempts=0))


def due(connection: sa.Connection, now: float, limit: int = 20) -> list[AlbumKey]:
    """The albums whose end is to be told by now: nothing of them waits."""
    waits = [
        sa.exists().where(table.c.album_key == albums.c.key, table.c.state == ItemState.WAITING)
        for table in (album_images, album_listings)
    ]
    query = sa.select(albums.c.key).where(_AWAITED, albums.c.notice_at <= now, *(~each for each in waits))
    return [AlbumKey(key) for key in connection.scalars(query.order_by(albums.c.notice_at).limit(limit))]


def take(connection: sa.Connection, key: AlbumKey, *, now: float, again_at: float) -> tuple[int, int] | None:
    """Begin to tell an end, and have it told again later should this fail.

    The number of the attempt, and what `settle` is to be given; None where another process was first.
    """
    row = connection.execute(
        albums.update()
        .where(albums.c.key == key, _AWAITED, albums.c.notice_at <= now)
        .values(notice_at=again_at, notice_attempts=albums.c.notice_attempts + 1)
        .returning(albums.c.notice_attempts, albums.c.awaited)
    ).one_or_none()
    return None if row is None else (row.notice_attempts, row.awaited)


def settle(connection: sa.Connection, key: AlbumKey, told: int) -> None:
    """The end was told, or is given up. Work that was added meanwhile has an end of its own."""
    connection.execute(albums.update().where(albums.c.key == key).values(told=told))


def postpone(connection: sa.Connection, key: AlbumKey, awaited: int, until: float) -> None:
    """Tell the same end again, no sooner."""
    same = albums.update().where(albums.c.key == key, albums.c.awaited == awaited)
    connection.execute(same.values(notice_at=until))
