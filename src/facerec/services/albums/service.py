"""Use cases on albums: make them, add images, see how far they are, cancel, try again, delete.

The rows are the truth: what waits, what is done, what has failed and why. A job only says "look at image 17
of album 4"; a job that is lost is put again, and one that comes twice does nothing.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from facerec.db import Connection, Database
from facerec.domain import Page
from facerec.errors import InvalidParameter, QuotaExceeded
from facerec.jobs.base import ALL_KINDS, JobQueue, NewJob, Priority
from facerec.metastore import album_listings, album_notices, album_people, albums, collections
from facerec.metastore.album_listings import Listing
from facerec.metastore.albums import Album, AlbumImage, AlbumKey, NewImage
from facerec.metastore.items import ItemState
from facerec.services.albums.sources import check_bucket
from facerec.services.askers import asker
from facerec.services.collections import remove_deleted
from facerec.services.dispatching import queue_jobs
from facerec.services.engines import Engines
from facerec.services.external_ids import EXTERNAL_ID
from facerec.services.idempotency import RepeatableRequest
from facerec.services.pagination import PageTokens, page_size
from facerec.services.retention.lifetimes import Lifetimes
from facerec.vectors.base import VectorStore

IMAGE_JOB = "album-image"
LISTING_JOB = "album-listing"

MOST_FRESH = 1000
"""Images of one call that go before the backlog; larger ones are backlog themselves."""

MOST_AT_ONCE = 10_000
"""Images that one call may add."""

DEFAULT_PAGE = 100
LARGEST_PAGE = 1000

RATE_SECONDS = 60.0
"""Span of time that the rate of an album is measured over."""

REMOVAL_STEP = 25_000


class AlbumState(StrEnum):
    """How an album stands."""

    EMPTY = "EMPTY"
    WORKING = "WORKING"
    DONE = "DONE"
    """Nothing waits; some images may have failed."""
    CANCELLED = "CANCELLED"
    """Nothing waits, and some images were never looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an album is, at one moment."""

    album: Album
    state: AlbumState
    counts: dict[ItemState, int]
    faces: int
    """Faces in its collection."""
    rate: float
    """Images finished a second, over the last minute; 0.0 where none was."""
    seconds_left: float | None
    """Until nothing waits at that rate; None where it is not known."""
    listings: tuple[Listing, ...]


@dataclass(frozen=True, slots=True)
class Added:
    """How many images are new to the album, and how many it had already."""

    new: int
    known: int


class AlbumService:
    """Albums and their images. Safe to call from many threads."""

    def __init__(
        self,
        database: Database,
        vectors: VectorStore,
        engines: Engines,
        queue: JobQueue,
        *,
        lifetimes: Lifetimes | None = None,
        tells: bool = False,
    ) -> None:
        """queue: where jobs are put. lifetimes: when faces end, and the clock. tells: whether anybody is told
        of ends.
        """
        self._tells = tells
        self._database = database
        self._vectors = vectors
        self._engines = engines
        self._queue = queue
        self._lifetimes = lifetimes or Lifetimes()
        self._tokens = PageTokens(database)

    def create(
        self,
        album_id: str | None = None,
        *,
        title: str = "",
        client_token: str | None = None,
    ) -> Album:
        """Make an empty album and its collection. Without an id it gets one.

        The same call with the same client token gives the same album again. Raises InvalidParameter,
        AlreadyExists for an album or a collection of that id, IdempotencyMismatch.
        """
        if album_id is not None and EXTERNAL_ID.fullmatch(album_id) is None:
            raise InvalidParameter("An album's id is 1 to 255 letters, digits and _.-:")
        if len(title) > 255 or "\0" in title:
            raise InvalidParameter("An album's title has at most 255 characters.")
        now = self._lifetimes.clock()
        request = RepeatableRequest("CreateAlbum", client_token, (album_id, title), now)
        with self._database.write() as connection:
            before = request.recall(connection)
            if before is not None:
                return albums.find(connection, json.loads(before))
            name = album_id or str(uuid.uuid4())
            contract = self._engines.default.contract
            own = collections.insert(connection, name=name, contract=contract, created_at=now)
            album = albums.insert(connection, album_id=name, title=title, created_at=now, collection=own)
            request.remember(connection, name)
        return album

    def get(self, album_id: str) -> Album:
        """An album. Raises AlbumNotFound."""
        with self._database.read() as connection:
            return albums.find(connection, album_id)

    def list(self, *, limit: int | None = None, token: str | None = None) -> Page[Album]:
        """A page of the albums, oldest first. Raises InvalidPaginationToken."""
        size = page_size(limit, DEFAULT_PAGE, LARGEST_PAGE)
        after = self._tokens.read_number(token, "albums")
        with self._database.read() as connection:
            found = albums.list_after(connection, after, size + 1)
        more = self._tokens.make(found[size - 1].key, "albums") if len(found) > size else None
        return Page(tuple(found[:size]), more)

    def images(
        self,
        album_id: str,
        *,
        state: ItemState | None = None,
        limit: int | None = None,
        token: str | None = None,
    ) -> Page[AlbumImage]:
        """A page of an album's images in the order in which they were added; with `state`, those in it.

        Raises AlbumNotFound, InvalidPaginationToken.
        """
        size = page_size(limit, DEFAULT_PAGE, LARGEST_PAGE)
        with self._database.read() as connection:
            album = albums.find(connection, album_id)
            scope = ("album-images", album.key, state)
            after = self._tokens.read_number(token, *scope)
            found = albums.images_after(connection, album, after, size + 1, state=state)
        more = self._tokens.make(found[size - 1].number, *scope) if len(found) > size else None
        return Page(tuple(found[:size]), more)

    def progress(self, album_id: str) -> Progress:
        """How far an album is. Raises AlbumNotFound."""
        now = self._lifetimes.clock()
        with self._database.read() as connection:
            album = albums.find(connection, album_id)
            counts = albums.IMAGES.counts(connection, album.key)
            listings = tuple(album_listings.of_album(connection, album.key))
            lately = albums.IMAGES.finished_since(connection, album.key, now - RATE_SECONDS)
            named = collections.look_up(connection, album.collection)
        waiting = counts[ItemState.WAITING]
        rate = lately.rate(now)
        listing = any(each.state is ItemState.WAITING for each in listings)
        return Progress(
            album=album,
            state=state_of(counts, listings),
            counts=counts,
            faces=0 if named is None else named.face_count,
            rate=rate,
            seconds_left=waiting / rate if waiting and rate and not listing else None,
            listings=listings,
        )

    def add(self, album_id: str, images: Sequence[NewImage], *, priority: Priority | None = None) -> Added:
        """Add images, and queue them: nothing is looked at before this returns.

        The same source and version is one image, however often it is added. priority: fresh for up to a
        thousand of them, else backlog. Raises AlbumNotFound, QuotaExceeded, JobQueueUnavailable: then they
        are added, and are queued a little later.
        """
        if len(images) > MOST_AT_ONCE:
            raise QuotaExceeded(
                f"At most {MOST_AT_ONCE} images are added in one call; there are {len(images)}."
            )
        with self._database.write() as connection:
            album = albums.find(connection, album_id, lock=True)
            new = albums.add(connection, album, images)
            if new:
                self.await_end(connection, album.key)
        if priority is None:
            priority = Priority.FRESH if len(images) <= MOST_FRESH else Priority.BACKLOG
        self.dispatch(album.key, priority)
        return Added(new, len(images) - new)

    def add_prefix(self, album_id: str, bucket: str, prefix: str) -> Listing:
        """Add the images of a prefix in S3: a job lists them, page by page.

        Raises AlbumNotFound, InvalidParameter, JobQueueUnavailable as `add` does.
        """
        check_bucket(bucket)
        if "\0" in prefix or len(prefix.encode("utf-8", "surrogatepass")) > 1024:
            raise InvalidParameter("A prefix in S3 has at most 1024 bytes, none of them NUL.")
        with self._database.write() as connection:
            album = albums.find(connection, album_id, lock=True)
            listing = album_listings.add(connection, album, bucket, prefix)
            self.await_end(connection, album.key)
        self.dispatch(album.key, Priority.FRESH)
        return listing

    def cancel(self, album_id: str) -> int:
        """Look at no more images of an album; how many those were. What is at work is finished.

        Raises AlbumNotFound.
        """
        with self._database.write() as connection:
            return albums.cancel(connection, albums.find(connection, album_id, lock=True))

    def retry(self, album_id: str) -> int:
        """Try again what has failed or was cancelled; how many images those are.

        Images that wait are queued anew where the queue has lost them. Raises AlbumNotFound,
        JobQueueUnavailable.
        """
        states = [ItemState.FAILED, ItemState.CANCELLED]
        if self._queue_is_idle():
            states.append(ItemState.WAITING)
        with self._database.write() as connection:
            album = albums.find(connection, album_id, lock=True)
            number = albums.wait_again(connection, album, states)
            self.await_end(connection, album.key)
        self.dispatch(album.key, Priority.BACKLOG)
        return number

    def delete(self, album_id: str) -> None:
        """Delete an album with its images' rows, its people, its collection and all faces in it.

        Of an import the collection stays, with the faces. Raises AlbumNotFound.

        Its jobs find nothing to do. When the process dies on the way, `finish_deletions` removes the rest,
        which nobody can see.
        """
        with self._database.write() as connection:
            album = albums.find(connection, album_id, lock=True)
            albums.mark_deleted(connection, album.key)
            own = collections.look_up(connection, album.collection)
            if album.manifest is None and own is not None and own.identity == album.collection_identity:
                collections.mark_deleted(connection, own.key)
        self.finish_deletions()

    def finish_deletions(self) -> None:
        """Remove what is left of deleted albums, in small transactions."""
        remove_deleted(self._database, self._vectors)
        with self._database.read() as connection:
            keys = albums.awaiting_removal(connection)
        for key in keys:
            while not self._remove_some(key):
                pass

    def await_end(self, connection: Connection, key: AlbumKey) -> None:
        """Have the end of an album's work told, where anybody is told of ends."""
        if self._tells:
            album_notices.await_end(connection, key)

    def dispatch(self, key: AlbumKey, priority: Priority) -> None:
        """Queue jobs for what waits in an album and has none. Raises JobQueueUnavailable."""
        by = asker()

        def listing_job(number: int) -> NewJob:
            return NewJob(kind=LISTING_JOB, payload={"album": key, "listing": number, **by})

        def image_job(number: int) -> NewJob:
            return NewJob(kind=IMAGE_JOB, payload={"album": key, "image": number, **by}, priority=priority)

        queue_jobs(self._database, self._queue, album_listings.LISTINGS, key, listing_job)
        queue_jobs(self._database, self._queue, albums.IMAGES, key, image_job)

    def dispatch_all(self) -> None:
        """Queue jobs for whatever waits without one: of calls that were broken off before they did it."""
        with self._database.read() as connection:
            keys = albums.IMAGES.owners_with_unqueued(connection)
            keys |= album_listings.LISTINGS.owners_with_unqueued(connection)
        for key in sorted(keys):
            self.dispatch(AlbumKey(key), Priority.BACKLOG)

    def _remove_some(self, key: AlbumKey) -> bool:
        with self._database.write(sweep=True) as connection:
            if album_people.remove_some(connection, key, REMOVAL_STEP) == REMOVAL_STEP:
                return False
            return albums.remove_some(connection, key, REMOVAL_STEP)

    def _queue_is_idle(self) -> bool:
        """Whether the queue has no job for any image, as far as it can tell kinds apart."""
        counts = self._queue.counts()
        counted = [counts[kind] for kind in (IMAGE_JOB, ALL_KINDS) if kind in counts]
        return sum(each.waiting + each.leased for each in counted) == 0


def state_of(counts: dict[ItemState, int], listings: Sequence[Listing]) -> AlbumState:
    """How an album of such images and listings stands."""
    states = {each.state for each in listings} | {state for state, number in counts.items() if number}
    if ItemState.WAITING in states:
        return AlbumState.WORKING
    if ItemState.CANCELLED in states:
        return AlbumState.CANCELLED
    return AlbumState.DONE if states else AlbumState.EMPTY
