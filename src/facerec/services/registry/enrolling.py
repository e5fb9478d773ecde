"""Enrolling: pictures that were looked at become a person, or more of one, in one transaction."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from facerec.db import Connection, Database
from facerec.domain import Collection, Face, NewFace, QuantizedEmbedding, Review, RowKey, User
from facerec.engine.base import Engine, Floats
from facerec.errors import (
    AlreadyEnrolled,
    DatabaseBusy,
    FacerecError,
    ImagesDisagree,
    PersonExists,
    PersonNotFound,
    PoorQuality,
    QuotaExceeded,
    VersionConflict,
)
from facerec.metastore import faces, users
from facerec.observability import current_request
from facerec.services.access import find_again
from facerec.services.aggregates import mirror_user, renew_aggregate
from facerec.services.enrolment import Candidate
from facerec.services.matching import UserMatcher
from facerec.services.open_set import least_cosine
from facerec.services.people import MAX_FACES_PER_USER
from facerec.services.registry.agreement import agreeing
from facerec.services.registry.values import (
    Enrolment,
    ImageResult,
    Metadata,
    Person,
    encode_metadata,
    person_of,
)
from facerec.services.retention.lifetimes import Lifetimes
from facerec.services.twins import store_twins
from facerec.vectors.quantization import dequantize_batch

ATTEMPTS = 20
"""Times that it is looked anew who else has the face, where others were enrolled meanwhile."""

STRICT_LIKENESS = 80.0
"""Similarity to another person from which STRICT refuses a picture; STANDARD refuses one that would be taken
for that person when it is verified."""


@dataclass(frozen=True, slots=True)
class Look:
    """An image that was looked at: the face that was found, and why there is none or it may not be used."""

    candidate: Candidate | None
    error: FacerecError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What an enrolment does to a person."""

    person_id: str
    new: bool
    """Whether the person must not be there before; else the person has to be."""
    replaces: bool = False
    """Whether the pictures that were there go."""
    metadata: Metadata | None = None
    """To be kept with the person; None: as they are."""
    version: int | None = None
    """That the person has to have; None: any."""


@dataclass(frozen=True, slots=True)
class Enroller:
    """Enrols persons. Safe to call from many threads."""

    database: Database
    matcher: UserMatcher
    lifetimes: Lifetimes
    forget_images: Callable[[Iterable[str]], None]

    def enrol(
        self,
        target: Collection,
        engine: Engine,
        change: Change,
        looks: Sequence[Look],
        review: Review,
        twins: Callable[[Collection, Sequence[int]], Mapping[int, QuantizedEmbedding]],
    ) -> Enrolment:
        """Take those pictures that are good, agree with each other and are nobody else's.

        twins: embeddings by another model, to which the collection is on its way, of the looks with these
        places. Where no picture is taken nothing is changed. Raises PersonExists, PersonNotFound,
        VersionConflict, QuotaExceeded, StorageError.
        """
        metadata = None if change.metadata is None else encode_metadata(change.metadata)
        judged = [_judge(place, look) for place, look in enumerate(looks)]
        for _ in range(ATTEMPTS):
            current_request().check()
            with self.database.read() as connection:
                present = find_again(connection, target)
                user = users.look_up(connection, present, change.person_id)
                stored = self._stored(connection, present, change.person_id, looks)
            if change.new and user is not None and looks and len(stored) == len(looks):
                return self._as_before(present, user, judged, stored)
            _check(change, user)
            results = self._review(present, engine, change, user, judged, review)
            taken = [result.index for result in results if result.refusal is None]
            if looks and not taken:
                return Enrolment(None, tuple(results))
            others = twins(present, taken)
            with self.database.write() as connection:
                locked = find_again(connection, target, lock=True)
                if locked.change_number == present.change_number and locked.key == present.key:
                    enrolment, gone = self._store(connection, locked, change, metadata, results, others)
                    break
        else:
            raise DatabaseBusy
        self.forget_images(gone)
        return enrolment

    def _review(
        self,
        target: Collection,
        engine: Engine,
        change: Change,
        user: User | None,
        judged: Sequence[ImageResult],
        review: Review,
    ) -> list[ImageResult]:
        """What becomes of each image, after those that are no good by themselves."""
        results = list(judged)
        good = [result for result in results if result.refusal is None]
        if not good or review is Review.OFF:
            return results
        vectors = dequantize_batch([result.candidate.embedding for result in good if result.candidate])
        known = np.empty((0, target.dimension), np.float32)
        if user is not None and not change.replaces:
            known = self.matcher.probes_of(target, user.key)
        agree = agreeing(vectors, known, engine.calibration, review)
        for result, agrees in zip(good, agree, strict=True):
            if not agrees:
                results[result.index] = replace(result, refusal=ImagesDisagree())
        kept = [place for place, agrees in enumerate(agree) if agrees]
        own = None if user is None else user.key
        owners = self._owners(target, engine, vectors[kept], own, review)
        for place, owner in zip(kept, owners, strict=True):
            if owner is not None:
                result = good[place]
                results[result.index] = replace(result, refusal=AlreadyEnrolled(), other_person=owner)
        return results

    def _owners(
        self, target: Collection, engine: Engine, vectors: Floats, own: RowKey | None, review: Review
    ) -> list[str | None]:
        """Who else each of N unit vectors is, or all of them are where their mean is somebody."""
        if not len(vectors):
            return []
        threshold = STRICT_LIKENESS
        if review is Review.STANDARD:
            threshold = engine.calibration.similarity(least_cosine(engine.calibration, target.user_count))

        def owner(vector: Floats) -> str | None:
            found = self.matcher.users(target, engine.calibration, vector[None], 1, threshold, but=own)
            return found[0].user.user_id if found else None

        mean = vectors.mean(axis=0)
        together = owner(np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-6), np.float32))
        return [together or owner(vector) for vector in vectors]

    def _stored(
        self, connection: Connection, target: Collection, person_id: str, looks: Sequence[Look]
    ) -> dict[int, Face]:
        """Those images, by their places, that the person has been enrolled from before."""
        present = self.lifetimes.present(target)
        found: dict[int, Face] = {}
        for place, look in enumerate(looks):
            if look.candidate is not None:
                image_id = look.candidate.image_id
                for face in faces.of_image(connection, target, image_id, person_id):
                    if face.user_id == person_id and present.holds(face):
                        found[place] = face
        return found

    def _as_before(
        self,
        target: Collection,
        user: User,
        judged: Sequence[ImageResult],
        stored: Mapping[int, Face],
    ) -> Enrolment:
        """The answer to an enrolment that is repeated, perhaps because its first answer was lost."""
        results = [replace(result, refusal=None, face_id=stored[result.index].face_id) for result in judged]
        with self.database.read() as connection:
            person = self.person(connection, target, user)
        return Enrolment(person, tuple(results))

    def _store(
        self,
        connection: Connection,
        target: Collection,
        change: Change,
        metadata: str | None,
        results: Sequence[ImageResult],
        twins: Mapping[int, QuantizedEmbedding],
    ) -> tuple[Enrolment, set[str]]:
        """Make the change in the caller's transaction; ids of the images of which faces went, too."""
        if change.new:
            users.insert(connection, target, change.person_id, metadata=metadata)
        user = users.look_up(connection, target, change.person_id)
        _check(replace(change, new=False), user)
        assert user is not None  # noqa: S101 - checked
        before = faces.list_some(
            connection, target, user_id=user.user_id, present=self.lifetimes.present(target)
        )
        known = {face.image_id: face for _, face in before}
        fresh: dict[int, NewFace] = {}
        placed: dict[str, str] = {image_id: face.face_id for image_id, face in known.items()}
        for result in results:
            candidate = result.candidate
            if result.refusal is None and candidate is not None and candidate.image_id not in placed:
                fresh[result.index] = self._face(candidate, change.person_id)
                placed[candidate.image_id] = fresh[result.index].face_id
        taken = {
            result.candidate.image_id for result in results if result.candidate and result.refusal is None
        }
        gone = [face for image_id, face in known.items() if change.replaces and image_id not in taken]
        if len(before) - len(gone) + len(fresh) > MAX_FACES_PER_USER:
            raise QuotaExceeded(
                f"The person would have more than {MAX_FACES_PER_USER} pictures: replace them, or send fewer."
            )
        rows = faces.insert(connection, target, list(fresh.values()))
        store_twins(connection, target, fresh, twins)
        faces.associate(connection, [face.key for face in rows.values()], user.key)
        if gone:
            faces.delete(connection, target, [face.key for face in gone])
        if metadata != user.metadata and change.metadata is not None:
            users.set_metadata(connection, user, metadata)
        if fresh or gone:
            renew_aggregate(connection, target, user)
        mirror_user(connection, target, user.user_id)
        person = self.person(connection, target, users.find(connection, target, user.user_id))
        named = [
            replace(result, face_id=placed[result.candidate.image_id])
            if result.refusal is None and result.candidate
            else result
            for result in results
        ]
        return Enrolment(person, tuple(named), change.new), {face.image_id for face in gone}

    def _face(self, candidate: Candidate, person_id: str) -> NewFace:
        """A candidate's face as it is stored: under its person's id, so that an image is known again."""
        return NewFace(
            face_id=str(uuid.uuid4()),
            image_id=candidate.image_id,
            external_image_id=person_id,
            box=candidate.face.box,
            confidence=candidate.face.confidence,
            embedding=candidate.embedding,
            stored_at=int(self.lifetimes.clock()),
            quality=round(candidate.judgement.quality),
        )

    def person(self, connection: Connection, target: Collection, user: User) -> Person:
        """A user of the registry's collection as a person, with the qualities of its pictures."""
        own = faces.list_some(
            connection, target, user_id=user.user_id, present=self.lifetimes.present(target)
        )
        qualities = tuple(face.quality for _, face in own if face.quality is not None)
        return person_of(user, embeddings=len(own), qualities=qualities)


def _check(change: Change, user: User | None) -> None:
    """Raise PersonExists, PersonNotFound or VersionConflict where the person is not as the change wants."""
    if change.new:
        if user is not None:
            raise PersonExists(
                f"The person {change.person_id} is enrolled already: change the person, or delete it first."
            )
    elif user is None:
        raise PersonNotFound(f"Nobody is enrolled as {change.person_id}.")
    elif change.version is not None and change.version != user.version:
        raise VersionConflict(
            f"The person {change.person_id} has version {user.version} by now, not {change.version}: read it "
            "again."
        )


def _judge(place: int, look: Look) -> ImageResult:
    """What becomes of an image by itself."""
    if look.candidate is None or look.error is not None:
        return ImageResult(place, look.error or PoorQuality(), look.candidate)
    return ImageResult(place, look.candidate.judgement.refusal, look.candidate)
