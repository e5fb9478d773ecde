"""Comparing an index with the database, row by row."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from facerec.domain import EntityKind
from facerec.vectors.base import ChangeFeed
from facerec.vectors.index import CollectionIndex

Digests = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Keys in ascending order, and a hash of each one's codes and scale."""


def differences(index: CollectionIndex, feed: ChangeFeed) -> list[str]:
    """A line for each row that differs; the caller holds the index's `turn`. Raises StorageError.

    What changes in the database meanwhile looks like a difference, so a difference counts once it is still
    there after the index has caught up.
    """
    found = _compare(index, feed)
    if found:
        index.refresh(feed)
        found &= _compare(index, feed)
    return [f"{index.kind} row {key}: {what}" for key, what in sorted(found)]


def _compare(index: CollectionIndex, feed: ChangeFeed) -> set[tuple[int, str]]:
    """(key, what is wrong) for each row that differs."""
    truth_keys, truth = _digests(_rows_of_feed(index, feed))
    index_keys, indexed = _digests(
        (key, codes.tobytes(), scale)
        for scale, keys, part in (segment.contents() for segment in index.segments)
        for key, codes in zip(keys.tolist(), part, strict=True)
    )
    unique_keys, first, counts = np.unique(index_keys, return_index=True, return_counts=True)
    common, of_truth, of_index = np.intersect1d(truth_keys, unique_keys, return_indices=True)
    differing = common[truth[of_truth] != indexed[first[of_index]]]
    return {
        *((int(key), "missing from the index") for key in np.setdiff1d(truth_keys, unique_keys)),
        *(
            (int(key), "in the index but not in the database")
            for key in np.setdiff1d(unique_keys, truth_keys)
        ),
        *((int(key), "another vector than in the database") for key in differing),
        *((int(key), "more than once in the index") for key in unique_keys[counts > 1]),
    }


def _rows_of_feed(index: CollectionIndex, feed: ChangeFeed) -> Iterable[tuple[int, bytes, float]]:
    """Every vector that the database holds: the last state of each key."""
    for batch in feed.changes(index.collection, EntityKind(index.kind), 0):
        yield from zip(batch.keys, batch.codes, batch.scales, strict=True)


def _digests(rows: Iterable[tuple[int, bytes, float]]) -> Digests:
    """Eight bytes a row instead of its codes."""
    pairs = np.fromiter(
        ((key, hash((codes, scale))) for key, codes, scale in rows), dtype=np.dtype((np.int64, 2))
    )
    order = np.argsort(pairs[:, 0], kind="stable")
    return pairs[order, 0], pairs[order, 1]
