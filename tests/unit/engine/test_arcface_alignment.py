from __future__ import annotations

import numpy as np
import pytest

from facerec.engine.alignment.arcface import ArcFaceAligner
from facerec.errors import ConfigurationError

TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]],
    np.float32,
)


def dots(
    points: np.ndarray[tuple[int, ...], np.dtype[np.float32]], side: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A black picture with a soft white dot at each point."""
    y, x = np.mgrid[:side, :side]
    light = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / 18) for px, py in points)
    return np.repeat((np.clip(light, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize(("size", "ratio", "shift"), [(112, 1, 0), (224, 2, 0), (128, 1, 8), (256, 2, 16)])
def test_landmarks_come_to_lie_on_the_template(size: int, ratio: int, shift: int) -> None:
    angle, scale = 0.4, 2.0
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = (TEMPLATE @ turn.T + [120, 60]).astype(np.float32)
    (crop,) = ArcFaceAligner(size).align(dots(points, 400), points[None])
    assert crop.shape == (size, size, 3)
    for x, y in TEMPLATE * ratio + [shift, 0]:
        # The dot's centre of light, for it lies between pixels.
        column, row, reach = round(float(x)), round(float(y)), 7 * ratio
        patch = crop[row - reach : row + reach + 1, column - reach : column + reach + 1, 0].astype(float)
        down, across = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        assert (patch * across).sum() / patch.sum() + column == pytest.approx(float(x), abs=0.2)
        assert (patch * down).sum() / patch.sum() + row == pytest.approx(float(y), abs=0.2)


def test_a_face_at_the_edge_is_filled_with_black() -> None:
    picture = np.full((60, 60, 3), 255, np.uint8)
    (crop,) = ArcFaceAligner().align(picture, (TEMPLATE - 60)[None])
    assert crop[:30, :30].max() == 0 or crop[-30:, -30:].max() == 0
    assert (crop == 255).any()


def test_no_faces_give_no_crops() -> None:
    crops = ArcFaceAligner().align(np.zeros((50, 50, 3), np.uint8), np.empty((0, 5, 2), np.float32))
    assert crops.shape == (0, 112, 112, 3)


@pytest.mark.parametrize("size", [0, -112, 100, 160])
def test_other_sizes_are_refused(size: int) -> None:
    with pytest.raises(ConfigurationError, match="112 or of 128"):
        ArcFaceAligner(size)
