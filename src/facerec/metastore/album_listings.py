"""Listings: the prefixes in S3 whose objects become images of an album, and how far each was read."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from facerec.metastore.albums import Album, AlbumKey
from facerec.metastore.items import LONGEST_REASON, Items, ItemState
from facerec.metastore.tables import album_listings, albums

LISTINGS = Items(album_listings, album_listings.c.album_key)
"""The listings of albums."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A prefix in S3, the objects of which become images of an album."""

    album: AlbumKey
    number: int
    bucket: str
    prefix: str
    after: str
    """The last key that was read; empty before the first."""
    state: ItemState
    objects: int
    """Objects read."""
    found: int
    """Those of them that are images by their names."""
    reason: str | None


def add(connection: sa.Connection, album: Album, bucket: str, prefix: str) -> Listing:
    """Add a prefix to be listed, or find it where it is being listed. The caller has locked the album."""
    for each in of_album(connection, album.key):
        if (each.bucket, each.prefix, each.state) == (bucket, prefix, ItemState.WAITING):
            return each
    number = connection.execute(
        albums.update()
        .where(albums.c.key == album.key)
        .values(listing_number=albums.c.listing_number + 1)
        .returning(albums.c.listing_number)
    ).scalar_one()
    connection.execute(
        album_listings.insert().values(
            album_key=album.key,
            number=number,
            bucket=bucket,
            prefix=prefix,
            after="",
            state=ItemState.WAITING,
            queued=False,
        )
    )
    return next(each for each in of_album(connection, album.key) if each.number == number)


def of_album(connection: sa.Connection, key: AlbumKey) -> list[Listing]:
    """The listings of an album, oldest first."""
    query = sa.select(album_listings).where(album_listings.c.album_key == key)
    return [
        Listing(
            album=AlbumKey(row.album_key),
            number=row.number,
            bucket=row.bucket,
            prefix=row.prefix,
            after=row.after,
            state=ItemState(row.state),
            objects=row.objects,
            found=row.found,
            reason=row.reason,
        )
        for row in connection.execute(query.order_by(album_listings.c.number))
    ]


def advance(
    connection: sa.Connection,
    listing: Listing,
    state: ItemState,
    *,
    after: str,
    objects: int = 0,
    found: int = 0,
    reason: str | None = None,
    queued: bool = True,
) -> bool:
    """Note how far a listing has come, from where `listing` stood; False where another one moved it."""
    changed = connection.execute(
        album_listings.update()
        .where(
            album_listings.c.album_key == listing.album,
            album_listings.c.number == listing.number,
            album_listings.c.after == listing.after,
            album_listings.c.state == ItemState.WAITING,
        )
        .values(
            after=after,
            state=state,
            queued=queued,
            objects=album_listings.c.objects + objects,
            found=album_listings.c.found + found,
            reason=None if reason is None else reason[:LONGEST_REASON],
        )
    )
    return changed.rowcount == 1
