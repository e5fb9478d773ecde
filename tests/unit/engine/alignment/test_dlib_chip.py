"""Arithmetic of dlib's face chip."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from facerec.engine.alignment.dlib_chip import DlibChipAligner
from facerec.errors import InvalidParameter

CANONICAL = np.array(
    [
        (0.8595674595992, 0.2134981538014),
        (0.6460604764104, 0.2289674387677),
        (0.1205750620789, 0.2137274526848),
        (0.3340850613712, 0.2290642403242),
        (0.4901123135679, 0.6277975316475),
    ]
)
CHIP = (CANONICAL + 0.25) / 1.5 * 150


def placed(x: float, y: float) -> NDArray[np.float32]:
    """Landmarks whose chip is the picture's square from (x, y) on.

    dlib's rectangle has its edges a pixel apart, so it begins half a pixel in from the chip's corner.
    """
    return np.asarray((CHIP + np.array([x - 0.5, y - 0.5]))[None], np.float32)


def ramp(size: int) -> NDArray[np.uint8]:
    """Red grows to the right, green downwards, one level in four pixels."""
    steps = np.arange(size) // 4
    return np.stack(np.broadcast_arrays(steps[None, :], steps[:, None], 7), axis=-1).astype(np.uint8)


def test_a_face_that_lies_as_in_the_chip_is_cut_as_it_is() -> None:
    image = np.random.default_rng(1).integers(0, 256, (300, 300, 3), np.uint8)
    (chip,) = DlibChipAligner().align(image, placed(20, 30))
    np.testing.assert_allclose(chip, image[30:180, 20:170], atol=1)


def test_beyond_the_image_the_chip_is_black() -> None:
    image = np.full((100, 300, 3), 200, np.uint8)
    (chip,) = DlibChipAligner().align(image, placed(50, -50))
    assert (chip[:50] == 0).all()
    assert (chip[51:149] == 200).all()


def test_a_turned_face_is_cut_upright() -> None:
    image = ramp(600)
    turned = np.stack([300 - CHIP[:, 1], 200 + CHIP[:, 0]], axis=1)  # a quarter turn clockwise
    (chip,) = DlibChipAligner().align(image, turned[None].astype(np.float32))
    red, green = chip[..., 0].astype(int), chip[..., 1].astype(int)
    assert red[0, 75] - red[149, 75] == pytest.approx(149 / 4, abs=1)  # the chip's top lies at the right
    assert green[75, 149] - green[75, 0] == pytest.approx(149 / 4, abs=1)


@pytest.mark.parametrize("scale", [1.2, 2.5, 5.0])
def test_a_large_face_is_halved_to_the_same_picture(scale: float) -> None:
    image = ramp(1000)
    (chip,) = DlibChipAligner().align(image, (CHIP * scale + 60)[None].astype(np.float32))
    # Across the chip the ramp climbs with the scale; halving must neither move nor stretch it (dlib is off by
    # up to a pixel of the halved picture).
    expected = (60 + np.arange(150) * scale) / 4
    np.testing.assert_allclose(chip[75, :, 0], expected, atol=0.75 * scale + 1)
    np.testing.assert_allclose(chip[:, 75, 1], expected, atol=0.75 * scale + 1)


@pytest.mark.parametrize(
    "points", [np.zeros((1, 5, 2)), np.full((1, 5, 2), np.nan), np.full((1, 5, 2), np.inf)]
)
def test_landmarks_that_place_nothing_are_refused(
    points: NDArray[np.float64],
) -> None:
    with pytest.raises(InvalidParameter, match="landmark"):
        DlibChipAligner().align(ramp(50), points.astype(np.float32))


@pytest.mark.parametrize("offset", [5000.0, -5000.0, 1e7])
@pytest.mark.parametrize("scale", [0.01, 1.0, 40.0])
def test_a_face_far_outside_is_black(offset: float, scale: float) -> None:
    points = (CHIP * scale + (offset if scale < 40 else offset * 10))[None].astype(np.float32)
    assert (DlibChipAligner().align(ramp(50), points) == 0).all()
