"""Two models side by side: what a collection's twin, of another model, has to do with a request.

While a collection is on its way to another model the old one answers. Faces indexed meanwhile are embedded by
both; a share of the searches may be answered by the new one, and what both say is compared.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol, TypeVar

from facerec.db import Connection, Database
from facerec.domain import (
    Agreement,
    BoundingBox,
    Collection,
    MigrationObstacle,
    ModelMigration,
    NewFace,
    QuantizedEmbedding,
)
from facerec.engine.base import Engine
from facerec.errors import Cancelled, FacerecError
from facerec.metastore import collections, faces, model_migrations
from facerec.services.engines import Engines
from facerec.services.same_face import match_boxes
from facerec.vectors.quantization import quantize_batch

_log = logging.getLogger(__name__)


class Answer(Protocol):
    """What a search answers, whether of faces or of users."""

    @property
    def best(self) -> tuple[str, float] | None:
        """Id and similarity (0..100) of the first match; None where there is none."""


A = TypeVar("A", bound=Answer)
K = TypeVar("K")


class Twins:
    """Works on the twins of collections. Safe to call from many threads."""

    def __init__(self, database: Database, engines: Engines) -> None:
        self._database = database
        self._engines = engines

    def embed(
        self, target: Collection, data: bytes, boxes: Mapping[int, BoundingBox]
    ) -> dict[int, QuantizedEmbedding]:
        """Embeddings by the twin's model of faces of an image, found there in these boxes; by their ranks.

        Those that the model does not find are left out, and so are all where it can not be asked: they go on
        the migration's list. Empty where the collection has no twin.
        """
        if not boxes:
            return {}
        with self._database.read() as connection:
            twin = collections.twin_of(connection, target)
        if twin is None:
            return {}
        try:
            outcome = embed_again(self._engines.of(twin), data, boxes)
        except Cancelled:
            raise
        except FacerecError as error:
            _log.warning(
                "Faces of collection %s wait for their second model: %s", target.name, type(error).__name__
            )
            return {}
        return {rank: found for rank, found in outcome.items() if isinstance(found, QuantizedEmbedding)}

    def answered(self, target: Collection, probe: bytes, old: A, ask: Callable[[Collection, Engine], A]) -> A:
        """The answer to a search: `old`, or that of the new model where the search is one of its share.

        The share is chosen by a hash of `probe`, so that the same search is always answered by the same
        model. ask: searches the new model's collection; where it fails the old answer stands.
        """
        if target.twin is None:
            return old
        with self._database.read() as connection:
            migration = model_migrations.of_collection(connection, target)
            twin = collections.twin_of(connection, target)
        if migration is None or twin is None or not _in_share(migration, probe):
            return old
        try:
            new = ask(twin, self._engines.of(twin))
        except Cancelled:
            raise
        except FacerecError as error:
            _log.warning("The new model of %s did not answer: %s", target.name, type(error).__name__)
            self._note(target, migration, compare(old.best, None))
            return old
        self._note(target, migration, compare(old.best, new.best))
        return new

    def _note(self, target: Collection, migration: ModelMigration, agreement: Agreement) -> None:
        def add(connection: Connection) -> None:
            model_migrations.add_agreement(connection, migration, agreement)

        self._database.write_together(add, lane=target.key)


def embed_again(
    engine: Engine, data: bytes, boxes: Mapping[K, BoundingBox]
) -> dict[K, QuantizedEmbedding | MigrationObstacle]:
    """Embeddings by `engine` of the faces of an image that another model found in these boxes.

    Or why there is none: FACE_NOT_FOUND or FACE_AMBIGUOUS. Raises the errors of the engine.
    """
    picture = engine.decode(data)
    found = engine.detect(picture)
    places = dict(
        zip(boxes, match_boxes(list(boxes.values()), [face.face.box for face in found]), strict=True)
    )
    outcome: dict[K, QuantizedEmbedding | MigrationObstacle] = {
        name: place for name, place in places.items() if isinstance(place, MigrationObstacle)
    }
    chosen = {
        name: found[place] for name, place in places.items() if not isinstance(place, MigrationObstacle)
    }
    if chosen:
        embeddings = quantize_batch(engine.embed(picture, list(chosen.values())))
        outcome.update(zip(chosen, embeddings, strict=True))
    return outcome


def store_twins(
    connection: Connection,
    present: Collection,
    new: Mapping[int, NewFace],
    embedded: Mapping[int, QuantizedEmbedding],
) -> None:
    """Store new faces, by rank, in the collection's twin too, in the same transaction.

    embedded: by the twin's model; faces without are left to the migration.
    """
    twin = collections.twin_of(connection, present)
    if twin is not None:
        faces.insert(
            connection,
            twin,
            [replace(face, embedding=embedded[rank]) for rank, face in new.items() if rank in embedded],
        )


def compare(old: tuple[str, float] | None, new: tuple[str, float] | None) -> Agreement:
    """One search as counts: what the models name first, (id, similarity 0..100), None for nothing."""
    if old is None and new is None:
        return Agreement(neither=1)
    if new is None:
        return Agreement(old_alone=1)
    if old is None:
        return Agreement(new_alone=1)
    if old[0] != new[0]:
        return Agreement(other_best=1)
    difference = new[1] - old[1]
    return Agreement(same_best=1, difference=difference, distance=abs(difference))


def _in_share(migration: ModelMigration, probe: bytes) -> bool:
    number = int.from_bytes(hashlib.sha256(probe).digest()[:8], "big")
    return migration.finished_at is None and number < migration.share * 2**64
