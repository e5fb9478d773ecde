"""A large collection of people who do not exist, written into a data folder before a service starts."""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np

from facerec.domain import BoundingBox, EmbeddingContract, NewFace
from facerec.metastore import collections, faces, open_at
from facerec.vectors.quantization import quantize_batch

CHUNK = 20_000
"""Faces written in one transaction."""
BOX = BoundingBox(left=0.25, top=0.2, width=0.5, height=0.6)
SEED = 0


def fill_gallery(folder: Path, name: str, contract: EmbeddingContract, count: int) -> None:
    """Make a collection of `count` faces in the database of a data folder, each in a direction of its own.

    The directions are uniform on the sphere, always the same ones; the ids ascend, so that the writing of a
    million takes seconds and not minutes. Raises AlreadyExists, StorageError.
    """
    random = np.random.default_rng(SEED)
    database = open_at(folder)
    try:
        with database.write() as connection:
            collection = collections.insert(connection, name=name, contract=contract, created_at=0.0)
        for start in range(0, count, CHUNK):
            vectors = random.standard_normal((min(CHUNK, count - start), contract.dimension), np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            new = [
                NewFace(
                    face_id=(identity := str(uuid.UUID(int=number))),
                    image_id=identity,
                    external_image_id=None,
                    box=BOX,
                    confidence=99.0,
                    embedding=embedding,
                )
                for number, embedding in enumerate(quantize_batch(vectors), start + 1)
            ]
            with database.write() as connection:
                faces.insert(connection, collection, new)
    finally:
        database.close()
