from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_networks import constant_network, mean_network

from facerec.engine.attributes import GenderAge, Landmarks68, Landmarks106, open_attribute_model
from facerec.engine.base import Session
from facerec.engine.landmark_names import POINTS_68, POINTS_106
from facerec.engine.runtime.session import open_session
from facerec.errors import ConfigurationError, PackError

BOXES = np.array([[100, 60, 140, 140], [10, 20, 60, 40]], np.float32)
NO_POINTS = np.zeros((2, 5, 2), np.float32)


def session(network: bytes) -> Session:
    return open_session(network, runtime="openvino", threads=1)


def gender_age(*numbers: float) -> GenderAge:
    return GenderAge(session(constant_network(("N", 3, 96, 96), [np.array([numbers], np.float32)])))


def test_gender_and_age_are_read() -> None:
    man, other = gender_age(-1.0, 2.0, 0.30).describe(np.zeros((200, 200, 3), np.uint8), BOXES, NO_POINTS)
    assert man == other
    assert man.gender is not None
    assert man.gender.value == "Male"
    assert man.gender.confidence == pytest.approx(100 / (1 + np.exp(-3)), rel=1e-4)
    assert man.age_range is not None
    assert (man.age_range.low, man.age_range.high) == (24, 36)


def test_ages_are_never_negative() -> None:
    (child, _) = gender_age(3.0, 1.0, -0.02).describe(np.zeros((99, 99, 3), np.uint8), BOXES, NO_POINTS)
    assert child.gender is not None
    assert child.gender.value == "Female"
    assert child.age_range is not None
    assert (child.age_range.low, child.age_range.high) == (0, 3)


def test_the_crop_is_the_box_grown_to_a_square_half_as_large_again() -> None:
    """The network gives the mean of red, green and blue: each colour fills a known share of the crop."""
    model = GenderAge(session(mean_network((1, 3, 96, 96), 1 / 255)))
    image = np.zeros((400, 400, 3), np.uint8)
    # Longer side 80, so the crop shows x 140..260 and y 120..240.
    box = np.array([[180, 140, 220, 220]], np.float32)
    image[120:240, 140:260, 1] = 255
    image[:, :200, 2] = 255
    image[:120], image[240:], image[:, :140], image[:, 260:] = 255, 255, 255, 255
    (face,) = model.describe(image, box, NO_POINTS[:1])
    assert face.gender is not None
    assert face.gender.value == "Male"
    # Green (male) 1, red (female) 0: the crop is all of that square and nothing of the red around it.
    assert face.gender.confidence == pytest.approx(100 / (1 + np.exp(-1)), rel=0.01)
    # Blue (age) fills the left half.
    assert face.age_range is not None
    assert (face.age_range.low + face.age_range.high) / 2 == pytest.approx(50, abs=1.5)


def test_106_points_lie_in_the_grown_square() -> None:
    points = np.zeros((1, 212), np.float32)
    points[0, :4] = [-1, -1, 1, 0.5]
    model = Landmarks106(session(constant_network(("N", 3, 192, 192), [points])))
    located = model.locate(np.zeros((200, 200, 3), np.uint8), BOXES)
    assert located.shape == (2, 106, 2)
    # The first box is 80 high around (120, 100): a square of 120 from (60, 40).
    np.testing.assert_allclose(located[0, :3], [[60, 40], [180, 130], [120, 100]], atol=1e-4)
    # The second is 50 wide around (35, 30): a square of 75.
    np.testing.assert_allclose(located[1, 0], [35 - 37.5, 30 - 37.5], atol=1e-4)
    assert model.provides == frozenset()
    assert model.locate(np.zeros((9, 9, 3), np.uint8), BOXES[:0]).shape == (0, 106, 2)


def test_68_points_are_the_last_of_the_mesh() -> None:
    mesh = np.zeros((1103, 3), np.float32)
    mesh[-68] = [1, -1, 0.3]
    mesh[-1] = [0, 1, 0.3]
    model = Landmarks68(session(constant_network((1, 3, 192, 192), [mesh.reshape(1, -1)])))
    located = model.locate(np.zeros((200, 200, 3), np.uint8), BOXES)
    assert located.shape == (2, 68, 2)
    np.testing.assert_allclose(located[0, [0, 67]], [[180, 40], [120, 160]], atol=1e-4)


def head(roll: float, yaw: float, pitch: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """68 points of a generic head, turned (degrees) and seen from far away."""
    r, y, p = np.radians([roll, yaw, pitch])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    solid = np.zeros((68, 3))
    solid[[30, 8, 36, 45, 48, 54]] = [
        [0, 0, 0],
        [0, 330, -65],
        [-225, -170, -135],
        [225, -170, -135],
        [-150, 150, -125],
        [150, 150, -125],
    ]
    seen = solid @ (about_z @ about_y @ about_x).T
    return np.asarray(seen[None, :, :2] * 0.3 + [400, 300], np.float32)


@pytest.mark.parametrize(
    ("roll", "yaw", "pitch"), [(0, 0, 0), (25, 0, 0), (0, 40, 0), (0, 0, -20), (-10, -35, 15)]
)
def test_the_pose_of_68_points(roll: float, yaw: float, pitch: float) -> None:
    model = Landmarks68(session(constant_network((1, 3, 192, 192), [np.zeros((1, 3309), np.float32)])))
    (pose,) = model.poses(head(roll, yaw, pitch))
    assert (pose.roll, pose.yaw, pose.pitch) == pytest.approx((roll, yaw, pitch), abs=0.1)


def test_poses_have_the_signs_that_the_service_promises() -> None:
    """Positive yaw: the nose moves to the image's right; positive pitch: it moves up."""
    frontal, right, up = head(0, 0, 0)[0], head(0, 30, 0)[0], head(0, 0, 20)[0]
    eyes = [36, 45]
    assert (right[30] - right[eyes].mean(axis=0))[0] > (frontal[30] - frontal[eyes].mean(axis=0))[0] + 5
    assert (up[30] - up[[*eyes, 8]].mean(axis=0))[1] < (frontal[30] - frontal[[*eyes, 8]].mean(axis=0))[1] - 5


def test_names_are_rekognitions_and_rows_exist() -> None:
    assert len(POINTS_106) == 30
    assert set(POINTS_68) < set(POINTS_106)
    assert max(POINTS_106.values()) < 106
    assert max(POINTS_68.values()) < 68


def test_networks_of_another_form_are_refused() -> None:
    image = np.zeros((200, 200, 3), np.uint8)
    with pytest.raises(PackError, match="gives 3 numbers, not 2"):
        gender_age(1.0, 2.0).describe(image, BOXES, NO_POINTS)
    few = session(constant_network((1, 3, 192, 192), [np.zeros((1, 10), np.float32)]))
    with pytest.raises(PackError, match="106 landmarks gives at least 212 numbers"):
        Landmarks106(few).locate(image, BOXES)
    with pytest.raises(PackError, match="takes inputs of the shape"):
        GenderAge(session(mean_network((1, 3, 96, 64), 1.0)))


def test_models_open_by_their_kind(tmp_path: Path) -> None:
    file = tmp_path / "network.onnx"
    file.write_bytes(constant_network(("N", 3, 192, 192), [np.zeros((1, 212), np.float32)]))
    kinds = {"genderage": GenderAge, "2d106": Landmarks106, "1k3d68": Landmarks68}
    for kind, model in kinds.items():
        assert type(open_attribute_model(kind, file, runtime="openvino", threads=1)) is model
    with pytest.raises(ConfigurationError, match="'smile' is unknown: use genderage"):
        open_attribute_model("smile", file, runtime="openvino", threads=1)
