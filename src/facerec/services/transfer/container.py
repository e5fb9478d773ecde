"""The container of an export: a line that names it, then blocks, each with its length and digest.

Nothing here knows what is in a block. `docs/moving.md` specifies the form, so that another program can read
and write it; what is written here and what stands there have to be the same.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import BinaryIO

from facerec.errors import UnreadableFile

FORMAT = 1
"""Version of the format. A reader refuses a greater one; what it may pass over without harm needs none."""

NAME = b"facerec-export "
"""What the first line begins with; the version and a line feed follow."""

LARGEST_BLOCK = 16 << 20
"""Most bytes of a block, as it is stored and as it was before compression."""

_HEADER = struct.Struct("<4sIII")
"""Kind, number (0 for the first block), bytes stored, bytes before compression."""

_DIGEST_BYTES = 32
_LONGEST_NAME = 32


class Kind(StrEnum):
    """What a block holds."""

    HEAD = "HEAD"
    KEYS = "KEYS"
    COLLECTION = "COLL"
    USERS = "USER"
    FACES = "FACE"
    END = "ENDS"


_STRATEGY = {Kind.FACES: zlib.Z_RLE}
"""How blocks are compressed. Codes of embeddings have no repetitions: to look for them costs 2.5 times the
time and saves nothing, while Huffman coding alone makes them 84% of their size."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block that is whole: its digest was right."""

    kind: Kind
    number: int
    offset: int
    """Where it begins in the file, in bytes."""
    end: int
    """Where it ends."""
    digest: bytes
    content: bytes
    """As it was before compression."""


def first_line(version: int = FORMAT) -> bytes:
    """The line that a file of that version begins with."""
    return NAME + str(version).encode() + b"\n"


def encode(kind: Kind, number: int, content: bytes) -> tuple[bytes, bytes]:
    """(the block as it is written, its digest)."""
    if len(content) > LARGEST_BLOCK:
        raise ValueError(f"a block holds {LARGEST_BLOCK} bytes at most; got {len(content)}")
    packer = zlib.compressobj(6, strategy=_STRATEGY.get(kind, zlib.Z_DEFAULT_STRATEGY))
    stored = packer.compress(content) + packer.flush()
    header = _HEADER.pack(kind.encode(), number, len(stored), len(content))
    digest = hashlib.sha256(header + stored).digest()
    return b"".join((header, stored, digest)), digest


class Seal:
    """The digest of a whole file: SHA-256 over its first line and the digests of its blocks."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256(first_line())

    def add(self, digest: bytes) -> None:
        """Take in the next block's digest."""
        self._hash.update(digest)

    def text(self) -> str:
        """The digest of what has been taken in, in hex."""
        return self._hash.hexdigest()


class BlockReader:
    """Reads the blocks of a file one by one, checking each."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        """Read the first line. name: of the file, for messages. Raises UnreadableFile."""
        self._stream = stream
        self._name = name
        self.number = 0
        """Number of the block to come."""
        self.offset = self._read_first_line()
        """Where it begins, in bytes."""

    def blocks(self) -> Iterator[Block]:
        """Every block up to the end of the stream. Raises UnreadableFile at the first that is damaged."""
        while (block := self.next()) is not None:
            yield block

    def next(self) -> Block | None:
        """The next block; None where the file ends. Raises UnreadableFile."""
        header = self._stream.read(_HEADER.size)
        if not header:
            return None
        if len(header) < _HEADER.size:
            raise self.damaged("the file ends within it")
        name, number, stored_bytes, content_bytes = _HEADER.unpack(header)
        # Before anything is read or made that a wrong length would make large.
        if name.decode("latin-1") not in set(Kind) or max(stored_bytes, content_bytes) > LARGEST_BLOCK:
            raise self.damaged("its header makes no sense")
        stored = self._stream.read(stored_bytes)
        digest = self._stream.read(_DIGEST_BYTES)
        if len(stored) < stored_bytes or len(digest) < _DIGEST_BYTES:
            raise self.damaged("the file ends within it")
        if hashlib.sha256(header + stored).digest() != digest:
            raise self.damaged("its checksum is wrong")
        if number != self.number:
            raise self.damaged(f"it says that it is block {number}: blocks are missing, doubled or moved")
        begins = self.offset
        content = self._expand(stored, content_bytes)
        self.number += 1
        self.offset += _HEADER.size + stored_bytes + _DIGEST_BYTES
        return Block(Kind(name.decode()), number, begins, self.offset, digest, content)

    def damaged(self, why: str) -> UnreadableFile:
        """The error that names the place of the block to come."""
        return UnreadableFile(
            f"{self._name} is damaged at byte {self.offset} (block {self.number}): {why}. Nothing of this "
            "block is taken; get an undamaged copy of the file."
        )

    def _expand(self, stored: bytes, content_bytes: int) -> bytes:
        """The content of a block, never more than the header says."""
        unpacker = zlib.decompressobj()
        try:
            content = unpacker.decompress(stored, content_bytes + 1)
        except zlib.error as error:
            raise self.damaged(f"it cannot be decompressed ({error})") from error
        if len(content) != content_bytes or not unpacker.eof or unpacker.unused_data:
            raise self.damaged(f"it does not hold the {content_bytes} bytes that its header states")
        return content

    def _read_first_line(self) -> int:
        line = self._stream.readline(_LONGEST_NAME)
        version = line[len(NAME) : -1]
        if not line.startswith(NAME) or not line.endswith(b"\n") or not version.isdigit():
            raise UnreadableFile(f"{self._name} is no export of facerec, or its first line is damaged.")
        if line == first_line():
            return len(line)
        if int(version) > FORMAT:
            raise UnreadableFile(
                f"{self._name} has format {int(version)} of a newer facerec; this one reads format {FORMAT}. "
                "Update facerec, or export with the older version."
            )
        raise UnreadableFile(f"{self._name} has format {version.decode()}, which no facerec ever wrote.")


def encode_json(value: object) -> bytes:
    """A JSON content: UTF-8, without spaces, members in the order of names, so that it can be compared."""
    return json.dumps(
        value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
    ).encode()
