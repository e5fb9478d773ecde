from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from facerec.engine.detection.heads import Level, cells, read_levels
from facerec.errors import PackError


def outputs(levels: int, anchors: int, *, points: bool, batch: bool) -> list[list[NDArray[np.float32]]]:
    """Scores, boxes and points of a detector at an input of 256 x 128; every number tells its stride."""
    groups = []
    for channels in (1, 4, 10) if points else (1, 4):
        group = []
        for level in range(levels):
            stride = 8 << level
            count = anchors * (256 // stride) * (128 // stride)
            value = np.full((count, channels), stride, np.float32)
            group.append(value[None] if batch else value)
        groups.append(group)
    return groups


@pytest.mark.parametrize("by_level", [False, True])
@pytest.mark.parametrize(("levels", "anchors"), [(3, 2), (5, 1)])
@pytest.mark.parametrize("points", [True, False])
@pytest.mark.parametrize("batch", [True, False])
def test_every_layout_is_recognised(
    levels: int, anchors: int, points: bool, batch: bool, by_level: bool
) -> None:
    groups = outputs(levels, anchors, points=points, batch=batch)
    flat = [o for group in (zip(*groups, strict=True) if by_level else groups) for o in group]
    found = read_levels(flat, kinds_of_score=1)
    assert [level.stride for level in found] == [8 << index for index in range(levels)]
    for level in found:
        assert set(level.scores[0]) == {level.stride}
        assert level.boxes.shape == (len(level.scores[0]), 4)
        assert set(level.boxes.ravel()) == {level.stride}
        assert (level.points is not None) == points
        if level.points is not None:
            assert level.points.shape == (len(level.boxes), 10)


def test_two_kinds_of_score_stay_with_their_level() -> None:
    scores, boxes, points = outputs(3, 1, points=True, batch=True)
    found = read_levels([*scores, *scores, *boxes, *points], kinds_of_score=2)
    assert [[set(s) for s in level.scores] for level in found] == [[{8}, {8}], [{16}, {16}], [{32}, {32}]]


def test_a_network_of_another_kind_is_refused() -> None:
    with pytest.raises(PackError, match="1, 4 and 10 channels"):
        read_levels([np.zeros((1, 512), np.float32)], kinds_of_score=1)
    scores, boxes, _ = outputs(3, 1, points=True, batch=True)
    with pytest.raises(PackError, match=r"2 score\(s\) a level was expected"):
        read_levels([*scores, *boxes], kinds_of_score=2)
    with pytest.raises(PackError, match="gives 0 scores, 0 boxes"):
        read_levels([], kinds_of_score=1)


def test_anchors_of_a_cell_lie_together_and_cells_in_reading_order() -> None:
    level = Level(16, (np.zeros(24, np.float32),), np.zeros((24, 4), np.float32), None)
    chosen = np.array([0, 1, 2, 7, 8, 23])
    expected = [[0, 0], [0, 0], [1, 0], [3, 0], [0, 1], [3, 2]]
    assert cells(chosen, level, height=48, width=64).tolist() == expected


def test_a_grid_that_does_not_fit_the_input_is_refused() -> None:
    level = Level(16, (np.zeros(23, np.float32),), np.zeros((23, 4), np.float32), None)
    with pytest.raises(PackError, match="4 x 3 cells"):
        cells(np.array([0]), level, height=48, width=64)
