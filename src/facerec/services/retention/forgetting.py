"""Forgetting people: their faces and names deleted everywhere, and looked for afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from facerec.db import Connection, Database
from facerec.domain import Collection, EntityKind, Face, QuantizedEmbedding, RowKey, User
from facerec.errors import FacerecError, InvalidParameter, NotFound
from facerec.metastore import changes, collections, faces, person_imports, tokens, users
from facerec.services.aggregates import mirror_user
from facerec.services.idempotency import RepeatableRequest
from facerec.services.retention.removal import remove_faces
from facerec.vectors.base import VectorStore
from facerec.vectors.quantization import dequantize_batch

PROBES_A_SEARCH = 64

HITS = 10
"""Nearest neighbours looked at for each deleted embedding: it would be the first of them."""

Vectors = dict[RowKey, QuantizedEmbedding]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetRequest:
    """Whom to forget: a user, or faces by id or by external image id; exactly one of the three.

    collections: names, none for all that there are. with_faces: a user's faces go with it; else they stay,
    nobody's.
    """

    user_id: str | None = None
    face_ids: tuple[str, ...] = ()
    external_image_id: str | None = None
    collections: tuple[str, ...] = ()
    with_faces: bool = True


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What of one collection was deleted, or would be."""

    collection: Collection
    user: User | None
    faces: tuple[Face, ...]
    renewed: tuple[str, ...] = ()
    """Ids of users who stay, and had some of the faces."""
    tokens: int = 0
    """Answers to earlier requests that mentioned them."""
    vectors: dict[tuple[int, EntityKind], Vectors] = field(default_factory=dict, repr=False)
    """The deleted embeddings, by key of the collection (or of its twin) and kind."""
    stored: tuple[bytes, ...] = field(default=(), repr=False)
    """The bytes that stood in the database for them."""


@dataclass(frozen=True, slots=True)
class Check:
    """Something looked at after the deletion. passed: None where it could not be looked at."""

    what: str
    passed: bool | None
    detail: str


class ForgettingService:
    """Deletes people. Safe to call from many threads."""

    def __init__(
        self,
        database: Database,
        vectors: VectorStore,
        clock: Callable[[], float],
        *,
        registry: str | None = None,
        forget_images: Callable[[Iterable[str]], None] = lambda _: None,
    ) -> None:
        """registry: the collection of which imports have entries that name persons.

        forget_images: told the ids of images of which faces were deleted.
        """
        self._database = database
        self._vectors = vectors
        self._clock = clock
        self._registry = registry
        self._forget_images = forget_images

    def find(self, request: ForgetRequest) -> list[Forgotten]:
        """What would be deleted, past its time or not. Raises NotFound where there is nothing of it."""
        _check(request)
        with self._database.read() as connection:
            found = [self._look(connection, target, request) for target in self._targets(connection, request)]
        found = [each for each in found if each.user is not None or each.faces]
        if not found:
            raise NotFound(f"There is nothing to forget: {_described(request)} was not found.")
        return found

    def forget(self, request: ForgetRequest) -> list[Forgotten]:
        """Delete it, one transaction a collection. Raises NotFound where there is nothing of it."""
        forgotten = []
        for planned in self.find(request):
            with self._database.write() as connection:
                target = collections.find(connection, planned.collection.name, lock=True)
                found = self._look(connection, target, request)
                renewed = remove_faces(connection, target, [face.key for face in found.faces])
                if found.user is not None:
                    users.delete(connection, target, users.find(connection, target, found.user.user_id))
                    mirror_user(connection, target, found.user.user_id)
                    if target.name == self._registry:
                        person_imports.forget(connection, [found.user.user_id])
                count = tokens.remove_mentions(
                    connection, ids=_mentioned(found), parameters=self._digests(target, found)
                )
                now = collections.find(connection, target.name)
            own = found.user.user_id if found.user else None
            others = tuple(user_id for user_id in renewed if user_id != own)
            forgotten.append(replace(found, collection=now, renewed=others, tokens=count))
            self._forget_images({face.image_id for face in found.faces})
        return forgotten

    def check_rows(self, forgotten: Sequence[Forgotten]) -> list[Check]:
        """Look for the deleted rows in the database."""
        checks = []
        with self._database.read() as connection:
            for each in forgotten:
                left = len(faces.find(connection, each.collection, [face.face_id for face in each.faces]))
                for (_, kind), vectors in each.vectors.items():
                    left += len(changes.embeddings(connection, kind, list(vectors)))
                if each.user is not None:
                    left += users.look_up(connection, each.collection, each.user.user_id) is not None
                left += tokens.count_mentions(
                    connection, ids=_mentioned(each), parameters=self._digests(each.collection, each)
                )
                detail = (
                    f"{left} rows found of those deleted" if left else "none of the deleted rows is there"
                )
                checks.append(Check(f"database rows of {each.collection.name}", not left, detail))
        return checks

    def check_index(self, forgotten: Sequence[Forgotten]) -> list[Check]:
        """Have the vector store let go of the deleted embeddings, and search it by each of them."""
        checks = []
        for each in forgotten:
            for (key, kind), vectors in each.vectors.items():
                if vectors:
                    what = f"{kind} vectors of {each.collection.name}"
                    if key != each.collection.key:
                        what += " (of its other model)"
                    checks.append(self._check_vectors(what, each.collection, key, kind, vectors))
        return checks

    def _check_vectors(
        self, what: str, collection: Collection, key: int, kind: EntityKind, vectors: Vectors
    ) -> Check:
        try:
            self._vectors.purge()
            with self._database.read() as connection:
                target = collections.find(connection, collection.name)
                twin = collections.twin_of(connection, target)
            searched = next((c for c in (target, twin) if c is not None and c.key == key), None)
            if searched is None:
                return Check(what, True, "the collection itself is gone")
            left = self._search(searched, kind, vectors)
            count, built = self._vectors.status(searched, kind)
        except FacerecError as error:
            return Check(what, None, f"could not be looked at: {error.message}")
        passed = not left and built >= searched.change_number
        return Check(
            what,
            passed,
            f"searched by {len(vectors)} deleted embeddings: {left} of them found; the index holds {count} "
            f"vectors and is built to change {built} of {searched.change_number}",
        )

    def _search(self, target: Collection, kind: EntityKind, vectors: Vectors) -> int:
        """How many of the deleted vectors a search by them finds."""
        keys, found = list(vectors), 0
        for start in range(0, len(keys), PROBES_A_SEARCH):
            some = keys[start : start + PROBES_A_SEARCH]
            probes = dequantize_batch([vectors[key] for key in some])
            answers = self._vectors.search(target, kind, probes, limit=HITS, min_cosine=-1.0)
            found += sum(hit.key in vectors for hits in answers for hit in hits)
        return found

    def _targets(self, connection: Connection, request: ForgetRequest) -> list[Collection]:
        """The collections to look in. Raises NotFound for a name that no collection has."""
        if request.collections:
            return [collections.find(connection, name) for name in dict.fromkeys(request.collections)]
        found: list[Collection] = []
        while page := collections.list_after(connection, found[-1].key if found else 0, 1000):
            found += page
        return found

    def _look(self, connection: Connection, target: Collection, request: ForgetRequest) -> Forgotten:
        """What of a collection the request is for, with all that stands for it."""
        user = None
        doomed: list[tuple[int, Face]] = []
        if request.user_id is not None:
            user = users.look_up(connection, target, request.user_id)
            if user is not None and request.with_faces:
                doomed = faces.list_some(connection, target, user_id=request.user_id)
        elif request.face_ids:
            doomed = faces.list_some(connection, target, face_ids=request.face_ids)
        else:
            doomed = faces.list_some(connection, target, external_image_id=request.external_image_id)
        keys = [face.key for _, face in doomed]
        vectors: dict[tuple[int, EntityKind], Vectors] = {}
        stored: list[bytes] = []
        for place in (target, collections.twin_of(connection, target)):
            if place is None:
                continue
            here = keys if place is target else list(faces.in_twin(connection, target, keys).values())
            known = users.look_up(connection, place, user.user_id) if user else None
            for kind, rows in ((EntityKind.FACE, here), (EntityKind.USER, [known.key] if known else [])):
                vectors[place.key, kind] = changes.embeddings(connection, kind, rows)
                stored += changes.stored_codes(connection, kind, rows)
        return Forgotten(
            target, user, tuple(face for _, face in doomed), vectors=vectors, stored=tuple(stored)
        )

    def _digests(self, target: Collection, found: Forgotten) -> list[bytes]:
        """Digests of the parameters of requests that made or deleted the user."""
        if found.user is None:
            return []
        parameters = (target.identity, found.user.user_id)
        return [RepeatableRequest("", None, parameters, self._clock()).digest]


def _mentioned(found: Forgotten) -> list[str]:
    """Ids that answers to earlier requests may mention."""
    return [face.face_id for face in found.faces] + ([found.user.user_id] if found.user else [])


def _check(request: ForgetRequest) -> None:
    given = [request.user_id is not None, bool(request.face_ids), request.external_image_id is not None]
    if sum(given) != 1:
        raise InvalidParameter("forget either a user, or faces by their ids, or by an external image id")


def _described(request: ForgetRequest) -> str:
    if request.user_id is not None:
        return f"the user id: {request.user_id}"
    if request.face_ids:
        return f"the face ids: {', '.join(request.face_ids)}"
    return f"the external image id: {request.external_image_id}"
