from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from facerec.engine.detection.heads import Heads
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


def rising(groups: list[list[NDArray[np.float32]]]) -> list[list[NDArray[np.float32]]]:
    """The same outputs; each row's first number is its anchor's, counted through the levels."""
    for group in groups:
        first = 0
        for output in group:
            rows = output.reshape(-1, output.shape[-1])
            rows[:, 0] = np.arange(first, first + len(rows))
            first += len(rows)
    return groups


@pytest.mark.parametrize("by_level", [False, True])
@pytest.mark.parametrize(("levels", "anchors"), [(3, 2), (5, 1)])
@pytest.mark.parametrize("points", [True, False])
@pytest.mark.parametrize("batch", [True, False])
def test_every_layout_is_recognised(
    levels: int, anchors: int, points: bool, batch: bool, by_level: bool
) -> None:
    groups = rising(outputs(levels, anchors, points=points, batch=batch))
    flat = [o for group in (zip(*groups, strict=True) if by_level else groups) for o in group]
    grid = Heads(1).grid(flat, 128, 256)
    total = sum(anchors * (256 >> 3 + level) * (128 >> 3 + level) for level in range(levels))
    assert grid.scores_of(flat, 0).tolist() == list(range(total))
    strides = np.concatenate([output[..., -1].ravel() for output in groups[1]])
    for chosen in (np.arange(total), np.arange(0, total, 7), np.array([total - 1]), np.array([], np.intp)):
        found = grid.candidates(flat, chosen)
        assert found.boxes[:, 0].tolist() == chosen.tolist()
        assert found.strides[:, 0].tolist() == strides[chosen].tolist()
        assert found.boxes[:, 3].tolist() == strides[chosen].tolist()
        assert (found.points is not None) == points
        if found.points is not None:
            assert found.points[:, 0, 0].tolist() == chosen.tolist()
            assert found.points.shape == (len(chosen), 5, 2)


@pytest.mark.parametrize("by_level", [False, True])
def test_two_kinds_of_score_stay_with_their_level(by_level: bool) -> None:
    scores, boxes, points = outputs(3, 1, points=True, batch=True)
    classes, objects = [s + 1000 for s in scores], [s + 2000 for s in scores]
    groups = [classes, objects, boxes, points]
    flat = [o for group in (zip(*groups, strict=True) if by_level else groups) for o in group]
    grid = Heads(2).grid(flat, 128, 256)
    expected = np.concatenate([s.ravel() for s in scores])
    assert grid.scores_of(flat, 0).tolist() == (expected + 1000).tolist()
    assert grid.scores_of(flat, 1).tolist() == (expected + 2000).tolist()


def test_a_network_of_another_kind_is_refused() -> None:
    with pytest.raises(PackError, match="1, 4 and 10 channels"):
        Heads(1).grid([np.zeros((1, 512), np.float32)], 128, 256)
    scores, boxes, _ = outputs(3, 1, points=True, batch=True)
    with pytest.raises(PackError, match=r"2 score\(s\) a level was expected"):
        Heads(2).grid([*scores, *boxes], 128, 256)
    with pytest.raises(PackError, match="gives 0 scores, 0 boxes"):
        Heads(1).grid([], 128, 256)


def test_anchors_of_a_cell_lie_together_and_cells_in_reading_order() -> None:
    flat = [np.zeros((2 * 8 * 6, channels), np.float32) for channels in (1, 4)]
    grid = Heads(1).grid(flat, height=48, width=64)
    found = grid.candidates(flat, np.array([0, 1, 2, 15, 16, 95]))
    assert found.corners.tolist() == [[0, 0], [0, 0], [1, 0], [7, 0], [0, 1], [7, 5]]


def test_a_grid_that_does_not_fit_the_input_is_refused() -> None:
    with pytest.raises(PackError, match="8 x 6 cells"):
        Heads(1).grid([np.zeros((95, channels), np.float32) for channels in (1, 4)], height=48, width=64)


def test_many_canvases_are_told_apart() -> None:
    heads = Heads(1)
    for columns in [*range(1, 200), 1, 77]:
        flat = [np.zeros((columns, channels), np.float32) for channels in (1, 4)]
        assert heads.grid(flat, 8, 8 * columns).corners[-1].tolist() == [columns - 1, 0]
