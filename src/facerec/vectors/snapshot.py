"""An index on disk, so that a start need not stream the collection from the database.

File: MAGIC, length of the header (uint32), header (JSON), and for each part of the header's list the keys
(int64) and the codes (int8, row by row), then the BLAKE2b digest (32 bytes) of all before it. Integers are
little-endian. A file is written beside its place, forced to disk and moved there in one step, so whatever
moment a process is killed at, the place holds an old file, a new one, or none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facerec.domain import CollectionKey, EntityKind
from facerec.vectors.segment import Rows

MAGIC = b"facerec index\n"
VERSION = 1
SUFFIX = ".index"
UNFINISHED_SUFFIX = ".unfinished"

_DIGEST_BYTES = 32
_LENGTH = struct.Struct("<I")


class UnusableSnapshotError(Exception):
    """A file that is damaged, or of another database, collection or format."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a snapshot has to be of, to be used."""

    store_id: str
    collection: CollectionKey
    kind: EntityKind
    dimension: int

    @property
    def file_name(self) -> str:
        """Name of the snapshot's file in its folder."""
        return f"{self.collection}-{self.kind}{SUFFIX}"


def write_unfinished(folder: Path, identity: Identity, parts: list[Rows], number: int) -> Path:
    """Write rows as of change `number`, complete and on disk, under a name of its own. Raises OSError."""
    header = {
        "version": VERSION,
        "store_id": identity.store_id,
        "collection": identity.collection,
        "kind": identity.kind,
        "dimension": identity.dimension,
        "number": number,
        "parts": [[part.scale, len(part.keys)] for part in parts],
    }
    encoded = json.dumps(header).encode()
    path = folder / f"{identity.file_name}.{uuid.uuid4().hex}{UNFINISHED_SUFFIX}"
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
            for chunk in (MAGIC, _LENGTH.pack(len(encoded)), encoded, *_arrays(parts)):
                digest.update(chunk)
                file.write(chunk)
            file.write(digest.digest())
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def put_in_place(unfinished: Path, identity: Identity) -> None:
    """Move a complete file to where it will be looked for. Raises OSError."""
    unfinished.replace(unfinished.parent / identity.file_name)
    with _directory(unfinished.parent) as descriptor:
        os.fsync(descriptor)


def read(folder: Path, identity: Identity) -> tuple[list[Rows], int]:
    """The rows, and the change number they are as of.

    Raises FileNotFoundError, OSError, and UnusableSnapshotError for anything but a sound file of `identity`.
    """
    data = (folder / identity.file_name).read_bytes()
    start = len(MAGIC) + _LENGTH.size
    if len(data) < start + _DIGEST_BYTES or not data.startswith(MAGIC):
        raise UnusableSnapshotError("it is no index file")
    body = memoryview(data)[:-_DIGEST_BYTES]
    if hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest() != data[-_DIGEST_BYTES:]:
        raise UnusableSnapshotError("its digest differs: it is damaged or cut short")
    (length,) = _LENGTH.unpack_from(data, len(MAGIC))
    header = json.loads(bytes(body[start : start + length]))
    expected = {
        "version": VERSION,
        "store_id": identity.store_id,
        "collection": identity.collection,
        "kind": identity.kind,
        "dimension": identity.dimension,
    }
    for name, value in expected.items():
        if header.get(name) != value:
            raise UnusableSnapshotError(f"its {name} is {header.get(name)!r}, not {value!r}")
    return list(_parts(body[start + length :], header["parts"], identity.dimension)), int(header["number"])


def _arrays(parts: list[Rows]) -> Iterator[bytes]:
    """The bytes of the parts, in order."""
    for part in parts:
        yield part.keys.astype("<i8").tobytes()
        yield part.codes.tobytes()


def _parts(payload: memoryview, sizes: list[list[float]], dimension: int) -> Iterator[Rows]:
    """The inverse of `_arrays`; the digest vouches for the sizes."""
    place = 0
    for scale, size in sizes:
        count = int(size)
        keys = np.frombuffer(payload, dtype="<i8", count=count, offset=place)
        codes = np.frombuffer(payload, dtype=np.int8, count=count * dimension, offset=place + keys.nbytes)
        yield Rows(scale, keys, codes.reshape(count, dimension))
        place += keys.nbytes + codes.nbytes


@contextlib.contextmanager
def _directory(folder: Path) -> Iterator[int]:
    """A descriptor of the folder: forcing it to disk makes a move in it last."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
