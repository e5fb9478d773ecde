"""Writing an export: one moment of the database, streamed into a file, going on where a run was broken off.

The file grows beside its place, as NAME.part, and takes it when it is whole. A run that finds such a part
goes through the present database as a first run would, and compares: blocks of the part that are what it
would write now are kept, which is several times quicker than writing them; from the first that is not the
part is cut off. So whatever happened between the two runs, the file is as of one moment, that of the last.
"""

from __future__ import annotations

import contextlib
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

from facerec.db import Connection, Database
from facerec.domain import Collection
from facerec.errors import StorageError, UnreadableFile
from facerec.metastore import collections, keys, meta, tags, transfer
from facerec.services.transfer.container import Block, BlockReader, Kind, Seal, encode, first_line
from facerec.services.transfer.content import (
    CollectionHead,
    End,
    Head,
    SealedKey,
    encode_keys,
    encode_value,
)
from facerec.services.transfer.rows import encode_faces, encode_users, faces_of_a_block, users_of_a_block
from facerec.services.whole_file import PART, growing

Progress = Callable[[int, int], None]
"""Told (faces done, faces in all)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What an export holds."""

    collections: tuple[tuple[str, int, int], ...]
    """Name, users, faces of each."""
    users: int
    faces: int
    keys: int
    kept: int
    """Faces of these that an earlier run had written."""
    as_of: float
    """Seconds since the epoch."""
    size: int
    """Bytes of the file."""


def export(
    database: Database,
    path: Path,
    names: Sequence[str] = (),
    *,
    with_keys: bool = False,
    progress: Progress = lambda _done, _all: None,
    clock: Callable[[], float] = time.time,
) -> Exported:
    """Write the collections of these names (all, where there are none) to `path`, as they are at one moment.

    Others may read and write meanwhile. What lies at `path` is replaced when the new file is whole and on
    disk. with_keys: access keys too, sealed as they are. Raises NotFound, StorageError, and Conflict
    while another one writes the same file.
    """
    with growing(path) as stream, database.read() as connection:
        exporter = _Exporter(connection, _PartFile(stream, path.name + PART), progress)
        return exporter.write(_chosen(connection, names), with_keys=with_keys, as_of=clock())


def _chosen(connection: Connection, names: Sequence[str]) -> list[Collection]:
    """The collections of these names, in the order in which they were made."""
    if not names:
        return transfer.every_collection(connection)
    chosen = {collection.key: collection for collection in (collections.find(connection, n) for n in names)}
    return [chosen[key] for key in sorted(chosen)]


class _PartFile:
    """A file that may hold a part of the export already: each block is compared with the next one there."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self._name = name
        self._seal = Seal()
        self._number = 0
        self._reader: BlockReader | None = None
        self._next: Block | None = None
        self.size = 0
        try:
            self._reader = BlockReader(stream, name)
            self.size = self._reader.offset
        except UnreadableFile:
            self._write_first_line()
        else:
            self._read_next()

    def put(self, kind: Kind, content: bytes) -> bool:
        """Have this block here: keep it where it is (True), or cut off what is there and write it."""
        present = self._next
        if present is not None and present.kind == kind and present.content == content:
            self._seal.add(present.digest)
            self._number += 1
            self.size = present.end
            self._read_next()
            return True
        self._cut()
        block, digest = encode(kind, self._number, content)
        self._stream.write(block)
        self._seal.add(digest)
        self._number += 1
        self.size += len(block)
        return False

    def digest(self) -> str:
        """The digest of all blocks so far."""
        return self._seal.text()

    def _write_first_line(self) -> None:
        self._stream.seek(0)
        self._stream.truncate()
        self._stream.write(first_line())
        self.size = len(first_line())
        self._reader = None

    def _read_next(self) -> None:
        """What comes next, if it is whole. Then, or at the end, everything is written."""
        self._next = None
        if self._reader is not None:
            with contextlib.suppress(UnreadableFile):
                self._next = self._reader.next()
            if self._next is None:
                self._cut()

    def _cut(self) -> None:
        if self._reader is not None:
            self._reader = self._next = None
            self._stream.seek(self.size)
            self._stream.truncate()


class _Exporter:
    """One run over one snapshot."""

    def __init__(self, connection: Connection, file: _PartFile, progress: Progress) -> None:
        self._connection = connection
        self._file = file
        self._progress = progress
        self._done = self._kept = self._users = self._keys = self._all = 0

    def write(self, chosen: Sequence[Collection], *, with_keys: bool, as_of: float) -> Exported:
        """Write everything."""
        self._all = sum(collection.face_count for collection in chosen)
        self._progress(0, self._all)
        head = Head(store_id=meta.store_id(self._connection), facerec=version("facerec"), keys=with_keys)
        self._file.put(Kind.HEAD, encode_value(head))
        if with_keys:
            self._write_keys()
        written = []
        for collection in chosen:
            users, faces = self._write_collection(collection)
            written.append((collection.name, users, faces))
        end = End(
            as_of=as_of,
            collections=len(chosen),
            users=self._users,
            faces=self._done,
            digest=self._file.digest(),
        )
        self._file.put(Kind.END, encode_value(end))
        return Exported(
            collections=tuple(written),
            users=self._users,
            faces=self._done,
            keys=self._keys,
            kept=self._kept,
            as_of=as_of,
            size=self._file.size,
        )

    def _write_keys(self) -> None:
        stored = [keys.find(self._connection, key.access_key_id) for key in keys.list_keys(self._connection)]
        sealed = [
            SealedKey(
                access_key_id=one.key.access_key_id,
                label=one.key.label,
                created_at=one.key.created_at,
                revoked_at=one.key.revoked_at,
                sealed_secret=one.sealed_secret.hex(),
                kind=one.key.kind,
                scope=one.key.scope,
                collections=list(one.key.collections),
                rate=None if one.key.rate is None else str(one.key.rate),
                expires_at=one.key.expires_at,
            )
            for one in stored
            if one is not None
        ]
        self._keys = len(sealed)
        self._file.put(Kind.KEYS, encode_keys(sealed))

    def _write_collection(self, collection: Collection) -> tuple[int, int]:
        """Write one collection; (users, faces) of it."""
        connection, file = self._connection, self._file
        head = CollectionHead(
            name=collection.name,
            created_at=collection.created_at,
            pack=collections.pack_of(connection, collection.key),
            contract_id=collection.contract_id,
            model_version=collection.model_version,
            dimension=collection.dimension,
            user_count=collection.user_count,
            face_count=collection.face_count,
            change_number=collection.change_number,
            face_ttl=collection.face_ttl,
            tags=tags.read(connection, collection),
        )
        file.put(Kind.COLLECTION, encode_value(head))
        user_keys = array("q")
        users_step = users_of_a_block(collection.dimension)
        for keys_there, users in transfer.read_users(connection, collection.key, users_step):
            user_keys.extend(keys_there)
            file.put(Kind.USERS, encode_users(users, collection.dimension))
        self._users += len(user_keys)
        faces = 0
        faces_step = faces_of_a_block(collection.dimension)
        for rows in transfer.read_faces(connection, collection.key, faces_step):
            if file.put(Kind.FACES, encode_faces(rows, user_keys)):
                self._kept += len(rows)
            faces += len(rows)
            self._done += len(rows)
            self._progress(self._done, self._all)
        if (len(user_keys), faces) != (collection.user_count, collection.face_count):
            raise StorageError(
                f"The database is damaged: of {collection.name} it counts {collection.user_count} users and "
                f"{collection.face_count} faces, and has {len(user_keys)} and {faces}."
            )
        return len(user_keys), faces
