"""Head pose and named points from five landmarks, in closed form: no network, no camera model.

Angles are those of `facerec.domain.Pose`, in degrees: roll clockwise in the image, yaw to the image's right,
pitch upwards.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from facerec.domain import Landmark, Pose
from facerec.engine.base import Floats, LandmarkLayout

Matrix = NDArray[np.float64]

FACE = np.array(
    [
        [-31.5, -36.9, 0.0],
        [31.5, -36.9, 0.0],
        [0.0, 0.0, 27.0],
        [-26.6, 30.7, 3.0],
        [26.6, 30.7, 3.0],
    ]
)
"""A generic face's five points (layout FIVE) in millimetres: x to the image's right, y down, z to the
camera. The pupils are 63 mm apart (the adult mean); the rest across and down is the median of LFW's
landmarks at that scale, so that LFW's median pose is frontal; depths are anthropometric means, rounded."""

_CENTRED = FACE - FACE.mean(axis=0)
_AFFINE_OF = np.linalg.pinv(_CENTRED)
"""(3, 5): times centred points (5, 2), the least-squares affine map (3, 2) from the generic face to them."""
_FLAT = 1e-6
"""Share that an affine map's smaller axis has of its larger one, squared, when the points lie on a line."""

EYE_DISTANCE, NOSE_DEPTH, NOSE_DROP = 63.0, 16.0, 46.0
"""Millimetres of a generic face: between the eyes' centres, and from the line of the eyes to the base of the
nose, towards the camera and down."""
PITCH_TRUST = 0.4
"""Share of the measured pitch that is kept for layout EYE_CORNERS. A nose 7 % longer than the generic one
looks like 17 degrees of pitch, while pitches themselves spread by some 10 degrees: the expected value of the
true pitch is about this share of what is seen (linear estimation under Gaussian noise)."""
LIMIT = 90.0
"""Degrees beyond which no face would have been found."""


def estimate_pose(landmarks: Floats, layout: LandmarkLayout) -> Pose:
    """Pose of a face with landmarks (5, 2) in pixels, in the given layout. Points that coincide or are not
    finite give zeros.

    FIVE: the affine map from a generic face to the points, brought to the nearest scaled rotation.
    EYE_CORNERS: the eyes' corners lie on a line and say nothing of pitch, and only the base of the nose is
    left to see it by, so pitch is a guess shrunk towards 0; roll is exact and yaw is coarse.
    """
    points = np.asarray(landmarks, np.float64)
    if not np.isfinite(points).all():
        return Pose(roll=0.0, yaw=0.0, pitch=0.0)
    angles = _from_five(points) if layout is LandmarkLayout.FIVE else _from_eye_corners(points)
    roll, yaw, pitch = (math.degrees(angle) for angle in angles)
    return Pose(
        roll=max(-180.0, min(roll, 180.0)),
        yaw=max(-LIMIT, min(yaw, LIMIT)),
        pitch=max(-LIMIT, min(pitch, LIMIT)),
    )


def _from_five(points: Matrix) -> tuple[float, float, float]:
    """Roll, yaw and pitch in radians for layout FIVE; zeros for points on a line, which fix no rotation."""
    (ax, bx), (ay, by), (az, bz) = (_AFFINE_OF @ (points - points.mean(axis=0))).tolist()
    # The nearest matrix with orthonormal rows is (A A^T)^(-1/2) A; the root of a symmetric 2 x 2 matrix S is
    # (S + d I) / t with d the root of its determinant and t that of its trace + 2 d.
    aa, ab, bb = ax * ax + ay * ay + az * az, ax * bx + ay * by + az * bz, bx * bx + by * by + bz * bz
    determinant = aa * bb - ab * ab
    if determinant <= (_FLAT * (aa + bb)) ** 2:
        return 0.0, 0.0, 0.0
    d = math.sqrt(determinant)
    scale = 1 / (d * math.sqrt(aa + bb + 2 * d))
    own_a, own_b, other = (bb + d) * scale, (aa + d) * scale, -ab * scale
    across = (own_a * ax + other * bx, own_a * ay + other * by, own_a * az + other * bz)
    down = (other * ax + own_b * bx, other * ay + own_b * by, other * az + own_b * bz)
    return _angles(across, down)


def _angles(
    across: tuple[float, float, float], down: tuple[float, float, float]
) -> tuple[float, float, float]:
    """Roll, yaw and pitch of a rotation, given the rows that map the face's axes to the image's x and y.

    The rotation is taken as pitch first, then yaw, then roll.
    """
    # The third row is the cross product of the two.
    forward_x = across[1] * down[2] - across[2] * down[1]
    forward_y = across[2] * down[0] - across[0] * down[2]
    forward_z = across[0] * down[1] - across[1] * down[0]
    roll = math.atan2(down[0], across[0])
    yaw = math.asin(max(-1.0, min(-forward_x, 1.0)))
    pitch = math.atan2(forward_y, forward_z)
    return roll, yaw, pitch


def _from_eye_corners(points: Matrix) -> tuple[float, float, float]:
    """Roll, yaw and pitch in radians for layout EYE_CORNERS."""
    right, left = points[:2].mean(axis=0), points[2:4].mean(axis=0)
    line = complex(*(right - left))
    distance = abs(line)
    if distance < 1e-6:
        return 0.0, 0.0, 0.0
    roll = math.atan2(line.imag, line.real)
    nose = complex(*(points[4] - (left + right) / 2)) * np.exp(-1j * roll) / distance
    yaw = math.atan2(nose.real * EYE_DISTANCE, NOSE_DEPTH)
    # Seen at an angle the eyes are nearer to each other, which lengthens the nose in their measure.
    drop = nose.imag * math.cos(yaw) * EYE_DISTANCE
    pitch = PITCH_TRUST * (NOSE_DROP - drop) / NOSE_DEPTH
    return roll, yaw, pitch


FIVE_POINTS = ("eyeLeft", "eyeRight", "nose", "mouthLeft", "mouthRight")
"""Names of the points of layout FIVE, in its order."""


def named_points(layout: LandmarkLayout) -> frozenset[str]:
    """The names that `name_points` gives to landmarks of a layout."""
    return frozenset(point.type for point in name_points(np.zeros((5, 2), np.float32), layout, 1, 1))


def name_points(landmarks: Floats, layout: LandmarkLayout, width: int, height: int) -> tuple[Landmark, ...]:
    """Rekognition's names for landmarks (5, 2) in pixels, as ratios of the picture's width and height.

    "Left" is the image's left. FIVE: eyes, nose, corners of the mouth. EYE_CORNERS: the eyes as mid points of
    their corners, the nose, and the corners; no mouth, for none was seen.
    """
    x = np.asarray(landmarks, np.float64) / (width, height)
    if layout is LandmarkLayout.FIVE:
        named = dict(zip(FIVE_POINTS, x, strict=True))
    else:
        # dlib names a person's own sides and goes from the image's right: outer, inner corner, then the
        # other eye.
        right_outer, right_inner, left_outer, left_inner, nose = x
        named = {
            "eyeLeft": (left_outer + left_inner) / 2,
            "eyeRight": (right_outer + right_inner) / 2,
            "nose": nose,
            "leftEyeLeft": left_outer,
            "leftEyeRight": left_inner,
            "rightEyeLeft": right_inner,
            "rightEyeRight": right_outer,
        }
    return tuple(Landmark(name, float(point[0]), float(point[1])) for name, point in named.items())
