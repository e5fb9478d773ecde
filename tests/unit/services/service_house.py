"""Use cases over a real database, a real vector store and the drawn-face engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from facerec.config import UserMatching, read_settings
from facerec.db import Database
from facerec.domain import FOREVER, ImageReference, InlineImage, Review
from facerec.engine.fake import FakeEngine, FakeFace, draw
from facerec.images.base import ImageLoader
from facerec.metastore import open_metastore
from facerec.metastore.changes import DatabaseFeed
from facerec.services.analysis import AnalysisService
from facerec.services.collections import CollectionService
from facerec.services.engines import Engines
from facerec.services.faces import FaceService
from facerec.services.matching import UserMatcher
from facerec.services.people import PeopleService
from facerec.services.registry.identifying import Rule
from facerec.services.registry.service import RegistryPolicy, RegistryService
from facerec.services.retention.ends import EndService
from facerec.services.retention.lifetimes import Lifetimes
from facerec.services.retention.sweeping import Sweeper
from facerec.vectors.embedded import EmbeddedStore


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
    engines: Engines
    clock: Clock
    collections: CollectionService
    faces: FaceService
    people: PeopleService
    registry: RegistryService
    analysis: AnalysisService
    vectors: EmbeddedStore
    lifetimes: Lifetimes
    sweeper: Sweeper
    ends: EndService


@contextmanager
def open_house(
    folder: Path,
    *,
    max_faces: int = 1000,
    engine: FakeEngine | None = None,
    default_ttl: int = FOREVER,
    matching: UserMatching = "average",
    database_url: str | None = None,
    images: ImageLoader | None = None,
) -> Iterator[House]:
    """A house over the database of a folder, made where there is none; closed in the end."""
    database = open_metastore(read_settings(data_dir=folder, database_url=database_url))
    engine, clock, images = engine or FakeEngine(), Clock(), images or Images()
    engines = Engines(engine, database, open_pack=open_fake)
    lifetimes = Lifetimes(default_ttl, clock)
    vectors = EmbeddedStore(folder / "vectors", DatabaseFeed(database))
    people = PeopleService(database, vectors, engines, images, lifetimes=lifetimes, matching=matching)
    yield House(
        database,
        engine,
        engines,
        clock,
        CollectionService(database, vectors, engines, lifetimes=lifetimes),
        FaceService(database, vectors, engines, images, max_faces=max_faces, lifetimes=lifetimes),
        people,
        RegistryService(
            database,
            engines,
            images,
            people,
            UserMatcher(database, vectors, lifetimes, matching),
            RegistryPolicy(
                collection="persons", review=Review.STANDARD, rule=Rule(None, 0.03), max_images=10
            ),
            lifetimes=lifetimes,
        ),
        AnalysisService(engine, images),
        vectors,
        lifetimes,
        Sweeper(database, vectors, lifetimes),
        EndService(database, lifetimes),
    )
    vectors.close()
    database.close()


def open_fake(pack: str) -> FakeEngine:
    """The engine of a pack by its name, as in MODEL_PATH: fake@2.0."""
    return FakeEngine(model_version=pack.partition("@")[2] or "1.0")


def picture(*identities: str | FakeFace, variation: int = 0) -> InlineImage:
    """An image of these people, the first the largest."""
    return InlineImage(draw(*identities, variation=variation))
