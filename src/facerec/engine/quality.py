"""How good a face's picture is, and which faces a `QualityFilter` leaves out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
from cv2.typing import MatLike

from facerec.domain import DetectedFace, Quality, QualityFilter, Reason
from facerec.engine.base import Floats, Picture, Pixels

REGION = 56
"""Side in pixels to which the inner face is resampled before it is judged: less than LFW's faces have of it,
and than a face as small as a recogniser's crop, so that a face is judged alike from both sizes on."""
INNER = 0.15
"""Share of the box left out on each side: hair and background are not the face."""
BRIGHTNESS_EXPONENT = 0.6
"""Spreads the luma of well exposed skin (0.3 to 0.8 of full scale) over 49..87; black stays 0 and white
100."""
BLURRED, SHARP = 0.01, 1.3
"""Detail, the variance of the Laplacian over that of the luma, that counts as sharpness 0 and 100. On LFW the
first percentile is 0.052 (34), the median 0.21 (63), the 99th 0.72 (88); a Gaussian blur of 2 pixels brings
the median to 0.037 (27), one of 4 pixels to 0.013 (5)."""
NOISE_VARIANCE = 25.0
"""Variance of luma (grey levels squared) under which a region is flat and its detail is noise."""


def assess(image: Pixels, box: Floats) -> Quality:
    """Brightness and sharpness of the face in `box` (left, top, right, bottom in pixels; cut at the image's
    edge).

    Both are taken from the face resampled to a fixed size. Brightness is the mean luma (ITU-R BT.601),
    stretched by a power law. Sharpness is the share of fine detail in the contrast on a logarithmic scale,
    so it depends neither on the exposure nor on the face's size; a small face has no fine detail to show and
    scores low. A box outside of the image gives zeros.
    """
    left, top, right, bottom = (float(value) for value in box)
    inset_x, inset_y = INNER * (right - left), INNER * (bottom - top)
    height, width = image.shape[:2]
    x0, x1 = _within(left + inset_x, width), _within(right - inset_x, width)
    y0, y1 = _within(top + inset_y, height), _within(bottom - inset_y, height)
    if x1 <= x0 or y1 <= y0:
        return Quality(brightness=0.0, sharpness=0.0)
    region = image[y0:y1, x0:x1]
    interpolation = cv2.INTER_AREA if min(region.shape[:2]) >= REGION else cv2.INTER_LINEAR
    luma = cv2.cvtColor(cv2.resize(region, (REGION, REGION), interpolation=interpolation), cv2.COLOR_RGB2GRAY)
    mean, variance = _mean_and_variance(luma)
    _, detail = _mean_and_variance(cv2.Laplacian(luma, cv2.CV_16S, ksize=1))
    # The mean of a white region comes out a last digit below 255.
    brightness = 100.0 * (round(mean, 6) / 255.0) ** BRIGHTNESS_EXPONENT
    # Falls with every blur, unmoved by contrast.
    share = max(detail / (variance + NOISE_VARIANCE), BLURRED)
    sharpness = 100.0 * math.log(share / BLURRED) / math.log(SHARP / BLURRED)
    return Quality(brightness=min(brightness, 100.0), sharpness=min(sharpness, 100.0))


def _within(value: float, length: int) -> int:
    """A coordinate as a whole number of pixels inside 0..length."""
    return int(min(max(round(value), 0), length))


def _mean_and_variance(values: MatLike) -> tuple[float, float]:
    """Mean and variance of the values of one channel."""
    mean, deviation = cv2.meanStdDev(values)
    return float(mean[0, 0]), float(deviation[0, 0]) ** 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What a face must reach: per cent, scores 0..100, degrees, and pixels of the box's shorter side."""

    confidence: float
    sharpness: float
    brightness: float
    too_bright: float
    yaw: float
    pitch: float
    side: float


BARS = {
    QualityFilter.AUTO: Bar(
        confidence=40, sharpness=8, brightness=15, too_bright=99.5, yaw=75, pitch=65, side=28
    ),
    QualityFilter.LOW: Bar(
        confidence=50, sharpness=12, brightness=20, too_bright=99, yaw=65, pitch=55, side=36
    ),
    QualityFilter.MEDIUM: Bar(
        confidence=60, sharpness=25, brightness=30, too_bright=98, yaw=50, pitch=45, side=50
    ),
    QualityFilter.HIGH: Bar(
        confidence=65, sharpness=35, brightness=40, too_bright=97, yaw=35, pitch=35, side=70
    ),
}
"""Each filter's bar; NONE has none. Of LFW's faces (frontal press photographs of some 95 pixels) AUTO keeps
all, LOW and MEDIUM 95 to 99 %, HIGH some two thirds."""


def rejections(face: DetectedFace, quality_filter: QualityFilter, picture: Picture) -> tuple[Reason, ...]:
    """Why `quality_filter` leaves out a face of `picture`; empty for a face that passes.

    NONE rejects nothing; AUTO, LOW, MEDIUM and HIGH are each at least as strict as the one before. Roll is
    not judged: alignment turns the face upright.
    """
    bar = BARS.get(quality_filter)
    if bar is None:
        return ()
    side = min(face.box.width * picture.width, face.box.height * picture.height)
    failed = {
        Reason.LOW_CONFIDENCE: face.confidence < bar.confidence,
        Reason.LOW_SHARPNESS: face.quality.sharpness < bar.sharpness,
        Reason.LOW_BRIGHTNESS: face.quality.brightness < bar.brightness,
        Reason.LOW_FACE_QUALITY: face.quality.brightness > bar.too_bright,
        Reason.EXTREME_POSE: abs(face.pose.yaw) > bar.yaw or abs(face.pose.pitch) > bar.pitch,
        Reason.SMALL_BOUNDING_BOX: side < bar.side,
    }
    return tuple(reason for reason, fails in failed.items() if fails)
