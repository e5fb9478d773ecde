"""What the outputs of an anchor-free face detector hold: recognised by their shapes, not by their names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerec.engine.base import Floats
from facerec.errors import PackError

FINEST_STRIDE = 8
"""Pixels between the cells of the finest level in SCRFD and YuNet; each further level doubles it."""
_CHANNELS = (1, 4, 10)
"""Of scores, boxes and landmarks."""
_MOST_GRIDS = 64
"""Canvases whose anchors are kept; each takes a few hundred kilobytes at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """K anchors that may be faces."""

    boxes: Floats
    """(K, 4), as the network gives them."""
    points: Floats | None
    """(K, 5, 2), as the network gives them; None for a network without landmarks."""
    corners: Floats
    """(K, 2): column and row of each anchor's cell, in strides."""
    strides: Floats
    """(K, 1): pixels of a stride."""


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Where a network's outputs for one canvas are found. Its A anchors are numbered level by level from the
    finest, cells in reading order, the anchors of a cell together."""

    scores: tuple[tuple[int, ...], ...]
    """For each kind of score the outputs of the levels."""
    boxes: tuple[int, ...]
    points: tuple[int, ...]
    firsts: NDArray[np.intp]
    """(L + 1,): the first anchor of each level, and how many there are."""
    corners: Floats
    """(A, 2): column and row of each anchor's cell."""
    strides: Floats
    """(A, 1)."""

    def scores_of(self, outputs: Sequence[Floats], kind: int) -> Floats:
        """(A,) scores of a kind."""
        return np.concatenate([outputs[place].ravel() for place in self.scores[kind]])

    def candidates(self, outputs: Sequence[Floats], chosen: NDArray[np.intp]) -> Candidates:
        """What the network says of the chosen anchors (K,), numbers in rising order."""
        cuts = np.searchsorted(chosen, self.firsts).tolist()
        # Most levels hold none of them.
        levels = [level for level in range(len(self.boxes)) if cuts[level] < cuts[level + 1]] or [0]
        rows = [chosen[cuts[level] : cuts[level + 1]] - self.firsts[level] for level in levels]
        boxes = [
            outputs[self.boxes[level]].reshape(-1, 4)[row] for level, row in zip(levels, rows, strict=True)
        ]
        points = None
        if self.points:
            found = zip(levels, rows, strict=True)
            read = [outputs[self.points[level]].reshape(-1, 5, 2)[row] for level, row in found]
            points = np.concatenate(read)
        return Candidates(np.concatenate(boxes), points, self.corners[chosen], self.strides[chosen])


class Heads:
    """The outputs of one network, whose grids are made once for each canvas. Safe to use from many threads.

    kinds_of_score: scores that the network gives of each anchor.
    """

    def __init__(self, kinds_of_score: int) -> None:
        self._kinds = kinds_of_score
        self._grids: dict[tuple[int, int], Grid] = {}

    def grid(self, outputs: Sequence[Floats], height: int, width: int) -> Grid:
        """Where the outputs, each ([1,] A, channels), for a canvas of height x width pixels are found.

        Raises PackError when the outputs are not those of such a detector.
        """
        grid = self._grids.get((height, width))
        if grid is None:
            grid = make_grid([output.shape for output in outputs], self._kinds, height, width)
            if len(self._grids) >= _MOST_GRIDS:
                self._grids.clear()
            self._grids[height, width] = grid
        return grid


def make_grid(shapes: Sequence[tuple[int, ...]], kinds_of_score: int, height: int, width: int) -> Grid:
    """Sort outputs of these shapes, each ([1,] A, channels), by what they hold and by level.

    Exporters order them by kind or by level and drop the batch dimension or not; but scores have 1 channel,
    boxes 4 and landmarks 10, and each level has a quarter of the finer one's anchors.

    Raises PackError when the shapes are not those of such a detector at an input of height x width pixels.
    """
    places: dict[int, list[int]] = {channels: [] for channels in _CHANNELS}
    for place, shape in enumerate(shapes):
        if shape[-1] not in places:
            raise PackError(f"a face detector has outputs of 1, 4 and 10 channels; this one has {shape}")
        places[shape[-1]].append(place)
    counts = [math.prod(shape) // shape[-1] for shape in shapes]
    for group in places.values():
        group.sort(key=lambda place: counts[place], reverse=True)
    scores, boxes, points = (places[channels] for channels in _CHANNELS)
    if not boxes or len(scores) != kinds_of_score * len(boxes) or len(points) not in (0, len(boxes)):
        raise PackError(
            f"a face detector with {kinds_of_score} score(s) a level was expected; this network gives "
            f"{len(scores)} scores, {len(boxes)} boxes and {len(points)} landmark outputs"
        )
    levels = [
        _cells(counts[place], FINEST_STRIDE << level, height, width) for level, place in enumerate(boxes)
    ]
    lengths = [len(cells) for cells in levels]
    strides = np.float32(FINEST_STRIDE) * 2 ** np.arange(len(boxes), dtype=np.float32)
    return Grid(
        scores=tuple(tuple(scores[kind::kinds_of_score]) for kind in range(kinds_of_score)),
        boxes=tuple(boxes),
        points=tuple(points),
        firsts=np.cumsum([0, *lengths]),
        corners=np.concatenate(levels),
        strides=np.repeat(strides, lengths)[:, None],
    )


def _cells(count: int, stride: int, height: int, width: int) -> Floats:
    """Column and row (count, 2) float32 of the cell of each of a level's anchors.

    Raises PackError when the level does not have the same number of anchors in every cell.
    """
    columns, rows = -(-width // stride), -(-height // stride)
    anchors, remainder = divmod(count, columns * rows)
    if remainder or not anchors:
        raise PackError(
            f"at an input of {width} x {height}, stride {stride} has {columns} x {rows} cells; "
            f"{count} anchors do not fit them"
        )
    row, column = np.divmod(np.arange(count) // anchors, columns)
    return np.stack([column, row], axis=1).astype(np.float32)
