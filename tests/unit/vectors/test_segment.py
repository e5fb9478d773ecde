"""Segments: whatever comes and goes, the arrays hold the rows that are there, and nothing of the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from facerec.vectors.dot_products import ROW_BLOCK
from facerec.vectors.loops import SKETCH_ROWS
from facerec.vectors.segment import Segment, SegmentArrays, row_width, sketch_words
from facerec.vectors.sketch import bits_of


def some_codes(rng: np.random.Generator, count: int, dimension: int) -> NDArray[np.int8]:
    return rng.integers(-127, 128, (count, dimension), dtype=np.int8)


def assert_holds(segment: Segment, rows: dict[int, NDArray[np.int8]]) -> None:
    assert len(segment) == len(rows)
    assert sorted(segment.keys.tolist()) == sorted(rows)
    codes = np.stack([rows[key] for key in segment.keys.tolist()]) if rows else np.empty((0, 0), np.int8)
    held, count = segment.arrays, len(rows)
    if rows:
        np.testing.assert_array_equal(held.codes[:count, : segment.dimension], codes)
        lengths = np.linalg.norm(codes.astype(np.float64), axis=1)
        np.testing.assert_allclose(segment.lengths, lengths, rtol=1e-6)
        assert segment.shortest <= segment.lengths.min()
        assert segment.longest >= segment.lengths.max()
    assert not held.codes[:, segment.dimension :].any()
    by_row = held.sketch.transpose(0, 2, 1).reshape(len(held.keys), -1)
    if held.sketch.size:
        np.testing.assert_array_equal(by_row[:count], bits_of(held.codes)[:count])
    for array in (held.keys, held.lengths, held.codes, by_row):
        assert not array[count:].any()  # nothing is left of rows that were removed


@pytest.mark.parametrize("dimension", [64, 100, 128, 300, 512])
def test_rows_come_and_go(dimension: int) -> None:
    rng = np.random.default_rng(dimension)
    segment, rows, next_key = Segment(dimension, 0.1), dict[int, NDArray[np.int8]](), 1
    for _ in range(60):
        if rng.random() < 0.6 or not rows:
            count = int(rng.integers(1, 40))
            codes = some_codes(rng, count, dimension)
            segment.append(np.arange(next_key, next_key + count), codes)
            rows |= dict(zip(range(next_key, next_key + count), codes, strict=True))
            next_key += count
        else:
            leaving = rng.choice(list(rows), size=int(rng.integers(1, len(rows) + 1)), replace=False)
            assert segment.remove(np.concatenate([leaving, [next_key + 5]])) == len(leaving)
            rows = {key: codes for key, codes in rows.items() if key not in set(leaving.tolist())}
        assert_holds(segment, rows)
    scale, keys, codes = segment.contents()
    assert scale == 0.1
    assert codes.shape == (len(rows), dimension)
    assert all(np.array_equal(rows[key], row) for key, row in zip(keys.tolist(), codes, strict=True))


@pytest.mark.parametrize("dimension", [100, 512])
def test_arrays_from_a_file_are_taken_as_they_are(tmp_path: Path, dimension: int) -> None:
    rng = np.random.default_rng(1)
    codes = some_codes(rng, 100, dimension)
    saved = Segment(dimension, 0.1)
    saved.append(np.arange(100), codes)
    mapped = []
    for name, array in zip(SegmentArrays._fields, saved.arrays.all(), strict=True):
        path = tmp_path / name
        path.write_bytes(array.tobytes())
        empty = not array.size
        mapped.append(array if empty else np.memmap(path, dtype=array.dtype, mode="c", shape=array.shape))
    segment = Segment.adopt(dimension, 0.1, 100, SegmentArrays(*mapped))
    assert segment.arrays.codes is mapped[2]
    rows = dict(enumerate(codes))
    assert_holds(segment, rows)
    segment.remove(np.array([3, 99]))
    del rows[3], rows[99]
    assert_holds(segment, rows)
    segment.append(np.array([500]), codes[:1])
    assert_holds(segment, rows | {500: codes[0]})
    assert (tmp_path / "codes").read_bytes() == saved.arrays.codes.tobytes()  # the file stays as it was


def test_arrays_of_another_shape_are_refused() -> None:
    right = SegmentArrays.empty(512, 2 * ROW_BLOCK)
    Segment.adopt(512, 0.1, 32, right)
    wrong = [
        right._replace(keys=right.keys.astype(np.int32)),
        right._replace(codes=right.codes[:, :64]),
        right._replace(lengths=right.lengths[:-1]),
        right._replace(sketch=right.sketch[:1]),
        SegmentArrays.empty(512, ROW_BLOCK)._replace(keys=right.keys),
        SegmentArrays(right.keys[:8], right.lengths[:8], right.codes[:8], right.sketch[:1]),
    ]
    for arrays in wrong:
        with pytest.raises(ValueError, match="arrays of a segment"):
            Segment.adopt(512, 0.1, 1, arrays)
    with pytest.raises(ValueError, match="33 rows do not fit"):
        Segment.adopt(512, 0.1, 33, right)


def test_arrays_are_laid_out_as_documented() -> None:
    for dimension, width, words in ((64, 64, 0), (100, 128, 0), (128, 128, 2), (256, 256, 4), (512, 512, 8)):
        assert (row_width(dimension), sketch_words(dimension)) == (width, words)
        shapes = [array.shape for array in SegmentArrays.empty(dimension, 48).all()]
        assert shapes == [(48,), (48,), (48, width), (48 // SKETCH_ROWS, words, SKETCH_ROWS)]
        large = SegmentArrays.empty(dimension, 4800)
        assert large.codes.ctypes.data % 64 == 0
        assert not large.sketch.size or large.sketch.ctypes.data % 64 == 0
