"""The jobs of albums: look at one image, list one page of a prefix.

Each may be done twice, or be broken off between its transactions, and the album ends the same: an image's
faces are found by image and external id and are not stored again, and a listing goes on from a key.
"""

from __future__ import annotations

import logging

from facerec.db import Connection, Database
from facerec.domain import S3Image
from facerec.errors import (
    Cancelled,
    FacerecError,
    ImageTooLarge,
    InvalidImage,
    InvalidImageUrl,
    InvalidParameter,
    InvalidS3Object,
    NotFound,
    QuotaExceeded,
    S3Unavailable,
    UrlUnavailable,
)
from facerec.images.base import ObjectStore
from facerec.jobs.base import Job, Priority
from facerec.metastore import album_listings, albums
from facerec.metastore.album_listings import Listing
from facerec.metastore.albums import Album, AlbumImage, AlbumKey
from facerec.metastore.items import ItemState
from facerec.observability import RequestContext, current_request
from facerec.services.albums.importing import ImportService
from facerec.services.albums.manifests import kind_of, read_manifest
from facerec.services.albums.placing import PeoplePlacing
from facerec.services.albums.service import AlbumService
from facerec.services.albums.sources import is_image_name, new_image, reference_of
from facerec.services.askers import WORKER
from facerec.services.audit import DONE, Act, AuditLog, Deed, deed_of
from facerec.services.faces import FaceService, IndexResult
from facerec.services.retention.lifetimes import Lifetimes

ATTEMPTS = 4
"""Times that an image or a page is tried before it has failed. A job that kills its worker comes back with
the next number too, and is not tried a fifth time."""

FOR_GOOD = (
    Cancelled,
    InvalidParameter,
    InvalidImage,
    ImageTooLarge,
    InvalidS3Object,
    InvalidImageUrl,
    QuotaExceeded,
    NotFound,
)
"""What is wrong with the image or the album, and is not cured by trying again..."""

MAY_PASS = (S3Unavailable, UrlUnavailable)
"""...but for these of them."""

_log = logging.getLogger(__name__)


class AlbumIndexing:
    """Does the jobs of albums. Safe to call from many threads."""

    def __init__(
        self,
        database: Database,
        albums: AlbumService,
        faces: FaceService,
        objects: ObjectStore,
        placing: PeoplePlacing,
        audit: AuditLog,
        *,
        lifetimes: Lifetimes | None = None,
    ) -> None:
        """placing: is asked to look for people when the last image of an album is done."""
        self._database = database
        self._albums = albums
        self._faces = faces
        self._objects = objects
        self._placing = placing
        self._audit = audit
        self._imports = ImportService(database, albums, lifetimes=lifetimes)
        self._clock = (lifetimes or Lifetimes()).clock

    def index_image(self, job: Job) -> None:
        """Look at an image of an album. What cannot be had or read has failed, with the reason.

        Raises what may pass by itself (StorageError, Overloaded, S3Unavailable...), until it was tried
        `ATTEMPTS` times.
        """
        key, number = AlbumKey(_number(job, "album")), _number(job, "image")
        with self._database.read() as connection:
            album = albums.look_up(connection, key)
            image = albums.image(connection, key, number)
        if album is None or image is None or image.state is not ItemState.WAITING:
            return
        if job.attempt > ATTEMPTS:
            self._fail(image, job, f"It was given up after {ATTEMPTS} attempts: none of them ended.")
        else:
            self._try(album, image, job)
        self._placing.ask_at_rest(album)

    def list_prefix(self, job: Job) -> None:
        """Read the next page of a prefix, add its images, and queue a job for the page after it.

        Of an import: read its manifest.

        Raises what may pass by itself, as `index_image` does.
        """
        key, number = AlbumKey(_number(job, "album")), _number(job, "listing")
        with self._database.read() as connection:
            album = albums.look_up(connection, key)
            found = [each for each in album_listings.of_album(connection, key) if each.number == number]
        if album is None or not found:
            return
        if found[0].state is ItemState.WAITING:
            try:
                if album.manifest is None:
                    self._read_page(found[0])
                else:
                    self._read_manifest(album, found[0])
            except FacerecError as error:
                if passes(error) and job.attempt < ATTEMPTS:
                    raise
                self._advance(found[0], ItemState.FAILED, reason=error.message)
        # In every case: one who read the page before may have died before this.
        self._albums.dispatch(key, Priority.BACKLOG)

    def _try(self, album: Album, image: AlbumImage, job: Job) -> None:
        """Look at an image, and note what became of it. Raises what may pass while there are attempts."""
        request = current_request()
        request.collection = album.collection
        request.people.append(image.external_id)
        try:
            self._index(album, image, job, request)
        except Exception as error:
            self._audit.record(request, self._deed(request, job, type(error).__name__))
            if not isinstance(error, FacerecError) or (passes(error) and job.attempt < ATTEMPTS):
                raise
            self._fail(image, job, error.message)

    def _deed(self, request: RequestContext, job: Job, outcome: str) -> Deed:
        return deed_of(request, act=Act.CHANGE, door=WORKER, operation=job.kind, outcome=outcome)

    def _index(self, album: Album, image: AlbumImage, job: Job, request: RequestContext) -> None:
        """Store the faces of an image, and note that it is done and who asked for it, together: a worker that
        is killed before does nothing of it, and the next one all.
        """
        reference = reference_of(image)
        if reference is None:
            raise InvalidImage("The image came with a request and was not kept: send it again.")

        def note(connection: Connection, result: IndexResult) -> None:
            request.faces[:] = [one.face.face_id for one in result.indexed]
            self._audit.record_in(connection, request, self._deed(request, job, DONE))
            albums.finish(
                connection,
                image.album,
                image.number,
                ItemState.DONE,
                attempts=job.attempt,
                finished_at=self._clock(),
                faces=len(result.indexed),
                image_id=result.image_id,
            )

        with self._database.announced():
            self._faces.index(
                album.collection,
                reference,
                external_image_id=image.external_id,
                identity=album.collection_identity,
                note=note,
                likely_new=job.attempt == 1,
            )

    def _fail(self, image: AlbumImage, job: Job, reason: str) -> None:
        now = self._clock()
        self._database.write_together(
            lambda connection: albums.finish(
                connection,
                image.album,
                image.number,
                ItemState.FAILED,
                attempts=min(job.attempt, ATTEMPTS),
                finished_at=now,
                reason=reason,
            )
        )

    def _read_page(self, listing: Listing) -> None:
        page = self._objects.page(listing.bucket, listing.prefix, after=listing.after)
        images = [new_image(S3Image(listing.bucket, key)) for key in page.keys if is_image_name(key)]
        with self._database.write() as connection:
            album = albums.look_up(connection, listing.album, lock=True)
            if album is None or not album_listings.advance(
                connection,
                listing,
                ItemState.DONE if page.last is None else ItemState.WAITING,
                after=listing.after if page.last is None else page.last,
                objects=len(page.keys),
                found=len(images),
                queued=page.last is None,
            ):
                return  # deleted, cancelled, or read by another one meanwhile
            albums.add(connection, album, images)

    def _read_manifest(self, album: Album, listing: Listing) -> None:
        """Read all of a manifest in S3; the entries that were read before are passed over."""
        place = S3Image(listing.bucket, listing.prefix)
        with self._objects.open(place) as file:
            entries = read_manifest(file, kind_of(place.name), template=album.template)
            last = self._imports.read(album.album_id, entries)
        with self._database.write() as connection:
            album_listings.advance(connection, listing, ItemState.DONE, after="", objects=last, found=last)

    def _advance(self, listing: Listing, state: ItemState, *, reason: str) -> None:
        with self._database.write() as connection:
            album_listings.advance(connection, listing, state, after=listing.after, reason=reason)


def passes(error: FacerecError) -> bool:
    """Whether it may be cured by trying again."""
    return not isinstance(error, FOR_GOOD) or isinstance(error, MAY_PASS)


def _number(job: Job, name: str) -> int:
    """A number of the job's payload; 0, which nothing has, for anything else."""
    value = job.payload.get(name)
    return value if isinstance(value, int) else 0
