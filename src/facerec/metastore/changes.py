"""The change sequence of a collection: numbering changes, remembering removals, streaming both to an index.

A change takes its number in the transaction that makes it, and that transaction holds the collection's row.
So numbers become visible in ascending order: an index that has read up to n has missed nothing before n.

Removals are not remembered for ever (`prune`). Why no index keeps a removed vector for that: the number of
the newest removal forgotten is written to the collection (`pruned_to`) in the transaction that forgets, and a
reading sees both in one snapshot. An index built to `after` needs the removals with greater numbers. Where
`after` >= `pruned_to` all of these are still there. Where it is less, and not 0, the reading is refused
(HistoryPruned) and the index begins again from 0, where it holds nothing and needs no removal.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from facerec.db import Connection, Database
from facerec.db.prepared import Prepared
from facerec.db.sealed import opened
from facerec.domain import (
    ChangePage,
    CollectionKey,
    EntityKind,
    QuantizedEmbedding,
    RowKey,
    VectorChanges,
)
from facerec.errors import HistoryPruned, NotFound
from facerec.metastore import meta
from facerec.metastore.tables import collections, deletions, faces, users

BATCH = 1024
"""Rows read at a time: half a megabyte of codes of 512 dimensions, which a processor's cache holds."""

_KIND = {EntityKind.FACE: 0, EntityKind.USER: 1}
_TABLE = {EntityKind.FACE: faces, EntityKind.USER: users}
_PUTS = {
    kind: sa.select(table.c.number, table.c.key, table.c.scale, table.c.codes)
    .where(
        table.c.collection_key == sa.bindparam("collection"),
        table.c.number > sa.bindparam("after"),
        table.c.codes.is_not(None),
    )
    .order_by(table.c.number)
    for kind, table in _TABLE.items()
}
_FIRST_PUTS = {kind: query.limit(sa.bindparam("batch", type_=sa.Integer)) for kind, query in _PUTS.items()}

# A statement of every request is built once: SQLAlchemy takes longer to build one than to run it.
_TAKE_NUMBERS = Prepared(
    collections.update()
    .where(collections.c.key == sa.bindparam("wanted"), collections.c.name.is_not(None))
    .values(
        change_number=collections.c.change_number + sa.bindparam("count"),
        face_count=collections.c.face_count + sa.bindparam("more_faces"),
    )
    .returning(collections.c.change_number)
)


def take_numbers(
    connection: sa.Connection, collection: CollectionKey, count: int, *, more_faces: int = 0
) -> range:
    """Take the next `count` numbers of a collection's sequence, and its lock until the transaction ends.

    more_faces: what the changes of these numbers add to the collection's count of faces. Raises NotFound when
    the collection has been deleted.
    """
    rows = _TAKE_NUMBERS.rows(connection, {"wanted": collection, "count": count, "more_faces": more_faces})
    if not rows:
        raise NotFound("The collection has been deleted.")
    ((last,),) = rows
    return range(last - count + 1, last + 1)


def remember_removal(
    connection: sa.Connection, collection: CollectionKey, kind: EntityKind, keys: Sequence[RowKey]
) -> None:
    """Note that the vectors of these rows are gone, under new numbers; faces are counted no longer."""
    if not keys:
        return
    more_faces = -len(keys) if kind is EntityKind.FACE else 0
    numbers = take_numbers(connection, collection, len(keys), more_faces=more_faces)
    connection.execute(
        deletions.insert(),
        [
            {"collection_key": collection, "kind": _KIND[kind], "number": number, "row_key": key}
            for number, key in zip(numbers, keys, strict=True)
        ],
    )


def prune(connection: sa.Connection, collection: CollectionKey, *, keep: int, limit: int) -> int:
    """Forget removals, oldest first, but for the newest `keep` of each kind; `limit` of each kind at most.

    Returns how many were forgotten. An index that has not come past them yet is built anew.
    """
    connection.execute(sa.select(collections.c.key).where(collections.c.key == collection).with_for_update())
    forgotten = 0
    for kind in _KIND.values():
        own = (deletions.c.collection_key == collection, deletions.c.kind == kind)
        numbers = sa.select(deletions.c.number).where(*own)
        newest = connection.scalar(numbers.order_by(deletions.c.number.desc()).offset(keep).limit(1))
        if newest is None:
            continue
        step = connection.scalar(numbers.order_by(deletions.c.number).offset(limit - 1).limit(1))
        last = newest if step is None else min(newest, step)
        forgotten += connection.execute(deletions.delete().where(*own, deletions.c.number <= last)).rowcount
        connection.execute(
            collections.update()
            .where(collections.c.key == collection, collections.c.pruned_to < last)
            .values(pruned_to=last)
        )
    return forgotten


def removals_remembered(connection: sa.Connection, *, more_than: int) -> dict[CollectionKey, int]:
    """Face counts, by key, of the collections of which more removals are remembered. Reads them all."""
    counted = (
        sa.select(deletions.c.collection_key)
        .group_by(deletions.c.collection_key, deletions.c.kind)
        .having(sa.func.count() > more_than)
    )
    query = sa.select(collections.c.key, collections.c.face_count).where(collections.c.key.in_(counted))
    return {CollectionKey(key): count for key, count in connection.execute(query)}


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
        removals are left out: every present vector comes. Raises HistoryPruned where what was removed since
        `after` is remembered no longer, StorageError.
        """
        with self._database.read() as connection:
            number, pruned = _progress(connection, collection)
            _refuse_pruned(collection, after, pruned)
            reached = max(number, after)
            removed = _removals(connection, collection, kind, after) if after else ()
            if removed:
                yield VectorChanges(number=reached, removed=removed)
            for keys, scales, codes in _puts(self._database, connection, collection, kind, after):
                yield VectorChanges(number=reached, keys=keys, scales=scales, codes=codes)

    def page(self, collection: CollectionKey, kind: EntityKind, after: int, limit: int) -> ChangePage:
        """The next changes after the change number `after`, up to `limit` removals and `limit` vectors put.

        Pages of different states of the database, each read after the one before at the number that it
        reached, lead to the newest state: what changes meanwhile takes a greater number and comes again.
        With `after` = 0 there are no removals. Raises HistoryPruned as `changes` does, StorageError.
        """
        table, own = _TABLE[kind], deletions.c.kind == _KIND[kind]
        with self._database.read() as connection:
            newest, pruned = _progress(connection, collection)
            _refuse_pruned(collection, after, pruned)
            puts = connection.execute(
                sa.select(table.c.number, table.c.key, table.c.scale, table.c.codes)
                .where(
                    table.c.collection_key == collection, table.c.number > after, table.c.codes.is_not(None)
                )
                .order_by(table.c.number)
                .limit(limit)
            ).all()
            reached = puts[-1].number if len(puts) == limit else max(newest, after)
            removed = connection.execute(
                sa.select(deletions.c.number, deletions.c.row_key)
                .where(deletions.c.collection_key == collection, own, deletions.c.number > after)
                .where(deletions.c.number <= reached)
                .order_by(deletions.c.number)
                .limit(limit if after else 0)
            ).all()
        if len(removed) == limit:
            reached = removed[-1].number
        puts = [row for row in puts if row.number <= reached]
        return ChangePage(
            number=reached,
            newest=max(newest, after),
            removed=[RowKey(row.row_key) for row in removed],
            keys=[RowKey(row.key) for row in puts],
            embeddings=[QuantizedEmbedding(codes=row.codes, scale=row.scale) for row in puts],
        )

    def removed_since(self, collection: CollectionKey, kind: EntityKind, after: int) -> bool:
        """Whether a vector was removed, or exchanged, after the change number `after`. Raises StorageError.

        True as well where that is remembered no longer, and for a collection that is gone.
        """
        table = _TABLE[kind]
        with self._database.read() as connection:
            number, pruned = _progress(connection, collection)
            if number == 0 or after < pruned or _removals(connection, collection, kind, after, limit=1):
                return True
            # A user's vector is exchanged under a new number, and the row stays.
            exchanged = sa.select(table.c.key).where(
                table.c.collection_key == collection, table.c.number > after
            )
            return kind is EntityKind.USER and connection.scalar(exchanged.limit(1)) is not None

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
    database: Database, connection: Connection, collection: CollectionKey, kind: EntityKind, after: int
) -> Iterator[tuple[Sequence[RowKey], Sequence[float], Sequence[bytes]]]:
    """Keys, scales and codes of the present vectors with a number greater than `after`, in batches.

    The first batch by a statement of its own: mostly it is all there is, and a stream takes longer to begin.
    """
    result = connection.execute(_FIRST_PUTS[kind], {"collection": collection, "after": after, "batch": BATCH})
    rows: Sequence[tuple[Any, ...]] = result.cursor.fetchall()
    result.close()
    rest: Iterator[Sequence[tuple[Any, ...]]] = iter(())
    if len(rows) == BATCH:
        parameters = {"collection": collection, "after": rows[-1][0]}
        rest = database.stream(connection, _PUTS[kind], parameters, size=BATCH)
    for batch in itertools.chain([rows] if rows else [], rest):
        _, keys, scales, codes = zip(*batch, strict=True)
        yield keys, scales, opened(connection.dialect, codes)


def stored_codes(connection: sa.Connection, kind: EntityKind, keys: Sequence[RowKey]) -> list[bytes]:
    """The bytes that stand in the database for the embeddings of some rows: sealed, where they are."""
    table = _TABLE[kind]
    raw = sa.type_coerce(table.c.codes, sa.LargeBinary)
    query = sa.select(raw).where(table.c.key.in_(keys), table.c.codes.is_not(None))
    return [bytes(codes) for codes in connection.scalars(query)]


def stored_still(connection: sa.Connection, codes: Sequence[bytes]) -> set[bytes]:
    """Those of some stored bytes that stand in the database for present embeddings. Reads every row."""
    found: set[bytes] = set()
    for table in _TABLE.values():
        raw = sa.type_coerce(table.c.codes, sa.LargeBinary)
        found |= {bytes(each) for each in connection.scalars(sa.select(raw).where(raw.in_(codes)))}
    return found


def _progress(connection: sa.Connection, collection: CollectionKey) -> tuple[int, int]:
    """(number of the last change, number up to which removals are forgotten); zeros for none such."""
    row = connection.execute(
        sa.select(collections.c.change_number, collections.c.pruned_to).where(collections.c.key == collection)
    ).one_or_none()
    return (0, 0) if row is None else (row.change_number, row.pruned_to)


def _refuse_pruned(collection: CollectionKey, after: int, pruned: int) -> None:
    """Raise HistoryPruned where removals that an index built to `after` has not seen are forgotten."""
    if 0 < after < pruned:
        raise HistoryPruned(
            f"What was removed from collection {collection} is remembered from change {pruned} on; "
            f"an index built to {after} has to be built anew."
        )


def _removals(
    connection: sa.Connection,
    collection: CollectionKey,
    kind: EntityKind,
    after: int,
    *,
    limit: int | None = None,
) -> Sequence[RowKey]:
    """Rows whose vectors were removed under a number greater than `after`, up to `limit` of them."""
    return connection.scalars(
        sa.select(deletions.c.row_key)
        .where(
            deletions.c.collection_key == collection,
            deletions.c.kind == _KIND[kind],
            deletions.c.number > after,
        )
        .limit(limit)
    ).all()
