"""A part of an index: plain arrays of rows, filled from the front, that the kernels read.

A segment of `count` rows of `dimension` components consists of these arrays, and of nothing that is not
computed from them. C is a multiple of ROW_BLOCK (16) and at least `count`; W is the dimension rounded up to
a multiple of 64; S is W / 64 where the dimension is SKETCH_DIMENSION or more, else 0.

    keys     int64   (C,)         row keys
    lengths  float32 (C,)         length of a row's codes, as whole numbers
    codes    int8    (C, W)       row by row; zero beyond the dimension
    sketch   uint64  (C/8, S, 8)  word w of row r at [r // 8, w, r % 8]; see `sketch`

Rows from `count` on are zero. So `Segment.arrays` can be written to a file as they are, and
`Segment.adopt` takes arrays of a file mapped copy-on-write (numpy.memmap, mode "c"), copying and computing
nothing; where each begins at a multiple of 64 bytes the kernels are fastest. Sketches are those of
`sketch.VERSION`; after a change of that they have to be made anew, by appending the rows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facerec.vectors.dot_products import ROW_BLOCK
from facerec.vectors.loops import SKETCH_ROWS, WIDTH_STEP
from facerec.vectors.sketch import SKETCH_DIMENSION, bits_of

SEGMENT_ROWS = 2**18
"""Most rows of a segment: few enough that growing copies little, enough that the calls for each cost
nothing beside the scan."""

_GROWTH = 4
"""Times the room that a segment gets when it is full: so a third of the rows are copied once."""

_LINE = 64
"""Bytes of a processor's cache line."""


class Rows(NamedTuple):
    """Vectors of one scale."""

    scale: float
    keys: NDArray[np.int64]
    """(n,)."""
    codes: NDArray[np.int8]
    """(n, d)."""


class SegmentArrays(NamedTuple):
    """What a segment consists of: see this module's text for the shapes."""

    keys: NDArray[np.int64]
    lengths: NDArray[np.float32]
    codes: NDArray[np.int8]
    sketch: NDArray[np.uint64]

    def all(self) -> list[NDArray[Any]]:
        """The arrays, in the order of the fields."""
        return [self.keys, self.lengths, self.codes, self.sketch]

    @classmethod
    def empty(cls, dimension: int, capacity: int) -> SegmentArrays:
        """Arrays for `capacity` rows, all zero."""
        width, words = row_width(dimension), sketch_words(dimension)
        return cls(
            np.zeros(capacity, dtype=np.int64),
            np.zeros(capacity, dtype=np.float32),
            _aligned(capacity * width).view(np.int8).reshape(capacity, width),
            _aligned(capacity * words * 8)
            .view(np.uint64)
            .reshape(capacity // SKETCH_ROWS, words, SKETCH_ROWS),
        )


class Segment:
    """Rows of one dimension and one scale. Callers see to it that nobody searches while rows change."""

    def __init__(self, dimension: int, scale: float) -> None:
        """Begin without rows."""
        self.dimension = dimension
        self.scale = scale
        self.arrays = SegmentArrays.empty(dimension, 0)
        """All arrays; rows from len(self) on are not in use."""
        self.shortest = np.inf
        """No row's codes are shorter: so much is a dot product worth at most."""
        self.longest = 0.0
        """No row's codes are longer."""
        self._count = 0

    @classmethod
    def adopt(cls, dimension: int, scale: float, count: int, arrays: SegmentArrays) -> Segment:
        """A segment of the first `count` rows of the arrays, which it takes as its own and may write to.

        Raises ValueError where an array's type or shape is not that of `SegmentArrays.empty`.
        """
        segment = cls(dimension, scale)
        capacity = len(arrays.keys)
        block = SegmentArrays.empty(dimension, ROW_BLOCK).all()
        right = [(array.dtype, (len(array) * capacity // ROW_BLOCK, *array.shape[1:])) for array in block]
        given = [(array.dtype, array.shape) for array in arrays.all()]
        if capacity % ROW_BLOCK or given != right:
            raise ValueError(
                f"the arrays of a segment have to be {right}, for a multiple of {ROW_BLOCK} rows; got {given}"
            )
        if count > capacity:
            raise ValueError(f"{count} rows do not fit into a segment's arrays of {capacity}")
        segment.arrays = arrays
        segment._count = count
        segment._measure(segment.lengths)
        return segment

    def __len__(self) -> int:
        """Rows held."""
        return self._count

    @property
    def keys(self) -> NDArray[np.int64]:
        """Keys of the rows (n,)."""
        return self.arrays.keys[: self._count]

    @property
    def lengths(self) -> NDArray[np.float32]:
        """Lengths of the rows' codes (n,)."""
        return self.arrays.lengths[: self._count]

    @property
    def nbytes(self) -> int:
        """Memory of the rows."""
        return self._count * (8 + 4 + row_width(self.dimension) + 8 * sketch_words(self.dimension))

    def contents(self) -> Rows:
        """A copy of all rows."""
        codes = self.arrays.codes[: self._count, : self.dimension]
        return Rows(self.scale, self.keys.copy(), codes.copy())

    def append(self, keys: NDArray[np.int64], codes: NDArray[np.int8]) -> None:
        """Add rows, codes (n, d); the caller keeps to SEGMENT_ROWS. No row may be all zero."""
        start, end = self._count, self._count + len(keys)
        self._grow(end)
        held = self.arrays
        held.keys[start:end] = keys
        held.codes[start:end, : self.dimension] = codes
        held.codes[start:end, self.dimension :] = 0
        wide = codes.astype(np.float32)
        held.lengths[start:end] = np.sqrt(np.einsum("ij,ij->i", wide, wide))
        self._measure(held.lengths[start:end])
        if held.sketch.size:
            places = np.arange(start, end)
            held.sketch[places // SKETCH_ROWS, :, places % SKETCH_ROWS] = bits_of(held.codes[start:end])
        self._count = end

    def remove(self, keys: NDArray[np.int64]) -> int:
        """Remove those of `keys` that are here; returns how many were. The last rows take their places."""
        leaving = np.isin(self.keys, keys)
        end = self._count - int(np.count_nonzero(leaving))
        holes = np.flatnonzero(leaving[:end])
        movers = end + np.flatnonzero(~leaving[end:])
        held = self.arrays
        for array in (held.keys, held.lengths, held.codes):
            array[holes] = array[movers]
        held.sketch[holes // SKETCH_ROWS, :, holes % SKETCH_ROWS] = held.sketch[
            movers // SKETCH_ROWS, :, movers % SKETCH_ROWS
        ]
        removed = self._count - end
        self._clear(end, self._count)
        self._count = end
        return removed

    def cosines(self, vectors: NDArray[np.float32], places: NDArray[np.int32]) -> NDArray[np.float64]:
        """Cosines (n,) of unit vectors (n, d) with the codes of the rows at `places` (n,), one with one."""
        rows = self.arrays.codes[places, : self.dimension].astype(np.float64)
        products: NDArray[np.float64] = np.einsum("ij,ij->i", rows, vectors.astype(np.float64))
        return products / self.arrays.lengths[places]

    def _clear(self, start: int, end: int) -> None:
        """Leave nothing of the rows: what has been removed must not come to lie on a disk."""
        held = self.arrays
        for array in (held.keys, held.lengths, held.codes):
            array[start:end] = 0
        places = np.arange(start, end)
        held.sketch[places // SKETCH_ROWS, :, places % SKETCH_ROWS] = 0

    def _measure(self, lengths: NDArray[np.float32]) -> None:
        """Take in rows of these lengths."""
        self.shortest = float(lengths.min(initial=self.shortest))
        self.longest = float(lengths.max(initial=self.longest))

    def _grow(self, count: int) -> None:
        """Make room for `count` rows. What is not used of a large array takes no memory, but copying does."""
        capacity = len(self.arrays.keys)
        if count <= capacity:
            return
        capacity = min(max(_GROWTH * capacity, count), max(SEGMENT_ROWS, count))
        larger = SegmentArrays.empty(self.dimension, -(-capacity // ROW_BLOCK) * ROW_BLOCK)
        for new, old in zip(larger.all(), self.arrays.all(), strict=True):
            new[: len(old)] = old
        self.arrays = larger


def row_width(dimension: int) -> int:
    """Bytes of a row's codes."""
    return -(-dimension // WIDTH_STEP) * WIDTH_STEP


def sketch_words(dimension: int) -> int:
    """Words (uint64) of a row's sketch."""
    return row_width(dimension) // 64 if dimension >= SKETCH_DIMENSION else 0


def _aligned(size: int) -> NDArray[np.uint8]:
    """Zeros that begin at a cache line."""
    memory = np.zeros(size + _LINE, dtype=np.uint8)
    start = -memory.ctypes.data % _LINE
    return memory[start : start + size]
