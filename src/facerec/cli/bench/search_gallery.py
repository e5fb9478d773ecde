"""The faces that searches are measured on: uniform directions, the hard case, and probes that match one each.

Made chunk by chunk, the same each time, so that a gallery need not fit into memory as float32.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerec.domain import Collection, CollectionKey, EntityKind, QuantizedEmbedding, RowKey, VectorChanges
from facerec.vectors.quantization import LARGEST_CODE, RANGE, quantize_batch

Vectors = NDArray[np.float32]

CHUNK = 10_000
"""Rows made at a time."""

THRESHOLD = {128: 0.35, 512: 0.30}
"""Cosine by dimension from which recognisers of the kind call two faces one person (the 80 of the scores)."""
_OTHER_THRESHOLD = 0.30

_PLANTED_CHUNKS = 32
"""Chunks, all over the gallery, in which the rows lie that probes match."""


def unit_vectors(rng: np.random.Generator, count: int, dimension: int) -> Vectors:
    """Uniform directions: nothing clusters."""
    vectors = rng.standard_normal((count, dimension), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


@dataclass(frozen=True, slots=True)
class Gallery:
    """`count` vectors of `dimension` components, rows numbered from 0."""

    count: int
    dimension: int

    @property
    def threshold(self) -> float:
        """Least cosine that searches ask for."""
        return THRESHOLD.get(self.dimension, _OTHER_THRESHOLD)

    @property
    def planted_cosine(self) -> float:
        """Cosine of a probe and the row that it matches: the least at which the row has to be found.

        That is the threshold, and five standard deviations of what rounding to codes adds (see
        `quantization`). Where strangers come nearer than that, a tenth more than the nearest of them:
        the largest of n cosines is about sqrt(2 ln n / d).
        """
        rounding = 5 * RANGE / (LARGEST_CODE * math.sqrt(12 * self.dimension))
        stranger = math.sqrt(2 * math.log(self.count) / self.dimension)
        return max(self.threshold + rounding, 1.1 * stranger)

    @property
    def starts(self) -> range:
        """The first row of each chunk."""
        return range(0, self.count, CHUNK)

    def chunk(self, start: int) -> Vectors:
        """The rows from `start` on, (n, dimension)."""
        rng = np.random.default_rng((self.dimension, start))
        return unit_vectors(rng, min(CHUNK, self.count - start), self.dimension)

    def planted(self, count: int) -> tuple[Vectors, NDArray[np.int64]]:
        """Probes (n, dimension), and the row that each matches, at `planted_cosine`; n is about `count`."""
        rng = np.random.default_rng(self.dimension)
        chosen = self.starts[:: max(len(self.starts) // _PLANTED_CHUNKS, 1)]
        probes, rows = [], []
        for start in chosen:
            vectors = self.chunk(start)
            places = rng.permutation(len(vectors))[: -(-count // len(chosen))]
            near = vectors[places]
            away = unit_vectors(rng, len(near), self.dimension)
            away -= np.einsum("ij,ij->i", away, near)[:, None] * near
            away /= np.linalg.norm(away, axis=1, keepdims=True)
            probes.append(self.planted_cosine * near + math.sqrt(1 - self.planted_cosine**2) * away)
            rows.append(start + places)
        order = rng.permutation(sum(len(part) for part in rows))
        return np.concatenate(probes)[order].astype(np.float32), np.concatenate(rows)[order]

    @property
    def collection(self) -> Collection:
        """What `GalleryFeed` tells of."""
        return Collection(
            key=CollectionKey(1),
            name="bench",
            contract_id="bench",
            model_version="1.0",
            dimension=self.dimension,
            created_at=0.0,
            face_count=self.count,
            user_count=0,
            change_number=self.count,
        )


class GalleryFeed:
    """The database's side of an index over a gallery: row r has the key r + 1."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        self.making_seconds = 0.0
        """Spent on making and quantizing vectors, not on the index."""

    def store_id(self) -> str:
        """No database."""
        return "gallery"

    def changes(self, collection: CollectionKey, kind: EntityKind, after: int) -> Iterator[VectorChanges]:
        """All rows, put."""
        for start in self._gallery.starts if after == 0 else ():
            began = time.perf_counter()
            embeddings = quantize_batch(self._gallery.chunk(start))
            self.making_seconds += time.perf_counter() - began
            yield VectorChanges(
                number=self._gallery.count,
                keys=[RowKey(start + i) for i in range(1, len(embeddings) + 1)],
                scales=[embedding.scale for embedding in embeddings],
                codes=[embedding.codes for embedding in embeddings],
            )

    def removed_since(self, collection: CollectionKey, kind: EntityKind, after: int) -> bool:
        """Never."""
        return False

    def embeddings(self, kind: EntityKind, keys: Sequence[RowKey]) -> dict[RowKey, QuantizedEmbedding]:
        """Embeddings by key."""
        found = {}
        for key in keys:
            start = (key - 1) // CHUNK * CHUNK
            found[key] = quantize_batch(self._gallery.chunk(start)[key - 1 - start][None])[0]
        return found

    def collections(self) -> frozenset[CollectionKey]:
        """The one collection."""
        return frozenset({CollectionKey(1)})
