"""Albums: the images that each is made of, and how far each image has come.

An image is a reference, never a copy. Its faces are in the album's collection, which has the album's id as
its name, and are found by the image's `image_id` and `external_id`.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NewType

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from facerec.db.prepared import Prepared
from facerec.domain import Collection
from facerec.errors import AlbumNotFound, AlreadyExists
from facerec.metastore.items import LONGEST_REASON, Items, ItemState
from facerec.metastore.tables import album_images, album_listings, albums

AlbumKey = NewType("AlbumKey", int)
"""Database key of an album. Never reused."""

MOST_AT_ONCE = 500
"""Values of one statement, well below what SQLite takes."""

IMAGES = Items(album_images, album_images.c.album_key)
"""The images of albums."""

# Statements of every image are built once: SQLAlchemy takes longer to build one than to run it.
_ALBUM = (
    albums.c.key,
    albums.c.album_id,
    albums.c.title,
    albums.c.created_at,
    albums.c.collection,
    albums.c.collection_created_at,
    albums.c.image_number,
    albums.c.manifest,
    albums.c.template,
)
_IMAGE = (
    album_images.c.album_key,
    album_images.c.number,
    album_images.c.source,
    album_images.c.version,
    album_images.c.external_id,
    album_images.c.state,
    album_images.c.attempts,
    album_images.c.reason,
    album_images.c.faces,
    album_images.c.image_id,
    album_images.c.finished_at,
)
_KEYED = sa.select(*_ALBUM).where(albums.c.key == sa.bindparam("wanted"), albums.c.album_id.is_not(None))
_BY_KEY = Prepared(_KEYED)
_BY_KEY_LOCKED = Prepared(_KEYED.with_for_update())
_NUMBERED = Prepared(
    sa.select(*_IMAGE)
    .join(albums, albums.c.key == album_images.c.album_key)
    .where(
        album_images.c.album_key == sa.bindparam("album"),
        album_images.c.number == sa.bindparam("wanted"),
        albums.c.album_id.is_not(None),
    )
)
_FINISH = Prepared(
    album_images.update()
    .where(
        album_images.c.album_key == sa.bindparam("album"),
        album_images.c.number == sa.bindparam("wanted"),
        album_images.c.state.in_([sa.bindparam("from_state"), sa.bindparam("or_from")]),
    )
    .values(
        state=sa.bindparam("state"),
        queued=True,
        attempts=sa.bindparam("attempts"),
        reason=sa.bindparam("reason"),
        faces=sa.bindparam("faces"),
        image_id=sa.bindparam("image_id"),
        finished_at=sa.bindparam("finished_at"),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Album:
    """A set of photographs. Its faces are in the collection of the same name, an import's in any other."""

    key: AlbumKey
    album_id: str
    title: str
    created_at: float
    """Seconds since the epoch."""
    collection: str
    """Name of the collection that its faces are in."""
    collection_identity: str
    """The `identity` of that collection."""
    images: int
    """How many were added."""
    manifest: str | None = None
    """Where the entries come from of which an import is made; None for an album."""
    template: str | None = None
    """Where the images lie that its ListFaces export names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewImage:
    """An image to be added: where it lies, and the external id that its faces get."""

    digest: bytes
    """16 bytes that follow from source and version."""
    source: str
    version: str | None
    external_id: str


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An entry of a manifest: an image, or the reason why it is none. number: from 1."""

    number: int
    image: NewImage | None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlbumImage:
    """An image of an album."""

    album: AlbumKey
    number: int
    """Its place in the album, from 1."""
    source: str
    """s3://bucket/key, http(s)://host/path, or upload:NAME."""
    version: str | None
    external_id: str
    state: ItemState
    attempts: int
    """How often it was tried; kept when it is done or has failed."""
    reason: str | None
    """Why it has failed."""
    faces: int
    """Faces stored of it."""
    image_id: str | None
    """UUID of its bytes, as its faces have it; None before it was looked at."""
    finished_at: float | None
    """Seconds since the epoch."""


def insert(
    connection: sa.Connection,
    *,
    album_id: str,
    title: str,
    created_at: float,
    collection: Collection,
    manifest: str | None = None,
    template: str | None = None,
) -> Album:
    """Make an empty album, or import, whose faces go into a collection. Raises AlreadyExists."""
    try:
        connection.execute(
            albums.insert().values(
                album_id=album_id,
                title=title,
                created_at=created_at,
                collection=collection.name,
                collection_created_at=collection.created_at,
                manifest=manifest,
                template=template,
            )
        )
    except IntegrityError as error:
        raise AlreadyExists(f"The album {album_id} already exists") from error
    return find(connection, album_id)


def find(connection: sa.Connection, album_id: str, *, lock: bool = False) -> Album:
    """The album of that id; with `lock`, kept from other writers until the transaction ends.

    Raises AlbumNotFound.
    """
    query = sa.select(*_ALBUM).where(albums.c.album_id == album_id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise AlbumNotFound(f"The album {album_id} does not exist")
    return _album(row)


def look_up(connection: sa.Connection, key: AlbumKey, *, lock: bool = False) -> Album | None:
    """The album of that key; None where it has been deleted."""
    rows = (_BY_KEY_LOCKED if lock else _BY_KEY).rows(connection, {"wanted": key})
    return _album(rows[0]) if rows else None


def list_after(connection: sa.Connection, after: int, limit: int, *, imports: bool = False) -> list[Album]:
    """Up to `limit` albums with a key greater than `after`, oldest first; or as many imports."""
    query = sa.select(*_ALBUM).where(
        albums.c.key > after,
        albums.c.album_id.is_not(None),
        albums.c.manifest.is_not(None) if imports else albums.c.manifest.is_(None),
    )
    return [_album(row) for row in connection.execute(query.order_by(albums.c.key).limit(limit))]


def mark_deleted(connection: sa.Connection, key: AlbumKey) -> None:
    """Take the album's id away: it cannot be found, and the id is free."""
    connection.execute(albums.update().where(albums.c.key == key).values(album_id=None))


def awaiting_removal(connection: sa.Connection) -> list[AlbumKey]:
    """Deleted albums of which rows are left."""
    return [
        AlbumKey(key)
        for key in connection.scalars(sa.select(albums.c.key).where(albums.c.album_id.is_(None)))
    ]


def remove_some(connection: sa.Connection, key: AlbumKey, limit: int) -> bool:
    """Remove up to `limit` images of a deleted album; True when nothing of it is left.

    Processes that remove the same one take turns.
    """
    connection.execute(sa.select(albums.c.key).where(albums.c.key == key).with_for_update())
    some = sa.select(album_images.c.number).where(album_images.c.album_key == key).limit(limit)
    removed = connection.execute(
        album_images.delete().where(album_images.c.album_key == key, album_images.c.number.in_(some))
    )
    if removed.rowcount >= limit:
        return False
    connection.execute(album_listings.delete().where(album_listings.c.album_key == key))
    connection.execute(albums.delete().where(albums.c.key == key))
    return True


# --- images ------------------------------------------------------------------------------------------


def add(connection: sa.Connection, album: Album, new: Sequence[NewImage]) -> int:
    """Add images as waiting ones; those that are there already are left as they are. How many are new.

    The caller has locked the album.
    """
    wanted = {image.digest: image for image in new}
    for digest in present(connection, album, list(wanted)):
        del wanted[digest]
    if not wanted:
        return 0
    rows = [
        {
            "album_key": album.key,
            "number": number,
            "digest": image.digest,
            "source": image.source,
            "version": image.version,
            "external_id": image.external_id,
            "state": ItemState.WAITING,
            "queued": False,
        }
        for number, image in enumerate(wanted.values(), _take_numbers(connection, album, len(wanted)))
    ]
    connection.execute(album_images.insert(), rows)
    return len(rows)


def add_entries(connection: sa.Connection, album: Album, entries: Sequence[NewEntry]) -> None:
    """Add the entries of a manifest, under numbers of their own; those that were read before are passed over.

    The caller has locked the import.
    """
    rows = [
        {
            "album_key": album.key,
            "number": entry.number,
            "digest": hashlib.sha256(b"%d" % entry.number).digest()[:16],
            "source": "" if entry.image is None else entry.image.source,
            "version": None if entry.image is None else entry.image.version,
            "external_id": "" if entry.image is None else entry.image.external_id,
            "state": ItemState.FAILED if entry.image is None else ItemState.WAITING,
            "queued": entry.image is None,
            "reason": None if entry.reason is None else entry.reason[:LONGEST_REASON],
        }
        for entry in entries
        if entry.number > album.images
    ]
    if rows:
        connection.execute(album_images.insert(), rows)
        last = albums.update().where(albums.c.key == album.key).values(image_number=rows[-1]["number"])
        connection.execute(last)


def present(connection: sa.Connection, album: Album, digests: Sequence[bytes]) -> dict[bytes, int]:
    """The numbers of those images, by digest, that the album has."""
    found: dict[bytes, int] = {}
    for start in range(0, len(digests), MOST_AT_ONCE):
        rows = connection.execute(
            sa.select(album_images.c.digest, album_images.c.number).where(
                album_images.c.album_key == album.key,
                album_images.c.digest.in_(digests[start : start + MOST_AT_ONCE]),
            )
        )
        found.update({bytes(digest): number for digest, number in rows})
    return found


def image(connection: sa.Connection, key: AlbumKey, number: int) -> AlbumImage | None:
    """An image of an album that is there; None where image or album are not."""
    rows = _NUMBERED.rows(connection, {"album": key, "wanted": number})
    return _image(rows[0]) if rows else None


def images_after(
    connection: sa.Connection, album: Album, after: int, limit: int, *, state: ItemState | None = None
) -> list[AlbumImage]:
    """Up to `limit` images with a number greater than `after`, in its order; with `state`, those in it."""
    query = sa.select(*_IMAGE).where(album_images.c.album_key == album.key, album_images.c.number > after)
    if state is not None:
        query = query.where(album_images.c.state == state)
    rows = connection.execute(query.order_by(album_images.c.number).limit(limit))
    return [_image(row) for row in rows]


def images_of(connection: sa.Connection, album: Album, image_ids: Iterable[str]) -> list[AlbumImage]:
    """The images with these image ids, in the order of their numbers: several where copies were added."""
    wanted = [uuid.UUID(each).bytes for each in dict.fromkeys(image_ids)]
    found: list[AlbumImage] = []
    for start in range(0, len(wanted), MOST_AT_ONCE):
        rows = connection.execute(
            sa.select(*_IMAGE).where(
                album_images.c.album_key == album.key,
                album_images.c.image_id.in_(wanted[start : start + MOST_AT_ONCE]),
            )
        )
        found += [_image(row) for row in rows]
    return sorted(found, key=lambda each: each.number)


def finish(
    connection: sa.Connection,
    key: AlbumKey,
    number: int,
    state: ItemState,
    *,
    attempts: int,
    finished_at: float,
    reason: str | None = None,
    faces: int = 0,
    image_id: str | None = None,
) -> bool:
    """Note what became of an image; False where that was noted before, or the album is gone.

    One that was cancelled while it was at work is done all the same, for its faces are stored; it does not
    fail.
    """
    cancelled_too = state is ItemState.DONE
    values = {
        "album": key,
        "wanted": number,
        "from_state": int(ItemState.WAITING),
        "or_from": int(ItemState.CANCELLED if cancelled_too else ItemState.WAITING),
        "state": int(state),
        "attempts": attempts,
        "reason": None if reason is None else reason[:LONGEST_REASON],
        "faces": faces,
        "image_id": None if image_id is None else uuid.UUID(image_id).bytes,
        "finished_at": finished_at,
    }
    return _FINISH.change(connection, values) == 1


def cancel(connection: sa.Connection, album: Album) -> int:
    """Let everything that waits wait no more; how many images that were. The caller has locked the album."""
    for table in (album_listings, album_images):
        changed = connection.execute(
            table.update()
            .where(table.c.album_key == album.key, table.c.state == ItemState.WAITING)
            .values(state=ItemState.CANCELLED, queued=True)
        )
    return changed.rowcount


def wait_again(connection: sa.Connection, album: Album, states: Sequence[ItemState]) -> int:
    """Let images and listings of these states wait again, to be queued anew; how many images that were."""
    for table in (album_listings, album_images):
        values: dict[str, Any] = {"state": ItemState.WAITING, "queued": False, "reason": None}
        if table is album_images:
            values |= {"attempts": 0, "finished_at": None}
        wanted = [table.c.album_key == album.key, table.c.state.in_(states)]
        if table is album_images:
            wanted.append(
                album_images.c.source != ""
            )  # an entry of a manifest that names no image never will
        changed = connection.execute(table.update().where(*wanted).values(**values))
    return changed.rowcount


def _take_numbers(connection: sa.Connection, album: Album, count: int) -> int:
    """The first of `count` numbers that no image of the album has had."""
    last = connection.execute(
        albums.update()
        .where(albums.c.key == album.key)
        .values(image_number=albums.c.image_number + count)
        .returning(albums.c.image_number)
    ).scalar_one()
    return int(last) - count + 1


def _album(row: Sequence[Any]) -> Album:
    """The album of a row of `_ALBUM`."""
    key, album_id, title, created_at, collection, collection_created_at, images, manifest, template = row
    return Album(
        key=AlbumKey(key),
        album_id=album_id,
        title=title,
        created_at=created_at,
        collection=collection,
        collection_identity=f"{collection_created_at!r}/{collection}",
        images=images,
        manifest=manifest,
        template=template,
    )


def _image(row: Sequence[Any]) -> AlbumImage:
    """The image of a row of `_IMAGE`."""
    album, number, source, version, external_id, state, attempts, reason, faces, image_id, finished_at = row
    return AlbumImage(
        album=AlbumKey(album),
        number=number,
        source=source,
        version=version,
        external_id=external_id,
        state=ItemState(state),
        attempts=attempts,
        reason=reason,
        faces=faces,
        image_id=None if image_id is None else str(uuid.UUID(bytes=image_id)),
        finished_at=finished_at,
    )
