"""Reading an export block by block: each one whole, where it belongs, and as many as there should be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from facerec.errors import StorageError, UnreadableFile
from facerec.metastore.transfer import FaceRows, UserRows
from facerec.services.transfer.container import Block, BlockReader, Kind, Seal
from facerec.services.transfer.content import (
    CollectionHead,
    Head,
    SealedKey,
    decode,
    decode_collection,
    decode_end,
    decode_head,
    decode_keys,
)
from facerec.services.transfer.exporting import Progress
from facerec.services.transfer.rows import decode_faces, decode_users


@dataclass(frozen=True, slots=True)
class Content:
    """What is in a file, which is whole."""

    head: Head
    as_of: float
    """Moment of the snapshot, in seconds since the epoch."""
    collections: tuple[CollectionHead, ...]
    keys: tuple[SealedKey, ...] = field(repr=False)
    size: int
    """Bytes of the file."""
    digest: str
    """Of all of it, in hexadecimal digits."""


def inspect(path: Path, progress: Progress = lambda _done, _all: None) -> Content:
    """Read a whole export and check everything that is in it. Nothing is stored.

    progress: told (bytes read, bytes in all). Raises UnreadableFile, StorageError.
    """
    with opened(path) as stream:
        reader = ExportReader(stream, path.name)
        found: list[CollectionHead] = []
        size = path.stat().st_size
        for part in reader.parts():
            if isinstance(part, CollectionHead):
                found.append(part)
            progress(reader.offset, size)
    return Content(reader.head, reader.as_of, tuple(found), reader.keys, size, reader.digest)


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file to be read. Turns errors of the disk into StorageError."""
    try:
        with path.open("rb") as stream:
            yield stream
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror or error}.") from error


class ExportReader:
    """Goes through an export, and holds it to the order and the numbers that its blocks state."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        """Read the first block. Raises UnreadableFile."""
        self._reader = BlockReader(stream, name)
        self._name = name
        self._seal = Seal()
        first = self._next()
        if first.kind != Kind.HEAD:
            raise self._wrong(first, "the first block is no HEAD")
        self.head = decode(decode_head, first, name)
        self.keys: tuple[SealedKey, ...] = ()
        self.as_of = 0.0
        self.collection: CollectionHead | None = None
        """The collection that what comes belongs to."""
        self._users = self._faces = 0
        self._totals = [0, 0, 0]
        self.digest = ""
        """Of all of the file, in hexadecimal digits, when it has been read."""

    @property
    def offset(self) -> int:
        """Bytes that have been read."""
        return self._reader.offset

    def parts(self) -> Iterator[CollectionHead | UserRows | FaceRows]:
        """Each collection, followed by its users and then its faces (`users` are places from 0).

        Raises UnreadableFile at the first block that is damaged or not where it belongs; when it ends without
        an error, the file was whole.
        """
        names: set[str] = set()
        while True:
            seal = self._seal.text()
            block = self._next()
            if block.kind == Kind.END:
                self._end(block, seal)
                return
            if block.kind == Kind.KEYS and self.collection is None and not self.keys:
                self.keys = tuple(decode(decode_keys, block, self._name))
            elif block.kind == Kind.COLLECTION:
                self._complete(block)
                self.collection = head = decode(decode_collection, block, self._name)
                if head.name in names:
                    raise self._wrong(block, f"the collection {head.name} comes twice")
                names.add(head.name)
                self._users = self._faces = 0
                self._totals[0] += 1
                yield head
            elif block.kind == Kind.USERS and self.collection is not None and not self._faces:
                yield self._user_rows(block, self.collection)
            elif block.kind == Kind.FACES and self.collection is not None:
                yield self._face_rows(block, self.collection)
            else:
                raise self._wrong(block, f"a block {block.kind} has no place here")

    def _user_rows(self, block: Block, head: CollectionHead) -> UserRows:
        rows = decode(lambda content: decode_users(content, head.dimension), block, self._name)
        self._users += len(rows)
        self._totals[1] += len(rows)
        return rows

    def _face_rows(self, block: Block, head: CollectionHead) -> FaceRows:
        if not self._faces and self._users != head.user_count:
            raise self._wrong(block, f"{self._users} of {head.user_count} users have come before the faces")
        places = range(self._users)
        rows = decode(lambda content: decode_faces(content, head.dimension, places), block, self._name)
        self._faces += len(rows)
        self._totals[2] += len(rows)
        return rows

    def _complete(self, block: Block) -> None:
        """See to it that all of the last collection has come."""
        head = self.collection
        if head is not None and (self._users, self._faces) != (head.user_count, head.face_count):
            raise self._wrong(
                block,
                f"{head.name} should have {head.user_count} users and {head.face_count} faces, and has "
                f"{self._users} and {self._faces}",
            )

    def _end(self, block: Block, seal: str) -> None:
        self._complete(block)
        end = decode(decode_end, block, self._name)
        if [end.collections, end.users, end.faces] != self._totals or end.digest != seal:
            raise self._wrong(block, "it does not go with what came before it")
        if self._reader.next() is not None:
            raise self._wrong(block, "something follows the last block")
        self.as_of = end.as_of
        self.digest = self._seal.text()

    def _next(self) -> Block:
        block = self._reader.next()
        if block is None:
            raise self._reader.damaged("the file ends here, and its last block is missing: it was cut short")
        self._seal.add(block.digest)
        return block

    def _wrong(self, block: Block, why: str) -> UnreadableFile:
        return UnreadableFile(
            f"{self._name} is not whole or not of facerec: at byte {block.offset} (block {block.number}), "
            f"{why}."
        )
