"""Watches a live stream: each frame's faces, and the stored faces that they look like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from facerec.db import Database
from facerec.domain import DetectedFace, FaceMatch
from facerec.engine.base import FoundFace, Picture
from facerec.services.access import open_collection, settled
from facerec.services.engines import Engines
from facerec.services.matching import FaceMatcher


@dataclass(frozen=True, slots=True)
class Sighting:
    """A face of a frame, and the stored faces that it looks like, most similar first."""

    face: DetectedFace
    matches: tuple[FaceMatch, ...]


class WatchService:
    """Looks at frames one by one. Safe to call from many threads."""

    def __init__(self, database: Database, engines: Engines, matcher: FaceMatcher) -> None:
        self._database = database
        self._engines = engines
        self._matcher = matcher

    def look(
        self, collection: str, picture: Picture, *, nbytes: int, threshold: float, limit: int
    ) -> Sequence[Sighting]:
        """The faces of a frame, largest first, with up to `limit` matches each.

        nbytes: what the picture takes in memory. threshold: least similarity 0..100. Raises NotFound,
        ModelMismatch, StorageError, and the errors of the engine.
        """

        def work() -> list[Sighting]:
            target, engine = open_collection(self._database, self._engines, collection)
            admitted = engine.frame(lambda: picture, nbytes)
            found: list[FoundFace] = [] if admitted is None else engine.detect(admitted)
            if admitted is None or not found:
                return []
            embeddings = engine.embed(admitted, found)
            return [
                Sighting(
                    one.face, self._matcher.faces(target, engine.calibration, embedding, limit, threshold)
                )
                for one, embedding in zip(found, embeddings, strict=True)
            ]

        return settled(work)
