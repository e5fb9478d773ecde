"""Collections: named, counted, and deleted in small steps so that no writer waits long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from facerec.db.prepared import Prepared
from facerec.domain import HIDDEN, Collection, CollectionKey, EmbeddingContract
from facerec.errors import AlreadyExists, InvalidParameter, NotFound
from facerec.metastore.tables import (
    collections,
    deletions,
    faces,
    migration_failures,
    model_migrations,
    tags,
    users,
)

_SELECT = sa.select(
    collections.c.key,
    collections.c.name,
    collections.c.contract_id,
    collections.c.model_version,
    collections.c.dimension,
    collections.c.created_at,
    collections.c.face_count,
    collections.c.user_count,
    collections.c.change_number,
    collections.c.twin_key,
    collections.c.face_ttl,
)

# Statements of every request are built once: SQLAlchemy takes longer to build one than to run it.
_NAMED = _SELECT.where(collections.c.name == sa.bindparam("wanted"))
_BY_NAME = Prepared(_NAMED)
_BY_NAME_LOCKED = Prepared(_NAMED.with_for_update())
_BY_KEY = Prepared(_SELECT.where(collections.c.key == sa.bindparam("wanted")))
_COUNT_USERS = (
    collections.update()
    .where(collections.c.key == sa.bindparam("wanted"))
    .values(user_count=collections.c.user_count + sa.bindparam("more_users"))
)


def insert(
    connection: sa.Connection, *, name: str, contract: EmbeddingContract, created_at: float
) -> Collection:
    """Make an empty collection for embeddings of `contract`. Raises AlreadyExists, InvalidParameter."""
    if name.startswith(HIDDEN):
        raise InvalidParameter(f"The collection id: {name} begins with {HIDDEN}, which stands for none.")
    try:
        connection.execute(
            collections.insert().values(
                name=name,
                pack=contract.pack,
                contract_id=contract.id,
                model_version=contract.model_version,
                dimension=contract.dimension,
                created_at=created_at,
                face_count=0,
                user_count=0,
                change_number=0,
            )
        )
    except IntegrityError as error:
        raise AlreadyExists(f"The collection id: {name} already exists") from error
    return find(connection, name)


def find(connection: sa.Connection, name: str, *, lock: bool = False) -> Collection:
    """The collection of that name; with `lock`, kept from other writers until the transaction ends.

    Raises NotFound.
    """
    query = _BY_NAME_LOCKED if lock else _BY_NAME
    rows = query.rows(connection, {"wanted": name})
    if not rows and lock:
        # The row waited for may have given its name to its twin meanwhile: a new statement sees that one.
        rows = query.rows(connection, {"wanted": name})
    if not rows or name.startswith(HIDDEN):
        raise NotFound(f"The collection id: {name} does not exist")
    return _collection(rows[0])


def look_up(connection: sa.Connection, name: str, *, lock: bool = False) -> Collection | None:
    """The collection of that name; None where there is none. lock: as `find` has it."""
    try:
        return find(connection, name, lock=lock)
    except NotFound:
        return None


def twin_of(connection: sa.Connection, collection: Collection) -> Collection | None:
    """The collection with the same faces in another model's embeddings; None where there is none."""
    if collection.twin is None:
        return None
    return _by_key(connection, collection.twin)


def find_by_key(connection: sa.Connection, key: CollectionKey) -> Collection:
    """The collection of that key, whatever it is called. Raises NotFound."""
    found = _by_key(connection, key)
    if found is None:
        raise NotFound("The collection has been deleted.")
    return found


def pack_of(connection: sa.Connection, key: CollectionKey) -> str:
    """Name of the model pack that the collection was made with; empty for a deleted collection."""
    return connection.scalar(sa.select(collections.c.pack).where(collections.c.key == key)) or ""


def list_after(connection: sa.Connection, after: int, limit: int) -> list[Collection]:
    """Up to `limit` collections with a key greater than `after`, oldest first."""
    query = (
        _SELECT.where(
            collections.c.key > after,
            collections.c.name.is_not(None),
            collections.c.name.not_like(f"{HIDDEN}%"),
        )
        .order_by(collections.c.key)
        .limit(limit)
    )
    return [_collection(row) for row in connection.execute(query)]


def count_users(connection: sa.Connection, key: CollectionKey, more: int) -> None:
    """Add to the count of users; a negative number takes away. `changes.take_numbers` counts faces."""
    connection.execute(_COUNT_USERS, {"wanted": key, "more_users": more})


def mark_deleted(connection: sa.Connection, key: CollectionKey) -> None:
    """Take the collection's name away, and its twin's: they cannot be found, and the name is free."""
    twin = sa.select(collections.c.twin_key).where(collections.c.key == key)
    doomed = [other for other in (key, connection.scalar(twin)) if other is not None]
    connection.execute(collections.update().where(collections.c.key.in_(doomed)).values(name=None))


def awaiting_removal(connection: sa.Connection) -> list[CollectionKey]:
    """Deleted collections of which rows are left."""
    return [
        CollectionKey(key)
        for key in connection.scalars(sa.select(collections.c.key).where(collections.c.name.is_(None)))
    ]


def every(connection: sa.Connection) -> list[Collection]:
    """All collections, the hidden twins among them, oldest first."""
    query = _SELECT.where(collections.c.name.is_not(None)).order_by(collections.c.key)
    return [_collection(row) for row in connection.execute(query)]


def totals(connection: sa.Connection) -> tuple[int, int, int]:
    """How many collections, faces and users there are in all; hidden twins are left out."""
    query = sa.select(
        sa.func.count(),
        sa.func.coalesce(sa.func.sum(collections.c.face_count), 0),
        sa.func.coalesce(sa.func.sum(collections.c.user_count), 0),
    ).where(collections.c.name.is_not(None), collections.c.name.not_like(f"{HIDDEN}%"))
    row = connection.execute(query).one()
    return int(row[0]), int(row[1]), int(row[2])


def remove_some(connection: sa.Connection, key: CollectionKey, limit: int) -> bool:
    """Remove up to `limit` rows of a deleted collection; True when nothing of it is left.

    Processes that remove the same one take turns: in no order, each would hold rows that another waits for.
    """
    connection.execute(sa.select(collections.c.key).where(collections.c.key == key).with_for_update())
    for table in (faces, users, deletions, tags):
        own = sa.select(*table.primary_key.columns).where(table.c.collection_key == key).limit(limit)
        removed = connection.execute(table.delete().where(sa.tuple_(*table.primary_key.columns).in_(own)))
        limit -= removed.rowcount
        if limit <= 0:
            return False
    for table in (migration_failures, model_migrations):
        connection.execute(table.delete().where(table.c.new_key == key))
    connection.execute(collections.delete().where(collections.c.key == key))
    return True


def _by_key(connection: sa.Connection, key: CollectionKey) -> Collection | None:
    """The collection of that key that was not deleted."""
    found = [_collection(row) for row in _BY_KEY.rows(connection, {"wanted": key})]
    return found[0] if found and found[0].name is not None else None


def _collection(row: Sequence[Any]) -> Collection:
    """The collection of a row of `_SELECT`."""
    key, name, contract_id, model_version, dimension, created_at, *counts, twin, face_ttl = row
    face_count, user_count, change_number = counts
    return Collection(
        key=CollectionKey(key),
        name=name,
        contract_id=contract_id,
        model_version=model_version,
        dimension=dimension,
        created_at=created_at,
        face_count=face_count,
        user_count=user_count,
        change_number=change_number,
        twin=None if twin is None else CollectionKey(twin),
        face_ttl=face_ttl,
    )
