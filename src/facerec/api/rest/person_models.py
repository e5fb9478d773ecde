"""The registry's requests and answers as JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict, StrictBool, StringConstraints

from facerec.api.rest.errors import Refused, code_of
from facerec.domain import DetectedFace, Fault, Review, similarity_of
from facerec.errors import FacerecError, PoorQuality
from facerec.services.enrolment import Candidate
from facerec.services.registry.guidance import TEXTS, Hint
from facerec.services.registry.sessions import FrameFeedback, Registration
from facerec.services.registry.values import Enrolment, Identification, ImageResult, Person, Unknown

PersonId = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_.\-:]{1,128}$")]
Liveness = Annotated[
    float | None,
    Field(
        description="How surely the face is live and no print or screen, 0 to 100; null where "
        "FACEREC_LIVENESS is off, or the model pack can not tell.",
        examples=[98.2],
    ),
]
ThresholdText = Annotated[
    float,
    Field(
        ge=0,
        le=100,
        description="Least similarity, on the scale of 0 to 100; up to 1 as a share of it: 0.8 is 80.",
        examples=[97.5],
    ),
    AfterValidator(similarity_of),
]
"""Of a form or an address, where numbers are text."""
Threshold = Annotated[ThresholdText, Strict()]
EncodedImage = Annotated[
    str,
    Field(
        min_length=1,
        description="A JPEG, PNG, WebP, GIF, BMP or TIFF in base64, perhaps as a data URL; or where it "
        "lies: s3://bucket/key, or a web address of an allowed host.",
        examples=["R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"],
        json_schema_extra={"format": "image"},
    ),
]


LivenessSessionId = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"),
    Field(
        description="A liveness session that has succeeded, as proof that the person was there: it is used "
        "once. With FACEREC_LIVENESS=active it is required."
    ),
]


class Body(BaseModel):
    """A request: members that are not known are refused."""

    model_config = ConfigDict(extra="forbid")


class RegisterRequest(Body):
    """A new person, and the pictures to know the person by."""

    person_id: PersonId = Field(examples=["employee-1042"])
    images: list[EncodedImage] = Field(min_length=1, description="One to MAX_IMAGES_PER_REGISTRATION.")
    metadata: dict[str, Any] = Field(
        default_factory=dict,
        description="Kept with the person: a JSON object of at most 2048 characters.",
        examples=[{"department": "research"}],
    )
    review: Review | None = Field(None, description="How strictly to look at the pictures; default: as set.")
    liveness_session_id: LivenessSessionId | None = None


class UpdateRequest(Body):
    """More pictures, other pictures, or other metadata."""

    images: list[EncodedImage] = Field(default_factory=list)
    replace: StrictBool = Field(False, description="Whether the pictures that were there go.")
    metadata: dict[str, Any] | None = Field(None, description="In place of what was kept; null: as it is.")
    version: Annotated[int, Strict()] | None = Field(
        None, ge=0, description="That the person has to have still; else VersionConflict."
    )
    review: Review | None = None
    liveness_session_id: LivenessSessionId | None = None


class VerifyRequest(Body):
    """A face, and perhaps the one person to compare it with."""

    image: EncodedImage
    person_id: PersonId | None = Field(None, description="Compare with this person alone (1:1).")
    threshold: Threshold | None = None
    review: Review | None = None
    liveness_session_id: LivenessSessionId | None = None


class IdentifyRequest(Body):
    """A photo, all faces of which are looked for."""

    image: EncodedImage
    threshold: Threshold | None = None
    max_faces: Annotated[int, Strict()] = Field(100, ge=1, le=100)
    liveness_session_id: LivenessSessionId | None = None


class OpenRegistrationRequest(Body):
    """A person to be enrolled frame by frame."""

    person_id: PersonId
    add: StrictBool = Field(
        False, description="Add to a person who is enrolled; else the person has to be new."
    )
    metadata: dict[str, Any] = Field(default_factory=dict)
    review: Review | None = None


class FrameRequest(Body):
    """One frame."""

    image: EncodedImage


class PersonModel(BaseModel):
    """Somebody of the registry."""

    person_id: str = Field(examples=["employee-1042"])
    embeddings: int = Field(description="How many pictures the person is known by.", examples=[3])
    qualities: list[int] = Field(description="How good they are, 0 to 100; in a listing empty.")
    metadata: dict[str, Any]
    created_at: datetime | None
    updated_at: datetime | None
    version: int = Field(description="Rises with every change.", examples=[1])

    @classmethod
    def of(cls, person: Person) -> PersonModel:
        """The wire form."""
        return cls(
            person_id=person.person_id,
            embeddings=person.embeddings,
            qualities=list(person.qualities),
            metadata=dict(person.metadata),
            created_at=_moment(person.created_at),
            updated_at=_moment(person.updated_at),
            version=person.version,
        )


class FindingModel(BaseModel):
    """Something wrong with a picture: what was measured, what was asked for, what would be right."""

    fault: Fault
    value: float
    bar: float
    advice: str


class ImageModel(BaseModel):
    """What became of one picture."""

    index: int
    accepted: bool
    face_id: str | None
    quality: float | None = Field(description="0 to 100; null where no face was found.")
    code: str | None = Field(description="Why it was not taken; null where it was.", examples=["PoorQuality"])
    message: str | None
    findings: list[FindingModel]
    liveness: Liveness
    other_person_id: str | None = Field(description="Whose face it is, with the code AlreadyEnrolled.")

    @classmethod
    def of(cls, result: ImageResult) -> ImageModel:
        """The wire form."""
        judgement = result.candidate.judgement if result.candidate else None
        return cls(
            index=result.index,
            accepted=result.refusal is None,
            face_id=result.face_id,
            quality=None if judgement is None else round(judgement.quality, 1),
            code=code_of(result.refusal),
            message=None if result.refusal is None else str(result.refusal),
            findings=_findings(result),
            liveness=_liveness(result.candidate),
            other_person_id=result.other_person,
        )


class EnrolmentModel(BaseModel):
    """The person, and what became of each picture."""

    person: PersonModel
    images: list[ImageModel]

    @classmethod
    def of(cls, enrolment: Enrolment) -> EnrolmentModel:
        """The wire form. Raises Refused, with what became of each picture, where none was taken."""
        images = [ImageModel.of(one) for one in enrolment.images]
        if enrolment.person is None:
            raise Refused(_reason(enrolment), images=[image.model_dump(mode="json") for image in images])
        return cls(person=PersonModel.of(enrolment.person), images=images)


class PersonPage(BaseModel):
    """A page of persons, in the order of their ids."""

    persons: list[PersonModel]
    next_token: str | None = Field(description="For the next page; null on the last.")


class FaceModel(BaseModel):
    """Where a face is, and how it looks. The box is in ratios of the upright image's width and height."""

    left: float
    top: float
    width: float
    height: float
    confidence: float
    sharpness: float
    brightness: float

    @classmethod
    def of(cls, face: DetectedFace) -> FaceModel:
        """The wire form."""
        box, quality = face.box, face.quality
        return cls(
            **{name: round(getattr(box, name), 6) for name in ("left", "top", "width", "height")},
            confidence=round(face.confidence, 2),
            sharpness=round(quality.sharpness, 2),
            brightness=round(quality.brightness, 2),
        )


class IdentificationModel(BaseModel):
    """Who a face is. `match` false is an answer: nobody of the registry."""

    match: bool
    person_id: str | None = Field(examples=["employee-1042"])
    similarity: float | None = Field(description="0 to 100, calibrated.", examples=[99.8])
    cosine: float | None = Field(description="Of the embeddings, -1 to 1.", examples=[0.71])
    confidence: float | None = Field(
        description="Per cent of strangers who would not come as near to anybody.", examples=[99.99]
    )
    margin: float | None = Field(description="Lead over the next person, in cosine; null: no other is near.")
    threshold: float = Field(description="Least similarity that was asked for.", examples=[97.2])
    reason: Unknown | None = Field(description="Why it is nobody; null with a match.")
    liveness: Liveness
    face: FaceModel

    @classmethod
    def of(cls, found: Identification) -> IdentificationModel:
        """The wire form."""
        return cls(
            match=found.person_id is not None,
            person_id=found.person_id,
            similarity=found.similarity,
            cosine=found.cosine,
            confidence=found.confidence,
            margin=found.margin,
            threshold=found.threshold,
            reason=found.unknown,
            liveness=_rounded(found.liveness),
            face=FaceModel.of(found.face),
        )


class IdentifyResponse(BaseModel):
    """Each face of a photo, the largest first."""

    faces: list[IdentificationModel]


class RegistrationModel(BaseModel):
    """A registration session."""

    session_id: str
    person_id: str
    frames: int = Field(description="How many frames were taken.")
    expires_at: datetime

    @classmethod
    def of(cls, session: Registration) -> RegistrationModel:
        """The wire form."""
        return cls(
            session_id=session.session_id,
            person_id=session.person_id,
            frames=len(session.frames),
            expires_at=datetime.fromtimestamp(session.expires_at, UTC),
        )


class HintModel(BaseModel):
    """What to do next, for a program and for a person."""

    hint: Hint
    text: str


class FrameModel(BaseModel):
    """What became of a frame."""

    accepted: bool
    code: str | None = Field(description="Why it was not taken; null where it was.")
    message: str | None
    findings: list[FindingModel]
    quality: float | None
    liveness: Liveness
    similarity: float | None = Field(description="To the nearest frame before, 0 to 100; null for the first.")
    hints: list[HintModel]
    session: RegistrationModel

    @classmethod
    def of(cls, feedback: FrameFeedback) -> FrameModel:
        """The wire form."""
        result = ImageResult(0, feedback.refusal, feedback.candidate)
        return cls(
            accepted=feedback.refusal is None,
            code=code_of(feedback.refusal),
            message=None if feedback.refusal is None else str(feedback.refusal),
            findings=_findings(result),
            quality=None if feedback.candidate is None else round(feedback.candidate.judgement.quality, 1),
            liveness=_liveness(feedback.candidate),
            similarity=feedback.similarity,
            hints=[HintModel(hint=hint, text=TEXTS[hint]) for hint in feedback.hints],
            session=RegistrationModel.of(feedback.session),
        )


def _reason(enrolment: Enrolment) -> FacerecError:
    """Why no picture of an enrolment was taken, as one error: the one that all have, or PoorQuality."""
    refusals = [image.refusal for image in enrolment.images if image.refusal is not None]
    first = refusals[0]
    if all(type(refusal) is type(first) for refusal in refusals):
        return first
    return PoorQuality("None of the pictures can be taken; see what is said of each.")


def _findings(result: ImageResult) -> list[FindingModel]:
    return [
        FindingModel(fault=one.fault, value=one.value, bar=one.bar, advice=one.advice)
        for one in result.findings
    ]


def _liveness(candidate: Candidate | None) -> float | None:
    return None if candidate is None else _rounded(candidate.liveness)


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, 1)


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
