"""The use cases of albums, put together over one database and one job queue."""

from __future__ import annotations

from dataclasses import dataclass

from facerec.db import Database
from facerec.images.base import ImageLoader, ObjectStore
from facerec.jobs.base import JobQueue
from facerec.services.albums.importing import ImportService
from facerec.services.albums.indexing import AlbumIndexing
from facerec.services.albums.originals import AlbumOriginals
from facerec.services.albums.people import AlbumPeople
from facerec.services.albums.placing import PeoplePlacing
from facerec.services.albums.searching import AlbumSearch
from facerec.services.albums.service import AlbumService
from facerec.services.albums.uploading import AlbumUploads
from facerec.services.audit import AuditLog
from facerec.services.engines import Engines
from facerec.services.faces import FaceService
from facerec.services.retention.lifetimes import Lifetimes
from facerec.vectors.base import VectorStore


@dataclass(frozen=True, slots=True, kw_only=True)
class AlbumUseCases:
    """What can be done with albums."""

    service: AlbumService
    uploads: AlbumUploads
    search: AlbumSearch
    imports: ImportService
    people: AlbumPeople
    originals: AlbumOriginals
    indexing: AlbumIndexing
    """What does the jobs of images."""
    placing: PeoplePlacing
    """What does the jobs of people."""


def album_use_cases(
    database: Database,
    vectors: VectorStore,
    engines: Engines,
    faces: FaceService,
    images: ImageLoader,
    objects: ObjectStore,
    queue: JobQueue,
    lifetimes: Lifetimes,
    audit: AuditLog,
    *,
    tells: bool = False,
) -> AlbumUseCases:
    """The use cases over the parts of a service. tells: whether anybody is told when an album is done."""
    service = AlbumService(database, vectors, engines, queue, lifetimes=lifetimes, tells=tells)
    placing = PeoplePlacing(database, engines, queue, lifetimes=lifetimes)
    return AlbumUseCases(
        service=service,
        uploads=AlbumUploads(database, faces, placing, lifetimes=lifetimes),
        search=AlbumSearch(database, vectors, engines, images, lifetimes=lifetimes),
        imports=ImportService(database, service, lifetimes=lifetimes),
        originals=AlbumOriginals(database, images),
        people=AlbumPeople(database, placing, lifetimes=lifetimes),
        indexing=AlbumIndexing(database, service, faces, objects, placing, audit, lifetimes=lifetimes),
        placing=placing,
    )
