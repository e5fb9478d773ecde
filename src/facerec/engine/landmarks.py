"""dlib's five landmarks by a cascade of regression trees.

V. Kazemi and J. Sullivan, "One millisecond face alignment with an ensemble of regression trees" (2014), as
dlib's `shape_predictor` does it: equal to dlib's points up to a rare rounding tie.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from io import BytesIO
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from facerec.engine.base import Floats, LandmarkLayout, Pixels
from facerec.errors import PackError

Indices = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class ShapeForest:
    """C cascades of T trees of S splits (heap order) and S + 1 leaves, over P points and F sample points.

    Raises ValueError for arrays that do not fit together or indices that point outside.
    """

    initial: Floats
    """(P, 2) float32 x, y in the unit square of the box."""
    anchors: Indices
    """(C, F): the point that each sample point hangs on."""
    deltas: Floats
    """(C, F, 2) float32: the sample point's offset from its anchor in the unit square."""
    first: Indices
    """(C, T, S): the sample point whose brightness a split takes."""
    second: Indices
    """(C, T, S): the sample point whose brightness is subtracted."""
    thresholds: Floats
    """(C, T, S) float32 grey levels: the first child is taken when the difference is greater."""
    leaves: Floats
    """(C, T, S + 1, P, 2) float32: what a leaf adds to the shape."""

    def __post_init__(self) -> None:
        if self.anchors.ndim != 2 or self.first.ndim != 3:
            raise ValueError(f"anchors of shape {self.anchors.shape} and splits of shape {self.first.shape}")
        (cascades, samples), (_, trees, splits) = self.anchors.shape, self.first.shape
        points = len(self.initial)
        expected = {
            "initial": (points, 2),
            "anchors": (cascades, samples),
            "deltas": (cascades, samples, 2),
            "first": (cascades, trees, splits),
            "second": (cascades, trees, splits),
            "thresholds": (cascades, trees, splits),
            "leaves": (cascades, trees, splits + 1, points, 2),
        }
        for name, shape in expected.items():
            array = getattr(self, name)
            kind = np.int32 if name in ("anchors", "first", "second") else np.float32
            if array.shape != shape or array.dtype != kind:
                raise ValueError(f"{name} is {array.dtype} {array.shape} where {kind.__name__} {shape} fits")
        if (splits + 1).bit_count() != 1:
            raise ValueError(f"a tree of {splits} splits is not complete")
        for name, limit in (("anchors", points), ("first", samples), ("second", samples)):
            indices = getattr(self, name)
            if indices.size == 0 or indices.min() < 0 or indices.max() >= limit:
                raise ValueError(f"{name} has indices outside 0..{limit - 1}")


def dump_forest(forest: ShapeForest) -> bytes:
    """The forest as the bytes of an uncompressed `.npz` file, one array a field; read by `load_forest`."""
    buffer = BytesIO()
    np.savez(
        buffer, allow_pickle=False, **{field.name: getattr(forest, field.name) for field in fields(forest)}
    )
    return buffer.getvalue()


def load_forest(data: bytes, name: str) -> ShapeForest:
    """Read what `dump_forest` wrote; `name` appears in errors. Raises PackError when the file is damaged."""
    try:
        with np.load(BytesIO(data), allow_pickle=False) as file:
            return ShapeForest(**{field.name: file[field.name] for field in fields(ShapeForest)})
    except (ValueError, KeyError, OSError, EOFError, BadZipFile, AttributeError) as error:
        raise PackError(f"{name} is no shape predictor that can be read: {error}") from error


class ShapePredictor:
    """Places dlib's five points in boxes of dlib's detector; all the boxes of an image in one pass.

    The trees were trained on square boxes from the eyebrows to the chin: those of another detector have to be
    brought to that frame. Implements `facerec.engine.base.Landmarker`.
    """

    layout = LandmarkLayout.EYE_CORNERS

    def __init__(self, forest: ShapeForest) -> None:
        self._forest = forest
        splits = forest.first.shape[2]
        self._depth = (splits + 1).bit_length() - 1
        # One flat row of differences a cascade: tree t's split s lies at t * splits + s.
        cascades, trees, _ = forest.first.shape
        self._first = forest.first.reshape(cascades, -1).astype(np.intp)
        self._second = forest.second.reshape(cascades, -1).astype(np.intp)
        self._anchors = forest.anchors.astype(np.intp)
        self._thresholds = forest.thresholds.reshape(cascades, -1)
        self._leaves = forest.leaves.reshape(cascades, trees * (splits + 1), -1)
        self._split_rows = np.arange(trees) * splits
        self._leaf_rows = np.arange(trees) * (splits + 1) - splits
        centred = forest.initial.astype(np.float64) - forest.initial.astype(np.float64).mean(axis=0)
        self._template = (centred[:, 0] + 1j * centred[:, 1]).conj()
        self._spread = float((np.abs(centred) ** 2).sum())

    def locate(self, image: Pixels, boxes: Floats) -> Floats:
        """Points (N, 5, 2) float32, whole pixels x, y, for boxes (N, 4) left, top, right, bottom in pixels.

        The box's edges are inclusive, as the detector gives them: a box of 80 pixels reaches from 0 to 79.
        Where the box reaches beyond the image the sampled pixels are black, as in dlib.
        """
        corners = np.asarray(boxes, np.float64).reshape(-1, 4)
        origin, extent = corners[:, None, :2], (corners[:, 2:] - corners[:, :2])[:, None]
        shapes = np.broadcast_to(self._forest.initial, (len(corners), *self._forest.initial.shape))
        for cascade in range(len(self._leaves)):
            samples = _grey(image, origin + self._sample_points(cascade, shapes) * extent)
            shapes = self._step(cascade, samples, shapes)
        return np.floor(origin + shapes.astype(np.float64) * extent + 0.5).astype(np.float32)

    def _sample_points(self, cascade: int, shapes: Floats) -> NDArray[np.float64]:
        """Where the cascade looks, (N, F, 2) in the unit square: offsets turned and scaled with the shape."""
        centred = shapes.astype(np.float64)
        centred -= centred.mean(axis=1, keepdims=True)
        turn = ((centred[..., 0] + 1j * centred[..., 1]) * self._template).sum(axis=1) / self._spread
        matrices = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]], np.float32)
        deltas = self._forest.deltas[cascade]
        moved = np.einsum("ijn,fj->nfi", matrices, deltas)
        points: NDArray[np.float64] = (moved + shapes.take(self._anchors[cascade], axis=1)).astype(np.float64)
        return points

    def _step(self, cascade: int, samples: Floats, shapes: Floats) -> Floats:
        """The shapes (N, P, 2) after one cascade's trees have looked at samples (N, F)."""
        difference = samples.take(self._first[cascade], axis=1)
        difference -= samples.take(self._second[cascade], axis=1)
        # The first child of node i is 2i + 1 and is taken above the threshold, the second 2i + 2.
        other = (difference <= self._thresholds[cascade]).view(np.uint8)
        roots = np.arange(len(samples))[:, None] * other.shape[1] + self._split_rows
        node = np.zeros_like(roots)
        for _ in range(self._depth):
            node = 2 * node + 1 + other.take(roots + node)
        leaves = self._leaves[cascade].take(self._leaf_rows + node, axis=0)
        # A running sum adds in the order of the file, as dlib does; numpy's sum would pair the terms up.
        start = shapes.reshape(len(shapes), 1, leaves.shape[-1])
        return np.cumsum(np.concatenate([start, leaves], axis=1), axis=1)[:, -1].reshape(shapes.shape)


def _grey(image: Pixels, points: NDArray[np.float64]) -> Floats:
    """Brightness (r + g + b) // 3 as float32 at the pixels next to points (N, F, 2); 0 beyond the image."""
    height, width = image.shape[:2]
    # Clipped first, so that a box far outside can not overflow the integers.
    nearest = np.floor(points + 0.5).clip(-1, max(height, width)).astype(np.intp)
    x, y = nearest[..., 0], nearest[..., 1]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    pixels = image.reshape(-1, 3).take(np.where(inside, y * width + x, 0), axis=0)
    total = pixels[..., 0].astype(np.uint16) + pixels[..., 1] + pixels[..., 2]
    return np.where(inside, total // 3, 0).astype(np.float32)
