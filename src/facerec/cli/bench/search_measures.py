"""Milliseconds a query, seconds to start and bytes a face of the embedded vector store, beside its peers.

Peers hold the same vectors as float32 (four times the memory): NumPy's matrix product with argpartition, and
FAISS's exact flat index. All run in this process, taking turns, so that whatever else the machine does falls
on all of them.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from facerec.db import Database
from facerec.domain import (
    BoundingBox,
    Collection,
    CollectionKey,
    EmbeddingContract,
    EntityKind,
    NewFace,
    QuantizedEmbedding,
    RowKey,
    VectorChanges,
)
from facerec.metastore import collections, faces, open_at
from facerec.metastore.changes import DatabaseFeed
from facerec.vectors.embedded import EmbeddedStore
from facerec.vectors.quantization import quantize_batch

Vectors = NDArray[np.float32]
Search = Callable[[Vectors], NDArray[np.int64]]

OURS = "facerec, int8"
LIMIT = 10
"""Nearest vectors that a query is answered with."""
BATCH = 50
"""Probes of a query of several."""
CALLERS = 8
CHUNK = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchFigures:
    """How fast one store searches."""

    faces: int
    dimension: int
    store: str
    one_ms: float
    """Median milliseconds of a query of one probe."""
    batch_ms: float
    """Median milliseconds a probe, in queries of BATCH."""
    nearest_equal: float
    """Share of the queries whose nearest is the one that NumPy finds."""
    together_per_second: float | None
    """Queries of one probe a second that CALLERS callers get together; ours alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartFigures:
    """How fast the embedded store opens, and what it keeps."""

    faces: int
    dimension: int
    first_seconds: float
    """From opening the store to its first answer, with no index on disk."""
    later_seconds: float
    """The same with one; median."""
    bytes_a_face: float
    """Database and index, on disk."""


class ArrayFeed:
    """The database's side over an array: searching needs no database once the index is built."""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors

    def store_id(self) -> str:
        """No database."""
        return "array"

    def changes(self, collection: CollectionKey, kind: EntityKind, after: int) -> Iterator[VectorChanges]:
        """A put for each row, numbered and keyed from 1."""
        for start in range(after, len(self._vectors), CHUNK):
            embeddings = quantize_batch(self._vectors[start : start + CHUNK])
            yield VectorChanges(
                number=len(self._vectors),
                keys=[RowKey(start + i) for i in range(1, len(embeddings) + 1)],
                scales=[embedding.scale for embedding in embeddings],
                codes=[embedding.codes for embedding in embeddings],
            )

    def embeddings(self, kind: EntityKind, keys: Sequence[RowKey]) -> dict[RowKey, QuantizedEmbedding]:
        """Embeddings by key."""
        rows = np.array(keys) - 1
        return dict(zip(keys, quantize_batch(self._vectors[rows]), strict=True))

    def collections(self) -> frozenset[CollectionKey]:
        """The one collection."""
        return frozenset({CollectionKey(1)})


def unit_vectors(rng: np.random.Generator, count: int, dimension: int) -> Vectors:
    """Uniform directions, the hard case: nothing clusters."""
    vectors = rng.standard_normal((count, dimension), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def probes_near(rng: np.random.Generator, vectors: Vectors, count: int) -> Vectors:
    """Probes with a cosine of about 0.6 to one stored vector each."""
    dimension = vectors.shape[1]
    chosen = vectors[rng.integers(0, len(vectors), count)]
    probes = chosen + np.sqrt((0.6**-2 - 1) / dimension) * rng.standard_normal(
        (count, dimension), dtype=np.float32
    )
    return np.asarray(probes / np.linalg.norm(probes, axis=1, keepdims=True), dtype=np.float32)


def numpy_search(vectors: Vectors, probes: Vectors) -> NDArray[np.int64]:
    """Rows of the LIMIT nearest (Q, LIMIT), best first."""
    cosines = probes @ vectors.T
    nearest = np.argpartition(cosines, -LIMIT, axis=1)[:, -LIMIT:]
    order = np.argsort(-np.take_along_axis(cosines, nearest, axis=1), axis=1)
    return np.asarray(np.take_along_axis(nearest, order, axis=1), dtype=np.int64)


def collection_of(count: int, dimension: int) -> Collection:
    """The collection that ArrayFeed tells of."""
    return Collection(
        key=CollectionKey(1),
        name="bench",
        contract_id="bench",
        model_version="1.0",
        dimension=dimension,
        created_at=0.0,
        face_count=count,
        user_count=0,
        change_number=count,
    )


def measure_search(count: int, dimension: int, threads: int, rounds: int) -> list[SearchFigures]:
    """Search `count` vectors with each store in turn. The first round builds the index and warms up."""
    rng = np.random.default_rng(count + dimension)
    vectors = unit_vectors(rng, count, dimension)
    with tempfile.TemporaryDirectory() as folder:
        store = EmbeddedStore(Path(folder), ArrayFeed(vectors), threads=threads, snapshot_from=10**9)
        stores = _stores(store, vectors, threads)
        times: dict[tuple[str, int], list[float]] = {(name, q): [] for name in stores for q in (1, BATCH)}
        equal: dict[str, list[bool]] = {name: [] for name in stores}
        for turn in range(rounds + 1):
            probes = probes_near(rng, vectors, BATCH)
            truth = numpy_search(vectors, probes)[:, 0]
            for name, search in stores.items():
                for size in (1, BATCH):
                    began = time.perf_counter()
                    found = search(probes[:size])
                    if turn:
                        times[name, size].append((time.perf_counter() - began) / size * 1000)
                equal[name] += (found[:, 0] == truth).tolist()
        together = _searches_together(stores[OURS], probes_near(rng, vectors, 8 * CALLERS))
        store.close()
    return [
        SearchFigures(
            faces=count,
            dimension=dimension,
            store=name,
            one_ms=statistics.median(times[name, 1]),
            batch_ms=statistics.median(times[name, BATCH]),
            nearest_equal=statistics.fmean(equal[name]),
            together_per_second=together if name == OURS else None,
        )
        for name in stores
    ]


def _stores(store: EmbeddedStore, vectors: Vectors, threads: int) -> dict[str, Search]:
    """What searches, by name: rows of the LIMIT nearest (Q, LIMIT) for probes (Q, d)."""
    count, dimension = vectors.shape
    collection = collection_of(count, dimension)
    faiss.omp_set_num_threads(threads)
    flat = faiss.IndexFlatIP(dimension)
    flat.add(vectors)

    def ours(probes: Vectors) -> NDArray[np.int64]:
        found = store.search(collection, EntityKind.FACE, probes, limit=LIMIT, min_cosine=-1.0)
        return np.array([[hit.key - 1 for hit in hits] for hits in found])

    return {
        OURS: ours,
        "FAISS flat, float32": lambda probes: np.asarray(flat.search(probes, LIMIT)[1]),
        "NumPy, float32": lambda probes: numpy_search(vectors, probes),
    }


def _searches_together(search: Search, probes: Vectors) -> float:
    """Searches of one probe a second that CALLERS callers get together."""
    with ThreadPoolExecutor(CALLERS) as callers:
        began = time.perf_counter()
        list(callers.map(search, [probes[i : i + 1] for i in range(len(probes))]))
        return len(probes) / (time.perf_counter() - began)


def measure_start(count: int, dimension: int, threads: int) -> StartFigures:
    """Fill a database with `count` faces, and open a store over it a few times."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database = open_at(folder)
        collection, probes = _filled(database, count, dimension)
        starts = []
        for _ in range(4):
            began = time.perf_counter()
            store = EmbeddedStore(folder / "vectors", DatabaseFeed(database), threads=threads)
            store.search(collection, EntityKind.FACE, probes[:1], limit=LIMIT, min_cosine=0.3)
            starts.append(time.perf_counter() - began)
            store.close()
        database.close()
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / count
    return StartFigures(
        faces=count,
        dimension=dimension,
        first_seconds=starts[0],
        later_seconds=statistics.median(starts[1:]),
        bytes_a_face=size,
    )


def _filled(database: Database, count: int, dimension: int) -> tuple[Collection, Vectors]:
    """A collection of `count` faces, and some of their vectors."""
    rng = np.random.default_rng(0)
    box = BoundingBox(left=0.1, top=0.1, width=0.2, height=0.2)
    contract = EmbeddingContract(id="bench", pack="bench", model_version="1.0", dimension=dimension)
    with database.write() as connection:
        collection = collections.insert(connection, name="bench", contract=contract, created_at=0.0)
    for start in range(0, count, CHUNK):
        vectors = unit_vectors(rng, min(CHUNK, count - start), dimension)
        new = [
            NewFace(
                face_id=str(uuid.uuid4()),
                image_id=str(uuid.uuid4()),
                external_image_id=None,
                box=box,
                confidence=99.0,
                embedding=embedding,
            )
            for embedding in quantize_batch(vectors)
        ]
        with database.write() as connection:
            faces.insert(connection, collection, new)
    with database.read() as connection:
        return collections.find(connection, "bench"), vectors
