"""Where a film cuts from one scene to another, and where nothing moves: by thumbnails of its frames."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from facerec.engine.base import Pixels

WIDTH, HEIGHT = 32, 18
"""Pixels of a thumbnail."""

CUT = 18.0
"""Mean difference of two thumbnails in grey levels from which a cut lies between them. A cut that is none
costs a few embeddings; of one that is overlooked the faces' looks tell."""

STILL = 0.5
"""Mean difference up to which two frames show the same: noise of the camera and of the coding."""


class SceneWatch:
    """Compares each frame with the one before."""

    def __init__(self) -> None:
        self._last: NDArray[np.float32] | None = None

    def difference(self, pixels: Pixels) -> float:
        """Mean difference, in grey levels 0..255, to the frame seen before; infinite for the first."""
        small = cv2.resize(pixels, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
        last, self._last = self._last, grey
        return float("inf") if last is None else float(np.abs(grey - last).mean())
