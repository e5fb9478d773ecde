"""A reader of exports that was written from docs/moving.md alone, with nothing but the standard library.

It shows that the page is enough to read such a file, and reads what tests compare.
"""

from __future__ import annotations

import hashlib
import json
import struct
import uuid
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class ReadCollection:
    head: dict[str, Any]
    users: list[dict[str, Any]] = field(default_factory=list)
    faces: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class ReadExport:
    head: dict[str, Any]
    keys: list[dict[str, Any]]
    collections: list[ReadCollection]
    end: dict[str, Any]


def read_export(path: Path) -> ReadExport:
    """Read and check a file. Any exception: it is not whole."""
    data = path.read_bytes()
    first, newline, _ = data.partition(b"\n")
    assert (first, newline) == (b"facerec-export 1", b"\n")
    whole = hashlib.sha256(first + newline)
    place, number = len(first) + 1, 0
    read = ReadExport({}, [], [], {})
    while place < len(data):
        assert not read.end
        kind, stated_number, stored_bytes, content_bytes = struct.unpack_from("<4sIII", data, place)
        assert stated_number == number
        assert max(stored_bytes, content_bytes) <= 16 * 1024 * 1024
        block = data[place : place + 16 + stored_bytes]
        place += len(block)
        digest = data[place : place + 32]
        place += 32
        assert hashlib.sha256(block).digest() == digest
        content = zlib.decompress(block[16:])
        assert len(content) == content_bytes
        if kind == b"ENDS":
            read.end = json.loads(content)
            assert read.end["digest"] == whole.hexdigest()
        else:
            _take(read, kind, content)
        whole.update(digest)
        number += 1
    counts = [
        len(read.collections),
        *(sum(len(getattr(c, n)) for c in read.collections) for n in ("users", "faces")),
    ]
    assert [read.end["collections"], read.end["users"], read.end["faces"]] == counts
    return read


def _take(read: ReadExport, kind: bytes, content: bytes) -> None:
    if kind == b"HEAD":
        read.head = json.loads(content)
    elif kind == b"KEYS":
        read.keys = json.loads(content)
    elif kind == b"COLL":
        read.collections.append(ReadCollection(json.loads(content)))
    elif kind == b"USER":
        rows, columns = _columns(content)
        names = _texts(columns["user_id_length"], columns["user_id"])
        counts = struct.unpack(f"<{rows}I", columns["face_count"])
        read.collections[-1].users += [
            {"user_id": name, "face_count": count} for name, count in zip(names, counts, strict=True)
        ]
    elif kind == b"FACE":
        read.collections[-1].faces += _faces(content, read.collections[-1])
    else:
        raise AssertionError(kind)


def _faces(content: bytes, collection: ReadCollection) -> list[dict[str, Any]]:
    rows, columns = _columns(content)
    dimension = collection.head["dimension"]
    owners = struct.unpack(f"<{rows}I", columns["user"])
    confidences = struct.unpack(f"<{rows}d", columns["confidence"])
    scales = struct.unpack(f"<{rows}d", columns["scale"])
    externals = _texts(columns["external_image_id_length"], columns["external_image_id"])
    sources = _texts(columns["source_length"], columns["source"])
    stored = struct.unpack(f"<{rows}q", columns["stored_at"])
    ends = struct.unpack(f"<{rows}q", columns["expires_at"])
    return [
        {
            "face_id": str(uuid.UUID(bytes=columns["face_id"][16 * row : 16 * row + 16])),
            "image_id": str(uuid.UUID(bytes=columns["image_id"][16 * row : 16 * row + 16])),
            "box": struct.unpack_from("<4f", columns["box"], 16 * row),
            "confidence": confidences[row],
            "user_id": collection.users[owners[row] - 1]["user_id"] if owners[row] else None,
            "external_image_id": externals[row],
            "source": sources[row],
            "stored_at": stored[row],
            "expires_at": None if ends[row] == -1 else ends[row],
            "scale": scales[row],
            "codes": struct.unpack_from(f"<{dimension}b", columns["codes"], dimension * row),
        }
        for row in range(rows)
    ]


def _columns(content: bytes) -> tuple[int, dict[str, bytes]]:
    (length,) = struct.unpack_from("<I", content)
    description = json.loads(content[4 : 4 + length])
    columns, place = {}, 4 + length
    for name, size in description["columns"]:
        columns[name] = content[place : place + size]
        place += size
    assert place == len(content)
    return description["rows"], columns


def _texts(lengths: bytes, data: bytes) -> list[str | None]:
    texts: list[str | None] = []
    place = 0
    for (length,) in struct.iter_unpack("<H", lengths):
        if length == 0xFFFF:
            texts.append(None)
        else:
            texts.append(data[place : place + length].decode())
            place += length
    assert place == len(data)
    return texts
