"""Where a film cuts from one scene to another, and where nothing moves: by thumbnails of its frames."""

from __future__ import annotations

from enum import Enum

import cv2
import numpy as np
from numpy.typing import NDArray

from facerec.engine.base import Pixels

Thumbnail = NDArray[np.float32]

WIDTH, HEIGHT = 32, 18
"""Pixels of a thumbnail."""

CUT = 18.0
"""Mean difference of two thumbnails in grey levels from which a cut lies between them. A cut that is none
costs a few embeddings; of one that is overlooked the faces' looks tell."""

STILL = 0.5
"""Mean difference up to which two frames show the same: noise of the camera and of the coding."""


class Change(Enum):
    """What a frame is to those before it."""

    CUT = "cut"
    """Another scene."""
    MOTION = "motion"
    """The same scene, in which something has moved."""
    STILL = "still"
    """What was seen already."""


class SceneWatch:
    """Compares each frame with those before."""

    def __init__(self) -> None:
        self._last: Thumbnail | None = None
        self._anchor: Thumbnail | None = None
        """The last frame that was not still: many small changes are one large one."""

    def see(self, pixels: Pixels) -> Change:
        """What has changed with this frame; the first is a cut."""
        small = cv2.resize(pixels, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
        last, self._last = self._last, grey
        if last is None or self._anchor is None or _difference(grey, last) >= CUT:
            self._anchor = grey
            return Change.CUT
        if _difference(grey, self._anchor) <= STILL:
            return Change.STILL
        self._anchor = grey
        return Change.MOTION


def _difference(one: Thumbnail, other: Thumbnail) -> float:
    """Mean difference in grey levels, 0..255."""
    return float(np.abs(one - other).mean())
