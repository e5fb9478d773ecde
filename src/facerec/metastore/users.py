"""Users of a collection: a name for several faces, and the aggregate vector of those faces."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from facerec.domain import Collection, EntityKind, QuantizedEmbedding, RowKey, User, UserStatus
from facerec.errors import Conflict, NotFound
from facerec.metastore import changes, collections, faces
from facerec.metastore.tables import users

# Not by the index of the collection (hence + 0): for several keys SQLite would read all of the collection.
_OF_KEYS = sa.select(users).where(
    users.c.key.in_(sa.bindparam("keys", expanding=True)),
    users.c.collection_key + 0 == sa.bindparam("collection"),
)


def insert(
    connection: sa.Connection, collection: Collection, user_id: str, *, metadata: str | None = None
) -> None:
    """Make a user without faces, of version 0. Raises Conflict when the id is taken.

    metadata: a JSON object to keep with it.
    """
    if _row(connection, collection, user_id) is not None:
        raise Conflict(f"The user id: {user_id} already exists in the collection: {collection.name}")
    now = time.time()
    connection.execute(
        users.insert().values(
            collection_key=collection.key,
            number=0,
            user_id=user_id,
            face_count=0,
            created_at=now,
            updated_at=now,
            metadata=metadata,
            version=0,
        )
    )
    collections.count_users(connection, collection.key, 1)


def find(connection: sa.Connection, collection: Collection, user_id: str) -> User:
    """The user of that id. Raises NotFound."""
    user = look_up(connection, collection, user_id)
    if user is None:
        raise NotFound(f"The user id: {user_id} does not exist in the collection: {collection.name}")
    return user


def look_up(connection: sa.Connection, collection: Collection, user_id: str) -> User | None:
    """The user of that id, None where there is none."""
    row = _row(connection, collection, user_id)
    return None if row is None else _user(row)


def of_keys(connection: sa.Connection, collection: Collection, keys: Sequence[RowKey]) -> dict[RowKey, User]:
    """The users of these rows that still exist, by key."""
    if not keys:
        return {}
    rows = connection.execute(_OF_KEYS, {"collection": collection.key, "keys": keys})
    return {RowKey(row.key): _user(row) for row in rows}


def list_after(connection: sa.Connection, collection: Collection, after: str, limit: int) -> list[User]:
    """Up to `limit` users with an id greater than `after`, in the order of ids."""
    query = (
        sa.select(users)
        .where(users.c.collection_key == collection.key, users.c.user_id > after)
        .order_by(users.c.user_id)
        .limit(limit)
    )
    return [_user(row) for row in connection.execute(query)]


def set_aggregate(
    connection: sa.Connection,
    collection: Collection,
    user: User,
    *,
    face_count: int,
    aggregate: QuantizedEmbedding | None,
) -> None:
    """Give a user its number of faces and aggregate vector (None: no faces), under a new change number.

    Its version rises.
    """
    if aggregate is None:
        changes.remember_removal(connection, collection.key, EntityKind.USER, [user.key])
        values: dict[str, Any] = {"scale": None, "codes": None}
    else:
        (number,) = changes.take_numbers(connection, collection.key, 1)
        values = {"number": number, "scale": aggregate.scale, "codes": aggregate.codes}
    connection.execute(
        users.update()
        .where(users.c.key == user.key)
        .values(face_count=face_count, updated_at=time.time(), version=users.c.version + 1, **values)
    )


def set_metadata(connection: sa.Connection, user: User, metadata: str | None) -> None:
    """Keep a JSON object with a user, in place of what was there (None: nothing). Its version rises."""
    connection.execute(
        users.update()
        .where(users.c.key == user.key)
        .values(metadata=metadata, updated_at=time.time(), version=users.c.version + 1)
    )


def copy_details(connection: sa.Connection, source: User, target: User) -> None:
    """Give a user the metadata, times and version of another: of the one whose twin it is."""
    connection.execute(
        users.update()
        .where(users.c.key == target.key)
        .values(
            metadata=source.metadata,
            created_at=source.created_at,
            updated_at=source.updated_at,
            version=source.version,
        )
    )


def delete(connection: sa.Connection, collection: Collection, user: User) -> None:
    """Delete a user; its faces stay in the collection, nobody's."""
    faces.associate(connection, faces.keys_of_user(connection, user.key), None)
    connection.execute(users.delete().where(users.c.key == user.key))
    if user.face_count:
        changes.remember_removal(connection, collection.key, EntityKind.USER, [user.key])
    collections.count_users(connection, collection.key, -1)


def _row(connection: sa.Connection, collection: Collection, user_id: str) -> sa.Row[Any] | None:
    return connection.execute(
        sa.select(users).where(users.c.collection_key == collection.key, users.c.user_id == user_id)
    ).one_or_none()


def _user(row: sa.Row[Any]) -> User:
    return User(
        key=RowKey(row.key),
        user_id=row.user_id,
        status=UserStatus.ACTIVE if row.face_count else UserStatus.CREATED,
        face_count=row.face_count,
        metadata=row.metadata,
        created_at=row.created_at,
        updated_at=row.updated_at,
        version=row.version,
    )
