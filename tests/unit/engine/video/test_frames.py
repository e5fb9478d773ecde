"""Videos as files: what is let in, and which frames come out of them."""

from __future__ import annotations

import io
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import pytest

from facerec.engine.fake import FakeEngine, draw
from facerec.engine.video.container import VideoLimits, open_container
from facerec.engine.video.frames import FramePicture, FrameReader
from facerec.errors import InvalidVideo, VideoTooLarge
from films import film, scene, turned


@dataclass(frozen=True)
class Frame:
    """A frame and its time in milliseconds."""

    time_ms: int
    picture: FramePicture


LIMITS = VideoLimits(max_pixels=1_000_000, max_seconds=60)


def read(data: bytes, *, rate: float = 10, limits: VideoLimits = LIMITS) -> tuple[FrameReader, list[Frame]]:
    with ExitStack() as stack:
        container, stream = stack.enter_context(open_container(io.BytesIO(data), limits))
        reader = FrameReader(container, stream, limits, frames_per_second=rate)
        frames = []
        while (picture := reader.read()) is not None:
            assert picture.pixels.shape == (picture.height, picture.width, 3)
            frames.append(Frame(reader.time_ms, picture))
        return reader, frames


@pytest.fixture(scope="module")
def short() -> bytes:
    return film([scene("ann", variation=number) for number in range(20)], rate=10)


def test_frames_have_their_times_and_faces(short: bytes) -> None:
    reader, frames = read(short)
    assert [frame.time_ms for frame in frames] == [100 * number for number in range(20)]
    metadata = reader.metadata
    assert (metadata.codec, metadata.format, metadata.frame_rate) == ("h264", "MP4", 10.0)
    assert (metadata.width, metadata.height, metadata.duration_millis) == (320, 240, 2000)
    engine = FakeEngine()
    assert all(len(engine.detect(frame.picture)) == 1 for frame in frames)


@pytest.mark.parametrize(
    ("rate", "times"),
    [
        (5, list(range(0, 2000, 200))),
        (1, [0, 1000]),
        (4, [0, 300, 500, 800, 1000, 1300, 1500, 1800]),
        (99, None),
    ],
)
def test_as_many_frames_as_the_rate_says(short: bytes, rate: float, times: list[int] | None) -> None:
    assert [frame.time_ms for frame in read(short, rate=rate)[1]] == (times or list(range(0, 2000, 100)))


@pytest.mark.parametrize(
    ("container", "codec"),
    [("matroska", "libx264"), ("avi", "mpeg4"), ("mpegts", "libx264"), ("mov", "mpeg4")],
)
def test_containers_that_are_read(container: str, codec: str) -> None:
    _, frames = read(film([scene("ann")] * 5, container=container, codec=codec))
    assert len(frames) == 5
    assert len(FakeEngine().detect(frames[0].picture)) == 1


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_turned_video_is_upright(short: bytes, degrees: int) -> None:
    """As telephones write it: the frames lie on their side, and the container says so."""
    upright = scene("ann", size=(320, 240) if degrees % 180 == 0 else (240, 320))
    lying = np.rot90(upright, degrees // 90)  # to the left; shown, it is turned back to the right
    reader, frames = read(turned(film([lying] * 2), degrees))
    assert (reader.metadata.width, reader.metadata.height) == (upright.shape[1], upright.shape[0])
    shown = frames[0].picture.pixels.astype(int)
    assert np.abs(shown - upright).mean() < 4
    smaller, shrink = frames[0].picture.reduced(2)
    assert shrink == 2
    assert smaller.shape == (upright.shape[0] // 2, upright.shape[1] // 2, 3)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("nothing", b""),
        ("text", b"just some words" * 100),
        ("a picture by a film's name", draw("ann", encoding="JPEG")),
        ("a moving GIF", draw("ann", encoding="GIF")),
        ("a playlist", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"),
        ("a list of files", b"ffconcat version 1.0\nfile file:///etc/passwd\n"),
        ("a manifest", b'<?xml version="1.0"?><MPD><BaseURL>file:///etc/passwd</BaseURL></MPD>'),
        ("a box and no more", b"\x00\x00\x00\x18ftypisom" + bytes(600)),
        ("EBML and no more", b"\x1a\x45\xdf\xa3" + bytes(600)),
        ("sound alone", film([], sound=True)),
        ("no frame", film([scene()] * 3)[:700]),
    ],
)
def test_what_is_no_video(name: str, data: bytes) -> None:
    with pytest.raises(InvalidVideo):
        read(data)


def test_a_video_that_breaks_off_gives_what_there_is() -> None:
    whole = film([scene("ann", variation=number) for number in range(40)], container="matroska")
    reader, frames = read(whole[: len(whole) // 2])
    assert 5 < len(frames) < 40
    assert reader.metadata.duration_millis in (0, 4000)


def test_a_video_with_damage_in_the_midst(short: bytes) -> None:
    middle = len(short) // 2
    _, frames = read(short[:middle] + bytes(400) + short[middle + 400 :])
    assert len(frames) > 5


def test_limits_are_told_before_anything_is_decoded(short: bytes) -> None:
    with pytest.raises(VideoTooLarge, match="320x240"):
        read(short, limits=VideoLimits(max_pixels=320 * 240 - 1, max_seconds=60))
    with pytest.raises(VideoTooLarge, match="longer than 1 seconds"):
        read(short, limits=VideoLimits(max_pixels=320 * 240, max_seconds=1))


def test_a_length_that_the_container_hides_is_found_by_the_frames() -> None:
    hidden = film([scene()] * 30, container="mpegts")
    with pytest.raises(VideoTooLarge, match="longer than 1 seconds"):
        read(hidden, limits=VideoLimits(max_pixels=320 * 240, max_seconds=1))
