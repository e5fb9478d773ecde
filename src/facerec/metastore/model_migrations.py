"""Migrations of collections to another model: what is done, what is left, and the switch.

While a migration is on, the new model's embeddings are the faces of a collection of their own, the twin: with
rows, change sequence and index like any other, but a name that nobody finds. The switch gives it the name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from facerec.domain import (
    HIDDEN,
    Agreement,
    Collection,
    CollectionKey,
    EmbeddingContract,
    Face,
    MigrationObstacle,
    ModelMigration,
    NewFace,
    QuantizedEmbedding,
    RowKey,
)
from facerec.errors import Conflict
from facerec.metastore import album_people
from facerec.metastore import faces as face_rows
from facerec.metastore.collections import find, mark_deleted, twin_of
from facerec.metastore.tables import (
    collections,
    faces,
    migration_failures,
    model_migrations,
    tags,
    users,
)

_OWN_TO_EACH_MODEL = frozenset(
    column.name
    for column in (
        collections.c.key,
        collections.c.name,
        collections.c.pack,
        collections.c.contract_id,
        collections.c.model_version,
        collections.c.dimension,
        collections.c.face_count,
        collections.c.user_count,
        collections.c.change_number,
        collections.c.twin_key,
        collections.c.pruned_to,
    )
)
"""Columns of a collection that the switch leaves as they are: all others go with the name."""


def begin(
    connection: sa.Connection,
    old: Collection,
    contract: EmbeddingContract,
    *,
    old_pack: str,
    new_pack: str,
    images: str,
    now: float,
) -> ModelMigration:
    """Give a collection, which the caller has locked, an empty twin for embeddings of `contract`.

    Raises Conflict where it has a twin already.
    """
    if old.twin is not None:
        raise Conflict(f"The collection id: {old.name} has embeddings of two models already.")
    row = connection.execute(sa.select(collections).where(collections.c.key == old.key)).one()
    values = _shared_settings(row) | {
        "name": _hidden_name(old.key),
        "pack": contract.pack,
        "contract_id": contract.id,
        "model_version": contract.model_version,
        "dimension": contract.dimension,
        "face_count": 0,
        "user_count": 0,
        "change_number": 0,
    }
    new = connection.scalar(collections.insert().values(**values).returning(collections.c.key))
    connection.execute(collections.update().where(collections.c.key == old.key).values(twin_key=new))
    connection.execute(
        model_migrations.insert().values(
            new_key=new,
            old_key=old.key,
            old_pack=old_pack,
            new_pack=new_pack,
            images=images,
            started_at=now,
            share=0.0,
            same_best=0,
            other_best=0,
            old_alone=0,
            new_alone=0,
            neither=0,
            difference=0.0,
            distance=0.0,
        )
    )
    migration = of_collection(connection, find(connection, old.name))
    assert migration is not None  # noqa: S101  (it was made above)
    return migration


def of_collection(connection: sa.Connection, collection: Collection) -> ModelMigration | None:
    """The migration that the collection is in; None where it has embeddings of one model alone."""
    if collection.twin is None:
        return None
    row = connection.execute(
        sa.select(model_migrations).where(
            model_migrations.c.new_key.in_([collection.key, collection.twin]),
            model_migrations.c.old_key.in_([collection.key, collection.twin]),
        )
    ).one_or_none()
    return None if row is None else _migration(row)


def packs_of(connection: sa.Connection, key: CollectionKey) -> list[str]:
    """Packs (as in MODEL_PATH) that migrations to and from the collection name for its model."""
    to = sa.select(model_migrations.c.new_pack).where(model_migrations.c.new_key == key)
    away = sa.select(model_migrations.c.old_pack).where(model_migrations.c.old_key == key)
    return list(connection.scalars(to.union_all(away)))


def pending(
    connection: sa.Connection, old: Collection, migration: ModelMigration, after: int, limit: int
) -> list[tuple[int, Face]]:
    """Up to `limit` faces that wait for their new embedding, with change numbers greater than `after`.

    Each with its number, in its order. Those that failed wait no more.
    """
    twins = faces.alias()
    done = sa.exists().where(twins.c.collection_key == migration.new, twins.c.face_id == faces.c.face_id)
    failed = sa.exists().where(
        migration_failures.c.new_key == migration.new, migration_failures.c.face_key == faces.c.key
    )
    return face_rows.list_after(connection, old, after, limit, ~done, ~failed)


def failed(
    connection: sa.Connection, migration: ModelMigration, limit: int | None = None
) -> list[tuple[RowKey, MigrationObstacle]]:
    """Faces of the old collection that could not be migrated and still exist, and why; oldest first."""
    query = (
        sa.select(faces.c.key, migration_failures.c.reason)
        .join(faces, faces.c.key == migration_failures.c.face_key)
        .where(migration_failures.c.new_key == migration.new)
        .order_by(faces.c.key)
        .limit(limit)
    )
    return [(RowKey(key), MigrationObstacle(reason)) for key, reason in connection.execute(query)]


def count_failed(connection: sa.Connection, migration: ModelMigration) -> dict[MigrationObstacle, int]:
    """How many faces could not be migrated, by reason."""
    query = (
        sa.select(migration_failures.c.reason, sa.func.count())
        .join(faces, faces.c.key == migration_failures.c.face_key)
        .where(migration_failures.c.new_key == migration.new)
        .group_by(migration_failures.c.reason)
    )
    return {MigrationObstacle(reason): count for reason, count in connection.execute(query)}


def store(
    connection: sa.Connection,
    old: Collection,
    new: Collection,
    embeddings: Mapping[RowKey, QuantizedEmbedding],
) -> set[str]:
    """Give faces of the old collection, by key, their twins; ids of the users that they belong to.

    Faces that were deleted meanwhile, or have their twin already, are passed over. The caller holds the old
    collection's lock.
    """
    done = face_rows.in_twin(connection, old, list(embeddings))
    present = face_rows.of_keys(connection, old, [key for key in embeddings if key not in done])
    face_rows.insert(
        connection,
        new,
        [
            NewFace(
                face_id=face.face_id,
                image_id=face.image_id,
                external_image_id=face.external_image_id,
                box=face.box,
                confidence=face.confidence,
                embedding=embeddings[key],
                source=face.source,
                stored_at=face.stored_at,
                expires_at=face.expires_at,
                quality=face.quality,
            )
            for key, face in sorted(present.items())
        ],
    )
    forget_failures(connection, new.key, list(embeddings))
    return {face.user_id for face in present.values() if face.user_id is not None}


def note_failures(
    connection: sa.Connection, migration: ModelMigration, reasons: Mapping[RowKey, MigrationObstacle]
) -> None:
    """Remember why faces of the old collection could not be migrated; the last reason counts."""
    forget_failures(connection, migration.new, list(reasons))
    if reasons:
        connection.execute(
            migration_failures.insert(),
            [
                {"new_key": migration.new, "face_key": key, "reason": reason}
                for key, reason in reasons.items()
            ],
        )


def forget_failures(
    connection: sa.Connection, new: CollectionKey, keys: Sequence[RowKey] | None = None
) -> None:
    """Put faces on the list of those that wait again: these, or all that failed."""
    query = migration_failures.delete().where(migration_failures.c.new_key == new)
    if keys is not None:
        query = query.where(migration_failures.c.face_key.in_(keys))
    connection.execute(query)


def differing_users(connection: sa.Connection, old: Collection, new: Collection) -> list[str]:
    """Ids of users that are in one of the collections alone, or count other faces than they have in the new.

    What a use case mirrored already is not among them.
    """
    found: set[str] = set()
    for one, other in ((old, new), (new, old)):
        others = users.alias()
        there = sa.exists().where(others.c.collection_key == other.key, others.c.user_id == users.c.user_id)
        found.update(
            connection.scalars(sa.select(users.c.user_id).where(users.c.collection_key == one.key, ~there))
        )
    counted = sa.select(sa.func.count()).where(faces.c.user_key == users.c.key).scalar_subquery()
    found.update(
        connection.scalars(
            sa.select(users.c.user_id).where(users.c.collection_key == new.key, users.c.face_count != counted)
        )
    )
    return sorted(found)


def set_share(connection: sa.Connection, migration: ModelMigration, share: float) -> None:
    """Have the new model answer this share of searches, 0 to 1."""
    _update(connection, migration, share=share)


def add_agreement(connection: sa.Connection, migration: ModelMigration, more: Agreement) -> None:
    """Add to the counts of what both models answered."""
    columns = model_migrations.c
    _update(
        connection,
        migration,
        same_best=columns.same_best + more.same_best,
        other_best=columns.other_best + more.other_best,
        old_alone=columns.old_alone + more.old_alone,
        new_alone=columns.new_alone + more.new_alone,
        neither=columns.neither + more.neither,
        difference=columns.difference + more.difference,
        distance=columns.distance + more.distance,
    )


def switch(connection: sa.Connection, present: Collection, *, finished_at: float | None) -> Collection:
    """Give the collection's name, tags and settings to its twin; the collection that has the name now.

    The caller holds the collection's lock. The other one is its twin from now on. Raises Conflict where it
    has none.
    """
    twin, migration = twin_of(connection, present), of_collection(connection, present)
    if twin is None or migration is None:
        raise Conflict(f"The collection id: {present.name} is on its way to no other model.")
    row = connection.execute(sa.select(collections).where(collections.c.key == present.key)).one()
    for key, values in (
        (present.key, {"name": None, "twin_key": None}),
        (twin.key, _shared_settings(row) | {"name": present.name, "twin_key": present.key}),
        (present.key, {"name": _hidden_name(twin.key)}),
    ):
        connection.execute(collections.update().where(collections.c.key == key).values(**values))
    connection.execute(
        tags.update().where(tags.c.collection_key == present.key).values(collection_key=twin.key)
    )
    album_people.follow(connection, present.key, twin.key)
    _update(connection, migration, finished_at=finished_at, share=0.0)
    return find(connection, present.name)


def drop_twin(connection: sa.Connection, collection: Collection) -> None:
    """Part with the collection's twin, which is deleted; the caller holds the collection's lock."""
    if collection.twin is None:
        return
    connection.execute(collections.update().where(collections.c.key == collection.key).values(twin_key=None))
    mark_deleted(connection, collection.twin)


def _update(connection: sa.Connection, migration: ModelMigration, **values: Any) -> None:
    connection.execute(
        model_migrations.update().where(model_migrations.c.new_key == migration.new).values(**values)
    )


def _hidden_name(twin: CollectionKey) -> str:
    """The name of the collection that nobody finds beside the one of this key."""
    return f"{HIDDEN}{twin}"


def _shared_settings(row: sa.Row[Any]) -> dict[str, Any]:
    """What belongs to a collection whatever its model."""
    return {name: value for name, value in row._mapping.items() if name not in _OWN_TO_EACH_MODEL}


def _migration(row: sa.Row[Any]) -> ModelMigration:
    return ModelMigration(
        old=CollectionKey(row.old_key),
        new=CollectionKey(row.new_key),
        old_pack=row.old_pack,
        new_pack=row.new_pack,
        images=row.images,
        started_at=row.started_at,
        finished_at=row.finished_at,
        share=row.share,
        agreement=Agreement(
            same_best=row.same_best,
            other_best=row.other_best,
            old_alone=row.old_alone,
            new_alone=row.new_alone,
            neither=row.neither,
            difference=row.difference,
            distance=row.distance,
        ),
    )
