"""An index on disk as a search needs it in memory: nothing is computed when it is opened, and little copied.

File: MAGIC; the arrays of each segment (see `segment`), each from a multiple of ALIGNMENT on; the table
(JSON): what the file is of, and rows, places and checksums (CRC-32) of the arrays; then the length and the
BLAKE2b digest of the table, and MAGIC again. The table comes last, so a file cut short has none. A file is
written beside its place, forced to disk and moved there in one step: whatever moment a process is killed at,
the place holds an old file, a new one, or none.

What every search reads from end to end (sketches, or codes where there are none) is read into memory, in
large pages: a tenth faster to scan than a mapped file. Codes beside sketches, of which searches look at some
rows, are nearly all of the file and stay mapped.

What is guaranteed: a file of another length, or with anything damaged that is read into memory, is never
used. Mapped codes are checked while searches already run (`Snapshot.check_codes`): codes that a disk has
damaged may be answered from for the seconds that takes.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import mmap
import os
import struct
import sys
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from facerec.domain import CollectionKey, EntityKind
from facerec.vectors import sketch
from facerec.vectors.dot_products import ROW_BLOCK
from facerec.vectors.segment import Segment, SegmentArrays

MAGIC = b"facerec index 2\n"
SUFFIX = ".index"
UNFINISHED_SUFFIX = ".unfinished"
ALIGNMENT = 65_536
"""Bytes: a multiple of every processor's page of memory, and of what the kernels like."""

_END = struct.Struct(f"<Q32s{len(MAGIC)}s")
_CHUNK = 4 << 20
"""Bytes checked or written between two looks at whether to stop."""


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

    def described(self) -> dict[str, object]:
        """What the table says of a file that can be used here."""
        return {
            "sketches": sketch.VERSION,
            "byte_order": sys.byteorder,
            "store_id": self.store_id,
            "collection": self.collection,
            "kind": self.kind,
            "dimension": self.dimension,
        }


@dataclass(frozen=True, slots=True)
class Part:
    """A segment's rows at one moment. Rows that are appended later do not show; removals tear it."""

    scale: float
    rows: int
    arrays: SegmentArrays
    last_block: SegmentArrays
    """Copies: a block may be in use up to its middle."""

    @classmethod
    def of(cls, segment: Segment) -> Part:
        """The rows that the segment has now; the caller sees to it that none is just coming or going."""
        arrays, start = segment.arrays, len(segment) // ROW_BLOCK * ROW_BLOCK
        capacity = len(arrays.keys)
        last = SegmentArrays(*(_rows(each, start, start + ROW_BLOCK, capacity).copy() for each in arrays))
        return cls(segment.scale, len(segment), arrays, last)

    def pieces(self, number: int) -> Iterator[NDArray[np.generic]]:
        """The bytes of one of the arrays, in order: whole blocks of rows."""
        yield _rows(self.arrays[number], 0, self.rows // ROW_BLOCK * ROW_BLOCK, len(self.arrays.keys))
        if self.rows % ROW_BLOCK:
            yield self.last_block[number]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A file that has been opened. Mapped codes are the file, until they are changed."""

    number: int
    """The change number that the segments are as of."""
    segments: list[Segment]
    _file: FileIO
    _mapped: list[_Array]

    @property
    def mapped_bytes(self) -> int:
        """Bytes that `check_codes` reads."""
        return sum(codes.size for codes in self._mapped)

    def check_codes(self, go_on: Callable[[], bool] = lambda: True) -> None:
        """Read the mapped codes once more from the file, and let go of it. To be called once.

        Stops early where `go_on` answers False. Raises OSError, and UnusableSnapshotError for codes that are
        not what was written.
        """
        scratch = memoryview(bytearray(_CHUNK))
        with self._file:
            for codes in self._mapped:
                if not go_on():
                    return
                codes.read(self._file, (scratch[: codes.size - start] for start in codes.chunks))


@dataclass(frozen=True, slots=True)
class _Array:
    """Where an array lies in the file, in bytes, and its CRC-32."""

    name: str
    place: int
    size: int
    checksum: int

    @property
    def chunks(self) -> range:
        """Where in the array each chunk begins."""
        return range(0, self.size, _CHUNK)

    def read(self, file: FileIO, into: Iterable[memoryview]) -> None:
        """Read the chunks. Raises OSError, and UnusableSnapshotError where they are not what was written."""
        file.seek(self.place)
        checksum = 0
        for chunk in into:
            if file.readinto(chunk) != len(chunk):
                raise UnusableSnapshotError("it has become shorter")
            checksum = zlib.crc32(chunk, checksum)
        if checksum != self.checksum:
            raise UnusableSnapshotError(f"its {self.name} are damaged")


def write_unfinished(folder: Path, identity: Identity, parts: Sequence[Part], number: int) -> Path:
    """Write rows as of change `number`, complete and on disk, under a name of its own. Raises OSError."""
    path = folder / f"{identity.file_name}.{uuid.uuid4().hex}{UNFINISHED_SUFFIX}"
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(MAGIC)
            segments = [
                {
                    "scale": part.scale,
                    "rows": part.rows,
                    "arrays": [_write_array(file, part.pieces(i)) for i in range(len(part.arrays))],
                }
                for part in parts
            ]
            table = {"size": file.tell(), **identity.described(), "number": number, "segments": segments}
            encoded = json.dumps(table).encode()
            file.write(encoded)
            file.write(_END.pack(len(encoded), _digest(encoded), MAGIC))
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


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the only process that writes into the folder; others wait. A process that dies lets go."""
    with _directory(folder) as descriptor:
        with contextlib.suppress(OSError):  # a file system without locks: then files are written in vain
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def read(folder: Path, identity: Identity) -> Snapshot:
    """Open the file of an index. `Snapshot.check_codes` is yet to come.

    Raises FileNotFoundError, OSError, and UnusableSnapshotError for anything but a sound file of `identity`.
    """
    file = (folder / identity.file_name).open("rb", buffering=0)
    try:
        table = _read_table(file)
        for name, value in identity.described().items():
            if table.get(name) != value:
                raise UnusableSnapshotError(f"its {name} is {table.get(name)!r}, not {value!r}")
        mapping = _mapping(file)
        segments: list[Segment] = []
        mapped: list[_Array] = []
        for entry in table["segments"]:
            arrays, codes = _arrays(file, mapping, identity.dimension, entry)
            segments.append(Segment.adopt(identity.dimension, entry["scale"], entry["rows"], arrays))
            mapped += codes
        return Snapshot(table["number"], segments, file, mapped)
    except BaseException:
        file.close()
        raise


def number_of(path: Path, store_id: str) -> int:
    """The change number that a file is as of, from its table alone.

    Raises FileNotFoundError, OSError, and UnusableSnapshotError for a file that is not sound, or of another
    database.
    """
    with path.open("rb", buffering=0) as file:
        table = _read_table(file)
    if table.get("store_id") != store_id:
        raise UnusableSnapshotError("it is of another database")
    return int(table["number"])


def _write_array(file: BinaryIO, pieces: Iterable[NDArray[np.generic]]) -> tuple[int, int]:
    """Write an array at the next multiple of ALIGNMENT; its place and checksum."""
    file.write(bytes(-file.tell() % ALIGNMENT))
    place, checksum = file.tell(), 0
    for piece in pieces:
        content = piece.reshape(-1).view(np.uint8)
        for start in range(0, len(content), _CHUNK):
            chunk = content[start : start + _CHUNK].data
            checksum = zlib.crc32(chunk, checksum)
            file.write(chunk)
    return place, checksum


def _read_table(file: FileIO) -> dict[str, Any]:
    """The table of a file that is as long as when it was written. Raises UnusableSnapshotError."""
    length = os.fstat(file.fileno()).st_size
    place = max(length - _END.size, 0)
    start = file.read(len(MAGIC))
    file.seek(place)
    end = file.read(_END.size)
    if len(end) < _END.size or not start == end[-len(MAGIC) :] == MAGIC:
        raise UnusableSnapshotError("it is no index file of this version, or cut short")
    size, digest, _ = _END.unpack(end)
    file.seek(max(place - size, 0))
    encoded = file.read(min(size, place))
    if _digest(encoded) != digest:
        raise UnusableSnapshotError("its table is damaged")
    table: dict[str, Any] = json.loads(encoded)
    if table["size"] + len(encoded) + _END.size != length:
        raise UnusableSnapshotError(f"it has {length} bytes, which is not what was written")
    return table


def _mapping(file: FileIO) -> NDArray[np.uint8]:
    """The file as memory. It can be written to, but what is written stays in memory."""
    mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    if hasattr(mmap, "MADV_RANDOM"):
        # Rows all over the file are looked at: not megabytes should be read for each.
        mapping.madvise(mmap.MADV_RANDOM)
    return np.frombuffer(mapping, dtype=np.uint8)


def _arrays(
    file: FileIO, mapping: NDArray[np.uint8], dimension: int, entry: dict[str, Any]
) -> tuple[SegmentArrays, list[_Array]]:
    """The arrays of one of the table's segments, and those that have not been checked.

    Raises UnusableSnapshotError.
    """
    arrays = SegmentArrays.empty(dimension, -(-entry["rows"] // ROW_BLOCK) * ROW_BLOCK)
    mapped: list[_Array] = []
    for name, array, (place, checksum) in zip(arrays._fields, arrays.all(), entry["arrays"], strict=True):
        stored = _Array(name, place, array.nbytes, checksum)
        if name == "codes" and arrays.sketch.size:
            mapped.append(stored)
            codes = mapping[place : place + stored.size].view(np.int8).reshape(array.shape)
            arrays = arrays._replace(codes=codes)
        else:
            content = array.reshape(-1).view(np.uint8).data
            stored.read(file, (content[start : start + _CHUNK] for start in stored.chunks))
    return arrays, mapped


def _rows(array: NDArray[Any], start: int, end: int, capacity: int) -> NDArray[Any]:
    """What an array holds of the rows from `start` to `end`, multiples of ROW_BLOCK."""
    return array[start * len(array) // capacity : end * len(array) // capacity]


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=32).digest()


@contextlib.contextmanager
def _directory(folder: Path) -> Iterator[int]:
    """A descriptor of the folder: forcing it to disk makes a move in it last."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
