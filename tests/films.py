"""Video files for tests, written by PyAV: real containers and codecs around pictures that a test draws."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from facerec.engine.base import Pixels
from facerec.engine.decoding import decode
from facerec.engine.fake import FakeFace, draw

SIZE = (320, 240)
MATRIX = {
    0: (1, 0, 0, 1),
    90: (0, 1, -1, 0),
    180: (-1, 0, 0, -1),
    270: (0, -1, 1, 0),
}
"""Rows of the display matrix of an MP4 that is to be turned to the right by so many degrees."""


def scene(*identities: str | FakeFace, variation: int = 0, size: tuple[int, int] = SIZE) -> Pixels:
    """A frame that shows these people, as `facerec.engine.fake.draw` draws them."""
    data = draw(*identities, variation=variation, size=size)
    return decode(data, max_pixels=10_000_000).pixels


def film(
    frames: Sequence[NDArray[np.uint8]],
    *,
    rate: int = 10,
    container: str = "mp4",
    codec: str = "libx264",
    sound: bool = False,
) -> bytes:
    """A video of (height, width, 3) RGB frames, `rate` a second; with `sound` alone where there are none."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        if frames:
            height, width = frames[0].shape[:2]
            stream = output.add_stream(codec, rate=rate)
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height = width, height
            stream.pix_fmt = "yuv444p" if codec == "libx264" else "yuv420p"
            stream.codec_context.options = {"crf": "4", "preset": "ultrafast"} if codec == "libx264" else {}
            if codec != "libx264":
                stream.codec_context.bit_rate = 8_000_000
            for number, pixels in enumerate(frames):
                picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
                picture.pts, picture.time_base = number, Fraction(1, rate)
                output.mux(stream.encode(picture))
            output.mux(stream.encode(None))
        if sound:
            heard = output.add_stream("aac", rate=44_100)
            assert isinstance(heard, av.AudioStream)
            quiet = av.AudioFrame.from_ndarray(
                np.zeros((1, 44_100), np.float32), format="fltp", layout="mono"
            )
            quiet.sample_rate, quiet.pts = 44_100, 0
            output.mux(heard.encode(quiet))
            output.mux(heard.encode(None))
    return file.getvalue()


def turned(mp4: bytes, degrees: int) -> bytes:
    """The same video, to be shown turned to the right by 0, 90, 180 or 270 degrees."""
    a, b, c, d = (value * 0x10000 for value in MATRIX[degrees])
    identity = b"".join(
        v.to_bytes(4, "big", signed=True) for v in (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 1 << 30)
    )
    wanted = b"".join(v.to_bytes(4, "big", signed=True) for v in (a, b, 0, c, d, 0, 0, 0, 1 << 30))
    head, track, rest = mp4.partition(b"tkhd")
    assert identity in rest
    return head + track + rest.replace(identity, wanted, 1)
