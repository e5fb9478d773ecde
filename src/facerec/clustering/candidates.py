"""Which pairs of vectors are alike enough to be looked at: exact, in blocks of bounded memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK_VALUES = 1 << 24
"""Cosines in memory at a time: 64 MiB."""

NEAREST = 32
"""Pairs that are kept of each vector, the most alike ones: what bounds the memory where a person has
thousands of faces."""


def alike_pairs(vectors: NDArray[np.float32], least: float, *, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pairs (M, 2), the lower index first, each once, whose dot product is at least `least`; ascending.

    vectors: (N, D). rows: indices of those whose pairs are wanted; a pair has one of them at least. Of each
    row its 32 most alike are kept, so a pair is there when it is among those of either end.
    """
    count = len(vectors)
    step = max(BLOCK_VALUES // max(count, 1), 1)
    found: list[NDArray[np.int64]] = []
    for start in range(0, len(rows), step):
        own = rows[start : start + step]
        products = vectors[own] @ vectors.T
        products[np.arange(len(own)), own] = -np.inf
        near, other = np.nonzero(products >= least)
        near, other = _nearest(near, other, products[near, other])
        ends = np.sort(np.stack([own[near], other], axis=1), axis=1)
        found.append(np.unique(ends[:, 0] * count + ends[:, 1]))
    keys = np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)
    return np.stack([keys // max(count, 1), keys % max(count, 1)], axis=1)


def _nearest(
    row: NDArray[np.int64], other: NDArray[np.int64], product: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The most alike ones of each row."""
    crowded = np.flatnonzero((np.bincount(row) > NEAREST)[row]) if len(row) else row
    if not len(crowded):
        return row, other
    order = crowded[np.lexsort((-product[crowded], row[crowded]))]
    rank = np.arange(len(order)) - np.searchsorted(row[order], row[order])
    kept = np.ones(len(row), np.bool_)
    kept[order[rank >= NEAREST]] = False
    return row[kept], other[kept]
