"""Use cases over a real database and the drawn-face engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerec.db import Database
from facerec.domain import (
    Collection,
    CollectionKey,
    EntityKind,
    ImageReference,
    InlineImage,
    RowKey,
    VectorHit,
)
from facerec.engine.fake import FakeEngine, FakeFace, draw
from facerec.metastore import open_at
from facerec.metastore.changes import DatabaseFeed
from facerec.services.analysis import AnalysisService
from facerec.services.collections import CollectionService
from facerec.services.faces import FaceService
from facerec.services.people import PeopleService
from facerec.vectors.quantization import dequantize


class Scan:
    """The vector store at its simplest: reads every vector from the feed at each search."""

    def __init__(self, feed: DatabaseFeed) -> None:
        self._feed = feed

    def search(
        self,
        collection: Collection,
        kind: EntityKind,
        probes: NDArray[np.float32],
        *,
        limit: int,
        min_cosine: float,
    ) -> list[list[VectorHit]]:
        present: dict[RowKey, NDArray[np.float32]] = {}
        for batch in self._feed.changes(collection.key, kind, 0):
            for change in batch:
                assert change.embedding is not None
                present[change.key] = dequantize(change.embedding)
        answers = []
        for probe in probes:
            hits = [VectorHit(key, float(vector @ probe)) for key, vector in present.items()]
            hits = sorted((hit for hit in hits if hit.cosine >= min_cosine), key=lambda hit: -hit.cosine)
            answers.append(hits[:limit])
        return answers

    def drop(self, collection: CollectionKey) -> None:
        del collection

    def status(self, collection: Collection, kind: EntityKind) -> tuple[int, int]:
        del kind
        return collection.face_count, collection.change_number

    def verify(self, collection: Collection, kind: EntityKind) -> list[str]:
        del collection, kind
        return []

    def close(self) -> None:
        pass


class Images:
    """Images that are sent inline."""

    def load(self, reference: ImageReference) -> bytes:
        assert isinstance(reference, InlineImage)
        return reference.data


@dataclass
class Clock:
    """A clock that a test sets."""

    now: float = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class House:
    """The use cases, and what they stand on."""

    database: Database
    engine: FakeEngine
    clock: Clock
    collections: CollectionService
    faces: FaceService
    people: PeopleService
    analysis: AnalysisService


def build(database: Database, engine: FakeEngine, clock: Clock, *, max_faces: int = 1000) -> House:
    """The use cases over a database."""
    vectors = Scan(DatabaseFeed(database))
    return House(
        database,
        engine,
        clock,
        CollectionService(database, vectors, engine, clock=clock),
        FaceService(database, vectors, engine, Images(), max_faces=max_faces),
        PeopleService(database, vectors, engine, Images(), clock=clock),
        AnalysisService(engine, Images()),
    )


@contextmanager
def open_house(folder: Path, *, max_faces: int = 1000) -> Iterator[House]:
    """A house with a new database in the folder."""
    database = open_at(folder)
    yield build(database, FakeEngine(), Clock(), max_faces=max_faces)
    database.close()


def picture(*identities: str | FakeFace, variation: int = 0) -> InlineImage:
    """An image of these people, the first the largest."""
    return InlineImage(draw(*identities, variation=variation))
