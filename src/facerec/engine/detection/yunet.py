"""YuNet, the detector of OpenCV's zoo.

W. Wu, H. Peng, S. Yu, "YuNet: A Tiny Millisecond-level Face Detector", 2023. A cell of a level predicts a
class score and an object score (the face's score is their geometric mean), the box's centre and the logarithm
of its size, and five points, in strides. Decoding as in OpenCV's FaceDetectorYN.
"""

from __future__ import annotations

import numpy as np

from facerec.engine.base import Detections, Pixels, Session
from facerec.engine.detection.heads import Heads
from facerec.engine.detection.multiscale import Scales, fixed_canvas
from facerec.engine.runtime.pixel_input import PixelInput
from facerec.errors import PackError

INPUT_SHAPE = (1, 3, None, None)
"""Input shape to open its files with, so that it can look at any size; OpenCV's declares 640 x 640 only."""
PIXELS = PixelInput("bgr", mean=0.0, std=1.0)
"""What its networks take of an image."""

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
        self._heads = Heads(kinds_of_score=2)

    def detect(self, image: Pixels) -> Detections:
        """Find the faces of an image (height, width, 3) uint8 RGB, best score first."""
        return self._scales.detect(image, self._find)

    def _find(self, canvas: Pixels) -> Detections:
        """Find the faces of one canvas: anchors that reach the threshold, in the canvas's pixels."""
        height, width = canvas.shape[:2]
        outputs = self._session.run(canvas[None])
        grid = self._heads.grid(outputs, height, width)
        one, other = (grid.scores_of(outputs, kind).clip(0, 1) for kind in (0, 1))
        scores = np.sqrt(one * other)
        chosen = np.flatnonzero(scores >= self._threshold)
        found = grid.candidates(outputs, chosen)
        if found.points is None:
            raise PackError("YuNet gives landmarks; this network does not")
        centres = found.corners + found.boxes[:, :2]
        reach = np.exp(np.minimum(found.boxes[:, 2:], _LARGEST_EXPONENT)) / 2
        sides = np.concatenate([centres - reach, centres + reach], axis=1)
        points = found.points + found.corners[:, None]
        return Detections(sides * found.strides, scores[chosen], points * found.strides[:, None])
