"""The requests and answers of the people of an album as JSON."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from facerec.api.rest.person_models import Body
from facerec.services.albums.people import LONGEST_NAME, MOST_AT_ONCE, PeoplePage, PersonPhoto, PersonSummary

Uuid = Annotated[
    str, StringConstraints(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")
]


class UpdateAlbumPersonRequest(Body):
    """What is said of a person of an album; what is left out stays as it is."""

    name: str | None = Field(
        None, max_length=LONGEST_NAME, description="An empty one takes the name away.", examples=["Aunt May"]
    )
    hidden: bool | None = Field(None, description="Hidden people are listed only where that is asked for.")
    version: int | None = Field(
        None, ge=1, description="As it was read: where it is another one now, nothing is changed (409)."
    )


class MergeRequest(Body):
    """People who are one person."""

    person_ids: list[Uuid] = Field(
        min_length=2, max_length=MOST_AT_ONCE, description="The first of them is the one who stays."
    )


class FacesRequest(Body):
    """Faces of a person."""

    face_ids: list[Uuid] = Field(min_length=1, max_length=MOST_AT_ONCE)


class PersonPhotoModel(BaseModel):
    """A photo, and the person's face in it; the box in ratios of the upright photo's size."""

    face_id: str
    left: float
    top: float
    width: float
    height: float
    confidence: float
    number: int | None = Field(description="Its place in the album; null for one indexed by an AWS client.")
    source: str | None
    version: str | None = Field(description="Of an object in S3.")
    external_id: str | None
    image_id: str

    @classmethod
    def of(cls, photo: PersonPhoto) -> PersonPhotoModel:
        """The wire form."""
        face, image = photo.face, photo.image
        return cls(
            face_id=face.face_id,
            **{side: round(getattr(face.box, side), 6) for side in ("left", "top", "width", "height")},
            confidence=round(face.confidence, 3),
            number=None if image is None else image.number,
            source=photo.source,
            version=None if image is None else image.version,
            external_id=face.external_id,
            image_id=face.image_id,
        )


class AlbumPersonModel(BaseModel):
    """A person of an album."""

    person_id: str
    name: str | None
    hidden: bool
    confirmed: bool = Field(description="Somebody has said something about them: no grouping takes a face.")
    version: int
    photos: int = Field(description="In how many photos they are.", examples=[41])
    cover: PersonPhotoModel | None = Field(description="The face that shows them best.")

    @classmethod
    def of(cls, summary: PersonSummary) -> AlbumPersonModel:
        """The wire form."""
        person = summary.person
        return cls(
            person_id=person.person_id,
            name=person.name,
            hidden=person.hidden,
            confirmed=person.confirmed,
            version=person.version,
            photos=summary.photos,
            cover=None if summary.cover is None else PersonPhotoModel.of(summary.cover),
        )


class AlbumPeoplePage(BaseModel):
    """A page of people, those in most photos first."""

    people: list[AlbumPersonModel]
    pending: bool = Field(description="Photos were added or removed that are not looked through yet.")
    next_token: str | None = Field(description="For the next page; null on the last.")

    @classmethod
    def of(cls, found: PeoplePage) -> AlbumPeoplePage:
        """The wire form."""
        return cls(
            people=[AlbumPersonModel.of(each) for each in found.page.items],
            pending=found.pending,
            next_token=found.page.next_token,
        )


class PersonPhotosPage(BaseModel):
    """A page of photos, in the order in which they were indexed."""

    photos: list[PersonPhotoModel]
    next_token: str | None = Field(description="For the next page; null on the last.")
