"""The frames of a video that are looked at, as pictures: upright, with square pixels, at a chosen rate."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import numpy as np

from facerec.domain import VideoMetadata
from facerec.engine.base import Picture, Pixels
from facerec.engine.video.container import VideoLimits, import_av, metadata_of, shown_size
from facerec.errors import InvalidVideo, VideoTooLarge

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

MAX_DAMAGED = 100
"""Packets that may be damaged before a video is given up."""

MAX_FRAME_RATE = 300
"""Most frames a second, on the whole, that are decoded."""

EARLY_MS = 2
"""Milliseconds by which a frame may come before it is due: the times of frames are rounded."""


class FramePicture(Picture):
    """A frame that is converted to RGB at the sizes that are asked for, each once.

    Most of a large frame's cost is its conversion, and the detector shrinks it anyway: FFmpeg does both in
    one step.
    """

    def __init__(self, frame: VideoFrame, width: int, height: int, quarter_turns: int) -> None:
        """width, height: with square pixels, as stored. quarter_turns: to the left, until it is upright."""
        self._frame = frame
        self._stored = width, height
        self._quarter_turns = quarter_turns
        self._sizes: dict[int, Pixels] = {}
        self._converting = threading.Lock()

    @property
    def pixels(self) -> Pixels:
        """All pixels, (height, width, 3) uint8 RGB."""
        return self._at(1)

    @property
    def width(self) -> int:
        """Width in pixels of the upright frame."""
        return self._stored[self._quarter_turns % 2]

    @property
    def height(self) -> int:
        """Height in pixels of the upright frame."""
        return self._stored[1 - self._quarter_turns % 2]

    def reduced(self, most: float) -> tuple[Pixels, int]:
        """The frame shrunk 8, 4, 3, 2 times or not at all: the most that is not above `most`."""
        for shrink in (8, 4, 3, 2):
            if shrink <= most and self._stored[0] % shrink == 0 and self._stored[1] % shrink == 0:
                return self._at(shrink), shrink
        return self._at(1), 1

    def _at(self, shrink: int) -> Pixels:
        with self._converting:
            if shrink not in self._sizes:
                width, height = (side // shrink for side in self._stored)
                converted = self._frame.reformat(
                    width=width, height=height, format="rgb24", interpolation="AREA", threads=1
                )
                pixels = cast(Pixels, converted.to_ndarray())
                self._sizes[shrink] = np.ascontiguousarray(np.rot90(pixels, self._quarter_turns))
            return self._sizes[shrink]


class FrameReader:
    """Decodes an opened video, and gives those frames that are to be looked at. For one thread."""

    def __init__(
        self,
        container: InputContainer,
        stream: VideoStream,
        limits: VideoLimits,
        *,
        frames_per_second: float,
    ) -> None:
        """frames_per_second: those that are looked at; all of a video that has fewer."""
        self._av = import_av()
        self._container = container
        self._stream = stream
        self._limits = limits
        self._step = 1000.0 / frames_per_second
        # Where sound and pictures begin at different times, time counts from the first of them.
        self._start = (container.start_time or 0) / 1e6
        self._decoded = self._decode()
        self._due = 0.0
        self._last_ms = -1
        self._metadata = metadata_of(container, stream, turned=False)
        self.damaged = 0
        """Packets that could not be decoded."""
        self.frames = 0
        """Frames decoded."""

    @property
    def metadata(self) -> VideoMetadata:
        """What the video is; whether its frames are turned is known from the first one on."""
        return self._metadata

    @property
    def time_ms(self) -> int:
        """Milliseconds from the video's beginning to the last frame given; -1 before the first."""
        return self._last_ms

    @property
    def nbytes(self) -> int:
        """Bytes that a frame at work takes at most: its own pixels and those converted."""
        width, height = shown_size(self._stream)
        return width * height * 6

    def read(self) -> FramePicture | None:
        """The next frame that is due, None after the last one; `time_ms` is its time.

        Raises InvalidVideo for a video without a readable frame, VideoTooLarge beyond the limits.
        """
        for frame in self._decoded:
            time_ms = self._time_of(frame)
            if time_ms <= self._last_ms or time_ms + EARLY_MS < self._due:
                continue
            self._due = max(self._due + self._step, time_ms + self._step / 2)
            picture = self._picture(frame)
            self._last_ms = time_ms
            return picture
        if self._last_ms < 0:
            raise InvalidVideo("The video has no frame that can be read.")
        return None

    def _picture(self, frame: VideoFrame) -> FramePicture:
        quarter_turns = round(frame.rotation / 90) % 4
        context = self._stream.codec_context
        width, height = shown_size(self._stream)
        if (frame.width, frame.height) != (context.width, context.height):
            width, height = frame.width, frame.height  # a stream may change its size in the midst
        if self._last_ms < 0 and quarter_turns % 2:
            self._metadata = metadata_of(self._container, self._stream, turned=True)
        return FramePicture(frame, width, height, quarter_turns)

    def _time_of(self, frame: VideoFrame) -> int:
        """Milliseconds since the beginning. Raises VideoTooLarge."""
        if frame.pts is None or frame.time_base is None:
            rate = float(self._stream.average_rate or 25)
            seconds = self.frames / rate
        else:
            seconds = float(frame.pts * frame.time_base) - self._start
        if seconds > self._limits.max_seconds or self.frames > self._limits.max_seconds * MAX_FRAME_RATE:
            raise VideoTooLarge(
                f"The video is longer than {self._limits.max_seconds:g} seconds, which is the limit."
            )
        return max(round(seconds * 1000), 0)

    def _decode(self) -> Iterator[VideoFrame]:
        """Every frame that can be decoded."""
        errors = (self._av.FFmpegError, ValueError)
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except errors:
                self.damaged += 1
                return  # the file is cut off, or the container damaged beyond this place
            if packet is None:
                return
            try:
                frames = packet.decode()
            except errors as error:
                self.damaged += 1
                if self.damaged > MAX_DAMAGED:
                    raise InvalidVideo("The video is damaged: its frames can not be decoded.") from error
                continue
            for frame in frames:
                self.frames += 1
                yield frame
