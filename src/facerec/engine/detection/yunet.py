"""YuNet, the detector of OpenCV's zoo.

W. Wu, H. Peng, S. Yu, "YuNet: A Tiny Millisecond-level Face Detector", 2023. A cell of a level predicts a
class score and an object score (the face's score is their geometric mean), the box's centre and the logarithm
of its size, and five points, in strides. Decoding as in OpenCV's FaceDetectorYN.
"""

from __future__ import annotations

import numpy as np

from facerec.engine.base import Detections, Pixels, Session
from facerec.engine.detection.heads import Level, cells, read_levels
from facerec.engine.detection.multiscale import MOST_ENLARGED, Scales, fixed_canvas
from facerec.errors import PackError

INPUT_SHAPE = (1, 3, None, None)
"""Input shape to open its files with, so that it can look at any size; OpenCV's declares 640 x 640 only."""

_LARGEST_EXPONENT = 10.0
"""Size of a box in strides is at most e to this: no number of a damaged network overflows."""


class YunetDetector:
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

    def detect(self, image: Pixels) -> Detections:
        """Find the faces of an image (height, width, 3) uint8 RGB, best score first."""
        return self._scales.detect(image, self._find)

    def _find(self, canvas: Pixels) -> Detections:
        """Find the faces of one canvas. The network takes BGR, 0..255."""
        height, width = canvas.shape[:2]
        tensor = np.ascontiguousarray(canvas[:, :, ::-1].transpose(2, 0, 1)[None], np.float32)
        levels = read_levels(self._session.run(tensor), kinds_of_score=2)
        found = [self._decode(level, height, width) for level in levels]
        return Detections(
            np.concatenate([faces.boxes for faces in found]),
            np.concatenate([faces.scores for faces in found]),
            np.concatenate([faces.landmarks for faces in found if faces.landmarks is not None]),
        )

    def _decode(self, level: Level, height: int, width: int) -> Detections:
        """Faces of one level that reach the threshold, in the canvas's pixels."""
        if level.points is None:
            raise PackError("YuNet gives landmarks; this network does not")
        one, other = (scores.clip(0, 1) for scores in level.scores)
        scores = np.sqrt(one * other)
        chosen = np.flatnonzero(scores >= self._threshold)
        corners = cells(chosen, level, height, width)
        boxes = level.boxes[chosen]
        centres = corners + boxes[:, :2]
        reach = np.exp(np.minimum(boxes[:, 2:], _LARGEST_EXPONENT)) / 2
        sides = np.concatenate([centres - reach, centres + reach], axis=1)
        points = level.points[chosen].reshape(-1, 5, 2) + corners[:, None]
        return Detections(sides * level.stride, scores[chosen], points * level.stride)
