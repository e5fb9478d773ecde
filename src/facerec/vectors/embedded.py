"""The vector store inside the process: exact search over int8 codes in memory, derived from the database.

A collection is loaded on its first use: its snapshot is mapped and the changes since are taken in, or it is
read from the database (four to five seconds of processor time a million vectors of 512 dimensions). Nothing
in the folder is needed: whatever of it is lost, damaged or of another database is built again.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerec.config import SnapshotPolicy
from facerec.domain import Collection, CollectionKey, EntityKind, VectorHit
from facerec.errors import StorageError
from facerec.vectors import verification
from facerec.vectors.archive import Archive
from facerec.vectors.base import ChangeFeed
from facerec.vectors.index import CollectionIndex

SNAPSHOT_FROM = 10_000
"""Vectors from which a snapshot is kept: fewer come from the database in a few hundredths of a second."""

_log = logging.getLogger(__name__)


class EmbeddedStore:
    """Implements `facerec.vectors.base.VectorStore` for this process; several may share the folder."""

    def __init__(
        self,
        folder: Path,
        feed: ChangeFeed,
        *,
        threads: int = 1,
        memory_limit: int | None = None,
        snapshots: SnapshotPolicy = "auto",
        snapshot_from: int = SNAPSHOT_FROM,
    ) -> None:
        """Open the store; cheap, whatever it holds.

        folder: for snapshots; made where it is missing. threads: parts of a scan, one in the thread of a
        caller and the others on as many threads of the store's own; scans of several collections at once
        may take one processor each beyond that.
        memory_limit: bytes of vectors above which the collections longest unused leave memory (None: never).
        snapshots: of which collections, see FACEREC_INDEX_SNAPSHOT; snapshot_from: vectors from which one of
        them gets it. Raises StorageError.
        """
        self._feed = feed
        self._threads = threads
        self._memory_limit = memory_limit
        self._archive = Archive(folder, feed, snapshots, snapshot_from)
        self._pool = ThreadPoolExecutor(threads, "vectors")
        self._lock = threading.Lock()  # of the two fields below
        self._indexes: OrderedDict[tuple[CollectionKey, EntityKind], CollectionIndex] = OrderedDict()
        self._closed = False

    def search(
        self,
        collection: Collection,
        kind: EntityKind,
        probes: NDArray[np.float32],
        *,
        limit: int,
        min_cosine: float,
    ) -> list[list[VectorHit]]:
        """See `VectorStore.search`. ValueError: probes not (Q, dimension), or limit < 1."""
        if probes.ndim != 2 or probes.shape[1] != collection.dimension or limit < 1:
            raise ValueError(
                f"a search takes probes (Q, {collection.dimension}) and a limit of 1 or more; "
                f"got {probes.shape} and {limit}"
            )
        index = self._current(collection, kind)
        return index.search(probes.astype(np.float32, copy=False), limit, min_cosine)

    def drop(self, collection: CollectionKey) -> None:
        """See `VectorStore.drop`."""
        with self._lock:
            for kind in EntityKind:
                self._indexes.pop((collection, kind), None)
        self._archive.forget(collection)

    def purge(self) -> None:
        """See `VectorStore.purge`: what is in memory catches up, and snapshots that fall behind it go."""
        with self._lock:
            indexes = list(self._indexes.values())
        for index in indexes:
            with index.turn:
                removals = index.removals
                if index.built:
                    index.refresh(self._feed)
                if index.removals != removals:
                    self._archive.discard(index)
        self._archive.purge()

    def status(self, collection: Collection, kind: EntityKind) -> tuple[int, int]:
        """See `VectorStore.status`: as it stands in memory or else on disk, without catching up."""
        index = self._index(collection, kind)
        with index.turn:
            self._load(index, collection)
            return len(index), index.built

    def verify(self, collection: Collection, kind: EntityKind) -> list[str]:
        """See `VectorStore.verify`. Reads the whole collection, and holds up its catching up meanwhile."""
        index = self._current(collection, kind)
        with index.turn:
            return verification.differences(index, self._feed)

    @property
    def nbytes(self) -> int:
        """Memory of all vectors; of mapped files too."""
        with self._lock:
            return sum(index.nbytes for index in self._indexes.values())

    def close(self) -> None:
        """See `VectorStore.close`. Later calls raise StorageError."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            indexes = list(self._indexes.values())
            self._indexes.clear()
        self._archive.close()
        for index in indexes:
            self._archive.save(index)
        self._pool.shutdown(wait=True)

    def _index(self, collection: Collection, kind: EntityKind) -> CollectionIndex:
        """The collection's index, empty at its first use, now the last to leave memory."""
        key = (collection.key, kind)
        with self._lock:
            if self._closed:
                raise StorageError("The vector store has been closed.")
            index = self._indexes.get(key)
            if index is None:
                index = self._indexes[key] = CollectionIndex(
                    collection.key, kind, collection.dimension, pool=self._pool, jobs=self._threads
                )
            self._indexes.move_to_end(key)
            return index

    def _current(self, collection: Collection, kind: EntityKind) -> CollectionIndex:
        """The index, with every change up to the collection's change number at least."""
        index = self._index(collection, kind)
        if index.built >= collection.change_number:
            return index
        with index.turn:
            removals = index.removals
            loaded = self._load(index, collection)
            index.catch_up(self._feed, collection.change_number)
            if loaded and kind is EntityKind.FACE and _miscounts(index, collection):
                _log.warning("The snapshot of collection %d is of another past; built anew.", collection.key)
                self._archive.discard(index)
                index.clear()
                index.catch_up(self._feed, collection.change_number)
            if index.removals != removals:
                self._archive.discard(index)
        if self._archive.due(index):
            self._archive.save_later(index)
        self._evict()
        return index

    def _load(self, index: CollectionIndex, collection: Collection) -> bool:
        """Read the snapshot of an index that has nothing yet; the caller holds its `turn`."""
        return index.built == 0 and self._archive.load(index, collection.change_number)

    def _evict(self) -> None:
        """Let the collections longest unused go until the limit holds; the last one used stays."""
        if self._memory_limit is None:
            return
        leaving: list[CollectionIndex] = []
        with self._lock:
            held = sum(index.nbytes for index in self._indexes.values())
            while held > self._memory_limit and len(self._indexes) > 1:
                _, index = self._indexes.popitem(last=False)
                held -= index.nbytes
                leaving.append(index)
        for index in leaving:
            self._archive.save_later(index)


def _miscounts(index: CollectionIndex, collection: Collection) -> bool:
    """Whether the index, as of the very change that `collection` is as of, holds another number of faces.

    So a snapshot is found out that was made after changes which the database lost, going back to a copy.
    """
    return index.built == collection.change_number and len(index) != collection.face_count
