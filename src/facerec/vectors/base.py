"""The vector store: derived from the database, which is the truth, and searched by cosine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from facerec.domain import (
    Collection,
    CollectionKey,
    EntityKind,
    QuantizedEmbedding,
    RowKey,
    VectorChanges,
    VectorHit,
)


class ChangeFeed(Protocol):
    """The database's side: what an index reads to catch up. Implemented by `facerec.metastore.changes`."""

    def store_id(self) -> str:
        """Identity of the database; another one after a restore, so that no older index is taken for its."""

    def changes(self, collection: CollectionKey, kind: EntityKind, after: int) -> Iterator[VectorChanges]:
        """What has changed since the change number `after`, in batches, all of one state of the database.

        Removals come before the vectors put, so that taken in order they lead to that state. With `after` = 0
        there are none: every present vector comes. Raises HistoryPruned where what was removed since `after`
        is remembered no longer: the index forgets everything, and reads from 0.
        """

    def removed_since(self, collection: CollectionKey, kind: EntityKind, after: int) -> bool:
        """Whether a vector was removed or exchanged since the change number `after`, or may have been."""

    def embeddings(self, kind: EntityKind, keys: Sequence[RowKey]) -> dict[RowKey, QuantizedEmbedding]:
        """Embeddings of the rows that still exist."""

    def collections(self) -> frozenset[CollectionKey]:
        """Keys of the collections that exist: what an index on disk may be kept for."""


class VectorStore(Protocol):
    """Nearest neighbours among a collection's faces or users. Safe to call from many threads."""

    def search(
        self,
        collection: Collection,
        kind: EntityKind,
        probes: NDArray[np.float32],
        *,
        limit: int,
        min_cosine: float,
    ) -> list[list[VectorHit]]:
        """Up to `limit` hits with cosine >= `min_cosine` for each of the probes (Q, dimension), best first.

        Probes are of unit length. Sees every change up to `collection.change_number` at least. Cosines are
        those of the stored int8 codes; equal ones are ordered by key. An empty collection gives empty lists.
        In a large collection a hit may be missed, fewer than 1 in 10 000 (docs/decisions/0008).
        Raises StorageError when the index cannot be read or caught up.
        """

    def drop(self, collection: CollectionKey) -> None:
        """Forget a deleted collection, on disk too. Unknown collections are a no-op."""

    def purge(self) -> None:
        """Let go of what the database has removed, in memory and on disk, without waiting for a search.

        Of this process; what the next search would do anyway, for those who delete and must be sure.
        Raises StorageError.
        """

    def status(self, collection: Collection, kind: EntityKind) -> tuple[int, int]:
        """(vectors indexed, change number up to which the index is built)."""

    def verify(self, collection: Collection, kind: EntityKind) -> list[str]:
        """Compare the index with the database; a line for each difference, empty where they are equal."""

    def close(self) -> None:
        """Write what should outlive the process, and stop."""
