"""SCRFD, the detector of InsightFace's packs: all sizes of it, with landmarks or without.

J. Guo et al., "Sample and Computation Redistribution for Efficient Face Detection", 2021. A cell of a level
predicts, for each anchor, a score, the distances from its corner to the four sides of the box, and the
offsets of five points, in strides. Equal to insightface's own decoding.
"""

from __future__ import annotations

import cv2
import numpy as np

from facerec.engine.base import Detections, Floats, Pixels, Session
from facerec.engine.detection.heads import Level, cells, read_levels
from facerec.engine.detection.multiscale import MOST_ENLARGED, Scales, fixed_canvas

INPUT_SHAPE = (1, 3, None, None)
"""Input shape to open its files with, so that it can look at any size; some declare 640 x 640 only."""

_MEAN, _STD = 127.5, 128.0


class ScrfdDetector:
    """Finds faces and their five landmarks."""

    def __init__(
        self,
        session: Session,
        *,
        threshold: float,
        nms: float,
        sizes: tuple[int, ...],
        most_enlarged: float = MOST_ENLARGED,
    ) -> None:
        """Prepare a detector.

        session: best opened with INPUT_SHAPE; one with a fixed input works, at the whole cost for each size.
        threshold: least score (0..1) of a face. nms, sizes, most_enlarged: see `Scales`.

        Raises PackError when the network is no detector, ConfigurationError for unusable sizes.
        """
        self._session = session
        self._threshold = threshold
        self._scales = Scales(sizes, nms, fixed_canvas(session.input_shape), most_enlarged)
        self._normalised = ((np.arange(256) - _MEAN) / _STD).astype(np.float32)

    def detect(self, image: Pixels) -> Detections:
        """Find the faces of an image (height, width, 3) uint8 RGB, best score first."""
        return self._scales.detect(image, self._find)

    def _find(self, canvas: Pixels) -> Detections:
        """Find the faces of one canvas."""
        height, width = canvas.shape[:2]
        tensor = np.empty((1, 3, height, width), np.float32)
        for channel, plane in zip(cv2.split(canvas), tensor[0], strict=True):
            cv2.LUT(channel, self._normalised, dst=plane)
        levels = read_levels(self._session.run(tensor), kinds_of_score=1)
        found = [self._decode(level, height, width) for level in levels]
        points = [faces.landmarks for faces in found if faces.landmarks is not None]
        return Detections(
            np.concatenate([faces.boxes for faces in found]),
            np.concatenate([faces.scores for faces in found]),
            np.concatenate(points) if points else None,
        )

    def _decode(self, level: Level, height: int, width: int) -> Detections:
        """Faces of one level that reach the threshold, in the canvas's pixels."""
        scores = level.scores[0]
        chosen = np.flatnonzero(scores >= self._threshold)
        corners = cells(chosen, level, height, width) * np.float32(level.stride)
        distances = level.boxes[chosen] * level.stride
        boxes = np.concatenate([corners - distances[:, :2], corners + distances[:, 2:]], axis=1)
        points: Floats | None = None
        if level.points is not None:
            points = level.points[chosen].reshape(-1, 5, 2) * level.stride + corners[:, None]
        return Detections(boxes, scores[chosen], points)
