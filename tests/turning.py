"""A real head that turns: frames of the film in the folder shared, cut out as a webcam would show them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

FIRST, LAST = 138, 164
"""Frames of the film in which one person is seen from near, turning."""
AHEAD, LEFT, RIGHT = 146, 161, 140
"""Frames in which the person looks ahead, and is turned farthest to the person's own left and right."""
CENTRE, ACROSS, DOWN = (250, 95), 320, 190
"""What is cut out of each frame of the film, in its pixels: a place for the head to move in."""
SIZE = (640, 380)

Frames = dict[int, NDArray[np.uint8]]


def turning_frames(shared: Path) -> Frames:
    """Frames of the film by their numbers, (height, width, 3) BGR."""
    film = cv2.VideoCapture(str(shared / "data" / "video" / "short_hamilton_clip.mp4"))
    frames: Frames = {}
    for number in range(LAST + 1):
        read, frame = film.read()
        assert read
        if number >= FIRST:
            frames[number] = _cut(np.asarray(frame, np.uint8))
    film.release()
    return frames


def way(*numbers: int, each: int = 1) -> list[int]:
    """The numbers of frames on the way from one to the next, each so many times."""
    path = [numbers[0]]
    for number in numbers[1:]:
        step = 1 if number > path[-1] else -1
        path += range(path[-1] + step, number + step, step)
    return [number for number in path for _ in range(each)]


def write_mjpeg(frames: Frames, numbers: Sequence[int], file: Path) -> None:
    """Write frames as a film that Chromium takes for a camera's, 30 a second."""
    with file.open("wb") as output:
        for number in numbers:
            output.write(jpeg(frames[number]))


def jpeg(frame: NDArray[np.uint8]) -> bytes:
    """A frame as a JPEG."""
    return bytes(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes())


def _cut(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    left, top = CENTRE[0] - ACROSS // 2, max(CENTRE[1] - DOWN // 2, 0)
    part = frame[top : top + DOWN, left : left + ACROSS]
    return np.asarray(cv2.resize(part, SIZE, interpolation=cv2.INTER_CUBIC), np.uint8)
