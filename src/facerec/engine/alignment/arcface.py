"""Alignment to ArcFace's template, with which InsightFace's recognisers and SFace were trained."""

from __future__ import annotations

import cv2
import numpy as np

from facerec.engine.alignment.similarity import fit_similarity
from facerec.engine.base import Floats, Pixels
from facerec.errors import ConfigurationError

_TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Eyes, nose tip and mouth corners in a crop of 112 x 112 pixels: `arcface_dst` of insightface."""

_WIDER = np.array([8.0, 0.0])
"""A crop of 128 x 128 pixels shows the same face at the same size, with 8 pixels more on the left."""


class ArcFaceAligner:
    """Cuts crops in which eyes, nose and mouth lie where ArcFace recognisers expect them.

    Equal to insightface's `norm_crop`, bilinear without averaging first: for faces of 2 000 pixels averaging
    changes the cosines between photographs of one person by less than 0.01, in no one direction.
    """

    def __init__(self, size: int = 112) -> None:
        """Prepare for crops of `size` pixels; raises ConfigurationError unless a multiple of 112 or 128."""
        if size > 0 and size % 112 == 0:
            self._template = _TEMPLATE * (size / 112)
        elif size > 0 and size % 128 == 0:
            self._template = (_TEMPLATE + _WIDER) * (size / 128)
        else:
            raise ConfigurationError(f"ArcFace crops are a multiple of 112 or of 128 pixels wide, not {size}")
        self.size = size

    def align(self, image: Pixels, landmarks: Floats) -> Pixels:
        """Crops (N, size, size, 3) uint8 RGB of an image, for landmarks (N, 5, 2) in pixels, layout FIVE.

        Black where a crop reaches beyond the image. Raises InvalidParameter when all landmarks of a face
        coincide.
        """
        crops = np.empty((len(landmarks), self.size, self.size, 3), np.uint8)
        for crop, matrix in zip(crops, fit_similarity(landmarks, self._template), strict=True):
            cv2.warpAffine(image, matrix, (self.size, self.size), dst=crop)
        return crops
