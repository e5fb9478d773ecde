"""The aggregate vector of a user: the normalised mean of its faces' embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facerec.db import Connection
from facerec.domain import Collection, EntityKind, QuantizedEmbedding, User, UserStatus
from facerec.metastore import changes, collections, faces, users
from facerec.vectors.quantization import dequantize_batch, quantize


def renew_aggregate(connection: Connection, target: Collection, user: User) -> UserStatus:
    """Make the aggregate of the faces that the user has now; the state that follows from them."""
    keys = faces.keys_of_user(connection, user.key)
    stored = changes.embeddings(connection, EntityKind.FACE, keys)
    aggregate = mean_embedding([stored[key] for key in keys]) if keys else None
    users.set_aggregate(connection, target, user, face_count=len(keys), aggregate=aggregate)
    return UserStatus.ACTIVE if keys else UserStatus.CREATED


def mean_embedding(embeddings: Sequence[QuantizedEmbedding]) -> QuantizedEmbedding:
    """The normalised mean of unit vectors, at least one; of vectors that cancel each other, the first."""
    vectors = dequantize_batch(embeddings).astype(np.float64)
    mean = vectors.mean(axis=0)
    length = float(np.linalg.norm(mean))
    if length < 1e-6:
        return embeddings[0]
    return quantize((mean / length).astype(np.float32))


def mirror_user(connection: Connection, target: Collection, user_id: str) -> None:
    """Make the user of the collection's twin what the collection's own is: there or not, with its faces and
    metadata.

    The aggregate is made of the twin's embeddings; faces that the twin has not are left out. A no-op where
    the collection has no twin.
    """
    twin = collections.twin_of(connection, target)
    if twin is None:
        return
    own, other = users.look_up(connection, target, user_id), users.look_up(connection, twin, user_id)
    if own is None:
        if other is not None:
            users.delete(connection, twin, other)
        return
    if other is None:
        users.insert(connection, twin, user_id)
        other = users.find(connection, twin, user_id)
    keys = faces.keys_of_user(connection, own.key)
    wanted = set(faces.in_twin(connection, target, keys).values())
    present = set(faces.keys_of_user(connection, other.key))
    faces.associate(connection, sorted(wanted - present), other.key)
    faces.associate(connection, sorted(present - wanted), None)
    if wanted != present or len(wanted) != other.face_count:
        renew_aggregate(connection, twin, other)
    users.copy_details(connection, own, other)
