"""Looks through a video: its faces in time, and with tracking the persons that they are."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from facerec.domain import DetectedFace, QualityFilter, VideoMetadata
from facerec.engine.base import Engine, Floats, FoundFace, Picture
from facerec.engine.quality import rejections
from facerec.engine.video.container import VideoLimits, open_container
from facerec.engine.video.frames import FrameReader
from facerec.engine.video.persons import VideoPerson, join_tracks
from facerec.engine.video.scenes import Change, SceneWatch
from facerec.engine.video.tracking import Track, Tracker
from facerec.errors import InvalidVideo

TRACK_GAP_MS = 1000
"""Longest time that a face may be out of sight and still be the same appearance."""

THUMBNAIL = 8
"""How many times a frame may be shrunk for the look at what has changed."""

FULL_SIDE = 112
"""Pixels of a face's box above which more make its picture no better."""

SHORT_MS = 1500
"""How much sooner than it says a video may end: sound and pictures end at different times."""


@dataclass(frozen=True, slots=True)
class Look:
    """How videos are looked at. frames_per_second: at most. max_seconds: longest time that it may take."""

    limits: VideoLimits
    frames_per_second: float
    max_seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What one frame shows: its faces, and with tracking the track of each. `time_ms` since the beginning."""

    time_ms: int
    metadata: VideoMetadata
    faces: Sequence[DetectedFace]
    tracks: Sequence[Track]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Analysis:
    """What was seen of a video on the whole."""

    metadata: VideoMetadata
    persons: Sequence[VideoPerson]
    frames: int
    """Frames decoded."""
    looked_at: int
    """Frames in which faces were looked for."""
    embedded: int
    """Faces that were embedded."""
    end_ms: int
    """Time of the last frame."""

    @property
    def broken_off(self) -> bool:
        """Whether it ended well before the end that its container tells."""
        return self.metadata.duration_millis - self.end_ms > max(
            SHORT_MS, self.metadata.duration_millis // 10
        )


def analyse(
    file: BinaryIO,
    engine: Engine,
    look: Look,
    *,
    track: bool,
    attributes: frozenset[str] = frozenset(),
    see: Callable[[Seen], None],
) -> Analysis:
    """Look through a video; `see` is called for every frame that was looked at, in order.

    track: follow the faces, and join them to persons. Raises InvalidVideo, VideoTooLarge, the errors of the
    engine, and whatever `see` raises.
    """
    deadline = time.monotonic() + look.max_seconds
    with open_container(file, look.limits) as (container, stream):
        reader = FrameReader(container, stream, look.limits, frames_per_second=look.frames_per_second)
        watch = SceneWatch()
        tracker = Tracker(engine.calibration, gap_ms=TRACK_GAP_MS)
        found: list[FoundFace] = []
        looked_at = 0
        while (picture := engine.frame(reader.read, reader.nbytes)) is not None:
            if time.monotonic() > deadline:
                raise InvalidVideo(f"Looking at the video took more than {look.max_seconds:g} seconds.")
            change = watch.see(picture.reduced(THUMBNAIL)[0])
            if found or change is not Change.STILL:  # what shows nobody, and stays as it is, shows nobody
                found = engine.detect(picture, attributes)
                looked_at += 1
            tracks: list[Track] = []
            if track:
                tracks = _follow(tracker, engine, picture, found, reader.time_ms, change is Change.CUT)
            see(Seen(reader.time_ms, reader.metadata, [one.face for one in found], tracks))
            del picture  # whoever waits for room for the next one must not hold one
    return Analysis(
        metadata=reader.metadata,
        persons=join_tracks(tracker.tracks, engine.calibration),
        frames=reader.frames,
        looked_at=looked_at,
        embedded=tracker.embedded,
        end_ms=reader.time_ms,
    )


def _follow(
    tracker: Tracker, engine: Engine, picture: Picture, found: Sequence[FoundFace], time_ms: int, cut: bool
) -> list[Track]:
    """The tracks of a frame's faces."""

    def embed(rows: Sequence[int]) -> Floats:
        return engine.embed(picture, [found[row] for row in rows])

    boxes = np.array([one.box for one in found], np.float32).reshape(-1, 4)
    return tracker.see(time_ms, boxes, [worth(one.face, picture) for one in found], embed, cut=cut)


def worth(face: DetectedFace, picture: Picture) -> float:
    """How much a face's picture tells of whose it is: 0 under the bar of QualityFilter LOW."""
    if rejections(face, QualityFilter.LOW, picture):
        return 0.0
    side = min(face.box.width * picture.width, face.box.height * picture.height)
    frontal = math.cos(math.radians(face.pose.yaw)) * math.cos(math.radians(face.pose.pitch))
    return max(face.quality.sharpness * min(side / FULL_SIDE, 1.0) * frontal, 1e-3)
