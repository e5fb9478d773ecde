"""The requests and answers of albums as JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints, field_validator, model_validator

from facerec.api.rest.errors import code_of
from facerec.api.rest.person_models import Body, EncodedImage, FaceModel, ThresholdText
from facerec.domain import S3Image, UrlImage
from facerec.errors import FacerecError, InvalidParameter
from facerec.jobs.base import Priority
from facerec.metastore.album_listings import Listing
from facerec.metastore.albums import Album, AlbumImage, NewImage
from facerec.metastore.items import ItemState
from facerec.services.albums.searching import DEFAULT_PHOTOS, MOST_ALBUMS, MOST_PHOTOS, FoundPhoto
from facerec.services.albums.service import MOST_AT_ONCE, AlbumState, Progress
from facerec.services.albums.sources import new_image, parse_source, s3_image
from facerec.services.albums.uploading import UploadResult

AlbumId = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_.\-:]{1,255}$")]


class State(StrEnum):
    """How far an image, or a listing of images, has come."""

    WAITING = "WAITING"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @classmethod
    def of(cls, state: ItemState) -> State:
        """The wire form."""
        return cls(state.name)

    @property
    def meant(self) -> ItemState:
        """The state it stands for."""
        return ItemState[self.name]


class Order(StrEnum):
    """What comes first."""

    FRESH = "fresh"
    BACKLOG = "backlog"

    @property
    def meant(self) -> Priority:
        """The priority it stands for."""
        return Priority[self.name]


class CreateAlbumRequest(Body):
    """A new album."""

    album_id: AlbumId | None = Field(
        None, description="Its id, and that of its collection; default: a new one.", examples=["wedding-1042"]
    )
    title: str = Field("", max_length=255)
    client_token: str | None = Field(
        None, min_length=1, max_length=64, description="The same call with the same token is done once."
    )


class ImageItem(Body):
    """Where an image lies: by its address, or by bucket and key."""

    source: str | None = Field(
        None,
        description="s3://bucket/key, s3://bucket/key?versionId=ID, or http(s)://host/path (allowed hosts).",
        examples=["s3://photos/wedding/0001.jpg"],
    )
    bucket: str | None = None
    key: str | None = None
    version: str | None = None
    external_id: str | None = Field(
        None, description="Your name of the image; default: one that follows from its key or path."
    )

    @model_validator(mode="after")
    def _one_way(self) -> ImageItem:
        if (self.source is None) == (self.key is None) or (self.key is None) != (self.bucket is None):
            raise ValueError("give either source, or bucket and key")
        return self

    def reference(self) -> S3Image | UrlImage:
        """Where it lies. Raises InvalidParameter."""
        if self.source is not None:
            return parse_source(self.source)
        return s3_image(self.bucket or "", self.key or "", self.version)


class PrefixItem(Body):
    """All images of a bucket whose keys begin with a prefix."""

    bucket: str
    prefix: str = ""


class AddImagesRequest(Body):
    """Images, or a prefix that they are listed from, or both."""

    images: list[ImageItem | str] = Field(
        default_factory=list, max_length=MOST_AT_ONCE, description="Addresses, or objects."
    )
    prefix: PrefixItem | None = None
    priority: Order | None = Field(
        None, description="Default: fresh for up to a thousand images, else backlog."
    )

    @model_validator(mode="after")
    def _something(self) -> AddImagesRequest:
        if not self.images and self.prefix is None:
            raise ValueError("give images, a prefix, or both")
        return self

    def new_images(self) -> list[NewImage]:
        """The images. Raises InvalidParameter that says which one is wrong."""
        made = []
        for place, item in enumerate(self.images):
            try:
                if isinstance(item, str):
                    made.append(new_image(parse_source(item)))
                else:
                    made.append(new_image(item.reference(), item.external_id))
            except FacerecError as error:
                raise InvalidParameter(f"images[{place}]: {error.message}") from error
        return made


class SearchAlbumsRequest(Body):
    """A selfie, and the albums to look in."""

    image: EncodedImage
    album_ids: list[AlbumId] | None = Field(
        None, max_length=MOST_ALBUMS, description="Default: all. In a form: separated by commas."
    )
    threshold: ThresholdText = 80.0
    limit: int = Field(DEFAULT_PHOTOS, ge=1, le=MOST_PHOTOS, description="Most photos.")

    @field_validator("album_ids", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return value.split(",") if isinstance(value, str) else value


class AlbumModel(BaseModel):
    """An album."""

    album_id: str = Field(examples=["wedding-1042"])
    title: str
    created_at: datetime
    images: int = Field(description="How many were added.")

    @classmethod
    def of(cls, album: Album) -> AlbumModel:
        """The wire form."""
        return cls(
            album_id=album.album_id,
            title=album.title,
            created_at=datetime.fromtimestamp(album.created_at, UTC),
            images=album.images,
        )


class AlbumPage(BaseModel):
    """A page of albums, oldest first."""

    albums: list[AlbumModel]
    next_token: str | None = Field(description="For the next page; null on the last.")


class ListingModel(BaseModel):
    """A prefix in S3, and how far it was listed."""

    bucket: str
    prefix: str
    state: State
    objects: int = Field(description="Objects listed so far.")
    images: int = Field(description="Those of them that are images by their names.")
    reason: str | None = Field(description="Why it has failed.")

    @classmethod
    def of(cls, listing: Listing) -> ListingModel:
        """The wire form."""
        return cls(
            bucket=listing.bucket,
            prefix=listing.prefix,
            state=State.of(listing.state),
            objects=listing.objects,
            images=listing.found,
            reason=listing.reason,
        )


class ProgressModel(BaseModel):
    """How far an album is."""

    album: AlbumModel
    state: AlbumState
    waiting: int
    done: int
    failed: int
    cancelled: int
    faces: int = Field(description="Faces in its collection.")
    images_per_second: float = Field(description="Over the last minute.")
    seconds_left: float | None = Field(description="At that rate; null where it is not known.")
    listings: list[ListingModel]

    @classmethod
    def of(cls, progress: Progress) -> ProgressModel:
        """The wire form."""
        left = progress.seconds_left
        return cls(
            album=AlbumModel.of(progress.album),
            state=progress.state,
            **{state.name.lower(): number for state, number in progress.counts.items()},
            faces=progress.faces,
            images_per_second=round(progress.rate, 2),
            seconds_left=None if left is None else round(left, 1),
            listings=[ListingModel.of(each) for each in progress.listings],
        )


class AddedModel(BaseModel):
    """What was added. The images are looked at in the background."""

    new: int
    known: int = Field(description="Those that the album had already.")
    listing: ListingModel | None = Field(description="The prefix that is being listed.")


class UploadedModel(BaseModel):
    """What became of an image that was sent."""

    name: str
    number: int | None = Field(description="Its place in the album; null where it was not taken.")
    faces: int
    code: str | None = Field(description="Why it was not taken; null where it was.")
    message: str | None

    @classmethod
    def of(cls, result: UploadResult) -> UploadedModel:
        """The wire form."""
        refusal = result.refusal
        return cls(
            name=result.name,
            number=result.number,
            faces=result.faces,
            code=code_of(refusal),
            message=None if refusal is None else refusal.message,
        )


class ImageModel(BaseModel):
    """An image of an album. Its faces have its image_id and external_id."""

    number: int
    source: str = Field(examples=["s3://photos/wedding/0001.jpg"])
    version: str | None
    external_id: str = Field(examples=["wedding:0001.jpg"])
    state: State
    faces: int
    image_id: str | None
    attempts: int
    reason: str | None = Field(description="Why it has failed.")
    finished_at: datetime | None

    @classmethod
    def of(cls, image: AlbumImage) -> ImageModel:
        """The wire form."""
        at = image.finished_at
        return cls(
            number=image.number,
            source=image.source,
            version=image.version,
            external_id=image.external_id,
            state=State.of(image.state),
            faces=image.faces,
            image_id=image.image_id,
            attempts=image.attempts,
            reason=image.reason,
            finished_at=None if at is None else datetime.fromtimestamp(at, UTC),
        )


class ImagePage(BaseModel):
    """A page of an album's images, in the order in which they were added."""

    images: list[ImageModel]
    next_token: str | None = Field(description="For the next page; null on the last.")


class ReportFormat(StrEnum):
    """How a report is written."""

    CSV = "csv"
    JSON_LINES = "jsonl"


class ImportModel(BaseModel):
    """An import of a manifest, and how far it is."""

    import_id: str
    collection_id: str
    manifest: str = Field(description="Name of the file.")
    created_at: datetime
    state: AlbumState
    waiting: int
    done: int
    failed: int
    cancelled: int
    images_per_second: float
    seconds_left: float | None

    @classmethod
    def of(cls, progress: Progress) -> ImportModel:
        """The wire form."""
        album = progress.album
        return cls(
            import_id=album.album_id,
            collection_id=album.collection,
            manifest=album.manifest or "",
            created_at=datetime.fromtimestamp(album.created_at, UTC),
            **ProgressModel.of(progress).model_dump(
                exclude={"album", "faces", "listings"},
            ),
        )


class ImportPage(BaseModel):
    """A page of imports, oldest first."""

    imports: list[ImportModel]
    next_token: str | None = Field(description="For the next page; null on the last.")


class ChangedModel(BaseModel):
    """How many images a call has changed."""

    images: int


class FaceInPhotoModel(BaseModel):
    """A face of a photo that is like the one looked for; the box in ratios of the upright photo's size."""

    face_id: str
    similarity: float
    left: float
    top: float
    width: float
    height: float


class FoundPhotoModel(BaseModel):
    """A photo that shows the person."""

    album_id: str
    number: int | None = Field(description="Its place in the album; null for one indexed by an AWS client.")
    source: str | None
    version: str | None
    external_id: str | None
    image_id: str
    similarity: float = Field(description="Of its most similar face, 0 to 100.", examples=[99.8])
    faces: list[FaceInPhotoModel]

    @classmethod
    def of(cls, photo: FoundPhoto) -> FoundPhotoModel:
        """The wire form."""
        faces = [
            FaceInPhotoModel(
                face_id=face.face_id,
                similarity=round(face.similarity, 3),
                **{side: round(getattr(face.box, side), 6) for side in ("left", "top", "width", "height")},
            )
            for face in photo.faces
        ]
        return cls(
            album_id=photo.album_id,
            number=None if photo.image is None else photo.image.number,
            source=photo.source,
            version=None if photo.image is None else photo.image.version,
            external_id=photo.external_id,
            image_id=photo.image_id,
            similarity=round(photo.similarity, 3),
            faces=faces,
        )


class PhotosModel(BaseModel):
    """The photos of the person, most similar first, and the face that was looked for."""

    searched_face: FaceModel
    photos: list[FoundPhotoModel]
