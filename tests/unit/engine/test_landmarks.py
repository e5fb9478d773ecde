"""Arithmetic of the shape predictor on forests small enough to follow by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from facerec.engine.landmarks import ShapeForest, ShapePredictor, dump_forest, load_forest
from facerec.errors import PackError


def forest(cascades: int = 1) -> ShapeForest:
    """One tree of one split a cascade: sample 0 lies on point 0, sample 1 on point 1.

    Where the image at point 0 is more than 10 brighter than at point 1, all points move right by half the
    box; else down by half.
    """
    leaves = np.zeros((cascades, 1, 2, 2, 2), np.float32)
    leaves[:, 0, 0, :, 0] = 0.5
    leaves[:, 0, 1, :, 1] = 0.5
    return ShapeForest(
        initial=np.array([[0, 0], [0.5, 0]], np.float32),
        anchors=np.tile(np.array([[0, 1]], np.int32), (cascades, 1)),
        deltas=np.zeros((cascades, 2, 2), np.float32),
        first=np.zeros((cascades, 1, 1), np.int32),
        second=np.ones((cascades, 1, 1), np.int32),
        thresholds=np.full((cascades, 1, 1), 10, np.float32),
        leaves=leaves,
    )


def image(left: int, right: int) -> NDArray[np.uint8]:
    """A grey picture of 30 x 30, whose first 10 columns have one brightness and the others another."""
    pixels = np.full((30, 30, 3), right, np.uint8)
    pixels[:, :10] = left
    return pixels


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (100, 89, [[10, 0], [20, 0]]),
        (100, 90, [[0, 10], [10, 10]]),  # a difference of 10 is not greater than 10
        (50, 200, [[0, 10], [10, 10]]),
    ],
)
def test_a_tree_takes_its_first_child_above_the_threshold(
    left: int, right: int, expected: list[list[int]]
) -> None:
    box = np.array([[0, 0, 20, 20]], np.float32)
    points = ShapePredictor(forest()).locate(image(left, right), box)
    np.testing.assert_array_equal(points, [expected])


def test_the_second_cascade_looks_where_the_first_has_moved_to() -> None:
    box = np.array([[0, 0, 20, 20]], np.float32)
    # First right (100 against 50). Then both samples lie on the right part: equal, so down.
    points = ShapePredictor(forest(cascades=2)).locate(image(100, 50), box)
    np.testing.assert_array_equal(points, [[[10, 10], [20, 10]]])


def test_outside_the_image_all_is_black() -> None:
    boxes = np.array([[25, 0, 45, 20], [-1e9, -1e9, 1e9, 1e9]], np.float32)
    points = ShapePredictor(forest()).locate(image(0, 90), boxes)
    np.testing.assert_array_equal(points[0], [[35, 0], [45, 0]])


def test_brightness_is_a_third_of_the_sum_rounded_down() -> None:
    pixels = np.zeros((30, 30, 3), np.uint8)
    pixels[:, :10] = (12, 10, 10)  # 32 // 3 = 10: not more than 10 above black
    box = np.array([[0, 0, 20, 20]], np.float32)
    np.testing.assert_array_equal(ShapePredictor(forest()).locate(pixels, box), [[[0, 10], [10, 10]]])
    pixels[:, :10] = (12, 11, 10)
    np.testing.assert_array_equal(ShapePredictor(forest()).locate(pixels, box), [[[10, 0], [20, 0]]])


def test_a_forest_survives_its_file() -> None:
    data = dump_forest(forest())
    assert dump_forest(load_forest(data, "x")) == data


@pytest.mark.parametrize("cut", [0, 10, 500, -1])
def test_a_damaged_file_is_a_pack_error(cut: int) -> None:
    with pytest.raises(PackError, match=r"landmarks\.npz"):
        load_forest(dump_forest(forest())[:cut], "landmarks.npz")


def test_arrays_have_to_fit_together() -> None:
    good = forest()
    with pytest.raises(ValueError, match="thresholds"):
        replace(good, thresholds=np.zeros((1, 1, 3), np.float32))
    with pytest.raises(ValueError, match="indices outside"):
        replace(good, first=np.full((1, 1, 1), 2, np.int32))
    with pytest.raises(ValueError, match="not complete"):
        replace(
            good,
            first=np.zeros((1, 1, 2), np.int32),
            second=np.zeros((1, 1, 2), np.int32),
            thresholds=np.zeros((1, 1, 2), np.float32),
            leaves=np.zeros((1, 1, 3, 2, 2), np.float32),
        )
