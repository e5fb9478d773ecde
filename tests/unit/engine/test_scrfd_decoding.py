"""SCRFD's and YuNet's arithmetic, on networks whose outputs are written down."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from small_networks import constant_network, mean_network

from facerec.engine.detection import yunet
from facerec.engine.detection.scrfd import PIXELS, ScrfdDetector
from facerec.engine.detection.yunet import YunetDetector
from facerec.engine.runtime.session import open_session
from facerec.errors import PackError

SIDE = 128
Arrays = list[NDArray[np.float32]]


def blank(anchors: int, channels: tuple[int, ...]) -> list[Arrays]:
    """Zeros for strides 8, 16 and 32, grouped by kind."""
    return [[np.zeros((1, anchors * (SIDE // s) ** 2, c), np.float32) for s in (8, 16, 32)] for c in channels]


def scrfd(outputs: list[Arrays], shape: tuple[int, ...] = (1, 3, SIDE, SIDE)) -> ScrfdDetector:
    network = constant_network(shape, [output for group in outputs for output in group])
    session = open_session(network, runtime="openvino", threads=1, pixels=PIXELS)
    return ScrfdDetector(session, threshold=0.5, nms=0.4, sizes=(SIDE,))


def one_scrfd_face(outputs: list[Arrays]) -> None:
    """A face at the second anchor of the cell in column 5 and row 2 of stride 16."""
    anchor = 2 * (2 * (SIDE // 16) + 5) + 1
    outputs[0][1][0, anchor] = 0.75
    outputs[1][1][0, anchor] = [1.0, 0.5, 1.5, 2.0]
    if len(outputs) == 3:
        outputs[2][1][0, anchor] = [-0.5, -0.25, 0.5, -0.25, 0, 0, -0.5, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("channels", [(1, 4), (1, 4, 10)])
def test_scrfd_distances_and_offsets_are_read_in_strides(channels: tuple[int, ...]) -> None:
    outputs = blank(2, channels)
    one_scrfd_face(outputs)
    # The picture is half as large again as the canvas: what is found is in the picture's pixels.
    faces = scrfd(outputs).detect(np.zeros((192, 192, 3), np.uint8))
    np.testing.assert_allclose(faces.boxes, np.array([[80 - 16, 32 - 8, 80 + 24, 32 + 32]]) * 1.5)
    np.testing.assert_allclose(faces.scores, [0.75])
    if len(channels) == 2:
        assert faces.landmarks is None
    else:
        points = np.array([[[72, 28], [88, 28], [80, 32], [72, 40], [88, 40]]]) * 1.5
        assert faces.landmarks is not None
        np.testing.assert_allclose(faces.landmarks, points)


def test_scrfd_keeps_what_reaches_the_threshold_best_first() -> None:
    outputs = blank(2, (1, 4, 10))
    scores, boxes, _ = outputs
    boxes[0][:] = boxes[1][:] = boxes[2][:] = 0.4
    scores[0][0, 10], scores[1][0, 70], scores[2][0, 31], scores[0][0, 400] = 0.5, 0.9, 0.6, 0.49
    assert scrfd(outputs).detect(np.zeros((SIDE, SIDE, 3), np.uint8)).scores.tolist() == pytest.approx(
        [0.9, 0.6, 0.5]
    )


def test_an_image_without_a_face_gives_empty_arrays() -> None:
    faces = scrfd(blank(2, (1, 4, 10))).detect(np.zeros((50, 90, 3), np.uint8))
    assert faces.boxes.shape == (0, 4)
    assert faces.scores.shape == (0,)
    assert faces.landmarks is not None
    assert faces.landmarks.shape == (0, 5, 2)


def test_scrfd_refuses_a_network_that_is_no_detector() -> None:
    session = open_session(
        mean_network((1, 3, SIDE, SIDE), 1.0), runtime="openvino", threads=1, pixels=PIXELS
    )
    detector = ScrfdDetector(session, threshold=0.5, nms=0.4, sizes=(SIDE,))
    with pytest.raises(PackError, match="1, 4 and 10 channels"):
        detector.detect(np.zeros((SIDE, SIDE, 3), np.uint8))


def test_yunet_centres_and_logarithms_are_read_in_strides() -> None:
    outputs = blank(1, (1, 1, 4, 10))
    anchor = 2 * (SIDE // 16) + 5
    outputs[0][1][0, anchor], outputs[1][1][0, anchor] = 0.9, 0.8
    outputs[2][1][0, anchor] = [0.5, 0.25, np.log(2), np.log(3)]
    outputs[3][1][0, anchor] = [0, 0, 1, 0, 0.5, 0.5, 0, 1, 1, 1]
    # Class scores alone, or above one, make no face of another cell.
    outputs[0][0][0, 3] = 1.0
    network = constant_network((1, 3, SIDE, SIDE), [output for group in outputs for output in group])
    session = open_session(network, runtime="openvino", threads=1, pixels=yunet.PIXELS)
    detector = YunetDetector(session, threshold=0.5, nms=0.3, sizes=(SIDE,))
    faces = detector.detect(np.zeros((SIDE, SIDE, 3), np.uint8))
    # The centre lies at 5.5, 2.25 strides; the box is 2 strides wide and 3 high.
    np.testing.assert_allclose(faces.boxes, [[72, 12, 104, 60]], rtol=1e-6)
    np.testing.assert_allclose(faces.scores, [np.sqrt(0.72)], rtol=1e-6)
    assert faces.landmarks is not None
    np.testing.assert_allclose(faces.landmarks, [[[80, 32], [96, 32], [88, 40], [80, 48], [96, 48]]])


def test_yunet_survives_numbers_that_overflow() -> None:
    outputs = blank(1, (1, 1, 4, 10))
    outputs[0][2][:] = outputs[1][2][:] = 5.0
    outputs[2][2][:] = 1000.0
    network = constant_network((1, 3, SIDE, SIDE), [output for group in outputs for output in group])
    session = open_session(network, runtime="openvino", threads=1, pixels=yunet.PIXELS)
    faces = YunetDetector(session, threshold=0.5, nms=0.3, sizes=(SIDE,)).detect(
        np.zeros((SIDE, SIDE, 3), np.uint8)
    )
    assert np.isfinite(faces.boxes).all()
    assert faces.scores.max() == 1.0
