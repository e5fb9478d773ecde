"""The job that gives the faces of an album people: those of whom nobody has said anything are grouped anew.

Faces that only joined those who were there would keep what little was known when the first photos came: the
outcome would hang on the order of the photos, and be worse (decision 15). Who stays the same keeps their id.

A grouping is made of one state of the album, outside of any transaction, for it may take minutes. Where the
people were changed meanwhile it is made again: nobody's word is lost, and no name.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facerec.clustering.grouping import FREE, group_faces
from facerec.clustering.limits import limits_of
from facerec.db import Connection, Database
from facerec.domain import Collection, EntityKind, Face, RowKey
from facerec.errors import Conflict
from facerec.jobs.base import Job, JobQueue, NewJob, Priority
from facerec.metastore import album_people, albums, changes, collections, faces
from facerec.metastore.album_people import AlbumPerson, PersonKey, PlacedFace
from facerec.metastore.albums import Album, AlbumKey
from facerec.services.engines import Engines
from facerec.services.retention.lifetimes import Lifetimes
from facerec.vectors.quantization import dequantize_batch

PEOPLE_JOB = "album-people"

PAUSE_SECONDS = 1.0
"""Before people are looked for: an upload of several photos is looked at once."""

GROUPED_ANEW = 20_000
"""Faces of an album that are grouped anew each time: seconds. Of a larger one new faces only join, until that
is asked for."""

ATTEMPTS = 5
"""Times that a grouping is made anew because the people were changed meanwhile."""

PAGE = 4096

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """An album at one moment: everything that its grouping follows from."""

    album: Album
    collection: Collection
    version: int
    people: list[AlbumPerson]
    members: dict[RowKey, PersonKey]
    excluded: list[tuple[PersonKey, RowKey]]
    faces: list[Face]
    vectors: Floats


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What is to be written: faces by their people, new people by their ids, people to be removed."""

    placed: list[tuple[RowKey, PersonKey | str, float]]
    new: list[str]
    gone: list[PersonKey]


class PeoplePlacing:
    """Gives faces people. Safe to call from many threads and processes."""

    def __init__(
        self, database: Database, engines: Engines, queue: JobQueue, *, lifetimes: Lifetimes | None = None
    ) -> None:
        self._database = database
        self._engines = engines
        self._queue = queue
        self._lifetimes = lifetimes or Lifetimes()

    def ask(self, album: Album, *, anew: bool = False) -> None:
        """Queue the job for an album, once. anew: group everybody anew of whom nobody has said anything,
        though no face waits and however many faces there are.

        An import has no people: its faces are in the collection of others. Raises JobQueueUnavailable.
        """
        if album.manifest is not None:
            return
        key = f"{album.key}{'/anew' if anew else ''}"
        payload = {"album": album.key, "anew": anew}
        job = NewJob(
            kind=PEOPLE_JOB,
            payload=payload,
            key=key,
            priority=Priority.FRESH,
            delay_seconds=0.0 if anew else PAUSE_SECONDS,
        )
        self._queue.put([job])

    def ask_at_rest(self, album: Album) -> None:
        """Queue the job for an album where none of its images waits. Raises JobQueueUnavailable."""
        if self._database.look(lambda connection: album_people.is_at_rest(connection, album.key)):
            self.ask(album)

    def ask_for_all(self) -> None:
        """Queue the job for every album at rest that has changed: what was broken off before it was asked."""
        with self._database.read() as connection:
            behind = [albums.look_up(connection, key) for key in album_people.behind(connection)]
        for album in behind:
            if album is not None:
                self.ask(album)

    def work(self, job: Job) -> None:
        """Do the job. Raises ModelMismatch, StorageError, and Conflict where the people do not hold still."""
        album = job.payload.get("album")
        self.place(AlbumKey(album if isinstance(album, int) else 0), anew=job.payload.get("anew") is True)

    def place(self, key: AlbumKey, *, anew: bool = False) -> None:
        """Give every face of an album, as it is now, a person; an album that is gone has none.

        Raises as `work` does.
        """
        for _ in range(ATTEMPTS):
            state = self._read(key)
            if state is None or self._write(state, self._group(state, anew=anew)):
                return
        raise Conflict("The people of the album are being changed all the time.")

    def _read(self, key: AlbumKey) -> _State | None:
        """The album as it is; None where nothing is to be done about it."""
        with self._database.read() as connection:
            album = albums.look_up(connection, key)
            if album is None or album.manifest is not None:
                return None
            collection = collections.look_up(connection, album.collection)
            if collection is None or collection.identity != album.collection_identity:
                return None
            found: list[Face] = []
            after, present = 0, self._lifetimes.present(collection)
            while page := faces.list_after(connection, collection, after, PAGE, present=present):
                found += [face for _, face in page]
                after = page[-1][0]
            found.sort(key=lambda face: face.key)
            embeddings = changes.embeddings(connection, EntityKind.FACE, [face.key for face in found])
            return _State(
                album=album,
                collection=collection,
                version=album_people.standing(connection, album).version,
                people=album_people.every(connection, album),
                members=album_people.members(connection, album),
                excluded=album_people.exclusions(connection, album),
                faces=found,
                vectors=dequantize_batch([embeddings[face.key] for face in found])
                if found
                else np.empty((0, collection.dimension), np.float32),
            )

    def _group(self, state: _State, *, anew: bool) -> _Outcome:
        """Whose each face is."""
        if not anew and all(face.key in state.members for face in state.faces):
            return _Outcome([], [], [])
        anew = anew or len(state.faces) <= GROUPED_ANEW
        kept = [person for person in state.people if person.confirmed or not anew]
        numbers = {person.key: number for number, person in enumerate(kept)}
        before = np.array([numbers.get(state.members.get(f.key, PersonKey(0)), FREE) for f in state.faces])
        before = before.astype(np.int64)
        if bool(np.all(before != FREE)):
            return _Outcome([], [], [])
        photos: dict[tuple[str, str | None], int] = {}
        of_photo = [photos.setdefault((f.image_id, f.external_image_id), len(photos)) for f in state.faces]
        after = group_faces(
            state.vectors,
            np.array(of_photo, np.int64),
            limits_of(self._engines.of(state.collection).calibration.cosine, len(state.faces)),
            people=before,
            apart=_apart(state, before, numbers),
        )
        heirs = _heirs(state, after, len(kept))
        who: dict[int, PersonKey | str] = {number: person.key for number, person in enumerate(kept)}
        who |= {number: heirs.get(number) or str(uuid.uuid4()) for number in set(after.tolist()) - who.keys()}
        fitness = _fitness(state, after)
        placed = [
            (face.key, who[number], float(fitness[at]))
            for at, (face, number) in enumerate(zip(state.faces, after.tolist(), strict=True))
            if before[at] == FREE and who[number] != state.members.get(face.key)
        ]
        staying = set(heirs.values()) | {person.key for person in kept}
        return _Outcome(
            placed,
            [person for person in who.values() if isinstance(person, str)],
            [person.key for person in state.people if person.key not in staying],
        )

    def _write(self, state: _State, outcome: _Outcome) -> bool:
        """Write down whose each face is; False where the people, or the collection, are others now."""
        with self._database.write(sweep=True) as connection:
            album = albums.look_up(connection, state.album.key, lock=True)
            if album is None:
                return True
            if album_people.standing(connection, album).version != state.version:
                return False
            collection = collections.look_up(connection, album.collection, lock=True)
            if collection is None or collection.key != state.collection.key:
                return False
            self._apply(connection, album, collection, outcome)
            album_people.remove_empty_of(connection, album)
            album_people.advance(connection, album, number=state.collection.change_number)
        return True

    def _apply(self, connection: Connection, album: Album, collection: Collection, outcome: _Outcome) -> None:
        still = album_people.stored(connection, collection.key, [face for face, _, _ in outcome.placed])
        album_people.release(connection, [face for face, _, _ in outcome.placed])
        album_people.remove(connection, outcome.gone)
        album_people.insert(connection, album, outcome.new)
        new = {each: person.key for each, person in album_people.find(connection, album, outcome.new).items()}
        album_people.place(
            connection,
            [
                PlacedFace(face, new[person] if isinstance(person, str) else person, fitness)
                for face, person, fitness in outcome.placed
                if face in still
            ],
        )


def _apart(state: _State, before: Numbers, numbers: dict[PersonKey, int]) -> Numbers:
    """What was said not to be somebody, as pairs of a face and any face of that person."""
    at = {face.key: index for index, face in enumerate(state.faces)}
    some = dict(zip(before.tolist(), range(len(before)), strict=True))
    pairs = [
        (at[face], some[numbers[person]])
        for person, face in state.excluded
        if face in at and numbers.get(person) in some
    ]
    return np.array(pairs, np.int64).reshape(-1, 2)


def _heirs(state: _State, after: Numbers, kept: int) -> dict[int, PersonKey]:
    """Who of the people that were before each new group is: those that share most faces, the oldest first."""
    shared: Counter[tuple[int, PersonKey]] = Counter()
    for face, number in zip(state.faces, after.tolist(), strict=True):
        person = state.members.get(face.key)
        if person is not None and number >= kept:
            shared[number, person] += 1
    heirs: dict[int, PersonKey] = {}
    taken: set[PersonKey] = set()
    for (number, person), _ in sorted(shared.items(), key=lambda item: (-item[1], item[0][1], item[0][0])):
        if number not in heirs and person not in taken:
            heirs[number] = person
            taken.add(person)
    return heirs


def _fitness(state: _State, after: Numbers) -> Floats:
    """How well each face shows its person: large, surely a face or of good quality, and typical."""
    sums = np.zeros((int(after.max()) + 1, state.vectors.shape[1]), np.float32)
    np.add.at(sums, after, state.vectors)
    sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)
    typical = np.maximum((state.vectors * sums[after]).sum(axis=1), 0.0)
    return np.asarray(typical * _looks(state.faces), np.float32)


def _looks(found: Sequence[Face]) -> Floats:
    """Side of each face's box as a share of the picture, times its quality or confidence 0..1."""
    return np.array(
        [
            (face.box.width * face.box.height) ** 0.5
            * (face.confidence if face.quality is None else face.quality)
            / 100.0
            for face in found
        ],
        np.float32,
    )
