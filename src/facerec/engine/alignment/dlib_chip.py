"""Cuts faces as dlib's `get_face_chip` does, so that its recognition network sees what it was trained on.

The odd constants (edges a pixel apart, shift of a halving, growing border) are dlib's own and are kept.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from facerec.engine.alignment.similarity import fit_similarity
from facerec.engine.base import Floats, Pixels
from facerec.errors import InvalidParameter

Matrix = NDArray[np.float64]

_CANONICAL = (
    (0.8595674595992, 0.2134981538014),
    (0.6460604764104, 0.2289674387677),
    (0.1205750620789, 0.2137274526848),
    (0.3340850613712, 0.2290642403242),
    (0.4901123135679, 0.6277975316475),
)
"""dlib's five points in the unit square of an unpadded chip."""
_HALVING_FILTER = np.array([1, 4, 6, 4, 1], np.float64)
_HALVING_SHIFT = (1.25, 0.75)
"""What a halving subtracts from x / 2 and y / 2."""
_ROUNDING = 1e-3


class DlibChipAligner:
    """Crops for dlib's recognition network, by dlib's five landmarks; a `facerec.engine.base.Aligner`.

    size: side of a crop in pixels. padding: border around the face, as a share of the unpadded crop.
    A large face is halved before it is sampled; pixels beyond the image are black.
    """

    def __init__(self, size: int = 150, padding: float = 0.25) -> None:
        self.size = size
        self._points = (np.array(_CANONICAL) + padding) / (1 + 2 * padding) * size

    def align(self, image: Pixels, landmarks: Floats) -> Pixels:
        """Crops (N, size, size, 3) uint8 RGB for landmarks (N, 5, 2) in pixels, layout EYE_CORNERS.

        Raises InvalidParameter when landmarks are not finite or all lie on one point.
        """
        points = np.asarray(landmarks, np.float64).reshape(-1, len(_CANONICAL), 2)
        if not np.isfinite(points).all():
            raise InvalidParameter("a landmark is not finite; alignment needs five points in pixels")
        if (np.ptp(points, axis=1) == 0).all(axis=1).any():
            raise InvalidParameter(
                "the landmarks of a face all lie on one point; alignment needs at least two"
            )
        crops = np.zeros((len(points), self.size, self.size, 3), np.uint8)
        template = np.broadcast_to(self._points, points.shape)
        for crop, matrix in zip(crops, fit_similarity(template, points), strict=True):
            self._cut(image, matrix, crop)
        return crops

    def _cut(self, image: Pixels, matrix: Matrix, crop: Pixels) -> None:
        """Fill one crop (size, size, 3), given the (2, 3) transform from crop to image."""
        scale = math.hypot(matrix[0, 0], matrix[1, 0])
        if scale == 0:
            raise InvalidParameter("the landmarks of a face fix no scale; alignment needs two that differ")
        turn = matrix[:, :2] / scale
        centre = matrix[:, :2] @ np.array([self.size / 2, self.size / 2]) + matrix[:, 2]
        half = (self.size * scale - 1) / 2
        low, high = centre - half, centre + half
        halvings = 0
        while _area(*_halved(low, high, halvings + 1)) > self.size**2:
            halvings += 1
        if halvings:
            image, origin = _cropped(image, centre, turn, half, halvings)
            if image.size == 0:
                return
            low, high = _halved(low - origin, high - origin, halvings)
            for _ in range(halvings):
                image = _halve(image)
                if image.size == 0:
                    return
        _sample(image, low, high, turn, crop)


def _halved(low: Matrix, high: Matrix, times: int) -> tuple[Matrix, Matrix]:
    """The rectangle's top left and bottom right corner in the image halved `times` times."""
    for _ in range(times):
        low, high = low / 2 - _HALVING_SHIFT, high / 2 - _HALVING_SHIFT
    return low, high


def _area(low: Matrix, high: Matrix) -> float:
    """Pixels of the rectangle, both edges included."""
    return float(np.prod(high - low + 1))


def _cropped(
    image: Pixels, centre: Matrix, turn: Matrix, half: float, halvings: int
) -> tuple[Pixels, Matrix]:
    """The part of the image that the halvings need, and the pixel x, y of its top left corner.

    The crop decides on which pixels a halving falls, so it has to be dlib's.
    """
    corners = centre + (np.array([[-half, -half], [half, -half], [half, half], [-half, half]]) @ turn.T)
    border = 2
    for _ in range(halvings):
        border = 2 * border + 2
    height, width = image.shape[:2]
    low = np.floor(np.maximum(corners.min(axis=0) - border, 0) + 0.5)
    high = np.floor(np.minimum(corners.max(axis=0) + border, (width - 1, height - 1)) + 0.5)
    if (high < low).any():
        return image[:0, :0], low
    left, top, right, bottom = (int(value) for value in (*low, *high))
    return image[top : bottom + 1, left : right + 1], low


def _halve(image: Pixels) -> Pixels:
    """Half the size, (n - 3) // 2: a 1 4 6 4 1 filter at every second pixel from the third, rounded down."""
    height, width = ((side - 3) // 2 for side in image.shape[:2])
    if height < 1 or width < 1:
        return image[:0, :0]
    # Sums of up to 256 * 255 are exact in float32.
    summed = cv2.sepFilter2D(image, cv2.CV_32F, _HALVING_FILTER, _HALVING_FILTER)
    return np.floor(summed[2::2, 2::2][:height, :width] / 256).astype(np.uint8)


def _sample(image: Pixels, low: Matrix, high: Matrix, turn: Matrix, crop: Pixels) -> None:
    """Bilinear samples of the rectangle, turned about its centre, into the crop.

    A sample is black unless all four pixels around it are inside the image, and is rounded down, as in dlib.
    """
    size = len(crop)
    centre = (low + high) / 2
    start = centre + turn @ (low - centre)
    step = turn * ((high - low) / (size - 1))
    corners = start + np.array([[0, 0], [size - 1, 0], [0, size - 1], [size - 1, size - 1]]) @ step.T
    limit = np.array([image.shape[1], image.shape[0]])
    first = np.clip(np.floor(corners.min(axis=0)) - 1, 0, limit).astype(int)
    last = np.clip(np.ceil(corners.max(axis=0)) + 2, 0, limit).astype(int)
    if (last - first < 2).any():
        return
    part = image[first[1] : last[1], first[0] : last[0]].astype(np.float32)
    inverse = np.column_stack([step, start - first])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    sampled = cv2.warpAffine(part, inverse, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    if (corners < 0).any() or (corners >= limit - 1).any():
        grid = np.arange(size, dtype=np.float64)
        for axis in (0, 1):
            place = start[axis] + step[axis, 0] * grid[None, :] + step[axis, 1] * grid[:, None]
            sampled[(place < 0) | (place >= limit[axis] - 1)] = 0
    # Float32 may come out just under the whole number that a patch of one colour has.
    crop[:] = np.floor(sampled + _ROUNDING)
