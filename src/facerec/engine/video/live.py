"""Frames of a live stream: always the newest one. For the command line, whose owner names the address.

A thread decodes all the time and keeps the last frame alone, so that whoever looks at frames slower than they
come never lags behind. What breaks off is opened again, after pauses that grow.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from facerec.engine.video.container import import_av, shown_size
from facerec.engine.video.frames import FramePicture
from facerec.errors import InvalidVideo

if TYPE_CHECKING:
    from av.container import InputContainer

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0

PROTOCOLS = "file,http,https,tcp,tls,udp,rtp,rtsp,rtsps,srtp,crypto"
"""What the stream may be had by, and what it may lead to."""

OPTIONS = {
    "protocol_whitelist": PROTOCOLS,
    "rtsp_transport": "tcp",
    "probesize": "1000000",
    "analyzeduration": "1000000",
}


@dataclass(frozen=True, slots=True, eq=False)
class LiveFrame:
    """A frame: when it came, in seconds since the epoch, and how many seconds after the first."""

    picture: FramePicture
    received_at: float
    offset_seconds: float


class LiveStream:
    """The newest frame of a stream. `newest` is for one thread."""

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float,
        reconnects: int | None = None,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        """timeout_seconds: to open, and between two frames. reconnects: after the last frame or a failure,
        in a row; None: for ever. note: told of each failure.
        """
        self._av = import_av()
        self._url = url
        self._timeout = timeout_seconds
        self._reconnects = reconnects
        self._note = note
        self._is_file = "://" not in url and Path(url).is_file()
        self._changed = threading.Condition()
        self._frame: LiveFrame | None = None
        self._ended = False
        self._closing = threading.Event()
        self.dropped = 0
        """Frames that were decoded and not looked at."""
        self._thread = threading.Thread(target=self._run, name="facerec-stream", daemon=True)
        self._thread.start()

    def newest(self) -> LiveFrame | None:
        """The newest frame that was not given yet; waits for one. None once there are no more."""
        with self._changed:
            while self._frame is None and not self._ended:
                self._changed.wait(0.5)
            frame, self._frame = self._frame, None
            return frame

    def close(self) -> None:
        """Let go of the stream."""
        self._closing.set()
        self._thread.join(self._timeout + 1)

    def _run(self) -> None:
        failures = 0
        try:
            while not self._closing.is_set():
                received = self._read_once()
                failures = 0 if received else failures
                if self._reconnects is not None and failures >= self._reconnects:
                    return
                pause = min(FIRST_PAUSE_SECONDS * 2**failures, LONGEST_PAUSE_SECONDS)
                failures += 1
                self._closing.wait(pause)
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _read_once(self) -> int:
        """Read the stream until it ends; how many frames there were."""
        count = 0
        try:
            with contextlib.closing(self._open()) as container:
                stream = next(iter(container.streams.video), None)
                if stream is None:
                    raise InvalidVideo("The stream has no moving pictures.")
                stream.codec_context.thread_count = 1
                start: float | None = None
                began = time.time()
                for frame in container.decode(stream):
                    if self._closing.is_set():
                        break
                    now = time.time()
                    own = float(frame.time) if frame.pts is not None else count / 25
                    start = own if start is None else start
                    count += 1
                    picture = FramePicture(frame, *shown_size(stream), round(frame.rotation / 90) % 4)
                    self._show(LiveFrame(picture, now, own - start))
                    if self._is_file:  # which could be had at once: it plays as it was taken
                        self._closing.wait(max(began + own - start - time.time(), 0))
        except (self._av.FFmpegError, OSError, ValueError, InvalidVideo) as error:
            self._note(f"the stream broke off: {type(error).__name__}")
        else:
            self._note("the stream has ended")
        return count

    def _open(self) -> InputContainer:
        scheme = self._url.partition("://")[0] if "://" in self._url else ""
        options = dict(OPTIONS)
        if scheme != "rtsp":
            del options["rtsp_transport"]
        form = "v4l2" if self._url.startswith("/dev/video") else None
        opened: InputContainer = self._av.open(
            self._url, format=form, options=options, timeout=(self._timeout, self._timeout)
        )
        return opened

    def _show(self, frame: LiveFrame) -> None:
        with self._changed:
            self.dropped += self._frame is not None
            self._frame = frame
            self._changed.notify_all()
