"""How a face has moved between two pictures, and whether a flat picture could have moved so.

A head has depth: as it turns, the tip of the nose moves over the eyes and the mouth. The points of a print or
screen stay in one plane however it is turned, bent out of which it is not: a homography maps them all. So the
four outer points, which lie nearly in one plane, fix a homography from one picture to the other; where the
nose is beside the place to which it maps the nose, there is depth (parallax, "plane + parallax" in Hartley
and Zisserman, Multiple View Geometry, 13.3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""(5, 2) x, y in pixels: left and right eye, nose, left and right corner of the mouth. Sides are the
image's."""

EYES_MM, HEIGHT_MM, NOSE_MM = 63.0, 67.6, 25.7
"""Of a generic face (`facerec.engine.pose.FACE`): between the eyes, from the eyes to the mouth, and from the
plane of eyes and mouth to the tip of the nose."""

OUTER = [0, 1, 3, 4]
NOSE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One frame's face, as far as movements are judged by it."""

    at: float
    """Seconds since the epoch."""
    yaw: float
    """Degrees, as `facerec.domain.Pose` has them; to the image's right."""
    pitch: float
    """Degrees, upwards."""
    roll: float
    size: float
    """Pixels: the root of the box's area."""
    points: tuple[tuple[float, float], ...]
    """As `Points`."""


def parallax(before: Points, after: Points) -> tuple[float, float]:
    """How far the nose moved out of the plane of eyes and mouth, in millimetres of a generic face.

    Along the face's own axes: to its right in the image, and down. Zeros where the points fix no plane.
    """
    source, target = before[OUTER].astype(np.float32), after[OUTER].astype(np.float32)
    if min(_spread(source), _spread(target)) < 1.0:
        return 0.0, 0.0
    homography = cv2.getPerspectiveTransform(source, target)
    x, y, w = homography @ (before[NOSE, 0], before[NOSE, 1], 1.0)
    if abs(w) < 1e-6:
        return 0.0, 0.0
    moved = complex(after[NOSE, 0] - x / w, after[NOSE, 1] - y / w)
    eyes = complex(*(after[1] - after[0]))
    upright = moved * (abs(eyes) / eyes) / _pixels_per_millimetre(after)
    return upright.real, upright.imag


def depth_of_turn(before: Sample, after: Sample) -> float:
    """The share of a generic head's depth that a turn showed: about 1 for a head, about 0 for a flat picture.

    Of a turn aside or up and down, whichever is the larger; 0 where there was hardly one.
    """
    across, down = parallax(np.array(before.points), np.array(after.points))
    turned = math.sin(math.radians(after.yaw)) - math.sin(math.radians(before.yaw))
    lifted = math.sin(math.radians(after.pitch)) - math.sin(math.radians(before.pitch))
    seen, expected = (across, turned) if abs(turned) >= abs(lifted) else (-down, lifted)
    if abs(expected) < math.sin(math.radians(3.0)):
        return 0.0
    return seen / (NOSE_MM * expected)


def same_points(before: Sample, after: Sample) -> bool:
    """Whether two frames are one picture: no camera sees a face's points in the same places twice."""
    apart = np.abs(np.array(before.points) - np.array(after.points)).max()
    return bool(apart < 1e-4 * after.size)


def _pixels_per_millimetre(points: Points) -> float:
    """Of a face: a turn shortens one of its two sides, so the longer counts."""
    across = float(np.linalg.norm(points[1] - points[0]))
    down = float(np.linalg.norm(points[3:].mean(axis=0) - points[:2].mean(axis=0)))
    return max(across / EYES_MM, down / HEIGHT_MM)


def _spread(points: NDArray[np.float32]) -> float:
    """Area in pixels of the triangle of three of four outer points: the smallest of the four."""
    areas = []
    for left_out in range(4):
        a, b, c = (points[place] for place in range(4) if place != left_out)
        areas.append(abs((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])) / 2)
    return float(min(areas))
