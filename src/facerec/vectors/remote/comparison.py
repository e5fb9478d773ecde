"""Comparing what a store holds with the database, row by row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from facerec.domain import CollectionKey, EntityKind, IndexScope, RowKey
from facerec.vectors.quantization import dequantize_batch
from facerec.vectors.remote.target import PagedFeed, Target

LEAST_COSINE = 0.9999
"""Of the stored vector with the database's: stores keep float32, or codes that are rescored."""


def differences(
    complete: Callable[[], IndexScope | None],
    kind: EntityKind,
    collection: CollectionKey,
    target: Target,
    feed: PagedFeed,
) -> list[str]:
    """A line for each row that differs.

    complete: brings the store up to date and names the scope. What changes in the database meanwhile looks
    like a difference, so a difference counts once it is still there after the store has caught up again.
    """
    found = _compare(complete(), kind, collection, target, feed)
    if found:
        found &= _compare(complete(), kind, collection, target, feed)
    return [f"{kind} row {key}: {what}" for key, what in sorted(found)]


def _compare(
    scope: IndexScope | None, kind: EntityKind, collection: CollectionKey, target: Target, feed: PagedFeed
) -> set[tuple[int, str]]:
    """(key, what is wrong) for each row that differs."""
    times: Counter[int] = Counter()
    wrong: set[tuple[int, str]] = set()
    if scope is not None:
        target.settle(scope)
        for part in target.stored(scope):
            keys = [RowKey(key) for key in part.rows.tolist()]
            times.update(keys)
            truth = feed.embeddings(kind, keys)
            wrong |= {(key, "in the index but not in the database") for key in keys if key not in truth}
            places = [place for place, key in enumerate(keys) if key in truth]
            if places:
                stored = part.vectors[places].astype(np.float64)
                stored /= np.linalg.norm(stored, axis=1, keepdims=True)
                right = dequantize_batch([truth[keys[place]] for place in places]).astype(np.float64)
                cosines = np.einsum("nd,nd->n", stored, right)
                wrong |= {
                    (keys[place], "another vector than in the database")
                    for place, cosine in zip(places, cosines.tolist(), strict=True)
                    if cosine < LEAST_COSINE
                }
    wrong |= {(key, "more than once in the index") for key, count in times.items() if count > 1}
    for batch in feed.changes(collection, kind, 0):
        wrong |= {(int(key), "missing from the index") for key in batch.keys if key not in times}
    return wrong
