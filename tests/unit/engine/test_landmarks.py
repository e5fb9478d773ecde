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
    with pytest.raises(ValueError, match="at most 15"):
        replace(
            good,
            first=np.zeros((1, 1, 31), np.int32),
            second=np.zeros((1, 1, 31), np.int32),
            thresholds=np.zeros((1, 1, 31), np.float32),
            leaves=np.zeros((1, 1, 32, 2, 2), np.float32),
        )


def test_a_tree_leads_where_walking_down_its_splits_leads() -> None:
    """Trees of fifteen splits against a walk from node to node: the first child of i is 2 i + 1."""
    random = np.random.default_rng(4)
    trees, splits, samples = 40, 15, 30
    grown = ShapeForest(
        initial=np.array([[0, 0], [1, 0]], np.float32),
        anchors=np.zeros((1, samples), np.int32),
        deltas=random.uniform(0, 1, (1, samples, 2)).astype(np.float32),
        first=random.integers(0, samples, (1, trees, splits), np.int32),
        second=random.integers(0, samples, (1, trees, splits), np.int32),
        thresholds=random.uniform(-200, 200, (1, trees, splits)).astype(np.float32),
        leaves=random.integers(-3, 4, (1, trees, splits + 1, 2, 2)).astype(np.float32),
    )
    pixels = random.integers(0, 256, (60, 60, 3), np.uint8)
    box = np.array([[5, 5, 45, 45]], np.float32)
    places = np.floor(5 + 40 * grown.deltas[0].astype(np.float64) + 0.5).astype(int)
    grey = pixels[places[:, 1], places[:, 0]].astype(int).sum(axis=1) // 3
    expected = grown.initial.astype(np.float64)
    for tree in range(trees):
        node = 0
        while node < splits:
            difference = grey[grown.first[0, tree, node]] - grey[grown.second[0, tree, node]]
            node = 2 * node + (1 if difference > grown.thresholds[0, tree, node] else 2)
        expected += grown.leaves[0, tree, node - splits]
    found = ShapePredictor(grown).locate(pixels, box)
    np.testing.assert_array_equal(found[0], np.floor(5 + expected * 40 + 0.5))
