"""100 000 faces in a collection: how soon a start answers, that it answers rightly, what a face weighs."""

from __future__ import annotations

import dataclasses
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from serving import serving

from facerec.bootstrap import Service, open_service
from facerec.config import SnapshotPolicy, read_settings
from facerec.domain import BoundingBox, NewFace
from facerec.engine.fake import FakeEngine
from facerec.metastore import collections, faces, open_at
from facerec.vectors.quantization import quantize_batch

PEOPLE = 10_000
PHOTOS = 10
START_SECONDS = 5.0
FACE_BYTES = {"auto": 1024, "always": 1400}

Vectors = NDArray[np.float32]


def engine_of(dimension: int) -> FakeEngine:
    """An engine whose collections hold embeddings of this dimension."""
    engine = FakeEngine()
    engine.contract = dataclasses.replace(engine.contract, dimension=dimension)
    return engine


def vectors_of(dimension: int) -> Vectors:
    """Unit vectors (PEOPLE * PHOTOS, dimension); photos of one person have cosines of about 0.7."""
    rng = np.random.default_rng(dimension)
    people = rng.standard_normal((PEOPLE, dimension), dtype=np.float32)
    vectors = np.tile(people, (PHOTOS, 1))
    vectors += 0.65 * rng.standard_normal(vectors.shape, dtype=np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def fill(data: Path, vectors: Vectors, engine: FakeEngine) -> list[str]:
    """Store a face for each vector, in transactions of 1000; their face ids, in order."""
    box = BoundingBox(left=0.1, top=0.1, width=0.2, height=0.2)
    ids = [str(uuid.uuid4()) for _ in vectors]
    database = open_at(data)
    with database.write() as connection:
        collection = collections.insert(connection, name="many", contract=engine.contract, created_at=0.0)
    for start in range(0, len(vectors), 1000):
        embeddings = quantize_batch(vectors[start : start + 1000])
        new = [
            NewFace(
                face_id=face_id,
                image_id=str(uuid.uuid4()),
                external_image_id=f"photo{start + place}.jpg",
                box=box,
                confidence=99.0,
                embedding=embedding,
            )
            for place, (face_id, embedding) in enumerate(
                zip(ids[start : start + 1000], embeddings, strict=True)
            )
        ]
        with database.write() as connection:
            faces.insert(connection, collection, new)
    database.close()
    return ids


@dataclasses.dataclass(frozen=True)
class Stored:
    """A data folder with a face for each vector; nobody opens it, whoever wants to takes a copy."""

    folder: Path
    vectors: Vectors
    ids: list[str]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Stored]:
    """The faces of a dimension, stored once for all tests."""

    @cache
    def of(dimension: int) -> Stored:
        folder, vectors = tmp_path_factory.mktemp("many"), vectors_of(dimension)
        return Stored(folder, vectors, fill(folder, vectors, engine_of(dimension)))

    return of


@contextmanager
def started(
    data: Path, engine: FakeEngine, face_id: str, snapshots: SnapshotPolicy
) -> Iterator[tuple[Service, float]]:
    """The opened service, and the seconds from nothing to the answer of the first search."""
    begin = time.monotonic()
    settings = read_settings(data_dir=data, model_path="fake", index_snapshot=snapshots)
    with open_service(settings, engine=engine) as service:
        service.faces.search("many", face_id, limit=5, threshold=80.0)
        yield service, time.monotonic() - begin


@pytest.mark.slow
@pytest.mark.parametrize(("dimension", "snapshots"), [(128, "auto"), (512, "auto"), (512, "always")])
def test_a_start_is_quick_answers_are_right_and_faces_are_small(
    tmp_path: Path, stored: Callable[[int], Stored], dimension: int, snapshots: SnapshotPolicy
) -> None:
    data, engine, many = tmp_path / "data", engine_of(dimension), stored(dimension)
    shutil.copytree(many.folder, data)
    vectors, ids = many.vectors, many.ids
    starts = []
    for _ in range(2):  # without and with a snapshot, where there is one
        with started(data, engine, ids[0], snapshots) as (service, seconds):
            starts.append(seconds)
            chosen = np.random.default_rng(1).integers(0, len(ids), 40)
            for place in chosen:
                found = service.faces.search("many", ids[place], limit=PHOTOS, threshold=80.0)
                truth = vectors @ vectors[place]
                truth[place] = -1
                expected = [i for i in np.argsort(-truth)[:PHOTOS] if truth[i] >= 0.5]
                # The person's other photos, and nobody else's.
                assert {int(i) % PEOPLE for i in expected} == {int(place) % PEOPLE}
                assert {m.face.face_id for m in found.matches} == {ids[i] for i in expected}
                best = [m.cosine for m in found.matches]
                np.testing.assert_allclose(best, sorted(truth[expected], reverse=True), atol=0.01)
    assert min(starts) < START_SECONDS, f"starts took {starts} s"
    size = sum(file.stat().st_size for file in data.rglob("*") if file.is_file())
    assert size / len(ids) < FACE_BYTES[snapshots]
    kept = [file.name for file in (data / "vectors").iterdir()]
    assert kept == ([] if (dimension, snapshots) == (512, "auto") else ["1-face.index"])


@pytest.mark.slow
@pytest.mark.alone
def test_a_server_over_many_faces_answers_soon_after_its_start(
    tmp_path: Path, stored: Callable[[int], Stored]
) -> None:
    data, ids = tmp_path / "data", stored(128).ids
    shutil.copytree(stored(128).folder, data)
    starts = []
    for _ in range(2):
        begin = time.monotonic()
        with serving(data) as server:
            answer = server.client().search_faces(CollectionId="many", FaceId=ids[7], MaxFaces=PHOTOS)
            starts.append(time.monotonic() - begin)
            assert {m["Face"]["FaceId"] for m in answer["FaceMatches"]} == {
                ids[photo * PEOPLE + 7] for photo in range(1, PHOTOS)
            }
            assert server.stop() == 0
    assert min(starts) < START_SECONDS, f"starts took {starts} s"
