"""What a store outside the database is to the rest, and what it works with on the database's side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from facerec.domain import ChangePage, Collection, CollectionKey, EntityKind, IndexScope, RowKey
from facerec.vectors.base import ChangeFeed


class NotAnswering(Exception):
    """The store did not answer, or not now: asking again may help. The text says what happened."""


class ScopeLost(Exception):
    """The store does not hold this scope: it was removed, or the store lost its data."""


class PagedFeed(ChangeFeed, Protocol):
    """A change feed that is read in steps. Implemented by `facerec.metastore.changes.DatabaseFeed`."""

    def page(self, collection: CollectionKey, kind: EntityKind, after: int, limit: int) -> ChangePage:
        """The next changes after the change number `after`, up to `limit` removals and vectors put.

        Raises HistoryPruned where what was removed since `after` is remembered no longer.
        """


class Lease(Protocol):
    """A lease on a piece of work. Implemented by `facerec.metastore.leases.Lease`."""

    def take(self) -> bool:
        """Take the lease, or renew it when it is held; False while another one has it."""

    def give_back(self) -> None:
        """Free the lease."""


class Ledger(Protocol):
    """Which scopes of the store are whose. Implemented by `facerec.metastore.scopes.ScopeLedger`."""

    def searched(self, collection: Collection, kind: EntityKind) -> IndexScope | None:
        """The scope that is complete but for the newest changes."""

    def building(self, collection: Collection, kind: EntityKind) -> IndexScope | None:
        """The scope that is being filled, to be searched once it is complete."""

    def begin(self, collection: Collection, kind: EntityKind) -> IndexScope:
        """A new scope to be filled; another one that was being filled is given up."""

    def promote(self, collection: Collection, kind: EntityKind, scope: IndexScope) -> bool:
        """Have a filled scope searched, in place of the one before; False where it was given up."""

    def retire(self, scope: IndexScope) -> None:
        """Give a scope up."""

    def retire_collection(self, collection: CollectionKey) -> None:
        """Give up all scopes of a collection."""

    def retired(self) -> Sequence[IndexScope]:
        """The scopes to be removed from the store."""

    def forget(self, scope: IndexScope) -> None:
        """Note that the store holds nothing of a scope any more."""

    def collections(self) -> Sequence[Collection]:
        """The collections that exist, in the state of now."""

    def lease(self, name: str, seconds: float) -> Lease:
        """A lease of that name."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a store found for Q probes."""

    position: int
    """Change number whose state, or a later one, is what was searched."""
    rows: Sequence[NDArray[np.int64]]
    """Q arrays of row keys, best first; a row may come more than once, and may be gone by now."""
    scores: Sequence[NDArray[np.float64]]
    """Q arrays: the cosines as the store sees them."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Some of the vectors that a store holds."""

    rows: NDArray[np.int64]
    """(N,)"""
    vectors: NDArray[np.float32]
    """(N, d), of any length but 0."""


class Target(Protocol):
    """A vector database. Safe to call from many threads. Every call raises NotAnswering.

    A scope holds a *marker*: a record of its own with the change number up to which the scope is built. It is
    made when the scope is begun, and afterwards only altered where it still is. So a store that lost its data
    lost the marker too, and no late write brings it back.

    Why no late write does harm: a face's vector never changes, so putting it again changes nothing; a face
    that is put again after it was removed is dropped from answers, because the database has it no more. A
    user's vector is put under its row *and* version, and only older versions are removed.
    """

    name: str
    """What people call it."""

    most: int
    """Most hits that can be asked for at once."""

    def check(self) -> None:
        """A cheap question that a store which works answers."""

    def begin(self, scope: IndexScope) -> None:
        """Make room for an empty scope, with its marker at 0."""

    def position(self, scope: IndexScope) -> int:
        """The marker's number. Raises ScopeLost."""

    def advance(self, scope: IndexScope, number: int) -> None:
        """Set the marker; what was put before is on the store's disk. Raises ScopeLost."""

    def put(
        self, scope: IndexScope, rows: Sequence[RowKey], vectors: NDArray[np.float32], version: int
    ) -> None:
        """Put vectors (N, d) under their rows; of a user, under this version, removing older ones."""

    def remove(self, scope: IndexScope, rows: Sequence[RowKey], version: int) -> None:
        """Remove rows; of users, the versions older than this one. Rows that are not there are a no-op."""

    def nearest(self, scope: IndexScope, probes: NDArray[np.float32], count: int) -> Found:
        """Up to `count` (`most` at most) vectors nearest to each unit probe (Q, d). Raises ScopeLost."""

    def settle(self, scope: IndexScope) -> None:
        """Return once searches and counts see everything that was put and removed. Raises ScopeLost."""

    def count(self, scope: IndexScope) -> int:
        """Vectors of a scope."""

    def stored(self, scope: IndexScope) -> Iterator[Stored]:
        """Everything a scope holds."""

    def drop(self, scope: IndexScope) -> None:
        """Remove a scope with its marker. A no-op where it is not there."""

    def close(self) -> None:
        """Close connections."""
