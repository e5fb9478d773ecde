"""Runs dlib's max-margin face detector (MMOD): a window of 80 pixels slides over a pyramid on one canvas.

D. E. King, "Max-Margin Object Detection" (2015). With an image at its own size the boxes are dlib's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from facerec.engine.base import Detections, Floats, Pixels, Session
from facerec.errors import PackError

_MEANS = (122.782, 117.001, 104.298)
"""Red, green, blue of the canvas between the tiles: what the network sees as zero."""
_PADDING = 10
_BORDER = 11
_RATIO = 5.0 / 6
_LEAST_ROWS = 5
_WINDOW = 80
_STRIDE = 8
_FIRST_CENTRE = 14
"""Canvas centre of the first output: three convolutions of stride 2 take v back to 2 v + 2 each."""
_MOST_BOXES = 2000
"""Candidates that suppression looks at, best first."""
_LEAST_SIDE = 16
"""A working image with a shorter side has no face and no room for the network's windows."""
_TOLERANCE = 0.1
"""Share of a level by which the steps between looks may be longer than the pyramid's."""
_LARGE = 0.25
"""Share of the image's shorter side from which on a face is large."""
_STEEPNESS = math.log(99)
_LEAST_MARGIN, _MOST_MARGIN = -1.0, 2.0
"""Beyond these every window is a face, or none is."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A level of the pyramid on the canvas: its top left corner and its size in pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Layout:
    """A canvas and its tiles; tile i is the image shrunk i times to 5/6. Levels without room are left out."""

    width: int
    height: int
    tiles: tuple[Tile, ...]


def lay_out(width: int, height: int) -> Layout:
    """Lay out the pyramid of an image as dlib does: one column downwards, then one upwards at its right."""
    sizes = _level_sizes(width, height)
    column = _column_height(sizes)
    tiles = []
    top = _BORDER
    level = 0
    while level < len(sizes) and top < column + _BORDER:
        tiles.append(Tile(_BORDER, top, *sizes[level]))
        top += sizes[level][1] + _PADDING
        level += 1
    bottom = top - _PADDING - 1
    right = _BORDER + width - 1
    for tile_width, tile_height in sizes[level:]:
        tile = Tile(right - tile_width + 1, bottom - tile_height + 1, tile_width, tile_height)
        if tile.top < tiles[0].top + height and tile.left < tiles[0].left + width:
            break
        tiles.append(tile)
        bottom -= tile_height + _PADDING
    return Layout(width + 2 * _BORDER, column + 2 * _BORDER, tuple(tiles))


def _level_sizes(width: int, height: int) -> list[tuple[int, int]]:
    """Width and height of every level, from the image down."""
    sizes = [(width, height)]
    while True:
        width, height = math.floor(_RATIO * width), math.floor(_RATIO * height)
        if width < 1 or height < _LEAST_ROWS:
            return sizes
        sizes.append((width, height))


def _column_height(sizes: list[tuple[int, int]]) -> int:
    """Rows that the first column takes: levels are put there until the rest fits at its right."""
    width, height = sizes[0]
    total = sum(rows + _PADDING for _, rows in sizes) - 2 * _PADDING
    column = previous = 0
    for columns, rows in sizes:
        if columns <= width - previous - _PADDING and 2 * (column - height) >= total - height:
            break
        column += rows + _PADDING
        previous = columns
    return column - _PADDING


class MmodDetector:
    """Finds upright faces; implements `facerec.engine.base.Detector`. Safe to call from several threads.

    The network finds faces of 75 pixels and more, and its time grows with the pixels it sees. So a portrait
    is looked at small; only where that shows no large face is it looked at closer, enlarged step by step.

    session: the network of `facerec.engine.packs.dlib_onnx.detector_to_onnx`.
    threshold: least confidence 0..1 of a face, see `confidence`.
    nms: a box is dropped when its intersection with a better one is more than this share of the rectangle
        around both.
    sizes: the longer side of the image, in pixels, at the first look and at the last. At the first a larger
        image is shrunk to it. The last is taken unless the first shows a face that is at least a quarter as
        large as the image's shorter side; a larger image is shrunk to it and a smaller one enlarged, at most
        `enlargement` times. One size is a last look alone.
    enlargement: most that an image is enlarged; 2.5 finds faces from about 32 pixels on.
    """

    def __init__(
        self,
        session: Session,
        *,
        threshold: float,
        nms: float,
        sizes: tuple[int, ...],
        enlargement: float = 2.5,
    ) -> None:
        if not sizes or min(sizes) < 1 or enlargement < 1:
            raise PackError(
                f"the detector's sizes are {list(sizes)} and its enlargement {enlargement}: "
                "give one or two longer sides in pixels, and 1 or more"
            )
        self._session = session
        self._least_score = score(threshold)
        self._nms = nms
        self._first, self._last = min(sizes), max(sizes)
        self._enlargement = enlargement

    def detect(self, image: Pixels) -> Detections:
        """Find the faces of an image (height, width, 3) uint8 RGB.

        The boxes are square, their edges inclusive; at the image's own size they are whole pixels and dlib's
        own.
        """
        longer, shorter = max(image.shape[:2]), min(image.shape[:2])
        last = min(self._enlargement, self._last / longer)
        if self._first == self._last:
            return self._answer([self._look(image, _scaled(image, last))])
        first = min(1.0, self._first / longer)
        seen = self._look(image, _scaled(image, first))
        found = self._answer([seen])
        large = (found.boxes[:, 2] - found.boxes[:, 0] >= _LARGE * shorter).any()
        if large or first >= last:
            return found
        return self._answer([seen, *self._look_closer(image, first, last)])

    def _look_closer(self, image: Pixels, first: float, last: float) -> Iterator[_Boxes]:
        """Look at the levels of the pyramid from the scale `last` down to the one after `first`, one by one.

        What lies below has been seen at `first`. One canvas for all would take four times the memory of the
        largest level, and in boundaries a tenth more pixels.
        """
        steps = max(1, math.ceil(math.log(last / first, 1 / _RATIO) - _TOLERANCE))
        working = _scaled(image, last)
        for step in range(steps):
            if step:
                scale = last * (first / last) ** (step / steps)
                width, height = (max(1, round(side * scale)) for side in (image.shape[1], image.shape[0]))
                working = np.asarray(cv2.resize(working, (width, height)), np.uint8)
            height, width = working.shape[:2]
            tile = Tile(_BORDER, _BORDER, width, height)
            yield self._look(image, working, Layout(width + 2 * _BORDER, height + 2 * _BORDER, (tile,)))

    def _look(self, image: Pixels, working: Pixels, layout: Layout | None = None) -> _Boxes:
        """What is found in an image scaled to its working size: in its pyramid, or in the layout's tiles."""
        (height, width), (rows, columns) = image.shape[:2], working.shape[:2]
        if min(rows, columns) < _LEAST_SIDE:
            return _Boxes(np.empty((0, 4)), np.empty(0, np.float32))
        layout = layout or lay_out(columns, rows)
        (scores,) = self._session.run(_canvas(working, layout))
        boxes, found = decode(scores[0, 0], layout, self._least_score)
        if (rows, columns) != (height, width):
            # Pixel k covers k - 0.5 to k + 0.5.
            boxes = (boxes + 0.5) * np.array([width / columns, height / rows] * 2) - 0.5
        return _Boxes(boxes, found)

    def _answer(self, looks: list[_Boxes]) -> Detections:
        """The faces among what all looks have found."""
        boxes = np.concatenate([look.boxes for look in looks])
        scores = np.concatenate([look.scores for look in looks])
        order = np.argsort(-scores, kind="stable")[:_MOST_BOXES]
        kept = order[suppress(boxes[order], self._nms)]
        return Detections(boxes[kept].astype(np.float32), confidence(scores[kept]), None)


@dataclass(frozen=True, slots=True, eq=False)
class _Boxes:
    """What one look has found: boxes (N, 4) in pixels of the image and their scores (N,)."""

    boxes: NDArray[np.float64]
    scores: Floats


def _scaled(image: Pixels, scale: float) -> Pixels:
    """The image at the working size: halved by averages while it is twice as large, then bilinear.

    Averaging over other shares of pixels takes five times as long and finds the same faces.
    """
    if scale == 1:
        return image
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    while image.shape[0] >= 2 * height and image.shape[1] >= 2 * width:
        # An odd last row or column is left out: with it the averages are not those of whole pixels.
        rows, columns = image.shape[0] // 2, image.shape[1] // 2
        whole = image[: 2 * rows, : 2 * columns]
        image = np.asarray(cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(cv2.resize(image, (width, height)), np.uint8)


def _canvas(image: Pixels, layout: Layout) -> Floats:
    """The pyramid (1, 3, rows, columns) float32, 0..255: each level from the last, corners on corners."""
    canvas = np.empty((1, 3, layout.height, layout.width), np.float32)
    for plane, mean, values in zip(canvas[0], _MEANS, cv2.split(image), strict=True):
        plane[:] = mean
        levels = [_place(plane, tile) for tile in layout.tiles]
        levels[0][:] = values
        for larger, smaller in pairwise(levels):
            _shrink(larger, smaller)
    return canvas


def _place(plane: Floats, tile: Tile) -> Floats:
    """The tile's part of a plane of the canvas."""
    return plane[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width]


def _shrink(larger: Floats, smaller: Floats) -> None:
    """Fill the smaller plane with the larger one, bilinear, corner pixels on corner pixels.

    It is filled in place: `smaller` is a part of the canvas.
    """
    (rows, columns), (height, width) = larger.shape, smaller.shape
    across, down = (columns - 1) / max(width - 1, 1), (rows - 1) / max(height - 1, 1)
    cv2.warpAffine(
        larger,
        np.array([[across, 0, 0], [0, down, 0]]),
        (width, height),
        dst=smaller,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


def decode(scores: Floats, layout: Layout, least: float) -> tuple[NDArray[np.float64], Floats]:
    """Boxes (N, 4) of whole pixels of the image, edges inclusive, and their scores (N,), best first.

    scores: the network's output (rows, columns); those above `least` become boxes.
    """
    rows, columns = np.nonzero(scores > least)
    found = scores[rows, columns]
    order = np.argsort(-found, kind="stable")[:_MOST_BOXES]
    found = found[order]
    centres = np.stack([columns[order], rows[order]], axis=1) * _STRIDE + float(_FIRST_CENTRE)
    half = (_WINDOW - 1) / 2
    tiles = np.array([(t.left, t.top, t.left + t.width - 1, t.top + t.height - 1) for t in layout.tiles])
    levels = _levels(np.floor(centres + 0.5), tiles)
    corners = np.concatenate([centres - half, centres + half], axis=1)
    corners -= np.tile(tiles[levels, :2], 2)
    for level in range(1, int(levels.max(initial=0)) + 1):
        # The way back through a level; done step by step, as dlib rounds.
        deeper = levels >= level
        corners[deeper] = corners[deeper] * (6.0 / 5) + 0.3
    return np.trunc(corners + np.copysign(0.5, corners)), found


def _levels(points: NDArray[np.float64], tiles: NDArray[np.int_]) -> NDArray[np.intp]:
    """For each point (N, 2) the first tile (T, 4) that holds it, or else the nearest."""
    beyond = np.maximum(
        np.maximum(tiles[None, :, :2] - points[:, None], points[:, None] - tiles[None, :, 2:]), 0
    )
    nearest: NDArray[np.intp] = np.argmin((beyond**2).sum(axis=-1), axis=1)
    return nearest


def suppress(boxes: NDArray[np.float64], limit: float) -> NDArray[np.intp]:
    """Indices of the boxes (N, 4), best first, that no better kept one overlaps too much.

    The overlap is the intersection over the area of the rectangle around both boxes: dlib's measure, not IoU.
    """
    kept: list[int] = []
    left = np.arange(len(boxes))
    while len(left):
        best, left = int(left[0]), left[1:]
        kept.append(best)
        others = boxes[left]
        inner = np.minimum(others[:, 2:], boxes[best, 2:]) - np.maximum(others[:, :2], boxes[best, :2]) + 1
        outer = np.maximum(others[:, 2:], boxes[best, 2:]) - np.minimum(others[:, :2], boxes[best, :2]) + 1
        left = left[np.prod(np.maximum(inner, 0), axis=1) <= limit * np.prod(outer, axis=1)]
    return np.array(kept, np.intp)


def confidence(scores: Floats) -> Floats:
    """The detector's margins s as confidences 0..1: the logistic 1 / (1 + 99^-s).

    dlib's threshold, a margin of 0, gives 0.5; a margin of 1, which a clear face has, gives 0.99.
    """
    return (1 / (1 + np.exp(-_STEEPNESS * np.asarray(scores, np.float64)))).astype(np.float32)


def score(confidence: float) -> float:
    """The margin whose confidence this is, the inverse of `confidence`; from -1 (0.01) to 2 (0.9999)."""
    odds = min(max(confidence, 1e-9), 1 - 1e-9)
    return min(max(math.log(odds / (1 - odds)) / _STEEPNESS, _LEAST_MARGIN), _MOST_MARGIN)
