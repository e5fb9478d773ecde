"""Use cases on the faces of a collection: index, list, delete, search."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from facerec.db import Connection, Database
from facerec.domain import (
    AssociationFailure,
    Collection,
    DetectedFace,
    EntityKind,
    Face,
    FaceMatch,
    ImageReference,
    NewFace,
    Page,
    QualityFilter,
    QuantizedEmbedding,
    S3Image,
)
from facerec.engine.base import Engine, Floats, FoundFace, Picture
from facerec.engine.image_ids import image_id_of
from facerec.errors import FaceNotInCollection, NoFaceInImage, NotFound, QuotaExceeded
from facerec.images.base import ImageLoader
from facerec.metastore import changes, collections, faces
from facerec.observability import current_request
from facerec.observability.steps import use_case
from facerec.services.access import find_again, open_collection, settled
from facerec.services.engines import Engines
from facerec.services.matching import FaceMatcher
from facerec.services.pagination import PageTokens, page_size
from facerec.services.retention.lifetimes import Lifetimes
from facerec.services.same_face import SAME_BOX, overlap
from facerec.services.selection import RankedFace, RejectedFace, Selection, select, select_largest
from facerec.services.twins import Twins, store_twins
from facerec.vectors.base import VectorStore
from facerec.vectors.quantization import dequantize, quantize_batch

MAX_FACES_PER_COLLECTION = 20_000_000
"""Rekognition's own ceiling."""

MAX_FACES_PER_IMAGE = 100

DEFAULT_MATCHES = 80
"""Matches of a search that names no number: the service model states no default."""

MOST_MATCHES = 4096

DEFAULT_PAGE = 1000
LARGEST_PAGE = 4096

LONGEST_SOURCE = 160
"""Bytes of the place of an image that are kept with each of its faces: a face stays under a kilobyte."""


Choose = Callable[[Picture, Sequence[FoundFace]], Selection]
"""Says which of the faces found in a picture to work on."""


@dataclass(frozen=True, slots=True)
class IndexedFace:
    """A face that the collection holds, and what was seen of it in the image."""

    face: Face
    detected: DetectedFace


@dataclass(frozen=True, slots=True)
class IndexResult:
    """Faces stored (or found stored) and faces left out, each largest box first."""

    indexed: tuple[IndexedFace, ...]
    unindexed: tuple[RejectedFace, ...]
    model_version: str
    image_id: str


Note = Callable[[Connection, IndexResult], object]
"""Writes down what became of an image in the transaction that stores its faces. It may be called several
times, in another thread, and changes nothing but the database."""


@dataclass(frozen=True, slots=True)
class FaceListing:
    """A page of faces."""

    page: Page[Face]
    model_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceFailure:
    """A face that was left as it was, and why. No reason at all: the user has no room for it.

    user_id: whose it is. confidence: its similarity 0..100 where that was too low.
    """

    face_id: str
    user_id: str | None = None
    confidence: float | None = None
    reasons: tuple[AssociationFailure, ...] = ()


@dataclass(frozen=True, slots=True)
class FaceDeletion:
    """Ids of the faces deleted, and the faces that were not."""

    deleted: tuple[str, ...]
    failures: tuple[FaceFailure, ...]


@dataclass(frozen=True, slots=True)
class FaceSearch:
    """Matches, most similar first; `probe` is the searched face of an image, None for a stored face."""

    matches: tuple[FaceMatch, ...]
    model_version: str
    probe: DetectedFace | None

    @property
    def best(self) -> tuple[str, float] | None:
        """Id and similarity of the most similar face."""
        return (self.matches[0].face.face_id, self.matches[0].similarity) if self.matches else None


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was seen in an image: the faces selected, the ones stored before by rank, and the fresh ones."""

    selection: Selection
    image_id: str
    stored: dict[int, Face]
    fresh: tuple[RankedFace, ...]
    embeddings: dict[int, QuantizedEmbedding]
    """Of the fresh ones, by rank."""

    def face_ids(self, target: Collection, external_image_id: str | None) -> dict[int, str]:
        """The ids that the fresh ones get where they are free, by rank: the same each time."""
        image, name = uuid.UUID(self.image_id), f"{target.contract_id}/{external_image_id or ''}"
        return {face.rank: str(uuid.uuid5(image, f"{name}/{face.rank}")) for face in self.fresh}

    def result(self, target: Collection, stored: Mapping[int, Face]) -> IndexResult:
        """What became of the image, with those that were stored since, by rank."""
        all_stored = {**self.stored, **stored}
        return IndexResult(
            indexed=tuple(
                IndexedFace(all_stored[face.rank], face.found.face) for face in self.selection.kept
            ),
            unindexed=self.selection.rejected,
            model_version=target.model_version,
            image_id=self.image_id,
        )


class FaceService:
    """Indexes and searches faces. Safe to call from many threads."""

    def __init__(
        self,
        database: Database,
        vectors: VectorStore,
        engines: Engines,
        images: ImageLoader,
        *,
        max_faces: int = MAX_FACES_PER_COLLECTION,
        lifetimes: Lifetimes | None = None,
        forget_images: Callable[[Iterable[str]], None] = lambda _: None,
    ) -> None:
        """max_faces: most faces of a collection. lifetimes: when faces end (None: unless told, never).

        forget_images: told the ids of images of which faces were deleted.
        """
        self._database = database
        self._vectors = vectors
        self._engines = engines
        self._twins = Twins(database, engines)
        self._images = images
        self._max_faces = max_faces
        self._lifetimes = lifetimes or Lifetimes()
        self._matcher = FaceMatcher(database, vectors, self._lifetimes)
        self._forget_images = forget_images
        self._tokens = PageTokens(database)

    @use_case("faces.index")
    def index(
        self,
        collection: str,
        image: ImageReference,
        *,
        external_image_id: str | None = None,
        max_faces: int | None = None,
        largest: bool = False,
        quality_filter: QualityFilter = QualityFilter.AUTO,
        attributes: frozenset[str] = frozenset(),
        expires_in: int | None = None,
        identity: str | None = None,
        note: Note | None = None,
        likely_new: bool = False,
    ) -> IndexResult:
        """Store the faces of an image, at most `max_faces` (100); on disk when this returns.

        The same image with the same `external_image_id` gives the same faces again and stores nothing, and
        they end when they would have; without an external id every call stores new faces. largest: only the
        face that `search_by_image` looks for, whatever `max_faces` says. expires_in: seconds that the new
        ones are kept (FOREVER: no end); None: as long as the collection keeps faces. identity: of the one
        collection that is meant, no later one of its name. note: written in the same transaction, or in one
        of its own where there is nothing to store. likely_new: the image was hardly indexed before, so that
        this is asked only when its faces are about to be stored. Raises NotFound, ModelMismatch,
        QuotaExceeded, the errors of images and engine, StorageError.
        """
        limit = min(max_faces or MAX_FACES_PER_IMAGE, MAX_FACES_PER_IMAGE)
        choose: Choose = partial(select, quality_filter=quality_filter, max_faces=limit)
        if largest:
            choose = partial(select_largest, quality_filter=quality_filter)

        def work() -> IndexResult:
            target, engine = open_collection(self._database, self._engines, collection)
            if identity not in (None, target.identity):
                raise NotFound(f"The collection id: {collection} was deleted, and made anew, meanwhile")
            data = self._images.load(image)
            seen = self._look(
                target, engine, data, None if likely_new else external_image_id, choose, attributes
            )
            return self._store(
                target,
                seen,
                data,
                external_image_id,
                recordable_source(image),
                expires_in,
                note,
            )

        return settled(work)

    def list(
        self,
        collection: str,
        *,
        limit: int | None = None,
        token: str | None = None,
        user_id: str | None = None,
        face_ids: Sequence[str] | None = None,
    ) -> FaceListing:
        """A page of faces, oldest first: `limit` (1000; at most 4096) from where `token` says.

        user_id, face_ids: only the faces of that user, with one of those ids; unknown ones select nothing.
        Raises NotFound, InvalidPaginationToken.
        """
        size = page_size(limit, DEFAULT_PAGE, LARGEST_PAGE)
        wanted = None if face_ids is None else sorted(set(face_ids))
        with self._database.read() as connection:
            target = collections.find(connection, collection)
            present = self._lifetimes.present(target)
            scope = ("faces", target.key, user_id, wanted)
            after = self._tokens.read_number(token, *scope)
            if user_id is None and wanted is None:
                found = faces.list_after(connection, target, after, size + 1, present=present)
            else:
                some = faces.list_some(connection, target, user_id=user_id, face_ids=wanted, present=present)
                found = [numbered for numbered in some if numbered[0] > after]
        page = found[:size]
        more = self._tokens.make(page[-1][0], *scope) if len(found) > size else None
        return FaceListing(Page(tuple(face for _, face in page), more), target.model_version)

    @use_case("faces.delete")
    def delete(self, collection: str, face_ids: Sequence[str]) -> FaceDeletion:
        """Delete faces. One that is a user's, or is not there, is a failure and stops no other.

        Raises NotFound.
        """
        with self._database.write() as connection:
            target = collections.find(connection, collection, lock=True)
            found = faces.find(connection, target, face_ids, present=self._lifetimes.present(target))
            failures = []
            doomed: dict[str, Face] = {}
            for face_id in dict.fromkeys(face_ids):
                face = found.get(face_id)
                if face is None:
                    failures.append(
                        FaceFailure(face_id=face_id, reasons=(AssociationFailure.FACE_NOT_FOUND,))
                    )
                elif face.user_id is not None:
                    reasons = (AssociationFailure.ASSOCIATED_TO_AN_EXISTING_USER,)
                    failures.append(FaceFailure(face_id=face_id, user_id=face.user_id, reasons=reasons))
                else:
                    doomed[face_id] = face
            faces.delete(connection, target, [face.key for face in doomed.values()])
        self._forget_images({face.image_id for face in doomed.values()})
        return FaceDeletion(tuple(doomed), tuple(failures))

    @use_case("faces.search")
    def search(
        self, collection: str, face_id: str, *, limit: int | None = None, threshold: float = 80.0
    ) -> FaceSearch:
        """Faces similar to a stored one, without itself: up to `limit` (80, at most 4096).

        threshold: least similarity 0..100, or cosine. Raises NotFound, FaceNotInCollection, ModelMismatch,
        StorageError.
        """
        size = page_size(limit, DEFAULT_MATCHES, MOST_MATCHES)

        def work() -> FaceSearch:
            target, engine = open_collection(self._database, self._engines, collection)
            old = self._search_stored(target, engine, face_id, size, threshold)
            return self._twins.answered(
                target,
                face_id.encode(),
                old,
                lambda twin, other: self._search_stored(twin, other, face_id, size, threshold),
            )

        return settled(work)

    @use_case("faces.search_by_image")
    def search_by_image(
        self,
        collection: str,
        image: ImageReference,
        *,
        limit: int | None = None,
        threshold: float = 80.0,
        quality_filter: QualityFilter = QualityFilter.NONE,
    ) -> FaceSearch:
        """Faces similar to the largest face of an image: up to `limit` (80, at most 4096).

        threshold: least similarity 0..100, or cosine. Raises NoFaceInImage, also where the largest face does
        not pass the filter; NotFound, ModelMismatch, the errors of images and engine, StorageError.
        """
        size = page_size(limit, DEFAULT_MATCHES, MOST_MATCHES)

        def work() -> FaceSearch:
            target, engine = open_collection(self._database, self._engines, collection)
            data = self._images.load(image)
            face, probe = embed_largest(engine, data, quality_filter)
            old = FaceSearch(
                self._matcher.faces(target, engine.calibration, probe, size, threshold),
                target.model_version,
                face,
            )

            def ask(twin: Collection, other: Engine) -> FaceSearch:
                its_face, its_probe = embed_largest(other, data, quality_filter)
                matches = self._matcher.faces(twin, other.calibration, its_probe, size, threshold)
                return FaceSearch(matches, twin.model_version, its_face)

            return self._twins.answered(target, data, old, ask)

        return settled(work)

    def _search_stored(
        self, target: Collection, engine: Engine, face_id: str, size: int, threshold: float
    ) -> FaceSearch:
        """Up to `size` faces like a stored one, without itself. Raises FaceNotInCollection."""
        with self._database.read() as connection:
            present = self._lifetimes.present(target)
            face = faces.find(connection, target, [face_id], present=present).get(face_id)
            if face is None:
                raise FaceNotInCollection
            probe = changes.embeddings(connection, EntityKind.FACE, [face.key])[face.key]
        near = self._matcher.faces(target, engine.calibration, dequantize(probe), size + 1, threshold)
        matches = tuple(match for match in near if match.face.key != face.key)[:size]
        return FaceSearch(matches, target.model_version, None)

    def _look(
        self,
        target: Collection,
        engine: Engine,
        data: bytes,
        external_image_id: str | None,
        choose: Choose,
        attributes: frozenset[str],
    ) -> _Seen:
        """Find the faces of an image, and embed those that are not stored yet.

        The picture is let go on return: whoever waits for room for another one must not hold one.
        """
        image_id = image_id_of(data)
        held: Sequence[Face] = ()
        if external_image_id is not None:
            held = self._database.look(
                lambda connection: faces.of_image(connection, target, image_id, external_image_id)
            )
        with engine.turn():
            picture = engine.decode(data)
            selection = choose(picture, engine.detect(picture, attributes))
            stored = self._stored_before(target, selection.kept, held)
            fresh = tuple(face for face in selection.kept if face.rank not in stored)
            vectors = engine.embed(picture, [face.found for face in fresh])
        embedded = quantize_batch(vectors) if fresh else []
        embeddings = {face.rank: embedding for face, embedding in zip(fresh, embedded, strict=True)}
        return _Seen(selection, image_id, stored, fresh, embeddings)

    def _store(
        self,
        target: Collection,
        seen: _Seen,
        data: bytes,
        external_image_id: str | None,
        source: str | None,
        expires_in: int | None,
        note: Note | None,
    ) -> IndexResult:
        """What became of an image, after those of its faces are stored that were not."""
        image_id, fresh = seen.image_id, seen.fresh
        if not fresh:
            result = seen.result(target, {})
            if note is not None:
                self._database.write_together(lambda connection: note(connection, result), lane=target.key)
            return result
        twins = {}
        if target.twin is not None:
            twins = self._twins.embed(target, data, {face.rank: face.found.face.box for face in fresh})
        ids = seen.face_ids(target, external_image_id)

        def store(connection: Connection) -> IndexResult:
            present = find_again(connection, target, lock=True)
            if present.key != target.key:
                raise NotFound(f"The collection id: {target.name} was deleted, and made anew, meanwhile")
            # Another request may have stored the same image meanwhile. Where it has an external id too, no
            # other faces can have these ids.
            if external_image_id is None:
                held, taken = [], faces.taken(connection, present, ids.values())
            else:
                held = faces.of_image(connection, present, image_id, external_image_id)
                taken = {face.face_id for face in held}
            found = self._stored_before(present, fresh, held)
            new = {
                face.rank: NewFace(
                    face_id=str(uuid.uuid4()) if ids[face.rank] in taken else ids[face.rank],
                    image_id=image_id,
                    external_image_id=external_image_id,
                    box=face.found.face.box,
                    confidence=face.found.face.confidence,
                    embedding=seen.embeddings[face.rank],
                    source=source,
                    stored_at=int(self._lifetimes.clock()),
                    expires_at=self._lifetimes.end_after(expires_in),
                )
                for face in fresh
                if face.rank not in found
            }
            if present.face_count + len(new) > self._max_faces:
                raise QuotaExceeded(
                    f"The collection id: {target.name} holds {present.face_count} faces, and "
                    f"{len(new)} more would exceed the limit of {self._max_faces}."
                )
            rows = faces.insert(connection, present, list(new.values()))
            if twins:
                store_twins(connection, present, new, twins)
            result = seen.result(target, found | {rank: rows[face.face_id] for rank, face in new.items()})
            if note is not None:
                note(connection, result)
            return result

        current_request().check()
        return self._database.write_together(store, lane=target.key)

    def _stored_before(
        self, target: Collection, kept: Sequence[RankedFace], held: Sequence[Face]
    ) -> dict[int, Face]:
        """Those faces held of an image that are not past their time, by the rank of the face they are."""
        present = self._lifetimes.present(target)
        candidates = [face for face in held if present.holds(face)]
        matched: dict[int, Face] = {}
        for face in kept:
            for candidate in candidates:
                if overlap(candidate.box, face.found.face.box) > SAME_BOX:
                    matched[face.rank] = candidate
                    candidates.remove(candidate)
                    break
        return matched


def recordable_source(image: ImageReference) -> str | None:
    """Where an image in S3 lies, s3://bucket/key, as it is kept with its faces; None where that is too long.

    Of an image that comes in other ways nothing is kept. A version is not kept either: it is the newest one
    that is looked at when the face is embedded anew, and its bytes are compared.
    """
    if not isinstance(image, S3Image):
        return None
    source = f"s3://{image.bucket}/{image.name}"
    return source if len(source.encode()) <= LONGEST_SOURCE else None


def embed_largest(engine: Engine, data: bytes, quality_filter: QualityFilter) -> tuple[DetectedFace, Floats]:
    """The largest face of an image and its embedding (dimension,).

    Raises NoFaceInImage, also where the face does not pass the filter, and the errors of the engine.
    """
    with engine.turn():
        picture = engine.decode(data)
        kept = select_largest(picture, engine.detect(picture), quality_filter).kept
        if not kept:
            raise NoFaceInImage
        return kept[0].found.face, engine.embed(picture, [kept[0].found])[0]
