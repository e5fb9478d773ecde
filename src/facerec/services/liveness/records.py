"""A liveness session as a value, and as it is kept in the session store."""

from __future__ import annotations

import base64
import json
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from facerec.domain import BoundingBox, QuantizedEmbedding
from facerec.services.liveness.challenge import Challenge, Remark, Stage, Step
from facerec.services.liveness.motion import Sample

FULL_DEPTH = 0.75
"""Share of a generic head's depth from which a turn speaks for a head without doubt: heads differ."""


class SessionStatus(StrEnum):
    """How a session stands (Rekognition's `LivenessSessionStatus`)."""

    CREATED = "CREATED"
    IN_PROGRESS = "IN_PROGRESS"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"


class Failure(StrEnum):
    """Why a session failed."""

    TOO_MANY_MISTAKES = "TOO_MANY_MISTAKES"
    """Other movements than the asked ones, or none in time."""
    OTHER_PERSON = "OTHER_PERSON"
    """Frames showed somebody else than the first one."""
    TOO_MANY_FRAMES = "TOO_MANY_FRAMES"


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Where pictures of a session are put: a bucket of S3, and what their keys begin with."""

    bucket: str
    prefix: str = ""
    kms_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPicture:
    """A picture of a session: where it lies in S3 (None: with the session), and the face's box in it."""

    name: str
    """Key in S3, or in the session store."""
    bucket: str | None
    box: BoundingBox


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What whoever opened a session wants of its pictures, and where the person goes afterwards."""

    reference: bool = False
    """Whether the frame that ends it is kept for as long as the session, or put to `output`."""
    audit_images: int = 0
    """Most pictures of asked movements beside it."""
    output: Output | None = None
    return_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LivenessSession:
    """A session. Times in seconds since the epoch."""

    session_id: str
    opened_at: float
    expires_at: float
    challenge: Challenge
    wishes: Wishes
    contract_id: str
    """Of the embedding."""
    frames: int = 0
    strangers: int = 0
    """Frames that showed another face than the first one's."""
    embedding: QuantizedEmbedding | None = None
    """Of the first face that looked straight ahead."""
    passive: tuple[float, ...] = ()
    """What the pack's liveness networks said of faces that looked straight ahead, 0..100."""
    least_similarity: float = 100.0
    """0..100, of the frames that counted, to the first."""
    failure: Failure | None = None
    used: bool = False
    """Whether it has proved something: it does so once."""
    reference: KeptPicture | None = None
    audit: tuple[KeptPicture, ...] = ()

    def status(self, now: float) -> SessionStatus:
        """How it stands."""
        if self.failure is not None:
            return SessionStatus.FAILED
        if self.challenge.asked is None:
            return SessionStatus.SUCCEEDED
        if now >= self.expires_at:
            return SessionStatus.EXPIRED
        return SessionStatus.IN_PROGRESS if self.frames else SessionStatus.CREATED

    @property
    def depth(self) -> float | None:
        """How surely the head has depth, 0..100, by the median of its turns; None before the first one."""
        if not self.challenge.depths:
            return None
        return 100.0 * min(max(statistics.median(self.challenge.depths) / FULL_DEPTH, 0.0), 1.0)

    @property
    def passive_score(self) -> float | None:
        """How surely its pictures show a face itself, 0..100: the median; None where nobody can tell."""
        return statistics.median(self.passive) if self.passive else None

    @property
    def confidence(self) -> float | None:
        """How surely a living person was there, 0..100: the weaker of depth and looks. 0 for one that
        failed, None for one that is not over."""
        if self.failure is not None:
            return 0.0
        if self.challenge.asked is not None:
            return None
        return min(score for score in (self.depth, self.passive_score, 100.0) if score is not None)


class Trouble(StrEnum):
    """What a frame lacked that did not count."""

    NO_FACE = "NO_FACE"
    SEVERAL_FACES = "SEVERAL_FACES"
    TOO_FAR = "TOO_FAR"
    CUT_OFF = "CUT_OFF"
    TOO_DARK = "TOO_DARK"
    OTHER_PERSON = "OTHER_PERSON"


FrameRemark = Remark | Trouble


def encode(session: LivenessSession) -> bytes:
    """A session as it is kept."""
    values = asdict(session)
    embedding = session.embedding
    if embedding is not None:
        values["embedding"] = {
            "codes": base64.b64encode(embedding.codes).decode(),
            "scale": embedding.scale,
        }
    del values["session_id"]
    return json.dumps(values).encode()


def decode(session_id: str, value: bytes) -> LivenessSession:
    """A session as it was kept."""
    values = json.loads(value)
    embedding = values.pop("embedding")
    output = values["wishes"].pop("output")
    return LivenessSession(
        session_id=session_id,
        challenge=_challenge(values.pop("challenge")),
        wishes=Wishes(output=None if output is None else Output(**output), **values.pop("wishes")),
        embedding=(
            None
            if embedding is None
            else QuantizedEmbedding(codes=base64.b64decode(embedding["codes"]), scale=embedding["scale"])
        ),
        failure=Failure(failure) if (failure := values.pop("failure")) else None,
        reference=_picture(reference) if (reference := values.pop("reference")) else None,
        audit=tuple(_picture(each) for each in values.pop("audit")),
        passive=tuple(values.pop("passive")),
        **values,
    )


def _challenge(values: Mapping[str, Any]) -> Challenge:
    return Challenge(
        **{
            **values,
            "steps": tuple(Step(step) for step in values["steps"]),
            "stage": Stage(values["stage"]),
            "began": _sample(values["began"]),
            "last": _sample(values["last"]),
            "depths": tuple(values["depths"]),
        }
    )


def _sample(values: Mapping[str, Any] | None) -> Sample | None:
    if values is None:
        return None
    return Sample(**{**values, "points": tuple((x, y) for x, y in values["points"])})


def _picture(values: Mapping[str, Any]) -> KeptPicture:
    return KeptPicture(name=values["name"], bucket=values["bucket"], box=BoundingBox(**values["box"]))
