"""A head's depth is seen in how its points move; a picture that is turned or warped has none."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from facerec.engine.base import LandmarkLayout
from facerec.engine.pose import FACE, estimate_pose
from facerec.services.liveness.motion import Sample, depth_of_turn, same_points

DISTANCE = 450.0
"""Millimetres from the camera."""


def seen(points: NDArray[np.float64], yaw: float, pitch: float) -> NDArray[np.float64]:
    """Points (5, 3) in millimetres, turned and seen by a camera, in pixels (5, 2)."""
    a, b = math.radians(yaw), math.radians(pitch)
    about_y = np.array([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
    turned = points @ about_x.T @ about_y.T
    return np.asarray(320 + 700 * turned[:, :2] / (DISTANCE - turned[:, 2:]))


def sample(points: NDArray[np.float64], noise: float = 0.0, seed: int = 0) -> Sample:
    """A frame with these points, whose pose is estimated from them."""
    points = points + np.random.default_rng(seed).normal(0, noise, points.shape)
    pose = estimate_pose(points.astype(np.float32), LandmarkLayout.FIVE)
    return Sample(
        at=0.0,
        yaw=pose.yaw,
        pitch=pose.pitch,
        roll=pose.roll,
        size=120.0,
        points=tuple((float(x), float(y)) for x, y in points),
    )


@pytest.mark.parametrize(("yaw", "pitch"), [(20, 0), (-20, 0), (25, 5), (0, 15), (0, -15), (-30, -5)])
def test_a_head_that_turns_shows_its_depth(yaw: float, pitch: float) -> None:
    depths = [
        depth_of_turn(sample(seen(FACE, 0, 0), 0.7, seed), sample(seen(FACE, yaw, pitch), 0.7, seed + 99))
        for seed in range(40)
    ]
    assert np.median(depths) == pytest.approx(1.0, abs=0.25)
    assert min(depths) > 0.35


@pytest.mark.parametrize("yaw", [10, 20, 35, 50, -35])
@pytest.mark.parametrize("pitch", [0, 20, -35])
def test_a_picture_that_is_turned_shows_none(yaw: float, pitch: float) -> None:
    """Neither when it is held straight, nor when the head in it was turned."""
    for turned_in_it in (0.0, 15.0):
        flat = FACE.copy()
        flat[:, :2] = (seen(FACE, turned_in_it, 0) - 320) * DISTANCE / 700
        flat[:, 2] = 0
        depth = depth_of_turn(sample(seen(flat, 0, 0)), sample(seen(flat, yaw, pitch)))
        assert abs(depth) < 0.1


def test_a_picture_that_is_warped_in_its_plane_shows_none() -> None:
    source = np.array([(0, 0), (640, 0), (640, 640), (0, 640)], np.float32)
    for target in ([(80, 0), (640, 60), (600, 640), (0, 500)], [(0, 100), (500, 0), (640, 640), (100, 600)]):
        homography = cv2.getPerspectiveTransform(source, np.array(target, np.float32))
        before = seen(FACE, 0, 0)
        after = cv2.perspectiveTransform(before[None], homography)[0]
        assert abs(depth_of_turn(sample(before), sample(after))) < 0.1


def test_points_on_a_line_fix_no_plane() -> None:
    line = np.array([(float(x), 10.0) for x in range(5)])
    assert depth_of_turn(sample(line), sample(seen(FACE, 20, 0))) == 0


def test_two_frames_of_a_camera_are_never_the_same() -> None:
    face = seen(FACE, 0, 0)
    assert same_points(sample(face), sample(face))
    assert not same_points(sample(face), sample(face, noise=0.1))
