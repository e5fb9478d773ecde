"""What a migration would take: counted over all faces, measured on a sample of them. Nothing is stored."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from facerec.db import Database
from facerec.domain import Collection, EmbeddingContract, Face, ImageReference, MigrationObstacle, RowKey
from facerec.metastore import collections, faces
from facerec.services.model_migration.looking import FaceFinder, ImagePlaces, of_one_image

PAGE = 1000
ROW_BYTES = 230
"""Bytes of a face's row with its places in indexes, without embedding, external image id and source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationPlan:
    """What was found out."""

    collection: Collection
    contract: EmbeddingContract
    without_reference: int
    """Faces of which nothing says where their images lie."""
    sampled: int
    """Faces that were looked for, out of those with a reference."""
    found: int
    obstacles: dict[MigrationObstacle, int]
    """Why the others of the sample were not found."""
    examples: tuple[tuple[Face, MigrationObstacle], ...]
    faces_per_second: float
    """Of the sample; 0 for an empty one."""
    disk_bytes: int
    """Room that the new embeddings take beside the old ones until these are dropped."""

    @property
    def seconds(self) -> float | None:
        """How long one process takes for all faces with a reference; None where nothing was measured."""
        if not self.faces_per_second:
            return None
        return (self.collection.face_count - self.without_reference) / self.faces_per_second


class MigrationPlanner:
    """Plans migrations to the engine of a finder."""

    def __init__(
        self,
        database: Database,
        finder: FaceFinder,
        contract: EmbeddingContract,
        *,
        workers: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """contract: of the new model. workers: images looked at together. clock: for the rate."""
        self._database = database
        self._finder = finder
        self._contract = contract
        self._workers = workers
        self._clock = clock

    def plan(
        self, name: str, places: ImagePlaces, *, sample: int | None, report: Callable[[], None]
    ) -> MigrationPlan:
        """Look for all references, and at the images of `sample` faces (None: all), evenly spread.

        report: called for each image looked at. Raises NotFound, StorageError.
        """
        with self._database.read() as connection:
            collection = collections.find(connection, name)
        step = 1 if sample is None else max(collection.face_count // max(sample, 1), 1)
        without, extra_bytes = 0, 0
        chosen: list[tuple[Face, ImageReference]] = []
        for number, face in enumerate(self._all(collection)):
            extra_bytes += len(face.external_image_id or "") + len(face.source or "")
            place = places.find(face)
            if place is None:
                without += 1
            elif number % step == 0 and (sample is None or len(chosen) < sample):
                chosen.append((face, place))
        by_key = {face.key: place for face, place in chosen}
        groups = of_one_image([face for face, _ in chosen])
        begun = self._clock()
        failed: dict[RowKey, MigrationObstacle] = {}
        with ThreadPoolExecutor(self._workers, "plan") as pool:
            for looked in pool.map(lambda group: self._finder.look(group, by_key[group[0].key]), groups):
                failed.update(looked.failed)
                report()
        seconds = max(self._clock() - begun, 1e-9)
        reasons = [(face, failed[face.key]) for face, _ in chosen if face.key in failed]
        return MigrationPlan(
            collection=collection,
            contract=self._contract,
            without_reference=without,
            sampled=len(chosen),
            found=len(chosen) - len(reasons),
            obstacles=dict(Counter(reason for _, reason in reasons)),
            examples=tuple(reasons[:20]),
            faces_per_second=len(chosen) / seconds,
            disk_bytes=collection.face_count * (self._contract.dimension + ROW_BYTES) + extra_bytes,
        )

    def _all(self, collection: Collection) -> Iterator[Face]:
        """Every face, oldest first, read page by page."""
        after = 0
        while True:
            with self._database.read() as connection:
                page = faces.list_after(connection, collection, after, PAGE)
            yield from (face for _, face in page)
            if len(page) < PAGE:
                return
            after = page[-1][0]
