"""The change sequence of a collection: numbering changes, remembering removals, streaming both to an index.

A change takes its number in the transaction that makes it, and that transaction holds the collection's row.
So numbers become visible in ascending order: an index that has read up to n has missed nothing before n.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from facerec.db import Database
from facerec.domain import CollectionKey, EntityKind, QuantizedEmbedding, RowKey, VectorChanges
from facerec.errors import NotFound
from facerec.metastore import meta
from facerec.metastore.tables import collections, deletions, faces, users

BATCH = 1024
"""Rows read at a time: half a megabyte of codes of 512 dimensions, which a processor's cache holds."""

_KIND = {EntityKind.FACE: 0, EntityKind.USER: 1}
_TABLE = {EntityKind.FACE: faces, EntityKind.USER: users}

# A statement of every request is built once: SQLAlchemy takes longer to build one than to run it.
_TAKE_NUMBERS = (
    collections.update()
    .where(collections.c.key == sa.bindparam("wanted"), collections.c.name.is_not(None))
    .values(change_number=collections.c.change_number + sa.bindparam("count"))
    .returning(collections.c.change_number)
)


def take_numbers(connection: sa.Connection, collection: CollectionKey, count: int) -> range:
    """Take the next `count` numbers of a collection's sequence, and its lock until the transaction ends.

    Raises NotFound when the collection has been deleted.
    """
    last = connection.scalar(_TAKE_NUMBERS, {"wanted": collection, "count": count})
    if last is None:
        raise NotFound("The collection has been deleted.")
    return range(last - count + 1, last + 1)


def remember_removal(
    connection: sa.Connection, collection: CollectionKey, kind: EntityKind, keys: Sequence[RowKey]
) -> None:
    """Note that the vectors of these rows are gone, under new numbers."""
    if not keys:
        return
    numbers = take_numbers(connection, collection, len(keys))
    connection.execute(
        deletions.insert(),
        [
            {"collection_key": collection, "kind": _KIND[kind], "number": number, "row_key": key}
            for number, key in zip(numbers, keys, strict=True)
        ],
    )


class DatabaseFeed:
    """The database's side of `facerec.vectors.base.ChangeFeed`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def store_id(self) -> str:
        """Identity of the database. Raises StorageError."""
        with self._database.read() as connection:
            return meta.store_id(connection)

    def changes(self, collection: CollectionKey, kind: EntityKind, after: int) -> Iterator[VectorChanges]:
        """What has changed since the change number `after`, in batches, all of one snapshot.

        First the removals, then the vectors put, in ascending order of their last change. With `after` = 0
        removals are left out: every present vector comes. Raises StorageError.
        """
        with self._database.read() as connection:
            number = connection.scalar(
                sa.select(collections.c.change_number).where(collections.c.key == collection)
            )
            reached = max(number or 0, after)
            removed = _removals(connection, collection, kind, after) if after else ()
            if removed:
                yield VectorChanges(number=reached, removed=removed)
            for keys, scales, codes in _puts(connection, collection, kind, after):
                yield VectorChanges(number=reached, keys=keys, scales=scales, codes=codes)

    def embeddings(self, kind: EntityKind, keys: Sequence[RowKey]) -> dict[RowKey, QuantizedEmbedding]:
        """Embeddings of the rows that still exist and have one. Raises StorageError."""
        with self._database.read() as connection:
            return embeddings(connection, kind, keys)

    def collections(self) -> frozenset[CollectionKey]:
        """Keys of the collections that exist. Raises StorageError."""
        with self._database.read() as connection:
            present = sa.select(collections.c.key).where(collections.c.name.is_not(None))
            return frozenset(CollectionKey(key) for key in connection.scalars(present))


def embeddings(
    connection: sa.Connection, kind: EntityKind, keys: Sequence[RowKey]
) -> dict[RowKey, QuantizedEmbedding]:
    """Embeddings of the rows that still exist and have one."""
    table = _TABLE[kind]
    found: dict[RowKey, QuantizedEmbedding] = {}
    for start in range(0, len(keys), BATCH):
        rows = connection.execute(
            sa.select(table.c.key, table.c.scale, table.c.codes).where(
                table.c.key.in_(keys[start : start + BATCH]), table.c.codes.is_not(None)
            )
        )
        found.update(
            (RowKey(key), QuantizedEmbedding(codes=codes, scale=scale)) for key, scale, codes in rows
        )
    return found


def _puts(
    connection: sa.Connection, collection: CollectionKey, kind: EntityKind, after: int
) -> Iterator[tuple[Sequence[RowKey], Sequence[float], Sequence[bytes]]]:
    """Keys, scales and codes of the present vectors with a number greater than `after`, in batches."""
    table = _TABLE[kind]
    result = connection.execute(
        sa.select(table.c.key, table.c.scale, table.c.codes)
        .where(table.c.collection_key == collection, table.c.number > after, table.c.codes.is_not(None))
        .order_by(table.c.number)
    )
    # The driver's own cursor: a million of SQLAlchemy's rows take three seconds more.
    while rows := result.cursor.fetchmany(BATCH):
        keys, scales, codes = zip(*rows, strict=True)
        yield keys, scales, codes
    result.close()


def _removals(
    connection: sa.Connection, collection: CollectionKey, kind: EntityKind, after: int
) -> Sequence[RowKey]:
    """Rows whose vectors were removed under a number greater than `after`."""
    return connection.scalars(
        sa.select(deletions.c.row_key).where(
            deletions.c.collection_key == collection,
            deletions.c.kind == _KIND[kind],
            deletions.c.number > after,
        )
    ).all()
