"""The job of one video: look through it, and write down what is found.

The row is how it stands; the job of the queue only names it. A worker that is killed says nothing, and the
video is looked at anew by another. Each attempt has a number, and one that was overtaken writes nothing more:
doing a video twice does no harm.
"""

from __future__ import annotations

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
    DiskFull,
    DiskReadOnly,
    FacerecError,
    ModelSwitched,
    Overloaded,
    S3Unavailable,
    VectorStoreUnavailable,
)
from facerec.jobs.base import Job
from facerec.metastore import videos
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
from facerec.services.videos.uploads import remove_upload

MATCHES = 10
"""Stored faces told of each person, most similar first: they stand beside each of its frames."""

ATTEMPTS = 4
"""Times that a video is begun before it has failed. One that kills its worker comes back with the next number
too, and is not begun a fifth time."""

PROGRESS_SECONDS = 1.0
"""Pause between two notes of how far a video is; each sees whether it was cancelled."""

PASSING = (
    DatabaseBusy,
    DatabaseUnavailable,
    DiskFull,
    DiskReadOnly,
    ModelSwitched,
    Overloaded,
    S3Unavailable,
    VectorStoreUnavailable,
)
"""What may be otherwise in a while."""


class Overtaken(Exception):
    """This attempt is to stop, and to write nothing more."""


class Videos(Protocol):
    """The place where videos lie."""

    def open(self, reference: VideoReference) -> AbstractContextManager[BinaryIO]:
        """The video as a binary file."""


class VideoWork:
    """Does the jobs of videos. Safe to call from many threads, and in several processes at once."""

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
        self._clock = clock

    def do(self, job: Job, check: Callable[[], None]) -> None:
        """Look through the video of a job, and note how it ended. One that has ended, or is gone, is left.

        check: called now and then; what it raises ends the attempt, and leaves the video to the next one.
        Raises Overtaken where another attempt was begun meanwhile, and what may pass by itself
        (S3Unavailable, Overloaded...) until it was tried `ATTEMPTS` times.
        """
        with self._database.write() as connection:
            video = videos.begin(connection, str(job.payload.get("video")), self._clock())
        if video is None:
            return
        if job.attempt > ATTEMPTS:
            self._end(video, VideoState.FAILED, f"The video was begun {ATTEMPTS} times and never finished.")
            return
        try:
            self._look_through(video, check)
        except Overtaken:
            with self._database.read() as connection:
                if videos.is_open(connection, video.job_id):
                    raise
        except FacerecError as error:
            if isinstance(error, PASSING) and job.attempt < ATTEMPTS:
                raise
            self._end(video, VideoState.FAILED, error.message)

    def _look_through(self, job: VideoJob, check: Callable[[], None]) -> None:
        wish = job.wish
        target: Collection | None = None
        engine: Engine = self._engines.default
        if wish.operation is VideoOperation.FACE_SEARCH:
            target, engine = open_collection(self._database, self._engines, wish.collection or "")
        writer = _Writer(self._database, job, check, self._clock)
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


class _Writer:
    """Writes what an attempt sees, part by part, and notes how far it is."""

    def __init__(
        self,
        database: Database,
        job: VideoJob,
        check: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._job = job
        self._check = check
        self._clock = clock
        self._entries: list[Entry] = []
        self._parts = 0
        self._noted = float("-inf")
        self.tracks: list[int] = []
        """The track of each entry, in the order of time."""
        self.times: dict[int, list[int]] = {}
        """Times in milliseconds of the frames of each track."""

    def see(self, seen: Seen) -> None:
        """Keep the faces of a frame. Raises Overtaken, and what `check` raises."""
        self._check()
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
