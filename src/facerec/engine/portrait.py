"""What a picture of a face lacks as a portrait to know somebody by: beside pose, sharpness and brightness.

Light and cover are judged on the face turned upright by its eyes and brought to one size, so that neither the
size of the face nor the detector's box matters. No network: they are read from the pixels at known places.

What stands before a face is seen where it differs from the face in colour or darkness: dark glasses, a mask,
a scarf. It is not seen where it has the colour of skin (a hand), and nothing is said of hair, of clear
glasses, or of whether the eyes are open. In a picture without colours masks are not seen.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from facerec.domain import BoundingBox, Portrait
from facerec.engine.alignment.similarity import fit_similarity
from facerec.engine.base import Detector, Floats, LandmarkLayout, Pixels

SIDE = 112
"""Side in pixels of the upright crop."""

SURROUNDINGS, SURROUNDINGS_SIDE = 2.2, 160
"""The square around a face that is turned, in longer sides of its box; and its side in pixels."""

Place = tuple[int, int, int, int]
"""Left, top, right, bottom in the crop."""

EYES = np.array([[38.5, 46.0], [73.5, 46.0]])
"""Where the eyes' centres lie in the crop."""
FACE: Place = (34, 36, 78, 96)
"""The face without its outline, beside which a slight turn would show the background."""
HALVES: tuple[Place, Place] = ((34, 40, 56, 90), (56, 40, 78, 90))
EYE_AND_SKIN: tuple[tuple[Place, Place], ...] = (
    ((31, 41, 46, 51), (36, 58, 46, 68)),
    ((66, 41, 81, 51), (66, 58, 76, 68)),
)
"""Each eye, and the skin below it."""
BROW: Place = (48, 26, 64, 44)
"""Forehead and root of the nose, which no mask covers."""
LOWER_FACE: Place = (40, 78, 72, 98)
"""The mouth and what is around it."""

LEAST_CHROMA = 12.0
"""Chroma (CIELAB) that skin is taken to have at least: less is a picture with little or no colour."""
CONTRAST = 2.0
"""Per cent of contrast for a standard deviation of CIELAB's lightness of 1: LFW's faces have 14 to 46 per
cent (first to 99th percentile), 26 in the middle."""


def examine(pixels: Pixels, box: BoundingBox, landmarks: Floats, layout: LandmarkLayout) -> Portrait:
    """Judge a face of an image (height, width, 3) RGB by its landmarks (5, 2) in pixels.

    box: in ratios of the image's size. Eyes that coincide or are not finite give the worst of everything.
    """
    inside = _inside(box.left, box.width) * _inside(box.top, box.height)
    eyes = eye_centres(landmarks, layout)
    if not np.isfinite(eyes).all() or float(np.ptp(eyes, axis=0).max()) < 1e-3:
        return Portrait(inside=inside, contrast=0.0, evenness=0.0, eyes_covered=100.0, mouth_covered=100.0)
    (matrix,) = fit_similarity(eyes[None], EYES)
    crop = cv2.warpAffine(pixels, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
    lab = np.asarray(cv2.cvtColor(crop.astype(np.float32) / 255.0, cv2.COLOR_RGB2LAB), np.float32)
    lightness = lab[..., 0]
    darker, lighter = sorted(_mean(lightness, half) for half in HALVES)
    return Portrait(
        inside=inside,
        contrast=min(CONTRAST * float(_cut(lightness, FACE).std()), 100.0),
        evenness=100.0 * darker / max(lighter, 1e-3),
        eyes_covered=_eyes_covered(lightness),
        mouth_covered=_mouth_covered(lab),
    )


def uprightness(detector: Detector, pixels: Pixels, box: Floats) -> float:
    """See `Portrait.upright`; box: (4,) left, top, right, bottom in pixels of the image.

    Detectors find many faces that lie on their side or head, and place the landmarks as if they did not.
    """
    left, top, right, bottom = box.astype(np.float64).tolist()
    scale = SURROUNDINGS_SIDE / (max(right - left, bottom - top, 1.0) * SURROUNDINGS)
    middle = SURROUNDINGS_SIDE / 2
    matrix = np.array(
        [[scale, 0, middle - scale * (left + right) / 2], [0, scale, middle - scale * (top + bottom) / 2]]
    )
    around = cv2.warpAffine(pixels, matrix, (SURROUNDINGS_SIDE, SURROUNDINGS_SIDE))
    own, *turned = (
        float(
            detector.detect(np.asarray(np.ascontiguousarray(np.rot90(around, turns)), np.uint8)).scores.max(
                initial=0
            )
        )
        for turns in range(4)
    )
    return 100.0 * (own - max(turned))


def eye_centres(landmarks: Floats, layout: LandmarkLayout) -> NDArray[np.float64]:
    """The centres of the eyes (2, 2), the image's left one first, of landmarks (5, 2) in the same frame."""
    points = np.asarray(landmarks, np.float64)
    if layout is LandmarkLayout.FIVE:
        return points[:2]
    return np.stack([points[2:4].mean(axis=0), points[:2].mean(axis=0)])


def _inside(start: float, length: float) -> float:
    """Share of a box's side that lies within the image, 0..1."""
    return max(min(start + length, 1.0) - max(start, 0.0), 0.0) / length if length > 0 else 0.0


def _eyes_covered(lightness: Floats) -> float:
    """How much darker the lighter one of the eyes is than the skin below it, in per cent."""
    shares = [_mean(lightness, eye) / max(_mean(lightness, skin), 1e-3) for eye, skin in EYE_AND_SKIN]
    return 100.0 * max(1.0 - max(shares), 0.0)


def _mouth_covered(lab: Floats) -> float:
    """How far the colour around the mouth is from the brow's, in per cent of how far that is from grey."""
    brow = np.median(_cut(lab, BROW).reshape(-1, 3), axis=0)[1:]
    mouth = np.median(_cut(lab, LOWER_FACE).reshape(-1, 3), axis=0)[1:]
    return 100.0 * float(np.hypot(*(mouth - brow))) / max(float(np.hypot(*brow)), LEAST_CHROMA)


def _cut(values: Floats, place: Place) -> Floats:
    """The part of a crop (SIDE, SIDE, ...) at a place."""
    left, top, right, bottom = place
    return values[top:bottom, left:right]


def _mean(values: Floats, place: Place) -> float:
    """Mean over a place of a crop."""
    return float(_cut(values, place).mean())
