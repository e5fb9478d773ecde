"""Puts the service together from its settings, and takes it apart again in reverse."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from facerec.config import MEBIBYTE, Settings
from facerec.db import Database
from facerec.engine.base import Engine
from facerec.engine.remembering import RememberingEngine
from facerec.images.loader import open_loader
from facerec.metastore import open_metastore
from facerec.metastore.changes import DatabaseFeed
from facerec.services.analysis import AnalysisService
from facerec.services.collections import CollectionService
from facerec.services.engines import Engines
from facerec.services.faces import FaceService
from facerec.services.keys import KeyService
from facerec.services.people import PeopleService
from facerec.vectors.base import VectorStore
from facerec.vectors.opening import open_vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The opened service: its use cases, and the parts they work with."""

    settings: Settings
    engine: Engine
    database: Database
    vectors: VectorStore
    collections: CollectionService
    faces: FaceService
    people: PeopleService
    analysis: AnalysisService
    keys: KeyService


@contextlib.contextmanager
def open_service(settings: Settings, *, engine: Engine | None = None) -> Iterator[Service]:
    """Open everything; on leaving, close it in reverse.

    `engine` is used (and not closed) in place of the one that the settings name. Raises ConfigurationError,
    PackError or StorageError when a part can not be opened; the parts opened before it are closed then.
    """
    with contextlib.ExitStack() as stack:
        database = open_metastore(settings)
        stack.callback(database.close)
        vectors = open_vectors(settings, database, DatabaseFeed(database))
        stack.callback(vectors.close)
        if engine is None:
            engine = _open_engine(settings)
            stack.callback(engine.close)
        if settings.result_cache_mib:
            engine = RememberingEngine(engine, max_bytes=settings.result_cache_mib * MEBIBYTE)
        images = open_loader(settings)
        engines = Engines(
            engine,
            database,
            extra_packs=settings.extra_packs,
            open_pack=lambda pack: _open_engine(settings.model_copy(update={"model_path": pack})),
        )
        stack.callback(engines.close)
        collections = CollectionService(database, vectors, engines)
        collections.finish_deletions()
        yield Service(
            settings=settings,
            engine=engine,
            database=database,
            vectors=vectors,
            collections=collections,
            faces=FaceService(database, vectors, engines, images),
            people=PeopleService(database, vectors, engines, images),
            analysis=AnalysisService(engine, images),
            keys=open_keys(settings, database),
        )


def open_keys(settings: Settings, database: Database) -> KeyService:
    """The access keys of a database, without the rest of the service: for the command line."""
    return KeyService(
        database,
        master_key_path=settings.master_key_path,
        clock_skew_seconds=settings.clock_skew_seconds,
    )


def _open_engine(settings: Settings) -> Engine:
    """The engine of the settings' model pack. Imported here: the networks' runtimes take a second to load."""
    from facerec.engine.packs.loading import open_engine

    return open_engine(settings)
