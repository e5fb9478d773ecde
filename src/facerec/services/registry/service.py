"""Use cases on the persons of the registry: enrol, change, look up, delete, verify, identify.

A person is a user of the registry's collection: what is enrolled here an AWS client finds with SearchUsers
and SearchUsersByImage, and the other way round.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from facerec.db import Database
from facerec.domain import BoundingBox, Collection, ImageReference, Page, QuantizedEmbedding, Review
from facerec.engine.base import Engine, FoundFace, Picture
from facerec.errors import (
    AlreadyExists,
    ImageTooLarge,
    InvalidImage,
    InvalidImageUrl,
    InvalidParameter,
    InvalidS3Object,
    MultipleFaces,
    NoFaceInImage,
    NotFound,
    NotLive,
    PersonNotFound,
)
from facerec.images.base import ImageLoader
from facerec.metastore import collections, faces, users
from facerec.observability.steps import use_case
from facerec.services.access import newest, open_collection, settled
from facerec.services.aggregates import mirror_user
from facerec.services.engines import Engines
from facerec.services.enrolment import judge, look, see
from facerec.services.liveness.passive import LivenessRule
from facerec.services.liveness.proof import Proof
from facerec.services.matching import UserMatcher
from facerec.services.people import PeopleService
from facerec.services.registry.enrolling import Change, Enroller, Look
from facerec.services.registry.identifying import Rule, compare, identify
from facerec.services.registry.values import Enrolment, Identification, Metadata, Person, Unknown, person_of
from facerec.services.retention.lifetimes import Lifetimes
from facerec.services.selection import by_size
from facerec.services.twins import Twins
from facerec.vectors.quantization import dequantize_batch

T = TypeVar("T")

PERSON_ID = re.compile(r"[a-zA-Z0-9_.\-:]{1,128}")
"""What a person may be called: what Rekognition lets a user be called."""

ONE_IMAGES_ERRORS = (
    InvalidImage,
    ImageTooLarge,
    InvalidS3Object,
    InvalidImageUrl,
    NoFaceInImage,
    MultipleFaces,
)
"""What is wrong with one image, and does not stop the others of an enrolment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryPolicy:
    """How the registry decides, where a request does not say otherwise."""

    collection: str
    review: Review
    rule: Rule
    max_images: int
    """Most images of an enrolment."""
    liveness: LivenessRule = field(default_factory=LivenessRule)


class RegistryService:
    """Enrols persons and knows them again. Safe to call from many threads."""

    def __init__(
        self,
        database: Database,
        engines: Engines,
        images: ImageLoader,
        people: PeopleService,
        matcher: UserMatcher,
        policy: RegistryPolicy,
        *,
        lifetimes: Lifetimes | None = None,
        forget_images: Callable[[Iterable[str]], None] = lambda _: None,
    ) -> None:
        """people, matcher: over the same database. lifetimes, forget_images: as `FaceService` has them."""
        self._database = database
        self._engines = engines
        self._images = images
        self._people = people
        self._matcher = matcher
        self.policy = policy
        self._lifetimes = lifetimes or Lifetimes()
        self._twins = Twins(database, engines)
        self._enroller = Enroller(database, matcher, self._lifetimes, forget_images)

    @use_case("registry.register")
    def register(
        self,
        person_id: str,
        images: Sequence[ImageReference],
        *,
        metadata: Metadata | None = None,
        review: Review | None = None,
        proof: Proof | None = None,
    ) -> Enrolment:
        """Enrol a new person from those of the images that are good enough; see `Enroller.enrol`.

        The same images once more, under the same id, change nothing and get the same answer. proof: that the
        person was there, without which it is not asked; images that show another person are not taken. Raises
        InvalidParameter, NotLive, PersonExists, StorageError, and those errors of images and engine that are
        not one image's alone.
        """
        change = Change(person_id=person_id, new=True, metadata=metadata or {})
        return self._enrol(change, images, review, proof)

    @use_case("registry.update")
    def update(
        self,
        person_id: str,
        images: Sequence[ImageReference] = (),
        *,
        replaces: bool = False,
        metadata: Metadata | None = None,
        version: int | None = None,
        review: Review | None = None,
        proof: Proof | None = None,
    ) -> Enrolment:
        """Give a person more pictures, others in place of those it has, or other metadata.

        version: that the person has to have. Raises as `register` does, with PersonNotFound and
        VersionConflict instead of PersonExists.
        """
        if not images and metadata is None:
            raise InvalidParameter("There is nothing to change: send images, or metadata.")
        if replaces and not images:
            raise InvalidParameter("Pictures are replaced by others: send images, or delete the person.")
        change = Change(person_id=person_id, new=False, replaces=replaces, metadata=metadata, version=version)
        return self._enrol(change, images, review, proof)

    def enrol(
        self, change: Change, looks: Sequence[Look], review: Review, proof: Proof | None = None
    ) -> Enrolment:
        """Enrol from images that were looked at before. Raises as `register` does."""
        check_id(change.person_id)

        def work() -> Enrolment:
            target, engine = self.open()
            proved = [_proved(look, proof, engine) for look in looks]
            return self._enroller.enrol(target, engine, change, proved, review, lambda *_: {})

        return _spending(proof, lambda: settled(work))

    def get(self, person_id: str) -> Person:
        """A person. Raises PersonNotFound."""
        try:
            with self._database.read() as connection:
                target = collections.find(connection, self.policy.collection)
                user = users.find(connection, target, person_id)
                return self._enroller.person(connection, target, user)
        except NotFound as error:
            raise PersonNotFound(f"Nobody is enrolled as {person_id}.") from error

    def persons(self, *, limit: int | None = None, token: str | None = None) -> Page[Person]:
        """A page of persons in the order of their ids, without the qualities of their pictures.

        Raises InvalidPaginationToken.
        """
        try:
            page = self._people.list(self.policy.collection, limit=limit, token=token)
        except NotFound:
            return Page((), None)
        return Page(
            tuple(person_of(user, embeddings=user.face_count) for user in page.items), page.next_token
        )

    def delete(self, person_id: str) -> Person:
        """Delete a person with all that is known of it; what it was. Raises PersonNotFound."""
        try:
            with self._database.write() as connection:
                target = collections.find(connection, self.policy.collection, lock=True)
                user = users.find(connection, target, person_id)
                person = self._enroller.person(connection, target, user)
                own = [face for _, face in faces.list_some(connection, target, user_id=person_id)]
                users.delete(connection, target, user)
                mirror_user(connection, target, person_id)
                faces.delete(connection, target, [face.key for face in own])
        except NotFound as error:
            raise PersonNotFound(f"Nobody is enrolled as {person_id}.") from error
        self._enroller.forget_images({face.image_id for face in own})
        return person

    @use_case("registry.verify")
    def verify(
        self,
        image: ImageReference,
        *,
        person_id: str | None = None,
        threshold: float | None = None,
        review: Review | None = None,
        proof: Proof | None = None,
    ) -> Identification:
        """Who the face of an image is, or whether it is that of one person; nobody is an answer.

        threshold: as SIMILARITY_THRESHOLD, in its place. proof: as `register` has it. The picture itself is
        judged by STRICT alone. Raises
        NoFaceInImage, MultipleFaces, PoorQuality, NotLive, PersonNotFound, the errors of images and engine,
        StorageError.
        """
        strictness = review or self.policy.review

        def work() -> Identification:
            target, engine = self.open()
            data = self._images.load(image)
            picture, found = see(engine, data, strictness)
            if strictness is Review.STRICT:
                (portrait,) = engine.examine(picture, [found])
                refusal = judge(found.face, portrait, picture, strictness).refusal
                if refusal is not None:
                    raise refusal
            liveness = self.policy.liveness.score(engine, picture, found)
            if (not_live := self.policy.liveness.refusal(liveness)) is not None:
                raise not_live
            if proof is not None:
                unproved = proof.refusal(engine.embed(picture, [found])[0], engine.contract.id)
                if unproved is not None:
                    raise unproved
            (answer,) = self._whose(target, engine, picture, [found], person_id, threshold)
            return replace(answer, liveness=liveness)

        return _spending(proof, lambda: settled(work))

    @use_case("registry.identify")
    def identify(
        self,
        image: ImageReference,
        *,
        threshold: float | None = None,
        limit: int = 100,
        proof: Proof | None = None,
    ) -> list[Identification]:
        """Who each face of an image is, largest first, `limit` at most; none without a face. One that is not
        live, where it has to be, is nobody's.

        proof: that one of them was there. Raises NotLive, the errors of images and engine, StorageError.
        """

        def work() -> list[Identification]:
            target, engine = self.open()
            picture = engine.decode(self._images.load(image))
            found = by_size(engine.detect(picture))[:limit]
            if proof is not None:
                refusals = [proof.refusal(each, engine.contract.id) for each in engine.embed(picture, found)]
                if None not in refusals:
                    raise NotLive("The liveness session shows nobody of the picture.")
            answers = self._whose(target, engine, picture, found, None, threshold)
            return [
                self._if_live(answer, self.policy.liveness.score(engine, picture, one))
                for answer, one in zip(answers, found, strict=True)
            ]

        return _spending(proof, lambda: settled(work))

    def exists(self, person_id: str) -> bool:
        """Whether somebody is enrolled under this id."""
        target, _ = self.open()
        with self._database.read() as connection:
            return users.look_up(connection, target, person_id) is not None

    def look(self, image: ImageReference, review: Review) -> Look:
        """Look at one image of an enrolment: what is wrong with it alone is a part of the answer."""
        _, engine = self.open()
        return self._look(engine, image, review)

    def open(self) -> tuple[Collection, Engine]:
        """The registry's collection, made where it is not there yet, and its engine."""
        try:
            return open_collection(self._database, self._engines, self.policy.collection)
        except NotFound:
            # Where it exists by now another request was first.
            with contextlib.suppress(AlreadyExists), self._database.write() as connection:
                collections.insert(
                    connection,
                    name=self.policy.collection,
                    contract=self._engines.default.contract,
                    created_at=self._lifetimes.clock(),
                )
            return open_collection(self._database, self._engines, self.policy.collection)

    def _if_live(self, answer: Identification, liveness: float | None) -> Identification:
        """An answer with its face's liveness; nobody's, where that is refused."""
        if self.policy.liveness.refusal(liveness) is None:
            return replace(answer, liveness=liveness)
        return Identification(
            face=answer.face, threshold=answer.threshold, unknown=Unknown.NOT_LIVE, liveness=liveness
        )

    def _enrol(
        self,
        change: Change,
        images: Sequence[ImageReference],
        review: Review | None,
        proof: Proof | None,
    ) -> Enrolment:
        check_id(change.person_id)
        if not images and change.new:
            raise InvalidParameter("A person is enrolled from at least one image.")
        if len(images) > self.policy.max_images:
            raise InvalidParameter(
                f"There are {len(images)} images; at most {self.policy.max_images} are taken at a time."
            )
        strictness = review or self.policy.review

        def work() -> Enrolment:
            target, engine = self.open()
            looks = [_proved(self._look(engine, image, strictness), proof, engine) for image in images]

            def twins(present: Collection, places: Sequence[int]) -> Mapping[int, QuantizedEmbedding]:
                found: dict[int, QuantizedEmbedding] = {}
                for place in places if present.twin is not None else ():
                    boxes: dict[int, BoundingBox] = {}
                    if (candidate := looks[place].candidate) is not None:
                        boxes[place] = candidate.face.box
                    found |= self._twins.embed(present, self._images.load(images[place]), boxes)
                return found

            return self._enroller.enrol(target, engine, change, looks, strictness, twins)

        return _spending(proof, lambda: settled(work))

    def _look(self, engine: Engine, image: ImageReference, review: Review) -> Look:
        try:
            candidate = look(engine, self._images.load(image), review, self.policy.liveness)
        except ONE_IMAGES_ERRORS as error:
            return Look(None, error)
        return Look(candidate, self.policy.liveness.refusal(candidate.liveness))

    def _whose(
        self,
        target: Collection,
        engine: Engine,
        picture: Picture,
        found: Sequence[FoundFace],
        person_id: str | None,
        threshold: float | None,
    ) -> list[Identification]:
        """Who each of the faces of a picture is."""
        embeddings = engine.embed(picture, found)
        rule = self.policy.rule if threshold is None else Rule(threshold, self.policy.rule.margin)
        with self._database.read() as connection:
            target = newest(connection, target)
            person = None
            if person_id is not None:
                user = users.look_up(connection, target, person_id)
                if user is None:
                    raise PersonNotFound(f"Nobody is enrolled as {person_id}.")
                person = user.key, user.user_id
        answers = []
        for one, embedding in zip(found, embeddings, strict=True):
            common = self._matcher, target, engine.calibration, rule, one.face, embedding
            answers.append(identify(*common) if person is None else compare(*common, person))
        return answers


def check_id(person_id: str) -> None:
    """Raise InvalidParameter for an id that no person may have."""
    if not PERSON_ID.fullmatch(person_id):
        raise InvalidParameter("A person_id has 1 to 128 letters, digits, '_', '.', '-' or ':'.")


class _Unproved(Exception):
    """An enrolment of which no image was taken: nothing was proved by it."""


def _spending(proof: Proof | None, work: Callable[[], T]) -> T:
    """What `work` gives, for which a proof is used; not for an enrolment of which no image was taken."""
    if proof is None:
        return work()
    given: list[T] = []
    with contextlib.suppress(_Unproved), proof.spent():
        given.append(work())
        if isinstance(given[0], Enrolment) and given[0].person is None:
            raise _Unproved
    return given[0]


def _proved(look: Look, proof: Proof | None, engine: Engine) -> Look:
    """A look at an image, refused where a proof shows another person."""
    if proof is None or look.candidate is None or look.error is not None:
        return look
    (embedding,) = dequantize_batch([look.candidate.embedding])
    return Look(look.candidate, proof.refusal(embedding, engine.contract.id))
