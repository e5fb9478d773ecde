"""The index of one collection's faces or users: segments, kept equal to the database by its changes."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from facerec.domain import CollectionKey, EntityKind, VectorChanges
from facerec.errors import HistoryPruned, StorageError
from facerec.vectors.base import ChangeFeed
from facerec.vectors.gathering import Gathering, Hits, Search
from facerec.vectors.locking import SharedLock
from facerec.vectors.scan import nearest
from facerec.vectors.segment import SEGMENT_ROWS, Rows, Segment


class CollectionIndex:
    """Exact nearest neighbours by cosine over int8 codes. Safe to use from many threads.

    `turn` is held by whoever changes the index or needs it not to change. Searches do not wait for it: they
    run beside the reading of a catch-up, which holds them up only while rows are moved in.
    """

    def __init__(
        self, collection: CollectionKey, kind: EntityKind, dimension: int, *, pool: Executor, jobs: int
    ) -> None:
        """Begin empty. A scan runs in up to `jobs` parts: one in a caller's thread, the others on `pool`."""
        self.collection = collection
        self.kind = kind
        self.dimension = dimension
        self.turn = threading.Lock()
        self.built = 0
        """Change number up to which the index equals the database, at least."""
        self.unsaved = 0
        """Rows changed since the index was last handed over to be written to disk."""
        self.removals = 0
        """Times that rows were taken out."""
        self._lock = SharedLock()
        self._segments: list[Segment] = []
        self._largest_key = -1
        self._pool = pool
        self._jobs = jobs
        self._gathering = Gathering(self._answer)

    def __len__(self) -> int:
        """Vectors held."""
        return sum(len(s) for s in self._segments)

    @property
    def nbytes(self) -> int:
        """Memory of the vectors."""
        return sum(s.nbytes for s in self._segments)

    def catch_up(self, feed: ChangeFeed, number: int) -> None:
        """Take in all changes up to `number` at least; the caller holds `turn`. Raises StorageError."""
        if self.built < number:
            self.refresh(feed, number)

    def refresh(self, feed: ChangeFeed, number: int = 0) -> None:
        """Take in all changes there are, `number` being known as one; the caller holds `turn`.

        Raises StorageError.
        """
        try:
            try:
                reached = self._take_in(feed.changes(self.collection, self.kind, self.built))
            except HistoryPruned:
                self.clear()
                self.removals += 1  # which rows went nobody knows: some did
                reached = self._take_in(feed.changes(self.collection, self.kind, 0))
        except BaseException:
            if self.built == 0:
                # Read from the start the feed leaves removals out, so what a broken reading left must go.
                self.clear()
            raise
        # Only now: in between, a row whose later change is still to come may be missing.
        self.built = max(self.built, number, reached)

    def _take_in(self, batches: Iterator[VectorChanges]) -> int:
        """Apply the batches in order, each while the next is read; the change number reached, or 0."""
        last: VectorChanges | None = None
        with ThreadPoolExecutor(1, "vectors-load") as beside:
            applied: Future[None] = Future()
            applied.set_result(None)
            for batch in batches:
                applied.result()
                if last is not None:
                    applied = beside.submit(self._apply, last)
                last = batch
            applied.result()
        if last is None:
            return 0
        self._apply(last)
        return last.number

    def clear(self) -> None:
        """Forget everything; the caller holds `turn`."""
        with self._lock.writing():
            self._segments = []
            self._largest_key = -1
            self.built = 0

    def adopt(self, segments: Sequence[Segment], number: int) -> None:
        """Fill an empty index with segments of its own, as of change `number`; the caller holds `turn`."""
        with self._lock.writing():
            self._segments = list(segments)
            self._largest_key = max((int(s.keys.max(initial=-1)) for s in segments), default=-1)
        self.built = number

    @property
    def segments(self) -> Sequence[Segment]:
        """All rows; they stay as they are while the caller holds `turn`."""
        return self._segments

    def _apply(self, changes: VectorChanges) -> None:
        """Take in a batch: what was there under the changed keys goes, what was put comes."""
        keys = np.array(changes.keys, dtype=np.int64)
        changed = np.concatenate([np.array(changes.removed, dtype=np.int64), keys])
        rows = list(self._rows(keys, changes)) if len(keys) else []
        with self._lock.writing():
            known = changed[changed <= self._largest_key]
            if len(known) and sum(s.remove(known) for s in self._segments):
                self.removals += 1
                self._segments = [s for s in self._segments if len(s)]
            for part in rows:
                self._append(part)
        self.unsaved += len(changed)

    def _rows(self, keys: NDArray[np.int64], changes: VectorChanges) -> Iterator[Rows]:
        """The vectors put, a part a scale. Raises StorageError, naming a row, for codes no vector has."""
        for key, codes in zip(changes.keys, changes.codes, strict=True):
            if len(codes) != self.dimension or not any(codes):
                raise StorageError(
                    f"The embedding of {self.kind} row {key} of collection {self.collection} is damaged: "
                    f"{len(codes)} bytes where {self.dimension}, not all of them zero, belong."
                )
        matrix = np.frombuffer(b"".join(changes.codes), dtype=np.int8).reshape(len(keys), self.dimension)
        scales = np.array(changes.scales, dtype=np.float64)
        for scale in np.unique(scales).tolist():
            own = scales == scale
            yield Rows(scale, keys[own], matrix[own])

    def _append(self, rows: Rows) -> None:
        """Put rows where there is room among the segments of their scale, and into new ones."""
        scale, keys, codes = rows
        while len(keys):
            segment = next((s for s in self._segments if s.scale == scale and len(s) < SEGMENT_ROWS), None)
            if segment is None:
                segment = Segment(self.dimension, scale)
                self._segments.append(segment)
            room = SEGMENT_ROWS - len(segment)
            segment.append(keys[:room], codes[:room])
            self._largest_key = max(self._largest_key, int(keys[:room].max()))
            keys, codes = keys[room:], codes[room:]

    def search(self, vectors: NDArray[np.float32], limit: int, min_cosine: float) -> Hits:
        """See `VectorStore.search`. Callers that come together share a scan, see `gathering`."""
        return self._gathering.ask(Search(vectors, limit, min_cosine))

    def _answer(self, searches: Sequence[Search]) -> list[Hits]:
        """The answers to several searches, by one scan."""
        sizes = [len(search.vectors) for search in searches]
        with self._lock.reading():
            answers = nearest(
                self._segments,
                np.concatenate([search.vectors for search in searches]),
                np.repeat([search.limit for search in searches], sizes).tolist(),
                np.repeat([search.min_cosine for search in searches], sizes).tolist(),
                pool=self._pool,
                jobs=self._jobs,
            )
        ends = np.cumsum(sizes).tolist()
        return [answers[end - size : end] for end, size in zip(ends, sizes, strict=True)]
