"""Milliseconds a query, matches found, bytes a face of the embedded vector store, beside its peers.

All hold the same gallery, in this process, and take turns, so that whatever else the machine does falls on
all of them. Beside each query stands the time in which the machine only reads as many bytes as the query has
to: nothing that looks at them all can be faster.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerec.cli.bench.search_gallery import Gallery, GalleryFeed, Vectors
from facerec.cli.bench.search_peers import LIMIT, Opener, Rows, Store
from facerec.domain import EntityKind
from facerec.vectors.embedded import EmbeddedStore
from facerec.vectors.segment import row_width, sketch_words

BATCH = 50
"""Probes of a query of several."""
ONES = 5
"""Queries of one probe in a round."""
CALLERS = 8
READ_BYTES = 1 << 30
"""Most memory that is read to learn how fast that goes: more than any cache holds."""
EXACT_PROBES = 50
"""Probes that exact stores are asked for matches: they find all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchFigures:
    """How fast and how well one store searches."""

    faces: int
    dimension: int
    store: str
    one_ms: float
    """Median milliseconds of a query of one probe."""
    least_ms: float
    """The fastest of them."""
    batch_ms: float
    """Median milliseconds a probe, in queries of BATCH."""
    found: float
    """Share of the probes whose first answer is the row that they match: recall@1."""
    asked: int
    """Probes that this was measured with, one after the other."""
    bytes_a_face: float
    """Memory of the index."""
    build_seconds: float
    """From the vectors to an index that answers."""
    reading_ms: float | None
    """Least milliseconds in which as many threads read as many bytes as a query of one probe has to."""
    reading_share: float | None
    """That over `least_ms`: 1 would be as fast as memory allows."""
    together_per_second: float | None
    """Queries of one probe a second that CALLERS callers get together; ours alone."""


@dataclass(frozen=True, slots=True)
class _Times:
    """Milliseconds of one store."""

    ones: list[float] = field(default_factory=list)
    batches: list[float] = field(default_factory=list)
    readings: list[float] = field(default_factory=list)


class _Ours:
    """The embedded vector store. Its feed makes the gallery itself: `add` has nothing to do."""

    exact = False

    def __init__(self, gallery: Gallery, folder: Path, threads: int) -> None:
        self.name = "facerec, int8"
        self._gallery = gallery
        self._feed = GalleryFeed(gallery)
        self._store = EmbeddedStore(folder, self._feed, threads=threads, snapshots="never")

    def add(self, vectors: Vectors) -> None:
        pass

    def finish(self) -> None:
        self.search(np.eye(1, self._gallery.dimension, dtype=np.float32))

    @property
    def making_seconds(self) -> float:
        """Spent in `finish` on making vectors."""
        return self._feed.making_seconds

    def search(self, probes: Vectors) -> Rows:
        found = self._store.search(
            self._gallery.collection,
            EntityKind.FACE,
            probes,
            limit=LIMIT,
            min_cosine=self._gallery.threshold,
        )
        rows = np.full((len(probes), LIMIT), -1, dtype=np.int64)
        for row, hits in zip(rows, found, strict=True):
            row[: len(hits)] = [hit.key - 1 for hit in hits]
        return rows

    def memory(self) -> int:
        return self._store.nbytes

    def touched(self) -> int | None:
        dimension = self._gallery.dimension
        return self._gallery.count * (8 * sketch_words(dimension) or row_width(dimension))

    def close(self) -> None:
        self._store.close()


def measure_search(
    gallery: Gallery, threads: int, rounds: int, openers: Sequence[Opener], asked: int
) -> list[SearchFigures]:
    """Search the gallery with our store and the peers in turn, after one round that warms up.

    asked: probes that matches are counted of.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="facerec-bench-")))
        ours = _Ours(gallery, folder, threads)
        stores: list[Store] = [ours]
        stack.callback(ours.close)
        for opener in openers:
            stores.append(opener(gallery.count, gallery.dimension, threads))
            stack.callback(stores[-1].close)
        built = _build(gallery, stores)
        built[0] -= ours.making_seconds
        probes, planted = gallery.planted(max(asked, BATCH))
        pool = stack.enter_context(ThreadPoolExecutor(threads))
        memory = np.ones(min(max(store.touched() or 0 for store in stores), READ_BYTES) // 8, dtype=np.uint64)
        readers = [_reader(store.touched(), memory, pool, threads) for store in stores]
        times = [_Times() for _ in stores]
        for turn in range(rounds + 1):
            for store, kept, reader in zip(stores, times, readers, strict=True):
                _take_turn(store, probes, reader, kept if turn else _Times())
        return [
            _figures(gallery, store, kept, seconds, _found(store, probes, planted, asked))
            for store, kept, seconds in zip(stores, times, built, strict=True)
        ]


def _build(gallery: Gallery, stores: list[Store]) -> list[float]:
    """Fill the stores, one after the other; seconds that each took."""
    seconds = []
    for store in stores:
        spent = 0.0
        for start in gallery.starts:
            vectors = gallery.chunk(start) if not isinstance(store, _Ours) else np.empty((0, 0), np.float32)
            began = time.perf_counter()
            store.add(vectors)
            spent += time.perf_counter() - began
        began = time.perf_counter()
        store.finish()
        seconds.append(spent + time.perf_counter() - began)
    return seconds


def _reader(
    size: int | None, memory: NDArray[np.uint64], pool: ThreadPoolExecutor, threads: int
) -> Callable[[], float] | None:
    """What measures the milliseconds in which `size` bytes are read, and nothing done with them.

    Of a size beyond `memory`, as much is read as there is.
    """
    if size is None:
        return None
    read = memory[: size // 8]
    parts = np.array_split(read, threads)
    return lambda: _milliseconds(lambda: list(pool.map(np.sum, parts))) * size / read.nbytes


def _take_turn(store: Store, probes: Vectors, reader: Callable[[], float] | None, times: _Times) -> None:
    """One round of one store."""
    for i in range(ONES):
        if reader:
            times.readings.append(reader())
        times.ones.append(_milliseconds(store.search, probes[i : i + 1]))
    times.batches.append(_milliseconds(store.search, probes[:BATCH]) / BATCH)


def _found(store: Store, probes: Vectors, planted: NDArray[np.int64], asked: int) -> tuple[int, int]:
    """Probes, asked one by one, of which the first answer is the planted row; and how many were asked."""
    # A gallery has no more probes than faces.
    count = min(asked, EXACT_PROBES if store.exact else asked, len(probes))
    firsts = [store.search(probes[i : i + 1])[0, 0] for i in range(count)]
    return int(np.count_nonzero(firsts == planted[:count])), count


def _figures(
    gallery: Gallery, store: Store, times: _Times, build_seconds: float, found: tuple[int, int]
) -> SearchFigures:
    reading = min(times.readings, default=None)
    together = None
    if isinstance(store, _Ours):
        together = _together(store.search, gallery.planted(BATCH)[0])
    return SearchFigures(
        faces=gallery.count,
        dimension=gallery.dimension,
        store=store.name,
        one_ms=statistics.median(times.ones),
        least_ms=min(times.ones),
        batch_ms=statistics.median(times.batches),
        found=found[0] / found[1],
        asked=found[1],
        bytes_a_face=store.memory() / gallery.count,
        build_seconds=build_seconds,
        reading_ms=reading,
        reading_share=None if reading is None else reading / min(times.ones),
        together_per_second=together,
    )


def _together(search: Callable[[Vectors], Rows], probes: Vectors) -> float:
    """Searches of one probe a second that CALLERS callers get together."""
    with ThreadPoolExecutor(CALLERS) as callers:
        began = time.perf_counter()
        list(callers.map(search, [probes[i : i + 1] for i in range(len(probes))]))
        return len(probes) / (time.perf_counter() - began)


def _milliseconds(work: Callable[..., object], *arguments: object) -> float:
    began = time.perf_counter()
    work(*arguments)
    return (time.perf_counter() - began) * 1000
