import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from facerec.engine.base import Floats, LandmarkLayout
from facerec.engine.pose import EYE_DISTANCE, FACE, NOSE_DEPTH, NOSE_DROP, estimate_pose, name_points

FIVE, CORNERS = LandmarkLayout.FIVE, LandmarkLayout.EYE_CORNERS
# dlib's points of a generic face in millimetres, from the image's right eye to the left, then the nose.
DLIB_FACE = np.array(
    [
        [EYE_DISTANCE / 2 + 15, 0, 0],
        [EYE_DISTANCE / 2 - 15, 0, 0],
        [-EYE_DISTANCE / 2 - 15, 0, 0],
        [-EYE_DISTANCE / 2 + 15, 0, 0],
        [0, NOSE_DROP, NOSE_DEPTH],
    ]
)


def turned(face: NDArray[np.float64], roll: float, yaw: float, pitch: float, scale: float = 2) -> Floats:
    """Points of a face turned by angles in degrees, seen from far away, in pixels."""
    r, y, p = np.radians([roll, yaw, pitch])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    seen = face @ (about_z @ about_y @ about_x).T
    return np.asarray(seen[:, :2] * scale + 300, np.float32)


@given(st.floats(-170, 170), st.floats(-70, 70), st.floats(-60, 60), st.floats(0.2, 20))
def test_five_points_give_the_angles_back(roll: float, yaw: float, pitch: float, scale: float) -> None:
    pose = estimate_pose(turned(FACE, roll, yaw, pitch, scale), FIVE)
    assert (pose.roll, pose.yaw, pose.pitch) == pytest.approx((roll, yaw, pitch), abs=0.5)


def test_directions_are_those_of_the_picture() -> None:
    frontal = turned(FACE, 0, 0, 0)
    # The nose nearer to the image's right: looking there. Higher: looking up. Left eye higher: clockwise.
    right, up, clockwise = frontal.copy(), frontal.copy(), frontal.copy()
    right[2, 0] += 15
    up[2, 1] -= 15
    clockwise[0, 1] -= 10
    clockwise[1, 1] += 10
    assert estimate_pose(right, FIVE).yaw > 5
    assert estimate_pose(up, FIVE).pitch > 5
    assert estimate_pose(clockwise, FIVE).roll > 1


@pytest.mark.parametrize("layout", [FIVE, CORNERS])
def test_a_mirrored_face_turns_the_other_way(layout: LandmarkLayout) -> None:
    face = FACE if layout is FIVE else DLIB_FACE
    points = turned(face, 12, 25, 8)
    mirrored = points * (-1, 1)
    mirrored = mirrored[[1, 0, 2, 4, 3] if layout is FIVE else [2, 3, 0, 1, 4]].astype(np.float32)
    one, other = estimate_pose(points, layout), estimate_pose(mirrored, layout)
    assert (other.roll, other.yaw, other.pitch) == pytest.approx((-one.roll, -one.yaw, one.pitch), abs=1e-3)


@pytest.mark.parametrize("roll", [-170, -90, -20, 0, 45, 135])
@pytest.mark.parametrize("yaw", [-40, 0, 30])
def test_eye_corners_give_roll_and_yaw(roll: float, yaw: float) -> None:
    pose = estimate_pose(turned(DLIB_FACE, roll, yaw, 0), CORNERS)
    assert (pose.roll, pose.yaw, pose.pitch) == pytest.approx((roll, yaw, 0), abs=0.5)


def test_eye_corners_give_the_sign_of_pitch_only() -> None:
    up = estimate_pose(turned(DLIB_FACE, 0, 0, 20), CORNERS).pitch
    down = estimate_pose(turned(DLIB_FACE, 0, 0, -12), CORNERS).pitch
    assert 0 < up < 20
    assert -12 < down < 0


@pytest.mark.parametrize("layout", [FIVE, CORNERS])
def test_degenerate_points_give_zeros_and_no_nan(layout: LandmarkLayout) -> None:
    for points in (np.zeros((5, 2)), np.full((5, 2), 7.0), np.full((5, 2), np.nan), np.full((5, 2), np.inf)):
        pose = estimate_pose(points.astype(np.float32), layout)
        assert (pose.roll, pose.yaw, pose.pitch) == (0, 0, 0)
    on_a_line = np.array([[i, 2 * i] for i in range(5)], np.float32)
    pose = estimate_pose(on_a_line, layout)
    assert np.isfinite([pose.roll, pose.yaw, pose.pitch]).all()


def test_five_points_have_rekognition_s_names() -> None:
    named = name_points(turned(FACE, 0, 0, 0), FIVE, 600, 600)
    points = {one.type: one for one in named}
    assert list(points) == ["eyeLeft", "eyeRight", "nose", "mouthLeft", "mouthRight"]
    assert points["eyeLeft"].x < points["nose"].x < points["eyeRight"].x
    assert points["mouthLeft"].x < points["mouthRight"].x
    assert points["eyeLeft"].y < points["nose"].y < points["mouthLeft"].y
    assert points["nose"].x == pytest.approx(0.5)


def test_eye_corners_have_names_from_left_to_right_and_no_mouth() -> None:
    named = name_points(turned(DLIB_FACE, 0, 0, 0), CORNERS, 600, 300)
    points = {one.type: one for one in named}
    order = ["leftEyeLeft", "eyeLeft", "leftEyeRight", "nose", "rightEyeLeft", "eyeRight", "rightEyeRight"]
    assert set(points) == set(order)
    assert [one.type for one in sorted(named, key=lambda one: one.x)] == order
    assert points["eyeLeft"].y == pytest.approx(1)
    assert points["eyeLeft"].x == pytest.approx((points["leftEyeLeft"].x + points["leftEyeRight"].x) / 2)
