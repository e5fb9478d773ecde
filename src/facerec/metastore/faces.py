"""Faces of a collection: rows with their embedding, written with their change numbers and counts."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from facerec.domain import BoundingBox, Collection, EntityKind, Face, NewFace, RowKey
from facerec.metastore import changes, collections
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
).select_from(faces.outerjoin(users, faces.c.user_key == users.c.key))


def insert(connection: sa.Connection, collection: Collection, new: Sequence[NewFace]) -> None:
    """Store faces under the next change numbers. The face ids have to be free: see `taken`.

    Raises NotFound when the collection has been deleted.
    """
    if not new:
        return
    numbers = changes.take_numbers(connection, collection.key, len(new))
    connection.execute(
        faces.insert(),
        [
            {
                "collection_key": collection.key,
                "number": number,
                "face_id": uuid.UUID(face.face_id).bytes,
                "image_id": uuid.UUID(face.image_id).bytes,
                "external_image_id": face.external_image_id,
                "box": _BOX.pack(face.box.left, face.box.top, face.box.width, face.box.height),
                "confidence": face.confidence,
                "scale": face.embedding.scale,
                "codes": face.embedding.codes,
            }
            for number, face in zip(numbers, new, strict=True)
        ],
    )
    collections.count(connection, collection.key, faces=len(new))


def find(connection: sa.Connection, collection: Collection, face_ids: Iterable[str]) -> dict[str, Face]:
    """The faces of these ids that the collection holds, by face id."""
    query = _SELECT.where(faces.c.collection_key == collection.key, _among(face_ids))
    return {face.face_id: face for _, face in _read(connection, collection, query)}


def taken(connection: sa.Connection, collection: Collection, face_ids: Iterable[str]) -> set[str]:
    """Those of the ids that faces of the collection have."""
    query = sa.select(faces.c.face_id).where(faces.c.collection_key == collection.key, _among(face_ids))
    return {str(uuid.UUID(bytes=value)) for value in connection.scalars(query)}


def of_keys(connection: sa.Connection, collection: Collection, keys: Sequence[RowKey]) -> dict[RowKey, Face]:
    """The faces of these rows that still exist, by key."""
    query = _SELECT.where(faces.c.key.in_(keys), faces.c.collection_key == collection.key)
    return {face.key: face for _, face in _read(connection, collection, query)}


def of_image(
    connection: sa.Connection, collection: Collection, image_id: str, external_image_id: str
) -> list[Face]:
    """The faces stored from one image under one external image id, in the order in which they were stored."""
    query = _SELECT.where(
        faces.c.collection_key == collection.key,
        faces.c.image_id == uuid.UUID(image_id).bytes,
        faces.c.external_image_id == external_image_id,
    ).order_by(faces.c.number)
    return [face for _, face in _read(connection, collection, query)]


def list_after(
    connection: sa.Connection, collection: Collection, after: int, limit: int
) -> list[tuple[int, Face]]:
    """Up to `limit` faces with a change number greater than `after`, with that number, in its order."""
    query = _SELECT.where(faces.c.collection_key == collection.key, faces.c.number > after)
    return _read(connection, collection, query.order_by(faces.c.number).limit(limit))


def list_some(
    connection: sa.Connection,
    collection: Collection,
    *,
    user_id: str | None = None,
    face_ids: Iterable[str] | None = None,
) -> list[tuple[int, Face]]:
    """The faces of a user, with one of some ids, or both; with their change number, in its order."""
    query = _SELECT.where(faces.c.collection_key == collection.key)
    if user_id is not None:
        # By the user's row: its few faces are found by their own index, not by a scan of the collection.
        user = sa.select(users.c.key).where(
            users.c.collection_key == collection.key, users.c.user_id == user_id
        )
        query = _SELECT.where(faces.c.user_key == user.scalar_subquery())
    found = _read(connection, collection, query if face_ids is None else query.where(_among(face_ids)))
    return sorted(found, key=lambda numbered: numbered[0])


def keys_of_user(connection: sa.Connection, user: RowKey) -> list[RowKey]:
    """Keys of the faces that are associated with a user, oldest first."""
    query = sa.select(faces.c.key).where(faces.c.user_key == user).order_by(faces.c.key)
    return [RowKey(key) for key in connection.scalars(query)]


def associate(connection: sa.Connection, keys: Sequence[RowKey], user: RowKey | None) -> None:
    """Make the faces a user's; None makes them nobody's."""
    if keys:
        connection.execute(faces.update().where(faces.c.key.in_(keys)).values(user_key=user))


def delete(connection: sa.Connection, collection: Collection, keys: Sequence[RowKey]) -> None:
    """Delete faces of the collection, which have to exist and to be nobody's, under new change numbers."""
    if keys:
        connection.execute(faces.delete().where(faces.c.key.in_(keys)))
        changes.remember_removal(connection, collection.key, EntityKind.FACE, keys)
        collections.count(connection, collection.key, faces=-len(keys))


def _among(face_ids: Iterable[str]) -> sa.ColumnElement[bool]:
    """Whether a row has one of the ids; what is no face id is left out, for no face has it."""
    values = []
    for face_id in face_ids:
        try:
            value = uuid.UUID(face_id)
        except ValueError:
            continue
        if str(value) == face_id:
            values.append(value.bytes)
    return faces.c.face_id.in_(values)


def _read(connection: sa.Connection, collection: Collection, query: sa.Select[Any]) -> list[tuple[int, Face]]:
    return [(row.number, _face(row, collection)) for row in connection.execute(query)]


def _face(row: sa.Row[Any], collection: Collection) -> Face:
    left, top, width, height = _BOX.unpack(row.box)
    return Face(
        key=RowKey(row.key),
        face_id=str(uuid.UUID(bytes=row.face_id)),
        image_id=str(uuid.UUID(bytes=row.image_id)),
        external_image_id=row.external_image_id,
        box=BoundingBox(left=left, top=top, width=width, height=height),
        confidence=row.confidence,
        model_version=collection.model_version,
        user_id=row.user_id,
    )
