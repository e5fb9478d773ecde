"""The answers about images, collections and their faces as JSON."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import BaseModel, Field

from facerec.api.rest.person_models import FaceModel
from facerec.domain import (
    AssociationFailure,
    Collection,
    DetectedFace,
    Face,
    FaceMatch,
    Gender,
    Judgement,
    Reason,
)
from facerec.services.analysis import Comparison, EmbeddedFaces
from facerec.services.faces import FaceDeletion, FaceSearch, IndexedFace, IndexResult
from facerec.services.searching import SearchedFace

_LAST = 253_402_300_800
"""Seconds since the epoch from which a datetime has no year any more (10000): such an end is none."""


class PoseModel(BaseModel):
    """How the head is turned, in degrees. Positive: tilted clockwise, looking to the image's right, up."""

    roll: float
    yaw: float
    pitch: float


class LandmarkModel(BaseModel):
    """A named point, in ratios of the upright image's width and height."""

    type: str = Field(examples=["eyeLeft"])
    x: float
    y: float


class JudgementModel(BaseModel):
    """An answer about a face, and how sure it is, 0 to 100."""

    value: bool | str
    confidence: float


class AttributesModel(BaseModel):
    """What the model pack judges of a face; null: it does not."""

    age_low: int | None = None
    age_high: int | None = None
    gender: JudgementModel | None = None
    smile: JudgementModel | None = None
    eyes_open: JudgementModel | None = None
    mouth_open: JudgementModel | None = None


class DetectedFaceModel(FaceModel):
    """A face in an image, with all that is seen of it."""

    pose: PoseModel
    landmarks: list[LandmarkModel]
    attributes: AttributesModel

    @classmethod
    def of(cls, face: DetectedFace) -> DetectedFaceModel:
        """The wire form."""
        pose, found = face.pose, face.attributes
        age = found.age_range
        return cls(
            **FaceModel.of(face).model_dump(),
            pose=PoseModel(roll=round(pose.roll, 2), yaw=round(pose.yaw, 2), pitch=round(pose.pitch, 2)),
            landmarks=[LandmarkModel(type=one.type, x=one.x, y=one.y) for one in face.landmarks],
            attributes=AttributesModel(
                age_low=None if age is None else age.low,
                age_high=None if age is None else age.high,
                gender=_judgement(found.gender),
                smile=_judgement(found.smile),
                eyes_open=_judgement(found.eyes_open),
                mouth_open=_judgement(found.mouth_open),
            ),
        )


class DetectResponse(BaseModel):
    """The faces of an image, the largest first; an image without a face gives an empty list."""

    faces: list[DetectedFaceModel]


class EmbeddedFaceModel(BaseModel):
    """A face and its embedding, a vector of length 1."""

    face: FaceModel
    embedding: list[float]


class EmbedResponse(BaseModel):
    """The embeddings of an image's faces, the largest face first, and which model they are of."""

    contract_id: str
    model_version: str
    dimension: int
    faces: list[EmbeddedFaceModel]

    @classmethod
    def of(cls, found: EmbeddedFaces) -> EmbedResponse:
        """The wire form."""
        contract = found.contract
        return cls(
            contract_id=contract.id,
            model_version=contract.model_version,
            dimension=contract.dimension,
            faces=[
                EmbeddedFaceModel(face=FaceModel.of(face), embedding=vector.tolist())
                for face, vector in found.faces
            ],
        )


class ComparedFaceModel(BaseModel):
    """A face of the target that is like the source's."""

    similarity: float = Field(description="0 to 100, calibrated.", examples=[99.8])
    cosine: float = Field(description="Of the embeddings, -1 to 1.", examples=[0.71])
    face: FaceModel


class CompareResponse(BaseModel):
    """The source's largest face, and the target's faces that are like it, most similar first, and are not."""

    source_face: FaceModel
    matches: list[ComparedFaceModel]
    unmatched: list[FaceModel]

    @classmethod
    def of(cls, found: Comparison) -> CompareResponse:
        """The wire form."""
        return cls(
            source_face=FaceModel.of(found.source),
            matches=[
                ComparedFaceModel(
                    similarity=match.similarity, cosine=match.cosine, face=FaceModel.of(match.face)
                )
                for match in found.matches
            ],
            unmatched=[FaceModel.of(face) for face in found.unmatched],
        )


class CollectionModel(BaseModel):
    """A collection."""

    collection_id: str
    faces: int
    users: int
    model_version: str
    contract_id: str = Field(description="Of the model whose embeddings it holds.")
    dimension: int
    created_at: datetime

    @classmethod
    def of(cls, collection: Collection) -> CollectionModel:
        """The wire form."""
        return cls(
            collection_id=collection.name,
            faces=collection.face_count,
            users=collection.user_count,
            model_version=collection.model_version,
            contract_id=collection.contract_id,
            dimension=collection.dimension,
            created_at=datetime.fromtimestamp(collection.created_at, UTC),
        )


class CollectionPage(BaseModel):
    """A page of collections, oldest first. It may be shorter than asked for, and have a page after it."""

    collections: list[CollectionModel]
    next_token: str | None = Field(description="For the next page; null on the last.")


class StoredFaceModel(BaseModel):
    """A face of a collection. The box is in ratios of its upright image's width and height."""

    face_id: str
    image_id: str
    external_image_id: str | None
    user_id: str | None
    source: str | None = Field(description="Where its image lies, if in S3.")
    left: float
    top: float
    width: float
    height: float
    confidence: float
    stored_at: datetime
    expires_at: datetime | None = Field(description="Its own end; null: as the collection says.")

    @classmethod
    def of(cls, face: Face) -> StoredFaceModel:
        """The wire form."""
        end = face.expires_at
        return cls(
            face_id=face.face_id,
            image_id=face.image_id,
            external_image_id=face.external_image_id,
            user_id=face.user_id,
            source=face.source,
            **{name: round(getattr(face.box, name), 6) for name in ("left", "top", "width", "height")},
            confidence=round(face.confidence, 2),
            stored_at=datetime.fromtimestamp(face.stored_at, UTC),
            expires_at=None if end is None or end >= _LAST else datetime.fromtimestamp(end, UTC),
        )


class StoredFacePage(BaseModel):
    """A page of faces, oldest first."""

    faces: list[StoredFaceModel]
    next_token: str | None = Field(description="For the next page; null on the last.")


class IndexedFaceModel(BaseModel):
    """A face that is stored, and how it was seen in the image."""

    face: StoredFaceModel
    detected: DetectedFaceModel

    @classmethod
    def of(cls, indexed: IndexedFace) -> IndexedFaceModel:
        """The wire form."""
        return cls(face=StoredFaceModel.of(indexed.face), detected=DetectedFaceModel.of(indexed.detected))


class UnindexedFaceModel(BaseModel):
    """A face that was not stored, and why."""

    reasons: list[Reason]
    detected: DetectedFaceModel


class IndexResponse(BaseModel):
    """The faces that are stored now, and those that were left out; both the largest first."""

    image_id: str
    model_version: str
    faces: list[IndexedFaceModel]
    unindexed: list[UnindexedFaceModel]

    @classmethod
    def of(cls, result: IndexResult) -> IndexResponse:
        """The wire form."""
        return cls(
            image_id=result.image_id,
            model_version=result.model_version,
            faces=[IndexedFaceModel.of(one) for one in result.indexed],
            unindexed=[
                UnindexedFaceModel(reasons=list(one.reasons), detected=DetectedFaceModel.of(one.detected))
                for one in result.unindexed
            ],
        )


class MatchModel(BaseModel):
    """A face of the collection that is like the one looked for."""

    similarity: float = Field(description="0 to 100, calibrated.", examples=[99.8])
    cosine: float = Field(description="Of the embeddings, -1 to 1.", examples=[0.71])
    face: StoredFaceModel

    @classmethod
    def of(cls, match: FaceMatch) -> MatchModel:
        """The wire form."""
        return cls(similarity=match.similarity, cosine=match.cosine, face=StoredFaceModel.of(match.face))


class SearchResponse(BaseModel):
    """What a collection holds that is like one face, most similar first."""

    searched_face: FaceModel | None = Field(description="Of the image; null where none was sent.")
    matches: list[MatchModel]
    model_version: str

    @classmethod
    def of(cls, found: FaceSearch) -> SearchResponse:
        """The wire form."""
        return cls(
            searched_face=None if found.probe is None else FaceModel.of(found.probe),
            matches=[MatchModel.of(match) for match in found.matches],
            model_version=found.model_version,
        )


class SearchedFaceModel(BaseModel):
    """A face of the image, and what the collection holds that is like it, most similar first."""

    face: FaceModel
    matches: list[MatchModel]

    @classmethod
    def of(cls, searched: SearchedFace) -> SearchedFaceModel:
        """The wire form."""
        return cls(
            face=FaceModel.of(searched.face), matches=[MatchModel.of(match) for match in searched.matches]
        )


class SearchAllResponse(BaseModel):
    """Each face of the image that was looked for, the largest first."""

    faces: list[SearchedFaceModel]


class MatchResponse(SearchResponse):
    """As a search answers; with `index` also what was stored."""

    indexed: IndexResponse | None = Field(None, description="Null where nothing was to be stored.")


class DeletionFailureModel(BaseModel):
    """A face that was left, and why: it is not there, or it is a user's."""

    face_id: str
    reasons: list[AssociationFailure]


class DeletionModel(BaseModel):
    """Ids of the faces that were deleted, and those that were not."""

    deleted: list[str]
    failures: list[DeletionFailureModel]

    @classmethod
    def of(cls, deletion: FaceDeletion) -> DeletionModel:
        """The wire form."""
        return cls(
            deleted=list(deletion.deleted),
            failures=[
                DeletionFailureModel(face_id=failure.face_id, reasons=list(failure.reasons))
                for failure in deletion.failures
            ],
        )


def _judgement(value: Judgement | Gender | None) -> JudgementModel | None:
    return None if value is None else JudgementModel(value=value.value, confidence=value.confidence)
