"""What the registry answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from facerec.domain import DetectedFace, User
from facerec.errors import FacerecError, InvalidParameter
from facerec.services.enrolment import Candidate, Finding

LONGEST_METADATA = 2048
"""Characters of a person's metadata as JSON, escaped to ASCII."""

Metadata = Mapping[str, Any]
"""A JSON object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody of the registry."""

    person_id: str
    embeddings: int
    """How many pictures the person is known by."""
    qualities: tuple[int, ...] = ()
    """Of those pictures that were judged, 0..100, oldest first; in a listing none."""
    metadata: Metadata = field(default_factory=dict)
    created_at: float | None
    """Seconds since the epoch, as `updated_at`; None where it was made before this was kept."""
    updated_at: float | None
    version: int
    """Rises with every change."""


@dataclass(frozen=True, slots=True)
class ImageResult:
    """What became of one image of an enrolment."""

    index: int
    """Its place among the images, from 0 on."""
    refusal: FacerecError | None
    """Why it was not taken: NoFaceInImage, MultipleFaces, PoorQuality, ImagesDisagree, AlreadyEnrolled, or
    what is wrong with the image."""
    candidate: Candidate | None = None
    """The face that was found, if one was."""
    face_id: str | None = None
    """Of the stored face; None where it was not taken."""
    other_person: str | None = None
    """Whose face it is, where the refusal is AlreadyEnrolled."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found wrong with the picture."""
        return self.candidate.judgement.findings if self.candidate else ()


@dataclass(frozen=True, slots=True)
class Enrolment:
    """The person after an enrolment, None where no image was taken; and what became of each image."""

    person: Person | None
    images: tuple[ImageResult, ...]
    created: bool = False
    """Whether the person was not there before."""


class Unknown(StrEnum):
    """Why a face is nobody's."""

    NOBODY_NEAR = "NOBODY_NEAR"
    """No person is similar enough."""
    AMBIGUOUS = "AMBIGUOUS"
    """Two persons are, and neither leads clearly."""
    NOT_LIVE = "NOT_LIVE"
    """It seems to be a print or a screen, where a live face is required."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identification:
    """Who a face is. A stranger's is no error: `person_id` is None, and so is all that goes with it."""

    face: DetectedFace
    threshold: float
    """Least similarity, 0..100, that was asked for."""
    person_id: str | None = None
    similarity: float | None = None
    """0..100, calibrated."""
    cosine: float | None = None
    confidence: float | None = None
    """0..100: share of strangers who would not come as near to anybody of the registry."""
    margin: float | None = None
    """Lead over the next person as a difference of cosines; None where no other is within reach."""
    unknown: Unknown | None = None
    """Why it is nobody's."""
    liveness: float | None = None
    """How surely the face is live, 0..100; None where it was not asked for, or is not known."""


def encode_metadata(metadata: Metadata) -> str | None:
    """Metadata as they are kept, None for none. Raises InvalidParameter for too long ones and for no JSON."""
    if not metadata:
        return None
    try:
        text = json.dumps(metadata, sort_keys=True, allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidParameter("The metadata have to be a JSON object.") from error
    if len(text) > LONGEST_METADATA:
        raise InvalidParameter(
            f"The metadata have {len(text)} characters as JSON; at most {LONGEST_METADATA} are kept."
        )
    return text


def person_of(user: User, *, embeddings: int, qualities: tuple[int, ...] = ()) -> Person:
    """A user of the registry's collection as a person."""
    return Person(
        person_id=user.user_id,
        embeddings=embeddings,
        qualities=qualities,
        metadata=json.loads(user.metadata) if user.metadata else {},
        created_at=user.created_at,
        updated_at=user.updated_at,
        version=user.version,
    )
