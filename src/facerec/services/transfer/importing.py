"""Importing: an export is taken in collection by collection, after it has been checked as a whole.

A collection is filled under a hidden name and takes its own, or that of the one it replaces, in one
transaction when it is whole: clients see all of it or nothing. How far an import has come is how many users
and faces the hidden collection has, in the order of the file; so one that was killed goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from facerec.auth.sealing import Sealer
from facerec.db import Connection, Database
from facerec.domain import HIDDEN, CollectionKey, EmbeddingContract
from facerec.errors import (
    AlreadyExists,
    Conflict,
    InvalidParameter,
    NotFound,
    QuotaExceeded,
    UnreadableFile,
)
from facerec.metastore import collections, keys, tags, transfer
from facerec.metastore.transfer import FaceRows, Staged, UserRows
from facerec.services.faces import MAX_FACES_PER_COLLECTION
from facerec.services.transfer.content import CollectionHead, SealedKey
from facerec.services.transfer.exporting import Progress
from facerec.services.transfer.reading import Content, ExportReader, opened

Rows = TypeVar("Rows", UserRows, FaceRows)

STEP = 1024
"""Rows stored in one transaction: a service that serves meanwhile waits no longer than for these."""


class OnConflict(StrEnum):
    """What to do where a collection of the name exists."""

    FAIL = "fail"
    SKIP = "skip"
    REPLACE = "replace"


class Outcome(StrEnum):
    """What became of a collection of the file."""

    IMPORTED = "imported"
    REPLACED = "replaced"
    SKIPPED = "skipped"
    PRESENT = "present"
    """An earlier run of the same import has made it."""


@dataclass(frozen=True, slots=True)
class ImportedCollection:
    """A collection of the file, the name it has here, and what became of it."""

    head: CollectionHead
    name: str
    outcome: Outcome
    resumed: int
    """Faces that an earlier, broken off run had stored."""


class Importer:
    """Brings collections of a checked file into a database."""

    def __init__(
        self,
        database: Database,
        path: Path,
        content: Content,
        *,
        on_conflict: OnConflict = OnConflict.FAIL,
        names: Sequence[str] = (),
        renamed: Mapping[str, str] | None = None,
        max_faces: int = MAX_FACES_PER_COLLECTION,
    ) -> None:
        """names: of the collections to take, all where there are none. renamed: new names by the file's.

        Raises InvalidParameter, NotFound for names that are not in the file.
        """
        self._database = database
        self._path = path
        self._content = content
        self._on_conflict = on_conflict
        self._max_faces = max_faces
        self._targets = _targets(content, names, renamed or {})

    @property
    def faces(self) -> int:
        """Faces of the collections that are to be taken."""
        return sum(head.face_count for head in self._content.collections if head.name in self._targets)

    def check(self) -> None:
        """Refuse what cannot be done before anything is. Raises AlreadyExists, QuotaExceeded."""
        for place, head in enumerate(self._content.collections):
            if head.name not in self._targets:
                continue
            if head.face_count > self._max_faces:
                raise QuotaExceeded(
                    f"The collection {head.name} has {head.face_count} faces; {self._max_faces} are the most."
                )
            with self._database.read() as connection:
                self._passed_over(connection, place, head)

    def run(self, progress: Progress = lambda _done, _all: None) -> list[ImportedCollection]:
        """Import. progress: told (faces done, faces in all), those passed over too.

        What was done before an error stays, and the next run goes on from there. Raises UnreadableFile,
        AlreadyExists, Conflict, StorageError.
        """
        self.check()
        done: list[ImportedCollection] = []
        faces, place = 0, -1
        filling: _Filling | None = None
        with opened(self._path) as stream:
            reader = ExportReader(stream, self._path.name)
            for part in reader.parts():
                if isinstance(part, CollectionHead):
                    self._finish(filling, done)
                    place += 1
                    filling = self._begin(place, part, done)
                elif isinstance(part, UserRows):
                    if filling is not None:
                        filling.add_users(part)
                else:
                    if filling is not None:
                        filling.add_faces(part)
                    if reader.collection is not None and reader.collection.name in self._targets:
                        faces += len(part)
                        progress(faces, self.faces)
            self._finish(filling, done)
        return done

    def _begin(self, place: int, head: CollectionHead, done: list[ImportedCollection]) -> _Filling | None:
        """Begin a collection, or go on with it; None where it is passed over."""
        if head.name not in self._targets:
            return None
        name = self._targets[head.name]
        with self._database.write() as connection:
            outcome = self._passed_over(connection, place, head)
            if outcome is not None:
                done.append(ImportedCollection(head, name, outcome, 0))
                return None
            import_id = self._import_id(place)
            staged = transfer.find_staged(connection, import_id)
            if staged is None:
                contract = EmbeddingContract(
                    id=head.contract_id,
                    pack=head.pack,
                    model_version=head.model_version,
                    dimension=head.dimension,
                )
                key = transfer.stage(
                    connection,
                    import_id,
                    contract=contract,
                    created_at=head.created_at,
                    face_ttl=head.face_ttl,
                )
                staged = Staged(key, 0, 0)
        return _Filling(self._database, import_id, head, name, staged)

    def _import_id(self, place: int) -> str:
        """What names a collection of just this file: a run goes on with its own, and with no other's."""
        return f"{self._content.digest[:32]}/{place}"

    def _finish(self, filling: _Filling | None, done: list[ImportedCollection]) -> None:
        if filling is not None:
            outcome = filling.finish(self._on_conflict)
            done.append(ImportedCollection(filling.head, filling.name, outcome, filling.resumed))

    def _passed_over(self, connection: Connection, place: int, head: CollectionHead) -> Outcome | None:
        """Why a collection need not be imported; None where it has to be. Raises AlreadyExists."""
        name = self._targets[head.name]
        present = _named(connection, name)
        if present is None or self._on_conflict is OnConflict.REPLACE:
            return None
        if transfer.imported(connection, _mark(self._import_id(place))) == present:
            return Outcome.PRESENT
        if self._on_conflict is OnConflict.SKIP:
            return Outcome.SKIPPED
        raise AlreadyExists(
            f"A collection {name} exists, and was not imported. Choose --on-conflict skip or replace, or "
            "--rename OLD=NEW."
        )


class _Filling:
    """A collection on its way into the database."""

    def __init__(
        self, database: Database, import_id: str, head: CollectionHead, name: str, staged: Staged
    ) -> None:
        self.head = head
        self.name = name
        self.resumed = staged.face_count
        self._database = database
        self._import_id = import_id
        self._staged = staged
        self._users_passed = self._faces_passed = 0
        self._user_keys: Sequence[int] | None = None

    def add_users(self, rows: UserRows) -> None:
        """Store the users of these that are not there yet."""
        for some in _steps(rows, self._staged.user_count - self._users_passed):
            with self._database.write(sweep=True) as connection:
                staged = self._held(connection)
                transfer.add_users(connection, staged.key, some)
            self._staged = replace(staged, user_count=staged.user_count + len(some))
        self._users_passed += len(rows)

    def add_faces(self, rows: FaceRows) -> None:
        """Store the faces of these that are not there yet."""
        if self._user_keys is None:
            with self._database.read() as connection:
                self._user_keys = transfer.keys_of_users(connection, self._staged.key)
        user_keys = self._user_keys
        for some in _steps(rows, self._staged.face_count - self._faces_passed):
            owners = [None if place is None else user_keys[place] for place in some.users]
            with self._database.write(sweep=True) as connection:
                staged = self._held(connection)
                transfer.add_faces(connection, staged.key, replace(some, users=owners))
            self._staged = replace(staged, face_count=staged.face_count + len(some))
        self._faces_passed += len(rows)

    def finish(self, on_conflict: OnConflict) -> Outcome:
        """Give the collection its tags and its name, and take these from the one it replaces."""
        with self._database.write() as connection:
            staged = self._held(connection)
            wrong = transfer.miscounted_users(connection, staged.key)
            if wrong or (staged.user_count, staged.face_count) != (
                self.head.user_count,
                self.head.face_count,
            ):
                collections.mark_deleted(connection, staged.key)
                problem = f"{wrong} users of {self.head.name} have other numbers of faces than they say"
            else:
                outcome = self._take_name(connection, staged.key, on_conflict)
                problem = None
        if problem is not None:
            raise UnreadableFile(f"{problem}. Nothing of this collection was imported.")
        return outcome

    def _take_name(self, connection: Connection, key: CollectionKey, on_conflict: OnConflict) -> Outcome:
        present = _named(connection, self.name, lock=True)
        if present is not None:
            if on_conflict is OnConflict.FAIL:
                raise AlreadyExists(
                    f"A collection {self.name} was made while it was being imported. Run the import again "
                    "with --on-conflict skip or replace, or --rename OLD=NEW: it goes on where it stands."
                )
            if on_conflict is OnConflict.SKIP:
                collections.mark_deleted(connection, key)
                return Outcome.SKIPPED
            collections.mark_deleted(connection, present)
        transfer.take_name(connection, key, self.name, _mark(self._import_id))
        tags.put(connection, collections.find(connection, self.name), self.head.tags)
        return Outcome.IMPORTED if present is None else Outcome.REPLACED

    def _held(self, connection: Connection) -> Staged:
        """The staged collection, ours until the transaction ends, as we left it. Raises Conflict."""
        staged = transfer.find_staged(connection, self._import_id, lock=True)
        if staged != self._staged:
            raise Conflict(
                f"Another import of the same file into {self.name} is at work, or was abandoned meanwhile."
            )
        return staged


def import_keys(
    database: Database, found: Sequence[SealedKey], *, own: Sealer, source: Sealer
) -> tuple[int, int]:
    """Store access keys; (stored, passed over because keys of their ids exist).

    own: of this service. source: of the service that they come from. Raises ConfigurationError when that one
    does not open them; nothing is stored then.
    """
    sealed = [
        own.seal(source.open(bytes.fromhex(key.sealed_secret), key.access_key_id), key.access_key_id)
        for key in found
    ]
    stored = 0
    with database.write() as connection:
        for key, secret in zip(found, sealed, strict=True):
            if keys.find(connection, key.access_key_id) is None:
                stored += 1
                keys.insert(connection, keys.StoredKey(key=key.key, sealed_secret=secret))
    return stored, len(found) - stored


def abandon(database: Database) -> int:
    """Give up every import that was broken off: what it stored is deleted. How many collections that were."""
    with database.write() as connection:
        keys_staged = transfer.every_staged(connection)
        for key in keys_staged:
            collections.mark_deleted(connection, key)
    return len(keys_staged)


def _targets(content: Content, names: Sequence[str], renamed: Mapping[str, str]) -> dict[str, str]:
    """The name that each collection to be imported shall have here, by its name in the file."""
    there = [head.name for head in content.collections]
    for name in (*names, *renamed):
        if name not in there:
            raise NotFound(f"The file holds no collection {name}; it holds: {', '.join(there) or 'none'}.")
    targets = {name: renamed.get(name, name) for name in there if not names or name in names}
    for name in targets.values():
        if not name or len(name) > 255 or name.startswith(HIDDEN):
            raise InvalidParameter(f"No collection can be called {name!r}.")
    if len(set(targets.values())) < len(targets):
        raise InvalidParameter("Two collections of the file would have the same name.")
    return targets


def _steps(rows: Rows, passed: int) -> Iterator[Rows]:
    """Rows but the first `passed`, STEP at a time."""
    for start in range(max(passed, 0), len(rows), STEP):
        cut = slice(start, start + STEP)
        yield replace(rows, **{column.name: getattr(rows, column.name)[cut] for column in fields(rows)})


def _named(connection: Connection, name: str, *, lock: bool = False) -> CollectionKey | None:
    """Key of the collection of that name; None where there is none. lock: see `collections.find`."""
    try:
        return collections.find(connection, name, lock=lock).key
    except NotFound:
        return None


def _mark(import_id: str) -> str:
    """Under which name it is remembered what an import has made."""
    return f"import/{import_id}"
