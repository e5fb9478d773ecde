"""What was found in a video, packed for the database: some 100 bytes a face of a frame, and no embedding."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from facerec.domain import (
    AgeRange,
    Attributes,
    BoundingBox,
    DetectedFace,
    Gender,
    Judgement,
    Landmark,
    Pose,
    Quality,
)

PART = 500
"""Faces of frames in a part of a result."""

_ATTRIBUTE_KINDS = {"age_range": AgeRange, "gender": Gender}
"""Classes of the fields of `Attributes`; all others are judgements."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A face of a frame. track: -1 where faces were not followed."""

    time_ms: int
    track: int
    face: DetectedFace


@dataclass(frozen=True, slots=True)
class Appearance:
    """A time in which a person is to be seen, in milliseconds, from the first frame to the last."""

    first_ms: int
    last_ms: int


@dataclass(frozen=True, slots=True)
class Match:
    """A stored face that a person looks like: similarity 0..100, and the cosine it comes from."""

    face_id: str
    similarity: float
    cosine: float


@dataclass(frozen=True, slots=True)
class Person:
    """A person of a video: where it appears, and which stored faces it looks like, most similar first."""

    index: int
    frames: int
    tracks: tuple[int, ...]
    appearances: tuple[Appearance, ...]
    matches: tuple[Match, ...]


@dataclass(frozen=True, slots=True, eq=False)
class PersonTable:
    """The persons of a result, and the places of its entries in their order: by person, then by time."""

    persons: tuple[Person, ...]
    by_person: NDArray[np.uint32]

    @property
    def person_of_track(self) -> dict[int, Person]:
        """The person of each track."""
        return {track: person for person in self.persons for track in person.tracks}


def pack_entries(entries: Sequence[Entry]) -> bytes:
    """A part of a result."""
    return zlib.compress(orjson.dumps([[one.time_ms, one.track, *_packed(one.face)] for one in entries]))


def unpack_entries(packed: bytes) -> list[Entry]:
    """What `pack_entries` was given, rounded to what a picture tells."""
    return [Entry(row[0], row[1], _unpacked(row[2:])) for row in orjson.loads(zlib.decompress(packed))]


def pack_persons(table: PersonTable) -> bytes:
    """The persons of a result."""
    head = zlib.compress(json.dumps([asdict(person) for person in table.persons]).encode())
    order = zlib.compress(table.by_person.astype("<u4").tobytes())
    return len(head).to_bytes(4, "little") + head + order


def unpack_persons(packed: bytes) -> PersonTable:
    """What `pack_persons` was given."""
    length = int.from_bytes(packed[:4], "little")
    stored = json.loads(zlib.decompress(packed[4 : 4 + length]))
    order = np.frombuffer(zlib.decompress(packed[4 + length :]), "<u4").astype(np.uint32)
    persons = tuple(
        Person(
            index=one["index"],
            frames=one["frames"],
            tracks=tuple(one["tracks"]),
            appearances=tuple(Appearance(**each) for each in one["appearances"]),
            matches=tuple(Match(**each) for each in one["matches"]),
        )
        for one in stored
    )
    return PersonTable(persons, order)


def _packed(face: DetectedFace) -> list[object]:
    box, pose = face.box, face.pose
    attributes = {
        field.name: list(asdict(value).values())
        for field in fields(Attributes)
        if (value := getattr(face.attributes, field.name)) is not None
    }
    return [
        [round(value, 5) for value in (box.left, box.top, box.width, box.height)],
        round(face.confidence, 3),
        [[point.type, round(point.x, 5), round(point.y, 5)] for point in face.landmarks],
        [round(value, 2) for value in (pose.roll, pose.yaw, pose.pitch)],
        [round(value, 2) for value in (face.quality.brightness, face.quality.sharpness)],
        attributes,
    ]


def _unpacked(row: Sequence[Any]) -> DetectedFace:
    box, confidence, landmarks, pose, quality, attributes = row
    left, top, width, height = box
    roll, yaw, pitch = pose
    brightness, sharpness = quality
    judged = {name: _ATTRIBUTE_KINDS.get(name, Judgement)(*values) for name, values in attributes.items()}
    return DetectedFace(
        box=BoundingBox(left=left, top=top, width=width, height=height),
        confidence=confidence,
        landmarks=tuple(Landmark(*point) for point in landmarks),
        pose=Pose(roll=roll, yaw=yaw, pitch=pitch),
        quality=Quality(brightness=brightness, sharpness=sharpness),
        attributes=Attributes(**judged),
    )
