"""Albums over a house of use cases, images that a test lays out, and a queue that it empties itself."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from service_house import House, open_house

from facerec.domain import ImageReference, InlineImage, S3Image
from facerec.engine.fake import draw
from facerec.errors import FacerecError, InvalidS3Object
from facerec.images.base import ObjectPage
from facerec.jobs.base import Job, JobCounts, JobQueue, NewJob, Payload
from facerec.metastore.albums import NewImage
from facerec.metastore.items import ItemState
from facerec.services.albums.indexing import AlbumIndexing
from facerec.services.albums.people import AlbumPeople
from facerec.services.albums.placing import PEOPLE_JOB, PeoplePlacing
from facerec.services.albums.service import IMAGE_JOB, LISTING_JOB, AlbumService
from facerec.services.albums.sources import new_image
from facerec.services.audit import AuditLog

BUCKET = "photos"


@dataclass
class Bucket:
    """Objects in S3 by their keys: bytes, or what is raised instead."""

    objects: dict[str, bytes | Exception] = field(default_factory=dict)
    page_size: int = 1000

    def load(self, reference: ImageReference) -> bytes:
        """As `ImageLoader`."""
        if isinstance(reference, InlineImage):
            return reference.data
        assert isinstance(reference, S3Image)
        found = self.objects.get(reference.name, InvalidS3Object())
        if isinstance(found, Exception):
            raise found
        return found

    def page(self, bucket: str, prefix: str, *, after: str) -> ObjectPage:
        """As `ObjectStore`."""
        if bucket != BUCKET:
            raise InvalidS3Object("There is no such bucket.")
        keys = sorted(key for key in self.objects if key.startswith(prefix) and key > after)
        page = keys[: self.page_size]
        return ObjectPage(page, page[-1] if len(keys) > len(page) else None)

    def open(self, reference: S3Image) -> BinaryIO:
        """As `ObjectStore`."""
        return io.BytesIO(self.load(reference))

    def paint(self, key: str, *people: str, variation: int = 0) -> str:
        """Lay a picture of some people at a key."""
        self.objects[key] = draw(*people, variation=variation)
        return key


@dataclass
class ListedQueue:
    """Jobs in a list. It keeps only what the use cases put: a test leases by hand."""

    jobs: list[NewJob] = field(default_factory=list)
    fails: Exception | None = None

    def put(self, jobs: Sequence[NewJob]) -> None:
        """As `JobQueue`."""
        if self.fails is not None:
            raise self.fails
        self.jobs += jobs

    def counts(self) -> Mapping[str, JobCounts]:
        """As `JobQueue`."""
        kinds = {job.kind for job in self.jobs}
        return {kind: JobCounts(waiting=sum(job.kind == kind for job in self.jobs)) for kind in kinds}


@dataclass
class AlbumHouse:
    """A house with albums."""

    house: House
    bucket: Bucket
    queue: ListedQueue
    albums: AlbumService
    work: AlbumIndexing
    people: AlbumPeople
    placing: PeoplePlacing

    def add(self, album_id: str, *keys: str) -> None:
        """Add images by their keys."""
        self.albums.add(album_id, [self.image(key) for key in keys])

    def image(self, key: str) -> NewImage:
        """An object as a new image."""
        return new_image(S3Image(BUCKET, key))

    def do(self, job: Job) -> None:
        """Do one job once."""
        handlers: dict[str, Callable[[Job], None]] = {
            IMAGE_JOB: self.work.index_image,
            LISTING_JOB: self.work.list_prefix,
            PEOPLE_JOB: self.placing.work,
        }
        handlers[job.kind](job)

    def drain(self, *, times: int = 1) -> None:
        """Do all jobs, each so many times; one that fails is done again until it does not."""
        while self.queue.jobs:
            new = min(self.queue.jobs, key=lambda job: job.priority)
            self.queue.jobs.remove(new)
            for _ in range(times):
                for attempt in itertools.count(1):
                    try:
                        self.do(leased(new.kind, new.payload, attempt=attempt))
                        break
                    except FacerecError:
                        assert attempt < 10

    def states(self, album_id: str) -> dict[str, ItemState]:
        """The state of each image by its source."""
        return {each.source: each.state for each in self.albums.images(album_id).items}


def leased(kind: str, payload: Payload, *, attempt: int = 1) -> Job:
    """A job as a worker has it."""
    return Job(id="1", kind=kind, payload=payload, attempt=attempt, queued_at=0.0, receipt="r")


@contextmanager
def open_albums(folder: Path, database_url: str | None = None) -> Iterator[AlbumHouse]:
    """Albums over the database of a folder."""
    bucket, queue = Bucket(), ListedQueue()
    with open_house(folder, database_url=database_url, images=bucket) as house:
        albums = AlbumService(
            house.database, house.vectors, house.engines, cast(JobQueue, queue), lifetimes=house.lifetimes
        )
        placing = PeoplePlacing(
            house.database, house.engines, cast(JobQueue, queue), lifetimes=house.lifetimes
        )
        audit = AuditLog(house.database, "off")
        work = AlbumIndexing(
            house.database, albums, house.faces, bucket, placing, audit, lifetimes=house.lifetimes
        )
        people = AlbumPeople(house.database, placing, lifetimes=house.lifetimes)
        yield AlbumHouse(house, bucket, queue, albums, work, people, placing)
