"""Milliseconds a query, seconds to start and bytes a face of the embedded vector store, with peers beside it.

    python benchmarks/search.py [--faces 100000 1000000] [--dimensions 128 512] [--threads N] [--no-starts]

Peers hold the same vectors as float32 (four times the memory): NumPy's matrix product with argpartition, and
FAISS's exact flat index. All three run in this process, taking turns, so that whatever else the machine does
falls on all of them; figures are medians. "one" is a query of one probe, "50" the time for each of a batch of
50. All answer the 10 nearest; the last column says how often the nearest is the one that NumPy finds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from facerec.domain import (
    BoundingBox,
    Collection,
    CollectionKey,
    EmbeddingContract,
    EntityKind,
    NewFace,
    QuantizedEmbedding,
    RowKey,
    VectorChange,
)
from facerec.metastore import collections, faces, open_at
from facerec.metastore.changes import DatabaseFeed
from facerec.vectors.embedded import EmbeddedStore
from facerec.vectors.quantization import quantize_batch

Vectors = NDArray[np.float32]

LIMIT = 10
BATCH = 50
CHUNK = 10_000


class ArrayFeed:
    """The database's side over an array: searching needs no database once the index is built."""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors

    def store_id(self) -> str:
        """No database."""
        return "array"

    def changes(
        self, collection: CollectionKey, kind: EntityKind, after: int
    ) -> Iterator[Sequence[VectorChange]]:
        """A put for each row, numbered and keyed from 1."""
        for start in range(after, len(self._vectors), CHUNK):
            embeddings = quantize_batch(self._vectors[start : start + CHUNK])
            yield [
                VectorChange(number=start + i, key=RowKey(start + i), embedding=embedding)
                for i, embedding in enumerate(embeddings, 1)
            ]

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


def measure_search(count: int, dimension: int, threads: int, rounds: int) -> None:
    """Print the lines of one size."""
    rng = np.random.default_rng(count + dimension)
    vectors = unit_vectors(rng, count, dimension)
    collection = collection_of(count, dimension)
    flat = faiss.IndexFlatIP(dimension)
    flat.add(vectors)
    faiss.omp_set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        store = EmbeddedStore(Path(folder), ArrayFeed(vectors), threads=threads, snapshot_from=10**9)

        def ours(probes: Vectors) -> NDArray[np.int64]:
            found = store.search(collection, EntityKind.FACE, probes, limit=LIMIT, min_cosine=-1.0)
            return np.array([[hit.key - 1 for hit in hits] for hits in found])

        peers: dict[str, Callable[[Vectors], NDArray[np.int64]]] = {
            "facerec, int8": ours,
            "FAISS flat, float32": lambda probes: np.asarray(flat.search(probes, LIMIT)[1]),
            "NumPy, float32": lambda probes: numpy_search(vectors, probes),
        }
        times: dict[tuple[str, int], list[float]] = {(name, q): [] for name in peers for q in (1, BATCH)}
        equal: dict[str, list[bool]] = {name: [] for name in peers}
        for turn in range(rounds + 1):
            probes = probes_near(rng, vectors, BATCH)
            truth = numpy_search(vectors, probes)[:, 0]
            for name, search in peers.items():
                for size in (1, BATCH):
                    begin = time.perf_counter()
                    found = search(probes[:size])
                    if turn:  # the first turn builds the index and warms up
                        times[name, size].append((time.perf_counter() - begin) / size * 1000)
                equal[name] += (found[:, 0] == truth).tolist()
        for name in peers:
            one, batch = (statistics.median(times[name, size]) for size in (1, BATCH))
            agreement = f"{statistics.fmean(equal[name]):.4f}"
            print(
                f"| {count:>9} | {dimension} | {name:<19} | {one:8.2f} | {batch:8.2f} | {agreement} |",
                flush=True,
            )
        measure_concurrent(ours, probes_near(rng, vectors, 64), count, dimension)
        store.close()


def measure_concurrent(
    search: Callable[[Vectors], NDArray[np.int64]], probes: Vectors, count: int, dimension: int
) -> None:
    """Print how many single-probe searches a second eight callers get together."""
    with ThreadPoolExecutor(8) as callers:
        begin = time.perf_counter()
        list(callers.map(search, [probes[i : i + 1] for i in range(len(probes))]))
        rate = len(probes) / (time.perf_counter() - begin)
    print(
        f"| {count:>9} | {dimension} | facerec, 8 callers  | {rate:.0f} searches/s together | | |", flush=True
    )


def measure_start(count: int, dimension: int, threads: int) -> None:
    """Print seconds from opening the store to its first answer, and bytes a face on disk."""
    rng = np.random.default_rng(0)
    box = BoundingBox(left=0.1, top=0.1, width=0.2, height=0.2)
    contract = EmbeddingContract(id="bench", pack="bench", model_version="1.0", dimension=dimension)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database = open_at(folder)
        with database.write() as connection:
            collection = collections.insert(connection, name="bench", contract=contract, created_at=0.0)
        for _ in range(0, count, CHUNK):
            probes = unit_vectors(rng, CHUNK, dimension)
            new = [
                NewFace(
                    face_id=str(uuid.uuid4()),
                    image_id=str(uuid.uuid4()),
                    external_image_id=None,
                    box=box,
                    confidence=99.0,
                    embedding=embedding,
                )
                for embedding in quantize_batch(probes)
            ]
            with database.write() as connection:
                faces.insert(connection, collection, new)
        with database.read() as connection:
            collection = collections.find(connection, "bench")
        starts = []
        for _ in range(4):
            begin = time.perf_counter()
            store = EmbeddedStore(folder / "vectors", DatabaseFeed(database), threads=threads)
            store.search(collection, EntityKind.FACE, probes[:1], limit=LIMIT, min_cosine=0.3)
            starts.append(time.perf_counter() - begin)
            store.close()
        database.close()
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / count
    again = statistics.median(starts[1:])
    print(f"| {count:>9} | {dimension} | {starts[0]:8.2f} | {again:8.2f} | {size:6.0f} |", flush=True)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--faces", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--dimensions", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-starts", action="store_true", help="leave out start times and bytes a face")
    options = parser.parse_args()
    print(f"{options.threads} threads, FAISS {faiss.__version__}, NumPy {np.__version__}\n")
    print("|     faces |  d  | store               | one, ms  |  50, ms  | nearest equal |")
    print("|---|---|---|---|---|---|")
    for count in options.faces:
        for dimension in options.dimensions:
            measure_search(count, dimension, options.threads, options.rounds)
    if options.no_starts:
        return
    print("\n|     faces |  d  | first start, s | later starts, s | bytes a face |")
    print("|---|---|---|---|---|")
    for count in options.faces:
        for dimension in options.dimensions:
            measure_start(count, dimension, options.threads)


if __name__ == "__main__":
    main()
