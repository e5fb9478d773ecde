"""Seconds from opening the embedded vector store to its first answer, and bytes a face on disk."""

from __future__ import annotations

import statistics
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from facerec.cli.bench.search_gallery import Gallery
from facerec.config import SnapshotPolicy
from facerec.db import Database
from facerec.domain import BoundingBox, Collection, EmbeddingContract, EntityKind, NewFace
from facerec.metastore import collections, faces, open_at
from facerec.metastore.changes import DatabaseFeed
from facerec.vectors.embedded import EmbeddedStore
from facerec.vectors.quantization import quantize_batch

LATER_STARTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class StartFigures:
    """How fast the embedded store opens, and what it keeps."""

    faces: int
    dimension: int
    snapshots: SnapshotPolicy
    first_seconds: float
    """From opening the store to its first answer, with no index on disk."""
    later_seconds: float
    """The same once a store has been closed; median."""
    bytes_a_face: float
    """Database and index, on disk."""


def measure_starts(gallery: Gallery, threads: int) -> list[StartFigures]:
    """Fill a database with the gallery, and open a store over it a few times under each policy."""
    with tempfile.TemporaryDirectory(prefix="facerec-bench-") as name:
        folder = Path(name)
        database = open_at(folder)
        collection = _filled(database, gallery)
        database.close()  # folds the log into the file: it would count
        database = open_at(folder)
        policies: tuple[SnapshotPolicy, ...] = ("never", "always")
        figures = [_measure(folder, database, collection, gallery, policy, threads) for policy in policies]
        database.close()
    return figures


def _measure(
    folder: Path,
    database: Database,
    collection: Collection,
    gallery: Gallery,
    policy: SnapshotPolicy,
    threads: int,
) -> StartFigures:
    probe = gallery.planted(1)[0][:1]
    starts = []
    for _ in range(1 + LATER_STARTS):
        began = time.perf_counter()
        store = EmbeddedStore(folder / "vectors", DatabaseFeed(database), threads=threads, snapshots=policy)
        store.search(collection, EntityKind.FACE, probe, limit=1, min_cosine=gallery.threshold)
        starts.append(time.perf_counter() - began)
        store.close()
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return StartFigures(
        faces=gallery.count,
        dimension=gallery.dimension,
        snapshots=policy,
        first_seconds=starts[0],
        later_seconds=statistics.median(starts[1:]),
        bytes_a_face=size / gallery.count,
    )


def _filled(database: Database, gallery: Gallery) -> Collection:
    """A collection of the gallery's faces."""
    box = BoundingBox(left=0.1, top=0.1, width=0.2, height=0.2)
    contract = EmbeddingContract(id="bench", pack="bench", model_version="1.0", dimension=gallery.dimension)
    with database.write() as connection:
        collection = collections.insert(connection, name="bench", contract=contract, created_at=0.0)
    for start in gallery.starts:
        new = [
            NewFace(
                face_id=str(uuid.uuid4()),
                image_id=str(uuid.uuid4()),
                external_image_id=None,
                box=box,
                confidence=99.0,
                embedding=embedding,
            )
            for embedding in quantize_batch(gallery.chunk(start))
        ]
        with database.write(sweep=True) as connection:
            faces.insert(connection, collection, new)
    with database.read() as connection:
        return collections.find(connection, "bench")
