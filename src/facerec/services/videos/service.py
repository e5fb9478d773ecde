"""Use cases of video jobs: start one, see how it stands and what was found, take it away."""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Protocol

from facerec.db import Connection, Database
from facerec.domain import (
    FaceMatch,
    LocalImage,
    Page,
    VideoJob,
    VideoOperation,
    VideoReference,
    VideoState,
    VideoWish,
)
from facerec.errors import JobQueueUnavailable, NotFound, TooManyJobs
from facerec.jobs.base import JobQueue, NewJob
from facerec.metastore import collections, faces, videos
from facerec.services.askers import asker
from facerec.services.idempotency import RepeatableRequest
from facerec.services.pagination import PageTokens, page_size
from facerec.services.retention.lifetimes import Lifetimes
from facerec.services.videos.results import PART, Entry, Person, unpack_entries, unpack_persons
from facerec.services.videos.uploads import node_of, remove_left_over, remove_upload

MOST_RESULTS = 1000
"""Faces on a page: Rekognition's default, and its most."""

MOST_LISTED = 1000

VIDEO_JOB = "video"

_log = logging.getLogger(__name__)


class Videos(Protocol):
    """What is asked of the place where videos lie."""

    def check(self, reference: VideoReference) -> None:
        """Raise what stands against opening it."""


@dataclass(frozen=True, slots=True)
class FaceResults:
    """How a job stands, and a page of its faces in the order of their times."""

    job: VideoJob
    page: Page[Entry]


@dataclass(frozen=True, slots=True)
class SeenPerson:
    """A person in a frame, and the stored faces that it looks like, most similar first."""

    entry: Entry
    person: Person
    matches: tuple[FaceMatch, ...]


@dataclass(frozen=True, slots=True)
class PersonResults:
    """How a job stands, and a page of what was seen of its persons."""

    job: VideoJob
    page: Page[SeenPerson]


@dataclass(frozen=True, slots=True)
class Appearing:
    """A person of a video on the whole, and the stored faces that it looks like."""

    person: Person
    matches: tuple[FaceMatch, ...]


class VideoService:
    """Starts video jobs and answers for them. Safe to call from many threads."""

    def __init__(
        self,
        database: Database,
        source: Videos,
        lifetimes: Lifetimes,
        queue: JobQueue,
        *,
        max_jobs: int,
        kept_seconds: float,
        uploads: Path,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """max_jobs: that wait or are at work. kept_seconds: after its end, of a job and what was found.

        queue: where jobs are put. uploads: folder of the videos that were sent to this machine.
        """
        self._database = database
        self._source = source
        self._lifetimes = lifetimes
        self._queue = queue
        self._max_jobs = max_jobs
        self._kept_seconds = kept_seconds
        self.uploads = uploads
        self._clock = clock
        self._tokens = PageTokens(database)

    def start(self, wish: VideoWish, *, client_token: str | None = None) -> str:
        """Have a video looked at; the job's id. The same token with the same wish gives the same job.

        Raises InvalidS3Object, InvalidImageUrl, InvalidVideo, VideoTooLarge for a video that can not be had,
        NotFound without the collection, IdempotencyMismatch, TooManyJobs, StorageError.
        """
        self._source.check(wish.video)
        now = self._clock()
        with self._database.write() as connection:
            key = None if wish.collection is None else collections.find(connection, wish.collection).key
            request = RepeatableRequest(wish.operation, client_token, (_described(wish), key), now)
            if (answered := request.recall(connection)) is not None:
                return str(json.loads(answered))
            count = videos.count_open(connection)
            if count >= self._max_jobs:
                raise TooManyJobs(f"{count} open Jobs, Maximum limit: {self._max_jobs}")
            job_id = secrets.token_hex(32)
            node = node_of(self.uploads) if isinstance(wish.video, LocalImage) else None
            videos.insert(connection, job_id, wish, node=node, now=now)
            request.remember(connection, job_id)
        try:
            self._queue.put([_queued(job_id, node)])
        except JobQueueUnavailable as error:
            _log.warning("a video is queued a little later: %s", error)
        return job_id

    @property
    def job_kinds(self) -> tuple[str, str]:
        """Kinds of the jobs that this machine can do: of videos anywhere, and of those that it has itself."""
        return job_kind(None), job_kind(node_of(self.uploads))

    def dispatch_all(self) -> None:
        """Queue a job for whatever video is open and has none: what was broken off, or lost by the queue.

        Raises JobQueueUnavailable.
        """
        with self._database.read() as connection:
            waiting = videos.open_by_node(connection)
        self._queue.put([_queued(job_id, node) for job_id, node in waiting])

    def find(self, job_id: str, operation: VideoOperation | None = None) -> VideoJob:
        """A job, of an operation where one is named. Raises NotFound."""
        with self._database.read() as connection:
            return _found(connection, job_id, operation)

    def list(self, limit: int = 100) -> Sequence[VideoJob]:
        """The newest jobs, newest first."""
        with self._database.read() as connection:
            return videos.list_newest(connection, min(limit, MOST_LISTED))

    def delete(self, job_id: str) -> None:
        """Stop a job where it is at work, and remove it with all that was found. Raises NotFound."""
        with self._database.write() as connection:
            job = videos.find(connection, job_id)
            videos.delete(connection, [job_id])
        remove_upload(self.uploads, job.wish.video)

    def remove_past(self) -> int:
        """Remove the jobs whose results were kept long enough, and uploads left over; how many jobs."""
        removed = 0
        while True:
            with self._database.write() as connection:
                past = videos.past(connection, self._clock() - self._kept_seconds)
                removed += videos.delete(connection, past)
                open_files = {
                    job.wish.video.path
                    for job in videos.list_open(connection)
                    if isinstance(job.wish.video, LocalImage)
                }
            if not past:
                break
        remove_left_over(self.uploads, open_files)
        return removed

    def faces(self, job_id: str, *, limit: int | None = None, token: str | None = None) -> FaceResults:
        """A page of the faces of a detection. Raises NotFound, InvalidPaginationToken."""
        with self._database.read() as connection:
            job = _found(connection, job_id, VideoOperation.FACE_DETECTION)
            start = self._tokens.read_number(token, "video faces", job_id)
            places = _page(start, limit, _there(job))
            entries = _entries(connection, job_id, places)
        return FaceResults(job, Page(tuple(entries), self._next(places, job, "video faces")))

    def persons(
        self, job_id: str, *, limit: int | None = None, token: str | None = None, by_person: bool = False
    ) -> PersonResults:
        """A page of what was seen of a search's persons, in the order of time, or person by person.

        Faces that the collection has no more are no matches. Raises NotFound, InvalidPaginationToken.
        """
        scope = f"video persons {'by person' if by_person else 'by time'}"
        with self._database.read() as connection:
            job = _found(connection, job_id, VideoOperation.FACE_SEARCH)
            start = self._tokens.read_number(token, scope, job_id)
            places = _page(start, limit, _there(job))
            packed = videos.result_of(connection, job_id)
            if packed is None or not places:
                return PersonResults(job, Page((), None))
            table = unpack_persons(packed)
            wanted = table.by_person[places.start : places.stop].tolist() if by_person else places
            entries = _entries(connection, job_id, wanted)
            owners = table.person_of_track
            persons = {owners[entry.track].index: owners[entry.track] for entry in entries}
            matches = self._matches(connection, job, list(persons.values()))
        seen = [
            SeenPerson(entry, owners[entry.track], matches[owners[entry.track].index]) for entry in entries
        ]
        return PersonResults(job, Page(tuple(seen), self._next(places, job, scope)))

    def appearances(self, job_id: str) -> Sequence[Appearing]:
        """The persons of a search on the whole, in the order of their first appearance. Raises NotFound."""
        with self._database.read() as connection:
            job = _found(connection, job_id, VideoOperation.FACE_SEARCH)
            packed = videos.result_of(connection, job_id)
            persons = () if packed is None else unpack_persons(packed).persons
            matches = self._matches(connection, job, persons)
        return [Appearing(person, matches[person.index]) for person in persons]

    def _matches(
        self, connection: Connection, job: VideoJob, persons: Sequence[Person]
    ) -> dict[int, tuple[FaceMatch, ...]]:
        """The matches of persons that the collection still has, by the persons' indexes."""
        ids = sorted({match.face_id for person in persons for match in person.matches})
        try:
            target = collections.find(connection, job.wish.collection or "")
        except NotFound:
            return {person.index: () for person in persons}
        found = faces.find(connection, target, ids, present=self._lifetimes.present(target))
        return {
            person.index: tuple(
                FaceMatch(match.similarity, match.cosine, found[match.face_id])
                for match in person.matches
                if match.face_id in found
            )
            for person in persons
        }

    def _next(self, places: range, job: VideoJob, scope: str) -> str | None:
        more = places.stop < _there(job)
        return self._tokens.make(places.stop, scope, job.job_id) if more else None


def _found(connection: Connection, job_id: str, operation: VideoOperation | None) -> VideoJob:
    """Raises NotFound, also for another operation's job."""
    job = videos.find(connection, job_id)
    if operation is not None and job.wish.operation is not operation:
        raise NotFound("Could not find JobId")
    return job


def _queued(job_id: str, node: str | None) -> NewJob:
    """The job of a video; by its key there is one at a time, however often it is put."""
    return NewJob(kind=job_kind(node), payload={"video": job_id, **asker()}, key=job_id)


def job_kind(node: str | None) -> str:
    """Of jobs that a machine alone can do; None: any machine."""
    return VIDEO_JOB if node is None else f"{VIDEO_JOB}-{node}"


def _there(job: VideoJob) -> int:
    """Entries that may be answered: all, once the job has succeeded."""
    return job.entries if job.state is VideoState.SUCCEEDED else 0


def _page(start: int, limit: int | None, count: int) -> range:
    return range(min(start, count), min(start + page_size(limit, MOST_RESULTS, MOST_RESULTS), count))


def _entries(connection: Connection, job_id: str, places: Sequence[int]) -> list[Entry]:
    """Entries by their places in the order of time."""
    packed = videos.parts_of(connection, job_id, {place // PART for place in places})
    parts = {number: unpack_entries(part) for number, part in packed.items()}
    return [parts[place // PART][place % PART] for place in places]


def _described(wish: VideoWish) -> list[str]:
    """What tells a wish from others, as JSON values."""
    return [repr(value) for value in astuple(wish)]
