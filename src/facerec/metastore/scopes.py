"""Scopes: which part of a vector store outside the database holds the vectors of a collection.

A scope is begun empty and filled; once it holds everything it takes the place of the one that was searched
before, which is then removed from the store. It is never emptied and used again: whoever goes on filling a
scope after it was abandoned disturbs no other.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from facerec.db import Database
from facerec.domain import Collection, CollectionKey, EntityKind, IndexScope
from facerec.metastore import collections as collection_rows
from facerec.metastore.leases import Lease
from facerec.metastore.tables import collections, index_scopes

_KIND = {EntityKind.FACE: 0, EntityKind.USER: 1}
_KIND_OF = {number: kind for kind, number in _KIND.items()}

_BUILDING, _SEARCHED, _RETIRED = 0, 1, 2


class ScopeLedger:
    """The scopes of one store. Implements `facerec.vectors.remote.target.Ledger`. All raise StorageError."""

    def __init__(self, database: Database, store: str) -> None:
        """store: which one, and where in it, at most 255 characters: `qdrant:facerec`."""
        self._database = database
        self._store = store

    def searched(self, collection: Collection, kind: EntityKind) -> IndexScope | None:
        """The scope that is complete but for the newest changes."""
        return self._find(collection, kind, _SEARCHED)

    def building(self, collection: Collection, kind: EntityKind) -> IndexScope | None:
        """The scope that is being filled, to be searched once it is complete."""
        return self._find(collection, kind, _BUILDING)

    def begin(self, collection: Collection, kind: EntityKind) -> IndexScope:
        """A new scope to be filled; another one that was being filled is given up."""
        scope = IndexScope(
            token=secrets.token_hex(16), collection=collection.key, kind=kind, dimension=collection.dimension
        )
        with self._database.write() as connection:
            self._retire(connection, *self._of(collection, kind), index_scopes.c.state == _BUILDING)
            connection.execute(
                index_scopes.insert().values(
                    token=scope.token,
                    store=self._store,
                    collection_key=collection.key,
                    kind=_KIND[kind],
                    contract_id=collection.contract_id,
                    dimension=collection.dimension,
                    state=_BUILDING,
                )
            )
        return scope

    def promote(self, collection: Collection, kind: EntityKind, scope: IndexScope) -> bool:
        """Have a filled scope searched, in place of the one before; False where it was given up meanwhile."""
        with self._database.write() as connection:
            own = (index_scopes.c.token == scope.token, index_scopes.c.state == _BUILDING)
            # Locked first, so that of two which are promoted at once the later one retires the earlier.
            if connection.scalar(sa.select(index_scopes.c.token).where(*own).with_for_update()) is None:
                return False
            self._retire(connection, *self._of(collection, kind), index_scopes.c.state == _SEARCHED)
            connection.execute(index_scopes.update().where(*own).values(state=_SEARCHED))
        return True

    def retire(self, scope: IndexScope) -> None:
        """Give a scope up: it is removed from the store when there is time."""
        with self._database.write() as connection:
            self._retire(connection, index_scopes.c.token == scope.token)

    def retire_collection(self, collection: CollectionKey) -> None:
        """Give up all scopes of a collection."""
        with self._database.write() as connection:
            self._retire(connection, index_scopes.c.collection_key == collection)

    def retired(self) -> Sequence[IndexScope]:
        """The scopes to be removed from the store, those of collections that are gone among them."""
        gone = index_scopes.c.collection_key.not_in(
            sa.select(collections.c.key).where(collections.c.name.is_not(None))
        )
        with self._database.read() as connection:
            rows = connection.execute(
                sa.select(index_scopes).where(
                    index_scopes.c.store == self._store, sa.or_(index_scopes.c.state == _RETIRED, gone)
                )
            )
            return [_scope(row) for row in rows]

    def forget(self, scope: IndexScope) -> None:
        """Note that the store holds nothing of a scope any more."""
        with self._database.write() as connection:
            connection.execute(index_scopes.delete().where(index_scopes.c.token == scope.token))

    def collections(self) -> Sequence[Collection]:
        """The collections that exist, in the state of now."""
        with self._database.read() as connection:
            return collection_rows.every(connection)

    def lease(self, name: str, seconds: float) -> Lease:
        """A lease, so that of several processes one does a piece of work at a time."""
        return Lease(self._database, name, seconds=seconds)

    def _find(self, collection: Collection, kind: EntityKind, state: int) -> IndexScope | None:
        with self._database.read() as connection:
            row = connection.execute(
                sa.select(index_scopes).where(*self._of(collection, kind), index_scopes.c.state == state)
            ).first()
        return None if row is None else _scope(row)

    def _of(self, collection: Collection, kind: EntityKind) -> tuple[sa.ColumnElement[bool], ...]:
        return (
            index_scopes.c.store == self._store,
            index_scopes.c.collection_key == collection.key,
            index_scopes.c.kind == _KIND[kind],
            index_scopes.c.contract_id == collection.contract_id,
        )

    def _retire(self, connection: sa.Connection, *which: sa.ColumnElement[bool]) -> None:
        connection.execute(
            index_scopes.update().where(index_scopes.c.store == self._store, *which).values(state=_RETIRED)
        )


def _scope(row: sa.Row[Any]) -> IndexScope:
    return IndexScope(
        token=row.token,
        collection=CollectionKey(row.collection_key),
        kind=_KIND_OF[row.kind],
        dimension=row.dimension,
    )
