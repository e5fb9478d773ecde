"""Faces of a collection: rows with their embedding, written with their change numbers and counts."""

from __future__ import annotations

import struct
import time
import uuid
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

from facerec.db.numbers import is_among, number_list
from facerec.db.prepared import Prepared
from facerec.domain import BoundingBox, Collection, CollectionKey, EntityKind, Face, NewFace, RowKey
from facerec.metastore import album_people, changes
from facerec.metastore.expiry import IS_PRESENT, STORED, Present
from facerec.metastore.tables import faces, users

_BOX = struct.Struct("<4f")

_SELECT = sa.select(
    faces.c.key,
    faces.c.number,
    faces.c.face_id,
    faces.c.image_id,
    faces.c.external_image_id,
    faces.c.box,
    faces.c.confidence,
    users.c.user_id,
    faces.c.source,
    faces.c.stored_at,
    faces.c.expires_at,
    faces.c.quality,
).select_from(faces.outerjoin(users, faces.c.user_key == users.c.key))
_NAMES = [column.name for column in _SELECT.selected_columns if column is not faces.c.key]

# Statements of every request are built once: SQLAlchemy takes longer to build one than to run it.
_IN_COLLECTION = faces.c.collection_key == sa.bindparam("collection")
_OF_IDS = _SELECT.where(_IN_COLLECTION, faces.c.face_id.in_(sa.bindparam("ids", expanding=True)), IS_PRESENT)
_TAKEN = sa.select(faces.c.face_id).where(
    _IN_COLLECTION, faces.c.face_id.in_(sa.bindparam("ids", expanding=True))
)
# The keys as one parameter: to write a statement with a place for each takes longer than to run it. Not by
# the index of the collection (hence + 0): for several keys SQLite would read all of the collection.
_OF_KEYS = Prepared(
    _SELECT.where(
        is_among(faces.c.key, "keys"),
        faces.c.collection_key + 0 == sa.bindparam("collection"),
        IS_PRESENT,
    )
)
# Not in order: to have it without sorting SQLite would read all of the collection.
_OF_IMAGE = Prepared(
    _SELECT.where(
        _IN_COLLECTION,
        faces.c.image_id == sa.bindparam("image"),
        faces.c.external_image_id == sa.bindparam("external"),
    )
)
_INSERT = faces.insert().returning(faces.c.key, faces.c.face_id)


def insert(connection: sa.Connection, collection: Collection, new: Sequence[NewFace]) -> dict[str, Face]:
    """Store faces under the next change numbers; the stored ones by face id, which have to be free.

    Raises NotFound when the collection has been deleted.
    """
    if not new:
        return {}
    numbers = changes.take_numbers(connection, collection.key, len(new), more_faces=len(new))
    now = int(time.time())
    rows: list[dict[str, Any]] = [
        {
            "collection_key": collection.key,
            "number": number,
            "face_id": bytes.fromhex(face.face_id.replace("-", "")),
            "image_id": bytes.fromhex(face.image_id.replace("-", "")),
            "external_image_id": face.external_image_id,
            "box": _BOX.pack(face.box.left, face.box.top, face.box.width, face.box.height),
            "confidence": face.confidence,
            "scale": face.embedding.scale,
            "codes": face.embedding.codes,
            "source": face.source,
            "stored_at": now if face.stored_at is None else face.stored_at,
            "expires_at": face.expires_at,
            "quality": face.quality,
        }
        for number, face in zip(numbers, new, strict=True)
    ]
    keys = {face_id: key for key, face_id in connection.execute(_INSERT, rows)}
    # As they would be read: they are nobody's yet.
    stored = [(keys[row["face_id"]], *(row.get(name) for name in _NAMES)) for row in rows]
    return {face.face_id: face for _, face in _faces(stored, collection)}


def find(
    connection: sa.Connection,
    collection: Collection,
    face_ids: Iterable[str],
    *,
    present: Present = STORED,
) -> dict[str, Face]:
    """The faces of these ids that the collection holds, by face id.

    present: here and below, what a face has to outlast to be given; as it stands, those past their time too.
    """
    values = {"collection": collection.key, "ids": _binary(face_ids), **present.parameters}
    found = connection.execute(_OF_IDS, values)
    return {face.face_id: face for _, face in _numbered(found, collection)}


def taken(connection: sa.Connection, collection: Collection, face_ids: Iterable[str]) -> set[str]:
    """Those of the ids that faces of the collection have."""
    found = connection.scalars(_TAKEN, {"collection": collection.key, "ids": _binary(face_ids)})
    return {_uuid_text(value) for value in found}


def of_keys(
    connection: sa.Connection,
    collection: Collection,
    keys: Sequence[RowKey],
    *,
    present: Present = STORED,
) -> dict[RowKey, Face]:
    """The faces of these rows that still exist, by key."""
    if not keys:
        return {}
    values = {"collection": collection.key, "keys": number_list(keys), **present.parameters}
    rows = _OF_KEYS.rows(connection, values)
    return {face.key: face for _, face in _faces(rows, collection)}


def of_image(
    connection: sa.Connection, collection: Collection, image_id: str, external_image_id: str
) -> list[Face]:
    """The faces stored from one image under one external image id, in the order in which they were stored.

    Those past their time are among them, as long as their rows are there.
    """
    parameters = {
        "collection": collection.key,
        "image": uuid.UUID(image_id).bytes,
        "external": external_image_id,
    }
    found = _faces(_OF_IMAGE.rows(connection, parameters), collection)
    return [face for _, face in sorted(found, key=itemgetter(0))]


def ids_of_images(
    connection: sa.Connection, collection: Collection, image_ids: Iterable[str]
) -> dict[tuple[str, str | None], list[str]]:
    """Ids of the faces of some images, by image id and external image id, in the order of their storing."""
    query = sa.select(faces.c.image_id, faces.c.external_image_id, faces.c.face_id, faces.c.key).where(
        faces.c.collection_key == collection.key, faces.c.image_id.in_(_binary(image_ids))
    )
    found: dict[tuple[str, str | None], list[str]] = {}
    for image_id, external_id, face_id, _ in sorted(connection.execute(query), key=itemgetter(3)):
        found.setdefault((_uuid_text(image_id), external_id), []).append(_uuid_text(face_id))
    return found


def list_after(
    connection: sa.Connection,
    collection: Collection,
    after: int,
    limit: int,
    *conditions: sa.ColumnElement[bool],
    present: Present = STORED,
) -> list[tuple[int, Face]]:
    """Up to `limit` faces with a change number greater than `after`, with that number, in its order.

    conditions: on columns of the table of faces, that they have to meet too.
    """
    query = _SELECT.where(faces.c.collection_key == collection.key, faces.c.number > after, *conditions)
    query = query.where(IS_PRESENT).order_by(faces.c.number).limit(limit)
    return _numbered(connection.execute(query, present.parameters), collection)


def list_some(
    connection: sa.Connection,
    collection: Collection,
    *,
    user_id: str | None = None,
    face_ids: Iterable[str] | None = None,
    external_image_id: str | None = None,
    present: Present = STORED,
) -> list[tuple[int, Face]]:
    """The faces of a user, with one of some ids, with an external image id, or that are all of what is given.

    Each with its change number, in its order. By an external id alone the whole collection is gone through.
    """
    query = _SELECT.where(faces.c.collection_key == collection.key)
    if user_id is not None:
        # By the user's row: its few faces are found by their own index, not by a scan of the collection.
        user = sa.select(users.c.key).where(
            users.c.collection_key == collection.key, users.c.user_id == user_id
        )
        query = _SELECT.where(faces.c.user_key == user.scalar_subquery())
    if face_ids is not None:
        query = query.where(faces.c.face_id.in_(_binary(face_ids)))
    if external_image_id is not None:
        query = query.where(faces.c.external_image_id == external_image_id)
    found = _numbered(connection.execute(query.where(IS_PRESENT), present.parameters), collection)
    return sorted(found, key=itemgetter(0))


def keys_of_user(connection: sa.Connection, user: RowKey) -> list[RowKey]:
    """Keys of the faces that are associated with a user, oldest first."""
    query = sa.select(faces.c.key).where(faces.c.user_key == user).order_by(faces.c.key)
    return [RowKey(key) for key in connection.scalars(query)]


def owners(connection: sa.Connection, keys: Sequence[RowKey]) -> list[RowKey]:
    """Keys of the users that faces of these rows belong to, each once."""
    query = sa.select(faces.c.user_key).where(faces.c.key.in_(keys), faces.c.user_key.is_not(None)).distinct()
    return sorted(RowKey(key) for key in connection.scalars(query))


def owners_of(
    connection: sa.Connection, keys: Sequence[RowKey], *, present: Present = STORED
) -> dict[RowKey, RowKey | None]:
    """Key of the user that each face belongs to, None for nobody's, by the face's key."""
    if not keys:
        return {}
    query = sa.select(faces.c.key, faces.c.user_key).where(faces.c.key.in_(keys), IS_PRESENT)
    return {
        RowKey(key): None if user is None else RowKey(user)
        for key, user in connection.execute(query, present.parameters)
    }


def images_of(connection: sa.Connection, keys: Sequence[RowKey]) -> set[str]:
    """Ids of the images that faces of these rows were found in."""
    query = sa.select(faces.c.image_id).where(faces.c.key.in_(keys)).distinct()
    return {_uuid_text(image_id) for image_id in connection.scalars(query)} if keys else set()


def associate(connection: sa.Connection, keys: Sequence[RowKey], user: RowKey | None) -> None:
    """Make the faces a user's; None makes them nobody's."""
    if keys:
        connection.execute(faces.update().where(faces.c.key.in_(keys)).values(user_key=user))


def delete(connection: sa.Connection, collection: Collection, keys: Sequence[RowKey]) -> None:
    """Delete faces of the collection, which have to exist, under new change numbers.

    Aggregates of users whose faces they were are the caller's to renew. People of an album who have no face
    left go with them.

    Those of the same ids in the collection's twin go with them, whoever's they are there.
    """
    if not keys:
        return
    if collection.twin is not None:
        _delete(connection, collection.twin, list(in_twin(connection, collection, keys).values()))
    _delete(connection, collection.key, keys)


def in_twin(
    connection: sa.Connection, collection: Collection, keys: Sequence[RowKey]
) -> dict[RowKey, RowKey]:
    """Keys of the faces of the same ids in the collection's twin, by the keys of the collection's own."""
    twins = faces.alias()
    found = connection.execute(
        sa.select(faces.c.key, twins.c.key).where(
            faces.c.key.in_(keys),
            twins.c.collection_key == collection.twin,
            twins.c.face_id == faces.c.face_id,
        )
    )
    return {RowKey(own): RowKey(other) for own, other in found}


def _delete(connection: sa.Connection, collection: CollectionKey, keys: Sequence[RowKey]) -> None:
    people = album_people.owners(connection, keys)
    connection.execute(faces.delete().where(faces.c.key.in_(keys)))
    album_people.remove_empty(connection, people)
    changes.remember_removal(connection, collection, EntityKind.FACE, keys)


def _binary(face_ids: Iterable[str]) -> list[bytes]:
    """The ids as they are stored; what is no face id is left out, for no face has it."""
    values = []
    for face_id in face_ids:
        try:
            value = uuid.UUID(face_id)
        except ValueError:
            continue
        if str(value) == face_id:
            values.append(value.bytes)
    return values


def _numbered(rows: sa.CursorResult[*tuple[Any, ...]], collection: Collection) -> list[tuple[int, Face]]:
    """The faces of rows of `_SELECT`, each with its change number."""
    # All at once: the driver's rows one by one cost more than what is made of them.
    return _faces(rows.all(), collection)


def _faces(rows: Iterable[Sequence[Any]], collection: Collection) -> list[tuple[int, Face]]:
    """As `_numbered` has it."""
    numbered = []
    for row in rows:
        key, number, face_id, image_id, external_image_id, box, confidence, user_id, *rest = row
        source, stored_at, expires_at, quality = rest
        left, top, width, height = _BOX.unpack(box)
        face = Face(
            key=RowKey(key),
            face_id=_uuid_text(face_id),
            image_id=_uuid_text(image_id),
            external_image_id=external_image_id,
            box=BoundingBox(left=left, top=top, width=width, height=height),
            confidence=confidence,
            model_version=collection.model_version,
            user_id=user_id,
            source=source,
            stored_at=stored_at,
            expires_at=expires_at,
            quality=quality,
        )
        numbered.append((number, face))
    return numbered


def _uuid_text(value: bytes) -> str:
    """The 16 bytes of a UUID as its text, several times faster than by way of `uuid.UUID`."""
    digits = value.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
