"""What was found in an image, as bytes: for a store that several processes share. Never an image.

Nothing is run when it is read: it is JSON, and checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import TypeAdapter, ValidationError

from facerec.domain import DetectedFace
from facerec.engine.base import Floats, FoundFace

FaceId = tuple[bytes, bytes, int]
"""What an embedding depends on beside the picture: the bytes of box and landmarks, and the shrinking."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of an image. `width` and `height` in pixels of the upright image."""

    width: int
    height: int
    faces: Mapping[frozenset[str], tuple[FoundFace, ...]]
    """By the attributes that were asked for."""
    embeddings: Mapping[FaceId, Floats]
    until: float
    """When it is to be forgotten, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class _Face:
    """Arrays are the hexadecimal digits of their bytes (float32, little-endian)."""

    face: DetectedFace
    box: str
    landmarks: str
    shrink: int


@dataclass(frozen=True, slots=True)
class _Embedding:
    box: str
    landmarks: str
    shrink: int
    vector: str


@dataclass(frozen=True, slots=True)
class _Image:
    width: int
    height: int
    until: float
    faces: tuple[tuple[tuple[str, ...], tuple[_Face, ...]], ...]
    embeddings: tuple[_Embedding, ...]


_ADAPTER = TypeAdapter(_Image)


def to_bytes(found: Found) -> bytes:
    """As `from_bytes` reads it."""
    faces = tuple(
        (
            tuple(sorted(attributes)),
            tuple(_Face(one.face, _hex(one.box), _hex(one.landmarks), one.shrink) for one in some),
        )
        for attributes, some in found.faces.items()
    )
    embeddings = tuple(
        _Embedding(box.hex(), landmarks.hex(), shrink, _hex(vector))
        for (box, landmarks, shrink), vector in found.embeddings.items()
    )
    return _ADAPTER.dump_json(_Image(found.width, found.height, found.until, faces, embeddings))


def from_bytes(data: bytes) -> Found | None:
    """What was found; None for what is not of this form."""
    try:
        image = _ADAPTER.validate_json(data)
        faces = {
            frozenset(attributes): tuple(
                FoundFace(one.face, _array(one.box), _array(one.landmarks).reshape(-1, 2), one.shrink)
                for one in some
            )
            for attributes, some in image.faces
        }
        embeddings = {
            (bytes.fromhex(one.box), bytes.fromhex(one.landmarks), one.shrink): _array(one.vector)
            for one in image.embeddings
        }
    except (ValidationError, ValueError):
        return None
    return Found(image.width, image.height, faces, embeddings, image.until)


def _hex(array: Floats) -> str:
    return np.ascontiguousarray(array, "<f4").tobytes().hex()


def _array(digits: str) -> Floats:
    return np.frombuffer(bytes.fromhex(digits), "<f4").astype(np.float32)
