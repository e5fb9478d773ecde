"""Use cases that look for every face of an image, or for an embedding that was made before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facerec.db import Database
from facerec.domain import DetectedFace, FaceMatch, ImageReference, QualityFilter
from facerec.engine.base import Floats
from facerec.errors import InvalidParameter, ModelMismatch
from facerec.images.base import ImageLoader
from facerec.observability.steps import use_case
from facerec.services.access import open_collection, settled
from facerec.services.engines import Engines
from facerec.services.faces import FaceSearch
from facerec.services.matching import FaceMatcher
from facerec.services.retention.lifetimes import Lifetimes
from facerec.services.selection import select
from facerec.vectors.base import VectorStore

SHORTEST = 1e-6
"""Least length of a vector that still has a direction."""


@dataclass(frozen=True, slots=True)
class SearchedFace:
    """A face of an image, and the faces of the collection that are like it, most similar first."""

    face: DetectedFace
    matches: tuple[FaceMatch, ...]


class SearchService:
    """Searches collections. Safe to call from many threads.

    The model that a collection has answers, also while it is on its way to another one.
    """

    def __init__(
        self,
        database: Database,
        vectors: VectorStore,
        engines: Engines,
        images: ImageLoader,
        *,
        lifetimes: Lifetimes | None = None,
    ) -> None:
        """lifetimes: when faces end (None: unless told, never)."""
        self._database = database
        self._engines = engines
        self._images = images
        self._matcher = FaceMatcher(database, vectors, lifetimes or Lifetimes())

    @use_case("searches.every_face")
    def every_face(
        self,
        collection: str,
        image: ImageReference,
        *,
        most: int,
        limit: int,
        threshold: float = 80.0,
        quality_filter: QualityFilter = QualityFilter.NONE,
    ) -> tuple[SearchedFace, ...]:
        """The faces of an image that pass the filter, largest box first, each with up to `limit` matches.

        most: of the faces, chosen as IndexFaces does. threshold: least similarity 0..100, or cosine. None is
        no error. Raises NotFound, ModelMismatch, the errors of images and engine, StorageError.
        """

        def work() -> tuple[SearchedFace, ...]:
            target, engine = open_collection(self._database, self._engines, collection)
            picture = engine.decode(self._images.load(image))
            kept = select(picture, engine.detect(picture), quality_filter, most).kept
            if not kept:
                return ()
            probes = engine.embed(picture, [face.found for face in kept])
            del picture  # whoever waits for room for another one waits no longer than it has to
            return tuple(
                SearchedFace(
                    face.found.face, self._matcher.faces(target, engine.calibration, probe, limit, threshold)
                )
                for face, probe in zip(kept, probes, strict=True)
            )

        return settled(work)

    @use_case("searches.by_embedding")
    def by_embedding(
        self,
        collection: str,
        embedding: Sequence[float],
        contract_id: str,
        *,
        limit: int,
        threshold: float = 80.0,
    ) -> FaceSearch:
        """Up to `limit` faces like an embedding of any length but 0, made under the contract of that id.

        threshold: least similarity 0..100, or cosine. Raises NotFound, ModelMismatch where the collection has
        another contract, InvalidParameter for no vector of it, StorageError.
        """

        def work() -> FaceSearch:
            target, engine = open_collection(self._database, self._engines, collection)
            if contract_id != target.contract_id:
                raise ModelMismatch(
                    f"The embedding is of the contract {contract_id[:80]!a}, the collection id: "
                    f"{target.name} of {target.contract_id}: vectors of two models are never compared."
                )
            probe = _unit(embedding, target.dimension)
            matches = self._matcher.faces(target, engine.calibration, probe, limit, threshold)
            return FaceSearch(matches, target.model_version, None)

        return settled(work)


def _unit(embedding: Sequence[float], dimension: int) -> Floats:
    """The vector (dimension,) float32 with length 1. Raises InvalidParameter."""
    vector = np.asarray(embedding, dtype=np.float64)
    if vector.shape != (dimension,):
        raise InvalidParameter(f"The embedding has {len(vector)} numbers; the collection's have {dimension}.")
    largest = float(np.abs(vector).max())
    if not np.isfinite(largest) or largest < SHORTEST:
        raise InvalidParameter("The embedding has no direction: its numbers are all 0, or not finite.")
    vector /= largest  # first, lest the squares overflow
    return (vector / np.linalg.norm(vector)).astype(np.float32)
