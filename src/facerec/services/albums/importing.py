"""Imports: the images of a manifest into a collection, with a report that may be read at any time.

An import is kept as an album is, an image for each entry, under the entry's number: progress, cancelling and
trying again are the album's own (`AlbumService`). Reading a manifest again passes over the entries that were
read before, so that whatever breaks off is begun anew from the first line.
"""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from facerec.db import Database
from facerec.domain import Page, S3Image
from facerec.errors import Cancelled
from facerec.jobs.base import Priority
from facerec.metastore import album_listings, albums, collections, faces
from facerec.metastore.albums import Album, AlbumImage, NewEntry
from facerec.metastore.items import ItemState
from facerec.services.albums.manifests import check_template, kind_of
from facerec.services.albums.service import DEFAULT_PAGE, LARGEST_PAGE, AlbumService
from facerec.services.idempotency import RepeatableRequest
from facerec.services.pagination import PageTokens, page_size
from facerec.services.retention.lifetimes import Lifetimes

AT_ONCE = 500
"""Entries that are written, and reported, at a time."""


@dataclass(frozen=True, slots=True)
class ReportLine:
    """What became of an entry: its image as the import has it, and the ids of its faces."""

    image: AlbumImage
    face_ids: tuple[str, ...]

    @property
    def number(self) -> int:
        """Of the entry in the manifest."""
        return self.image.number


class ImportService:
    """Imports manifests. Safe to call from many threads."""

    def __init__(
        self, database: Database, album_service: AlbumService, *, lifetimes: Lifetimes | None = None
    ) -> None:
        self._database = database
        self._albums = album_service
        self._clock = (lifetimes or Lifetimes()).clock
        self._tokens = PageTokens(database)

    def create(
        self,
        collection: str,
        manifest: str,
        *,
        template: str | None = None,
        client_token: str | None = None,
    ) -> Album:
        """Begin an import into a collection; manifest: name of what is then read into it.

        template: see `read_manifest`.

        The same call with the same client token gives the same import again, to be gone on with. Raises
        NotFound for the collection, IdempotencyMismatch.
        """
        now = self._clock()
        with self._database.write() as connection:
            target = collections.find(connection, collection)
            parameters = (target.identity, manifest, template)
            request = RepeatableRequest("CreateImport", client_token, parameters, now)
            before = request.recall(connection)
            if before is not None:
                return albums.find(connection, json.loads(before))
            name = f"import-{uuid.uuid4()}"
            made = albums.insert(
                connection,
                album_id=name,
                title=manifest[:255],
                created_at=now,
                collection=target,
                manifest=manifest,
                template=template,
            )
            request.remember(connection, name)
        return made

    def create_from(
        self,
        collection: str,
        manifest: S3Image,
        *,
        template: str | None = None,
        client_token: str | None = None,
    ) -> Album:
        """Begin an import of a manifest in S3, which a job reads.

        Raises as `create` does, InvalidParameter for a name or template that is none, JobQueueUnavailable.
        """
        check_template(kind_of(manifest.name), template)
        source = f"s3://{manifest.bucket}/{manifest.name}"
        made = self.create(collection, source, template=template, client_token=client_token)
        with self._database.write() as connection:
            target = albums.find(connection, made.album_id, lock=True)
            if not album_listings.of_album(connection, target.key):
                album_listings.add(connection, target, manifest.bucket, manifest.name)
                self._albums.await_end(connection, target.key)
        self._albums.dispatch(made.key, Priority.BACKLOG)
        return made

    def list(self, *, limit: int | None = None, token: str | None = None) -> Page[Album]:
        """A page of the imports, oldest first. Raises InvalidPaginationToken."""
        size = page_size(limit, DEFAULT_PAGE, LARGEST_PAGE)
        after = self._tokens.read_number(token, "imports")
        with self._database.read() as connection:
            found = albums.list_after(connection, after, size + 1, imports=True)
        more = self._tokens.make(found[size - 1].key, "imports") if len(found) > size else None
        return Page(tuple(found[:size]), more)

    def read(self, import_id: str, entries: Iterable[NewEntry]) -> int:
        """Take in the entries of a manifest, and queue them as they come; the number of the last one.

        A few hundred at a time are in memory. Raises AlbumNotFound, Cancelled where the import was cancelled
        meanwhile, JobQueueUnavailable, and what reading the entries raises: most of those before are
        taken then.
        """
        last = 0
        left = iter(entries)
        while some := tuple(itertools.islice(left, AT_ONCE)):
            with self._database.write() as connection:
                target = albums.find(connection, import_id, lock=True)
                if albums.IMAGES.counts(connection, target.key)[ItemState.CANCELLED]:
                    raise Cancelled
                albums.add_entries(connection, target, some)
            self._albums.dispatch(target.key, Priority.BACKLOG)
            last = some[-1].number
        if last:
            with self._database.write() as connection:
                self._albums.await_end(connection, target.key)
        return last

    def report(self, import_id: str) -> Iterator[ReportLine]:
        """Every entry as it is now, in the order of the manifest, read as it is asked for.

        Raises AlbumNotFound at once.
        """
        with self._database.read() as connection:
            target = albums.find(connection, import_id)
        return self._lines(target)

    def _lines(self, target: Album) -> Iterator[ReportLine]:
        after = 0
        while True:
            with self._database.read() as connection:
                images = albums.images_after(connection, target, after, AT_ONCE)
                into = collections.look_up(connection, target.collection)
                seen = [image.image_id for image in images if image.image_id is not None]
                found = {} if into is None else faces.ids_of_images(connection, into, seen)
            if not images:
                return
            for image in images:
                ids = found.get((image.image_id or "", image.external_id), ())
                yield ReportLine(image, tuple(ids))
            after = images[-1].number
