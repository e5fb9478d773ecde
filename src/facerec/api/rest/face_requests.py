"""The requests about images, collections and their faces as JSON."""

from __future__ import annotations

from typing import Annotated

from pydantic import AliasChoices, Field, Strict, StrictBool, StringConstraints

from facerec.api.rest.person_models import Body, EncodedImage, Threshold
from facerec.domain import QualityFilter

CollectionId = Annotated[
    str, StringConstraints(pattern=r"^[a-zA-Z0-9_.\-]{1,255}$"), Field(examples=["guests"])
]
FaceId = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"),
    Field(examples=["7d0f4d3f-5b0a-4d8e-9c53-0d4c2f6b8a11"]),
]
ExternalImageId = Annotated[
    str, StringConstraints(pattern=r"^[a-zA-Z0-9_.\-:]{1,255}$"), Field(examples=["wedding:0001.jpg"])
]
DEFAULT_SIMILARITY = 80.0
"""Of searches, as Rekognition has it: the model pack's working point."""

MaxFaces = Annotated[int, Strict(), Field(ge=1, le=100)]
MaxMatches = Annotated[int, Strict(), Field(ge=1, le=4096)]
Image = Annotated[EncodedImage, Field(validation_alias=AliasChoices("image", "file"))]
"""In JSON `image`; in a form also the file of the name `file`."""


def threshold_of(asked: float | None, default: float | None) -> float:
    """The similarity 0..100 that is asked for, else the default, else 80."""
    if asked is not None:
        return asked
    return DEFAULT_SIMILARITY if default is None else default


class DetectRequest(Body):
    """An image in which faces are looked for."""

    image: Image
    attributes: StrictBool = Field(
        False, description="Whether age, gender, eyes and mouth are judged too, where the model pack can."
    )


class EmbedRequest(Body):
    """An image whose faces become embeddings."""

    image: Image
    max_faces: MaxFaces = Field(100, description="The largest ones.")


class CompareRequest(Body):
    """Two images."""

    source: EncodedImage = Field(description="Its largest face is compared.")
    target: EncodedImage = Field(description="With each of its faces.")
    similarity_threshold: Threshold | None = Field(None, description="Default: SIMILARITY_THRESHOLD, or 80.")
    quality_filter: QualityFilter = QualityFilter.NONE


class CreateCollectionRequest(Body):
    """A new collection."""

    collection_id: CollectionId
    tags: dict[
        Annotated[str, StringConstraints(min_length=1, max_length=128)],
        Annotated[str, StringConstraints(max_length=256)],
    ] = Field(default_factory=dict, max_length=200, description="facerec:face-ttl says how long faces stay.")


class IndexRequest(Body):
    """An image whose faces are stored."""

    image: Image
    external_image_id: ExternalImageId | None = Field(
        None, description="Your name of the image: the same image with the same name is stored once."
    )
    max_faces: MaxFaces = Field(100, description="The largest ones of good quality.")
    quality_filter: QualityFilter = QualityFilter.AUTO
    attributes: StrictBool = False
    expires_in: Annotated[int, Strict()] | None = Field(
        None, ge=1, le=10**10, description="Seconds that the faces are kept; default: as the collection says."
    )


class SearchRequest(Body):
    """An image, and how near a face of the collection has to be."""

    image: Image
    similarity_threshold: Threshold | None = Field(None, description="Default: SIMILARITY_THRESHOLD, or 80.")
    max_faces: MaxMatches = Field(80, description="Most matches.")
    quality_filter: QualityFilter = QualityFilter.NONE


class SearchAllRequest(Body):
    """An image, all faces of which are looked for."""

    image: Image
    similarity_threshold: Threshold | None = Field(None, description="Default: SIMILARITY_THRESHOLD, or 80.")
    max_faces: MaxFaces = Field(10, description="Most matches of each face.")
    max_searched: MaxFaces = Field(100, description="Faces of the image that are looked for: the largest.")
    quality_filter: QualityFilter = QualityFilter.NONE


class SearchStoredRequest(Body):
    """How near the faces have to be to a stored one."""

    similarity_threshold: Threshold | None = Field(None, description="Default: SIMILARITY_THRESHOLD, or 80.")
    max_faces: MaxMatches = Field(80, description="Most matches.")


class SearchEmbeddingRequest(SearchStoredRequest):
    """An embedding, and the model that it is of."""

    embedding: list[float] = Field(
        min_length=1,
        max_length=4096,
        description="Of any length but 0: it is normalised.",
        examples=[[0.6, -0.8]],
    )
    contract_id: str = Field(
        max_length=128, description="As /embed-faces answered it: vectors of two models are never compared."
    )


class DeleteFacesRequest(Body):
    """Faces to be deleted."""

    face_ids: list[FaceId] = Field(min_length=1, max_length=4096)


class S3Request(Body):
    """An image in S3, and a collection."""

    bucket: str | None = Field(None, description="Default: AWS_S3_BUCKET.", examples=["photos"])
    key: str = Field(examples=["wedding/0001.jpg"])
    version: str | None = Field(None, description="Default: the newest.")
    collection_id: CollectionId


class S3IndexRequest(S3Request):
    """An image in S3 whose faces are stored."""

    max_faces: MaxFaces = Field(100, description="The largest ones of good quality.")
    external_image_id: ExternalImageId | None = Field(
        None, description="Default: a name that follows from the key."
    )


class S3MatchRequest(S3Request):
    """An image in S3 whose largest face is looked for."""

    threshold: Threshold | None = Field(None, description="Default: SIMILARITY_THRESHOLD, or 80.")
    max_faces: MaxMatches = Field(80, description="Most matches.")
    index: StrictBool = Field(
        False, description="Whether the face that was looked for is stored afterwards, which takes `write`."
    )
    index_collection_id: CollectionId | None = Field(
        None, description="Where it is stored; default: the collection that was searched."
    )
    external_image_id: ExternalImageId | None = Field(
        None, description="With `index`; default: a name that follows from the key."
    )
