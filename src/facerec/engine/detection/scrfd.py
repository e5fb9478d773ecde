"""SCRFD, the detector of InsightFace's packs: all sizes of it, with landmarks or without.

J. Guo et al., "Sample and Computation Redistribution for Efficient Face Detection", 2021. A cell of a level
predicts, for each anchor, a score, the distances from its corner to the four sides of the box, and the
offsets of five points, in strides. Equal to insightface's own decoding.
"""

from __future__ import annotations

import numpy as np

from facerec.engine.base import Detections, Pixels, Session
from facerec.engine.detection.heads import Heads
from facerec.engine.detection.multiscale import Scales, fixed_canvas
from facerec.engine.runtime.pixel_input import PixelInput

INPUT_SHAPE = (1, 3, None, None)
"""Input shape to open its files with, so that it can look at any size; some declare 640 x 640 only."""
PIXELS = PixelInput("rgb", mean=127.5, std=128.0)
"""What its networks take of an image."""


class ScrfdDetector:
    """Finds faces and their five landmarks."""

    def __init__(
        self,
        session: Session,
        *,
        threshold: float,
        nms: float,
        sizes: tuple[int, ...],
    ) -> None:
        """Prepare a detector.

        session: opened with PIXELS, and best with INPUT_SHAPE; one with a fixed input works, at the whole
        cost for each size.
        threshold: least score (0..1) of a face. nms, sizes: see `Scales`.

        Raises PackError when the network is no detector, ConfigurationError for unusable sizes.
        """
        self._session = session
        self._threshold = threshold
        self._scales = Scales(sizes, nms, fixed_canvas(session.input_shape))
        self._heads = Heads(kinds_of_score=1)

    def detect(self, image: Pixels) -> Detections:
        """Find the faces of an image (height, width, 3) uint8 RGB, best score first."""
        return self._scales.detect(image, self._find)

    def _find(self, canvas: Pixels) -> Detections:
        """Find the faces of one canvas: anchors that reach the threshold, in the canvas's pixels."""
        height, width = canvas.shape[:2]
        outputs = self._session.run(canvas[None])
        grid = self._heads.grid(outputs, height, width)
        scores = grid.scores_of(outputs, 0)
        chosen = np.flatnonzero(scores >= self._threshold)
        found = grid.candidates(outputs, chosen)
        corners = found.corners * found.strides
        distances = found.boxes * found.strides
        boxes = np.concatenate([corners - distances[:, :2], corners + distances[:, 2:]], axis=1)
        points = None
        if found.points is not None:
            points = found.points * found.strides[:, None] + corners[:, None]
        return Detections(boxes, scores[chosen], points)
