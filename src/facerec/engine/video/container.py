"""Opens a video file that may be hostile, and tells what is in it before anything is decoded.

FFmpeg knows hundreds of formats, some of which are lists of other files and addresses. Here the format is
told by the file's first bytes, one of a few containers is opened by name, and whatever it asks for beside the
file is refused. FFmpeg reads the file through Python, never by a name.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, NoReturn, Protocol

from facerec.domain import VideoMetadata
from facerec.errors import ConfigurationError, InvalidVideo, VideoTooLarge

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

HEAD_BYTES = 512
"""Enough of a file to tell its container."""

MPEG_TS_PACKET = 188

MAX_STREAMS = 32
"""Most streams (pictures, sound, subtitles) of a file."""

PROBE_BYTES = 5_000_000
"""Most bytes that are read to find out what the streams are."""

CODECS = (
    *("h264", "hevc", "vp8", "vp9", "libdav1d", "av1"),
    *("mpeg4", "mpeg2video", "mpeg1video", "mjpeg", "h263"),
)
"""Decoders that are let in; names as FFmpeg has them."""

SOUND = ("aac", "mp3", "mp3float", "ac3", "opus", "vorbis", "pcm_s16le")
"""Decoders that a container's sound may call for when it is opened; nothing is heard of it here."""

FORMATS = {"mov": "MP4", "matroska": "Matroska", "avi": "AVI", "mpegts": "MPEG-TS"}
"""Demuxers that are let in, and what Rekognition calls them (`VideoMetadata.Format`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoLimits:
    """Bounds of a video: pixels of a frame, and seconds that it plays."""

    max_pixels: int
    max_seconds: float


class Readable(Protocol):
    """What FFmpeg reads a video from: a binary file that can be gone about in."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a place."""

    def tell(self) -> int:
        """The place now."""


@contextlib.contextmanager
def open_container(file: Readable, limits: VideoLimits) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container of a video file and its picture stream, for decoding in one thread; closed afterwards.

    Raises InvalidVideo for what is no video of a known container and codec, VideoTooLarge beyond the limits,
    ConfigurationError without the extra `video`.
    """
    av = import_av()
    demuxer = container_of(file.read(HEAD_BYTES))
    file.seek(0)
    options = {
        "protocol_whitelist": "none",
        "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts",
        "codec_whitelist": ",".join(
            (*CODECS, "aac", "mp3", "mp3float", "ac3", "opus", "vorbis", "pcm_s16le")
        ),
        "max_streams": str(MAX_STREAMS),
        "probesize": str(PROBE_BYTES),
    }
    try:
        container = av.open(file, format=demuxer, options=options, io_open=_refuse)
    except (av.FFmpegError, ValueError, OSError) as error:
        raise InvalidVideo("The video is damaged or cut off: it can not be opened.") from error
    try:
        stream = next(iter(container.streams.video), None)
        if stream is None or stream.codec_context is None:
            raise InvalidVideo("The file has no moving pictures.")
        context = stream.codec_context
        if context.name not in CODECS:
            raise InvalidVideo(f"The video's codec, {context.name[:32]}, is not read here.")
        if context.width * context.height > limits.max_pixels:
            raise VideoTooLarge(
                f"The video has frames of {context.width}x{context.height} pixels; at most "
                f"{limits.max_pixels} pixels are accepted."
            )
        if (container.duration or 0) > limits.max_seconds * 1e6:
            raise VideoTooLarge(_too_long(limits))
        context.options = {"max_pixels": str(limits.max_pixels)}  # for frames that grow in the midst
        context.thread_count = 1
        stream.thread_type = "NONE"
        yield container, stream
    finally:
        container.close()


def container_of(head: bytes) -> str:
    """The demuxer for a file that begins so. Raises InvalidVideo for all but the containers let in."""
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "mov"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return "avi"
    if head[:1] == head[MPEG_TS_PACKET : MPEG_TS_PACKET + 1] == b"\x47":
        return "mpegts"
    raise InvalidVideo("The file is no video: MP4, MOV, Matroska, WebM, AVI and MPEG-TS are read.")


def metadata_of(container: InputContainer, stream: VideoStream, *, turned: bool) -> VideoMetadata:
    """What is known of a video; `turned`: its frames are shown on their side."""
    context = stream.codec_context
    rate = stream.average_rate or stream.guessed_rate
    width, height = shown_size(stream)
    return VideoMetadata(
        codec=context.name,
        duration_millis=max((container.duration or 0) // 1000, 0),
        format=FORMATS.get(container.format.name.partition(",")[0], container.format.name[:32]),
        frame_rate=float(rate) if rate else 0.0,
        width=height if turned else width,
        height=width if turned else height,
        full_range=context.color_range == 2,
    )


def shown_size(stream: VideoStream) -> tuple[int, int]:
    """Width and height of frames with square pixels, before any turning."""
    context = stream.codec_context
    ratio = context.sample_aspect_ratio
    stretch = float(ratio) if ratio else 1.0
    if not 0.25 <= stretch <= 4.0:
        stretch = 1.0
    return max(round(context.width * stretch), 1), max(context.height, 1)


def _too_long(limits: VideoLimits) -> str:
    return f"The video is longer than {limits.max_seconds:g} seconds, which is the limit."


def _refuse(url: str, _flags: int, _options: object) -> NoReturn:
    """A container asked for another file, or an address."""
    raise PermissionError("a video may refer to nothing but itself")


def import_av() -> ModuleType:
    """PyAV, which is an extra, with FFmpeg's own messages off: they quote the file.

    Raises ConfigurationError.
    """
    try:
        import av
    except ImportError as error:
        raise ConfigurationError("videos need PyAV: pip install 'facerec[video]'") from error
    av.logging.set_level(None)
    return av
