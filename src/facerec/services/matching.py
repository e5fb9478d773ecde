"""Finding what a collection holds near a probe, by the similarity that clients think in."""

from __future__ import annotations

import numpy as np

from facerec.domain import Collection, EntityKind, VectorHit
from facerec.engine.base import Calibration, Floats
from facerec.vectors.base import VectorStore


def nearest(
    vectors: VectorStore,
    calibration: Calibration,
    collection: Collection,
    kind: EntityKind,
    probe: Floats,
    *,
    limit: int,
    threshold: float,
) -> list[VectorHit]:
    """Up to `limit` faces or users nearest to a unit vector (dimension,), best first.

    threshold: least similarity, 0..100. Raises StorageError.
    """
    (hits,) = vectors.search(
        collection,
        kind,
        np.asarray(probe, dtype=np.float32)[None],
        limit=limit,
        min_cosine=calibration.cosine(threshold),
    )
    return hits
