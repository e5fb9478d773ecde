"""Use cases on the faces of a collection: index, list, delete, search."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from facerec.db import Connection, Database
from facerec.domain import (
    AssociationFailure,
    BoundingBox,
    Collection,
    DetectedFace,
    EntityKind,
    Face,
    FaceMatch,
    ImageReference,
    NewFace,
    Page,
    QualityFilter,
)
from facerec.engine.base import Engine, Floats, Picture
from facerec.errors import FaceNotInCollection, NoFaceInImage, NotFound, QuotaExceeded
from facerec.images.base import ImageLoader
from facerec.metastore import changes, collections, faces
from facerec.observability import current_request
from facerec.services.access import find_comparable
from facerec.services.matching import nearest
from facerec.services.pagination import PageTokens, page_size
from facerec.services.selection import RankedFace, RejectedFace, select, select_largest
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

IMAGE_IDS = uuid.UUID("6a1d2b4e-94c7-5c0e-8f53-27f2c9a4d7b1")
"""Namespace of image ids: an image id is the UUIDv5 of the SHA-256 of the image's bytes in it."""

SAME_BOX = 0.5
"""Overlap (intersection over union) from which two boxes found in one and the same image are one face."""


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


class FaceService:
    """Indexes and searches faces. Safe to call from many threads."""

    def __init__(
        self,
        database: Database,
        vectors: VectorStore,
        engine: Engine,
        images: ImageLoader,
        *,
        max_faces: int = MAX_FACES_PER_COLLECTION,
    ) -> None:
        """max_faces: most faces of a collection."""
        self._database = database
        self._vectors = vectors
        self._engine = engine
        self._images = images
        self._max_faces = max_faces
        self._tokens = PageTokens(database)

    def index(
        self,
        collection: str,
        image: ImageReference,
        *,
        external_image_id: str | None = None,
        max_faces: int | None = None,
        quality_filter: QualityFilter = QualityFilter.AUTO,
        attributes: frozenset[str] = frozenset(),
    ) -> IndexResult:
        """Store the faces of an image, at most `max_faces` (100); on disk when this returns.

        The same image with the same `external_image_id` gives the same faces again and stores nothing;
        without an external id every call stores new faces. Raises NotFound, ModelMismatch, QuotaExceeded, the
        errors of images and engine, StorageError.
        """
        with self._database.read() as connection:
            target = find_comparable(connection, collection, self._engine.contract)
        data = self._images.load(image)
        picture = self._engine.decode(data)
        limit = min(max_faces or MAX_FACES_PER_IMAGE, MAX_FACES_PER_IMAGE)
        selection = select(picture, self._engine.detect(picture, attributes), quality_filter, limit)
        image_id = str(uuid.uuid5(IMAGE_IDS, hashlib.sha256(data).hexdigest()))
        stored = self._store(target, picture, selection.kept, image_id, external_image_id)
        return IndexResult(
            indexed=tuple(IndexedFace(stored[face.rank], face.found.face) for face in selection.kept),
            unindexed=selection.rejected,
            model_version=target.model_version,
        )

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
            scope = ("faces", target.key, user_id, wanted)
            after = self._tokens.read_number(token, *scope)
            if user_id is None and wanted is None:
                found = faces.list_after(connection, target, after, size + 1)
            else:
                some = faces.list_some(connection, target, user_id=user_id, face_ids=wanted)
                found = [numbered for numbered in some if numbered[0] > after]
        page = found[:size]
        more = self._tokens.make(page[-1][0], *scope) if len(found) > size else None
        return FaceListing(Page(tuple(face for _, face in page), more), target.model_version)

    def delete(self, collection: str, face_ids: Sequence[str]) -> FaceDeletion:
        """Delete faces. One that is a user's, or is not there, is a failure and stops no other.

        Raises NotFound.
        """
        with self._database.write() as connection:
            target = collections.find(connection, collection, lock=True)
            found = faces.find(connection, target, face_ids)
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
        return FaceDeletion(tuple(doomed), tuple(failures))

    def search(
        self, collection: str, face_id: str, *, limit: int | None = None, threshold: float = 80.0
    ) -> FaceSearch:
        """Faces similar to a stored one, without itself: up to `limit` (80, at most 4096).

        threshold: least similarity 0..100. Raises NotFound, FaceNotInCollection, ModelMismatch, StorageError.
        """
        with self._database.read() as connection:
            target = find_comparable(connection, collection, self._engine.contract)
            face = faces.find(connection, target, [face_id]).get(face_id)
            if face is None:
                raise FaceNotInCollection
            probe = changes.embeddings(connection, EntityKind.FACE, [face.key])[face.key]
        size = page_size(limit, DEFAULT_MATCHES, MOST_MATCHES)
        near = self._matches(target, dequantize(probe), size + 1, threshold)
        matches = tuple(match for match in near if match.face.key != face.key)[:size]
        return FaceSearch(matches, target.model_version, None)

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

        threshold: least similarity 0..100. Raises NoFaceInImage, also where the largest face does not pass
        the filter; NotFound, ModelMismatch, the errors of images and engine, StorageError.
        """
        with self._database.read() as connection:
            find_comparable(connection, collection, self._engine.contract)
        picture = self._engine.decode(self._images.load(image))
        kept = select_largest(picture, self._engine.detect(picture), quality_filter).kept
        if not kept:
            raise NoFaceInImage
        probe = self._engine.embed(picture, [kept[0].found])[0]
        with self._database.read() as connection:
            target = find_comparable(connection, collection, self._engine.contract)
        matches = self._matches(target, probe, page_size(limit, DEFAULT_MATCHES, MOST_MATCHES), threshold)
        return FaceSearch(matches, target.model_version, kept[0].found.face)

    def _store(
        self,
        target: Collection,
        picture: Picture,
        kept: Sequence[RankedFace],
        image_id: str,
        external_image_id: str | None,
    ) -> dict[int, Face]:
        """The stored face of each rank; only those that are not stored yet are embedded."""
        stored: dict[int, Face] = {}
        if external_image_id is not None:
            with self._database.read() as connection:
                stored = _stored_before(connection, target, kept, image_id, external_image_id)
        fresh = [face for face in kept if face.rank not in stored]
        if not fresh:
            return stored
        embeddings = quantize_batch(self._engine.embed(picture, [face.found for face in fresh]))
        ids = {
            face.rank: str(
                uuid.uuid5(uuid.UUID(image_id), f"{target.contract_id}/{external_image_id or ''}/{face.rank}")
            )
            for face in fresh
        }

        def store(connection: Connection) -> dict[int, Face]:
            present = find_comparable(connection, target.name, self._engine.contract, lock=True)
            if present.key != target.key:
                raise NotFound(f"The collection id: {target.name} was deleted, and made anew, meanwhile")
            # Another request may have stored the same image meanwhile.
            found = _stored_before(connection, present, fresh, image_id, external_image_id)
            taken = faces.taken(connection, present, ids.values())
            new = {
                face.rank: NewFace(
                    face_id=str(uuid.uuid4()) if ids[face.rank] in taken else ids[face.rank],
                    image_id=image_id,
                    external_image_id=external_image_id,
                    box=face.found.face.box,
                    confidence=face.found.face.confidence,
                    embedding=embedding,
                )
                for face, embedding in zip(fresh, embeddings, strict=True)
                if face.rank not in found
            }
            if present.face_count + len(new) > self._max_faces:
                raise QuotaExceeded(
                    f"The collection id: {target.name} holds {present.face_count} faces, and "
                    f"{len(new)} more would exceed the limit of {self._max_faces}."
                )
            faces.insert(connection, present, list(new.values()))
            rows = faces.find(connection, present, [face.face_id for face in new.values()])
            return found | {rank: rows[face.face_id] for rank, face in new.items()}

        current_request().check()
        return stored | self._database.write_together(store)

    def _matches(
        self, target: Collection, probe: Floats, limit: int, threshold: float
    ) -> tuple[FaceMatch, ...]:
        """The faces nearest to a unit vector (dimension,), most similar first."""
        calibration = self._engine.calibration
        hits = nearest(
            self._vectors, calibration, target, EntityKind.FACE, probe, limit=limit, threshold=threshold
        )
        with self._database.read() as connection:
            found = faces.of_keys(connection, target, [hit.key for hit in hits])
        return tuple(
            FaceMatch(calibration.similarity(hit.cosine), hit.cosine, found[hit.key])
            for hit in hits
            if hit.key in found
        )


def _stored_before(
    connection: Connection,
    target: Collection,
    kept: Sequence[RankedFace],
    image_id: str,
    external_image_id: str | None,
) -> dict[int, Face]:
    """Faces stored from this image under this external id already, by the rank of the face they are."""
    if external_image_id is None:
        return {}
    candidates = faces.of_image(connection, target, image_id, external_image_id)
    matched: dict[int, Face] = {}
    for face in kept:
        for candidate in candidates:
            if _overlap(candidate.box, face.found.face.box) > SAME_BOX:
                matched[face.rank] = candidate
                candidates.remove(candidate)
                break
    return matched


def _overlap(a: BoundingBox, b: BoundingBox) -> float:
    """Intersection over union of two boxes, 0..1."""
    width = min(a.left + a.width, b.left + b.width) - max(a.left, b.left)
    height = min(a.top + a.height, b.top + b.height) - max(a.top, b.top)
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (a.area + b.area - shared)
