"""What the outputs of an anchor-free face detector hold: recognised by their shapes, not by their names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerec.engine.base import Floats
from facerec.errors import PackError

FINEST_STRIDE = 8
"""Pixels between the cells of the finest level in SCRFD and YuNet; each further level doubles it."""


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """The outputs of one stride, a row an anchor: cells in reading order, the anchors of a cell together."""

    stride: int
    scores: tuple[Floats, ...]
    """One (A,) array for each score output of the level."""
    boxes: Floats
    """(A, 4)."""
    points: Floats | None
    """(A, 10), None for a network without landmarks."""


def read_levels(outputs: list[Floats], kinds_of_score: int) -> list[Level]:
    """Sort outputs, each ([1,] A, channels), into levels from the finest to the coarsest.

    Exporters order them by kind or by level and drop the batch dimension or not; but scores have 1 channel,
    boxes 4 and landmarks 10, and each level has a quarter of the finer one's anchors.

    Raises PackError when the outputs are not those of such a detector.
    """
    by_channels: dict[int, list[Floats]] = {1: [], 4: [], 10: []}
    for output in outputs:
        channels = output.shape[-1]
        if channels not in by_channels:
            raise PackError(
                f"a face detector has outputs of 1, 4 and 10 channels; this one has {output.shape}"
            )
        by_channels[channels].append(output.reshape(-1, channels))
    for group in by_channels.values():
        group.sort(key=len, reverse=True)
    scores, boxes, points = by_channels[1], by_channels[4], by_channels[10]
    if not boxes or len(scores) != kinds_of_score * len(boxes) or len(points) not in (0, len(boxes)):
        raise PackError(
            f"a face detector with {kinds_of_score} score(s) a level was expected; this network gives "
            f"{len(scores)} scores, {len(boxes)} boxes and {len(points)} landmark outputs"
        )
    return [
        Level(
            stride=FINEST_STRIDE << index,
            scores=tuple(s[:, 0] for s in scores[index * kinds_of_score : (index + 1) * kinds_of_score]),
            boxes=boxes[index],
            points=points[index] if points else None,
        )
        for index in range(len(boxes))
    ]


def cells(chosen: NDArray[np.intp], level: Level, height: int, width: int) -> Floats:
    """Column and row (K, 2) float32 of the cells that the chosen anchors belong to, for an input of that
    size.

    Raises PackError when the level does not have the same number of anchors in every cell.
    """
    columns, rows = -(-width // level.stride), -(-height // level.stride)
    anchors, remainder = divmod(len(level.boxes), columns * rows)
    if remainder or not anchors:
        raise PackError(
            f"at an input of {width} x {height}, stride {level.stride} has {columns} x {rows} cells; "
            f"{len(level.boxes)} anchors do not fit them"
        )
    row, column = np.divmod(chosen // anchors, columns)
    return np.stack([column, row], axis=1).astype(np.float32)
