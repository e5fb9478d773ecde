"""Ways of putting faces into people, each over unit vectors and a cosine from which two faces are alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import dlib
import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import DBSCAN

from facerec.clustering.grouping import FREE, group_faces
from facerec.clustering.limits import Limits, limits_of

Numbers = NDArray[np.int64]
Floats = NDArray[np.float32]
Method = Callable[[Floats, float], Numbers]

BATCHES = 10


def one_cut(vectors: Floats, cosine: float) -> Numbers:
    """Ours with one limit for groups of every size: as the others have it."""
    return group_faces(vectors, np.arange(len(vectors)), Limits(lone=cosine, large=cosine))


def by_calibration(vectors: Floats, cosine_of: Callable[[float], float]) -> Numbers:
    """Ours as the service does it."""
    return group_faces(vectors, np.arange(len(vectors)), limits_of(cosine_of, len(vectors)))


def in_batches(vectors: Floats, cosine_of: Callable[[float], float], *, anew: bool) -> Numbers:
    """Ours as photos arrive in ten batches. anew: as the service does it; else new faces only join."""
    people = np.empty(0, np.int64)
    for end in np.linspace(0, len(vectors), BATCHES + 1).astype(int)[1:]:
        known = np.concatenate([people, np.full(end - len(people), FREE)])
        limits = limits_of(cosine_of, end)
        people = group_faces(vectors[:end], np.arange(end), limits, people=None if anew else known)
    return people


def dbscan(vectors: Floats, cosine: float, least: int = 2) -> Numbers:
    """scikit-learn's; what it calls noise is a person of one face."""
    labels = DBSCAN(eps=max(1.0 - cosine, 1e-9), min_samples=least, metric="cosine").fit_predict(vectors)
    labels = np.asarray(labels, np.int64)
    noise = labels < 0
    labels[noise] = len(labels) + np.arange(int(noise.sum()))
    return labels


def chinese_whispers(vectors: Floats, cosine: float) -> Numbers:
    """dlib's, over the distance of unit vectors that have this cosine."""
    rows = [dlib.vector(row.astype(np.float64)) for row in vectors]
    distance = float(np.sqrt(max(2.0 - 2.0 * cosine, 0.0)))
    return np.array(dlib.chinese_whispers_clustering(rows, distance), np.int64)


def dbscan_of_three(vectors: Floats, cosine: float) -> Numbers:
    """`dbscan` where a face needs two others beside it."""
    return dbscan(vectors, cosine, 3)


PEERS: Mapping[str, Method] = {
    "DBSCAN, 2 faces": dbscan,
    "DBSCAN, 3 faces": dbscan_of_three,
    "Chinese Whispers": chinese_whispers,
}
