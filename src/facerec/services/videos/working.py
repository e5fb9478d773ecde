"""Does video jobs: one process at a time has one, for as long as it renews its lease.

A worker that is killed says nothing; its lease runs out, and the video is looked at anew by another. Each
attempt has a number, and one that was overtaken writes nothing more: doing a video twice does no harm.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from facerec.db import Database
from facerec.domain import ALL_ATTRIBUTES, Collection, VideoJob, VideoOperation, VideoReference, VideoState
from facerec.engine.base import Engine
from facerec.engine.video.persons import VideoPerson
from facerec.errors import (
    DatabaseBusy,
    DatabaseUnavailable,
    FacerecError,
    ModelSwitched,
    Overloaded,
    S3Unavailable,
    VectorStoreUnavailable,
)
from facerec.metastore import videos
from facerec.metastore.leases import Lease
from facerec.services.access import open_collection
from facerec.services.engines import Engines
from facerec.services.matching import FaceMatcher
from facerec.services.videos.analysis import Look, Seen, analyse
from facerec.services.videos.results import (
    PART,
    Appearance,
    Entry,
    Match,
    Person,
    PersonTable,
    pack_entries,
    pack_persons,
)
from facerec.services.videos.uploads import known_node, remove_upload

MATCHES = 10
"""Stored faces told of each person, most similar first: they stand beside each of its frames."""

ATTEMPTS = 5
"""Times that a video is begun before it is given up."""

LEASE_SECONDS = 30.0
"""How long a worker that was killed holds up a video."""

PROGRESS_SECONDS = 1.0
"""Pause between two notes of how far a video is; each renews the lease, and sees whether it was cancelled."""

PAUSE_SECONDS = 0.5
"""Pause between two looks for a video that waits."""

PASSING = (
    DatabaseBusy,
    DatabaseUnavailable,
    ModelSwitched,
    Overloaded,
    S3Unavailable,
    VectorStoreUnavailable,
)
"""What may be otherwise in a while."""

_log = logging.getLogger(__name__)


class Overtaken(Exception):
    """This attempt is to stop, and to write nothing more."""


class Videos(Protocol):
    """The place where videos lie."""

    def open(self, reference: VideoReference) -> AbstractContextManager[BinaryIO]:
        """The video as a binary file."""


class VideoWorker:
    """Does the video jobs of a database. Safe to call from many threads, and in several processes at once."""

    def __init__(
        self,
        database: Database,
        engines: Engines,
        matcher: FaceMatcher,
        source: Videos,
        look: Look,
        *,
        uploads: Path,
        tells: bool,
        lease_seconds: float = LEASE_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """uploads: folder of the videos that were sent to this machine. tells: whether the end of every job
        is told, and not only where it names a topic.
        """
        self._database = database
        self._engines = engines
        self._matcher = matcher
        self._source = source
        self._look = look
        self._uploads = uploads
        self._tells = tells
        self._lease_seconds = lease_seconds
        self._clock = clock

    def work(self, stopping: threading.Event) -> bool:
        """Do one of the videos that wait, if there is one that no other has; whether there was.

        stopping: once it is set, the video is left to the next worker.
        """
        with self._database.read() as connection:
            node = known_node(self._uploads)
            waiting = videos.waiting(connection, node=node, now=self._clock())
        for job_id in waiting:
            lease = Lease(self._database, f"video {job_id}", seconds=self._lease_seconds)
            if stopping.is_set() or not lease.take():
                continue
            try:
                with self._database.write() as connection:
                    job = videos.begin(connection, job_id, self._clock())
                if job is not None:
                    self._attempt(job, lease, stopping)
                    return True
            finally:
                lease.give_back()
        return False

    def _attempt(self, job: VideoJob, lease: Lease, stopping: threading.Event) -> None:
        """Look at a video once, and note how it ended."""
        try:
            if job.attempts > ATTEMPTS:
                self._end(job, VideoState.FAILED, f"The video was begun {ATTEMPTS} times and never finished.")
                return
            self._do(job, lease, stopping)
        except Overtaken:
            if stopping.is_set():
                with self._database.write() as connection:
                    videos.give_up(connection, job)
        except PASSING as error:
            _log.warning("a video was not done, and is tried again: %s", error)
            self._postpone(job)
        except FacerecError as error:
            self._end(job, VideoState.FAILED, error.message)
        except Exception:  # noqa: BLE001 - a defect must not end the worker
            _log.exception("a video was not done, and is tried again")
            self._postpone(job)

    def _do(self, job: VideoJob, lease: Lease, stopping: threading.Event) -> None:
        wish = job.wish
        target: Collection | None = None
        engine: Engine = self._engines.default
        if wish.operation is VideoOperation.FACE_SEARCH:
            target, engine = open_collection(self._database, self._engines, wish.collection or "")
        writer = _Writer(self._database, job, lease, stopping, self._clock)
        with self._source.open(wish.video) as file:
            analysis = analyse(
                file,
                engine,
                self._look,
                track=target is not None,
                attributes=ALL_ATTRIBUTES if wish.all_attributes else frozenset(),
                see=writer.see,
            )
        writer.flush()
        result = None
        if target is not None:
            persons = [
                _described(person, writer.times, self._matches(target, engine, person, wish.threshold))
                for person in analysis.persons
            ]
            result = pack_persons(PersonTable(tuple(persons), _by_person(writer.tracks, persons)))
        message = None
        if analysis.broken_off:
            message = f"The video breaks off after {analysis.end_ms / 1000:.1f} seconds."
        self._end(job, VideoState.SUCCEEDED, message, result, analysis.end_ms)

    def _matches(
        self, target: Collection, engine: Engine, person: VideoPerson, threshold: float
    ) -> tuple[Match, ...]:
        if person.mean is None:
            return ()
        found = self._matcher.faces(target, engine.calibration, person.mean, MATCHES, threshold)
        return tuple(Match(match.face.face_id, match.similarity, match.cosine) for match in found)

    def _end(
        self,
        job: VideoJob,
        state: VideoState,
        message: str | None,
        result: bytes | None = None,
        progress_ms: int | None = None,
    ) -> None:
        with self._database.write() as connection:
            ended = videos.finish(
                connection,
                job,
                state,
                now=self._clock(),
                message=message,
                progress_ms=progress_ms,
                result=result,
                notice=self._tells or job.wish.topic is not None,
            )
        if ended:
            remove_upload(self._uploads, job.wish.video)

    def _postpone(self, job: VideoJob) -> None:
        pause = min(2.0**job.attempts * 5, 300)
        with self._database.write() as connection:
            videos.postpone(connection, job, self._clock() + pause)


class VideoThreads:
    """Threads that do video jobs beside the requests, until they are closed."""

    def __init__(self, worker: VideoWorker, *, threads: int) -> None:
        self._worker = worker
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, name=f"facerec-video-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Leave what is at work to the next worker."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                found = self._worker.work(self._stopping)
            except FacerecError as error:
                _log.warning("no video was looked for, and it is tried again: %s", error)
                found = False
            except Exception:  # noqa: BLE001 - a defect in one round must not end all that follow
                _log.exception("no video was looked for, and it is tried again")
                found = False
            if not found:
                self._stopping.wait(PAUSE_SECONDS)


class _Writer:
    """Writes what an attempt sees, part by part, and notes how far it is."""

    def __init__(
        self,
        database: Database,
        job: VideoJob,
        lease: Lease,
        stopping: threading.Event,
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._job = job
        self._lease = lease
        self._stopping = stopping
        self._clock = clock
        self._entries: list[Entry] = []
        self._parts = 0
        self._noted = float("-inf")
        self.tracks: list[int] = []
        """The track of each entry, in the order of time."""
        self.times: dict[int, list[int]] = {}
        """Times in milliseconds of the frames of each track."""

    def see(self, seen: Seen) -> None:
        """Keep the faces of a frame. Raises Overtaken."""
        if self._stopping.is_set():
            raise Overtaken
        for place, face in enumerate(seen.faces):
            track = seen.tracks[place].number if seen.tracks else -1
            self._entries.append(Entry(seen.time_ms, track, face))
            self.tracks.append(track)
            self.times.setdefault(track, []).append(seen.time_ms)
            if len(self._entries) == PART:
                self.flush()
        now = time.monotonic()
        if now - self._noted >= PROGRESS_SECONDS:
            self._noted = now
            if not self._lease.take():
                raise Overtaken
            with self._database.write() as connection:
                going = videos.advance(
                    connection,
                    self._job,
                    progress_ms=seen.time_ms,
                    now=self._clock(),
                    metadata=seen.metadata,
                )
            if not going:
                raise Overtaken

    def flush(self) -> None:
        """Write what is not written yet. Raises Overtaken."""
        if not self._entries:
            return
        packed, count = pack_entries(self._entries), len(self._entries)
        with self._database.write() as connection:
            if not videos.add_part(connection, self._job, self._parts, packed, count):
                raise Overtaken
        self._parts += 1
        self._entries = []


def _by_person(tracks: list[int], persons: list[Person]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint32]]:
    """The places of entries in their order by person; those of one person stay in their order."""
    owners = {track: person.index for person in persons for track in person.tracks}
    indexes = np.array([owners[track] for track in tracks], np.int64)
    return np.argsort(indexes, kind="stable").astype(np.uint32)


def _described(person: VideoPerson, times: dict[int, list[int]], matches: tuple[Match, ...]) -> Person:
    return Person(
        index=person.index,
        frames=sum(track.frames for track in person.tracks),
        tracks=tuple(track.number for track in person.tracks),
        appearances=tuple(
            Appearance(times[track.number][0], times[track.number][-1]) for track in person.tracks
        ),
        matches=matches,
    )
