"""dlib's five landmarks by a cascade of regression trees.

V. Kazemi and J. Sullivan, "One millisecond face alignment with an ensemble of regression trees" (2014), as
dlib's `shape_predictor` does it: equal to dlib's points up to a rare rounding tie.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from io import BytesIO
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from facerec.engine.base import Floats, LandmarkLayout, Pixels
from facerec.errors import PackError

Indices = NDArray[np.int32]

MOST_SPLITS = 15
"""Most splits of a tree (dlib's have 15): the answers of all of them are looked up as one number."""
_SLOTS = MOST_SPLITS + 1
_NEVER = 256
"""More than any difference of brightness."""


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
        if splits > MOST_SPLITS:
            raise ValueError(f"a tree of {splits} splits; at most {MOST_SPLITS} can be read")
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

    Most of the time would go into walking down 500 trees a cascade. Instead all their splits are answered at
    once, and the answers of a tree, read as one binary number, say which leaf they lead to.
    """

    layout = LandmarkLayout.EYE_CORNERS

    def __init__(self, forest: ShapeForest) -> None:
        cascades, trees, splits = forest.first.shape
        self._first = _in_slots(forest.first).astype(np.intp)
        self._second = _in_slots(forest.second).astype(np.intp)
        # Differences are whole numbers from -255 to 255, and the slots left over answer no to all of them.
        whole = np.floor(forest.thresholds).clip(-_NEVER, _NEVER).astype(np.int16)
        self._thresholds = _in_slots(whole, -_NEVER)
        self._leaf_of = _leaves_by_answers(splits)
        self._leaf_rows = np.arange(trees) * (splits + 1)
        # Points as all x before all y.
        self._initial = np.ascontiguousarray(forest.initial.T)
        self._deltas = np.ascontiguousarray(forest.deltas.transpose(0, 2, 1))
        self._anchors = forest.anchors.astype(np.intp)
        self._leaves = np.ascontiguousarray(forest.leaves.swapaxes(3, 4)).reshape(
            cascades, trees * (splits + 1), -1
        )
        self._turning = _turning(self._initial.astype(np.float64))

    def locate(self, image: Pixels, boxes: Floats) -> Floats:
        """Points (N, 5, 2) float32, whole pixels x, y, for boxes (N, 4) left, top, right, bottom in pixels.

        The box's edges are inclusive, as the detector gives them: a box of 80 pixels reaches from 0 to 79.
        Where the box reaches beyond the image the sampled pixels are black, as in dlib.
        """
        corners = np.asarray(boxes, np.float64).reshape(-1, 4)
        origin, extent = corners[:, :2, None], (corners[:, 2:] - corners[:, :2])[:, :, None]
        shapes = np.repeat(self._initial[None], len(corners), axis=0)
        for cascade in range(len(self._leaves)):
            points = self._sample_points(cascade, shapes) * extent
            points += origin
            shapes = self._step(cascade, _grey(image, points), shapes)
        placed = np.floor(origin + shapes.astype(np.float64) * extent + 0.5)
        return np.ascontiguousarray(placed.transpose(0, 2, 1), np.float32)

    def _sample_points(self, cascade: int, shapes: Floats) -> NDArray[np.float64]:
        """Where the cascade looks, (N, 2, F) in the unit square, for shapes (N, 2, P): the offsets are turned
        and scaled with the shape.
        """
        matrices = shapes.reshape(len(shapes), self._turning.shape[0]).astype(np.float64) @ self._turning
        moved = matrices.astype(np.float32).reshape(-1, 2, 2) @ self._deltas[cascade]
        moved += shapes.take(self._anchors[cascade], axis=2)
        return np.asarray(moved, np.float64)

    def _step(self, cascade: int, samples: NDArray[np.int16], shapes: Floats) -> Floats:
        """The shapes (N, 2, P) after one cascade's trees have looked at samples (N, F)."""
        difference = samples.take(self._first[cascade], axis=1)
        difference -= samples.take(self._second[cascade], axis=1)
        answers = np.packbits(difference <= self._thresholds[cascade], axis=1, bitorder="little")
        leaves = self._leaves[cascade].take(self._leaf_of.take(answers.view("<u2")) + self._leaf_rows, axis=0)
        # Added in the order of the file, as dlib does: the sum over an axis that is not the last goes row by
        # row.
        leaves[:, 0] += shapes.reshape(len(shapes), leaves.shape[-1])
        return np.asarray(leaves.sum(axis=1), np.float32).reshape(shapes.shape)


def _in_slots(values: NDArray[np.generic], rest: int = 0) -> NDArray[Any]:
    """Values of splits (C, T, S) as (C, T * _SLOTS), with `rest` in the slots that are left over."""
    cascades, trees, splits = values.shape
    slots = np.full((cascades, trees, _SLOTS), rest, values.dtype)
    slots[..., :splits] = values
    return slots.reshape(cascades, -1)


def _turning(template: NDArray[np.float64]) -> NDArray[np.float64]:
    """What (2 P, 4) takes a shape, all x before all y, to the matrix a, -b, b, a of the similarity that
    brings the template (2, P) nearest to it. With z and t as complex numbers, t about its mean, a + i b is
    sum(z conj(t)) / sum(|t|^2); z need not be centred, for t is.
    """
    centred = template - template.mean(axis=1, keepdims=True)
    x, y = centred / (centred**2).sum()
    real, imaginary = np.concatenate([x, y]), np.concatenate([-y, x])
    return np.stack([real, -imaginary, imaginary, real], axis=1)


def _leaves_by_answers(splits: int) -> NDArray[np.intp]:
    """The leaf (0..S) of a tree of S splits by its answers: a number whose bit i is 1 where split i leads to
    its second child. The first child of node i is 2 i + 1, the second 2 i + 2, and the leaves come last.
    """
    answers = np.arange(1 << splits)
    node = np.zeros_like(answers)
    for _ in range((splits + 1).bit_length() - 1):
        node = 2 * node + 1 + (answers >> node & 1)
    return (node - splits).astype(np.intp)


def _grey(image: Pixels, points: NDArray[np.float64]) -> NDArray[np.int16]:
    """Brightness (r + g + b) // 3 at the pixels next to points (N, 2, F); 0 beyond the image."""
    height, width = image.shape[:2]
    nearest = np.floor(points + 0.5).astype(np.int64)
    x, y = nearest[:, 0], nearest[:, 1]
    # As unsigned numbers, those below zero are large ones.
    inside = (x.view(np.uint64) < width) & (y.view(np.uint64) < height)
    pixels = image.reshape(-1, 3).take((y * width + x) * inside, axis=0)
    total = pixels[..., 0].astype(np.int16)
    total += pixels[..., 1]
    total += pixels[..., 2]
    total //= 3
    total *= inside
    return np.asarray(total, np.int16)
