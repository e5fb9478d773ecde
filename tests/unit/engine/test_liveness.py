from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_networks import constant_network

from facerec.engine.base import Floats, Pixels
from facerec.engine.liveness import SIDE, open_liveness_model, surroundings
from facerec.errors import PackError


def gradient(width: int, height: int) -> Pixels:
    """Red tells a pixel's column, green its row."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.arange(width)[None]
    image[..., 1] = np.arange(height)[:, None]
    return image


def span(crop: Pixels) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the pixels that a crop of `gradient` shows, to two pixels."""
    return (*crop[0, 0, :2].tolist(), *crop[-1, -1, :2].tolist())


@pytest.mark.parametrize(
    ("box", "scale", "expected"),
    [
        ((80, 60, 120, 100), 2.0, (60, 40, 140, 120)),
        ((0, 0, 40, 40), 2.0, (0, 0, 80, 80)),
        ((160, 110, 200, 150), 2.0, (119, 69, 199, 149)),
        ((-20, 60, 20, 100), 2.0, (0, 40, 80, 120)),
        ((60, 40, 140, 120), 4.0, (26, 0, 174, 149)),
    ],
    ids=["inside", "upper left", "lower right", "beyond the image", "larger than the image"],
)
def test_a_crop_stays_inside_the_image(box: tuple[int, ...], scale: float, expected: tuple[int, ...]) -> None:
    crop = surroundings(gradient(200, 150), np.array(box, np.float32), scale)
    assert crop.shape == (SIDE, SIDE, 3)
    assert span(crop) == pytest.approx(expected, abs=2)


def test_tiny_images_and_boxes_give_a_crop() -> None:
    for box in ((0, 0, 1, 1), (0.5, 0.5, 0.5, 0.5), (-9, -9, 12, 12)):
        assert surroundings(gradient(1, 2), np.array(box, np.float32), 2.7).shape == (SIDE, SIDE, 3)


def written(folder: Path, name: str, logits: list[float]) -> Path:
    file = folder / name
    file.write_bytes(constant_network((1, 3, SIDE, SIDE), [np.array([logits], np.float32)]))
    return file


def test_the_networks_shares_are_averaged(tmp_path: Path) -> None:
    sure = written(tmp_path, "sure.onnx", [0.0, 1000.0, 0.0])
    doubting = written(tmp_path, "doubting.onnx", [0.0, 0.0, 0.0])
    model = open_liveness_model([(sure, 2.7), (doubting, 4.0)], runtime="onnxruntime", threads=1)
    box: Floats = np.array([10, 10, 50, 50], np.float32)
    assert model.score(gradient(100, 100), box) == pytest.approx((1 + 1 / 3) / 2)


def test_a_network_of_other_classes_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, "two.onnx", [0.0, 1.0])
    with pytest.raises(PackError, match="3 numbers"):
        open_liveness_model([(file, 2.7)], runtime="onnxruntime", threads=1)
