"""Finding the faces and the users of a collection near a probe, by the similarity that clients think in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facerec.config import UserMatching
from facerec.db import Connection, Database
from facerec.domain import (
    Collection,
    EntityKind,
    Face,
    FaceMatch,
    RowKey,
    User,
    UserMatch,
    VectorHit,
)
from facerec.engine.base import Calibration, Floats
from facerec.metastore import changes, collections, expiry, faces, users
from facerec.observability import metrics
from facerec.observability.steps import Step
from facerec.services.access import check_present, newest
from facerec.services.retention.lifetimes import Lifetimes
from facerec.services.retention.removal import remove_past_of_users
from facerec.vectors.base import VectorStore
from facerec.vectors.quantization import dequantize_batch

MOST_LOOKED_AT = 8192
"""Most faces that a search looks at where the nearest ones may not be answered: those past their time and,
in a search for users by their best face, nobody's."""

FACES_A_USER = 4
"""Faces looked at first for each user that is looked for by its best face."""

SEARCH = Step("vectors.search", metrics.search_seconds, errors=metrics.search_errors)

ATTEMPTS = 3
"""Times that users are looked for anew after faces past their time were taken from them."""


def nearest(
    vectors: VectorStore,
    calibration: Calibration,
    collection: Collection,
    kind: EntityKind,
    probes: Floats,
    *,
    limit: int,
    threshold: float,
) -> list[VectorHit]:
    """Up to `limit` faces or users nearest to any of the unit vectors (Q, dimension), each once, best first.

    threshold: least similarity 0..100, or cosine. Raises StorageError, VectorStoreUnavailable.
    """
    with SEARCH():
        found = vectors.search(
            collection,
            kind,
            np.asarray(probes, dtype=np.float32),
            limit=limit,
            min_cosine=least_cosine(calibration, threshold),
        )
    if len(found) == 1:
        return found[0]
    best: dict[RowKey, float] = {}
    for hits in found:
        for hit in hits:
            best[hit.key] = max(hit.cosine, best.get(hit.key, hit.cosine))
    ordered = sorted(best.items(), key=lambda item: (-item[1], item[0]))
    return [VectorHit(key, cosine) for key, cosine in ordered[:limit]]


def least_cosine(calibration: Calibration, threshold: float) -> float:
    """The cosine from which two faces are as alike as a threshold 0..100 says."""
    return calibration.cosine(threshold)


class FaceMatcher:
    """Finds faces. Safe to call from many threads."""

    def __init__(self, database: Database, vectors: VectorStore, lifetimes: Lifetimes) -> None:
        self._database = database
        self._vectors = vectors
        self._lifetimes = lifetimes

    def faces(
        self, target: Collection, calibration: Calibration, probe: Floats, limit: int, threshold: float
    ) -> tuple[FaceMatch, ...]:
        """Up to `limit` faces nearest to a unit vector (dimension,), most similar first.

        The change number of `target` is that up to which they are searched at least. Raises NotFound, and
        ModelSwitched where the collection has another model by now.
        """
        wanted = limit
        while True:
            hits = nearest(
                self._vectors,
                calibration,
                target,
                EntityKind.FACE,
                probe[None],
                limit=wanted,
                threshold=threshold,
            )
            with self._database.read() as connection:
                # What was searched, possibly long after it was looked up, is what the collection still is.
                target = newest(connection, target)
                present = self._lifetimes.present(target)
                found = faces.of_keys(connection, target, [hit.key for hit in hits], present=present)
            if len(found) >= limit or len(hits) < wanted or wanted >= MOST_LOOKED_AT:
                break
            # Faces past their time, which wait to be removed, stood before others.
            wanted = min(limit + 2 * (len(hits) - len(found)), MOST_LOOKED_AT)
        matches = (
            FaceMatch(calibration.similarity(hit.cosine), hit.cosine, found[hit.key])
            for hit in hits
            if hit.key in found
        )
        return tuple(matches)[:limit]


class UserMatcher:
    """Finds users: by the mean of their faces' embeddings, or by the best of their faces.

    Safe to call from many threads.
    """

    def __init__(
        self, database: Database, vectors: VectorStore, lifetimes: Lifetimes, matching: UserMatching
    ) -> None:
        self._database = database
        self._vectors = vectors
        self._lifetimes = lifetimes
        self._kind = EntityKind.USER if matching == "average" else EntityKind.FACE

    def users(
        self,
        target: Collection,
        calibration: Calibration,
        probes: Floats,
        limit: int,
        threshold: float,
        *,
        but: RowKey | None = None,
    ) -> tuple[UserMatch, ...]:
        """Up to `limit` users nearest to any of the unit vectors (Q, dimension), most similar first.

        but: a user to leave out. Raises ModelSwitched where they are gone because the collection has another
        model by now.
        """
        if self._kind is EntityKind.USER:
            found, cosines = self._by_mean(target, calibration, probes, limit, threshold, but)
        else:
            found, cosines = self._by_best_face(target, calibration, probes, limit, threshold, but)
        matches = (
            UserMatch(calibration.similarity(cosine), cosine, found[key])
            for key, cosine in cosines.items()
            if key in found
        )
        return tuple(matches)[:limit]

    def probes_of(self, target: Collection, user: RowKey) -> Floats:
        """What stands for a stored user in a search: unit vectors (Q, dimension), none without faces."""
        with self._database.read() as connection:
            stale = self._past(connection, target, [user])
        if stale:
            self._let_go(target, [user])
        with self._database.read() as connection:
            return self._vectors_of(connection, target, user)

    def similarities(
        self,
        connection: Connection,
        target: Collection,
        calibration: Calibration,
        user: User,
        candidates: Sequence[Face],
    ) -> dict[str, float]:
        """Similarity 0..100 of faces, by id, to what stands for a user; empty where nothing does."""
        own = self._vectors_of(connection, target, user.key)
        if not len(own) or not candidates:
            return {}
        stored = changes.embeddings(connection, EntityKind.FACE, [face.key for face in candidates])
        cosines = (dequantize_batch([stored[face.key] for face in candidates]) @ own.T).max(axis=1)
        return {
            face.face_id: calibration.similarity(float(cosine))
            for face, cosine in zip(candidates, cosines, strict=True)
        }

    def _by_mean(
        self,
        target: Collection,
        calibration: Calibration,
        probes: Floats,
        limit: int,
        threshold: float,
        but: RowKey | None,
    ) -> tuple[dict[RowKey, User], dict[RowKey, float]]:
        """Users by key, and cosines by key, best first."""
        for _ in range(ATTEMPTS):
            hits = nearest(
                self._vectors,
                calibration,
                target,
                EntityKind.USER,
                probes,
                limit=limit + (but is not None),
                threshold=threshold,
            )
            keys = [hit.key for hit in hits if hit.key != but]
            with self._database.read() as connection:
                found = users.of_keys(connection, target, keys)
                if len(found) < len(keys):
                    check_present(connection, target)
                stale = self._past(connection, target, keys)
            if not stale or target.hidden:
                break
            target = self._let_go(target, list(stale))
        cosines = {hit.key: hit.cosine for hit in hits}
        return {key: user for key, user in found.items() if key not in stale}, cosines

    def _by_best_face(
        self,
        target: Collection,
        calibration: Calibration,
        probes: Floats,
        limit: int,
        threshold: float,
        but: RowKey | None,
    ) -> tuple[dict[RowKey, User], dict[RowKey, float]]:
        """Users by key, and cosines by key, best first."""
        wanted = min(FACES_A_USER * (limit + (but is not None)), MOST_LOOKED_AT)
        while True:
            hits = nearest(
                self._vectors,
                calibration,
                target,
                EntityKind.FACE,
                probes,
                limit=wanted,
                threshold=threshold,
            )
            with self._database.read() as connection:
                present = self._lifetimes.present(target)
                owners = faces.owners_of(connection, [hit.key for hit in hits], present=present)
                best: dict[RowKey, float] = {}
                for hit in hits:
                    owner = owners.get(hit.key)
                    if owner is not None and owner != but:
                        best.setdefault(owner, hit.cosine)
                found = users.of_keys(connection, target, list(best)[:limit])
                if len(owners) < len(hits):
                    check_present(connection, target)
            if len(best) >= limit or len(hits) < wanted or wanted >= MOST_LOOKED_AT:
                return found, best
            wanted = min(FACES_A_USER * wanted, MOST_LOOKED_AT)

    def _vectors_of(self, connection: Connection, target: Collection, user: RowKey) -> Floats:
        """The mean of a user's faces (1, dimension), or the faces that are not past their time."""
        keys = [user]
        if self._kind is EntityKind.FACE:
            past = expiry.past_of_users(connection, [user], self._lifetimes.present(target)).get(user, [])
            keys = [key for key in faces.keys_of_user(connection, user) if key not in past]
        found = changes.embeddings(connection, self._kind, keys)
        if not found:
            return np.empty((0, target.dimension), np.float32)
        return dequantize_batch(list(found.values()))

    def _past(self, connection: Connection, target: Collection, keys: Sequence[RowKey]) -> list[RowKey]:
        """Those of some users that have faces past their time, of which their mean was made."""
        present = self._lifetimes.present(target)
        if not expiry.any_past(connection, target, present):
            return []
        return list(expiry.past_of_users(connection, keys, present))

    def _let_go(self, target: Collection, owners: Sequence[RowKey]) -> Collection:
        """Take from users the faces past their time, which the sweep has not come to; the collection then."""
        if target.hidden:
            return target  # the faces go with those of the collection whose twin it is
        with self._database.write() as connection:
            locked = collections.find(connection, target.name, lock=True)
            remove_past_of_users(connection, locked, owners, self._lifetimes.present(locked))
        with self._database.read() as connection:
            return newest(connection, target)
