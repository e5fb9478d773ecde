"""Use cases on the users of a collection (at the REST door: persons): make, associate faces, search."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from facerec.config import UserMatching
from facerec.db import Connection, Database
from facerec.domain import (
    AssociationFailure,
    Collection,
    DetectedFace,
    EntityKind,
    Face,
    ImageReference,
    Page,
    QualityFilter,
    User,
    UserMatch,
    UserStatus,
)
from facerec.engine.base import Calibration, Engine, Floats
from facerec.errors import FaceNotInCollection, InvalidParameter, QuotaExceeded
from facerec.images.base import ImageLoader
from facerec.metastore import changes, collections, expiry, faces, users
from facerec.metastore.expiry import Present
from facerec.observability.steps import use_case
from facerec.services.access import find_again, newest, open_collection, settled
from facerec.services.aggregates import mirror_user, renew_aggregate
from facerec.services.engines import Engines
from facerec.services.faces import FaceFailure
from facerec.services.idempotency import RepeatableRequest
from facerec.services.matching import UserMatcher
from facerec.services.pagination import PageTokens, page_size
from facerec.services.retention.lifetimes import Lifetimes
from facerec.services.retention.removal import remove_past_of_users
from facerec.services.selection import RejectedFace, select_largest
from facerec.services.twins import Twins
from facerec.vectors.base import VectorStore
from facerec.vectors.quantization import dequantize_batch

MAX_FACES_PER_USER = 100

DEFAULT_MATCHES = 80
"""Matches of a search that names no number: the service model states no default."""

MOST_MATCHES = 500

DEFAULT_PAGE = 500
LARGEST_PAGE = 500


@dataclass(frozen=True, slots=True)
class Association:
    """Ids of the faces associated or disassociated, the faces that were not, the user's state afterwards."""

    changed: tuple[str, ...]
    failures: tuple[FaceFailure, ...]
    status: UserStatus


@dataclass(frozen=True, slots=True)
class UserSearch:
    """Matches, most similar first. After a search by image also the searched face, if any, and the others."""

    matches: tuple[UserMatch, ...]
    model_version: str
    searched: DetectedFace | None = None
    unsearched: tuple[RejectedFace, ...] = ()

    @property
    def best(self) -> tuple[str, float] | None:
        """Id and similarity of the most similar user."""
        return (self.matches[0].user.user_id, self.matches[0].similarity) if self.matches else None


class PeopleService:
    """Manages and searches users. Safe to call from many threads.

    A user's aggregate vector is the normalised mean of its faces' embeddings, made anew in the transaction
    that changes the faces: a search sees it at once.
    """

    def __init__(
        self,
        database: Database,
        vectors: VectorStore,
        engines: Engines,
        images: ImageLoader,
        *,
        lifetimes: Lifetimes | None = None,
        matching: UserMatching = "average",
    ) -> None:
        """lifetimes: when faces end (None: unless told, never), and the clock.

        matching: what stands for a user in searches: the mean of its faces, or the best of them.
        """
        self._database = database
        self._vectors = vectors
        self._engines = engines
        self._twins = Twins(database, engines)
        self._images = images
        self._lifetimes = lifetimes or Lifetimes()
        self._clock = self._lifetimes.clock
        self._matcher = UserMatcher(database, vectors, self._lifetimes, matching)
        self._tokens = PageTokens(database)

    def create(self, collection: str, user_id: str, *, client_token: str | None = None) -> None:
        """Make a user without faces. Raises NotFound, Conflict (the id is taken), IdempotencyMismatch."""
        with self._database.write() as connection:
            target = collections.find(connection, collection, lock=True)
            request = RepeatableRequest("CreateUser", client_token, (target.identity, user_id), self._clock())
            if request.recall(connection) is None:
                users.insert(connection, target, user_id)
                mirror_user(connection, target, user_id)
                request.remember(connection, {})

    def delete(self, collection: str, user_id: str, *, client_token: str | None = None) -> None:
        """Delete a user; its faces stay, nobody's. Raises NotFound, IdempotencyMismatch."""
        with self._database.write() as connection:
            target = collections.find(connection, collection, lock=True)
            request = RepeatableRequest("DeleteUser", client_token, (target.identity, user_id), self._clock())
            if request.recall(connection) is None:
                users.delete(connection, target, users.find(connection, target, user_id))
                mirror_user(connection, target, user_id)
                request.remember(connection, {})

    def list(self, collection: str, *, limit: int | None = None, token: str | None = None) -> Page[User]:
        """A page of users in the order of their ids: `limit` (500 at most and by default) from `token` on.

        Raises NotFound, InvalidPaginationToken.
        """
        size = page_size(limit, DEFAULT_PAGE, LARGEST_PAGE)
        with self._database.read() as connection:
            target = collections.find(connection, collection)
            after = self._tokens.read_text(token, "users", target.key)
            found = users.list_after(connection, target, after, size + 1)
            items = self._without_past(connection, target, found[:size])
        more = self._tokens.make(items[-1].user_id, "users", target.key) if len(found) > size else None
        return Page(items, more)

    @use_case("people.associate")
    def associate(
        self,
        collection: str,
        user_id: str,
        face_ids: Sequence[str],
        *,
        threshold: float = 75.0,
        client_token: str | None = None,
    ) -> Association:
        """Give faces to a user; those that are its own already are passed over.

        A failure, which stops no other face: not found; another user's; less similar than `threshold`
        (0..100) to the aggregate that the user has when the call begins, if it has one; no room under 100 (no
        reason stated). Raises NotFound, ModelMismatch, IdempotencyMismatch, QuotaExceeded when the user
        was full before.
        """

        def work() -> Association:
            target, engine = open_collection(self._database, self._engines, collection)
            with self._database.write() as connection:
                target = find_again(connection, target, lock=True)
                parameters = (target.identity, user_id, list(face_ids), threshold)
                request = RepeatableRequest("AssociateFaces", client_token, parameters, self._clock())
                if (outcome := request.recall(connection)) is not None:
                    return _association(outcome)
                user = self._find_without_past(connection, target, user_id)
                association = self._associate(
                    connection, target, engine.calibration, user, face_ids, threshold
                )
                request.remember(connection, _outcome(association))
            return association

        return settled(work)

    def disassociate(
        self, collection: str, user_id: str, face_ids: Sequence[str], *, client_token: str | None = None
    ) -> Association:
        """Take faces from a user. One that is not there or nobody's, or another user's, is a failure.

        Raises NotFound, IdempotencyMismatch.
        """
        with self._database.write() as connection:
            target = collections.find(connection, collection, lock=True)
            parameters = (target.identity, user_id, list(face_ids))
            request = RepeatableRequest("DisassociateFaces", client_token, parameters, self._clock())
            if (outcome := request.recall(connection)) is not None:
                return _association(outcome)
            user = self._find_without_past(connection, target, user_id)
            found = faces.find(connection, target, face_ids, present=self._lifetimes.present(target))
            taken: dict[str, Face] = {}
            failures: list[FaceFailure] = []
            for face_id in dict.fromkeys(face_ids):
                face = found.get(face_id)
                if face is None or face.user_id is None:
                    failures.append(_failure(face_id, AssociationFailure.FACE_NOT_FOUND))
                elif face.user_id != user_id:
                    reason = AssociationFailure.ASSOCIATED_TO_A_DIFFERENT_USER
                    failures.append(_failure(face_id, reason, user_id=face.user_id))
                else:
                    taken[face_id] = face
            faces.associate(connection, [face.key for face in taken.values()], None)
            status = _renew(connection, target, user) if taken else user.status
            association = Association(tuple(taken), tuple(failures), status)
            request.remember(connection, _outcome(association))
        return association

    @use_case("people.search")
    def search(
        self,
        collection: str,
        *,
        user_id: str | None = None,
        face_id: str | None = None,
        limit: int | None = None,
        threshold: float = 80.0,
    ) -> UserSearch:
        """Users similar to a stored user, without itself, or to a stored face, its own user included.

        Up to `limit` (80, at most 500); threshold: least similarity 0..100. A user without faces resembles
        nobody. Raises InvalidParameter unless exactly one of the two ids is given, NotFound,
        FaceNotInCollection, ModelMismatch, StorageError.
        """
        if (user_id is None) == (face_id is None):
            raise InvalidParameter("Request has invalid parameters: give either UserId or FaceId, not both.")
        size = page_size(limit, DEFAULT_MATCHES, MOST_MATCHES)

        def work() -> UserSearch:
            target, engine = open_collection(self._database, self._engines, collection)
            return self._twins.answered(
                target,
                f"{user_id}/{face_id}".encode(),
                self._search_stored(target, engine, user_id, face_id, size, threshold),
                lambda twin, other: self._search_stored(twin, other, user_id, face_id, size, threshold),
            )

        return settled(work)

    @use_case("people.search_by_image")
    def search_by_image(
        self,
        collection: str,
        image: ImageReference,
        *,
        limit: int | None = None,
        threshold: float = 80.0,
        quality_filter: QualityFilter = QualityFilter.NONE,
    ) -> UserSearch:
        """Users similar to the largest face of an image; no error, and no match, without a face to search.

        Raises NotFound, ModelMismatch, the errors of images and engine, StorageError.
        """
        size = page_size(limit, DEFAULT_MATCHES, MOST_MATCHES)

        def work() -> UserSearch:
            target, engine = open_collection(self._database, self._engines, collection)
            data = self._images.load(image)

            def ask(searched: Collection, its_engine: Engine) -> UserSearch:
                return self._search_image(searched, its_engine, data, quality_filter, size, threshold)

            return self._twins.answered(target, data, ask(target, engine), ask)

        return settled(work)

    def _search_stored(
        self,
        target: Collection,
        engine: Engine,
        user_id: str | None,
        face_id: str | None,
        size: int,
        threshold: float,
    ) -> UserSearch:
        """Up to `size` users like a stored one, without itself, or like a stored face."""
        own = None
        with self._database.read() as connection:
            if user_id is not None:
                own = users.find(connection, target, user_id).key
            else:
                present = self._lifetimes.present(target)
                probes = _embedding_of_face(connection, target, str(face_id), present)
        if own is not None:
            probes = self._matcher.probes_of(target, own)
            if not len(probes):
                return UserSearch((), target.model_version)
            with self._database.read() as connection:
                target = newest(connection, target)
        matches = self._matcher.users(target, engine.calibration, probes, size, threshold, but=own)
        return UserSearch(matches, target.model_version)

    def _search_image(
        self,
        target: Collection,
        engine: Engine,
        data: bytes,
        quality_filter: QualityFilter,
        size: int,
        threshold: float,
    ) -> UserSearch:
        """Up to `size` users like the largest face of an image, which the collection's engine looks at."""
        with engine.turn():
            picture = engine.decode(data)
            selection = select_largest(picture, engine.detect(picture), quality_filter)
            if not selection.kept:
                return UserSearch((), target.model_version, None, selection.rejected)
            found = selection.kept[0].found
            probes = engine.embed(picture, [found])
        with self._database.read() as connection:
            target = newest(connection, target)
        matches = self._matcher.users(target, engine.calibration, probes, size, threshold)
        return UserSearch(matches, target.model_version, found.face, selection.rejected)

    def _associate(
        self,
        connection: Connection,
        target: Collection,
        calibration: Calibration,
        user: User,
        face_ids: Sequence[str],
        threshold: float,
    ) -> Association:
        """Associate within the caller's transaction."""
        found = faces.find(connection, target, face_ids, present=self._lifetimes.present(target))
        similarity = self._matcher.similarities(connection, target, calibration, user, list(found.values()))
        room = MAX_FACES_PER_USER - user.face_count
        given: dict[str, Face] = {}
        failures: list[FaceFailure] = []
        for face_id in dict.fromkeys(face_ids):
            face = found.get(face_id)
            if face is None:
                failures.append(_failure(face_id, AssociationFailure.FACE_NOT_FOUND))
            elif face.user_id == user.user_id:
                continue
            elif face.user_id is not None:
                reason = AssociationFailure.ASSOCIATED_TO_A_DIFFERENT_USER
                failures.append(_failure(face_id, reason, user_id=face.user_id))
            elif user.face_count >= MAX_FACES_PER_USER:
                raise QuotaExceeded(
                    f"The user id: {user.user_id} has {user.face_count} faces, the most a user can have."
                )
            elif similarity.get(face_id, 100.0) < threshold:
                reason = AssociationFailure.LOW_MATCH_CONFIDENCE
                failures.append(_failure(face_id, reason, confidence=similarity[face_id]))
            elif len(given) >= room:
                failures.append(FaceFailure(face_id=face_id))
            else:
                given[face_id] = face
        faces.associate(connection, [face.key for face in given.values()], user.key)
        status = _renew(connection, target, user) if given else user.status
        return Association(tuple(given), tuple(failures), status)

    def _find_without_past(self, connection: Connection, target: Collection, user_id: str) -> User:
        """The user, after its faces past their time have been deleted. Raises NotFound."""
        user = users.find(connection, target, user_id)
        remove_past_of_users(connection, target, [user.key], self._lifetimes.present(target))
        return users.find(connection, target, user_id)

    def _without_past(
        self, connection: Connection, target: Collection, listed: Sequence[User]
    ) -> tuple[User, ...]:
        """The users as they are without their faces past their time."""
        present = self._lifetimes.present(target)
        if not expiry.any_past(connection, target, present):
            return tuple(listed)
        past = expiry.past_of_users(connection, [user.key for user in listed], present)
        counts = [user.face_count - len(past.get(user.key, ())) for user in listed]
        return tuple(
            replace(user, face_count=count, status=UserStatus.ACTIVE if count else UserStatus.CREATED)
            for user, count in zip(listed, counts, strict=True)
        )


def _renew(connection: Connection, target: Collection, user: User) -> UserStatus:
    """Make the user's aggregate anew after its faces changed, in the collection's twin as well."""
    status = renew_aggregate(connection, target, user)
    mirror_user(connection, target, user.user_id)
    return status


def _embedding_of_face(connection: Connection, target: Collection, face_id: str, present: Present) -> Floats:
    """The embedding of a stored face, (1, dimension). Raises FaceNotInCollection."""
    face = faces.find(connection, target, [face_id], present=present).get(face_id)
    if face is None:
        raise FaceNotInCollection
    stored = changes.embeddings(connection, EntityKind.FACE, [face.key])
    return dequantize_batch([stored[face.key]])


def _failure(
    face_id: str,
    reason: AssociationFailure,
    *,
    user_id: str | None = None,
    confidence: float | None = None,
) -> FaceFailure:
    return FaceFailure(face_id=face_id, user_id=user_id, confidence=confidence, reasons=(reason,))


def _outcome(association: Association) -> object:
    """An association as JSON values, to be remembered."""
    failures = [[f.face_id, f.user_id, f.confidence, list(f.reasons)] for f in association.failures]
    return [list(association.changed), failures, association.status]


def _association(outcome: str) -> Association:
    """A remembered association."""
    changed, failures, status = json.loads(outcome)
    return Association(
        tuple(changed),
        tuple(
            FaceFailure(
                face_id=face_id,
                user_id=user_id,
                confidence=confidence,
                reasons=tuple(AssociationFailure(reason) for reason in reasons),
            )
            for face_id, user_id, confidence, reasons in failures
        ),
        UserStatus(status),
    )
