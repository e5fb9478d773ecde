"""Rows for the tests of the metadata store."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from facerec.config import read_settings
from facerec.db import Database
from facerec.domain import BoundingBox, Collection, EmbeddingContract, NewFace, QuantizedEmbedding
from facerec.metastore import collections, faces, open_metastore

CONTRACT = EmbeddingContract(id="contract", pack="pack", model_version="1.0", dimension=8)


def open_database(folder: Path, url: str | None = None) -> Database:
    """The database of a URL (the setting `database_url`); without one, SQLite in the folder."""
    return open_metastore(read_settings(data_dir=folder, database_url=url))


@contextmanager
def open_stored(folder: Path, url: str | None = None) -> Iterator[tuple[Database, Collection]]:
    """A new database, and a collection in it."""
    database = open_database(folder, url)
    with database.write() as connection:
        collection = collections.insert(connection, name="album", contract=CONTRACT, created_at=1.0)
    yield database, collection
    database.close()


def new_face(number: int, *, dimension: int = 8) -> NewFace:
    """A face whose embedding follows from its number."""
    codes = np.random.default_rng(number).integers(-127, 128, dimension, np.int8).tobytes()
    return NewFace(
        face_id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"face {number}")),
        image_id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"image {number // 3}")),
        external_image_id=None,
        box=BoundingBox(left=0.125, top=-0.25, width=0.5, height=0.75),
        confidence=99.5,
        embedding=QuantizedEmbedding(codes=codes, scale=0.0625),
    )


def add(database: Database, collection: Collection, *numbers: int) -> None:
    """Store faces by number, in one transaction."""
    with database.write() as connection:
        faces.insert(connection, collection, [new_face(number) for number in numbers])


def remove(database: Database, collection: Collection, *numbers: int) -> None:
    """Delete faces by number, in one transaction."""
    with database.write() as connection:
        found = faces.find(connection, collection, [new_face(number).face_id for number in numbers])
        faces.delete(connection, collection, [face.key for face in found.values()])
