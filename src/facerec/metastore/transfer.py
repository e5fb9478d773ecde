"""Whole collections, read and written in columns: what an export is made of and an import makes.

A collection that is being imported is *staged*: it has a name that no door accepts and no listing shows,
until it is whole and takes its own name in one transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from facerec.db.sealed import opened
from facerec.domain import HIDDEN, Collection, CollectionKey, EmbeddingContract
from facerec.errors import InvalidParameter
from facerec.metastore import changes, collections
from facerec.metastore.tables import collections as collection_rows
from facerec.metastore.tables import faces, meta, users


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceRows:
    """N faces of a collection, in columns, in the order of their change numbers."""

    face_ids: Sequence[bytes] = field(repr=False)
    """16 bytes each."""
    image_ids: Sequence[bytes] = field(repr=False)
    """16 bytes each."""
    external_image_ids: Sequence[str | None] = field(repr=False)
    boxes: Sequence[bytes] = field(repr=False)
    """Left, top, width, height as four little-endian float32."""
    confidences: Sequence[float] = field(repr=False)
    users: Sequence[int | None] = field(repr=False)
    """Keys of the users' rows; None: nobody's."""
    sources: Sequence[str | None] = field(repr=False)
    """Where the images lie."""
    stored_at: Sequence[int]
    """Whole seconds since the epoch, 0 where it is not known."""
    expires_at: Sequence[int | None]
    """Whole seconds since the epoch; None: no end of its own."""
    qualities: Sequence[int | None]
    """0..100; None: not judged."""
    scales: Sequence[float] = field(repr=False)
    codes: Sequence[bytes] = field(repr=False)

    def __len__(self) -> int:
        return len(self.face_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRows:
    """N users of a collection, in columns, in the order of their keys."""

    user_ids: Sequence[str] = field(repr=False)
    face_counts: Sequence[int] = field(repr=False)
    scales: Sequence[float | None] = field(repr=False)
    """None: a user without faces, and so without a vector."""
    codes: Sequence[bytes | None] = field(repr=False)
    metadata: Sequence[str | None] = field(repr=False)
    """JSON objects; None: nothing is kept with the user."""
    created_at: Sequence[float | None]
    """Seconds since the epoch, as `updated_at`; None: not known."""
    updated_at: Sequence[float | None]
    versions: Sequence[int]

    def __len__(self) -> int:
        return len(self.user_ids)


_STAGED = HIDDEN + "import/"
"""What the name of a staged collection begins with."""


@dataclass(frozen=True, slots=True)
class Staged:
    """A staged collection, and how much of it is there."""

    key: CollectionKey
    user_count: int
    face_count: int


def every_collection(connection: sa.Connection) -> list[Collection]:
    """All collections that can be seen, oldest first."""
    found: list[Collection] = []
    while page := collections.list_after(connection, found[-1].key if found else 0, 1000):
        found += page
    return found


# --- reading


def read_users(
    connection: sa.Connection, key: CollectionKey, step: int
) -> Iterator[tuple[list[int], UserRows]]:
    """The users of a collection, `step` at a time, each time with the keys of their rows."""
    after = 0
    while True:
        query = (
            sa.select(
                users.c.key,
                users.c.user_id,
                users.c.face_count,
                users.c.scale,
                users.c.codes,
                users.c.metadata,
                users.c.created_at,
                users.c.updated_at,
                users.c.version,
            )
            .where(users.c.collection_key == key, users.c.key > after)
            .order_by(users.c.key)
            .limit(step)
        )
        rows = connection.execute(query).all()
        if not rows:
            return
        keys, user_ids, face_counts, scales, codes, metadata, created, updated, versions = zip(
            *rows, strict=True
        )
        yield (
            list(keys),
            UserRows(
                user_ids=user_ids,
                face_counts=face_counts,
                scales=scales,
                codes=codes,
                metadata=metadata,
                created_at=created,
                updated_at=updated,
                versions=versions,
            ),
        )
        after = keys[-1]


def read_faces(connection: sa.Connection, key: CollectionKey, step: int) -> Iterator[FaceRows]:
    """The faces of a collection, `step` at a time."""
    # A page at a time, by number, and not one long result: of that PostgreSQL's driver would hold every row.
    page = (
        sa.select(
            faces.c.number,
            faces.c.face_id,
            faces.c.image_id,
            faces.c.external_image_id,
            faces.c.box,
            faces.c.confidence,
            faces.c.user_key,
            faces.c.source,
            faces.c.stored_at,
            faces.c.expires_at,
            faces.c.quality,
            faces.c.scale,
            faces.c.codes,
        )
        .where(faces.c.collection_key == key, faces.c.number > sa.bindparam("after"))
        .order_by(faces.c.number)
        .limit(step)
    )
    after = 0
    while True:
        rows = connection.execute(page, {"after": after}).all()
        if not rows:
            return
        numbers, face_ids, image_ids, external, boxes, confidences, *rest = zip(*rows, strict=True)
        owners, sources, stored_at, expires_at, qualities, scales, codes = rest
        yield FaceRows(
            face_ids=face_ids,
            image_ids=image_ids,
            external_image_ids=external,
            boxes=boxes,
            confidences=confidences,
            users=owners,
            sources=sources,
            stored_at=stored_at,
            expires_at=expires_at,
            qualities=qualities,
            scales=scales,
            codes=opened(connection.dialect, codes),
        )
        after = numbers[-1]


# --- writing


def find_staged(connection: sa.Connection, name: str, *, lock: bool = False) -> Staged | None:
    """The staged collection of that name; None where there is none.

    lock: keep it from other writers until the transaction ends.
    """
    query = sa.select(
        collection_rows.c.key, collection_rows.c.user_count, collection_rows.c.face_count
    ).where(collection_rows.c.name == _STAGED + name)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else Staged(CollectionKey(row.key), row.user_count, row.face_count)


def stage(
    connection: sa.Connection,
    name: str,
    *,
    contract: EmbeddingContract,
    created_at: float,
    face_ttl: int | None,
) -> CollectionKey:
    """Make an empty staged collection; the name has to be free. face_ttl: as in the table."""
    made = connection.execute(
        collection_rows.insert().values(
            name=_STAGED + name,
            pack=contract.pack,
            contract_id=contract.id,
            model_version=contract.model_version,
            dimension=contract.dimension,
            created_at=created_at,
            face_ttl=face_ttl,
            face_count=0,
            user_count=0,
            change_number=0,
        )
    )
    (key,) = made.inserted_primary_key or (0,)
    return CollectionKey(key)


def every_staged(connection: sa.Connection) -> list[CollectionKey]:
    """Keys of every collection that is being imported, or was until the import was broken off."""
    query = sa.select(collection_rows.c.key).where(collection_rows.c.name.startswith(_STAGED))
    return [CollectionKey(key) for key in connection.scalars(query)]


def keys_of_users(connection: sa.Connection, key: CollectionKey) -> Sequence[int]:
    """Keys of the rows of all users, in their order."""
    return connection.scalars(
        sa.select(users.c.key).where(users.c.collection_key == key).order_by(users.c.key)
    ).all()


def add_users(connection: sa.Connection, key: CollectionKey, rows: UserRows) -> None:
    """Store users, those with a vector under the next change numbers.

    Raises InvalidParameter where the collection has a user of the same id already.
    """
    active = [codes is not None for codes in rows.codes]
    numbers = iter(changes.take_numbers(connection, key, sum(active)))
    values = [
        {
            "collection_key": key,
            "number": next(numbers) if has_vector else 0,
            "user_id": user_id,
            "face_count": face_count,
            "scale": scale,
            "codes": codes,
            "metadata": metadata,
            "created_at": created_at,
            "updated_at": updated_at,
            "version": version,
        }
        for has_vector, user_id, face_count, scale, codes, metadata, created_at, updated_at, version in zip(
            active,
            rows.user_ids,
            rows.face_counts,
            rows.scales,
            rows.codes,
            rows.metadata,
            rows.created_at,
            rows.updated_at,
            rows.versions,
            strict=True,
        )
    ]
    try:
        connection.execute(users.insert(), values)
    except IntegrityError as error:
        raise InvalidParameter("A user id comes twice.") from error
    collections.count_users(connection, key, len(rows))


def add_faces(connection: sa.Connection, key: CollectionKey, rows: FaceRows) -> None:
    """Store faces under the next change numbers, in their order; `rows.users` are keys of present rows.

    Raises InvalidParameter where the collection has a face of the same id already.
    """
    numbers = changes.take_numbers(connection, key, len(rows), more_faces=len(rows))
    names = (
        "number",
        "face_id",
        "image_id",
        "external_image_id",
        "box",
        "confidence",
        "user_key",
        "source",
        "stored_at",
        "expires_at",
        "quality",
        "scale",
        "codes",
    )
    columns = (
        numbers,
        rows.face_ids,
        rows.image_ids,
        rows.external_image_ids,
        rows.boxes,
        rows.confidences,
        rows.users,
        rows.sources,
        rows.stored_at,
        rows.expires_at,
        rows.qualities,
        rows.scales,
        rows.codes,
    )
    values = [
        {"collection_key": key, **dict(zip(names, row, strict=True))} for row in zip(*columns, strict=True)
    ]
    try:
        connection.execute(faces.insert(), values)
    except IntegrityError as error:
        raise InvalidParameter("A face id comes twice.") from error


def miscounted_users(connection: sa.Connection, key: CollectionKey) -> int:
    """Users of a collection who have another number of faces than they say."""
    own = sa.select(sa.func.count()).where(faces.c.user_key == users.c.key).scalar_subquery()
    wrong = sa.select(sa.func.count()).where(users.c.collection_key == key, users.c.face_count != own)
    return int(connection.scalar(wrong) or 0)


def take_name(connection: sa.Connection, key: CollectionKey, name: str, import_id: str) -> None:
    """Give a staged collection, now whole, its name, which has to be free; remember which import made it."""
    connection.execute(collection_rows.update().where(collection_rows.c.key == key).values(name=name))
    connection.execute(meta.delete().where(meta.c.name == import_id))
    connection.execute(meta.insert().values(name=import_id, value=str(key)))


def imported(connection: sa.Connection, import_id: str) -> CollectionKey | None:
    """Key of the collection that an earlier import made; it may have been deleted since."""
    value = connection.scalar(sa.select(meta.c.value).where(meta.c.name == import_id))
    return None if value is None else CollectionKey(int(value))
